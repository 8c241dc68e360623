/*
 * hw/intc/lapic-timer.c - the local APIC's timer: one shot, periodic, TSC deadline; its bus clock has 1 GHz.
 * Source: Intel SDM vol. 3A 11.5.4.
 */
#include "hw/intc/lapic-priv.h"

static unsigned shift_of(const Lapic *s)
{
    unsigned d = (s->divide & 3) | (s->divide >> 1 & 4);

    return (d + 1) & 7;
}
static int64_t tick_ns(const Lapic *s) { return 1ll << shift_of(s); }

uint32_t lapic__current_count(const Lapic *s)
{
    int64_t gone;

    if (!s->initial || lapic__timer_mode(s) == 2)
        return 0;
    gone = (vm_now(s->cpu->vm) - s->timer_start) >> shift_of(s);
    if (lapic__timer_mode(s) == 1)
        return (uint32_t)(s->initial - (uint64_t)gone % s->initial);
    return gone >= (int64_t)s->initial ? 0 : (uint32_t)(s->initial - gone);
}

void lapic__start_timer(Lapic *s)
{
    timer_del(&s->timer);
    if (lapic__timer_mode(s) == 2 || !s->initial)
        return;
    s->timer_start = vm_now(s->cpu->vm);
    timer_at(&s->timer, s->timer_start + (int64_t)s->initial * tick_ns(s));
}

void lapic__arm_deadline(Lapic *s)
{
    X86 *x = s->cpu->regs;
    uint64_t now = x86_tsc(x);

    timer_del(&s->timer);
    if (lapic__timer_mode(s) == 2 && s->deadline)
        timer_in(&s->timer, s->deadline <= now ? 0 : (int64_t)muldiv64(MIN(s->deadline - now, 1ull << 60), SEC, x->tsc_hz));
}

void lapic__timer_fired(Dev *d)
{
    Lapic *s = LAPIC(d);

    if (s->cpu && s->cpu->sleeps_in_run)
        return; /* the accelerator's APIC counts; ours only held the state */
    if (lapic__timer_mode(s) == 2) {
        s->deadline = 0;
    } else if (lapic__timer_mode(s) == 1 && s->initial) {
        int64_t period = MAX((int64_t)s->initial * tick_ns(s), 1000), now = vm_now(s->cpu->vm);

        s->timer_start += period;
        if (now - s->timer_start > period) /* late: lost ticks are dropped */
            s->timer_start = now;
        timer_at(&s->timer, s->timer_start + period);
    }
    if (!(s->lvt[LVT_TIMER] & MASKED)) /* last: the CPU may look at the timer at once */
        lapic__accept(s, s->lvt[LVT_TIMER] & 0xff, TRIGGER_EDGE);
}

void lapic__set_timer(Lapic *s, uint32_t left)
{
    timer_del(&s->timer);
    if (lapic__timer_mode(s) == 2) {
        lapic__arm_deadline(s);
    } else if (s->initial) {
        left = MIN(left, s->initial);
        s->timer_start = vm_now(s->cpu->vm) - (int64_t)(s->initial - left) * tick_ns(s);
        if (left)
            timer_at(&s->timer, s->timer_start + (int64_t)s->initial * tick_ns(s));
    }
}
