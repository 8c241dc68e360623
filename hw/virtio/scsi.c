/*
 * hw/virtio/scsi.c - virtio-scsi-pci: a SCSI bus. Source: virtio 1.2 section 5.6. Left out: protection information.
 * Invariants: a request owns its chain and pinned memory until the target has answered; on a save its chain is written, with which
 * a load starts it again.
 */
#include "hw/scsi/scsi.h"
#include "hw/virtio/virtio.h"

enum { Q_CONTROL, Q_EVENT, Q_REQUEST, QUEUE = 256, FLYING_MAX = 1024, SEG_MAX = 254, EVENT_SIZE = 16 };
enum { F_INOUT = 1 << 0, F_HOTPLUG = 1 << 1, F_CHANGE = 1 << 2 };
enum { HEADER = 19, RESPONSE = 12, SENSE_DEFAULT = 96, CDB_DEFAULT = 32, SENSE_MAX = 4096, CDB_MAX = 4096 };
enum { OK, OVERRUN, ABORTED, BAD_TARGET, RESET, BUSY, FAILURE = 9, SUCCEEDED, REJECTED, INCORRECT_LUN };
enum { T_TMF, T_AN_QUERY, T_AN_SUBSCRIBE };
enum { TMF_ABORT_TASK, TMF_ABORT_TASK_SET, TMF_CLEAR_ACA, TMF_CLEAR_TASK_SET, TMF_NEXUS_RESET, TMF_UNIT_RESET, TMF_QUERY_TASK, TMF_QUERY_TASK_SET };
enum { EVENT_TRANSPORT_RESET = 1, EVENT_PARAMETERS = 3, EVENTS_MISSED = 1u << 31, REASON_RESCAN = 1, REASON_REMOVED = 2 };
enum { TARGETS = 256, LUNS = 16384 };

typedef struct Request Request;
typedef struct VirtioScsi {
    Virtio v;
    ScsiBus *bus;
    Request *first;   /* in flight, newest first */
    GPtrArray *again; /* of VirtioChain: in flight when the state was saved; while a load is under way */
    uint32_t flying, sense_size, cdb_size;
    uint16_t num_queues;
    bool missed; /* an event found no buffer */
} VirtioScsi;
struct Request {
    VirtioScsi *s;
    Request *next, **self;
    VirtioChain *chain; /* NULL: forgotten */
    ScsiReq q;
    DmaSg sg;
    bool mapped;
};
#define S(d) ((VirtioScsi *)(void *)(d))

static void serve(VirtioScsi *s);

/* ---- answers ---- */
static void respond(VirtioScsi *s, VirtioChain *c, const ScsiReq *q, uint8_t response, uint64_t moved)
{
    g_autofree uint8_t *b = g_malloc0(RESPONSE + s->sense_size);
    uint64_t out = HEADER + s->cdb_size, in = RESPONSE + s->sense_size;
    uint64_t room = (c->in_len > in ? c->in_len - in : 0) + (c->out_len > out ? c->out_len - out : 0);
    uint32_t sense = q && q->status ? MIN(SCSI_SENSE, s->sense_size) : 0;
    bool ok;

    le32_store(b, sense);
    le32_store(b + 4, (uint32_t)MIN(room - MIN(moved, room), UINT32_MAX));
    b[10] = q ? q->status : 0;
    b[11] = response;
    if (sense)
        memcpy(b + RESPONSE, q->sense, sense);
    ok = virtio_in(&s->v, c, 0, b, in);
    virtio_push(&s->v, c, ok ? (uint32_t)(in + (q && q->dir == SCSI_IN ? moved : 0)) : 0);
}

static void drop(Request *r)
{
    *r->self = r->next;
    if (r->next)
        r->next->self = r->self;
    r->s->flying--;
    scsi_end(&r->q);
    g_free(r);
}

static void finish(Request *r)
{
    VirtioScsi *s = r->s;
    ScsiReq *q = &r->q;
    uint64_t moved = q->status ? 0 : q->len;

    if (r->mapped)
        dma_sg_free(&s->v.pci.dev, &r->sg, q->dir == SCSI_IN ? moved : 0);
    if (r->chain) {
        if (!q->direct && q->dir == SCSI_IN && moved && !virtio_in(&s->v, r->chain, RESPONSE + s->sense_size, q->buf, moved))
            moved = 0;
        respond(s, r->chain, q, OK, moved);
    }
    drop(r);
}

static void answered(ScsiReq *q)
{
    Request *r = container_of(q, Request, q);
    VirtioScsi *s = r->s;

    WITH_DEV(&s->v.pci.dev) {
        finish(r);
        serve(s);
    }
}

/* ---- requests ---- */
static int lun_of(const uint8_t *lun) { return (lun[2] & 0x3f) << 8 | lun[3]; }

/* Brings the data that the command asks for; false: there is not so much, or not in memory. */
static bool bring(Request *r)
{
    VirtioScsi *s = r->s;
    ScsiReq *q = &r->q;
    uint64_t head = q->dir == SCSI_IN ? RESPONSE + s->sense_size : HEADER + s->cdb_size;
    uint64_t all = q->dir == SCSI_IN ? r->chain->in_len : r->chain->out_len, room = all > head ? all - head : 0;

    if (q->dir == SCSI_NONE)
        return true;
    if (!q->direct && q->dir == SCSI_IN)
        q->len = MIN(q->len, room);
    if (q->len > room)
        return false;
    if (!q->direct)
        return q->dir == SCSI_IN || virtio_out(&s->v, r->chain, head, q->buf, q->len);
    dma_sg_init(&r->sg);
    r->mapped = true;
    if (!virtio_map(&s->v, r->chain, q->dir == SCSI_IN, head, q->len, &r->sg)) {
        guest_error(&s->v.pci.dev, "a request's memory cannot be reached");
        return false;
    }
    q->r.iov = (struct iovec *)(void *)r->sg.iov->data;
    q->r.niov = (int)r->sg.iov->len;
    return true;
}

static void start(VirtioScsi *s, VirtioChain *c)
{
    uint8_t head[HEADER + SCSI_CDB] = { 0 };
    Request *r;
    ScsiDev *d;

    if (c->in_len < RESPONSE + s->sense_size || c->out_len < HEADER + s->cdb_size ||
        !virtio_out(&s->v, c, 0, head, HEADER + MIN(s->cdb_size, SCSI_CDB))) {
        virtio_broken(&s->v, "a request without header or response");
        g_free(c);
        return;
    }
    /* 1, target, LUN; or the well known unit that REPORT LUNS is asked of */
    d = head[0] == 1 ? scsi_find(s->bus, head[1], lun_of(head)) : NULL;
    if (!d)
        d = head[0] == 1 ? scsi_find(s->bus, head[1], -1) : NULL;
    if (!d) {
        respond(s, c, NULL, BAD_TARGET, 0);
        return;
    }
    r = g_new0(Request, 1);
    *r = (Request){ .s = s, .chain = c, .next = s->first, .self = &s->first, .q = { .dev = d, .done = answered } };
    if (r->next)
        r->next->self = &r->next;
    s->first = r;
    s->flying++;
    memcpy(r->q.cdb, head + HEADER, SCSI_CDB);
    scsi_prepare(&r->q, s->bus, head[1], (unsigned)lun_of(head));
    if (!bring(r)) {
        if (r->mapped)
            dma_sg_free(&s->v.pci.dev, &r->sg, 0);
        respond(s, c, NULL, OVERRUN, 0);
        drop(r);
        return;
    }
    scsi_go(&r->q);
}

/* Bounded: what a queue holds, the others a moment later; and FLYING_MAX in all, the others follow a completion. */
static void serve_queue(VirtioScsi *s, unsigned queue)
{
    VirtioChain *c;

    for (unsigned i = 0; s->flying < FLYING_MAX && (c = virtio_take(&s->v, queue, QUEUE, &i));)
        start(s, c);
}

static void serve(VirtioScsi *s)
{
    for (unsigned n = Q_REQUEST; n < s->v.queues; n++)
        if (s->v.q.enable[n])
            serve_queue(s, n);
}

/* ---- task management: what is in flight is waited for, so that nothing is left to abort ---- */
static void settle(VirtioScsi *s, unsigned target, int lun, bool reset)
{
    for (guint i = 0; i < s->bus->bus.devs->len; i++) {
        ScsiDev *d = s->bus->bus.devs->pdata[i];

        if ((unsigned)d->id != target || (lun >= 0 && d->lun != lun))
            continue;
        if (reset)
            scsi_unit_reset(d);
        else
            disk_cancel_all(d->disk);
    }
}

static uint8_t manage(VirtioScsi *s, uint32_t subtype, const uint8_t *lun)
{
    ScsiDev *target = lun[0] == 1 ? scsi_find(s->bus, lun[1], -1) : NULL;
    int unit = lun_of(lun);

    if (!target)
        return BAD_TARGET;
    if (subtype != TMF_NEXUS_RESET && !scsi_find(s->bus, lun[1], unit))
        return INCORRECT_LUN;
    switch (subtype) {
    case TMF_ABORT_TASK:
    case TMF_ABORT_TASK_SET:
    case TMF_CLEAR_TASK_SET: settle(s, lun[1], unit, false); return OK;
    case TMF_UNIT_RESET: settle(s, lun[1], unit, true); return OK;
    case TMF_NEXUS_RESET: settle(s, lun[1], -1, true); return OK;
    case TMF_QUERY_TASK:
    case TMF_QUERY_TASK_SET: return s->first ? SUCCEEDED : OK;
    default: return REJECTED;
    }
}

static void control(VirtioScsi *s)
{
    VirtioChain *c;

    for (unsigned i = 0; (c = virtio_take(&s->v, Q_CONTROL, QUEUE, &i));) {
        uint8_t b[24] = { 0 }, answer[5] = { 0, 0, 0, 0, OK };
        bool tmf;

        if (!virtio_out(&s->v, c, 0, b, MIN(c->out_len, sizeof(b))) || c->out_len < 16) {
            virtio_broken(&s->v, "a control request without header");
            g_free(c);
            return;
        }
        tmf = le32_load(b) == T_TMF;
        if (tmf)
            answer[4] = manage(s, le32_load(b + 4), b + 8);
        else if (le32_load(b) > T_AN_SUBSCRIBE)
            answer[4] = FAILURE;
        virtio_push(&s->v, c, virtio_in(&s->v, c, 0, tmf ? answer + 4 : answer, tmf ? 1 : 5) ? (tmf ? 1 : 5) : 0);
    }
}

/* ---- events ---- */
static void tell(VirtioScsi *s, uint32_t event, const ScsiDev *d, uint32_t reason)
{
    VirtioChain *c = virtio_live(&s->v) && s->v.q.enable[Q_EVENT] ? virtio_pop(&s->v, Q_EVENT) : NULL;
    uint8_t b[EVENT_SIZE] = { 0 };

    if (!c) {
        s->missed = virtio_live(&s->v);
        return;
    }
    le32_store(b, event | (s->missed ? EVENTS_MISSED : 0));
    s->missed = false;
    if (d) {
        b[4] = 1;
        b[5] = (uint8_t)d->id;
        b[6] = (uint8_t)(0x40 | d->lun >> 8);
        b[7] = (uint8_t)d->lun;
    }
    le32_store(b + 12, reason);
    virtio_push(&s->v, c, virtio_in(&s->v, c, 0, b, MIN(c->in_len, sizeof(b))) ? (uint32_t)MIN(c->in_len, sizeof(b)) : 0);
}

static void bus_event(ScsiBus *b, ScsiDev *d, int what, unsigned code)
{
    VirtioScsi *s = S(b->bus.controller);

    if (!s->v.pci.dev.realized)
        return;
    WITH_DEV(&s->v.pci.dev) {
        if (what == SCSI_CHANGED && virtio_has(&s->v, F_CHANGE))
            tell(s, EVENT_PARAMETERS, d, code >> 8 | (code & 0xff) << 8);
        else if (what != SCSI_CHANGED && virtio_has(&s->v, F_HOTPLUG))
            tell(s, EVENT_TRANSPORT_RESET, d, what == SCSI_CAME ? REASON_RESCAN : REASON_REMOVED);
    }
}

static void notified(Virtio *v, unsigned queue)
{
    VirtioScsi *s = S(v);

    if (queue == Q_CONTROL)
        control(s);
    else if (queue >= Q_REQUEST)
        serve_queue(s, queue);
    else if (s->missed)
        tell(s, 0, NULL, 0); /* buffers at last */
}

/* ---- configuration ---- */
static uint64_t features(const Virtio *v) { return F_HOTPLUG | F_CHANGE; }

static void config(const Virtio *v, uint8_t *o)
{
    const VirtioScsi *s = (const VirtioScsi *)(const void *)v;

    le32_store(o, v->queues - Q_REQUEST);
    le32_store(o + 4, SEG_MAX);
    le32_store(o + 8, 0xffff);
    le32_store(o + 12, 128);
    le32_store(o + 16, EVENT_SIZE);
    le32_store(o + 20, s->sense_size);
    le32_store(o + 24, s->cdb_size);
    le16_store(o + 30, TARGETS - 1);
    le32_store(o + 32, LUNS - 1);
}

static void put_byte(uint32_t *field, unsigned at, uint8_t val, uint32_t max)
{
    uint32_t v = (*field & ~(0xffu << 8 * at)) | (uint32_t)val << 8 * at;

    *field = MIN(v, max);
}

static void config_w(Virtio *v, unsigned off, uint8_t val)
{
    VirtioScsi *s = S(v);

    if (s->flying) /* the layout of what is in flight stays */
        return;
    if (off >= 20 && off < 24)
        put_byte(&s->sense_size, off - 20, val, SENSE_MAX);
    else if (off >= 24 && off < 28)
        put_byte(&s->cdb_size, off - 24, val, CDB_MAX);
}

/* ---- life ---- */
static void reset(Virtio *v)
{
    VirtioScsi *s = S(v);

    for (Request *r = s->first; r; r = r->next)
        g_clear_pointer(&r->chain, g_free);
    for (guint i = 0; s->flying && i < s->bus->bus.devs->len; i++)
        disk_cancel_all(((ScsiDev *)s->bus->bus.devs->pdata[i])->disk);
    s->sense_size = SENSE_DEFAULT;
    s->cdb_size = CDB_DEFAULT;
    s->missed = false;
}

static bool init(Obj *o, Error **err)
{
    VirtioScsi *s = S(o);
    unsigned n = s->num_queues == UINT16_MAX ? CLAMP(o->vm->cfg.cpus, 1, VIRTIO_QUEUES - Q_REQUEST) : s->num_queues;
    g_autofree char *name = g_strdup_printf("%s.0", s->v.pci.dev.id ? s->v.pci.dev.id : "scsi");

    if (n < 1 || n > VIRTIO_QUEUES - Q_REQUEST)
        return fail(err, "num_queues=%u: must be 1 to %d", n, VIRTIO_QUEUES - Q_REQUEST);
    virtio_set_queues(&s->v, n + Q_REQUEST);
    s->bus = scsi_bus_new(&s->v.pci.dev, name, TARGETS, LUNS);
    s->bus->event = bus_event;
    return true;
}

static void unplug(Dev *d) { reset(VIRTIO(d)); }
static bool drained(const Dev *d) { return !((const VirtioScsi *)(const void *)d)->flying; }

/* ---- state ---- */
static void drop_again(Dev *d) { g_clear_pointer(&S(d)->again, g_ptr_array_unref); }

static void save_chains(const Dev *d, StateOut *o)
{
    g_autoptr(GPtrArray) chains = g_ptr_array_new();

    for (const Request *r = ((const VirtioScsi *)(const void *)d)->first; r; r = r->next)
        if (r->chain)
            g_ptr_array_add(chains, r->chain);
    virtio_chains_put(o, chains);
}

static bool load_chains(Dev *d, StateIn *i, Error **err)
{
    return (S(d)->again = virtio_chains_get(VIRTIO(d), i, FLYING_MAX, err)) != NULL;
}

static bool check(const Dev *d, Error **err)
{
    const VirtioScsi *s = (const VirtioScsi *)(const void *)d;

    return (s->sense_size <= SENSE_MAX && s->cdb_size <= CDB_MAX) || fail(err, "sense or CDB size cannot be so");
}

static void loaded(Dev *d)
{
    VirtioScsi *s = S(d);
    g_autoptr(GPtrArray) again = g_steal_pointer(&s->again);
    uint32_t sense = s->sense_size, cdb = s->cdb_size;
    bool missed = s->missed;

    reset(&s->v); /* what this side had in flight */
    s->sense_size = sense;
    s->cdb_size = cdb;
    s->missed = missed;
    for (guint i = 0; again && i < again->len && virtio_live(&s->v); i++)
        start(s, g_steal_pointer(&again->pdata[i]));
}

/* clang-format off */
static const Prop props[] = {
    PROP(VirtioScsi, num_queues, "num_queues", UINT16_MAX, "request queues; one for each CPU when not given"),
};
static const Field fields[] = {
    FIELD(VirtioScsi, sense_size, .reset = SENSE_DEFAULT), FIELD(VirtioScsi, cdb_size, .reset = CDB_DEFAULT), FIELD(VirtioScsi, missed),
    CUSTOM(VirtioScsi, again, save_chains, load_chains, .drop = drop_again, .keep = true),
    TRANSIENT(VirtioScsi, first, "requests of the host; their chains are saved", .keep = true),
    TRANSIENT(VirtioScsi, flying, "counts requests of the host", .keep = true),
    TRANSIENT(VirtioScsi, bus, "wiring", .keep = true),
};
#define ROWS(nm, fm) {                                                                                                    \
    VIRTIO_DEVICE(VirtioScsi, nm, "virtio SCSI adapter", 8), .legacy_id = 0x1004, .form = (fm),                             \
    .pci.class_id = 0x010000, .pci.dev.category = "Storage devices", .pci.dev.obj.props = TABLE(props), .pci.dev.obj.init = init,     \
    .pci.dev.state = TABLE(fields), .pci.dev.unplug = unplug, .pci.dev.drained = drained, .pci.dev.loaded = loaded,         \
    .pci.dev.check = check, .pci.dev.hotplug = true, .queues = 3, .queue_size = QUEUE, .features = features,                \
    .config_size = 36, .config = config, .config_w = config_w, .notified = notified, .reset = reset,                        \
}
VIRTIO_FORMS(VirtioScsi, scsi, "virtio-scsi-pci", ROWS);
/* clang-format on */
