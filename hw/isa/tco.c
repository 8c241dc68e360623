/*
 * hw/isa/tco.c - the TCO watchdog timer of the ICH9. When its time is up it says so and counts once more; when that is up too the
 * machine is what -watchdog-action says, unless NO_REBOOT is strapped. Source: Intel ICH9 data sheet (316972), 13.9.
 * It counts when software first reloads it or lets it go, as after firmware that halts it.
 * Left out: intruder detection, messages to a management controller, NMI, legacy interrupts by TCO_DAT_OUT.
 */
#include "hw/isa/tco.h"
#include "core/vm.h"

#define TCO_TICK (600 * MS)

void tco_reload(Dev *d, Tco *t)
{
    if (t->cnt1 & TCO_HALT)
        timer_del(&t->bark);
    else
        timer_in(&t->bark, t->time * TCO_TICK);
}

uint16_t tco_left(const Dev *d, const Tco *t)
{
    int64_t left = timer_pending(&t->bark) ? t->bark.when - vm_now(dev_vm(d)) : t->time * TCO_TICK;

    return (uint16_t)CLAMP((left + TCO_TICK - 1) / TCO_TICK, 0, TCO_TIME_MASK);
}

void tco_control_written(Dev *d, Tco *t, uint16_t old)
{
    if (old & TCO_LOCK)
        t->cnt1 = (uint16_t)((t->cnt1 & ~TCO_HALT) | (old & TCO_HALT) | TCO_LOCK);
    if ((t->cnt1 ^ old) & TCO_HALT)
        tco_reload(d, t);
}

void tco_time_written(Tco *t, uint16_t old)
{
    if (t->time < 2) /* not allowed: ignored */
        t->time = old;
}

bool tco_up(Dev *d, Tco *t)
{
    if (!(t->sts1 & TCO_TIMEOUT)) {
        t->sts1 |= TCO_TIMEOUT;
        tco_reload(d, t);
        return true;
    }
    t->sts2 |= TCO_SECOND_TO;
    if (!(t->gcs & GCS_NO_REBOOT)) {
        t->sts2 |= TCO_BOOT;
        vm_watchdog(dev_vm(d));
    }
    return false;
}
