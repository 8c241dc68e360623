/*
 * hw/isa/pm.c - ACPI fixed hardware. Source: ACPI 6.4 chapter 4.8; sleep states other than S5 are left out.
 */
#include "hw/isa/pm.h"

enum { PM_HZ = 3579545 };

static uint64_t ticks(const PmDev *s) { return muldiv64((uint64_t)vm_now(dev_vm(&s->pci.dev)), PM_HZ, SEC); }
uint64_t pm_timer(const Dev *d) { return ticks(PM(d)) & 0xffffff; }
bool pm_sci(const Dev *d)
{
    const PmDev *s = (const PmDev *)(const void *)d;

    return s->cnt & PM_SCI_EN && s->sts & s->en & PM_EN_BITS;
}

unsigned pm_hp_selected(const Dev *d) { return acpihp_selected(&((const PmDev *)(const void *)d)->hp); }
void pm_hp_eject(Dev *d, uint64_t val, unsigned lanes) { acpihp_eject(dev_vm(d), &PM(d)->hp, (uint32_t)val); }
uint64_t pm_hp_removable(const Dev *d) { return acpihp_removable(dev_vm(d), &((const PmDev *)(const void *)d)->hp); }
void pm_acpi_mode(PmDev *s, bool on) { s->cnt = (uint32_t)bits_put(s->cnt, 0, 1, on); }

/* Bit 23 changes: the overflow status, only looked for while it is enabled. */
static void arm(PmDev *s)
{
    uint64_t next = (ticks(s) | 0x7fffff) + 1;

    if (s->en & PM_TMR_STS)
        timer_at(&s->overflow, (int64_t)muldiv64(next, SEC, PM_HZ) + 1);
    else
        timer_del(&s->overflow);
}

static void overflowed(Dev *d)
{
    PM(d)->sts |= PM_TMR_STS;
    arm(PM(d));
}

void pm_en_written(Dev *d, uint64_t old) { arm(PM(d)); }

void pm_cnt_written(Dev *d, uint64_t old)
{
    PmDev *s = PM(d);

    if (!(s->cnt & PM_SLP_EN))
        return;
    s->cnt &= ~(uint32_t)PM_SLP_EN;
    if ((s->cnt >> 10 & 7) == 0)
        vm_request(dev_vm(d), VM_SHUTDOWN, CAUSE_GUEST_SHUTDOWN);
    else
        guest_unimp(d, "sleep type %u", s->cnt >> 10 & 7);
}

static void pressed(void *self)
{
    Dev *d = self;

    dev_enter(d);
    PM(d)->sts |= PM_PWRBTN_STS;
    dev_leave(d);
}

static bool init(Obj *o, Error **err)
{
    PmDev *s = PM(o);

    s->listener = (VmListener){ .powerdown = pressed, .self = s };
    vm_listen(o->vm, &s->listener);
    return true;
}

static void fini(Obj *o) { vm_unlisten(o->vm, &PM(o)->listener); }

/* clang-format off */
static const Field state[] = {
    FIELD(PmDev, cnt), TIMER(PmDev, overflow, overflowed, CLOCK_VM),
    STRUCT(PmDev, hp, &acpihp_fields), TRANSIENT(PmDev, raise_gpe, "of the class", .keep = true),
    TRANSIENT(PmDev, listener, "of the host", .keep = true),
};
const DevClass pm_base = {
    .obj = { .name = "acpi-pm", .size = sizeof(PmDev), .init = init, .fini = fini }, .bus = "PCI", .base = &pci_base,
    .state = TABLE(state),
};
/* clang-format on */
