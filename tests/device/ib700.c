/* tests/device/ib700.c - the watchdog barks when nobody comes, and only then. */
#include "tests/lib/t.h"

static void barks(Vm *vm)
{
    Dev *d = t_plug(vm, "ib700");

    t_write(d, 0, 2, 1, 14); /* two seconds */
    t_step(vm, 1 * SEC);
    t_write(d, 0, 2, 1, 14);
    t_step(vm, 1999 * MS);
    check(!(vm->requests & VM_RESET));
    t_step(vm, 1 * MS);
    check(vm->requests & VM_RESET);
}
TEST("ib700/barks", barks);

static void stops(Vm *vm)
{
    Dev *d = t_plug(vm, "ib700");

    t_write(d, 0, 2, 1, 15);
    t_write(d, 0, 0, 1, 1);
    t_step(vm, 60 * SEC);
    check(!(vm->requests & VM_RESET));
}
TEST("ib700/stops", stops);
