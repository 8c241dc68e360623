/* block/nbd/chan.c - reading and writing a socket from coroutines; what is encrypted goes through tls.c. */
#include "block/nbd/chan.h"
#include "block/nbd/tls.h"
#include <errno.h>
#include <glib-unix.h>
#include <sys/socket.h>
#include <unistd.h>

enum { AHEAD = 64 * 1024 };

/* The loop looks at the socket as long as somebody waits each time it became readable: to come and go costs the loop two more
 * system calls a request. */
struct ChanWatch {
    guint id; /* 0: it does not look */
    Co *co;   /* who waits for bytes; or NULL */
};

void chan_init(Chan *c, Loop *loop, int fd)
{
    *c = (Chan){ .loop = loop, .fd = fd, .in = g_malloc(AHEAD), .readable = g_new0(ChanWatch, 1) };
    g_unix_set_fd_nonblocking(fd, TRUE, NULL);
    g_queue_init(&c->send.waiters);
}

void chan_break(Chan *c)
{
    c->broken = true;
    if (c->fd >= 0)
        shutdown(c->fd, SHUT_RDWR);
}

void chan_close(Chan *c)
{
    if (c->tls)
        tls_session_free(c->tls);
    if (c->readable && c->readable->id)
        loop_unwatch(c->loop, c->readable->id);
    if (c->fd >= 0)
        close(c->fd);
    g_free(c->readable);
    g_free(c->in);
    *c = (Chan){ .fd = -1 };
}

static bool ready(void *arg, int fd, GIOCondition cond)
{
    co_wake(arg);
    return false;
}

CO_FN void chan_wait(Chan *c, GIOCondition cond)
{
    loop_watch_fd(c->loop, c->fd, cond, ready, co_self());
    co_yield();
}

static bool readable(void *arg, int fd, GIOCondition cond)
{
    ChanWatch *w = arg;

    if (!w->co) {
        w->id = 0;
        return false;
    }
    co_wake(w->co); /* who wakes may close the channel */
    return true;
}

static CO_FN void wait_readable(Chan *c)
{
    ChanWatch *w = c->readable;

    w->co = co_self();
    if (!w->id)
        w->id = loop_watch_fd(c->loop, c->fd, G_IO_IN, readable, w);
    co_yield();
    w->co = NULL;
}

/* At least one byte; 0: the end. */
static CO_FN ssize_t some(Chan *c, void *buf, size_t len)
{
    for (;;) {
        ssize_t k;
        bool for_write = false;

        if (c->broken)
            return -ECONNRESET;
        k = c->tls ? tls_recv(c->tls, buf, len, &for_write) : recv(c->fd, buf, len, 0) ;
        if (k < 0 && !c->tls)
            k = -errno;
        if (k == -EINTR)
            continue;
        if (k != -EAGAIN)
            return k;
        if (for_write)
            chan_wait(c, G_IO_OUT);
        else
            wait_readable(c);
    }
}

CO_FN int chan_read(Chan *c, void *buf, size_t len)
{
    uint8_t *to = buf;

    while (len) {
        size_t now = MIN(len, c->have);
        ssize_t k;

        memcpy(to, c->in + c->at, now);
        c->at += now;
        c->have -= now;
        to += now;
        len -= now;
        if (!len)
            break;
        if (len >= AHEAD) { /* large: straight to where it belongs */
            k = some(c, to, len);
            if (k > 0) {
                to += k;
                len -= (size_t)k;
            }
        } else {
            k = some(c, c->in, AHEAD);
            c->at = 0;
            c->have = k > 0 ? (size_t)k : 0;
        }
        if (k <= 0)
            return k ? (int)k : -ECONNRESET;
    }
    return 0;
}

CO_FN int chan_readv(Chan *c, struct iovec *v, int n)
{
    int ret = 0;

    for (int i = 0; i < n && !ret; i++)
        ret = chan_read(c, v[i].iov_base, v[i].iov_len);
    return ret;
}

CO_FN int chan_skip(Chan *c, uint64_t len)
{
    uint8_t waste[4096];
    int ret = 0;

    while (len && !ret) {
        size_t now = MIN(len, sizeof(waste));

        ret = chan_read(c, waste, now);
        len -= now;
    }
    return ret;
}

CO_FN int chan_write(Chan *c, const void *buf, size_t len)
{
    struct iovec one = { (void *)(uintptr_t)buf, len };

    return chan_writev(c, &one, 1);
}

static ssize_t push(Chan *c, struct iovec *v, int n, bool *for_read)
{
    struct msghdr m = { .msg_iov = v, .msg_iovlen = (size_t)MIN(n, 1024) };
    ssize_t k;

    if (c->tls)
        return tls_send(c->tls, v->iov_base, v->iov_len, for_read);
    k = sendmsg(c->fd, &m, MSG_NOSIGNAL);
    return k < 0 ? -errno : k;
}

CO_FN int chan_writev(Chan *c, struct iovec *v, int n)
{
    for (;;) {
        bool for_read = false;
        ssize_t k;

        while (n && !v->iov_len) {
            v++;
            n--;
        }
        if (!n)
            return 0;
        if (c->broken)
            return -ECONNRESET;
        k = push(c, v, n, &for_read);
        if (k == -EAGAIN)
            chan_wait(c, for_read ? G_IO_IN : G_IO_OUT);
        if (k < 0 && k != -EAGAIN && k != -EINTR)
            return (int)k;
        for (size_t left = k > 0 ? (size_t)k : 0; left;) {
            size_t now = MIN(left, v->iov_len);

            v->iov_base = (char *)v->iov_base + now;
            v->iov_len -= now;
            left -= now;
            if (left) {
                v++;
                n--;
            }
        }
    }
}
