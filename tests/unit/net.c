/* tests/unit/net.c - links with back-pressure, hubs, segmentation. User networks: netuser.c. */
#include "tests/lib/netend.h"
#include <stdio.h>

static const uint8_t frame[60] = { 1, 2, 3 };

static void hub(Vm *vm)
{
    static End a, b, c;

    plug(&a, vm, "hubport,hubid=0,id=a");
    plug(&b, vm, "hubport,hubid=0,id=b");
    plug(&c, vm, "hubport,hubid=0,id=c");
    check(net_send_flat(&a.port, frame, 60));
    check(!a.got && b.got == 1 && c.got == 1 && b.len == 60);
    net_set_link(net_find(vm, "c"), false);
    check(!net_link_up(&c.port) && net_link_up(&b.port));
    net_send_flat(&a.port, frame, 60);
    check(b.got == 2 && c.got == 1);
    net_detach(&b.port);
    check(net_send_flat(&a.port, frame, 60)); /* nobody hears it */
    net_detach(&a.port);
    net_detach(&c.port);
}

/* Nothing is lost: what the other end cannot take waits, then the sender is told to wait, then to go on. */
static void pressure(Vm *vm)
{
    static End a, b;
    unsigned sent = 0;

    plug(&a, vm, "hubport,hubid=1,id=a");
    plug(&b, vm, "hubport,hubid=1,id=b");
    b.open = false;
    while (sent < 100000 && net_send_flat(&a.port, frame, 60))
        sent++;
    check(sent >= 64 && sent < 100000);
    check(!b.got && !a.ready && !net_has_room(&a.port));
    b.open = true;
    for (unsigned i = 0; i < 100 && b.got < sent; i++)
        net_can_take(&b.port);
    check_eq(b.got, sent);
    check(a.ready);
    check(net_has_room(&a.port));
    net_detach(&a.port);
    net_detach(&b.port);
}

typedef struct Pieces {
    unsigned n;
    size_t bytes;
    bool good;
} Pieces;

static void piece(void *arg, const uint8_t *p, size_t len)
{
    Pieces *s = arg;
    size_t ip = len - 14;

    s->good &= (size_t)(p[16] << 8 | p[17]) == ip && !net_fold(net_sum(p + 14, 20, 0));
    s->good &= !net_fold(net_sum(p + 34, len - 34, net_sum(p + 26, 8, 6 + (uint32_t)(len - 34))));
    s->good &= p[41] == s->bytes % 256 && (s->n == 2) == !!(p[47] & 8);
    s->bytes += len - 54;
    s->n++;
}

static void segments(Vm *vm)
{
    uint8_t f[54 + 250] = { [12] = 8, [14] = 0x45, [18] = 1, [23] = 6, [26] = 10, [30] = 10, [46] = 0x50, [47] = 0x18 };
    Pieces s = { .good = true };

    check(net_segment(f, sizeof(f), 14, 34, 100, piece, &s));
    check(s.good);
    check_eq(s.n, 3);
    check_eq(s.bytes, 250);
    check(!net_segment(f, 40, 14, 34, 100, piece, &s)); /* no room for the header */
    check(!net_segment(f, sizeof(f), 14, 34, 0, piece, &s));
    f[46] = 0xf0;
    check(!net_segment(f, 60, 14, 34, 100, piece, &s)); /* options beyond the end */
    check_eq(net_crc32("123456789", 9), 0xcbf43926);
}

TEST("net/hub", hub);
TEST("net/pressure", pressure);
TEST("net/segments", segments);
