/* block/old/qed-tool.c - QED images made, checked, given another backing file. */
#include "block/blocks.h"
#include "block/old/qed.h"
#include <errno.h>

const char *const qed__create_options[] = { "size", "backing_file", "backing_fmt", "cluster_size=65536", "table_size", "nocow", "preallocation",
                                            "extent_size_hint", NULL };

/* ---- making one ---- */
static bool parse(QedHeader *h, Opts *o, Error **err)
{
    const char *pre = opts_get(o, "preallocation");
    uint64_t cluster, table, size;

    opts_get(o, "nocow");
    opts_get(o, "extent_size_hint");
    if (pre && strcmp(pre, "off"))
        return fail(err, "Preallocation can only be 'off' for file format 'qed'");
    if (!opts_get_size(o, "size", 0, &size, err) || !opts_get_size(o, "cluster_size", 65536, &cluster, err) || !opts_get_size(o, "table_size", 4, &table, err))
        return false;
    if (!is_pow2(cluster) || cluster < QED_CLUSTER_MIN || cluster > QED_CLUSTER_MAX)
        return fail(err, "QED cluster size must be within range [%d, %d] and power of 2", QED_CLUSTER_MIN, QED_CLUSTER_MAX);
    if (!is_pow2(table) || table > 16)
        return fail(err, "QED table size must be within range [1, 16] and power of 2");
    if (!size || size > qed__max_size(cluster, table))
        return fail(err, "QED image size must be a non-zero multiple of cluster size and less than %" PRIu64 " bytes", qed__max_size(cluster, table));
    *h = (QedHeader){ .cluster = (uint32_t)cluster, .table = (uint32_t)table, .head = 1, .l1 = cluster, .size = size };
    return true;
}

static void name_backing(QedHeader *h, const char *file, const char *format)
{
    h->features &= ~(uint64_t)(QED_BACKING | QED_RAW_BACKING);
    h->backing_at = h->backing_len = 0;
    if (!file || !*file)
        return;
    h->features |= QED_BACKING | (!g_strcmp0(format, "raw") ? QED_RAW_BACKING : 0);
    h->backing_at = QED_HEADER;
    h->backing_len = (uint32_t)strlen(file);
}

static CO_FN int fill(Node *file, const QedHeader *h, const char *backing)
{
    uint8_t head[QED_HEADER + QED_NAME_MAX] = { 0 };
    int ret;

    qed__build(h, head);
    if (h->backing_len)
        memcpy(head + QED_HEADER, backing, h->backing_len);
    ret = blk_write(file, 0, head, sizeof(head));
    if (!ret)
        ret = blk_zero(file, h->l1, (uint64_t)h->table * h->cluster, 0);
    return ret ? ret : blk_flush(file);
}

CO_FN bool qed__create(Loop *loop, const char *filename, Opts *o, Error **err)
{
    const char *backing = opts_get(o, "backing_file"), *format = opts_get(o, "backing_fmt");
    QedHeader h;
    Node *file;
    int ret;

    if (!parse(&h, o, err) || !opts_all_used(o, "qed", err))
        return false;
    if (backing && strlen(backing) > QED_NAME_MAX)
        return fail(err, "the backing file's name is too long");
    name_backing(&h, backing, format);
    file = blocks_new_file(loop, filename, err);
    if (!file)
        return false;
    ret = fill(file, &h, backing);
    node_unref(file);
    return !ret || fail_errno_is(err, -ret, "cannot write '%s'", filename);
}

CO_FN bool qed__set_backing(Node *n, const char *file, const char *format, Error **err)
{
    Qed *q = n->opaque;
    size_t len = file ? strlen(file) : 0;
    int ret = 0;

    if (n->readonly)
        return fail(err, "'%s' is read-only", n->filename);
    if (len > QED_NAME_MAX)
        return fail(err, "the backing file's name is too long");
    name_backing(&q->h, file, format);
    if (len)
        ret = blk_write(n->file, QED_HEADER, file, len);
    if (!ret)
        ret = qed__write_header(q);
    if (ret)
        return fail_errno_is(err, -ret, "cannot write the header of '%s'", n->filename);
    g_free(q->backing);
    q->backing = len ? g_strdup(file) : NULL;
    return true;
}

/* ---- checking ---- */
enum { PIECE = 65536, BITS_MAX = 128 << 20 /* bytes: 4 TiB of clusters of 4 KiB */ };
typedef struct Walk {
    Qed *q;
    BlkCheck *c;
    unsigned fix;
    uint8_t *used; /* a bit per cluster of the file */
    uint64_t clusters, count, next;
} Walk;

static void say(Walk *w, const char *what, uint64_t at)
{
    w->c->corruptions++;
    if (w->c->lines && w->c->corruptions <= CHECK_LINES)
        g_string_append_printf(w->c->lines, "%s %s at %#" PRIx64 "\n", w->fix & FIX_ERRORS ? "Repairing" : "ERROR", what, at);
}

/* False: it lies outside, or something else is there. */
static bool use(Walk *w, uint64_t at, uint64_t len)
{
    uint64_t first = at / w->q->h.cluster, n = (len + w->q->h.cluster - 1) / w->q->h.cluster;

    if (at % w->q->h.cluster || !in_range(first, n, w->clusters))
        return false;
    for (uint64_t i = first; i < first + n; i++)
        if (w->used[i / 8] >> i % 8 & 1)
            return false;
    for (uint64_t i = first; i < first + n; i++)
        w->used[i / 8] |= (uint8_t)(1 << i % 8);
    w->count += n;
    return true;
}

static CO_FN int visit_data(Walk *w, uint64_t entry, bool *bad)
{
    *bad = entry > CLUSTER_ZERO && !use(w, entry, 1);
    if (entry > CLUSTER_ZERO && !*bad) {
        w->c->allocated_clusters++;
        w->c->fragmented_clusters += w->next && w->next != entry;
        w->next = entry + w->q->h.cluster;
    }
    return 0;
}

static CO_FN int walk_table(Walk *w, uint64_t at, CO_FN int (*visit)(Walk *w, uint64_t entry, bool *bad))
{
    g_autofree uint8_t *buf = g_malloc(PIECE);
    int ret = 0;

    for (uint64_t done = 0, n; done < w->q->table && !ret; done += n) {
        bool changed = false;

        n = MIN(PIECE, w->q->table - done);
        ret = blk_read(w->q->n->file, at + done, buf, n);
        for (uint64_t i = 0; i < n && !ret; i += 8) {
            bool bad = false;

            ret = le64_load(buf + i) ? visit(w, le64_load(buf + i), &bad) : 0;
            if (!bad)
                continue;
            say(w, "invalid entry", at + done + i);
            if (w->fix & FIX_ERRORS) {
                le64_store(buf + i, 0);
                w->c->corruptions_fixed++;
                changed = true;
            }
        }
        if (changed && !ret)
            ret = parts_write(w->q->parts, at + done, buf, n);
    }
    return ret;
}

static CO_FN int visit_l2(Walk *w, uint64_t entry, bool *bad)
{
    *bad = !use(w, entry, w->q->table);
    w->next = 0;
    return *bad ? 0 : walk_table(w, entry, visit_data);
}

static CO_FN int walk(Walk *w)
{
    Qed *q = w->q;
    int ret;

    use(w, 0, (uint64_t)q->h.head * q->h.cluster);
    use(w, q->h.l1, q->table);
    ret = walk_table(w, q->h.l1, visit_l2);
    w->c->leaks = w->clusters - w->count;
    w->c->total_clusters = (q->h.size + q->h.cluster - 1) / q->h.cluster;
    if (!ret && w->fix & FIX_ERRORS && !q->n->readonly)
        ret = blk_flush(q->n->file);
    return ret;
}

CO_FN int qed__check(Node *n, BlkCheck *c, unsigned fix)
{
    Qed *q = n->opaque;
    Walk w = { .q = q, .c = c, .fix = n->readonly ? 0 : fix, .clusters = (n->file->size + q->h.cluster - 1) / q->h.cluster };
    int ret;

    if (w.clusters / 8 >= BITS_MAX) {
        c->errors++;
        return -EFBIG;
    }
    w.used = g_try_malloc0(w.clusters / 8 + 1);
    co_lock(&q->c.lock);
    ret = w.used ? walk(&w) : -ENOMEM;
    co_unlock(&q->c.lock);
    g_free(w.used);
    return ret;
}
