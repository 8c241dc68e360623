/* util/co-switch-any.c - the switch by ucontext, for hosts without one of their own. */
#include "util/co-priv.h"
#include <ucontext.h>

typedef struct Entry {
    ucontext_t uc;
    void (*begin)(void *arg);
    void *arg;
} Entry;

static void start(unsigned hi, unsigned lo)
{
    Entry *e = (Entry *)(uintptr_t)((uint64_t)hi << 32 | lo);

    e->begin(e->arg);
}

/* The structure lives at the far end of the coroutine's own stack. */
void co__context(CoContext *c, void *stack, size_t size, void (*begin)(void *arg), void *arg)
{
    Entry *e = stack;
    size_t used = align_up(sizeof(*e), 64);

    getcontext(&e->uc);
    e->begin = begin;
    e->arg = arg;
    e->uc.uc_stack.ss_sp = (char *)stack + used;
    e->uc.uc_stack.ss_size = size - used;
    e->uc.uc_link = NULL;
    makecontext(&e->uc, (void (*)(void))start, 2, (unsigned)((uint64_t)(uintptr_t)e >> 32), (unsigned)(uintptr_t)e);
    c->sp = &e->uc;
}

void co__switch(CoContext *from, CoContext *to)
{
    if (!from->sp)
        from->sp = g_new0(ucontext_t, 1); /* a thread's own: one per thread that ever ran a coroutine */
    swapcontext(from->sp, to->sp);
}
