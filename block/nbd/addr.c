/* block/nbd/addr.c - addresses: parsed, shown, listened on, connected to. */
#include "block/nbd/addr.h"
#include "block/nbd/proto.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void nbd_addr_clear(NbdAddr *a)
{
    g_free(a->path);
    g_free(a->host);
    g_free(a->port);
    g_free(a->fd);
    *a = (NbdAddr){ 0 };
}

bool nbd_addr_present(const NbdAddr *a) { return a->path || a->host || a->fd; }

static char *take(Opts *o, const char *prefix, const char *key)
{
    g_autofree char *flat = g_strconcat(prefix, key, NULL), *nested = g_strconcat(prefix, "data.", key, NULL);
    char *v = opts_take(o, flat);

    return v ? v : opts_take(o, nested);
}

static bool take_inet(NbdAddr *a, Opts *o, const char *prefix, Error **err)
{
    static const char *const ignored[] = { "numeric", "ipv4", "ipv6", "keep-alive", "mptcp" };
    g_autofree char *to = take(o, prefix, "to");
    uint64_t last = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(ignored); i++)
        g_free(take(o, prefix, ignored[i]));
    a->host = take(o, prefix, "host");
    a->port = take(o, prefix, "port");
    if (!a->host)
        return fail(err, "Parameter '%shost' is missing", prefix);
    if (to && (!parse_u64(to, &last, NULL) || last > 65535))
        return fail(err, "%sto=%s: not a port", prefix, to);
    a->to = (uint16_t)last;
    if (!a->port)
        a->port = g_strdup_printf("%d", NBD_PORT);
    return true;
}

static bool take_unix(NbdAddr *a, Opts *o, const char *prefix, Error **err)
{
    g_autofree char *abstract = take(o, prefix, "abstract");

    g_free(take(o, prefix, "tight")); /* names are as long as they are */
    a->path = take(o, prefix, "path");
    if (!a->path)
        return fail(err, "Parameter '%spath' is missing", prefix);
    return !abstract || parse_bool(abstract, &a->abstract, err);
}

bool nbd_addr_parse(NbdAddr *a, Opts *o, const char *prefix, Error **err)
{
    g_autofree char *type_key = g_strconcat(prefix, "type", NULL), *type = opts_take(o, type_key);

    *a = (NbdAddr){ 0 };
    if (!type)
        return false;
    if (!strcmp(type, "inet"))
        return take_inet(a, o, prefix, err);
    if (!strcmp(type, "unix"))
        return take_unix(a, o, prefix, err);
    if (strcmp(type, "fd"))
        return fail(err, "%s=%s: must be inet, unix or fd", type_key, type);
    a->fd = take(o, prefix, "str");
    return a->fd || fail(err, "Parameter '%sstr' is missing", prefix);
}

char *nbd_addr_text(const NbdAddr *a)
{
    if (a->path)
        return g_strconcat("nbd+unix://?socket=", a->path, NULL);
    if (a->fd)
        return g_strconcat("fd:", a->fd, NULL);
    return strchr(a->host, ':') ? g_strdup_printf("nbd://[%s]:%s", a->host, a->port) : g_strdup_printf("nbd://%s:%s", a->host, a->port);
}

/* ---- sockets ---- */
static int fd_of(const NbdAddr *a, Error **err)
{
    uint64_t fd = 0;

    if (!parse_u64(a->fd, &fd, err))
        return -1;
    if (fd > INT32_MAX) {
        fail(err, "fd %s: no such descriptor", a->fd);
        return -1;
    }
    return (int)fd;
}

static socklen_t fill_unix(const NbdAddr *a, struct sockaddr_un *un, Error **err)
{
    size_t n = strlen(a->path);

    *un = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (n + 1 > sizeof(un->sun_path)) {
        fail(err, "UNIX socket path '%s' is too long", a->path);
        error_hint(err, "at most %zu bytes: use a shorter folder, or a relative path", sizeof(un->sun_path) - 1);
        return 0;
    }
    memcpy(un->sun_path + a->abstract, a->path, n);
    return a->abstract ? (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n) : (socklen_t)sizeof(*un);
}

static int listen_unix(const NbdAddr *a, int backlog, Error **err)
{
    struct sockaddr_un un;
    socklen_t len = fill_unix(a, &un, err);
    int fd = len ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;

    if (fd < 0)
        return -1;
    if (!a->abstract)
        unlink(a->path);
    if (bind(fd, (struct sockaddr *)&un, len) < 0 || listen(fd, backlog) < 0) {
        fail_errno(err, "Failed to bind socket to %s", a->path);
        close(fd);
        return -1;
    }
    return fd;
}

static struct addrinfo *resolve(const NbdAddr *a, const char *port, bool passive, Error **err)
{
    struct addrinfo hint = { .ai_socktype = SOCK_STREAM, .ai_flags = passive ? AI_PASSIVE : 0 }, *list = NULL;
    int e = getaddrinfo(*a->host ? a->host : NULL, port, &hint, &list);

    if (!e)
        return list;
    fail(err, "address resolution failed for %s:%s: %s", a->host, port, gai_strerror(e));
    return NULL;
}

static int listen_one(const struct addrinfo *ai, int backlog)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (!bind(fd, ai->ai_addr, ai->ai_addrlen) && !listen(fd, backlog))
        return fd;
    on = errno;
    close(fd);
    errno = on;
    return -1;
}

static int listen_inet(const NbdAddr *a, const char *port, int backlog, Error **err)
{
    struct addrinfo *list = resolve(a, port, true, err);
    int fd = -1, e = 0;

    for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
        fd = listen_one(ai, backlog);
        e = errno;
    }
    if (list && fd < 0)
        fail_errno_is(err, e, "Failed to bind to %s:%s", a->host, port);
    if (list)
        freeaddrinfo(list);
    return fd;
}

int nbd_addr_listen(const NbdAddr *a, int backlog, Error **err)
{
    uint64_t first = 0;
    int fd = -1;

    if (a->fd)
        return fd_of(a, err);
    if (a->path)
        return listen_unix(a, backlog, err);
    if (!a->to || !parse_u64(a->port, &first, NULL))
        return listen_inet(a, a->port, backlog, err);
    for (uint64_t p = first; p <= a->to && fd < 0; p++) { /* 65536 at most */
        g_autofree char *port = g_strdup_printf("%" PRIu64, p);

        fd = listen_inet(a, port, backlog, p == a->to ? err : NULL);
    }
    return fd;
}

static int connect_unix(const NbdAddr *a, Error **err)
{
    struct sockaddr_un un;
    socklen_t len = fill_unix(a, &un, err);
    int fd = len ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;

    if (fd < 0 || !connect(fd, (struct sockaddr *)&un, len))
        return fd;
    fail_errno(err, "Failed to connect to '%s'", a->path);
    close(fd);
    return -1;
}

int nbd_addr_connect(const NbdAddr *a, Error **err)
{
    struct addrinfo *list;
    int fd = -1, e = 0, on = 1;

    if (a->fd)
        return fd_of(a, err);
    if (a->path)
        return connect_unix(a, err);
    list = resolve(a, a->port, false, err);
    for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
        fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) < 0) {
            e = errno;
            close(fd);
            fd = -1;
        }
    }
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    else if (list)
        fail_errno_is(err, e, "Failed to connect to '%s:%s'", a->host, a->port);
    if (list)
        freeaddrinfo(list);
    return fd;
}

/* ---- names ---- */
static bool old_style(const char *rest, NbdAddr *a, char **export, Error **err)
{
    const char *x = strstr(rest, ":exportname="), *colon;
    g_autofree char *where = x ? g_strndup(rest, (gsize)(x - rest)) : g_strdup(rest);

    if (x)
        *export = g_strdup(x + strlen(":exportname="));
    if (g_str_has_prefix(where, "unix:")) {
        a->path = g_strdup(where + 5);
        return *a->path || fail(err, "nbd:unix: needs a path");
    }
    colon = strrchr(where, ':');
    if (!colon || colon == where || !colon[1])
        return fail(err, "nbd:%s: want nbd:HOST:PORT or nbd:unix:PATH", rest);
    a->host = where[0] == '[' && colon[-1] == ']' ? g_strndup(where + 1, (gsize)(colon - where - 2)) : g_strndup(where, (gsize)(colon - where));
    a->port = g_strdup(colon + 1);
    return true;
}

bool nbd_uri_parse(const char *uri, NbdAddr *a, char **export, bool *tls, Error **err)
{
    g_autoptr(GUri) u = NULL;
    g_autoptr(GHashTable) query = NULL;
    const char *scheme, *path, *socket;
    bool unix_socket;

    *a = (NbdAddr){ 0 };
    *export = NULL;
    if (g_str_has_prefix(uri, "nbd:") && !g_str_has_prefix(uri, "nbd://"))
        return old_style(uri + 4, a, export, err);
    u = g_uri_parse(uri, G_URI_FLAGS_NONE, NULL);
    scheme = u ? g_uri_get_scheme(u) : "";
    *tls = g_str_has_prefix(scheme, "nbds");
    unix_socket = g_str_has_suffix(scheme, "+unix");
    if (!u || (strcmp(scheme, "nbd") && strcmp(scheme, "nbd+tcp") && strcmp(scheme, "nbd+unix") && strcmp(scheme, "nbds") &&
               strcmp(scheme, "nbds+tcp") && strcmp(scheme, "nbds+unix")))
        return fail(err, "'%s' is not an NBD address", uri);
    path = g_uri_get_path(u);
    while (*path == '/')
        path++;
    if (*path)
        *export = g_strdup(path);
    query = g_uri_get_query(u) ? g_uri_parse_params(g_uri_get_query(u), -1, "&", G_URI_PARAMS_NONE, NULL) : NULL;
    socket = query ? g_hash_table_lookup(query, "socket") : NULL;
    if (unix_socket != (socket != NULL))
        return fail(err, "'%s': %s", uri, unix_socket ? "want ?socket=PATH" : "only nbd+unix has a socket");
    if (unix_socket) {
        a->path = g_strdup(socket);
        return true;
    }
    a->host = g_strdup(g_uri_get_host(u) && *g_uri_get_host(u) ? g_uri_get_host(u) : "localhost");
    a->port = g_strdup_printf("%d", g_uri_get_port(u) > 0 ? g_uri_get_port(u) : NBD_PORT);
    return true;
}
