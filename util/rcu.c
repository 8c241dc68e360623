/* util/rcu.c - epochs: each reader publishes the epoch it entered in; retired memory carries the
 * epoch of its retirement and is free to go when every active reader entered later. */
#include "util/rcu.h"

typedef struct Retired {
    void *p;
    void (*release)(void *p);
    uint64_t epoch;
} Retired;

uint64_t rcu_epoch = 1;
static GMutex mutex;
static RcuReader *readers;
static GArray *retired;
static _Thread_local RcuReader *mine;

static void reader_gone(gpointer p) { __atomic_store_n(&((RcuReader *)p)->dead, true, __ATOMIC_RELEASE); }
static GPrivate guard = G_PRIVATE_INIT(reader_gone);

RcuReader *rcu_reader(void)
{
    RcuReader *r = mine;

    if (G_LIKELY(r))
        return r;
    r = g_new0(RcuReader, 1);
    g_mutex_lock(&mutex);
    r->next = readers;
    readers = r;
    g_mutex_unlock(&mutex);
    g_private_set(&guard, r);
    return mine = r;
}

/* mutex held: forget readers whose thread ended, find the oldest epoch somebody reads in. */
static uint64_t oldest(void)
{
    uint64_t min = UINT64_MAX;

    for (RcuReader **p = &readers; *p;) {
        RcuReader *r = *p;
        uint64_t e = __atomic_load_n(&r->epoch, __ATOMIC_ACQUIRE);

        if (__atomic_load_n(&r->dead, __ATOMIC_ACQUIRE)) {
            *p = r->next;
            g_free(r);
            continue;
        }
        if (e && e < min)
            min = e;
        p = &r->next;
    }
    return min;
}

/* mutex held; returns what may be released now */
static GArray *ripe(void)
{
    uint64_t min = oldest();
    GArray *now = g_array_new(FALSE, FALSE, sizeof(Retired));

    for (guint i = 0; i < retired->len;) {
        Retired r = g_array_index(retired, Retired, i);

        if (r.epoch < min) {
            g_array_append_val(now, r);
            g_array_remove_index_fast(retired, i);
        } else {
            i++;
        }
    }
    return now;
}

static void release_all(GArray *now)
{
    for (guint i = 0; i < now->len; i++) {
        Retired *r = &g_array_index(now, Retired, i);

        r->release(r->p);
    }
    g_array_free(now, TRUE);
}

void rcu_retire(void *p, void (*release)(void *p))
{
    Retired r = { p, release, 0 };
    GArray *now;

    g_mutex_lock(&mutex);
    if (!retired)
        retired = g_array_new(FALSE, FALSE, sizeof(Retired));
    r.epoch = __atomic_fetch_add(&rcu_epoch, 1, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    g_array_append_val(retired, r);
    now = ripe();
    g_mutex_unlock(&mutex);
    release_all(now);
}

void rcu_drain(void)
{
    for (unsigned i = 0; i < 1000; i++) { /* what is released may retire more: bounded all the same */
        GArray *now;
        guint left;

        g_mutex_lock(&mutex);
        if (!retired) {
            g_mutex_unlock(&mutex);
            return;
        }
        now = ripe();
        left = retired->len + now->len;
        g_mutex_unlock(&mutex);
        release_all(now);
        if (!left)
            return;
    }
}
