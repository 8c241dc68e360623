/*
 * block/qcow2/refcount.c - how often each host cluster is used: looking up, counting, finding free ones, making more
 * refcount blocks and a larger table, letting go.
 *
 * A new block lies in the first cluster that it counts itself, a new table behind the first blocks that only it knows:
 * so nothing has to be found for them that would need them.
 */
#include "block/qcow2/qcow2.h"
#include <errno.h>

enum { NEAR_BITS = 20 };

/* ---- what must not be overwritten ---- */
static uint32_t hash(uint64_t cluster) { return (uint32_t)(cluster * 0x9e3779b97f4a7c15ull >> (64 - NEAR_BITS)); }

void qcow2__note_meta(Qcow2 *s, uint64_t at, uint64_t len)
{
    if (!s->near_meta)
        s->near_meta = g_malloc0(1u << (NEAR_BITS - 3));
    for (uint64_t c = at >> s->cluster_bits; len && c <= (at + len - 1) >> s->cluster_bits; c++)
        s->near_meta[hash(c) / 8] |= (uint8_t)(1 << hash(c) % 8);
}

static bool overlaps(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
    return alen && blen && a < b + blen && b < a + alen;
}

static bool any_cluster(const Qcow2 *s, const uint64_t *table, uint64_t n, uint64_t at, uint64_t len)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t t = table[i] & OFFSET_MASK;

        if (t && overlaps(t, s->cluster, at, len))
            return true;
    }
    return false;
}

static bool is_meta(const Qcow2 *s, uint64_t at, uint64_t len)
{
    const Header *h = &s->h;

    if (overlaps(0, s->cluster, at, len) || overlaps(h->l1_at, h->l1_len * 8, at, len) ||
        overlaps(h->reftable_at, s->reftable_len * 8, at, len) || any_cluster(s, s->reftable, s->reftable_len, at, len) ||
        any_cluster(s, s->l1, h->l1_len, at, len))
        return true;
    for (guint i = 0; i < s->snapshots->len; i++) {
        const Snapshot *p = s->snapshots->pdata[i];

        if (overlaps(p->l1_at, (uint64_t)p->l1_len * 8, at, len))
            return true;
    }
    return h->nsnapshots && overlaps(h->snapshots_at, 1, at, len);
}

bool qcow2__hits_meta(Qcow2 *s, uint64_t at, uint64_t len)
{
    for (uint64_t c = at >> s->cluster_bits; len && c <= (at + len - 1) >> s->cluster_bits; c++)
        if (s->near_meta[hash(c) / 8] >> hash(c) % 8 & 1)
            return is_meta(s, at, len);
    return false;
}

CO_FN int qcow2__corrupt(Qcow2 *s, const char *fmt, ...)
{
    g_autofree char *what = NULL;
    va_list ap;

    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (!s->corrupt)
        warn_report("'%s': the qcow2 image is corrupt: %s%s", s->n->filename, what,
                    s->n->readonly ? "" : "; nothing more is written to it (menura-img check -r all mends)");
    s->corrupt = true;
    if (!s->n->readonly && s->h.version >= 3)
        qcow2__set_incompatible(s, INCOMPAT_CORRUPT, 0);
    s->n->readonly = true;
    return -EIO;
}

/* ---- looking up ---- */
uint64_t qcow2__refcount_in(const Qcow2 *s, const uint8_t *block, uint64_t i)
{
    unsigned bits = s->refcount_bits;

    if (bits >= 8)
        return be_load(block + i * (bits / 8), bits / 8);
    return block[i * bits / 8] >> (i * bits % 8) & ones(bits);
}

void qcow2__refcount_put(const Qcow2 *s, uint8_t *block, uint64_t i, uint64_t v)
{
    unsigned bits = s->refcount_bits, shift = (unsigned)(i * bits % 8);
    uint8_t *p = block + i * bits / 8;

    if (bits >= 8)
        be_store(p, bits / 8, v);
    else
        *p = (uint8_t)((*p & ~(ones(bits) << shift)) | v << shift);
}

/* The slice that counts `cluster`, its index there and how many follow in it; NULL: its block does not exist. */
static CO_FN int find(Qcow2 *s, uint64_t cluster, Slice **out, uint64_t *index, uint64_t *left)
{
    uint64_t table = cluster >> s->refblock_bits, i = cluster & ones(s->refblock_bits), per = (uint64_t)s->slice * 8 / s->refcount_bits;
    uint64_t block = table < s->reftable_len ? s->reftable[table] & OFFSET_MASK : 0;

    *out = NULL;
    *index = i % per;
    *left = per - *index;
    if (!block) {
        *left = (1ull << s->refblock_bits) - i;
        return 0;
    }
    if (block % s->cluster)
        return qcow2__corrupt(s, "refcount block %" PRIu64 " lies at the odd offset %#" PRIx64, table, block);
    return qcow2__get(s, block + i / per * s->slice, SLICE_REF, out);
}

CO_FN int qcow2__refcount(Qcow2 *s, uint64_t cluster, uint64_t *out)
{
    uint64_t i, left;
    Slice *e;
    int ret = find(s, cluster, &e, &i, &left);

    *out = !ret && e ? qcow2__refcount_in(s, e->data, i) : 0;
    return ret;
}

/* ---- more blocks ---- */
static CO_FN int write_table_place(Qcow2 *s, uint64_t at, uint64_t clusters)
{
    uint8_t b[12];
    int ret = blk_flush(s->n->file);

    be64_store(b, at);
    be32_store(b + 8, (uint32_t)clusters);
    if (!ret)
        ret = blk_write(s->n->file, 48, b, sizeof(b));
    return ret ? ret : blk_flush(s->n->file);
}

/* k blocks of their own clusters and those of the table that follows. */
static CO_FN int write_first_blocks(Qcow2 *s, uint64_t first, uint64_t k, uint64_t used)
{
    g_autofree uint8_t *blocks = g_try_malloc0(k * s->cluster);

    if (!blocks)
        return -ENOMEM;
    for (uint64_t i = 0; i < used; i++)
        qcow2__refcount_put(s, blocks + (i >> s->refblock_bits) * s->cluster, i & ones(s->refblock_bits), 1);
    qcow2__forget(s, first << s->cluster_bits, used << s->cluster_bits);
    return blk_write(s->n->file, first << s->cluster_bits, blocks, k * s->cluster);
}

static CO_FN int write_whole_table(Qcow2 *s, uint64_t at, const uint64_t *table, uint64_t len)
{
    g_autofree uint64_t *be = g_new(uint64_t, len);

    for (uint64_t i = 0; i < len; i++)
        be64_store(&be[i], table[i]);
    return blk_write(s->n->file, at, be, len * 8);
}

/* A larger table, whose block `index` and some more count the clusters that the growth takes. */
static CO_FN int grow_reftable(Qcow2 *s, uint64_t index)
{
    uint64_t first = index << s->refblock_bits, per = 1ull << s->refblock_bits, k = 1, clusters, len, old_at = s->h.reftable_at,
             old = s->h.reftable_clusters;
    uint64_t *table;
    int ret;

    do {
        len = MIN(MAX((index + k) * 3 / 2, s->cluster / 8), REFTABLE_MAX);
        clusters = (len * 8 + s->cluster - 1) >> s->cluster_bits;
    } while (k * per < k + clusters && k++ < REFTABLE_MAX);
    len = clusters << (s->cluster_bits - 3);
    if (index + k > MIN(len, REFTABLE_MAX) || qcow2__hits_meta(s, first << s->cluster_bits, (k + clusters) << s->cluster_bits))
        return index + k > MIN(len, REFTABLE_MAX) ? -EFBIG : qcow2__corrupt(s, "metadata lies where no cluster is counted");
    table = g_new0(uint64_t, len);
    memcpy(table, s->reftable, s->reftable_len * 8);
    for (uint64_t i = 0; i < k; i++)
        table[index + i] = (first + i) << s->cluster_bits;
    ret = qcow2__write_slices(s, SLICE_REF);
    if (!ret)
        ret = write_first_blocks(s, first, k, k + clusters);
    if (!ret)
        ret = write_whole_table(s, (first + k) << s->cluster_bits, table, len);
    if (!ret)
        ret = write_table_place(s, (first + k) << s->cluster_bits, clusters);
    if (ret) {
        g_free(table);
        return ret;
    }
    g_free(s->reftable);
    s->reftable = table;
    s->reftable_len = len;
    s->h.reftable_at = (first + k) << s->cluster_bits;
    s->h.reftable_clusters = clusters;
    g_array_set_size(s->reftable_dirty, 0);
    qcow2__note_meta(s, first << s->cluster_bits, (k + clusters) << s->cluster_bits);
    return qcow2__add_refs(s, old_at >> s->cluster_bits, old, -1);
}

static CO_FN int make_block(Qcow2 *s, uint64_t index)
{
    uint64_t first = index << s->refblock_bits, at = first << s->cluster_bits, i, left;
    Slice *e;
    int ret;

    if (index >= s->reftable_len)
        return grow_reftable(s, index);
    if (qcow2__hits_meta(s, at, s->cluster))
        return qcow2__corrupt(s, "metadata lies at %#" PRIx64 ", where no cluster is counted", at);
    qcow2__forget(s, at, s->cluster);
    ret = blk_zero(s->n->file, at, s->cluster, 0);
    if (ret)
        return ret;
    s->reftable[index] = at;
    g_array_append_val(s->reftable_dirty, index);
    qcow2__note_meta(s, at, s->cluster);
    ret = find(s, first, &e, &i, &left);
    if (ret)
        return ret;
    qcow2__refcount_put(s, e->data, i, 1);
    qcow2__dirty(s, e);
    return 0;
}

/* ---- counting ---- */
static CO_FN int add_one(Qcow2 *s, Slice *e, uint64_t i, uint64_t cluster, int add)
{
    uint64_t v = qcow2__refcount_in(s, e->data, i);

    if (add < 0 && v == 0)
        return qcow2__corrupt(s, "cluster %#" PRIx64 " is let go, but nobody is counted to use it", cluster << s->cluster_bits);
    if (add > 0 && v >= s->refcount_max)
        return -ERANGE;
    v += (uint64_t)(int64_t)add;
    qcow2__refcount_put(s, e->data, i, v);
    qcow2__dirty(s, e);
    if (!v) {
        s->free_guess = MIN(s->free_guess, cluster);
        if (!in_range(e->at - (cluster << s->cluster_bits), 1, s->cluster))
            qcow2__forget(s, cluster << s->cluster_bits, s->cluster);
        if (s->packed_at && s->packed_at >> s->cluster_bits == cluster)
            s->packed_at = 0;
    }
    return 0;
}

static CO_FN int add_some(Qcow2 *s, uint64_t first, uint64_t count, int add, uint64_t *done)
{
    int ret = qcow2__mark_dirty(s);

    for (*done = 0; *done < count && !ret;) {
        uint64_t i, left, c = first + *done;
        Slice *e;

        ret = find(s, c, &e, &i, &left);
        if (!ret && !e)
            ret = add < 0 ? qcow2__corrupt(s, "cluster %#" PRIx64 " is let go, but not counted", c << s->cluster_bits)
                          : make_block(s, c >> s->refblock_bits);
        for (; !ret && e && left && *done < count; left--, i++, (*done)++) {
            ret = add_one(s, e, i, first + *done, add);
            if (ret)
                break;
        }
    }
    return ret;
}

CO_FN int qcow2__add_refs(Qcow2 *s, uint64_t first, uint64_t count, int add)
{
    uint64_t done, undone;
    int ret = add_some(s, first, count, add, &done);

    if (ret && add > 0 && done)
        (void)!add_some(s, first, done, -add, &undone);
    return ret;
}

/* ---- finding free ones ---- */
static CO_FN int find_free(Qcow2 *s, uint64_t count, bool whole, uint64_t *first, uint64_t *got)
{
    uint64_t run = 0, end = HOST_MAX >> s->cluster_bits;

    for (uint64_t c = s->free_guess; c < end;) { /* ends behind the last block at the latest */
        uint64_t i, left;
        Slice *e;
        int ret = find(s, c, &e, &i, &left);

        if (ret)
            return ret;
        for (; left && run < count; left--, i++, c++) {
            if (!e || !qcow2__refcount_in(s, e->data, i))
                run++;
            else if (run && !whole)
                break;
            else
                run = 0;
        }
        if (run == count || (left && run)) {
            *first = c - run;
            *got = run;
            return 0;
        }
    }
    return -EFBIG;
}

CO_FN int qcow2__alloc(Qcow2 *s, uint64_t count, bool whole, uint64_t *at, uint64_t *got)
{
    uint64_t first = 0, n = 0;
    int ret;

    for (bool again = true; again;) { /* each round makes a block that was missing */
        again = false;
        ret = find_free(s, count, whole, &first, &n);
        for (uint64_t c = first; !ret && !again && c < first + n; c = ((c >> s->refblock_bits) + 1) << s->refblock_bits) {
            uint64_t t = c >> s->refblock_bits;

            if (t < s->reftable_len && s->reftable[t] & OFFSET_MASK)
                continue;
            ret = make_block(s, t);
            again = true;
        }
        if (ret)
            return ret;
    }
    *at = first << s->cluster_bits;
    *got = n;
    if (!first || qcow2__hits_meta(s, *at, n << s->cluster_bits))
        return qcow2__corrupt(s, "metadata at %#" PRIx64 " is counted as free", *at);
    ret = qcow2__add_refs(s, first, n, 1);
    if (ret)
        return ret;
    s->free_guess = first + n;
    qcow2__forget(s, *at, n << s->cluster_bits);
    return 0;
}

CO_FN int qcow2__alloc_bytes(Qcow2 *s, uint64_t len, uint64_t *at)
{
    uint64_t used = s->packed_at & (s->cluster - 1), room = used ? s->cluster - used : 0, fresh = 0, got, refs = 0;
    int ret = 0;

    if (room)
        ret = qcow2__refcount(s, s->packed_at >> s->cluster_bits, &refs);
    if (!ret && (!room || refs >= s->refcount_max || !refs))
        room = 0;
    if (!ret && len > room)
        ret = qcow2__alloc(s, 1, true, &fresh, &got);
    if (ret)
        return ret;
    if (!s->packed_at || (fresh && fresh != align_up(s->packed_at, s->cluster)))
        room = 0; /* not behind each other; or let go meanwhile */
    if (!room && !fresh)
        ret = qcow2__alloc(s, 1, true, &fresh, &got);
    if (ret)
        return ret;
    *at = room ? s->packed_at : fresh;
    if (room)
        ret = qcow2__add_refs(s, s->packed_at >> s->cluster_bits, 1, 1);
    if (ret && fresh)
        qcow2__free_now(s, fresh, 1);
    if (!ret)
        s->packed_at = (*at + len) & (s->cluster - 1) ? *at + len : 0;
    return ret;
}

/* ---- letting go ---- */
void qcow2__free_later(Qcow2 *s, uint64_t at, uint64_t bytes, bool discard)
{
    Free f = { at >> s->cluster_bits, 0, s->epoch, discard };
    Free *last = s->frees->len ? &g_array_index(s->frees, Free, s->frees->len - 1) : NULL;

    f.count = ((at + bytes - 1) >> s->cluster_bits) - f.first + 1;
    if (last && last->first + last->count == f.first && last->epoch == f.epoch && last->discard == discard)
        last->count += f.count;
    else
        g_array_append_val(s->frees, f);
}

CO_FN int qcow2__free_now(Qcow2 *s, uint64_t at, uint64_t bytes)
{
    uint64_t first = at >> s->cluster_bits;

    return qcow2__add_refs(s, first, ((at + bytes - 1) >> s->cluster_bits) - first + 1, -1);
}

static CO_FN int pass_discard(Qcow2 *s, const Free *f)
{
    uint64_t run = 0, refs = 1;
    int ret = 0;

    for (uint64_t c = f->first; c <= f->first + f->count && !ret; c++) {
        if (c < f->first + f->count)
            ret = qcow2__refcount(s, c, &refs);
        if (!ret && c < f->first + f->count && !refs) {
            run++;
            continue;
        }
        if (run)
            blk_submit(s->n->file, &(BlkReq){ .op = BLK_DISCARD, .off = (c - run) << s->cluster_bits, .len = run << s->cluster_bits });
        run = 0;
    }
    return ret;
}

CO_FN int qcow2__apply_frees(Qcow2 *s, GArray *frees)
{
    int ret = 0;

    if (!s->active[(s->epoch + 1) & 1])
        s->epoch++; /* who began in the last epoch but one is done */
    for (guint i = 0; i < frees->len && !ret; i++) {
        Free *f = &g_array_index(frees, Free, i);

        if (f->epoch + 2 > s->epoch && s->active[0] + s->active[1]) {
            g_array_append_val(s->frees, *f);
            continue;
        }
        ret = qcow2__add_refs(s, f->first, f->count, -1);
        if (!ret && f->discard && s->n->unmap)
            ret = pass_discard(s, f);
    }
    return ret;
}

uint32_t qcow2__epoch_enter(Qcow2 *s)
{
    s->active[s->epoch & 1]++;
    return s->epoch;
}

void qcow2__epoch_leave(Qcow2 *s, uint32_t epoch) { s->active[epoch & 1]--; }

CO_FN int qcow2__mark_dirty(Qcow2 *s)
{
    int ret = 0;

    if (s->lazy && !s->dirty_marked && s->h.version >= 3 && s->opened) {
        ret = qcow2__set_incompatible(s, INCOMPAT_DIRTY, 0);
        s->dirty_marked = !ret;
    }
    return ret;
}
