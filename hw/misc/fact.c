/* hw/misc/fact.c - a PCI device that computes n! and interrupts when it is done: the example of the how-to. */
#include "hw/pci/pci.h"

typedef struct Fact {
    PciDev pci;
    uint32_t id, n, status, irq; /* registers: saved, reset, traced by the table below */
    uint32_t delay_us;           /* property */
    Timer work;                  /* pending computation: saved with its deadline */
} Fact;
#define FACT(d) container_of(d, Fact, pci.dev)

enum { BUSY = 1 << 0, IRQ_ON_DONE = 1 << 7 }; /* status bits */
enum { DONE = 1 << 0 };                       /* irq bits */

static bool idle(const Dev *d) { return !(FACT(d)->status & BUSY); }
static bool line(const Dev *d) { return FACT(d)->irq != 0; }

static void start(Dev *d, uint64_t old)
{
    Fact *s = FACT(d);

    s->status |= BUSY;
    timer_at(&s->work, clock_now(d) + s->delay_us * US);
}

static void finish(Dev *d)
{
    Fact *s = FACT(d);
    uint32_t r = 1;

    /* 34! is 0 mod 2^32, so the loop is short whatever the guest asked for. */
    for (uint32_t i = MIN(s->n, 34); i > 1; i--)
        r *= i;
    s->n = r;
    s->status &= ~(uint32_t)BUSY;
    if (s->status & IRQ_ON_DONE)
        s->irq |= DONE;
}

/* clang-format off */
static const Reg fact_regs[] = {
    { "id",     0x00, REG(Fact, id),     .reset = 0xfac7,                   .doc = "identification" },
    { "n",      0x08, REG(Fact, n),      .rw = ~0u, .when = idle, .write = start, .doc = "in: n; out: n!" },
    { "status", 0x20, REG(Fact, status), .rw = IRQ_ON_DONE,                 .doc = "0: busy, 7: irq when done" },
    { "irq",    0x24, REG(Fact, irq),    .w1c = DONE,                       .doc = "pending causes, write 1 to clear" },
};
static const Bank fact_bank = { "fact", 4 * KiB, TABLE(fact_regs) };
static const Field fact_state[] = { TIMER(Fact, work, finish, CLOCK_VM) };
static const Prop fact_props[] = { PROP(Fact, delay_us, "delay-us", 1000, "time one computation takes") };
static const Out fact_outs[] = { { "intx", line } }; /* settled by core after every entry into the device */

static const PciClass fact = {
    PCI_DEVICE(Fact, "fact", "Factorial engine"), .dev.hotplug = true,
    .vendor = 0x1b36, .device = 0x00fa, .class_id = 0x00ff00, .irq_pin = 1,
    .dev.obj.props = TABLE(fact_props), .dev.state = TABLE(fact_state), .dev.outs = fact_outs, .dev.nouts = 1,
    .bar[0] = { .size = 4 * KiB, .bank = &fact_bank },
};
DEVICE_OF(Fact, fact, &fact.dev);
/* clang-format on */
