/*
 * block/jobs/mirror.c - mirror: a copy that is kept up with the source until job-complete puts it in the source's place.
 * Commit of an active layer is the same, to the image below.
 *
 * The bitmap `dirty` records what was written. A granule's bit is cleared before it is read, so that a write meanwhile sets it
 * again. The end: the source is quiesced, nothing is dirty, the target flushed; it stays quiesced until the switch.
 */
#include "block/jobs/bjob.h"
#include "block/jobs/mirror.h"
#include <errno.h>
#include <stdlib.h>

enum { GRANULE_MIN = 512, GRANULE_MAX = 64 << 20 };
typedef struct Mirror {
    BJob b;
    Node *target, *replaces; /* replaces: whom the target takes the place of */
    MirrorSpec spec;
    DirtyBitmap *dirty;
    NodeHook hook;
    BCopy c;
    bool hooked, gated, leaves; /* leaves: soft cancel, no switch */
    int target_error;           /* of a write that should have gone to both */
    bool made_writable;
} Mirror;

/* ---- while the guest writes ---- */
static CO_FN int write_both(Mirror *m, const BlkReq *r)
{
    BlkReq w = *r;
    int ret;

    w.flags &= ~(unsigned)BLK_FUA;
    ret = blk_submit(m->target, &w);
    /* whole granules are the same on both sides now, unless another write is at work there */
    if (!ret && r->len >= dirty_granularity(m->dirty)) {
        uint64_t g = dirty_granularity(m->dirty), lo = align_up(r->off, g), hi = align_down(r->off + r->len, g);

        if (hi > lo && g_atomic_int_get(&m->b.node->in_flight) == 1)
            dirty_reset(m->dirty, lo, hi - lo);
    }
    return ret;
}

static CO_FN int after_write(void *o, const BlkReq *r, int ret)
{
    Mirror *m = o;

    if (m->spec.write_blocking && !ret && r->len && !m->target_error && job_status(m->b.job) != JOB_STATUS_ABORTING)
        m->target_error = write_both(m, r);
    job_wake(m->b.job);
    return ret;
}

/* ---- the work ---- */
static void progress(Mirror *m, int64_t done)
{
    job_done(m->b.job, done);
    job_total(m->b.job, done + (int64_t)(m->dirty->count << m->dirty->shift));
}

/* What is allocated above the base; a copy from the start without it. */
static CO_FN int find_allocated(Mirror *m)
{
    Node *n = m->b.node;

    for (uint64_t at = 0; at < n->size && !job_cancelled(m->b.job);) {
        BlkReq st = { .op = BLK_STATUS, .off = at, .len = n->size - at };
        int ret = blk_submit(n, &st);

        if (ret || !st.len)
            return ret ? ret : -EIO;
        if (m->spec.depth && (st.depth < m->spec.depth && (st.allocated || st.zero)))
            dirty_set(m->dirty, at, st.len);
        at += st.len;
        if (!job_sleep(m->b.job, 0))
            return -ECANCELED;
    }
    return 0;
}

static CO_FN int copy_next(Mirror *m, uint64_t *from, uint64_t *done)
{
    uint64_t at = dirty_next(m->dirty, *from), run, part;
    bool is;
    int ret = 0;

    *done = 0;
    if (at == UINT64_MAX) {
        *from = 0;
        return 0;
    }
    at = align_down(at, dirty_granularity(m->dirty));
    run = dirty_run(m->dirty, at, MIN(m->b.node->size - at, MAX(BJOB_CHUNK, dirty_granularity(m->dirty))), &is);
    dirty_reset(m->dirty, at, run);
    for (uint64_t k = 0; k < run && !ret; k += part) {
        part = run - k;
        ret = bjob_copy(&m->c, at + k, &part);
        if (ret)
            dirty_set(m->dirty, at + k, run - k);
    }
    *from = at + run;
    *done = run;
    return ret;
}

/* One piece; errors by policy. */
static CO_FN bool step(Mirror *m, uint64_t *at, int64_t *copied, Error **err)
{
    uint64_t done;
    int ret = m->target_error; /* what it was about is dirty still */

    m->target_error = 0;
    m->c.read_failed = false;
    if (!ret)
        ret = copy_next(m, at, &done);
    if (ret) {
        if (bjob_error(&m->b, m->c.read_failed, ret))
            return true;
        return fail_errno_is(err, -ret, "%s", m->c.read_failed ? "cannot read the source" : "cannot write the target");
    }
    *copied += (int64_t)done;
    progress(m, *copied);
    return bjob_step(&m->b, done);
}

/* Nothing moves and nothing is dirty: the end. The gate stays closed. */
static CO_FN bool at_the_end(Mirror *m, Error **err, bool *ok)
{
    int ret;

    node_quiesce(m->b.node);
    m->gated = true;
    if (m->dirty->count || m->target_error) {
        m->gated = false;
        node_release(m->b.node);
        return false;
    }
    ret = blk_flush(m->target);
    *ok = !ret || fail_errno_is(err, -ret, "cannot flush the target");
    return true;
}

static CO_FN bool mirror_loop(Mirror *m, Error **err)
{
    Job *j = m->b.job;
    uint64_t at = 0;
    int64_t copied = 0;
    bool ok = true;

    progress(m, 0);
    while (!job_cancelled(j)) {
        if (m->dirty->count || m->target_error) {
            if (!step(m, &at, &copied, err))
                return false;
            continue;
        }
        job_set_ready(j);
        if ((job_completing(j) || m->leaves) && at_the_end(m, err, &ok))
            return ok;
        if (!job_completing(j) && !m->leaves && !m->dirty->count)
            job_sleep(j, SEC);
        else
            job_sleep(j, 0);
    }
    return false;
}

static CO_FN bool mirror_run(Job *j, Error **err)
{
    Mirror *m = job_state(j);
    int ret = 0;

    if (m->spec.commit && m->target->size < m->b.node->size)
        ret = blk_truncate(m->target, m->b.node->size, 0);
    if (ret)
        return fail_errno_is(err, -ret, "cannot resize the base");
    if (m->spec.depth)
        ret = find_allocated(m);
    else if (!m->spec.none)
        dirty_set(m->dirty, 0, m->b.node->size);
    if (ret)
        return fail_errno_is(err, -ret, "cannot read the source");
    return mirror_loop(m, err);
}

/* ---- the switch ---- */
static CO_FN bool mirror_prepare(Job *j, Error **err)
{
    Mirror *m = job_state(j);
    Node *out = m->replaces ? m->replaces : m->b.node;
    bool ok;

    if (m->leaves)
        return true;
    if (m->spec.take_backing && !m->target->backing && m->b.node->backing)
        m->target->backing = node_ref(m->b.node->backing);
    node_unclaim(&m->b.claims[1]);
    if (out != m->b.node)
        node_quiesce(out);
    ok = graph_replace(job_vm(j), out, m->target, err);
    if (out != m->b.node)
        node_release(out);
    return ok;
}

static bool mirror_complete(Job *j, Error **err) { return true; }

static bool mirror_soft_cancel(Job *j)
{
    Mirror *m = job_state(j);

    if (m->spec.commit) /* an active commit has nothing to leave */
        return false;
    return m->leaves = true;
}

static void mirror_clean(Job *j)
{
    Mirror *m = job_state(j);
    bool in_coroutine = co_self();

    if (m->hooked && in_coroutine) {
        if (!m->gated)
            node_quiesce(m->b.node);
        m->gated = true;
        node_unhook(m->b.node, &m->hook);
    }
    if (m->gated)
        node_release(m->b.node);
    if (m->dirty)
        dirty_free(m->dirty);
    for (unsigned i = 0; i < BJOB_CLAIMS; i++)
        node_unclaim(&m->b.claims[i]);
    if (m->made_writable && (job_failed(j) || m->leaves))
        node_set_readonly(m->target, true, NULL);
    node_unref(m->target);
    node_unref(m->replaces);
    free(m->c.buf);
    bjob_clean(&m->b);
}

static const JobDriver mirror = { .type = JOB_TYPE_MIRROR, .size = sizeof(Mirror), .run = mirror_run, .prepare = mirror_prepare, .clean = mirror_clean,
                                  .complete = mirror_complete, .soft_cancel = mirror_soft_cancel, .changed = bjob_changed, .set_speed = bjob_set_speed };
static const JobDriver active_commit = { .type = JOB_TYPE_COMMIT, .size = sizeof(Mirror), .run = mirror_run, .prepare = mirror_prepare,
                                         .clean = mirror_clean, .complete = mirror_complete, .soft_cancel = mirror_soft_cancel,
                                         .changed = bjob_changed, .set_speed = bjob_set_speed };

/* ---- beginning ---- */
static bool suits(const MirrorSpec *s, Node *n, Node *target, Error **err)
{
    if (n == target)
        return fail(err, "Can't mirror node into itself");
    if (s->granularity && (s->granularity < GRANULE_MIN || s->granularity > GRANULE_MAX))
        return fail(err, "Parameter 'granularity' expects a value in range [512B, 64MB]");
    if (s->granularity && !is_pow2(s->granularity))
        return fail(err, "Parameter 'granularity' expects a power of 2");
    return s->commit || n->size == target->size || fail(err, "Source and target have different sizes");
}

static bool prepare(Mirror *m, Error **err)
{
    m->dirty = dirty_new(m->b.node, NULL, m->spec.granularity, err);
    if (!m->dirty)
        return false;
    if (m->spec.commit && m->target->readonly) {
        if (!node_set_readonly(m->target, false, err))
            return false;
        m->made_writable = true;
    }
    m->b.claims[1].same = m->spec.commit;
    return bjob_claim(&m->b, 0, m->b.node, PERM_CONSISTENT_READ, err) && bjob_claim(&m->b, 1, m->target, PERM_WRITE | (m->spec.commit ? PERM_RESIZE : 0), err);
}

Job *mirror_new(Vm *vm, const BJobArgs *a, const MirrorSpec *spec, Node *n, Node *target, Error **err)
{
    Mirror *m;

    if (!suits(spec, n, target, err) || !(m = bjob_new(vm, spec->commit ? &active_commit : &mirror, a, n, err)))
        return NULL;
    m->spec = *spec;
    m->target = node_ref(target);
    m->replaces = spec->replaces ? node_ref(spec->replaces) : NULL;
    m->b.on_read = spec->on_read;
    m->b.on_write = spec->on_write;
    m->c = (BCopy){ .from = n, .to = target, .read_flags = BLK_PAST_GATE };
    m->hook = (NodeHook){ NULL, after_write, m };
    if (!prepare(m, err)) {
        job_cancel(m->b.job, true, NULL);
        return NULL;
    }
    node_hook(n, &m->hook);
    m->hooked = true;
    return m->b.job;
}
