/* tests/device/ahci.c - a disk and a CD drive behind an AHCI adapter. */
#include "tests/device/pcihost.h"
#include "core/state.h"
#include <errno.h>

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

static bool is_set(void *arg)
{
    Wait *w = arg;

    return t_ld(w->vm, ABAR + w->reg, 4) & w->mask;
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

/* ---- queued commands ---- */
enum { CI = 0x38, SACT = 0x34, IS = 0x10, TFD = 0x20, SDBS = 8, TFES = 1 << 30 };

/* READ or WRITE FPDMA QUEUED of 4 KiB at sector 10 * n into slot n, not yet issued. */
static void queued(Vm *vm, unsigned n, uint8_t command, unsigned sector)
{
    slot(vm, 0, n, (uint8_t[20]){ 0x27, 0x80, command, 8, (uint8_t)sector, (uint8_t)(sector >> 8), (uint8_t)(sector >> 16), 0x40, [12] = (uint8_t)(n << 3) }, 4096);
}

static void issue(Vm *vm, uint32_t slots)
{
    t_st(vm, at(0, SACT), 4, slots);
    t_st(vm, at(0, CI), 4, slots);
}

static bool read_back(Vm *vm, unsigned n, unsigned sector) { return t_ld(vm, DATA + 0x8000ull * n + 7 * 512, 4) == sector + 7; }

static void read_log(Vm *vm)
{
    t_st(vm, at(0, 0x18), 4, 0x16);
    t_st(vm, at(0, 0x18), 4, 0x17);
    t_st(vm, at(0, IS), 4, UINT32_MAX);
    slot(vm, 0, 0, (uint8_t[20]){ 0x27, 0x80, 0x2f, [4] = 0x10, [12] = 1 }, 512);
    t_st(vm, at(0, CI), 4, 1);
    wait_clear(vm, 0, CI, 1);
}

static uint8_t log_byte(Vm *vm, unsigned i) { return (uint8_t)t_ld(vm, DATA + i, 1); }

/* All 32 are on the disk at once, and each finishes by its bit of a Set Device Bits FIS. */
static void test_ncq(Vm *vm)
{
    Disk *disk;

    machine(vm);
    disk = vm_lookup(vm, "drive", "hd0");
    for (unsigned i = 0; i < 32; i++)
        queued(vm, i, 0x60, 100 * i);
    issue(vm, UINT32_MAX);
    check_eq(disk_in_flight(disk), 32);
    check_eq(t_ld(vm, at(0, CI), 4), 0);
    check_eq(t_ld(vm, at(0, SACT), 4), UINT32_MAX);
    check_eq(t_ld(vm, FB + 0x40, 4), 0x00500034); /* taken: a register FIS without interrupt */
    check_eq(t_ld(vm, at(0, IS), 4) & 9, 0);
    wait_clear(vm, 0, SACT, UINT32_MAX);
    check_eq(t_ld(vm, at(0, SACT), 4), 0);
    for (unsigned i = 0; i < 32; i++)
        check(read_back(vm, i, 100 * i));
    check_eq(t_ld(vm, FB + 0x58, 4), 0x005040a1);
    check_eq(t_ld(vm, at(0, IS), 4) & SDBS, SDBS);
    check_eq(t_ld(vm, at(0, TFD), 4), 0x50);
}

static int refuse(void *o, uint64_t off, uint64_t len) { return off == 500 * 512 ? -EIO : 0; }

/* One fails on the disk: the drive takes nothing but its log, then it goes on. */
static void test_ncq_error(Vm *vm)
{
    Disk *disk;
    uint8_t sum = 0;

    machine(vm);
    disk = vm_lookup(vm, "drive", "hd0");
    disk_set_guard(disk, &(DiskGuard){ .before = refuse });
    queued(vm, 5, 0x61, 500);
    issue(vm, 1u << 5);
    t_loop(vm, is_set, &(Wait){ vm, 0x100 + IS, TFES });
    check_eq(t_ld(vm, at(0, IS), 4) & TFES, TFES);
    check_eq(t_ld(vm, at(0, SACT), 4), 1u << 5);
    check_eq(t_ld(vm, at(0, TFD), 4), 0x0451);
    t_st(vm, at(0, 0x18), 4, 0x16);
    t_st(vm, at(0, 0x18), 4, 0x17);
    t_st(vm, at(0, IS), 4, UINT32_MAX);
    slot(vm, 0, 3, (uint8_t[20]){ 0x27, 0x80, 0xec }, 512);
    t_st(vm, at(0, CI), 4, 8);
    check_eq(t_ld(vm, at(0, IS), 4) & TFES, TFES);
    read_log(vm);
    for (unsigned i = 0; i < 512; i++)
        sum = (uint8_t)(sum + log_byte(vm, i));
    check_eq(sum, 0);
    check_eq(log_byte(vm, 0), 5);
    check_eq(log_byte(vm, 2), 0x51);
    check_eq(log_byte(vm, 3), 4);
    check_eq(log_byte(vm, 4) | log_byte(vm, 5) << 8, 500);
    check_eq(t_ld(vm, FB + 0x58 + 4, 4), UINT32_MAX);
    queued(vm, 1, 0x60, 77);
    issue(vm, 2);
    wait_clear(vm, 0, SACT, 2);
    check(read_back(vm, 1, 77));
}

/* Beyond the end, beside queued ones, twice the same tag: refused, and the log says which. */
static void test_ncq_refused(Vm *vm)
{
    machine(vm);
    queued(vm, 2, 0x60, 4 * 2048);
    queued(vm, 1, 0x60, 10);
    issue(vm, 6);
    check_eq(t_ld(vm, at(0, TFD), 4), 0x1051);
    check_eq(t_ld(vm, at(0, SACT), 4), 6);
    read_log(vm);
    check_eq(log_byte(vm, 0), 2);
    check_eq(log_byte(vm, 3), 0x10);
    queued(vm, 1, 0x60, 10);
    issue(vm, 2);
    slot(vm, 0, 3, (uint8_t[20]){ 0x27, 0x80, 0xec }, 512);
    t_st(vm, at(0, CI), 4, 8);
    check_eq(t_ld(vm, at(0, CI), 4), 8);
    check_eq(t_ld(vm, FB + 0x40, 4), 0x04514034);
    read_log(vm);
    check_eq(log_byte(vm, 0), 0x80);
    queued(vm, 1, 0x60, 10);
    issue(vm, 2);
    issue(vm, 2);
    check_eq(t_ld(vm, at(0, TFD), 4), 0x0451);
    read_log(vm);
    check_eq(log_byte(vm, 0), 1);
}

/* Saved in flight, loaded after the end: all are done again. A reset forgets them and they touch memory no more. */
static void test_ncq_state(Vm *vm)
{
    Disk *disk;
    GByteArray *s;
    Dev *d = machine(vm);

    disk = vm_lookup(vm, "drive", "hd0");
    for (unsigned i = 0; i < 4; i++)
        queued(vm, i, 0x60, 10 * i);
    issue(vm, 15);
    s = dev_save(d);
    wait_clear(vm, 0, SACT, 15);
    for (unsigned i = 0; i < 4; i++)
        t_st(vm, DATA + 0x8000ull * i + 7 * 512, 4, 0);
    check(dev_load(d, s->data, s->len, &abort_on_error));
    check_eq(t_ld(vm, at(0, SACT), 4), 15);
    check_eq(disk_in_flight(disk), 4);
    wait_clear(vm, 0, SACT, 15);
    for (unsigned i = 0; i < 4; i++)
        check(read_back(vm, i, 10 * i));
    issue(vm, 15);
    t_st(vm, at(0, 0x18), 4, 0x16);
    check_eq(t_ld(vm, at(0, SACT), 4), 0);
    check_eq(disk_in_flight(disk), 0);
    t_st(vm, at(0, IS), 4, UINT32_MAX);
    t_loop(vm, is_clear, &(Wait){ vm, 0x100 + CI, UINT32_MAX });
    check_eq(t_ld(vm, at(0, IS), 4), 0);
    g_byte_array_unref(s);
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
TEST("ahci/ncq-error", test_ncq_error);
TEST("ahci/ncq-refused", test_ncq_refused);
TEST("ahci/ncq-state", test_ncq_state);
TEST("ahci/packet", test_packet);
TEST("ahci/short-prd", test_short);
TEST("ahci/hostile", test_hostile);
