/*
 * migrate/images.c - snapshots inside the machine's images, as QEMU makes them: each writable disk must be of a format that
 * has snapshots; RAM and devices go as a stream (migrate/stream.h) into one of them, behind the end of the disk.
 */
#include "block/image.h"
#include "migrate/snappriv.h"
#include "util/rcu.h"
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum { STEP = 1024 * 1024 };

/* ---- which disks ---- */
static void add_disk(const char *id, void *p, void *arg)
{
    if (disk_node(p) && !disk_readonly(p))
        g_ptr_array_add(arg, p);
}

static const char *call_it(const Disk *d) { return *disk_node_name(d) && *disk_node_name(d) != '#' ? disk_node_name(d) : disk_id(d); }
static const BlkImageOps *ops_of(const Disk *d) { return disk_node(d)->drv->image; }

static Disk *named(Vm *vm, const char *node)
{
    Disk *d = vm_lookup(vm, "node", node);

    return d && disk_node(d) ? d : NULL;
}

/* Those that were named, else all that are writable; each has snapshots. Caller frees; NULL + err. */
static GPtrArray *disks_of(Vm *vm, const SnapAsk *ask, Error **err)
{
    g_autoptr(GPtrArray) v = g_ptr_array_new();

    if (!ask->devices)
        vm_registry_foreach(vm, "drive", add_disk, v);
    for (char **n = ask->devices; n && *n; n++) {
        Disk *d = named(vm, *n);

        if (!d) {
            fail(err, "No block device node '%s'", *n);
            return NULL;
        }
        g_ptr_array_add(v, d);
    }
    for (guint i = 0; i < v->len; i++)
        if (!ops_of(v->pdata[i]) || !ops_of(v->pdata[i])->snapshot_take) {
            fail(err, "Device '%s' is writable but does not support snapshots", call_it(v->pdata[i]));
            error_hint(err, "-snapdir FOLDER keeps snapshots of disks of any format");
            return NULL;
        }
    return g_steal_pointer(&v);
}

static Disk *state_disk(GPtrArray *disks, const SnapAsk *ask, Error **err)
{
    for (guint i = 0; ask->vmstate && i < disks->len; i++)
        if (!strcmp(disk_node_name(disks->pdata[i]), ask->vmstate))
            return disks->pdata[i];
    if (ask->vmstate)
        fail(err, "vmstate block device '%s' does not exist", ask->vmstate);
    else if (!disks->len)
        fail(err, "no block device can store vmstate for snapshot");
    return !ask->vmstate && disks->len ? disks->pdata[0] : NULL;
}

/* The row of that name; .name NULL: there is none. The caller frees with g_free(id), g_free(name). */
static BlkSnapshot row_of(const Disk *d, const char *tag)
{
    GPtrArray *list = ops_of(d)->snapshots(disk_node(d));
    BlkSnapshot found = { 0 };

    for (guint i = 0; i < list->len && !found.name; i++) {
        const BlkSnapshot *s = list->pdata[i];

        if (strcmp(s->name, tag))
            continue;
        found = *s;
        found.id = g_strdup(s->id);
        found.name = g_strdup(s->name);
    }
    blk_snapshots_free(list);
    return found;
}

static bool has(const Disk *d, const char *tag, uint64_t *state_bytes)
{
    BlkSnapshot s = row_of(d, tag);
    bool there = s.name;

    if (state_bytes)
        *state_bytes = s.vm_state_bytes;
    g_free(s.id);
    g_free(s.name);
    return there;
}

static CO_FN bool remove_all(GPtrArray *disks, guint n, const char *tag, Error **err)
{
    for (guint i = 0; i < n; i++)
        while (has(disks->pdata[i], tag, NULL)) /* QEMU lets several have one name; each turn takes one away */
            if (!ops_of(disks->pdata[i])->snapshot_delete(disk_node(disks->pdata[i]), tag, err))
                return false;
    return true;
}

/* ---- saving ---- */
typedef struct Written {
    Image *image;
    int fd;
    uint64_t bytes;
} Written;

static bool write_stream(void *arg, Error **err)
{
    Written *w = arg;
    g_autofree char *uri = g_strdup_printf("fd:%d", w->fd);
    Stream *s = stream_open(uri, true, err);
    StreamCount n = { 0 };
    bool ok;

    if (!s)
        return false;
    rcu_lock();
    ok = image_write(w->image, s, &n);
    rcu_unlock();
    w->bytes = s->bytes;
    if (!ok)
        error_pass(err, g_steal_pointer(&s->err));
    stream_free(s);
    return ok;
}

static CO_FN bool move_state(Disk *d, int fd, uint64_t bytes, Error **err)
{
    g_autofree uint8_t *buf = g_malloc(STEP);
    int ret = 0;

    for (uint64_t at = 0; at < bytes && !ret; at += STEP) {
        size_t n = MIN(bytes - at, STEP);

        if (pread(fd, buf, n, (off_t)at) != (ssize_t)n)
            ret = -EIO;
        else
            ret = ops_of(d)->state_write(disk_node(d), at, buf, n);
    }
    return !ret || fail_errno_is(err, -ret, "Error while writing VM state to '%s'", call_it(d));
}

static CO_FN bool put_state(Vm *vm, Disk *d, RunState before, uint64_t *bytes, Error **err)
{
    Written w = { image_take(vm, before, err), memfd_create("vmstate", MFD_CLOEXEC), 0 };
    bool ok = w.image && (w.fd >= 0 || fail_errno(err, "no memory for the state"));

    ok = ok && snap__in_pool(vm, write_stream, &w, err) && move_state(d, w.fd, w.bytes, err);
    image_free(w.image);
    if (w.fd >= 0)
        close(w.fd);
    *bytes = w.bytes;
    return ok;
}

static CO_FN bool make_all(Vm *vm, GPtrArray *disks, const Disk *with_state, const SnapAsk *ask, uint64_t bytes, Error **err)
{
    int64_t now = g_get_real_time();
    BlkSnapshot facts = { .name = ask->tag, .date_s = (uint32_t)(now / 1000000), .date_ns = (uint32_t)(now % 1000000 * 1000),
                          .vm_clock_ns = (uint64_t)vm_now(vm), .icount = -1 };

    for (guint i = 0; i < disks->len; i++) {
        facts.vm_state_bytes = disks->pdata[i] == with_state ? bytes : 0;
        if (!ops_of(disks->pdata[i])->snapshot_take(disk_node(disks->pdata[i]), &facts, err)) {
            remove_all(disks, i, ask->tag, NULL);
            return fail_because(err, err ? g_steal_pointer(err) : NULL, "Error while creating snapshot on '%s'", call_it(disks->pdata[i]));
        }
    }
    return true;
}

static CO_FN bool save(Job *j, const SnapAsk *ask, RunState before, Error **err)
{
    Vm *vm = job_vm(j);
    g_autoptr(GPtrArray) disks = disks_of(vm, ask, err);
    Disk *d = disks ? state_disk(disks, ask, err) : NULL;
    uint64_t bytes = 0;
    bool ok;

    if (!d)
        return false;
    for (guint i = 0; i < disks->len && !ask->replace; i++)
        if (has(disks->pdata[i], ask->tag, NULL))
            return fail(err, "Snapshot '%s' already exists in one or more devices", ask->tag);
    ok = put_state(vm, d, before, &bytes, err) && (!ask->replace || remove_all(disks, disks->len, ask->tag, err)) &&
         make_all(vm, disks, d, ask, bytes, err);
    return !ops_of(d)->state_clear(disk_node(d)) && ok;
}

/* ---- loading ---- */
typedef struct Plan {
    Incoming *in;
    int fd;
} Plan;

static void free_plan(void *p)
{
    Plan *v = p;

    incoming_free(v->in);
    if (v->fd >= 0)
        close(v->fd);
    g_free(v);
}

static bool read_stream(void *arg, Error **err)
{
    Plan *v = arg;
    g_autofree char *uri = g_strdup_printf("fd:%d", v->fd);
    Stream *s = stream_open(uri, false, err);
    bool ok = s && incoming_read(v->in, s);

    if (s && !ok)
        error_pass(err, g_steal_pointer(&s->err));
    stream_free(s);
    return ok;
}

static CO_FN bool fetch(const Disk *d, const char *tag, uint64_t bytes, int fd, Error **err)
{
    g_autofree uint8_t *buf = g_malloc(STEP);
    int ret = 0;

    for (uint64_t at = 0; at < bytes && !ret; at += STEP) {
        size_t n = MIN(bytes - at, STEP);

        ret = ops_of(d)->state_read(disk_node(d), tag, at, buf, n);
        if (!ret && write(fd, buf, n) != (ssize_t)n)
            ret = -errno;
    }
    lseek(fd, 0, SEEK_SET);
    return !ret || fail_errno_is(err, -ret, "cannot read the state in '%s'", call_it(d));
}

static CO_FN bool check(Job *j, const SnapAsk *ask, void **plan, Error **err)
{
    Vm *vm = job_vm(j);
    g_autoptr(GPtrArray) disks = disks_of(vm, ask, err);
    Disk *d = disks ? state_disk(disks, ask, err) : NULL;
    uint64_t bytes = 0;
    StateLoad *l;
    Plan *v;

    if (!d)
        return false;
    for (guint i = 0; i < disks->len; i++)
        if (!has(disks->pdata[i], ask->tag, NULL))
            return fail(err, "Snapshot '%s' does not exist in one or more devices", ask->tag);
    has(d, ask->tag, &bytes);
    if (!bytes)
        return fail(err, "This is a disk-only snapshot. Revert to it offline using qemu-img");
    *plan = v = g_new(Plan, 1);
    *v = (Plan){ incoming_new(vm), memfd_create("vmstate", MFD_CLOEXEC) };
    if (v->fd < 0)
        return fail_errno(err, "no memory for the state");
    if (!fetch(d, ask->tag, bytes, v->fd, err) || !snap__in_pool(vm, read_stream, v, err))
        return false;
    l = vm_load_check(vm, v->in->devices->data, v->in->devices->len, err);
    if (l)
        vm_load_free(l);
    return l;
}

static CO_FN bool load(Job *j, const SnapAsk *ask, void *plan, Error **err)
{
    Vm *vm = job_vm(j);
    g_autoptr(GPtrArray) disks = disks_of(vm, ask, err);
    Plan *v = plan;

    for (guint i = 0; disks && i < disks->len; i++) {
        Node *n = disk_node(disks->pdata[i]);

        if (!n->drv->image->snapshot_apply(n, ask->tag, err))
            return false;
        if (n->drv->image->state_clear(n))
            return fail(err, "cannot write '%s'", call_it(disks->pdata[i]));
    }
    return disks && incoming_commit(v->in, vm, err);
}

static CO_FN bool drop(Job *j, const SnapAsk *ask, Error **err)
{
    g_autoptr(GPtrArray) disks = disks_of(job_vm(j), ask, err);

    return disks && remove_all(disks, disks->len, ask->tag, err);
}

/* ---- telling ---- */
static bool on_all(GPtrArray *disks, const char *tag)
{
    for (guint i = 0; i < disks->len; i++)
        if (!has(disks->pdata[i], tag, NULL))
            return false;
    return true;
}

static bool list_some(GPtrArray *disks, const Disk *d, bool whole, const char *head, GString *out)
{
    GPtrArray *list = ops_of(d)->snapshots(disk_node(d));
    bool any = false;

    for (guint i = 0; i < list->len; i++) {
        BlkSnapshot *s = list->pdata[i], row = *s;

        if (on_all(disks, s->name) != whole || (whole && !s->vm_state_bytes))
            continue;
        if (!any) {
            g_string_append(out, head);
            blk_snapshot_head(out);
        }
        any = true;
        if (whole)
            row.id = NULL;
        blk_snapshot_row(out, &row);
    }
    blk_snapshots_free(list);
    return any;
}

static void list(Vm *vm, GString *out)
{
    Error *e = NULL;
    SnapAsk all = { 0 };
    g_autoptr(GPtrArray) disks = disks_of(vm, &all, &e);
    const Disk *d = disks ? state_disk(disks, &all, &e) : NULL;

    if (!d) {
        g_string_append_printf(out, "%s\n", disks ? error_text(e) : "There is no snapshot available.");
        error_free(e);
        return;
    }
    if (!list_some(disks, d, true, "List of snapshots present on all disks:\n", out))
        g_string_append(out, "There is no snapshot available.\n");
    for (guint i = 0; i < disks->len; i++) {
        g_autofree char *head = g_strdup_printf("\nList of partial (non-loadable) snapshots on '%s':\n", disk_id(disks->pdata[i]));

        list_some(disks, disks->pdata[i], false, head, out);
    }
}

const SnapPlace snap__images = { .save = save, .check = check, .load = load, .free_plan = free_plan, .remove = drop, .list = list };
