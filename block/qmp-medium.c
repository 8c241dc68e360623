/* block/qmp-medium.c - the monitor's commands about what disks have done, and about trays and media (schema/medium.json). */
#include "block/disk-priv.h"
#include "block/drive.h"
#include "core/api/medium.h"

/* ---- statistics ---- */
static void fill_stats(const Disk *d, BlockDeviceStats *s)
{
    DiskStats k = disk_stats(d);

    s->rd_bytes = (int64_t)k.bytes[0];
    s->wr_bytes = (int64_t)k.bytes[1];
    s->rd_operations = (int64_t)k.ops[0];
    s->wr_operations = (int64_t)k.ops[1];
    s->rd_total_time_ns = (int64_t)k.ns[0];
    s->wr_total_time_ns = (int64_t)k.ns[1];
    s->flush_operations = (int64_t)k.flushes;
    s->unmap_operations = (int64_t)k.discards;
    s->failed_rd_operations = (int64_t)k.failed[0];
    s->failed_wr_operations = (int64_t)k.failed[1];
    s->account_invalid = s->account_failed = true;
}

typedef struct Wanted {
    BlockStatsList *out;
    bool nodes;
} Wanted;

static void list_one(const char *id, void *p, void *arg)
{
    const Wanted *w = arg;
    const Disk *d = p;
    bool node = vm_lookup(d->vm, "node", id);
    BlockStats *s;

    if (w->nodes ? !disk_present(d) : node && !d->attached)
        return;
    s = API_ADD(w->out);
    s->device = w->nodes ? NULL : g_strdup(node ? "" : d->id);
    s->qdev = w->nodes ? NULL : disk__qdev(d);
    s->node_name = g_strdup(disk_node_name(d));
    fill_stats(d, &s->stats);
}

bool qmp_query_blockstats(Vm *vm, const QueryBlockstatsArgs *args, BlockStatsList *ret, Error **err)
{
    Wanted w = { ret, args->query_nodes };

    vm_registry_foreach(vm, "drive", list_one, &w);
    return true;
}

/* ---- trays ---- */
typedef struct Search {
    const char *id;
    Disk *found;
} Search;

static void match(const char *name, void *p, void *arg)
{
    Search *s = arg;
    Disk *d = p;
    g_autofree char *qdev = disk__qdev(d);

    if (qdev && (!strcmp(qdev, s->id) || !g_strcmp0(d->dev->id, s->id)))
        s->found = d;
}

/* By the drive's name, or by the device it is in. */
static Disk *find(Vm *vm, const char *device, const char *id, Error **err)
{
    Search s = { id, device && *device && !vm_lookup(vm, "node", device) ? vm_lookup(vm, "drive", device) : NULL };

    if (!device == !id) {
        fail(err, "Need exactly one of 'device' and 'id'");
        return NULL;
    }
    if (id)
        vm_registry_foreach(vm, "drive", match, &s);
    if (!s.found) {
        fail(err, "Device '%s' not found", id ? id : device);
        error_class(err, "DeviceNotFound");
    }
    return s.found;
}

bool qmp_eject(Vm *vm, const EjectArgs *args, Error **err)
{
    Disk *d = find(vm, args->device, args->id, err);

    return d && disk_eject(d, args->force, err);
}

bool qmp_blockdev_open_tray(Vm *vm, const BlockdevOpenTrayArgs *args, Error **err)
{
    Disk *d = find(vm, args->device, args->id, err);

    return d && disk_open_tray(d, args->force, err);
}

bool qmp_blockdev_close_tray(Vm *vm, const BlockdevCloseTrayArgs *args, Error **err)
{
    Disk *d = find(vm, args->device, args->id, err);

    return d && disk_close_tray(d, err);
}

bool qmp_blockdev_remove_medium(Vm *vm, const BlockdevRemoveMediumArgs *args, Error **err)
{
    Disk *d = find(vm, NULL, args->id, err);

    return d && disk_remove(d, err);
}

bool qmp_blockdev_insert_medium(Vm *vm, const BlockdevInsertMediumArgs *args, Error **err)
{
    Disk *d = find(vm, NULL, args->id, err);

    return d && disk_insert(d, args->node_name, err);
}

bool qmp_blockdev_change_medium(Vm *vm, const BlockdevChangeMediumArgs *args, Error **err)
{
    Disk *d = find(vm, args->device, args->id, err);

    if (!d)
        return false;
    if (args->has_read_only_mode && !d->cdrom)
        d->readonly = args->read_only_mode == READ_ONLY_MODE_RETAIN ? d->readonly : args->read_only_mode == READ_ONLY_MODE_READ_ONLY;
    if (args->force && !disk_open_tray(d, true, err))
        return false;
    return disk_change(d, args->filename, args->format, err);
}

bool qmp_block_resize(Vm *vm, const BlockResizeArgs *args, Error **err)
{
    Disk *d;

    if (args->node_name && args->device)
        return fail(err, "Cannot specify both 'device' and 'node-name'");
    if (args->size < 0)
        return fail(err, "Parameter 'size' expects a >0 size");
    if (!args->node_name && !args->device)
        return fail(err, "Need exactly one of 'device' and 'node-name'");
    d = args->node_name ? vm_lookup(vm, "node", args->node_name) : find(vm, args->device, NULL, err);
    if (!d && args->node_name)
        return fail(err, "Cannot find device='' nor node-name='%s'", args->node_name);
    return d && disk_resize(d, (uint64_t)args->size, err);
}

/* ---- limits ---- */
static bool limits_of(const BlockSetIoThrottleArgs *a, ThrottleLimits *l, Error **err)
{
    const struct {
        int64_t avg, max, length;
    } rows[THROTTLES] = {
#define ROW(n) { a->n, a->n##_max, a->has_##n##_max_length ? a->n##_max_length : 1 }
        [THROTTLE_BPS] = ROW(bps), [THROTTLE_BPS_RD] = ROW(bps_rd), [THROTTLE_BPS_WR] = ROW(bps_wr),
        [THROTTLE_IOPS] = ROW(iops), [THROTTLE_IOPS_RD] = ROW(iops_rd), [THROTTLE_IOPS_WR] = ROW(iops_wr),
#undef ROW
    };

    for (unsigned i = 0; i < THROTTLES; i++) { /* negative: too large */
        l->avg[i] = (uint64_t)rows[i].avg;
        l->max[i] = (uint64_t)rows[i].max;
        l->length[i] = (uint64_t)rows[i].length;
    }
    l->op_size = (uint64_t)a->iops_size;
    return throttle_limits_check(l, err);
}

bool qmp_block_set_io_throttle(Vm *vm, const BlockSetIoThrottleArgs *args, Error **err)
{
    Disk *d = find(vm, args->device, args->id, err);
    const char *now = d && d->throttle.group ? throttle_group_name(d->throttle.group) : NULL;
    ThrottleLimits l;

    if (!d)
        return false;
    if (!d->node)
        return fail(err, "Device has no medium");
    if (!limits_of(args, &l, err))
        return false;
    if (throttle_limits_any(&l))
        disk__throttle(d, args->group ? args->group : now ? now : args->device ? args->device : args->id, &l);
    else
        throttle_leave(&d->throttle);
    return true;
}

/* ---- by hand ---- */
void hmp_info_blockstats(Hmp *h)
{
    BlockStatsList l = { NULL, 0 };

    qmp_query_blockstats(h->vm, &(QueryBlockstatsArgs){ 0 }, &l, NULL);
    for (size_t i = 0; i < l.n; i++) {
        const BlockDeviceStats *s = &l.v[i].stats;

        if (!l.v[i].device || !*l.v[i].device)
            continue;
        g_string_append_printf(h->out, "%s: rd_bytes=%" PRId64 " wr_bytes=%" PRId64 " rd_operations=%" PRId64 " wr_operations=%" PRId64
                               " flush_operations=%" PRId64 " wr_total_time_ns=%" PRId64 " rd_total_time_ns=%" PRId64 " flush_total_time_ns=%" PRId64
                               " rd_merged=%" PRId64 " wr_merged=%" PRId64 "\n", l.v[i].device, s->rd_bytes, s->wr_bytes, s->rd_operations,
                               s->wr_operations, s->flush_operations, s->wr_total_time_ns, s->rd_total_time_ns, s->flush_total_time_ns, s->rd_merged,
                               s->wr_merged);
    }
    api_clear(&api_BlockStatsList, &l);
}

/* A drive for device_add to refer to. */
void hmp_drive_add(Hmp *h, const HmpDriveAddArgs *args)
{
    Error *err = NULL;
    Opts *o = args->node ? NULL : opts_parse_any(args->opts, NULL, &err);
    const char *iface = o ? opts_peek(o, "if") : NULL;

    if (args->node)
        fail(&err, "drive_add -n: blockdev-add makes nodes");
    if (o && g_strcmp0(iface, "none")) {
        fail(&err, "Can't hot-add drive to type %s", iface ? iface : "of the machine; if=none");
        opts_free(o);
    } else if (o && drive_add(h->vm, h->vm->mc, o, &err)) {
        g_string_append(h->out, "OK\n");
    }
    hmp_say_error(h, err);
}

void hmp_eject(Hmp *h, const HmpEjectArgs *args)
{
    Error *err = NULL;

    qmp_eject(h->vm, &(EjectArgs){ .device = args->device, .force = args->force }, &err);
    hmp_say_error(h, err);
}

void hmp_change(Hmp *h, const HmpChangeArgs *args)
{
    Error *err = NULL;

    qmp_blockdev_change_medium(h->vm, &(BlockdevChangeMediumArgs){ .device = args->device, .filename = args->filename, .format = args->format }, &err);
    hmp_say_error(h, err);
}
