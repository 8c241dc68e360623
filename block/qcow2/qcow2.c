/*
 * block/qcow2/qcow2.c - driver "qcow2": opening, closing, which function serves which request. The format is the one
 * that QEMU's documentation describes (interop/qcow2), versions 2 and 3.
 */
#include "block/qcow2/qcow2.h"
#include "block/graph.h"
#include <errno.h>

enum { SLICE_BYTES = 16 * 1024, CACHE_BYTES = 32 << 20, CACHE_MIN = 32 };

static int qcow2_probe(const uint8_t *head, size_t n)
{
    uint64_t version = n >= 8 ? be_load(head + 4, 4) : 0;

    return n >= 8 && be_load(head, 4) == QCOW2_MAGIC && version >= 2 ? 100 : 0;
}

/* ---- opening ---- */
static CO_FN int load_table(Qcow2 *s, uint64_t at, uint64_t len, uint64_t **out)
{
    uint64_t *t = g_try_new0(uint64_t, MAX(len, 1));
    int ret = !t ? -ENOMEM : len ? blk_read(s->n->file, at, t, len * 8) : 0;

    for (uint64_t i = 0; i < len && !ret; i++)
        t[i] = be64_load(&t[i]);
    *out = t;
    return ret;
}

static CO_FN bool load_tables(Qcow2 *s, Error **err)
{
    int ret = load_table(s, s->h.l1_at, s->h.l1_len, &s->l1);

    if (!ret)
        ret = load_table(s, s->h.reftable_at, s->reftable_len, &s->reftable);
    if (ret)
        return fail_errno_is(err, -ret, "cannot read the tables of '%s'", s->n->filename);
    return qcow2__read_snapshots(s, err);
}

static void note_all_meta(Qcow2 *s)
{
    uint64_t keys, len = qcow2__crypt_bytes(s, &keys);

    qcow2__note_meta(s, 0, s->cluster);
    qcow2__note_meta(s, s->h.l1_at, s->h.l1_len * 8);
    qcow2__note_meta(s, s->h.reftable_at, s->reftable_len * 8);
    qcow2__note_meta(s, keys, len);
    qcow2__note_meta(s, s->h.snapshots_at, s->h.nsnapshots ? 1 : 0);
    for (uint64_t i = 0; i < s->h.l1_len; i++)
        if (s->l1[i] & OFFSET_MASK)
            qcow2__note_meta(s, s->l1[i] & OFFSET_MASK, s->cluster);
    for (uint64_t i = 0; i < s->reftable_len; i++)
        if (s->reftable[i] & OFFSET_MASK)
            qcow2__note_meta(s, s->reftable[i] & OFFSET_MASK, s->cluster);
    for (guint i = 0; i < s->snapshots->len; i++) {
        const Snapshot *p = s->snapshots->pdata[i];

        qcow2__note_meta(s, p->l1_at, (uint64_t)p->l1_len * 8);
    }
}

static bool options(Qcow2 *s, Opts *o, Error **err)
{
    static const char *const accepted[] = { "refcount-cache-size", "cache-clean-interval", "l2-cache-entry-size", "overlap-check",
                                            "overlap-check.template", "pass-discard-request", "pass-discard-snapshot",
                                            "pass-discard-other", "discard-no-unref" };
    uint64_t all, bytes;

    for (size_t i = 0; i < G_N_ELEMENTS(accepted); i++)
        opts_get(o, accepted[i]); /* ours are fixed: see the README */
    if (!opts_get_bool(o, "lazy-refcounts", s->lazy, &s->lazy, err) || !opts_get_size(o, "cache-size", CACHE_BYTES, &all, err) ||
        !opts_get_size(o, "l2-cache-size", all, &bytes, err))
        return false;
    s->slice = (unsigned)MIN(s->cluster, SLICE_BYTES);
    s->slices_max = (unsigned)MIN(MAX(bytes / s->slice, CACHE_MIN), 1u << 24);
    if (s->lazy && s->h.version < 3)
        return fail(err, "'%s': lazy refcounts need version 3 (compat=1.1)", s->n->filename);
    return true;
}

/* A crash left lazy refcounts behind: count anew. */
static CO_FN bool mend_dirty(Qcow2 *s, Error **err)
{
    BlkCheck c = { .lines = NULL };
    int ret;

    if (!(s->h.incompatible & INCOMPAT_DIRTY) || s->n->readonly || s->for_check)
        return true;
    co_lock(&s->lock);
    ret = qcow2__check_locked(s, &c, FIX_LEAKS | FIX_ERRORS);
    co_unlock(&s->lock);
    if (ret || c.errors || c.corruptions > c.corruptions_fixed) {
        fail_errno_is(err, ret ? -ret : EIO, "cannot repair the dirty image '%s'", s->n->filename);
        return error_hint(err, "menura-img check -r all '%s'", s->n->filename);
    }
    ret = qcow2__set_incompatible(s, 0, INCOMPAT_DIRTY);
    return !ret || fail_errno_is(err, -ret, "cannot write '%s'", s->n->filename);
}

/* Bits for what must be kept up on every write and that we do not: they go, as the format asks. */
static CO_FN bool clear_autoclear(Qcow2 *s, Error **err)
{
    uint64_t keep = s->h.autoclear & (AUTOCLEAR_BITMAPS | AUTOCLEAR_DATA_RAW);
    int ret;

    if (s->n->readonly)
        return true;
    if (keep == s->h.autoclear)
        return true;
    s->h.autoclear = keep;
    ret = qcow2__write_header(s);
    return !ret || fail_errno_is(err, -ret, "cannot write the header of '%s'", s->n->filename);
}

static bool take_file(Node *file, bool readonly, Error **err)
{
    file->grows = true;
    return node_permissions(file, PERM_CONSISTENT_READ | (readonly ? 0 : PERM_WRITE | PERM_RESIZE),
                            PERM_ALL & ~(unsigned)(PERM_WRITE | PERM_RESIZE), err);
}

static CO_FN bool open_others(Qcow2 *s, Opts *o, Error **err)
{
    Node *n = s->n;

    if (s->h.incompatible & INCOMPAT_DATA_FILE) {
        if (!block__open_data(n, o, s->data_file, err) || !take_file(n->data, n->readonly, err))
            return false;
    }
    return block__open_backing(n, o, s->backing, s->backing_format, err);
}

static CO_FN bool open_steps(Qcow2 *s, Opts *o, Error **err)
{
    Node *n = s->n;

    if (n->file->readonly && !n->readonly)
        return fail(err, "'%s' is read-only", n->filename);
    if (!opts_get_bool(o, "for-check", false, &s->for_check, err))
        return false;
    if (!take_file(n->file, n->readonly, err) || !qcow2__read_header(s, err) || !options(s, o, err) ||
        !qcow2__crypt_open(s, o, err) || !load_tables(s, err) ||
        !qcow2__bitmaps_read(s, err) || !open_others(s, o, err))
        return false;
    note_all_meta(s);
    n->size = s->h.size;
    s->opened = true;
    return mend_dirty(s, err) && clear_autoclear(s, err);
}

static void free_state(Qcow2 *s)
{
    qcow2__cache_free(s);
    qcow2__crypt_close(s);
    g_array_free(s->l1_dirty, TRUE);
    g_array_free(s->reftable_dirty, TRUE);
    g_array_free(s->frees, TRUE);
    g_ptr_array_free(s->snapshots, TRUE);
    if (s->extensions)
        g_ptr_array_free(s->extensions, TRUE);
    if (s->bitmaps)
        g_ptr_array_free(s->bitmaps, TRUE);
    g_free(s->raw_head);
    g_free(s->l1);
    g_free(s->reftable);
    g_free(s->near_meta);
    g_free(s->backing);
    g_free(s->backing_format);
    g_free(s->data_file);
}

static CO_FN bool qcow2_open(Node *n, Opts *o, Error **err)
{
    Qcow2 *s = n->opaque;

    s->n = n;
    s->slices = g_hash_table_new(g_int64_hash, g_int64_equal);
    s->l1_dirty = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    s->reftable_dirty = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    s->frees = g_array_new(FALSE, FALSE, sizeof(Free));
    s->snapshots = g_ptr_array_new_with_free_func(qcow2__snapshot_free);
    s->epoch = 2;
    if (open_steps(s, o, err))
        return true;
    free_state(s);
    return false;
}

/* Everything is on the disk, as in an image that is closed. */
static CO_FN int finish_writing(Qcow2 *s)
{
    Node *n = s->n;
    int ret;

    co_lock(&s->lock);
    ret = qcow2__bitmaps_store(s);
    for (int i = 0; i < 2 && !ret; i++) { /* the second writes what the first let go */
        ret = qcow2__writeback(s);
        if (!ret && s->dirty_marked)
            ret = qcow2__write_slices(s, SLICE_REF);
    }
    if (!ret && s->dirty_marked && !blk_flush(n->file)) {
        qcow2__set_incompatible(s, 0, INCOMPAT_DIRTY);
        s->dirty_marked = false;
    }
    co_unlock(&s->lock);
    return ret;
}

static CO_FN bool qcow2_set_readonly(Node *n, bool readonly, Error **err)
{
    Qcow2 *s = n->opaque;
    int ret = readonly ? finish_writing(s) : 0;

    if (ret || s->corrupt)
        return fail_errno_is(err, ret ? -ret : EIO, "cannot write '%s'", n->filename);
    if (!readonly && (!node_set_readonly(n->file, false, err) || (n->data && !node_set_readonly(n->data, false, err))))
        return false;
    n->readonly = readonly;
    if (!take_file(n->file, readonly, err) || (n->data && !take_file(n->data, readonly, err)))
        return false;
    if (readonly)
        return node_set_readonly(n->file, true, err) && (!n->data || node_set_readonly(n->data, true, err));
    return mend_dirty(s, err) && clear_autoclear(s, err);
}

static CO_FN bool qcow2_reopen(Node *n, Opts *o, bool apply, Error **err)
{
    Qcow2 *s = n->opaque, wanted = *s; /* for its numbers */
    int ret;

    wanted.lazy = s->h.compatible & COMPAT_LAZY;
    if (!options(&wanted, o, err))
        return false;
    if (!apply)
        return true;
    ret = s->lazy && !wanted.lazy && !n->readonly ? finish_writing(s) : 0; /* the counts are true again */
    if (ret)
        return fail_errno_is(err, -ret, "cannot write '%s'", n->filename);
    s->lazy = wanted.lazy;
    s->slices_max = wanted.slices_max; /* what is above it goes as the next ones come */
    return true;
}

static CO_FN void qcow2_close(Node *n)
{
    Qcow2 *s = n->opaque;
    int ret = n->readonly ? 0 : finish_writing(s);

    if (ret)
        warn_report("'%s': the last metadata could not be written: %s", n->filename, g_strerror(-ret));
    free_state(s);
}

/* ---- requests ---- */
static CO_FN int status_below(Qcow2 *s, BlkReq *r)
{
    Node *b = s->n->backing;
    int ret;

    if (r->flags & BLK_THIS_LAYER || !b || r->off >= b->size) {
        r->allocated = false;
        r->zero = !b || r->off >= b->size;
        return 0;
    }
    r->len = MIN(r->len, b->size - r->off);
    ret = blk_submit(b, r);
    r->depth++;
    return ret;
}

static CO_FN int qcow2_status(Qcow2 *s, BlkReq *r)
{
    Map m;
    int ret = qcow2__map(s, r->off, r->len, false, &m);

    if (ret)
        return ret;
    r->len = m.len;
    r->zero = m.type == MAP_ZERO;
    r->compressed = m.type == MAP_PACKED;
    r->map_file = m.type != MAP_PACKED && m.has_host && !s->h.crypt ? qcow2__data(s) : NULL;
    r->map = m.host;
    return m.type == MAP_NONE ? status_below(s, r) : 0;
}

static CO_FN int serve(Qcow2 *s, BlkReq *r)
{
    switch (r->op) {
    case BLK_READ:
        return qcow2__read(s, r);
    case BLK_WRITE:
        return r->flags & BLK_COMPRESS ? qcow2__write_packed(s, r) : qcow2__write(s, r);
    case BLK_FLUSH:
        return qcow2__flush(s);
    case BLK_ZERO:
        return qcow2__zero(s, r);
    case BLK_DISCARD:
        return qcow2__discard(s, r);
    case BLK_STATUS:
        return qcow2_status(s, r);
    default:
        return -ENOTSUP;
    }
}

static bool is_change(const BlkReq *r) { return r->op == BLK_WRITE || r->op == BLK_ZERO || r->op == BLK_DISCARD; }

static CO_FN int qcow2_submit(Node *n, BlkReq *r)
{
    Qcow2 *s = n->opaque;
    int ret;

    if (r->op == BLK_TRUNCATE) {
        ret = s->bitmaps->len && !n->readonly && !s->recording ? qcow2__bitmaps_start(s) : 0;
        qcow2__exclusive(s);
        ret = ret ? ret : qcow2__resize(s, r->off, r->flags);
        qcow2__exclusive_end(s);
        return ret;
    }
    qcow2__enter(s);
    ret = is_change(r) && s->bitmaps->len && !n->readonly && !s->recording ? qcow2__bitmaps_start(s) : 0;
    if (!ret)
        ret = serve(s, r);
    qcow2__leave(s);
    return ret;
}

static bool qcow2_permissions(Node *n, Node *parent, unsigned want, unsigned share, Error **err)
{
    /* the files of this layer were taken when they were opened */
    return !n->backing || node_permissions(n->backing, want & PERM_CONSISTENT_READ, node__backing_share(share), err);
}

static void qcow2_limits(Node *n, BlkLimits *out)
{
    const Qcow2 *s = n->opaque;

    out->max_iov = 1 << 20;
    out->align = s->h.crypt ? CRYPT_SECTOR : 1;
}

/* ---- facts ---- */
static void qcow2_names(const Node *n, BlkNames *out)
{
    const Qcow2 *s = n->opaque;

    *out = (BlkNames){ s->backing, s->backing_format, s->data_file, s->cluster, s->h.incompatible & INCOMPAT_DIRTY,
                       s->corrupt, !n->data && !s->h.crypt, s->h.crypt };
}

static char *yes_no(bool v) { return g_strdup(v ? "true" : "false"); }

static GPtrArray *qcow2_facts(const Node *n)
{
    const Qcow2 *s = n->opaque;
    GPtrArray *v = g_ptr_array_new();

    blk_fact(v, "compat", g_strdup(s->h.version < 3 ? "0.10" : "1.1"), true);
    blk_fact(v, "compression-type", g_strdup(s->h.compression ? "zstd" : "zlib"), true);
    if (s->h.version >= 3)
        blk_fact(v, "lazy-refcounts", yes_no(s->h.compatible & COMPAT_LAZY), false);
    blk_fact(v, "refcount-bits", g_strdup_printf("%u", s->refcount_bits), false);
    if (s->data_file)
        blk_fact(v, "data-file", g_strdup(s->data_file), true);
    qcow2__crypt_facts(s, v);
    if (n->data)
        blk_fact(v, "data-file-raw", yes_no(s->data_raw), false);
    if (s->h.version >= 3)
        blk_fact(v, "corrupt", yes_no(s->corrupt), false);
    if (s->h.version >= 3)
        blk_fact(v, "extended-l2", yes_no(s->nsub > 1), false);
    return v;
}

static const BlkImageOps image = {
    .create_options = qcow2__create_options,
    .create = qcow2__create,
    .names = qcow2_names,
    .facts = qcow2_facts,
    .check = qcow2__check,
    .snapshots = qcow2__snapshot_list,
    .bitmaps = qcow2__bitmap_list,
    .bitmaps_load = qcow2__bitmaps_load,
    .bitmaps_touch = qcow2__bitmaps_touch,
    .snapshot_create = qcow2__snapshot_create,
    .snapshot_take = qcow2__snapshot_take,
    .state_write = qcow2__state_write,
    .state_read = qcow2__state_read,
    .state_clear = qcow2__state_clear,
    .snapshot_apply = qcow2__snapshot_apply,
    .snapshot_delete = qcow2__snapshot_delete,
    .snapshot_view = qcow2__snapshot_view,
    .set_backing = qcow2__set_backing,
    .amend = qcow2__amend,
    .measure = qcow2__measure,
    .make_empty = qcow2__make_empty,
};
static const BlkDriver qcow2 = {
    .name = "qcow2",
    .size = sizeof(Qcow2),
    .has_backing = true,
    .encrypts = true,
    .image = &image,
    .probe = qcow2_probe,
    .open = qcow2_open,
    .close = qcow2_close,
    .submit = qcow2_submit,
    .limits = qcow2_limits,
    .permissions = qcow2_permissions,
    .set_readonly = qcow2_set_readonly,
    .reopen = qcow2_reopen,
};
BLK_DRIVER(qcow2);
