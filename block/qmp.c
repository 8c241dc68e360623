/* block/qmp.c - the monitor's commands about drives (schema/block.json). */
#include "block/disk-priv.h"
#include "core/api/block.h"
#include <sys/stat.h>

static bool is_blockdev(const Disk *d) { return vm_lookup(d->vm, "node", d->id); }

/* IDE, SCSI and floppies go by their id; a virtio disk by the path of its back end. */
char *disk__qdev(const Disk *d)
{
    const Dev *dev = d->attached ? d->dev : NULL;
    g_autofree char *path = dev ? obj_path(&dev->obj) : NULL;

    if (!dev)
        return NULL;
    if (g_str_has_prefix(dev->cls->obj.name, "virtio-"))
        return dev->id ? g_strconcat(path, "/virtio-backend", NULL) : g_steal_pointer(&path);
    return dev->id ? g_strdup(dev->id) : g_steal_pointer(&path);
}

static BlockdevDetectZeroesOptions zeroes_of(const Node *n)
{
    return n->detect_zeroes == DETECT_ON ? DETECT_ZEROES_ON : n->detect_zeroes == DETECT_UNMAP ? DETECT_ZEROES_UNMAP : DETECT_ZEROES_OFF;
}

static void fill_image(const Disk *d, ImageInfo *i)
{
    const char *file = disk_filename(d);
    struct stat st;

    i->filename = g_strdup(file ? file : "");
    i->format = g_strdup(disk_format(d));
    i->virtual_size = (int64_t)disk_size(d);
    i->has_actual_size = file && !stat(file, &st);
    i->actual_size = i->has_actual_size ? (int64_t)st.st_blocks * 512 : 0;
    i->has_dirty_flag = true;
}

static int64_t depth_of(const Node *n)
{
    int64_t depth = 0;

    for (; n && n->backing; n = n->backing) /* a chain without loops */
        depth++;
    return depth;
}

static void fill_inserted(const Disk *d, BlockDeviceInfo *b)
{
    b->file = g_strdup(disk_filename(d) ? disk_filename(d) : "");
    b->node_name = g_strdup(disk_node_name(d));
    b->ro = disk_readonly(d);
    b->drv = g_strdup(disk_format(d));
    b->backing_file_depth = depth_of(d->node);
    b->active = true;
    b->detect_zeroes = zeroes_of(d->node);
    b->bps = (int64_t)d->throttle.b[THROTTLE_BPS].rate;
    b->bps_rd = (int64_t)d->throttle.b[THROTTLE_BPS_RD].rate;
    b->bps_wr = (int64_t)d->throttle.b[THROTTLE_BPS_WR].rate;
    b->iops = (int64_t)d->throttle.b[THROTTLE_IOPS].rate;
    b->iops_rd = (int64_t)d->throttle.b[THROTTLE_IOPS_RD].rate;
    b->iops_wr = (int64_t)d->throttle.b[THROTTLE_IOPS_WR].rate;
    fill_image(d, &b->image);
    b->cache = (BlockdevCacheInfo){ .writeback = !d->write_through, .direct = d->direct, .no_flush = d->no_flush };
}

static void fill(const Disk *d, BlockInfo *b)
{
    bool nospace = false, failed = disk_io_error(d, &nospace);

    b->device = g_strdup(is_blockdev(d) ? "" : d->id);
    b->qdev = disk__qdev(d);
    b->type = g_strdup("unknown");
    b->removable = disk_removable(d);
    b->locked = disk_tray_locked(d);
    b->has_tray_open = disk_is_cdrom(d) || disk_removable(d);
    b->tray_open = disk_tray_open(d);
    b->has_io_status = d->rerror == ON_ERROR_STOP || d->werror == ON_ERROR_STOP || d->werror == ON_ERROR_ENOSPC;
    b->io_status = !failed ? BLOCK_DEVICE_IO_STATUS_OK : nospace ? BLOCK_DEVICE_IO_STATUS_NOSPACE : BLOCK_DEVICE_IO_STATUS_FAILED;
    if (disk_present(d)) {
        b->inserted = g_new0(BlockDeviceInfo, 1);
        fill_inserted(d, b->inserted);
    }
}

/* Nodes of -blockdev are drives once a device has them. */
static void list_one(const char *id, void *p, void *arg)
{
    const Disk *d = p;

    if (d->attached || !is_blockdev(d))
        fill(d, API_ADD((BlockInfoList *)arg));
}

bool qmp_query_block(Vm *vm, BlockInfoList *ret, Error **err)
{
    vm_registry_foreach(vm, "drive", list_one, ret);
    return true;
}

static void list_node(const char *id, void *p, void *arg)
{
    const Disk *d = p;

    if (disk_present(d))
        fill_inserted(d, API_ADD((BlockDeviceInfoList *)arg));
}

bool qmp_query_named_block_nodes(Vm *vm, const QueryNamedBlockNodesArgs *args, BlockDeviceInfoList *ret, Error **err)
{
    vm_registry_foreach(vm, "drive", list_node, ret);
    return true;
}

/* ---- by hand ---- */
static void print_medium(const BlockDeviceInfo *m, GString *out)
{
    g_string_append_printf(out, " (%s): %s (%s%s)\n", m->node_name ? m->node_name : "", m->file, m->drv, m->ro ? ", read-only" : "");
}

static void print_one(const BlockInfo *b, GString *out)
{
    g_string_append(out, *b->device ? b->device : b->qdev ? b->qdev : "");
    if (b->inserted)
        print_medium(b->inserted, out);
    else
        g_string_append(out, ": [not inserted]\n");
    if (b->qdev)
        g_string_append_printf(out, "    Attached to:      %s\n", b->qdev);
    if (b->removable)
        g_string_append_printf(out, "    Removable device: %slocked, tray %s\n", b->locked ? "" : "not ", b->tray_open ? "open" : "closed");
    if (b->has_io_status && b->io_status != BLOCK_DEVICE_IO_STATUS_OK)
        g_string_append_printf(out, "    I/O status:       %s\n", api_BlockDeviceIoStatus.names[b->io_status]);
    if (b->inserted)
        g_string_append_printf(out, "    Cache mode:       %s%s%s\n", b->inserted->cache.writeback ? "writeback" : "writethrough",
                               b->inserted->cache.direct ? ", direct" : "", b->inserted->cache.no_flush ? ", ignore flushes" : "");
}

void hmp_info_block(Hmp *h, const HmpInfoBlockArgs *args)
{
    BlockInfoList l = { NULL, 0 };
    unsigned shown = 0;

    qmp_query_block(h->vm, &l, NULL);
    for (size_t i = 0; i < l.n; i++) {
        if (args->device && strcmp(args->device, l.v[i].device) && g_strcmp0(args->device, l.v[i].qdev))
            continue;
        if (shown++)
            g_string_append_c(h->out, '\n');
        print_one(&l.v[i], h->out);
    }
    api_clear(&api_BlockInfoList, &l);
}
