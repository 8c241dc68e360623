/*
 * block/jobs/backup.c - backup: the disk as it was when the job began. A granule's old bytes go to the target before the
 * guest writes it (a hook of the source), all others in the background.
 *
 * Invariants: 1. a bit of `todo` is cleared only once the target has the granule. 2. `copy` is held from the look at a
 * granule's bit until it is cleared, by the hook and by the background alike. 3. The hook is removed while no request is
 * under way.
 */
#include "block/jobs/bjob.h"
#include <errno.h>
#include <stdlib.h>

enum { GRANULE = 64 * 1024 };
typedef struct Backup {
    BJob b;
    Node *target;
    MirrorSyncMode sync;
    BitmapSyncMode mode;
    DirtyBitmap *todo, *bitmap; /* bitmap: the user's, or NULL */
    DirtyBitmap *before;        /* what it was */
    NodeHook hook;
    CoLock copy;
    BCopy c;
    bool hooked;
    int guest_error; /* the target failed a write of the guest's old bytes: the job fails, the guest does not */
} Backup;

static CO_FN int copy_one(Backup *k, uint64_t off, uint64_t *done)
{
    uint64_t end = MIN(k->b.node->size, align_up(off + 1, dirty_granularity(k->todo))), at = off;
    int ret = 0;

    while (at < end && !ret) {
        uint64_t len = end - at;

        ret = bjob_copy(&k->c, at, &len);
        at += len;
    }
    *done = end - off;
    if (!ret)
        dirty_reset(k->todo, off, 1);
    return ret;
}

static CO_FN int before_write(void *o, const BlkReq *r)
{
    Backup *k = o;
    uint64_t end = r->off + r->len, done;

    if (!r->len)
        return 0;
    co_lock(&k->copy);
    for (uint64_t at = dirty_next(k->todo, align_down(r->off, dirty_granularity(k->todo))); at < end && !k->guest_error; at = dirty_next(k->todo, at + 1)) {
        int ret = copy_one(k, align_down(at, dirty_granularity(k->todo)), &done);

        if (ret)
            k->guest_error = ret;
    }
    co_unlock(&k->copy);
    return 0;
}

/* ---- the background ---- */
static void progress(Backup *k)
{
    int64_t all = (int64_t)k->b.node->size;

    job_done(k->b.job, all - (int64_t)MIN((uint64_t)all, k->todo->count << k->todo->shift));
}

static CO_FN bool one_step(Backup *k, uint64_t *from, Error **err)
{
    uint64_t done = 0, at;
    int ret;

    co_lock(&k->copy);
    at = dirty_next(k->todo, *from);
    ret = at == UINT64_MAX ? 0 : copy_one(k, at, &done);
    co_unlock(&k->copy);
    *from = at == UINT64_MAX ? at : at + MAX(done, 1);
    progress(k);
    if (!ret)
        return bjob_step(&k->b, done);
    if (!bjob_error(&k->b, k->c.read_failed, ret))
        return fail_errno_is(err, -ret, "%s", k->c.read_failed ? "cannot read the source" : "cannot write the target");
    *from = 0; /* once more */
    return true;
}

static CO_FN void unhook(Backup *k)
{
    if (!k->hooked)
        return;
    node_quiesce(k->b.node);
    node_unhook(k->b.node, &k->hook);
    k->hooked = false;
    node_release(k->b.node);
}

static CO_FN bool backup_run(Job *j, Error **err)
{
    Backup *k = job_state(j);
    uint64_t at = 0;
    bool ok = true;

    job_total(j, (int64_t)k->b.node->size);
    if (k->sync == MIRROR_SYNC_MODE_NONE) {
        while (!k->guest_error && job_pause_point(j))
            job_sleep(j, SEC);
        ok = false;
    }
    while (ok && !k->guest_error && k->todo->count && !job_cancelled(j)) {
        ok = one_step(k, &at, err);
        if (at == UINT64_MAX)
            at = 0;
    }
    unhook(k);
    if (k->guest_error && !(err && *err))
        return fail_errno_is(err, -k->guest_error, "cannot write the target");
    if (ok && !job_cancelled(j)) {
        int ret = blk_flush(k->target);

        return !ret || fail_errno_is(err, -ret, "cannot flush the target");
    }
    return false;
}

/* ---- the user's bitmap ---- */
static void settle_bitmap(Backup *k, bool ok)
{
    if (!k->bitmap)
        return;
    if (k->mode == BITMAP_SYNC_MODE_NEVER || (!ok && k->mode == BITMAP_SYNC_MODE_ON_SUCCESS))
        dirty_merge(k->bitmap, k->before);
    else if (!ok) /* always: what was not copied */
        dirty_merge(k->bitmap, k->todo);
    k->bitmap->busy--;
    k->bitmap = NULL;
}

static void backup_commit(Job *j) { settle_bitmap(job_state(j), true); }
static void backup_abort(Job *j) { settle_bitmap(job_state(j), false); }

static void backup_clean(Job *j)
{
    Backup *k = job_state(j);

    if (k->hooked) /* given up before it ran */
        unhook(k);
    if (k->todo)
        dirty_free(k->todo);
    if (k->before)
        dirty_free(k->before);
    node_unref(k->target);
    free(k->c.buf);
    bjob_clean(&k->b);
}

static const JobDriver backup = { .type = JOB_TYPE_BACKUP, .size = sizeof(Backup), .run = backup_run, .commit = backup_commit, .abort = backup_abort,
                                  .clean = backup_clean, .changed = bjob_changed, .set_speed = bjob_set_speed };

/* ---- beginning ---- */
static DirtyBitmap *copy_bitmap(DirtyBitmap *of, Error **err)
{
    DirtyBitmap *b = dirty_new(of->n, NULL, dirty_granularity(of), err);

    if (b) {
        b->disabled = true;
        dirty_merge(b, of);
    }
    return b;
}

static bool find_bitmap(const BlockdevBackup *a, Node *n, DirtyBitmap **out, BitmapSyncMode *mode, Error **err)
{
    bool wanted = a->sync == MIRROR_SYNC_MODE_INCREMENTAL || a->sync == MIRROR_SYNC_MODE_BITMAP;

    *out = NULL;
    *mode = a->has_bitmap_mode ? a->bitmap_mode : BITMAP_SYNC_MODE_ON_SUCCESS;
    if (!a->bitmap)
        return (!wanted || fail(err, "must provide a valid bitmap name for '%s' sync mode", api_MirrorSyncMode.names[a->sync])) &&
               (!a->has_bitmap_mode || fail(err, "Cannot specify bitmap sync mode without a bitmap"));
    if (a->sync == MIRROR_SYNC_MODE_NONE)
        return fail(err, "sync mode 'none' does not produce meaningful bitmap outputs");
    if (a->sync == MIRROR_SYNC_MODE_BITMAP && !a->has_bitmap_mode)
        return fail(err, "Bitmap sync mode must be given when providing a bitmap");
    if (a->sync == MIRROR_SYNC_MODE_INCREMENTAL && *mode != BITMAP_SYNC_MODE_ON_SUCCESS)
        return fail(err, "Bitmap sync mode must be 'on-success' when using sync mode 'incremental'");
    *out = dirty_find(n, a->bitmap);
    if (!*out)
        return fail(err, "Bitmap '%s' could not be found", a->bitmap);
    if ((*out)->busy)
        return fail(err, "Bitmap '%s' is currently in use by another operation and cannot be used", a->bitmap);
    if ((*out)->inconsistent)
        return fail(err, "Bitmap '%s' is inconsistent and cannot be used", a->bitmap);
    return true;
}

static bool suits(Node *n, const Node *target, Error **err)
{
    if (n == target)
        return fail(err, "Source and target cannot be the same");
    return n->size == target->size || fail(err, "Source and target image have different sizes");
}

Job *backup_new(Vm *vm, const BlockdevBackup *a, Node *target, Error **err)
{
    BJobArgs args = { a->job_id, a->device, a->has_speed, a->has_auto_finalize && !a->auto_finalize, a->has_auto_dismiss && !a->auto_dismiss, a->speed };
    Node *n = graph_lookup(vm, a->device, err);
    DirtyBitmap *bitmap;
    BitmapSyncMode mode;
    Backup *k;

    if (!n || !suits(n, target, err) || !find_bitmap(a, n, &bitmap, &mode, err) || !(k = bjob_new(vm, &backup, &args, n, err)))
        return NULL;
    k->target = node_ref(target);
    k->sync = a->sync;
    k->mode = mode;
    k->bitmap = bitmap;
    if (bitmap)
        bitmap->busy++;
    k->b.on_read = bjob_policy(a->has_on_source_error, a->on_source_error);
    k->b.on_write = bjob_policy(a->has_on_target_error, a->on_target_error);
    k->c = (BCopy){ .from = n, .to = target, .read_flags = BLK_PAST_GATE, .write_flags = a->compress ? BLK_COMPRESS : 0,
                    .this_layer = a->sync == MIRROR_SYNC_MODE_TOP };
    k->hook = (NodeHook){ before_write, NULL, k };
    g_queue_init(&k->copy.waiters);
    if (bjob_claim(&k->b, 0, n, PERM_CONSISTENT_READ, err) && bjob_claim(&k->b, 1, target, PERM_WRITE, err))
        return k->b.job;
    job_cancel(k->b.job, true, NULL);
    return NULL;
}

bool backup_begin(Job *j, Error **err)
{
    Backup *k = job_state(j);
    BlkNames names = { .cluster_size = 0 };

    if (k->target->drv->image)
        k->target->drv->image->names(k->target, &names);
    k->todo = dirty_new(k->b.node, NULL, CLAMP(names.cluster_size, GRANULE, BJOB_CHUNK), err);
    if (!k->todo || (k->bitmap && !(k->before = copy_bitmap(k->bitmap, err))))
        return false;
    k->todo->disabled = true;
    if (k->bitmap && k->sync != MIRROR_SYNC_MODE_FULL && k->sync != MIRROR_SYNC_MODE_TOP)
        dirty_merge(k->todo, k->bitmap);
    else
        dirty_set(k->todo, 0, k->b.node->size);
    if (k->bitmap) /* from here on it records what is new since this point in time */
        dirty_reset(k->bitmap, 0, k->b.node->size);
    node_hook(k->b.node, &k->hook);
    k->hooked = true;
    return true;
}
