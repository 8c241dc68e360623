/*
 * hw/intc/i8259.c - the 8259A interrupt controller, one chip; the PC has two in cascade.
 * Source: Intel 8259A data sheet (231468); ELCR: PIIX3 data sheet 2.8.2. Left out: buffered mode, MCS-80.
 * The command port means four things by its bits, so it is served by code, not by register rows.
 */
#include "core/api/x86.h"
#include "hw/intc/intc.h"
#include "hw/isa/isa.h"

typedef struct Pic {
    Dev dev;
    uint32_t iobase, elcr_addr, elcr_mask;
    bool master;
    uint8_t irr, imr, isr, lines, elcr; /* lines: levels of the inputs */
    uint8_t icw_step /* 0: none, else the ICW expected */, icw1, icw2, icw4;
    uint64_t count[8]; /* rising edges */
    uint8_t priority_add /* lowest priority + 1 */, read_isr, poll, special_mask, rotate_on_auto_eoi;
} Pic;
#define PIC(d) ((Pic *)(d))

/* The most urgent of the bits, as distance from the highest priority; 8: none. */
static unsigned urgent(const Pic *s, uint8_t bits)
{
    for (unsigned i = 0; i < 8; i++)
        if (bits >> ((i + s->priority_add) & 7) & 1)
            return i;
    return 8;
}

static unsigned in_service(const Pic *s)
{
    uint8_t isr = s->special_mask ? s->isr & (uint8_t)~s->imr : s->isr;

    if (s->icw4 & 0x10 && s->master) /* special fully nested: the slave may interrupt itself */
        isr &= (uint8_t)~4;
    return urgent(s, isr);
}

static int wanted(const Pic *s)
{
    unsigned p = urgent(s, s->irr & (uint8_t)~s->imr);

    return p < in_service(s) ? (int)((p + s->priority_add) & 7) : -1;
}

static bool output(const Dev *d) { return wanted(PIC(d)) >= 0; }

static void acknowledge(Pic *s, unsigned n)
{
    uint8_t bit = (uint8_t)(1 << n);

    if (s->icw4 & 2) { /* automatic end of interrupt */
        if (s->rotate_on_auto_eoi)
            s->priority_add = (uint8_t)((n + 1) & 7);
    } else {
        s->isr |= bit;
    }
    if (!(s->elcr & bit)) /* edges are taken; levels stay while the line is high */
        s->irr &= (uint8_t)~bit;
}

int pic_ack(Dev *master, Dev *slave)
{
    Pic *m = PIC(master), *v = PIC(slave);
    int n, vector;

    dev_enter(master);
    dev_enter(slave);
    n = wanted(m);
    if (n < 0) {
        vector = m->icw2 + 7; /* spurious */
    } else {
        vector = m->icw2 + n;
        acknowledge(m, (unsigned)n);
        if (n == 2) {
            n = wanted(v);
            vector = v->icw2 + (n < 0 ? 7 : n);
            if (n >= 0)
                acknowledge(v, (unsigned)n);
        }
    }
    dev_leave(slave);
    dev_leave(master);
    return vector;
}

static void set_line(Dev *d, unsigned n, bool level)
{
    Pic *s = PIC(d);
    uint8_t bit = (uint8_t)(1 << n);
    Vm *vm = dev_vm(d);

    s->count[n] += level;
    if (vm_chips_in_kernel(vm)) {
        if (!s->master || n != 2) /* the cascade is the kernel's own */
            vm->irq->pin_set(vm, GSI_PIC + n + (s->master ? 0 : 8), level);
        return;
    }
    if (s->elcr & bit) {
        s->irr = level ? s->irr | bit : s->irr & (uint8_t)~bit;
    } else if (level && !(s->lines & bit)) {
        s->irr |= bit;
    } else if (!level) {
        s->irr &= (uint8_t)~bit; /* the data sheet: the request must stay until acknowledged */
    }
    s->lines = level ? s->lines | bit : s->lines & (uint8_t)~bit;
}

static void start_init(Pic *s, uint8_t v)
{
    s->icw1 = v;
    s->irr = s->lines & s->elcr;
    s->imr = s->isr = 0;
    s->priority_add = s->read_isr = s->special_mask = s->rotate_on_auto_eoi = s->poll = 0;
    s->icw4 = 0;
    s->icw_step = 2;
}

static void ocw2(Pic *s, uint8_t v)
{
    unsigned p = urgent(s, s->isr), n = (p + s->priority_add) & 7, cmd = v >> 5;

    switch (cmd) {
    case 0:
    case 4: s->rotate_on_auto_eoi = cmd >> 2; break;
    case 1:
    case 5: /* the most urgent in service ends */
        if (p < 8) {
            s->isr &= (uint8_t)~(1 << n);
            if (cmd == 5)
                s->priority_add = (uint8_t)((n + 1) & 7);
        }
        break;
    case 3: s->isr &= (uint8_t)~(1 << (v & 7)); break;
    case 6: s->priority_add = (uint8_t)((v + 1) & 7); break;
    case 7:
        s->isr &= (uint8_t)~(1 << (v & 7));
        s->priority_add = (uint8_t)((v + 1) & 7);
        break;
    default: break;
    }
}

static void write_command(Pic *s, uint8_t v)
{
    if (v & 0x10) {
        start_init(s, v);
    } else if (v & 8) { /* OCW3 */
        if (v & 4)
            s->poll = 1;
        if (v & 2)
            s->read_isr = v & 1;
        if (v & 0x40)
            s->special_mask = v >> 5 & 1;
    } else {
        ocw2(s, v);
    }
}

static void write_data(Pic *s, uint8_t v)
{
    switch (s->icw_step) {
    case 0: s->imr = v; break;
    case 2:
        s->icw2 = v & 0xf8;
        s->icw_step = s->icw1 & 2 ? (s->icw1 & 1 ? 4 : 0) : 3;
        break;
    case 3: s->icw_step = s->icw1 & 1 ? 4 : 0; break;
    default:
        s->icw4 = v;
        s->icw_step = 0;
        break;
    }
}

static uint8_t poll_read(Pic *s)
{
    int n = wanted(s);

    s->poll = 0;
    if (n < 0)
        return 0;
    acknowledge(s, (unsigned)n);
    return (uint8_t)(n | 0x80);
}

static MemResult pic_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    Pic *s = o;

    *val = s->poll ? poll_read(s) : off ? s->imr : s->read_isr ? s->isr : s->irr;
    return MEM_OK;
}

static MemResult pic_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    if (off)
        write_data(o, (uint8_t)val);
    else
        write_command(o, (uint8_t)val);
    return MEM_OK;
}

static MemResult pic_peek(const void *o, uint64_t off, unsigned size, uint64_t *val)
{
    const Pic *s = o;

    *val = off ? s->imr : s->read_isr ? s->isr : s->irr;
    return MEM_OK;
}
static const RegionOps pic_ops = { .read = pic_read, .write = pic_write, .peek = pic_peek, .takes = { 1, 1, false }, .does = { 1, 1, false } };

static MemResult elcr_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    *val = ((Pic *)o)->elcr;
    return MEM_OK;
}

static MemResult elcr_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    Pic *s = o;

    s->elcr = (uint8_t)(val & s->elcr_mask);
    return MEM_OK;
}
static const RegionOps elcr_ops = { .read = elcr_read, .write = elcr_write, .takes = { 1, 1, false }, .does = { 1, 1, false } };

/* ---- an accelerator that has the chips itself ---- */
#define SAME(m) m(irr) m(imr) m(isr) m(lines) m(elcr) m(icw_step) m(icw1) m(icw2) m(icw4) m(priority_add) m(read_isr) m(poll) \
    m(special_mask) m(rotate_on_auto_eoi)

static void pic_get(Obj *chip, void *state)
{
    const Pic *s = PIC(chip);
    PicState *p = state;

#define GET(f) p->f = s->f;
    SAME(GET)
#undef GET
}

static void pic_set(Obj *chip, const void *state)
{
    Pic *s = PIC(chip);
    const PicState *p = state;

    dev_enter(&s->dev);
#define SET(f) s->f = p->f;
    SAME(SET)
#undef SET
    dev_leave(&s->dev);
}

static bool pic_init(Obj *o, Error **err)
{
    chip_port_new(o, PIC(o)->master ? "pic0" : "pic1", pic_get, pic_set);
    return true;
}

/* clang-format off */
static const Field pic_state[] = {
    FIELD(Pic, irr), FIELD(Pic, imr), FIELD(Pic, isr), FIELD(Pic, lines, .keep = true), FIELD(Pic, elcr), FIELD(Pic, icw_step),
    FIELD(Pic, icw1), FIELD(Pic, icw2), FIELD(Pic, icw4), FIELD(Pic, priority_add), FIELD(Pic, read_isr), FIELD(Pic, poll),
    FIELD(Pic, special_mask), FIELD(Pic, rotate_on_auto_eoi), TRANSIENT(Pic, count, "statistics", .keep = true),
};
static const Prop pic_props[] = {
    PROP(Pic, iobase, "iobase", 0x20, "port"), PROP(Pic, elcr_addr, "elcr_addr", 0x4d0, "port of the edge/level register"),
    PROP(Pic, elcr_mask, "elcr_mask", 0xf8, "lines that may be level triggered"), PROP(Pic, master, "master", true, "the first in the cascade"),
};
static const Out pic_outs[] = { { "int", output } };
static const In pic_ins[] = { { "irq", 8, set_line } };
static const IsaClass pic = {
    ISA_DEVICE(Pic, "isa-i8259", "Interrupt controller"), .dev.no_user = true, .dev.obj.init = pic_init,
    .dev.obj.props = TABLE(pic_props), .dev.state = TABLE(pic_state),
    .dev.outs = pic_outs, .dev.nouts = 1, .dev.ins = pic_ins, .dev.nins = 1,
    .port[0] = { .base_at = offsetof(Pic, iobase), .ops = &pic_ops, .size = 2, .name = "pic" },
    .port[1] = { .base_at = offsetof(Pic, elcr_addr), .ops = &elcr_ops, .size = 1, .name = "elcr" },
};
DEVICE_OF(Pic, pic, &pic.dev);
/* clang-format on */

static void print_counts(Dev *d, void *arg)
{
    const Pic *s = PIC(d);
    GString *out = arg;

    if (d->cls != &pic.dev)
        return;
    g_string_append(out, "IRQ statistics for isa-i8259:\n");
    for (unsigned i = 0; i < 8; i++)
        if (s->count[i])
            g_string_append_printf(out, "%2u: %" PRIu64 "\n", i + (s->master ? 0 : 8), s->count[i]);
}

void hmp_info_irq(Hmp *h) { vm_foreach_dev(h->vm, print_counts, h->out); }
