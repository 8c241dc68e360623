/*
 * hw/isa/ich9.c - the ICH9 LPC bridge: PIRQ routing, ACPI hardware with general purpose events, SMI enables and status,
 * APM command, chipset configuration (interrupt routes), TCO watchdog. Source: Intel ICH9 data sheet (316972), chapters 10 and 13.
 * Outputs: "irq" to the 16 ISA lines, "gsi" to IOAPIC pins 16..23, "smi".
 * Left out: GPIO, SERIRQ, LPC decode ranges (fixed as QEMU's machine has them).
 */
#include "hw/isa/ich9.h"
#include "hw/isa/pm.h"
#include "hw/isa/tco.h"

enum { PMBASE = 0x40, ACPI_CNTL = 0x44, ACPI_EN = 0x80, PIRQA_ROUT = 0x60, PIRQE_ROUT = 0x68, PIRQ_OFF = 0x80, GEN_PMCON_1 = 0xa0,
       SMI_LOCK = 0x10, RCBA = 0xf0 };
enum { GBL_SMI_EN = 1, APMC_EN = 1 << 5, APM_STS = 1 << 5, TCO_EN = 1 << 13, TCO_STS = 1 << 13, SMI_EN_BITS = 0x400e203b, PIRQS = 8 };
enum { ROUTES = 6 /* D31 D29 D28 D27 D26 D25 */, ROUTE_RESET = 0x3210 };

typedef struct Ich9 {
    PmDev pm;
    uint64_t gpe_sts, gpe_en;
    uint32_t smi_en, smi_sts;
    uint16_t route[ROUTES];
    uint8_t asked[8], granted; /* SMI features; valid once granted */
    uint8_t pirq; /* levels */
    bool smm;     /* property */
    bool noreboot; /* property: the strap */
    Tco tco;
    Region *rcba;
} Ich9;
#define ICH9(d) ((Ich9 *)(void *)(d))

/* ---- interrupts ---- */
static uint8_t pirq_rout(const Ich9 *s, unsigned n)
{
    return s->pm.pci.config[n < 4 ? PIRQA_ROUT + n : PIRQE_ROUT + n - 4];
}

static bool sci(const Ich9 *s)
{
    return pm_sci(&s->pm.pci.dev) || (s->pm.cnt & PM_SCI_EN && s->gpe_sts & s->gpe_en);
}

static void raise_gpe(Dev *d, uint16_t events) { ICH9(d)->gpe_sts |= events; }

/* SCI_IRQ_SEL: 9, 10, 11, then 20 and 21. */
static unsigned sci_line(const Ich9 *s)
{
    static const uint8_t line[8] = { 9, 10, 11, 9, 20, 21, 9, 9 };

    return line[s->pm.pci.config[ACPI_CNTL] & 7];
}

static bool isa_line(const Dev *d, unsigned irq)
{
    const Ich9 *s = ICH9(d);

    for (unsigned n = 0; n < PIRQS; n++)
        if (s->pirq >> n & 1 && pirq_rout(s, n) == irq) /* bit 7 off, the number below 16 */
            return true;
    return irq == sci_line(s) && sci(s);
}

static bool gsi_line(const Dev *d, unsigned n)
{
    const Ich9 *s = ICH9(d);

    return s->pirq >> n & 1 || (n + 16 == sci_line(s) && sci(s));
}

void ich9_pirq(void *chip, unsigned n, bool level)
{
    Ich9 *s = chip;

    dev_enter(&s->pm.pci.dev);
    s->pirq = (uint8_t)bits_put(s->pirq, n & 7, 1, level);
    dev_leave(&s->pm.pci.dev);
}

/* Slots 25 to 29 and 31 have route registers; the pins of the others rotate over E..H. */
unsigned ich9_map_irq(PciDev *p, unsigned pin)
{
    static const int8_t index[32] = { [31] = 1, [29] = 2, [28] = 3, [27] = 4, [26] = 5, [25] = 6 };
    const Ich9 *s = p->pbus->irq_chip;
    unsigned slot = p->devfn >> 3;

    return index[slot] && s ? s->route[index[slot] - 1] >> 4 * pin & 7 : 4 + (slot + pin) % 4;
}

/* ---- power management and SMI ---- */
static void smi(Ich9 *s, uint32_t enable, uint32_t status)
{
    if (!(s->smi_en & enable) || !s->smm)
        return;
    s->smi_sts |= status;
    if (s->smi_en & GBL_SMI_EN)
        irq_pulse(dev_out(&s->pm.pci.dev, "smi", 0));
}

static void apm_w(Dev *d, uint64_t old)
{
    Ich9 *s = ICH9(d);

    if (s->pm.apm_cmd == ICH9_ACPI_ENABLE || s->pm.apm_cmd == ICH9_ACPI_DISABLE)
        pm_acpi_mode(&s->pm, s->pm.apm_cmd == ICH9_ACPI_ENABLE);
    smi(s, APMC_EN, APM_STS);
}

/* SMI_LOCK holds the global enable until reset. */
static void smi_en_w(Dev *d, uint64_t old)
{
    Ich9 *s = ICH9(d);

    if (s->pm.pci.config[GEN_PMCON_1] & SMI_LOCK)
        s->smi_en = (s->smi_en & ~(uint32_t)GBL_SMI_EN) | (old & GBL_SMI_EN);
}

/* ---- TCO ---- */
static uint64_t tco_count(const Dev *d) { return tco_left(d, &((const Ich9 *)(const void *)d)->tco); }
static void tco_rld_w(Dev *d, uint64_t val, unsigned lanes) { tco_reload(d, &ICH9(d)->tco); }
static void tco_cnt_w(Dev *d, uint64_t old) { tco_control_written(d, &ICH9(d)->tco, (uint16_t)old); }
static void tco_time_w(Dev *d, uint64_t old) { tco_time_written(&ICH9(d)->tco, (uint16_t)old); }

static void tco_fired(Dev *d)
{
    if (tco_up(d, &ICH9(d)->tco))
        smi(ICH9(d), TCO_EN, TCO_STS);
}

/* The root bus itself takes nothing while the machine runs. */
bool ich9_acpi_hotplug(Dev *d, PciBus *root)
{
    if (!PM(d)->hp_bridges)
        return false;
    root->adopt = pm_take_bus;
    root->adopt_self = d;
    return true;
}

uint8_t *ich9_smi_requested(Dev *d) { return ICH9(d)->asked; }
uint64_t ich9_smi_features(const Dev *d) { return ICH9(d)->granted; }

bool ich9_smi_negotiate(Dev *d)
{
    Ich9 *s = ICH9(d);
    uint64_t asked = le64_load(s->asked);

    if (asked & ~(uint64_t)ICH9_SMI_BROADCAST)
        return s->granted != 0;
    s->granted |= (uint8_t)asked;
    return true;
}

/* ---- where things are ---- */
uint16_t ich9_pm_base(const Dev *d)
{
    const uint8_t *c = PCI(d)->config;

    return c[ACPI_CNTL] & ACPI_EN ? le16_load(c + PMBASE) & 0xff80 : 0;
}

static void remap(Dev *d)
{
    Ich9 *s = ICH9(d);
    uint8_t *c = PCI(d)->config;
    Region *r = dev_region(d, 0);
    uint16_t base = ich9_pm_base(d);

    PCI(d)->wmask[GEN_PMCON_1] = c[GEN_PMCON_1] & SMI_LOCK ? (uint8_t)~SMI_LOCK : 0xff;
    mem_begin(d->obj.vm);
    region_unmap(r);
    if (base)
        region_map(d->obj.vm->sysports, base, r, 0);
    region_unmap(s->rcba);
    if (c[RCBA] & 1)
        region_map(d->obj.vm->sysmem, le32_load(c + RCBA) & 0xffffc000, s->rcba, 1);
    mem_commit(d->obj.vm);
}

static void written(PciDev *p, unsigned off, unsigned size)
{
    if ((off < ACPI_CNTL + 4 && off + size > PMBASE) || (off < RCBA + 4 && off + size > RCBA) ||
        (off <= GEN_PMCON_1 && off + size > GEN_PMCON_1))
        remap(&p->dev);
}

static bool init(Obj *o, Error **err)
{
    Dev *d = (Dev *)o;
    uint8_t *w = PCI(o)->wmask;

    le32_store(w + PMBASE, 0xff80);
    w[ACPI_CNTL] = 0x87;
    memset(w + PIRQA_ROUT, 0x8f, 4);
    memset(w + PIRQE_ROUT, 0x8f, 4);
    w[GEN_PMCON_1] = 0xff;
    memset(w + 0x80, 0xff, 0x18); /* decode ranges: they read back */
    w[0xdc] = 0x03;               /* BIOS_CNTL */
    le32_store(w + RCBA, 0xffffc001);
    ICH9(o)->rcba = dev_region(d, 2);
    region_map(o->vm->sysports, 0xb2, dev_region(d, 1), 0);
    PM(o)->raise_gpe = raise_gpe;
    if (PM(o)->hp_bridges)
        region_map(o->vm->sysports, ICH9_HOTPLUG_PORT, dev_region(d, 3), 0);
    return true;
}

static void on_reset(Dev *d)
{
    uint8_t *c = PCI(d)->config;

    c[PMBASE] |= 1;
    memset(c + PIRQA_ROUT, PIRQ_OFF, 4);
    memset(c + PIRQE_ROUT, PIRQ_OFF, 4);
    c[GEN_PMCON_1] = 0;
    if (!ICH9(d)->smm)
        ICH9(d)->smi_en = APMC_EN; /* SMM was set up, as far as firmware is concerned */
    ICH9(d)->tco.gcs = ICH9(d)->noreboot ? GCS_NO_REBOOT : 0;
    remap(d);
}

/* clang-format off */
static const Reg pm_regs[] = {
    PM1_ROWS(32),
    { "GPE0_STS", 0x20, REG(Ich9, gpe_sts), .w1c = UINT64_MAX, .doc = "general purpose events" },
    { "GPE0_EN",  0x28, REG(Ich9, gpe_en), .rw = UINT64_MAX, .doc = "those that raise the SCI" },
    { "SMI_EN",   0x30, REG(Ich9, smi_en), .rw = SMI_EN_BITS, .write = smi_en_w, .doc = "sources of SMI; bit 0: all" },
    { "SMI_STS",  0x34, REG(Ich9, smi_sts), .w1c = UINT32_MAX, .doc = "bit 5: APM command, 13: TCO" },
    TCO_ROWS(Ich9, tco, tco_count, tco_rld_w, tco_cnt_w, tco_time_w),
};
static const Reg apm_regs[] = { APM_ROWS };
#define ROUTE(n, r, o) { r, o, .at = offsetof(Ich9, route[n]), .size = 2, .reset = ROUTE_RESET, .rw = 0x7777 }
static const Reg rcba_regs[] = {
    ROUTE(0, "D31IR", 0x3140), ROUTE(1, "D29IR", 0x3144), ROUTE(2, "D28IR", 0x3146), ROUTE(3, "D27IR", 0x3148),
    ROUTE(4, "D26IR", 0x314c), ROUTE(5, "D25IR", 0x3150),
    { "GCS", GCS_OFFSET, REG(Ich9, tco.gcs), .rw = GCS_NO_REBOOT, .doc = "bit 5: the TCO watchdog does not reboot" },
};
static const Reg hp_regs[] = { HP_ROWS };
static const Bank banks[] = {
    { "ich9-pm", 128, TABLE(pm_regs), .quiet = true }, { "apm-io", 2, TABLE(apm_regs) },
    { "lpc-rcrb-mmio", 0x4000, TABLE(rcba_regs), .quiet = true },
    { "acpi-pci-hotplug", ACPIHP_PORTS, TABLE(hp_regs), .quiet = true },
};
static const Field state[] = {
    BYTES(Ich9, asked), FIELD(Ich9, granted), FIELD(Ich9, pirq, .keep = true), TRANSIENT(Ich9, rcba, "wiring", .keep = true),
    TCO_FIELDS(Ich9, tco, tco_fired),
};
static const Prop props[] = {
    PROP(Ich9, smm, "smm-enabled", false, "the APM command raises an SMI"), PROP_HP_BRIDGES,
    PROP(Ich9, noreboot, "noreboot", false, "the TCO watchdog does not reboot until software allows it"),
};
static const Out outs[] = { { "irq", .count = 16, .level_n = isa_line }, { "gsi", .count = PIRQS, .level_n = gsi_line }, { "smi" } };
static const PciClass lpc = {
    PCI_DEVICE(Ich9, "ICH9-LPC", "ISA bridge"), .dev.base = &pm_base, .dev.no_user = true, .dev.obj.init = init,
    .dev.obj.props = TABLE(props), .dev.state = TABLE(state), .dev.banks = banks, .dev.nbanks = G_N_ELEMENTS(banks),
    .dev.outs = outs, .dev.nouts = 3, .dev.on_reset = on_reset, .dev.loaded = remap, .config_written = written,
    .vendor = 0x8086, .device = 0x2918, .class_id = 0x060100, .revision = 2, .multifunction = 1,
};
DEVICE_OF(Ich9, lpc, &lpc.dev);
/* clang-format on */
