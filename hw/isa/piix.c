/*
 * hw/isa/piix.c - the PIIX3 ISA bridge (PIRQ routing) and the PIIX4 power management function.
 * Source: Intel 82371SB (PIIX3) 2.2, 2.5.4; 82371AB (PIIX4) section 7.
 * The general purpose events are not where the PIIX4 has them but at AFE0, with PCI hot-plug at AE00, as clients know the
 * machine. Left out: the reset control register (hw/pci/host.c decodes it), SMBus, APM timers, SMIs other than by the APM
 * command.
 */
#include "hw/isa/piix.h"
#include "hw/isa/pm.h"

/* ---- PIIX3 ---- */
typedef struct Piix3 {
    PciDev pci;
    uint8_t pirq; /* levels of the four pins */
} Piix3;
#define PIIX3(d) ((Piix3 *)(void *)(d))
enum { PIRQRC = 0x60, PIRQ_OFF = 0x80 };

static bool routed(const Dev *d, unsigned irq)
{
    const Piix3 *s = PIIX3(d);

    for (unsigned i = 0; i < 4; i++)
        if (s->pirq >> i & 1 && s->pci.config[PIRQRC + i] == irq)
            return true;
    return false;
}

void piix3_pirq(void *chip, unsigned n, bool level)
{
    Piix3 *s = chip;

    dev_enter(&s->pci.dev);
    s->pirq = (uint8_t)bits_put(s->pirq, n & 3, 1, level);
    dev_leave(&s->pci.dev);
}

unsigned piix3_map_irq(PciDev *p, unsigned pin) { return ((p->devfn >> 3) + pin - 1) & 3; }

static bool piix3_init(Obj *o, Error **err)
{
    memset(PCI(o)->wmask + PIRQRC, 0x8f, 4);
    return true;
}

static void piix3_reset(Dev *d) { memset(PCI(d)->config + PIRQRC, PIRQ_OFF, 4); }

/* clang-format off */
static const Field piix3_state[] = { FIELD(Piix3, pirq, .keep = true) };
static const Out piix3_outs[] = { { "irq", .count = 16, .level_n = routed } };
static const PciClass piix3 = {
    PCI_DEVICE(Piix3, "PIIX3", "ISA bridge"), .dev.no_user = true, .dev.obj.init = piix3_init, .dev.state = TABLE(piix3_state),
    .dev.outs = piix3_outs, .dev.nouts = 1, .dev.on_reset = piix3_reset,
    .vendor = 0x8086, .device = 0x7000, .class_id = 0x060100, .multifunction = 1,
};
DEVICE_OF(Piix3, piix3, &piix3.dev);
/* clang-format on */

/* ---- PIIX4 power management ---- */
typedef struct Piix4 {
    PmDev pm;
    bool smm; /* property: software sets SMM up; else it is told that this was done */
    bool hp_root; /* property */
    uint16_t gpe_sts, gpe_en;
} Piix4;
#define PIIX4(d) ((Piix4 *)(void *)(d))
enum { PMBASE = 0x40, PMREGMISC = 0x80, DEVACTB = 0x58, APMC_EN = 1 << 1 /* bit 25 */ };

static void map_ports(Dev *d)
{
    const uint8_t *c = PCI(d)->config;
    Region *r = dev_region(d, 0);
    uint16_t base = le16_load(c + PMBASE) & 0xffc0;

    region_unmap(r);
    if (c[PMREGMISC] & 1 && base)
        region_map(d->obj.vm->sysports, base, r, 1);
}

static void pm_written(PciDev *p, unsigned off, unsigned size) { map_ports(&p->dev); }

uint16_t piix4_pm_base(const Dev *d)
{
    const uint8_t *c = PCI(d)->config;

    return c[PMREGMISC] & 1 ? le16_load(c + PMBASE) & 0xffc0 : 0;
}

static void apm_w(Dev *d, uint64_t old)
{
    if (PM(d)->apm_cmd == PIIX4_ACPI_ENABLE || PM(d)->apm_cmd == PIIX4_ACPI_DISABLE)
        pm_acpi_mode(PM(d), PM(d)->apm_cmd == PIIX4_ACPI_ENABLE);
    if (PCI(d)->config[DEVACTB + 3] & APMC_EN && PIIX4(d)->smm)
        irq_pulse(dev_out(d, "smi", 0));
}

static bool piix4_sci(const Dev *d)
{
    const Piix4 *s = (const Piix4 *)(const void *)d;

    return pm_sci(d) || (s->pm.cnt & PM_SCI_EN && s->gpe_sts & s->gpe_en);
}

static void raise_gpe(Dev *d, uint16_t events) { PIIX4(d)->gpe_sts |= events; }

static bool pm_init(Obj *o, Error **err)
{
    uint8_t *w = PCI(o)->wmask;

    le32_store(w + PMBASE, 0xffc0);
    w[PMREGMISC] = 1;
    memset(w + DEVACTB, 0xff, 4);
    region_map(o->vm->sysports, 0xb2, dev_region((Dev *)o, 1), 0);
    PM(o)->raise_gpe = raise_gpe;
    region_map(o->vm->sysports, PIIX4_GPE_PORT, dev_region((Dev *)o, 2), 1);
    region_map(o->vm->sysports, PIIX4_HOTPLUG_PORT, dev_region((Dev *)o, 3), 1);
    return true;
}

bool piix4_acpi_hotplug(Dev *d, PciBus *root)
{
    if (PIIX4(d)->hp_root)
        pm_take_bus(d, root);
    if (PM(d)->hp_bridges) {
        root->adopt = pm_take_bus;
        root->adopt_self = d;
    }
    return root->hotplug || root->adopt;
}

static void pm_reset(Dev *d)
{
    PCI(d)->config[PMBASE] |= 1;
    PCI(d)->config[DEVACTB + 3] = PIIX4(d)->smm ? 0 : APMC_EN;
    map_ports(d);
}

/* clang-format off */
static const Reg pm_regs[] = { PM1_ROWS(16) };
static const Reg apm_regs[] = { APM_ROWS };
static const Reg gpe_regs[] = {
    { "GPE0_STS", 0, REG(Piix4, gpe_sts), .w1c = 0xffff, .doc = "general purpose events" },
    { "GPE0_EN",  2, REG(Piix4, gpe_en), .rw = 0xffff, .doc = "those that raise the SCI" },
};
static const Reg hp_regs[] = { HP_ROWS };
static const Bank pm_banks[] = {
    { "acpi-pm", 64, TABLE(pm_regs), .quiet = true }, { "apm", 2, TABLE(apm_regs) },
    { "acpi-gpe0", PIIX4_GPE_LEN, TABLE(gpe_regs) }, { "acpi-pci-hotplug", ACPIHP_PORTS, TABLE(hp_regs), .quiet = true },
};
static const Prop pm_props[] = {
    PROP(Piix4, smm, "smm-enabled", false, "the APM command raises an SMI"), PROP_HP_BRIDGES,
    PROP(Piix4, hp_root, "acpi-root-pci-hotplug", true, "hot-plug on the root bus by ACPI"),
};
static const Out pm_outs[] = { { "sci", piix4_sci }, { "smi" } };
static const PciClass pm = {
    PCI_DEVICE(Piix4, "PIIX4_PM", "Power management"), .dev.base = &pm_base, .dev.no_user = true, .dev.obj.init = pm_init,
    .dev.obj.props = TABLE(pm_props), .dev.banks = pm_banks, .dev.nbanks = G_N_ELEMENTS(pm_banks), .dev.outs = pm_outs, .dev.nouts = 2,
    .dev.on_reset = pm_reset, .dev.loaded = map_ports, .config_written = pm_written,
    .vendor = 0x8086, .device = 0x7113, .class_id = 0x068000, .revision = 3, .irq_pin = 1,
};
DEVICE_OF(Piix4, pm, &pm.dev);
/* clang-format on */
