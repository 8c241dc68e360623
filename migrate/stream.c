/* migrate/stream.c - a file as a stream of bytes with a checksum, and the URIs that name one. */
#include "migrate/stream.h"
#include "migrate/migrate.h"
#include "util/opts.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static bool broke(Stream *s, Error *e)
{
    if (s->err)
        error_free(e);
    else
        s->err = e;
    return false;
}

/* False when an earlier call failed or somebody cancelled. */
static bool usable(Stream *s)
{
    Error *e = NULL;

    if (s->err)
        return false;
    if (!__atomic_load_n(&s->cancel, __ATOMIC_RELAXED))
        return true;
    fail(&e, "cancelled");
    return broke(s, e);
}

/* ---- URIs ---- */
bool migrate_uri_check(const char *uri, Error **err)
{
    if ((g_str_has_prefix(uri, "file:") || g_str_has_prefix(uri, "fd:")) && uri[strcspn(uri, ":") + 1])
        return true;
    fail(err, "unknown migration protocol: %s", uri);
    return error_hint(err, "file:PATH[,offset=N] and fd:NUMBER are what this build knows");
}

static bool seek_to(int fd, Opts *o, bool writing, const char *path, Error **err)
{
    uint64_t offset;

    if (!opts_get_size(o, "offset", 0, &offset, err) || !opts_all_used(o, "file:", err))
        return false;
    if (writing && ftruncate(fd, (off_t)offset) && errno != EINVAL) /* EINVAL: a pipe or a device */
        return fail_errno(err, "cannot write %s", path);
    return !offset || lseek(fd, (off_t)offset, SEEK_SET) >= 0 || fail_errno(err, "cannot go to offset %" PRIu64 " of %s", offset, path);
}

static int open_file(const char *uri, bool writing, Error **err)
{
    g_autoptr(Opts) o = opts_parse(uri + 5, "path", err);
    const char *path = o ? opts_get(o, "path") : NULL;
    int fd;

    if (!o)
        return -1;
    if (!path || !*path) {
        fail(err, "%s: the path is missing", uri);
        return -1;
    }
    fd = writing ? open(path, O_WRONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0660) : open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        fail_errno(err, writing ? "Could not create '%s'" : "Could not open '%s'", path);
        return -1;
    }
    if (seek_to(fd, o, writing, path, err))
        return fd;
    close(fd);
    return -1;
}

/* A descriptor that this process was started with. Its offset is where we begin; it stays open for its owner. */
static int open_fd(const char *uri, bool writing, Error **err)
{
    uint64_t n;
    int fd, mode;

    if (!parse_u64(uri + 3, &n, NULL) || n > INT_MAX) {
        fail(err, "%s: want the number of a descriptor", uri);
        return -1;
    }
    mode = fcntl((int)n, F_GETFL);
    if (mode >= 0 && (mode & O_ACCMODE) == (writing ? O_RDONLY : O_WRONLY)) {
        fail(err, "%s is not open for %s", uri, writing ? "writing" : "reading");
        return -1;
    }
    fd = mode < 0 ? -1 : fcntl((int)n, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        fail_errno(err, "%s", uri);
    return fd;
}

static int open_uri(const char *uri, bool writing, Error **err)
{
    if (!migrate_uri_check(uri, err))
        return -1;
    return *uri == 'f' && uri[1] == 'd' ? open_fd(uri, writing, err) : open_file(uri, writing, err);
}

Stream *stream_open(const char *uri, bool writing, Error **err)
{
    int fd = open_uri(uri, writing, err);
    struct stat st;
    Stream *s;

    if (fd < 0)
        return NULL;
    s = g_new(Stream, 1);
    s->fd = fd;
    s->writing = writing;
    s->piece = fcntl(fd, F_GETFL) & O_NONBLOCK || (!fstat(fd, &st) && S_ISREG(st.st_mode)) ? 1 * MiB : PIPE_BUF;
    s->crc = 0;
    s->bytes = s->have = s->at = 0;
    s->cancel = 0;
    s->err = NULL;
    return s;
}

void stream_free(Stream *s)
{
    if (!s)
        return;
    close(s->fd);
    error_free(s->err);
    g_free(s);
}

/* Pipes make us wait, and that must end when somebody cancels. */
static bool wait_for(Stream *s, short what)
{
    struct pollfd p = { s->fd, what, 0 };

    while (usable(s))
        if (poll(&p, 1, 50) > 0)
            return true;
    return false;
}

/* ---- out ---- */
static bool write_all(Stream *s, const uint8_t *p, size_t n)
{
    while (n) {
        ssize_t w = wait_for(s, POLLOUT) ? write(s->fd, p, MIN(n, s->piece)) : -1;
        Error *e = NULL;

        if (s->err)
            return false;
        if (w < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (w <= 0) {
            fail_errno(&e, "writing the state failed");
            return broke(s, e);
        }
        p += w;
        n -= (size_t)w;
    }
    return true;
}

static bool empty_buf(Stream *s)
{
    size_t n = s->have;

    s->have = 0;
    return write_all(s, s->buf, n);
}

bool stream_put(Stream *s, const void *p, size_t n)
{
    if (!usable(s))
        return false;
    s->crc = (uint32_t)crc32_z(s->crc, p, n);
    s->bytes += n;
    if (s->have + n > sizeof(s->buf) && !empty_buf(s))
        return false;
    if (n > sizeof(s->buf) / 2)
        return empty_buf(s) && write_all(s, p, n);
    memcpy(s->buf + s->have, p, n);
    s->have += n;
    return true;
}

bool stream_flush(Stream *s)
{
    Error *e = NULL;

    if (!usable(s) || !empty_buf(s))
        return false;
    if (fsync(s->fd) && errno != EINVAL && errno != EROFS) { /* pipes and the like */
        fail_errno(&e, "writing the state failed");
        return broke(s, e);
    }
    return true;
}

/* ---- in ---- */
static bool fill_buf(Stream *s)
{
    Error *e = NULL;
    ssize_t r;

    do
        r = wait_for(s, POLLIN) ? read(s->fd, s->buf, sizeof(s->buf)) : 0;
    while (r < 0 && (errno == EINTR || errno == EAGAIN));
    if (s->err)
        return false;
    if (r <= 0) {
        if (r < 0)
            fail_errno(&e, "reading the state failed");
        else
            fail(&e, "the state is cut off after %" PRIu64 " bytes", s->bytes);
        return broke(s, e);
    }
    s->have = (size_t)r;
    s->at = 0;
    return true;
}

bool stream_get(Stream *s, void *p, size_t n)
{
    uint8_t *to = p;
    size_t left = n;

    while (left) {
        size_t k;

        if (s->at == s->have && !fill_buf(s)) {
            memset(p, 0, n);
            return false;
        }
        k = MIN(left, s->have - s->at);
        memcpy(to, s->buf + s->at, k);
        s->at += k;
        s->bytes += k;
        to += k;
        left -= k;
    }
    s->crc = (uint32_t)crc32_z(s->crc, p, n);
    return true;
}

uint64_t stream_get_int(Stream *s, unsigned bytes)
{
    uint8_t b[8];

    stream_get(s, b, bytes);
    return le_load(b, bytes);
}

char *stream_get_str(Stream *s)
{
    size_t n = stream_get_int(s, 2);
    char *t = g_malloc(n + 1);

    t[n] = 0;
    if (!s->err && stream_get(s, t, n) && state_name_ok(t, n))
        return t;
    g_free(t);
    if (!s->err)
        fail(&s->err, "the state holds a name that is none");
    return NULL;
}
