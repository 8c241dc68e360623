/*
 * core/clock.h - the one virtual clock of a VM, and timers on it.
 * CLOCK_VM stops with the VM; tests step it. CLOCK_HOST is wall time (RTC of the host), for the RTC
 * only. Callbacks run on the VM's loop thread with the VM lock held (qtest: on the stepping thread).
 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H
#include "util/util.h"

typedef struct Vm Vm;
typedef struct Dev Dev;
typedef enum Clock { CLOCK_VM, CLOCK_HOST } Clock;

/* Embedded in a device and listed in its state table (TIMER), or free-standing with timer_init. */
typedef struct Timer {
    Vm *vm;
    int64_t when; /* ns on the clock of the table; meaningful while pending */
    bool pending;
    uint8_t clock;
    uint16_t n;   /* index in an array of timers */
    uint32_t slot; /* heap position, core's */
    void (*fire)(void *owner, unsigned n);
    void *owner;
    Dev *dev;     /* entry/settle around fire when not NULL */
    void (*dev_fire)(Dev *d, unsigned n); /* of an array; else dev_fire1 */
    void (*dev_fire1)(Dev *d);
} Timer;
void timer_init(Timer *t, Vm *vm, Clock c, void (*fire)(void *owner, unsigned n), void *owner);
void timer_at(Timer *t, int64_t abs_ns); /* replaces an earlier deadline; any thread */
void timer_in(Timer *t, int64_t ns);     /* from now */
void timer_del(Timer *t);
static inline bool timer_pending(const Timer *t) { return t->pending; }

int64_t vm_now(Vm *vm);         /* CLOCK_VM ns; any thread, lock-free */
int64_t vm_host_time(Vm *vm);   /* CLOCK_HOST: ns since 1970, with -rtc base applied by the RTC */
int64_t vm_next_deadline(Vm *vm); /* CLOCK_VM; INT64_MAX if none */
void vm_clock_take(Vm *vm); /* the test accelerator: time stands still, vm_clock_run moves it */
void vm_clock_run(Vm *vm, int64_t until_ns); /* fire what is due up to then, in order (test accel) */
/* muldiv without overflow: a * b / c with a 128-bit intermediate */
static inline uint64_t muldiv64(uint64_t a, uint64_t b, uint64_t c)
{
    return (uint64_t)((unsigned __int128)a * b / c);
}
#endif
