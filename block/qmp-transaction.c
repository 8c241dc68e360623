/*
 * block/qmp-transaction.c - transaction: the nodes of all actions are quiesced, each action is done in order, and all are
 * kept, or undone from the last to the first.
 */
#include "block/qmp-bitmap.h"
#include "block/disk-priv.h"

enum { ACTIONS_MAX = 1000 };
typedef struct Action {
    const TransactionAction *a;
    BitmapStep bitmap;
    Job *job;
    Node *quiesced, *node, *overlay; /* quiesced, overlay: references */
    bool layered, inside; /* done: a layer, a snapshot in the image */
} Action;

/* Whose requests must wait so that all is of one moment. */
static const char *device_of(const TransactionAction *a)
{
    switch (a->type) {
    case TRANSACTION_ACTION_BLOCKDEV_BACKUP:
        return a->u.blockdev_backup.data.device;
    case TRANSACTION_ACTION_DRIVE_BACKUP:
        return a->u.drive_backup.data.device;
    case TRANSACTION_ACTION_BLOCKDEV_SNAPSHOT:
        return a->u.blockdev_snapshot.data.node;
    case TRANSACTION_ACTION_BLOCKDEV_SNAPSHOT_INTERNAL_SYNC:
        return a->u.blockdev_snapshot_internal_sync.data.device;
    case TRANSACTION_ACTION_BLOCKDEV_SNAPSHOT_SYNC:
        return a->u.blockdev_snapshot_sync.data.device ? a->u.blockdev_snapshot_sync.data.device : a->u.blockdev_snapshot_sync.data.node_name;
    case TRANSACTION_ACTION_BLOCK_DIRTY_BITMAP_ADD:
        return a->u.block_dirty_bitmap_add.data.node;
    case TRANSACTION_ACTION_BLOCK_DIRTY_BITMAP_CLEAR:
        return a->u.block_dirty_bitmap_clear.data.node;
    default:
        return NULL;
    }
}

static CO_FN bool do_backup(Vm *vm, Action *x, const BlockdevBackup *a, Error **err)
{
    x->job = qmp__backup_make(vm, a, err);
    if (!x->job)
        return false;
    job_ref(x->job);
    return backup_begin(x->job, err);
}

static CO_FN bool do_layer(Vm *vm, Action *x, const char *node, const char *overlay, Error **err)
{
    x->node = graph_lookup(vm, node, err);
    x->overlay = x->node ? graph_lookup(vm, overlay, err) : NULL;
    if (!x->overlay)
        return false;
    node_ref(x->overlay);
    return x->layered = qmp__put_layer(vm, x->node, x->overlay, err);
}

static CO_FN bool do_layer_file(Vm *vm, Action *x, const BlockdevSnapshotSync *a, Error **err)
{
    x->overlay = qmp__layer_of(vm, a, &x->node, err);
    return x->overlay && (x->layered = qmp__put_layer(vm, x->node, x->overlay, err));
}

static CO_FN bool act(Vm *vm, Action *x, Error **err)
{
    const TransactionAction *a = x->a;

    switch (a->type) {
    case TRANSACTION_ACTION_BLOCK_DIRTY_BITMAP_ADD:
        return bitmap_add(vm, &a->u.block_dirty_bitmap_add.data, &x->bitmap, err);
    case TRANSACTION_ACTION_BLOCK_DIRTY_BITMAP_REMOVE:
        return bitmap_remove(vm, &a->u.block_dirty_bitmap_remove.data, &x->bitmap, err);
    case TRANSACTION_ACTION_BLOCK_DIRTY_BITMAP_CLEAR:
        return bitmap_clear(vm, &a->u.block_dirty_bitmap_clear.data, &x->bitmap, err);
    case TRANSACTION_ACTION_BLOCK_DIRTY_BITMAP_ENABLE:
        return bitmap_record(vm, &a->u.block_dirty_bitmap_enable.data, true, &x->bitmap, err);
    case TRANSACTION_ACTION_BLOCK_DIRTY_BITMAP_DISABLE:
        return bitmap_record(vm, &a->u.block_dirty_bitmap_disable.data, false, &x->bitmap, err);
    case TRANSACTION_ACTION_BLOCK_DIRTY_BITMAP_MERGE:
        return bitmap_merge(vm, &a->u.block_dirty_bitmap_merge.data, &x->bitmap, err);
    case TRANSACTION_ACTION_BLOCKDEV_BACKUP:
        return do_backup(vm, x, &a->u.blockdev_backup.data, err);
    case TRANSACTION_ACTION_BLOCKDEV_SNAPSHOT:
        return do_layer(vm, x, a->u.blockdev_snapshot.data.node, a->u.blockdev_snapshot.data.overlay, err);
    case TRANSACTION_ACTION_BLOCKDEV_SNAPSHOT_INTERNAL_SYNC:
        return x->inside = qmp__take_inside(vm, &a->u.blockdev_snapshot_internal_sync.data, err);
    case TRANSACTION_ACTION_BLOCKDEV_SNAPSHOT_SYNC:
        return do_layer_file(vm, x, &a->u.blockdev_snapshot_sync.data, err);
    case TRANSACTION_ACTION_ABORT:
        return fail(err, "Transaction aborted using Abort action");
    default:
        return fail(err, "action '%s' is not possible in a transaction here", api_TransactionActionKind.names[a->type]);
    }
}

static CO_FN void undo(Vm *vm, Action *x)
{
    bitmap_undo(&x->bitmap);
    if (x->job)
        job_cancel(x->job, true, NULL);
    if (x->inside)
        qmp__undo_inside(vm, &x->a->u.blockdev_snapshot_internal_sync.data);
    if (x->layered)
        qmp__take_layer(vm, x->node, x->overlay);
}

static void keep(Action *x)
{
    bitmap_keep(&x->bitmap);
    if (x->job)
        job_start(x->job);
}

static CO_FN bool perform(Vm *vm, Action *v, size_t n, Error **err)
{
    size_t done = 0;

    for (size_t i = 0; i < n; i++) {
        const char *device = device_of(v[i].a);
        Node *node = device ? graph_lookup(vm, device, err) : NULL;

        if (device && !node)
            return false;
        if (node)
            node_quiesce(v[i].quiesced = node_ref(node));
    }
    while (done < n && act(vm, &v[done], err))
        done++;
    if (done == n) {
        for (size_t i = 0; i < n; i++)
            keep(&v[i]);
        return true;
    }
    for (size_t i = done + 1; i-- > 0;) /* the one that failed may have begun */
        undo(vm, &v[i]);
    return false;
}

static bool transaction_in_co(Vm *vm, const void *arg, Error **err)
{
    const TransactionArgs *args = arg;
    size_t n = args->actions.n;
    g_autofree Action *v = g_new0(Action, MAX(n, 1));
    bool ok;

    for (size_t i = 0; i < n; i++)
        v[i].a = &args->actions.v[i];
    ok = perform(vm, v, n, err);
    for (size_t i = n; i-- > 0;) {
        if (v[i].quiesced)
            node_release(v[i].quiesced);
        node_unref(v[i].quiesced);
        node_unref(v[i].overlay);
        if (v[i].job)
            job_unref(v[i].job);
    }
    return ok;
}

bool qmp_transaction(Vm *vm, const TransactionArgs *args, Error **err)
{
    if (args->actions.n > ACTIONS_MAX)
        return fail(err, "more than %d actions", ACTIONS_MAX);
    if (args->properties && args->properties->has_completion_mode && args->properties->completion_mode == ACTION_COMPLETION_MODE_GROUPED)
        return fail(err, "completion-mode=grouped is not possible: jobs end one by one");
    return qmp__in_co(vm, transaction_in_co, args, err);
}
