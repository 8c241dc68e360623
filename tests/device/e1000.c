/* tests/device/e1000.c - a driver for the 82540EM: EEPROM, PHY, rings, checksums, segmentation, filters, interrupts. */
#include "tests/device/pcihost.h"

enum { BAR = 0xe0000000, RING = 0x10000, BUF = 0x20000, TX_RING = 0x30000, TX_BUF = 0x40000, SLOTS = 8 };
enum { CTRL = 0, STATUS = 8, EECD = 0x10, EERD = 0x14, MDIC = 0x20, ICR = 0xc0, ITR = 0xc4, ICS = 0xc8, IMS = 0xd0, IMC = 0xd8, RCTL = 0x100,
       TCTL = 0x400, RDBAL = 0x2800, RDLEN = 0x2808, RDH = 0x2810, RDT = 0x2818, TDBAL = 0x3800, TDLEN = 0x3808, TDH = 0x3810, TDT = 0x3818,
       GPRC = 0x4074, RXCSUM = 0x5000, MTA = 0x5200, RA = 0x5400, VFTA = 0x5600 };

static NetWire wire;

static uint32_t rd(Vm *vm, unsigned r) { return (uint32_t)t_ld(vm, BAR + r, 4); }
static void wr(Vm *vm, unsigned r, uint32_t v) { t_st(vm, BAR + r, 4, v); }

static Dev *setup(Vm *vm) { return t_net_card(vm, &wire, "e1000", 0, BAR); }

static void open_rx(Vm *vm, uint32_t rctl)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        t_st(vm, RING + 16 * i, 8, BUF + 2048 * i);
        t_st(vm, RING + 16 * i + 8, 8, 0);
    }
    wr(vm, RDBAL, RING);
    wr(vm, RDLEN, SLOTS * 16);
    wr(vm, RDH, 0);
    wr(vm, RDT, SLOTS - 1);
    wr(vm, RCTL, 2 | rctl);
}

static void open_tx(Vm *vm)
{
    wr(vm, TDBAL, TX_RING);
    wr(vm, TDLEN, SLOTS * 16);
    wr(vm, TCTL, 2);
}

static unsigned eeprom(Vm *vm, unsigned word)
{
    wr(vm, EERD, word << 8 | 1);
    check(rd(vm, EERD) & 0x10);
    return rd(vm, EERD) >> 16;
}

static unsigned clock_bit(Vm *vm, unsigned in)
{
    wr(vm, EECD, 2 | in << 2);
    wr(vm, EECD, 3 | in << 2);
    return rd(vm, EECD) >> 3 & 1;
}

static unsigned by_bits(Vm *vm, unsigned word)
{
    unsigned v = 0, out = 6u << 6 | word;

    wr(vm, EECD, 2);
    for (unsigned i = 9; i-- > 0;)
        check(!clock_bit(vm, out >> i & 1) || i);
    for (unsigned i = 0; i < 16; i++)
        v = v << 1 | clock_bit(vm, 0);
    wr(vm, EECD, 0);
    return v;
}

static void test_identity(Vm *vm)
{
    unsigned sum = 0;

    setup(vm);
    for (unsigned i = 0; i < 64; i++) {
        sum += eeprom(vm, i);
        check_eq(by_bits(vm, i), eeprom(vm, i));
    }
    check_eq(sum & 0xffff, 0xbaba);
    check_eq(eeprom(vm, 0), 0x5452);
    check_eq(rd(vm, RA), 0xaa005452);
    check_eq(rd(vm, RA + 4), 0x8000ccbb);
    check_eq(rd(vm, STATUS) & 3, 3);
    wr(vm, MDIC, 2u << 26 | 1 << 21 | 2 << 16);
    check_eq(rd(vm, MDIC) & 0x1000ffff, 0x10000141);
    wr(vm, MDIC, 2u << 26 | 1 << 21 | 1 << 16);
    check_eq(rd(vm, MDIC) & 0x24, 0x24); /* negotiated, link up */
    wr(vm, MDIC, 2u << 26 | 5 << 21);
    check(rd(vm, MDIC) & 1 << 30);
    net_set_link(net_find(vm, "card"), false);
    check_eq(rd(vm, STATUS) & 2, 0);
    check_eq(rd(vm, ICR) & 4, 4);
}

static void send(Vm *vm, unsigned slot, uint64_t at, uint32_t low, uint32_t high)
{
    t_st(vm, TX_RING + 16 * slot, 8, at);
    t_st(vm, TX_RING + 16 * slot + 8, 4, low);
    t_st(vm, TX_RING + 16 * slot + 12, 4, high);
}

static void test_send(Vm *vm)
{
    setup(vm);
    open_tx(vm);
    for (unsigned i = 0; i < 100; i++)
        t_st(vm, TX_BUF + i, 1, i);
    send(vm, 0, TX_BUF, 40, 0);                       /* a frame in two pieces */
    send(vm, 1, TX_BUF + 40, 60 | 9u << 24, 0);       /* end, report */
    send(vm, 2, TX_BUF, 20 | 1u << 24, 0);            /* a short one */
    wr(vm, IMS, 1);
    wr(vm, TDT, 3);
    check_eq(wire.n, 2);
    check_eq(wire.len[0], 100);
    check_eq(wire.last[0][99], 99);
    check_eq(wire.len[1], 60); /* padded */
    check_eq(rd(vm, TDH), 3);
    check_eq(t_ld(vm, TX_RING + 16 + 12, 1), 1);
    check_eq(t_ld(vm, TX_RING + 12, 1), 0);
    check(t_pci_irqs());
    check_eq(rd(vm, ICR), 3);
    check(!t_pci_irqs());
    wr(vm, TDT, 900); /* beyond the ring */
    check_eq(rd(vm, TDH), 3);
}

static void put_tcp(Vm *vm, unsigned payload)
{
    static const uint8_t f[54] = { [12] = 8, [14] = 0x45, [22] = 64, [23] = 6, [26] = 10, [29] = 1, [30] = 10, [33] = 2, [46] = 0x50, [47] = 0x10 };

    for (unsigned i = 0; i < 54 + payload; i++)
        t_st(vm, TX_BUF + i, 1, i < 54 ? f[i] : i);
    t_st(vm, TX_BUF + 16, 2, __builtin_bswap16((uint16_t)(40 + payload)));
}

static void test_offload(Vm *vm)
{
    unsigned sum = 0;

    setup(vm);
    open_tx(vm);
    put_tcp(vm, 100);
    t_st(vm, TX_BUF + 50, 2, __builtin_bswap16(10 << 8 | 0)); /* any sum of a pseudo header */
    send(vm, 0, 14 | 24 << 8 | 33ull << 16 | (34 | 50ull << 8) << 32, 0x20u << 24, 0);
    send(vm, 1, TX_BUF, 154 | 1 << 20 | 0x21u << 24, 3 << 8);
    wr(vm, TDT, 2);
    check_eq(wire.n, 1);
    check_eq(net_fold(net_sum(wire.last[0] + 14, 20, 0)), 0);
    for (unsigned i = 0; i < 120; i += 2)
        sum += (unsigned)be_load(wire.last[0] + 34 + i, 2);
    check_eq((sum & 0xffff) + (sum >> 16), 0xffff - 10 * 256); /* what stood there was summed too */
    put_tcp(vm, 1000);
    send(vm, 2, 14 | 24 << 8 | 33ull << 16 | (34 | 50ull << 8) << 32, 1000 | 0x25u << 24, 54 << 8 | 400u << 16);
    send(vm, 3, TX_BUF, 1054 | 1 << 20 | 0x25u << 24, 3 << 8);
    wr(vm, TDT, 4);
    check_eq(wire.n, 4); /* three pieces: 400, 400, 200 */
    check_eq(wire.len[1], 454);
    check_eq(wire.len[3], 254);
    for (unsigned i = 1; i < 4; i++) {
        const uint8_t *p = wire.last[i];
        size_t l4 = wire.len[i] - 34;

        check_eq(be_load(p + 16, 2), wire.len[i] - 14);
        check_eq(be_load(p + 38, 4), (i - 1) * 400);
        check_eq(net_fold(net_sum(p + 14, 20, 0)), 0);
        check_eq(net_fold(net_sum(p + 34, l4, net_sum(p + 26, 8, 6 + (uint32_t)l4))), 0);
    }
    wr(vm, CTRL, 1u << 30 | 1 << 6); /* a VLAN tag */
    send(vm, 4, TX_BUF, 100 | 0x41u << 24, 0x0123u << 16);
    wr(vm, TDT, 5);
    check_eq(wire.len[4], 104);
    check_eq(be_load(wire.last[4] + 12, 4), 0x81000123);
}

static void from_wire(const uint8_t *to, size_t len)
{
    uint8_t f[2000] = { 0 };

    memcpy(f, to, 6);
    f[12] = 0x88;
    f[len - 1] = 0x77;
    net_send_flat(&wire.port, f, len);
}

static void test_receive(Vm *vm)
{
    static const uint8_t me[6] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc }, other[6] = { 0x52, 1, 1, 1, 1, 1 }, all[6] = { 255, 255, 255, 255, 255, 255 },
                         multi[6] = { 1, 0, 0x5e, 0, 0x12, 0x34 };
    uint8_t f[104];

    setup(vm);
    from_wire(me, 100); /* not on: lost, as on the wire */
    open_rx(vm, 0);
    wr(vm, IMS, 0x80);
    from_wire(me, 100);
    check_eq(rd(vm, RDH), 1);
    check_eq(t_ld(vm, RING + 8, 2), 104);
    check_eq(t_ld(vm, RING + 12, 1) & 3, 3);
    as_read(vm->mem, BUF, f, sizeof(f), MEM_CPU);
    check_eq(f[99], 0x77);
    check_eq(le32_load(f + 100), net_crc32(f, 100));
    check(t_pci_irqs());
    check_eq(rd(vm, ICR) & 0x80, 0x80);
    from_wire(other, 100);
    from_wire(all, 100);
    from_wire(multi, 100);
    from_wire(me, 1600); /* longer than a frame is */
    check_eq(rd(vm, RDH), 1);
    wr(vm, RCTL, 2 | 0x8000);
    from_wire(all, 100);
    wr(vm, MTA + 4 * (0x341 >> 5), 1u << (0x341 & 31)); /* bits 47..36 of the address */
    from_wire(multi, 100);
    check_eq(rd(vm, RDH), 3);
    wr(vm, RCTL, 2 | 8 | 0x20);
    from_wire(other, 1600);
    check_eq(rd(vm, RDH), 4);
    check_eq(rd(vm, GPRC), 4);
    check_eq(rd(vm, GPRC), 0);
}

/* What comes when no descriptor is free waits, and loses nothing. */
static void test_wait(Vm *vm)
{
    static const uint8_t me[6] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc };

    setup(vm);
    open_rx(vm, 0);
    for (unsigned i = 0; i < 20; i++)
        from_wire(me, 60 + i);
    check_eq(rd(vm, RDH), 7);
    check_eq(rd(vm, ICR) & 0x10, 0x10);
    for (unsigned i = 7; i < 20; i++) {
        check_eq(rd(vm, RDH), i % SLOTS);
        wr(vm, RDT, (i + 1) % SLOTS); /* one more */
    }
    check_eq(rd(vm, RDH), 20 % SLOTS);
    check_eq(t_ld(vm, RING + 16 * (19 % SLOTS) + 8, 2), 60 + 19 + 4);
}

static void test_throttle(Vm *vm)
{
    setup(vm);
    wr(vm, ITR, 1000); /* 256 us */
    wr(vm, IMS, 4);
    wr(vm, ICS, 4);
    check(t_pci_irqs());
    rd(vm, ICR);
    wr(vm, ICS, 4);
    check(!t_pci_irqs());
    t_step(vm, 200 * US);
    check(!t_pci_irqs());
    t_step(vm, 60 * US);
    check(t_pci_irqs());
    wr(vm, IMC, 4);
    check(!t_pci_irqs());
}

static void test_reset(Vm *vm)
{
    Dev *d = setup(vm);

    open_tx(vm);
    pci_config_write(PCI(d), 0x14, 0xc000, 4);
    t_out(vm, 0xc000, 4, TDLEN);
    check_eq(t_in(vm, 0xc004, 4), SLOTS * 16);
    t_out(vm, 0xc004, 4, 256);
    check_eq(rd(vm, TDLEN), 256);
    wr(vm, CTRL, 1 << 26);
    check_eq(rd(vm, TDLEN), 0);
    check_eq(rd(vm, RA + 4), 0x8000ccbb);
    check_eq(rd(vm, CTRL) & 1 << 26, 0);
}

TEST("e1000/identity", test_identity);
TEST("e1000/send", test_send);
TEST("e1000/offload", test_offload);
TEST("e1000/receive", test_receive);
TEST("e1000/wait", test_wait);
TEST("e1000/throttle", test_throttle);
TEST("e1000/reset", test_reset);
