/* block/qcow2/io.c - reading, status, flush; the gate that requests pass. */
#include "block/qcow2/qcow2.h"
#include <errno.h>

Node *qcow2__data(const Qcow2 *s) { return s->n->data ? s->n->data : s->n->file; }

/* ---- the gate ---- */
CO_FN void qcow2__enter(Qcow2 *s)
{
    while (s->exclusive)
        co_wait(&s->gate, NULL);
    s->users++;
}

void qcow2__leave(Qcow2 *s)
{
    s->users--;
    if (!s->users && s->exclusive)
        co_wake_all(&s->gate);
}

CO_FN void qcow2__exclusive(Qcow2 *s)
{
    while (s->exclusive)
        co_wait(&s->gate, NULL);
    s->exclusive = true;
    while (s->users)
        co_wait(&s->gate, NULL);
    co_lock(&s->lock);
}

void qcow2__exclusive_end(Qcow2 *s)
{
    co_unlock(&s->lock);
    s->exclusive = false;
    co_wake_all(&s->gate);
}

/* ---- clusters that are being allocated ---- */
CO_FN bool qcow2__wait_allocs(Qcow2 *s, uint64_t first, uint64_t end)
{
    for (GList *l = s->allocs.head; l; l = l->next) {
        Alloc *a = l->data;

        if (a->first < end && first < a->end) {
            co_wait(&a->waiters, &s->lock);
            return true;
        }
    }
    return false;
}

CO_FN void qcow2__alloc_begin(Qcow2 *s, Alloc *a, uint64_t first, uint64_t end)
{
    *a = (Alloc){ .first = first, .end = end, .link = { .data = a } };
    g_queue_init(&a->waiters);
    g_queue_push_tail_link(&s->allocs, &a->link);
}

void qcow2__alloc_end(Qcow2 *s, Alloc *a)
{
    g_queue_unlink(&s->allocs, &a->link);
    co_wake_all(&a->waiters);
}

/* ---- reading ---- */
static CO_FN int read_unpacked(Qcow2 *s, const Map *m, uint64_t off, struct iovec *iov, int niov)
{
    g_autofree uint8_t *buf = g_try_malloc(s->cluster);
    int ret = buf ? qcow2__read_packed(s, m->entry.desc, buf) : -ENOMEM;

    if (!ret)
        iov_scatter(iov, niov, 0, buf + (off & (s->cluster - 1)), m->len);
    return ret;
}

static CO_FN int read_mapped(Qcow2 *s, const Map *m, uint64_t off, struct iovec *iov, int niov)
{
    BlkReq r = { .op = BLK_READ, .off = m->host, .len = m->len, .iov = iov, .niov = niov };

    switch (m->type) {
    case MAP_ZERO:
        iov_zero(iov, niov, 0, m->len);
        return 0;
    case MAP_NONE:
        return blk_read_below(s->n, off, iov, niov, m->len);
    case MAP_PACKED:
        return read_unpacked(s, m, off, iov, niov);
    default:
        return s->h.crypt ? qcow2__crypt_read(s, m->host, off, iov, niov, m->len) : blk_submit(qcow2__data(s), &r);
    }
}

CO_FN int qcow2__read(Qcow2 *s, BlkReq *r)
{
    g_autofree struct iovec *iov = NULL;
    int ret = 0;

    for (uint64_t at = 0; at < r->len && !ret;) {
        uint32_t epoch = qcow2__epoch_enter(s);
        Map m;

        ret = qcow2__map(s, r->off + at, r->len - at, false, &m);
        if (!ret && m.len == r->len) {
            ret = read_mapped(s, &m, r->off, r->iov, r->niov);
        } else if (!ret) {
            int n;

            if (!iov)
                iov = g_new(struct iovec, MAX(r->niov, 1));
            n = iov_slice(r->iov, r->niov, at, m.len, iov);
            ret = read_mapped(s, &m, r->off + at, iov, n);
        }
        qcow2__epoch_leave(s, epoch);
        at += m.len;
    }
    return ret;
}

/* What the guest sees there, with the lock held or not; past the disk's end: zeros. */
CO_FN int qcow2__read_guest(Qcow2 *s, uint64_t off, void *buf, uint64_t len)
{
    uint64_t there = off < s->h.size ? MIN(len, s->h.size - off) : 0;
    struct iovec one = { buf, there };
    BlkReq r = { .op = BLK_READ, .off = off, .len = there, .iov = &one, .niov = 1 };

    memset((char *)buf + there, 0, len - there);
    return there ? qcow2__read(s, &r) : 0;
}

CO_FN int qcow2__flush(Qcow2 *s)
{
    int ret;

    if (s->n->readonly)
        return s->corrupt ? -EIO : 0;
    co_lock(&s->lock);
    ret = qcow2__writeback(s);
    co_unlock(&s->lock);
    return ret;
}
