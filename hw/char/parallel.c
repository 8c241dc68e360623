/*
 * hw/char/parallel.c - the PC's parallel port with a printer behind it (standard and bidirectional mode). A character goes to the back end
 * when the strobe ends; while that cannot take it, the printer is busy. Source: IBM PC/AT technical reference, "Parallel
 * printer adapter"; IEEE 1284 compatibility mode. Left out: EPP and ECP modes.
 */
#include "chr/chr.h"
#include "hw/isa/isa.h"

enum { ST_ERROR = 0x08 /* low: error */, ST_SELECT = 0x10, ST_NACK = 0x40, ST_NBUSY = 0x80 };
enum { CTL_STROBE = 1, CTL_NINIT = 4, CTL_IRQ = 0x10, CTL_INPUT = 0x20, CTL_ONES = 0xc0 };

typedef struct Parallel {
    Dev dev;
    uint32_t iobase, irq, index;
    void *chr;
    uint8_t data, control;
    uint8_t latch, waits; /* a character that the back end did not take yet */
    uint8_t acked;        /* the printer took one; until the status is read */
    guint ready;
} Parallel;
#define PARALLEL(d) ((Parallel *)(d))

static bool irq(const Dev *d) { return PARALLEL(d)->acked && PARALLEL(d)->control & CTL_IRQ; }

static uint64_t status(const Dev *d)
{
    const Parallel *s = PARALLEL(d);

    return 7 | ST_ERROR | ST_SELECT | (s->acked ? 0 : ST_NACK) | (s->waits ? 0 : ST_NBUSY);
}
static void status_read(Dev *d, unsigned lanes) { PARALLEL(d)->acked = 0; }

static uint64_t data_value(const Dev *d) { return PARALLEL(d)->control & CTL_INPUT ? 0xff : PARALLEL(d)->data; }
static uint64_t control_value(const Dev *d) { return PARALLEL(d)->control | CTL_ONES; }

static void print(Parallel *s);
static void can_write(void *arg)
{
    Parallel *s = arg;

    s->ready = 0;
    WITH_DEV(&s->dev) {
        print(s);
    }
}

static void print(Parallel *s)
{
    if (!s->waits)
        return;
    if (s->chr && chr_write(s->chr, &s->latch, 1) != 1) {
        if (!s->ready)
            s->ready = chr_want_write(s->chr, can_write, s);
        return;
    }
    s->waits = 0;
    s->acked = 1;
}

static void control_w(Dev *d, uint64_t old)
{
    Parallel *s = PARALLEL(d);

    if (!(s->control & CTL_NINIT)) {
        s->waits = s->acked = 0; /* the printer starts anew */
    } else if (old & CTL_STROBE && !(s->control & CTL_STROBE) && !s->waits) {
        s->latch = s->data;
        s->waits = 1;
        print(s);
    }
}

static bool init(Obj *o, Error **err)
{
    static const uint16_t ports[] = { 0x378, 0x278, 0x3bc };
    static const uint8_t lines[] = { 7, 5, 7 };
    Parallel *s = PARALLEL(o);

    if (s->index >= G_N_ELEMENTS(ports))
        return fail(err, "isa-parallel: index=%u, but there are three parallel ports (0..2)", s->index);
    if (!s->iobase)
        s->iobase = ports[s->index];
    if (s->irq == UINT32_MAX)
        s->irq = lines[s->index];
    return !s->chr || chr_attach(s->chr, &(ChrUser){ .o = s, .slot = &s->chr }, err);
}

static void fini(Obj *o)
{
    Parallel *s = PARALLEL(o);

    if (!s->chr)
        return;
    if (s->ready)
        chr_cancel_write(s->chr, s->ready);
    chr_detach(s->chr, s);
}

static void loaded(Dev *d) { print(PARALLEL(d)); }

/* clang-format off */
static const Reg regs[] = {
    { .name = "Data", .off = 0, REG(Parallel, data), .rw = 0xff, .value = data_value, .doc = "what the pins carry" },
    { .name = "Status", .off = 1, NOFIELD(1), .ro = true, .value = status, .on_read = status_read, .doc = "3 no error, 4 selected, 6 no acknowledge, 7 not busy" },
    { .name = "Control", .off = 2, REG(Parallel, control), .rw = 0x3f, .reset = 0x0c, .value = control_value, .write = control_w,
      .doc = "0 strobe, 2 no reset, 3 select, 4 interrupt, 5 input" },
};
static const Bank bank = { "parallel", 3, TABLE(regs), .min = 1, .max = 1, .quiet = true };
static const Field state[] = {
    FIELD(Parallel, latch), FIELD(Parallel, waits), FIELD(Parallel, acked), TRANSIENT(Parallel, ready, "a wait of the host's", .keep = true),
};
static const Prop props[] = {
    PROP(Parallel, index, "index", 0, "LPT port, 0..2"), PROP(Parallel, iobase, "iobase", 0, "port; 0: by index"),
    PROP(Parallel, irq, "irq", UINT32_MAX, "interrupt line; by index when not given"), PROP_LINK(Parallel, chr, "chardev", "chardev", "the printer"),
};
static const Out outs[] = { { "irq", irq } };
static const IsaClass parallel = {
    ISA_DEVICE(Parallel, "isa-parallel", "Parallel port"), .dev.category = "Input devices", .dev.obj.init = init, .dev.obj.fini = fini,
    .dev.obj.props = TABLE(props), .dev.state = TABLE(state), .dev.banks = &bank, .dev.outs = outs, .dev.nouts = 1, .dev.loaded = loaded,
    .port[0] = { .base_at = offsetof(Parallel, iobase), .bank = &bank }, .irq_at = { offsetof(Parallel, irq) },
};
DEVICE_OF(Parallel, parallel, &parallel.dev);
/* clang-format on */
