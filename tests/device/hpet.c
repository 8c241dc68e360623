/* tests/device/hpet.c - the timers against the IA-PC HPET specification 1.0a. */
#include "tests/lib/t.h"

enum { CAP = 0x000, CONF = 0x010, STATUS = 0x020, COUNTER = 0x0f0, T0 = 0x100, T1 = 0x120, T2 = 0x140, CMP = 8, FSB = 0x10 };
enum { LEVEL = 1 << 1, ENB = 1 << 2, PERIODIC = 1 << 3, VAL_SET = 1 << 6, MODE32 = 1 << 8 };
#define ROUTE(n) ((uint64_t)(n) << 9)

typedef struct Wires {
    unsigned edges[2][32];
    bool level[2][32];
} Wires;
static Wires w;

static void irq(void *chip, unsigned n, bool level)
{
    bool legacy = chip;

    w.edges[legacy][n] += level;
    w.level[legacy][n] = level;
}

static Dev *plug(Vm *vm, const char *text)
{
    Dev *d = t_plug(vm, text);

    for (unsigned n = 0; n < 32; n++)
        dev_wire(d, "irq", n, (Irq){ .set = irq, .n = n });
    for (unsigned n = 0; n < 2; n++)
        dev_wire(d, "legacy", n, (Irq){ .set = irq, .chip = d, .n = n });
    return d;
}

static void identity(Vm *vm)
{
    Dev *d = plug(vm, "hpet,hpet-intcap=0xff0104");

    check_eq(t_r32(d, CAP), 0x8086a201); /* Intel, legacy routes, 64 bits, three timers, revision 1 */
    check_eq(t_r32(d, CAP + 4), 10000000); /* femtoseconds, at most 100 ns */
    check_eq(t_r64(d, T0), 0x00ff010400000030);
    t_w64(d, T0, UINT64_MAX);
    check_eq(t_r32(d, T0), 0x3f3e & ~VAL_SET); /* no messages here */
    check_eq(t_r32(d, T0 + 4), 0x00ff0104);
    check_eq(t_r64(d, T0 + 0x60), 0);
    d = plug(vm, "hpet,msi=on");
    check_eq(t_r32(d, T2), 0x8030);
}
TEST("hpet/identity", identity);

static void counts(Vm *vm)
{
    Dev *d = plug(vm, "hpet");

    t_step(vm, 1 * US);
    check_eq(t_r64(d, COUNTER), 0);
    t_w64(d, COUNTER, 0xfffffff0);
    t_w32(d, CONF, 1);
    t_step(vm, 1 * US);
    check_eq(t_r64(d, COUNTER), 0xfffffff0 + 100ull);
    check_eq(t_r32(d, COUNTER + 4), 1);
    t_w32(d, CONF, 0);
    t_step(vm, 1 * US);
    check_eq(t_r64(d, COUNTER), 0xfffffff0 + 100ull);
    t_w32(d, COUNTER + 4, 7);
    check_eq(t_r64(d, COUNTER), 0x700000054);
}
TEST("hpet/counts", counts);

static void one_shot(Vm *vm)
{
    Dev *d = plug(vm, "hpet");

    t_w64(d, T0 + CMP, 1000);
    t_w32(d, T0, ENB | ROUTE(20));
    t_step(vm, 100 * US);
    check_eq(w.edges[0][20], 0); /* it stands */
    t_w32(d, CONF, 1);
    t_step(vm, 9990);
    check_eq(w.edges[0][20], 0);
    t_step(vm, 10);
    check_eq(w.edges[0][20], 1);
    check(!w.level[0][20]);
    check_eq(t_r32(d, STATUS), 0); /* edge */
    t_step(vm, 10 * MS);
    check_eq(w.edges[0][20], 1);
    t_w64(d, T0 + CMP, 500); /* has passed */
    t_step(vm, 10 * MS);
    check_eq(w.edges[0][20], 1);
    t_w64(d, T0 + CMP, t_r64(d, COUNTER) + 200);
    t_w32(d, T0, ROUTE(20)); /* not enabled */
    t_step(vm, 10 * MS);
    check_eq(w.edges[0][20], 1);
}
TEST("hpet/one-shot", one_shot);

static void level(Vm *vm)
{
    Dev *d = plug(vm, "hpet");

    t_w64(d, T1 + CMP, 100);
    t_w32(d, T1, ENB | LEVEL | ROUTE(3));
    t_w32(d, CONF, 1);
    t_step(vm, 1 * US);
    check(w.level[0][3]);
    check_eq(t_r32(d, STATUS), 2);
    t_w32(d, STATUS, 1);
    check(w.level[0][3]);
    t_w32(d, STATUS, 2);
    check(!w.level[0][3]);
    check_eq(t_r32(d, STATUS), 0);
}
TEST("hpet/level", level);

/* Section 2.3.9.2.2: the value set bit lets the first write go to the accumulator too. */
static void periodic(Vm *vm)
{
    Dev *d = plug(vm, "hpet");

    t_w32(d, T0, ENB | PERIODIC | VAL_SET | ROUTE(2));
    check_eq(t_r32(d, T0) & VAL_SET, 0);
    t_w64(d, T0 + CMP, 1000);
    t_w64(d, T0 + CMP, 500); /* the period alone */
    t_w32(d, CONF, 1);
    t_step(vm, 10 * US);
    check_eq(w.edges[0][2], 1);
    check_eq(t_r64(d, T0 + CMP), 1500);
    t_step(vm, 5 * US - 10);
    check_eq(w.edges[0][2], 1);
    t_step(vm, 10);
    check_eq(w.edges[0][2], 2);
    t_step(vm, 500 * US);
    check_eq(w.edges[0][2], 102);
    t_w32(d, CONF, 0);
    t_step(vm, 500 * US);
    check_eq(w.edges[0][2], 102);
}
TEST("hpet/periodic", periodic);

static void legacy(Vm *vm)
{
    Dev *d = plug(vm, "hpet");

    t_w64(d, T0 + CMP, 100);
    t_w64(d, T1 + CMP, 200);
    t_w64(d, T2 + CMP, 300);
    for (unsigned n = 0; n < 3; n++)
        t_w32(d, T0 + n * 0x20, ENB | ROUTE(5));
    check(!dev_out(d, "legacy-on", 0)->level);
    t_w32(d, CONF, 3);
    check(dev_out(d, "legacy-on", 0)->level);
    t_step(vm, 4 * US);
    check_eq(w.edges[1][0], 1);
    check_eq(w.edges[1][1], 1);
    check_eq(w.edges[0][5], 1); /* timer 2 has no such place */
}
TEST("hpet/legacy", legacy);

static void narrow(Vm *vm)
{
    Dev *d = plug(vm, "hpet");

    t_w32(d, T0, ENB | MODE32 | ROUTE(4));
    t_w64(d, COUNTER, 0x1ffffffff);
    t_w32(d, T0 + CMP, 99);
    check_eq(t_r64(d, T0 + CMP), 99);
    t_w32(d, CONF, 1);
    t_step(vm, 1 * US);
    check_eq(w.edges[0][4], 1);
    t_step(vm, 43 * SEC); /* once round 32 bits */
    check_eq(w.edges[0][4], 2);
}
TEST("hpet/narrow", narrow);
