/*
 * hw/virtio/blk.c - virtio-blk-pci. Source: virtio 1.2 section 5.2. Left out: zoned devices, lifetime, secure erase.
 * Invariants: a request owns its chain and pinned memory until its disk request is done; on a save its
 * head is written, from which a load builds it again.
 */
#include "hw/virtio/virtio.h"
#include "block/disk.h"
#include <errno.h>

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_ZEROES = 13 };
enum { S_OK, S_IOERR, S_UNSUPP };
enum { SECTOR = 512, QUEUE = 256, SEG_MAX = 254, ID_LEN = 20, RANGE = 16, TRANSFER_MAX = 256 * 1024 * 1024 };
enum { F_SEG_MAX = 1 << 2, F_GEOMETRY = 1 << 4, F_RO = 1 << 5, F_BLK_SIZE = 1 << 6, F_FLUSH = 1 << 9, F_TOPOLOGY = 1 << 10,
       F_DISCARD = 1 << 13, F_ZEROES = 1 << 14 };

typedef struct BlkRequest BlkRequest;
typedef struct VirtioBlk {
    Virtio v;
    Disk *disk;
    char *serial;
    BlkRequest *first; /* in flight, newest first */
    uint8_t *heads;    /* of the chains in flight, made for a save */
    uint32_t heads_len, flying;
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

static void move(VirtioBlk *b, VirtioChain *c, uint64_t sector, bool write)
{
    uint64_t len = write ? c->out_len - 16 : c->in_len - 1, size = disk_size(b->disk);

    if (len % SECTOR || len > TRANSFER_MAX || sector > size / SECTOR || !in_range(sector * SECTOR, len, size) ||
        (write && disk_readonly(b->disk)))
        push_status(b, c, S_IOERR, 0);
    else
        submit(b, c, (BlkReq){ .op = write ? BLK_WRITE : BLK_READ, .off = sector * SECTOR, .len = len }, !write, write ? 16 : 0);
}

/* One range per request: max_discard_seg and max_write_zeroes_seg say so. */
static void range(VirtioBlk *b, VirtioChain *c, bool zero)
{
    uint64_t at, n, size = disk_size(b->disk);
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
    else if (at > size / SECTOR || !in_range(at * SECTOR, n, size))
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

/* Bounded: at most QUEUE chains at a time; what comes of the others follows a completion or a kick. */
static void serve(VirtioBlk *b)
{
    VirtioChain *c;

    for (unsigned i = 0; i < QUEUE && b->flying < QUEUE && (c = virtio_pop(&b->v, 0)); i++)
        start(b, c);
}

static void notified(Virtio *v, unsigned queue) { serve(B(v)); }

/* ---- configuration ---- */
static uint64_t features(const Virtio *v)
{
    const VirtioBlk *b = (const VirtioBlk *)(const void *)v;

    return F_SEG_MAX | F_GEOMETRY | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_DISCARD | F_ZEROES | (disk_readonly(b->disk) ? F_RO : 0);
}

static void config(const Virtio *v, uint8_t *out)
{
    const VirtioBlk *b = (const VirtioBlk *)(const void *)v;
    uint64_t sectors = disk_size(b->disk) / SECTOR;
    BlkLimits l = disk_limits(b->disk);

    le64_store(out, sectors);
    le32_store(out + 12, SEG_MAX);
    le16_store(out + 16, (uint16_t)MIN(sectors / (16 * 63), 16383));
    out[18] = 16;
    out[19] = 63;
    le32_store(out + 20, SECTOR);
    out[24] = l.physical > SECTOR ? (uint8_t)__builtin_ctz(l.physical / SECTOR) : 0;
    le16_store(out + 26, 1);
    le16_store(out + 34, 1);
    le32_store(out + 36, 0x3fffff);
    le32_store(out + 40, 1);
    le32_store(out + 44, 1);
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
    if (!disk_attach(b->disk, &disk_ops, b, !disk_readonly(b->disk), err))
        return false;
    own(o, b->disk, detach);
    return true;
}

static void unplug(Dev *d) { reset(VIRTIO(d)); }
static bool drained(const Dev *d) { return !((const VirtioBlk *)(const void *)d)->flying; }

/* ---- state: heads of the chains in flight, oldest first ---- */
static void before_save(Dev *d)
{
    VirtioBlk *b = B(d);
    uint32_t n = 0;

    for (const BlkRequest *q = b->first; q; q = q->next)
        n += q->chain != NULL;
    g_free(b->heads);
    b->heads = g_malloc0(2 * n);
    b->heads_len = 2 * n;
    for (const BlkRequest *q = b->first; q; q = q->next)
        if (q->chain)
            le16_store(b->heads + 2 * --n, q->chain->head);
}

static void loaded(Dev *d)
{
    VirtioBlk *b = B(d);

    reset(&b->v); /* what this side had in flight */
    for (uint32_t i = 0; i + 2 <= b->heads_len && virtio_live(&b->v); i += 2) {
        VirtioChain *c = virtio_chain_at(&b->v, 0, le16_load(b->heads + i));

        if (c)
            start(b, c);
    }
}

/* clang-format off */
static const Prop props[] = {
    { .name = "drive", PROP_(VirtioBlk, disk), .kind = P_LINK, .space = "drive", .doc = "the disk behind it" },
    PROP_STR(VirtioBlk, serial, "serial", NULL, "what the guest reads as its identity, 20 bytes"),
};
static const Field fields[] = {
    BUF(VirtioBlk, heads, heads_len, 2 * QUEUE),
    TRANSIENT(VirtioBlk, first, "requests of the host; their heads are saved", .keep = true),
    TRANSIENT(VirtioBlk, flying, "counts requests of the host", .keep = true),
};
static const VirtioClass blk = {
    VIRTIO_DEVICE(VirtioBlk, "virtio-blk-pci", "virtio block device", 2),
    .pci.class_id = 0x010000, .pci.dev.category = "Storage devices", .pci.dev.obj.props = TABLE(props),
    .pci.dev.obj.init = init, .pci.dev.state = TABLE(fields), .pci.dev.unplug = unplug, .pci.dev.drained = drained,
    .pci.dev.before_save = before_save, .pci.dev.loaded = loaded, .pci.dev.hotplug = true,
    .queues = 1, .queue_size = QUEUE, .features = features, .config_size = 60, .config = config, .notified = notified,
    .reset = reset,
};
/* clang-format on */
DEVICE_OF(VirtioBlk, blk, &blk.pci.dev);
