/* block/disk-medium.c - tray, eject, change, resize, and -blockdev nodes as drives. VM lock, VM
 * loop. */
#include "block/disk-priv.h"
#include "block/graph.h"
#include "block/priv.h"
#include "core/api/block.h"
#include <errno.h>

static void tray_moved(Disk *d, bool open)
{
    g_autofree char *id = NULL;

    if (d->tray_open == open)
        return;
    d->tray_open = open;
    id = disk__qdev(d);
    event_device_tray_moved(d->vm, &(EventDeviceTrayMoved){ d->id, id ? id : d->id, open });
}

void disk_set_tray(Disk *d, bool open)
{
    if (d->removable && !(open && d->tray_locked))
        tray_moved(d, open);
}

void disk_lock_tray(Disk *d, bool locked) { d->tray_locked = locked; }

static bool may_open(Disk *d, bool force, Error **err)
{
    bool device_agrees = !d->ops || !d->ops->eject || d->ops->eject(d->user, force);

    if (!d->removable)
        return fail(err, "Device '%s' is not removable", d->id);
    if (force || d->tray_open || (device_agrees && !d->tray_locked))
        return true;
    fail(err,
         "Device '%s' is locked and force was not specified, wait for tray to open and try again",
         d->id);
    return error_hint(err, "unmount it in the guest, or eject with force");
}

static void take_out(Disk *d)
{
    if (!d->node)
        return;
    disk__drain(d);
    disk__unguard(d);
    disk__give_permissions(d->node);
    node_unref(d->node);
    d->node = NULL;
    if (d->ops && d->ops->medium)
        d->ops->medium(d->user, false);
}

bool disk_eject(Disk *d, bool force, Error **err)
{
    if (!may_open(d, force, err))
        return false;
    tray_moved(d, true);
    take_out(d);
    return true;
}

bool disk_open_tray(Disk *d, bool force, Error **err)
{
    if (!may_open(d, force, err))
        return false;
    tray_moved(d, true);
    return true;
}

bool disk_close_tray(Disk *d, Error **err)
{
    if (!d->removable)
        return fail(err, "Device '%s' is not removable", d->id);
    tray_moved(d, false);
    return true;
}

static bool is_open(const Disk *d, Error **err)
{
    if (!d->removable)
        return fail(err, "Device '%s' is not removable", d->id);
    return d->tray_open || fail(err, "Tray of device '%s' is not open", d->id);
}

bool disk_remove(Disk *d, Error **err)
{
    if (!is_open(d, err))
        return false;
    take_out(d);
    return true;
}

bool disk_insert(Disk *d, const char *node_name, Error **err)
{
    Disk *from = vm_lookup(d->vm, "node", node_name);

    if (!from)
        return fail(err, "Node '%s' not found", node_name);
    if (!is_open(d, err))
        return false;
    if (d->node)
        return fail(err, "There already is a medium in device '%s'", d->id);
    if (from->attached)
        return fail(err, "Node '%s' is already in use", node_name);
    d->node = node_ref(from->node);
    if (d->attached && !disk__take_permissions(d, err)) {
        node_unref(d->node);
        d->node = NULL;
        return false;
    }
    if (d->ops && d->ops->medium)
        d->ops->medium(d->user, true);
    return true;
}

static Node *open_new(Disk *d, const char *file, const char *format, Error **err)
{
    g_autoptr(Opts) o = opts_new();

    opts_set(o, "filename", file);
    if (format)
        opts_set(o, "driver", format);
    opts_set(o, "cache.direct", d->direct ? "on" : "off");
    opts_set(o, "cache.no-flush", d->no_flush ? "on" : "off");
    return node_open(d->vm->loop, o, d->readonly || d->cdrom, err);
}

bool disk_change(Disk *d, const char *file, const char *format, Error **err)
{
    Node *n;

    if (!may_open(d, false, err))
        return false;
    n = open_new(d, file, format, err);
    if (!n)
        return false;
    tray_moved(d, true);
    take_out(d);
    d->node = n;
    if (d->attached && !disk__take_permissions(d, err)) {
        node_unref(n);
        d->node = NULL;
        return false;
    }
    tray_moved(d, false);
    if (d->ops && d->ops->medium)
        d->ops->medium(d->user, true);
    return true;
}

bool disk_resize(Disk *d, uint64_t bytes, Error **err)
{
    BlkReq r = { .op = BLK_TRUNCATE, .off = bytes };
    int ret;

    if (!d->node)
        return fail(err, "device '%s' has no medium", d->id);
    if (bytes % 512)
        return fail(err, "size %" PRIu64 " is not a multiple of 512", bytes);
    disk__drain(d);
    ret = disk__now(d, &r);
    if (ret)
        return fail_errno_is(err, -ret, "cannot resize '%s'", d->id);
    if (d->ops && d->ops->resized)
        d->ops->resized(d->user);
    return true;
}

/* ---- -blockdev ---- */
static Node *child_named(Vm *vm, Opts *o, const char *key, Error **err)
{
    g_autofree char *name = NULL;
    Node *n;

    if (!opts_peek(o, key) || (!strcmp(key, "file") && opts_peek(o, "filename")))
        return NULL;
    name = opts_take(o, key);
    n = graph_find(vm, name);
    if (!n)
        fail(err, "cannot find a block node named '%s'", name);
    return n;
}

static void release(void *disk) { disk_free(disk); }

Disk *disk__of_node(Vm *vm, Node *n)
{
    Disk *d = g_new0(Disk, 1);

    d->vm = vm;
    d->id = g_strdup(n->name);
    d->serial = g_strdup("");
    d->werror = ON_ERROR_ENOSPC;
    d->rerror = ON_ERROR_REPORT;
    disk__io_init(d);
    d->node = n;
    d->readonly = n->readonly;
    d->unmap = n->unmap;
    d->detect_zeroes = n->detect_zeroes;
    vm_register(vm, "node", d->id, d);
    vm_register(vm, "drive", d->id, own(&vm->root, d, release));
    return d;
}

bool disk_add_blockdev(Vm *vm, Opts *o, Error **err)
{
    const char *name = opts_peek(o, "node-name");
    Node *file, *backing, *header, *n;
    Error *why = NULL;

    if (!name)
        return fail(err, "-blockdev needs node-name=");
    if (graph_find(vm, name) || vm_lookup(vm, "drive", name))
        return fail(err, "there is a node or drive named '%s' already", name);
    if (!opts_peek(o, "driver"))
        return fail(err, "-blockdev %s needs driver=", name);
    block__own_keys(o);
    file = child_named(vm, o, "file", &why);
    backing = why ? NULL : child_named(vm, o, "backing", &why);
    header = why ? NULL : child_named(vm, o, "header", &why);
    if (why)
        return error_pass(err, why);
    n = node_open_parts(vm->loop, o, false, file, backing, header, err);
    return n && disk__of_node(vm, n);
}

static void put_name(Disk *d, const char *name)
{
    g_free(d->id);
    d->id = g_strdup(name);
    vm_register(d->vm, "node", d->id, d);
    vm_register(d->vm, "drive", d->id, d);
}

static void drop_name(Disk *d)
{
    vm_unregister(d->vm, "node", d->id);
    vm_unregister(d->vm, "drive", d->id);
}

void disk__renamed(Disk *d, Node *from, Node *to)
{
    Disk *other = to->name ? vm_lookup(d->vm, "node", to->name) : NULL;

    if (vm_lookup(d->vm, "node", d->id) != d || (other && other->attached))
        return;
    drop_name(d);
    if (other) { /* the two change roles */
        drop_name(other);
        node_ref(from);
        node_unref(other->node);
        other->node = from;
        put_name(other, from->name);
    } else {
        disk__of_node(d->vm, node_ref(from));
    }
    put_name(d, to->name);
}

bool disk_del_blockdev(Vm *vm, const char *node_name, Error **err)
{
    Disk *d = vm_lookup(vm, "node", node_name);

    if (!d)
        return fail(err, "Failed to find node with node-name='%s'", node_name);
    if (d->attached || d->node->refs > 1 || (d->node->claims && d->node->claims->len))
        return fail(err, "Node %s is in use", node_name);
    vm_unregister(vm, "node", node_name);
    disown(&vm->root, d);
    disk_free(d);
    return true;
}
