/*
 * block/jobs/chain.c - stream: what lies in layers below comes into the layer itself; commit: what lies in layers above goes
 * into the base. Both end with a shorter chain.
 */
#include "block/jobs/chain.h"
#include <errno.h>
#include <stdlib.h>

enum { PIECE = 512 * 1024 };
typedef struct Chain {
    BJob b;
    ChainSpec spec;   /* nodes: references */
    unsigned depth;   /* of base below top; layers above it count */
    BCopy c;
    bool top_was_ro, base_was_ro;
} Chain;

/* Layers from top down to base: 1: base is right below; UINT32_MAX: no base, the whole chain. */
static unsigned depth_of(const Node *top, const Node *base)
{
    unsigned d = 0;

    for (const Node *n = top; n && n != base; n = n->backing) /* a chain without loops */
        d++;
    return base ? d : UINT32_MAX;
}

/* ---- stream ---- */
/* The guest's requests wait while a piece comes up: it must not be older than what they write. */
static CO_FN int bring_up(Chain *k, uint64_t off, uint64_t *len)
{
    Node *n = k->b.node;
    BlkReq own = { .op = BLK_STATUS, .off = off, .len = MIN(*len, PIECE), .flags = BLK_PAST_GATE | BLK_THIS_LAYER };
    int ret;

    node_quiesce(n);
    ret = blk_submit(n, &own);
    *len = own.len;
    if (!ret && !own.allocated) {
        BlkReq all = { .op = BLK_STATUS, .off = off, .len = own.len, .flags = BLK_PAST_GATE };

        ret = blk_submit(n, &all);
        *len = all.len;
        if (!ret && all.depth < k->depth && !(all.zero && !k->spec.base) && (all.allocated || all.zero))
            ret = bjob_copy(&k->c, off, len);
    }
    node_release(n);
    return ret ? ret : *len ? 0 : -EIO;
}

static CO_FN bool stream_run(Job *j, Error **err)
{
    Chain *k = job_state(j);
    uint64_t size = k->b.node->size;

    job_total(j, (int64_t)size);
    for (uint64_t at = 0; at < size;) {
        uint64_t len = size - at;
        int ret = bring_up(k, at, &len);

        if (ret && !bjob_error(&k->b, k->c.read_failed, ret))
            return fail_errno_is(err, -ret, "cannot read the layers below");
        if (ret && k->b.on_read != ON_ERROR_IGNORE)
            continue;
        at += len;
        job_done(j, (int64_t)at);
        if (!bjob_step(&k->b, len))
            return false;
    }
    return true;
}

/* The header of `upper` names another backing file, and the graph follows. */
static CO_FN bool shorten(Chain *k, Node *upper, Error **err)
{
    Node *base = k->spec.base, *old = upper->backing;
    const char *name = k->spec.backing_file ? k->spec.backing_file : base ? base->filename : NULL;
    bool ok;

    if (!upper->drv->image || !upper->drv->image->set_backing)
        return fail(err, "'%s' cannot name another backing file", upper->filename);
    node_quiesce(upper);
    ok = upper->drv->image->set_backing(upper, name, base ? base->drv->name : NULL, err);
    if (ok)
        upper->backing = base ? node_ref(base) : NULL;
    node_release(upper);
    if (ok)
        node_unref(old);
    return ok;
}

static CO_FN bool stream_prepare(Job *j, Error **err)
{
    Chain *k = job_state(j);

    return !k->b.node->backing || k->b.node->backing == k->spec.base || shorten(k, k->b.node, err);
}

/* ---- commit ---- */
static CO_FN bool commit_run(Job *j, Error **err)
{
    Chain *k = job_state(j);
    Node *top = k->spec.top, *base = k->spec.base;
    int ret = base->size < top->size ? blk_truncate(base, top->size, 0) : 0;

    if (ret)
        return fail_errno_is(err, -ret, "cannot resize the base");
    job_total(j, (int64_t)top->size);
    for (uint64_t at = 0; at < top->size;) {
        BlkReq st = { .op = BLK_STATUS, .off = at, .len = top->size - at };

        ret = blk_submit(top, &st);
        k->c.read_failed = true;
        if (!ret && st.depth < k->depth && (st.allocated || st.zero))
            ret = bjob_copy(&k->c, at, &st.len);
        if (ret && !bjob_error(&k->b, k->c.read_failed, ret))
            return fail_errno_is(err, -ret, "cannot copy to the base");
        if (ret && k->b.on_read != ON_ERROR_IGNORE)
            continue;
        at += MAX(st.len, 1);
        job_done(j, (int64_t)at);
        if (!bjob_step(&k->b, st.len))
            return false;
    }
    ret = blk_flush(base);
    return !ret || fail_errno_is(err, -ret, "cannot flush the base");
}

static CO_FN bool commit_prepare(Job *j, Error **err)
{
    Chain *k = job_state(j);
    Node *above = k->spec.above;
    bool was_ro = above->readonly, ok;

    ok = node_set_readonly(above, false, err) && shorten(k, above, err);
    if (was_ro && !above->readonly)
        node_set_readonly(above, true, NULL);
    return ok;
}

static void chain_clean(Job *j)
{
    Chain *k = job_state(j);

    for (unsigned i = 0; i < BJOB_CLAIMS; i++)
        node_unclaim(&k->b.claims[i]);
    if (k->base_was_ro)
        node_set_readonly(k->spec.base, true, NULL);
    node_unref(k->spec.top);
    node_unref(k->spec.base);
    node_unref(k->spec.above);
    g_free(k->spec.backing_file);
    free(k->c.buf);
    bjob_clean(&k->b);
}

static const JobDriver stream = { .type = JOB_TYPE_STREAM, .size = sizeof(Chain), .run = stream_run, .prepare = stream_prepare, .clean = chain_clean,
                                  .changed = bjob_changed, .set_speed = bjob_set_speed };
static const JobDriver commit = { .type = JOB_TYPE_COMMIT, .size = sizeof(Chain), .run = commit_run, .prepare = commit_prepare, .clean = chain_clean,
                                  .changed = bjob_changed, .set_speed = bjob_set_speed };

static bool claims(Chain *k, bool commits, Error **err)
{
    if (!commits)
        return bjob_claim(&k->b, 0, k->b.node, PERM_CONSISTENT_READ, err);
    if (k->spec.base->readonly) {
        if (!node_set_readonly(k->spec.base, false, err))
            return false;
        k->base_was_ro = true;
    }
    k->b.claims[0].same = true;
    return bjob_claim(&k->b, 0, k->spec.base, PERM_WRITE | PERM_RESIZE, err) && bjob_claim(&k->b, 1, k->spec.top, PERM_CONSISTENT_READ, err);
}

static Job *chain_new(Vm *vm, const BJobArgs *a, const ChainSpec *s, Node *n, bool commits, Error **err)
{
    Chain *k = bjob_new(vm, commits ? &commit : &stream, a, n, err);

    if (!k)
        return NULL;
    k->spec = (ChainSpec){ .top = s->top ? node_ref(s->top) : NULL, .base = s->base ? node_ref(s->base) : NULL,
                           .above = s->above ? node_ref(s->above) : NULL, .backing_file = g_strdup(s->backing_file) };
    k->b.on_read = k->b.on_write = s->on_error;
    k->depth = depth_of(commits ? s->top : n, s->base);
    k->c = commits ? (BCopy){ .from = s->top, .to = s->base } : (BCopy){ .from = n, .to = n, .read_flags = BLK_PAST_GATE, .write_flags = BLK_PAST_GATE };
    if (claims(k, commits, err))
        return k->b.job;
    job_cancel(k->b.job, true, NULL);
    return NULL;
}

CO_FN Job *stream_new(Vm *vm, const BJobArgs *a, const ChainSpec *s, Node *n, Error **err) { return chain_new(vm, a, s, n, false, err); }
CO_FN Job *commit_new(Vm *vm, const BJobArgs *a, const ChainSpec *s, Node *n, Error **err) { return chain_new(vm, a, s, n, true, err); }
