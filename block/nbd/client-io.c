/* block/nbd/client-io.c - requests to an NBD server and its replies: simple, structured, extended. The server is not trusted. */
#include "block/nbd/client-priv.h"
#include <errno.h>

enum { SLOT_BITS = 8, STATUS_MAX = 1 << 20, ERROR_TEXT_MAX = 4096 };

/* ---- requests ---- */
static CO_FN int send_request(NbdDisk *s, uint16_t flags, uint16_t type, uint64_t cookie, const BlkReq *r)
{
    uint8_t h[32];
    bool ext = s->link.extended, data = type == NBD_CMD_WRITE;
    g_autofree struct iovec *v = g_new(struct iovec, 1 + (data ? r->niov : 0));
    int ret;

    be32_store(h, ext ? NBD_XREQUEST_MAGIC : NBD_REQUEST_MAGIC);
    be_store(h + 4, 2, flags | (ext && data ? NBD_PAYLOAD_LEN : 0));
    be_store(h + 6, 2, type);
    be64_store(h + 8, cookie);
    be64_store(h + 16, r->off);
    be_store(h + 24, ext ? 8 : 4, r->len);
    v[0] = (struct iovec){ h, ext ? 32 : 28 };
    if (data)
        memcpy(v + 1, r->iov, (size_t)r->niov * sizeof(*v));
    co_lock(&s->link.chan.send);
    ret = chan_writev(&s->link.chan, v, 1 + (data ? r->niov : 0));
    co_unlock(&s->link.chan.send);
    if (ret)
        chan_break(&s->link.chan); /* the reader sees it and answers everybody */
    return ret;
}

CO_FN void nbd__say_goodbye(NbdDisk *s)
{
    BlkReq none = { 0 };

    send_request(s, 0, NBD_CMD_DISC, 0, &none);
}

void nbd__answer(NbdDisk *s, unsigned slot, int ret)
{
    NbdAsk *a = s->slots[slot];

    s->slots[slot] = NULL;
    s->in_flight--;
    a->ret = ret;
    a->done = true;
    co_wake(a->co);
}

static unsigned free_slot(const NbdDisk *s)
{
    unsigned i = 0;

    while (s->slots[i])
        i++; /* in_flight says that there is one */
    return i;
}

static CO_FN int once(NbdDisk *s, uint16_t flags, uint16_t type, BlkReq *r)
{
    unsigned slot = free_slot(s);
    NbdAsk a = { .co = co_self(), .r = r, .type = type, .cookie = ++s->serial << SLOT_BITS | slot };

    s->slots[slot] = &a;
    s->in_flight++;
    send_request(s, flags, type, a.cookie, r);
    while (!a.done)
        co_yield();
    nbd__slot_free(s);
    return a.ret;
}

/* Again after a lost connection, as long as one is hoped for. */
static CO_FN int ask(NbdDisk *s, uint16_t flags, uint16_t type, BlkReq *r)
{
    for (;;) {
        int ret = nbd__usable(s);

        if (ret)
            return ret;
        ret = once(s, flags, type, r);
        if (ret != -ECONNRESET)
            return ret;
        if (s->state == NBD_DEAD)
            return -EIO;
    }
}

static CO_FN int flush(NbdDisk *s)
{
    BlkReq none = { .op = BLK_FLUSH };

    return s->link.flags & NBD_SEND_FLUSH ? ask(s, 0, NBD_CMD_FLUSH, &none) : 0;
}

static CO_FN int change(NbdDisk *s, BlkReq *r)
{
    bool fua = r->flags & BLK_FUA, can_fua = s->link.flags & NBD_SEND_FUA;
    uint16_t f = fua && can_fua ? NBD_FUA : 0, type = NBD_CMD_WRITE;
    int ret;

    if (r->op == BLK_DISCARD) {
        if (!(s->link.flags & NBD_SEND_TRIM) || !r->len)
            return 0;
        type = NBD_CMD_TRIM;
    } else if (r->op == BLK_ZERO) {
        if (!(s->link.flags & NBD_SEND_WRITE_ZEROES) || (r->flags & BLK_NO_FALLBACK && !(s->link.flags & NBD_SEND_FAST_ZERO)))
            return -ENOTSUP;
        type = NBD_CMD_WRITE_ZEROES;
        f |= (r->flags & BLK_MAY_UNMAP ? 0 : NBD_NO_HOLE) | (r->flags & BLK_NO_FALLBACK ? NBD_FAST_ZERO : 0);
    }
    ret = ask(s, f, type, r);
    return ret || !fua || can_fua ? ret : flush(s);
}

static CO_FN int status(NbdDisk *s, BlkReq *r)
{
    uint64_t max = s->link.extended ? INT64_MAX : align_down(INT32_MAX, 64 * KiB);

    if (!s->link.have_context)
        return -ENOTSUP;
    r->len = MIN(r->len, max);
    r->map_file = s->n;
    r->map = r->off;
    return ask(s, NBD_REQ_ONE, NBD_CMD_BLOCK_STATUS, r);
}

CO_FN int nbd__submit(Node *n, BlkReq *r)
{
    NbdDisk *s = n->opaque;

    switch (r->op) {
    case BLK_READ:
        return ask(s, 0, NBD_CMD_READ, r);
    case BLK_WRITE:
    case BLK_ZERO:
    case BLK_DISCARD:
        return change(s, r);
    case BLK_FLUSH:
        return flush(s);
    case BLK_STATUS:
        return status(s, r);
    case BLK_TRUNCATE:
        return r->off == n->size ? 0 : -ENOTSUP;
    default:
        return -ENOTSUP;
    }
}

/* ---- replies ---- */
static int errno_of(uint32_t e)
{
    static const int known[] = { NBD_EPERM, NBD_EIO, NBD_ENOMEM, NBD_EINVAL, NBD_ENOSPC, NBD_EOVERFLOW, NBD_ENOTSUP, NBD_ESHUTDOWN };
    static const int host[] = { EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN };

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        if ((uint32_t)known[i] == e)
            return host[i];
    return e ? EINVAL : 0;
}

static NbdAsk *asked(const NbdDisk *s, uint64_t cookie, unsigned *slot)
{
    *slot = cookie & ones(SLOT_BITS);
    return *slot < NBD_SLOTS && s->slots[*slot] && s->slots[*slot]->cookie == cookie ? s->slots[*slot] : NULL;
}

/* len bytes of the request, from `at` of it on, off the stream or (zero) made up. */
static CO_FN int place(NbdDisk *s, NbdAsk *a, uint64_t off, uint64_t len, bool zero)
{
    const BlkReq *r = a->r;
    g_autofree struct iovec *v = NULL;
    int n;

    if (a->type != NBD_CMD_READ || off < r->off || !in_range(off - r->off, len, r->len))
        return -EPROTO;
    a->got += len;
    if (zero) {
        iov_zero(r->iov, r->niov, off - r->off, len);
        return 0;
    }
    v = g_new(struct iovec, MAX(r->niov, 1));
    n = iov_slice(r->iov, r->niov, off - r->off, len, v);
    return chan_readv(&s->link.chan, v, n);
}

static CO_FN int simple_reply(NbdDisk *s)
{
    uint8_t h[12];
    unsigned slot;
    NbdAsk *a;
    int ret = chan_read(&s->link.chan, h, sizeof(h)), e;

    if (ret || !(a = asked(s, be64_load(h + 4), &slot)))
        return ret ? ret : -EPROTO;
    e = errno_of(be32_load(h));
    if (!e && (a->type == NBD_CMD_BLOCK_STATUS || (a->type == NBD_CMD_READ && s->link.structured) || s->link.extended))
        return -EPROTO;
    if (!e && a->type == NBD_CMD_READ)
        ret = place(s, a, a->r->off, a->r->len, false);
    if (!ret)
        nbd__answer(s, slot, -e);
    return ret;
}

/* The first extent of ours; others are read and forgotten. */
static CO_FN int take_status(NbdDisk *s, NbdAsk *a, uint64_t len, bool ext)
{
    uint8_t p[24];
    uint64_t head = ext ? 8 : 4, each = ext ? 16 : 8, run, flags;
    int ret;

    if (a->type != NBD_CMD_BLOCK_STATUS || len < head + each || (len - head) % each || len > STATUS_MAX || ext != s->link.extended)
        return -EPROTO;
    ret = chan_read(&s->link.chan, p, head + each);
    if (!ret)
        ret = chan_skip(&s->link.chan, len - head - each);
    if (ret || be32_load(p) != s->link.context_id)
        return ret;
    run = be_load(p + head, ext ? 8 : 4);
    flags = be_load(p + head + each / 2, ext ? 8 : 4);
    if (!run)
        return -EPROTO;
    a->told = true;
    a->r->len = MIN(a->r->len, run);
    if (s->context) { /* a bitmap: clean bytes are shown as data, dirty ones as a hole, so that tools can tell them apart */
        a->r->allocated = !(flags & NBD_STATE_DIRTY);
        a->r->zero = false;
        return 0;
    }
    a->r->allocated = true;
    a->r->zero = flags & NBD_STATE_ZERO;
    if (a->r->zero || flags & NBD_STATE_HOLE)
        a->r->map_file = NULL;
    return 0;
}

static CO_FN int take_error(NbdDisk *s, NbdAsk *a, unsigned type, uint64_t len)
{
    uint8_t p[6];
    int ret;

    if (len < 6 || len > ERROR_TEXT_MAX + 14)
        return -EPROTO;
    ret = chan_read(&s->link.chan, p, 6);
    if (!ret)
        ret = chan_skip(&s->link.chan, len - 6);
    if (!a->ret)
        a->ret = -(errno_of(be32_load(p)) ? errno_of(be32_load(p)) : EINVAL);
    return ret;
}

static CO_FN int take_chunk(NbdDisk *s, NbdAsk *a, unsigned type, uint64_t len)
{
    uint8_t p[12];
    int ret;

    switch (type) {
    case NBD_CHUNK_NONE:
        return len ? -EPROTO : 0;
    case NBD_CHUNK_DATA:
        ret = len > 8 ? chan_read(&s->link.chan, p, 8) : -EPROTO;
        return ret ? ret : place(s, a, be64_load(p), len - 8, false);
    case NBD_CHUNK_HOLE:
        ret = len == 12 ? chan_read(&s->link.chan, p, 12) : -EPROTO;
        return ret ? ret : place(s, a, be64_load(p), be32_load(p + 8), true);
    case NBD_CHUNK_STATUS:
    case NBD_CHUNK_STATUS_EXT:
        return take_status(s, a, len, type == NBD_CHUNK_STATUS_EXT);
    default:
        return type & 0x8000 ? take_error(s, a, type, len) : -EPROTO;
    }
}

/* What a complete reply must have told. */
static int verdict(const NbdAsk *a)
{
    if (a->ret)
        return a->ret;
    if (a->type == NBD_CMD_READ && a->got < a->r->len)
        return -EIO;
    return a->type == NBD_CMD_BLOCK_STATUS && !a->told ? -EIO : 0;
}

static CO_FN int chunk(NbdDisk *s)
{
    uint8_t h[28];
    bool ext = s->link.extended;
    unsigned slot, flags, type;
    NbdAsk *a;
    int ret = chan_read(&s->link.chan, h, ext ? 28 : 16);

    if (ret || !(a = asked(s, be64_load(h + 4), &slot)))
        return ret ? ret : -EPROTO;
    flags = (unsigned)be_load(h, 2);
    type = (unsigned)be_load(h + 2, 2);
    ret = take_chunk(s, a, type, ext ? be64_load(h + 20) : be32_load(h + 12));
    if (!ret && flags & NBD_DONE)
        nbd__answer(s, slot, verdict(a));
    return ret;
}

CO_FN void nbd__read_replies(NbdDisk *s)
{
    int ret;

    do {
        uint8_t magic[4];

        ret = chan_read(&s->link.chan, magic, 4);
        if (ret)
            break;
        if (be32_load(magic) == NBD_SIMPLE_MAGIC)
            ret = simple_reply(s);
        else if (s->link.structured && be32_load(magic) == (s->link.extended ? NBD_XCHUNK_MAGIC : NBD_CHUNK_MAGIC))
            ret = chunk(s);
        else
            ret = -EPROTO;
    } while (!ret);
    if (ret == -EPROTO && !s->closing)
        warn_report("the NBD server of '%s' breaks the protocol", s->n->filename);
    chan_break(&s->link.chan);
}
