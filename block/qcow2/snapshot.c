/*
 * block/qcow2/snapshot.c - internal snapshots: the table of them, creating, going back, deleting. Each step reaches the
 * disk before the next makes use of it; a power cut between them leaves clusters that nobody uses, no more.
 */
#include "block/qcow2/qcow2.h"
#include <errno.h>

enum { ROW = 40, EXTRA_OURS = 24, EXTRA_MAX = 1024, FREES_MAX = 4096 };

void qcow2__snapshot_free(gpointer p)
{
    Snapshot *v = p;

    g_free(v->facts.id);
    g_free(v->facts.name);
    g_free(v->extra);
    g_free(v);
}

/* ---- the table ---- */
static bool row_ok(const Qcow2 *s, const Snapshot *v, Error **err)
{
    if (v->l1_len > L1_MAX || v->l1_at % s->cluster || v->l1_at > HOST_MAX)
        return fail(err, "'%s': snapshot %s has an invalid L1 table", s->n->filename, v->facts.id);
    return true;
}

static bool parse_row(Qcow2 *s, const uint8_t *p, uint64_t left, uint64_t *used, Error **err)
{
    Snapshot *v = g_new0(Snapshot, 1);
    uint32_t id_len = (uint32_t)be_load(p + 12, 2), name_len = (uint32_t)be_load(p + 14, 2), extra = be32_load(p + 36);
    uint64_t whole = (uint64_t)ROW + extra + id_len + name_len;

    g_ptr_array_add(s->snapshots, v);
    if (extra > EXTRA_MAX || whole > left)
        return fail(err, "'%s': the snapshot table is damaged", s->n->filename);
    v->l1_at = be64_load(p);
    v->l1_len = be32_load(p + 8);
    v->facts = (BlkSnapshot){ .date_s = be32_load(p + 16), .date_ns = be32_load(p + 20), .vm_clock_ns = be64_load(p + 24),
                              .vm_state_bytes = be32_load(p + 32), .disk_bytes = s->h.size, .icount = -1 };
    v->extra = g_memdup2(p + ROW, extra);
    v->extra_len = extra;
    if (extra >= 8)
        v->facts.vm_state_bytes = be64_load(v->extra);
    if (extra >= 16)
        v->facts.disk_bytes = be64_load(v->extra + 8);
    if (extra >= 24)
        v->facts.icount = (int64_t)be64_load(v->extra + 16);
    v->facts.id = g_strndup((const char *)p + ROW + extra, id_len);
    v->facts.name = g_strndup((const char *)p + ROW + extra + id_len, name_len);
    *used = align_up(whole, 8);
    return row_ok(s, v, err);
}

CO_FN bool qcow2__read_snapshots(Qcow2 *s, Error **err)
{
    uint64_t at = s->h.snapshots_at, end = at + SNAPSHOT_TABLE_MAX;
    g_autofree uint8_t *row = g_malloc0(ROW + EXTRA_MAX + 2 * 65536);

    for (uint64_t i = 0; i < s->h.nsnapshots; i++) { /* at most SNAPSHOTS_MAX */
        uint64_t used = 0, want = ROW + EXTRA_MAX + 2 * 65536;
        int ret = blk_read(s->n->file, at, row, ROW);

        if (!ret) { /* the rest: as much as the first part says */
            want = MIN(want, (uint64_t)ROW + be32_load(row + 36) + be_load(row + 12, 2) + be_load(row + 14, 2));
            ret = blk_read(s->n->file, at, row, want);
        }
        if (ret)
            return fail_errno_is(err, -ret, "cannot read the snapshots of '%s'", s->n->filename);
        if (at > end)
            return fail(err, "'%s': the snapshot table is too large", s->n->filename);
        if (!parse_row(s, row, want, &used, err))
            return false;
        at += used;
    }
    return true;
}

static void put_row(GByteArray *out, const Snapshot *v)
{
    static const uint8_t pad[8];
    uint8_t p[ROW] = { 0 }, extra[EXTRA_OURS] = { 0 };
    uint32_t len = MAX(v->extra_len, EXTRA_OURS);

    be64_store(p, v->l1_at);
    be32_store(p + 8, v->l1_len);
    be_store(p + 12, 2, strlen(v->facts.id));
    be_store(p + 14, 2, strlen(v->facts.name));
    be32_store(p + 16, v->facts.date_s);
    be32_store(p + 20, v->facts.date_ns);
    be64_store(p + 24, v->facts.vm_clock_ns);
    be32_store(p + 32, (uint32_t)MIN(v->facts.vm_state_bytes, UINT32_MAX));
    be32_store(p + 36, len);
    be64_store(extra, v->facts.vm_state_bytes);
    be64_store(extra + 8, v->facts.disk_bytes);
    be64_store(extra + 16, (uint64_t)v->facts.icount);
    g_byte_array_append(out, p, ROW);
    g_byte_array_append(out, extra, EXTRA_OURS);
    if (v->extra_len > EXTRA_OURS)
        g_byte_array_append(out, v->extra + EXTRA_OURS, v->extra_len - EXTRA_OURS);
    g_byte_array_append(out, (const uint8_t *)v->facts.id, (guint)strlen(v->facts.id));
    g_byte_array_append(out, (const uint8_t *)v->facts.name, (guint)strlen(v->facts.name));
    g_byte_array_append(out, pad, (guint)(align_up(out->len, 8) - out->len));
}

static uint64_t table_bytes(const Qcow2 *s)
{
    g_autoptr(GByteArray) out = g_byte_array_new();

    for (guint i = 0; i < s->snapshots->len; i++)
        put_row(out, s->snapshots->pdata[i]);
    return out->len;
}

/* The table of s->snapshots in a new place, and the header on it; the old one's clusters go. */
static CO_FN int write_table(Qcow2 *s, uint64_t old_bytes)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    uint64_t at = 0, got, old = s->h.snapshots_at;
    uint8_t place[12];
    int ret = 0;

    for (guint i = 0; i < s->snapshots->len; i++)
        put_row(out, s->snapshots->pdata[i]);
    if (out->len > SNAPSHOT_TABLE_MAX)
        return -EFBIG;
    if (out->len) {
        ret = qcow2__alloc(s, (out->len + s->cluster - 1) >> s->cluster_bits, true, &at, &got);
        if (!ret)
            ret = blk_write(s->n->file, at, out->data, out->len);
    }
    if (!ret)
        ret = qcow2__writeback(s);
    be32_store(place, s->snapshots->len);
    be64_store(place + 4, at);
    if (!ret)
        ret = blk_write(s->n->file, 60, place, sizeof(place));
    if (!ret)
        ret = blk_flush(s->n->file);
    if (ret)
        return ret;
    s->h.nsnapshots = s->snapshots->len;
    s->h.snapshots_at = at;
    qcow2__note_meta(s, at, out->len);
    if (old_bytes)
        qcow2__free_later(s, old, old_bytes, true);
    return 0;
}

/* ---- everything an L1 table leads to ---- */
typedef enum Walk { WALK_MORE, WALK_LESS, WALK_FLAGS, WALK_ASK } Walk; /* one more, one less; COPIED anew; is there room for one more? */

static CO_FN int count_clusters(Qcow2 *s, uint64_t at, uint64_t bytes, Walk how)
{
    uint64_t first = at >> s->cluster_bits, n = ((at + bytes - 1) >> s->cluster_bits) - first + 1, refs;
    int ret = 0;

    if (how == WALK_MORE)
        return qcow2__add_refs(s, first, n, 1);
    if (how == WALK_LESS)
        qcow2__free_later(s, at, bytes, true);
    for (uint64_t i = 0; i < n && how == WALK_ASK && !ret; i++) {
        ret = qcow2__refcount(s, first + i, &refs);
        if (!ret && refs >= s->refcount_max)
            ret = -ERANGE;
    }
    return how == WALK_LESS && s->frees->len > FREES_MAX ? qcow2__writeback(s) : ret;
}

static CO_FN int copied_now(Qcow2 *s, uint64_t at, Walk how, bool *copied)
{
    uint64_t refs = 2;
    int ret = how == WALK_FLAGS ? qcow2__refcount(s, at >> s->cluster_bits, &refs) : 0;

    *copied = refs == 1;
    return ret;
}

static CO_FN int walk_entry(Qcow2 *s, Entry *e, Walk how)
{
    uint64_t at = e->desc & OFFSET_MASK, len = s->cluster;
    bool copied = false;
    int ret;

    if (e->desc & OFLAG_PACKED)
        qcow2__packed_place(s, e->desc, &at, &len);
    else if (!qcow2__has_host(s, *e))
        return 0;
    else if (at % s->cluster)
        return qcow2__corrupt(s, "a table leads to the unaligned cluster %#" PRIx64, at);
    if (how != WALK_FLAGS) {
        ret = count_clusters(s, at, len, how);
        if (ret || how != WALK_MORE)
            return ret;
    }
    if (e->desc & OFLAG_PACKED)
        return 0;
    ret = copied_now(s, at, how, &copied);
    e->desc = (e->desc & ~OFLAG_COPIED) | (copied ? OFLAG_COPIED : 0);
    return ret;
}

/* A slice of an L2 table; worked on in a copy, because counting may push it out of memory. */
static CO_FN int walk_slice(Qcow2 *s, uint64_t at, Walk how)
{
    g_autofree uint8_t *copy = NULL;
    bool changed = false;
    Slice *t;
    int ret = qcow2__get(s, at, SLICE_L2, &t);

    if (ret)
        return ret;
    copy = g_memdup2(t->data, s->slice);
    for (uint64_t i = 0; i < slice_entries(s) && !ret; i++) {
        Entry e = qcow2__entry(s, copy, i), was = e;

        ret = walk_entry(s, &e, how);
        if (e.desc != was.desc) {
            qcow2__entry_put(s, copy, i, e);
            changed = true;
        }
    }
    if (!changed)
        return ret;
    if (!ret)
        ret = qcow2__get(s, at, SLICE_L2, &t);
    if (!ret) {
        memcpy(t->data, copy, s->slice);
        qcow2__dirty(s, t);
    }
    return ret;
}

static CO_FN int walk(Qcow2 *s, uint64_t *l1, uint64_t len, Walk how)
{
    int ret = 0;

    for (uint64_t i = 0; i < len && !ret; i++) {
        uint64_t table = l1[i] & OFFSET_MASK;
        bool copied = false;

        if (!table)
            continue;
        if (table % s->cluster)
            return qcow2__corrupt(s, "L2 table %" PRIu64 " lies at the odd offset %#" PRIx64, i, table);
        for (uint64_t at = 0; at < s->cluster && !ret; at += s->slice)
            ret = walk_slice(s, table + at, how);
        if (!ret && how != WALK_FLAGS)
            ret = count_clusters(s, table, s->cluster, how);
        if (!ret && (how == WALK_MORE || how == WALK_FLAGS))
            ret = copied_now(s, table, how, &copied);
        if (how == WALK_LESS || how == WALK_ASK || !(l1[i] & OFLAG_COPIED) == !copied)
            continue;
        l1[i] = table | (copied ? OFLAG_COPIED : 0);
        if (l1 == s->l1)
            g_array_append_val(s->l1_dirty, i);
    }
    return ret;
}

CO_FN int qcow2__load_l1(Qcow2 *s, const Snapshot *v, uint64_t len, uint64_t **out)
{
    uint64_t *t = g_try_new0(uint64_t, MAX(len, 1));
    int ret = t ? blk_read(s->n->file, v->l1_at, t, MIN(len, v->l1_len) * 8) : -ENOMEM;

    for (uint64_t i = 0; t && i < len; i++)
        t[i] = be64_load(&t[i]) & OFFSET_MASK;
    *out = t;
    return ret;
}

static CO_FN int store_l1(Qcow2 *s, const uint64_t *l1, uint64_t len, uint64_t *at)
{
    g_autofree uint64_t *be = g_try_new0(uint64_t, MAX(len, 1));
    uint64_t got;
    int ret = be ? qcow2__alloc(s, MAX((len * 8 + s->cluster - 1) >> s->cluster_bits, 1), true, at, &got) : -ENOMEM;

    for (uint64_t i = 0; i < len && !ret; i++)
        be64_store(&be[i], l1[i] & OFFSET_MASK);
    if (!ret && len)
        ret = blk_write(s->n->file, *at, be, len * 8);
    return ret;
}

/* ---- finding ---- */
GPtrArray *qcow2__snapshot_list(const Node *n)
{
    const Qcow2 *s = n->opaque;
    GPtrArray *v = g_ptr_array_new();

    for (guint i = 0; i < s->snapshots->len; i++) {
        const Snapshot *p = s->snapshots->pdata[i];
        BlkSnapshot *b = g_memdup2(&p->facts, sizeof(*b));

        b->id = g_strdup(p->facts.id);
        b->name = g_strdup(p->facts.name);
        g_ptr_array_add(v, b);
    }
    return v;
}

static int find(const Qcow2 *s, const char *which)
{
    for (int by_name = 0; by_name < 2; by_name++) /* an id counts before a name */
        for (guint i = 0; i < s->snapshots->len; i++) {
            const Snapshot *v = s->snapshots->pdata[i];

            if (!strcmp(by_name ? v->facts.name : v->facts.id, which))
                return (int)i;
        }
    return -1;
}

const Snapshot *qcow2__snapshot_find(const Qcow2 *s, const char *which)
{
    int at = find(s, which);

    return at < 0 ? NULL : s->snapshots->pdata[at];
}

static char *next_id(const Qcow2 *s)
{
    uint64_t max = 0;

    for (guint i = 0; i < s->snapshots->len; i++)
        max = MAX(max, g_ascii_strtoull(((Snapshot *)s->snapshots->pdata[i])->facts.id, NULL, 10));
    return g_strdup_printf("%" PRIu64, max + 1);
}

static bool usable(Qcow2 *s, Error **err)
{
    if (s->n->readonly)
        return fail(err, "'%s' is read-only", s->n->filename);
    if (s->n->data)
        return fail(err, "'%s': images with an external data file have no snapshots", s->n->filename);
    return true;
}

/* ---- creating ---- */
static CO_FN int create(Qcow2 *s, Snapshot *v)
{
    uint64_t old_bytes = table_bytes(s);
    int ret = qcow2__writeback(s);

    if (!ret && s->refcount_bits < 16)
        ret = walk(s, s->l1, s->h.l1_len, WALK_ASK);
    if (!ret && s->snapshots->len >= MIN(s->refcount_max, SNAPSHOTS_MAX) - 1)
        ret = -ERANGE;
    if (!ret)
        ret = store_l1(s, s->l1, s->h.l1_len, &v->l1_at);
    if (!ret)
        ret = walk(s, s->l1, s->h.l1_len, WALK_MORE);
    if (!ret)
        ret = qcow2__writeback(s);
    if (ret)
        return ret;
    v->l1_len = (uint32_t)s->h.l1_len;
    g_ptr_array_add(s->snapshots, v);
    ret = write_table(s, old_bytes);
    if (ret)
        g_ptr_array_steal_index(s->snapshots, s->snapshots->len - 1);
    else
        qcow2__note_meta(s, v->l1_at, (uint64_t)v->l1_len * 8);
    return ret;
}

CO_FN bool qcow2__snapshot_take(Node *n, const BlkSnapshot *facts, Error **err)
{
    Qcow2 *s = n->opaque;
    Snapshot *v;
    int ret;

    if (!usable(s, err))
        return false;
    if (strlen(facts->name) > 65535)
        return fail(err, "the snapshot's name is too long");
    qcow2__exclusive(s);
    v = g_new0(Snapshot, 1);
    v->facts = *facts;
    v->facts.id = next_id(s);
    v->facts.name = g_strdup(facts->name);
    v->facts.disk_bytes = s->h.size;
    ret = create(s, v);
    qcow2__exclusive_end(s);
    if (!ret)
        return true;
    qcow2__snapshot_free(v);
    if (ret == -ERANGE)
        return fail(err, "'%s': its refcounts of %u bits cannot count one more snapshot", n->filename, s->refcount_bits);
    return fail_errno_is(err, -ret, "cannot make the snapshot '%s'", facts->name);
}

CO_FN bool qcow2__snapshot_create(Node *n, const char *name, uint32_t now_s, uint32_t now_ns, Error **err)
{
    return qcow2__snapshot_take(n, &(BlkSnapshot){ .name = (char *)name, .date_s = now_s, .date_ns = now_ns, .icount = -1 }, err);
}

/* ---- going back ---- */
static CO_FN int write_l1_place(Qcow2 *s, uint64_t at, uint64_t len, uint64_t size)
{
    uint8_t b[24]; /* size, encryption method, L1 entries, L1 offset: neighbours in the header */
    int ret = qcow2__writeback(s);

    be64_store(b, size);
    be32_store(b + 8, (uint32_t)s->h.crypt);
    be32_store(b + 12, (uint32_t)len);
    be64_store(b + 16, at);
    if (!ret)
        ret = blk_write(s->n->file, 24, b, sizeof(b));
    return ret ? ret : blk_flush(s->n->file);
}

static CO_FN int apply(Qcow2 *s, const Snapshot *v)
{
    uint64_t len = MAX(v->l1_len, v->facts.disk_bytes / l2_covers(s) + 1), at, *l1 = NULL, *old = s->l1;
    uint64_t old_len = s->h.l1_len, old_at = s->h.l1_at;
    int ret = v->facts.disk_bytes > INT64_MAX || len > L1_MAX ? -EFBIG : qcow2__writeback(s);

    if (!ret)
        ret = qcow2__load_l1(s, v, len, &l1);
    if (!ret)
        ret = walk(s, l1, len, WALK_MORE);
    if (!ret)
        ret = store_l1(s, l1, len, &at);
    if (!ret)
        ret = write_l1_place(s, at, len, v->facts.disk_bytes);
    if (ret) {
        g_free(l1);
        return ret;
    }
    s->l1 = l1;
    s->h.l1_len = len;
    s->h.l1_at = at;
    s->h.size = s->n->size = v->facts.disk_bytes;
    qcow2__note_meta(s, at, len * 8);
    for (uint64_t i = 0; i < len; i++)
        qcow2__note_meta(s, l1[i], l1[i] ? s->cluster : 0);
    ret = walk(s, old, old_len, WALK_LESS);
    g_free(old);
    if (!ret)
        qcow2__free_later(s, old_at, MAX(old_len * 8, 1), true);
    return ret ? ret : qcow2__writeback(s);
}

static CO_FN bool with_one(Node *n, const char *which, CO_FN int (*fn)(Qcow2 *s, Snapshot *v), const char *what, Error **err)
{
    Qcow2 *s = n->opaque;
    int at, ret = 0;

    if (!usable(s, err))
        return false;
    qcow2__exclusive(s);
    at = find(s, which);
    if (at >= 0)
        ret = fn(s, s->snapshots->pdata[at]);
    qcow2__exclusive_end(s);
    if (at < 0)
        return fail(err, "there is no snapshot '%s' in '%s'", which, n->filename);
    return !ret || fail_errno_is(err, -ret, "cannot %s the snapshot '%s'", what, which);
}

static CO_FN int apply_it(Qcow2 *s, Snapshot *v)
{
    if (s->bitmaps->len && v->facts.disk_bytes != s->h.size)
        return -ENOTSUP;
    qcow2__bitmaps_set(s, 0, s->h.size);
    return apply(s, v);
}

CO_FN bool qcow2__snapshot_apply(Node *n, const char *which, Error **err)
{
    Qcow2 *s = n->opaque;
    int ret = s->bitmaps->len && !n->readonly ? qcow2__bitmaps_start(s) : 0;

    if (ret)
        return fail_errno_is(err, -ret, "cannot write the bitmaps of '%s'", n->filename);
    return with_one(n, which, apply_it, "go back to", err);
}

/* ---- deleting ---- */
static CO_FN int delete_it(Qcow2 *s, Snapshot *v)
{
    uint64_t old_bytes = table_bytes(s), *l1 = NULL;
    guint index = 0;
    int ret = qcow2__load_l1(s, v, v->l1_len, &l1);

    g_ptr_array_find(s->snapshots, v, &index);
    if (!ret) {
        g_ptr_array_steal_index(s->snapshots, index);
        ret = write_table(s, old_bytes);
        if (ret)
            g_ptr_array_insert(s->snapshots, (int)index, v);
    }
    if (!ret) {
        ret = walk(s, l1, v->l1_len, WALK_LESS);
        qcow2__free_later(s, v->l1_at, MAX((uint64_t)v->l1_len * 8, 1), true);
        qcow2__snapshot_free(v);
        if (!ret)
            ret = qcow2__writeback(s);
        if (!ret)
            ret = walk(s, s->l1, s->h.l1_len, WALK_FLAGS);
        if (!ret)
            ret = qcow2__writeback(s);
    }
    g_free(l1);
    return ret;
}

CO_FN bool qcow2__snapshot_delete(Node *n, const char *which, Error **err)
{
    return with_one(n, which, delete_it, "delete", err);
}

/* ---- looking at one ---- */
CO_FN bool qcow2__snapshot_view(Node *n, const char *which, Error **err)
{
    const char *name = g_str_has_prefix(which, "snapshot.name=") || g_str_has_prefix(which, "snapshot.id=") ? strchr(which, '=') + 1 : which;
    Qcow2 *s = n->opaque;
    int at = find(s, name), ret;
    const Snapshot *v = at < 0 ? NULL : s->snapshots->pdata[at];
    uint64_t len, *l1 = NULL;

    g_assert(n->readonly);
    if (!v)
        return fail(err, "there is no snapshot '%s' in '%s'", name, n->filename);
    len = MAX(v->l1_len, v->facts.disk_bytes / l2_covers(s) + 1);
    ret = len > L1_MAX || v->facts.disk_bytes > INT64_MAX ? -EFBIG : qcow2__load_l1(s, v, len, &l1);
    if (ret) {
        g_free(l1);
        return fail_errno_is(err, -ret, "cannot read the snapshot '%s'", name);
    }
    g_free(s->l1);
    s->l1 = l1;
    s->h.l1_len = len;
    s->h.size = n->size = v->facts.disk_bytes;
    return true;
}
