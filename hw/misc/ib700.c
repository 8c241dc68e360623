/*
 * hw/misc/ib700.c - the watchdog of the iB700 single-board computer, as its drivers use it: a write to port 441h stops it, one
 * to 443h starts it with a time-out of 30 - 2n seconds. Then -watchdog-action says what happens.
 */
#include "hw/isa/isa.h"

typedef struct Ib700 {
    Dev dev;
    uint8_t stop, start; /* last values written; start holds the time-out, in steps of two seconds below thirty */
    Timer bark;
} Ib700;
#define IB700(d) ((Ib700 *)(d))

static void started(Dev *d, uint64_t old)
{
    Ib700 *s = IB700(d);

    timer_at(&s->bark, clock_now(d) + (30 - 2 * s->start) * SEC);
}
static void stopped(Dev *d, uint64_t old) { timer_del(&IB700(d)->bark); }
static void bark(Dev *d) { vm_watchdog(dev_vm(d)); }

/* clang-format off */
static const Reg ib700_regs[] = {
    { "stop",  0, REG(Ib700, stop),  .rw = 0xff, .write = stopped, .doc = "any write stops the watchdog" },
    { "start", 2, REG(Ib700, start), .rw = 0x0f, .write = started, .doc = "barks in 30 - 2 * value seconds unless written again" },
};
static const Bank ib700_bank = { "ib700", 4, TABLE(ib700_regs) };
static const Field ib700_state[] = { TIMER(Ib700, bark, bark, CLOCK_VM) };

static const IsaClass ib700 = {
    ISA_DEVICE(Ib700, "ib700", "iB700 watchdog timer"),
    .dev.state = TABLE(ib700_state), .dev.banks = &ib700_bank,
    .port[0] = { .base = 0x441, .bank = &ib700_bank },
};
DEVICE_OF(Ib700, ib700, &ib700.dev);
/* clang-format on */
