/* tests/unit/netsock.c - back ends that talk to other emulators: streams with framing and back-pressure, datagrams. */
#include "tests/lib/netend.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static End a, b;

static bool try_plug_to(End *e, Vm *vm, const char *fmt, const char *what, Error **err)
{
    g_autofree char *text = g_strdup_printf(fmt, what);

    return try_plug(e, vm, text, err);
}

static void plug_to(End *e, Vm *vm, const char *fmt, const char *what) { check(try_plug_to(e, vm, fmt, what, &abort_on_error)); }

static bool until(Vm *vm, unsigned *what, unsigned n)
{
    int64_t end = host_now() + 20 * SEC;

    while (*what < n && host_now() < end) {
        loop_iterate(vm->loop, false);
        g_usleep(50);
    }
    return *what >= n;
}

static void send_frame(End *e, unsigned len, unsigned mark)
{
    uint8_t f[2000] = { [12] = 8 };

    f[len - 1] = (uint8_t)mark;
    check(net_send_flat(&e->port, f, len));
}

static char *free_port(int type)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, type, 0);

    check(!bind(fd, (struct sockaddr *)&in, sizeof(in)) && !getsockname(fd, (struct sockaddr *)&in, &len));
    close(fd);
    return g_strdup_printf("%u", ntohs(in.sin_port));
}

static void done(void)
{
    net_detach(&a.port);
    net_detach(&b.port);
}

static void talk(Vm *vm)
{
    for (unsigned i = 0; i < 1000 && !b.got; i++) { /* until they found each other */
        send_frame(&a, 60, 1);
        for (unsigned k = 0; k < 20; k++)
            loop_iterate(vm->loop, false);
        g_usleep(1000);
    }
    check(b.got);
    send_frame(&a, 1514, 7);
    check(until(vm, &b.got, b.got + 1));
    while (b.len != 1514)
        check(until(vm, &b.got, b.got + 1));
    check_eq(b.last[1513], 7);
    send_frame(&b, 99, 8);
    check(until(vm, &a.got, 1));
    check(a.len == 99 && a.last[98] == 8);
}

static void tcp(Vm *vm)
{
    g_autofree char *port = free_port(SOCK_STREAM);

    plug_to(&a, vm, "socket,id=a,listen=127.0.0.1:%s", port);
    plug_to(&b, vm, "socket,id=b,connect=127.0.0.1:%s", port);
    talk(vm);
    done();
}

/* A peer that does not read stops the card; nothing is lost when it goes on. */
static void pressure(Vm *vm)
{
    g_autofree char *dir = g_dir_make_tmp("menura-XXXXXX", NULL), *path = g_strconcat(dir, "/s", NULL);
    unsigned sent = 0;

    plug_to(&a, vm, "stream,id=a,server=on,addr.type=unix,addr.path=%s", path);
    plug_to(&b, vm, "stream,id=b,server=off,reconnect-ms=20,addr.type=unix,addr.path=%s", path);
    talk(vm);
    b.got = 0;
    b.open = false;
    for (unsigned i = 0; i < 3000; i++) {
        for (unsigned k = 0; k < 100 && net_has_room(&a.port); k++, sent++)
            send_frame(&a, 1500, sent);
        loop_iterate(vm->loop, false);
    }
    check(!net_has_room(&a.port) && sent < 3000 * 100);
    b.open = true;
    for (unsigned i = 0; i < 200000 && b.got < sent; i++) {
        net_can_take(&b.port);
        loop_iterate(vm->loop, false);
    }
    check_eq(b.got, sent);
    check_eq(b.last[1499], (uint8_t)(sent - 1));
    check(a.ready);
    net_free(net_find(vm, "b")); /* the peer leaves: frames go nowhere, the server waits for the next */
    for (unsigned i = 0; i < 100; i++) {
        send_frame(&a, 100, 0);
        loop_iterate(vm->loop, false);
    }
    b = (End){ 0 };
    a.got = 0;
    plug_to(&b, vm, "stream,id=c,addr.type=unix,addr.path=%s", path);
    talk(vm);
    done();
    net_free(net_find(vm, "a"));
    rmdir(dir);
}

static void udp(Vm *vm)
{
    g_autofree char *p = free_port(SOCK_DGRAM), *q = free_port(SOCK_DGRAM);
    g_autofree char *one = g_strdup_printf("udp=127.0.0.1:%s,localaddr=127.0.0.1:%s", p, q);
    g_autofree char *two = g_strdup_printf("remote.type=inet,remote.host=127.0.0.1,remote.port=%s,local.type=inet,local.host=127.0.0.1,local.port=%s", q, p);

    plug_to(&a, vm, "socket,id=a,%s", one);
    plug_to(&b, vm, "dgram,id=b,%s", two);
    talk(vm);
    done();
}

static void mcast(Vm *vm)
{
    Error *err = NULL;

    if (!try_plug_to(&a, vm, "socket,id=a,mcast=239.255.7.9:%s,localaddr=127.0.0.1", "12399", &err)) {
        printf("skip multicast: %s\n", error_text(err));
        error_free(err);
        return;
    }
    plug_to(&b, vm, "socket,id=b,mcast=239.255.7.9:%s,localaddr=127.0.0.1", "12399");
    talk(vm);
    check_eq(a.got, 1); /* its own did not come back */
    done();
}

static void garbage(Vm *vm)
{
    static const char *const wrong[] = { "socket,id=x", "socket,id=x,connect=nonsense", "socket,id=x,udp=127.0.0.1:1", "stream,id=x", "stream,id=x,addr.type=vsock",
                                         "stream,id=x,addr.type=unix", "dgram,id=x,remote.type=inet,remote.host=127.0.0.1,remote.port=1", "socket,id=x,fd=x" };
    g_autofree char *port = free_port(SOCK_STREAM);
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)g_ascii_strtoull(port, NULL, 10)) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char c;

    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        Error *err = NULL;

        check(!try_plug_to(&b, vm, "%s", wrong[i], &err));
        check(err);
        error_free(err);
    }
    plug_to(&a, vm, "socket,id=a,listen=127.0.0.1:%s", port);
    check(!connect(fd, (struct sockaddr *)&in, sizeof(in)));
    check_eq(write(fd, "\377\377\377\377hello", 9), 9); /* a frame of 4 GiB */
    for (unsigned i = 0; i < 2000 && recv(fd, &c, 1, MSG_DONTWAIT) != 0; i++) {
        loop_iterate(vm->loop, false);
        g_usleep(1000);
    }
    check_eq(recv(fd, &c, 1, MSG_DONTWAIT), 0); /* hung up on */
    check(!a.got);
    close(fd);
    net_detach(&a.port);
}

TEST("netsock/tcp", tcp);
TEST("netsock/pressure", pressure);
TEST("netsock/udp", udp);
TEST("netsock/mcast", mcast);
TEST("netsock/garbage", garbage);
