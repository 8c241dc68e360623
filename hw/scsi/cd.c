/*
 * hw/scsi/cd.c - scsi-cd: a CD/DVD drive. Its commands are in mmc.c; sectors go straight between the disc and the guest's memory, raw ones
 * through a buffer. Source: MMC-5, SAM-5.
 */
#include "hw/scsi/mmc.h"
#include "hw/scsi/scsi.h"
#include <errno.h>

enum { TRANSFER_MAX = 0xffff * 512 };
typedef struct ScsiCd {
    ScsiDev unit; /* first */
    MmcDrive mmc;
    uint8_t pad[6];
} ScsiCd;
#define CD(d) ((ScsiCd *)(void *)(d))

static bool read_sectors(ScsiReq *q, const MmcAnswer *a)
{
    bool raw = a->sector_size == CD_RAW_SECTOR;

    q->len = (uint64_t)a->count * a->sector_size;
    if (q->len > TRANSFER_MAX)
        return scsi_sense(q, ILLEGAL_REQUEST, INVALID_FIELD);
    q->r = (BlkReq){ .op = BLK_READ, .off = a->lba * CD_SECTOR, .len = (uint64_t)a->count * CD_SECTOR };
    q->dir = q->len ? SCSI_IN : SCSI_NONE;
    q->direct = !raw;
    q->steps = raw;
    if (raw)
        q->buf = g_malloc0(q->len);
    return true;
}

static bool command(ScsiReq *q)
{
    ScsiCd *d = CD(q->dev);
    MmcAnswer a;

    mmc_command(&d->mmc, d->unit.disk, q->cdb, &a);
    if (a.medium_came)
        d->unit.attention = MEDIUM_CHANGED;
    q->r.len = 0;
    switch (a.kind) {
    case MMC_BAD: return scsi_sense(q, a.key, a.code);
    case MMC_REPLY: return scsi_reply(q, a.reply, a.len, a.len);
    case MMC_READ: return read_sectors(q, &a);
    case MMC_TAKE:
        q->len = a.len;
        q->dir = SCSI_OUT;
        q->buf = g_malloc(a.len);
        return true;
    default: return true;
    }
}

static void read_done(void *o, BlkReq *r, int ret)
{
    ScsiReq *q = o;

    if (ret)
        scsi_sense(q, ret == -ENOMEDIUM ? NOT_READY : MEDIUM_ERROR, ret == -ENOMEDIUM ? NO_MEDIUM : 0x1100);
    if (q->steps) {
        g_autofree uint8_t *raw = mmc_raw_sectors(r->off / CD_SECTOR, q->iov.iov_base, (uint32_t)(r->len / CD_SECTOR));

        memcpy(q->buf, raw, MIN(q->len, r->len / CD_SECTOR * CD_RAW_SECTOR)); /* the adapter may want less */
        g_clear_pointer(&q->iov.iov_base, g_free);
    }
    q->done(q);
}

static void go(ScsiReq *q)
{
    if (!q->r.len) {
        q->done(q);
        return;
    }
    if (q->steps) {
        q->iov = (struct iovec){ g_malloc0(q->r.len), q->r.len };
        q->r.iov = &q->iov;
        q->r.niov = 1;
    }
    disk_submit(q->dev->disk, &q->r, read_done, q);
}

static const ScsiOp *find_op(uint8_t code)
{
    static const ScsiOp inquiry = { 0x12, OP_ANY_TIME, "INQUIRY", scsi_inquiry, NULL },
                        request_sense = { 0x03, OP_ANY_TIME, "REQUEST SENSE", scsi_request_sense, NULL },
                        any_time = { 0, OP_ANY_TIME, "MMC", command, go }, usual = { 0, 0, "MMC", command, go };

    if (code == inquiry.code || code == request_sense.code)
        return code == inquiry.code ? &inquiry : &request_sense;
    return !mmc_knows(code) ? NULL : mmc_any_time(code) ? &any_time : &usual;
}

/* ---- the medium, from the user ---- */
static void medium(void *o, bool present)
{
    ScsiDev *d = o;
    ScsiBus *b = (ScsiBus *)(void *)d->dev.bus;

    WITH_DEV(&d->dev) {
        d->attention = MEDIUM_CHANGED;
        mmc_medium(&CD(d)->mmc, present);
    }
    if (b && b->event)
        b->event(b, d, SCSI_CHANGED, MEDIUM_CHANGED);
}

static bool may_eject(void *o, bool force) { return mmc_may_eject(&CD(o)->mmc, force); }

/* ---- life ---- */
static void unit_reset(ScsiDev *d) { CD(d)->mmc.locked = false; }
static const ScsiKind kind = { .type = 5, .op = find_op, .unit_reset = unit_reset, .product = "MENURA CD-ROM" };
static const DiskOps disk_ops = { .medium = medium, .eject = may_eject };

static bool init(Obj *o, Error **err)
{
    ScsiDev *d = SCSI(o);

    if (!d->disk) {
        g_autoptr(Opts) none = opts_new();

        d->disk = disk_new(o->vm, o->name, none, err);
        if (!d->disk)
            return false;
        own(o, d->disk, (void (*)(void *))disk_free);
    }
    d->block = CD_SECTOR;
    d->removable = true;
    disk_set_removable(d->disk);
    return scsi_init(d, &kind, &disk_ops, false, err);
}

static void loaded(Dev *d) { disk_lock_tray(SCSI(d)->disk, CD(d)->mmc.locked); }

/* clang-format off */
static const Field fields[] = { STRUCT(ScsiCd, mmc, &mmc_fields), TRANSIENT(ScsiCd, pad, "padding"),
    TRANSIENT(ScsiCd, unit.removable, "of the class", .keep = true),
};
static const DevClass scsi_cd = { SCSI_UNIT(ScsiCd, "scsi-cd", "SCSI CD/DVD drive"), .state = TABLE(fields), .loaded = loaded };
/* clang-format on */
DEVICE(ScsiCd, scsi_cd);
