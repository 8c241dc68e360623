/*
 * hw/fw/dsdt.c - the differentiated system description table of pc and q35: PCI root with its windows and
 * interrupt routing, ISA devices, sleep states, processors.
 * Sources: ACPI 6.4, PIIX3 and ICH9 data sheets (PIRQ route registers), PCI Firmware 3.2 (_OSC).
 */
#include "hw/fw/acpi-priv.h"
#include "hw/fw/aml.h"
#include "hw/isa/acpihp.h"

static void name_int(Aml *a, const char *n, uint64_t v)
{
    aml_name(a, n);
    aml_int(a, v);
}

static void hid(Aml *a, const char *id)
{
    aml_name(a, "_HID");
    aml_eisaid(a, id);
}

static void return_int(Aml *a, uint64_t v)
{
    aml_op(a, AML_RETURN);
    aml_int(a, v);
}

/* ---- interrupt links: PIRQ A..H route registers, bit 7 off, bits 3:0 the IRQ ---- */
static const char *const pirq_field[] = { "PRQA", "PRQB", "PRQC", "PRQD", "PRQE", "PRQF", "PRQG", "PRQH" };
static const char *const link_name[] = { "LNKA", "LNKB", "LNKC", "LNKD", "LNKE", "LNKF", "LNKG", "LNKH" };
#define LINK_PATH "\\_SB_.PCI0.ISA_."

static void link_crs(Aml *a, unsigned n)
{
    guint m = aml_method(a, "_CRS", 0, true), b, w;

    aml_name(a, "BUF0");
    b = aml_buffer(a);
    /* extended interrupt: consumer, level, low, shared; one number */
    g_byte_array_append(a, (const uint8_t[]){ 0x89, 6, 0, 0x0d, 1, 0, 0, 0, 0 }, 9);
    aml_crs_end(a, b);
    aml_op(a, 0x8a); /* CreateDWordField(BUF0, 5, IRQX) */
    aml_path(a, "BUF0");
    aml_int(a, 5);
    aml_path(a, "IRQX");
    w = aml_if(a); /* LLess(PRQx, 0x80) */
    aml_op(a, 0x95);
    aml_path(a, pirq_field[n]);
    aml_int(a, 0x80);
    aml_op(a, AML_STORE);
    aml_path(a, pirq_field[n]);
    aml_path(a, "IRQX");
    aml_close(a, w);
    aml_op(a, AML_RETURN);
    aml_path(a, "BUF0");
    aml_close(a, m);
}

static void link_prs(Aml *a)
{
    static const uint8_t prs[] = { 0x89, 14, 0, 0x0d, 3, 5, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0 };
    guint b;

    aml_name(a, "_PRS");
    b = aml_buffer(a);
    g_byte_array_append(a, prs, sizeof(prs));
    aml_crs_end(a, b);
}

static void link_methods(Aml *a, unsigned n)
{
    guint m = aml_method(a, "_STA", 0, false), w = aml_if(a);

    aml_op(a, AML_AND); /* And(0x80, PRQx) */
    aml_int(a, 0x80);
    aml_path(a, pirq_field[n]);
    aml_op(a, 0); /* no target */
    return_int(a, 9);
    aml_close(a, w);
    return_int(a, 11);
    aml_close(a, m);
    m = aml_method(a, "_DIS", 0, false);
    aml_op(a, AML_OR);
    aml_path(a, pirq_field[n]);
    aml_int(a, 0x80);
    aml_path(a, pirq_field[n]);
    aml_close(a, m);
    m = aml_method(a, "_SRS", 1, false);
    aml_create_dword(a, 0, 5, "PRRI");
    aml_op(a, AML_STORE);
    aml_path(a, "PRRI");
    aml_path(a, pirq_field[n]);
    aml_close(a, m);
}

static void links(Aml *a, const FwPlatform *p)
{
    for (unsigned n = 0; n < (p->q35 ? 8u : 4u); n++) {
        guint d = aml_device(a, link_name[n]);

        hid(a, "PNP0C0F");
        name_int(a, "_UID", n);
        link_prs(a);
        link_methods(a, n);
        link_crs(a, n);
        aml_close(a, d);
    }
}

static void pirq_fields(Aml *a, const FwPlatform *p)
{
    guint f;

    aml_region(a, "PIRQ", AML_PCI, 0x60, p->q35 ? 0x0c : 0x04);
    f = aml_field(a, "PIRQ", 1);
    for (unsigned i = 0; i < 4; i++)
        aml_unit(a, pirq_field[i], 8);
    if (p->q35) {
        aml_unit(a, NULL, 32);
        for (unsigned i = 4; i < 8; i++)
            aml_unit(a, pirq_field[i], 8);
    }
    aml_close(a, f);
}

/* ---- routing ---- */
unsigned fw__pin_wire(const FwPlatform *p, unsigned slot, unsigned pin)
{
    g_autofree PciDev *probe = g_new0(PciDev, 1); /* map_irq looks at the place only */

    if (!p->root || !p->root->map_irq)
        return (slot + pin - 1) & 3;
    probe->devfn = (uint8_t)(slot << 3);
    probe->pbus = p->root;
    return p->root->map_irq(probe, pin);
}

static void route(Aml *a, const FwPlatform *p, bool apic)
{
    guint all = aml_package(a, 128), one;

    for (unsigned slot = 0; slot < 32; slot++)
        for (unsigned pin = 0; pin < 4; pin++) {
            unsigned wire = fw__pin_wire(p, slot, pin);

            one = aml_package(a, 4);
            aml_int(a, (uint64_t)slot << 16 | 0xffff);
            aml_int(a, pin);
            if (apic) {
                aml_int(a, 0);
                aml_int(a, 16 + (wire & 7));
            } else {
                g_autofree char *path = g_strconcat(LINK_PATH, link_name[wire & (p->q35 ? 7 : 3)], NULL);

                aml_path(a, path);
                aml_int(a, 0);
            }
            aml_close(a, one);
        }
    aml_close(a, all);
}

/* q35 has pins 16..23 of the IOAPIC for PCI: which table holds depends on the mode the system chose. */
static void prt(Aml *a, const FwPlatform *p)
{
    guint m, w;

    if (!p->q35) {
        aml_name(a, "_PRT");
        route(a, p, false);
        return;
    }
    aml_name(a, "PRTP");
    route(a, p, false);
    aml_name(a, "PRTA");
    route(a, p, true);
    m = aml_method(a, "_PRT", 0, false);
    w = aml_if(a);
    aml_path(a, "\\PICF");
    aml_op(a, AML_RETURN);
    aml_path(a, "PRTA");
    aml_close(a, w);
    aml_op(a, AML_RETURN);
    aml_path(a, "PRTP");
    aml_close(a, m);
}

/* ---- the root bridge ---- */
/* Where firmware put BARs and bridge windows above 4 GiB. Depth: at most 255 buses. */
static void high_range(const PciBus *b, uint64_t *from, uint64_t *to)
{
    for (guint i = 0; b->bus.devs && i < b->bus.devs->len; i++) {
        const PciDev *d = PCI(b->bus.devs->pdata[i]);
        uint64_t base = (uint64_t)le32_load(d->config + 0x28) << 32 | (le16_load(d->config + 0x24) & 0xfff0u) << 16;
        uint64_t limit = (uint64_t)le32_load(d->config + 0x2c) << 32 | (le16_load(d->config + 0x26) & 0xfff0u) << 16;

        for (unsigned n = 0; n < 6; n++)
            if (d->bar[n] && !(d->bar_flags[n] & BAR_IO) && d->bar_at[n] != ~0ull && d->bar_at[n] >> 32) {
                *from = MIN(*from, d->bar_at[n]);
                *to = MAX(*to, d->bar_at[n] + d->bar_size[n]);
            }
        if (d->behind && base >> 32 && base <= limit) {
            *from = MIN(*from, base);
            *to = MAX(*to, limit + MiB);
        }
        if (d->behind)
            high_range(d->behind, from, to);
    }
}

static void high_windows(Aml *a, const FwPlatform *p)
{
    uint64_t from = ~0ull, to = 0, end = p->hole64 + p->hole64_len;

    if (p->root)
        high_range(p->root, &from, &to);
    if (p->hole64_len)
        aml_crs_memory_window(a, p->hole64, end - 1, true, true);
    if (from < to && !(from >= p->hole64 && to <= end)) { /* beside or across ours */
        from = from >= p->hole64 && from < end ? end : align_down(from, GiB);
        to = to > p->hole64 && to <= end ? p->hole64 : align_up(to, GiB);
        if (from < to && (from >= end || to <= p->hole64))
            aml_crs_memory_window(a, from, to - 1, true, true);
    }
}

static void windows(Aml *a, const FwPlatform *p)
{
    uint64_t ecam = p->q35 ? fw__ecam(p) : 0, end = ecam + 256 * MiB;
    guint b;

    aml_name(a, "_CRS");
    b = aml_buffer(a);
    aml_crs_bus(a, 0, 255);
    aml_crs_io(a, 0xcf8, 8);
    aml_crs_io_window(a, 0x0000, 0x0cf7);
    aml_crs_io_window(a, 0x0d00, 0xffff);
    aml_crs_memory_window(a, 0xa0000, 0xbffff, true, false);
    if (ecam >= p->hole && ecam < p->hole_end) { /* the window around the configuration space */
        if (ecam > p->hole)
            aml_crs_memory_window(a, p->hole, ecam - 1, false, false);
        if (end < p->hole_end)
            aml_crs_memory_window(a, end, p->hole_end - 1, false, false);
    } else {
        aml_crs_memory_window(a, p->hole, p->hole_end - 1, false, false);
    }
    high_windows(a, p);
    aml_crs_end(a, b);
}

/* Grants PME, AER and capability control, and native hot-plug where ACPI does not do it, to whoever knows the PCI UUID. */
static void osc(Aml *a, const FwPlatform *p)
{
    static const uint8_t uuid[] = { 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66 };
    guint m = aml_method(a, "_OSC", 4, true), w, b;

    aml_create_dword(a, 3, 0, "CDW1");
    w = aml_if(a);
    aml_op(a, AML_EQUAL);
    aml_arg(a, 0);
    b = aml_buffer(a);
    g_byte_array_append(a, uuid, sizeof(uuid));
    aml_close_buffer(a, b);
    aml_create_dword(a, 3, 8, "CDW3");
    aml_op(a, AML_AND);
    aml_path(a, "CDW3");
    aml_int(a, p->hotplug_port ? 0x1e : 0x1f); /* bit 0: native hot-plug */
    aml_path(a, "CDW3");
    aml_close(a, w);
    w = aml_else(a);
    aml_op(a, AML_OR); /* unknown UUID */
    aml_path(a, "CDW1");
    aml_int(a, 4);
    aml_path(a, "CDW1");
    aml_close(a, w);
    aml_op(a, AML_RETURN);
    aml_arg(a, 3);
    aml_close(a, m);
}

/* ---- ISA devices ---- */
typedef struct IsaRow {
    const char *name, *hid;
    uint16_t port[2], len[2];
    int irq, dma; /* -1: none */
} IsaRow;

static void isa_device(Aml *a, const IsaRow *r, unsigned uid)
{
    guint d = aml_device(a, r->name), b;

    hid(a, r->hid);
    name_int(a, "_UID", uid);
    name_int(a, "_STA", 15);
    aml_name(a, "_CRS");
    b = aml_buffer(a);
    for (unsigned i = 0; i < 2; i++)
        if (r->len[i])
            aml_crs_io(a, r->port[i], r->len[i]);
    if (r->irq >= 0)
        aml_crs_irq(a, (unsigned)r->irq);
    if (r->dma >= 0)
        aml_crs_dma(a, (unsigned)r->dma);
    aml_crs_end(a, b);
    aml_close(a, d);
}

static void serial_ports(Aml *a, const FwPlatform *p)
{
    static const char *const names[] = { "COM1", "COM2", "COM3", "COM4" };

    for (unsigned i = 0; i < 4; i++)
        if (p->com[i])
            isa_device(a, &(IsaRow){ names[i], "PNP0501", { p->com[i] }, { 8 }, p->com_irq[i], -1 }, i + 1);
}

typedef struct Sought {
    const char *name;
    bool there;
} Sought;

static void seek(Dev *d, void *arg)
{
    Sought *s = arg;

    s->there |= !strcmp(d->cls->obj.name, s->name);
}

static bool has_device(Vm *vm, const char *name)
{
    Sought s = { name, false };

    vm_foreach_dev(vm, seek, &s);
    return s.there;
}

static void isa_bridge(Aml *a, const FwPlatform *p)
{
    guint d = aml_device(a, "ISA_");

    name_int(a, "_ADR", (uint64_t)(p->isa_devfn >> 3) << 16 | (p->isa_devfn & 7));
    pirq_fields(a, p);
    links(a, p);
    if (p->i8042) {
        isa_device(a, &(IsaRow){ "KBD_", "PNP0303", { 0x60, 0x64 }, { 1, 1 }, 1, -1 }, 0);
        isa_device(a, &(IsaRow){ "MOU_", "PNP0F13", { 0 }, { 0 }, 12, -1 }, 0);
    }
    if (has_device(p->vm, "isa-fdc"))
        isa_device(a, &(IsaRow){ "FDC0", "PNP0700", { 0x3f2, 0x3f7 }, { 4, 1 }, 6, 2 }, 0);
    if (p->lpt)
        isa_device(a, &(IsaRow){ "LPT1", "PNP0400", { p->lpt }, { 8 }, 7, -1 }, 1);
    serial_ports(a, p);
    if (p->rtc)
        isa_device(a, &(IsaRow){ "RTC_", "PNP0B00", { 0x70 }, { 8 }, 8, -1 }, 0);
    aml_close(a, d);
}

static void hpet(Aml *a)
{
    guint d = aml_device(a, "HPET"), b;

    hid(a, "PNP0103");
    name_int(a, "_UID", 0);
    aml_name(a, "_CRS");
    b = aml_buffer(a);
    aml_crs_memory(a, 0xfed00000, 0x400, false);
    aml_crs_end(a, b);
    aml_close(a, d);
}

/* Board resources that are no device's: the configuration space, the PM ports. */
static void board(Aml *a, const FwPlatform *p)
{
    guint d = aml_device(a, "MBRD"), b;

    hid(a, "PNP0C02");
    name_int(a, "_UID", 1);
    aml_name(a, "_CRS");
    b = aml_buffer(a);
    aml_crs_io(a, fw__pm_base(p), p->q35 ? 0x80 : 0x40);
    if (p->gpe0)
        aml_crs_io(a, p->gpe0, p->gpe0_len);
    if (p->hotplug_port)
        aml_crs_io(a, p->hotplug_port, ACPIHP_PORTS);
    if (p->q35 && fw__ecam(p))
        aml_crs_memory(a, (uint32_t)fw__ecam(p), 256 * MiB, true);
    aml_crs_end(a, b);
    aml_close(a, d);
}

static void pci_root(Aml *a, const FwPlatform *p)
{
    guint d = aml_device(a, "PCI0");

    hid(a, p->q35 ? "PNP0A08" : "PNP0A03");
    if (p->q35) {
        aml_name(a, "_CID");
        aml_eisaid(a, "PNP0A03");
        osc(a, p);
    }
    name_int(a, "_ADR", 0);
    name_int(a, "_BBN", 0);
    name_int(a, "_UID", 0);
    windows(a, p);
    prt(a, p);
    isa_bridge(a, p);
    fw__hotplug(a, p);
    aml_close(a, d);
}

static void processors(Aml *a, const FwPlatform *p)
{
    for (unsigned i = 0; i < p->vm->ncpus; i++) {
        g_autofree char *name = g_strdup_printf("C%03X", i & 0xfff);
        guint d = aml_device(a, name);

        aml_name(a, "_HID");
        aml_string(a, "ACPI0007");
        name_int(a, "_UID", i);
        aml_close(a, d);
    }
}

/* SLP_TYP of both PM units: 0 soft off, 1 suspend to RAM, 2 suspend to disk. */
static void sleep_state(Aml *a, const char *name, unsigned typ)
{
    guint p;

    aml_name(a, name);
    p = aml_package(a, 4);
    aml_int(a, typ);
    aml_int(a, typ);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_close(a, p);
}

void fw__dsdt(Aml *a, const FwPlatform *p)
{
    guint s, m;

    name_int(a, "\\PICF", 0);
    m = aml_method(a, "\\_PIC", 1, false);
    aml_op(a, AML_STORE);
    aml_arg(a, 0);
    aml_path(a, "\\PICF");
    aml_close(a, m);
    s = aml_scope(a, "\\_SB_");
    pci_root(a, p);
    board(a, p);
    if (p->hpet)
        hpet(a);
    processors(a, p);
    aml_close(a, s);
    fw__hotplug_event(a, p);
    if (p->s3)
        sleep_state(a, "\\_S3_", 1);
    if (p->s4)
        sleep_state(a, "\\_S4_", 2);
    sleep_state(a, "\\_S5_", 0);
}
