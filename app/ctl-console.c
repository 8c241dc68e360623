/*
 * app/ctl-console.c - menura ctl console: this terminal at the machine's first serial port, raw, until Ctrl-] or the machine's
 * end. Without a terminal bytes go both ways; the end of input is not the end.
 */
#include "app/ctl.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

enum { ESCAPE = 0x1d, PIECE = 4096 };

char *ctl_console_path(const char *socket)
{
    return g_strdup_printf("%.*s.console", (int)strlen(socket) - (int)strlen(".sock"), socket);
}

static bool send_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = write(fd, p, n);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

/* False: this side wants to end. *open: standard input is. */
static bool typed(int sock, bool terminal, bool *open)
{
    char buf[PIECE];
    ssize_t n = read(0, buf, sizeof(buf));
    const char *end = n > 0 && terminal ? memchr(buf, ESCAPE, (size_t)n) : NULL;

    if (n <= 0) {
        *open = false;
        return !terminal;
    }
    return send_all(sock, buf, end ? (size_t)(end - buf) : (size_t)n) && !end;
}

static void pump(int sock, bool terminal)
{
    bool open = true;
    char buf[PIECE];

    for (;;) { /* until the machine or the user ends it */
        struct pollfd p[2] = { { sock, POLLIN, 0 }, { open ? 0 : -1, POLLIN, 0 } };
        ssize_t n;

        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return;
        if (p[0].revents) {
            n = read(sock, buf, sizeof(buf));
            if (n <= 0 || !send_all(1, buf, (size_t)n))
                return;
        }
        if (p[1].revents && !typed(sock, terminal, &open))
            return;
    }
}

bool ctl_console(Talk *t, char **args, Error **err)
{
    g_autofree char *path = ctl_console_path(t->path);
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct termios before, raw;
    bool terminal = isatty(0) && !tcgetattr(0, &before), ok;

    ctl_hang_up(t); /* QMP has one client at a time, and this may last */
    g_strlcpy(at.sun_path, path, sizeof(at.sun_path));
    ok = fd >= 0 && !connect(fd, (struct sockaddr *)&at, sizeof(at));
    if (!ok) {
        fail_errno(err, "ctl console: cannot reach %s", path);
        error_hint(err, "the machine has no serial port");
    }
    if (ok && terminal) {
        fputs("Ctrl-] ends\r\n", stderr);
        raw = before;
        cfmakeraw(&raw);
        tcsetattr(0, TCSANOW, &raw);
    }
    if (ok)
        pump(fd, terminal);
    if (ok && terminal)
        tcsetattr(0, TCSANOW, &before);
    if (fd >= 0)
        close(fd);
    return ok;
}
