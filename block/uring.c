/*
 * block/uring.c - io_uring. A single request is handed to the kernel at once, which does what the page cache can answer within that
 * call: then its coroutine goes on without a turn of the loop. While others are under way, new ones are handed over together, after
 * the completions that made them, or in the loop's next turn. Sleepers are woken when the ring's descriptor becomes readable.
 *
 * Invariants: 1. every entry of the completion queue belongs to a coroutine that waits in uring_submit. 2. While entries wait to be
 * handed over, reap is at work or `later` is set.
 */
#include "block/uring.h"
#include <errno.h>
#include <liburing.h>

enum { ENTRIES = 256 };
struct Uring {
    struct io_uring ring;
    Loop *loop;
    unsigned refs;
    guint watch;
    unsigned under_way; /* asked for, not complete */
    bool reaping;
    guint later; /* a call that hands over what waits; 0: none */
};
typedef struct Pending {
    Co *co; /* NULL: not asleep yet */
    int ret;
    bool done;
} Pending;
static const char key[] = "io_uring";

static bool hand_over_now(void *arg);

/* To the kernel. When it is busy, again in the loop's next turn: completions make room. */
static void hand_over(Uring *u)
{
    if (io_uring_sq_ready(&u->ring) && io_uring_submit(&u->ring) < 0 && !u->later)
        u->later = loop_after(u->loop, 0, hand_over_now, u);
}

/* Takes what is complete and wakes who sleeps. Coroutines that run on may submit and come here again; what they ask for is
 * handed over by the outermost call. */
static void reap(Uring *u)
{
    struct io_uring_cqe *c;
    bool outer = !u->reaping;

    u->reaping = true;
    while (!io_uring_peek_cqe(&u->ring, &c)) {
        Pending *p = io_uring_cqe_get_data(c);

        p->ret = c->res;
        p->done = true;
        u->under_way--;
        io_uring_cqe_seen(&u->ring, c);
        if (p->co)
            co_wake(p->co);
    }
    if (!outer)
        return;
    u->reaping = false;
    hand_over(u);
}

static bool hand_over_now(void *arg)
{
    Uring *u = arg;

    u->later = 0;
    u->refs++; /* who wakes may close the last file */
    hand_over(u);
    reap(u);
    uring_close(u);
    return false;
}

static bool readable(void *arg, int fd, GIOCondition cond)
{
    Uring *u = arg;

    u->refs++; /* who wakes may close the last file */
    reap(u);
    uring_close(u);
    return true;
}

Uring *uring_open(Loop *loop)
{
    Uring *u = loop_named(loop, key);

    if (u) {
        u->refs++;
        return u;
    }
    u = g_new0(Uring, 1);
    if (io_uring_queue_init(ENTRIES, &u->ring, 0) < 0) { /* an old kernel, or one that is not allowed to */
        g_free(u);
        return NULL;
    }
    u->loop = loop;
    u->refs = 1;
    u->watch = loop_watch_fd(loop, u->ring.ring_fd, G_IO_IN, readable, u);
    loop_name(loop, key, u);
    return u;
}

void uring_close(Uring *u)
{
    if (!u || --u->refs)
        return;
    loop_unwatch(u->loop, u->watch);
    loop_unwatch(u->loop, u->later);
    loop_name(u->loop, key, NULL);
    io_uring_queue_exit(&u->ring);
    g_free(u);
}

CO_FN int uring_submit(Uring *u, int fd, const BlkReq *r)
{
    struct io_uring_sqe *s = io_uring_get_sqe(&u->ring);
    Pending p = { NULL, 0, false };

    if (!s)
        return -EAGAIN;
    if (r->op == BLK_READ)
        io_uring_prep_readv(s, fd, r->iov, (unsigned)r->niov, r->off);
    else if (r->op == BLK_WRITE)
        io_uring_prep_writev(s, fd, r->iov, (unsigned)r->niov, r->off);
    else
        io_uring_prep_fsync(s, fd, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data(s, &p);
    if (!u->under_way++) {
        hand_over(u);
        reap(u);
    } else if (!u->reaping && !u->later) {
        u->later = loop_after(u->loop, 0, hand_over_now, u);
    }
    p.co = co_self();
    while (!p.done)
        co_yield();
    return p.ret;
}
