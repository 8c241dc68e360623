/* chr/addr.c - socket addresses: unix (also abstract) and TCP over IPv4 and IPv6. */
#include "chr/priv.h"
#include <errno.h>
#include <glib-unix.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static socklen_t fill_unix(const ChrAddr *a, struct sockaddr_un *un, Error **err)
{
    size_t n = strlen(a->path), at = a->abstract;

    *un = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (n + 1 > sizeof(un->sun_path)) {
        fail(err, "socket path '%s' is too long (at most %zu bytes)", a->path,
             sizeof(un->sun_path) - 1);
        error_hint(err, "use a shorter folder, or a relative path");
        return 0;
    }
    memcpy(un->sun_path + at, a->path, n);
    return a->abstract ? (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)
                       : (socklen_t)sizeof(*un);
}

static int listen_unix(ChrAddr *a, Error **err)
{
    struct sockaddr_un un;
    socklen_t len = fill_unix(a, &un, err);
    int fd = len ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;

    if (fd < 0)
        return -1;
    if (!a->abstract)
        unlink(a->path); /* what a killed process left */
    if (bind(fd, (struct sockaddr *)&un, len) < 0 || listen(fd, 1) < 0) {
        fail_errno(err, "cannot listen on socket '%s'", a->path);
        close(fd);
        return -1;
    }
    return fd;
}

static struct addrinfo *resolve(const ChrAddr *a, const char *port, Error **err)
{
    struct addrinfo hint = { .ai_socktype = SOCK_STREAM, .ai_flags = a->server ? AI_PASSIVE : 0 },
                    *list = NULL;
    const char *host = a->host && *a->host ? a->host : a->server ? NULL : "localhost";
    int e;

    hint.ai_family = a->ipv4 == a->ipv6 ? AF_UNSPEC : a->ipv4 ? AF_INET : AF_INET6;
    e = getaddrinfo(host, port, &hint, &list);
    if (e) {
        fail(err, "address resolution failed for %s:%s: %s", host ? host : "", port,
             gai_strerror(e));
        return NULL;
    }
    return list;
}

static int try_bind(const struct addrinfo *i)
{
    int fd = socket(i->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (!bind(fd, i->ai_addr, i->ai_addrlen) && !listen(fd, 1))
        return fd;
    on = errno;
    close(fd);
    errno = on;
    return -1;
}

static void learn_port(ChrAddr *a, int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    char port[NI_MAXSERV];

    if (!getsockname(fd, (struct sockaddr *)&ss, &len) &&
        !getnameinfo((struct sockaddr *)&ss, len, NULL, 0, port, sizeof(port), NI_NUMERICSERV)) {
        g_free(a->port);
        a->port = g_strdup(port);
    }
}

static int listen_tcp(ChrAddr *a, Error **err)
{
    uint64_t port = g_ascii_strtoull(a->port, NULL, 10), last = MAX(a->to, port);
    int fd = -1, e = 0;

    for (; fd < 0 && port <= MIN(last, 65535); port++) {
        g_autofree char *text = a->to ? g_strdup_printf("%" PRIu64, port) : g_strdup(a->port);
        struct addrinfo *list = resolve(a, text, err);

        if (!list)
            return -1;
        for (struct addrinfo *i = list; i && fd < 0; i = i->ai_next) {
            fd = try_bind(i);
            e = errno;
        }
        freeaddrinfo(list);
    }
    if (fd < 0) {
        fail_errno_is(err, e, "cannot listen on %s:%s", a->host ? a->host : "", a->port);
        error_hint(err, "another program may have the port: choose another");
        return -1;
    }
    learn_port(a, fd);
    return fd;
}

int chr__listen(ChrAddr *a, Error **err)
{
    return a->path ? listen_unix(a, err) : listen_tcp(a, err);
}

static int connect_to(const struct sockaddr *sa, socklen_t len, int family, bool block)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | (block ? 0 : SOCK_NONBLOCK), 0), e;

    if (fd < 0)
        return -errno;
    if (!connect(fd, sa, len) || (!block && errno == EINPROGRESS)) {
        g_unix_set_fd_nonblocking(fd, TRUE, NULL);
        return fd;
    }
    e = errno;
    close(fd);
    return -e;
}

int chr__connect(const ChrAddr *a, bool block, Error **err)
{
    struct addrinfo *list;
    struct sockaddr_un un;
    socklen_t len;
    int fd = -ENOENT;

    if (a->path) {
        len = fill_unix(a, &un, err);
        if (!len)
            return -1;
        fd = connect_to((struct sockaddr *)&un, len, AF_UNIX, block);
    } else {
        list = resolve(a, a->port, err);
        if (!list)
            return -1;
        for (struct addrinfo *i = list; i && fd < 0; i = i->ai_next)
            fd = connect_to(i->ai_addr, i->ai_addrlen, i->ai_family, block);
        freeaddrinfo(list);
    }
    if (fd >= 0)
        return fd;
    fail_errno_is(err, -fd, "cannot connect to %s%s%s", a->path ? a->path : a->host,
                  a->path ? "" : ":", a->path ? "" : a->port);
    error_hint(err, "start the other side first, or add server=on here, or reconnect=1");
    return -1;
}

char *chr__addr_text(const ChrAddr *a)
{
    if (a->path)
        return g_strconcat("unix:", a->path, a->server ? ",server=on" : "", NULL);
    return g_strdup_printf("tcp:%s:%s%s", a->host ? a->host : "", a->port ? a->port : "",
                           a->server ? ",server=on" : "");
}

void chr__addr_clear(ChrAddr *a)
{
    g_free(a->path);
    g_free(a->host);
    g_free(a->port);
}
