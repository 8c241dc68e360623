/*
 * hw/virtio/ring.c - queues in both layouts (split.c, packed.c): chains popped and pushed, interrupts, data of segments.
 * Source: virtio 1.2 sections 2.6 to 2.8.
 */
#include "hw/virtio/ring.h"

uint16_t ring__load16(Virtio *v, uint64_t at)
{
    uint64_t x = 0;

    dma_load(&v->pci.dev, at, 2, &x);
    return (uint16_t)x;
}

void virtio_broken(Virtio *v, const char *why)
{
    guest_error(&v->pci.dev, "%s", why);
    v->status |= VIRTIO_S_NEEDS_RESET;
    virtio_config_changed(v);
}

/* Drivers of the legacy interface use queues before they say that they are ready. */
bool virtio_live(const Virtio *v)
{
    const unsigned ready = VIRTIO_S_DRIVER_OK | VIRTIO_S_FEATURES_OK;

    return (v->legacy || (v->status & ready) == ready) && !(v->status & VIRTIO_S_NEEDS_RESET);
}

bool ring__is_packed(const Virtio *v) { return !v->legacy && v->status & VIRTIO_S_FEATURES_OK && virtio_has(v, VIRTIO_F_PACKED); }
static const RingLayout *layout(const Virtio *v) { return ring__is_packed(v) ? &ring_packed : &ring_split; }
static bool usable(const Virtio *v, unsigned queue) { return virtio_live(v) && queue < v->queues && v->q.enable[queue] && v->q.size[queue]; }

/* ---- chains ---- */
const char *ring__add_segment(VirtioChain *c, const VirtioDesc *d)
{
    if (c->nout + c->nin == VIRTIO_SEGMENTS)
        return "a chain is too long or a loop";
    if (!d->len)
        return "a segment is empty";
    if (d->flags & DESC_WRITE) {
        c->nin++;
        c->in_len += d->len;
    } else if (c->nin) {
        return "a readable segment follows a writable one";
    } else {
        c->nout++;
        c->out_len += d->len;
    }
    c->seg[c->nout + c->nin - 1] = (VirtioSeg){ d->addr, d->len };
    return NULL;
}

bool ring__indirect_ok(const Virtio *v, const VirtioDesc *d)
{
    return virtio_has(v, VIRTIO_F_INDIRECT) && d->len && d->len % DESC_BYTES == 0 && d->len / DESC_BYTES <= VIRTIO_SEGMENTS;
}

bool virtio_has_room(Virtio *v, unsigned queue) { return usable(v, queue) && layout(v)->waits(v, queue); }

VirtioChain *virtio_pop(Virtio *v, unsigned queue)
{
    const char *why = NULL;
    VirtioChain *c;
    int got;

    if (!usable(v, queue))
        return NULL;
    c = g_malloc0(sizeof(VirtioChain) + VIRTIO_SEGMENTS * sizeof(VirtioSeg));
    c->queue = (uint16_t)queue;
    got = layout(v)->pop(v, queue, c, &why);
    if (got > 0)
        return g_realloc(c, sizeof(VirtioChain) + (c->nout + c->nin) * sizeof(VirtioSeg));
    g_free(c);
    if (got < 0)
        virtio_broken(v, why);
    return NULL;
}

void virtio_unpop(Virtio *v, VirtioChain *c)
{
    if (usable(v, c->queue))
        layout(v)->unpop(v, c);
    g_free(c);
}

void virtio_push(Virtio *v, VirtioChain *c, uint32_t written)
{
    unsigned queue = c->queue;
    bool ok = usable(v, queue) && c->descriptors <= v->q.size[queue];

    if (ok)
        layout(v)->push(v, c, written);
    g_free(c);
    if (!ok)
        return;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (layout(v)->wants_interrupt(v, queue))
        virtio__interrupt(v, v->q.vector[queue], 1);
}

/* ---- chains in flight, in a stream ---- */
void virtio_chain_put(StateOut *o, const VirtioChain *c)
{
    put_u16(o, c->queue);
    put_u16(o, c->head);
    put_u16(o, c->descriptors);
    put_u16(o, (uint16_t)c->nout);
    put_u16(o, (uint16_t)c->nin);
    for (unsigned i = 0; i < c->nout + c->nin; i++) {
        put_u64(o, c->seg[i].addr);
        put_u32(o, c->seg[i].len);
    }
}

VirtioChain *virtio_chain_get(const Virtio *v, StateIn *i)
{
    VirtioChain *c = g_malloc0(sizeof(VirtioChain) + VIRTIO_SEGMENTS * sizeof(VirtioSeg));
    unsigned nout, nin;

    c->queue = get_u16(i);
    c->head = get_u16(i);
    c->descriptors = get_u16(i);
    nout = get_u16(i);
    nin = get_u16(i);
    for (unsigned k = 0; k < nout + nin && nout + nin <= VIRTIO_SEGMENTS && !i->bad; k++) {
        VirtioDesc d = { .flags = k < nout ? 0 : DESC_WRITE };

        d.addr = get_u64(i);
        d.len = get_u32(i);
        if (ring__add_segment(c, &d))
            break;
    }
    if (!i->bad && c->nout == nout && c->nin == nin && nout + nin && c->queue < v->queues && c->descriptors <= VIRTIO_QUEUE_MAX)
        return c;
    g_free(c);
    return NULL;
}

void virtio_chains_put(StateOut *o, const GPtrArray *newest_first)
{
    put_u16(o, (uint16_t)newest_first->len);
    for (guint i = newest_first->len; i-- > 0;)
        virtio_chain_put(o, newest_first->pdata[i]);
}

GPtrArray *virtio_chains_get(const Virtio *v, StateIn *i, unsigned max, Error **err)
{
    g_autoptr(GPtrArray) chains = g_ptr_array_new_with_free_func(g_free);
    unsigned n = get_u16(i);

    if (n > max) {
        fail(err, "%u requests in flight are too many", n);
        return NULL;
    }
    for (unsigned k = 0; k < n; k++) {
        VirtioChain *c = virtio_chain_get(v, i);

        if (!c) {
            fail(err, "a request in flight cannot be so");
            return NULL;
        }
        g_ptr_array_add(chains, c);
    }
    return g_steal_pointer(&chains);
}

/* ---- data ---- */
typedef bool SegFn(Virtio *v, uint64_t addr, uint64_t len, void *arg);

static bool each(Virtio *v, const VirtioChain *c, bool in, uint64_t off, uint64_t len, SegFn *fn, void *arg)
{
    unsigned i = in ? c->nout : 0, end = in ? c->nout + c->nin : c->nout;

    if (!in_range(off, len, in ? c->in_len : c->out_len))
        return false;
    for (; i < end && len; i++) {
        const VirtioSeg *s = &c->seg[i];
        uint64_t n;

        if (off >= s->len) {
            off -= s->len;
            continue;
        }
        n = MIN(len, s->len - off);
        if (!fn(v, s->addr + off, n, arg))
            return false;
        off = 0;
        len -= n;
    }
    return true;
}

static bool read_seg(Virtio *v, uint64_t addr, uint64_t len, void *arg)
{
    uint8_t **p = arg;

    *p += len;
    return dma_read(&v->pci.dev, addr, *p - len, len);
}

static bool write_seg(Virtio *v, uint64_t addr, uint64_t len, void *arg)
{
    const uint8_t **p = arg;

    *p += len;
    return dma_write(&v->pci.dev, addr, *p - len, len);
}

bool virtio_out(Virtio *v, const VirtioChain *c, uint64_t off, void *buf, uint64_t len)
{
    uint8_t *p = buf;

    return each(v, c, false, off, len, read_seg, &p);
}

bool virtio_in(Virtio *v, const VirtioChain *c, uint64_t off, const void *buf, uint64_t len)
{
    const uint8_t *p = buf;

    return each(v, c, true, off, len, write_seg, &p);
}

typedef struct Mapping {
    DmaSg *sg;
    DmaDir dir;
} Mapping;

static bool map_seg(Virtio *v, uint64_t addr, uint64_t len, void *arg)
{
    Mapping *m = arg;

    return dma_sg_add(&v->pci.dev, m->sg, addr, len, m->dir);
}

bool virtio_map(Virtio *v, const VirtioChain *c, bool in, uint64_t off, uint64_t len, DmaSg *sg)
{
    Mapping m = { sg, in ? DMA_TO_RAM : DMA_FROM_RAM };

    return each(v, c, in, off, len, map_seg, &m);
}
