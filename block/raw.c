/* block/raw.c - driver "raw": the bytes of its file, or a window of them (offset=, size=). */
#include "block/priv.h"
#include <errno.h>

typedef struct Raw {
    uint64_t at, size; /* size 0: up to the end */
} Raw;

static CO_FN bool raw_open(Node *n, Opts *o, Error **err)
{
    Raw *w = n->opaque;

    if (!opts_get_size(o, "offset", 0, &w->at, err) || !opts_get_size(o, "size", 0, &w->size, err))
        return false;
    if ((w->at | w->size) % 512)
        return fail(err, "raw: offset and size must be multiples of 512");
    if (!in_range(w->at, w->size, n->file->size))
        return fail(err, "raw: the window lies beyond the end of '%s'", n->file->filename);
    n->size = w->size ? w->size : n->file->size - w->at;
    return true;
}

static CO_FN int raw_submit(Node *n, BlkReq *r)
{
    Raw *w = n->opaque;
    int ret;

    if (r->op == BLK_TRUNCATE && w->size)
        return -ENOTSUP;
    r->off += w->at;
    ret = blk_submit(n->file, r);
    r->off -= w->at;
    if (!ret && r->op == BLK_TRUNCATE)
        n->size = n->file->size - w->at;
    return ret;
}

const BlkDriver block__raw = {
    .name = "raw", .size = sizeof(Raw), .open = raw_open, .submit = raw_submit
};
BLK_DRIVER(block__raw);
