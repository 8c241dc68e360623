/* block/qmp-job.c - the monitor's commands that make and steer block jobs (schema/blockjob.json). */
#include "block/qmp-job.h"
#include "block/disk-priv.h"
#include "block/jobs/chain.h"
#include "block/jobs/mirror.h"
#include "util/jval.h"

/* ---- handlers as coroutines of the VM loop ---- */
typedef struct InCo {
    Vm *vm;
    bool (*fn)(Vm *vm, const void *args, Error **err);
    const void *args;
    Error **err;
    bool ok;
} InCo;

static void in_co_body(void *arg)
{
    InCo *c = arg;

    c->ok = c->fn(c->vm, c->args, c->err);
}

bool qmp__in_co(Vm *vm, bool (*fn)(Vm *vm, const void *args, Error **err), const void *args, Error **err)
{
    InCo c = { vm, fn, args, err, false };

    blk_run(vm->loop, in_co_body, &c);
    return c.ok;
}

static Job *find(Vm *vm, const char *id, Error **err)
{
    Job *j = job_find(vm, id);

    if (j && job_driver(j)->changed == bjob_changed)
        return j;
    fail(err, "Block job '%s' not found", id);
    error_class(err, "DeviceNotActive");
    return NULL;
}

/* ---- steering ---- */
static bool steer(Vm *vm, const char *id, bool (*verb)(Job *j, Error **err), Error **err)
{
    Job *j = find(vm, id, err);

    return j && verb(j, err);
}

bool qmp_block_job_set_speed(Vm *vm, const BlockJobSetSpeedArgs *args, Error **err)
{
    Job *j = find(vm, args->device, err);

    return j && job_set_speed(j, args->speed, err);
}

bool qmp_block_job_cancel(Vm *vm, const BlockJobCancelArgs *args, Error **err)
{
    Job *j = find(vm, args->device, err);
    bool force = args->has_force && args->force;

    if (!j)
        return false;
    if (!force && (job_status(j) == JOB_STATUS_PAUSED))
        return fail(err, "The block job for device '%s' is currently paused", args->device);
    return job_cancel(j, force, err);
}

/* clang-format off */
#define VERB(name, Args, key, verb) \
    bool qmp_block_job_##name(Vm *vm, const Args *args, Error **err) { return steer(vm, args->key, verb, err); }
VERB(pause, BlockJobPauseArgs, device, job_pause)
VERB(resume, BlockJobResumeArgs, device, job_resume)
VERB(complete, BlockJobCompleteArgs, device, job_complete)
VERB(finalize, BlockJobFinalizeArgs, id, job_finalize)
VERB(dismiss, BlockJobDismissArgs, id, job_dismiss)
#undef VERB
/* clang-format on */

static void describe(Job *j, void *arg)
{
    const BJob *b = job_state(j);
    JobStatus s = job_status(j);
    BlockJobInfo *i;

    if (job_driver(j)->changed != bjob_changed)
        return;
    i = API_ADD((BlockJobInfoList *)arg);
    i->type = job_driver(j)->type;
    i->device = g_strdup(job_id(j));
    job_progress(j, &i->offset, &i->len);
    i->busy = job_busy(j);
    i->paused = s == JOB_STATUS_PAUSED || s == JOB_STATUS_STANDBY;
    i->speed = job_speed(j);
    i->io_status = b->io_status;
    i->ready = s == JOB_STATUS_READY || s == JOB_STATUS_STANDBY;
    i->status = s;
    i->auto_finalize = !(job_flags(j) & JOB_MANUAL_FINALIZE);
    i->auto_dismiss = !(job_flags(j) & JOB_MANUAL_DISMISS);
    i->error = g_strdup(job_error(j));
}

bool qmp_query_block_jobs(Vm *vm, BlockJobInfoList *ret, Error **err)
{
    job_foreach(vm, describe, ret);
    return true;
}

void hmp_info_block_jobs(Hmp *h)
{
    BlockJobInfoList l = { NULL, 0 };

    qmp_query_block_jobs(h->vm, &l, NULL);
    if (!l.n)
        g_string_append(h->out, "No active jobs\n");
    for (size_t i = 0; i < l.n; i++)
        g_string_append_printf(h->out, "Type %s, device %s: Completed %" PRId64 " of %" PRId64 " bytes, speed limit %" PRId64 " bytes/s\n",
                               api_JobType.names[l.v[i].type], l.v[i].device, l.v[i].offset, l.v[i].len, l.v[i].speed);
    api_clear(&api_BlockJobInfoList, &l);
}

/* ---- backup ---- */
bool qmp__backup_start(Job *j, Error **err)
{
    if (!backup_begin(j, err)) {
        job_cancel(j, true, NULL);
        return false;
    }
    job_start(j);
    return true;
}

Job *qmp__backup_make(Vm *vm, const BlockdevBackup *args, Error **err)
{
    Node *target = graph_lookup(vm, args->target, err);
    Node *n = target ? graph_lookup(vm, args->device, err) : NULL;

    return n && graph__load_bitmaps(n, err) ? backup_new(vm, args, target, err) : NULL;
}

static bool backup_in_co(Vm *vm, const void *a, Error **err)
{
    const BlockdevBackup *args = a;
    Job *j = qmp__backup_make(vm, args, err);
    Node *n = j ? ((BJob *)job_state(j))->node : NULL;
    bool ok;

    if (!j)
        return false;
    node_quiesce(n);
    ok = qmp__backup_start(j, err);
    node_release(n);
    return ok;
}

bool qmp_blockdev_backup(Vm *vm, const BlockdevBackup *args, Error **err) { return qmp__in_co(vm, backup_in_co, args, err); }

/* ---- files made for a command ---- */
CO_FN bool qmp__create_image(Vm *vm, const char *file, const char *format, uint64_t size, const Node *backing, Error **err)
{
    const BlkDriver *d = blk_driver_find(format);
    g_autoptr(Opts) o = opts_new();
    g_autofree char *bytes = g_strdup_printf("%" PRIu64, size);

    if (!d)
        return fail(err, "Unknown file format '%s'", format);
    if (!strcmp(format, "raw") || !d->image || !d->image->create)
        return backing ? fail(err, "format '%s' has no backing files", format) : blk_create_file(vm->loop, file, size, err);
    opts_set(o, "size", bytes);
    if (backing) {
        opts_set(o, "backing_file", backing->filename);
        opts_set(o, "backing_fmt", backing->drv->name);
    }
    return d->image->create(vm->loop, file, o, err);
}

CO_FN Node *qmp__open_image(Vm *vm, const char *file, const char *format, const char *node_name, bool alone, Error **err)
{
    g_autoptr(Opts) o = opts_new();

    opts_set(o, "filename", file);
    opts_set(o, "driver", format);
    if (node_name)
        opts_set(o, "node-name", node_name);
    if (alone && blk_driver_find(format) && blk_driver_find(format)->has_backing)
        opts_set(o, "backing", NULL);
    return node_open(vm->loop, o, false, err);
}

/* A target for drive-mirror and drive-backup. *backed: what it stands on. */
static CO_FN Node *new_target(Vm *vm, Node *n, const char *file, const char *format, const char *node_name, MirrorSyncMode sync, bool existing, Error **err)
{
    const Node *below = sync == MIRROR_SYNC_MODE_TOP ? n->backing : sync == MIRROR_SYNC_MODE_NONE ? n : NULL;
    const char *f = format ? format : n->drv->name;

    if (!existing && !qmp__create_image(vm, file, f, n->size, below, err))
        return NULL;
    return qmp__open_image(vm, file, f, node_name, true, err);
}

static bool drive_backup_in_co(Vm *vm, const void *a, Error **err)
{
    const DriveBackup *args = a;
    Node *n = graph_lookup(vm, args->device, err), *target;
    BlockdevBackup b;
    Job *j;
    bool ok;

    if (!n || !graph__load_bitmaps(n, err))
        return false;
    target = new_target(vm, n, args->target, args->format, NULL, args->sync, args->has_mode && args->mode == NEW_IMAGE_MODE_EXISTING, err);
    if (!target)
        return false;
    b = (BlockdevBackup){ .job_id = args->job_id, .device = args->device, .sync = args->sync, .has_speed = args->has_speed, .speed = args->speed,
                          .bitmap = args->bitmap, .has_bitmap_mode = args->has_bitmap_mode, .bitmap_mode = args->bitmap_mode,
                          .compress = args->compress, .has_on_source_error = args->has_on_source_error, .on_source_error = args->on_source_error,
                          .has_on_target_error = args->has_on_target_error, .on_target_error = args->on_target_error,
                          .has_auto_finalize = args->has_auto_finalize, .auto_finalize = args->auto_finalize,
                          .has_auto_dismiss = args->has_auto_dismiss, .auto_dismiss = args->auto_dismiss };
    j = backup_new(vm, &b, target, err);
    node_unref(target);
    if (!j)
        return false;
    node_quiesce(n);
    ok = qmp__backup_start(j, err);
    node_release(n);
    return ok;
}

bool qmp_drive_backup(Vm *vm, const DriveBackup *args, Error **err) { return qmp__in_co(vm, drive_backup_in_co, args, err); }

/* ---- mirror ---- */
static CO_FN bool begin(Job *j)
{
    if (j)
        job_start(j);
    return j;
}

static bool sync_ok(MirrorSyncMode s, Error **err)
{
    return (s != MIRROR_SYNC_MODE_INCREMENTAL && s != MIRROR_SYNC_MODE_BITMAP) || fail(err, "Sync mode '%s' not supported", api_MirrorSyncMode.names[s]);
}

static bool replaced(Vm *vm, const char *name, MirrorSpec *s, const Node *n, Error **err)
{
    s->replaces = name ? graph_find(vm, name) : NULL;
    if (name && !s->replaces)
        return fail(err, "Cannot find node '%s'", name);
    return !s->replaces || s->replaces->size == n->size || fail(err, "cannot replace image with a mirror image of different size");
}

static bool mirror_in_co(Vm *vm, const void *a, Error **err)
{
    const BlockdevMirrorArgs *args = a;
    BJobArgs ba = { args->job_id, args->device, args->has_speed, args->has_auto_finalize && !args->auto_finalize,
                    args->has_auto_dismiss && !args->auto_dismiss, args->speed };
    Node *n = graph_lookup(vm, args->device, err), *target = n ? graph_lookup(vm, args->target, err) : NULL;
    MirrorSpec s = { .none = args->sync == MIRROR_SYNC_MODE_NONE, .depth = args->sync == MIRROR_SYNC_MODE_TOP && n && n->backing,
                     .write_blocking = args->has_copy_mode && args->copy_mode == MIRROR_COPY_MODE_WRITE_BLOCKING,
                     .granularity = args->has_granularity ? args->granularity : 0,
                     .on_read = bjob_policy(args->has_on_source_error, args->on_source_error),
                     .on_write = bjob_policy(args->has_on_target_error, args->on_target_error) };

    return target && sync_ok(args->sync, err) && replaced(vm, args->replaces, &s, n, err) && begin(mirror_new(vm, &ba, &s, n, target, err));
}

bool qmp_blockdev_mirror(Vm *vm, const BlockdevMirrorArgs *args, Error **err) { return qmp__in_co(vm, mirror_in_co, args, err); }

static bool drive_mirror_in_co(Vm *vm, const void *a, Error **err)
{
    const DriveMirror *args = a;
    BJobArgs ba = { args->job_id, args->device, args->has_speed, args->has_auto_finalize && !args->auto_finalize,
                    args->has_auto_dismiss && !args->auto_dismiss, args->speed };
    Node *n = graph_lookup(vm, args->device, err), *target;
    MirrorSpec s = { .none = args->sync == MIRROR_SYNC_MODE_NONE, .depth = args->sync == MIRROR_SYNC_MODE_TOP && n && n->backing, .take_backing = true,
                     .write_blocking = args->has_copy_mode && args->copy_mode == MIRROR_COPY_MODE_WRITE_BLOCKING,
                     .granularity = args->has_granularity ? args->granularity : 0,
                     .on_read = bjob_policy(args->has_on_source_error, args->on_source_error),
                     .on_write = bjob_policy(args->has_on_target_error, args->on_target_error) };
    bool ok;

    if (!n || !sync_ok(args->sync, err) || !replaced(vm, args->replaces, &s, n, err))
        return false;
    s.take_backing = args->sync == MIRROR_SYNC_MODE_TOP;
    target = new_target(vm, n, args->target, args->format, args->node_name, args->sync == MIRROR_SYNC_MODE_NONE ? MIRROR_SYNC_MODE_TOP : args->sync,
                        args->has_mode && args->mode == NEW_IMAGE_MODE_EXISTING, err);
    if (!target)
        return false;
    ok = begin(mirror_new(vm, &ba, &s, n, target, err));
    node_unref(target);
    return ok;
}

bool qmp_drive_mirror(Vm *vm, const DriveMirror *args, Error **err) { return qmp__in_co(vm, drive_mirror_in_co, args, err); }

/* ---- chains ---- */
static Node *in_chain(Vm *vm, Node *top, const char *node, const char *file, const char *what, Error **err)
{
    for (Node *n = top; n; n = n->backing)
        if (node ? !strcmp(n->name, node) : !g_strcmp0(n->filename, file))
            return n;
    fail(err, node ? "Node '%s' is not a backing image of '%s'" : "Can't find '%s' in the backing chain", node ? node : file, top->name);
    return NULL;
}

static bool stream_in_co(Vm *vm, const void *a, Error **err)
{
    const BlockStreamArgs *args = a;
    BJobArgs ba = { args->job_id, args->device, args->has_speed, args->has_auto_finalize && !args->auto_finalize,
                    args->has_auto_dismiss && !args->auto_dismiss, args->speed };
    Node *n = graph_lookup(vm, args->device, err), *bottom = NULL;
    ChainSpec s = { .backing_file = args->backing_file, .on_error = bjob_policy(args->has_on_error, args->on_error) };

    if (!n)
        return false;
    if (!!args->base + !!args->base_node + !!args->bottom > 1)
        return fail(err, "'base', 'base-node' and 'bottom' cannot be specified at the same time");
    if ((args->base || args->base_node) && !(s.base = in_chain(vm, n->backing ? n->backing : n, args->base_node, args->base, "base", err)))
        return false;
    if (args->bottom && !(bottom = in_chain(vm, n, args->bottom, NULL, "bottom", err)))
        return false;
    s.base = bottom ? bottom->backing : s.base;
    if (s.base == n)
        return fail(err, "Node '%s' is not a backing image of '%s'", n->name, n->name);
    if (args->backing_file && !s.base)
        return fail(err, "backing file specified, but streaming the entire chain");
    return begin(stream_new(vm, &ba, &s, n, err));
}

bool qmp_block_stream(Vm *vm, const BlockStreamArgs *args, Error **err) { return qmp__in_co(vm, stream_in_co, args, err); }

static unsigned layers(const Node *top, const Node *base)
{
    unsigned d = 0;

    for (; top && top != base; top = top->backing)
        d++;
    return d;
}

static Node *lowest(Node *n)
{
    while (n->backing)
        n = n->backing;
    return n;
}

static Node *above(Node *active, const Node *n)
{
    while (active && active->backing != n)
        active = active->backing;
    return active;
}

static bool commit_in_co(Vm *vm, const void *a, Error **err)
{
    const BlockCommitArgs *args = a;
    BJobArgs ba = { args->job_id, args->device, args->has_speed, args->has_auto_finalize && !args->auto_finalize,
                    args->has_auto_dismiss && !args->auto_dismiss, args->speed };
    Node *active = graph_lookup(vm, args->device, err), *top = active, *base;
    OnError on = bjob_policy(args->has_on_error, args->on_error);

    if (active && (args->top || args->top_node))
        top = in_chain(vm, active, args->top_node, args->top, "top", err);
    if (!active || !top)
        return false;
    base = args->base || args->base_node ? in_chain(vm, top, args->base_node, args->base, "base", err) : lowest(top);
    if (!base)
        return false;
    if (base == top)
        return fail(err, "cannot commit an image into itself");
    if (top == active) {
        MirrorSpec s = { .commit = true, .depth = layers(top, base), .on_read = on, .on_write = on };

        if (args->backing_file)
            return fail(err, "'backing-file' specified, but 'top' is the active layer");
        return begin(mirror_new(vm, &ba, &s, top, base, err));
    }
    return begin(commit_new(vm, &ba, &(ChainSpec){ top, base, above(active, top), args->backing_file, on }, active, err));
}

bool qmp_block_commit(Vm *vm, const BlockCommitArgs *args, Error **err) { return qmp__in_co(vm, commit_in_co, args, err); }
