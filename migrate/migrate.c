/*
 * migrate/migrate.c - one migration of a VM at a time, out or in.
 *
 *   out:  none -> setup -> active (the VM stops, disks come to rest) -> device (a thread writes) -> completed
 *                              \-> cancelling -> cancelled       \-> failed: the VM goes on as before
 *   in:   none -> setup -> active (a thread reads) -> completed, or failed: the VM is as it was
 *
 * Invariants (VM lock): `thread` is joined on the VM loop, or when the VM is freed; from finish-migrate to the end no
 * vCPU runs; the run state before is restored unless it completed.
 */
#include "migrate/migrate.h"
#include "block/disk.h"
#include "migrate/stream.h"
#include "util/rcu.h"

typedef struct Migration {
    Vm *vm;
    MigrationStatus status;
    bool incoming, exit_on_error, events, awaited, closing;
    RunState before;
    char *error;
    Stream *stream;
    GThread *thread;
    Incoming *in;
    Error *failure; /* the thread's; read after it was joined */
    StreamCount count;
    int64_t begun, ready, stopped, ended; /* host_now() */
    VmListener listener;
} Migration;

static void set_status(Migration *m, MigrationStatus s)
{
    m->status = s;
    if (m->events)
        event_migration(m->vm, &(EventMigration){ .status = s });
}

static bool in_progress(const Migration *m)
{
    return m->status == MIGRATE_SETUP || m->status == MIGRATE_ACTIVE || m->status == MIGRATE_DEVICE || m->status == MIGRATE_CANCELLING;
}

static void join(Migration *m)
{
    if (m->thread)
        g_thread_join(m->thread);
    m->thread = NULL;
    g_clear_pointer(&m->stream, stream_free);
    g_clear_pointer(&m->in, incoming_free);
}

/* ---- one per VM ---- */
static void migration_free(void *p)
{
    Migration *m = p;

    join(m);
    error_free(m->failure);
    g_free(m->error);
    g_free(m);
}

void migrate_shutdown(Vm *vm)
{
    Migration *m = vm_lookup(vm, "migration", "");
    GThread *t;

    if (!m)
        return;
    lock_take(&vm->lock);
    m->closing = true;
    if (m->stream)
        __atomic_store_n(&m->stream->cancel, 1, __ATOMIC_RELAXED);
    t = g_steal_pointer(&m->thread);
    lock_drop(&vm->lock);
    if (t) /* it may want the lock */
        g_thread_join(t);
}

/* The saved RAM would not be that of the saved devices. */
static void on_reset(void *self)
{
    Migration *m = self;

    if (!m->incoming && in_progress(m) && m->stream)
        __atomic_store_n(&m->stream->cancel, 1, __ATOMIC_RELAXED);
}

static Migration *of(Vm *vm)
{
    Migration *m = vm_lookup(vm, "migration", "");

    if (m)
        return m;
    m = g_new0(Migration, 1);
    m->vm = vm;
    m->listener = (VmListener){ .reset = on_reset, .self = m };
    vm_listen(vm, &m->listener);
    vm_register(vm, "migration", "", m);
    return own(&vm->root, m, migration_free);
}

static void begin(Migration *m, bool incoming)
{
    m->incoming = incoming;
    m->count = (StreamCount){ 0 };
    g_clear_pointer(&m->error, g_free);
    m->begun = host_now();
    m->ready = m->stopped = m->ended = 0;
    set_status(m, MIGRATE_SETUP);
}

static void keep_failure(Migration *m, Error *e)
{
    g_free(m->error);
    m->error = g_strdup(error_text(e));
    error_free(e);
}

/* A file that cannot be opened is told twice: as a status, and to who asked. */
static bool open_stream(Migration *m, const char *uri, bool incoming, Error **err)
{
    Error *why = NULL;

    begin(m, incoming);
    m->stream = stream_open(uri, !incoming, &why);
    if (m->stream)
        return true;
    m->error = g_strdup(error_text(why));
    set_status(m, MIGRATE_FAILED);
    return error_pass(err, why);
}

/* ---- out ---- */
static void resume_as_before(Migration *m)
{
    if (m->vm->state != RUN_FINISH_MIGRATE)
        return; /* something else happened: shut down, panicked */
    vm_stop(m->vm, m->before == RUN_RUNNING ? RUN_PAUSED : m->before);
    if (m->before == RUN_RUNNING)
        vm_cont(m->vm);
}

static void written(void *arg)
{
    Migration *m = arg;
    bool cancelled = m->status == MIGRATE_CANCELLING;

    if (m->closing)
        return;
    join(m);
    m->ended = host_now();
    if (!m->failure) {
        set_status(m, MIGRATE_COMPLETED);
        if (m->vm->state == RUN_FINISH_MIGRATE)
            vm_stop(m->vm, RUN_POSTMIGRATE);
        return;
    }
    keep_failure(m, g_steal_pointer(&m->failure));
    if (cancelled)
        g_clear_pointer(&m->error, g_free);
    set_status(m, cancelled ? MIGRATE_CANCELLED : MIGRATE_FAILED);
    resume_as_before(m);
}

static gpointer write_thread(gpointer arg)
{
    Migration *m = arg;
    Vm *vm = m->vm;
    Image *image;

    lock_take(&vm->lock);
    image = image_take(vm, m->before, &m->failure);
    rcu_lock(); /* the blocks stay even when their device is unplugged */
    lock_drop(&vm->lock);
    if (image && !image_write(image, m->stream, &m->count))
        m->failure = g_steal_pointer(&m->stream->err);
    rcu_unlock();
    image_free(image);
    loop_post(vm->loop, written, m);
    return NULL;
}

static void is_busy(const char *id, void *disk, void *arg) { *(bool *)arg |= disk_busy(disk); }

/* Requests in flight write to RAM when they end: the state is taken once there are none. */
static bool poll_disks(void *arg)
{
    Migration *m = arg;
    bool busy = false;

    vm_registry_foreach(m->vm, "drive", is_busy, &busy);
    if (busy && m->status == MIGRATE_ACTIVE)
        return true;
    if (m->closing)
        return false;
    if (m->status == MIGRATE_ACTIVE)
        set_status(m, MIGRATE_DEVICE);
    m->thread = g_thread_new("migration", write_thread, m);
    return false;
}

static void count_block(RamBlock *b, void *arg) { ((Migration *)arg)->count.total += b->size; }

static void stop_and_save(void *arg)
{
    Migration *m = arg;

    m->ready = host_now();
    if (m->status == MIGRATE_SETUP) {
        if (m->events)
            event_migration_pass(m->vm, &(EventMigrationPass){ .pass = 1 });
        set_status(m, MIGRATE_ACTIVE);
    }
    vm_foreach_ram(m->vm, count_block, m);
    m->count.left = m->count.total;
    m->before = m->vm->state;
    m->stopped = host_now();
    vm_stop(m->vm, RUN_FINISH_MIGRATE);
    loop_after(m->vm->loop, 0, poll_disks, m);
}

static bool may_start(Migration *m, Error **err)
{
    if (in_progress(m))
        return fail(err, "There's a migration process in progress");
    if (m->vm->state == RUN_INMIGRATE)
        return fail(err, "Guest is waiting for an incoming migration");
    if (m->vm->state == RUN_POSTMIGRATE)
        return fail(err, "Can't migrate the vm that was paused due to previous migration");
    return true;
}

bool migrate_start(Vm *vm, const char *uri, Error **err)
{
    Migration *m;
    bool ok;

    lock_take(&vm->lock);
    m = of(vm);
    ok = migrate_uri_check(uri, err) && may_start(m, err) && open_stream(m, uri, false, err);
    if (ok)
        loop_post(vm->loop, stop_and_save, m);
    lock_drop(&vm->lock);
    return ok;
}

void migrate_cancel(Vm *vm)
{
    Migration *m;

    lock_take(&vm->lock);
    m = of(vm);
    if (in_progress(m) && !m->incoming && m->status != MIGRATE_CANCELLING) {
        set_status(m, MIGRATE_CANCELLING);
        __atomic_store_n(&m->stream->cancel, 1, __ATOMIC_RELAXED);
    }
    lock_drop(&vm->lock);
}

/* ---- in ---- */
void migrate_await(Vm *vm, bool autostart)
{
    lock_take(&vm->lock);
    of(vm)->awaited = true;
    vm->autostart = autostart;
    vm_stop(vm, RUN_INMIGRATE);
    lock_drop(&vm->lock);
}

static void refused(Migration *m, Error *e)
{
    Error *say = NULL;

    keep_failure(m, e);
    set_status(m, MIGRATE_FAILED);
    if (!m->exit_on_error)
        return;
    fail(&say, "-incoming: %s", m->error);
    error_report_free(say);
    vm_exit_code(m->vm, 1);
}

/* A VM that ran goes on, unless -S; one that stood still comes up as it stood. */
static void run_as_before(Vm *vm, RunState then)
{
    bool ran = then == RUN_RUNNING;

    vm_stop(vm, ran || then == RUN_INMIGRATE || then == RUN_FINISH_MIGRATE ? RUN_PAUSED : then);
    if (ran && vm->autostart)
        vm_cont(vm);
}

static void read_done(void *arg)
{
    Migration *m = arg;
    RunState then = m->in->state;
    bool ok = !m->failure;

    if (m->closing)
        return;
    if (ok)
        ok = incoming_commit(m->in, m->vm, &m->failure);
    join(m);
    m->ended = host_now();
    if (!ok) {
        refused(m, g_steal_pointer(&m->failure));
        return;
    }
    m->awaited = false;
    run_as_before(m->vm, then);
    set_status(m, MIGRATE_COMPLETED);
}

static gpointer read_thread(gpointer arg)
{
    Migration *m = arg;

    if (!incoming_read(m->in, m->stream))
        m->failure = g_steal_pointer(&m->stream->err);
    loop_post(m->vm->loop, read_done, m);
    return NULL;
}

static bool may_load(Migration *m, Error **err)
{
    if (!m->awaited)
        return fail(err, "'-incoming' was not specified on the command line");
    return !in_progress(m) || fail(err, "The incoming migration has already been started");
}

bool migrate_incoming(Vm *vm, const char *uri, bool exit_on_error, Error **err)
{
    Migration *m;
    bool ok;

    lock_take(&vm->lock);
    m = of(vm);
    ok = migrate_uri_check(uri, err) && may_load(m, err) && open_stream(m, uri, true, err);
    if (ok) {
        m->exit_on_error = exit_on_error;
        set_status(m, MIGRATE_ACTIVE);
        m->in = incoming_new(vm);
        m->thread = g_thread_new("migration", read_thread, m);
    }
    lock_drop(&vm->lock);
    return ok;
}

/* ---- queries ---- */
void migrate_send_events(Vm *vm, bool on)
{
    lock_take(&vm->lock);
    of(vm)->events = on;
    lock_drop(&vm->lock);
}

bool migrate_sends_events(Vm *vm)
{
    bool on;

    lock_take(&vm->lock);
    on = of(vm)->events;
    lock_drop(&vm->lock);
    return on;
}

static int64_t ms(int64_t from, int64_t to) { return from && to ? (to - from) / MS : 0; }

void migrate_query(Vm *vm, MigrateInfo *out)
{
    Migration *m;
    int64_t now = host_now();

    lock_take(&vm->lock);
    m = of(vm);
    *out = (MigrateInfo){ .status = m->status, .incoming = m->incoming, .error_desc = g_strdup(m->error) };
    out->setup_ms = ms(m->begun, m->ready ? m->ready : now);
    out->total_ms = ms(m->begun, m->ended ? m->ended : now);
    out->downtime_ms = ms(m->stopped, m->ended ? m->ended : now);
    out->ram_total = m->count.total;
    out->ram_transferred = __atomic_load_n(&m->count.sent, __ATOMIC_RELAXED);
    out->ram_remaining = __atomic_load_n(&m->count.left, __ATOMIC_RELAXED);
    out->normal = __atomic_load_n(&m->count.normal, __ATOMIC_RELAXED);
    out->duplicate = __atomic_load_n(&m->count.zero, __ATOMIC_RELAXED);
    lock_drop(&vm->lock);
}
