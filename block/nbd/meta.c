/* block/nbd/meta.c - metadata contexts: their names, and NBD_CMD_BLOCK_STATUS. */
#include "block/nbd/server-priv.h"
#include <errno.h>

enum { EXTENTS_MAX = 16 * 1024 }; /* of one reply */

char *nbd__context_name(const NbdExport *e, uint32_t id)
{
    if (id == CTX_ALLOCATION)
        return g_strdup("base:allocation");
    if (id == CTX_DEPTH)
        return e->depth ? g_strdup("qemu:allocation-depth") : NULL;
    if (id - CTX_BITMAPS >= e->bitmaps->len)
        return NULL;
    return g_strconcat("qemu:dirty-bitmap:", ((DirtyBitmap *)e->bitmaps->pdata[id - CTX_BITMAPS])->name, NULL);
}

typedef struct Extent {
    uint64_t len, flags;
} Extent;

/* One extent of the kind that `id` tells of. */
static CO_FN int look(Node *n, const NbdExport *e, uint32_t id, uint64_t off, uint64_t len, Extent *out)
{
    BlkReq st = { .op = BLK_STATUS, .off = off, .len = len };
    bool dirty;
    int ret;

    if (id >= CTX_BITMAPS) {
        out->len = dirty_run(e->bitmaps->pdata[id - CTX_BITMAPS], off, len, &dirty);
        out->flags = dirty ? NBD_STATE_DIRTY : 0;
        return 0;
    }
    ret = blk_submit(n, &st);
    out->len = st.len;
    if (id == CTX_DEPTH)
        out->flags = st.allocated ? st.depth + 1 : 0;
    else
        out->flags = (st.allocated && !st.zero ? 0 : NBD_STATE_HOLE) | (st.zero ? NBD_STATE_ZERO : 0);
    return ret ? ret : st.len ? 0 : -EIO;
}

static CO_FN int collect(const NbdReq *r, uint32_t id, uint64_t max_len, GArray *v)
{
    uint64_t at = 0, len = MIN(r->len, max_len);
    unsigned max = r->flags & NBD_REQ_ONE ? 1 : EXTENTS_MAX;
    int ret = 0;

    while (at < len && !ret && !r->c->chan.broken) {
        Extent x = { 0 }, *last = v->len ? &g_array_index(v, Extent, v->len - 1) : NULL;

        ret = look(r->c->e->node, r->c->e, id, r->off + at, len - at, &x);
        if (ret)
            break;
        if (last && last->flags == x.flags)
            last->len += x.len;
        else if (v->len >= max)
            break;
        else
            g_array_append_val(v, x);
        at += x.len;
    }
    return v->len ? 0 : ret;
}

static CO_FN int send_extents(const NbdReq *r, uint32_t id, const GArray *v, bool last)
{
    bool ext = r->c->extended;
    size_t each = ext ? 16 : 8, head = ext ? 8 : 4;
    g_autofree uint8_t *out = g_malloc(head + v->len * each);
    struct iovec iov[2] = { { NULL, 0 }, { out, head + v->len * each } };

    be32_store(out, id);
    if (ext)
        be32_store(out + 4, v->len);
    for (guint i = 0; i < v->len; i++) {
        const Extent *x = &g_array_index(v, Extent, i);
        uint8_t *p = out + head + i * each;

        be_store(p, ext ? 8 : 4, x->len);
        be_store(p + each / 2, ext ? 8 : 4, x->flags);
    }
    return nbd__send_chunk(r, last ? NBD_DONE : 0, ext ? NBD_CHUNK_STATUS_EXT : NBD_CHUNK_STATUS, iov, 2);
}

CO_FN int nbd__status(NbdReq *r)
{
    GArray *ids = r->ctx ? r->ctx : r->c->ctx;
    uint64_t max = r->c->extended ? UINT64_MAX : align_down(UINT32_MAX, 64 * KiB);
    int ret = ids->len ? 0 : -EINVAL;

    for (guint i = 0; i < ids->len && !ret; i++) {
        g_autoptr(GArray) v = g_array_new(FALSE, FALSE, sizeof(Extent));
        uint32_t id = g_array_index(ids, uint32_t, i);

        ret = collect(r, id, max, v);
        if (!ret && send_extents(r, id, v, i + 1 == ids->len))
            chan_break(&r->c->chan);
    }
    return ret;
}
