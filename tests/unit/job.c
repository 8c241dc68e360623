/* tests/unit/job.c - jobs: states and events in QEMU's order, verbs where they are allowed, the ways to end. */
#include "core/job.h"
#include "tests/lib/t.h"

typedef struct Log {
    VmListener l;
    GString *s;
} Log;

static void on_event(void *self, const char *name, const char *json)
{
    const char *at = json ? strstr(json, "\"status\"") : NULL;

    if (!strcmp(name, "JOB_STATUS_CHANGE") && at) {
        g_auto(GStrv) parts = g_strsplit(at, "\"", -1);

        g_string_append_printf(((Log *)self)->s, "%s ", parts[3]);
    }
}

static Vm *machine(Log *log)
{
    Vm *vm = vm_new("job");

    *log = (Log){ .l = { .event = on_event, .self = log }, .s = g_string_new(NULL) };
    lock_take(&vm->lock);
    vm_listen(vm, &log->l);
    return vm;
}

static void done(Vm *vm, Log *log)
{
    vm_unlisten(vm, &log->l);
    lock_drop(&vm->lock);
    vm_free(vm);
    g_string_free(log->s, TRUE);
}

static void check_log(Log *log, const char *want)
{
    check_str(log->s->str, want);
    g_string_truncate(log->s, 0);
}

static void settle(Vm *vm)
{
    for (int i = 0; i < 20; i++)
        loop_iterate(vm->loop, false);
}

typedef struct Work {
    int left, committed, aborted, cleaned;
    bool fails, becomes_ready;
} Work;
static Work *last; /* of the test's process */
static Work kept;

static CO_FN bool run(Job *j, Error **err)
{
    Work *w = job_state(j);

    *w = kept;
    last = w;
    job_total(j, w->left);
    for (int i = 0; w->left; i++, w->left--) {
        job_done(j, i);
        if (!job_sleep(j, 1000))
            return true;
    }
    if (w->becomes_ready) {
        job_set_ready(j);
        while (!job_completing(j))
            if (!job_sleep(j, 3600 * SEC))
                return true;
    }
    return !w->fails || fail(err, "it broke");
}

static void commit(Job *j) { kept.committed++; }
static void undo(Job *j) { kept.aborted++; }
static void clean(Job *j) { kept.cleaned++; }
static bool complete(Job *j, Error **err) { return true; }
static const JobDriver work = { .type = JOB_TYPE_SNAPSHOT_SAVE, .size = sizeof(Work), .run = run, .commit = commit, .abort = undo,
                                .clean = clean, .complete = complete };

static void succeeds(Vm *other)
{
    Log log;
    Vm *vm = machine(&log);
    Job *j;

    kept = (Work){ .left = 3 };
    j = job_new(vm, &work, "a", 0, &abort_on_error);
    check_log(&log, "created ");
    job_start(j);
    check(job_wait(j, &abort_on_error));
    check_log(&log, "running waiting pending concluded null ");
    check(kept.committed == 1 && !kept.aborted && kept.cleaned == 1 && !job_find(vm, "a"));
    done(vm, &log);
}
TEST("job/succeeds", succeeds);

static void refused(bool ok, Error **e, const char *want)
{
    check(!ok);
    check_str(error_text(*e), want);
    g_clear_pointer(e, error_free);
}

static void by_hand(Vm *other)
{
    Log log;
    Vm *vm = machine(&log);
    Error *e = NULL;
    Job *j;

    kept = (Work){ .left = 1 };
    refused(job_new(vm, &work, "1a", 0, &e), &e, "Invalid job ID '1a'");
    j = job_new(vm, &work, "a", JOB_MANUAL_FINALIZE | JOB_MANUAL_DISMISS, &abort_on_error);
    refused(job_new(vm, &work, "a", 0, &e), &e, "Job ID 'a' already in use");
    refused(job_dismiss(j, &e), &e, "Job 'a' in state 'created' cannot accept command verb 'dismiss'");
    job_start(j);
    while (job_status(j) != JOB_STATUS_PENDING)
        loop_iterate(vm->loop, true);
    check(!kept.committed);
    refused(job_pause(j, &e), &e, "Job 'a' in state 'pending' cannot accept command verb 'pause'");
    check(job_finalize(j, &abort_on_error) && job_wait(j, &abort_on_error));
    check_log(&log, "created running waiting pending concluded ");
    refused(job_cancel(j, true, &e), &e, "Job 'a' in state 'concluded' cannot accept command verb 'cancel'");
    check(job_find(vm, "a") == j && job_dismiss(j, &abort_on_error) && !job_find(vm, "a"));
    check_log(&log, "null ");
    done(vm, &log);
}
TEST("job/finalize-and-dismiss-by-hand", by_hand);

static void fails(Vm *other)
{
    Log log;
    Vm *vm = machine(&log);
    Error *e = NULL;
    Job *j;

    kept = (Work){ .left = 1, .fails = true };
    j = job_new(vm, &work, "a", JOB_MANUAL_DISMISS, &abort_on_error);
    job_start(j);
    refused(job_wait(j, &e), &e, "it broke");
    check_log(&log, "created running aborting concluded ");
    check_str(job_error(j), "it broke");
    check(!kept.committed && kept.aborted == 1 && kept.cleaned == 1);
    done(vm, &log); /* one that waits to be dismissed goes with the VM */
}
TEST("job/fails", fails);

static void pauses(Vm *other)
{
    Log log;
    Vm *vm = machine(&log);
    Error *e = NULL;
    Job *j;

    kept = (Work){ .left = 1000000 };
    j = job_new(vm, &work, "a", 0, &abort_on_error);
    job_start(j);
    check(job_pause(j, &abort_on_error));
    refused(job_pause(j, &e), &e, "Job is already paused");
    settle(vm);
    check(job_status(j) == JOB_STATUS_PAUSED && !job_busy(j));
    check(job_resume(j, &abort_on_error));
    refused(job_resume(j, &e), &e, "Can't resume a job that was not paused");
    settle(vm);
    check_log(&log, "created running paused running ");
    check(job_pause(j, &abort_on_error));
    settle(vm);
    check(job_cancel(j, true, &abort_on_error));
    job_ref(j);
    refused(job_wait(j, &e), &e, "Operation canceled");
    job_unref(j);
    check_log(&log, "paused running aborting concluded null ");
    done(vm, &log);
}
TEST("job/pauses-and-is-cancelled", pauses);

static void ready(Vm *other)
{
    Log log;
    Vm *vm = machine(&log);
    Error *e = NULL;
    Job *j;

    kept = (Work){ .becomes_ready = true };
    j = job_new(vm, &work, "a", 0, &abort_on_error);
    refused(job_complete(j, &e), &e, "Job 'a' in state 'created' cannot accept command verb 'complete'");
    job_start(j);
    check(job_status(j) == JOB_STATUS_READY && job_pause(j, &abort_on_error));
    settle(vm);
    check(job_status(j) == JOB_STATUS_STANDBY && job_resume(j, &abort_on_error));
    settle(vm);
    check(job_complete(j, &abort_on_error) && job_wait(j, &abort_on_error));
    check_log(&log, "created running ready standby ready waiting pending concluded null ");
    done(vm, &log);
}
TEST("job/ready-standby-complete", ready);

/* Whatever state they are in, the VM's end ends them. */
static void end_of_vm(Vm *other)
{
    Log log;
    Vm *vm = machine(&log);

    kept = (Work){ .left = 1000000 };
    job_start(job_new(vm, &work, "running", 0, &abort_on_error));
    job_new(vm, &work, "created", 0, &abort_on_error);
    kept = (Work){ 0 };
    job_start(job_new(vm, &work, "pending", JOB_MANUAL_FINALIZE | JOB_MANUAL_DISMISS, &abort_on_error));
    job_start(job_new(vm, &work, NULL, JOB_INTERNAL | JOB_MANUAL_FINALIZE, &abort_on_error));
    settle(vm);
    done(vm, &log);
    check(kept.aborted == 4 && kept.cleaned == 4);
}
TEST("job/end-with-the-vm", end_of_vm);
