/*
 * hw/scsi/bus.c - the bus: addresses, requests, and what every target does. Source: SAM-5 section 4; SPC-4 sections 6.33, 6.39.
 */
#include "hw/scsi/scsi.h"

/* ---- answers ---- */
bool scsi_sense(ScsiReq *q, uint8_t key, unsigned code)
{
    memset(q->sense, 0, sizeof(q->sense));
    q->sense[0] = 0x70;
    q->sense[2] = key;
    q->sense[7] = SCSI_SENSE - 8;
    q->sense[12] = (uint8_t)(code >> 8);
    q->sense[13] = (uint8_t)code;
    q->status = SCSI_CHECK_CONDITION;
    return false;
}

bool scsi_reply(ScsiReq *q, const void *data, size_t have, size_t room)
{
    q->len = MIN(have, room);
    q->dir = q->len ? SCSI_IN : SCSI_NONE;
    q->buf = g_malloc(MAX(q->len, 1));
    memcpy(q->buf, data, q->len);
    return true;
}

void scsi_end(ScsiReq *q) { g_clear_pointer(&q->buf, g_free); }

/* ---- units ---- */
ScsiDev *scsi_find(const ScsiBus *b, unsigned target, int lun)
{
    ScsiDev *first = NULL;

    for (guint i = 0; i < b->bus.devs->len; i++) {
        ScsiDev *d = b->bus.devs->pdata[i];

        if ((unsigned)d->id != target || d->dev.life != LIFE_LIVE)
            continue;
        if (lun < 0 ? !first || d->lun < first->lun : d->lun == lun)
            first = d;
    }
    return first;
}

static bool report_luns(ScsiReq *q, const ScsiBus *b, unsigned target)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    uint32_t room = be32_load(q->cdb + 6);
    uint8_t e[8] = { 0 };

    if (q->cdb[2] > 2)
        return scsi_sense(q, ILLEGAL_REQUEST, INVALID_FIELD);
    g_byte_array_append(out, e, 8);
    for (guint i = 0; i < b->bus.devs->len && q->cdb[2] != 1; i++) {
        const ScsiDev *d = b->bus.devs->pdata[i];

        if ((unsigned)d->id != target || d->dev.life != LIFE_LIVE)
            continue;
        e[0] = (uint8_t)(d->lun > 255 ? 0x40 | d->lun >> 8 : 0);
        e[1] = (uint8_t)d->lun;
        g_byte_array_append(out, e, 8);
    }
    be32_store(out->data, out->len - 8);
    return scsi_reply(q, out->data, out->len, room);
}

/* SPC-4 section 5.14.4 and 6.6.1: a unit that is not there says so. */
static bool absent(ScsiReq *q)
{
    uint8_t b[36] = { 0x7f, 0, 5, 2, 31 };

    if (q->cdb[0] == 0x12 && !(q->cdb[1] & 1))
        return scsi_reply(q, b, sizeof(b), be16_load(q->cdb + 3));
    return scsi_sense(q, ILLEGAL_REQUEST, NO_SUCH_UNIT);
}

static bool attention(ScsiReq *q, const ScsiOp *op)
{
    ScsiDev *d = q->dev;
    unsigned code = d->attention;

    if (!code || (op && op->flags & OP_ANY_TIME))
        return false;
    d->attention = 0;
    scsi_sense(q, UNIT_ATTENTION, code);
    return true;
}

static bool prepare(ScsiReq *q, const ScsiBus *b, unsigned target, unsigned lun)
{
    const ScsiOp *op = q->dev->kind->op(q->cdb[0]);
    const ScsiDev *d = q->dev;

    if (q->cdb[0] == 0xa0)
        return report_luns(q, b, target);
    if ((unsigned)d->lun != lun)
        return absent(q);
    if (attention(q, op))
        return false;
    if (!op) {
        guest_unimp(&q->dev->dev, "command %#x", q->cdb[0]);
        return scsi_sense(q, ILLEGAL_REQUEST, INVALID_OPCODE);
    }
    if (op->flags & OP_MEDIUM && !disk_present(d->disk))
        return scsi_sense(q, NOT_READY, NO_MEDIUM);
    if (op->flags & OP_MEDIUM && d->stopped)
        return scsi_sense(q, NOT_READY, STOPPED);
    if (op->flags & OP_WRITES && disk_readonly(d->disk))
        return scsi_sense(q, DATA_PROTECT, WRITE_PROTECTED);
    return op->prepare(q);
}

void scsi_prepare(ScsiReq *q, const ScsiBus *b, unsigned target, unsigned lun)
{
    q->status = SCSI_GOOD;
    q->dir = SCSI_NONE;
    q->len = 0;
    q->direct = false;
    q->buf = NULL;
    q->step = q->steps = 0;
    if (prepare(q, b, target, lun))
        return;
    scsi_end(q);
    q->dir = SCSI_NONE;
    q->len = 0;
}

void scsi_go(ScsiReq *q)
{
    const ScsiOp *op = q->dev->kind->op(q->cdb[0]);

    if (q->status == SCSI_GOOD && op && op->go)
        op->go(q);
    else
        q->done(q);
}

void scsi_unit_reset(ScsiDev *d)
{
    disk_cancel_all(d->disk);
    d->attention = POWER_ON;
    d->prevented = d->stopped = false;
    if (d->kind->unit_reset)
        d->kind->unit_reset(d);
    disk_lock_tray(d->disk, false);
}

/* ---- the bus ---- */
static bool bus_plug(Bus *bus, Dev *dev, Error **err)
{
    ScsiBus *b = (ScsiBus *)(void *)bus;
    ScsiDev *d = SCSI(dev);

    for (unsigned i = 0; d->id < 0 && i < b->targets; i++)
        if (!scsi_find(b, i, d->lun < 0 ? 0 : d->lun))
            d->id = (int32_t)i;
    if (d->id < 0 || (unsigned)d->id >= b->targets)
        return fail(err, "scsi-id=%d: bus '%s' has 0 to %u", d->id, bus->obj.name, b->targets - 1);
    if (d->lun < 0)
        d->lun = 0;
    if ((unsigned)d->lun >= b->luns)
        return fail(err, "lun=%d: bus '%s' has 0 to %u", d->lun, bus->obj.name, b->luns - 1);
    if (scsi_find(b, (unsigned)d->id, d->lun) && scsi_find(b, (unsigned)d->id, d->lun) != d)
        return fail(err, "scsi-id=%d,lun=%d of bus '%s' is taken", d->id, d->lun, bus->obj.name);
    if (b->event)
        b->event(b, d, SCSI_CAME, 0);
    return true;
}

static void bus_unplug(Bus *bus, Dev *d)
{
    ScsiBus *b = (ScsiBus *)(void *)bus;

    if (b->event)
        b->event(b, SCSI(d), SCSI_GONE, 0);
}

static char *bus_address(const Bus *b, const Dev *d)
{
    return g_strdup_printf("scsi-id %d, lun %d", ((const ScsiDev *)(const void *)d)->id, ((const ScsiDev *)(const void *)d)->lun);
}

static const BusClass bus_class = {
    .obj = { .name = "SCSI", .desc = "SCSI bus", .size = sizeof(ScsiBus) },
    .type = "SCSI", .plug = bus_plug, .unplug = bus_unplug, .address = bus_address, .hotplug = true,
};

ScsiBus *scsi_bus_new(Dev *adapter, const char *name, unsigned targets, unsigned luns)
{
    ScsiBus *b = (ScsiBus *)(void *)bus_new(&bus_class, adapter, name);

    b->targets = targets;
    b->luns = luns;
    return b;
}
