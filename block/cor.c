/*
 * block/cor.c - copy on read: what is read from below comes into the layer itself. For drives (-drive copy-on-read=on) and as the
 * driver "copy-on-read". While a piece comes up, other requests to the layer wait: it must not be older than what they write.
 */
#include "block/cor.h"
#include "block/priv.h"
#include <errno.h>
#include <stdlib.h>

enum { PIECE = 512 * 1024 };

/* Does the layer's own data answer for the first *len bytes at off? */
static CO_FN int is_here(Node *n, uint64_t off, uint64_t *len, unsigned flags, bool *here)
{
    BlkReq st = { .op = BLK_STATUS, .off = off, .len = *len, .flags = flags | BLK_THIS_LAYER };
    int ret = blk_submit(n, &st);

    *len = st.len;
    *here = st.allocated || st.zero;
    return ret || st.len ? ret : -EIO;
}

static CO_FN int copy_up(Node *n, uint64_t off, uint64_t len, void *buf)
{
    struct iovec one = { buf, len };
    BlkReq r = { .op = BLK_READ, .off = off, .len = len, .iov = &one, .niov = 1, .flags = BLK_PAST_GATE };
    int ret = blk_submit(n, &r);

    r.op = BLK_WRITE;
    return ret ? ret : blk_submit(n, &r);
}

static CO_FN int bring_up(Node *n, uint64_t off, uint64_t *len)
{
    void *buf = NULL;
    bool here;
    int ret;

    if (posix_memalign(&buf, 4096, MIN(*len, PIECE)))
        return -ENOMEM;
    *len = MIN(*len, PIECE);
    node_quiesce(n);
    ret = is_here(n, off, len, BLK_PAST_GATE, &here); /* somebody else may have brought it */
    if (!ret && !here)
        ret = copy_up(n, off, *len, buf);
    node_release(n);
    free(buf);
    return ret;
}

CO_FN int blk_copy_on_read(Node *n, BlkReq *r)
{
    for (uint64_t at = 0; at < r->len && !n->readonly && n->backing;) {
        uint64_t len = r->len - at;
        bool here;
        int ret = is_here(n, r->off + at, &len, 0, &here);

        if (!ret && !here)
            ret = bring_up(n, r->off + at, &len);
        if (ret == -ENOSPC || ret == -EIO) /* the guest can still read */
            break;
        if (ret)
            return ret;
        at += len;
    }
    return blk_submit(n, r);
}

/* ---- the driver ---- */
static CO_FN bool cor_open(Node *n, Opts *o, Error **err)
{
    opts_get(o, "bottom");
    n->size = n->file->size;
    return true;
}

static CO_FN int cor_submit(Node *n, BlkReq *r) { return r->op == BLK_READ ? blk_copy_on_read(n->file, r) : block__forward(n, r); }

static bool cor_permissions(Node *n, Node *parent, unsigned want, unsigned share, Error **err)
{
    if (!n->file->readonly && want & PERM_CONSISTENT_READ)
        want |= PERM_WRITE;
    return node_permissions(n->file, want, share, err);
}

static CO_FN bool cor_set_readonly(Node *n, bool readonly, Error **err)
{
    n->readonly = readonly;
    return true;
}

static const BlkDriver cor = {
    .name = "copy-on-read",
    .open = cor_open,
    .submit = cor_submit,
    .permissions = cor_permissions,
    .set_readonly = cor_set_readonly,
    .reopen = blk_reopen_plain,
};
BLK_DRIVER(cor);
