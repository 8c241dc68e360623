/*
 * block/old/qed.c - driver "qed", the QEMU Enhanced Disk format (QEMU's docs/interop/qed_spec): a header, one L1 table, L2 tables,
 * clusters; no counts of references. While a writer has it open a bit says that tables may be wrong (NEED_CHECK): who
 * opens it after a crash looks at them first.
 */
#include "block/old/qed.h"
#include <errno.h>

static int qed_probe(const uint8_t *head, size_t n) { return n >= QED_HEADER && !memcmp(head, "QED", 4) ? 100 : 0; }

/* ---- the header ---- */
static void parse(QedHeader *h, const uint8_t *p)
{
    *h = (QedHeader){ le32_load(p + 4),  le32_load(p + 8),  le32_load(p + 12), le64_load(p + 16), le64_load(p + 24),
                      le64_load(p + 32), le64_load(p + 40), le64_load(p + 48), le32_load(p + 56), le32_load(p + 60) };
}

void qed__build(const QedHeader *h, uint8_t p[QED_HEADER])
{
    memcpy(p, "QED", 4);
    le32_store(p + 4, h->cluster);
    le32_store(p + 8, h->table);
    le32_store(p + 12, h->head);
    le64_store(p + 16, h->features);
    le64_store(p + 24, h->compatible);
    le64_store(p + 32, h->autoclear);
    le64_store(p + 40, h->l1);
    le64_store(p + 48, h->size);
    le32_store(p + 56, h->backing_at);
    le32_store(p + 60, h->backing_len);
}

CO_FN int qed__write_header(Qed *q)
{
    uint8_t p[QED_HEADER];
    int ret;

    qed__build(&q->h, p);
    ret = blk_write(q->n->file, 0, p, sizeof(p));
    return ret ? ret : blk_flush(q->n->file);
}

uint64_t qed__max_size(uint64_t cluster, uint64_t table)
{
    uint64_t entries = table * cluster / 8;

    return entries > INT64_MAX / entries / cluster ? INT64_MAX : entries * entries * cluster;
}

static bool header_ok(const QedHeader *h, const char *f, uint64_t file_size, Error **err)
{
    if (!is_pow2(h->cluster) || h->cluster < QED_CLUSTER_MIN || h->cluster > QED_CLUSTER_MAX)
        return fail(err, "'%s': QED cluster size %u is invalid", f, h->cluster);
    if (!is_pow2(h->table) || h->table > 16)
        return fail(err, "'%s': QED table size %u is invalid", f, h->table);
    if (h->features & ~(uint64_t)QED_KNOWN)
        return fail(err, "'%s': unsupported QED features %#" PRIx64, f, h->features & ~(uint64_t)QED_KNOWN);
    if (!h->head || (uint64_t)h->head * h->cluster > INT32_MAX)
        return fail(err, "'%s': QED header size %u is invalid", f, h->head);
    if (h->l1 % h->cluster || h->l1 < h->cluster || !in_range(h->l1, (uint64_t)h->table * h->cluster, file_size))
        return fail(err, "'%s': the L1 table lies at an invalid offset", f);
    if (h->size % 512 || h->size > qed__max_size(h->cluster, h->table))
        return fail(err, "'%s': QED image size %" PRIu64 " is invalid", f, h->size);
    if (h->features & QED_BACKING && (!h->backing_len || h->backing_len > QED_NAME_MAX || !in_range(h->backing_at, h->backing_len, (uint64_t)h->head * h->cluster)))
        return fail(err, "'%s': the name of the backing file lies outside of the header", f);
    return true;
}

/* ---- tables ---- */
static CO_FN int entry(Qed *q, uint64_t at, uint64_t *out)
{
    uint8_t b[8];
    int ret = parts_read(q->parts, at, b, sizeof(b));

    *out = le64_load(b);
    return ret;
}

bool qed__place_ok(const Qed *q, uint64_t at, uint64_t len)
{
    return at % q->h.cluster == 0 && at >= (uint64_t)q->h.head * q->h.cluster && in_range(at, len, MAX(q->c.end, q->n->file->size));
}

static CO_FN int qed_look(Clusters *c, uint64_t index, uint64_t *host)
{
    Qed *q = c->n->opaque;
    uint64_t table;
    int ret = entry(q, q->h.l1 + index / q->entries * 8, &table);

    *host = CLUSTER_NONE;
    if (ret || !table)
        return ret;
    if (!qed__place_ok(q, table, q->table))
        return -EIO;
    ret = entry(q, table + index % q->entries * 8, host);
    if (ret || *host <= CLUSTER_ZERO)
        return ret;
    return qed__place_ok(q, *host, 512) ? 0 : -EIO; /* the last one may be short */
}

/* A table with these entries at the file's end; then the L1 table leads to it. */
static CO_FN int new_table(Qed *q, uint64_t l1_at, uint64_t at, const uint8_t *entries, size_t len)
{
    uint64_t place = q->c.end;
    uint8_t b[8];
    int ret = blk_zero(q->n->file, place, q->table, 0);

    if (!ret)
        ret = parts_write(q->parts, place + at, entries, len);
    if (!ret)
        ret = blk_flush(q->n->file);
    if (ret)
        return ret;
    q->c.end += q->table;
    le64_store(b, place);
    return parts_write(q->parts, l1_at, b, sizeof(b));
}

/* Entries of one L2 table. */
static CO_FN int set_some(Qed *q, uint64_t index, uint64_t count, uint64_t host)
{
    g_autofree uint8_t *e = g_try_malloc(count * 8);
    uint64_t table, l1_at = q->h.l1 + index / q->entries * 8, at = index % q->entries * 8;
    int ret = e ? entry(q, l1_at, &table) : -ENOMEM;

    if (ret)
        return ret;
    for (uint64_t i = 0; i < count; i++)
        le64_store(e + i * 8, host == CLUSTER_ZERO ? host : host + i * q->h.cluster);
    if (!table)
        return new_table(q, l1_at, at, e, count * 8);
    return qed__place_ok(q, table, q->table) ? parts_write(q->parts, table + at, e, count * 8) : -EIO;
}

static CO_FN int qed_set(Clusters *c, uint64_t index, uint64_t count, uint64_t host)
{
    Qed *q = c->n->opaque;
    int ret = 0;

    while (count && !ret) {
        uint64_t n = MIN(count, q->entries - index % q->entries);

        ret = set_some(q, index, n, host);
        index += n;
        count -= n;
        host += host == CLUSTER_ZERO ? 0 : n * q->h.cluster;
    }
    return ret;
}

static CO_FN int qed_dirty(Clusters *c)
{
    Qed *q = c->n->opaque;
    int ret;

    if (q->h.features & QED_NEED_CHECK)
        return 0;
    q->h.features |= QED_NEED_CHECK;
    ret = qed__write_header(q);
    if (ret)
        q->h.features &= ~(uint64_t)QED_NEED_CHECK;
    return ret;
}

static CO_FN int clean(Qed *q)
{
    int ret = q->h.features & QED_NEED_CHECK ? blk_flush(q->n->file) : 0;

    if (ret || !(q->h.features & QED_NEED_CHECK))
        return ret;
    q->h.features &= ~(uint64_t)QED_NEED_CHECK;
    return qed__write_header(q);
}

/* ---- opening ---- */
static CO_FN bool mend(Qed *q, Error **err)
{
    BlkCheck c = { .lines = NULL };
    int ret;

    if (q->n->readonly)
        return true;
    q->h.autoclear = 0;
    if (!(q->h.features & QED_NEED_CHECK))
        return true;
    ret = qed__check(q->n, &c, FIX_ERRORS);
    if (ret || c.errors || c.corruptions > c.corruptions_fixed)
        return fail_errno_is(err, ret ? -ret : EIO, "cannot repair '%s', which was not closed", q->n->filename);
    ret = clean(q);
    return !ret || fail_errno_is(err, -ret, "cannot write the header of '%s'", q->n->filename);
}

static CO_FN bool read_name(Qed *q, Error **err)
{
    char name[QED_NAME_MAX + 1] = "";
    int ret;

    if (!(q->h.features & QED_BACKING))
        return true;
    ret = blk_read(q->n->file, q->h.backing_at, name, q->h.backing_len);
    if (ret)
        return fail_errno_is(err, -ret, "cannot read the header of '%s'", q->n->filename);
    q->backing = g_strdup(name);
    return true;
}

static void free_state(Qed *q)
{
    parts_free(q->parts);
    g_free(q->backing);
}

static CO_FN bool open_steps(Qed *q, Opts *o, Error **err)
{
    Node *n = q->n;
    uint8_t p[QED_HEADER] = { 0 };
    int ret = blk_read(n->file, 0, p, sizeof(p));

    if (ret)
        return fail_errno_is(err, -ret, "cannot read the header of '%s'", n->filename);
    if (!qed_probe(p, sizeof(p)))
        return fail(err, "'%s' is no QED image", n->filename);
    parse(&q->h, p);
    if (!header_ok(&q->h, n->filename, n->file->size, err) || !read_name(q, err))
        return false;
    q->table = (uint64_t)q->h.table * q->h.cluster;
    q->entries = q->table / 8;
    q->parts = parts_new(n->file);
    clusters_init(&q->c, n, q->h.cluster, n->file->size);
    q->c.zeros = true;
    q->c.look = qed_look;
    q->c.set = qed_set;
    q->c.dirty = qed_dirty;
    n->size = q->h.size;
    return mend(q, err) && block__open_backing(n, o, q->backing, q->h.features & QED_RAW_BACKING ? "raw" : NULL, err);
}

static CO_FN bool qed_open(Node *n, Opts *o, Error **err)
{
    Qed *q = n->opaque;

    if (n->file->readonly && !n->readonly)
        return fail(err, "'%s' is read-only", n->filename);
    q->n = n;
    n->file->grows = true;
    if (open_steps(q, o, err))
        return true;
    free_state(q);
    return false;
}

static CO_FN void qed_close(Node *n)
{
    Qed *q = n->opaque;

    if (!n->readonly && clean(q))
        warn_report("'%s': the header could not be written", n->filename);
    free_state(q);
}

static CO_FN bool qed_set_readonly(Node *n, bool readonly, Error **err)
{
    Qed *q = n->opaque;
    int ret = readonly ? clean(q) : 0;

    if (ret)
        return fail_errno_is(err, -ret, "cannot write '%s'", n->filename);
    if (!node_set_readonly(n->file, readonly, err))
        return false;
    n->readonly = readonly;
    return mend(q, err);
}

/* ---- requests ---- */
static CO_FN int grow(Qed *q, uint64_t size, unsigned flags)
{
    uint64_t was = q->h.size;
    int ret;

    if (size < was || flags & BLK_RESERVE)
        return -ENOTSUP;
    if (size > qed__max_size(q->h.cluster, q->h.table) || size % 512)
        return -EINVAL;
    q->h.size = size;
    ret = qed__write_header(q);
    if (ret)
        q->h.size = was;
    else
        q->n->size = size;
    return ret;
}

static CO_FN int qed_submit(Node *n, BlkReq *r)
{
    Qed *q = n->opaque;

    return r->op == BLK_TRUNCATE ? grow(q, r->off, r->flags) : clusters_submit(&q->c, r);
}

static void qed_limits(Node *n, BlkLimits *out) { out->max_iov = 1 << 20; }

static void qed_names(const Node *n, BlkNames *out)
{
    const Qed *q = n->opaque;

    *out = (BlkNames){ .backing = q->backing, .backing_format = q->backing && q->h.features & QED_RAW_BACKING ? "raw" : NULL,
                       .cluster_size = q->h.cluster, .dirty = q->h.features & QED_NEED_CHECK };
}

static const BlkImageOps image = { .create_options = qed__create_options, .create = qed__create, .names = qed_names, .check = qed__check,
                                   .set_backing = qed__set_backing };
static const BlkDriver qed = {
    .name = "qed",
    .size = sizeof(Qed),
    .has_backing = true,
    .image = &image,
    .probe = qed_probe,
    .open = qed_open,
    .close = qed_close,
    .submit = qed_submit,
    .limits = qed_limits,
    .set_readonly = qed_set_readonly,
};
BLK_DRIVER(qed);
