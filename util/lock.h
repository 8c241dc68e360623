/*
 * util/lock.h - ranked, recursive locks. Ranks: VM > LOOP > PAGE > LEAF; a thread may take a lock
 * only of a lower rank than those it holds (asserted in debug builds); taking the one it holds
 * already is counted. No lock is held across Accel.run, a coroutine yield or a safepoint wait.
 */
#ifndef UTIL_LOCK_H
#define UTIL_LOCK_H
#include "util/util.h"

typedef enum LockRank { RANK_LEAF = 1, RANK_PAGE, RANK_LOOP, RANK_VM } LockRank;
typedef struct Lock {
    GMutex mutex;
    void *owner; /* thread token, atomic */
    unsigned depth;
    LockRank rank;
    const char *name;
} Lock;
void lock_init(Lock *l, LockRank rank, const char *name);
void lock_clear(Lock *l);
void lock_take(Lock *l);
void lock_drop(Lock *l);
bool lock_held(const Lock *l); /* by this thread */
/* Drop a recursively held lock completely and take it back: around blocking waits. */
unsigned lock_drop_all(Lock *l);
void lock_retake(Lock *l, unsigned depth);
/* Wait on a GCond with the lock held (any depth). deadline: host_now() ns, or 0 for ever. */
bool lock_wait(Lock *l, GCond *c, int64_t deadline_ns);
#define WITH_LOCK(l) for (Lock *l_ = (lock_take(l), (l)); l_; lock_drop(l_), l_ = NULL)
#endif
