/*
 * core/job.h - work that goes on beside the guest and that a client can watch, pause, cancel and dismiss: QMP's jobs, by
 * its names, states and events (schema/job.json). A job is a coroutine of the VM loop. VM lock held in all of this; a
 * driver's functions run on the VM loop.
 *
 *   created -> running <-> paused      running -> waiting -> pending -> concluded -> null
 *                  \-> ready <-> standby --^           (prepare, commit)     ^
 *                  any of these, by failure or cancel -> aborting -----------/
 */
#ifndef CORE_JOB_H
#define CORE_JOB_H
#include "core/api/job.h" /* JobStatus, JobVerb, JobType and the commands */
#include "core/vm.h"
#include "util/co.h"

typedef struct Job Job;
typedef struct JobDriver {
    JobType type;
    size_t size; /* of job_state(j), zeroed */
    CO_FN bool (*run)(Job *j, Error **err); /* the work. False + err: failed; a cancelled job may return either */
    /* After run, from the main part of the loop: the last step that may fail, then what cannot. All may be NULL. */
    CO_FN bool (*prepare)(Job *j, Error **err);
    void (*commit)(Job *j);
    void (*abort)(Job *j);
    void (*clean)(Job *j); /* after either */
    /* job-complete of a job that is ready: run is woken from job_sleep and finds job_completing(). */
    bool (*complete)(Job *j, Error **err);
    /* A soft cancel of a job that is ready may mean "end without switching over": true, and it is not failed. */
    bool (*soft_cancel)(Job *j);
    bool uncancellable; /* job-cancel waits for the end, and changes nothing */
    void (*changed)(Job *j); /* its status: BLOCK_JOB_* events are made of this */
    bool (*set_speed)(Job *j, int64_t bytes_a_second, Error **err);
} JobDriver;
enum { JOB_MANUAL_FINALIZE = 1, /* stays pending until job-finalize */
       JOB_MANUAL_DISMISS = 2,  /* stays concluded until job-dismiss */
       JOB_INTERNAL = 4 /* without id: clients do not see it */ };

/* Created, not started. id: NULL with JOB_INTERNAL only. NULL + err: the id is bad or in use. */
Job *job_new(Vm *vm, const JobDriver *d, const char *id, unsigned flags, Error **err);
void job_start(Job *j); /* enters its coroutine at once */
/* The job of this id that clients see; NULL + err (DeviceNotActive's text is the caller's). */
Job *job_find(Vm *vm, const char *id);
void job_foreach(Vm *vm, void (*fn)(Job *j, void *arg), void *arg); /* not the internal ones */
Job *job_ref(Job *j);
void job_unref(Job *j);

void *job_state(Job *j);
Vm *job_vm(const Job *j);
const char *job_id(const Job *j); /* "" of an internal one */
const JobDriver *job_driver(const Job *j);
JobStatus job_status(const Job *j);
const char *job_error(const Job *j); /* why it failed; NULL */
unsigned job_flags(const Job *j);
int64_t job_speed(const Job *j);
bool job_busy(const Job *j); /* its coroutine is at work: not asleep, not paused */
void job_progress(const Job *j, int64_t *done, int64_t *total);
bool job_ended(const Job *j); /* concluded or null */
bool job_failed(const Job *j);
bool job_cancelled(const Job *j);

/* ---- what a driver's run calls ---- */
void job_total(Job *j, int64_t total);
void job_done(Job *j, int64_t done);
/* Where it may be paused or cancelled; waits while it is paused. False: cancelled, end soon. */
CO_FN bool job_pause_point(Job *j);
/* The same after so long, or as soon as somebody wakes it. */
CO_FN bool job_sleep(Job *j, int64_t host_ns);
CO_FN void job_park(Job *j); /* until job_wake or a verb */
void job_wake(Job *j);
void job_set_ready(Job *j);            /* job-complete is allowed from here on */
bool job_completing(const Job *j);     /* job-complete was asked for */

/* ---- what clients ask; texts as QEMU's ---- */
bool job_verb(Job *j, JobVerb verb, Error **err);       /* may it, in this state? */
bool job_pause(Job *j, Error **err);
bool job_resume(Job *j, Error **err);
bool job_cancel(Job *j, bool force, Error **err);
bool job_complete(Job *j, Error **err);
bool job_finalize(Job *j, Error **err);
bool job_dismiss(Job *j, Error **err);
bool job_set_speed(Job *j, int64_t speed, Error **err);
/* Runs the VM loop until it ended. True: it did its work; else err. Not in a coroutine; the VM loop's thread. */
bool job_wait(Job *j, Error **err);
void job_cancel_all(Vm *vm); /* the VM ends: returns when none is left */
#endif
