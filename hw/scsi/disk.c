/*
 * hw/scsi/disk.c - scsi-hd: the block commands. Source: SBC-3 section 5; SPC-4 section 6.
 * Invariants: what a command moves was checked against the size of the disk before anything is submitted; one disk request of a
 * command is in flight at a time.
 */
#include "hw/scsi/scsi.h"
#include <errno.h>

enum { FUA = 8, BYTCHK = 2, UNMAP_BIT = 8, IMMED_START = 1, LOEJ = 2, TRANSFER_MAX = 0xffff * 512 };

/* ---- addresses: the group of the code says where they are ---- */
static uint64_t lba(const ScsiReq *q)
{
    const uint8_t *c = q->cdb;

    switch (c[0] >> 5) {
    case 0: return (be32_load(c) & 0x1fffff);
    case 4: return be64_load(c + 2);
    default: return be32_load(c + 2);
    }
}

static uint64_t count(const ScsiReq *q)
{
    const uint8_t *c = q->cdb;

    switch (c[0] >> 5) {
    case 0: return c[4] ? c[4] : 256;
    case 4: return be32_load(c + 10);
    case 5: return be32_load(c + 6);
    default: return be16_load(c + 7);
    }
}

/* ---- ends ---- */
static void done(void *o, BlkReq *r, int ret)
{
    ScsiReq *q = o;

    if (ret == -ENOSPC)
        scsi_sense(q, DATA_PROTECT, 0x2707);
    else if (ret == -EROFS)
        scsi_sense(q, DATA_PROTECT, WRITE_PROTECTED);
    else if (ret)
        scsi_sense(q, MEDIUM_ERROR, r->op == BLK_READ ? 0x1100 : 0x0c00);
    q->done(q);
}

static void submit(ScsiReq *q) { disk_submit(q->dev->disk, &q->r, done, q); }

/* ---- reads and writes ---- */
static bool extent(ScsiReq *q, BlkOp op)
{
    uint64_t at = lba(q), n = count(q);

    if (!in_range(at, n, scsi_blocks(q->dev)))
        return scsi_sense(q, ILLEGAL_REQUEST, OUT_OF_RANGE);
    q->r = (BlkReq){ .op = op, .off = at * q->dev->block, .len = n * q->dev->block };
    return true;
}

static bool transfer(ScsiReq *q, BlkOp op)
{
    if (!extent(q, op))
        return false;
    if (q->r.len > TRANSFER_MAX)
        return scsi_sense(q, ILLEGAL_REQUEST, INVALID_FIELD);
    if (op == BLK_WRITE && ((q->cdb[0] >> 5 && q->cdb[1] & FUA) || !q->dev->write_cache))
        q->r.flags = BLK_FUA;
    q->len = q->r.len;
    q->dir = !q->len ? SCSI_NONE : op == BLK_READ ? SCSI_IN : SCSI_OUT;
    q->direct = true;
    return true;
}

static bool read_blocks(ScsiReq *q) { return transfer(q, BLK_READ); }
static bool write_blocks(ScsiReq *q) { return transfer(q, BLK_WRITE); }

static void move(ScsiReq *q)
{
    if (q->len)
        submit(q);
    else
        q->done(q);
}

/* Without a comparison there is nothing to verify that a read would not. */
static bool verify(ScsiReq *q) { return q->cdb[1] & BYTCHK ? scsi_sense(q, ILLEGAL_REQUEST, INVALID_FIELD) : extent(q, BLK_READ); }

static bool flush(ScsiReq *q)
{
    if (!extent(q, BLK_FLUSH))
        return false;
    q->r = (BlkReq){ .op = BLK_FLUSH };
    return true;
}

/* ---- UNMAP and WRITE SAME ---- */
static bool unmap(ScsiReq *q)
{
    if (!q->dev->conf.granularity) /* LBPU is clear */
        return scsi_sense(q, ILLEGAL_REQUEST, INVALID_OPCODE);
    if (q->cdb[1] & 1) /* ANCHOR */
        return scsi_sense(q, ILLEGAL_REQUEST, INVALID_FIELD);
    q->len = be16_load(q->cdb + 7);
    q->dir = q->len ? SCSI_OUT : SCSI_NONE;
    q->buf = g_malloc(MAX(q->len, 1));
    return true;
}

static void next_unmap(void *o, BlkReq *r, int ret)
{
    ScsiReq *q = o;

    while (!ret && q->step < q->steps) {
        const uint8_t *e = q->buf + 8 + 16 * (size_t)q->step++;

        if (!be32_load(e + 8))
            continue;
        q->r = (BlkReq){ .op = BLK_DISCARD, .off = be64_load(e) * q->dev->block, .len = (uint64_t)be32_load(e + 8) * q->dev->block };
        disk_submit(q->dev->disk, &q->r, next_unmap, q);
        return;
    }
    done(q, &q->r, ret);
}

static void unmap_go(ScsiReq *q)
{
    unsigned bytes = q->len >= 8 ? be16_load(q->buf + 2) : 0;

    if (q->len && (q->len < 8 || bytes > q->len - 8 || bytes % 16))
        scsi_sense(q, ILLEGAL_REQUEST, BAD_PARAMETERS);
    q->steps = bytes / 16;
    for (unsigned i = 0; q->status == SCSI_GOOD && i < q->steps; i++)
        if (!in_range(be64_load(q->buf + 8 + 16 * i), be32_load(q->buf + 16 + 16 * i), scsi_blocks(q->dev)))
            scsi_sense(q, ILLEGAL_REQUEST, OUT_OF_RANGE);
    if (q->status == SCSI_GOOD)
        next_unmap(q, &q->r, 0);
    else
        q->done(q);
}

static bool write_same(ScsiReq *q)
{
    bool no_data = q->cdb[0] == 0x93 && q->cdb[1] & 1; /* NDOB */

    if (!extent(q, BLK_ZERO))
        return false;
    if (!q->r.len || q->r.len / q->dev->block > 0x3fffff || (q->cdb[1] & UNMAP_BIT && !q->dev->conf.granularity))
        return scsi_sense(q, ILLEGAL_REQUEST, INVALID_FIELD);
    q->r.flags = q->cdb[1] & UNMAP_BIT ? BLK_MAY_UNMAP : 0;
    q->len = no_data ? 0 : q->dev->block;
    q->dir = q->len ? SCSI_OUT : SCSI_NONE;
    q->buf = g_malloc0(q->dev->block);
    return true;
}

/* Zeroes are written as zeroes; another pattern a chunk at a time, at least a block. */
static uint32_t chunk(const ScsiReq *q) { return MAX(q->dev->block, 256 * 1024); }

static void next_same(void *o, BlkReq *r, int ret)
{
    ScsiReq *q = o;

    r->off += r->len;
    q->steps -= (unsigned)(r->len / q->dev->block);
    r->len = q->iov.iov_len = MIN((uint64_t)q->steps * q->dev->block, chunk(q));
    if (ret || !r->len) {
        done(q, r, ret);
        return;
    }
    disk_submit(q->dev->disk, r, next_same, q);
}

static void write_same_go(ScsiReq *q)
{
    uint32_t block = q->dev->block, most = chunk(q);
    uint8_t *pattern;

    if (!q->buf[0] && !memcmp(q->buf, q->buf + 1, block - 1)) {
        submit(q);
        return;
    }
    pattern = g_malloc(most);
    for (unsigned i = 0; i < most; i += block)
        memcpy(pattern + i, q->buf, block);
    g_free(q->buf);
    q->buf = pattern;
    q->iov = (struct iovec){ pattern, MIN(q->r.len, most) };
    q->steps = (unsigned)(q->r.len / block);
    q->r = (BlkReq){ .op = BLK_WRITE, .off = q->r.off, .len = q->iov.iov_len, .iov = &q->iov, .niov = 1 };
    disk_submit(q->dev->disk, &q->r, next_same, q);
}

/* ---- the rest ---- */
static bool good(ScsiReq *q) { return true; }

/* A disk smaller than a block has none that could be the last. */
static bool has_blocks(ScsiReq *q) { return scsi_blocks(q->dev) || scsi_sense(q, NOT_READY, UNIT_NOT_READY); }

static bool capacity10(ScsiReq *q)
{
    uint8_t b[8];

    if (!has_blocks(q))
        return false;
    be32_store(b, (uint32_t)MIN(scsi_blocks(q->dev) - 1, UINT32_MAX));
    be32_store(b + 4, q->dev->block);
    return scsi_reply(q, b, sizeof(b), sizeof(b));
}

static bool capacity16(ScsiReq *q)
{
    const DiskConf *c = &q->dev->conf;
    uint8_t b[32] = { 0 };

    if ((q->cdb[1] & 31) != 0x10)
        return scsi_sense(q, ILLEGAL_REQUEST, INVALID_FIELD);
    if (!has_blocks(q))
        return false;
    be64_store(b, scsi_blocks(q->dev) - 1);
    be32_store(b + 8, q->dev->block);
    b[13] = (uint8_t)__builtin_ctz(c->physical / c->logical); /* LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT */
    b[14] = c->granularity ? 0x80 : 0; /* LBPME: blocks may be unmapped */
    return scsi_reply(q, b, sizeof(b), be32_load(q->cdb + 10));
}

static bool start_stop(ScsiReq *q)
{
    ScsiDev *d = q->dev;

    if (q->cdb[4] & LOEJ && d->removable) {
        if (d->prevented && !(q->cdb[4] & IMMED_START))
            return scsi_sense(q, ILLEGAL_REQUEST, 0x5302);
        disk_set_tray(d->disk, !(q->cdb[4] & IMMED_START));
        return true;
    }
    if (!(q->cdb[4] >> 4)) /* POWER CONDITION 0: START alone */
        d->stopped = !(q->cdb[4] & IMMED_START);
    return true;
}

static bool prevent(ScsiReq *q)
{
    q->dev->prevented = q->cdb[4] & 1;
    disk_lock_tray(q->dev->disk, q->dev->prevented);
    return true;
}

/* clang-format off */
static const ScsiOp ops[] = {
    { 0x00, OP_MEDIUM, "TEST UNIT READY", good, NULL },
    { 0x03, OP_ANY_TIME, "REQUEST SENSE", scsi_request_sense, NULL },
    { 0x08, OP_MEDIUM, "READ (6)", read_blocks, move },
    { 0x0a, OP_MEDIUM | OP_WRITES, "WRITE (6)", write_blocks, move },
    { 0x12, OP_ANY_TIME, "INQUIRY", scsi_inquiry, NULL },
    { 0x15, 0, "MODE SELECT (6)", scsi_mode_select, scsi_mode_set },
    { 0x16, 0, "RESERVE (6)", good, NULL },
    { 0x17, 0, "RELEASE (6)", good, NULL },
    { 0x1a, 0, "MODE SENSE (6)", scsi_mode_sense, NULL },
    { 0x1b, 0, "START STOP UNIT", start_stop, NULL },
    { 0x1e, 0, "PREVENT ALLOW MEDIUM REMOVAL", prevent, NULL },
    { 0x25, OP_MEDIUM, "READ CAPACITY (10)", capacity10, NULL },
    { 0x28, OP_MEDIUM, "READ (10)", read_blocks, move },
    { 0x2a, OP_MEDIUM | OP_WRITES, "WRITE (10)", write_blocks, move },
    { 0x2e, OP_MEDIUM | OP_WRITES, "WRITE AND VERIFY (10)", write_blocks, move },
    { 0x2f, OP_MEDIUM, "VERIFY (10)", verify, NULL },
    { 0x35, OP_MEDIUM, "SYNCHRONIZE CACHE (10)", flush, submit },
    { 0x41, OP_MEDIUM | OP_WRITES, "WRITE SAME (10)", write_same, write_same_go },
    { 0x42, OP_MEDIUM | OP_WRITES, "UNMAP", unmap, unmap_go },
    { 0x55, 0, "MODE SELECT (10)", scsi_mode_select, scsi_mode_set },
    { 0x5a, 0, "MODE SENSE (10)", scsi_mode_sense, NULL },
    { 0x88, OP_MEDIUM, "READ (16)", read_blocks, move },
    { 0x8a, OP_MEDIUM | OP_WRITES, "WRITE (16)", write_blocks, move },
    { 0x8e, OP_MEDIUM | OP_WRITES, "WRITE AND VERIFY (16)", write_blocks, move },
    { 0x8f, OP_MEDIUM, "VERIFY (16)", verify, NULL },
    { 0x91, OP_MEDIUM, "SYNCHRONIZE CACHE (16)", flush, submit },
    { 0x93, OP_MEDIUM | OP_WRITES, "WRITE SAME (16)", write_same, write_same_go },
    { 0x9e, OP_MEDIUM, "READ CAPACITY (16)", capacity16, NULL },
    { 0xa8, OP_MEDIUM, "READ (12)", read_blocks, move },
    { 0xaa, OP_MEDIUM | OP_WRITES, "WRITE (12)", write_blocks, move },
    { 0xaf, OP_MEDIUM, "VERIFY (12)", verify, NULL },
};
/* clang-format on */

static const ScsiOp *find_op(uint8_t code)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(ops); i++)
        if (ops[i].code == code)
            return &ops[i];
    return NULL;
}

/* ---- life ---- */
static const ScsiKind kind = { .op = find_op, .product = "MENURA HARDDISK" };
static const DiskOps disk_ops = { .resized = scsi_resized };

static bool init(Obj *o, Error **err)
{
    ScsiDev *d = SCSI(o);

    if (!d->disk) {
        fail(err, "scsi-hd needs drive=");
        return error_hint(err, "add -drive if=none,id=ID,file=.. and drive=ID");
    }
    if (!disk_present(d->disk))
        return fail(err, "drive '%s' has no medium, which a disk needs", disk_id(d->disk));
    if (!scsi_init(d, &kind, &disk_ops, !disk_readonly(d->disk), err))
        return false;
    d->block = d->conf.logical;
    return true;
}

/* clang-format off */
static const Prop props[] = {
    PROP(ScsiDev, removable, "removable", false, "the medium can be taken out"),
};
static const DevClass scsi_hd = { SCSI_UNIT(ScsiDev, "scsi-hd", "SCSI disk"), .obj.props = TABLE(props) };
/* clang-format on */
DEVICE(ScsiDev, scsi_hd);
