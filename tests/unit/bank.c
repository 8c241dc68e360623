/* tests/unit/bank.c - every feature of register tables, on a device made for it. */
#include "core/priv.h"
#include "tests/lib/t.h"

typedef struct Probe {
    Dev dev;
    uint32_t rw, mixed, wide_lo, wide_hi, locked, ticks;
    uint8_t dll, data, lcr, index, gfx[4], chan, ro_half, wo_half;
    uint16_t counter[3];
    uint32_t arr[4];
    Fifo fifo;
    uint32_t reads, writes, last;
    Timer beat;
} Probe;
#define P(d) ((Probe *)(d))

static bool dlab(const Dev *d) { return P(d)->lcr & 0x80; }
static bool no_dlab(const Dev *d) { return !dlab(d); }
static bool unlocked(const Dev *d) { return P(d)->lcr & 1; }
static unsigned which(const Dev *d) { return P(d)->chan; }
static uint64_t computed(const Dev *d) { return P(d)->rw ^ 0xffffffffu; }
static void count_read(Dev *d, unsigned lanes) { P(d)->reads += lanes; }
static void count_write(Dev *d, uint64_t val, unsigned lanes)
{
    P(d)->writes++;
    P(d)->last = (uint32_t)val;
}
static bool line(const Dev *d) { return P(d)->mixed & 1; }
static void beat(Dev *d) { P(d)->ticks++; }

/* clang-format off */
static const Reg gfx_regs[] = { { "gfx", 0, REGS(Probe, gfx, 4, 1), .rw = 0x7f } };
static const RegTable gfx_table = TABLE(gfx_regs);
static const Reg regs[] = {
    { "rw",      0x00, REG(Probe, rw), .reset = 0x11223344, .rw = 0x0fffffff },
    { "mixed",   0x04, REG(Probe, mixed), .rw = 0xff, .w1c = 0xff00, .w1s = 0xff0000, .rc = 0xff000000 },
    { "lo",      0x08, REG(Probe, wide_lo), .rw = ~0u },
    { "hi",      0x0c, REG(Probe, wide_hi), .rw = ~0u },
    { "data",    0x10, REG(Probe, data), .rw = 0xff, .bank = no_dlab },
    { "dll",     0x10, REG(Probe, dll), .rw = 0xff, .bank = dlab, .reset = 12 },
    { "lcr",     0x11, REG(Probe, lcr), .rw = 0xff },
    { "status",  0x12, REG(Probe, ro_half), .ro = true, .reset = 0x60 },
    { "control", 0x12, REG(Probe, wo_half), .wo = true, .rw = 0xff },
    { "inv",     0x14, NOFIELD(4), .value = computed, .on_read = count_read, .wrote = count_write },
    { "locked",  0x18, REG(Probe, locked), .rw = ~0u, .when = unlocked },
    { "arr",     0x20, REGS(Probe, arr, 4, 8), .rw = ~0u, .reset = 5 },
    { "chan",    0x40, REG(Probe, chan), .rw = 0xff },
    { "counter", 0x42, REG(Probe, counter[0]), ARRAY(3, 0, 2), .select = which, .rw = 0xffff },
    { "index",   0x50, REG(Probe, index), .rw = 0xff },
    { "idata",   0x51, INDEXED(Probe, index, &gfx_table) },
    { "fifo",    0x54, FIFO_REG(Probe, fifo) },
};
static const Bank banks[] = { { "probe", 0x100, TABLE(regs), .unclaimed = 0xa5 } };
static const Field state[] = {
    FIFO_FIELD(Probe, fifo), FIELD(Probe, reads), FIELD(Probe, writes), FIELD(Probe, last), FIELD(Probe, ticks),
    TIMER(Probe, beat, beat, CLOCK_VM),
};
static const Out outs[] = { { "irq", line } };
static const DevClass probe = {
    .obj = { .name = "probe", .desc = "register features", .size = sizeof(Probe) }, .state = TABLE(state),
    COUNTED(banks, banks), COUNTED(outs, outs),
};
DEVICE(Probe, probe);
/* clang-format on */

static void plain(Vm *vm)
{
    Dev *d = t_plug(vm, "probe");

    check_eq(t_r32(d, 0), 0x11223344);
    t_w32(d, 0, 0xffffffff);
    check_eq(t_r32(d, 0), 0x1fffffff); /* the top nibble is read-only */
    t_write(d, 0, 1, 1, 0);
    check_eq(t_r32(d, 0), 0x1fff00ff);
    check_eq(t_read(d, 0, 2, 2), 0x1fff);
    t_w64(d, 8, 0x1122334455667788);
    check_eq(P(d)->wide_hi, 0x11223344);
    check_eq(t_read(d, 0, 0xa, 4), 0x33445566); /* spans two registers */
    check_eq(t_read(d, 0, 0x90, 2), 0xa5a5);    /* nobody there */
}
TEST("bank/plain", plain);

static void bits(Vm *vm)
{
    Dev *d = t_plug(vm, "probe");

    P(d)->mixed = 0xab00ff00;
    t_w32(d, 4, 0x00f0f001);
    check(t_irq(d)); /* settled */
    check_eq(P(d)->mixed, 0xabf00f01);
    check_eq(t_r32(d, 4), 0xabf00f01);
    check_eq(P(d)->mixed, 0x00f00f01); /* read-to-clear */
    t_w32(d, 4, 0);
    check(!t_irq(d));
}
TEST("bank/bits", bits);

static void banked(Vm *vm)
{
    Dev *d = t_plug(vm, "probe");

    t_write(d, 0, 0x10, 1, 0x41);
    t_write(d, 0, 0x11, 1, 0x80);
    check_eq(t_read(d, 0, 0x10, 1), 12);
    t_write(d, 0, 0x10, 1, 3);
    t_write(d, 0, 0x11, 1, 0);
    check_eq(t_read(d, 0, 0x10, 1), 0x41);
    check_eq(P(d)->dll, 3);
    t_write(d, 0, 0x12, 1, 0x99);
    check_eq(t_read(d, 0, 0x12, 1), 0x60);
    check_eq(P(d)->wo_half, 0x99);
}
TEST("bank/banked", banked);

static void effects(Vm *vm)
{
    Dev *d = t_plug(vm, "probe");
    uint64_t v;

    check_eq(t_r32(d, 0x14), ~0x11223344u);
    check_eq(P(d)->reads, 15);
    bank_peek(d, t_bank(d, 0), 0x14, 4, &v);
    check(v == (uint32_t)~0x11223344 && P(d)->reads == 15);
    t_write(d, 0, 0x15, 1, 0xcd);
    check(P(d)->writes == 1 && P(d)->last == 0xcd00);
    t_w32(d, 0x18, 5);
    check_eq(P(d)->locked, 0);
    t_write(d, 0, 0x11, 1, 1);
    t_w32(d, 0x18, 5);
    check_eq(P(d)->locked, 5);
}
TEST("bank/effects", effects);

static void arrays(Vm *vm)
{
    Dev *d = t_plug(vm, "probe");

    check_eq(t_r32(d, 0x38), 5);
    t_w32(d, 0x28, 77);
    check(P(d)->arr[1] == 77 && P(d)->arr[0] == 5);
    check_eq(t_read(d, 0, 0x24, 1), 0xa5); /* the gap between elements */
    t_write(d, 0, 0x40, 1, 2);
    t_write(d, 0, 0x42, 2, 0xbeef);
    check_eq(P(d)->counter[2], 0xbeef);
    t_write(d, 0, 0x40, 1, 200); /* selects nothing */
    t_write(d, 0, 0x42, 2, 1);
    check_eq(t_read(d, 0, 0x42, 2), 0xa5a5);
    t_write(d, 0, 0x50, 2, 0xff03); /* index and data in one access */
    check_eq(P(d)->gfx[3], 0x7f);
    check_eq(t_read(d, 0, 0x51, 1), 0x7f);
    t_write(d, 0, 0x50, 1, 9);
    check_eq(t_read(d, 0, 0x51, 1), 0);
}
TEST("bank/arrays", arrays);

static void fifo(Vm *vm)
{
    Dev *d = t_plug(vm, "probe");

    for (unsigned i = 0; i < 200; i++)
        t_write(d, 0, 0x54, 1, i);
    check_eq(P(d)->fifo.used, 128);
    check_eq(t_read(d, 0, 0x54, 1), 0);
    check_eq(t_read(d, 0, 0x54, 1), 1);
    check_eq(P(d)->fifo.used, 126);
}
TEST("bank/fifo", fifo);

static void busy(Vm *vm)
{
    Dev *d = t_plug(vm, "probe");
    uint64_t v;

    region_map(vm->sysmem, 0xf0000000, dev_region(d, 0), 1);
    check(as_load(vm->mem, 0xf0000000, 4, &v, MEM_CPU) == MEM_OK && v == 0x11223344);
    dev_enter(d);
    check(as_load(vm->mem, 0xf0000000, 4, &v, MEM_CPU) == MEM_REFUSED);
    check(!dma_store(d, 0xf0000000, 4, 1));
    dev_leave(d);
    check(as_store(vm->mem, 0xf0000000, 4, 1, MEM_CPU) == MEM_OK);
    check_eq(P(d)->rw, 0x10000001);
}
TEST("bank/busy", busy);

static void life(Vm *vm)
{
    Dev *d = t_plug(vm, "probe"), *keep = t_plug(vm, "probe");
    uint64_t v;

    region_map(vm->sysmem, 0xf0000000, dev_region(d, 0), 1);
    timer_in(&P(d)->beat, 5 * US);
    timer_in(&P(keep)->beat, 5 * US);
    t_step(vm, 1 * US);
    dev_unplug_now(d);
    check(as_load(vm->mem, 0xf0000000, 4, &v, MEM_CPU) == MEM_NOBODY);
    t_step(vm, 10 * US);
    check_eq(P(keep)->ticks, 1);
    dev_reset(keep);
    check_eq(P(keep)->ticks, 0);
}
TEST("bank/life", life);

static unsigned seen;
static void listen(void *chip, unsigned n, bool level) { seen = seen * 10 + n + level; }

static void wires(Vm *vm)
{
    Dev *d = t_plug(vm, "probe");
    Irq ends[2];

    irq_join(&d->obj, (Irq){ .set = listen, .n = 2 }, 2, ends);
    dev_wire(d, "irq", 0, ends[0]);
    t_w32(d, 4, 1);
    check_eq(seen, 3);
    ends[1].set(ends[1].chip, 1, true);
    t_w32(d, 4, 0);
    check_eq(seen, 3); /* the other source holds it */
    ends[1].set(ends[1].chip, 1, false);
    check_eq(seen, 32);
}
TEST("bank/wires", wires);
