/* chr/udp.c - datagrams: each write is one, each that arrives is input; what does not fit is lost, as datagrams are. */
#include "chr/priv.h"
#include <errno.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t udp_recv(Chr *c, uint8_t *p, size_t n)
{
    ssize_t k = recv(((FdStream *)c->opaque)->in, p, n, MSG_DONTWAIT);

    if (k <= 0 && (k == 0 || errno == ECONNREFUSED)) { /* an empty datagram, or nobody is there yet: no end of input */
        errno = EAGAIN;
        return -1;
    }
    return k;
}

static void no_end(Chr *c) {}

/* family: both ends' the same. NULL + err. */
static struct addrinfo *find(Chr *c, const char *host, const char *port, int family, bool passive, Error **err)
{
    struct addrinfo hint = { .ai_socktype = SOCK_DGRAM, .ai_family = family, .ai_flags = passive ? AI_PASSIVE : 0 }, *list = NULL;
    int e = getaddrinfo(host && *host ? host : passive ? NULL : "localhost", port, &hint, &list);

    if (!e)
        return list;
    fail(err, "chardev %s: %s:%s: %s", c->id, host ? host : "", port, gai_strerror(e));
    return NULL;
}

static bool udp_open(Chr *c, Opts *o, Error **err)
{
    FdStream *s = c->opaque;
    const char *host = opts_get(o, "host"), *port = opts_get(o, "port"), *local = opts_get(o, "localaddr"), *local_port = opts_get(o, "localport");
    bool ipv4, ipv6, ok = false;
    struct addrinfo *to, *from;

    *s = (FdStream){ .c = c, .in = -1, .out = -1, .eof = no_end, .recv = udp_recv };
    if (!opts_get_bool(o, "ipv4", false, &ipv4, err) || !opts_get_bool(o, "ipv6", false, &ipv6, err))
        return false;
    if (!port)
        return fail(err, "chardev %s: udp needs port=", c->id);
    to = find(c, host, port, ipv4 == ipv6 ? AF_UNSPEC : ipv4 ? AF_INET : AF_INET6, false, err);
    from = to ? find(c, local, local_port ? local_port : "0", to->ai_family, true, err) : NULL;
    if (from) {
        s->in = s->out = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ok = s->in >= 0 && !bind(s->in, from->ai_addr, from->ai_addrlen) && !connect(s->in, to->ai_addr, to->ai_addrlen);
        if (!ok)
            fail_errno(err, "chardev %s: udp %s:%s", c->id, host ? host : "", port);
        freeaddrinfo(from);
    }
    if (to)
        freeaddrinfo(to);
    return ok;
}

static void udp_close(Chr *c)
{
    FdStream *s = c->opaque;

    chr__fd_stop(s);
    if (s->in >= 0)
        close(s->in);
}

static size_t udp_write(Chr *c, const void *p, size_t n)
{
    ssize_t k = send(((FdStream *)c->opaque)->out, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

    return k < 0 && errno == EAGAIN ? 0 : n;
}

static void udp_input(Chr *c) { chr__fd_start(c->opaque); }
static void udp_arm(Chr *c) { chr__fd_arm(c->opaque); }

static const ChrOps udp = { .name = "udp",
                            .keys = "host=HOST port=PORT localaddr=HOST localport=PORT ipv4=on|off ipv6=on|off",
                            .size = sizeof(FdStream),
                            .open = udp_open,
                            .close = udp_close,
                            .write = udp_write,
                            .input = udp_input,
                            .arm = udp_arm };
CHR_BACKEND(udp);
