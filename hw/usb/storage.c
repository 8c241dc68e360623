/*
 * hw/usb/storage.c - bulk-only mass storage in front of a SCSI bus: usb-storage, which brings its disk, and usb-bot.
 * Source: USB Mass Storage Class, Bulk-Only Transport 1.0. Left out: the cases in which it lets a device choose to stall are answered
 * by short packets.
 *
 *   COMMAND -(CBW)-> DATA_IN | DATA_OUT | STATUS -(CSW)-> COMMAND;  a bad CBW -> BROKEN, until a reset
 *
 * Invariants: at most one SCSI command is in flight, and it has its own hold on the data; until it is done the host is
 * answered USB_NAK. `flying` of a saved state means that a load starts it again.
 */
#include "core/state.h"
#include "hw/scsi/scsi.h"
#include "hw/usb/usb.h"

enum { RESET_RECOVERY = 0x21ff, GET_MAX_LUN = 0xa1fe, CBW_LEN = 31, CSW_LEN = 13, LUNS = 16, DATA_MAX = 64 << 20, REQUEST_SENSE = 3 };
enum { COMMAND, DATA_IN, DATA_OUT, STATUS, BROKEN };
enum { PASSED, FAILED, PHASE_ERROR };

typedef struct Request Request;
typedef struct Storage {
    UsbDev usb;
    ScsiBus *bus;
    Disk *disk;
    DiskConf conf;
    int32_t bootindex;
    bool removable;
    /* state */
    uint8_t mode, status;
    bool flying, has_sense;
    uint8_t lun, cdb[SCSI_CDB], sense[SCSI_SENSE];
    uint32_t tag, want /* bytes that the host expects to move */, pos /* that moved */;
    GByteArray *data; /* of the command; NULL: none */
    Request *request; /* of the host */
    uint32_t held;    /* requests that the disk has not answered, forgotten ones too */
} Storage;
struct Request {
    Storage *s;
    bool forgotten;
    ScsiReq q;
    GByteArray *data;
    struct iovec iov;
};
#define S(d) ((Storage *)(void *)(d))
#define S_CONST(d) ((const Storage *)(const void *)(d))

/* ---- commands ---- */
static void drop_data(Storage *s) { g_clear_pointer(&s->data, g_byte_array_unref); }

static void make_room(Storage *s, uint64_t n)
{
    drop_data(s);
    s->data = g_byte_array_new();
    g_byte_array_set_size(s->data, (guint)n);
}

static void finish(Storage *s, Request *r)
{
    ScsiReq *q = &r->q;

    s->request = NULL;
    s->flying = false;
    if (s->status == PASSED && q->status) {
        s->status = FAILED;
        s->has_sense = true;
        memcpy(s->sense, q->sense, SCSI_SENSE);
    }
    if (q->status)
        drop_data(s);
    else if (q->dir == SCSI_IN && !q->direct)
        memcpy(s->data->data, q->buf, q->len);
    usb_ready(&s->usb, USB_IN | 1);
}

static void answered(ScsiReq *q)
{
    Request *r = container_of(q, Request, q);
    Storage *s = r->s;

    WITH_DEV(&s->usb.dev) {
        s->held--;
        if (!r->forgotten)
            finish(s, r);
    }
    scsi_end(q);
    g_byte_array_unref(r->data);
    g_free(r);
}

/* The command, whose data is there if it moves out. */
static void go(Storage *s, Request *r)
{
    ScsiReq *q = &r->q;

    r->data = s->data ? g_byte_array_ref(s->data) : g_byte_array_new();
    r->iov = (struct iovec){ r->data->data, q->len };
    if (q->direct) {
        q->r.iov = &r->iov;
        q->r.niov = 1;
    } else if (q->dir == SCSI_OUT) {
        memcpy(q->buf, r->data->data, q->len);
    }
    s->request = r;
    s->flying = true;
    s->held++;
    scsi_go(q);
}

static Request *prepare(Storage *s)
{
    Request *r = g_new0(Request, 1);

    r->s = s;
    r->q.done = answered;
    r->q.dev = scsi_find(s->bus, 0, s->lun);
    if (!r->q.dev)
        r->q.dev = scsi_find(s->bus, 0, -1);
    memcpy(r->q.cdb, s->cdb, SCSI_CDB);
    if (r->q.dev)
        scsi_prepare(&r->q, s->bus, 0, s->lun);
    return r;
}

static void abandon(Storage *s, Request *r, uint8_t status)
{
    if (status != PASSED) {
        s->status = status;
        drop_data(s);
    }
    s->flying = false;
    scsi_end(&r->q);
    g_free(r);
}

/* Prepared again after the data came, or after a load. */
static void execute(Storage *s)
{
    Request *r = prepare(s);
    uint64_t have = s->data ? s->data->len : 0;

    if (r->q.dev && (r->q.dir == SCSI_NONE || r->q.len == have))
        go(s, r);
    else
        abandon(s, r, r->q.dev ? PHASE_ERROR : FAILED); /* it cannot be what it was */
}

/* The sense data of the command that failed last is asked for by another one. */
static bool own_command(Storage *s)
{
    if (s->cdb[0] != REQUEST_SENSE || !s->has_sense) {
        s->has_sense = false;
        return false;
    }
    make_room(s, MIN(s->cdb[4], SCSI_SENSE));
    if (s->data->len)
        memcpy(s->data->data, s->sense, s->data->len);
    s->has_sense = false;
    return true;
}

/* Section 6.7: who moves how much, and what comes of it when host and device do not agree. */
static void begin(Storage *s, bool in)
{
    Request *r;
    uint64_t len;

    s->mode = !s->want ? STATUS : in ? DATA_IN : DATA_OUT;
    s->status = PASSED;
    s->pos = 0;
    drop_data(s);
    if (own_command(s))
        return;
    r = prepare(s);
    len = r->q.dir == SCSI_NONE ? 0 : r->q.len;
    if (!r->q.dev || (len && (len > s->want || (r->q.dir == SCSI_IN) != in || len > DATA_MAX))) {
        abandon(s, r, r->q.dev ? PHASE_ERROR : FAILED);
        return;
    }
    if (len)
        make_room(s, len);
    if (r->q.dir == SCSI_OUT)
        abandon(s, r, PASSED); /* until the data is here */
    else
        go(s, r);
}

/* ---- transfers ---- */
static UsbStatus command(Storage *s, UsbXfer *x)
{
    uint8_t b[CBW_LEN];

    if (x->len != CBW_LEN || usb_get(x, b, CBW_LEN) != CBW_LEN || le32_load(b) != 0x43425355 || b[13] >= LUNS || b[14] < 1 || b[14] > SCSI_CDB) {
        guest_error(&s->usb.dev, "a command block wrapper that cannot be");
        s->mode = BROKEN;
        return USB_STALL;
    }
    s->tag = le32_load(b + 4);
    s->want = le32_load(b + 8);
    s->lun = b[13];
    memset(s->cdb, 0, sizeof(s->cdb));
    memcpy(s->cdb, b + 15, b[14]);
    begin(s, b[12] & 0x80);
    return USB_OK;
}

/* What the command does not want is taken and forgotten. */
static UsbStatus data_out(Storage *s, UsbXfer *x)
{
    uint64_t n = MIN(x->len, s->want - s->pos), have = s->data ? s->data->len : 0;

    if (x->len > n)
        return USB_STALL;
    if (s->pos < have)
        usb_get(x, s->data->data + s->pos, have - s->pos);
    x->done = n;
    s->pos += (uint32_t)n;
    if (s->pos < s->want)
        return USB_OK;
    s->mode = STATUS;
    if (s->status == PASSED && have)
        execute(s);
    return USB_OK;
}

static UsbStatus data_in(Storage *s, UsbXfer *x)
{
    uint64_t have = s->data ? s->data->len : 0;

    if (s->pos < have)
        s->pos += (uint32_t)usb_put(x, s->data->data + s->pos, MIN(have, s->want) - s->pos);
    if (x->done < x->len || s->pos >= s->want) /* a short packet ends it */
        s->mode = STATUS;
    return USB_OK;
}

static UsbStatus status(Storage *s, UsbXfer *x)
{
    uint8_t b[CSW_LEN];

    if (x->len < CSW_LEN)
        return USB_BABBLE;
    le32_store(b, 0x53425355);
    le32_store(b + 4, s->tag);
    le32_store(b + 8, s->want - MIN(s->pos, s->want));
    b[12] = s->status;
    usb_put(x, b, sizeof(b));
    s->mode = COMMAND;
    drop_data(s);
    return USB_OK;
}

static UsbStatus transfer(UsbDev *d, UsbXfer *x)
{
    Storage *s = S(d);
    bool in = x->ep & USB_IN;

    if (s->flying)
        return USB_NAK;
    if (!in)
        return s->mode == COMMAND ? command(s, x) : s->mode == DATA_OUT ? data_out(s, x) : USB_STALL;
    return s->mode == DATA_IN ? data_in(s, x) : s->mode == STATUS ? status(s, x) : USB_STALL;
}

/* ---- requests ---- */
/* What is in flight is waited for: what follows must find it done. */
static void forget(Storage *s)
{
    if (s->request)
        s->request->forgotten = true;
    s->request = NULL;
    for (guint i = 0; s->held && i < s->bus->bus.devs->len; i++)
        disk_cancel_all(((ScsiDev *)s->bus->bus.devs->pdata[i])->disk);
}

static void restart(Storage *s)
{
    forget(s);
    s->mode = COMMAND;
    s->flying = s->has_sense = false;
    s->pos = s->want = 0;
    drop_data(s);
}

static UsbStatus reset_recovery(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    restart(S(d));
    return USB_OK;
}

static UsbStatus get_max_lun(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    uint8_t max = 0;

    for (guint i = 0; i < S(d)->bus->bus.devs->len; i++)
        max = (uint8_t)MAX(max, ((ScsiDev *)S(d)->bus->bus.devs->pdata[i])->lun);
    return usb_answer(x, q, &max, 1);
}

static void configured(UsbDev *d) { restart(S(d)); }

/* ---- life ---- */
static bool init(Obj *o, Error **err)
{
    Storage *s = S(o);
    const Dev *d = &s->usb.dev;
    g_autofree char *name = g_strdup_printf("%s.0", d->id ? d->id : "scsi");

    s->bus = scsi_bus_new(&s->usb.dev, name, 1, LUNS);
    return true;
}

static bool disk_init(Obj *o, Error **err)
{
    if (!S(o)->disk) {
        fail(err, "usb-storage needs drive=");
        return error_hint(err, "add -drive if=none,id=ID,file=.. and drive=ID");
    }
    return init(o, err);
}

/* What it says of its disk, its child's properties by the same names. */
#define PROPS_CHILD PROPS_DISK(Storage, conf), PROPS_DISK_ERRORS(Storage, conf), PROPS_DISK_SIZES(Storage, conf)

static void hand_down(Dev *d, Opts *o)
{
    static const Prop child[] = { PROPS_CHILD };

    for (size_t i = 0; i < G_N_ELEMENTS(child); i++) {
        g_autofree char *v = obj_prop_get(&d->obj, child[i].name, &abort_on_error);

        opts_set(o, child[i].name, v);
    }
}

/* Its disk is a device on its bus, by the name that clients know. */
static bool disk_plug(Dev *d, Error **err)
{
    Storage *s = S(d);
    g_autoptr(Opts) o = opts_new();
    bool cd = disk_is_cdrom(s->disk);
    Dev *child;

    opts_set(o, "drive", disk_id(s->disk));
    hand_down(d, o);
    if (!cd)
        opts_set(o, "removable", s->removable ? "on" : "off");
    if (s->usb.serial)
        opts_set(o, "serial", s->usb.serial);
    child = dev_new(dev_vm(d), cd ? "scsi-cd" : "scsi-hd", NULL, &s->bus->bus, &s->bus->bus.obj, o, err);
    if (!child)
        return false;
    g_free(child->obj.name);
    child->obj.name = g_strdup("legacy[0]");
    return true;
}

static void on_reset(Dev *d) { forget(S(d)); }
static void unplug(Dev *d) { forget(S(d)); }
static bool drained(const Dev *d) { return !S_CONST(d)->held; }

/* ---- state ---- */
static void save_data(const Dev *d, StateOut *o)
{
    const GByteArray *a = S_CONST(d)->data;

    put_u8(o, a != NULL);
    put_u32(o, a ? a->len : 0);
    if (a && a->len)
        put_bytes(o, a->data, a->len);
}

static bool load_data(Dev *d, StateIn *i, Error **err)
{
    bool any = get_u8(i);
    uint32_t n = get_u32(i);

    if (i->bad || !in_range(i->at, n, i->n) || n > DATA_MAX)
        return fail(err, "%u bytes of a command are not there", n);
    if (!any)
        return true;
    make_room(S(d), n);
    if (n)
        get_bytes(i, S(d)->data->data, n);
    return true;
}

static void drop_field(Dev *d) { drop_data(S(d)); }

static bool check(const Dev *d, Error **err)
{
    const Storage *s = S_CONST(d);

    return (s->mode <= BROKEN && s->lun < LUNS && s->pos <= s->want && s->status <= PHASE_ERROR) || fail(err, "a command cannot be so");
}

static void loaded(Dev *d)
{
    Storage *s = S(d);

    forget(s); /* what this side had in flight */
    if (s->flying)
        execute(s);
}

/* clang-format off */
static const UsbEp eps[] = {
    { .addr = USB_IN | 1, .type = USB_BULK, .packet = { [USB_FULL] = 64, [USB_HIGH] = 512, [USB_SUPER] = 1024 }, .burst = 15 },
    { .addr = 2, .type = USB_BULK, .packet = { [USB_FULL] = 64, [USB_HIGH] = 512, [USB_SUPER] = 1024 }, .burst = 15 },
};
static const UsbIface ifaces[] = { { .class_id = 8, .subclass = 6, .protocol = 0x50, .ep = eps, .neps = G_N_ELEMENTS(eps) } };
static const UsbOp ops[] = { { RESET_RECOVERY, "Bulk-Only Mass Storage Reset", reset_recovery }, { GET_MAX_LUN, "Get Max LUN", get_max_lun } };
static const Field fields[] = {
    FIELD(Storage, mode), FIELD(Storage, status), FIELD(Storage, flying), FIELD(Storage, has_sense), FIELD(Storage, lun), BYTES(Storage, cdb),
    BYTES(Storage, sense), FIELD(Storage, tag), FIELD(Storage, want), FIELD(Storage, pos),
    CUSTOM(Storage, data, save_data, load_data, .drop = drop_field), TRANSIENT(Storage, bus, "wiring", .keep = true),
    TRANSIENT(Storage, request, "a request of the host", .keep = true), TRANSIENT(Storage, held, "counts requests of the host", .keep = true),
    TRANSIENT(Storage, disk, "a property of usb-storage", .keep = true), TRANSIENT(Storage, conf, "properties of usb-storage", .keep = true),
    TRANSIENT(Storage, bootindex, "a property of usb-storage", .keep = true),
    TRANSIENT(Storage, removable, "a property of usb-storage", .keep = true),
};
static const Prop disk_props[] = {
    PROP_LINK(Storage, disk, "drive", "drive", "the disk behind it"), PROP_BOOTINDEX(Storage), PROPS_CHILD,
    PROP(Storage, removable, "removable", false, "the medium can be taken out"),
};
#define STORAGE(c, nm, dsc, nme, prod, ...)                                                                                   \
    static const UsbClass c = {                                                                                             \
        USB_DEVICE(Storage, nm, dsc), .dev.category = "Storage devices", .dev.state = TABLE(fields), .dev.on_reset = on_reset, \
        .dev.unplug = unplug, .dev.drained = drained, .dev.loaded = loaded, .dev.check = check,                              \
        .vendor = 0x46f4, .product = 1, .maker = "QEMU", .name = (nme), .shown = (prod), .speeds = AT_FULL | AT_HIGH | AT_SUPER, \
        .attributes = SELF_POWERED, USB_IFACE_TABLE(ifaces), USB_OPS(ops), .transfer = transfer, .configured = configured, __VA_ARGS__ \
    };                                                                                                                      \
    DEVICE_OF(Storage, c, &c.dev)
STORAGE(usb_storage, "usb-storage", "USB disk", "QEMU USB MSD", "QEMU USB HARDDRIVE", .dev.obj.props = TABLE(disk_props), .dev.obj.init = disk_init, .dev.plug = disk_plug);
STORAGE(usb_bot, "usb-bot", "USB storage (bulk-only) with a SCSI bus", "QEMU USB MSD", "QEMU USB HARDDRIVE", .dev.obj.init = init);
/* clang-format on */
