/* chr/file.c - files (output, optional input), named pipes, serial lines and other devices of the
 * host. */
#include "chr/priv.h"
#include "core/fds.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static void end_of_input(Chr *c) {}
static size_t fd_write(Chr *c, const void *p, size_t n) { return chr__fd_write(c->opaque, p, n); }
static void fd_input(Chr *c) { chr__fd_start(c->opaque); }
static void fd_arm(Chr *c) { chr__fd_arm(c->opaque); }

static void fd_close(Chr *c)
{
    FdStream *s = c->opaque;

    if (!s->c)
        return;
    chr__fd_stop(s);
    if (s->in >= 0)
        close(s->in);
    if (s->out >= 0 && s->out != s->in)
        close(s->out);
}

static FdStream *start(Chr *c)
{
    FdStream *s = c->opaque;

    s->c = c;
    s->in = s->out = -1;
    s->eof = end_of_input;
    return s;
}

static int open_or_fail(Chr *c, const char *path, int flags, Error **err)
{
    bool set = g_str_has_prefix(path, "/dev/fdset/");
    int fd = set ? fdset_open(c->vm, path, flags, 0, err) : open(path, flags | O_CLOEXEC | O_NOCTTY, 0666);

    if (fd < 0 && !set) {
        fail_errno(err, "chardev %s: cannot open '%s'", c->id, path);
        if (errno == ENOENT)
            error_hint(err, "does the folder exist?");
    }
    return fd;
}

static bool file_open(Chr *c, Opts *o, Error **err)
{
    FdStream *s = start(c);
    const char *path = opts_get(o, "path"), *input = opts_get(o, "input-path");
    bool append;

    if (!path)
        return fail(err, "chardev %s: file needs path=", c->id);
    if (!opts_get_bool(o, "append", false, &append, err))
        return false;
    s->out = open_or_fail(c, path, O_WRONLY | O_CREAT | (append ? O_APPEND : O_TRUNC), err);
    if (s->out < 0)
        return false;
    if (input && (s->in = open_or_fail(c, input, O_RDONLY | O_NONBLOCK, err)) < 0)
        return false;
    return true;
}

static const ChrOps file = { .name = "file",
                             .keys = "path=FILE append=on|off input-path=FILE",
                             .size = sizeof(FdStream),
                             .open = file_open,
                             .close = fd_close,
                             .write = fd_write,
                             .input = fd_input,
                             .arm = fd_arm };
CHR_BACKEND(file);

/* PATH.in (we read) and PATH.out, or one PATH for both. */
static bool pipe_open(Chr *c, Opts *o, Error **err)
{
    FdStream *s = start(c);
    const char *path = opts_get(o, "path");
    g_autofree char *in = NULL, *out = NULL;

    if (!path)
        return fail(err, "chardev %s: pipe needs path=", c->id);
    in = g_strconcat(path, ".in", NULL);
    out = g_strconcat(path, ".out", NULL);
    if (g_file_test(in, G_FILE_TEST_EXISTS) && g_file_test(out, G_FILE_TEST_EXISTS)) {
        s->in = open_or_fail(c, in, O_RDWR | O_NONBLOCK, err);
        s->out = s->in < 0 ? -1 : open_or_fail(c, out, O_RDWR | O_NONBLOCK, err);
        return s->out >= 0;
    }
    s->in = s->out = open_or_fail(c, path, O_RDWR | O_NONBLOCK, err);
    return s->in >= 0;
}

static const ChrOps pipe_chr = { .name = "pipe",
                                 .keys = "path=PATH",
                                 .size = sizeof(FdStream),
                                 .open = pipe_open,
                                 .close = fd_close,
                                 .write = fd_write,
                                 .input = fd_input,
                                 .arm = fd_arm };
CHR_BACKEND(pipe_chr);

static bool serial_open(Chr *c, Opts *o, Error **err)
{
    FdStream *s = start(c);
    const char *path = opts_get(o, "path");
    struct termios t;

    if (!path)
        return fail(err, "chardev %s: serial needs path=", c->id);
    s->in = s->out = open_or_fail(c, path, O_RDWR | O_NONBLOCK, err);
    if (s->in < 0)
        return false;
    if (!tcgetattr(s->in, &t)) {
        cfmakeraw(&t);
        tcsetattr(s->in, TCSANOW, &t);
    }
    return true;
}

static const ChrOps serial = { .name = "serial",
                               .keys = "path=DEVICE",
                               .alias = "tty",
                               .size = sizeof(FdStream),
                               .open = serial_open,
                               .close = fd_close,
                               .write = fd_write,
                               .input = fd_input,
                               .arm = fd_arm };
CHR_BACKEND(serial);
