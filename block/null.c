/*
 * block/null.c - drivers "null-co" and "null-aio": a disk that answers at once; for tests and
 * measurements. size= (default 1 GiB), read-zeroes=on gives zeros, otherwise buffers stay as they
 * are.
 */
#include "block/priv.h"
#include <errno.h>

typedef struct Null {
    bool zeroes;
} Null;

static CO_FN bool null_open(Node *n, Opts *o, Error **err)
{
    Null *s = n->opaque;

    n->filename = g_strconcat(n->drv->name, "://", NULL);
    opts_get(o, "filename");
    opts_get(o, "latency-ns");
    return opts_get_size(o, "size", GiB, &n->size, err) &&
           opts_get_bool(o, "read-zeroes", true, &s->zeroes, err);
}

static CO_FN bool null_reopen(Node *n, Opts *o, bool apply, Error **err)
{
    uint64_t size = n->size;
    bool zeroes = true;

    opts_get(o, "filename");
    opts_get(o, "latency-ns");
    return opts_get_size(o, "size", size, &size, err) && opts_get_bool(o, "read-zeroes", true, &zeroes, err) &&
           ((size == n->size && zeroes == ((Null *)n->opaque)->zeroes) || fail(err, "Cannot change the option '%s'", size == n->size ? "read-zeroes" : "size"));
}

static CO_FN int null_submit(Node *n, BlkReq *r)
{
    Null *s = n->opaque;

    if (r->op == BLK_READ && s->zeroes)
        iov_zero(r->iov, r->niov, 0, r->len);
    if (r->op == BLK_TRUNCATE)
        n->size = r->off;
    if (r->op == BLK_STATUS)
        r->zero = s->zeroes;
    return 0;
}

static const BlkDriver null_co = { .name = "null-co",
                                   .size = sizeof(Null),
                                   .protocol = true,
                                   .open = null_open,
                                   .submit = null_submit,
                                   .reopen = null_reopen };
BLK_DRIVER(null_co);
static const BlkDriver null_aio = { .name = "null-aio",
                                    .size = sizeof(Null),
                                    .protocol = true,
                                    .open = null_open,
                                    .submit = null_submit,
                                   .reopen = null_reopen };
BLK_DRIVER(null_aio);
