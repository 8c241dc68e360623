/* block/qmp-snapshot.c - the monitor's commands that put layers on nodes and make images (schema/blockjob.json). */
#include "block/disk-priv.h"
#include "block/qmp-job.h"
#include "util/jval.h"
#include <errno.h>
#include <sys/stat.h>

/* ---- layers ---- */
CO_FN bool qmp__put_layer(Vm *vm, Node *node, Node *overlay, Error **err)
{
    int ret;

    if (overlay->backing)
        return fail(err, "The overlay already has a backing image");
    if (overlay == node || graph_is_below(node, overlay))
        return fail(err, "Making '%s' a backing child of '%s' would create a cycle", node->name, overlay->name);
    if (graph_disk_of(vm, overlay) && disk_in_use(graph_disk_of(vm, overlay)))
        return fail(err, "The overlay is already in use");
    if (!overlay->drv->has_backing)
        return fail(err, "The overlay does not support backing images");
    if (overlay->readonly)
        return fail(err, "The overlay is read-only");
    ret = blk_submit(node, &(BlkReq){ .op = BLK_FLUSH, .flags = BLK_PAST_GATE });
    if (ret)
        return fail_errno_is(err, -ret, "Failed to flush the node '%s'", node->name);
    overlay->backing = node_ref(node);
    if (graph_replace(vm, node, overlay, err))
        return true;
    overlay->backing = NULL;
    node_unref(node);
    return false;
}

CO_FN void qmp__take_layer(Vm *vm, Node *node, Node *overlay)
{
    node_quiesce(overlay);
    graph_replace(vm, overlay, node, NULL);
    overlay->backing = NULL;
    node_release(overlay);
    node->forward = NULL; /* those who wait there may go on there */
    node_unref(node);
}

static CO_FN bool put_quiesced(Vm *vm, Node *node, Node *overlay, Error **err)
{
    bool ok;

    node_ref(node);
    node_quiesce(node);
    ok = qmp__put_layer(vm, node, overlay, err);
    node_release(node);
    node_unref(node);
    return ok;
}

static bool snapshot_in_co(Vm *vm, const void *a, Error **err)
{
    const BlockdevSnapshot *args = a;
    Node *node = graph_lookup(vm, args->node, err), *overlay = node ? graph_lookup(vm, args->overlay, err) : NULL;

    return overlay && put_quiesced(vm, node, overlay, err);
}

bool qmp_blockdev_snapshot(Vm *vm, const BlockdevSnapshot *args, Error **err) { return qmp__in_co(vm, snapshot_in_co, args, err); }

CO_FN Node *qmp__layer_of(Vm *vm, const BlockdevSnapshotSync *a, Node **node, Error **err)
{
    const char *format = a->format ? a->format : "qcow2";

    if (!a->device == !a->node_name) {
        fail(err, "Cannot specify both or none of device and node-name");
        return NULL;
    }
    *node = graph_lookup(vm, a->device ? a->device : a->node_name, err);
    if (!*node)
        return NULL;
    if (a->snapshot_node_name && graph_find(vm, a->snapshot_node_name)) {
        fail(err, "New overlay node name already in use");
        return NULL;
    }
    if ((!a->has_mode || a->mode == NEW_IMAGE_MODE_ABSOLUTE_PATHS) && !qmp__create_image(vm, a->snapshot_file, format, (*node)->size, *node, err))
        return NULL;
    return qmp__open_image(vm, a->snapshot_file, format, a->snapshot_node_name, true, err);
}

static bool snapshot_sync_in_co(Vm *vm, const void *a, Error **err)
{
    Node *node, *overlay = qmp__layer_of(vm, a, &node, err);
    bool ok = overlay && put_quiesced(vm, node, overlay, err);

    node_unref(overlay);
    return ok;
}

bool qmp_blockdev_snapshot_sync(Vm *vm, const BlockdevSnapshotSync *args, Error **err) { return qmp__in_co(vm, snapshot_sync_in_co, args, err); }

static bool change_name_in_co(Vm *vm, const void *a, Error **err)
{
    const ChangeBackingFileArgs *args = a;
    Node *top = graph_lookup(vm, args->device, err), *n = top ? graph_find(vm, args->image_node_name) : NULL;
    bool was_ro = n && n->readonly, ok;

    if (!top || !n || (n != top && !graph_is_below(top, n)))
        return (err && *err ? false : fail(err, "Node '%s' is not in the chain of '%s'", args->image_node_name, args->device));
    if (!n->backing || !n->drv->image || !n->drv->image->set_backing)
        return fail(err, "not allowing backing file change on an image without a backing file");
    node_quiesce(n);
    ok = node_set_readonly(n, false, err) && n->drv->image->set_backing(n, args->backing_file, n->backing->drv->name, err);
    if (was_ro && !n->readonly)
        node_set_readonly(n, true, NULL);
    node_release(n);
    return ok;
}

bool qmp_change_backing_file(Vm *vm, const ChangeBackingFileArgs *args, Error **err) { return qmp__in_co(vm, change_name_in_co, args, err); }

/* ---- images as jobs ---- */
typedef struct Create {
    Opts *o;
    Node *node; /* amend */
} Create;

/* QMP's spelling to that of qemu-img: "cluster-size" is "cluster_size", version v3 is compat=1.1. */
static Opts *respelled(const Opts *from)
{
    Opts *to = opts_new();

    for (guint i = 0; i < from->v->len; i++) {
        const Opt *x = from->v->pdata[i];
        g_autofree char *key = g_strdelimit(g_strdup(x->key), "-", '_');

        if (!strcmp(key, "version"))
            opts_set(to, "compat", !strcmp(x->value, "v2") ? "0.10" : "1.1");
        else
            opts_set(to, key, x->value);
    }
    return to;
}

static CO_FN bool refresh_size(Node *n, Error **err)
{
    struct stat st;
    int ret = n->filename && !stat(n->filename, &st) && S_ISREG(st.st_mode) ? blk_truncate(n, (uint64_t)st.st_size, 0) : 0;

    return !ret || fail_errno_is(err, -ret, "cannot resize '%s'", n->filename);
}

static CO_FN bool create_format(Vm *vm, const BlkDriver *d, Opts *given, Error **err)
{
    g_autofree char *ref = opts_take(given, "file"), *path = opts_take(given, "file.filename");
    Node *file = ref ? graph_find(vm, ref) : NULL;
    g_autoptr(Opts) o = NULL;
    uint64_t size = 0;

    g_free(opts_take(given, "file.driver"));
    if (ref && !file)
        return fail(err, "Cannot find device='' nor node-name='%s'", ref);
    if (!file && !path)
        return fail(err, "Parameter 'file' is missing");
    if (!strcmp(d->name, "raw")) {
        int ret = opts_get_size(given, "size", 0, &size, err) ? 0 : -EINVAL;

        ret = ret ? ret : file ? blk_truncate(file, size, 0) : 0;
        return !ret || (err && *err) || fail_errno_is(err, -ret, "cannot resize the file");
    }
    if (!d->image || !d->image->create)
        return fail(err, "Driver does not support blockdev-create");
    o = respelled(given);
    return d->image->create(vm->loop, file ? file->filename : path, o, err) && (!file || refresh_size(file, err));
}

static CO_FN bool create_run(Job *j, Error **err)
{
    Create *c = job_state(j);
    g_autofree char *driver = opts_take(c->o, "driver"), *path = NULL;
    const BlkDriver *d = driver ? blk_driver_find(driver) : NULL;
    uint64_t size = 0;
    bool ok;

    job_total(j, 1);
    if (!d) {
        fail(err, "Block driver '%s' not found or not supported", driver ? driver : "");
        return false;
    }
    if (!d->protocol) {
        ok = create_format(job_vm(j), d, c->o, err);
    } else {
        path = opts_take(c->o, "filename");
        ok = (path || fail(err, "Parameter 'filename' is missing")) && opts_get_size(c->o, "size", 0, &size, err) &&
             blk_create_file(job_vm(j)->loop, path, size, err);
    }
    job_done(j, ok);
    return ok;
}

static void create_clean(Job *j)
{
    Create *c = job_state(j);

    opts_free(c->o);
    node_unref(c->node);
}

static const JobDriver create = { .type = JOB_TYPE_CREATE, .size = sizeof(Create), .run = create_run, .clean = create_clean };

bool qmp_blockdev_create(Vm *vm, const JVal *json, Error **err)
{
    const JVal *id = j_get(json, "job-id"), *options = j_get(json, "options");
    g_autofree char *text = j_is(options, J_OBJECT) ? j_text(options) : NULL;
    Opts *o = text ? opts_parse_any(text, NULL, err) : NULL;
    Job *j;

    if (!text)
        return fail(err, "Invalid parameter type for 'options', expected: object");
    if (!o)
        return false;
    j = job_new(vm, &create, j_is(id, J_STRING) ? id->text : NULL, JOB_MANUAL_DISMISS, err);
    if (!j) {
        opts_free(o);
        return false;
    }
    ((Create *)job_state(j))->o = o;
    job_start(j);
    return true;
}
