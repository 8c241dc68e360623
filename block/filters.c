/*
 * block/filters.c - small drivers on top of one node: "preallocate" (a file that grows does so in large steps), "compress" (all
 * writes are packed), "blkverify" (what an image says is compared with a raw one's).
 */
#include "block/image.h"
#include "block/priv.h"
#include <errno.h>
#include <stdlib.h>

static CO_FN bool take_size(Node *n)
{
    n->size = n->file->size;
    return true;
}

/* ---- preallocate: file->size is where the host's blocks end, n->size where the data does ---- */
typedef struct Prealloc {
    uint64_t align, step;
} Prealloc;

static bool prealloc_options(Opts *o, Prealloc *p, Error **err)
{
    return opts_get_size(o, "prealloc-align", MiB, &p->align, err) && opts_get_size(o, "prealloc-size", 128 * MiB, &p->step, err) &&
           ((p->align && p->align % 512 == 0 && is_pow2(p->align)) || fail(err, "prealloc-align parameter of preallocate filter is not aligned to 512"));
}

static CO_FN bool prealloc_open(Node *n, Opts *o, Error **err)
{
    if (!prealloc_options(o, n->opaque, err))
        return false;
    n->file->grows = true;
    return take_size(n);
}

static CO_FN bool prealloc_reopen(Node *n, Opts *o, bool apply, Error **err)
{
    Prealloc p;

    if (!prealloc_options(o, &p, err))
        return false;
    if (apply)
        *(Prealloc *)n->opaque = p;
    return true;
}

static CO_FN void grow(Node *n, uint64_t end)
{
    const Prealloc *p = n->opaque;
    uint64_t now = n->file->size, to = align_up(end + p->step, p->align);

    if (end > now && to > now)
        blk_zero(n->file, now, to - now, BLK_RESERVE | BLK_NO_FALLBACK); /* in vain: the write itself extends it */
}

static CO_FN int prealloc_submit(Node *n, BlkReq *r)
{
    if (r->op == BLK_WRITE || r->op == BLK_ZERO)
        grow(n, r->off + r->len);
    if (r->op == BLK_TRUNCATE && r->off > n->size && r->off <= n->file->size && !(r->flags & BLK_RESERVE)) {
        n->size = r->off; /* zeros lie there already */
        return 0;
    }
    return block__forward(n, r);
}

static CO_FN bool prealloc_trim(Node *n, Error **err)
{
    int ret = !n->readonly && n->file->size > align_up(n->size, 512) ? blk_truncate(n->file, n->size, 0) : 0;

    return !ret || fail_errno_is(err, -ret, "cannot shorten '%s' to its data", n->filename);
}

static CO_FN void prealloc_close(Node *n) { prealloc_trim(n, NULL); }

static CO_FN bool prealloc_set_readonly(Node *n, bool readonly, Error **err)
{
    if (readonly && !prealloc_trim(n, err))
        return false;
    if (!node_set_readonly(n->file, readonly, err))
        return false;
    n->readonly = readonly;
    return true;
}

static const BlkDriver preallocate = {
    .name = "preallocate",
    .size = sizeof(Prealloc),
    .open = prealloc_open,
    .close = prealloc_close,
    .submit = prealloc_submit,
    .set_readonly = prealloc_set_readonly,
    .reopen = prealloc_reopen,
};
BLK_DRIVER(preallocate);

/* ---- compress ---- */
static uint64_t cluster_of(const Node *n)
{
    BlkNames names = { .cluster_size = 0 };

    if (n->drv->image && n->drv->image->names)
        n->drv->image->names(n, &names);
    return names.compressible ? names.cluster_size : 0;
}

static CO_FN bool compress_open(Node *n, Opts *o, Error **err)
{
    if (!cluster_of(n->file))
        return fail(err, "Compression is not supported for this drive '%s'", n->file->name);
    return take_size(n);
}

static void compress_limits(Node *n, BlkLimits *out) { out->align = (uint32_t)cluster_of(n->file); }

/* The last cluster may be shorter than the others. */
static CO_FN int compress_submit(Node *n, BlkReq *r)
{
    BlkReq part = *r;
    g_autofree struct iovec *iov = NULL;
    int ret;

    if (r->op == BLK_WRITE)
        part.flags |= BLK_COMPRESS;
    if ((r->op == BLK_READ || r->op == BLK_WRITE) && r->off + r->len > n->file->size) {
        part.len = n->file->size - r->off;
        iov = g_new(struct iovec, MAX(r->niov, 1));
        part.niov = iov_slice(r->iov, r->niov, 0, part.len, iov);
        part.iov = iov;
        if (r->op == BLK_READ)
            iov_zero(r->iov, r->niov, part.len, r->len - part.len);
    }
    ret = block__forward(n, &part);
    if (r->op == BLK_STATUS)
        *r = part;
    return ret;
}

static const BlkDriver compress = {
    .name = "compress", .open = compress_open, .submit = compress_submit, .limits = compress_limits, .reopen = blk_reopen_plain,
};
BLK_DRIVER(compress);

/* ---- blkverify: file is what is tested, backing the raw one ---- */
static CO_FN bool verify_open(Node *n, Opts *o, Error **err)
{
    g_autoptr(Opts) sub = opts_sub(o, "backing");

    if (!n->backing && !sub->v->len)
        return fail(err, "blkverify: raw= is missing");
    if (!n->backing)
        n->backing = block__open(n->loop, sub, n->readonly, NULL, NULL, NULL, err);
    return n->backing && take_size(n);
}

/* Going on would make it worse: as an assertion. */
static G_GNUC_NORETURN void differ(const BlkReq *r, const char *what, uint64_t at)
{
    warn_report("blkverify: read sector_num=%" PRIu64 " nb_sectors=%" PRIu64 " %s at offset %" PRIu64, r->off / 512, r->len / 512, what, at);
    exit(1);
}

static CO_FN int read_both(Node *n, BlkReq *r)
{
    g_autofree char *ours = g_try_malloc(r->len), *raw = g_try_malloc(r->len);
    int ret = ours && raw ? blk_read(n->file, r->off, ours, r->len) : -ENOMEM, ret2;

    if (ret == -ENOMEM)
        return ret;
    ret2 = blk_read(n->backing, r->off, raw, r->len);
    if (ret != ret2)
        differ(r, "results differ", r->off);
    for (uint64_t i = 0; !ret && i < r->len; i++)
        if (ours[i] != raw[i])
            differ(r, "contents mismatch", r->off + i);
    if (!ret)
        iov_scatter(r->iov, r->niov, 0, ours, r->len);
    return ret;
}

static CO_FN int verify_submit(Node *n, BlkReq *r)
{
    BlkReq second = *r;
    int ret, ret2;

    if (r->op == BLK_READ)
        return read_both(n, r);
    ret = block__forward(n, r);
    if (r->op == BLK_STATUS || r->op == BLK_DISCARD)
        return ret; /* what was discarded may read as anything */
    ret2 = blk_submit(n->backing, &second);
    return ret ? ret : ret2;
}

static bool verify_permissions(Node *n, Node *parent, unsigned want, unsigned share, Error **err)
{
    return node_permissions(n->file, want, share, err) && node_permissions(n->backing, want, share, err);
}

static const BlkDriver blkverify = {
    .name = "blkverify", .file_key = "test", .backing_key = "raw", .open = verify_open, .submit = verify_submit, .permissions = verify_permissions,
};
BLK_DRIVER(blkverify);
