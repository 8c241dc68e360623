/* tests/device/ahci.c - a disk and a CD drive behind an AHCI adapter. */
#include "tests/device/pcihost.h"

enum { ABAR = 0xe0000000, CLB = 0x10000, FB = 0x11000, TABLE0 = 0x20000, DATA = 0x40000 };

typedef struct Wait {
    Vm *vm;
    unsigned reg;
    uint32_t mask;
} Wait;

static uint64_t at(unsigned port, unsigned reg) { return ABAR + 0x100ull + 0x80ull * port + reg; }

static bool is_clear(void *arg)
{
    Wait *w = arg;

    return !(t_ld(w->vm, ABAR + w->reg, 4) & w->mask);
}

static void wait_clear(Vm *vm, unsigned port, unsigned reg, uint32_t mask)
{
    Wait w = { vm, (unsigned)(at(port, reg) - ABAR), mask };

    t_loop(vm, is_clear, &w);
}

static Dev *machine(Vm *vm)
{
    Dev *d;

    t_pci(vm);
    t_disk(vm, "hd0", 4, NULL);
    t_disk(vm, "cd0", 4, "media=cdrom");
    d = dev_plug(vm, NULL, "ahci", &abort_on_error);
    t_enable(d, 5, ABAR);
    dev_plug(vm, NULL, "ide-hd,bus=ide.0,drive=hd0", &abort_on_error);
    dev_plug(vm, NULL, "ide-cd,bus=ide.2,drive=cd0", &abort_on_error);
    t_st(vm, ABAR + 4, 4, 0x80000002);
    for (unsigned p = 0; p < 3; p += 2) {
        t_st(vm, at(p, 0), 4, CLB + p * 0x400);
        t_st(vm, at(p, 8), 4, FB + p * 0x400);
        t_st(vm, at(p, 0x14), 4, 0xff);
        t_st(vm, at(p, 0x18), 4, 0x16);
        t_st(vm, at(p, 0x18), 4, 0x17);
    }
    return d;
}

static void slot(Vm *vm, unsigned port, unsigned n, const uint8_t *fis, unsigned bytes)
{
    uint64_t h = CLB + port * 0x400 + 32 * n, t = TABLE0 + 0x1000 * n;

    t_st(vm, h, 4, 5 | 1 << 16);
    t_st(vm, h + 8, 8, t);
    as_write(vm->mem, t, fis, 20, MEM_CPU);
    t_st(vm, t + 0x80, 8, DATA + 0x8000 * n);
    t_st(vm, t + 0x8c, 4, bytes - 1);
}

static void test_identify(Vm *vm)
{
    machine(vm);
    check_eq(t_ld(vm, at(0, 0x28), 4), 0x113);
    check_eq(t_ld(vm, at(1, 0x28), 4), 0);
    check_eq(t_ld(vm, at(0, 0x24), 4), 0x101);
    check_eq(t_ld(vm, at(2, 0x24), 4), 0xeb140101);
    slot(vm, 0, 3, (uint8_t[20]){ 0x27, 0x80, 0xec }, 512);
    t_st(vm, at(0, 0x38), 4, 8);
    wait_clear(vm, 0, 0x38, 8);
    check_eq(t_ld(vm, DATA + 0x8000 * 3 + 120, 4), 8192);
    check_eq(t_ld(vm, CLB + 3 * 32 + 4, 4), 512);
    check_eq(t_ld(vm, FB + 0x40, 1), 0x34);
    check(t_pci_irqs());
    t_st(vm, at(0, 0x10), 4, UINT32_MAX);
    t_st(vm, ABAR + 8, 4, 1);
    check(!t_pci_irqs());
}

static void test_ncq(Vm *vm)
{
    machine(vm);
    for (unsigned i = 0; i < 4; i++)
        slot(vm, 0, i, (uint8_t[20]){ 0x27, 0x80, 0x60, 8, (uint8_t)(10 * i), 0, 0, 0x40, [12] = (uint8_t)(i << 3) }, 4096);
    t_st(vm, at(0, 0x34), 4, 15);
    t_st(vm, at(0, 0x38), 4, 15);
    wait_clear(vm, 0, 0x34, 15);
    check_eq(t_ld(vm, at(0, 0x34), 4), 0);
    check_eq(t_ld(vm, at(0, 0x38), 4), 0);
    for (unsigned i = 0; i < 4; i++)
        check_eq(t_ld(vm, DATA + 0x8000 * i + 7 * 512, 4), 10 * i + 7);
    check_eq(t_ld(vm, FB + 0x58, 1), 0xa1);
}

static void test_packet(Vm *vm)
{
    machine(vm);
    slot(vm, 2, 0, (uint8_t[20]){ 0x27, 0x80, 0xa0, 1 }, 4096);
    as_write(vm->mem, TABLE0 + 0x40, (uint8_t[12]){ 0x28, 0, 0, 0, 0, 5, 0, 0, 2 }, 12, MEM_CPU);
    t_st(vm, at(2, 0x38), 4, 1);
    wait_clear(vm, 2, 0x38, 1);
    check_eq(t_ld(vm, DATA, 4), 20);
    check_eq(t_ld(vm, DATA + 2048, 4), 24);
}

/* Fewer PRDs than data: an error, and ST off and on recovers. */
static void test_short(Vm *vm)
{
    Wait w = { vm, 0x180 - 0x60, 0x80 };

    machine(vm);
    slot(vm, 0, 0, (uint8_t[20]){ 0x27, 0x80, 0x25, 0, 1, 0, 0, 0x40, [12] = 4 }, 512);
    t_st(vm, at(0, 0x38), 4, 1);
    t_loop(vm, is_clear, &w);
    check_eq(t_ld(vm, at(0, 0x10), 4) >> 30, 1);
    check_eq(t_ld(vm, at(0, 0x38), 4), 1);
    t_st(vm, at(0, 0x18), 4, 0x16);
    t_st(vm, at(0, 0x18), 4, 0x17);
    slot(vm, 0, 0, (uint8_t[20]){ 0x27, 0x80, 0x25, 0, 1, 0, 0, 0x40, [12] = 1 }, 512);
    t_st(vm, at(0, 0x38), 4, 1);
    wait_clear(vm, 0, 0x38, 1);
    check_eq(t_ld(vm, DATA, 4), 1);
}

/* A port whose lists lie nowhere stops with a host bus error. */
static void test_hostile(Vm *vm)
{
    machine(vm);
    t_st(vm, at(0, 0x18), 4, 0x16);
    t_st(vm, at(0, 0), 4, 0xf0000000);
    t_st(vm, at(0, 0x18), 4, 0x17);
    t_st(vm, at(0, 0x38), 4, 0xff);
    check(t_ld(vm, at(0, 0x10), 4) & 1u << 28);
}

TEST("ahci/identify", test_identify);
TEST("ahci/ncq", test_ncq);
TEST("ahci/packet", test_packet);
TEST("ahci/short-prd", test_short);
TEST("ahci/hostile", test_hostile);
