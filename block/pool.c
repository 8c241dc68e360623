/*
 * block/pool.c - threads for system calls that block. One pool per process (infrastructure, no VM
 * state); threads end when idle.
 */
#include "block/node.h"

enum { POOL_THREADS = 16 };
typedef struct Job {
    int (*fn)(void *arg);
    void *arg;
    int ret;
    Co *co;
    Loop *loop;
} Job;

static void job_done(void *arg)
{
    Job *j = arg;

    co_wake(j->co);
}

static void job_run(gpointer data, gpointer unused)
{
    Job *j = data;

    j->ret = j->fn(j->arg);
    loop_post(j->loop, job_done, j);
}

static gpointer pool_make(gpointer unused)
{
    return g_thread_pool_new(job_run, NULL, POOL_THREADS, FALSE, NULL);
}

CO_FN int blk_in_pool(Loop *loop, int (*fn)(void *arg), void *arg)
{
    static GOnce once = G_ONCE_INIT;
    Job j = { fn, arg, 0, co_self(), loop };

    g_assert(j.co);
    g_once(&once, pool_make, NULL);
    g_thread_pool_push(once.retval, &j, NULL);
    co_yield();
    return j.ret;
}
