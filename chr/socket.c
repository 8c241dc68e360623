/*
 * chr/socket.c - unix and TCP sockets, server or client; one peer at a time. A server listens again
 * after its peer left, a client with reconnect= tries again. Descriptors sent along (SCM_RIGHTS)
 * are kept for chr_take_fd. Left out: TLS, websockets.
 */
#include "chr/priv.h"
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FDS_MAX = 16 };
typedef struct Sock {
    FdStream s; /* s.in == s.out: the peer, -1 none */
    ChrAddr addr;
    int listener;
    guint accepting, connecting, timer;
    bool wait, nodelay, is_telnet, given_fd;
    int64_t reconnect; /* ns; 0: never */
    Telnet telnet;
    struct stat made; /* the socket's file, if we made it */
} Sock;

static void listen_on(Sock *k);
static void later(Sock *k);

/* ---- a peer ---- */
static void keep_fds(Chr *c, struct msghdr *m)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(fd));
            if (c->fds.length < FDS_MAX)
                g_queue_push_tail(&c->fds, GINT_TO_POINTER(fd));
            else
                close(fd);
        }
    }
}

static ssize_t sock_recv(Chr *c, uint8_t *p, size_t n)
{
    Sock *k = c->opaque;
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control;
    struct iovec one = { p, n };
    struct msghdr m = {
        .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
    };
    ssize_t got = recvmsg(k->s.in, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

    if (got >= 0)
        keep_fds(c, &m);
    return got;
}

static void sock_got(Chr *c, uint8_t *p, size_t n)
{
    Sock *k = c->opaque;
    bool brk = false;

    if (k->is_telnet)
        n = chr__telnet_in(&k->telnet, p, n, &brk);
    if (n)
        chr__take(c, p, n);
    if (brk)
        chr__event(c, CHR_BREAK);
}

static void peer_gone(Chr *c)
{
    Sock *k = c->opaque;
    int fd = k->s.in;

    if (fd < 0)
        return;
    chr__fd_stop(&k->s);
    k->s.in = k->s.out = -1;
    close(fd);
    chr__event(c, CHR_CLOSED);
    if (k->listener >= 0)
        listen_on(k);
    else if (k->reconnect)
        later(k);
}

static void peer_is(Sock *k, int fd)
{
    int on = 1;

    g_unix_set_fd_nonblocking(fd, TRUE, NULL);
    if (k->nodelay && !k->addr.path)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    k->s.in = k->s.out = fd;
    k->telnet = (Telnet){ 0 };
    if (k->is_telnet && send(fd, chr__telnet_hello, sizeof(chr__telnet_hello), MSG_NOSIGNAL) < 0)
        k->is_telnet = errno == EPIPE || k->is_telnet; /* a dead peer shows on the first read */
    chr__event(k->s.c, CHR_OPENED);
    chr__fd_start(&k->s);
}

/* ---- server ---- */
static bool accepted(void *arg, int fd, GIOCondition cond)
{
    Sock *k = arg;
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

    if (peer < 0)
        return true;
    k->accepting = 0;
    peer_is(k, peer);
    return false;
}

static void listen_on(Sock *k)
{
    if (!k->accepting)
        k->accepting = loop_watch_fd(k->s.c->vm->loop, k->listener, G_IO_IN, accepted, k);
}

static void wait_for_peer(Sock *k)
{
    struct pollfd pf = { k->listener, POLLIN, 0 };
    g_autofree char *text = chr__addr_text(&k->addr);
    int fd;

    fprintf(stderr, "menura: info: waiting for a connection on %s\n", text);
    do {
        poll(&pf, 1, -1);
        fd = accept4(k->listener, NULL, NULL, SOCK_CLOEXEC);
    } while (fd < 0);
    peer_is(k, fd);
}

/* ---- client ---- */
static bool connected(void *arg, int fd, GIOCondition cond)
{
    Sock *k = arg;
    int e = 0;
    socklen_t len = sizeof(e);

    k->connecting = 0;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
    if (!e && !(cond & G_IO_ERR)) {
        peer_is(k, fd);
    } else {
        close(fd);
        later(k);
    }
    return false;
}

static bool again(void *arg)
{
    Sock *k = arg;
    int fd;

    k->timer = 0;
    fd = chr__connect(&k->addr, false, NULL);
    if (fd < 0)
        later(k);
    else
        k->connecting =
            loop_watch_fd(k->s.c->vm->loop, fd, G_IO_OUT | G_IO_ERR | G_IO_HUP, connected, k);
    return false;
}

static void later(Sock *k)
{
    if (!k->timer)
        k->timer = loop_after(k->s.c->vm->loop, k->reconnect, again, k);
}

/* ---- options ---- */
static const char *either(Opts *o, const char *key)
{
    g_autofree char *qmp = g_strconcat("addr.data.", key, NULL),
                    *flat = g_strconcat("addr.", key, NULL);
    const char *v = opts_get(o, key), *w = opts_get(o, qmp), *x = opts_get(o, flat);

    return v ? v : w ? w : x;
}

static bool address(Sock *k, Opts *o, Error **err)
{
    ChrAddr *a = &k->addr;

    opts_get(o, "addr.type");
    opts_get(o, "tight");
    a->path = g_strdup(either(o, "path"));
    a->host = g_strdup(either(o, "host"));
    a->port = g_strdup(either(o, "port"));
    if (!opts_get_u64(o, "to", 0, &a->to, err) || !opts_get_bool(o, "ipv4", false, &a->ipv4, err) ||
        !opts_get_bool(o, "ipv6", false, &a->ipv6, err) ||
        !opts_get_bool(o, "abstract", false, &a->abstract, err))
        return false;
    return true;
}

static bool timing(Sock *k, Opts *o, Error **err)
{
    uint64_t s, ms;
    bool delay, nodelay;

    if (!opts_get_bool(o, "delay", true, &delay, err) ||
        !opts_get_bool(o, "nodelay", false, &nodelay, err) ||
        !opts_get_u64(o, "reconnect", 0, &s, err) || !opts_get_u64(o, "reconnect-ms", 0, &ms, err))
        return false;
    k->nodelay = nodelay || !delay;
    k->reconnect = (int64_t)MIN(s, 100000) * SEC + (int64_t)MIN(ms, 100000000) * MS;
    return !(k->reconnect && k->addr.server) ||
           fail(err, "chardev %s: reconnect is for clients only", k->s.c->id);
}

static bool options(Sock *k, Opts *o, Error **err)
{
    Chr *c = k->s.c;
    bool websocket;

    if (!address(k, o, err) || !opts_get_bool(o, "server", false, &k->addr.server, err) ||
        !opts_get_bool(o, "wait", k->addr.server, &k->wait, err) || !timing(k, o, err) ||
        !opts_get_bool(o, "telnet", false, &k->is_telnet, err) ||
        !opts_get_bool(o, "websocket", false, &websocket, err))
        return false;
    if (websocket || opts_get(o, "tls-creds"))
        return fail(err, "chardev %s: TLS and websockets are not supported", c->id);
    return true;
}

static bool start_with_fd(Sock *k, const char *text, Error **err)
{
    uint64_t fd;

    if (!parse_u64(text, &fd, err))
        return false;
    if (fcntl((int)fd, F_GETFD) < 0)
        return fail_errno(err, "chardev %s: fd=%s", k->s.c->id, text);
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    k->given_fd = true;
    if (k->addr.server) {
        k->listener = (int)fd;
        g_unix_set_fd_nonblocking(k->listener, TRUE, NULL);
        return true;
    }
    peer_is(k, (int)fd);
    return true;
}

static bool has_file(const Sock *k) { return k->listener >= 0 && k->addr.path && !k->addr.abstract && !k->given_fd; }

/* Its file goes, unless another socket has been made there since. */
static void remove_file(const Sock *k)
{
    struct stat now;

    if (!stat(k->addr.path, &now) && now.st_dev == k->made.st_dev && now.st_ino == k->made.st_ino)
        unlink(k->addr.path);
}

static bool start(Sock *k, const char *fd_text, Error **err)
{
    int fd;

    if (fd_text)
        return start_with_fd(k, fd_text, err);
    if (!k->addr.path && !k->addr.port) {
        fail(err, "chardev %s: a socket needs path=, or host= and port=", k->s.c->id);
        return error_hint(err, "for instance socket,id=%s,path=/tmp/x.sock,server=on,wait=off",
                          k->s.c->id);
    }
    if (k->addr.server) {
        k->listener = chr__listen(&k->addr, err);
        if (has_file(k))
            stat(k->addr.path, &k->made);
        return k->listener >= 0;
    }
    if (k->reconnect) {
        again(k);
        return true;
    }
    fd = chr__connect(&k->addr, true, err);
    if (fd >= 0)
        peer_is(k, fd);
    return fd >= 0;
}

static bool sock_open(Chr *c, Opts *o, Error **err)
{
    Sock *k = c->opaque;
    const char *fd_text = opts_get(o, "fd");

    if (!fd_text)
        fd_text = opts_get(o, "addr.data.str");
    k->s = (FdStream){
        .c = c, .in = -1, .out = -1, .eof = peer_gone, .recv = sock_recv, .got = sock_got
    };
    k->listener = -1;
    if (!options(k, o, err) || !start(k, fd_text, err))
        return false;
    if (k->listener >= 0 && k->wait)
        wait_for_peer(k);
    else if (k->listener >= 0)
        listen_on(k);
    return true;
}

static void sock_close(Chr *c)
{
    Sock *k = c->opaque;
    guint *watches[] = { &k->accepting, &k->connecting, &k->timer };

    chr__fd_stop(&k->s);
    for (size_t i = 0; i < G_N_ELEMENTS(watches); i++)
        if (*watches[i])
            loop_unwatch(c->vm->loop, *watches[i]);
    if (k->s.in >= 0)
        close(k->s.in);
    if (k->listener >= 0)
        close(k->listener);
    if (has_file(k))
        remove_file(k);
    chr__addr_clear(&k->addr);
}

/* ---- output ---- */
static size_t send_some(Sock *k, const uint8_t *p, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got = send(k->s.out, p + done, n - done, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN ? done : n; /* gone: the watch on input will find out */
        done += (size_t)got;
    }
    return done;
}

/* Telnet doubles 255. */
static size_t send_telnet(Sock *k, const uint8_t *p, size_t n)
{
    static const uint8_t twice[2] = { 255, 255 };
    size_t done = 0;

    while (done < n) {
        const uint8_t *iac = memchr(p + done, 255, n - done);
        size_t plain = iac ? (size_t)(iac - p) - done : n - done,
               k1 = send_some(k, p + done, plain);

        done += k1;
        if (k1 < plain)
            break;
        if (iac && !send_some(k, twice, 2))
            break;
        done += iac != NULL;
    }
    return done;
}

static size_t sock_write(Chr *c, const void *p, size_t n)
{
    Sock *k = c->opaque;

    if (k->s.out < 0)
        return n; /* nobody listens */
    return k->is_telnet ? send_telnet(k, p, n) : send_some(k, p, n);
}

static bool nobody(void *arg)
{
    Sock *k = arg;

    k->s.wr = 0;
    chr__writable(k->s.c);
    return false;
}

static void sock_arm(Chr *c)
{
    Sock *k = c->opaque;

    if (k->s.out >= 0)
        chr__fd_arm(&k->s);
    else if (!k->s.wr)
        k->s.wr = loop_after(c->vm->loop, 0, nobody, k);
}

static void sock_input(Chr *c) { chr__fd_start(&((Sock *)c->opaque)->s); }
static char *sock_describe(const Chr *c) { return chr__addr_text(&((Sock *)c->opaque)->addr); }

static const ChrOps sock = { .name = "socket",
                             .keys = "path=PATH abstract=on|off tight=on|off host=HOST port=PORT to=PORT ipv4=on|off ipv6=on|off delay=on|off fd=N server=on|off wait=on|off telnet=on|off reconnect=N reconnect-ms=N",
                             .size = sizeof(Sock),
                             .starts_closed = true,
                             .open = sock_open,
                             .close = sock_close,
                             .write = sock_write,
                             .input = sock_input,
                             .arm = sock_arm,
                             .describe = sock_describe };
CHR_BACKEND(sock);
