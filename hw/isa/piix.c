/*
 * hw/isa/piix.c - the PIIX3 ISA bridge (PIRQ routing) and the PIIX4 power management function.
 * Source: Intel 82371SB (PIIX3) 2.2, 2.5.4; 82371AB (PIIX4) section 7, SMBus 7.3.
 * The general purpose events are not where the PIIX4 has them but at AFE0, with PCI hot-plug at AE00, as clients know the
 * machine. Left out: the reset control register (hw/pci/host.c decodes it), slaves of the SMBus and its slave
 * interface, APM timers, SMIs other than by the APM command and the SMBus.
 */
#include "hw/isa/piix.h"
#include "hw/isa/pm.h"
#include "hw/isa/smbus.h"

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
    SmbHost smb;
    uint8_t smb_slave_sts, smb_slave_cnt;
    uint16_t smb_slave_events;
} Piix4;
#define PIIX4(d) ((Piix4 *)(void *)(d))
enum { PMBASE = 0x40, PMREGMISC = 0x80, DEVACTB = 0x58, APMC_EN = 1 << 1 /* bit 25 */ };
/* Firmware that knows a PIIX4 sets its SMBus up; what does not (OVMF) finds it where QEMU has it, with IRQ 9. */
enum { SMB_AT = 0xb100, SMB_SETUP = 9 };
enum { SMBBA = 0x90, SMBHSTCFG = 0xd2, SMB_HST_EN = 1, SMB_SELECT = 0x0e, SMB_IRQ9 = 8 /* else SMI */ };
enum { BANK_PM, BANK_APM, BANK_GPE, BANK_HP, BANK_SMB };

static void map(Dev *d, unsigned bank, uint16_t base, bool enabled)
{
    Region *r = dev_region(d, bank);

    region_unmap(r);
    if (enabled && base)
        region_map(d->obj.vm->sysports, base, r, 1);
}

static void map_ports(Dev *d)
{
    const uint8_t *c = PCI(d)->config;

    map(d, BANK_PM, le16_load(c + PMBASE) & 0xffc0, c[PMREGMISC] & 1);
    map(d, BANK_SMB, le16_load(c + SMBBA) & 0xfff0, c[SMBHSTCFG] & SMB_HST_EN);
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

    return pm_sci(d) || (s->pm.cnt & PM_SCI_EN && s->gpe_sts & s->gpe_en) ||
           ((s->pm.pci.config[SMBHSTCFG] & SMB_SELECT) == SMB_IRQ9 && smb_irq(&s->smb, SMB_ENDS));
}

static void smb_cnt_w(Dev *d, uint64_t old)
{
    smb_started(&PIIX4(d)->smb, true);
    if (!(PCI(d)->config[SMBHSTCFG] & SMB_SELECT) && smb_irq(&PIIX4(d)->smb, SMB_ENDS))
        irq_pulse(dev_out(d, "smi", 0));
}

static void raise_gpe(Dev *d, uint16_t events) { PIIX4(d)->gpe_sts |= events; }

static bool pm_init(Obj *o, Error **err)
{
    uint8_t *w = PCI(o)->wmask;

    le32_store(w + PMBASE, 0xffc0);
    w[PMREGMISC] = 1;
    memset(w + DEVACTB, 0xff, 4);
    le32_store(w + SMBBA, 0xfff0);
    w[SMBHSTCFG] = 0x0f;
    region_map(o->vm->sysports, 0xb2, dev_region((Dev *)o, BANK_APM), 0);
    PM(o)->raise_gpe = raise_gpe;
    region_map(o->vm->sysports, PIIX4_GPE_PORT, dev_region((Dev *)o, BANK_GPE), 1);
    region_map(o->vm->sysports, PIIX4_HOTPLUG_PORT, dev_region((Dev *)o, BANK_HP), 1);
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
    le32_store(PCI(d)->config + SMBBA, SMB_AT | 1);
    PCI(d)->config[SMBHSTCFG] = SMB_SETUP;
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
static const Reg smb_regs[] = {
    SMB_ROWS(Piix4, smb, SMB_ENDS, NULL, 0x5f, smb_cnt_w),
    { "SLV_STS", 1, REG(Piix4, smb_slave_sts), .w1c = 0x3c }, { "SLV_CNT", 8, REG(Piix4, smb_slave_cnt), .rw = 0x0f },
    { "SLV_EVT", 10, REG(Piix4, smb_slave_events), .rw = 0xffff, .doc = "which words of a master raise an event: none comes" },
};
static const Bank pm_banks[] = {
    [BANK_PM] = { "acpi-pm", 64, TABLE(pm_regs), .quiet = true }, [BANK_APM] = { "apm", 2, TABLE(apm_regs) },
    [BANK_GPE] = { "acpi-gpe0", PIIX4_GPE_LEN, TABLE(gpe_regs) }, [BANK_HP] = { "acpi-pci-hotplug", ACPIHP_PORTS, TABLE(hp_regs), .quiet = true },
    [BANK_SMB] = { "piix4-smbus", 16, TABLE(smb_regs), .quiet = true },
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
