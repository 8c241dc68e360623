/*
 * hw/scsi/unit.c - what all logical units are: properties, state, life, unit attentions. Source: SPC-4 sections 5.14, 6.39.
 */
#include "hw/scsi/scsi.h"
#include "core/state.h"

enum { UNMAP_GRANULARITY = 4096 }; /* what host files are made of */

bool scsi_request_sense(ScsiReq *q)
{
    uint8_t b[SCSI_SENSE] = { 0x70, [7] = SCSI_SENSE - 8 };
    ScsiDev *d = q->dev;

    if (d->attention) {
        b[2] = UNIT_ATTENTION;
        be16_store(b + 12, d->attention);
        d->attention = 0;
    }
    return scsi_reply(q, b, sizeof(b), q->cdb[4]);
}

/* ---- life ---- */
void scsi_resized(void *o)
{
    ScsiDev *d = o;
    ScsiBus *b = (ScsiBus *)(void *)d->dev.bus;

    d->attention = CAPACITY_CHANGED;
    if (b && b->event)
        b->event(b, d, SCSI_CHANGED, CAPACITY_CHANGED);
}
static void detach(void *disk) { disk_detach(disk); }

bool scsi_init(ScsiDev *d, const ScsiKind *kind, const DiskOps *ops, bool want_write, Error **err)
{
    d->kind = kind;
    if (!disk_sizes(&d->conf, UNMAP_GRANULARITY, err))
        return false;
    if (!disk_attach(d->disk, &(DiskUser){ &d->dev, ops, d, &d->conf, want_write }, err))
        return false;
    own(&d->dev.obj, d->disk, detach);
    return true;
}

static void on_reset(Dev *dev)
{
    ScsiDev *d = SCSI(dev);

    d->attention = POWER_ON;
    disk_lock_tray(d->disk, false);
}

static void unplug(Dev *d) { disk_cancel_all(SCSI(d)->disk); }
static bool drained(const Dev *d) { return !disk_in_flight(((const ScsiDev *)(const void *)d)->disk); }
static char *state_key(const Dev *d)
{
    const ScsiDev *s = (const ScsiDev *)(const void *)d;
    g_autofree char *above = dev_state_key(d->bus->controller);

    return g_strdup_printf("%s/scsi/%d/%d", above, s->id, s->lun);
}

/* clang-format off */
static const Prop props[] = {
    PROP_LINK(ScsiDev, disk, "drive", "drive", "the disk behind it"),
    PROP_BOOTINDEX(ScsiDev),
    PROPS_DISK(ScsiDev, conf),
    PROPS_DISK_ERRORS(ScsiDev, conf),
    PROPS_DISK_SIZES(ScsiDev, conf),
    PROP(ScsiDev, id, "scsi-id", -1, "target; -1: the first that is free"),
    PROP(ScsiDev, lun, "lun", -1, "logical unit of the target; -1: 0"),
    PROP_STR(ScsiDev, serial, "serial", NULL, "serial number; the drive's when not given"),
    PROP_STR(ScsiDev, vendor, "vendor", "MENURA", "up to 8 characters"),
    PROP_STR(ScsiDev, product, "product", NULL, "up to 16 characters"),
    PROP_STR(ScsiDev, ver, "ver", "1.0", "up to 4 characters"),
    PROP(ScsiDev, wwn, "wwn", 0, "world wide name (NAA), 64 bits"),
};
static const Field fields[] = {
    FIELD(ScsiDev, attention), FIELD(ScsiDev, write_cache, .reset = 1), FIELD(ScsiDev, stopped), FIELD(ScsiDev, prevented), TRANSIENT(ScsiDev, kind, "of the class", .keep = true),
    TRANSIENT(ScsiDev, block, "of the properties", .keep = true),
};
const DevClass scsi_base = {
    .obj = { .name = "scsi-device", .size = sizeof(ScsiDev), .props = TABLE(props) }, .bus = "SCSI", .state = TABLE(fields),
    .on_reset = on_reset, .unplug = unplug, .drained = drained, .state_key = state_key,
};
/* clang-format on */
