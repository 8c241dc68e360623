/*
 * hw/block/fdc-data.c - the floppy controller's data commands: READ, WRITE, VERIFY, FORMAT, READ ID, sector by sector.
 * Source: Intel 82077AA data sheet (290166), chapter 6. Left out: rotation (a sector comes under the head after a
 * fixed time), sectors of other than 512 bytes, deleted data marks (an image has none: WRITE DELETED writes plain
 * sectors, READ DELETED finds the wrong mark at the first).
 * A sector's way: PACE (the head waits for it) -> IO -> HOST for reads, PACE -> HOST -> IO for writes. A request of the
 * host's disk carries its own buffer, so that a reset or a load can forget it.
 */
#include "hw/block/fdc-priv.h"

enum { READ_TRACK = 0x02, WRITE = 0x05, WRITE_DELETED = 0x09, READ_ID = 0x0a, READ_DELETED = 0x0c, FORMAT = 0x0d, VERIFY = 0x16 };
enum { SECTOR_NS = 200 * US, MT = 0x80, HEAD_1 = 4, EC = 0x80, N_512 = 2, ID_BYTES = 4, ROTATION_NS = 200 * MS };

struct FdcIo {
    Fdc *s;
    BlkReq r;
    struct iovec iov;
    uint8_t buf[FLOPPY_SECTOR];
};

static bool writes(const Fdc *s)
{
    unsigned op = fdc__opcode(s);

    return op == WRITE || op == WRITE_DELETED || op == FORMAT;
}
static bool by_dma(const Fdc *s) { return !(s->hlt_nd & 1); }
static unsigned head(const Fdc *s) { return s->in[1] & HEAD_1 ? 1 : 0; }
static Floppy *drive(const Fdc *s) { return fdc__drive(s, s->in[1] & 3); }

static void finish(Fdc *s, uint8_t st0)
{
    const uint8_t out[7] = { (uint8_t)(st0 | (s->in[1] & 7)), s->st1, s->st2, s->c, s->h, s->r, s->n };

    timer_del(&s->pace);
    fdc__result(s, out, sizeof(out), true);
}

static void next(Fdc *s)
{
    s->stage = FDC_PACE;
    timer_in(&s->pace, SECTOR_NS);
}

/* ---- finding the sector ---- */
/* What the ID field of a sector would have told; false: it is not found, and st1, st2 say why. */
static bool id_matches(Fdc *s, const Floppy *f, const FloppyGeometry *g)
{
    if (s->c != f->track) {
        s->st1 |= ST1_ND;
        s->st2 |= ST2_WC;
    } else if (s->h != head(s) || s->n != N_512 || s->r < 1 || s->r > g->sectors) {
        s->st1 |= ST1_ND;
    }
    return !(s->st1 & ST1_ND);
}

static bool locate(Fdc *s)
{
    const Floppy *f = drive(s);
    unsigned op = fdc__opcode(s);
    FloppyGeometry g;

    if (!f || !floppy_ready(f)) {
        s->st1 |= ST1_MA;
        return false;
    }
    g = floppy_geometry(f);
    if (g.rate != s->rate || f->track >= g.tracks || head(s) >= g.heads)
        s->st1 |= ST1_MA; /* no address mark can be read */
    else if (writes(s) && disk_readonly(f->disk))
        s->st1 |= ST1_NW;
    else
        return op == READ_ID || op == FORMAT || id_matches(s, f, &g);
    return false;
}

/* ---- the disk ---- */
static void sector_done(Fdc *s);
static void feed(Fdc *s);

static void to_host(Fdc *s, unsigned len)
{
    s->stage = FDC_HOST;
    s->pos = 0;
    s->len = (uint16_t)len;
    feed(s);
}

static void io_ended(Fdc *s, FdcIo *io, int ret)
{
    s->io = NULL;
    if (ret) {
        s->st1 |= ST1_DE;
        s->st2 |= ST2_DD;
        finish(s, ST0_ABNORMAL);
    } else if (io->r.op == BLK_WRITE || fdc__opcode(s) == VERIFY) {
        sector_done(s);
    } else {
        memcpy(s->data, io->buf, sizeof(io->buf));
        to_host(s, FLOPPY_SECTOR);
    }
}

static void io_done(void *o, BlkReq *r, int ret)
{
    FdcIo *io = o;
    Fdc *s = io->s;

    WITH_DEV(&s->dev) {
        s->flying--;
        if (s->io == io)
            io_ended(s, io, ret);
    }
    g_free(io);
}

/* The sector that locate() found, to or from s->data. */
static void submit(Fdc *s)
{
    Floppy *f = drive(s);
    FloppyGeometry g = floppy_geometry(f);
    uint64_t lba = (f->track * (uint64_t)g.heads + head(s)) * g.sectors + s->r - 1u;
    FdcIo *io;

    if (s->r < 1 || s->r > g.sectors || !in_range(lba * FLOPPY_SECTOR, FLOPPY_SECTOR, disk_size(f->disk))) {
        s->st1 |= ST1_ND;
        finish(s, ST0_ABNORMAL);
        return;
    }
    io = g_new0(FdcIo, 1);
    io->s = s;
    memcpy(io->buf, s->data, sizeof(io->buf));
    io->iov = (struct iovec){ io->buf, sizeof(io->buf) };
    io->r = (BlkReq){ .op = writes(s) ? BLK_WRITE : BLK_READ, .off = lba * FLOPPY_SECTOR, .len = FLOPPY_SECTOR, .iov = &io->iov, .niov = 1 };
    s->io = io;
    s->flying++;
    s->stage = FDC_IO;
    disk_submit(f->disk, &io->r, io_done, io);
}

void fdc__forget(Fdc *s) { s->io = NULL; }

void fdc__resume(Fdc *s)
{
    fdc__forget(s);
    if (s->stage != FDC_IO)
        return;
    if (drive(s) && floppy_ready(drive(s)))
        submit(s);
    else
        next(s); /* it will not be found */
}

/* ---- the host ---- */
/* FORMAT: the four bytes of a sector's ID came. */
static void format_sector(Fdc *s)
{
    s->c = s->data[0];
    s->h = s->data[1];
    s->r = s->data[2];
    s->n = s->data[3];
    if (s->n != N_512 || s->in[2] != N_512) {
        guest_unimp(&s->dev, "sectors of other than 512 bytes");
        s->st1 |= ST1_ND;
        finish(s, ST0_ABNORMAL);
        return;
    }
    memset(s->data, s->in[5], sizeof(s->data));
    submit(s);
}

static void host_done(Fdc *s)
{
    if (!writes(s)) {
        sector_done(s);
        return;
    }
    memset(s->data + s->pos, 0, sizeof(s->data) - s->pos); /* the count ran out within the sector: it is filled up */
    if (!floppy_ready(drive(s)))
        next(s);
    else if (fdc__opcode(s) == FORMAT)
        format_sector(s);
    else
        submit(s);
}

static void feed(Fdc *s)
{
    bool tc;

    if (!by_dma(s) || !(s->dor & DOR_DMAGATE))
        return;
    s->pos = (uint16_t)(s->pos + isa_dma_transfer(isa_bus(&s->dev), s->dma, s->data + s->pos, s->len - s->pos, &tc));
    s->tc |= tc;
    if (s->tc || s->pos == s->len)
        host_done(s);
}

void fdc__dma_ready(void *o)
{
    Fdc *s = o;

    WITH_DEV(&s->dev) {
        if (s->phase == FDC_EXECUTION && s->stage == FDC_HOST)
            feed(s);
    }
}

bool fdc__wants_byte(const Fdc *s, bool *to)
{
    *to = !writes(s);
    return s->phase == FDC_EXECUTION && s->stage == FDC_HOST && !by_dma(s);
}

uint8_t fdc__give_byte(Fdc *s)
{
    uint8_t v = s->data[s->pos++];

    if (s->pos == s->len)
        host_done(s);
    return v;
}

void fdc__take_byte(Fdc *s, uint8_t v)
{
    s->data[s->pos++] = v;
    if (s->pos == s->len)
        host_done(s);
}

/* ---- from sector to sector ---- */
/* Moves C, H, R on; true: this was the last sector of the cylinder. */
static bool advance(Fdc *s)
{
    if (s->r != s->eot) {
        s->r++;
        return false;
    }
    s->r = 1;
    if (s->in[0] & MT && !head(s)) {
        s->in[1] |= HEAD_1;
        s->h ^= 1;
        return false;
    }
    if (s->in[0] & MT)
        s->h ^= 1;
    s->c++;
    return true;
}

static bool verify_ended(Fdc *s, bool last) { return s->in[1] & EC ? !--s->left : last; }

static void sector_done(Fdc *s)
{
    unsigned op = fdc__opcode(s);
    bool last;

    if (op == FORMAT) {
        if (--s->left && !s->tc)
            next(s);
        else
            finish(s, 0);
        return;
    }
    last = advance(s);
    if (op == READ_DELETED)
        s->st2 |= ST2_CM;
    if (s->tc || op == READ_DELETED || (op == VERIFY && verify_ended(s, last))) {
        finish(s, 0);
    } else if (last) {
        s->st1 |= ST1_EN; /* the host did not say that it has enough */
        finish(s, ST0_ABNORMAL);
    } else {
        next(s);
    }
}

static void read_id(Fdc *s)
{
    const Floppy *f = drive(s);
    FloppyGeometry g = floppy_geometry(f);

    s->c = f->track;
    s->h = (uint8_t)head(s);
    s->r = (uint8_t)((uint64_t)clock_now(&s->dev) % ROTATION_NS * g.sectors / ROTATION_NS + 1);
    s->n = N_512;
    finish(s, 0);
}

void fdc__sector(Dev *d)
{
    Fdc *s = FDC(d);

    if (s->phase != FDC_EXECUTION || s->stage != FDC_PACE)
        return;
    if (!locate(s))
        finish(s, ST0_ABNORMAL);
    else if (fdc__opcode(s) == READ_ID)
        read_id(s);
    else if (writes(s))
        to_host(s, fdc__opcode(s) == FORMAT ? ID_BYTES : FLOPPY_SECTOR);
    else
        submit(s);
}

/* ---- begin ---- */
static void begin(Fdc *s)
{
    s->phase = FDC_EXECUTION;
    s->st1 = s->st2 = s->tc = 0;
    next(s);
}

void fdc__start_read_id(Fdc *s)
{
    s->c = s->h = s->r = s->n = 0;
    begin(s);
}

void fdc__start_data(Fdc *s)
{
    Floppy *f = drive(s);
    unsigned op = fdc__opcode(s);

    if (op == FORMAT) {
        s->c = s->h = s->r = 0;
        s->n = s->in[2];
        s->left = s->in[3];
        begin(s);
        return;
    }
    s->c = s->in[2];
    s->h = s->in[3];
    s->r = op == READ_TRACK ? 1 : s->in[4];
    s->n = s->in[5];
    s->eot = s->in[6];
    s->left = s->in[8];
    if (f && s->config & CONFIG_EIS) {
        floppy_step(f, s->c);
        s->pcn[s->in[1] & 3] = s->c;
    }
    begin(s);
}
