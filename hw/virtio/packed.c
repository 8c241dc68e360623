/*
 * hw/virtio/packed.c - packed rings: one ring of descriptors, in which the driver marks what is available and the device
 * what is used, by flags whose meaning turns with each lap. Source: virtio 1.2 section 2.8.
 * Invariants: as in split.c; q.avail and q.used are slots of the ring, each with the parity of its laps; a chain's
 * slots are consecutive, and it is used at slot q.used, which then moves on by as many slots as the chain had.
 */
#include "hw/virtio/ring.h"

enum { F_AVAIL = 1 << 7, F_USED = 1 << 15, EVENT_DISABLE = 1, EVENT_DESC = 2, WRAP = 1 << 15 };

static bool desc_at(Virtio *v, uint64_t table, unsigned i, VirtioDesc *d)
{
    uint8_t b[DESC_BYTES];

    if (!dma_read(&v->pci.dev, table + DESC_BYTES * (uint64_t)i, b, sizeof(b)))
        return false;
    *d = (VirtioDesc){ .addr = le64_load(b), .len = le32_load(b + 8), .id = le16_load(b + 12), .flags = le16_load(b + 14) };
    return true;
}

/* In the first lap AVAIL set and USED clear means available; the meaning turns with each lap. */
static bool available(uint16_t flags, bool odd)
{
    return !!(flags & F_AVAIL) != odd && !!(flags & F_USED) == odd;
}

static bool waits(Virtio *v, unsigned n)
{
    return available(ring__load16(v, v->q.desc[n] + DESC_BYTES * (uint64_t)v->q.avail[n] + 14), v->q.avail_wrap[n]);
}

static void move(uint16_t *slot, uint8_t *odd, int by, uint16_t size)
{
    int to = *slot + by;

    if (to >= size || to < 0) {
        to += to < 0 ? size : -size;
        *odd ^= 1;
    }
    *slot = (uint16_t)to;
}

static const char *follow_indirect(Virtio *v, VirtioChain *c, const VirtioDesc *table)
{
    for (unsigned i = 0; i < table->len / DESC_BYTES; i++) {
        const char *why;
        VirtioDesc d;

        if (!desc_at(v, table->addr, i, &d))
            return "a descriptor is not there";
        if (d.flags & DESC_INDIRECT)
            return "a wrong indirect table";
        why = ring__add_segment(c, &d);
        if (why)
            return why;
    }
    return NULL;
}

/* The chain from slot q.avail on; its id stands in its last descriptor. */
static const char *follow(Virtio *v, unsigned n, VirtioChain *c)
{
    VirtioQueues *q = &v->q;

    for (unsigned i = q->avail[n], steps = 0; steps < q->size[n]; steps++, i = (i + 1) % q->size[n]) {
        const char *why;
        VirtioDesc d;

        if (!desc_at(v, q->desc[n], i, &d))
            return "a descriptor is not there";
        c->descriptors = (uint16_t)(steps + 1);
        c->head = d.id;
        if (!(d.flags & DESC_INDIRECT))
            why = ring__add_segment(c, &d);
        else
            why = steps || d.flags & DESC_NEXT || !ring__indirect_ok(v, &d) ? "a wrong indirect table" : follow_indirect(v, c, &d);
        if (why || !(d.flags & DESC_NEXT))
            return why;
    }
    return "a chain is longer than the ring";
}

/* Where the next kick is wanted: at the slot that comes. */
static void want_kick(Virtio *v, unsigned n)
{
    dma_store(&v->pci.dev, v->q.device[n], 2, v->q.avail[n] | (v->q.avail_wrap[n] ? 0 : WRAP));
    dma_store(&v->pci.dev, v->q.device[n] + 2, 2, EVENT_DESC);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static int pop(Virtio *v, unsigned n, VirtioChain *c, const char **why)
{
    VirtioQueues *q = &v->q;

    if (!waits(v, n)) {
        if (!virtio_has(v, VIRTIO_F_EVENT_IDX))
            return 0;
        want_kick(v, n);
        if (!waits(v, n))
            return 0;
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    *why = follow(v, n, c);
    if (*why)
        return -1;
    move(&q->avail[n], &q->avail_wrap[n], c->descriptors, q->size[n]);
    return 1;
}

static void unpop(Virtio *v, const VirtioChain *c)
{
    move(&v->q.avail[c->queue], &v->q.avail_wrap[c->queue], -c->descriptors, v->q.size[c->queue]);
}

static void push(Virtio *v, const VirtioChain *c, uint32_t written)
{
    VirtioQueues *q = &v->q;
    unsigned n = c->queue;
    uint64_t at = q->desc[n] + DESC_BYTES * (uint64_t)q->used[n];
    unsigned flags = (q->used_wrap[n] ? 0 : F_AVAIL | F_USED) | (written ? DESC_WRITE : 0);
    uint16_t before = q->used[n];
    uint8_t e[6];

    le32_store(e, written);
    le16_store(e + 4, c->head);
    dma_write(&v->pci.dev, at + 8, e, sizeof(e));
    __atomic_thread_fence(__ATOMIC_RELEASE);
    dma_store(&v->pci.dev, at + 14, 2, flags);
    move(&q->used[n], &q->used_wrap[n], c->descriptors, q->size[n]);
    if (q->used[n] < before)
        q->signalled[n] = (uint16_t)(q->signalled[n] - q->size[n]); /* so that the difference stays */
}

static bool wants_interrupt(Virtio *v, unsigned n)
{
    VirtioQueues *q = &v->q;
    uint16_t old = q->signalled[n], flags = ring__load16(v, q->driver[n] + 2), event;
    bool valid = q->signalled_valid[n], odd;

    q->signalled[n] = q->used[n];
    q->signalled_valid[n] = true;
    if (flags != EVENT_DESC || !virtio_has(v, VIRTIO_F_EVENT_IDX))
        return flags != EVENT_DISABLE;
    event = ring__load16(v, q->driver[n]);
    odd = !(event & WRAP);
    event &= WRAP - 1;
    if (odd != q->used_wrap[n])
        event = (uint16_t)(event - q->size[n]); /* in the lap before */
    return !valid || ring__passed(event, q->used[n], old);
}

const RingLayout ring_packed = { waits, pop, unpop, push, wants_interrupt };
