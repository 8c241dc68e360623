/*
 * hw/fw/acpi.c - the fixed tables: RSDP, RSDT, XSDT, FADT, FACS, MADT, HPET, MCFG; and the script by which a
 * firmware places them (docs/specs/acpi_... of the QEMU project: commands of 128 bytes in etc/table-loader).
 * Source: ACPI 6.4 chapter 5, HPET 1.0a, PCI Firmware 3.2 section 4.
 */
#include "core/numa.h"
#include "hw/fw/acpi-priv.h"

enum { CMD_ALLOCATE = 1, CMD_POINTER = 2, CMD_CHECKSUM = 3, CMD_BYTES = 128, FILE_NAME = 56 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2, HEADER = 36 };
#define TABLES "etc/acpi/tables"
#define RSDP   "etc/acpi/rsdp"

uint16_t fw__pm_base(const FwPlatform *p)
{
    uint16_t now = p->pm_base_now ? p->pm_base_now(p->arg) : 0;

    return now ? now : p->pm_base;
}

uint64_t fw__ecam(const FwPlatform *p)
{
    uint64_t now = p->ecam_now ? p->ecam_now(p->arg) : 0;

    return now ? now : p->ecam;
}

/* ---- the script ---- */
static uint8_t *command(FwLinker *l, uint32_t kind)
{
    uint8_t *c;

    g_byte_array_set_size(l->commands, l->commands->len + CMD_BYTES);
    c = l->commands->data + l->commands->len - CMD_BYTES;
    memset(c, 0, CMD_BYTES);
    le32_store(c, kind);
    return c + 4;
}

static void put_file(uint8_t *at, const char *name) { memcpy(at, name, strlen(name)); }

static void allocate(FwLinker *l, const char *file, uint32_t align, uint8_t zone)
{
    uint8_t *c = command(l, CMD_ALLOCATE);

    put_file(c, file);
    le32_store(c + FILE_NAME, align);
    c[FILE_NAME + 4] = zone;
}

static void pointer(FwLinker *l, const char *file, uint32_t off, uint8_t size)
{
    uint8_t *c = command(l, CMD_POINTER);

    put_file(c, file);
    put_file(c + FILE_NAME, TABLES); /* everything that is pointed at is there */
    le32_store(c + 2 * FILE_NAME, off);
    c[2 * FILE_NAME + 4] = size;
}

static void checksum(FwLinker *l, const char *file, uint32_t off, uint32_t start, uint32_t len)
{
    uint8_t *c = command(l, CMD_CHECKSUM);

    put_file(c, file);
    le32_store(c + FILE_NAME, off);
    le32_store(c + FILE_NAME + 4, start);
    le32_store(c + FILE_NAME + 8, len);
}

/* ---- tables ---- */
static void u8(GByteArray *t, unsigned v)
{
    uint8_t b = (uint8_t)v;

    g_byte_array_append(t, &b, 1);
}

static void le(GByteArray *t, unsigned size, uint64_t v)
{
    uint8_t b[8];

    le_store(b, size, v);
    g_byte_array_append(t, b, size);
}

static void zeros(GByteArray *t, unsigned n)
{
    while (n--)
        u8(t, 0);
}

static guint begin(GByteArray *t, const char *sig, uint8_t revision)
{
    guint at;

    while (t->len % 16)
        u8(t, 0);
    at = t->len;
    g_byte_array_append(t, (const uint8_t *)sig, 4);
    le(t, 4, 0); /* length */
    u8(t, revision);
    u8(t, 0); /* checksum */
    g_byte_array_append(t, (const uint8_t *)"MENURA", 6);
    g_byte_array_append(t, (const uint8_t *)"MENURAPC", 8);
    le(t, 4, 1);
    g_byte_array_append(t, (const uint8_t *)"MENU", 4);
    le(t, 4, 1);
    return at;
}

static void end(FwLinker *l, guint at)
{
    le32_store(l->tables->data + at + 4, l->tables->len - at);
    checksum(l, TABLES, at + 9, at, l->tables->len - at);
}

static void facs(GByteArray *t)
{
    g_byte_array_append(t, (const uint8_t *)"FACS", 4);
    le(t, 4, 64);
    zeros(t, 24);
    u8(t, 1); /* version */
    zeros(t, 31);
}

static void gas(GByteArray *t, uint8_t bits, uint64_t port)
{
    static const uint8_t access[] = { [8] = 1, [16] = 2, [32] = 3 };

    u8(t, port != 0);              /* I/O space */
    u8(t, port ? bits : 0);
    u8(t, 0);
    u8(t, port && bits <= 32 ? access[bits] : 0);
    le(t, 8, port);
}

/* Fixed flags: WBINVD works, C1, no C2 multiprocessor, RTC is fixed, 32-bit timer; buttons are fixed hardware. */
enum { WBINVD = 1, PROC_C1 = 4, SLP_BUTTON = 32, RESET_REG_SUP = 1024 };

static void fadt_ports(GByteArray *t, const FwPlatform *p, uint16_t pm, uint16_t gpe)
{
    le(t, 4, pm); /* PM1a event */
    le(t, 4, 0);
    le(t, 4, pm + 4); /* PM1a control */
    le(t, 4, 0);
    le(t, 4, 0); /* PM2 */
    le(t, 4, pm + 8); /* timer */
    le(t, 4, gpe);
    le(t, 4, 0);
    u8(t, 4);
    u8(t, 2);
    u8(t, 0);
    u8(t, 4);
    u8(t, gpe ? p->gpe0_len : 0);
    zeros(t, 3);
    le(t, 2, 0xfff); /* no C2, no C3 */
    le(t, 2, 0xfff);
}

static void fadt_extended(GByteArray *t, const FwPlatform *p, uint16_t pm, uint16_t gpe)
{
    gas(t, 32, pm);
    gas(t, 0, 0);
    gas(t, 16, pm + 4);
    gas(t, 0, 0);
    gas(t, 0, 0);
    gas(t, 32, pm + 8);
    gas(t, (uint8_t)MIN(8 * p->gpe0_len, 255), gpe);
    gas(t, 0, 0);
}

static guint fadt(FwLinker *l, const FwPlatform *p, guint facs_at, guint dsdt_at)
{
    GByteArray *t = l->tables;
    guint at = begin(t, "FACP", 3);
    uint16_t pm = fw__pm_base(p), gpe = !p->gpe0_len ? 0 : p->gpe0 ? p->gpe0 : (uint16_t)(pm + 0x20);

    pointer(l, TABLES, t->len, 4);
    le(t, 4, facs_at);
    pointer(l, TABLES, t->len, 4);
    le(t, 4, dsdt_at);
    u8(t, 1); /* dual PIC: reserved since ACPI 2, but read by older systems */
    u8(t, 0);
    le(t, 2, 9); /* SCI */
    le(t, 4, p->acpi_enable || p->acpi_disable ? 0xb2 : 0);
    u8(t, p->acpi_enable);
    u8(t, p->acpi_disable);
    zeros(t, 2);
    fadt_ports(t, p, pm, gpe);
    le(t, 2, 0); /* flush size, stride: WBINVD works */
    le(t, 2, 0);
    zeros(t, 4); /* duty, day alarm, month alarm */
    u8(t, p->rtc ? 0x32 : 0);
    le(t, 2, p->i8042 ? 3 : 1); /* boot architecture: legacy devices, 8042 */
    u8(t, 0);
    le(t, 4, WBINVD | PROC_C1 | SLP_BUTTON | (p->reset_cf9 ? RESET_REG_SUP : 0));
    gas(t, 8, p->reset_cf9 ? 0xcf9 : 0);
    u8(t, p->reset_cf9 ? 0x0f : 0);
    zeros(t, 3);
    pointer(l, TABLES, t->len, 8);
    le(t, 8, facs_at);
    pointer(l, TABLES, t->len, 8);
    le(t, 8, dsdt_at);
    fadt_extended(t, p, pm, gpe);
    end(l, at);
    return at;
}

static void madt_cpus(GByteArray *t, const FwPlatform *p)
{
    for (unsigned i = 0; i < p->vm->ncpus; i++) {
        uint32_t id = p->vm->cpus[i]->apic_id;

        if (id < 255) {
            u8(t, 0);
            u8(t, 8);
            u8(t, i);
            u8(t, id);
            le(t, 4, 1);
        } else {
            u8(t, 9);
            u8(t, 16);
            le(t, 2, 0);
            le(t, 4, id);
            le(t, 4, 1);
            le(t, 4, i);
        }
    }
}

static void override(GByteArray *t, unsigned irq, unsigned gsi, unsigned flags)
{
    u8(t, 2);
    u8(t, 10);
    u8(t, 0);
    u8(t, irq);
    le(t, 4, gsi);
    le(t, 2, flags);
}

static guint madt(FwLinker *l, const FwPlatform *p)
{
    GByteArray *t = l->tables;
    guint at = begin(t, "APIC", 3);
    static const uint8_t level_irqs[] = { 5, 9, 10, 11 };

    le(t, 4, 0xfee00000);
    le(t, 4, 1); /* PICs are there too */
    madt_cpus(t, p);
    u8(t, 1);
    u8(t, 12);
    u8(t, 0); /* id */
    u8(t, 0);
    le(t, 4, 0xfec00000);
    le(t, 4, 0);
    if (p->irq0_override)
        override(t, 0, 2, 0);
    for (size_t i = 0; i < sizeof(level_irqs); i++)
        override(t, level_irqs[i], level_irqs[i], 0x0d); /* level, active high */
    u8(t, 4); /* NMI at LINT1 of all */
    u8(t, 6);
    u8(t, 0xff);
    le(t, 2, 0);
    u8(t, 1);
    end(l, at);
    return at;
}

static guint hpet(FwLinker *l)
{
    GByteArray *t = l->tables;
    guint at = begin(t, "HPET", 1);

    le(t, 4, 0x8086a201);
    u8(t, 0); /* memory */
    u8(t, 64);
    u8(t, 0);
    u8(t, 0);
    le(t, 8, 0xfed00000);
    u8(t, 0);
    le(t, 2, 0x80); /* minimum tick */
    u8(t, 0);
    end(l, at);
    return at;
}

static guint mcfg(FwLinker *l, const FwPlatform *p)
{
    GByteArray *t = l->tables;
    guint at = begin(t, "MCFG", 1);

    zeros(t, 8);
    le(t, 8, fw__ecam(p));
    le(t, 2, 0);
    u8(t, 0);
    u8(t, 255);
    le(t, 4, 0);
    end(l, at);
    return at;
}

static guint affinity(FwLinker *l, const FwPlatform *p, const char *sig, void (*body)(GByteArray *t, const FwPlatform *p))
{
    guint at = begin(l->tables, sig, 1);

    body(l->tables, p);
    end(l, at);
    return at;
}

static guint root_table(FwLinker *l, const char *sig, unsigned width, const guint *v, unsigned n)
{
    GByteArray *t = l->tables;
    guint at = begin(t, sig, 1);

    for (unsigned i = 0; i < n; i++) {
        pointer(l, TABLES, t->len, (uint8_t)width);
        le(t, width, v[i]);
    }
    end(l, at);
    return at;
}

static void rsdp(FwLinker *l, guint rsdt_at, guint xsdt_at)
{
    GByteArray *t = l->rsdp;

    g_byte_array_append(t, (const uint8_t *)"RSD PTR ", 8);
    u8(t, 0);
    g_byte_array_append(t, (const uint8_t *)"MENURA", 6);
    u8(t, 2);
    pointer(l, RSDP, t->len, 4);
    le(t, 4, rsdt_at);
    le(t, 4, 36);
    pointer(l, RSDP, t->len, 8);
    le(t, 8, xsdt_at);
    u8(t, 0);
    zeros(t, 3);
    checksum(l, RSDP, 8, 0, 20);
    checksum(l, RSDP, 32, 0, 36);
}

FwLinker *fw_acpi_build(const FwPlatform *p)
{
    FwLinker *l = g_new0(FwLinker, 1);
    guint v[8], n = 0, facs_at, dsdt_at;

    l->tables = g_byte_array_new();
    l->rsdp = g_byte_array_new();
    l->commands = g_byte_array_new();
    allocate(l, TABLES, 64, ZONE_HIGH);
    allocate(l, RSDP, 16, ZONE_FSEG);
    facs_at = l->tables->len;
    facs(l->tables);
    dsdt_at = begin(l->tables, "DSDT", 2);
    fw__dsdt(l->tables, p);
    end(l, dsdt_at);
    v[n++] = fadt(l, p, facs_at, dsdt_at);
    v[n++] = madt(l, p);
    if (p->hpet)
        v[n++] = hpet(l);
    if (p->q35 && fw__ecam(p))
        v[n++] = mcfg(l, p);
    if (numa_of(p->vm)) {
        v[n++] = affinity(l, p, "SRAT", fw__srat);
        v[n++] = affinity(l, p, "SLIT", fw__slit);
    }
    rsdp(l, root_table(l, "RSDT", 4, v, n), root_table(l, "XSDT", 8, v, n));
    return l;
}

void fw_linker_free(FwLinker *l)
{
    g_byte_array_unref(l->tables);
    g_byte_array_unref(l->rsdp);
    g_byte_array_unref(l->commands);
    g_free(l);
}

/* ---- applying it ourselves ---- */
static GByteArray *file_named(FwLinker *l, const uint8_t *name)
{
    if (!strncmp((const char *)name, TABLES, FILE_NAME))
        return l->tables;
    return strncmp((const char *)name, RSDP, FILE_NAME) ? NULL : l->rsdp;
}

static bool apply_pointer(FwLinker *l, const uint8_t *c, uint64_t at)
{
    GByteArray *f = file_named(l, c);
    uint32_t off = le32_load(c + 2 * FILE_NAME);
    uint8_t size = c[2 * FILE_NAME + 4];

    if (!f || !in_range(off, size, f->len))
        return false;
    le_store(f->data + off, size, le_load(f->data + off, size) + at);
    return true;
}

static bool apply_checksum(FwLinker *l, const uint8_t *c)
{
    GByteArray *f = file_named(l, c);
    uint32_t off = le32_load(c + FILE_NAME), start = le32_load(c + FILE_NAME + 4), len = le32_load(c + FILE_NAME + 8);
    uint8_t sum = 0;

    if (!f || !in_range(start, len, f->len) || !in_range(off, 1, f->len))
        return false;
    for (uint32_t i = 0; i < len; i++)
        sum = (uint8_t)(sum + f->data[start + i]);
    f->data[off] = (uint8_t)(f->data[off] - sum);
    return true;
}

bool fw_linker_apply(FwLinker *l, uint64_t at, uint64_t rsdp_at)
{
    static const uint32_t order[] = { CMD_POINTER, CMD_CHECKSUM };

    for (size_t pass = 0; pass < G_N_ELEMENTS(order); pass++)
        for (guint i = 0; i + CMD_BYTES <= l->commands->len; i += CMD_BYTES) {
            const uint8_t *c = l->commands->data + i;
            uint32_t kind = le32_load(c);

            if (kind == order[pass] && !(kind == CMD_POINTER ? apply_pointer(l, c + 4, at) : apply_checksum(l, c + 4)))
                return false;
        }
    return true;
}
