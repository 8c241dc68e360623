/* tests/device/ide.c - a disk and a CD drive behind piix3-ide, as a driver of 1995 would use them. */
#include "tests/device/pcihost.h"

enum { FILE0 = 0x1f0, FILE1 = 0x170, BM = 0xc000, PRD = 0x1000, DATA = 0x10000 };

typedef struct Wait {
    Vm *vm;
    unsigned port;
} Wait;

static bool not_busy(void *arg)
{
    Wait *w = arg;

    return !(t_in(w->vm, w->port + 0x206, 1) & 0x80);
}

static unsigned status(Vm *vm, unsigned port)
{
    Wait w = { vm, port };

    t_loop(vm, not_busy, &w);
    return (unsigned)t_in(vm, port + 7, 1);
}

static Dev *machine_with(Vm *vm, const char *more)
{
    g_autofree char *disk = g_strdup_printf("ide-hd,bus=ide.0,drive=hd0,serial=S1%s", more);
    Dev *d;

    t_pci(vm);
    t_disk(vm, "hd0", 4, NULL);
    t_disk(vm, "cd0", 4, "media=cdrom");
    d = dev_plug(vm, NULL, "piix3-ide", &abort_on_error);
    t_enable(d, 4, BM);
    dev_plug(vm, NULL, disk, &abort_on_error);
    dev_plug(vm, NULL, "ide-cd,bus=ide.1,drive=cd0", &abort_on_error);
    return d;
}

static Dev *machine(Vm *vm) { return machine_with(vm, ""); }

static unsigned command(Vm *vm, unsigned lba, unsigned count, unsigned cmd)
{
    t_out(vm, FILE0 + 6, 1, 0xe0 | lba >> 24);
    t_out(vm, FILE0 + 2, 1, count);
    t_out(vm, FILE0 + 3, 1, lba);
    t_out(vm, FILE0 + 4, 1, lba >> 8);
    t_out(vm, FILE0 + 5, 1, lba >> 16);
    t_out(vm, FILE0 + 7, 1, cmd);
    return status(vm, FILE0);
}

static uint32_t sector(Vm *vm)
{
    uint32_t first = (uint32_t)t_in(vm, FILE0, 4);

    for (unsigned i = 0; i < 254; i++)
        t_in(vm, FILE0, 2);
    return first;
}

static void identify(Vm *vm, uint16_t *id)
{
    check_eq(command(vm, 0, 0, 0xec), 0x58);
    for (unsigned i = 0; i < 256; i++)
        id[i] = (uint16_t)t_in(vm, FILE0, 2);
}

/* ACS-4 section 9.11. */
static void test_sizes(Vm *vm)
{
    uint16_t id[256];

    machine_with(vm, ",physical_block_size=4096");
    identify(vm, id);
    check_eq(id[60] | (uint32_t)id[61] << 16, 8192);
    check_eq(id[106], 0x6003);
    check_eq(id[209], 0x4000);
    check_eq(id[169], 1);
}

static void test_no_trim(Vm *vm)
{
    uint16_t id[256];

    machine_with(vm, ",discard_granularity=0");
    identify(vm, id);
    check_eq(id[106], 0x4000);
    check_eq(id[169] | id[69], 0);
    t_out(vm, FILE0 + 1, 1, 1);
    check_eq(command(vm, 0, 1, 0x06), 0x51);
    check_eq(t_in(vm, FILE0 + 1, 1), 4);
}

static void test_wrong_sizes(Vm *vm)
{
    static const char *const wrong[][2] = {
        { "logical_block_size=4096", "logical_block_size=4096: must be 512 for a device on an IDE bus" },
        { "discard_granularity=4096", "discard_granularity=4096: must be 512, or 0, for a device on an IDE bus" },
        { "physical_block_size=5000", "physical_block_size=5000: must be a power of two from 512 to 2097152" },
    };

    machine(vm);
    t_disk(vm, "hd1", 4, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autofree char *text = g_strdup_printf("ide-hd,drive=hd1,%s", wrong[i][0]);

        t_refused(vm, NULL, text, wrong[i][1]);
    }
}

static void test_identify(Vm *vm)
{
    uint16_t id[256];

    machine(vm);
    check_eq(t_in(vm, FILE0 + 7, 1), 0x50);
    identify(vm, id);
    check_eq(id[60] | (uint32_t)id[61] << 16, 8192);
    check_eq(id[10], 'S' << 8 | '1');
    check_eq(status(vm, FILE0), 0x50);
}

static void test_pio(Vm *vm)
{
    Dev *d = machine(vm);

    check_eq(command(vm, 100, 3, 0x20), 0x58);
    for (unsigned i = 0; i < 3; i++)
        check_eq(sector(vm), 100 + i);
    check_eq(status(vm, FILE0), 0x50);
    check(!d->out[0].level);
    check_eq(command(vm, 5, 2, 0x30), 0x58);
    for (unsigned i = 0; i < 512; i++)
        t_out(vm, FILE0, 2, i + 7);
    check_eq(status(vm, FILE0), 0x50);
    check_eq(command(vm, 6, 1, 0x20), 0x58);
    check_eq(sector(vm) & 0xffff, 256 + 7);
    check_eq(command(vm, 8190, 3, 0x20), 0x51); /* beyond the end */
    check_eq(t_in(vm, FILE0 + 1, 1), 0x10);
}

static bool irq_is_high(void *d) { return ((Dev *)d)->out[0].level; }

static void test_dma(Vm *vm)
{
    Dev *d = machine(vm);

    t_st(vm, PRD, 4, DATA);
    t_st(vm, PRD + 4, 4, 1024);
    t_st(vm, PRD + 8, 4, DATA + 0x2000);
    t_st(vm, PRD + 12, 4, 0x80000000 | 1024);
    t_out(vm, BM + 4, 4, PRD);
    t_out(vm, BM, 1, 8);
    command(vm, 200, 4, 0xc8);
    t_out(vm, BM, 1, 9);
    t_loop(vm, irq_is_high, d);
    check(d->out[0].level);
    check_eq(t_in(vm, BM + 2, 1) & 7, 4);
    check_eq(status(vm, FILE0), 0x50);
    check_eq(t_ld(vm, DATA + 512, 4), 201);
    check_eq(t_ld(vm, DATA + 0x2000, 4), 202);
    t_out(vm, BM, 1, 0);
    t_out(vm, BM + 2, 1, 6);
    check_eq(t_in(vm, BM + 2, 1) & 7, 0);
}

/* A PRD table that ends too early hurts nobody. */
static void test_short_prd(Vm *vm)
{
    machine(vm);
    t_st(vm, PRD, 4, DATA);
    t_st(vm, PRD + 4, 4, 0x80000000 | 512);
    t_out(vm, BM + 4, 4, PRD);
    t_out(vm, BM, 1, 9);
    command(vm, 200, 4, 0xc8);
    check_eq(t_in(vm, BM + 2, 1) & 3, 2);
    t_out(vm, FILE0 + 0x206, 1, 4);
    t_out(vm, FILE0 + 0x206, 1, 0);
    check_eq(status(vm, FILE0), 0x50);
}

static unsigned packet(Vm *vm, const uint8_t *cdb, uint8_t *out, unsigned max)
{
    unsigned got = 0, st;

    t_out(vm, FILE1 + 6, 1, 0xa0);
    t_out(vm, FILE1 + 1, 1, 0);
    t_out(vm, FILE1 + 4, 1, 0xfe);
    t_out(vm, FILE1 + 5, 1, 0xff);
    t_out(vm, FILE1 + 7, 1, 0xa0);
    check_eq(status(vm, FILE1) & 0x88, 0x08);
    for (unsigned i = 0; i < 12; i += 2)
        t_out(vm, FILE1, 2, le16_load(cdb + i));
    while ((st = status(vm, FILE1)) & 8) {
        unsigned n = (unsigned)(t_in(vm, FILE1 + 4, 1) | t_in(vm, FILE1 + 5, 1) << 8);

        for (unsigned i = 0; i < n; i += 2, got += 2) {
            unsigned v = (unsigned)t_in(vm, FILE1, 2);

            if (got + 2 <= max)
                le16_store(out + got, (uint16_t)v);
        }
    }
    return st & 1 ? 0x10000 | (unsigned)t_in(vm, FILE1 + 1, 1) : got;
}

static void test_cd(Vm *vm)
{
    uint8_t b[8192];

    machine(vm);
    check_eq(t_in(vm, FILE1 + 4, 1) | t_in(vm, FILE1 + 5, 1) << 8, 0xeb14);
    check_eq(packet(vm, (uint8_t[12]){ 0x12, 0, 0, 0, 36 }, b, 36), 36);
    check_eq(b[0], 5);
    check_eq(packet(vm, (uint8_t[12]){ 0x25 }, b, 8), 8);
    check_eq(be32_load(b), 2047);
    check_eq(packet(vm, (uint8_t[12]){ 0x28, 0, 0, 0, 0, 16, 0, 0, 3 }, b, sizeof(b)), 3 * 2048);
    check_eq(le32_load(b), 64);
    check_eq(le32_load(b + 2 * 2048 + 512), 73);
    check_eq(packet(vm, (uint8_t[12]){ 0x43, 2, 0, 0, 0, 0, 0, 0, 32 }, b, 32), 20);
    check_eq(b[5], 0x14);
    check_eq(packet(vm, (uint8_t[12]){ 0x28, 0, 0, 0, 8, 0, 0, 0, 1 }, b, 0), 0x10000 | 0x54);
    check_eq(packet(vm, (uint8_t[12]){ 0x03, 0, 0, 0, 18 }, b, 18), 18);
    check_eq(b[12], 0x21);
}

static void test_lock(Vm *vm)
{
    uint8_t b[32];
    Disk *cd;

    machine(vm);
    cd = vm_lookup(vm, "drive", "cd0");
    check_eq(packet(vm, (uint8_t[12]){ 0x1e, 0, 0, 0, 1 }, b, 0), 0);
    check(!disk_eject(cd, false, NULL));
    check_eq(packet(vm, (uint8_t[12]){ 0x1e, 0, 0, 0, 0 }, b, 0), 0);
    check(disk_eject(cd, false, NULL));
    check_eq(packet(vm, (uint8_t[12]){ 0x00 }, b, 0), 0x10000 | 0x24);
}

/* A request in flight is issued again by the machine that it was moved to. */
static void test_move(Vm *vm)
{
    Dev *d = machine(vm), *hd;
    GByteArray *s, *c;

    t_out(vm, FILE0 + 6, 1, 0xe0);
    t_out(vm, FILE0 + 2, 1, 1);
    t_out(vm, FILE0 + 3, 1, 77);
    t_out(vm, FILE0 + 7, 1, 0x20);
    hd = bus_find(vm, "ide.0")->devs->pdata[0];
    c = dev_save(d);
    s = dev_save(hd);
    check(dev_load(d, c->data, c->len, &abort_on_error));
    check(dev_load(hd, s->data, s->len, &abort_on_error));
    check_eq(status(vm, FILE0), 0x58);
    check_eq(sector(vm), 77);
    g_byte_array_unref(s);
    g_byte_array_unref(c);
}

TEST("ide/identify", test_identify);
TEST("ide/sizes", test_sizes);
TEST("ide/sizes-wrong", test_wrong_sizes);
TEST("ide/no-trim", test_no_trim);
TEST("ide/pio", test_pio);
TEST("ide/dma", test_dma);
TEST("ide/short-prd", test_short_prd);
TEST("ide/cd", test_cd);
TEST("ide/tray-lock", test_lock);
TEST("ide/move-in-flight", test_move);
