/* block/old/clusters.c - see clusters.h. */
#include "block/old/clusters.h"
#include <errno.h>

enum { RUN = 4 << 20, PART = 4096, PARTS = 512 };

void clusters_init(Clusters *c, Node *n, uint64_t cluster, uint64_t end)
{
    c->n = n;
    c->cluster = cluster;
    c->end = (end + cluster - 1) / cluster * cluster;
    c->room = INT64_MAX;
    g_queue_init(&c->lock.waiters);
}

/* ---- parts of a file ---- */
struct Parts {
    Node *file;
    uint64_t at[PARTS]; /* plus 1; 0: nothing */
    uint8_t *bytes[PARTS];
};

Parts *parts_new(Node *file)
{
    Parts *p = g_new0(Parts, 1);

    p->file = file;
    return p;
}

void parts_free(Parts *p)
{
    for (int i = 0; p && i < PARTS; i++)
        g_free(p->bytes[i]);
    g_free(p);
}

static CO_FN int part(Parts *p, uint64_t at, uint8_t **out)
{
    size_t i = at / PART % PARTS;
    int ret;

    if (!p->bytes[i])
        p->bytes[i] = g_malloc(PART);
    *out = p->bytes[i];
    if (p->at[i] == at + 1)
        return 0;
    p->at[i] = 0;
    ret = blk_read(p->file, at, p->bytes[i], PART);
    p->at[i] = ret ? 0 : at + 1;
    return ret;
}

CO_FN int parts_read(Parts *p, uint64_t at, void *buf, size_t len)
{
    int ret = 0;

    while (len && !ret) {
        size_t in = at % PART, n = MIN(len, PART - in);
        uint8_t *bytes;

        ret = part(p, at - in, &bytes);
        if (!ret)
            memcpy(buf, bytes + in, n);
        at += n;
        buf = (char *)buf + n;
        len -= n;
    }
    return ret;
}

CO_FN int parts_write(Parts *p, uint64_t at, const void *buf, size_t len)
{
    for (uint64_t a = align_down(at, PART); a < at + len; a += PART)
        if (p->at[a / PART % PARTS] == a + 1)
            p->at[a / PART % PARTS] = 0;
    return blk_write(p->file, at, buf, len);
}

/* ---- where it is ---- */
typedef struct Run {
    uint64_t host, len; /* CLUSTER_NONE, CLUSTER_ZERO or the byte in the file; bytes alike */
} Run;

static bool follows(const Clusters *c, const Run *r, uint64_t off, uint64_t host)
{
    return r->host <= CLUSTER_ZERO ? host == r->host : host == r->host + (r->len + off % c->cluster);
}

static CO_FN int find_run(Clusters *c, uint64_t off, uint64_t len, Run *r)
{
    uint64_t in = off % c->cluster, host;
    int ret = c->look(c, off / c->cluster, &host);

    if (ret)
        return ret;
    *r = (Run){ host, MIN(len, c->cluster - in) };
    while (r->len < MIN(len, RUN)) {
        uint64_t next;

        if (c->look(c, (off + r->len) / c->cluster, &next) || !follows(c, r, off, next))
            break; /* a wrong one is the next run's */
        r->len += MIN(len - r->len, c->cluster);
    }
    if (r->host > CLUSTER_ZERO)
        r->host += in;
    return 0;
}

static CO_FN int find_locked(Clusters *c, uint64_t off, uint64_t len, Run *r)
{
    int ret;

    co_lock(&c->lock);
    ret = find_run(c, off, len, r);
    co_unlock(&c->lock);
    return ret;
}

/* ---- reading ---- */
static CO_FN int read_all(Clusters *c, const BlkReq *r)
{
    g_autofree struct iovec *iov = g_new(struct iovec, MAX(r->niov, 1));
    Run run;
    int ret = 0;

    for (uint64_t at = 0; at < r->len && !ret; at += run.len) {
        BlkReq part_req = { .op = BLK_READ, .iov = iov };

        ret = find_locked(c, r->off + at, r->len - at, &run);
        if (ret)
            return ret;
        part_req.niov = iov_slice(r->iov, r->niov, at, run.len, iov);
        part_req.off = run.host;
        part_req.len = run.len;
        if (run.host == CLUSTER_ZERO)
            iov_zero(iov, part_req.niov, 0, run.len);
        else
            ret = run.host == CLUSTER_NONE ? blk_read_below(c->n, r->off + at, iov, part_req.niov, run.len) : blk_submit(c->n->file, &part_req);
    }
    return ret;
}

static CO_FN int status(Clusters *c, BlkReq *r)
{
    Node *b = c->n->backing;
    Run run;
    int ret = find_locked(c, r->off, r->len, &run);

    if (ret)
        return ret;
    r->len = run.len;
    r->zero = run.host == CLUSTER_ZERO;
    r->map_file = run.host > CLUSTER_ZERO ? c->n->file : NULL;
    r->map = run.host;
    if (run.host != CLUSTER_NONE)
        return 0;
    r->allocated = false;
    r->zero = !b || r->off >= b->size;
    if (r->zero || r->flags & BLK_THIS_LAYER)
        return 0;
    r->len = MIN(r->len, b->size - r->off);
    ret = blk_submit(b, r);
    r->depth++;
    return ret;
}

/* ---- writing ---- */
static CO_FN int fill_around(Clusters *c, uint64_t off, uint64_t len, uint64_t host, uint8_t *buf)
{
    uint64_t there = off < c->n->size ? MIN(len, c->n->size - off) : 0;
    struct iovec one = { buf, there };

    memset(buf, 0, len);
    return host == CLUSTER_ZERO || !there ? 0 : blk_read_below(c->n, off, &one, 1, there);
}

/* A run without a place: whole clusters, with what surrounds the write; the data before the table. Lock held. */
static CO_FN int write_new(Clusters *c, const BlkReq *r, uint64_t at, const Run *run)
{
    uint64_t off = r->off + at, head = off % c->cluster, whole = (head + run->len + c->cluster - 1) / c->cluster * c->cluster;
    uint64_t tail = whole - head - run->len, place = c->end;
    g_autofree uint8_t *around = g_try_malloc0(MAX(head + tail, 1));
    g_autofree struct iovec *iov = g_new(struct iovec, r->niov + 2);
    BlkReq w = { .op = BLK_WRITE, .off = place, .len = whole, .iov = iov };
    int ret = !around ? -ENOMEM : place + whole > c->room ? -EFBIG : c->dirty ? c->dirty(c) : 0;

    if (ret)
        return ret;
    iov[w.niov++] = (struct iovec){ around, head };
    w.niov += iov_slice(r->iov, r->niov, at, run->len, iov + 1);
    iov[w.niov++] = (struct iovec){ around + head, tail };
    ret = fill_around(c, off - head, head, run->host, around);
    ret = ret ? ret : fill_around(c, off + run->len, tail, run->host, around + head);
    ret = ret ? ret : blk_submit(c->n->file, &w);
    if (ret)
        return ret;
    c->end = place + whole;
    if (c->n->backing && head + tail)
        ret = blk_flush(c->n->file); /* the copy must be there before the table leads to it */
    return ret ? ret : c->set(c, off / c->cluster, whole / c->cluster, place);
}

static CO_FN int write_all(Clusters *c, const BlkReq *r)
{
    g_autofree struct iovec *iov = g_new(struct iovec, MAX(r->niov, 1));
    Run run;
    int ret = 0;

    for (uint64_t at = 0; at < r->len && !ret; at += run.len) {
        co_lock(&c->lock);
        ret = find_run(c, r->off + at, r->len - at, &run);
        if (!ret && run.host <= CLUSTER_ZERO) {
            ret = write_new(c, r, at, &run);
            co_unlock(&c->lock);
            continue;
        }
        co_unlock(&c->lock);
        if (!ret)
            ret = blk_submit(c->n->file, &(BlkReq){ .op = BLK_WRITE, .off = run.host, .len = run.len, .iov = iov,
                                                    .niov = iov_slice(r->iov, r->niov, at, run.len, iov) });
    }
    return ret || !(r->flags & BLK_FUA) ? ret : blk_flush(c->n->file);
}

static CO_FN int write_zeros(Clusters *c, uint64_t off, uint64_t len)
{
    g_autofree uint8_t *zero = g_try_malloc0(MAX(len, 1));
    struct iovec one = { zero, len };

    return !len ? 0 : zero ? write_all(c, &(BlkReq){ .op = BLK_WRITE, .off = off, .len = len, .iov = &one, .niov = 1 }) : -ENOMEM;
}

/* What has no place gets none: whole clusters by the table, the edges by writing. */
static CO_FN int zero_homeless(Clusters *c, uint64_t off, const Run *run)
{
    uint64_t in = off % c->cluster, end = off + run->len;
    Run now;
    int ret;

    if (run->host == CLUSTER_ZERO || !c->n->backing)
        return 0;
    if (!c->zeros || in || (end % c->cluster && end != c->n->size))
        return -ENOTSUP;
    co_lock(&c->lock);
    ret = find_run(c, off, run->len, &now);
    if (!ret && (now.host != CLUSTER_NONE || now.len != run->len)) /* somebody wrote meanwhile */
        ret = -ENOTSUP;
    if (!ret && c->dirty)
        ret = c->dirty(c);
    if (!ret)
        ret = c->set(c, off / c->cluster, (run->len + c->cluster - 1) / c->cluster, CLUSTER_ZERO);
    co_unlock(&c->lock);
    return ret;
}

/* Clusters are never let go: who has one has its bytes zeroed. */
static CO_FN int zero(Clusters *c, const BlkReq *r)
{
    Run run;
    int ret = r->flags & BLK_RESERVE ? -ENOTSUP : 0;

    for (uint64_t at = 0; at < r->len && !ret; at += run.len) {
        uint64_t off = r->off + at, in = off % c->cluster, left = r->len - at;

        ret = find_locked(c, off, in ? MIN(left, c->cluster - in) : left > c->cluster ? left / c->cluster * c->cluster : left, &run);
        if (!ret && run.host > CLUSTER_ZERO)
            ret = blk_zero(c->n->file, run.host, run.len, 0);
        else if (!ret)
            ret = zero_homeless(c, off, &run);
        if (ret == -ENOTSUP)
            ret = write_zeros(c, off, run.len);
    }
    return ret;
}

CO_FN int clusters_submit(Clusters *c, BlkReq *r)
{
    switch (r->op) {
    case BLK_READ:
        return read_all(c, r);
    case BLK_WRITE:
        return r->flags & BLK_COMPRESS ? -ENOTSUP : write_all(c, r);
    case BLK_FLUSH:
        return blk_flush(c->n->file);
    case BLK_ZERO:
        return zero(c, r);
    case BLK_STATUS:
        return status(c, r);
    default:
        return -ENOTSUP;
    }
}
