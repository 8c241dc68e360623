/*
 * block/qcow2/write.c - writing. Clusters of our own are written in place, without the lock. Others get a place first:
 *   look (lock) -> allocate, announce -> read what surrounds the write, write all (no lock) -> set the entries (lock)
 */
#include "block/qcow2/qcow2.h"
#include <errno.h>

enum { RUN_BYTES = 16 << 20, FREES_MAX = 4096 };

typedef struct Plan {
    uint64_t off, len;   /* of the guest's bytes */
    uint64_t first, end; /* guest clusters */
    uint64_t lo, hi;     /* what is written: the guest's bytes with what surrounds them, whole subclusters */
    uint64_t host;       /* of cluster `first` */
    bool fresh;          /* the host clusters are new */
    Alloc alloc;
} Plan;

static bool ours(const Qcow2 *s, Entry e) { return qcow2__has_host(s, e) && (e.desc & OFLAG_COPIED || s->n->data); }
static bool in_place(const Qcow2 *s, const Map *m) { return m->type == MAP_DATA && ours(s, m->entry); }

static CO_FN int write_host(Qcow2 *s, uint64_t host, uint64_t guest, struct iovec *iov, int niov, uint64_t len)
{
    BlkReq w = { .op = BLK_WRITE, .off = host, .len = len, .iov = iov, .niov = niov };

    if (!s->n->data && qcow2__hits_meta(s, host, len))
        return qcow2__corrupt(s, "a guest's write would hit metadata at %#" PRIx64, host);
    return s->h.crypt ? qcow2__crypt_write(s, host, guest, iov, niov, len) : blk_submit(qcow2__data(s), &w);
}

/* ---- what surrounds the write ---- */
static bool holds_data(const Qcow2 *s, Entry e) { return e.desc & OFLAG_PACKED || e.bits & 0xffffffff; }

/* How far the write reaches out: to the subcluster, or to the cluster whose data must move along. */
static CO_FN int edge(Qcow2 *s, const Plan *p, uint64_t at, uint64_t *unit)
{
    Map m;
    int ret = qcow2__map(s, at, 1, true, &m);

    *unit = !ret && p->fresh && holds_data(s, m.entry) ? s->cluster : 1ull << s->sub_bits;
    return ret;
}

static CO_FN int find_edges(Qcow2 *s, Plan *p)
{
    uint64_t unit, last = p->off + p->len - 1;
    int ret = edge(s, p, p->off, &unit);

    p->lo = align_down(p->off, unit);
    p->hi = p->off >> s->cluster_bits == last >> s->cluster_bits ? align_up(last + 1, unit) : 0;
    if (!ret && !p->hi) {
        ret = edge(s, p, last, &unit);
        p->hi = align_up(last + 1, unit);
    }
    return ret;
}

/* ---- planning, lock held ---- */
/* Clusters in a row, from the one of p->off, that need a place. */
static CO_FN int count_homeless(Qcow2 *s, const Plan *p, uint64_t *count)
{
    uint64_t at = p->off, end = MIN(p->off + p->len, align_down(p->off, s->cluster) + MAX(RUN_BYTES, s->cluster));

    while (at < end) {
        Map m;
        int ret = qcow2__map(s, at, end - at, true, &m);

        if (ret)
            return ret;
        if (ours(s, m.entry))
            break;
        at += m.type == MAP_PACKED || s->nsub > 1 ? s->cluster - (at & (s->cluster - 1)) : m.len;
    }
    *count = (MIN(at, end) - align_down(p->off, s->cluster) + s->cluster - 1) >> s->cluster_bits;
    return 0;
}

static CO_FN int find_place(Qcow2 *s, Plan *p, const Map *m)
{
    uint64_t count, got;
    int ret;

    p->first = p->off >> s->cluster_bits;
    p->fresh = !ours(s, m->entry);
    if (s->n->data) { /* the place is the guest's own offset */
        p->fresh = false;
        p->host = p->first << s->cluster_bits;
        p->len = MIN(p->len, (s->cluster - (p->off & (s->cluster - 1))));
    } else if (!p->fresh) {
        p->host = m->entry.desc & OFFSET_MASK;
        p->len = MIN(p->len, m->len);
    } else {
        ret = count_homeless(s, p, &count);
        if (!ret)
            ret = qcow2__alloc(s, count, false, &p->host, &got);
        if (ret)
            return ret;
        p->len = MIN(p->len, ((p->first + got) << s->cluster_bits) - p->off);
    }
    p->end = ((p->off + p->len - 1) >> s->cluster_bits) + 1;
    return find_edges(s, p);
}

static CO_FN int plan(Qcow2 *s, Plan *p, bool *skip)
{
    uint64_t first = p->off >> s->cluster_bits, end = ((p->off + p->len - 1) >> s->cluster_bits) + 1;
    Map m;
    int ret;

    while (qcow2__wait_allocs(s, first, end))
        ;
    ret = qcow2__map(s, p->off, p->len, true, &m);
    *skip = !ret && in_place(s, &m); /* somebody else was quicker */
    if (ret || *skip)
        return ret;
    ret = find_place(s, p, &m);
    if (!ret)
        qcow2__alloc_begin(s, &p->alloc, p->first, p->end);
    return ret;
}

/* ---- setting the entries, lock held ---- */
static uint64_t sub_mask(const Qcow2 *s, const Plan *p, uint64_t cluster)
{
    uint64_t start = cluster << s->cluster_bits, lo = MAX(p->lo, start), hi = MIN(p->hi, start + s->cluster);

    return ones((unsigned)((hi - lo) >> s->sub_bits)) << ((lo - start) >> s->sub_bits);
}

static CO_FN int link_one(Qcow2 *s, const Plan *p, uint64_t cluster)
{
    uint64_t index, mask = sub_mask(s, p, cluster);
    Entry old, new;
    Slice *t;
    int ret = qcow2__l2(s, cluster << s->cluster_bits, true, &t, &index);

    if (ret)
        return ret;
    old = qcow2__entry(s, t->data, index);
    new.desc = (p->host + ((cluster - p->first) << s->cluster_bits)) | OFLAG_COPIED;
    new.bits = (old.bits >> 32 & ~mask) << 32 | mask;
    if (p->fresh)
        qcow2__release_entry(s, old, true);
    else
        new.bits |= old.bits & 0xffffffff;
    qcow2__entry_put(s, t->data, index, new);
    qcow2__dirty(s, t);
    return 0;
}

static CO_FN int link_all(Qcow2 *s, const Plan *p, int ret)
{
    uint64_t c = p->first;

    while (!ret && c < p->end) {
        ret = link_one(s, p, c);
        c += !ret;
    }
    if (ret && p->fresh && !s->corrupt)
        qcow2__free_now(s, p->host + ((c - p->first) << s->cluster_bits), (p->end - c) << s->cluster_bits);
    if (!ret && s->frees->len > FREES_MAX)
        ret = qcow2__writeback(s);
    return ret;
}

/* ---- all together ---- */
static CO_FN bool reads_zero(Qcow2 *s, uint64_t off, uint64_t len)
{
    const Node *b = s->n->backing;

    while (len) {
        Map m;

        if (off >= s->h.size)
            return true;
        if (qcow2__map(s, off, MIN(len, s->h.size - off), false, &m) || m.type == MAP_DATA || m.type == MAP_PACKED ||
            (m.type == MAP_NONE && b && off < b->size))
            return false;
        off += m.len;
        len -= MIN(len, m.len);
    }
    return true;
}

/* New clusters behind the file's end are zeros already: what surrounds the write need not be written when it is zero. */
static CO_FN bool zero_around(Qcow2 *s, const Plan *p)
{
    return p->fresh && !s->h.crypt && p->host >= s->n->file->size && reads_zero(s, p->lo, p->off - p->lo) &&
           reads_zero(s, p->off + p->len, p->hi - p->off - p->len);
}

static CO_FN int write_planned(Qcow2 *s, const Plan *p, const BlkReq *r, uint64_t at)
{
    bool bare = zero_around(s, p);
    uint64_t head = bare ? 0 : p->off - p->lo, tail = bare ? 0 : p->hi - p->off - p->len, lo = p->off - head;
    g_autofree uint8_t *around = head + tail ? g_try_malloc(head + tail) : NULL;
    g_autofree struct iovec *iov = g_new(struct iovec, r->niov + 2);
    int n = 0, ret = 0;

    if (head + tail && !around)
        return -ENOMEM;
    if (head) {
        iov[n++] = (struct iovec){ around, head };
        ret = qcow2__read_guest(s, lo, around, head);
    }
    n += iov_slice(r->iov, r->niov, at, p->len, iov + n);
    if (!ret && tail) {
        iov[n++] = (struct iovec){ around + head, tail };
        ret = qcow2__read_guest(s, p->off + p->len, around + head, tail);
    }
    return ret ? ret : write_host(s, p->host + (lo - (p->first << s->cluster_bits)), lo, iov, n, head + p->len + tail);
}

static CO_FN int write_homeless(Qcow2 *s, const BlkReq *r, uint64_t at, uint64_t *done)
{
    Plan p = { .off = r->off + at, .len = r->len - at };
    bool skip;
    int ret;

    co_lock(&s->lock);
    ret = plan(s, &p, &skip);
    co_unlock(&s->lock);
    *done = 0;
    if (ret || skip)
        return ret;
    ret = write_planned(s, &p, r, at);
    co_lock(&s->lock);
    ret = link_all(s, &p, ret);
    co_unlock(&s->lock);
    qcow2__alloc_end(s, &p.alloc);
    *done = p.len;
    return ret;
}

static CO_FN int write_some(Qcow2 *s, BlkReq *r, uint64_t at, uint64_t *done)
{
    uint32_t epoch = qcow2__epoch_enter(s);
    Map m;
    int ret = qcow2__map(s, r->off + at, r->len - at, false, &m);

    if (!ret && in_place(s, &m) && m.len == r->len) {
        *done = m.len;
        ret = write_host(s, m.host, r->off + at, r->iov, r->niov, m.len);
    } else if (!ret && in_place(s, &m)) {
        g_autofree struct iovec *iov = g_new(struct iovec, MAX(r->niov, 1));

        *done = m.len;
        ret = write_host(s, m.host, r->off + at, iov, iov_slice(r->iov, r->niov, at, m.len, iov), m.len);
    } else if (!ret) {
        ret = write_homeless(s, r, at, done);
    }
    qcow2__epoch_leave(s, epoch);
    return ret;
}

CO_FN int qcow2__write(Qcow2 *s, BlkReq *r)
{
    int ret = s->n->readonly ? -EACCES : 0;

    for (uint64_t at = 0, done; at < r->len && !ret; at += done)
        ret = write_some(s, r, at, &done); /* done 0: the cluster got its place meanwhile */
    if (!ret && r->flags & BLK_FUA)
        ret = qcow2__flush(s);
    return ret;
}
