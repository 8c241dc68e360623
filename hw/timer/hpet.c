/*
 * hw/timer/hpet.c - high precision event timers. Source: IA-PC HPET specification 1.0a.
 * The main counter runs at 100 MHz of the VM's clock. A comparator fires when the counter reaches it, not when it is
 * set to what has passed. Periodic timers that fall far behind skip what they missed.
 * Outputs: "irq" to the interrupt lines named by hpet-intcap, "legacy" in place of the 8254's and the RTC's, which
 * "legacy-on" asks the machine to hold back.
 */
#include "core/vm.h"

enum { TIMERS_MAX = 24, LINES = 32, TICK_NS = 10, PERIOD_FS = TICK_NS * 1000000, BEHIND = 100 };
enum { ENABLE_CNF = 1, LEG_RT_CNF = 2 };
enum { INT_TYPE = 1 << 1, INT_ENB = 1 << 2, TYPE_CNF = 1 << 3, PER_INT_CAP = 1 << 4, SIZE_CAP = 1 << 5, VAL_SET = 1 << 6,
       MODE32 = 1 << 8, ROUTE_SHIFT = 9, FSB_EN = 1 << 14, FSB_CAP = 1 << 15,
       CONF_RW = INT_TYPE | INT_ENB | TYPE_CNF | VAL_SET | MODE32 | 0x1f << ROUTE_SHIFT | FSB_EN };

typedef struct HpetTimer {
    uint64_t conf, cmp, period, fsb;
} HpetTimer;
typedef struct Hpet {
    Dev dev;
    uint32_t timers, intcap;
    bool msi;
    uint64_t conf, status;
    uint64_t counter; /* while it stands; else what to add to the clock's ticks */
    HpetTimer t[TIMERS_MAX];
    Timer due[TIMERS_MAX];
} Hpet;
#define HPET(d) ((Hpet *)(d))

/* ---- the counter ---- */
static uint64_t ticks(const Hpet *s) { return (uint64_t)vm_now(dev_vm(&s->dev)) / TICK_NS; }
static uint64_t count(const Hpet *s) { return s->conf & ENABLE_CNF ? ticks(s) + s->counter : s->counter; }
static bool periodic(const HpetTimer *t) { return t->conf & TYPE_CNF; }
static uint64_t width(const HpetTimer *t) { return t->conf & MODE32 ? UINT32_MAX : UINT64_MAX; }

static void arm(Hpet *s, unsigned n)
{
    const HpetTimer *t = &s->t[n];
    uint64_t now = count(s), left = (t->cmp - now) & width(t);

    if (n >= s->timers || !(s->conf & ENABLE_CNF) || left > INT64_MAX / (2 * TICK_NS)) {
        timer_del(&s->due[n]);
        return;
    }
    timer_at(&s->due[n], (int64_t)((ticks(s) + left) * TICK_NS));
}

static void arm_all(Hpet *s)
{
    for (unsigned n = 0; n < s->timers; n++)
        arm(s, n);
}

/* ---- interrupts ---- */
static unsigned route(const HpetTimer *t) { return (unsigned)(t->conf >> ROUTE_SHIFT & 0x1f); }
static bool is_legacy(const Hpet *s, unsigned n) { return n < 2 && s->conf & LEG_RT_CNF; }

static bool asks(const Hpet *s, unsigned n) { return s->status >> n & 1 && s->t[n].conf & INT_ENB; }

static bool irq_level(const Dev *d, unsigned line)
{
    const Hpet *s = (const Hpet *)d;

    for (unsigned n = 0; n < s->timers; n++)
        if (asks(s, n) && !is_legacy(s, n) && route(&s->t[n]) == line)
            return true;
    return false;
}

static bool legacy_level(const Dev *d, unsigned n) { return is_legacy((const Hpet *)d, n) && asks((const Hpet *)d, n); }
static bool legacy_on(const Dev *d) { return ((const Hpet *)d)->conf & LEG_RT_CNF; }

static void deliver(Hpet *s, unsigned n)
{
    HpetTimer *t = &s->t[n];

    if (t->conf & INT_TYPE) {
        s->status |= 1ull << n; /* level: until software clears it */
        return;
    }
    if (!(t->conf & INT_ENB))
        return;
    if (t->conf & FSB_EN && !is_legacy(s, n))
        vm_msi(dev_vm(&s->dev), t->fsb >> 32, (uint32_t)t->fsb);
    else if (is_legacy(s, n))
        irq_pulse(dev_out(&s->dev, "legacy", n));
    else
        irq_pulse(dev_out(&s->dev, "irq", route(t)));
}

static void fired(Dev *d, unsigned n)
{
    Hpet *s = HPET(d);
    HpetTimer *t = &s->t[n];

    deliver(s, n);
    if (periodic(t) && t->period) {
        uint64_t behind = (count(s) - t->cmp) & width(t);

        t->cmp += t->period * (behind / t->period > BEHIND ? behind / t->period : 1);
        t->cmp &= width(t);
        if (((count(s) - t->cmp) & width(t)) <= behind) { /* passed already: at once */
            timer_in(&s->due[n], 0);
            return;
        }
    } else if (!(t->conf & MODE32)) {
        return; /* the next match of 64 bits is centuries away */
    } else {
        timer_at(&s->due[n], (int64_t)((ticks(s) + UINT32_MAX) * TICK_NS)); /* once round */
        return;
    }
    arm(s, n);
}

/* ---- registers ---- */
static uint64_t cap(const Dev *d)
{
    return (uint64_t)PERIOD_FS << 32 | 0x8086a001 | (uint64_t)(((const Hpet *)d)->timers - 1) << 8;
}

static void conf_w(Dev *d, uint64_t old)
{
    Hpet *s = HPET(d);

    if (s->conf & ~old & ENABLE_CNF)
        s->counter -= ticks(s);
    else if (~s->conf & old & ENABLE_CNF)
        s->counter += ticks(s);
    arm_all(s);
}

static uint64_t counter_value(const Dev *d) { return count((const Hpet *)d); }

static uint64_t merge(uint64_t old, uint64_t val, unsigned lanes)
{
    uint64_t mask = 0;

    for (unsigned i = 0; i < 8; i++)
        mask |= lanes >> i & 1 ? 0xffull << 8 * i : 0;
    return (old & ~mask) | (val & mask);
}

static void counter_w(Dev *d, uint64_t val, unsigned lanes)
{
    Hpet *s = HPET(d);
    uint64_t v = merge(count(s), val, lanes);

    if (s->conf & ENABLE_CNF)
        guest_error(d, "the main counter is written while it runs");
    s->counter = s->conf & ENABLE_CNF ? v - ticks(s) : v;
    arm_all(s);
}

static uint64_t timer_conf(const Dev *d, unsigned n)
{
    const Hpet *s = (const Hpet *)d;

    if (n >= s->timers)
        return 0;
    return (uint64_t)s->intcap << 32 | (s->t[n].conf & ~(uint64_t)VAL_SET) | PER_INT_CAP | SIZE_CAP | (s->msi ? FSB_CAP : 0);
}

static void timer_conf_w(Dev *d, unsigned n, uint64_t old)
{
    Hpet *s = HPET(d);
    HpetTimer *t = &s->t[n];

    if (!s->msi)
        t->conf &= ~(uint64_t)FSB_EN;
    if (!(t->conf & INT_TYPE))
        s->status &= ~(1ull << n);
    t->cmp &= width(t);
    t->period &= width(t);
    arm(s, n);
}

static uint64_t cmp_value(const Dev *d, unsigned n) { return ((const Hpet *)d)->t[n].cmp; }

/* One-shot: the comparator. Periodic: the period, and with "value set", which that uses up, the comparator too. */
static void cmp_w(Dev *d, unsigned n, uint64_t val, unsigned lanes)
{
    Hpet *s = HPET(d);
    HpetTimer *t = &s->t[n];

    if (!periodic(t) || t->conf & VAL_SET)
        t->cmp = merge(t->cmp, val, lanes) & width(t);
    if (periodic(t))
        t->period = merge(t->period, val, lanes) & width(t);
    t->conf &= ~(uint64_t)VAL_SET;
    arm(s, n);
}

/* ---- life ---- */
static bool init(Obj *o, Error **err)
{
    Hpet *s = HPET(o);

    if (s->timers < 3 || s->timers > TIMERS_MAX)
        return fail(err, "hpet: it has 3 to %d timers", TIMERS_MAX);
    return true;
}

/* clang-format off */
#define TN(m) .at = offsetof(Hpet, t[0].m), .size = 8, .count = TIMERS_MAX, .stride = 0x20, .at_stride = sizeof(HpetTimer)
static const Reg regs[] = {
    { "GCAP_ID",   0x000, NOFIELD(8), .value = cap, .doc = "period, timers, revision" },
    { "GEN_CONF",  0x010, REG(Hpet, conf), .rw = ENABLE_CNF | LEG_RT_CNF, .write = conf_w },
    { "GINTR_STA", 0x020, REG(Hpet, status), .w1c = UINT32_MAX, .doc = "level interrupts that wait" },
    { "MAIN_CNT",  0x0f0, NOFIELD(8), .value = counter_value, .wrote = counter_w },
    { "TN_CONF_CAP", 0x100, TN(conf), .rw = CONF_RW, .value_n = timer_conf, .write_n = timer_conf_w },
    { "TN_CMP",      0x108, .at = UINT32_MAX, .size = 8, .count = TIMERS_MAX, .stride = 0x20, .value_n = cmp_value, .wrote_n = cmp_w },
    { "TN_FSB_ROUT", 0x110, TN(fsb), .rw = UINT64_MAX },
};
static const Bank banks[] = { { "hpet", 0x400, TABLE(regs), .min = 4, .quiet = true } };
static const Field timer_rows[] = {
    FIELD(HpetTimer, conf), FIELD(HpetTimer, cmp, .reset = UINT64_MAX), FIELD(HpetTimer, period), FIELD(HpetTimer, fsb),
};
static const FieldTable timer_fields = TABLE(timer_rows);
static const Field state[] = {
    FIELD(Hpet, counter), STRUCTS(Hpet, t, &timer_fields), TIMERS(Hpet, due, fired, CLOCK_VM),
};
static const Prop props[] = {
    PROP(Hpet, timers, "timers", 3, "timers"), PROP(Hpet, msi, "msi", false, "timers can send messages"),
    PROP(Hpet, intcap, "hpet-intcap", 4, "interrupt lines that timers may use, a bit each"),
};
static const Out outs[] = {
    { "irq", .count = LINES, .level_n = irq_level }, { "legacy", .count = 2, .level_n = legacy_level }, { "legacy-on", legacy_on },
};
static const DevClass hpet = {
    .obj = { .name = "hpet", .desc = "High precision event timers", .size = sizeof(Hpet), .props = TABLE(props), .init = init },
    .state = TABLE(state), COUNTED(banks, banks), COUNTED(outs, outs), .no_user = true,
};
DEVICE(Hpet, hpet);
/* clang-format on */
