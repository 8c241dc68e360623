/* block/blocks.c - see blocks.h: requests of formats in blocks. */
#include "block/blocks.h"
#include "block/graph.h"
#include <errno.h>

enum { RUN_BYTES = 16 << 20 };

typedef struct Placing {
    uint64_t first, end;
    GQueue waiters;
    GList link;
} Placing;

static Blocks *of(const Node *n) { return n->opaque; }

void blocks_init(Node *n, const BlockOps *ops, uint64_t block, uint64_t unit)
{
    Blocks *b = of(n);

    b->n = n;
    b->ops = ops;
    b->block = block;
    b->unit = unit;
}

/* ---- blocks that are being placed; lock held ---- */
static CO_FN bool wait_placing(Blocks *b, uint64_t first, uint64_t end)
{
    for (GList *l = b->placing.head; l; l = l->next) {
        Placing *p = l->data;

        if (p->first < end && first < p->end) {
            co_wait(&p->waiters, &b->lock);
            return true;
        }
    }
    return false;
}

static void placing_begin(Blocks *b, Placing *p, uint64_t first, uint64_t end)
{
    *p = (Placing){ .first = first, .end = end, .link = { .data = p } };
    g_queue_push_tail_link(&b->placing, &p->link);
}

static void placing_end(Blocks *b, Placing *p)
{
    g_queue_unlink(&b->placing, &p->link);
    co_wake_all(&p->waiters);
}

/* ---- reading ---- */
static CO_FN int read_packed(Blocks *b, const BlockMap *m, uint64_t off, struct iovec *iov, int niov)
{
    g_autofree uint8_t *buf = g_try_malloc(b->block);
    int ret = buf ? b->ops->unpack(b->n, off / b->block, m, buf) : -ENOMEM;

    if (!ret)
        iov_scatter(iov, niov, 0, buf + off % b->block, m->len);
    return ret;
}

static CO_FN int read_mapped(Blocks *b, const BlockMap *m, uint64_t off, struct iovec *iov, int niov)
{
    BlkReq r = { .op = BLK_READ, .off = m->host, .len = m->len, .iov = iov, .niov = niov };

    switch (m->type) {
    case BLOCK_ZERO:
        iov_zero(iov, niov, 0, m->len);
        return 0;
    case BLOCK_NONE:
        return blk_read_below(b->n, off, iov, niov, m->len);
    case BLOCK_PACKED:
        return read_packed(b, m, off, iov, niov);
    default:
        return blk_submit(m->file, &r);
    }
}

static CO_FN int read_all(Blocks *b, const BlkReq *r)
{
    g_autofree struct iovec *iov = g_new(struct iovec, MAX(r->niov, 1));
    int ret = 0;

    for (uint64_t at = 0; at < r->len && !ret;) {
        BlockMap m;

        ret = b->ops->map(b->n, r->off + at, r->len - at, &m);
        if (!ret)
            ret = read_mapped(b, &m, r->off + at, iov, iov_slice(r->iov, r->niov, at, m.len, iov));
        at += m.len;
    }
    return ret;
}

CO_FN int blocks_read(Node *n, uint64_t off, void *buf, uint64_t len)
{
    uint64_t there = off < n->size ? MIN(len, n->size - off) : 0;
    struct iovec one = { buf, there };

    memset((char *)buf + there, 0, len - there);
    return there ? read_all(of(n), &(BlkReq){ .op = BLK_READ, .off = off, .len = there, .iov = &one, .niov = 1 }) : 0;
}

static bool zero_below(const Node *n, uint64_t off) { return !n->backing || off >= n->backing->size; }

/* Is [off, off+len) zero without a look at any data? */
static CO_FN bool reads_zero(Blocks *b, uint64_t off, uint64_t len)
{
    for (uint64_t end = MIN(off + len, b->n->size); off < end;) {
        BlockMap m;

        if (b->ops->map(b->n, off, end - off, &m) || m.type == BLOCK_DATA || m.type == BLOCK_PACKED ||
            (m.type == BLOCK_NONE && !zero_below(b->n, off)))
            return false;
        off += m.len;
    }
    return true;
}

/* ---- a first write ---- */
/* Blocks in a row, from the one of p->off, that have no place. */
static CO_FN int count_homeless(Blocks *b, BlockPlace *p)
{
    uint64_t end = MIN(p->off + p->len, align_down(p->off, b->block) + MAX(RUN_BYTES, b->block));

    for (uint64_t at = p->off; at < end;) {
        BlockMap m;
        int ret = b->ops->map(b->n, at, 1, &m);

        if (ret)
            return ret;
        if (m.type == BLOCK_DATA || m.type == BLOCK_PACKED || m.file)
            break;
        at = align_down(at, b->block) + b->block;
        p->count++;
    }
    return p->count ? 0 : -EIO;
}

static CO_FN int find_place(Blocks *b, BlockPlace *p, const BlockMap *m)
{
    int ret = 0;

    p->first = p->off / b->block;
    if (m->file) {
        p->had_place = true;
        p->count = 1;
        p->file = m->file;
        p->host = m->host - p->off % b->block;
        p->len = MIN(p->len, m->len);
    } else {
        ret = count_homeless(b, p);
        if (!ret)
            ret = b->ops->place(b->n, p);
    }
    p->len = MIN(p->len, (p->first + p->count) * b->block - p->off);
    p->lo = align_down(p->off, b->unit);
    p->hi = align_up(p->off + p->len, b->unit);
    return ret;
}

static CO_FN int plan(Blocks *b, BlockPlace *p, Placing *mark, bool *skip)
{
    uint64_t first = p->off / b->block, end = (p->off + p->len - 1) / b->block + 1;
    BlockMap m;
    int ret;

    while (wait_placing(b, first, end))
        ;
    ret = b->ops->map(b->n, p->off, p->len, &m);
    *skip = !ret && m.type == BLOCK_DATA; /* somebody else was quicker */
    if (ret || *skip)
        return ret;
    if (m.type == BLOCK_PACKED || !b->ops->place)
        return -ENOTSUP;
    ret = find_place(b, p, &m);
    if (!ret)
        placing_begin(b, mark, p->first, p->first + p->count);
    return ret;
}

static CO_FN int write_placed(Blocks *b, const BlockPlace *p, const BlkReq *r, uint64_t at)
{
    bool bare = p->fresh && reads_zero(b, p->lo, p->off - p->lo) && reads_zero(b, p->off + p->len, p->hi - p->off - p->len);
    uint64_t head = bare ? 0 : p->off - p->lo, tail = bare ? 0 : p->hi - p->off - p->len, lo = p->off - head;
    g_autofree uint8_t *around = head + tail ? g_try_malloc(head + tail) : NULL;
    g_autofree struct iovec *iov = g_new(struct iovec, r->niov + 2);
    BlkReq w = { .op = BLK_WRITE, .off = p->host + (lo - p->first * b->block), .len = head + p->len + tail, .iov = iov };
    int ret = 0;

    if (head + tail && !around)
        return -ENOMEM;
    if (head) {
        iov[w.niov++] = (struct iovec){ around, head };
        ret = blocks_read(b->n, lo, around, head);
    }
    w.niov += iov_slice(r->iov, r->niov, at, p->len, iov + w.niov);
    if (!ret && tail) {
        iov[w.niov++] = (struct iovec){ around + head, tail };
        ret = blocks_read(b->n, p->off + p->len, around + head, tail);
    }
    return ret ? ret : blk_submit(p->file, &w);
}

static CO_FN int write_homeless(Blocks *b, const BlkReq *r, uint64_t at, uint64_t *done)
{
    BlockPlace p = { .off = r->off + at, .len = r->len - at };
    bool skip = false;
    Placing mark;
    int ret;

    co_lock(&b->lock);
    ret = plan(b, &p, &mark, &skip);
    co_unlock(&b->lock);
    *done = 0;
    if (ret || skip)
        return ret;
    ret = write_placed(b, &p, r, at);
    co_lock(&b->lock);
    if (!ret) {
        ret = b->ops->link(b->n, &p);
        b->dirty = true;
    }
    co_unlock(&b->lock);
    placing_end(b, &mark);
    *done = p.len;
    return ret;
}

static CO_FN int write_some(Blocks *b, const BlkReq *r, uint64_t at, uint64_t *done)
{
    BlockMap m;
    int ret = b->ops->map(b->n, r->off + at, r->len - at, &m);

    if (!ret && m.type == BLOCK_DATA) {
        g_autofree struct iovec *iov = g_new(struct iovec, MAX(r->niov, 1));
        BlkReq w = { .op = BLK_WRITE, .off = m.host, .len = m.len, .iov = iov };

        w.niov = iov_slice(r->iov, r->niov, at, m.len, iov);
        *done = m.len;
        return blk_submit(m.file, &w);
    }
    return ret ? ret : write_homeless(b, r, at, done);
}

static CO_FN int write_all(Blocks *b, const BlkReq *r)
{
    int ret = 0;

    if (r->flags & BLK_COMPRESS) {
        if (!b->ops->write_packed)
            return -ENOTSUP;
        return b->ops->write_packed(b->n, r);
    }
    for (uint64_t at = 0, done = 0; at < r->len && !ret; at += done)
        ret = write_some(b, r, at, &done); /* done 0: the block got its place meanwhile */
    return ret;
}

/* ---- zeros and holes ---- */
static CO_FN int write_piece(Node *n, BlkReq *r) { return write_all(of(n), r); }
static CO_FN int write_zeros(Blocks *b, uint64_t off, uint64_t len) { return blk_write_zeros(b->n, write_piece, off, len, 0); }

/* Whole blocks become zero by the tables. -ENOTSUP: they cannot say so. */
static CO_FN int zero_blocks(Blocks *b, uint64_t off, uint64_t len)
{
    uint64_t first = off / b->block, count = off + len == b->n->size ? (len + b->block - 1) / b->block : len / b->block;
    int ret;

    if (!b->ops->make_zero || off % b->block || !count)
        return -ENOTSUP;
    co_lock(&b->lock);
    while (wait_placing(b, first, first + count))
        ;
    ret = b->ops->make_zero(b->n, first, count);
    b->dirty = true;
    co_unlock(&b->lock);
    return ret;
}

static CO_FN int zero_piece(Blocks *b, const BlkReq *r, uint64_t off, uint64_t *len)
{
    BlockMap m;
    int ret = b->ops->map(b->n, off, *len, &m);
    uint64_t left = b->block - off % b->block;

    if (ret)
        return ret;
    *len = m.len;
    if (m.type == BLOCK_ZERO || (m.type == BLOCK_NONE && zero_below(b->n, off)))
        return 0;
    if (m.type == BLOCK_DATA)
        return blk_zero(m.file, m.host, m.len, r->flags & BLK_MAY_UNMAP);
    *len = MIN(*len, left);
    if (m.type == BLOCK_NONE && !m.file) {
        ret = zero_blocks(b, off, *len);
        if (ret != -ENOTSUP)
            return ret;
    }
    return write_zeros(b, off, *len);
}

static CO_FN int zero_all(Blocks *b, const BlkReq *r)
{
    int ret = 0;

    for (uint64_t at = 0, len; at < r->len && !ret; at += len) {
        len = r->len - at;
        ret = zero_piece(b, r, r->off + at, &len);
    }
    return ret;
}

/* What has a place gives up the host's blocks and reads as zeros. */
static CO_FN int discard_all(Blocks *b, const BlkReq *r)
{
    int ret = 0;

    for (uint64_t at = 0; at < r->len && !ret;) {
        BlockMap m;

        ret = b->ops->map(b->n, r->off + at, r->len - at, &m);
        if (!ret && m.type == BLOCK_DATA)
            ret = blk_submit(m.file, &(BlkReq){ .op = BLK_DISCARD, .off = m.host, .len = m.len });
        at += m.len;
    }
    return ret;
}

/* ---- status ---- */
static CO_FN int status(Blocks *b, BlkReq *r)
{
    Node *below = b->n->backing;
    BlockMap m;
    int ret = b->ops->map(b->n, r->off, r->len, &m);

    if (ret)
        return ret;
    r->len = m.len;
    r->zero = m.type == BLOCK_ZERO || (m.type == BLOCK_NONE && zero_below(b->n, r->off));
    r->compressed = m.type == BLOCK_PACKED;
    r->map_file = m.type == BLOCK_DATA ? m.file : NULL;
    r->map = m.host;
    if (m.type != BLOCK_NONE || !b->n->drv->has_backing || b->alone)
        return 0;
    r->allocated = false;
    if (r->flags & BLK_THIS_LAYER || r->zero)
        return 0;
    r->len = MIN(r->len, below->size - r->off);
    ret = blk_submit(below, r);
    r->depth++;
    return ret;
}

/* ---- flush, files ---- */
CO_FN int blocks_sync(Node *n)
{
    int ret = blk_flush(n->file);

    for (guint i = 0; n->extents && i < n->extents->len && !ret; i++)
        ret = blk_flush(n->extents->pdata[i]);
    return ret;
}

CO_FN int blocks_begin(Node *n)
{
    Blocks *b = of(n);
    int ret = n->readonly ? -EACCES : !b->begun && b->ops->begin ? b->ops->begin(n) : 0;

    b->begun |= !ret;
    return ret;
}

CO_FN int blocks_writeback(Node *n)
{
    Blocks *b = of(n);
    int ret = b->ops->writeback && b->dirty ? b->ops->writeback(n) : blocks_sync(n);

    b->dirty &= ret != 0;
    return ret;
}

static CO_FN int flush(Blocks *b)
{
    int ret;

    if (b->n->readonly)
        return 0;
    co_lock(&b->lock);
    ret = blocks_writeback(b->n);
    co_unlock(&b->lock);
    return ret;
}

static CO_FN int serve(Blocks *b, BlkReq *r)
{
    switch (r->op) {
    case BLK_READ:
        return read_all(b, r);
    case BLK_WRITE:
        return write_all(b, r);
    case BLK_FLUSH:
        return flush(b);
    case BLK_ZERO:
        return zero_all(b, r);
    case BLK_DISCARD:
        return discard_all(b, r);
    case BLK_STATUS:
        return status(b, r);
    default:
        return -ENOTSUP;
    }
}

CO_FN int blocks_submit(Node *n, BlkReq *r)
{
    Blocks *b = of(n);
    int ret = 0;

    if (!b->begun && (r->op == BLK_WRITE || r->op == BLK_ZERO || r->op == BLK_DISCARD)) {
        co_lock(&b->lock);
        ret = blocks_begin(n);
        co_unlock(&b->lock);
    }
    if (!ret)
        ret = serve(b, r);

    return !ret && (r->op == BLK_WRITE || r->op == BLK_ZERO) && r->flags & BLK_FUA ? flush(of(n)) : ret;
}

static CO_FN int finish(Node *n)
{
    Blocks *b = of(n);
    int ret = 0;

    co_lock(&b->lock);
    if (b->begun)
        ret = blocks_writeback(n);
    if (!ret && b->begun && b->ops->end)
        ret = b->ops->end(n);
    b->begun = false;
    co_unlock(&b->lock);
    return ret;
}

CO_FN void blocks_close(Node *n)
{
    int ret = n->readonly ? 0 : finish(n);

    if (ret)
        warn_report("'%s': the last metadata could not be written: %s", n->filename, g_strerror(-ret));
}

bool blocks_take_file(Node *file, bool readonly, Error **err)
{
    file->grows = true;
    return node_permissions(file, PERM_CONSISTENT_READ | (readonly ? 0 : PERM_WRITE | PERM_RESIZE),
                            PERM_ALL & ~(unsigned)(PERM_WRITE | PERM_RESIZE), err);
}

bool blocks_may_write(const Node *n, Error **err)
{
    return n->readonly || !of(n)->ops->may_write || of(n)->ops->may_write(n, err);
}

static CO_FN bool turn_file(Node *file, bool readonly, Error **err)
{
    if (!readonly && !node_set_readonly(file, false, err))
        return false;
    return blocks_take_file(file, readonly, err) && (!readonly || node_set_readonly(file, true, err));
}

CO_FN bool blocks_set_readonly(Node *n, bool readonly, Error **err)
{
    int ret = readonly ? finish(n) : 0;

    if (ret)
        return fail_errno_is(err, -ret, "cannot write '%s'", n->filename);
    if (!readonly && of(n)->ops->may_write && !of(n)->ops->may_write(n, err))
        return false;
    if (!turn_file(n->file, readonly, err))
        return false;
    for (guint i = 0; n->extents && i < n->extents->len; i++)
        if (!turn_file(n->extents->pdata[i], readonly, err))
            return false;
    n->readonly = readonly;
    return true;
}

bool blocks_permissions(Node *n, Node *parent, unsigned want, unsigned share, Error **err)
{
    /* the files of this layer were taken when they were opened */
    return !n->backing || node_permissions(n->backing, want & PERM_CONSISTENT_READ, node__backing_share(share), err);
}
