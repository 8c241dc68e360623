/* tests/device/fdc.c - a driver for the 82077AA, by DMA and by programmed I/O; each sector of the media bears its number. */
#include "hw/block/fdc.h"
#include "hw/isa/isa.h"
#include "tests/device/pcihost.h"
#include <stdio.h>
#include <unistd.h>

enum { DOR = 0x3f2, MSR = 0x3f4, FIFO = 0x3f5, CHANGE = 0x3f7, CCR = 0x3f7, BUF = 0x20000 };
static Dev *fdc;
static uint8_t result[16];
static unsigned results;

static unsigned in(Vm *vm, unsigned port) { return (unsigned)t_in(vm, port, 1); }
static void out(Vm *vm, unsigned port, unsigned v) { t_out(vm, port, 1, v); }
static bool irq(void) { return dev_out(fdc, "irq", 0)->level; }

static void remove_file(void *path)
{
    unlink(path);
    g_free(path);
}

/* A floppy image of so many sectors, as drive "f0". */
static Disk *image(Vm *vm, unsigned sectors, const char *more)
{
    char *path = g_strdup_printf("%s/menura-test-XXXXXX", g_get_tmp_dir());
    FILE *f = fdopen(g_mkstemp(path), "wb");
    g_autofree char *text = g_strdup_printf("format=raw,file=%s%s", path, more);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);
    uint8_t sector[512] = { 0 };

    for (unsigned i = 0; i < sectors; i++) {
        le32_store(sector, i);
        fwrite(sector, sizeof(sector), 1, f);
    }
    fclose(f);
    own(&vm->root, path, remove_file);
    return own(&vm->root, disk_new(vm, "f0", o, &abort_on_error), (void (*)(void *))disk_free);
}

static bool interrupted(void *vm)
{
    t_step(vm, 10 * MS);
    return irq();
}

static void send(Vm *vm, const uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        check_eq(in(vm, MSR) & 0xc0, 0x80);
        out(vm, FIFO, bytes[i]);
    }
}

static void fetch(Vm *vm)
{
    for (results = 0; results < 16 && (in(vm, MSR) & 0xd0) == 0xd0;)
        result[results++] = (uint8_t)in(vm, FIFO);
}
#define COMMAND(...) send(vm, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void sense(Vm *vm, unsigned st0, unsigned pcn)
{
    check(irq());
    COMMAND(8);
    fetch(vm);
    check_eq(results, 2);
    check_eq(result[0], st0);
    check_eq(result[1], pcn);
}

static void wait_irq(Vm *vm)
{
    t_loop(vm, interrupted, vm);
    check(irq());
}

static void seek(Vm *vm, unsigned track)
{
    COMMAND(0x0f, 0, (uint8_t)track);
    check_eq(in(vm, MSR) & 1, 1);
    wait_irq(vm);
    sense(vm, 0x20, track);
    check(!irq());
}

static void setup(Vm *vm, unsigned sectors, const char *more)
{
    Bus *isa = t_bus(vm, "ISA");

    dev_plug(vm, isa, "i8257", &abort_on_error);
    fdc = dev_plug(vm, isa, "isa-fdc", &abort_on_error);
    if (sectors) {
        image(vm, sectors, more);
        dev_plug(vm, bus_find_type(vm, "floppy-bus"), "floppy,unit=0,drive=f0", &abort_on_error);
    }
    check_eq(in(vm, MSR), 0); /* in reset */
    out(vm, DOR, 0x1c);
    for (unsigned i = 0; i < 4; i++)
        sense(vm, 0xc0 | i, 0);
    check(!irq());
    COMMAND(3, 0xaf, 2);
    out(vm, CCR, sectors == 1440 ? 2 : 0);
}

static void dma(Vm *vm, bool to_memory, unsigned bytes)
{
    out(vm, 10, 6);
    out(vm, 12, 0);
    out(vm, 11, to_memory ? 0x46 : 0x4a);
    out(vm, 4, BUF & 0xff);
    out(vm, 4, BUF >> 8 & 0xff);
    out(vm, 5, (bytes - 1) & 0xff);
    out(vm, 5, (bytes - 1) >> 8);
    out(vm, 0x81, BUF >> 16);
    out(vm, 10, 2);
}

static void check_result(Vm *vm, unsigned st0, unsigned st1, unsigned c, unsigned h, unsigned r)
{
    wait_irq(vm);
    fetch(vm);
    check_eq(results, 7);
    check_eq(result[0], st0);
    check_eq(result[1], st1);
    check_eq(result[3], c);
    check_eq(result[4], h);
    check_eq(result[5], r);
    check(!irq());
    check_eq(in(vm, MSR) & 0xd0, 0x80);
}

static void test_read(Vm *vm)
{
    setup(vm, 2880, "");
    seek(vm, 5);
    dma(vm, true, 3 * 512);
    COMMAND(0xe6, 4, 5, 1, 7, 2, 18, 0x1b, 0xff);
    check_result(vm, 4, 0, 5, 1, 10);
    for (unsigned i = 0; i < 3; i++)
        check_eq(t_ld(vm, BUF + 512 * i, 4), (5 * 2 + 1) * 18 + 6 + i);
    dma(vm, true, 2 * 512); /* over the head: MT */
    COMMAND(0xe6, 0, 5, 0, 18, 2, 18, 0x1b, 0xff);
    check_result(vm, 4, 0, 5, 1, 2);
    check_eq(t_ld(vm, BUF + 512, 4), (5 * 2 + 1) * 18);
    COMMAND(0x4a, 0);
    wait_irq(vm);
    fetch(vm);
    check(results == 7 && result[0] == 0 && result[3] == 5 && result[4] == 0);
    check(result[5] >= 1 && result[5] <= 18 && result[6] == 2);
}

static void test_errors(Vm *vm)
{
    setup(vm, 2880, "");
    dma(vm, true, 512);
    COMMAND(0x46, 0, 0, 0, 19, 2, 20, 0x1b, 0xff); /* no such sector */
    check_result(vm, 0x40, 4, 0, 0, 19);
    COMMAND(0x46, 0, 3, 0, 1, 2, 18, 0x1b, 0xff); /* the head is elsewhere */
    check_result(vm, 0x40, 4, 3, 0, 1);
    check_eq(result[2], 0x10);
    out(vm, CCR, 2); /* wrong data rate */
    COMMAND(0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    check_result(vm, 0x40, 1, 0, 0, 1);
    COMMAND(0x1f); /* no command */
    fetch(vm);
    check(results == 1 && result[0] == 0x80);
    COMMAND(0x07, 1); /* no drive B: no track 0 */
    wait_irq(vm);
    sense(vm, 0x71, 0);
}

static void test_write(Vm *vm)
{
    setup(vm, 1440, "");
    seek(vm, 79);
    t_st(vm, BUF, 4, 0x12345678);
    dma(vm, false, 512);
    COMMAND(0x45, 4, 79, 1, 9, 2, 9, 0x1b, 0xff);
    check_result(vm, 4, 0, 80, 1, 1);
    t_st(vm, BUF, 4, 0);
    dma(vm, true, 512);
    COMMAND(0x46, 4, 79, 1, 9, 2, 9, 0x1b, 0xff);
    check_result(vm, 4, 0, 80, 1, 1);
    check_eq(t_ld(vm, BUF, 4), 0x12345678);
    for (unsigned i = 0; i < 4; i++) /* format the last two sectors of a track */
        t_st(vm, BUF + i, 1, (const uint8_t[]){ 79, 0, 9, 2 }[i]);
    dma(vm, false, 4);
    COMMAND(0x4d, 0, 2, 1, 0x54, 0xf6);
    check_result(vm, 0, 0, 79, 0, 9);
    dma(vm, true, 512);
    COMMAND(0x46, 0, 79, 0, 9, 2, 9, 0x1b, 0xff);
    check_result(vm, 0, 0, 80, 0, 1);
    check_eq(t_ld(vm, BUF, 4), 0xf6f6f6f6);
}

static void test_protected(Vm *vm)
{
    setup(vm, 2880, ",readonly=on");
    COMMAND(4, 0);
    fetch(vm);
    check_eq(result[0], 0x78);
    dma(vm, false, 512);
    COMMAND(0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    check_result(vm, 0x40, 2, 0, 0, 1);
}

/* Without DMA each byte asks, and the cylinder's end is the only end. */
static void test_pio(Vm *vm)
{
    setup(vm, 2880, "");
    COMMAND(3, 0xaf, 3);
    COMMAND(0x46, 0, 0, 0, 17, 2, 18, 0x1b, 0xff);
    for (unsigned s = 0; s < 2; s++) {
        wait_irq(vm);
        check_eq(in(vm, MSR), 0xf0);
        check_eq(in(vm, FIFO), 16 + s);
        for (unsigned i = 1; i < 512; i++)
            in(vm, FIFO);
    }
    check_result(vm, 0x40, 0x80, 1, 0, 1);
}

static void test_change(Vm *vm)
{
    Disk *d;

    setup(vm, 2880, "");
    d = vm_lookup(vm, "drive", "f0");
    check_eq(in(vm, CHANGE) & 0x80, 0x80); /* after power-on */
    seek(vm, 1);
    check_eq(in(vm, CHANGE) & 0x80, 0);
    check_eq(fdc_drive_type(fdc, 0), 4);
    check(disk_eject(d, false, &abort_on_error));
    check_eq(in(vm, CHANGE) & 0x80, 0x80);
    dma(vm, true, 512);
    COMMAND(0x46, 0, 1, 0, 1, 2, 18, 0x1b, 0xff);
    check_result(vm, 0x40, 1, 1, 0, 1);
    seek(vm, 2);
    check_eq(in(vm, CHANGE) & 0x80, 0x80); /* still none */
}

static void test_registers(Vm *vm)
{
    setup(vm, 0, "");
    COMMAND(0x10);
    fetch(vm);
    check(results == 1 && result[0] == 0x90);
    COMMAND(0x13, 0, 0x57, 0x11);
    COMMAND(0x94);
    fetch(vm);
    check(results == 1 && result[0] == 0x10);
    out(vm, DOR, 0);
    out(vm, DOR, 0x0c);
    check(irq()); /* even with polling off: see polled() in hw/block/fdc.c */
    for (unsigned i = 0; i < 4; i++) {
        COMMAND(0x08);
        fetch(vm);
        check_eq(result[0], 0xc0 | i);
    }
    check(!irq());
    COMMAND(0x0e);
    fetch(vm);
    check_eq(results, 10);
    check_eq(result[7], 0x80);
    check_eq(result[8], 0x57); /* locked: the reset left it */
    check_eq(result[9], 0x11);
}

/* The channel is opened after the command: the transfer waits for it. */
static void test_late_dma(Vm *vm)
{
    setup(vm, 2880, "");
    COMMAND(0x46, 0, 0, 0, 2, 2, 18, 0x1b, 0xff);
    for (unsigned i = 0; i < 50; i++) {
        t_step(vm, MS);
        loop_iterate(vm->loop, false);
    }
    check(!irq());
    dma(vm, true, 512);
    check_result(vm, 0, 0, 0, 0, 3);
    check_eq(t_ld(vm, BUF, 4), 1);
}

static void test_sizes(Vm *vm)
{
    setup(vm, 2880, "");
    t_refused(vm, bus_find_type(vm, "floppy-bus"), "floppy,unit=1,logical_block_size=1024", "logical_block_size=1024, physical_block_size=1024: must be 512 for a floppy");
    dev_plug(vm, bus_find_type(vm, "floppy-bus"), "floppy,unit=1,logical_block_size=512,physical_block_size=512", &abort_on_error);
}

TEST("fdc/sizes", test_sizes);
TEST("fdc/read", test_read);
TEST("fdc/errors", test_errors);
TEST("fdc/write", test_write);
TEST("fdc/protected", test_protected);
TEST("fdc/pio", test_pio);
TEST("fdc/change", test_change);
TEST("fdc/registers", test_registers);
TEST("fdc/late-dma", test_late_dma);
