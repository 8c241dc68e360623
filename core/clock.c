/*
 * core/clock.c - virtual time and timers.
 * Invariants: `now` never goes back except by a load; a timer is in exactly one heap while pending;
 * heaps and slots are guarded by the leaf lock `mutex`, which is never held while a timer fires.
 * At most BURST timers fire per turn of the loop, so that a guest cannot occupy it.
 */
#include "core/priv.h"
#include "core/steady.h"
#include <sys/timerfd.h>
#include <unistd.h>

enum { BURST = 1000 };

typedef struct Heap {
    GPtrArray *v; /* of Timer *, a binary heap on when */
    int fd;       /* timerfd; -1 when the test accelerator owns time */
    guint watch;
} Heap;

struct VmClock {
    Vm *vm;
    GMutex mutex;
    Heap heap[2];
    bool manual;
    int64_t manual_now, host_base; /* manual: CLOCK_HOST is host_base + manual_now */
    int64_t steady_base;           /* real time minus monotonic time, at the start */
    unsigned seq;                  /* seqlock over the two below */
    bool running;
    int64_t base; /* running: now = host + base; else now = base */
};

static void heap_put(Heap *h, guint i, Timer *t)
{
    h->v->pdata[i] = t;
    t->slot = i;
}

static void heap_up(Heap *h, guint i)
{
    Timer *t = h->v->pdata[i];

    while (i) {
        guint up = (i - 1) / 2;
        Timer *p = h->v->pdata[up];

        if (p->when <= t->when)
            break;
        heap_put(h, i, p);
        i = up;
    }
    heap_put(h, i, t);
}

static void heap_down(Heap *h, guint i)
{
    Timer *t = h->v->pdata[i];

    for (;;) {
        guint kid = 2 * i + 1;

        if (kid >= h->v->len)
            break;
        if (kid + 1 < h->v->len &&
            ((Timer *)h->v->pdata[kid + 1])->when < ((Timer *)h->v->pdata[kid])->when)
            kid++;
        if (t->when <= ((Timer *)h->v->pdata[kid])->when)
            break;
        heap_put(h, i, h->v->pdata[kid]);
        i = kid;
    }
    heap_put(h, i, t);
}

static void heap_remove(Heap *h, Timer *t)
{
    guint i = t->slot;
    Timer *last = h->v->pdata[h->v->len - 1];

    g_ptr_array_set_size(h->v, (gint)h->v->len - 1);
    if (last == t)
        return;
    heap_put(h, i, last);
    heap_up(h, i);
    heap_down(h, last->slot);
}

static int64_t read_now(VmClock *c)
{
    unsigned seq;
    int64_t now;

    if (c->manual)
        return __atomic_load_n(&c->manual_now, __ATOMIC_RELAXED);
    do {
        seq = __atomic_load_n(&c->seq, __ATOMIC_ACQUIRE);
        now = __atomic_load_n(&c->base, __ATOMIC_RELAXED);
        if (__atomic_load_n(&c->running, __ATOMIC_RELAXED))
            now += host_now();
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (seq & 1 || seq != __atomic_load_n(&c->seq, __ATOMIC_RELAXED));
    return now;
}

int64_t vm_now(Vm *vm) { return vm->accel && vm->accel->now ? vm->accel->now(vm) : read_now(vm->clock); }

int64_t core__clock_get(Vm *vm) { return read_now(vm->clock); }

int64_t vm_host_time(Vm *vm)
{
    return vm->clock->manual ? vm->clock->host_base + read_now(vm->clock) : g_get_real_time() * 1000;
}

int64_t vm_steady_time(Vm *vm) { return vm->clock->manual ? vm_host_time(vm) : vm->clock->steady_base + host_now(); }

static int64_t clock_read(VmClock *c, Clock k) { return k == CLOCK_VM ? read_now(c) : vm_host_time(c->vm); }

/* mutex held: make the timerfd fire at the head of the heap. */
static void arm(VmClock *c, Clock k)
{
    Heap *h = &c->heap[k];
    struct itimerspec at = { 0 };
    int64_t when;

    if (h->fd < 0)
        return;
    if (h->v->len && (k == CLOCK_HOST || c->running)) {
        when = ((Timer *)h->v->pdata[0])->when;
        if (k == CLOCK_VM)
            when = when > INT64_MAX / 2 ? when : when - c->base; /* to host monotonic */
        if (when < 1)
            when = 1; /* 0 disarms */
        at.it_value.tv_sec = when / SEC;
        at.it_value.tv_nsec = when % SEC;
    }
    timerfd_settime(h->fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void set_base(VmClock *c, bool running, int64_t base)
{
    __atomic_fetch_add(&c->seq, 1, __ATOMIC_ACQ_REL);
    __atomic_store_n(&c->running, running, __ATOMIC_RELAXED);
    __atomic_store_n(&c->base, base, __ATOMIC_RELAXED);
    __atomic_fetch_add(&c->seq, 1, __ATOMIC_RELEASE);
    g_mutex_lock(&c->mutex);
    arm(c, CLOCK_VM);
    g_mutex_unlock(&c->mutex);
}

void core__clock_start(Vm *vm)
{
    VmClock *c = vm->clock;

    if (!c->running)
        set_base(c, true, c->base - host_now());
}

void core__clock_stop(Vm *vm)
{
    VmClock *c = vm->clock;

    if (c->running)
        set_base(c, false, c->base + host_now());
}

void core__clock_set(Vm *vm, int64_t now)
{
    VmClock *c = vm->clock;

    g_assert(!c->running);
    __atomic_store_n(&c->manual_now, now, __ATOMIC_RELAXED);
    set_base(c, false, now);
}

void timer_init(Timer *t, Vm *vm, Clock c, void (*fire)(void *owner, unsigned n), void *owner)
{
    *t = (Timer){ .vm = vm, .clock = (uint8_t)c, .fire = fire, .owner = owner };
}

void timer_at(Timer *t, int64_t abs_ns)
{
    VmClock *c = t->vm->clock;
    Heap *h = &c->heap[t->clock];

    g_mutex_lock(&c->mutex);
    if (t->pending)
        heap_remove(h, t);
    t->when = MAX(abs_ns, 0);
    t->pending = true;
    g_ptr_array_add(h->v, t);
    heap_up(h, h->v->len - 1);
    if (t->slot == 0)
        arm(c, t->clock);
    g_mutex_unlock(&c->mutex);
}

void timer_in(Timer *t, int64_t ns)
{
    int64_t now = clock_read(t->vm->clock, t->clock);

    timer_at(t, ns > INT64_MAX - now ? INT64_MAX : now + MAX(ns, 0));
}

void timer_del(Timer *t)
{
    VmClock *c;

    if (!t->vm)
        return;
    c = t->vm->clock;
    g_mutex_lock(&c->mutex);
    if (t->pending) {
        bool head = t->slot == 0;

        heap_remove(&c->heap[t->clock], t);
        t->pending = false;
        if (head)
            arm(c, t->clock);
    }
    g_mutex_unlock(&c->mutex);
}

/* Take the first timer due by `until`, or NULL. */
static Timer *take_due(VmClock *c, Clock k, int64_t until, int64_t *when)
{
    Heap *h = &c->heap[k];
    Timer *t = NULL;

    g_mutex_lock(&c->mutex);
    if (h->v->len && ((Timer *)h->v->pdata[0])->when <= until) {
        t = h->v->pdata[0];
        *when = t->when;
        heap_remove(h, t);
        t->pending = false;
    }
    g_mutex_unlock(&c->mutex);
    return t;
}

static void fire(Timer *t)
{
    if (t->dev) {
        Dev *d = t->dev;

        dev_enter(d);
        if (t->dev_fire)
            t->dev_fire(d, t->n);
        else
            t->dev_fire1(d);
        dev_leave(d);
    } else {
        t->fire(t->owner, t->n);
    }
}

static void run_due(VmClock *c, Clock k)
{
    int64_t now = clock_read(c, k), when;
    Timer *t;

    for (unsigned i = 0; i < BURST && (t = take_due(c, k, now, &when)); i++)
        fire(t);
    g_mutex_lock(&c->mutex);
    arm(c, k);
    g_mutex_unlock(&c->mutex);
}

static bool expired(void *arg, int fd, GIOCondition cond)
{
    VmClock *c = arg;
    uint64_t n;
    Clock k = fd == c->heap[CLOCK_VM].fd ? CLOCK_VM : CLOCK_HOST;

    if (read(fd, &n, sizeof(n)) < 0)
        return true;
    if (k == CLOCK_HOST || c->running)
        run_due(c, k);
    return true;
}

int64_t vm_next_deadline(Vm *vm)
{
    VmClock *c = vm->clock;
    Heap *h = &c->heap[CLOCK_VM];
    int64_t when;

    g_mutex_lock(&c->mutex);
    when = h->v->len ? ((Timer *)h->v->pdata[0])->when : INT64_MAX;
    g_mutex_unlock(&c->mutex);
    return when;
}

static void advance(VmClock *c, int64_t to)
{
    if (to > c->manual_now)
        __atomic_store_n(&c->manual_now, to, __ATOMIC_RELAXED);
}

/* Both clocks move together: the earlier deadline goes first. */
void vm_clock_run(Vm *vm, int64_t until_ns)
{
    VmClock *c = vm->clock;

    for (unsigned i = 0; i < 100 * BURST; i++) { /* bound: a timer that re-arms itself in the past */
        int64_t when = 0, head = vm_next_deadline(vm);
        Timer *t = take_due(c, CLOCK_HOST, MIN(head, until_ns) + c->host_base, &when);

        if (t)
            when -= c->host_base;
        else
            t = take_due(c, CLOCK_VM, until_ns, &when);
        if (!t)
            break;
        advance(c, MIN(when, until_ns));
        fire(t);
    }
    advance(c, until_ns);
}

void vm_clock_take(Vm *vm)
{
    VmClock *c = vm->clock;

    c->manual = true;
    c->host_base = 1700000000ll * SEC; /* a date that no test depends on */
    for (int k = 0; k < 2; k++) {
        loop_unwatch(vm->loop, c->heap[k].watch);
        close(c->heap[k].fd);
        c->heap[k].fd = -1;
    }
}

VmClock *core__clock_new(Vm *vm)
{
    static const int kinds[] = { CLOCK_MONOTONIC, CLOCK_REALTIME };
    VmClock *c = g_new0(VmClock, 1);

    c->vm = vm;
    c->steady_base = g_get_real_time() * 1000 - host_now();
    g_mutex_init(&c->mutex);
    for (int k = 0; k < 2; k++) {
        Heap *h = &c->heap[k];

        h->v = g_ptr_array_new();
        h->fd = timerfd_create(kinds[k], TFD_CLOEXEC | TFD_NONBLOCK);
        if (h->fd < 0)
            g_error("timerfd_create: no file descriptors left");
        h->watch = loop_watch_fd(vm->loop, h->fd, G_IO_IN, expired, c);
    }
    return c;
}

void core__clock_free(VmClock *c)
{
    for (int k = 0; k < 2; k++) {
        if (c->heap[k].fd >= 0)
            close(c->heap[k].fd);
        g_ptr_array_free(c->heap[k].v, TRUE);
    }
    g_mutex_clear(&c->mutex);
    g_free(c);
}
