/*
 * util/rcu.h - read-copy-update by epochs. Readers never wait; writers retire what readers may still
 * see, and it is freed at some later retire when every reader of that time has left. Nothing waits
 * for readers, so a reader may block (take the VM lock) inside its section.
 */
#ifndef UTIL_RCU_H
#define UTIL_RCU_H
#include "util/util.h"

typedef struct RcuReader {
    uint64_t epoch; /* 0: outside; atomic */
    unsigned depth;
    struct RcuReader *next;
    bool dead;
} RcuReader;
RcuReader *rcu_reader(void);       /* this thread's; registered on first use */
extern uint64_t rcu_epoch;         /* atomic, grows; infrastructure of the process, no VM state */
static inline void rcu_lock(void)
{
    RcuReader *r = rcu_reader();

    if (r->depth++ == 0) {
        __atomic_store_n(&r->epoch, __atomic_load_n(&rcu_epoch, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
}
static inline void rcu_unlock(void)
{
    RcuReader *r = rcu_reader();

    if (--r->depth == 0)
        __atomic_store_n(&r->epoch, 0, __ATOMIC_RELEASE);
}
/* p is no longer reachable for new readers: release(p) once the old ones are gone. Any thread. */
void rcu_retire(void *p, void (*release)(void *p));
void rcu_drain(void); /* at exit and in leak-checked tests: no reader may be active */
#endif
