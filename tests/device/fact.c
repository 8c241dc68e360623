/* tests/device/fact.c - what the how-to promises. */
#include "tests/lib/t.h"

static void finishes_and_interrupts(Vm *vm)
{
    Dev *d = t_plug(vm, "fact,delay-us=10");

    t_w32(d, 0x20, 1 << 7);
    t_w32(d, 0x08, 5);
    t_step(vm, 9 * US);
    check_eq(t_r32(d, 0x20), 0x81); /* still busy */
    t_step(vm, 1 * US);
    check_eq(t_r32(d, 0x08), 120);
    check(t_irq(d));
    t_w32(d, 0x24, 1);
    check(!t_irq(d));
}
TEST("fact/finishes-and-interrupts", finishes_and_interrupts);
