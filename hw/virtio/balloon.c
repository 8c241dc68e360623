/*
 * hw/virtio/balloon.c - virtio-balloon-pci: memory that the guest gives back while `balloon` asks for it, and its statistics.
 * Source: virtio 1.2 section 5.5. Left out: page poisoning, hints of free pages.
 * Pages that come in are given to the host at once; what the guest gets back reads as zero.
 */
#include "core/api/balloon.h"
#include "core/mem.h"
#include "hw/virtio/balloon.h"

enum { F_STATS = 1 << 1, F_DEFLATE_ON_OOM = 1 << 2, F_REPORTING = 1 << 5 };
enum { INFLATE, DEFLATE, STATS, REPORTING, QUEUE = 128, PAGE = 4096, STAT = 10, STAT_TAGS = 10, CONFIG_SIZE = 8, BATCH = 1024 };

typedef struct VirtioBalloon {
    Virtio v;
    uint32_t num_pages, actual; /* asked for, given; of 4 KiB */
    bool deflate_on_oom, reporting;
    uint8_t pad[2];
    uint32_t pad2;
    VirtioChain *stats; /* the driver's buffer, until new figures are wanted */
    uint64_t stat[STAT_TAGS];
} VirtioBalloon;
#define BALLOON(d) ((VirtioBalloon *)(void *)(d))

/* The host's memory behind guest pages goes; a range that is not plain RAM stays. */
static void give_back(VirtioBalloon *b, uint64_t at, uint64_t len)
{
    Dev *d = &b->v.pci.dev;
    uint64_t from = align_up(at, PAGE), to = align_down(at + len, PAGE);

    for (uint64_t n; from < to && from >= at; from += n) { /* in pieces as the RAM lies; each at least a page or it ends */
        DmaMap m;

        n = to - from;
        if (!dma_map(d, from, &n, DMA_TO_RAM, &m))
            return;
        n = align_down(n, PAGE);
        if (!m.bounce && n)
            ram_discard(m.block, m.off, n);
        dma_unmap(d, &m, m.bounce ? 0 : n);
        if (!n)
            return;
    }
}

/* Page numbers, four bytes each. Bounded by the chain: at most BATCH a time. */
static void inflate(VirtioBalloon *b, const VirtioChain *c)
{
    for (uint64_t at = 0; at + 4 <= c->out_len; at += 4 * BATCH) {
        uint8_t pfn[4 * BATCH];
        uint64_t n = MIN(c->out_len - at, sizeof(pfn)) & ~3ull;

        if (!virtio_out(&b->v, c, at, pfn, n))
            return;
        for (uint64_t i = 0; i < n; i += 4)
            give_back(b, (uint64_t)le32_load(pfn + i) * PAGE, PAGE);
    }
}

static void report(VirtioBalloon *b, const VirtioChain *c)
{
    for (unsigned i = c->nout; i < c->nout + c->nin; i++)
        give_back(b, c->seg[i].addr, c->seg[i].len);
}

static void take_stats(VirtioBalloon *b, VirtioChain *c)
{
    for (uint64_t at = 0; at + STAT <= c->out_len && at < STAT * 64; at += STAT) {
        uint8_t s[STAT];

        if (virtio_out(&b->v, c, at, s, sizeof(s)) && le16_load(s) < STAT_TAGS)
            b->stat[le16_load(s)] = le64_load(s + 2);
    }
    if (b->stats)
        virtio_push(&b->v, b->stats, 0);
    b->stats = c;
}

static void notified(Virtio *v, unsigned queue)
{
    VirtioBalloon *b = BALLOON(v);
    VirtioChain *c;

    for (unsigned i = 0; (c = virtio_take(v, queue, QUEUE, &i));) {
        if (queue == STATS) {
            take_stats(b, c);
            continue;
        }
        if (queue == INFLATE)
            inflate(b, c);
        else if (queue == REPORTING)
            report(b, c);
        virtio_push(v, c, 0);
    }
}

static uint64_t features(const Virtio *v)
{
    const VirtioBalloon *b = (const VirtioBalloon *)(const void *)v;

    return F_STATS | (b->deflate_on_oom ? F_DEFLATE_ON_OOM : 0) | (b->reporting ? F_REPORTING : 0);
}

static void config(const Virtio *v, uint8_t *out)
{
    const VirtioBalloon *b = (const VirtioBalloon *)(const void *)v;

    le32_store(out, b->num_pages);
    le32_store(out + 4, b->actual);
}

static uint64_t bytes(const VirtioBalloon *b, uint32_t pages)
{
    uint64_t all = b->v.pci.dev.obj.vm->cfg.ram_size, out = (uint64_t)pages * PAGE;

    return all > out ? all - out : 0;
}

static void config_w(Virtio *v, unsigned off, uint8_t val)
{
    VirtioBalloon *b = BALLOON(v);
    uint32_t old = b->actual;

    if (off < 4 || off >= CONFIG_SIZE)
        return;
    b->actual = (uint32_t)bits_put(b->actual, 8 * (off - 4), 8, val);
    if (off == 7 && b->actual != old)
        event_balloon_change(v->pci.dev.obj.vm, &(EventBalloonChange){ .actual = (int64_t)bytes(b, b->actual) });
}

static void reset(Virtio *v)
{
    VirtioBalloon *b = BALLOON(v);

    g_clear_pointer(&b->stats, g_free);
    b->actual = 0;
    memset(b->stat, 0xff, sizeof(b->stat));
}

/* ---- the monitor ---- */
static VirtioBalloon *find(Vm *vm) { return vm_lookup(vm, "balloon", "it"); }

bool balloon_set(Vm *vm, uint64_t target, Error **err)
{
    VirtioBalloon *b = find(vm);

    if (!b)
        return fail(err, "No balloon device has been activated");
    target = CLAMP(target, MiB, vm->cfg.ram_size);
    WITH_DEV(&b->v.pci.dev) {
        b->num_pages = (uint32_t)((vm->cfg.ram_size - target) / PAGE);
        virtio_config_changed(&b->v);
    }
    return true;
}

bool balloon_actual(Vm *vm, uint64_t *out, Error **err)
{
    const VirtioBalloon *b = find(vm);

    if (!b)
        return fail(err, "No balloon device has been activated");
    *out = bytes(b, b->actual);
    return true;
}

static bool init(Obj *o, Error **err)
{
    if (find(o->vm))
        return fail(err, "virtio-balloon-pci: the machine has a balloon already");
    vm_register(o->vm, "balloon", "it", o);
    return true;
}

static void fini(Obj *o)
{
    if (find(o->vm) == BALLOON(o))
        vm_unregister(o->vm, "balloon", "it");
    g_free(BALLOON(o)->stats);
}

static void save_stats(const Dev *d, StateOut *o)
{
    if (((const VirtioBalloon *)(const void *)d)->stats)
        virtio_chain_put(o, ((const VirtioBalloon *)(const void *)d)->stats);
}

static bool load_stats(Dev *d, StateIn *i, Error **err)
{
    VirtioBalloon *b = BALLOON(d);

    if (i->at == i->n)
        return true;
    b->stats = virtio_chain_get(&b->v, i);
    return b->stats || fail(err, "a buffer for statistics cannot be so");
}

static void drop_stats(Dev *d) { g_clear_pointer(&BALLOON(d)->stats, g_free); }

/* clang-format off */
static const Prop props[] = {
    PROP(VirtioBalloon, deflate_on_oom, "deflate-on-oom", false, "the guest may take memory back when it has none left"),
    PROP(VirtioBalloon, reporting, "free-page-reporting", false, "the guest reports pages that it does not use"),
};
static const Field fields[] = {
    FIELD(VirtioBalloon, num_pages), FIELD(VirtioBalloon, actual), ARRAY_FIELD(VirtioBalloon, stat, .keep = true), TRANSIENT(VirtioBalloon, pad, "padding"),
    TRANSIENT(VirtioBalloon, pad2, "padding"),
    CUSTOM(VirtioBalloon, stats, save_stats, load_stats, .drop = drop_stats),
};
#define ROWS(nm, fm) {                                                                                                    \
    VIRTIO_DEVICE(VirtioBalloon, nm, "virtio memory balloon", 5), .legacy_id = 0x1002, .form = (fm), .pci.class_id = 0x00ff00, \
    .pci.dev.category = "Misc devices", .pci.dev.hotplug = true, .pci.dev.obj.props = TABLE(props), .pci.dev.obj.init = init, .pci.dev.obj.fini = fini, \
    .pci.dev.state = TABLE(fields), .queues = 4, .queue_size = QUEUE, .features = features, .config_size = CONFIG_SIZE,     \
    .config = config, .config_w = config_w, .notified = notified, .reset = reset,                                           \
}
VIRTIO_FORMS(VirtioBalloon, balloon, "virtio-balloon-pci", ROWS);
/* clang-format on */
