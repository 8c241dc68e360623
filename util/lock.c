/* util/lock.c - ranked, recursive locks over GMutex. */
#include "util/lock.h"

static _Thread_local char me; /* its address names the thread */
static _Thread_local unsigned held[RANK_VM + 1];

static void *owner_of(const Lock *l) { return __atomic_load_n(&l->owner, __ATOMIC_RELAXED); }

bool lock_held(const Lock *l) { return owner_of(l) == &me; }

void lock_init(Lock *l, LockRank rank, const char *name)
{
    g_mutex_init(&l->mutex);
    l->owner = NULL;
    l->depth = 0;
    l->rank = rank;
    l->name = name;
}

void lock_clear(Lock *l)
{
    g_assert(!owner_of(l));
    g_mutex_clear(&l->mutex);
}

static void lock_got(Lock *l, unsigned depth)
{
    __atomic_store_n(&l->owner, &me, __ATOMIC_RELAXED);
    l->depth = depth;
    held[l->rank]++;
}

static void lock_check_rank(const Lock *l)
{
    for (unsigned r = RANK_LEAF; r < l->rank; r++)
        if (G_UNLIKELY(held[r]))
            g_error("lock order: %s (rank %d) taken with a lock of rank %u held", l->name, (int)l->rank, r);
}

void lock_take(Lock *l)
{
    if (lock_held(l)) {
        l->depth++;
        return;
    }
    lock_check_rank(l);
    g_mutex_lock(&l->mutex);
    lock_got(l, 1);
}

static void lock_release(Lock *l)
{
    held[l->rank]--;
    l->depth = 0;
    __atomic_store_n(&l->owner, NULL, __ATOMIC_RELAXED);
    g_mutex_unlock(&l->mutex);
}

void lock_drop(Lock *l)
{
    g_assert(lock_held(l));
    if (l->depth > 1)
        l->depth--;
    else
        lock_release(l);
}

unsigned lock_drop_all(Lock *l)
{
    unsigned depth = lock_held(l) ? l->depth : 0;

    if (depth)
        lock_release(l);
    return depth;
}

void lock_retake(Lock *l, unsigned depth)
{
    if (!depth)
        return;
    lock_take(l);
    l->depth = depth;
}

bool lock_wait(Lock *l, GCond *c, int64_t deadline_ns)
{
    unsigned depth = l->depth;
    bool woken = true;

    g_assert(lock_held(l));
    held[l->rank]--;
    l->depth = 0;
    __atomic_store_n(&l->owner, NULL, __ATOMIC_RELAXED);
    if (deadline_ns)
        woken = g_cond_wait_until(c, &l->mutex, deadline_ns / 1000);
    else
        g_cond_wait(c, &l->mutex);
    lock_got(l, depth);
    return woken;
}
