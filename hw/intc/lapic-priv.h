/*
 * hw/intc/lapic-priv.h - the local APIC's state, shared by its registers (lapic.c) and its timer (lapic-timer.c).
 */
#ifndef HW_INTC_LAPIC_PRIV_H
#define HW_INTC_LAPIC_PRIV_H
#include "hw/intc/intc.h"
#include "target/x86/cpu.h"

enum { LVT_CMCI, LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVTS };
enum { MASKED = 1 << 16, PENDING = 1 << 12 };

enum { OWED_MAX = 100 };
typedef enum Trigger { TRIGGER_EDGE, TRIGGER_LEVEL, TRIGGER_TICK } Trigger;

typedef struct Lapic {
    Dev dev;
    Cpu *cpu;
    uint64_t base, deadline;
    uint32_t id, tpr, ldr, dfr, svr, esr, esr_new, icr_lo, icr_hi, lvt[LVTS], initial, divide;
    uint32_t irr[8], isr[8], tmr[8];
    bool extint;
    uint8_t tick_vector, owed; /* ticks of that vector that came while one waited in IRR; owed is atomic */
    int64_t timer_start;
    Timer timer;
    int (*pic_ack)(void *arg);
    void *pic_arg;
} Lapic;
#define LAPIC(d) ((Lapic *)(d))
static inline unsigned lapic__timer_mode(const Lapic *s) { return s->lvt[LVT_TIMER] >> 17 & 3; } /* 0 one shot, 1 periodic, 2 TSC deadline */
bool lapic__accept(Lapic *s, unsigned vector, Trigger trigger); /* a fixed interrupt arrives; any thread. False: it is not taken */

/* The timer. VM lock. */
uint32_t lapic__current_count(const Lapic *s);
void lapic__start_timer(Lapic *s);              /* the initial count was written */
void lapic__arm_deadline(Lapic *s);             /* the deadline was written */
void lapic__set_timer(Lapic *s, uint32_t left); /* after load: `left` counts remain */
void lapic__timer_fired(Dev *d);
#endif
