/* tests/device/rtc.c - the clock against the MC146818A data sheet, and what -rtc makes of it. The test host's date is 2023-11-14 22:13:20. */
#include "tests/lib/t.h"

enum { A = 10, B, C, D, SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10, DM = 4, H24 = 2 };

static void put(Vm *vm, uint8_t n, uint8_t v)
{
    as_store(vm->ports, 0x70, 1, n, MEM_CPU);
    as_store(vm->ports, 0x71, 1, v, MEM_CPU);
}

static uint8_t get(Vm *vm, uint8_t n)
{
    uint64_t v;

    as_store(vm->ports, 0x70, 1, n, MEM_CPU);
    as_load(vm->ports, 0x71, 1, &v, MEM_CPU);
    return (uint8_t)v;
}

static void date(Vm *vm)
{
    static const uint8_t want[] = { 0x20, 0, 0x13, 0, 0x22, 0, 3, 0x14, 0x11, 0x23 };

    t_plug(vm, "mc146818rtc");
    for (uint8_t n = 0; n < sizeof(want); n += n < 6 ? 2 : 1)
        check_eq(get(vm, n), want[n]);
    check_eq(get(vm, 0x32), 0x20);
    check_eq(get(vm, D), 0x80);
    t_step(vm, 41 * SEC);
    check_eq(get(vm, 0), 0x01);
    check_eq(get(vm, 2), 0x14);
    put(vm, B, SET | DM); /* binary, 12 hours: all is to be written anew */
    put(vm, 7, 31);
    put(vm, 8, 12);
    put(vm, 9, 24);
    put(vm, 0x32, 20);
    put(vm, 4, 0x80 | 11);
    put(vm, 2, 59);
    put(vm, 0, 58);
    t_step(vm, 5 * SEC); /* it stands */
    check_eq(get(vm, 0), 58);
    put(vm, B, DM);
    t_step(vm, 3 * SEC);
    check_eq(get(vm, 4), 12); /* midnight, of a Wednesday */
    check_eq(get(vm, 6), 4);
    check_eq(get(vm, 7), 1);
    check_eq(get(vm, 8), 1);
    check_eq(get(vm, 9), 25);
    check_eq(get(vm, 2), 0);
    check_eq(get(vm, 0), 1);
}
TEST("rtc/date", date);

static void alarm_and_update(Vm *vm)
{
    Dev *d = t_plug(vm, "mc146818rtc");

    put(vm, 1, 0x22);
    put(vm, 3, 0xc0); /* any minute */
    put(vm, 5, 0xff);
    put(vm, B, H24 | AIE);
    t_step(vm, SEC);
    check(!t_irq(d));
    t_step(vm, SEC);
    check(t_irq(d));
    check_eq(get(vm, C), 0xb0);
    check(!t_irq(d));
    put(vm, B, H24 | UIE);
    t_step(vm, SEC);
    check_eq(get(vm, C), 0x90);
}
TEST("rtc/alarm", alarm_and_update);

static unsigned ticks;
static void count(void *chip, unsigned n, bool level) { ticks += level; }

/* 1024 Hz; ten ticks are not looked at, then each is for five more periods. */
static unsigned seen(Vm *vm, const char *text, unsigned ignored)
{
    Dev *d = t_plug(vm, text);
    unsigned n = 0;

    dev_wire(d, "irq", 0, (Irq){ .set = count });
    put(vm, A, 0x26);
    put(vm, B, H24 | PIE);
    t_step(vm, ignored * SEC / 1024 + 1000);
    for (unsigned i = 0; i < 100; i++) {
        n += get(vm, C) >> 6 & 1;
        t_step(vm, 5 * SEC / 1024 / 100);
    }
    n += get(vm, C) >> 6 & 1;
    check_eq(ticks, n);
    return n;
}

static void discarded(Vm *vm) { check_eq(seen(vm, "mc146818rtc", 10), 1 + 5); }
TEST("rtc/lost-discarded", discarded);
/* Four a period: ten and five would need 15 quarters, and all are there. */
static void slewed(Vm *vm) { check_eq(seen(vm, "mc146818rtc,lost_tick_policy=slew", 10), 10 + 5); }
TEST("rtc/lost-slewed", slewed);

static void bounded(Vm *vm)
{
    t_plug(vm, "mc146818rtc,lost_tick_policy=slew");
    put(vm, A, 0x23); /* 8192 Hz */
    put(vm, B, H24 | PIE);
    t_step(vm, 20 * SEC);
    check_eq(get(vm, C) & 0x40, 0x40);
    put(vm, B, H24); /* what was lost is so for good */
    t_step(vm, SEC);
    check_eq(get(vm, C) & 0x40, 0);
}
TEST("rtc/lost-bounded", bounded);

/* clock=vm: a date that is given goes on from there by the VM's clock. */
static void by_vm(Vm *vm)
{
    vm->cfg.rtc_clock = g_strdup("vm");
    vm->cfg.rtc_base = g_strdup("2006-06-17T16:01:21");
    t_step(vm, 7 * SEC);
    t_plug(vm, "mc146818rtc");
    t_step(vm, 2 * SEC);
    check_eq(get(vm, 9), 0x06);
    check_eq(get(vm, 2), 0x01);
    check_eq(get(vm, 0), 0x23);
}
TEST("rtc/clock-vm", by_vm);
