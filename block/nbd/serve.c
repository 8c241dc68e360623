/*
 * block/nbd/serve.c - the server's transmission phase: requests are received in order, served each in a coroutine of its
 * own, answered as they end. Bounded: REQUESTS_MAX and BYTES_MAX in flight for a client.
 */
#include "block/nbd/server-priv.h"
#include <errno.h>
#include <stdlib.h>

enum { REQUESTS_MAX = 64, BYTES_MAX = 64 << 20, SPARSE_FROM = 32 * 1024 };

uint32_t nbd__error(int ret)
{
    switch (-ret) {
    case 0:
        return 0;
    case EPERM:
    case EROFS:
    case EACCES:
        return NBD_EPERM;
    case EIO:
        return NBD_EIO;
    case ENOMEM:
        return NBD_ENOMEM;
    case EDQUOT:
    case EFBIG:
    case ENOSPC:
        return NBD_ENOSPC;
    case EOVERFLOW:
        return NBD_EOVERFLOW;
    case ENOTSUP:
        return NBD_ENOTSUP;
    case ESHUTDOWN:
        return NBD_ESHUTDOWN;
    default:
        return ret == -EINVAL ? NBD_EINVAL : NBD_EIO;
    }
}

/* ---- replies ---- */
static CO_FN int send_all(NbdClient *c, struct iovec *v, int n)
{
    int ret;

    co_lock(&c->chan.send);
    ret = chan_writev(&c->chan, v, n);
    co_unlock(&c->chan.send);
    if (ret)
        chan_break(&c->chan);
    return ret;
}

CO_FN int nbd__send_chunk(const NbdReq *r, unsigned flags, unsigned type, struct iovec *v, int n)
{
    uint8_t head[NBD_CHUNK_HEADER_MAX];
    uint64_t len = iov_total(v + 1, n - 1);

    be32_store(head, r->c->extended ? NBD_XCHUNK_MAGIC : NBD_CHUNK_MAGIC);
    be_store(head + 4, 2, flags);
    be_store(head + 6, 2, type);
    be64_store(head + 8, r->cookie);
    if (r->c->extended) {
        be64_store(head + 16, r->off);
        be64_store(head + 24, len);
    } else {
        be32_store(head + 16, (uint32_t)len);
    }
    v[0] = (struct iovec){ head, r->c->extended ? 32 : 20 };
    return send_all(r->c, v, n);
}

static CO_FN int simple_reply(const NbdReq *r, int ret, void *data, size_t len)
{
    uint8_t head[16];
    struct iovec v[2] = { { head, sizeof(head) }, { data, len } };

    be32_store(head, NBD_SIMPLE_MAGIC);
    be32_store(head + 4, nbd__error(ret));
    be64_store(head + 8, r->cookie);
    return send_all(r->c, v, 2);
}

static CO_FN int error_chunk(const NbdReq *r, int ret)
{
    const char *text = g_strerror(-ret);
    uint8_t body[6];
    struct iovec v[3] = { { NULL, 0 }, { body, sizeof(body) }, { (void *)(uintptr_t)text, strlen(text) } };

    be32_store(body, nbd__error(ret));
    be_store(body + 4, 2, strlen(text));
    return nbd__send_chunk(r, NBD_DONE, NBD_CHUNK_ERROR, v, 3);
}

static CO_FN int plain_reply(const NbdReq *r, int ret)
{
    struct iovec v = { NULL, 0 };

    if (ret && r->c->structured)
        return error_chunk(r, ret);
    return r->c->extended ? nbd__send_chunk(r, NBD_DONE, NBD_CHUNK_NONE, &v, 1) : simple_reply(r, ret, NULL, 0);
}

/* ---- reading ---- */
static CO_FN int data_chunk(const NbdReq *r, uint8_t *buf, uint64_t at, uint64_t len, bool last)
{
    uint8_t off[8];
    struct iovec v[3] = { { NULL, 0 }, { off, 8 }, { buf + at, len } };

    be64_store(off, r->off + at);
    return nbd__send_chunk(r, last ? NBD_DONE : 0, NBD_CHUNK_DATA, v, 3);
}

static CO_FN int hole_chunk(const NbdReq *r, uint64_t at, uint64_t len, bool last)
{
    uint8_t body[12];
    struct iovec v[2] = { { NULL, 0 }, { body, sizeof(body) } };

    be64_store(body, r->off + at);
    be32_store(body + 8, (uint32_t)len);
    return nbd__send_chunk(r, last ? NBD_DONE : 0, NBD_CHUNK_HOLE, v, 2);
}

/* Pieces in order; holes are not sent. A piece that cannot be read is the error that ends the reply. */
static CO_FN int sparse(const NbdReq *r, Node *n, uint8_t *buf)
{
    int ret = 0;

    for (uint64_t at = 0; at < r->len && !ret && !r->c->chan.broken;) {
        BlkReq st = { .op = BLK_STATUS, .off = r->off + at, .len = r->len - at };
        bool last;

        ret = r->len >= SPARSE_FROM && !(r->flags & NBD_DF) ? blk_submit(n, &st) : 0;
        if (ret || !st.len)
            return ret ? ret : -EIO;
        if (r->len < SPARSE_FROM || r->flags & NBD_DF)
            st.zero = false;
        last = at + st.len >= r->len;
        if (!st.zero)
            ret = blk_read(n, r->off + at, buf + at, st.len);
        if (ret)
            return ret;
        if (st.zero ? hole_chunk(r, at, st.len, last) : data_chunk(r, buf, at, st.len, last))
            return 0;
        at += st.len;
    }
    return ret;
}

static CO_FN void serve_read(const NbdReq *r, Node *n)
{
    void *buf = NULL;
    int ret = posix_memalign(&buf, 4096, MAX(r->len, 1)) ? -ENOMEM : 0;

    if (r->c->structured && r->len) {
        if (!ret)
            ret = sparse(r, n, buf);
        if (ret)
            error_chunk(r, ret);
    } else {
        if (!ret)
            ret = blk_read(n, r->off, buf, r->len);
        if (r->c->structured)
            plain_reply(r, ret);
        else
            simple_reply(r, ret, buf, ret ? 0 : r->len);
    }
    free(buf);
}

/* ---- the others ---- */
static CO_FN int change(const NbdReq *r, Node *n)
{
    struct iovec one = { r->data, r->len };
    BlkReq q = { .off = r->off, .len = r->len, .flags = r->flags & NBD_FUA || r->c->e->writethrough ? BLK_FUA : 0 };
    int ret;

    switch (r->type) {
    case NBD_CMD_WRITE:
        q.op = BLK_WRITE;
        q.iov = &one;
        q.niov = 1;
        return blk_submit(n, &q);
    case NBD_CMD_WRITE_ZEROES:
        q.op = BLK_ZERO;
        q.flags |= (r->flags & NBD_NO_HOLE || !n->unmap ? 0 : BLK_MAY_UNMAP) | (r->flags & NBD_FAST_ZERO ? BLK_NO_FALLBACK : 0);
        return blk_submit(n, &q);
    default: /* TRIM */
        q.op = BLK_DISCARD;
        ret = n->unmap ? blk_submit(n, &q) : 0;
        return ret || !(q.flags & BLK_FUA) ? ret : blk_flush(n);
    }
}

static bool changes(unsigned type) { return type == NBD_CMD_WRITE || type == NBD_CMD_TRIM || type == NBD_CMD_WRITE_ZEROES; }

static int validate(const NbdReq *r)
{
    static const uint16_t flags[] = {
        [NBD_CMD_READ] = NBD_DF, [NBD_CMD_WRITE] = NBD_FUA, [NBD_CMD_FLUSH] = NBD_FUA, [NBD_CMD_TRIM] = NBD_FUA, [NBD_CMD_CACHE] = 0,
        [NBD_CMD_WRITE_ZEROES] = NBD_FUA | NBD_NO_HOLE | NBD_FAST_ZERO, [NBD_CMD_BLOCK_STATUS] = NBD_REQ_ONE
    };
    uint64_t size = r->c->e->node->size;

    if (r->ret)
        return r->ret;
    if (r->type >= G_N_ELEMENTS(flags) || r->flags & ~(flags[r->type] | NBD_FUA | NBD_PAYLOAD_LEN))
        return -EINVAL;
    if (r->flags & NBD_DF && !r->c->structured)
        return -EINVAL;
    if (changes(r->type) && !r->c->e->writable)
        return -EROFS;
    if (r->type != NBD_CMD_FLUSH && !in_range(r->off, r->len, size))
        return r->type == NBD_CMD_WRITE || r->type == NBD_CMD_WRITE_ZEROES ? -ENOSPC : -EINVAL;
    if (r->type == NBD_CMD_READ && r->len > NBD_DATA_MAX)
        return -EINVAL;
    if (r->type == NBD_CMD_BLOCK_STATUS && (!r->len || !r->c->structured))
        return -EINVAL;
    return 0;
}

static CO_FN void serve_one(NbdReq *r)
{
    Node *n = r->c->e->node;
    int ret = validate(r);

    if (ret || r->type == NBD_CMD_CACHE) {
        plain_reply(r, ret);
    } else if (r->type == NBD_CMD_READ) {
        serve_read(r, n);
    } else if (r->type == NBD_CMD_BLOCK_STATUS) {
        ret = nbd__status(r);
        if (ret)
            plain_reply(r, ret);
    } else {
        plain_reply(r, r->type == NBD_CMD_FLUSH ? blk_flush(n) : change(r, n));
    }
}

static void req_free(NbdReq *r)
{
    free(r->data);
    if (r->ctx)
        g_array_free(r->ctx, TRUE);
    g_free(r);
}

static void req_body(void *arg)
{
    NbdReq *r = arg;
    NbdClient *c = r->c;
    Co *w;

    serve_one(r);
    c->in_flight--;
    c->bytes_in_flight -= MIN(r->len, NBD_DATA_MAX);
    req_free(r);
    w = c->waiting;
    c->waiting = NULL;
    if (w)
        co_wake(w);
}

/* ---- receiving ---- */
static CO_FN int receive_write(NbdReq *r)
{
    void *buf = NULL;
    int ret;

    if (r->len > NBD_DATA_MAX)
        return -EMSGSIZE;
    if (posix_memalign(&buf, 4096, MAX(r->len, 1))) {
        ret = chan_skip(&r->c->chan, r->len);
        r->ret = -ENOMEM;
        return ret;
    }
    r->data = buf;
    return chan_read(&r->c->chan, buf, r->len);
}

/* BLOCK_STATUS with a payload: the length of the effect, then the contexts that the client wants this time. */
static CO_FN int receive_contexts(NbdReq *r)
{
    uint8_t p[8 + 4 * CTX_MAX];
    uint64_t n = r->len;
    int ret;

    if (n < 12 || n > sizeof(p) || n % 4) {
        r->ret = -EINVAL;
        r->len = 0;
        return n > NBD_DATA_MAX ? -EMSGSIZE : chan_skip(&r->c->chan, n);
    }
    ret = chan_read(&r->c->chan, p, n);
    r->len = be64_load(p);
    r->ctx = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    for (uint64_t at = 8; at < n && !ret; at += 4) {
        uint32_t id = be32_load(p + at);
        bool known = false;

        for (guint i = 0; i < r->c->ctx->len; i++)
            known |= g_array_index(r->c->ctx, uint32_t, i) == id;
        g_array_append_val(r->ctx, id);
        r->ret = known ? r->ret : -EINVAL;
    }
    return ret;
}

static CO_FN int receive_payload(NbdReq *r)
{
    uint64_t n = r->len;

    if (r->type == NBD_CMD_WRITE)
        return receive_write(r);
    if (!r->c->extended || !(r->flags & NBD_PAYLOAD_LEN))
        return 0;
    if (r->type == NBD_CMD_BLOCK_STATUS)
        return receive_contexts(r);
    r->ret = -EINVAL;
    r->len = 0;
    return n > NBD_DATA_MAX ? -EMSGSIZE : chan_skip(&r->c->chan, n);
}

static CO_FN NbdReq *receive(NbdClient *c)
{
    size_t n = c->extended ? 32 : 28;
    uint8_t h[32];
    NbdReq *r;

    if (chan_read(&c->chan, h, n) || be32_load(h) != (c->extended ? NBD_XREQUEST_MAGIC : NBD_REQUEST_MAGIC))
        return NULL;
    if (be_load(h + 6, 2) == NBD_CMD_DISC)
        return NULL;
    r = g_new0(NbdReq, 1);
    *r = (NbdReq){ .c = c, .flags = (uint16_t)be_load(h + 4, 2), .type = (uint16_t)be_load(h + 6, 2), .cookie = be64_load(h + 8),
                   .off = be64_load(h + 16), .len = be_load(h + 24, c->extended ? 8 : 4) };
    if (!receive_payload(r))
        return r;
    req_free(r);
    return NULL;
}

static CO_FN void wait_below(NbdClient *c, unsigned requests, uint64_t bytes)
{
    while (c->in_flight > requests || c->bytes_in_flight > bytes) {
        c->waiting = co_self();
        co_yield();
    }
}

CO_FN void nbd__serve(NbdClient *c)
{
    NbdReq *r;

    while (!c->chan.broken && (r = receive(c))) {
        c->in_flight++;
        c->bytes_in_flight += MIN(r->len, NBD_DATA_MAX);
        co_enter(co_new(req_body, r));
        wait_below(c, REQUESTS_MAX - 1, BYTES_MAX);
    }
    wait_below(c, 0, UINT64_MAX);
}
