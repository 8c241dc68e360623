/* tests/device/virtio-net.c - a driver for virtio-net: headers, offloads, mergeable buffers, the control queue. */
#include "tests/device/pcihost.h"

enum { BAR = 0xe0000000, SIZE = 8, RINGS = 0x100000, STRIDE = 0x4000, DATA = 0x200000, RX = 0, TX = 1, CTRL = 2, NEXT = 1, WRITE = 2 };
enum { CSUM = 1 << 0, MRG = 1 << 15, CTRL_VQ = 1 << 17, CTRL_VLAN = 1 << 19 };

static NetWire wire;

static uint64_t desc(unsigned q) { return RINGS + q * STRIDE; }
static uint64_t avail(unsigned q) { return desc(q) + 0x1000; }
static uint64_t used(unsigned q) { return desc(q) + 0x2000; }
static uint64_t buffer(unsigned q, unsigned i) { return DATA + (q * SIZE + i) * 0x1000; }
static unsigned done(Vm *vm, unsigned q) { return (unsigned)t_ld(vm, used(q) + 2, 2); }

static Dev *setup(Vm *vm, const char *more, uint32_t features)
{
    g_autofree char *text = g_strdup_printf("virtio-net-pci%s", more);
    Dev *d = t_net_card(vm, &wire, text, 4, BAR);

    t_st(vm, BAR + 0x14, 1, 3);
    t_st(vm, BAR + 8, 4, 0);
    t_st(vm, BAR + 0xc, 4, features);
    t_st(vm, BAR + 8, 4, 1);
    t_st(vm, BAR + 0xc, 4, 1);
    t_st(vm, BAR + 0x14, 1, 11);
    check_eq(t_ld(vm, BAR + 0x14, 1), 11);
    for (unsigned q = 0; q < 3; q++) {
        t_st(vm, BAR + 0x16, 2, q);
        t_st(vm, BAR + 0x18, 2, SIZE);
        t_st(vm, BAR + 0x20, 8, desc(q));
        t_st(vm, BAR + 0x28, 8, avail(q));
        t_st(vm, BAR + 0x30, 8, used(q));
        t_st(vm, BAR + 0x1c, 2, 1);
    }
    t_st(vm, BAR + 0x14, 1, 15);
    return d;
}

static void put_desc(Vm *vm, unsigned q, unsigned i, uint64_t at, uint32_t len, unsigned flags)
{
    t_st(vm, desc(q) + 16 * i, 8, at);
    t_st(vm, desc(q) + 16 * i + 8, 8, len | (uint64_t)flags << 32 | (uint64_t)(i + 1) << 48);
}

static void offer(Vm *vm, unsigned q, unsigned head)
{
    unsigned n = (unsigned)t_ld(vm, avail(q) + 2, 2);

    t_st(vm, avail(q) + 4 + 2 * (n % SIZE), 2, head);
    t_st(vm, avail(q) + 2, 2, n + 1);
    t_st(vm, BAR + 0x3000 + 4 * q, 2, q);
}

static void send(Vm *vm, const uint8_t *header, const uint8_t *frame, size_t len)
{
    as_write(vm->mem, buffer(TX, 0), header, 12, MEM_CPU);
    as_write(vm->mem, buffer(TX, 1), frame, len, MEM_CPU);
    put_desc(vm, TX, 0, buffer(TX, 0), 12, NEXT);
    put_desc(vm, TX, 1, buffer(TX, 1), (uint32_t)len, 0);
    offer(vm, TX, 0);
}

static void test_send(Vm *vm)
{
    uint8_t f[1054] = { [12] = 8, [14] = 0x45, [16] = 4, [17] = 16, [23] = 6, [26] = 10, [29] = 1, [30] = 10, [33] = 2, [46] = 0x50, [47] = 0x18 };
    uint8_t plain[12] = { 0 }, csum[12] = { 1, 0, [6] = 34, [8] = 16 }, tso[12] = { 1, 1, 54, 0, 400 & 255, 400 >> 8, 34, 0, 16, 0 };
    uint32_t pseudo;

    setup(vm, "", CSUM | 1 << 11);
    check_eq(t_ld(vm, BAR + 0x2000, 6), 0xccbbaa005452);
    check_eq(t_ld(vm, BAR + 0x2006, 2), 1);
    send(vm, plain, f, 100);
    check(wire.n == 1 && wire.len[0] == 100 && wire.last[0][47] == 0x18);
    check_eq(done(vm, TX), 1);
    pseudo = net_sum(f + 26, 8, 6 + 66);
    pseudo = (pseudo & 0xffff) + (pseudo >> 16);
    be_store(f + 50, 2, pseudo);
    send(vm, csum, f, 100);
    check_eq(net_fold(net_sum(wire.last[1] + 34, 66, net_sum(wire.last[1] + 26, 8, 6 + 66))), 0);
    send(vm, tso, f, sizeof(f));
    check_eq(wire.n, 5);
    check(wire.len[2] == 454 && wire.len[4] == 254);
    check(!(wire.last[2][47] & 8) && wire.last[4][47] & 8); /* PSH only at the end */
    csum[6] = 200;
    send(vm, csum, f, 100); /* beyond the frame: not sent */
    check(wire.n == 5 && done(vm, TX) == 4);
}

static void from_wire(const char *to, size_t len, unsigned vlan)
{
    uint8_t f[2000] = { 0 };

    memcpy(f, to, 6);
    f[12] = vlan ? 0x81 : 0x88;
    f[15] = (uint8_t)vlan;
    f[len - 1] = 0x77;
    net_send_flat(&wire.port, f, len);
}
#define ME "\x52\x54\x00\xaa\xbb\xcc"

/* A frame over three buffers; one that does not fit yet waits, and the one behind it too. */
static void test_merge(Vm *vm)
{
    setup(vm, "", MRG);
    for (unsigned i = 0; i < 3; i++) {
        put_desc(vm, RX, i, buffer(RX, i), 512, WRITE);
        offer(vm, RX, i);
    }
    from_wire(ME, 1200, 0);
    check_eq(done(vm, RX), 3);
    check_eq(t_ld(vm, buffer(RX, 0) + 10, 2), 3);
    check_eq(t_ld(vm, used(RX) + 8, 4), 512);
    check_eq(t_ld(vm, used(RX) + 8 + 16, 4), 1212 - 1024);
    check_eq(t_ld(vm, buffer(RX, 2) + 1212 - 1024 - 1, 1), 0x77);
    from_wire(ME, 700, 0);
    from_wire(ME, 60, 0);
    put_desc(vm, RX, 3, buffer(RX, 3), 512, WRITE);
    offer(vm, RX, 3);
    check_eq(done(vm, RX), 3);
    put_desc(vm, RX, 4, buffer(RX, 4), 512, WRITE);
    offer(vm, RX, 4);
    check_eq(done(vm, RX), 5);
    put_desc(vm, RX, 5, buffer(RX, 5), 512, WRITE);
    offer(vm, RX, 5);
    check_eq(done(vm, RX), 6);
    check_eq(t_ld(vm, used(RX) + 8 + 8 * 5, 4), 72);
}

static unsigned command(Vm *vm, const char *bytes, unsigned n)
{
    as_write(vm->mem, buffer(CTRL, 0), bytes, n, MEM_CPU);
    t_st(vm, buffer(CTRL, 1), 1, 0xee);
    put_desc(vm, CTRL, 0, buffer(CTRL, 0), n, NEXT);
    put_desc(vm, CTRL, 1, buffer(CTRL, 1), 1, WRITE);
    offer(vm, CTRL, 0);
    return (unsigned)t_ld(vm, buffer(CTRL, 1), 1);
}

static void test_control(Vm *vm)
{
    setup(vm, "", CTRL_VQ | CTRL_VLAN | 1 << 18 | 1 << 23);
    for (unsigned i = 0; i < SIZE; i++) {
        put_desc(vm, RX, i, buffer(RX, i), 2048, WRITE);
        offer(vm, RX, i);
    }
    from_wire("\2\2\2\2\2\2", 60, 0);
    check_eq(done(vm, RX), 1); /* hears all at first */
    check_eq(command(vm, "\0\0\0", 3), 0); /* not promiscuous */
    from_wire("\2\2\2\2\2\2", 60, 0);
    from_wire("\1\0\x5e\0\0\1", 60, 0);
    check_eq(done(vm, RX), 1);
    from_wire(ME, 60, 0);
    from_wire("\377\377\377\377\377\377", 60, 0);
    check_eq(done(vm, RX), 3);
    check_eq(command(vm, "\1\0\1\0\0\0\2\2\2\2\2\2\1\0\0\0\1\0\x5e\0\0\1", 22), 0); /* one address of each kind */
    from_wire("\2\2\2\2\2\2", 60, 0);
    from_wire("\1\0\x5e\0\0\1", 60, 0);
    from_wire("\1\0\x5e\0\0\2", 60, 0);
    check_eq(done(vm, RX), 5);
    from_wire(ME, 60, 5);
    check_eq(done(vm, RX), 5);
    check_eq(command(vm, "\2\0\5\0", 4), 0);
    from_wire(ME, 60, 5);
    check_eq(done(vm, RX), 6);
    check_eq(command(vm, "\1\1\2\2\2\2\2\3", 8), 0); /* another address */
    check_eq(t_ld(vm, BAR + 0x2000, 6), 0x030202020202);
    check_eq(command(vm, "\1\0\377\377\377\377", 6), 1); /* a list that is not there */
    check_eq(command(vm, "\4\0\2\0", 4), 1);             /* more pairs than there are */
    check_eq(command(vm, "\x63\0", 2), 1);
}

static void test_link(Vm *vm)
{
    setup(vm, "", 1 << 16);
    net_set_link(net_find(vm, "card"), false);
    check_eq(t_ld(vm, BAR + 0x2006, 2), 0);
    check_eq(t_ld(vm, BAR + 0x1000, 1), 2);
}

static void test_pairs(Vm *vm)
{
    setup(vm, ",queues=4,host_mtu=9000", 0);
    check_eq(t_ld(vm, BAR + 0x12, 2), 9);
    check_eq(t_ld(vm, BAR + 0x2008, 4), 4 | 9000u << 16);
    t_st(vm, BAR, 4, 0);
    check_eq(t_ld(vm, BAR + 4, 4) & (1 << 22 | 1 << 3), 1 << 22 | 1 << 3);
}

TEST("virtio-net/send", test_send);
TEST("virtio-net/merge", test_merge);
TEST("virtio-net/control", test_control);
TEST("virtio-net/link", test_link);
TEST("virtio-net/pairs", test_pairs);
