/*
 * util/co.c - coroutines on their own stacks, and a lock for them.
 * Invariants: a coroutine is entered only by the thread that its loop has at the time; `enterer` is whom it yields to, so that
 * entering nests; a stack goes back to its thread's pool when the function returned.
 * The switch is co-switch-*.c, what sanitizers must know of it co-fiber-*.c, both chosen by meson.
 */
#include "util/co.h"
#include "util/co-priv.h"
#include <sys/mman.h>
#include <unistd.h>

enum { STACK = 512 * 1024, POOL = 64 };
typedef enum CoState { CO_PARKED, CO_ACTIVE, CO_ENDED } CoState;

struct Co {
    void (*fn)(void *arg);
    void *arg;
    CoContext ctx;
    CoFiber fiber;
    Co *enterer; /* NULL: the thread itself */
    uint8_t *map; /* guard page, then the stack */
    CoState state;
};
typedef struct CoThread {
    CoContext ctx;
    CoFiber fiber;
    Co *current;
    uint8_t *pool[POOL];
    unsigned pooled;
    GThread *owner;
} CoThread;

static size_t guard(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static void thread_gone(gpointer p)
{
    CoThread *t = p;

    while (t->pooled)
        munmap(t->pool[--t->pooled], STACK + guard());
    g_free(t);
}

static GPrivate threads = G_PRIVATE_INIT(thread_gone);

static CoThread *here(void)
{
    CoThread *t = g_private_get(&threads);

    if (!t) {
        t = g_new0(CoThread, 1);
        t->owner = g_thread_self();
        co__fiber_thread(&t->fiber);
        g_private_set(&threads, t);
    }
    return t;
}

static uint8_t *stack_get(CoThread *t)
{
    uint8_t *map;

    if (t->pooled)
        return t->pool[--t->pooled];
    map = mmap(NULL, STACK + guard(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (map == MAP_FAILED || mprotect(map, guard(), PROT_NONE) < 0)
        g_error("no memory for the stack of a coroutine");
    return map;
}

static void stack_put(CoThread *t, uint8_t *map)
{
    co__fiber_stack_done(map + guard(), STACK);
    if (t->pooled < POOL)
        t->pool[t->pooled++] = map;
    else
        munmap(map, STACK + guard());
}

static void leave(CoThread *t, Co *co, bool for_ever)
{
    Co *to = co->enterer;
    CoFiber *f = to ? &to->fiber : &t->fiber;

    t->current = to;
    co__fiber_leave(&co->fiber, f, for_ever);
    co__switch(&co->ctx, to ? &to->ctx : &t->ctx);
}

static void begin(void *arg)
{
    Co *co = arg;
    CoThread *t = here();

    co__fiber_arrived(&co->fiber, co->enterer ? &co->enterer->fiber : &t->fiber);
    co->fn(co->arg);
    co->state = CO_ENDED;
    leave(here(), co, true); /* its loop may have got a thread of its own meanwhile */
    g_assert_not_reached();
}

Co *co_new(void (*fn)(void *arg), void *arg)
{
    Co *co = g_new0(Co, 1);

    co->fn = fn;
    co->arg = arg;
    co->map = stack_get(here());
    co__fiber_new(&co->fiber, co->map + guard(), STACK);
    co__context(&co->ctx, co->map + guard(), STACK, begin, co);
    return co;
}

void co_enter(Co *co)
{
    CoThread *t = here();
    Co *me = t->current;
    CoFiber *mine = me ? &me->fiber : &t->fiber;

    g_assert(co->state == CO_PARKED);
    co->state = CO_ACTIVE;
    co->enterer = me;
    t->current = co;
    co__fiber_leave(mine, &co->fiber, false);
    co__switch(me ? &me->ctx : &t->ctx, &co->ctx);
    co__fiber_arrived(mine, &co->fiber);
    if (co->state == CO_ENDED) {
        co__fiber_free(&co->fiber);
        stack_put(t, co->map);
        g_free(co);
    }
}

CO_FN void co_yield(void)
{
    CoThread *t = here();
    Co *co = t->current;

    g_assert(co);
    co->state = CO_PARKED;
    leave(t, co, false);
    co__fiber_arrived(&co->fiber, co->enterer ? &co->enterer->fiber : &here()->fiber);
}

Co *co_self(void)
{
    CoThread *t = g_private_get(&threads);

    return t ? t->current : NULL;
}

void co_wake(Co *co)
{
    if (co->state == CO_PARKED)
        co_enter(co);
}

typedef struct Waiter {
    Co *co;
    bool granted;
} Waiter;

CO_FN void co_lock(CoLock *l)
{
    Waiter w = { co_self(), false };

    if (!l->held) {
        l->held = true;
        return;
    }
    g_queue_push_tail(&l->waiters, &w);
    while (!w.granted)
        co_yield();
}

/* The oldest waiter gets the lock and runs at once. */
CO_FN void co_unlock(CoLock *l)
{
    Waiter *w = g_queue_pop_head(&l->waiters);

    g_assert(l->held);
    if (!w) {
        l->held = false;
        return;
    }
    w->granted = true;
    co_wake(w->co);
}

CO_FN void co_wait(GQueue *q, CoLock *l)
{
    Waiter w = { co_self(), false };

    g_queue_push_tail(q, &w);
    if (l)
        co_unlock(l);
    while (!w.granted)
        co_yield();
    if (l)
        co_lock(l);
}

void co_wake_all(GQueue *q)
{
    GQueue now = *q;
    Waiter *w;

    g_queue_init(q);
    while ((w = g_queue_pop_head(&now))) {
        w->granted = true;
        co_wake(w->co);
    }
}
