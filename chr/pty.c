/*
 * chr/pty.c - a pseudo terminal; open while somebody holds its other end. The kernel tells of
 * nobody by POLLHUP only, so while it is closed we look four times a second.
 */
#include "chr/priv.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

typedef struct Pty {
    FdStream s;
    char *path, *link;
    guint timer;
} Pty;

static bool look(void *arg)
{
    Pty *p = arg;
    struct pollfd pf = { p->s.in, POLLIN, 0 };

    poll(&pf, 1, 0);
    if (pf.revents & POLLHUP)
        return true;
    p->timer = 0;
    chr__event(p->s.c, CHR_OPENED);
    chr__fd_start(&p->s);
    return false;
}

static void wait_for_other(Pty *p)
{
    if (!p->timer)
        p->timer = loop_after(p->s.c->vm->loop, 250 * MS, look, p);
}

static void hung_up(Chr *c)
{
    Pty *p = c->opaque;

    chr__fd_stop(&p->s);
    chr__event(c, CHR_CLOSED);
    wait_for_other(p);
}

/* Raw on the slave side, and it must have been opened once for POLLHUP to come. */
static void prepare(const char *path)
{
    int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios t;

    if (fd < 0)
        return;
    if (!tcgetattr(fd, &t)) {
        cfmakeraw(&t);
        tcsetattr(fd, TCSAFLUSH, &t);
    }
    close(fd);
}

static bool pty_open(Chr *c, Opts *o, Error **err)
{
    Pty *p = c->opaque;
    const char *link_path = opts_get(o, "path");
    char name[128];
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

    p->s = (FdStream){ .c = c, .in = fd, .out = fd, .eof = hung_up };
    if (fd < 0 || grantpt(fd) < 0 || unlockpt(fd) < 0 || ptsname_r(fd, name, sizeof(name)))
        return fail_errno(err, "chardev %s: cannot make a pseudo terminal", c->id);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    p->path = g_strdup(name);
    prepare(name);
    if (link_path && symlink(name, link_path) < 0)
        return fail_errno(err, "chardev %s: cannot link '%s' to %s", c->id, link_path, name);
    p->link = g_strdup(link_path);
    wait_for_other(p);
    return true;
}

static void pty_close(Chr *c)
{
    Pty *p = c->opaque;

    if (!p->s.c)
        return;
    chr__fd_stop(&p->s);
    if (p->timer)
        loop_unwatch(c->vm->loop, p->timer);
    if (p->link)
        unlink(p->link);
    if (p->s.in >= 0)
        close(p->s.in);
    g_free(p->path);
    g_free(p->link);
}

static size_t pty_write(Chr *c, const void *p, size_t n)
{
    return c->opened ? chr__fd_write(c->opaque, p, n) : n;
}
static void pty_arm(Chr *c) { chr__fd_arm(c->opaque); }
static char *pty_describe(const Chr *c)
{
    return g_strconcat("pty:", ((Pty *)c->opaque)->path, NULL);
}

static void pty_input(Chr *c)
{
    if (c->opened)
        chr__fd_start(c->opaque);
}

static const ChrOps pty = { .name = "pty",
                            .keys = "path=LINK",
                            .size = sizeof(Pty),
                            .starts_closed = true,
                            .open = pty_open,
                            .close = pty_close,
                            .write = pty_write,
                            .input = pty_input,
                            .arm = pty_arm,
                            .describe = pty_describe };
CHR_BACKEND(pty);

const char *chr_pty_path(const Chr *c) { return c->ops == &pty ? ((Pty *)c->opaque)->path : NULL; }
