/*
 * util/tsan-glib.c - GLib's locks, conditions, once and thread pools on pthreads, in builds for ThreadSanitizer only. GLib's own sleep on
 * futexes inside a library that is not instrumented: ThreadSanitizer sees nothing of them and takes all that they order for races.
 * The linker prefers these to the library's; other libraries, GLib too, stay with GLib's. All zero is unlocked, as G_MUTEX_INIT says.
 */
#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <sanitizer/tsan_interface.h>
#include <stdlib.h>
#include "util/shared.h"

/* What GLib allocates, copies and frees by itself is ordered by locks that are not seen. Its slices must be off for the same reason: they
 * hand memory from thread to thread (G_SLICE=always-malloc, which tests/meson.build sets). */
const char *__tsan_default_options(void);
__attribute__((visibility("default"))) const char *__tsan_default_options(void) { return "ignore_noninstrumented_modules=1"; }

#pragma GCC visibility push(hidden) /* for our own code, not for other libraries that call GLib */

/* ---- what a zeroed GMutex and its like become at the first use */
typedef void *Make(void);

static void *made(gpointer *at, Make *make, void (*unmake)(void *))
{
    void *p = __atomic_load_n(at, __ATOMIC_ACQUIRE), *now = NULL;

    if (p)
        return p;
    p = make();
    if (__atomic_compare_exchange_n(at, &now, p, FALSE, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return p;
    unmake(p); /* another thread was first */
    return now;
}

static void cleared(gpointer *at, void (*unmake)(void *))
{
    if (*at)
        unmake(*at);
    *at = NULL;
}

static void *need(void *p)
{
    if (!p)
        abort();
    return p;
}

static void *mutex_make(void)
{
    pthread_mutex_t *m = need(malloc(sizeof(*m)));

    pthread_mutex_init(m, NULL);
    return m;
}

static void *rec_make(void)
{
    pthread_mutex_t *m = need(malloc(sizeof(*m)));
    pthread_mutexattr_t a;

    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(m, &a);
    pthread_mutexattr_destroy(&a);
    return m;
}

static void mutex_unmake(void *m)
{
    pthread_mutex_destroy(m);
    free(m);
}

static void *cond_make(void)
{
    pthread_cond_t *c = need(malloc(sizeof(*c)));
    pthread_condattr_t a;

    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC); /* g_get_monotonic_time()'s */
    pthread_cond_init(c, &a);
    pthread_condattr_destroy(&a);
    return c;
}

static void cond_unmake(void *c)
{
    pthread_cond_destroy(c);
    free(c);
}

static void *rw_make(void)
{
    pthread_rwlock_t *l = need(malloc(sizeof(*l)));

    pthread_rwlock_init(l, NULL);
    return l;
}

static void rw_unmake(void *l)
{
    pthread_rwlock_destroy(l);
    free(l);
}

/* ---- GMutex, GRecMutex */
static pthread_mutex_t *mutex_of(GMutex *m) { return made(&m->p, mutex_make, mutex_unmake); }
static pthread_mutex_t *rec_of(GRecMutex *m) { return made(&m->p, rec_make, mutex_unmake); }

void g_mutex_init(GMutex *m) { m->p = NULL; }
void g_mutex_clear(GMutex *m) { cleared(&m->p, mutex_unmake); }
void g_mutex_lock(GMutex *m) { pthread_mutex_lock(mutex_of(m)); }
void g_mutex_unlock(GMutex *m) { pthread_mutex_unlock(mutex_of(m)); }
gboolean g_mutex_trylock(GMutex *m) { return !pthread_mutex_trylock(mutex_of(m)); }
void g_rec_mutex_init(GRecMutex *m) { m->p = NULL; }
void g_rec_mutex_clear(GRecMutex *m) { cleared(&m->p, mutex_unmake); }
void g_rec_mutex_lock(GRecMutex *m) { pthread_mutex_lock(rec_of(m)); }
void g_rec_mutex_unlock(GRecMutex *m) { pthread_mutex_unlock(rec_of(m)); }
gboolean g_rec_mutex_trylock(GRecMutex *m) { return !pthread_mutex_trylock(rec_of(m)); }

/* ---- GRWLock */
static pthread_rwlock_t *rw_of(GRWLock *l) { return made(&l->p, rw_make, rw_unmake); }

void g_rw_lock_init(GRWLock *l) { l->p = NULL; }
void g_rw_lock_clear(GRWLock *l) { cleared(&l->p, rw_unmake); }
void g_rw_lock_reader_lock(GRWLock *l) { pthread_rwlock_rdlock(rw_of(l)); }
void g_rw_lock_writer_lock(GRWLock *l) { pthread_rwlock_wrlock(rw_of(l)); }
void g_rw_lock_reader_unlock(GRWLock *l) { pthread_rwlock_unlock(rw_of(l)); }
void g_rw_lock_writer_unlock(GRWLock *l) { pthread_rwlock_unlock(rw_of(l)); }
gboolean g_rw_lock_reader_trylock(GRWLock *l) { return !pthread_rwlock_tryrdlock(rw_of(l)); }
gboolean g_rw_lock_writer_trylock(GRWLock *l) { return !pthread_rwlock_trywrlock(rw_of(l)); }

/* ---- GCond */
static pthread_cond_t *cond_of(GCond *c) { return made(&c->p, cond_make, cond_unmake); }

void g_cond_init(GCond *c) { c->p = NULL; }
void g_cond_clear(GCond *c) { cleared(&c->p, cond_unmake); }
void g_cond_wait(GCond *c, GMutex *m) { pthread_cond_wait(cond_of(c), mutex_of(m)); }
void g_cond_signal(GCond *c) { pthread_cond_signal(cond_of(c)); }
void g_cond_broadcast(GCond *c) { pthread_cond_broadcast(cond_of(c)); }
gboolean g_cond_wait_until(GCond *c, GMutex *m, gint64 end_us)
{
    struct timespec t = { end_us / G_USEC_PER_SEC, end_us % G_USEC_PER_SEC * 1000 };

    return pthread_cond_timedwait(cond_of(c), mutex_of(m), &t) != ETIMEDOUT;
}

/* ---- once */
static pthread_mutex_t once_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t once_done = PTHREAD_COND_INITIALIZER;
static GSList *once_running; /* locations whose g_once_init_enter() said TRUE */

gpointer g_once_impl(GOnce *once, GThreadFunc fn, gpointer arg)
{
    pthread_mutex_lock(&once_lock);
    while (once->status == G_ONCE_STATUS_PROGRESS)
        pthread_cond_wait(&once_done, &once_lock);
    if (once->status != G_ONCE_STATUS_READY) {
        once->status = G_ONCE_STATUS_PROGRESS;
        pthread_mutex_unlock(&once_lock);
        once->retval = fn(arg);
        pthread_mutex_lock(&once_lock);
        __atomic_store_n(&once->status, G_ONCE_STATUS_READY, __ATOMIC_RELEASE);
        pthread_cond_broadcast(&once_done);
    }
    pthread_mutex_unlock(&once_lock);
    return once->retval;
}

gboolean(g_once_init_enter)(volatile void *at)
{
    gpointer *p = (gpointer *)(guintptr)at;
    gboolean mine;

    pthread_mutex_lock(&once_lock);
    while (!__atomic_load_n(p, __ATOMIC_ACQUIRE) && g_slist_find(once_running, p))
        pthread_cond_wait(&once_done, &once_lock);
    mine = !__atomic_load_n(p, __ATOMIC_ACQUIRE);
    if (mine)
        once_running = g_slist_prepend(once_running, p);
    pthread_mutex_unlock(&once_lock);
    return mine;
}

void(g_once_init_leave)(volatile void *at, gsize result)
{
    gpointer *p = (gpointer *)(guintptr)at;

    pthread_mutex_lock(&once_lock);
    __atomic_store_n(p, (gpointer)result, __ATOMIC_RELEASE);
    once_running = g_slist_remove(once_running, p);
    pthread_cond_broadcast(&once_done);
    pthread_mutex_unlock(&once_lock);
}

/* ---- thread pools that are never freed */
typedef struct Pool {
    GThreadPool pub; /* func, user_data */
    pthread_mutex_t lock;
    pthread_cond_t work;
    GQueue jobs;
    gint threads, most, idle;
} Pool;

static void *pool_thread(void *arg)
{
    Pool *p = arg;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        gpointer job;

        p->idle++;
        while (!(job = g_queue_pop_head(&p->jobs)))
            pthread_cond_wait(&p->work, &p->lock);
        p->idle--;
        pthread_mutex_unlock(&p->lock);
        p->pub.func(job, p->pub.user_data);
        pthread_mutex_lock(&p->lock);
    }
    return NULL;
}

GThreadPool *g_thread_pool_new(GFunc func, gpointer arg, gint most, gboolean exclusive, GError **err)
{
    Pool *p = g_new0(Pool, 1);

    p->pub = (GThreadPool){ .func = func, .user_data = arg, .exclusive = exclusive };
    p->most = most;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    g_queue_init(&p->jobs);
    return &p->pub;
}

gboolean g_thread_pool_push(GThreadPool *pool, gpointer job, GError **err)
{
    Pool *p = (Pool *)pool;
    pthread_t t;

    pthread_mutex_lock(&p->lock);
    g_queue_push_tail(&p->jobs, job);
    if ((gint)p->jobs.length > p->idle && (p->most < 0 || p->threads < p->most) && !pthread_create(&t, NULL, pool_thread, p)) {
        pthread_detach(t);
        p->threads++;
    }
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    return TRUE;
}

/* ---- util/shared.h */
void shared_before(const void *p) { __tsan_release((void *)(guintptr)p); }
void shared_after(const void *p) { __tsan_acquire((void *)(guintptr)p); }

__attribute__((no_sanitize("thread"))) static gboolean whole(void *to, const void *from, gsize n)
{
    if (((guintptr)to | (guintptr)from) & (n - 1))
        return FALSE;
    switch (n) {
    case 1: __atomic_store_n((guint8 *)to, __atomic_load_n((const guint8 *)from, __ATOMIC_RELAXED), __ATOMIC_RELAXED); return TRUE;
    case 2: __atomic_store_n((guint16 *)to, __atomic_load_n((const guint16 *)from, __ATOMIC_RELAXED), __ATOMIC_RELAXED); return TRUE;
    case 4: __atomic_store_n((guint32 *)to, __atomic_load_n((const guint32 *)from, __ATOMIC_RELAXED), __ATOMIC_RELAXED); return TRUE;
    case 8: __atomic_store_n((guint64 *)to, __atomic_load_n((const guint64 *)from, __ATOMIC_RELAXED), __ATOMIC_RELAXED); return TRUE;
    default: return FALSE;
    }
}

/* Not instrumented, and no call of a libc function that is. */
__attribute__((no_sanitize("thread"))) void shared_copy(void *to, const void *from, gsize n)
{
    if (n <= 8 && n && whole(to, from, n))
        return;
    if ((guintptr)to - (guintptr)from < n) {
        for (gsize i = n; i-- > 0;)
            ((volatile guint8 *)to)[i] = ((const volatile guint8 *)from)[i];
        return;
    }
    for (gsize i = 0; i < n; i++)
        ((volatile guint8 *)to)[i] = ((const volatile guint8 *)from)[i];
}

__attribute__((no_sanitize("thread"))) void shared_fill(void *to, int c, gsize n)
{
    for (gsize i = 0; i < n; i++)
        ((volatile guint8 *)to)[i] = (guint8)c;
}
