/* tests/device/e1000e.c - a driver for the 82574L: NVM, PHY, two queues, extended and split descriptors, hash, MSI-X. */
#include "tests/device/pcihost.h"

enum { BAR = 0xe0000000, MSIX = 0xe0100000, RING = 0x10000, BUF = 0x20000, TX_RING = 0x30000, TX_BUF = 0x40000, SLOTS = 8 };
enum { CTRL = 0, STATUS = 8, EERD = 0x14, CTRL_EXT = 0x18, MDIC = 0x20, ICR = 0xc0, ICS = 0xc8, IMS = 0xd0, IMC = 0xd8, EIAC = 0xdc, IAM = 0xe0,
       IVAR = 0xe4, EITR = 0xe8, RCTL = 0x100, TCTL = 0x400, PSRCTL = 0x2170, RDBAL = 0x2800, RDLEN = 0x2808, RDH = 0x2810, RDT = 0x2818,
       TDBAL = 0x3800, TDLEN = 0x3808, TDH = 0x3810, TDT = 0x3818, TIDV = 0x3820, QUEUE1 = 0x100, RXCSUM = 0x5000, RFCTL = 0x5008, MRQC = 0x5818,
       SWSM = 0x5b50, RETA = 0x5c00, RSSRK = 0x5c80, SYSTIM = 0xb600, TIMINCA = 0xb608 };
static const uint8_t me[6] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc };

static NetWire wire;
static unsigned messages[5];

static bool hear(Vm *vm, uint64_t addr, uint32_t data) { return ++messages[data % 5]; }
static uint32_t rd(Vm *vm, unsigned r) { return (uint32_t)t_ld(vm, BAR + r, 4); }
static void wr(Vm *vm, unsigned r, uint32_t v) { t_st(vm, BAR + r, 4, v); }

static Dev *setup(Vm *vm) { return t_net_card(vm, &wire, "e1000e", 0, BAR); }

/* MSI-X with all vectors open: vector n is heard in messages[n]. */
static void setup_msix(Vm *vm)
{
    static const IrqBackend ear = { .msi_send = hear };
    Dev *d = setup(vm);

    vm->irq = &ear;
    pci_config_write(PCI(d), 0x1c, MSIX, 4);
    for (unsigned n = 0; n < 5; n++) {
        t_st(vm, MSIX + 16 * n, 4, 0xfee00000);
        t_st(vm, MSIX + 16 * n + 8, 4, n);
        t_st(vm, MSIX + 16 * n + 12, 4, 0);
    }
    pci_config_write(PCI(d), 0xa2, 0x8004, 2);
    wr(vm, IVAR, 0xcba98); /* queue 0, queue 1, sending 0 and 1, others: vectors 0 to 4 */
}

static void open_rx(Vm *vm, unsigned queue, unsigned desc)
{
    uint64_t ring = RING + 0x1000 * queue, buf = BUF + 0x8000 * queue;

    for (unsigned i = 0; i < SLOTS; i++)
        for (unsigned at = 0; at < desc; at += 8)
            t_st(vm, ring + desc * i + at, 8, desc == 32 || !at ? buf + 4096 * i + 128 * at : 0);
    wr(vm, RDBAL + QUEUE1 * queue, (uint32_t)ring);
    wr(vm, RDLEN + QUEUE1 * queue, SLOTS * desc);
    wr(vm, RDT + QUEUE1 * queue, (SLOTS - 1) * desc / 16);
}

static void open_tx(Vm *vm, unsigned queue)
{
    wr(vm, TDBAL + QUEUE1 * queue, TX_RING + 0x1000 * queue);
    wr(vm, TDLEN + QUEUE1 * queue, SLOTS * 16);
    wr(vm, TCTL, 2);
}

static unsigned phy(Vm *vm, unsigned r)
{
    wr(vm, MDIC, 2u << 26 | 1 << 21 | r << 16);
    check_eq(rd(vm, MDIC) >> 28, 1);
    return rd(vm, MDIC) & 0xffff;
}

static void test_identity(Vm *vm)
{
    Dev *d = setup(vm);
    unsigned sum = 0;

    check_eq(pci_config_read(PCI(d), 0, 4), 0x10d38086);
    check_eq(pci_config_read(PCI(d), 0x2c, 4), 0x8086);
    check_eq(pci_config_read(PCI(d), 0xe0, 1), 0x10);
    check_eq(pci_config_read(PCI(d), 0x144, 4), 0xffaabbcc); /* serial number */
    check_eq(pci_config_read(PCI(d), 0x148, 4), 0x525400ff);
    for (unsigned i = 0; i < 64; i++) {
        wr(vm, EERD, i << 2 | 1);
        check_eq(rd(vm, EERD) & 2, 2);
        sum += rd(vm, EERD) >> 16;
    }
    check_eq(sum & 0xffff, 0xbaba);
    check_eq(phy(vm, 2) << 16 | phy(vm, 3), 0x01410cb1);
    check_eq(phy(vm, 1) & 0x24, 0x24);
    wr(vm, MDIC, 1u << 26 | 1 << 21 | 22 << 16 | 3); /* another page */
    check_eq(phy(vm, 16), 0);
    check_eq(phy(vm, 2), 0x0141);
    check_eq(rd(vm, STATUS) & 0x80003, 0x80003);
    wr(vm, CTRL, 0x44); /* no more DMA */
    check_eq(rd(vm, STATUS) & 0x80000, 0);
    check_eq(rd(vm, SWSM) & 1, 0);
    check_eq(rd(vm, SWSM) & 1, 1);
    wr(vm, TIMINCA, 1u << 24 | 40 << 8);
    t_step(vm, 1000);
    check_eq(rd(vm, SYSTIM), 25 * 40 << 8);
}

static void test_send(Vm *vm)
{
    setup(vm);
    for (unsigned q = 0; q < 2; q++) {
        open_tx(vm, q);
        t_st(vm, TX_BUF + 0x1000 * q + 20, 1, 0x40 + q);
        t_st(vm, TX_RING + 0x1000 * q, 8, TX_BUF + 0x1000 * q);
        t_st(vm, TX_RING + 0x1000 * q + 8, 4, 70 | 9u << 24);
        t_st(vm, TX_RING + 0x1000 * q + 12, 4, 0);
    }
    wr(vm, TDT + QUEUE1, 1);
    check_eq(wire.n, 1);
    check_eq(wire.last[0][20], 0x41);
    check_eq(t_ld(vm, TX_RING + 0x1000 + 12, 1), 1);
    wr(vm, TDT, 1);
    check_eq(wire.n, 2);
    check_eq(wire.last[1][20], 0x40);
    check_eq(rd(vm, TDH) + rd(vm, TDH + QUEUE1), 2);
    wr(vm, IMS, 1);
    wr(vm, TIDV, 8); /* 8 us; a write with FPD ends them */
    rd(vm, ICR);
    t_st(vm, TX_RING + 16, 8, TX_BUF);
    t_st(vm, TX_RING + 24, 4, 70 | 0x89u << 24);
    wr(vm, TDT, 2);
    check(!t_pci_irqs());
    t_step(vm, 9 * US);
    check(t_pci_irqs());
    rd(vm, ICR);
    t_st(vm, TX_RING + 32, 8, TX_BUF);
    t_st(vm, TX_RING + 40, 4, 70 | 0x89u << 24);
    wr(vm, TDT, 3);
    check(!t_pci_irqs());
    wr(vm, TIDV, 1u << 31 | 8);
    check(t_pci_irqs());
    check_eq(rd(vm, TIDV), 8);
}

/* TCP from 66.9.149.187 port 2794 to 161.142.100.80 port 1766, as in the hash's published test vectors. */
static void from_wire(unsigned payload)
{
    uint8_t f[2000] = { [12] = 8, [14] = 0x45, [18] = 0x12, [19] = 0x34, [22] = 64, [23] = 6, [26] = 66, 9, 149, 187, 161, 142, 100, 80,
                        2794 >> 8, 2794 & 255, 1766 >> 8, 1766 & 255, [46] = 0x50, [47] = 0x10 };
    size_t len = 54 + payload;

    memcpy(f, me, 6);
    be_store(f + 16, 2, 40 + payload);
    be_store(f + 24, 2, net_fold(net_sum(f + 14, 20, 0)));
    if (payload)
        f[len - 1] = 0x77;
    be_store(f + 50, 2, net_fold(net_sum(f + 34, len - 34, net_sum(f + 26, 8, 6 + (uint32_t)(len - 34)))));
    net_send_flat(&wire.port, f, len);
}

static void test_extended(Vm *vm)
{
    setup(vm);
    wr(vm, RFCTL, 1 << 15);
    open_rx(vm, 0, 16);
    wr(vm, RCTL, 2 | 1 << 26);
    from_wire(100);
    check_eq(rd(vm, RDH), 1);
    check_eq(t_ld(vm, RING, 4), 0);
    check_eq(t_ld(vm, RING + 4, 2), 0x1234);             /* the packet's id */
    check_eq(t_ld(vm, RING + 8, 4), 1 | 2 | 0x20 | 0x40); /* done, whole, TCP and IP checked */
    check_eq(t_ld(vm, RING + 12, 4), 154);
    check_eq(t_ld(vm, BUF + 153, 1), 0x77);
    wr(vm, RCTL, 2 | 1 << 26 | 2u << 27); /* buffers of 2 K by FLXBUF */
    wr(vm, RXCSUM, 0);
    from_wire(1400);
    check_eq(t_ld(vm, RING + 16 + 8, 4), 7);
}

static void test_split(Vm *vm)
{
    setup(vm);
    wr(vm, RFCTL, 1 << 15);
    open_rx(vm, 0, 32);
    wr(vm, PSRCTL, 2 | 1 << 8 | 0 << 16 | 0 << 24); /* 256 bytes of header, then 1 K */
    wr(vm, RCTL, 2 | 0x400 | 1 << 26);
    from_wire(1000);
    check_eq(rd(vm, RDH), 2);
    check_eq(t_ld(vm, RING + 8, 4) & 3, 3);
    check_eq(t_ld(vm, RING + 12, 2), 54);
    check_eq(t_ld(vm, RING + 16, 8), 0x8000 | 54 | 1000 << 16);
    check_eq(t_ld(vm, BUF + 1024 + 999, 1), 0x77);
    from_wire(1400); /* the rest goes to the next one, which has no header */
    check_eq(rd(vm, RDH), 6);
    check_eq(t_ld(vm, RING + 32 + 8, 4), 1);
    check_eq(t_ld(vm, RING + 64 + 8, 4) & 3, 3);
    check_eq(t_ld(vm, RING + 64 + 12, 2), 0);
    check_eq(t_ld(vm, RING + 64 + 16, 8), 376 << 16);
    check_eq(t_ld(vm, BUF + 2 * 4096 + 1024 + 375, 1), 0x77);
    wr(vm, PSRCTL, 2); /* nowhere to put a payload */
    from_wire(1000);
    check_eq(rd(vm, RDH), 6);
}

static void test_hash(Vm *vm)
{
    static const uint8_t key[40] = { 0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
                                     0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa };

    setup_msix(vm);
    wr(vm, IMS, 3 << 20);
    wr(vm, RFCTL, 1 << 15);
    open_rx(vm, 0, 16);
    open_rx(vm, 1, 16);
    for (unsigned i = 0; i < 40; i += 4)
        wr(vm, RSSRK + i, (uint32_t)le_load(key + i, 4));
    wr(vm, RXCSUM, 0x2300);
    wr(vm, MRQC, 1 | 1 << 16);
    wr(vm, RCTL, 2);
    from_wire(10);
    check_eq(t_ld(vm, RING + 4, 4), 0x51ccc178);
    check_eq(t_ld(vm, RING, 4), 1); /* TCP over IPv4 */
    wr(vm, RETA + (0x78 & ~3), 0x80); /* its entry: queue 1 */
    from_wire(10);
    check_eq(rd(vm, RDH), 1);
    check_eq(rd(vm, RDH + QUEUE1), 1);
    check_eq(t_ld(vm, RING + 0x1000, 4), 0x101);
    wr(vm, MRQC, 1 | 1 << 17);
    from_wire(10);
    check_eq(t_ld(vm, RING + 16 + 4, 4), 0x323e8fc2);
    check(messages[0] && messages[1]);
}

static void test_vectors(Vm *vm)
{
    setup_msix(vm);
    wr(vm, EIAC, 0x1f << 20);
    wr(vm, IMS, 0x1f << 20 | 4);
    open_rx(vm, 0, 16);
    wr(vm, RCTL, 2);
    from_wire(0);
    check_eq(messages[0], 1);
    check(!t_pci_irqs());
    from_wire(0); /* its mask was cleared with it */
    check_eq(messages[0], 1);
    wr(vm, IMS, 1 << 20);
    check_eq(messages[0], 2);
    net_set_link(net_find(vm, "card"), false);
    check_eq(messages[4], 1);
    check_eq(rd(vm, ICR) & 0x81000004, 0x80000004);
    wr(vm, IAM, UINT32_MAX);
    wr(vm, CTRL_EXT, 1 << 24); /* a vector masks its own causes, and no others */
    wr(vm, EIAC, 0);
    wr(vm, IMC, 0x1f << 20);
    wr(vm, IMS, 1 << 24 | 1 << 21);
    check_eq(messages[4], 1);
    wr(vm, ICS, 1 << 24);
    check_eq(messages[4], 2);
    check_eq(rd(vm, IMS) >> 20 & 31, 2);
    wr(vm, CTRL_EXT, 0);
    wr(vm, EIAC, 0x1f << 20);
    wr(vm, EITR, 1000); /* 256 us */
    wr(vm, IMS, 1 << 20);
    wr(vm, ICS, 1 << 20);
    check_eq(messages[0], 3);
    wr(vm, IMS, 1 << 20);
    wr(vm, ICS, 1 << 20);
    t_step(vm, 200 * US);
    check_eq(messages[0], 3);
    t_step(vm, 60 * US);
    check_eq(messages[0], 4);
}

static void test_causes(Vm *vm)
{
    setup(vm);
    wr(vm, IMS, 4);
    wr(vm, ICS, 0x10);
    check_eq(rd(vm, ICR), 0x10); /* nothing was told: a read leaves it */
    check_eq(rd(vm, ICR), 0x10);
    wr(vm, ICS, 4);
    check(t_pci_irqs());
    wr(vm, IAM, 4);
    wr(vm, CTRL_EXT, 1 << 27);
    check_eq(rd(vm, ICR), 0x80000014);
    check_eq(rd(vm, IMS), 0);
    wr(vm, ICS, 4);
    check(!t_pci_irqs());
    check_eq(rd(vm, ICR), 4); /* all masked: a read clears */
    check_eq(rd(vm, ICR), 0);
}

TEST("e1000e/identity", test_identity);
TEST("e1000e/send", test_send);
TEST("e1000e/extended", test_extended);
TEST("e1000e/split", test_split);
TEST("e1000e/hash", test_hash);
TEST("e1000e/vectors", test_vectors);
TEST("e1000e/causes", test_causes);
