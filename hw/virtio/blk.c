/*
 * hw/virtio/blk.c - virtio-blk-pci. Source: virtio 1.2 section 5.2. Left out: zoned devices, lifetime, secure erase, the
 * write-back bit of the configuration (the cache is the drive's business).
 * Invariants: a request owns its chain and pinned memory until its disk request is done; on a save its chain is
 * written, with which a load starts it again.
 */
#include "hw/virtio/virtio.h"
#include "block/disk.h"
#include <errno.h>

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_ZEROES = 13 };
enum { S_OK, S_IOERR, S_UNSUPP };
enum { SECTOR = 512, QUEUE = 256, FLYING_MAX = 1024, SEG_MAX = 254, ID_LEN = 20, RANGE = 16, TRANSFER_MAX = 256 * 1024 * 1024 };
enum { F_SEG_MAX = 1 << 2, F_GEOMETRY = 1 << 4, F_RO = 1 << 5, F_BLK_SIZE = 1 << 6, F_FLUSH = 1 << 9, F_TOPOLOGY = 1 << 10,
       F_MQ = 1 << 12, F_DISCARD = 1 << 13, F_ZEROES = 1 << 14 };

typedef struct BlkRequest BlkRequest;
typedef struct VirtioBlk {
    Virtio v;
    Disk *disk;
    DiskConf conf;
    char *serial;
    BlkRequest *first; /* in flight, newest first */
    GPtrArray *again;  /* of VirtioChain: in flight when the state was saved; while a load is under way */
    uint32_t flying;
    int32_t bootindex;
    uint16_t num_queues;
    bool discard, zeroes;
} VirtioBlk;
struct BlkRequest {
    VirtioBlk *b; /* NULL: forgotten */
    BlkRequest *next, **self;
    VirtioChain *chain;
    BlkReq r;
    DmaSg sg;
    bool mapped;
};
#define B(d) ((VirtioBlk *)(void *)(d))

/* ---- ends ---- */
static void push_status(VirtioBlk *b, VirtioChain *c, uint8_t status, uint64_t data)
{
    bool ok = virtio_in(&b->v, c, c->in_len - 1, &status, 1);

    virtio_push(&b->v, c, ok ? (uint32_t)(data + 1) : 0);
}

static void unlink_request(BlkRequest *q)
{
    *q->self = q->next;
    if (q->next)
        q->next->self = q->self;
}

static void serve(VirtioBlk *b);

static void done(void *o, BlkReq *r, int ret)
{
    BlkRequest *q = o;
    VirtioBlk *b = q->b;
    uint64_t data = r->op == BLK_READ && !ret ? r->len : 0;

    WITH_DEV(&b->v.pci.dev) {
        if (q->mapped)
            dma_sg_free(&b->v.pci.dev, &q->sg, data);
        unlink_request(q);
        b->flying--;
        if (q->chain)
            push_status(b, q->chain, ret ? S_IOERR : S_OK, data);
        serve(b);
    }
    g_free(q);
}

/* ---- requests ---- */
static void submit(VirtioBlk *b, VirtioChain *c, BlkReq r, bool in, uint64_t at)
{
    BlkRequest *q = g_new0(BlkRequest, 1);

    q->b = b;
    q->chain = c;
    q->r = r;
    if (r.op == BLK_READ || r.op == BLK_WRITE) {
        dma_sg_init(&q->sg);
        q->mapped = true;
        if (!virtio_map(&b->v, c, in, at, r.len, &q->sg)) {
            guest_error(&b->v.pci.dev, "a request's memory cannot be reached");
            dma_sg_free(&b->v.pci.dev, &q->sg, 0);
            g_free(q);
            push_status(b, c, S_IOERR, 0);
            return;
        }
        q->r.iov = (struct iovec *)(void *)q->sg.iov->data;
        q->r.niov = (int)q->sg.iov->len;
    }
    q->next = b->first;
    q->self = &b->first;
    if (q->next)
        q->next->self = &q->next;
    b->first = q;
    b->flying++;
    disk_submit(b->disk, &q->r, done, q);
}

/* Whole logical blocks of the disk? */
static bool within(const VirtioBlk *b, uint64_t sector, uint64_t len)
{
    uint64_t size = disk_size(b->disk);

    return sector <= size / SECTOR && in_range(sector * SECTOR, len, size) && (sector * SECTOR | len) % b->conf.logical == 0;
}

static void move(VirtioBlk *b, VirtioChain *c, uint64_t sector, bool write)
{
    uint64_t len = write ? c->out_len - 16 : c->in_len - 1;

    if (len > TRANSFER_MAX || !within(b, sector, len))
        push_status(b, c, S_IOERR, 0);
    else
        submit(b, c, (BlkReq){ .op = write ? BLK_WRITE : BLK_READ, .off = sector * SECTOR, .len = len }, !write, write ? 16 : 0);
}

/* One range per request: max_discard_seg and max_write_zeroes_seg say so. */
static void range(VirtioBlk *b, VirtioChain *c, bool zero)
{
    uint64_t at, n;
    uint8_t e[RANGE];
    uint32_t flags;

    if (c->out_len != 16 + RANGE || !virtio_out(&b->v, c, 16, e, sizeof(e)) || disk_readonly(b->disk)) {
        push_status(b, c, c->out_len == 16 + RANGE ? S_IOERR : S_UNSUPP, 0);
        return;
    }
    at = le64_load(e);
    n = (uint64_t)le32_load(e + 8) * SECTOR;
    flags = le32_load(e + 12);
    if (flags & (zero ? ~1u : ~0u))
        push_status(b, c, S_UNSUPP, 0);
    else if (!within(b, at, n))
        push_status(b, c, S_IOERR, 0);
    else
        submit(b, c, (BlkReq){ .op = zero ? BLK_ZERO : BLK_DISCARD, .off = at * SECTOR, .len = n,
                               .flags = flags & 1 ? BLK_MAY_UNMAP : 0 }, false, 0);
}

static void get_id(VirtioBlk *b, VirtioChain *c)
{
    const char *s = b->serial ? b->serial : disk_serial(b->disk);
    char id[ID_LEN] = { 0 };
    uint64_t n = MIN(c->in_len - 1, sizeof(id));

    memcpy(id, s, MIN(strlen(s), sizeof(id)));
    virtio_in(&b->v, c, 0, id, n);
    push_status(b, c, S_OK, n);
}

static void start(VirtioBlk *b, VirtioChain *c)
{
    uint8_t h[16];

    if (!c->in_len || !virtio_out(&b->v, c, 0, h, sizeof(h))) {
        virtio_broken(&b->v, "a request without header or status");
        g_free(c);
        return;
    }
    switch (le32_load(h)) {
    case T_IN: move(b, c, le64_load(h + 8), false); break;
    case T_OUT: move(b, c, le64_load(h + 8), true); break;
    case T_FLUSH: submit(b, c, (BlkReq){ .op = BLK_FLUSH }, false, 0); break;
    case T_GET_ID: get_id(b, c); break;
    case T_DISCARD: range(b, c, false); break;
    case T_ZEROES: range(b, c, true); break;
    default: push_status(b, c, S_UNSUPP, 0); break;
    }
}

/* Bounded: what a queue holds, the others a moment later; and FLYING_MAX in all, the others follow a completion. */
static void serve_queue(VirtioBlk *b, unsigned queue)
{
    VirtioChain *c;

    for (unsigned i = 0; b->flying < FLYING_MAX && (c = virtio_take(&b->v, queue, QUEUE, &i));)
        start(b, c);
}

static void serve(VirtioBlk *b)
{
    for (unsigned n = 0; n < b->v.queues; n++)
        if (b->v.q.enable[n])
            serve_queue(b, n);
}

static void notified(Virtio *v, unsigned queue) { serve_queue(B(v), queue); }

/* ---- configuration ---- */
static uint64_t features(const Virtio *v)
{
    const VirtioBlk *b = (const VirtioBlk *)(const void *)v;

    return F_SEG_MAX | F_GEOMETRY | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | (b->discard ? F_DISCARD : 0) | (b->zeroes ? F_ZEROES : 0) |
           (b->v.queues > 1 ? F_MQ : 0) | (disk_readonly(b->disk) ? F_RO : 0);
}

static void config(const Virtio *v, uint8_t *out)
{
    const VirtioBlk *b = (const VirtioBlk *)(const void *)v;
    uint64_t sectors = disk_size(b->disk) / SECTOR;
    const DiskConf *c = &b->conf;
    uint32_t per = c->logical / SECTOR;

    le64_store(out, sectors);
    le32_store(out + 12, SEG_MAX);
    le16_store(out + 16, (uint16_t)MIN(sectors / (16 * 63), 16383));
    out[18] = 16;
    out[19] = (uint8_t)(per < 63 ? 63 / per * per : 63); /* a track has whole blocks */
    le32_store(out + 20, c->logical);
    out[24] = (uint8_t)__builtin_ctz(c->physical / c->logical);
    le16_store(out + 26, (uint16_t)(c->min_io / c->logical));
    le32_store(out + 28, c->opt_io / c->logical);
    le16_store(out + 34, v->queues);
    le32_store(out + 36, 0x3fffff);
    le32_store(out + 40, 1);
    le32_store(out + 44, c->granularity / SECTOR);
    le32_store(out + 48, 0x3fffff);
    le32_store(out + 52, 1);
    out[56] = 1;
}

/* ---- life ---- */
/* The chains are forgotten; the memory stays pinned until the disk is done with it. */
static void reset(Virtio *v)
{
    VirtioBlk *b = B(v);

    for (BlkRequest *q = b->first; q; q = q->next)
        g_clear_pointer(&q->chain, g_free);
    if (b->flying)
        disk_cancel_all(b->disk);
}

static void resized(void *o)
{
    VirtioBlk *b = o;

    WITH_DEV(&b->v.pci.dev)
        virtio_config_changed(&b->v);
}
static const DiskOps disk_ops = { .resized = resized };
static void detach(void *disk) { disk_detach(disk); }

static bool init(Obj *o, Error **err)
{
    VirtioBlk *b = B(o);

    if (!b->disk) {
        fail(err, "virtio-blk-pci needs drive=");
        return error_hint(err, "add -drive if=none,id=ID,file=.. and drive=ID");
    }
    if (!disk_present(b->disk))
        return fail(err, "drive '%s' has no medium, which a disk needs", disk_id(b->disk));
    if (!disk_sizes(&b->conf, 0, err))
        return false;
    if (!disk_attach(b->disk, &(DiskUser){ &b->v.pci.dev, &disk_ops, b, &b->conf, !disk_readonly(b->disk) }, err))
        return false;
    own(o, b->disk, detach);
    virtio_set_queues(&b->v, b->num_queues == UINT16_MAX ? CLAMP(o->vm->cfg.cpus, 1, VIRTIO_QUEUES) : MAX(b->num_queues, 1));
    return true;
}

static void unplug(Dev *d) { reset(VIRTIO(d)); }
static bool drained(const Dev *d) { return !((const VirtioBlk *)(const void *)d)->flying; }

/* ---- state: the chains in flight, oldest first ---- */
static void drop_again(Dev *d) { g_clear_pointer(&B(d)->again, g_ptr_array_unref); }

static void save_chains(const Dev *d, StateOut *o)
{
    g_autoptr(GPtrArray) chains = g_ptr_array_new();

    for (const BlkRequest *q = ((const VirtioBlk *)(const void *)d)->first; q; q = q->next)
        if (q->chain)
            g_ptr_array_add(chains, q->chain);
    virtio_chains_put(o, chains);
}

static bool load_chains(Dev *d, StateIn *i, Error **err)
{
    return (B(d)->again = virtio_chains_get(VIRTIO(d), i, FLYING_MAX, err)) != NULL;
}

static void loaded(Dev *d)
{
    VirtioBlk *b = B(d);
    g_autoptr(GPtrArray) again = g_steal_pointer(&b->again);

    reset(&b->v); /* what this side had in flight */
    for (guint i = 0; again && i < again->len && virtio_live(&b->v); i++)
        start(b, g_steal_pointer(&again->pdata[i]));
}

/* clang-format off */
static const Prop props[] = {
    { .name = "drive", PROP_(VirtioBlk, disk), .kind = P_LINK, .space = "drive", .doc = "the disk behind it" },
    PROP_BOOTINDEX(VirtioBlk),
    PROPS_DISK(VirtioBlk, conf),
    PROPS_DISK_ERRORS(VirtioBlk, conf),
    PROPS_DISK_SIZES(VirtioBlk, conf),
    PROP_STR(VirtioBlk, serial, "serial", NULL, "what the guest reads as its identity, 20 bytes"),
    PROP(VirtioBlk, num_queues, "num-queues", UINT16_MAX, "request queues; one for each CPU when not given"),
    PROP(VirtioBlk, discard, "discard", true, "offer discard"), PROP(VirtioBlk, zeroes, "write-zeroes", true, "offer to write zeroes"),
};
static const Field fields[] = {
    CUSTOM(VirtioBlk, again, save_chains, load_chains, .drop = drop_again, .keep = true),
    TRANSIENT(VirtioBlk, first, "requests of the host; their heads are saved", .keep = true),
    TRANSIENT(VirtioBlk, flying, "counts requests of the host", .keep = true),
};
#define ROWS(nm, fm) {                                                                                                    \
    VIRTIO_DEVICE(VirtioBlk, nm, "virtio block device", 2), .legacy_id = 0x1001, .form = (fm),                              \
    .pci.class_id = 0x010000, .pci.dev.category = "Storage devices", .pci.dev.obj.props = TABLE(props),                     \
    .pci.dev.obj.init = init, .pci.dev.state = TABLE(fields), .pci.dev.unplug = unplug, .pci.dev.drained = drained,         \
    .pci.dev.loaded = loaded, .pci.dev.hotplug = true,                                                                      \
    .queues = 1, .queue_size = QUEUE, .features = features, .config_size = 60, .config = config, .notified = notified,      \
    .reset = reset,                                                                                                         \
}
VIRTIO_FORMS(VirtioBlk, blk, "virtio-blk-pci", ROWS);
/* clang-format on */
