/* block/qmp-internal.c - the monitor's commands about snapshots inside images (schema/blockjob.json). */
#include "block/disk-priv.h"
#include "block/image.h"
#include "block/qmp-job.h"
#include "core/clock.h"

static Node *image_named(Vm *vm, const char *device, Error **err)
{
    Node *n = graph_lookup(vm, device, err);

    if (n && (!n->drv->image || !n->drv->image->snapshot_take)) {
        fail(err, "Block format '%s' used by device '%s' does not support internal snapshots", n->drv->name, device);
        return NULL;
    }
    return n;
}

/* The place in the list of the one with that id and that name, as far as they are given; -1: there is none. */
static int find(const GPtrArray *list, const char *id, const char *name)
{
    for (guint i = 0; i < list->len; i++) {
        const BlkSnapshot *s = list->pdata[i];

        if ((!id || !strcmp(s->id, id)) && (!name || !strcmp(s->name, name)))
            return (int)i;
    }
    return -1;
}

/* The node is quiesced. */
CO_FN bool qmp__take_inside(Vm *vm, const BlockdevSnapshotInternal *a, Error **err)
{
    int64_t now = g_get_real_time();
    BlkSnapshot facts = { .name = a->name, .date_s = (uint32_t)(now / 1000000), .date_ns = (uint32_t)(now % 1000000 * 1000), .vm_clock_ns = (uint64_t)vm_now(vm), .icount = -1 };
    Node *n = image_named(vm, a->device, err);
    GPtrArray *list;
    bool taken;

    if (!n)
        return false;
    if (n->readonly)
        return fail(err, "Device '%s' is read only", a->device);
    if (!*a->name)
        return fail(err, "Name is empty");
    list = n->drv->image->snapshots(n);
    taken = find(list, NULL, a->name) >= 0;
    blk_snapshots_free(list);
    if (taken)
        return fail(err, "Snapshot with name '%s' already exists on device '%s'", a->name, a->device);
    return n->drv->image->snapshot_take(n, &facts, err);
}

CO_FN void qmp__undo_inside(Vm *vm, const BlockdevSnapshotInternal *a)
{
    Node *n = image_named(vm, a->device, NULL);

    if (n)
        n->drv->image->snapshot_delete(n, a->name, NULL);
}

static bool take_in_co(Vm *vm, const void *arg, Error **err)
{
    const BlockdevSnapshotInternal *a = arg;
    Node *n = graph_lookup(vm, a->device, err);
    bool ok;

    if (!n)
        return false;
    node_ref(n);
    node_quiesce(n);
    ok = qmp__take_inside(vm, a, err);
    node_release(n);
    node_unref(n);
    return ok;
}

bool qmp_blockdev_snapshot_internal_sync(Vm *vm, const BlockdevSnapshotInternal *args, Error **err) { return qmp__in_co(vm, take_in_co, args, err); }

/* ---- deleting ---- */
typedef struct Delete {
    const BlockdevSnapshotDeleteInternalSyncArgs *args;
    SnapshotInfo *gone;
} Delete;

static void describe(const BlkSnapshot *s, SnapshotInfo *i)
{
    i->id = g_strdup(s->id);
    i->name = g_strdup(s->name);
    i->vm_state_size = (int64_t)s->vm_state_bytes;
    i->date_sec = s->date_s;
    i->date_nsec = s->date_ns;
    i->vm_clock_sec = (int64_t)(s->vm_clock_ns / SEC);
    i->vm_clock_nsec = (int64_t)(s->vm_clock_ns % SEC);
    i->has_icount = s->icount != -1;
    i->icount = s->icount;
}

static bool delete_in_co(Vm *vm, const void *arg, Error **err)
{
    const Delete *d = arg;
    const char *id = d->args->id, *name = d->args->name;
    Node *n = image_named(vm, d->args->device, err);
    GPtrArray *list;
    int at;
    bool ok;

    if (!n)
        return false;
    if (!id && !name)
        return fail(err, "Name or id must be provided");
    list = n->drv->image->snapshots(n);
    at = find(list, id, name);
    ok = at >= 0 || fail(err, "Snapshot with id '%s' and name '%s' does not exist on device '%s'", id ? id : "null", name ? name : "null", d->args->device);
    if (ok) {
        describe(list->pdata[at], d->gone);
        node_ref(n);
        node_quiesce(n);
        ok = n->drv->image->snapshot_delete(n, d->gone->id, err);
        node_release(n);
        node_unref(n);
    }
    blk_snapshots_free(list);
    return ok;
}

bool qmp_blockdev_snapshot_delete_internal_sync(Vm *vm, const BlockdevSnapshotDeleteInternalSyncArgs *args, SnapshotInfo *ret, Error **err)
{
    Delete d = { args, ret };

    return qmp__in_co(vm, delete_in_co, &d, err);
}
