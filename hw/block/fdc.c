/*
 * hw/block/fdc.c - the 82077AA floppy disk controller on the ISA bus in AT mode: registers, phases of a command, seeks.
 * Source: Intel 82077AA data sheet (290166), chapters 2, 5, 6.
 * Left out: the PS/2 and Model 30 registers A and B, the scan commands, tape drives, power-down.
 * Phases: COMMAND takes bytes until a row of the table has all of its own; EXECUTION moves data (fdc-data.c) or waits;
 * RESULT gives bytes until none is left. Seeks run beside; SENSE INTERRUPT fetches their ends.
 */
#include "hw/block/fdc-priv.h"

enum { MSR_RQM = 0x80, MSR_DIO = 0x40, MSR_NONDMA = 0x20, MSR_CB = 0x10 };
enum { STEP_NS = 1 * MS, CONFIG_RESET = CONFIG_EFIFO, POLL_NS = 10 * US };

/* ---- interrupts ---- */
static bool irq(const Dev *d)
{
    const Fdc *s = FDC(d);
    bool to_host;

    return s->dor & DOR_DMAGATE && (s->finished || s->sense || fdc__wants_byte(s, &to_host));
}

void fdc__result(Fdc *s, const uint8_t *bytes, unsigned n, bool interrupt)
{
    if (n)
        memcpy(s->out, bytes, n);
    s->nout = (uint8_t)n;
    s->at = s->nin = 0;
    s->stage = FDC_NOTHING;
    s->phase = n ? FDC_RESULT : FDC_COMMAND;
    s->finished = interrupt;
}

/* ---- reset: by the pin, DOR and DSR ---- */
/* The sheet has this interrupt only while polling is on. Linux turns polling off and waits for it all the same, seconds when it does
 * not come; so it comes. */
static void polled(Dev *d)
{
    Fdc *s = FDC(d);

    s->sense = 0xf; /* all drives changed from not ready */
    for (unsigned i = 0; i < 4; i++)
        s->sense_st0[i] = (uint8_t)(ST0_POLLED | i);
}

static void soft_reset(Fdc *s)
{
    fdc__forget(s);
    timer_del(&s->pace);
    for (unsigned i = 0; i < 4; i++)
        timer_del(&s->seek[i]);
    s->phase = FDC_COMMAND;
    s->stage = FDC_NOTHING;
    s->nin = s->nout = s->at = s->finished = s->sense = s->seeking = 0;
    if (!s->lock) {
        s->config = (uint8_t)((s->config & CONFIG_POLL) | CONFIG_RESET);
        s->pretrk = 0;
    }
    s->perpendicular &= 0x3c;
}

static void dor_w(Dev *d, uint64_t old)
{
    Fdc *s = FDC(d);

    if (old & DOR_NRESET && !(s->dor & DOR_NRESET))
        soft_reset(s);
    else if (!(old & DOR_NRESET) && s->dor & DOR_NRESET)
        polled(d);
}

static void dsr_w(Dev *d, uint64_t val, unsigned lanes)
{
    Fdc *s = FDC(d);

    s->rate = val & 3;
    s->precomp = val >> 2 & 7;
    if (val & 0x40)
        guest_unimp(d, "power-down");
    if (val & 0x80 && s->dor & DOR_NRESET) {
        soft_reset(s);
        polled(d);
    }
}

/* ---- commands without data ---- */
static void specify(Fdc *s)
{
    s->srt_hut = s->in[1];
    s->hlt_nd = s->in[2];
    fdc__result(s, NULL, 0, false);
}

static void sense_drive(Fdc *s)
{
    unsigned n = s->in[1] & 3;
    const Floppy *f = fdc__drive(s, n);
    uint8_t st3 = (uint8_t)(0x28 | (s->in[1] & 7));

    if (f && floppy_ready(f) && disk_readonly(f->disk))
        st3 |= 0x40;
    if (f && !f->track)
        st3 |= 0x10;
    fdc__result(s, &st3, 1, false);
}

static void sense_interrupt(Fdc *s)
{
    unsigned n = s->sense ? (unsigned)__builtin_ctz(s->sense) : 0;
    const uint8_t out[2] = { s->sense ? s->sense_st0[n] : ST0_INVALID, s->pcn[n] };
    unsigned bytes = s->sense ? 2 : 1;

    s->seeking &= (uint8_t)~(s->sense & 1u << n);
    s->sense &= (uint8_t)~(1u << n);
    fdc__result(s, out, bytes, false);
}

static void seek_to(Fdc *s, unsigned n, unsigned track)
{
    const Floppy *f = fdc__drive(s, n);
    unsigned from = f ? f->track : 0;

    s->seeking |= (uint8_t)(1u << n);
    s->sense_st0[n] = (uint8_t)(ST0_SE | (s->in[1] & 7));
    s->pcn[n] = (uint8_t)track;
    timer_in(&s->seek[n], STEP_NS * MAX(track > from ? track - from : from - track, 1));
    fdc__result(s, NULL, 0, false);
}

static void recalibrate(Fdc *s)
{
    s->in[1] &= 3;
    seek_to(s, s->in[1], 0);
}

static void seek(Fdc *s) { seek_to(s, s->in[1] & 3, s->in[2]); }

static void relative_seek(Fdc *s)
{
    unsigned n = s->in[1] & 3, pcn = s->pcn[n];

    seek_to(s, n, s->in[0] & 0x40 ? MIN(pcn + s->in[2], 255u) : pcn - MIN(pcn, s->in[2]));
}

static void seek_ended(Dev *d, unsigned n)
{
    Fdc *s = FDC(d);
    Floppy *f = fdc__drive(s, n);

    if (f)
        floppy_step(f, s->pcn[n]);
    else if (!s->pcn[n])
        s->sense_st0[n] |= ST0_ABNORMAL | ST0_EC; /* no drive: track 0 is never seen */
    s->sense |= (uint8_t)(1u << n);
}

static void version(Fdc *s) { fdc__result(s, (const uint8_t[]){ 0x90 }, 1, false); }

static void configure(Fdc *s)
{
    s->config = s->in[2] & 0x7f;
    s->pretrk = s->in[3];
    fdc__result(s, NULL, 0, false);
}

static void dump_registers(Fdc *s)
{
    const uint8_t out[10] = { s->pcn[0], s->pcn[1], s->pcn[2], s->pcn[3], s->srt_hut, s->hlt_nd, s->eot,
                              (uint8_t)(s->lock << 7 | (s->perpendicular & 0x3f)), s->config, s->pretrk };

    fdc__result(s, out, sizeof(out), false);
}

static void perpendicular(Fdc *s)
{
    bool overwrite = s->in[1] & 0x80;

    s->perpendicular = (uint8_t)((s->in[1] & 3) | ((overwrite ? s->in[1] : s->perpendicular) & 0x3c));
    fdc__result(s, NULL, 0, false);
}

static void lock(Fdc *s)
{
    s->lock = s->in[0] >> 7;
    fdc__result(s, (const uint8_t[]){ (uint8_t)(s->lock << 4) }, 1, false);
}

/* clang-format off */
static const struct {
    uint8_t mask, code, bytes;
    void (*run)(Fdc *s);
} commands[] = {
    { 0x1f, 0x06, 9, fdc__start_data },     /* READ DATA */
    { 0x1f, 0x0c, 9, fdc__start_data },     /* READ DELETED DATA */
    { 0x3f, 0x05, 9, fdc__start_data },     /* WRITE DATA */
    { 0x3f, 0x09, 9, fdc__start_data },     /* WRITE DELETED DATA */
    { 0x9f, 0x02, 9, fdc__start_data },     /* READ TRACK */
    { 0x1f, 0x16, 9, fdc__start_data },     /* VERIFY */
    { 0xbf, 0x0d, 6, fdc__start_data },     /* FORMAT TRACK */
    { 0xbf, 0x0a, 2, fdc__start_read_id },  /* READ ID */
    { 0xff, 0x03, 3, specify },             /* SPECIFY */
    { 0xff, 0x04, 2, sense_drive },         /* SENSE DRIVE STATUS */
    { 0xff, 0x07, 2, recalibrate },         /* RECALIBRATE */
    { 0xff, 0x08, 1, sense_interrupt },     /* SENSE INTERRUPT STATUS */
    { 0xff, 0x0f, 3, seek },                /* SEEK */
    { 0xbf, 0x8f, 3, relative_seek },       /* RELATIVE SEEK */
    { 0xff, 0x10, 1, version },             /* VERSION */
    { 0xff, 0x13, 4, configure },           /* CONFIGURE */
    { 0xff, 0x0e, 1, dump_registers },      /* DUMPREG */
    { 0xff, 0x12, 2, perpendicular },       /* PERPENDICULAR MODE */
    { 0x7f, 0x14, 1, lock },                /* LOCK */
};
/* clang-format on */

static void command_byte(Fdc *s, uint8_t v)
{
    s->in[s->nin++] = v;
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        if ((s->in[0] & commands[i].mask) == commands[i].code) {
            if (s->nin == commands[i].bytes)
                commands[i].run(s);
            return;
        }
    guest_unimp(&s->dev, "command %#x", v);
    fdc__result(s, (const uint8_t[]){ ST0_INVALID }, 1, false);
}

/* ---- registers ---- */
static uint64_t msr(const Dev *d)
{
    const Fdc *s = FDC(d);
    unsigned v = s->seeking;
    bool to_host;

    if (!(s->dor & DOR_NRESET))
        return 0;
    if (s->phase == FDC_COMMAND)
        return v | MSR_RQM | (s->nin ? MSR_CB : 0);
    v |= MSR_CB;
    if (s->phase == FDC_RESULT)
        return v | MSR_RQM | MSR_DIO;
    if (s->hlt_nd & 1 && s->stage != FDC_NOTHING)
        v |= MSR_NONDMA;
    if (fdc__wants_byte(s, &to_host))
        v |= MSR_RQM | (to_host ? MSR_DIO : 0);
    return v;
}

static uint64_t fifo_value(const Dev *d)
{
    const Fdc *s = FDC(d);
    bool to_host;

    if (s->phase == FDC_RESULT)
        return s->out[s->at];
    return fdc__wants_byte(s, &to_host) && to_host ? s->data[s->pos] : 0;
}

static void fifo_read(Dev *d, unsigned lanes)
{
    Fdc *s = FDC(d);
    bool to_host;

    if (s->phase == FDC_RESULT) {
        s->finished = 0;
        if (++s->at == s->nout)
            s->phase = FDC_COMMAND;
    } else if (fdc__wants_byte(s, &to_host) && to_host) {
        fdc__give_byte(s);
    } else {
        guest_error(d, "the FIFO was read, but holds nothing");
    }
}

static void fifo_w(Dev *d, uint64_t val, unsigned lanes)
{
    Fdc *s = FDC(d);
    bool to_host;

    if (!(s->dor & DOR_NRESET))
        guest_error(d, "the FIFO was written during a reset");
    else if (s->phase == FDC_COMMAND)
        command_byte(s, (uint8_t)val);
    else if (fdc__wants_byte(s, &to_host) && !to_host)
        fdc__take_byte(s, (uint8_t)val);
    else
        guest_error(d, "the FIFO was written, but takes nothing");
}

static uint64_t dir(const Dev *d)
{
    const Fdc *s = FDC(d);
    unsigned n = s->dor & 3;
    const Floppy *f = fdc__drive(s, n);

    return f && s->dor >> (4 + n) & 1 && f->changed ? 0x80 : 0;
}

static void ccr_w(Dev *d, uint64_t val, unsigned lanes) { FDC(d)->rate = val & 3; }

/* ---- life ---- */
static void drive_gone(Dev *d, unsigned unit)
{
    Fdc *s = FDC(d);

    if (s->phase == FDC_EXECUTION && (s->in[1] & 3) == unit) {
        fdc__forget(s);
        s->stage = FDC_PACE;
        timer_in(&s->pace, POLL_NS); /* the next sector is not found */
    }
}

static bool init(Obj *o, Error **err)
{
    Fdc *s = (Fdc *)(void *)o;

    if (s->dma > 3)
        return fail(err, "isa-fdc: dma=%u, but the 8-bit channels are 0 to 3", s->dma);
    s->cable = floppy_bus_new(&s->dev, drive_gone);
    return true;
}

static bool plug(Dev *d, Error **err)
{
    isa_dma_attach(isa_bus(d), FDC(d)->dma, (IsaDmaUser){ fdc__dma_ready, d });
    return true;
}

static void unplug(Dev *d)
{
    isa_dma_attach(isa_bus(d), FDC(d)->dma, (IsaDmaUser){ NULL, NULL });
    fdc__forget(FDC(d));
}

static bool drained(const Dev *d) { return !FDC(d)->flying; }

static void on_reset(Dev *d) { fdc__forget(FDC(d)); }
static void loaded(Dev *d) { fdc__resume(FDC(d)); }

static bool check(const Dev *d, Error **err)
{
    const Fdc *s = FDC(d);
    bool taking = s->phase == FDC_COMMAND;

    if (s->phase > FDC_RESULT || s->stage > FDC_HOST || s->nin > 9 || (taking && s->nin >= 9) || s->nout > 10 || s->len > FLOPPY_SECTOR ||
        s->pos > s->len || (s->phase == FDC_RESULT && s->at >= s->nout) || (s->stage != FDC_NOTHING && s->phase != FDC_EXECUTION) ||
        s->lock > 1 || s->sense > 15 || s->rate > 3 || (s->stage == FDC_HOST && s->pos == s->len))
        return fail(err, "the floppy controller cannot be in that state");
    return true;
}

/* clang-format off */
static const Reg regs[] = {
    { "DOR",  2, REG(Fdc, dor), .rw = 0xff, .write = dor_w, .doc = "0..1 drive, 2 not reset, 3 DMA and interrupt gate, 4..7 motors" },
    { "TDR",  3, REG(Fdc, tdr), .rw = 3, .doc = "tape drive" },
    { "MSR",  4, NOFIELD(1), .ro = true, .value = msr, .doc = "main status" },
    { "DSR",  4, NOFIELD(1), .wo = true, .wrote = dsr_w, .doc = "data rate, 7 reset" },
    { "FIFO", 5, NOFIELD(1), .value = fifo_value, .on_read = fifo_read, .wrote = fifo_w, .doc = "commands, data, results" },
};
static const Reg regs7[] = {
    { "DIR", 0, NOFIELD(1), .ro = true, .value = dir, .doc = "7: medium changed" },
    { "CCR", 0, NOFIELD(1), .wo = true, .wrote = ccr_w, .doc = "data rate" },
};
/* 3f6h between them is the IDE controller's. */
static const Bank banks[] = { { "fdc", 6, TABLE(regs), .max = 1, .unclaimed = 0xff, .quiet = true }, { "fdc-dir", 1, TABLE(regs7) } };
static const Field state[] = {
    FIELD(Fdc, rate, .reset = 2), FIELD(Fdc, precomp), FIELD(Fdc, phase), FIELD(Fdc, stage), BYTES(Fdc, in), FIELD(Fdc, nin), BYTES(Fdc, out),
    FIELD(Fdc, nout), FIELD(Fdc, at), FIELD(Fdc, finished), FIELD(Fdc, sense), BYTES(Fdc, sense_st0), BYTES(Fdc, pcn), FIELD(Fdc, seeking),
    FIELD(Fdc, srt_hut), FIELD(Fdc, hlt_nd), FIELD(Fdc, config, .reset = CONFIG_RESET), FIELD(Fdc, pretrk), FIELD(Fdc, lock), FIELD(Fdc, perpendicular),
    FIELD(Fdc, eot), FIELD(Fdc, st1), FIELD(Fdc, st2), FIELD(Fdc, c), FIELD(Fdc, h), FIELD(Fdc, r), FIELD(Fdc, n), FIELD(Fdc, left), FIELD(Fdc, tc),
    FIELD(Fdc, pos), FIELD(Fdc, len), BYTES(Fdc, data),
    TIMER(Fdc, pace, fdc__sector, CLOCK_VM), TIMERS(Fdc, seek, seek_ended, CLOCK_VM),
    TRANSIENT(Fdc, cable, "wiring", .keep = true), TRANSIENT(Fdc, io, "a request of the host's, made again after a load", .keep = true),
    TRANSIENT(Fdc, flying, "counts requests of the host", .keep = true),
};
static const Prop props[] = {
    PROP(Fdc, iobase, "iobase", 0x3f0, "port"), PROP(Fdc, irq, "irq", 6, "interrupt line"), PROP(Fdc, dma, "dma", 2, "DMA channel"),
};
static const Out outs[] = { { "irq", irq } };
static const IsaClass fdc = {
    ISA_DEVICE(Fdc, "isa-fdc", "Floppy disk controller (82077AA)"), .dev.category = "Storage devices", .dev.obj.init = init, .dev.obj.props = TABLE(props),
    .dev.state = TABLE(state), .dev.banks = banks, .dev.nbanks = 2, .dev.outs = outs, .dev.nouts = 1, .dev.plug = plug, .dev.unplug = unplug,
    .dev.drained = drained, .dev.on_reset = on_reset, .dev.loaded = loaded, .dev.check = check,
    .port[0] = { .base_at = offsetof(Fdc, iobase), .bank = &banks[0] }, .port[1] = { .base_at = offsetof(Fdc, iobase), .base = 7, .bank = &banks[1] },
    .irq_at = { offsetof(Fdc, irq) },
};
DEVICE_OF(Fdc, fdc, &fdc.dev);
/* clang-format on */
