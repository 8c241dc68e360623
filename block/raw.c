/*
 * block/raw.c - driver "raw": the bytes of its file, or a window of them (offset=, size=). When the
 * format was guessed, the guest must not make the next start guess another one: what would turn the
 * first sector into the head of another format is refused (EPERM).
 */
#include "block/priv.h"
#include <errno.h>

enum { HEAD = 512 };
typedef struct Raw {
    uint64_t at, size; /* size 0: up to the end */
} Raw;

static bool window(const Node *n, Opts *o, Raw *w, Error **err)
{
    if (!opts_get_size(o, "offset", 0, &w->at, err) || !opts_get_size(o, "size", 0, &w->size, err))
        return false;
    if ((w->at | w->size) % 512)
        return fail(err, "raw: offset and size must be multiples of 512");
    if (!in_range(w->at, w->size, n->file->size))
        return fail(err, "raw: the window lies beyond the end of '%s'", n->file->filename);
    return true;
}

static void look_through(Node *n, Raw w)
{
    *(Raw *)n->opaque = w;
    n->size = w.size ? w.size : n->file->size - w.at;
}

static CO_FN bool raw_open(Node *n, Opts *o, Error **err)
{
    Raw w = { 0, 0 };

    if (!window(n, o, &w, err))
        return false;
    look_through(n, w);
    return true;
}

static CO_FN bool raw_reopen(Node *n, Opts *o, bool apply, Error **err)
{
    Raw w = { 0, 0 };

    if (!window(n, o, &w, err))
        return false;
    if (apply)
        look_through(n, w);
    return true;
}

/* limits.align is HEAD then: a write of the first sector is whole */
static bool disguises(const Node *n, const BlkReq *r)
{
    uint8_t head[HEAD];

    if (!n->probed || n->readonly || r->op != BLK_WRITE || r->off || r->len < HEAD)
        return false;
    iov_gather(r->iov, r->niov, 0, head, HEAD);
    return block__format_of(head, HEAD) != NULL;
}

static CO_FN int raw_submit(Node *n, BlkReq *r)
{
    Raw *w = n->opaque;
    int ret;

    if (r->op == BLK_TRUNCATE && w->size)
        return -ENOTSUP;
    if (disguises(n, r))
        return -EPERM;
    r->off += w->at;
    ret = blk_submit(n->file, r);
    r->off -= w->at;
    if (!ret && r->op == BLK_TRUNCATE)
        n->size = n->file->size - w->at;
    return ret;
}

static void raw_limits(Node *n, BlkLimits *out)
{
    if (n->probed && !n->readonly)
        out->align = HEAD;
}

const BlkDriver block__raw = { .name = "raw",
                               .size = sizeof(Raw),
                               .open = raw_open,
                               .submit = raw_submit,
                               .limits = raw_limits,
                               .reopen = raw_reopen };
BLK_DRIVER(block__raw);
