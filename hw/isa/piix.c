/*
 * hw/isa/piix.c - the PIIX3 ISA bridge (PIRQ routing) and the PIIX4 power management function.
 * Source: Intel 82371SB (PIIX3) 2.2, 2.5.4; 82371AB (PIIX4) section 7; ACPI 6.4 chapter 4.8.
 * Left out: the reset control register (hw/pci/i440fx.c decodes it), SMBus, APM timers, general purpose events, SMI generation (software that sets SMM up finds it done).
 */
#include "hw/isa/piix.h"

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
typedef struct Pm {
    PciDev pci;
    uint16_t sts, en, cnt;
    uint8_t apm_cmd, apm_sts;
    Timer overflow;
    VmListener listener;
} Pm;
#define PM(d) ((Pm *)(void *)(d))
enum { PMBASE = 0x40, PMREGMISC = 0x80, DEVACTB = 0x58, PM_HZ = 3579545 };
enum { TMR_STS = 1, GBL_STS = 0x20, PWRBTN_STS = 0x100, RTC_STS = 0x400, STS_BITS = 0xfb31, EN_BITS = 0x0521 };
enum { SCI_EN = 1, SLP_EN = 1 << 13 };

static uint64_t ticks(const Pm *s) { return muldiv64((uint64_t)vm_now(dev_vm(&s->pci.dev)), PM_HZ, SEC); }
static uint64_t timer_value(const Dev *d) { return ticks(PM(d)) & 0xffffff; }
static bool sci(const Dev *d) { return PM(d)->cnt & SCI_EN && PM(d)->sts & PM(d)->en & EN_BITS; }

/* Bit 23 changes: the overflow status, only looked for while it is enabled. */
static void arm(Pm *s)
{
    uint64_t next = (ticks(s) | 0x7fffff) + 1;

    if (s->en & TMR_STS)
        timer_at(&s->overflow, (int64_t)muldiv64(next, SEC, PM_HZ) + 1);
    else
        timer_del(&s->overflow);
}

static void overflowed(Dev *d)
{
    PM(d)->sts |= TMR_STS;
    arm(PM(d));
}

static void en_w(Dev *d, uint64_t old) { arm(PM(d)); }

static void cnt_w(Dev *d, uint64_t old)
{
    Pm *s = PM(d);

    if (!(s->cnt & SLP_EN))
        return;
    s->cnt &= (uint16_t)~SLP_EN;
    if ((s->cnt >> 10 & 7) == 0)
        vm_request(dev_vm(d), VM_SHUTDOWN, CAUSE_GUEST_SHUTDOWN);
    else
        guest_unimp(d, "sleep type %u", s->cnt >> 10 & 7);
}

/* The commands of the FADT; what SMI code would do on a board. */
static void apm_w(Dev *d, uint64_t old)
{
    Pm *s = PM(d);

    if (s->apm_cmd == PIIX4_ACPI_ENABLE)
        s->cnt |= SCI_EN;
    else if (s->apm_cmd == PIIX4_ACPI_DISABLE)
        s->cnt &= (uint16_t)~SCI_EN;
}

static void map_ports(Pm *s)
{
    const uint8_t *c = s->pci.config;
    Region *r = dev_region(&s->pci.dev, 0);
    uint16_t base = le16_load(c + PMBASE) & 0xffc0;

    region_unmap(r);
    if (c[PMREGMISC] & 1 && base)
        region_map(s->pci.dev.obj.vm->sysports, base, r, 1);
}

static void pm_written(PciDev *p, unsigned off, unsigned size) { map_ports(PM(p)); }

uint16_t piix4_pm_base(const Dev *d)
{
    const uint8_t *c = PCI(d)->config;

    return c[PMREGMISC] & 1 ? le16_load(c + PMBASE) & 0xffc0 : 0;
}

static void pressed(void *self)
{
    Dev *d = self;

    dev_enter(d);
    PM(d)->sts |= PWRBTN_STS;
    dev_leave(d);
}

static bool pm_init(Obj *o, Error **err)
{
    Pm *s = PM(o);

    le32_store(s->pci.wmask + PMBASE, 0xffc0);
    s->pci.wmask[PMREGMISC] = 1;
    memset(s->pci.wmask + DEVACTB, 0xff, 4);
    s->listener = (VmListener){ .powerdown = pressed, .self = s };
    vm_listen(o->vm, &s->listener);
    region_map(o->vm->sysports, 0xb2, dev_region((Dev *)o, 1), 0);
    return true;
}

static void pm_fini(Obj *o) { vm_unlisten(o->vm, &PM(o)->listener); }

static void pm_reset(Dev *d)
{
    PCI(d)->config[PMBASE] |= 1;
    PCI(d)->config[DEVACTB + 3] = 2; /* APMC_EN: SMM was set up, as far as firmware is concerned */
    map_ports(PM(d));
}

static void pm_loaded(Dev *d) { map_ports(PM(d)); }

/* clang-format off */
static const Reg pm_regs[] = {
    { "PM1_STS", 0x00, REG(Pm, sts), .w1c = STS_BITS, .doc = "events" },
    { "PM1_EN",  0x02, REG(Pm, en),  .rw = EN_BITS, .write = en_w, .doc = "events that raise the SCI" },
    { "PM1_CNT", 0x04, REG(Pm, cnt), .rw = 0x3c06, .write = cnt_w, .doc = "sleep type and enable, SCI enable" },
    { "PM_TMR",  0x08, NOFIELD(4), .value = timer_value, .doc = "3.58 MHz, 24 bits" },
};
static const Reg apm_regs[] = {
    { "APMC", 0, REG(Pm, apm_cmd), .rw = 0xff, .write = apm_w, .doc = "command" },
    { "APMS", 1, REG(Pm, apm_sts), .rw = 0xff, .doc = "status" },
};
static const Bank pm_banks[] = { { "acpi-pm", 64, TABLE(pm_regs), .quiet = true }, { "apm", 2, TABLE(apm_regs) } };
static const Field pm_state[] = {
    TIMER(Pm, overflow, overflowed, CLOCK_VM, MISSED_DROP),
    TRANSIENT(Pm, listener, "of the host", .keep = true),
};
static const Out pm_outs[] = { { "sci", sci } };
static const PciClass pm = {
    PCI_DEVICE(Pm, "PIIX4_PM", "Power management"), .dev.no_user = true, .dev.obj.init = pm_init, .dev.obj.fini = pm_fini,
    .dev.state = TABLE(pm_state), .dev.banks = pm_banks, .dev.nbanks = 2, .dev.outs = pm_outs, .dev.nouts = 1,
    .dev.on_reset = pm_reset, .dev.loaded = pm_loaded, .config_written = pm_written,
    .vendor = 0x8086, .device = 0x7113, .class_id = 0x068000, .revision = 3, .irq_pin = 1,
};
DEVICE_OF(Pm, pm, &pm.dev);
/* clang-format on */
