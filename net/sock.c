/* net/sock.c - see sock.h. */
#include "net/sock.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

bool net__addr_parse(NetAddr *a, Opts *o, const char *prefix, Error **err)
{
    g_autofree char *type_key = g_strconcat(prefix, ".type", NULL), *host_key = g_strconcat(prefix, ".host", NULL);
    g_autofree char *port_key = g_strconcat(prefix, ".port", NULL), *path_key = g_strconcat(prefix, ".path", NULL);
    const char *type = opts_get(o, type_key);

    if (!type)
        return fail(err, "%s is missing", type_key);
    if (!strcmp(type, "unix")) {
        a->path = g_strdup(opts_get(o, path_key));
        return a->path || fail(err, "%s is missing", path_key);
    }
    if (strcmp(type, "inet"))
        return fail(err, "%s=%s: not a kind of address; inet and unix are", type_key, type);
    a->host = g_strdup(opts_get(o, host_key));
    a->port = g_strdup(opts_get(o, port_key));
    return (a->host && a->port) || fail(err, "%s and %s are needed", host_key, port_key);
}

bool net__addr_host_port(NetAddr *a, const char *text, Error **err)
{
    const char *colon = text ? strrchr(text, ':') : NULL;

    if (!colon) {
        fail(err, "'%s' is not an address", text ? text : "");
        return error_hint(err, "write HOST:PORT or :PORT");
    }
    a->host = g_strndup(text, (gsize)(colon - text));
    a->port = g_strdup(colon + 1);
    return true;
}

bool net__addr_resolve(const NetAddr *a, int type, bool passive, struct sockaddr_storage *out, socklen_t *len, Error **err)
{
    const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = type, .ai_flags = passive ? AI_PASSIVE : 0 };
    struct addrinfo *found = NULL;
    int ret;

    memset(out, 0, sizeof(*out));
    if (a->path) {
        struct sockaddr_un u = { .sun_family = AF_UNIX };

        if (strlen(a->path) >= sizeof(u.sun_path))
            return fail(err, "unix:%s: the path is too long", a->path);
        memcpy(u.sun_path, a->path, strlen(a->path));
        memcpy(out, &u, sizeof(u));
        *len = sizeof(u);
        return true;
    }
    ret = getaddrinfo(*a->host ? a->host : passive ? "0.0.0.0" : "127.0.0.1", a->port, &hints, &found);
    if (ret)
        return fail(err, "%s:%s: %s", a->host, a->port, gai_strerror(ret));
    memcpy(out, found->ai_addr, found->ai_addrlen);
    *len = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

char *net__addr_text(const NetAddr *a)
{
    return a->path ? g_strdup_printf("unix:%s", a->path) : a->host ? g_strdup_printf("tcp:%s:%s", a->host, a->port) : g_strdup("fd");
}

void net__addr_clear(NetAddr *a)
{
    g_free(a->path);
    g_free(a->host);
    g_free(a->port);
    *a = (NetAddr){ 0 };
}

static int open_socket(const NetAddr *a, bool passive, struct sockaddr_storage *to, socklen_t *len, Error **err)
{
    int fd;

    if (!net__addr_resolve(a, SOCK_STREAM, passive, to, len, err))
        return -1;
    fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        fail_errno(err, "cannot make a socket");
    return fd;
}

int net__listen(const NetAddr *a, Error **err)
{
    struct sockaddr_storage to;
    socklen_t len;
    int fd = open_socket(a, true, &to, &len, err), on = 1;

    if (fd < 0)
        return -1;
    if (a->path)
        unlink(a->path); /* of a predecessor */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (!bind(fd, (struct sockaddr *)&to, len) && !listen(fd, 1))
        return fd;
    fail_errno(err, "cannot listen on %s%s%s", a->path ? a->path : a->host, a->path ? "" : ":", a->path ? "" : a->port);
    close(fd);
    return -1;
}

int net__connect(const NetAddr *a, Error **err)
{
    struct sockaddr_storage to;
    socklen_t len;
    int fd = open_socket(a, false, &to, &len, err);

    if (fd < 0 || !connect(fd, (struct sockaddr *)&to, len) || errno == EINPROGRESS)
        return fd;
    fail_errno(err, "cannot connect to %s%s%s", a->path ? a->path : a->host, a->path ? "" : ":", a->path ? "" : a->port);
    close(fd);
    return -1;
}

int net__sock_error(int fd)
{
    int e = 0;
    socklen_t n = sizeof(e);

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) ? errno : e;
}
