/* util/co-priv.h - what a host and a sanitizer must bring for coroutines; for util/co*.c only. */
#ifndef UTIL_CO_PRIV_H
#define UTIL_CO_PRIV_H
#include "util/util.h"

/* co-switch-x86_64.c, co-switch-any.c */
typedef struct CoContext {
    void *sp; /* or the host's own structure */
} CoContext;
void co__context(CoContext *c, void *stack, size_t size, void (*begin)(void *arg), void *arg);
void co__switch(CoContext *from, CoContext *to);

/* co-fiber-{none,asan,tsan}.c: leave just before a switch, arrived just after it on the other side. */
typedef struct CoFiber {
    void *handle;
    const void *bottom;
    size_t size;
} CoFiber;
void co__fiber_thread(CoFiber *f);
void co__fiber_new(CoFiber *f, void *stack, size_t size);
void co__fiber_free(CoFiber *f);
void co__fiber_leave(CoFiber *from, CoFiber *to, bool for_ever);
void co__fiber_arrived(CoFiber *me, CoFiber *from);
void co__fiber_stack_done(void *stack, size_t size);
#endif
