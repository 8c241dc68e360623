/* tests/device/virtio-ring.c - packed rings and the legacy interface, by a driver of our own for virtio-blk and virtio-rng. */
#include "tests/device/pcihost.h"

enum { BAR = 0xe0000000, IO = 0xc000, SIZE = 4, RING = 0x1000, DRIVER = 0x2000, DEVICE = 0x3000, HEAD = 0x4000, DATA = 0x10000, INDIRECT = 0x5000 };
enum { NEXT = 1, WRITE = 2, INDIRECT_F = 4, AVAIL = 1 << 7, USED = 1 << 15 };

/* ---- packed ---- */
static unsigned slot;
static bool lap; /* odd */

static void open_packed(Vm *vm, const char *device, uint32_t low)
{
    t_enable(dev_plug(vm, NULL, device, &abort_on_error), 4, BAR);
    slot = 0;
    lap = false;
    t_st(vm, BAR + 0x14, 1, 3);
    t_st(vm, BAR + 8, 4, 0);
    t_st(vm, BAR + 0xc, 4, low);
    t_st(vm, BAR + 8, 4, 1);
    t_st(vm, BAR + 0xc, 4, 1 | 4);
    t_st(vm, BAR + 0x14, 1, 11);
    check_eq(t_ld(vm, BAR + 0x14, 1), 11);
    t_st(vm, BAR + 0x16, 2, 0);
    t_st(vm, BAR + 0x18, 2, SIZE);
    t_st(vm, BAR + 0x20, 8, RING);
    t_st(vm, BAR + 0x28, 8, DRIVER);
    t_st(vm, BAR + 0x30, 8, DEVICE);
    t_st(vm, BAR + 0x1c, 2, 1);
    t_st(vm, BAR + 0x14, 1, 15);
}

static unsigned flags_at(Vm *vm, unsigned i) { return (unsigned)t_ld(vm, RING + 16 * i + 14, 2); }

/* One descriptor in the next slot; returns the slot. */
static unsigned add(Vm *vm, uint64_t addr, uint32_t len, unsigned id, unsigned flags)
{
    unsigned i = slot;

    t_st(vm, RING + 16 * i, 8, addr);
    t_st(vm, RING + 16 * i + 8, 4, len);
    t_st(vm, RING + 16 * i + 12, 2, id);
    t_st(vm, RING + 16 * i + 14, 2, flags | (lap ? USED : AVAIL));
    slot = (slot + 1) % SIZE;
    lap ^= !slot;
    return i;
}

static void kick(Vm *vm) { t_st(vm, BAR + 0x3000, 2, 0); }

typedef struct Use {
    Vm *vm;
    unsigned slot;
    bool lap;
} Use;

static bool used(void *arg)
{
    const Use *u = arg;
    unsigned f = flags_at(u->vm, u->slot);

    return !!(f & AVAIL) != u->lap && !!(f & USED) != u->lap;
}

static void wait_used(Vm *vm, unsigned at, bool odd, unsigned id, uint32_t len)
{
    Use u = { vm, at, odd };

    t_loop(vm, used, &u);
    check(used(&u));
    check_eq(t_ld(vm, RING + 16 * at + 12, 2), id);
    check_eq(t_ld(vm, RING + 16 * at + 8, 4), len);
}

static void header(Vm *vm, uint32_t type, uint64_t sector)
{
    t_st(vm, HEAD, 8, type);
    t_st(vm, HEAD + 8, 8, sector);
    t_st(vm, HEAD + 16, 1, 0xee);
}

/* Chains of three in a ring of four: each lap begins elsewhere. */
static void test_packed(Vm *vm)
{
    t_pci(vm);
    t_disk(vm, "d0", 4, NULL);
    open_packed(vm, "virtio-blk-pci,drive=d0,packed=on", 0);
    for (unsigned i = 0; i < 9; i++) {
        unsigned first = slot;
        bool odd = lap;

        header(vm, 0, 20 + i);
        add(vm, HEAD, 16, 7, NEXT);
        add(vm, DATA, 512, 8, NEXT | WRITE);
        add(vm, HEAD + 16, 1, 40 + i, WRITE);
        kick(vm);
        wait_used(vm, first, odd, 40 + i, 513);
        check_eq(t_ld(vm, HEAD + 16, 1), 0);
        check_eq(t_ld(vm, DATA, 4), 20 + i);
        check(t_pci_irqs());
        t_ld(vm, BAR + 0x1000, 1);
    }
}

static void indirect_desc(Vm *vm, unsigned i, uint64_t addr, uint32_t len, unsigned flags)
{
    t_st(vm, INDIRECT + 16 * i, 8, addr);
    t_st(vm, INDIRECT + 16 * i + 8, 4, len);
    t_st(vm, INDIRECT + 16 * i + 12, 4, (uint64_t)flags << 16);
}

static void test_packed_indirect(Vm *vm)
{
    t_pci(vm);
    t_disk(vm, "d0", 4, NULL);
    open_packed(vm, "virtio-blk-pci,drive=d0,packed=on", 1u << 28);
    header(vm, 0, 33);
    indirect_desc(vm, 0, HEAD, 16, 0);
    indirect_desc(vm, 1, DATA, 512, WRITE);
    indirect_desc(vm, 2, HEAD + 16, 1, WRITE);
    add(vm, INDIRECT, 48, 5, INDIRECT_F);
    kick(vm);
    wait_used(vm, 0, false, 5, 513);
    check_eq(t_ld(vm, DATA, 4), 33);
}

/* Interrupts off, on, and from a certain slot on; the device says where it wants its next kick. */
static void test_packed_events(Vm *vm)
{
    t_pci(vm);
    open_packed(vm, "virtio-rng-pci,packed=on", 1u << 29);
    t_st(vm, DRIVER + 2, 2, 1);
    add(vm, DATA, 8, 0, WRITE);
    kick(vm);
    wait_used(vm, 0, false, 0, 8);
    check(!t_pci_irqs());
    check_eq(t_ld(vm, DEVICE, 4), 2u << 16 | 0x8001);
    t_st(vm, DRIVER, 4, 2u << 16 | 0x8002); /* when slot 2 of this lap is used */
    add(vm, DATA, 8, 1, WRITE);
    kick(vm);
    check(!t_pci_irqs());
    add(vm, DATA, 8, 2, WRITE);
    kick(vm);
    check(t_pci_irqs());
    t_ld(vm, BAR + 0x1000, 1);
    t_st(vm, DRIVER, 4, 2u << 16 | 0x0000); /* slot 0 of the next */
    add(vm, DATA, 8, 3, WRITE);
    kick(vm);
    check(!t_pci_irqs());
    add(vm, DATA, 8, 4, WRITE);
    kick(vm);
    wait_used(vm, 0, true, 4, 8);
    check(t_pci_irqs());
    check_eq(t_ld(vm, DEVICE, 4), 2u << 16 | 0x0001);
}

static void test_packed_loop(Vm *vm)
{
    t_pci(vm);
    open_packed(vm, "virtio-rng-pci,packed=on", 0);
    for (unsigned i = 0; i < SIZE; i++)
        add(vm, DATA, 8, i, WRITE | NEXT);
    kick(vm);
    check(t_ld(vm, BAR + 0x14, 1) & 0x40);
}

/* ---- legacy ---- */
static Dev *open_legacy(Vm *vm, const char *device)
{
    Dev *d = dev_plug(vm, NULL, device, &abort_on_error);

    pci_config_write(PCI(d), 0x10, IO, 4);
    pci_config_write(PCI(d), 4, 7, 2);
    return d;
}

static bool legacy_used(void *vm) { return t_ld(vm, 0x22000 + 2, 2) == 1; }

/* 256 descriptors at 20000h, the available ring behind them, the used ring at the next page. */
static void test_legacy(Vm *vm)
{
    Dev *d;

    t_pci(vm);
    t_disk(vm, "d0", 4, NULL);
    d = open_legacy(vm, "virtio-blk-pci,drive=d0");
    check_eq(pci_config_read(PCI(d), 0, 4), 0x10011af4);
    check_eq(pci_config_read(PCI(d), 8, 1), 0);
    check_eq(pci_config_read(PCI(d), 0x2e, 2), 2);
    pci_config_write(PCI(d), 4, 1, 2); /* the driver does not switch bus master on */
    t_out(vm, IO + 18, 1, 3);
    check(t_in(vm, IO, 4) & 1u << 28);
    t_out(vm, IO + 4, 4, ~0u);
    check_eq(t_in(vm, IO + 4, 4), t_in(vm, IO, 4)); /* only what is offered */
    t_out(vm, IO + 4, 4, 0);
    t_out(vm, IO + 14, 2, 0);
    check_eq(t_in(vm, IO + 12, 2), 256);
    check_eq(t_in(vm, IO + 20, 4), 8192);
    t_out(vm, IO + 8, 4, 0x20);
    check_eq(t_in(vm, IO + 8, 4), 0x20);
    header(vm, 0, 12);
    for (unsigned i = 0; i < 3; i++) {
        t_st(vm, 0x20000 + 16 * i, 8, (const uint32_t[]){ HEAD, DATA, HEAD + 16 }[i]);
        t_st(vm, 0x20000 + 16 * i + 8, 4, (const uint32_t[]){ 16, 512, 1 }[i]);
        t_st(vm, 0x20000 + 16 * i + 12, 4, (i < 2 ? NEXT : 0) | (i ? WRITE : 0) | (i + 1) << 16);
    }
    t_st(vm, 0x21000, 8, 1ull << 16);
    t_out(vm, IO + 16, 2, 0); /* before DRIVER_OK, as old drivers do */
    t_loop(vm, legacy_used, vm);
    check(legacy_used(vm));
    check_eq(t_ld(vm, DATA, 4), 12);
    check(t_pci_irqs());
    check_eq(t_in(vm, IO + 19, 1), 1);
    check(!t_pci_irqs());
    t_out(vm, IO + 18, 1, 0);
    check_eq(t_in(vm, IO + 8, 4), 0);
}

static void test_forms(Vm *vm)
{
    Error *err = NULL;

    t_pci(vm);
    check_eq(pci_config_read(PCI(dev_plug(vm, NULL, "virtio-rng-pci-non-transitional", &abort_on_error)), 0, 4), 0x10441af4);
    check_eq(pci_config_read(PCI(dev_plug(vm, NULL, "virtio-rng-pci-transitional", &abort_on_error)), 0, 4), 0x10051af4);
    check_eq(pci_config_read(PCI(dev_plug(vm, NULL, "virtio-rng,disable-legacy=on", &abort_on_error)), 0, 4), 0x10441af4);
    check(!dev_plug(vm, NULL, "virtio-rng,disable-legacy=on,disable-modern=on", &err));
    error_free(err);
}

static void test_queues(Vm *vm)
{
    t_pci(vm);
    t_disk(vm, "d0", 4, NULL);
    t_enable(dev_plug(vm, NULL, "virtio-blk-pci,drive=d0,num-queues=5", &abort_on_error), 4, BAR);
    check_eq(t_ld(vm, BAR + 0x12, 2), 5);
    check_eq(t_ld(vm, BAR + 0x2000 + 34, 2), 5);
    check(t_ld(vm, BAR + 4, 4) & 1 << 12);
    t_st(vm, BAR + 0x10, 2, 5);
    check_eq(t_ld(vm, BAR + 0x10, 2), 5);
    t_st(vm, BAR + 0x10, 2, 6); /* there is no such vector */
    check_eq(t_ld(vm, BAR + 0x10, 2), 0xffff);
    t_st(vm, BAR + 0x16, 2, 5); /* nor such a queue */
    check_eq(t_ld(vm, BAR + 0x18, 2), 0);
}

TEST("virtio-ring/packed", test_packed);
TEST("virtio-ring/packed-indirect", test_packed_indirect);
TEST("virtio-ring/packed-events", test_packed_events);
TEST("virtio-ring/packed-loop", test_packed_loop);
TEST("virtio-ring/legacy", test_legacy);
TEST("virtio-ring/forms", test_forms);
TEST("virtio-ring/queues", test_queues);
