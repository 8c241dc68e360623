/*
 * net/stream.c - frames over byte streams to another emulator: `socket` with listen=, connect= or fd=, and `stream`. Each frame
 * has its length before it, four bytes, big-endian. A peer that does not read holds the card up; one that leaves is waited for
 * (server) or called again (reconnect-ms).
 */
#include "net/sock.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 4, OUT_MAX = 256 * 1024 };

typedef struct Stream {
    NetDev *d;
    NetAddr addr;
    int listener, fd;
    guint accepting, reading, writing, again;
    bool connecting;
    int64_t reconnect_ns; /* 0: never */
    GByteArray *out;      /* what the peer did not take yet */
    uint8_t in[HEAD + NET_FRAME_MAX];
    size_t got;
} Stream;
static Stream *stream(const NetDev *d) { return d->opaque; }

static void call(Stream *s);
static void listen_again(Stream *s);

static void hang_up(Stream *s)
{
    Loop *l = s->d->vm->loop;

    loop_unwatch(l, s->reading);
    loop_unwatch(l, s->writing);
    s->reading = s->writing = 0;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->got = 0;
    s->connecting = false;
    g_byte_array_set_size(s->out, 0);
}

static bool call_again(void *arg)
{
    Stream *s = arg;

    s->again = 0;
    call(s);
    return false;
}

static void lost(Stream *s)
{
    hang_up(s);
    net_can_take(&s->d->port); /* nobody is there: the card goes on */
    if (s->listener >= 0)
        listen_again(s);
    else if (s->reconnect_ns && !s->again)
        s->again = loop_after(s->d->vm->loop, s->reconnect_ns, call_again, s);
}

/* ---- from the peer ---- */
/* Whole frames at the start of `in`; false: the peer speaks another language. Bounded by what is there. */
static bool frames(Stream *s)
{
    size_t at = 0;

    while (s->got - at >= HEAD) {
        uint32_t len = (uint32_t)be_load(s->in + at, 4);

        if (len > NET_FRAME_MAX)
            return false;
        if (s->got - at < HEAD + len)
            break;
        if (!net__from_outside(s->d, s->in + at + HEAD, len))
            break; /* full: it stays here, ready() comes */
        at += HEAD + len;
    }
    s->got -= at;
    memmove(s->in, s->in + at, s->got);
    return true;
}

static bool readable(void *arg, int fd, GIOCondition cond);

static void read_on(Stream *s)
{
    if (s->fd >= 0 && !s->reading && !s->connecting)
        s->reading = loop_watch_fd(s->d->vm->loop, s->fd, G_IO_IN, readable, s);
}

static bool readable(void *arg, int fd, GIOCondition cond)
{
    Stream *s = arg;
    ssize_t n;

    if (!net_has_room(&s->d->port) || s->got == sizeof(s->in)) {
        s->reading = 0; /* ready() watches again */
        return false;
    }
    n = recv(fd, s->in + s->got, sizeof(s->in) - s->got, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0) {
        s->reading = 0;
        lost(s);
        return false;
    }
    s->got += (size_t)n;
    if (frames(s))
        return true;
    s->reading = 0;
    lost(s);
    return false;
}

static void ready(void *o)
{
    Stream *s = stream(o);

    if (s->fd >= 0 && frames(s))
        read_on(s);
}

/* ---- to the peer ---- */
static void write_out(Stream *s);

static bool writable(void *arg, int fd, GIOCondition cond)
{
    Stream *s = arg;

    s->writing = 0;
    if (s->connecting) {
        int err = net__sock_error(fd);

        if (err) {
            lost(s);
            return false;
        }
        s->connecting = false;
        read_on(s);
    }
    write_out(s);
    return false;
}

static void write_out(Stream *s)
{
    bool was_full = s->out->len > OUT_MAX / 2;

    if (s->out->len && !s->connecting) {
        ssize_t n = send(s->fd, s->out->data, s->out->len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n > 0)
            g_byte_array_remove_range(s->out, 0, (guint)n);
        else if (n < 0 && errno != EAGAIN && errno != EINTR)
            g_byte_array_set_size(s->out, 0); /* the reading side notices */
    }
    if ((s->out->len || s->connecting) && !s->writing)
        s->writing = loop_watch_fd(s->d->vm->loop, s->fd, G_IO_OUT, writable, s);
    if (was_full && s->out->len <= OUT_MAX / 2)
        net_can_take(&s->d->port);
}

static bool can_take(void *o) { return stream(o)->fd < 0 || stream(o)->out->len <= OUT_MAX / 2; }

static void take(void *o, const struct iovec *iov, int n)
{
    Stream *s = stream(o);
    uint8_t head[HEAD];
    size_t len = 0;

    if (s->fd < 0)
        return; /* nobody is there */
    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    be_store(head, 4, len);
    g_byte_array_append(s->out, head, HEAD);
    for (int i = 0; i < n; i++)
        g_byte_array_append(s->out, iov[i].iov_base, (guint)iov[i].iov_len);
    if (!s->writing)
        write_out(s);
}

/* ---- calls ---- */
static void connected(Stream *s, int fd, bool in_progress)
{
    int on = 1;

    s->fd = fd;
    s->connecting = in_progress;
    if (!s->addr.path)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    read_on(s);
    write_out(s);
}

static bool accepted(void *arg, int fd, GIOCondition cond)
{
    Stream *s = arg;
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (peer < 0)
        return true;
    s->accepting = 0;
    connected(s, peer, false);
    return false;
}

static void listen_again(Stream *s)
{
    if (!s->accepting)
        s->accepting = loop_watch_fd(s->d->vm->loop, s->listener, G_IO_IN, accepted, s);
}

static void call(Stream *s)
{
    Error *err = NULL;
    int fd = net__connect(&s->addr, &err);

    error_free(err);
    if (fd >= 0)
        connected(s, fd, true);
    else
        lost(s);
}

static bool start(Stream *s, bool server, Error **err)
{
    int fd = server ? net__listen(&s->addr, err) : net__connect(&s->addr, err);

    if (fd < 0)
        return false;
    if (!server) {
        connected(s, fd, true);
        return true;
    }
    s->listener = fd;
    listen_again(s);
    return true;
}

static void prepare(NetDev *d)
{
    Stream *s = stream(d);

    s->d = d;
    s->listener = s->fd = -1;
    s->out = g_byte_array_new();
}

/* -netdev stream,server=on|off,addr.type=inet|unix,addr.host=..,addr.port=..,addr.path=..,reconnect-ms=N */
static bool open_stream(NetDev *d, Opts *o, Error **err)
{
    Stream *s = stream(d);
    bool server;
    uint64_t ms = 0, seconds = 0;

    prepare(d);
    if (!opts_get_bool(o, "server", false, &server, err) || !opts_get_u64(o, "reconnect-ms", 0, &ms, err) ||
        !opts_get_u64(o, "reconnect", 0, &seconds, err) || !net__addr_parse(&s->addr, o, "addr", err))
        return false;
    s->reconnect_ns = (int64_t)MIN(ms + 1000 * MIN(seconds, 3600), 3600000) * MS;
    return start(s, server, err);
}

bool net__stream_open_socket(NetDev *d, Opts *o, Error **err)
{
    Stream *s = stream(d);
    const char *listen = opts_get(o, "listen"), *connect = opts_get(o, "connect"), *fd = opts_get(o, "fd");
    uint64_t n;

    prepare(d);
    if (fd) {
        if (!parse_u64(fd, &n, err) || n > INT32_MAX)
            return err ? false : fail(err, "-netdev socket,fd=%s: not a descriptor", fd);
        connected(s, (int)n, false);
        return true;
    }
    return net__addr_host_port(&s->addr, listen ? listen : connect, err) && start(s, listen, err);
}

static void close_stream(NetDev *d)
{
    Stream *s = stream(d);

    if (!s->out)
        return;
    hang_up(s);
    loop_unwatch(d->vm->loop, s->accepting);
    loop_unwatch(d->vm->loop, s->again);
    if (s->listener >= 0)
        close(s->listener);
    if (s->listener >= 0 && s->addr.path)
        unlink(s->addr.path);
    g_byte_array_free(s->out, TRUE);
    net__addr_clear(&s->addr);
}

static char *describe(const NetDev *d) { return net__addr_text(&stream(d)->addr); }

static const NetBackend stream_backend = {
    .name = "stream", .doc = "another emulator over TCP or a unix socket: addr.type=inet|unix,..,server=on|off", .size = sizeof(Stream), .open = open_stream,
    .close = close_stream, .describe = describe, .ops = { .can_take = can_take, .take = take, .ready = ready },
};
NET_BACKEND(stream_backend);
const NetBackend net__socket_stream = {
    .name = "socket", .size = sizeof(Stream), .open = net__stream_open_socket, .close = close_stream, .describe = describe,
    .ops = { .can_take = can_take, .take = take, .ready = ready },
};
