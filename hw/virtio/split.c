/*
 * hw/virtio/split.c - split rings. Source: virtio 1.2 section 2.7.
 * Invariants: every index, length and link in guest memory is checked where it is read, once; a chain has at most
 * VIRTIO_SEGMENTS segments, so loops of links end; addresses may point anywhere, DMA tells.
 */
#include "hw/virtio/ring.h"

static bool desc_at(Virtio *v, uint64_t table, unsigned i, VirtioDesc *d)
{
    uint8_t b[DESC_BYTES];

    if (!dma_read(&v->pci.dev, table + DESC_BYTES * (uint64_t)i, b, sizeof(b)))
        return false;
    *d = (VirtioDesc){ .addr = le64_load(b), .len = le32_load(b + 8), .flags = le16_load(b + 12), .id = le16_load(b + 14) };
    return true;
}

/* Follows a table of n descriptors from i; the reason when it is malformed. */
static const char *follow(Virtio *v, VirtioChain *c, uint64_t table, unsigned n, unsigned i, bool inside)
{
    for (unsigned steps = 0; steps <= n; steps++) {
        const char *why;
        VirtioDesc d;

        if (i >= n || !desc_at(v, table, i, &d))
            return "a descriptor is not there";
        if (d.flags & DESC_INDIRECT) {
            if (inside || d.flags & DESC_NEXT || !ring__indirect_ok(v, &d))
                return "a wrong indirect table";
            return follow(v, c, d.addr, d.len / DESC_BYTES, 0, true);
        }
        why = ring__add_segment(c, &d);
        if (why || !(d.flags & DESC_NEXT))
            return why;
        i = d.id;
    }
    return "a chain is a loop";
}

static bool waits(Virtio *v, unsigned n) { return ring__load16(v, v->q.driver[n] + 2) != v->q.avail[n]; }

static int pop(Virtio *v, unsigned n, VirtioChain *c, const char **why)
{
    VirtioQueues *q = &v->q;
    uint16_t avail;

    if (virtio_has(v, VIRTIO_F_EVENT_IDX)) { /* tell when to kick, then look: no kick is lost */
        dma_store(&v->pci.dev, q->device[n] + 4 + 8ull * q->size[n], 2, q->avail[n]);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    avail = ring__load16(v, q->driver[n] + 2);
    if (avail == q->avail[n])
        return 0;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((uint16_t)(avail - q->avail[n]) > q->size[n]) {
        *why = "the available index ran away";
        return -1;
    }
    c->head = ring__load16(v, q->driver[n] + 4 + 2ull * (q->avail[n] % q->size[n]));
    q->avail[n]++;
    *why = follow(v, c, q->desc[n], q->size[n], c->head, false);
    return *why ? -1 : 1;
}

static void unpop(Virtio *v, const VirtioChain *c) { v->q.avail[c->queue]--; }

static void push(Virtio *v, const VirtioChain *c, uint32_t written)
{
    VirtioQueues *q = &v->q;
    unsigned n = c->queue;
    uint8_t e[8];

    le32_store(e, c->head);
    le32_store(e + 4, written);
    dma_write(&v->pci.dev, q->device[n] + 4 + 8ull * (q->used[n] % q->size[n]), e, sizeof(e));
    __atomic_thread_fence(__ATOMIC_RELEASE);
    q->used[n]++;
    dma_store(&v->pci.dev, q->device[n] + 2, 2, q->used[n]);
}

static bool wants_interrupt(Virtio *v, unsigned n)
{
    VirtioQueues *q = &v->q;
    uint16_t old = q->signalled[n], event;
    bool valid = q->signalled_valid[n];

    if (!virtio_has(v, VIRTIO_F_EVENT_IDX))
        return !(ring__load16(v, q->driver[n]) & 1);
    event = ring__load16(v, q->driver[n] + 4 + 2ull * q->size[n]);
    q->signalled[n] = q->used[n];
    q->signalled_valid[n] = true;
    return !valid || ring__passed(event, q->used[n], old);
}

const RingLayout ring_split = { waits, pop, unpop, push, wants_interrupt };
