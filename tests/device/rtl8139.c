/* tests/device/rtl8139.c - drivers for the RTL8139C+: by the first chip's buffers and by descriptors. */
#include "tests/device/pcihost.h"

enum { IO = 0xc000, RING = 0x20000, TX_BUF = 0x40000, TX_RING = 0x50000, RX_RING = 0x60000, RX_BUF = 0x70000 };
enum { TSD = 0x10, TSAD = 0x20, RBSTART = 0x30, CR = 0x37, CAPR = 0x38, CBR = 0x3a, IMR = 0x3c, ISR = 0x3e, TCR = 0x40, RCR = 0x44, CFG9346 = 0x50,
       CONFIG1 = 0x52, MSR = 0x58, BMSR = 0x64, TPPOLL = 0xd9, CPCR = 0xe0, RDSAR = 0xe4 };
#define OWN (1u << 31)

static NetWire wire;
static uint32_t rd(Vm *vm, unsigned r, unsigned size) { return (uint32_t)t_in(vm, IO + r, size); }
static void wr(Vm *vm, unsigned r, unsigned size, uint32_t v) { t_out(vm, IO + r, size, v); }

static void setup(Vm *vm) { t_net_card(vm, &wire, "rtl8139", 0, IO); }

static unsigned clock_bit(Vm *vm, unsigned in)
{
    wr(vm, CFG9346, 1, 0x88 | in << 1);
    wr(vm, CFG9346, 1, 0x8c | in << 1);
    return rd(vm, CFG9346, 1) & 1;
}

static unsigned eeprom(Vm *vm, unsigned word)
{
    unsigned v = 0, out = 6u << 6 | word;

    wr(vm, CFG9346, 1, 0x88);
    for (unsigned i = 9; i-- > 0;)
        clock_bit(vm, out >> i & 1);
    for (unsigned i = 0; i < 16; i++)
        v = v << 1 | clock_bit(vm, 0);
    wr(vm, CFG9346, 1, 0);
    return v;
}

static void test_identity(Vm *vm)
{
    setup(vm);
    check_eq(eeprom(vm, 0), 0x8129);
    check_eq(eeprom(vm, 7), 0x5452);
    check_eq(eeprom(vm, 9), 0xccbb);
    check_eq(rd(vm, 0, 4), 0xaa005452);
    check_eq(rd(vm, TCR, 4) & 0x7cc00000, 0x74800000);
    check_eq(rd(vm, BMSR, 2) & 0x24, 0x24);
    wr(vm, CONFIG1, 1, 1);
    check_eq(rd(vm, CONFIG1, 1), 0x0c); /* locked */
    wr(vm, CFG9346, 1, 0xc0);
    wr(vm, CONFIG1, 1, 1);
    check_eq(rd(vm, CONFIG1, 1), 0x0d);
    net_set_link(net_find(vm, "card"), false);
    check_eq(rd(vm, MSR, 1) & 4, 4);
    check_eq(rd(vm, ISR, 2), 0x20);
    wr(vm, CR, 1, 0x10);
    check_eq(rd(vm, CR, 1), 1); /* reset is over, the buffer is empty */
    check_eq(rd(vm, CONFIG1, 1), 0x0c);
}

static void test_send(Vm *vm)
{
    setup(vm);
    wr(vm, CR, 1, 0xc);
    wr(vm, IMR, 2, 4);
    for (unsigned i = 0; i < 6; i++) {
        t_st(vm, TX_BUF + 99, 1, i);
        wr(vm, TSAD + 4 * (i % 4), 4, TX_BUF);
        wr(vm, TSD + 4 * (i % 4), 4, i == 5 ? 20 : 100);
        check_eq(rd(vm, TSD + 4 * (i % 4), 4) & 0xa000, 0xa000);
    }
    check_eq(wire.n, 6);
    check(wire.len[4] == 100 && wire.last[4][99] == 4 && wire.len[5] == 60);
    check(t_pci_irqs());
    wr(vm, ISR, 2, 4);
    check(!t_pci_irqs());
    check_eq(rd(vm, 0x60, 2), 0xf00f);
}

static void from_wire(const char *to, size_t len)
{
    uint8_t f[2000] = { 0 };

    memcpy(f, to, 6);
    f[len - 1] = 0x77;
    net_send_flat(&wire.port, f, len);
}
#define ME "\x52\x54\x00\xaa\xbb\xcc"

static void test_receive(Vm *vm)
{
    unsigned at = 0, got = 0;

    setup(vm);
    wr(vm, RBSTART, 4, RING);
    wr(vm, CR, 1, 0xc);
    wr(vm, RCR, 4, 2 | 8); /* 8 KiB, own address and broadcasts */
    from_wire("\2\2\2\2\2\2", 60);
    check_eq(rd(vm, CR, 1) & 1, 1);
    from_wire("\377\377\377\377\377\377", 100);
    check_eq(rd(vm, CR, 1) & 1, 0);
    check_eq(t_ld(vm, RING, 2), 0x2001);
    check_eq(t_ld(vm, RING + 2, 2), 104);
    check_eq(t_ld(vm, RING + 4 + 99, 1), 0x77);
    check_eq(rd(vm, CBR, 2), 108);
    wr(vm, CAPR, 2, 108 - 16);
    check_eq(rd(vm, CR, 1) & 1, 1);
    for (unsigned i = 0; i < 20; i++) /* more than the ring holds */
        from_wire(ME, 1000 + i);
    for (at = 108; got < 20; got++) {
        check_eq(rd(vm, CR, 1) & 1, 0);
        check_eq(t_ld(vm, RING + at + 2, 2), 1004 + got);
        check_eq(t_ld(vm, RING + (at + 4 + 999 + got) % 8192, 1), 0x77); /* round the ring's end */
        at = (unsigned)align_up(at + 4 + 1004 + got, 4) % 8192;
        wr(vm, CAPR, 2, (at - 16) & 0xffff);
    }
    check_eq(rd(vm, CR, 1) & 1, 1);
}

static void test_descriptors(Vm *vm)
{
    static const uint8_t head[54] = { [12] = 8, [14] = 0x45, [16] = 4, [17] = 16, [23] = 6, [26] = 10, [29] = 1, [30] = 10, [33] = 2, [46] = 0x50, [47] = 0x18 };

    setup(vm);
    wr(vm, CPCR, 2, 3);
    wr(vm, TSAD, 4, TX_RING);
    wr(vm, RDSAR, 4, RX_RING);
    wr(vm, CR, 1, 0xc);
    wr(vm, RCR, 4, 2);
    as_write(vm->mem, TX_BUF, head, 54, MEM_CPU);
    t_st(vm, TX_RING, 4, OWN | 1u << 29 | 54); /* two pieces, cut at 400 bytes */
    t_st(vm, TX_RING + 8, 8, TX_BUF);
    t_st(vm, TX_RING + 16, 4, OWN | 1u << 28 | 1u << 30 | 1u << 27 | 400u << 16 | 1000);
    t_st(vm, TX_RING + 24, 8, TX_BUF + 54);
    wr(vm, TPPOLL, 1, 0x40);
    check_eq(wire.n, 3);
    check(wire.len[0] == 454 && wire.len[2] == 254);
    check_eq(net_fold(net_sum(wire.last[2] + 34, 220, net_sum(wire.last[2] + 26, 8, 6 + 220))), 0);
    check_eq(t_ld(vm, TX_RING + 16, 4), 1u << 28 | 1u << 30 | 1000); /* no error: the size of the pieces must not be taken for one */
    check_eq(rd(vm, ISR, 2) & 0x84, 0x84);
    for (unsigned i = 0; i < 2; i++) {
        t_st(vm, RX_RING + 16 * i, 4, OWN | (i ? 1u << 30 : 0) | 512);
        t_st(vm, RX_RING + 16 * i + 8, 8, RX_BUF + 512 * i);
    }
    from_wire(ME, 700);
    check_eq(t_ld(vm, RX_RING, 4) >> 28, 2); /* first */
    check_eq(t_ld(vm, RX_RING + 16, 4), 1u << 30 | 1u << 28 | 1u << 26 | 704);
    check_eq(t_ld(vm, RX_BUF + 699, 1), 0x77);
    from_wire(ME, 60); /* waits for a descriptor */
    check_eq(t_ld(vm, RX_RING, 4) & 1u << 28, 0);
    t_st(vm, RX_RING, 4, OWN | 512);
    wr(vm, ISR, 2, 0xffff);
    check_eq(t_ld(vm, RX_RING, 4) & 0x1fff, 64);
}

TEST("rtl8139/identity", test_identity);
TEST("rtl8139/send", test_send);
TEST("rtl8139/receive", test_receive);
TEST("rtl8139/descriptors", test_descriptors);
