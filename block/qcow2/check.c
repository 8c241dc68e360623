/*
 * block/qcow2/check.c - counting how often each host cluster is used by walking all tables, and comparing that with the
 * refcounts and the COPIED flags. Reads the disk itself, not the cache, and trusts nothing there.
 */
#include "block/qcow2/qcow2.h"
#include <errno.h>

enum { CHUNK = 4096, CHUNKS_MAX = 1 << 16 }; /* 1 GiB of counters at most */

struct Counts {
    Qcow2 *s;
    BlkCheck *c;
    GHashTable *chunks; /* index -> uint32_t[CHUNK] */
    uint64_t at;        /* the index looked up last, */
    uint32_t *chunk;    /* and what was found; NULL: look */
    uint64_t end, last;
    bool no_memory, broken; /* broken: the refcount structures themselves */
    uint64_t next_host;     /* where an image without fragments goes on */
    unsigned fix;
};

/* ---- counters ---- */
uint64_t qcow2__counts_end(const Counts *v) { return v->end; }

static uint32_t *chunk_of(Counts *v, uint64_t cluster)
{
    uint64_t key = cluster / CHUNK;

    if (!v->chunk || key != v->at) {
        v->chunk = g_hash_table_lookup(v->chunks, &key);
        v->at = key;
    }
    return v->chunk;
}

uint32_t qcow2__count_of(Counts *v, uint64_t cluster)
{
    const uint32_t *chunk = chunk_of(v, cluster);

    return chunk ? chunk[cluster % CHUNK] : 0;
}

uint64_t qcow2__count_next(const Counts *v, uint64_t cluster)
{
    for (; cluster < v->end; cluster = (cluster / CHUNK + 1) * CHUNK) { /* at most the file's chunks */
        uint64_t key = cluster / CHUNK;

        if (g_hash_table_contains(v->chunks, &key))
            break;
    }
    return MIN(cluster, v->end);
}

bool qcow2__count_add(Counts *v, uint64_t cluster)
{
    uint64_t key = cluster / CHUNK;
    uint32_t *chunk = chunk_of(v, cluster);

    if (!chunk) {
        if (g_hash_table_size(v->chunks) >= CHUNKS_MAX || !(chunk = g_try_new0(uint32_t, CHUNK))) {
            v->no_memory = true;
            return false;
        }
        g_hash_table_insert(v->chunks, g_memdup2(&key, sizeof(key)), chunk);
    }
    chunk[cluster % CHUNK] += chunk[cluster % CHUNK] < UINT32_MAX;
    v->last = MAX(v->last, cluster);
    v->end = MAX(v->end, cluster + 1);
    return true;
}

/* Bytes that something uses; the last cluster may reach past the file's end, others not. */
static bool use(Counts *v, uint64_t at, uint64_t bytes, const char *what)
{
    const Qcow2 *s = v->s;
    uint64_t end = (s->n->file->size + s->cluster - 1) >> s->cluster_bits;

    for (uint64_t c = at >> s->cluster_bits; bytes && c <= (at + bytes - 1) >> s->cluster_bits; c++) {
        if (c >= end) {
            blk_check_say(v->c, "ERROR: %s outside image EOF at offset %#" PRIx64, what, at);
            v->c->corruptions++;
            return false;
        }
        if (!qcow2__count_add(v, c))
            return false;
    }
    return true;
}

/* ---- walking ---- */
static void use_entry(Counts *v, Entry e, uint64_t guest, bool active)
{
    const Qcow2 *s = v->s;
    uint64_t at = e.desc & OFFSET_MASK, len = s->cluster;

    if (e.desc & OFLAG_PACKED) {
        qcow2__packed_place(s, e.desc, &at, &len);
        v->c->compressed_clusters += active;
        v->c->allocated_clusters += active;
        if (e.desc & OFLAG_COPIED) {
            blk_check_say(v->c, "ERROR: OFLAG_COPIED is set on the compressed cluster at guest offset %#" PRIx64, guest);
            v->c->corruptions++;
        }
        use(v, at, len, "compressed cluster");
        v->c->fragmented_clusters += active; /* a packed cluster is never where the next would be */
        return;
    }
    if (!qcow2__has_host(s, e))
        return;
    if (at % s->cluster) {
        blk_check_say(v->c, "ERROR: offset %#" PRIx64 ": Cluster is not properly aligned; L2 entry corrupted", at);
        v->c->corruptions++;
        return;
    }
    v->c->allocated_clusters += active;
    if (active && v->next_host && at != v->next_host)
        v->c->fragmented_clusters++;
    v->next_host = active ? at + s->cluster : v->next_host;
    if (!s->n->data)
        use(v, at, len, "cluster");
}

static CO_FN void use_l2(Counts *v, uint64_t table, uint64_t guest, bool active)
{
    Qcow2 *s = v->s;
    g_autofree uint8_t *buf = g_try_malloc(s->cluster);

    if (!buf || blk_read(s->n->file, table, buf, s->cluster)) {
        v->c->errors++;
        return;
    }
    v->next_host = 0;
    for (uint64_t i = 0; i < 1ull << s->l2_bits && !v->no_memory; i++)
        use_entry(v, qcow2__entry(s, buf, i), guest + (i << s->cluster_bits), active);
}

static CO_FN void use_l1(Counts *v, const uint64_t *l1, uint64_t len, uint64_t at, bool active)
{
    Qcow2 *s = v->s;

    use(v, at, len * 8, "L1 table");
    for (uint64_t i = 0; i < len && !v->no_memory; i++) {
        uint64_t table = l1[i] & OFFSET_MASK;

        if (!table)
            continue;
        if (table % s->cluster) {
            blk_check_say(v->c, "ERROR l2_offset=%#" PRIx64 ": Table is not cluster aligned; L1 entry corrupted", table);
            v->c->corruptions++;
        } else if (use(v, table, s->cluster, "L2 table")) {
            use_l2(v, table, i * l2_covers(s), active);
        }
    }
}

static CO_FN void use_snapshots(Counts *v)
{
    Qcow2 *s = v->s;
    uint64_t bytes = 0;

    for (guint i = 0; i < s->snapshots->len && !v->no_memory; i++) {
        const Snapshot *p = s->snapshots->pdata[i];
        g_autofree uint64_t *l1 = g_try_new0(uint64_t, MAX(p->l1_len, 1));

        bytes += align_up(40 + p->extra_len + strlen(p->facts.id) + strlen(p->facts.name), 8);
        if (!l1 || (p->l1_len && blk_read(s->n->file, p->l1_at, l1, (uint64_t)p->l1_len * 8))) {
            v->c->errors++;
            continue;
        }
        for (uint32_t j = 0; j < p->l1_len; j++)
            l1[j] = be64_load(&l1[j]);
        use_l1(v, l1, p->l1_len, p->l1_at, false);
    }
    if (s->h.nsnapshots)
        use(v, s->h.snapshots_at, bytes, "snapshot table");
}

static CO_FN void use_bitmap_table(Counts *v, uint64_t at, uint64_t entries)
{
    Qcow2 *s = v->s;
    g_autofree uint8_t *t = NULL;

    if (!use(v, at, entries * 8, "bitmap table") || !(t = g_try_malloc(entries * 8)) || blk_read(s->n->file, at, t, entries * 8))
        return;
    for (uint64_t i = 0; i < entries; i++)
        if (be64_load(t + i * 8) & OFFSET_MASK)
            use(v, be64_load(t + i * 8) & OFFSET_MASK, s->cluster, "bitmap");
}

static CO_FN void use_bitmaps(Counts *v)
{
    Qcow2 *s = v->s;
    const Extension *e = qcow2__extension(s, EXT_BITMAPS);
    uint64_t size, at;
    g_autofree uint8_t *dir = NULL;

    if (!e || e->len < 24 || !(s->h.autoclear & AUTOCLEAR_BITMAPS))
        return;
    size = be64_load(e->data + 8);
    at = be64_load(e->data + 16);
    if (size > 64 * MiB || at % s->cluster || !use(v, at, size, "bitmap directory") || !(dir = g_try_malloc0(size + 24)) ||
        blk_read(s->n->file, at, dir, size))
        return;
    for (uint64_t p = 0; p + 24 <= size;) { /* each takes 24 bytes at least */
        uint64_t len = be32_load(dir + p + 8);

        if (len <= 8 * MiB)
            use_bitmap_table(v, be64_load(dir + p), len);
        p += align_up(24 + be_load(dir + p + 18, 2) + (uint64_t)be32_load(dir + p + 20), 8);
    }
}

static void use_refcounts(Counts *v)
{
    Qcow2 *s = v->s;

    v->broken |= !use(v, s->h.reftable_at, s->h.reftable_clusters << s->cluster_bits, "refcount table");
    for (uint64_t i = 0; i < s->reftable_len && !v->no_memory; i++) {
        uint64_t block = s->reftable[i] & OFFSET_MASK;

        if (!block)
            continue;
        if (block % s->cluster) {
            blk_check_say(v->c, "ERROR refcount block %" PRIu64 " is not cluster aligned; refcount table entry corrupted", i);
            v->c->corruptions++;
            v->broken = true;
        } else if (!use(v, block, s->cluster, "refcount block")) {
            v->broken = true;
        } else if (qcow2__count_of(v, block >> s->cluster_bits) != 1) {
            blk_check_say(v->c, "ERROR refcount block %" PRIu64 " refcount=%u", i, qcow2__count_of(v, block >> s->cluster_bits));
            v->c->corruptions++;
            v->broken = true;
        }
    }
}

static CO_FN void count_all(Counts *v, bool refcounts)
{
    Qcow2 *s = v->s;
    uint64_t keys, len = qcow2__crypt_bytes(s, &keys);

    v->end = s->n->file->size >> s->cluster_bits;
    use(v, 0, s->cluster, "header");
    use_l1(v, s->l1, s->h.l1_len, s->h.l1_at, true);
    use_snapshots(v);
    use_bitmaps(v);
    use(v, keys, len, "encryption header");
    if (refcounts)
        use_refcounts(v);
}

/* ---- comparing ---- */
static void judge(Counts *v, uint64_t cluster, uint64_t refs, uint64_t count, bool fixing)
{
    const char *head = !fixing ? "ERROR" : "Repairing";

    v->c->image_end = refs ? MAX(v->c->image_end, (cluster + 1) << v->s->cluster_bits) : v->c->image_end;
    if (refs < count) {
        blk_check_say(v->c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64, head, cluster, refs, count);
        v->c->corruptions++;
        v->c->corruptions_fixed += fixing;
    } else if (refs > count) {
        blk_check_say(v->c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64, fixing ? "Repairing" : "Leaked", cluster, refs, count);
        v->c->leaks++;
        v->c->leaks_fixed += fixing;
    }
}

static CO_FN void compare_block(Counts *v, uint64_t index)
{
    Qcow2 *s = v->s;
    uint64_t first = index << s->refblock_bits, block = s->reftable[index] & OFFSET_MASK;
    g_autofree uint8_t *buf = g_try_malloc(s->cluster);
    bool changed = false;

    if (!buf || blk_read(s->n->file, block, buf, s->cluster)) {
        v->c->errors++;
        return;
    }
    for (uint64_t i = 0; i < 1ull << s->refblock_bits; i++) {
        uint64_t refs = qcow2__refcount_in(s, buf, i), count = qcow2__count_of(v, first + i);
        bool fix = !v->broken && (v->fix & (refs < count ? FIX_ERRORS : FIX_LEAKS)) && count <= s->refcount_max;

        if (refs == count) {
            v->c->image_end = refs ? MAX(v->c->image_end, (first + i + 1) << s->cluster_bits) : v->c->image_end;
            continue;
        }
        judge(v, first + i, refs, count, fix);
        if (fix) {
            qcow2__refcount_put(s, buf, i, count);
            changed = true;
        }
    }
    if (changed && blk_write(s->n->file, block, buf, s->cluster))
        v->c->errors++;
    qcow2__forget(s, block, s->cluster);
}

static CO_FN void compare(Counts *v)
{
    Qcow2 *s = v->s;

    for (uint64_t c = 0; c < v->end || c >> s->refblock_bits < s->reftable_len;) {
        uint64_t index = c >> s->refblock_bits, next = (index + 1) << s->refblock_bits;

        if (index < s->reftable_len && s->reftable[index] & OFFSET_MASK && !((s->reftable[index] & OFFSET_MASK) % s->cluster)) {
            compare_block(v, index);
            c = next;
            continue;
        }
        if (c >= v->end) { /* no block, and past the end */
            c = next;
            continue;
        }
        c = qcow2__count_next(v, c);
        for (; c < MIN(next, v->end) && c >> s->refblock_bits == index; c++) {
            if (!qcow2__count_of(v, c))
                continue;
            judge(v, c, 0, qcow2__count_of(v, c), false);
            v->broken = true; /* a block is missing */
        }
    }
}

/* ---- COPIED ---- */
/* Set though others use the cluster, or missing though nobody else does. Missing with a leaked reference (on the disk by
 * now) is no second error: mending the leak mends it. */
static CO_FN bool flag_wrong(Counts *v, uint64_t desc, uint64_t *refs)
{
    uint64_t at = desc & OFFSET_MASK;

    if (v->s->n->data || !at || desc & OFLAG_PACKED || at % v->s->cluster)
        return false;
    *refs = qcow2__count_of(v, at >> v->s->cluster_bits);
    if (desc & OFLAG_COPIED)
        return *refs > 1;
    if (*refs != 1 || v->broken)
        return *refs == 1;
    return !qcow2__refcount(v->s, at >> v->s->cluster_bits, refs) && *refs == 1;
}

/* A missing flag costs a copy, no more: it is set when leaks are mended, too. */
static bool mends_flag(const Counts *v, uint64_t refs) { return v->fix & (refs == 1 ? FIX_LEAKS | FIX_ERRORS : FIX_ERRORS); }

static void judge_flag(Counts *v, const char *what, uint64_t at, uint64_t refs)
{
    bool fix = mends_flag(v, refs);

    blk_check_say(v->c, "%s OFLAG_COPIED %s=%" PRIx64 " refcount=%" PRIu64, fix ? "Repairing" : "ERROR", what, at, refs);
    v->c->corruptions++;
    v->c->corruptions_fixed += fix;
}

static CO_FN void copied_of_table(Counts *v, uint64_t table, uint64_t guest)
{
    Qcow2 *s = v->s;
    g_autofree uint8_t *buf = g_try_malloc(s->cluster);
    bool changed = false;

    if (!buf || blk_read(s->n->file, table, buf, s->cluster))
        return;
    for (uint64_t i = 0; i < 1ull << s->l2_bits; i++) {
        uint64_t desc = be64_load(buf + i * s->l2_entry), refs;

        if (!flag_wrong(v, desc, &refs))
            continue;
        judge_flag(v, "data cluster: l2_entry", desc, refs);
        be64_store(buf + i * s->l2_entry, mends_flag(v, refs) ? desc ^ OFLAG_COPIED : desc);
        changed |= mends_flag(v, refs);
    }
    if (changed && blk_write(s->n->file, table, buf, s->cluster))
        v->c->errors++;
    qcow2__forget(s, table, s->cluster);
}

static CO_FN void check_copied(Counts *v)
{
    Qcow2 *s = v->s;

    for (uint64_t i = 0; i < s->h.l1_len; i++) {
        uint64_t table = s->l1[i] & OFFSET_MASK, refs;

        if (!table || table % s->cluster || table >= s->n->file->size)
            continue;
        if (flag_wrong(v, s->l1[i] & ~OFLAG_PACKED, &refs)) {
            judge_flag(v, "L2 cluster: l1_entry", s->l1[i], refs);
            if (mends_flag(v, refs)) {
                s->l1[i] ^= OFLAG_COPIED;
                g_array_append_val(s->l1_dirty, i);
            }
        }
        copied_of_table(v, table, i * l2_covers(s));
    }
}

/* ---- all of it ---- */
static void counts_init(Counts *v, Qcow2 *s, BlkCheck *c, unsigned fix)
{
    *v = (Counts){ .s = s, .c = c, .fix = fix, .chunks = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free) };
}

static CO_FN int rebuild(Qcow2 *s, BlkCheck *c)
{
    BlkCheck quiet = { .lines = NULL };
    Counts v;
    int ret;

    counts_init(&v, s, &quiet, 0);
    count_all(&v, false);
    blk_check_say(c, "Rebuilding refcount structure");
    ret = v.no_memory ? -ENOMEM : qcow2__rebuild(s, &v);
    if (!ret) {
        c->corruptions_fixed += c->corruptions - c->corruptions_fixed - MIN(quiet.corruptions, c->corruptions - c->corruptions_fixed);
        c->leaks_fixed = c->leaks;
    }
    g_hash_table_destroy(v.chunks);
    return ret;
}

CO_FN int qcow2__check_locked(Qcow2 *s, BlkCheck *c, unsigned fix)
{
    bool may_fix = !s->n->readonly;
    Counts v;
    int ret = 0;

    for (int i = 0; i < 2 && may_fix && !ret; i++) /* the second writes what the first let go */
        ret = qcow2__writeback(s);
    if (ret)
        return ret;
    counts_init(&v, s, c, may_fix ? fix : 0);
    c->total_clusters = (s->h.size + s->cluster - 1) >> s->cluster_bits;
    count_all(&v, true);
    if (!v.no_memory)
        compare(&v);
    c->errors += v.no_memory;
    if (!v.no_memory && v.broken && v.fix & FIX_ERRORS) {
        ret = rebuild(s, c);
        v.broken = ret;
    }
    if (!ret && !v.no_memory)
        check_copied(&v);
    g_hash_table_destroy(v.chunks);
    if (!ret && may_fix)
        ret = qcow2__writeback(s);
    if (!ret && fix & FIX_ERRORS && may_fix && c->corruptions == c->corruptions_fixed && !c->errors) {
        ret = qcow2__set_incompatible(s, 0, INCOMPAT_DIRTY | INCOMPAT_CORRUPT);
        s->corrupt = s->dirty_marked = false;
    }
    return ret;
}

CO_FN int qcow2__check(Node *n, BlkCheck *c, unsigned fix)
{
    Qcow2 *s = n->opaque;
    int ret;

    qcow2__exclusive(s);
    ret = qcow2__check_locked(s, c, fix);
    qcow2__exclusive_end(s);
    return ret;
}
