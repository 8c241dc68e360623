/*
 * hw/char/serial.c - the 16550A UART on the ISA bus. Source: National PC16550D data sheet.
 * Characters go out at once and never block the guest: what the back end cannot take waits in the transmit FIFO.
 * Left out: baud-rate pacing (the line is as fast as the back end), DMA modes.
 */
#include "chr/chr.h"
#include "hw/isa/isa.h"

enum { IER_RDI = 1, IER_THRI = 2, IER_RLSI = 4, IER_MSI = 8 };
enum { IIR_NONE = 1, IIR_MSI = 0, IIR_THRI = 2, IIR_RDI = 4, IIR_RLSI = 6, IIR_CTI = 12, IIR_FIFO = 0xc0 };
enum { FCR_ON = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4 };
enum { LCR_BREAK = 0x40, LCR_DLAB = 0x80, MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 16 };
enum { LSR_DR = 1, LSR_OE = 2, LSR_BI = 16, LSR_THRE = 32, LSR_TEMT = 64 };
enum { MSR_CTS = 16, MSR_DSR = 32, MSR_RI = 64, MSR_DCD = 128 };

typedef struct Serial {
    Dev dev;
    uint32_t iobase, irq, index;
    void *chr;
    uint8_t ier, fcr, lcr, mcr, msr, scr, dll, dlm, overrun, broke /* break in the FIFO's front */, thr_pending, timeout;
    Fifo rx, tx;
    Timer idle; /* characters wait below the trigger level: four character times */
    guint ready;
} Serial;
#define SERIAL(d) ((Serial *)(d))

static bool dlab(const Dev *d) { return SERIAL(d)->lcr & LCR_DLAB; }
static bool no_dlab(const Dev *d) { return !dlab(d); }
static unsigned depth(const Serial *s) { return s->fcr & FCR_ON ? 16 : 1; }

static unsigned trigger(const Serial *s)
{
    static const uint8_t level[] = { 1, 4, 8, 14 };

    return s->fcr & FCR_ON ? level[s->fcr >> 6] : 1;
}

static uint64_t lsr(const Dev *d)
{
    const Serial *s = SERIAL(d);

    return (s->rx.used ? LSR_DR : 0) | (s->overrun ? LSR_OE : 0) | (s->broke ? LSR_BI : 0) | (s->tx.used ? 0 : LSR_THRE | LSR_TEMT);
}

static uint64_t iir(const Dev *d)
{
    const Serial *s = SERIAL(d);
    unsigned v = IIR_NONE;

    if (s->ier & IER_RLSI && lsr(d) & (LSR_OE | LSR_BI))
        v = IIR_RLSI;
    else if (s->ier & IER_RDI && s->rx.used >= trigger(s))
        v = IIR_RDI;
    else if (s->ier & IER_RDI && s->timeout)
        v = IIR_CTI;
    else if (s->ier & IER_THRI && s->thr_pending)
        v = IIR_THRI;
    else if (s->ier & IER_MSI && s->msr & 15)
        v = IIR_MSI;
    return v | (s->fcr & FCR_ON ? IIR_FIFO : 0);
}

static bool irq(const Dev *d)
{
    const Serial *s = SERIAL(d);

    return !(iir(d) & IIR_NONE) && s->mcr & MCR_OUT2 && !(s->mcr & MCR_LOOP);
}

static void receive(Serial *s, uint8_t c)
{
    if (s->rx.used >= depth(s) || !fifo_push(&s->rx, c)) {
        s->overrun = 1;
        return;
    }
    timer_in(&s->idle, 4 * 10 * SEC / 115200);
}

static void idle(Dev *d) { SERIAL(d)->timeout = SERIAL(d)->rx.used != 0; }

/* Move what waits to the back end. */
static void flush(Serial *s);
static void can_write(void *arg)
{
    Serial *s = arg;

    s->ready = 0;
    WITH_DEV(&s->dev) {
        flush(s);
    }
}

static void flush(Serial *s)
{
    while (s->tx.used) { /* at most the FIFO's depth */
        uint8_t c = s->tx.data[s->tx.head];

        if (s->chr && chr_write(s->chr, &c, 1) != 1) {
            if (!s->ready)
                s->ready = chr_want_write(s->chr, can_write, s);
            return;
        }
        fifo_pop(&s->tx);
    }
    s->thr_pending = 1;
}

static void send(Dev *d, uint64_t val, unsigned lanes)
{
    Serial *s = SERIAL(d);

    s->thr_pending = 0;
    if (s->mcr & MCR_LOOP) {
        receive(s, (uint8_t)val);
        s->thr_pending = 1;
        return;
    }
    if (s->tx.used >= depth(s)) /* lost, as on the wire */
        fifo_pop(&s->tx);
    fifo_push(&s->tx, (uint8_t)val);
    flush(s);
}

static uint64_t rbr(const Dev *d) { return SERIAL(d)->rx.used ? SERIAL(d)->rx.data[SERIAL(d)->rx.head] : 0; }

static void rbr_read(Dev *d, unsigned lanes)
{
    Serial *s = SERIAL(d);

    fifo_pop(&s->rx);
    s->timeout = s->broke = 0;
    if (s->rx.used)
        timer_in(&s->idle, 4 * 10 * SEC / 115200);
    else
        timer_del(&s->idle);
    if (s->chr)
        chr_accept_input(s->chr);
}

static void ier_written(Dev *d, uint64_t old)
{
    if (SERIAL(d)->ier & ~old & IER_THRI && !SERIAL(d)->tx.used)
        SERIAL(d)->thr_pending = 1;
}

static void iir_read(Dev *d, unsigned lanes)
{
    if ((iir(d) & 15) == IIR_THRI)
        SERIAL(d)->thr_pending = 0;
}

static void fcr_written(Dev *d, uint64_t val, unsigned lanes)
{
    Serial *s = SERIAL(d);

    if ((val ^ s->fcr) & FCR_ON)
        val |= FCR_CLEAR_RX | FCR_CLEAR_TX;
    if (val & FCR_CLEAR_RX) {
        s->rx.used = s->rx.head = 0;
        s->timeout = s->broke = 0;
        timer_del(&s->idle);
    }
    if (val & FCR_CLEAR_TX) {
        s->tx.used = s->tx.head = 0;
        s->thr_pending = 1;
    }
    s->fcr = val & 0xc9;
    if (s->chr)
        chr_accept_input(s->chr);
}

static void lsr_read(Dev *d, unsigned lanes) { SERIAL(d)->overrun = SERIAL(d)->broke = 0; }

static uint64_t modem(const Dev *d)
{
    const Serial *s = SERIAL(d);
    unsigned m = s->mcr;

    if (!(m & MCR_LOOP))
        return s->msr;
    return (s->msr & 15) | (m & MCR_RTS ? MSR_CTS : 0) | (m & MCR_DTR ? MSR_DSR : 0) | (m & MCR_OUT1 ? MSR_RI : 0) |
           (m & MCR_OUT2 ? MSR_DCD : 0);
}

static void msr_read(Dev *d, unsigned lanes) { SERIAL(d)->msr &= 0xf0; }

/* ---- the back end ---- */
static size_t can_take(void *o)
{
    Serial *s = o;

    return s->mcr & MCR_LOOP || vm_awaits_state(s->dev.obj.vm) ? 0 : depth(s) - MIN(s->rx.used, depth(s));
}

static void take(void *o, const uint8_t *p, size_t n)
{
    Serial *s = o;

    WITH_DEV(&s->dev) {
        for (size_t i = 0; i < n; i++)
            receive(s, p[i]);
    }
}

static void event(void *o, ChrEvent e)
{
    Serial *s = o;

    if (e != CHR_BREAK)
        return;
    WITH_DEV(&s->dev) {
        receive(s, 0);
        s->broke = 1;
    }
}

static bool init(Obj *o, Error **err)
{
    static const uint16_t ports[] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
    static const uint8_t irqs[] = { 4, 3, 4, 3 };
    Serial *s = (Serial *)o;

    if (s->index > 3)
        return fail(err, "isa-serial: index=%u, but there are four serial ports (0..3)", s->index);
    if (!s->iobase)
        s->iobase = ports[s->index];
    if (s->irq == UINT32_MAX)
        s->irq = irqs[s->index];
    return !s->chr || chr_attach(s->chr, &(ChrUser){ can_take, take, event, s, &s->chr }, err);
}

static void fini(Obj *o)
{
    Serial *s = (Serial *)o;

    if (!s->chr)
        return;
    if (s->ready)
        chr_cancel_write(s->chr, s->ready);
    chr_detach(s->chr, s);
}

static void on_reset(Dev *d) { SERIAL(d)->thr_pending = 0; }

static void loaded(Dev *d)
{
    if (SERIAL(d)->tx.used)
        flush(SERIAL(d));
}

/* clang-format off */
static const Reg serial_regs[] = {
    { .name = "RBR", .off = 0, NOFIELD(1), .ro = true, .bank = no_dlab, .value = rbr, .on_read = rbr_read, .doc = "received character" },
    { .name = "THR", .off = 0, NOFIELD(1), .wo = true, .bank = no_dlab, .wrote = send, .doc = "character to send" },
    { .name = "DLL", .off = 0, REG(Serial, dll), .rw = 0xff, .reset = 12, .bank = dlab, .doc = "baud divisor, low" },
    { .name = "IER", .off = 1, REG(Serial, ier), .rw = 0x0f, .bank = no_dlab, .write = ier_written, .doc = "interrupts wanted" },
    { .name = "DLM", .off = 1, REG(Serial, dlm), .rw = 0xff, .bank = dlab, .doc = "baud divisor, high" },
    { .name = "IIR", .off = 2, NOFIELD(1), .ro = true, .value = iir, .on_read = iir_read, .doc = "why it interrupts" },
    { .name = "FCR", .off = 2, NOFIELD(1), .wo = true, .wrote = fcr_written, .doc = "FIFO control" },
    { .name = "LCR", .off = 3, REG(Serial, lcr), .rw = 0xff, .doc = "format, break, DLAB" },
    { .name = "MCR", .off = 4, REG(Serial, mcr), .rw = 0x1f, .doc = "modem control, loop" },
    { .name = "LSR", .off = 5, NOFIELD(1), .ro = true, .value = lsr, .on_read = lsr_read, .doc = "line status" },
    { .name = "MSR", .off = 6, NOFIELD(1), .ro = true, .value = modem, .on_read = msr_read, .doc = "modem status" },
    { .name = "SCR", .off = 7, REG(Serial, scr), .rw = 0xff, .doc = "scratch" },
};
static const Bank serial_bank = { "serial", 8, TABLE(serial_regs), .min = 1, .max = 1, .unclaimed = 0xff, .quiet = true };
static const Field serial_state[] = {
    FIELD(Serial, fcr), FIELD(Serial, msr, .reset = MSR_CTS | MSR_DSR | MSR_DCD), FIELD(Serial, overrun), FIELD(Serial, broke), FIELD(Serial, thr_pending),
    FIELD(Serial, timeout), FIFO_FIELD(Serial, rx), FIFO_FIELD(Serial, tx), TIMER(Serial, idle, idle, CLOCK_VM),
    TRANSIENT(Serial, ready, "a wait of the host's", .keep = true),
};
static const Prop serial_props[] = {
    PROP(Serial, index, "index", 0, "COM port, 0..3"), PROP(Serial, iobase, "iobase", 0, "port; 0: by index"),
    PROP(Serial, irq, "irq", UINT32_MAX, "interrupt line; by index when not given"), PROP_LINK(Serial, chr, "chardev", "chardev", "the other end of the line"),
};
static const Out serial_outs[] = { { "irq", irq } };
static const IsaClass serial = {
    ISA_DEVICE(Serial, "isa-serial", "16550A serial port"), .dev.category = "Input devices", .dev.obj.init = init, .dev.obj.fini = fini,
    .dev.obj.props = TABLE(serial_props), .dev.state = TABLE(serial_state), .dev.banks = &serial_bank, .dev.outs = serial_outs, .dev.nouts = 1,
    .dev.on_reset = on_reset, .dev.loaded = loaded,
    .port[0] = { .base_at = offsetof(Serial, iobase), .bank = &serial_bank }, .irq_at = { offsetof(Serial, irq) },
};
DEVICE_OF(Serial, serial, &serial.dev);
/* clang-format on */
