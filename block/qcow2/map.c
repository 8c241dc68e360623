/* block/qcow2/map.c - from guest offsets to host offsets: L1, L2, subclusters; making tables that may be changed. */
#include "block/qcow2/qcow2.h"
#include <errno.h>

/* ---- entries ---- */
Entry qcow2__entry(const Qcow2 *s, const uint8_t *table, uint64_t i)
{
    Entry e = { be64_load(table + i * s->l2_entry), 0 };

    if (s->nsub > 1) {
        e.bits = be64_load(table + i * s->l2_entry + 8);
    } else if (!(e.desc & OFLAG_PACKED)) {
        bool zero = e.desc & OFLAG_ZERO && s->h.version >= 3;

        e.bits = zero ? 1ull << 32 : qcow2__has_host(s, e);
    }
    return e;
}

void qcow2__entry_put(const Qcow2 *s, uint8_t *table, uint64_t i, Entry e)
{
    if (s->nsub > 1)
        be64_store(table + i * s->l2_entry + 8, e.bits);
    else if (!(e.desc & OFLAG_PACKED))
        e.desc = (e.desc & ~OFLAG_ZERO) | (e.bits >> 32 & 1);
    be64_store(table + i * s->l2_entry, e.desc);
}

bool qcow2__has_host(const Qcow2 *s, Entry e)
{
    return !(e.desc & OFLAG_PACKED) && (e.desc & OFFSET_MASK || (s->n->data && e.desc & OFLAG_COPIED));
}

MapType qcow2__sub_type(const Qcow2 *s, Entry e, unsigned sub)
{
    if (e.desc & OFLAG_PACKED)
        return MAP_PACKED;
    if (e.bits >> (32 + sub) & 1)
        return MAP_ZERO;
    return e.bits >> sub & 1 ? MAP_DATA : MAP_NONE;
}

void qcow2__packed_place(const Qcow2 *s, uint64_t desc, uint64_t *at, uint64_t *len)
{
    unsigned x = 62 - (s->cluster_bits - 8);

    *at = desc & ones(x);
    *len = (((desc & ones(62)) >> x) + 1) * 512 - (*at & 511);
}

uint64_t qcow2__packed_desc(const Qcow2 *s, uint64_t at, uint64_t len)
{
    unsigned x = 62 - (s->cluster_bits - 8);
    uint64_t sectors = ((at + len - 1) >> 9) - (at >> 9);

    return OFLAG_PACKED | sectors << x | at;
}

static CO_FN int entry_ok(Qcow2 *s, Entry e, uint64_t off)
{
    uint64_t host = e.desc & OFFSET_MASK;

    if (e.desc & OFLAG_PACKED) {
        if (s->n->data)
            return qcow2__corrupt(s, "a compressed cluster at guest offset %#" PRIx64 " of an image with a data file", off);
        return 0;
    }
    if (host % s->cluster)
        return qcow2__corrupt(s, "guest offset %#" PRIx64 " leads to the unaligned cluster %#" PRIx64, off, host);
    if ((e.bits & 0xffffffff) & e.bits >> 32 || ((e.bits & 0xffffffff) && !qcow2__has_host(s, e)))
        return qcow2__corrupt(s, "the subclusters at guest offset %#" PRIx64 " contradict each other", off);
    return 0;
}

/* ---- finding ---- */
/* Without the lock it is looked up again after each wait: who gets the lock next may move things. */
static CO_FN int table_slice(Qcow2 *s, uint64_t off, bool locked, Slice **out, uint64_t *index)
{
    uint64_t l1 = off / l2_covers(s), i = (off >> s->cluster_bits) & ones(s->l2_bits);
    int ret = 0;

    *index = i % slice_entries(s);
    while (!ret) {
        uint64_t table = s->l1[l1] & OFFSET_MASK, at = table + i / slice_entries(s) * s->slice;

        *out = NULL;
        if (!table)
            return 0;
        if (table % s->cluster)
            return qcow2__corrupt(s, "L2 table %" PRIu64 " lies at the odd offset %#" PRIx64, l1, table);
        *out = qcow2__peek(s, at);
        if (*out && (*out)->kind == SLICE_L2)
            return 0;
        if (locked)
            return qcow2__get(s, at, SLICE_L2, out);
        co_lock(&s->lock);
        if ((s->l1[l1] & OFFSET_MASK) == table)
            ret = qcow2__get(s, at, SLICE_L2, out);
        co_unlock(&s->lock);
    }
    return ret;
}

static bool goes_on(const Qcow2 *s, const Map *m, Entry e, unsigned sub)
{
    uint64_t host = (e.desc & OFFSET_MASK) + ((uint64_t)sub << s->sub_bits);

    if (qcow2__sub_type(s, e, sub) != m->type || m->type == MAP_PACKED)
        return false;
    if (qcow2__has_host(s, e) != m->has_host || !(e.desc & OFLAG_COPIED) == m->copied)
        return false;
    return !m->has_host || host == m->host + m->len;
}

/* Entries from i on that say nothing at all. */
static uint64_t empty_entries(const Qcow2 *s, const Slice *t, uint64_t i)
{
    uint64_t first = i, words = s->l2_entry / 8;

    for (; i < slice_entries(s); i++)
        for (uint64_t w = 0; w < words; w++)
            if (((const uint64_t *)(const void *)t->data)[i * words + w])
                return i - first;
    return i - first;
}

/* As many subclusters from `off` as are alike, in this slice. m->host counts from the start of the first one here. */
static CO_FN int run_of(Qcow2 *s, const Slice *t, uint64_t i, uint64_t off, uint64_t len, Map *m)
{
    uint64_t unit = 1ull << s->sub_bits, into = off & (unit - 1), want = into + len;
    unsigned sub = (unsigned)((off & (s->cluster - 1)) >> s->sub_bits);
    bool nothing;
    int ret;

    m->entry = qcow2__entry(s, t->data, i);
    ret = entry_ok(s, m->entry, off);
    if (ret)
        return ret;
    *m = (Map){ .type = qcow2__sub_type(s, m->entry, sub), .entry = m->entry, .has_host = qcow2__has_host(s, m->entry),
                .copied = m->entry.desc & OFLAG_COPIED, .host = (m->entry.desc & OFFSET_MASK) + ((uint64_t)sub << s->sub_bits), .len = unit };
    if (m->type == MAP_PACKED) {
        m->len = MIN(len, s->cluster - (off & (s->cluster - 1)));
        return 0;
    }
    nothing = !m->entry.desc && !m->entry.bits;
    while (m->len < want && i < slice_entries(s)) {
        Entry e;

        if (++sub == s->nsub) {
            uint64_t more = nothing ? empty_entries(s, t, i + 1) : 0; /* most of a sparse disk */

            sub = 0;
            i += more + 1;
            m->len += more << s->cluster_bits;
            if (i == slice_entries(s))
                break;
        }
        e = qcow2__entry(s, t->data, i);
        if ((e.desc & OFFSET_MASK & (s->cluster - 1)) || !goes_on(s, m, e, sub))
            break;
        m->len += unit;
    }
    m->len = MIN(m->len - into, len);
    m->host += into;
    return 0;
}

CO_FN int qcow2__map(Qcow2 *s, uint64_t off, uint64_t len, bool locked, Map *out)
{
    uint64_t i;
    Slice *t;
    int ret;

    *out = (Map){ .type = MAP_NONE };
    ret = table_slice(s, off, locked, &t, &i);
    if (ret)
        return ret;
    if (!t) {
        out->len = MIN(len, l2_covers(s) - off % l2_covers(s));
        return 0;
    }
    return run_of(s, t, i, off, len, out);
}

/* ---- changing ---- */
/* Through the cache: a table that others share is clean, but may be here already. */
static CO_FN int copy_table(Qcow2 *s, uint64_t from, uint64_t to)
{
    g_autofree uint8_t *buf = from ? g_try_malloc(s->cluster) : NULL;
    int ret = 0;

    if (!from)
        return blk_zero(s->n->file, to, s->cluster, 0);
    if (!buf)
        return -ENOMEM;
    if (from % s->cluster)
        return qcow2__corrupt(s, "an L2 table lies at the odd offset %#" PRIx64, from);
    for (uint64_t at = 0; at < s->cluster && !ret; at += s->slice) {
        Slice *e;

        ret = qcow2__get(s, from + at, SLICE_L2, &e);
        if (!ret)
            memcpy(buf + at, e->data, s->slice);
    }
    return ret ? ret : blk_write(s->n->file, to, buf, s->cluster);
}

/* A table of our own at L1 entry l1: new, or a copy of one that a snapshot has, too. */
static CO_FN int own_table(Qcow2 *s, uint64_t l1)
{
    uint64_t old = s->l1[l1] & OFFSET_MASK, at, got;
    int ret;

    if (old && s->l1[l1] & OFLAG_COPIED)
        return 0;
    ret = qcow2__alloc(s, 1, true, &at, &got);
    if (ret)
        return ret;
    ret = copy_table(s, old, at);
    if (ret) {
        qcow2__free_now(s, at, s->cluster);
        return ret;
    }
    s->l1[l1] = at | OFLAG_COPIED;
    g_array_append_val(s->l1_dirty, l1);
    qcow2__note_meta(s, at, s->cluster);
    if (old)
        qcow2__free_later(s, old, s->cluster, false);
    return 0;
}

CO_FN int qcow2__l2(Qcow2 *s, uint64_t off, bool make, Slice **out, uint64_t *index)
{
    int ret = make ? own_table(s, off / l2_covers(s)) : 0;

    *out = NULL;
    return ret ? ret : table_slice(s, off, true, out, index);
}

void qcow2__release_entry(Qcow2 *s, Entry e, bool discard)
{
    uint64_t at, len;

    if (s->n->data)
        return; /* a data file's clusters are not counted */
    if (e.desc & OFLAG_PACKED) {
        qcow2__packed_place(s, e.desc, &at, &len);
        qcow2__free_later(s, at, len, false);
    } else if (qcow2__has_host(s, e)) {
        qcow2__free_later(s, e.desc & OFFSET_MASK, s->cluster, discard);
    }
}
