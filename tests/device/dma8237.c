/* tests/device/dma8237.c - channels programmed as the data sheet says, and a device that moves bytes over them. */
#include "hw/isa/isa.h"
#include "tests/lib/t.h"

enum { CH2 = 4, STATUS = 8, COMMAND = 8, MASK = 10, MODE = 11, CLEAR = 12, MASTER = 13, PAGE2 = 0x81, SECOND = 0xc0 };
enum { TO_MEMORY = 4, FROM_MEMORY = 8, AGAIN = 0x10, DOWN = 0x20 };

static IsaBus *bus;

static void out(Vm *vm, unsigned port, unsigned v) { as_store(vm->ports, port, 1, v, MEM_CPU); }

static unsigned in(Vm *vm, unsigned port)
{
    uint64_t v = 0;

    as_load(vm->ports, port, 1, &v, MEM_CPU);
    return (unsigned)v;
}

static unsigned in16(Vm *vm, unsigned port)
{
    unsigned low = in(vm, port);

    return low | in(vm, port) << 8;
}

static void setup(Vm *vm)
{
    bus = (IsaBus *)(void *)t_bus(vm, "ISA");
    t_plug(vm, "i8257");
    t_plug(vm, "i8257,base=0xc0,page-base=0x88,dshift=1");
}

/* Channel 2: at address, count bytes. */
static void program(Vm *vm, unsigned mode, unsigned addr, unsigned bytes)
{
    out(vm, MASK, 4 | 2);
    out(vm, CLEAR, 0);
    out(vm, MODE, 0x40 | mode | 2);
    out(vm, CH2, addr & 0xff);
    out(vm, CH2, addr >> 8 & 0xff);
    out(vm, CH2 + 1, (bytes - 1) & 0xff);
    out(vm, CH2 + 1, (bytes - 1) >> 8);
    out(vm, PAGE2, addr >> 16);
    out(vm, MASK, 2);
}

static void test_to_memory(Vm *vm)
{
    uint8_t buf[8] = "abcdefg", got[8];
    bool tc, in_dir;

    setup(vm);
    check(!isa_dma_ready(bus, 2, &in_dir)); /* all channels are closed after a reset */
    program(vm, TO_MEMORY, 0x23456, 8);
    check(isa_dma_ready(bus, 2, &in_dir) && in_dir);
    check_eq(isa_dma_transfer(bus, 2, buf, 3, &tc), 3);
    check(!tc);
    check_eq(in16(vm, CH2), 0x3459);
    check_eq(in16(vm, CH2 + 1), 4);
    check_eq(in(vm, STATUS), 0);
    check_eq(isa_dma_transfer(bus, 2, buf + 3, 100, &tc), 5); /* no more than the count */
    check(tc);
    check_eq(in(vm, STATUS), 4);
    check_eq(in(vm, STATUS), 0); /* reading cleared it */
    check_eq(isa_dma_transfer(bus, 2, buf, 1, &tc), 0); /* the end closed the channel */
    as_read(vm->mem, 0x23456, got, 8, MEM_CPU);
    check(!memcmp(buf, got, 8));
}

static void test_from_memory(Vm *vm)
{
    uint8_t got[4] = { 0 };
    bool tc;

    setup(vm);
    as_store(vm->mem, 0x1fffe, 4, 0x44332211, MEM_CPU);
    as_store(vm->mem, 0x10000, 2, 0x6655, MEM_CPU);
    program(vm, FROM_MEMORY, 0x1fffe, 4);
    check_eq(isa_dma_transfer(bus, 2, got, 4, &tc), 4);
    check_eq(le32_load(got), 0x66552211); /* the page does not count on: the address wraps in 64 KiB */
    program(vm, FROM_MEMORY | DOWN, 0x1ffff, 2);
    check_eq(isa_dma_transfer(bus, 2, got, 2, &tc), 2);
    check_eq(le16_load(got), 0x1122);
}

static void test_auto(Vm *vm)
{
    uint8_t buf[2] = "xy";
    bool tc;

    setup(vm);
    program(vm, TO_MEMORY | AGAIN, 0x500, 2);
    for (int i = 0; i < 3; i++)
        check_eq(isa_dma_transfer(bus, 2, buf, 2, &tc), 2);
    check(tc);
    check_eq(in16(vm, CH2), 0x500);
}

static void test_sixteen(Vm *vm)
{
    uint8_t buf[6] = "abcde";
    uint64_t v;
    bool tc;

    setup(vm);
    out(vm, SECOND + 2 * MODE, 0x40 | TO_MEMORY | 1); /* channel 5 */
    out(vm, SECOND + 4, 0x80);
    out(vm, SECOND + 4, 0x00);
    out(vm, SECOND + 6, 2);
    out(vm, SECOND + 6, 0);
    out(vm, 0x8b, 0x03); /* bit 0 is not used */
    out(vm, SECOND + 2 * MASK, 1);
    check_eq(isa_dma_transfer(bus, 5, buf, 6, &tc), 6);
    check(tc);
    as_load(vm->mem, 0x20100, 4, &v, MEM_CPU);
    check_eq(v, 'a' | 'b' << 8 | 'c' << 16 | 'd' << 24);
}

static void test_off(Vm *vm)
{
    uint8_t buf[2] = "z";
    bool tc;

    setup(vm);
    program(vm, TO_MEMORY, 0x500, 2);
    out(vm, COMMAND, 4);
    check_eq(isa_dma_transfer(bus, 2, buf, 2, &tc), 0);
    out(vm, COMMAND, 0);
    check_eq(isa_dma_transfer(bus, 2, buf, 1, &tc), 1);
    out(vm, MASTER, 0);
    check_eq(isa_dma_transfer(bus, 2, buf, 1, &tc), 0);
    out(vm, 0x84, 0x5a); /* a page register of no channel remembers */
    check_eq(in(vm, 0x84), 0x5a);
}

static void opened(void *o) { ++*(unsigned *)o; }

static void test_wait(Vm *vm)
{
    unsigned calls = 0;

    setup(vm);
    isa_dma_attach(bus, 2, (IsaDmaUser){ opened, &calls });
    program(vm, TO_MEMORY, 0x500, 2);
    check_eq(calls, 1);
}

TEST("dma8237/to-memory", test_to_memory);
TEST("dma8237/from-memory", test_from_memory);
TEST("dma8237/auto", test_auto);
TEST("dma8237/sixteen-bits", test_sixteen);
TEST("dma8237/off", test_off);
TEST("dma8237/wait", test_wait);
