/*
 * util/co.h - coroutines. A coroutine changes thread only with its loop, when that gets one; CO_FN marks functions that may yield
 * and so may only be called from one.
 */
#ifndef UTIL_CO_H
#define UTIL_CO_H
#include "util/util.h"

#define CO_FN
typedef struct Co Co;
Co *co_new(void (*fn)(void *arg), void *arg); /* stack from a per-thread pool, guard page below */
void co_enter(Co *co);       /* from outside; runs until it yields or ends (then it is freed) */
CO_FN void co_yield(void);
Co *co_self(void);           /* NULL outside */
void co_wake(Co *co);        /* same thread: enter it if it is parked in co_yield */
typedef struct CoLock {
    bool held;
    GQueue waiters;
} CoLock;
CO_FN void co_lock(CoLock *l);
CO_FN void co_unlock(CoLock *l);
/* Sleeps until co_wake_all(q). l, if given, is held, let go meanwhile and held again: the sleeper is in the queue before. */
CO_FN void co_wait(GQueue *q, CoLock *l);
void co_wake_all(GQueue *q); /* the oldest first; who waits again meanwhile is not of this round */
#endif
