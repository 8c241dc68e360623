/*
 * hw/timer/i8254.c - the 8254 timer with the PC's port 61h: counter 0 is the system tick, 1 was DRAM refresh, 2 the
 * speaker. Source: Intel 8254 data sheet (231164). Counting in BCD and modes 1 and 5 of counter 0 (no gate) follow it.
 */
#include "core/irqchip.h"
#include "core/vm.h"
#include "hw/isa/isa.h"

enum { HZ = 1193182, LATCHED = 1, STATUS = 2, LATE = 50 };

typedef struct Counter {
    int64_t start;     /* when the count was loaded */
    uint32_t count;    /* 1..65536 */
    uint16_t latch;
    uint8_t control, mode, rw, bcd, gate, written_low, half_read, half_written, latched, status, loaded;
    uint8_t pad[3];
} Counter;
typedef struct Pit {
    Dev dev;
    uint32_t iobase;
    uint8_t speaker, refresh;
    bool out;
    uint64_t next; /* tick of the change the timer waits for */
    Counter c[3];
    Timer tick;
} Pit;
#define PIT(d) ((Pit *)(d))

static uint64_t ticks(const Pit *s, const Counter *c)
{
    int64_t ns = vm_now(dev_vm(&s->dev)) - c->start;

    return muldiv64((uint64_t)MAX(ns, 0), HZ, SEC);
}

static int64_t when(const Counter *c, uint64_t tick) { return c->start + (int64_t)((tick * (uint64_t)SEC + HZ - 1) / HZ); }

static bool out_at(const Counter *c, uint64_t t)
{
    switch (c->mode) {
    case 0:
    case 1: return c->loaded && t >= c->count;
    case 2: return !c->loaded || t % c->count != c->count - 1;
    case 3: return !c->loaded || t % c->count < (c->count + 1) / 2;
    default: return !c->loaded || t != c->count;
    }
}

/* The tick at which the output changes next; 0: never. */
static uint64_t next_change(const Counter *c, uint64_t t)
{
    uint64_t base = t / c->count * c->count;

    switch (c->mode) {
    case 0:
    case 1: return t < c->count ? c->count : 0;
    case 2: return t % c->count == c->count - 1 ? base + c->count : base + c->count - 1;
    case 3: return t % c->count < (c->count + 1) / 2 ? base + (c->count + 1) / 2 : base + c->count;
    default: return t < c->count ? c->count : t == c->count ? t + 1u : 0;
    }
}

static uint16_t current(const Pit *s, const Counter *c)
{
    uint64_t t = ticks(s, c), v;

    if (!c->loaded)
        return 0;
    switch (c->mode) {
    case 2: v = c->count - t % c->count; break;
    case 3: v = c->count - t * 2 % c->count; break;
    default: v = c->count - t; break;
    }
    v &= 0xffff;
    if (c->bcd)
        v = v % 10 | (v / 10 % 10) << 4 | (v / 100 % 10) << 8 | (v / 1000 % 10) << 12;
    return (uint16_t)v;
}

/* Output 0 as of the last change that was served: the low phase of mode 2 is shorter than a host's timers are late. */
static bool irq_level(const Dev *d) { return PIT(d)->out && !vm_chips_in_kernel(dev_vm(d)); }

static void schedule(Pit *s, uint64_t from)
{
    Counter *c = &s->c[0];

    s->next = c->loaded ? next_change(c, from) : 0;
    if (s->next)
        timer_at(&s->tick, when(c, s->next));
    else
        timer_del(&s->tick);
}

static void arm(Pit *s)
{
    uint64_t t = ticks(s, &s->c[0]);

    s->out = out_at(&s->c[0], t);
    schedule(s, t);
}

/* Each change is served, late or not; after LATE periods of silence those in between are lost. */
static void tick(Dev *d)
{
    Pit *s = PIT(d);
    Counter *c = &s->c[0];
    uint64_t t = s->next, now = ticks(s, c);

    if (vm_chips_in_kernel(dev_vm(d)))
        return; /* the accelerator's PIT counts; ours only held the state */
    if (now > t && (now - t) / c->count > LATE)
        t += (now - t) / c->count * c->count;
    s->out = out_at(c, t);
    schedule(s, t);
}

static void load(Pit *s, unsigned n, unsigned v)
{
    Counter *c = &s->c[n];

    if (c->bcd)
        v = (v & 15) + (v >> 4 & 15) * 10 + (v >> 8 & 15) * 100 + (v >> 12 & 15) * 1000;
    c->count = v ? v : c->bcd ? 10000 : 65536;
    c->start = vm_now(dev_vm(&s->dev));
    c->loaded = 1;
    if (n == 0)
        arm(s);
}

static void latch_count(Pit *s, Counter *c)
{
    if (c->latched & LATCHED)
        return;
    c->latch = current(s, c);
    c->latched |= LATCHED;
    c->half_read = 0;
}

static void latch_status(Pit *s, Counter *c)
{
    if (c->latched & STATUS)
        return;
    c->status = (uint8_t)(out_at(c, ticks(s, c)) << 7 | !c->loaded << 6 | (c->control & 0x3f));
    c->latched |= STATUS;
}

static void write_control(Pit *s, uint8_t v)
{
    unsigned n = v >> 6;
    Counter *c;

    if (n == 3) { /* read back */
        for (unsigned i = 0; i < 3; i++)
            if (v >> (i + 1) & 1) {
                if (!(v & 0x20))
                    latch_count(s, &s->c[i]);
                if (!(v & 0x10))
                    latch_status(s, &s->c[i]);
            }
        return;
    }
    c = &s->c[n];
    if (!(v & 0x30)) {
        latch_count(s, c);
        return;
    }
    c->control = v;
    c->rw = v >> 4 & 3;
    c->mode = (v >> 1 & 7) > 5 ? (v >> 1 & 3) : v >> 1 & 7;
    c->bcd = v & 1;
    c->half_read = c->half_written = c->latched = c->loaded = 0;
    if (n == 0)
        arm(s);
}

static void write_counter(Pit *s, unsigned n, uint8_t v)
{
    Counter *c = &s->c[n];

    if (c->rw == 1) {
        load(s, n, v);
    } else if (c->rw == 2) {
        load(s, n, (unsigned)v << 8);
    } else if (!c->half_written) {
        c->written_low = v;
        c->half_written = 1;
        if (c->mode == 0)
            c->loaded = 0;
    } else {
        c->half_written = 0;
        load(s, n, c->written_low | (unsigned)v << 8);
    }
}

static uint8_t read_counter(Pit *s, Counter *c)
{
    uint16_t v;
    bool high;

    if (c->latched & STATUS) {
        c->latched &= (uint8_t)~STATUS;
        return c->status;
    }
    v = c->latched & LATCHED ? c->latch : current(s, c);
    high = c->rw == 2 || (c->rw == 3 && c->half_read);
    if (c->rw == 3)
        c->half_read ^= 1;
    if (c->rw != 3 || !c->half_read)
        c->latched &= (uint8_t)~LATCHED;
    return (uint8_t)(high ? v >> 8 : v);
}

/* One port means control word, low byte or high byte by state: code, not rows. */
static MemResult pit_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    *val = off < 3 ? read_counter(o, &PIT(o)->c[off]) : 0xff;
    return MEM_OK;
}

static MemResult pit_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    if (off == 3)
        write_control(o, (uint8_t)val);
    else
        write_counter(o, (unsigned)off, (uint8_t)val);
    return MEM_OK;
}
static const RegionOps pit_ops = { .read = pit_read, .write = pit_write, .takes = { 1, 1, false }, .does = { 1, 1, false } };

/* ---- port 61h ---- */
static MemResult port61_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    Pit *s = o;
    const Counter *c = &s->c[2];

    s->refresh ^= 0x10;
    *val = s->speaker | s->refresh | (unsigned)out_at(c, ticks(s, c)) << 5;
    return MEM_OK;
}

static MemResult port61_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    Pit *s = o;

    s->speaker = val & 0xf;
    if (val & 1 && !s->c[2].gate && (s->c[2].mode == 1 || s->c[2].mode == 5 || s->c[2].mode == 2 || s->c[2].mode == 3))
        s->c[2].start = vm_now(dev_vm(&s->dev)); /* a rising gate restarts */
    s->c[2].gate = val & 1;
    return MEM_OK;
}
static const RegionOps port61_ops = { .read = port61_read, .write = port61_write, .takes = { 1, 1, false }, .does = { 1, 1, false } };

/* ---- an accelerator that has the chip itself ---- */
#define SAME(m) m(start) m(count) m(latch) m(mode) m(rw) m(bcd) m(gate) m(written_low) m(half_read) m(half_written) m(status) m(loaded)

static void get(Obj *chip, void *state)
{
    const Pit *s = PIT(chip);
    PitState *p = state;

    p->speaker = s->speaker & 3;
    for (unsigned i = 0; i < 3; i++) {
        const Counter *c = &s->c[i];
        PitCounterState *k = &p->c[i];

#define GET(f) k->f = c->f;
        SAME(GET)
#undef GET
        k->count_latched = c->latched & LATCHED;
        k->status_latched = (c->latched & STATUS) != 0;
    }
}

static void set(Obj *chip, const void *state)
{
    Pit *s = PIT(chip);
    const PitState *p = state;

    dev_enter(&s->dev);
    s->speaker = p->speaker;
    for (unsigned i = 0; i < 3; i++) {
        const PitCounterState *k = &p->c[i];
        Counter *c = &s->c[i];

#define SET(f) c->f = k->f;
        SAME(SET)
#undef SET
        c->control = (uint8_t)(i << 6 | c->rw << 4 | c->mode << 1 | c->bcd);
        c->latched = (uint8_t)((k->count_latched ? LATCHED : 0) | (k->status_latched ? STATUS : 0));
    }
    arm(s);
    dev_leave(&s->dev);
}

static bool init(Obj *o, Error **err)
{
    chip_port_new(o, "pit", get, set);
    return true;
}

static bool check_state(const Dev *d, Error **err)
{
    for (unsigned i = 0; i < 3; i++) {
        const Counter *c = &PIT(d)->c[i];

        if (c->mode > 5 || c->rw > 3 || c->count < 1 || c->count > 65536 || c->start < 0 || c->start > INT64_MAX / 4)
            return fail(err, "counter %u cannot be in that state", i);
    }
    return true;
}

static void on_reset(Dev *d)
{
    PIT(d)->c[0].gate = PIT(d)->c[1].gate = 1;
}

/* clang-format off */
static const Field counter_fields[] = {
    FIELD(Counter, start), FIELD(Counter, count, .reset = 65536), FIELD(Counter, latch), FIELD(Counter, control), FIELD(Counter, mode), FIELD(Counter, rw),
    FIELD(Counter, bcd), FIELD(Counter, gate), FIELD(Counter, written_low), FIELD(Counter, half_read), FIELD(Counter, half_written),
    FIELD(Counter, latched), FIELD(Counter, status), FIELD(Counter, loaded), BYTES(Counter, pad),
};
static const FieldTable counter_table = TABLE(counter_fields);
static const Field pit_state[] = {
    STRUCTS(Pit, c, &counter_table), FIELD(Pit, speaker), FIELD(Pit, refresh), FIELD(Pit, out), FIELD(Pit, next), TIMER(Pit, tick, tick, CLOCK_VM),
};
static const Prop pit_props[] = { PROP(Pit, iobase, "iobase", 0x40, "port") };
static const Out pit_outs[] = { { "irq", irq_level } };
static const IsaClass pit = {
    ISA_DEVICE(Pit, "isa-pit", "Programmable interval timer"), .dev.no_user = true, .dev.obj.init = init, .dev.obj.props = TABLE(pit_props),
    .dev.state = TABLE(pit_state), .dev.outs = pit_outs, .dev.nouts = 1, .dev.check = check_state, .dev.on_reset = on_reset,
    .port[0] = { .base_at = offsetof(Pit, iobase), .ops = &pit_ops, .size = 4, .name = "pit" },
    .port[1] = { .base = 0x61, .ops = &port61_ops, .size = 1, .name = "port61" },
};
DEVICE_OF(Pit, pit, &pit.dev);
/* clang-format on */
