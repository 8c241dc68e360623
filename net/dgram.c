/*
 * net/dgram.c - frames as datagrams: `socket` with udp= or mcast=, and `dgram`. A multicast address is a shared wire on which each emulator
 * hears all others. What the network loses is lost: such is the wire.
 */
#include "net/sock.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

typedef struct Dgram {
    NetDev *d;
    int fd, out; /* out: the one to send by, of a multicast group another */
    guint reading;
    struct sockaddr_storage to;
    socklen_t to_len;
    struct sockaddr_in own; /* multicast: our own frames come back and are known by it */
    bool multicast;
    char *text;
} Dgram;
static Dgram *dgram(const NetDev *d) { return d->opaque; }

static bool readable(void *arg, int fd, GIOCondition cond)
{
    Dgram *g = arg;
    uint8_t buf[NET_FRAME_MAX];
    struct sockaddr_in from = { 0 };
    socklen_t len = sizeof(from);
    ssize_t n;

    if (!net_has_room(&g->d->port)) {
        g->reading = 0; /* ready() watches again */
        return false;
    }
    n = recvfrom(fd, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&from, &len);
    if (n > 0 && !(g->multicast && from.sin_port == g->own.sin_port && from.sin_addr.s_addr == g->own.sin_addr.s_addr))
        net__from_outside(g->d, buf, (size_t)n);
    return true;
}

static void ready(void *o)
{
    Dgram *g = dgram(o);

    if (g->fd >= 0 && !g->reading)
        g->reading = loop_watch_fd(g->d->vm->loop, g->fd, G_IO_IN, readable, g);
}

static void take(void *o, const struct iovec *iov, int n)
{
    Dgram *g = dgram(o);
    uint8_t buf[NET_FRAME_MAX];
    size_t len = net_flatten(iov, n, buf, sizeof(buf));

    const struct sockaddr *to = g->multicast ? NULL : (const struct sockaddr *)&g->to;

    if (sendto(g->multicast ? g->out : g->fd, buf, MIN(len, sizeof(buf)), MSG_DONTWAIT | MSG_NOSIGNAL, to, to ? g->to_len : 0) < 0)
        return; /* lost on the wire */
}

static bool multicast_address(const struct sockaddr_storage *a)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a;

    return a->ss_family == AF_INET && IN_MULTICAST(ntohl(in->sin_addr.s_addr));
}

/* Frames leave from a port of their own, so that emulators on one host can tell their own from the others'. */
static bool open_sender(Dgram *g, const struct in_addr *local, Error **err)
{
    struct sockaddr_in own = { .sin_family = AF_INET, .sin_addr = *local };
    socklen_t len = sizeof(g->own);
    unsigned char loop = 1;

    g->out = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (g->out < 0 || bind(g->out, (struct sockaddr *)&own, sizeof(own)) ||
        setsockopt(g->out, IPPROTO_IP, IP_MULTICAST_LOOP, &loop, sizeof(loop)) ||
        (local->s_addr && setsockopt(g->out, IPPROTO_IP, IP_MULTICAST_IF, local, sizeof(*local))) ||
        connect(g->out, (struct sockaddr *)&g->to, g->to_len) || getsockname(g->out, (struct sockaddr *)&g->own, &len))
        return fail_errno(err, "cannot send to the multicast group");
    return true;
}

static bool join(Dgram *g, const char *local, Error **err)
{
    const struct sockaddr_in *to = (const struct sockaddr_in *)(const void *)&g->to;
    struct ip_mreq group = { .imr_multiaddr = to->sin_addr };
    int on = 1;

    if (local && *local && inet_pton(AF_INET, local, &group.imr_interface) != 1)
        return fail(err, "localaddr=%s: not an IPv4 address", local);
    if (setsockopt(g->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) || bind(g->fd, (const struct sockaddr *)to, sizeof(*to)) ||
        setsockopt(g->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)))
        return fail_errno(err, "cannot join the multicast group");
    return open_sender(g, &group.imr_interface, err);
}

static bool start(Dgram *g, const NetAddr *local, const NetAddr *remote, const char *local_if, Error **err)
{
    struct sockaddr_storage own;
    socklen_t len;

    if (!net__addr_resolve(remote, SOCK_DGRAM, false, &g->to, &g->to_len, err))
        return false;
    g->fd = socket(g->to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (g->fd < 0)
        return fail_errno(err, "cannot make a socket");
    g->multicast = multicast_address(&g->to);
    if (g->multicast) {
        if (!join(g, local_if, err))
            return false;
    } else {
        if (!local->host && !local->path)
            return fail(err, "the local address is missing");
        if (!net__addr_resolve(local, SOCK_DGRAM, true, &own, &len, err))
            return false;
        if (local->path)
            unlink(local->path);
        if (bind(g->fd, (struct sockaddr *)&own, len))
            return fail_errno(err, "cannot listen on the local address");
    }
    ready(g->d);
    return true;
}

static void prepare(NetDev *d)
{
    dgram(d)->d = d;
    dgram(d)->fd = dgram(d)->out = -1;
}

static bool finish(Dgram *g, NetAddr *local, NetAddr *remote, const char *local_if, bool ok, Error **err)
{
    ok = ok && start(g, local, remote, local_if, err);
    g->text = net__addr_text(remote);
    net__addr_clear(local);
    net__addr_clear(remote);
    return ok;
}

/* -netdev dgram,remote.type=..,remote.host=..,remote.port=..[,local.type=..,..] */
static bool open_dgram(NetDev *d, Opts *o, Error **err)
{
    NetAddr local = { 0 }, remote = { 0 };
    bool ok;

    prepare(d);
    ok = net__addr_parse(&remote, o, "remote", err) && (!opts_peek(o, "local.type") || net__addr_parse(&local, o, "local", err));
    return finish(dgram(d), &local, &remote, local.host, ok, err);
}

/* -netdev socket,udp=HOST:PORT,localaddr=HOST:PORT or mcast=GROUP:PORT[,localaddr=ADDR] */
static bool open_socket(NetDev *d, Opts *o, Error **err)
{
    NetAddr local = { 0 }, remote = { 0 };
    const char *udp = opts_get(o, "udp"), *mcast = opts_get(o, "mcast"), *own = opts_get(o, "localaddr");
    bool ok;

    prepare(d);
    ok = net__addr_host_port(&remote, udp ? udp : mcast, err) && (!udp || net__addr_host_port(&local, own, err));
    return finish(dgram(d), &local, &remote, mcast ? own : NULL, ok, err);
}

static void close_dgram(NetDev *d)
{
    Dgram *g = dgram(d);

    loop_unwatch(d->vm->loop, g->reading);
    if (g->d && g->fd >= 0)
        close(g->fd);
    if (g->d && g->out >= 0)
        close(g->out);
    g_free(g->text);
}

static char *describe(const NetDev *d) { return g_strdup(dgram(d)->text); }

static const NetBackend dgram_backend = {
    .name = "dgram", .doc = "datagrams to another emulator or a multicast group: remote.type=inet|unix,..,local.type=..", .size = sizeof(Dgram),
    .open = open_dgram, .close = close_dgram, .describe = describe, .ops = { .take = take, .ready = ready },
};
NET_BACKEND(dgram_backend);
const NetBackend net__socket_dgram = {
    .name = "socket", .size = sizeof(Dgram), .open = open_socket, .close = close_dgram, .describe = describe, .ops = { .take = take, .ready = ready },
};

/* -netdev socket is streams or datagrams by what it names. */
static const NetBackend *pick(Opts *o) { return opts_peek(o, "udp") || opts_peek(o, "mcast") ? &net__socket_dgram : &net__socket_stream; }
static const NetBackend socket_backend = { .name = "socket", .doc = "listen=, connect=, fd=: TCP; udp=, mcast=: datagrams", .pick = pick };
NET_BACKEND(socket_backend);
