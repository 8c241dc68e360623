/*
 * hw/virtio/ring.c - split virtqueues. Source: virtio 1.2 section 2.7. Left out: packed queues.
 * Invariants: every index, length and link in guest memory is checked where it is read, once; a chain has at
 * most VIRTIO_SEGMENTS segments, so loops of links end; addresses may point anywhere, DMA tells.
 */
#include "hw/virtio/virtio.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

static uint16_t ring16(Virtio *v, uint64_t at)
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

bool virtio_live(const Virtio *v) { return v->status & VIRTIO_S_DRIVER_OK && !(v->status & VIRTIO_S_NEEDS_RESET); }

/* ---- chains ---- */
typedef struct Desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
} Desc;

static bool desc_at(Virtio *v, uint64_t table, unsigned i, Desc *d)
{
    uint8_t b[16];

    if (!dma_read(&v->pci.dev, table + 16ull * i, b, sizeof(b)))
        return false;
    *d = (Desc){ le64_load(b), le32_load(b + 8), le16_load(b + 12), le16_load(b + 14) };
    return true;
}

static const char *add_segment(VirtioChain *c, const Desc *d)
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

/* Follows a table of n descriptors from i; the reason when it is malformed. */
static const char *follow(Virtio *v, VirtioChain *c, uint64_t table, unsigned n, unsigned i, bool inside)
{
    for (unsigned steps = 0; steps <= n; steps++) {
        const char *why;
        Desc d;

        if (i >= n || !desc_at(v, table, i, &d))
            return "a descriptor is not there";
        if (d.flags & DESC_INDIRECT) {
            if (inside || d.flags & DESC_NEXT || !virtio_has(v, VIRTIO_F_INDIRECT) || d.len % 16 || !d.len ||
                d.len / 16 > VIRTIO_SEGMENTS)
                return "a wrong indirect table";
            return follow(v, c, d.addr, d.len / 16, 0, true);
        }
        why = add_segment(c, &d);
        if (why || !(d.flags & DESC_NEXT))
            return why;
        i = d.next;
    }
    return "a chain is a loop";
}

VirtioChain *virtio_chain_at(Virtio *v, unsigned queue, uint16_t head)
{
    VirtioChain *c = g_malloc0(sizeof(VirtioChain) + VIRTIO_SEGMENTS * sizeof(VirtioSeg));
    const char *why = follow(v, c, v->qr[queue].desc, v->qr[queue].size, head, false);

    c->queue = (uint16_t)queue;
    c->head = head;
    if (!why)
        return g_realloc(c, sizeof(VirtioChain) + (c->nout + c->nin) * sizeof(VirtioSeg));
    g_free(c);
    virtio_broken(v, why);
    return NULL;
}

bool virtio_has_room(Virtio *v, unsigned queue)
{
    const VirtioQueueRegs *r = &v->qr[queue];

    return virtio_live(v) && r->enable && ring16(v, r->driver + 2) != v->q[queue].last_avail;
}

VirtioChain *virtio_pop(Virtio *v, unsigned queue)
{
    const VirtioQueueRegs *r = &v->qr[queue];
    VirtioQueue *q = &v->q[queue];
    uint16_t avail, head;

    if (!virtio_live(v) || !r->enable)
        return NULL;
    if (virtio_has(v, VIRTIO_F_EVENT_IDX)) { /* tell when to kick, then look: no kick is lost */
        dma_store(&v->pci.dev, r->device + 4 + 8ull * r->size, 2, q->last_avail);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    avail = ring16(v, r->driver + 2);
    if (avail == q->last_avail)
        return NULL;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((uint16_t)(avail - q->last_avail) > r->size) {
        virtio_broken(v, "the available index ran away");
        return NULL;
    }
    head = ring16(v, r->driver + 4 + 2ull * (q->last_avail % r->size));
    q->last_avail++;
    return virtio_chain_at(v, queue, head);
}

static bool wants_interrupt(Virtio *v, unsigned queue)
{
    const VirtioQueueRegs *r = &v->qr[queue];
    VirtioQueue *q = &v->q[queue];
    uint16_t old = q->signalled, event;
    bool valid = q->signalled_valid;

    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!virtio_has(v, VIRTIO_F_EVENT_IDX))
        return !(ring16(v, r->driver) & 1);
    event = ring16(v, r->driver + 4 + 2ull * r->size);
    q->signalled = q->used;
    q->signalled_valid = true;
    return !valid || (uint16_t)(q->used - event - 1) < (uint16_t)(q->used - old);
}

static void interrupt(Virtio *v, unsigned vector, uint8_t bit)
{
    if (pci_msix_on(&v->pci)) {
        if (vector != 0xffff)
            pci_msix_send(&v->pci, vector);
        return;
    }
    v->isr |= bit;
}

void virtio_config_changed(Virtio *v)
{
    v->generation++;
    if (v->status & VIRTIO_S_DRIVER_OK)
        interrupt(v, v->config_vector, 2);
}

void virtio_push(Virtio *v, VirtioChain *c, uint32_t written)
{
    const VirtioQueueRegs *r = &v->qr[c->queue];
    VirtioQueue *q = &v->q[c->queue];
    unsigned queue = c->queue;
    uint8_t e[8];

    le32_store(e, c->head);
    le32_store(e + 4, written);
    g_free(c);
    if (!virtio_live(v) || !r->enable)
        return;
    dma_write(&v->pci.dev, r->device + 4 + 8ull * (q->used % r->size), e, sizeof(e));
    __atomic_thread_fence(__ATOMIC_RELEASE);
    q->used++;
    dma_store(&v->pci.dev, r->device + 2, 2, q->used);
    if (wants_interrupt(v, queue))
        interrupt(v, r->vector, 1);
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
