/* block/qmp.c - the monitor's commands about drives (schema/block.json). */
#include "block/dirty.h"
#include "block/disk-priv.h"
#include "block/image.h"
#include "block/priv.h"
#include "core/api/block.h"
#include "util/jval.h"
#include <sys/stat.h>

static bool is_blockdev(const Disk *d) { return vm_lookup(d->vm, "node", d->id); }

/* A virtio disk is known by its back end. */
static bool has_backend(const Dev *dev) { return g_str_has_prefix(dev->cls->obj.name, "virtio-"); }

char *disk__qom_path(const Disk *d)
{
    g_autofree char *path = d->dev ? obj_path(&d->dev->obj) : g_strdup("");

    return d->dev && has_backend(d->dev) ? g_strconcat(path, "/virtio-backend", NULL) : g_steal_pointer(&path);
}

/* Others go by their id, if they have one. */
char *disk__qdev(const Disk *d)
{
    if (!d->dev)
        return NULL;
    return d->dev->id && !has_backend(d->dev) ? g_strdup(d->dev->id) : disk__qom_path(d);
}

bool disk__can_stop(const Disk *d)
{
    return d->attached && (d->rerror == ON_ERROR_STOP || d->rerror == ON_ERROR_ENOSPC || d->werror == ON_ERROR_STOP || d->werror == ON_ERROR_ENOSPC);
}

static BlockdevDetectZeroesOptions zeroes_of(const Node *n)
{
    return n->detect_zeroes == DETECT_ON ? DETECT_ZEROES_ON : n->detect_zeroes == DETECT_UNMAP ? DETECT_ZEROES_UNMAP : DETECT_ZEROES_OFF;
}

/* The driver's facts by the schema's type, which has a place for each. */
static ImageInfoSpecific *specific(const Node *n)
{
    GPtrArray *facts = n->drv->image->facts(n);
    ImageInfoSpecific *to = g_new0(ImageInfoSpecific, 1);
    g_autoptr(JVal) all = j_object();
    JVal *data = blk_facts_tree(facts);

    blk_facts_free(facts);
    j_set(j_set(all, "type", j_string(n->drv->name)), "data", data);
    api_in(&api_ImageInfoSpecific, all, to, &abort_on_error);
    return to;
}

static void fill_names(const Node *n, ImageInfo *i)
{
    BlkNames names;

    n->drv->image->names(n, &names);
    i->has_cluster_size = names.cluster_size;
    i->cluster_size = (int64_t)names.cluster_size;
    i->dirty_flag = names.dirty;
    i->has_encrypted = i->encrypted = names.encrypted;
    i->format_specific = n->drv->image->facts ? specific(n) : NULL;
    if (!names.backing)
        return;
    i->backing_filename = g_strdup(names.backing);
    i->full_backing_filename = block__beside(n->filename, names.backing);
    i->backing_filename_format = g_strdup(names.backing_format);
}

/* Chains are short and without loops (block/chain.c). */
static void fill_image(const Node *n, ImageInfo *i)
{
    struct stat st;

    i->filename = g_strdup(n->filename ? n->filename : "");
    i->format = g_strdup(n->drv->name);
    i->virtual_size = (int64_t)n->size;
    i->has_actual_size = n->filename && !stat(n->filename, &st);
    i->actual_size = i->has_actual_size ? (int64_t)st.st_blocks * 512 : 0;
    i->has_dirty_flag = true;
    if (n->drv->image)
        fill_names(n, i);
    if (n->backing) {
        i->backing_image = g_new0(ImageInfo, 1);
        fill_image(n->backing, i->backing_image);
    }
}

static int64_t depth_of(const Node *n)
{
    int64_t depth = 0;

    for (; n && n->backing; n = n->backing) /* a chain without loops */
        depth++;
    return depth;
}

static void fill_bitmaps(const Node *n, BlockDeviceInfo *b)
{
    graph__load_bitmaps((Node *)(uintptr_t)n, NULL);
    for (guint i = 0; n->dirty && i < n->dirty->len; i++) {
        const DirtyBitmap *d = n->dirty->pdata[i];
        BlockDirtyInfo *out = d->name ? API_ADD(&b->dirty_bitmaps) : NULL;

        if (out)
            *out = (BlockDirtyInfo){ .name = g_strdup(d->name), .count = (int64_t)(d->count << d->shift), .granularity = (uint32_t)dirty_granularity(d),
                                     .recording = !d->disabled && !d->inconsistent, .busy = d->busy, .persistent = d->persistent,
                                     .has_inconsistent = d->inconsistent, .inconsistent = d->inconsistent };
    }
}

static void fill_node(const Node *n, BlockDeviceInfo *b)
{
    fill_bitmaps(n, b);
    b->file = g_strdup(n->filename ? n->filename : "");
    b->node_name = g_strdup(n->name ? n->name : "");
    b->ro = n->readonly;
    b->drv = g_strdup(n->drv->name);
    b->backing_file = n->backing ? g_strdup(n->backing->filename) : NULL;
    b->backing_file_depth = depth_of(n);
    b->write_threshold = (int64_t)n->write_threshold;
    b->active = true;
    b->detect_zeroes = zeroes_of(n);
    b->cache = (BlockdevCacheInfo){ .writeback = true, .direct = n->direct, .no_flush = n->no_flush };
    fill_image(n, &b->image);
    b->encrypted = b->image.encrypted;
}

static void fill_limits(const ThrottleGroup *g, BlockDeviceInfo *b)
{
    const ThrottleLimits *l = g ? throttle_group_limits(g) : NULL;
    const struct {
        int64_t *avg, *max, *length;
        bool *has_max, *has_length;
    } rows[THROTTLES] = {
#define ROW(n) { &b->n, &b->n##_max, &b->n##_max_length, &b->has_##n##_max, &b->has_##n##_max_length }
        [THROTTLE_BPS] = ROW(bps), [THROTTLE_BPS_RD] = ROW(bps_rd), [THROTTLE_BPS_WR] = ROW(bps_wr),
        [THROTTLE_IOPS] = ROW(iops), [THROTTLE_IOPS_RD] = ROW(iops_rd), [THROTTLE_IOPS_WR] = ROW(iops_wr),
#undef ROW
    };

    if (!g)
        return;
    b->group = g_strdup(throttle_group_name(g));
    b->has_iops_size = l->op_size;
    b->iops_size = (int64_t)l->op_size;
    for (unsigned i = 0; i < THROTTLES; i++) {
        *rows[i].avg = (int64_t)l->avg[i];
        *rows[i].max = (int64_t)l->max[i];
        *rows[i].length = (int64_t)l->length[i];
        *rows[i].has_max = *rows[i].has_length = l->max[i];
    }
}

/* snapshot=on is shown as the image below it. */
static void fill_inserted(const Disk *d, BlockDeviceInfo *b)
{
    fill_node(d->snapshot ? d->node->backing : d->node, b);
    b->ro = disk_readonly(d);
    b->detect_zeroes = zeroes_of(d->node);
    fill_limits(d->throttle.group, b);
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
    b->has_io_status = disk__can_stop(d);
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

/* What a node stands on; what has a name is a disk of its own (-blockdev). */
static void list_below(const Node *n, BlockDeviceInfoList *l)
{
    const Node *const children[] = { n->backing, n->file, n->data };

    for (size_t i = 0; i < G_N_ELEMENTS(children); i++) {
        if (!children[i] || children[i]->named)
            continue;
        fill_node(children[i], API_ADD(l));
        list_below(children[i], l);
    }
}

static void list_node(const char *id, void *p, void *arg)
{
    const Disk *d = p;

    if (!disk_present(d))
        return;
    fill_inserted(d, API_ADD((BlockDeviceInfoList *)arg));
    list_below(d->snapshot ? d->node->backing : d->node, arg);
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
    if (b->inserted && b->inserted->backing_file)
        g_string_append_printf(out, "    Backing file:     %s (chain depth: %" PRId64 ")\n", b->inserted->backing_file, b->inserted->backing_file_depth);
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
