/*
 * block/node.c - requests against a node: bounds, splitting to the driver's limits, bounce buffers
 * for what is not aligned, fallbacks for what a driver cannot do; references, drain.
 *
 * Invariants: 1. r->iov of READ and WRITE describes exactly r->len bytes. 2. A driver sees only
 * requests inside n->size (TRUNCATE apart), aligned to limits.align. 3. Unaligned writes hold
 * n->rmw from the read of the block to its write, so two neighbours in one block do not undo each
 * other. 4. A request that came through the gate is in in_flight; jobs' own (BLK_PAST_GATE) too.
 */
#include "block/dirty.h"
#include "block/priv.h"
#include <errno.h>
#include <stdlib.h>

enum { BOUNCE_MAX = 1024 * 1024, ZERO_CHUNK = 1024 * 1024 };
#define GROW_MAX ((uint64_t)INT64_MAX - GiB)

/* ---- coroutines from outside ---- */
typedef struct Run {
    Loop *loop;
    void (*fn)(void *arg);
    void *arg;
    bool done;
    GMutex mutex;
    GCond cond;
} Run;

static void run_body(void *arg)
{
    Run *r = arg;

    r->fn(r->arg);
    g_mutex_lock(&r->mutex);
    r->done = true;
    g_cond_signal(&r->cond);
    g_mutex_unlock(&r->mutex);
}

static void run_there(void *arg) { co_enter(co_new(run_body, arg)); }

void block__run(Loop *loop, void (*fn)(void *arg), void *arg)
{
    Run r = { .loop = loop, .fn = fn, .arg = arg };

    if (co_self()) {
        fn(arg);
        return;
    }
    g_mutex_init(&r.mutex);
    g_cond_init(&r.cond);
    if (loop_is_mine(loop)) {
        run_there(&r);
        while (!r.done)
            loop_iterate(loop, true);
    } else { /* the caller holds no lock the loop needs */
        loop_post(loop, run_there, &r);
    }
    g_mutex_lock(&r.mutex);
    while (!r.done)
        g_cond_wait(&r.cond, &r.mutex);
    g_mutex_unlock(&r.mutex);
    g_mutex_clear(&r.mutex);
    g_cond_clear(&r.cond);
}

/* ---- limits ---- */
void block__limits(Node *n)
{
    n->limits = (BlkLimits){ .align = 1,
                             .max_iov = 1024,
                             .max_transfer = GiB,
                             .max_discard = 1ull << 40,
                             .max_zero = 1ull << 40,
                             .mem_align = 1 };
    if (n->file) {
        n->limits = n->file->limits;
        n->limits.align = 1; /* the child bounces for itself */
        n->limits.mem_align = 1;
    }
    if (n->drv->limits)
        n->drv->limits(n, &n->limits);
}

/* ---- the request path ---- */
static CO_FN int to_driver(Node *n, const BlkReq *r, uint64_t at, uint64_t len, struct iovec *iov)
{
    BlkReq part = *r;

    part.off = r->off + at;
    part.len = len;
    if (r->niov) {
        part.niov = iov_slice(r->iov, r->niov, at, len, iov);
        part.iov = iov;
    }
    return n->drv->submit(n, &part);
}

/* A READ or WRITE that is not aligned: through a buffer of whole blocks, read first where needed.
 */
static CO_FN int bounce_part(Node *n, const BlkReq *r, uint64_t at, uint64_t len)
{
    uint32_t align = MAX(n->limits.align, 1);
    uint64_t lo = align_down(r->off + at, align), hi = align_up(r->off + at + len, align);
    void *buf = NULL;
    struct iovec one = { NULL, hi - lo };
    BlkReq whole = { .op = BLK_READ, .off = lo, .len = hi - lo, .iov = &one, .niov = 1 };
    bool partial = lo != r->off + at || hi != r->off + at + len;
    int ret = 0;

    if (posix_memalign(&buf, MAX(4096, align), hi - lo))
        return -ENOMEM;
    one.iov_base = buf;
    if (r->op == BLK_READ) {
        ret = n->drv->submit(n, &whole);
        if (!ret)
            iov_scatter(r->iov, r->niov, at, (char *)buf + (r->off + at - lo), len);
    } else {
        if (partial)
            co_lock(&n->rmw);
        if (partial)
            ret = n->drv->submit(n, &whole);
        iov_gather(r->iov, r->niov, at, (char *)buf + (r->off + at - lo), len);
        whole.op = BLK_WRITE;
        whole.flags = r->flags;
        if (!ret)
            ret = n->drv->submit(n, &whole);
        if (partial)
            co_unlock(&n->rmw);
    }
    free(buf);
    return ret;
}

static CO_FN int transfer(Node *n, BlkReq *r)
{
    const BlkLimits *l = &n->limits;
    uint64_t at = 0;
    bool bounce = (l->align > 1 && ((r->off | r->len) % l->align)) ||
                  !iov_aligned(r->iov, r->niov, l->mem_align);
    uint64_t max = MIN(l->max_transfer, bounce ? BOUNCE_MAX : GiB);
    struct iovec *iov;
    int ret = 0;

    if (!bounce && r->len <= max && r->niov <= (int)l->max_iov)
        return n->drv->submit(n, r);
    if (r->niov > (int)l->max_iov &&
        !bounce) { /* many small pieces: one copy is cheaper than many calls */
        bounce = true;
        max = MIN(max, BOUNCE_MAX);
    }
    iov = g_new(struct iovec, MAX(r->niov, 1));
    while (at < r->len && !ret) {
        uint64_t len = MIN(r->len - at, max);

        ret = bounce ? bounce_part(n, r, at, len) : to_driver(n, r, at, len, iov);
        at += len;
    }
    g_free(iov);
    return ret;
}

CO_FN int blk_write_zeros(Node *n, CO_FN int (*write)(Node *n, BlkReq *r), uint64_t off, uint64_t len, unsigned flags)
{
    g_autofree uint8_t *zero = g_try_malloc0(MIN(len, ZERO_CHUNK));
    int ret = zero || !len ? 0 : -ENOMEM;

    for (uint64_t at = 0; at < len && !ret;) {
        struct iovec one = { zero, MIN(len - at, ZERO_CHUNK) };
        BlkReq w = { .op = BLK_WRITE, .off = off + at, .len = one.iov_len, .iov = &one, .niov = 1, .flags = flags };

        ret = write(n, &w);
        at += one.iov_len;
    }
    return ret;
}

static CO_FN int write_zeroes(Node *n, uint64_t off, uint64_t len, unsigned flags)
{
    return blk_write_zeros(n, transfer, off, len, flags & BLK_FUA);
}

/* DISCARD and ZERO: whole blocks go to the driver, the edges are written (ZERO) or left (DISCARD).
 */
static CO_FN int zero_or_discard(Node *n, const BlkReq *r)
{
    uint32_t align = MAX(n->limits.align, 1);
    uint64_t lo = MIN(align_up(r->off, align), r->off + r->len),
             hi = MAX(align_down(r->off + r->len, align), lo);
    bool zero = r->op == BLK_ZERO;
    uint64_t max = zero ? n->limits.max_zero : n->limits.max_discard;
    int ret = 0;

    if (zero && lo > r->off)
        ret = write_zeroes(n, r->off, lo - r->off, r->flags);
    for (uint64_t at = lo; at < hi && !ret;) {
        uint64_t len = MIN(hi - at, max);
        BlkReq part = { .op = r->op, .off = at, .len = len, .flags = r->flags };

        ret = n->drv->submit(n, &part);
        if (ret == -ENOTSUP && !(r->flags & BLK_NO_FALLBACK))
            ret = zero ? write_zeroes(n, at, len, r->flags) : 0;
        at += len;
    }
    if (zero && !ret && r->off + r->len > hi)
        ret = write_zeroes(n, hi, r->off + r->len - hi, r->flags);
    return ret;
}

static CO_FN int by_op(Node *n, BlkReq *r)
{
    int ret;

    switch (r->op) {
    case BLK_READ:
    case BLK_WRITE:
        return r->len ? transfer(n, r) : 0;
    case BLK_ZERO:
    case BLK_DISCARD:
        return zero_or_discard(n, r);
    case BLK_FLUSH:
        return n->no_flush ? 0 : n->drv->submit(n, r);
    case BLK_STATUS:
        r->allocated = true;
        r->zero = r->compressed = false;
        r->map_file = NULL;
        r->depth = 0;
        ret = n->drv->submit(n, r);
        return ret == -ENOTSUP ? 0 : ret;
    default:
        return n->drv->submit(n, r);
    }
}

static int check(const Node *n, const BlkReq *r)
{
    bool changes =
        r->op == BLK_WRITE || r->op == BLK_ZERO || r->op == BLK_DISCARD || r->op == BLK_TRUNCATE;

    if (changes && n->readonly)
        return -EACCES;
    if (r->op == BLK_FLUSH || r->op == BLK_TRUNCATE)
        return 0;
    if (!in_range(r->off, r->len, n->grows ? GROW_MAX : n->size))
        return -EIO;
    if ((r->op == BLK_READ || r->op == BLK_WRITE) && iov_total(r->iov, r->niov) != r->len)
        return -EINVAL;
    return 0;
}

/* A file that grows: what is read past its end is zero, what is written there moves the end. */
static CO_FN int past_end(Node *n, BlkReq *r)
{
    uint64_t in = r->off < n->size ? n->size - r->off : 0;
    BlkReq part = *r;
    int ret = 0;

    switch (r->op) {
    case BLK_READ:
        part.len = in;
        part.iov = g_new(struct iovec, MAX(r->niov, 1));
        part.niov = iov_slice(r->iov, r->niov, 0, in, part.iov);
        ret = in ? by_op(n, &part) : 0;
        g_free(part.iov);
        iov_zero(r->iov, r->niov, in, r->len - in);
        return ret;
    case BLK_WRITE:
    case BLK_ZERO:
        ret = by_op(n, r);
        if (!ret)
            n->size = MAX(n->size, r->off + r->len);
        return ret;
    case BLK_STATUS:
        if (in) {
            r->len = in;
            return by_op(n, r);
        }
        r->allocated = r->compressed = false;
        r->zero = true;
        r->map_file = NULL;
        return 0;
    default:
        part.len = in;
        return in ? by_op(n, &part) : 0;
    }
}

static bool changes(const BlkReq *r) { return r->op == BLK_WRITE || r->op == BLK_ZERO || r->op == BLK_DISCARD; }

/* Also after a failure: nobody knows what of it reached the image. */
static void keep_bitmaps(Node *n, const BlkReq *r)
{
    if (r->op == BLK_TRUNCATE)
        dirty__resized(n);
    else if (changes(r))
        dirty__written(n, r->off, r->len);
}

/* ---- the gate and the hooks of jobs ---- */
/* Where the request goes on to: jobs may have put another node in n's place meanwhile. */
static CO_FN Node *wait_at_gate(Node *n)
{
    while (n->gated) {
        co_wait(&n->gate, NULL);
        n = n->forward ? n->forward : n;
    }
    return n;
}

CO_FN void node_quiesce(Node *n)
{
    n->gated++;
    while (g_atomic_int_get(&n->in_flight)) {
        g_queue_push_tail(&n->quiescers, co_self());
        co_yield();
    }
}

void node_release(Node *n)
{
    if (--n->gated)
        return;
    co_wake_all(&n->gate);
    n->forward = NULL;
}

CO_FN bool node_set_readonly(Node *n, bool readonly, Error **err)
{
    if (n->readonly == readonly)
        return true;
    if (n->drv->set_readonly)
        return n->drv->set_readonly(n, readonly, err);
    if (n->drv->protocol || n->drv->image || !n->file)
        return fail(err, "driver '%s' cannot change whether it writes", n->drv->name);
    if (!node_set_readonly(n->file, readonly, err))
        return false;
    n->readonly = readonly;
    return true;
}

void node_hook(Node *n, NodeHook *h)
{
    if (!n->hooks)
        n->hooks = g_ptr_array_new();
    g_ptr_array_add(n->hooks, h);
}

void node_unhook(Node *n, NodeHook *h) { g_ptr_array_remove(n->hooks, h); }

static CO_FN int before(Node *n, const BlkReq *r)
{
    int ret = 0;

    for (guint i = 0; n->hooks && i < n->hooks->len && !ret; i++) {
        NodeHook *h = n->hooks->pdata[i];

        ret = h->before ? h->before(h->o, r) : 0;
    }
    return ret;
}

static CO_FN int after(Node *n, const BlkReq *r, int ret)
{
    for (guint i = 0; n->hooks && i < n->hooks->len; i++) {
        NodeHook *h = n->hooks->pdata[i];

        ret = h->after ? h->after(h->o, r, ret) : ret;
    }
    return ret;
}

static void watch_threshold(Node *n, const BlkReq *r)
{
    uint64_t limit = n->write_threshold, end = r->off + r->len;

    if ((r->op != BLK_WRITE && r->op != BLK_ZERO) || end <= limit)
        return;
    n->exceeded(n, end - limit, n->exceeded_arg);
    n->write_threshold = 0;
}

static CO_FN int perform(Node *n, BlkReq *r)
{
    bool hooked = n->hooks && n->hooks->len && changes(r) && !(r->flags & BLK_PAST_GATE);
    int ret = hooked ? before(n, r) : 0;

    if (ret)
        return ret;
    if (n->write_threshold)
        watch_threshold(n, r);
    ret = n->grows && r->len && r->off + r->len > n->size ? past_end(n, r) : by_op(n, r);
    if (n->dirty)
        keep_bitmaps(n, r);
    return hooked ? after(n, r, ret) : ret;
}

CO_FN int blk_submit(Node *n, BlkReq *r)
{
    Co *co;
    int ret;

    if (n->gated && !(r->flags & BLK_PAST_GATE))
        n = wait_at_gate(n);
    ret = check(n, r);
    if (ret)
        return ret;
    g_atomic_int_inc(&n->in_flight);
    ret = perform(n, r);
    if (g_atomic_int_dec_and_test(&n->in_flight))
        while (!n->in_flight && (co = g_queue_pop_head(&n->quiescers)))
            co_wake(co);
    return ret;
}

CO_FN int block__forward(Node *n, BlkReq *r)
{
    int ret;

    if (n->grows) /* a format's file, through a filter */
        n->file->grows = true;
    ret = blk_submit(n->file, r);
    if (!ret && r->op == BLK_TRUNCATE)
        n->size = n->file->size;
    return ret;
}

CO_FN int blk_read(Node *n, uint64_t off, void *buf, size_t len)
{
    struct iovec one = { buf, len };

    return blk_submit(n, &(BlkReq){ .op = BLK_READ, .off = off, .len = len, .iov = &one, .niov = 1 });
}

CO_FN int blk_write(Node *n, uint64_t off, const void *buf, size_t len)
{
    struct iovec one = { (void *)(uintptr_t)buf, len };

    return blk_submit(n, &(BlkReq){ .op = BLK_WRITE, .off = off, .len = len, .iov = &one, .niov = 1 });
}

CO_FN int blk_zero(Node *n, uint64_t off, uint64_t len, unsigned flags)
{
    return blk_submit(n, &(BlkReq){ .op = BLK_ZERO, .off = off, .len = len, .flags = flags });
}

CO_FN int blk_read_below(const Node *n, uint64_t off, struct iovec *iov, int niov, uint64_t len)
{
    Node *b = n->backing;
    uint64_t there = b && off < b->size ? MIN(len, b->size - off) : 0;
    g_autofree struct iovec *part = NULL;
    BlkReq r = { .op = BLK_READ, .off = off, .len = there, .iov = iov, .niov = niov };

    if (there < len) { /* a short backing file goes on with zeros */
        iov_zero(iov, niov, there, len - there);
        part = g_new(struct iovec, MAX(niov, 1));
        r.niov = iov_slice(iov, niov, 0, there, part);
        r.iov = part;
    }
    return there ? blk_submit(b, &r) : 0;
}

CO_FN int blk_flush(Node *n) { return blk_submit(n, &(BlkReq){ .op = BLK_FLUSH }); }

CO_FN int blk_truncate(Node *n, uint64_t size, unsigned flags)
{
    return blk_submit(n, &(BlkReq){ .op = BLK_TRUNCATE, .off = size, .flags = flags });
}

typedef struct Sync {
    Node *n;
    BlkReq *r;
    int ret;
} Sync;

static void sync_body(void *arg)
{
    Sync *s = arg;

    s->ret = blk_submit(s->n, s->r);
}

int blk_sync(Node *n, BlkReq *r)
{
    Sync s = { n, r, 0 };

    block__run(n->loop, sync_body, &s);
    return s.ret;
}

void node_drain(Node *n)
{
    while (g_atomic_int_get(&n->in_flight)) {
        if (loop_is_mine(n->loop))
            loop_iterate(n->loop, true);
        else
            g_usleep(100); /* another thread serves them; only at take-down */
    }
}

/* ---- life ---- */
Node *node_ref(Node *n)
{
    g_atomic_int_inc(&n->refs);
    return n;
}

static void close_body(void *arg)
{
    Node *n = arg;

    n->drv->close(n);
}

void node_unref(Node *n)
{
    if (!n || !g_atomic_int_dec_and_test(&n->refs))
        return;
    node_drain(n);
    if (n->drv->close)
        block__run(n->loop, close_body, n);
    dirty__closed(n);
    node_unref(n->file);
    node_unref(n->backing);
    node_unref(n->data);
    for (guint i = 0; n->extents && i < n->extents->len; i++)
        node_unref(n->extents->pdata[i]);
    if (n->extents)
        g_ptr_array_free(n->extents, TRUE);
    if (n->claims)
        g_ptr_array_free(n->claims, TRUE);
    if (n->hooks)
        g_ptr_array_free(n->hooks, TRUE);
    g_free(n->opaque);
    g_free(n->name);
    g_free(n->filename);
    g_free(n);
}
