/* chr/fd.c - byte streams over file descriptors: watches, back-pressure, writes that never block.
 */
#include "chr/priv.h"
#include <errno.h>
#include <poll.h>
#include <unistd.h>

enum { PIECE = 4096, CAREFUL_PIECE = 256 };

static bool readable(void *arg, int fd, GIOCondition cond)
{
    FdStream *s = arg;
    uint8_t buf[PIECE];
    size_t room = MIN(chr__room(s->c), sizeof(buf));
    ssize_t n;

    if (!room) { /* back-pressure: until chr_accept_input */
        s->rd = 0;
        return false;
    }
    n = s->recv ? s->recv(s->c, buf, room) : read(fd, buf, room);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0) {
        s->rd = 0;
        if (s->eof)
            s->eof(s->c);
        return false;
    }
    if (s->got)
        s->got(s->c, buf, (size_t)n);
    else
        chr__take(s->c, buf, (size_t)n);
    return s->rd; /* the user may have closed us */
}

void chr__fd_start(FdStream *s)
{
    if (!s->rd && s->in >= 0)
        s->rd = loop_watch_fd(s->c->vm->loop, s->in, G_IO_IN | G_IO_HUP | G_IO_ERR, readable, s);
}

void chr__fd_stop(FdStream *s)
{
    if (s->rd)
        loop_unwatch(s->c->vm->loop, s->rd);
    if (s->wr)
        loop_unwatch(s->c->vm->loop, s->wr);
    s->rd = s->wr = 0;
    s->c->arming = false;
}

size_t chr__fd_write(FdStream *s, const void *p, size_t n)
{
    size_t done = 0;

    while (done < n && s->out >= 0) {
        struct pollfd pf = { s->out, POLLOUT, 0 };
        ssize_t k;

        if (s->careful && (poll(&pf, 1, 0) <= 0 || !(pf.revents & POLLOUT)))
            break;
        k = write(s->out, (const char *)p + done, MIN(n - done, s->careful ? CAREFUL_PIECE : n));
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno == EAGAIN)
            break;
        if (k < 0)
            return n; /* nobody reads any more: as if it were gone */
        done += (size_t)k;
    }
    return s->out >= 0 ? done : n;
}

static bool writable(void *arg, int fd, GIOCondition cond)
{
    FdStream *s = arg;

    s->wr = 0;
    chr__writable(s->c);
    return false;
}

void chr__fd_arm(FdStream *s)
{
    if (!s->wr && s->out >= 0)
        s->wr = loop_watch_fd(s->c->vm->loop, s->out, G_IO_OUT | G_IO_HUP | G_IO_ERR, writable, s);
}
