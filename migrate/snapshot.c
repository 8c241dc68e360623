/*
 * migrate/snapshot.c - making, loading and deleting snapshots of the machine, as jobs; the monitor's commands.
 *
 * The machine stops, its disks come to rest (what is in flight has ended, all of it is flushed), then the place does its
 * part in a coroutine, and the machine goes on as before. A snapshot that is refused changes nothing.
 */
#include "migrate/snappriv.h"
#include "core/api/snapshot.h"
#include "migrate/migrate.h"

typedef enum SnapKind { SNAP_SAVE, SNAP_LOAD, SNAP_DELETE } SnapKind;
typedef struct Work {
    SnapAsk ask;
    void *plan;
} Work;

static const SnapPlace *place_of(Vm *vm) { return snap__has_folder(vm) ? &snap__folder : &snap__images; }

/* ---- on the pool ---- */
typedef struct PoolCall {
    bool (*fn)(void *arg, Error **err);
    void *arg;
    Error **err;
    bool ok;
} PoolCall;

static int pool_body(void *arg)
{
    PoolCall *c = arg;

    c->ok = c->fn(c->arg, c->err);
    return 0;
}

CO_FN bool snap__in_pool(Vm *vm, bool (*fn)(void *arg, Error **err), void *arg, Error **err)
{
    PoolCall c = { fn, arg, err, false };

    blk_in_pool(vm->loop, pool_body, &c);
    return c.ok;
}

/* ---- coming to rest ---- */
static void is_busy(const char *id, void *disk, void *arg) { *(bool *)arg |= disk_busy(disk); }
static void give_up(const char *id, void *disk, void *arg) { disk_cancel_all(disk); }

static CO_FN void rest(Job *j)
{
    for (bool busy = true; busy;) { /* after vm_stop it becomes false by itself */
        busy = false;
        vm_registry_foreach(job_vm(j), "drive", is_busy, &busy);
        if (busy)
            job_sleep(j, MS);
    }
}

static void go_on(Vm *vm, RunState before, RunState why)
{
    if (vm->state != why)
        return; /* something else happened: shut down, panicked */
    vm_stop(vm, before == RUN_RUNNING ? RUN_PAUSED : before);
    if (before == RUN_RUNNING)
        vm_cont(vm);
}

static bool may(Vm *vm, Error **err)
{
    MigrateInfo n;
    bool moving;

    migrate_query(vm, &n);
    g_free(n.error_desc);
    moving = n.status == MIGRATE_SETUP || n.status == MIGRATE_ACTIVE || n.status == MIGRATE_DEVICE || n.status == MIGRATE_CANCELLING;
    if (moving || vm->state == RUN_INMIGRATE || vm->state == RUN_FINISH_MIGRATE || vm->state == RUN_POSTMIGRATE)
        return fail(err, "There's a migration process in progress");
    if (vm->state == RUN_SAVE_VM || vm->state == RUN_RESTORE_VM)
        return fail(err, "another snapshot is being made or loaded");
    return true;
}

static void tell(Vm *vm, MigrationStatus s)
{
    if (migrate_sends_events(vm))
        event_migration(vm, &(EventMigration){ .status = s });
}

static CO_FN bool run_save(Job *j, Error **err)
{
    Work *w = job_state(j);
    Vm *vm = job_vm(j);
    RunState before = vm->state;
    bool ok;

    job_total(j, 1);
    if (!may(vm, err))
        return false;
    tell(vm, MIGRATE_SETUP);
    vm_stop(vm, RUN_SAVE_VM);
    rest(j);
    if (migrate_sends_events(vm))
        event_migration_pass(vm, &(EventMigrationPass){ .pass = 1 });
    ok = place_of(vm)->save(j, &w->ask, before, err);
    go_on(vm, before, RUN_SAVE_VM);
    tell(vm, ok ? MIGRATE_COMPLETED : MIGRATE_FAILED);
    job_done(j, 1);
    return ok;
}

static CO_FN bool run_load(Job *j, Error **err)
{
    Work *w = job_state(j);
    Vm *vm = job_vm(j);
    RunState before = vm->state;
    bool ok, stood;

    job_total(j, 1);
    if (!may(vm, err) || !place_of(vm)->check(j, &w->ask, &w->plan, err))
        return false;
    before = vm->state;
    vm_stop(vm, RUN_RESTORE_VM);
    rest(j);
    vm_registry_foreach(vm, "drive", give_up, NULL); /* what waits for room on the host belongs to the time before */
    rest(j);
    ok = place_of(vm)->load(j, &w->ask, w->plan, err);
    stood = before == RUN_SHUTDOWN || before == RUN_GUEST_PANICKED || before == RUN_INTERNAL_ERROR || before == RUN_IO_ERROR;
    go_on(vm, !ok || stood ? RUN_PAUSED : before, RUN_RESTORE_VM);
    job_done(j, 1);
    return ok;
}

static CO_FN bool run_delete(Job *j, Error **err)
{
    Work *w = job_state(j);

    job_total(j, 1);
    if (!may(job_vm(j), err) || !place_of(job_vm(j))->remove(j, &w->ask, err))
        return false;
    job_done(j, 1);
    return true;
}

static void clean(Job *j)
{
    Work *w = job_state(j);

    if (w->plan)
        place_of(job_vm(j))->free_plan(w->plan);
    g_free(w->ask.tag);
    g_free(w->ask.vmstate);
    g_strfreev(w->ask.devices);
}

static const JobDriver drivers[] = {
    [SNAP_SAVE] = { .type = JOB_TYPE_SNAPSHOT_SAVE, .size = sizeof(Work), .run = run_save, .clean = clean, .uncancellable = true },
    [SNAP_LOAD] = { .type = JOB_TYPE_SNAPSHOT_LOAD, .size = sizeof(Work), .run = run_load, .clean = clean, .uncancellable = true },
    [SNAP_DELETE] = { .type = JOB_TYPE_SNAPSHOT_DELETE, .size = sizeof(Work), .run = run_delete, .clean = clean, .uncancellable = true },
};

/* ---- from here in ---- */
static bool at_once(Vm *vm, SnapKind kind, const char *tag, Error **err)
{
    Job *j = job_new(vm, &drivers[kind], NULL, JOB_INTERNAL, err);
    Work *w = job_state(j);
    bool ok;

    w->ask = (SnapAsk){ .tag = g_strdup(tag), .replace = true };
    job_ref(j);
    job_start(j);
    ok = job_wait(j, err);
    job_unref(j);
    return ok;
}

bool snapshot_save(Vm *vm, const char *tag, Error **err)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *made = g_date_time_format(now, "vm-%Y%m%d%H%M%S");

    return at_once(vm, SNAP_SAVE, tag && *tag ? tag : made, err);
}

bool snapshot_load(Vm *vm, const char *tag, Error **err) { return at_once(vm, SNAP_LOAD, tag, err); }
bool snapshot_delete(Vm *vm, const char *tag, Error **err) { return at_once(vm, SNAP_DELETE, tag, err); }

typedef struct BeginWith {
    Vm *vm;
    const char *tag;
    Error **err;
    bool ok, done;
    GMutex mutex;
    GCond cond;
} BeginWith;

static void load_there(void *arg)
{
    BeginWith *b = arg;

    b->ok = snapshot_load(b->vm, b->tag, b->err);
    g_mutex_lock(&b->mutex);
    b->done = true;
    g_cond_signal(&b->cond);
    g_mutex_unlock(&b->mutex);
}

bool snapshot_begin_with(Vm *vm, const char *tag, Error **err)
{
    BeginWith b = { .vm = vm, .tag = tag, .err = err };

    g_mutex_init(&b.mutex);
    g_cond_init(&b.cond);
    loop_post(vm->loop, load_there, &b);
    g_mutex_lock(&b.mutex);
    while (!b.done)
        g_cond_wait(&b.cond, &b.mutex);
    g_mutex_unlock(&b.mutex);
    g_mutex_clear(&b.mutex);
    g_cond_clear(&b.cond);
    return b.ok;
}

/* ---- QMP ---- */
static bool begin(Vm *vm, SnapKind kind, const char *id, const char *tag, const char *vmstate, char *const *devices, size_t n, Error **err)
{
    Job *j = job_new(vm, &drivers[kind], id, JOB_MANUAL_DISMISS, err);
    Work *w;

    if (!j)
        return false;
    w = job_state(j);
    w->ask = (SnapAsk){ .tag = g_strdup(tag), .vmstate = g_strdup(vmstate), .devices = g_new0(char *, n + 1) };
    for (size_t i = 0; i < n; i++)
        w->ask.devices[i] = g_strdup(devices[i]);
    job_start(j);
    return true;
}

bool qmp_snapshot_save(Vm *vm, const SnapshotSaveArgs *a, Error **err)
{
    return begin(vm, SNAP_SAVE, a->job_id, a->tag, a->vmstate, a->devices.v, a->devices.n, err);
}

bool qmp_snapshot_load(Vm *vm, const SnapshotLoadArgs *a, Error **err)
{
    return begin(vm, SNAP_LOAD, a->job_id, a->tag, a->vmstate, a->devices.v, a->devices.n, err);
}

bool qmp_snapshot_delete(Vm *vm, const SnapshotDeleteArgs *a, Error **err)
{
    return begin(vm, SNAP_DELETE, a->job_id, a->tag, NULL, a->devices.v, a->devices.n, err);
}

/* ---- the human monitor's ---- */
void hmp_savevm(Hmp *h, const HmpSavevmArgs *args)
{
    Error *e = NULL;

    snapshot_save(h->vm, args->tag, &e);
    hmp_say_error(h, e);
}

void hmp_loadvm(Hmp *h, const HmpLoadvmArgs *args)
{
    Error *e = NULL;

    snapshot_load(h->vm, args->tag, &e);
    hmp_say_error(h, e);
}

void hmp_delvm(Hmp *h, const HmpDelvmArgs *args)
{
    Error *e = NULL;

    snapshot_delete(h->vm, args->tag, &e);
    hmp_say_error(h, e);
}

void hmp_info_snapshots(Hmp *h) { place_of(h->vm)->list(h->vm, h->out); }
