/* block/qcow2/zero.c - clusters that read as zeros without being stored; discard; clusters that go back to the backing file. */
#include "block/qcow2/qcow2.h"
#include <errno.h>

enum { FREES_MAX = 4096 };

static bool reads_zero_below(const Qcow2 *s, uint64_t off) { return !s->n->backing || off >= s->n->backing->size; }

/* Whole clusters; of those that are not packed also whole subclusters (DROP_KEEP). The entry after subclusters `mask` were dropped. */
static Entry dropped(const Qcow2 *s, Entry e, uint64_t mask, int how)
{
    bool whole = mask == ones(s->nsub) || e.desc & OFLAG_PACKED;
    bool keep = qcow2__has_host(s, e) && (e.desc & OFLAG_COPIED || s->n->data) && (how == DROP_KEEP || !whole || s->data_raw);

    if (how == DROP_BELOW && whole)
        return (Entry){ 0, 0 };
    if (s->h.version < 3)
        return (Entry){ 0, 0 }; /* only where nothing is below */
    if (whole && !keep)
        e = (Entry){ 0, 0 };
    e.bits &= ~(mask | mask << 32);
    if (how != DROP_BELOW)
        e.bits |= mask << 32;
    return e;
}

static CO_FN int drop_one(Qcow2 *s, uint64_t off, uint64_t mask, int how, bool discard)
{
    Entry old, new;
    uint64_t index;
    Slice *t;
    Map m;
    int ret = qcow2__map(s, off, 1, true, &m);

    if (ret)
        return ret;
    if (!m.entry.desc && !m.entry.bits && (how == DROP_BELOW || reads_zero_below(s, off)))
        return 0;
    new = dropped(s, m.entry, mask, how);
    if (new.desc == m.entry.desc && new.bits == m.entry.bits)
        return 0;
    ret = qcow2__l2(s, off, true, &t, &index);
    if (ret)
        return ret;
    old = qcow2__entry(s, t->data, index);
    if (!qcow2__has_host(s, new))
        qcow2__release_entry(s, old, discard);
    qcow2__entry_put(s, t->data, index, new);
    qcow2__dirty(s, t);
    return 0;
}

CO_FN int qcow2__drop(Qcow2 *s, uint64_t off, uint64_t len, int how, bool discard)
{
    uint64_t end = off + len;
    int ret = 0;

    while (off < end && !ret) {
        uint64_t start = align_down(off, s->cluster), stop = MIN(end, start + s->cluster), l1 = off / l2_covers(s);
        uint64_t mask = ones((unsigned)((stop - off) >> s->sub_bits)) << ((off - start) >> s->sub_bits);

        if (!(s->l1[l1] & OFFSET_MASK) && (how == DROP_BELOW || !s->n->backing)) { /* nothing is there */
            off = MIN(end, (l1 + 1) * l2_covers(s));
            continue;
        }
        ret = drop_one(s, start, mask, how, discard);
        off = stop;
        if (!ret && s->frees->len > FREES_MAX)
            ret = qcow2__writeback(s);
    }
    return ret;
}

static CO_FN int write_piece(Node *n, BlkReq *r) { return qcow2__write(n->opaque, r); }
static CO_FN int write_zeros(Qcow2 *s, uint64_t off, uint64_t len) { return blk_write_zeros(s->n, write_piece, off, len, 0); }

/* A piece of a cluster that has subclusters: the whole ones of it need not be written, unless the cluster is packed. */
static CO_FN int zero_subclusters(Qcow2 *s, uint64_t off, uint64_t len)
{
    uint64_t unit = 1ull << s->sub_bits, end = off + len, lo = MIN(align_up(off, unit), end), hi = MAX(align_down(end, unit), lo);
    Map m = { .type = MAP_PACKED };
    int ret = 0;

    if (lo < hi) {
        co_lock(&s->lock);
        while (qcow2__wait_allocs(s, lo >> s->cluster_bits, (lo >> s->cluster_bits) + 1))
            ;
        ret = qcow2__map(s, lo, 1, true, &m);
        if (!ret && m.type != MAP_PACKED)
            ret = qcow2__drop(s, lo, hi - lo, DROP_KEEP, false);
        co_unlock(&s->lock);
    }
    if (ret || m.type == MAP_PACKED)
        return ret ? ret : write_zeros(s, off, len);
    ret = lo > off ? write_zeros(s, off, lo - off) : 0;
    return ret || end == hi ? ret : write_zeros(s, hi, end - hi);
}

/* A piece of a cluster: written, unless it is zero already. */
static CO_FN int zero_edge(Qcow2 *s, uint64_t off, uint64_t len)
{
    uint32_t epoch = qcow2__epoch_enter(s);
    Map m;
    int ret = qcow2__map(s, off, len, false, &m);

    qcow2__epoch_leave(s, epoch);
    if (ret || (m.len == len && (m.type == MAP_ZERO || (m.type == MAP_NONE && reads_zero_below(s, off)))))
        return ret;
    return s->nsub > 1 ? zero_subclusters(s, off, len) : write_zeros(s, off, len);
}

static CO_FN int drop_range(Qcow2 *s, uint64_t lo, uint64_t hi, int how, bool discard)
{
    int ret = 0;

    for (uint64_t at = lo; at < hi && !ret;) { /* a table at a time, so that others get the lock */
        uint64_t stop = MIN(hi, (at / l2_covers(s) + 1) * l2_covers(s));

        co_lock(&s->lock);
        while (qcow2__wait_allocs(s, at >> s->cluster_bits, ((stop - 1) >> s->cluster_bits) + 1))
            ;
        ret = qcow2__drop(s, at, stop - at, how, discard);
        co_unlock(&s->lock);
        at = stop;
    }
    return ret;
}

/* The whole clusters of a request; the disk's end counts as the end of one. */
static void whole_clusters(const Qcow2 *s, const BlkReq *r, uint64_t *lo, uint64_t *hi)
{
    uint64_t end = r->off + r->len;

    *lo = MIN(align_up(r->off, s->cluster), end);
    *hi = end == s->h.size ? align_up(end, s->cluster) : align_down(end, s->cluster);
    *hi = MAX(*hi, *lo);
}

CO_FN int qcow2__zero(Qcow2 *s, const BlkReq *r)
{
    uint64_t lo, hi, end = r->off + r->len;
    bool unmap = r->flags & BLK_MAY_UNMAP;
    int ret = 0;

    whole_clusters(s, r, &lo, &hi);
    if (s->h.version < 3 && s->n->backing) /* no way to say it */
        return r->flags & BLK_NO_FALLBACK ? -ENOTSUP : write_zeros(s, r->off, r->len);
    if (lo > r->off)
        ret = zero_edge(s, r->off, lo - r->off);
    if (!ret && s->data_raw && hi > lo)
        ret = blk_zero(s->n->data, lo, MIN(hi, s->h.size) - lo, r->flags & BLK_MAY_UNMAP);
    if (!ret)
        ret = drop_range(s, lo, hi, unmap ? DROP_ZERO : DROP_KEEP, unmap);
    if (!ret && end > hi)
        ret = zero_edge(s, hi, end - hi);
    if (!ret && r->flags & BLK_FUA)
        ret = qcow2__flush(s);
    return ret;
}

CO_FN int qcow2__discard(Qcow2 *s, const BlkReq *r)
{
    uint64_t lo, hi;
    int ret = 0;

    whole_clusters(s, r, &lo, &hi);
    if ((s->h.version < 3 && s->n->backing) || lo >= hi)
        return 0; /* to show the backing file's bytes again would be wrong */
    if (s->data_raw)
        ret = blk_zero(s->n->data, lo, MIN(hi, s->h.size) - lo, BLK_MAY_UNMAP);
    return ret ? ret : drop_range(s, lo, hi, DROP_ZERO, true);
}
