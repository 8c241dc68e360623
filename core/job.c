/*
 * core/job.c - jobs: their states, what may be asked in which, their coroutine.
 *
 * Invariants: 1. `co` is set from job_start until run, and what follows it, returned; `asleep` while it is parked here.
 * 2. A job is in the VM's list from job_new until its state is null; the list owns a reference, the coroutine another.
 * 3. No coroutine is entered from within one: verbs post the wake-up to the loop.
 */
#include "core/job.h"
#include <errno.h>

struct Job {
    Vm *vm;
    const JobDriver *d;
    char *id;
    unsigned flags;
    JobStatus status;
    int refs;
    Co *co;
    bool asleep, wake_posted, pause_wanted, cancelled, completing, finalize, failed;
    guint timer;
    int64_t done, total, speed;
    Error *err;
    _Alignas(16) char state[];
};
typedef struct Jobs {
    Vm *vm;
    GPtrArray *all; /* of Job *, in order of creation */
    VmListener listener;
} Jobs;

/* ---- the VM's list ---- */
static void jobs_free(void *p)
{
    Jobs *s = p;

    g_ptr_array_free(s->all, TRUE);
    g_free(s);
}

static void on_ending(void *self) { job_cancel_all(((Jobs *)self)->vm); }

static Jobs *jobs_of(Vm *vm)
{
    Jobs *s = vm_lookup(vm, "jobs", "");

    if (s)
        return s;
    s = g_new0(Jobs, 1);
    s->vm = vm;
    s->all = g_ptr_array_new_with_free_func((GDestroyNotify)job_unref);
    s->listener = (VmListener){ .ending = on_ending, .self = s };
    vm_listen(vm, &s->listener);
    vm_register(vm, "jobs", "", s);
    return own(&vm->root, s, jobs_free);
}

Job *job_find(Vm *vm, const char *id)
{
    const GPtrArray *all = jobs_of(vm)->all;

    for (guint i = 0; i < all->len; i++) {
        Job *j = all->pdata[i];

        if (!(j->flags & JOB_INTERNAL) && !strcmp(j->id, id))
            return j;
    }
    return NULL;
}

void job_foreach(Vm *vm, void (*fn)(Job *j, void *arg), void *arg)
{
    const GPtrArray *all = jobs_of(vm)->all;

    for (guint i = 0; i < all->len; i++)
        if (!(((Job *)all->pdata[i])->flags & JOB_INTERNAL))
            fn(all->pdata[i], arg);
}

Job *job_ref(Job *j)
{
    j->refs++;
    return j;
}

void job_unref(Job *j)
{
    if (--j->refs)
        return;
    error_free(j->err);
    g_free(j->id);
    g_free(j);
}

/* As QEMU's: a letter, then letters, digits and -._ */
static bool id_ok(const char *id)
{
    if (!g_ascii_isalpha(*id))
        return false;
    for (; *id; id++)
        if (!g_ascii_isalnum(*id) && !strchr("-._", *id))
            return false;
    return true;
}

static void set_status(Job *j, JobStatus s)
{
    j->status = s;
    if (!(j->flags & JOB_INTERNAL))
        event_job_status_change(j->vm, &(EventJobStatusChange){ .id = j->id, .status = s });
    if (j->d->changed)
        j->d->changed(j);
}

Job *job_new(Vm *vm, const JobDriver *d, const char *id, unsigned flags, Error **err)
{
    Job *j;

    if (!(flags & JOB_INTERNAL)) {
        if (!id || !id_ok(id)) {
            fail(err, "Invalid job ID '%s'", id ? id : "");
            return NULL;
        }
        if (job_find(vm, id)) {
            fail(err, "Job ID '%s' already in use", id);
            return NULL;
        }
    }
    j = g_malloc0(sizeof(Job) + d->size);
    j->vm = vm;
    j->d = d;
    j->id = g_strdup(id ? id : "");
    j->flags = flags;
    j->refs = 1;
    g_ptr_array_add(jobs_of(vm)->all, j);
    set_status(j, JOB_STATUS_CREATED);
    return j;
}

/* ---- facts ---- */
void *job_state(Job *j) { return j->state; }
Vm *job_vm(const Job *j) { return j->vm; }
const char *job_id(const Job *j) { return j->id; }
const JobDriver *job_driver(const Job *j) { return j->d; }
JobStatus job_status(const Job *j) { return j->status; }
const char *job_error(const Job *j) { return j->err ? error_text(j->err) : NULL; }
unsigned job_flags(const Job *j) { return j->flags; }
int64_t job_speed(const Job *j) { return j->speed; }
bool job_busy(const Job *j) { return j->co && !j->asleep; }
bool job_ended(const Job *j) { return j->status == JOB_STATUS_CONCLUDED || j->status == JOB_STATUS_NULL; }
bool job_failed(const Job *j) { return j->failed; }
bool job_cancelled(const Job *j) { return j->cancelled; }
bool job_completing(const Job *j) { return j->completing; }
void job_total(Job *j, int64_t total) { j->total = total; }
void job_done(Job *j, int64_t done) { j->done = done; }

void job_progress(const Job *j, int64_t *done, int64_t *total)
{
    *done = j->done;
    *total = j->total;
}

/* ---- asleep and awake ---- */
static void wake_now(void *arg)
{
    Job *j = arg;

    j->wake_posted = false;
    if (j->co && j->asleep)
        co_wake(j->co);
    job_unref(j);
}

void job_wake(Job *j)
{
    if (!j->asleep || j->wake_posted)
        return;
    j->wake_posted = true;
    loop_post(j->vm->loop, wake_now, job_ref(j));
}

static bool time_over(void *arg)
{
    Job *j = arg;

    j->timer = 0;
    job_wake(j);
    return false;
}

CO_FN void job_park(Job *j)
{
    j->asleep = true;
    co_yield();
    j->asleep = false;
}

CO_FN bool job_pause_point(Job *j)
{
    JobStatus before = j->status;

    if (!j->pause_wanted || j->cancelled)
        return !j->cancelled;
    set_status(j, before == JOB_STATUS_READY ? JOB_STATUS_STANDBY : JOB_STATUS_PAUSED);
    while (j->pause_wanted && !j->cancelled)
        job_park(j);
    set_status(j, before);
    return !j->cancelled;
}

CO_FN bool job_sleep(Job *j, int64_t host_ns)
{
    if (!j->cancelled && !j->pause_wanted) {
        j->timer = loop_after(j->vm->loop, host_ns, time_over, j);
        job_park(j);
        if (j->timer)
            loop_unwatch(j->vm->loop, j->timer);
        j->timer = 0;
    }
    return job_pause_point(j);
}

void job_set_ready(Job *j)
{
    if (j->status == JOB_STATUS_RUNNING)
        set_status(j, JOB_STATUS_READY);
}

/* ---- from the end of run to the end of it all ---- */
static void drop(Job *j)
{
    set_status(j, JOB_STATUS_NULL);
    g_ptr_array_remove(jobs_of(j->vm)->all, j);
}

static void conclude(Job *j)
{
    if (j->d->clean)
        j->d->clean(j);
    set_status(j, JOB_STATUS_CONCLUDED);
    if (!(j->flags & JOB_MANUAL_DISMISS))
        drop(j);
}

static void give_up(Job *j)
{
    j->failed = true;
    if (!j->err)
        fail(&j->err, "%s", g_strerror(ECANCELED));
    set_status(j, JOB_STATUS_ABORTING);
    if (j->d->abort)
        j->d->abort(j);
    conclude(j);
}

static CO_FN void finish(Job *j)
{
    set_status(j, JOB_STATUS_WAITING);
    set_status(j, JOB_STATUS_PENDING);
    j->finalize = !(j->flags & JOB_MANUAL_FINALIZE);
    while (!j->finalize && !j->cancelled)
        job_park(j);
    if (j->cancelled || (j->d->prepare && !j->d->prepare(j, &j->err))) {
        give_up(j);
        return;
    }
    if (j->d->commit)
        j->d->commit(j);
    conclude(j);
}

static void body(void *arg)
{
    Job *j = arg;
    bool ok;

    set_status(j, JOB_STATUS_RUNNING);
    ok = job_pause_point(j) && j->d->run(j, &j->err);
    if (ok && !j->cancelled)
        finish(j);
    else
        give_up(j);
    j->co = NULL;
    job_unref(j);
}

void job_start(Job *j)
{
    job_ref(j);
    j->co = co_new(body, j);
    co_enter(j->co);
}

/* ---- verbs ---- */
#define IN(s) (1u << JOB_STATUS_##s)
enum { ALIVE = IN(CREATED) | IN(RUNNING) | IN(PAUSED) | IN(READY) | IN(STANDBY) };
static const unsigned allowed[JOB_VERBS] = {
    [JOB_VERB_CANCEL] = ALIVE | IN(WAITING) | IN(PENDING),
    [JOB_VERB_PAUSE] = ALIVE,
    [JOB_VERB_RESUME] = ALIVE,
    [JOB_VERB_SET_SPEED] = ALIVE,
    [JOB_VERB_CHANGE] = ALIVE,
    [JOB_VERB_COMPLETE] = IN(READY),
    [JOB_VERB_FINALIZE] = IN(PENDING),
    [JOB_VERB_DISMISS] = IN(CONCLUDED),
};

bool job_verb(Job *j, JobVerb verb, Error **err)
{
    return allowed[verb] & 1u << j->status || fail(err, "Job '%s' in state '%s' cannot accept command verb '%s'", j->id,
                                                   api_JobStatus.names[j->status], api_JobVerb.names[verb]);
}

bool job_pause(Job *j, Error **err)
{
    if (!job_verb(j, JOB_VERB_PAUSE, err))
        return false;
    if (j->pause_wanted)
        return fail(err, "Job is already paused");
    j->pause_wanted = true;
    job_wake(j);
    return true;
}

bool job_resume(Job *j, Error **err)
{
    if (!job_verb(j, JOB_VERB_RESUME, err))
        return false;
    if (!j->pause_wanted)
        return fail(err, "Can't resume a job that was not paused");
    j->pause_wanted = false;
    job_wake(j);
    return true;
}

bool job_cancel(Job *j, bool force, Error **err)
{
    if (!job_verb(j, JOB_VERB_CANCEL, err))
        return false;
    if (j->status == JOB_STATUS_CREATED && !j->co) {
        j->cancelled = true;
        give_up(j);
        return true;
    }
    if (!force && (j->status == JOB_STATUS_READY || j->status == JOB_STATUS_STANDBY) && j->d->soft_cancel && j->d->soft_cancel(j))
        j->pause_wanted = false;
    else if (!j->d->uncancellable)
        j->cancelled = true;
    job_wake(j);
    return true;
}

bool job_complete(Job *j, Error **err)
{
    if (!job_verb(j, JOB_VERB_COMPLETE, err))
        return false;
    if (j->cancelled || !j->d->complete)
        return fail(err, "The active block job '%s' cannot be completed", j->id);
    if (!j->d->complete(j, err))
        return false;
    j->completing = true;
    job_wake(j);
    return true;
}

bool job_finalize(Job *j, Error **err)
{
    if (!job_verb(j, JOB_VERB_FINALIZE, err))
        return false;
    j->finalize = true;
    job_wake(j);
    return true;
}

bool job_dismiss(Job *j, Error **err)
{
    if (!job_verb(j, JOB_VERB_DISMISS, err))
        return false;
    drop(j);
    return true;
}

bool job_set_speed(Job *j, int64_t speed, Error **err)
{
    if (!job_verb(j, JOB_VERB_SET_SPEED, err))
        return false;
    if (speed < 0)
        return fail(err, "Parameter 'speed' expects a non-negative value");
    if (j->d->set_speed && !j->d->set_speed(j, speed, err))
        return false;
    j->speed = speed;
    job_wake(j);
    return true;
}

bool job_wait(Job *j, Error **err)
{
    bool ok;

    job_ref(j);
    while (!job_ended(j) || j->co)
        loop_iterate(j->vm->loop, true);
    ok = !j->failed || fail(err, "%s", job_error(j));
    job_unref(j);
    return ok;
}

void job_cancel_all(Vm *vm)
{
    GPtrArray *all = jobs_of(vm)->all;

    while (all->len) { /* each turn ends one */
        Job *j = job_ref(all->pdata[0]);

        if (!job_ended(j))
            job_cancel(j, true, NULL);
        while (!job_ended(j) || j->co) {
            if (loop_is_mine(vm->loop)) {
                loop_iterate(vm->loop, true);
            } else {
                lock_drop(&vm->lock);
                g_usleep(1000);
                lock_take(&vm->lock);
            }
        }
        if (j->status == JOB_STATUS_CONCLUDED)
            drop(j);
        job_unref(j);
    }
}

/* ---- the monitor's commands ---- */
static bool ask(Vm *vm, const char *id, bool (*what)(Job *j, Error **err), Error **err)
{
    Job *j = job_find(vm, id);

    return j ? what(j, err) : fail(err, "Job not found");
}

static bool cancel(Job *j, Error **err) { return job_cancel(j, true, err); }

bool qmp_job_pause(Vm *vm, const JobPauseArgs *args, Error **err) { return ask(vm, args->id, job_pause, err); }
bool qmp_job_resume(Vm *vm, const JobResumeArgs *args, Error **err) { return ask(vm, args->id, job_resume, err); }
bool qmp_job_cancel(Vm *vm, const JobCancelArgs *args, Error **err) { return ask(vm, args->id, cancel, err); }
bool qmp_job_complete(Vm *vm, const JobCompleteArgs *args, Error **err) { return ask(vm, args->id, job_complete, err); }
bool qmp_job_finalize(Vm *vm, const JobFinalizeArgs *args, Error **err) { return ask(vm, args->id, job_finalize, err); }
bool qmp_job_dismiss(Vm *vm, const JobDismissArgs *args, Error **err) { return ask(vm, args->id, job_dismiss, err); }

static void describe(Job *j, void *arg)
{
    JobInfo *i = API_ADD((JobInfoList *)arg);

    i->id = g_strdup(j->id);
    i->type = j->d->type;
    i->status = j->status;
    i->current_progress = j->done;
    i->total_progress = j->total;
    i->error = g_strdup(job_error(j));
}

bool qmp_query_jobs(Vm *vm, JobInfoList *ret, Error **err)
{
    job_foreach(vm, describe, ret);
    return true;
}
