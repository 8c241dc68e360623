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

static void actions(Vm *vm)
{
    static const struct {
        WatchdogAction a;
        uint32_t request;
    } rows[] = { { WATCHDOG_RESET, VM_RESET }, { WATCHDOG_SHUTDOWN, VM_POWERDOWN }, { WATCHDOG_POWEROFF, VM_SHUTDOWN }, { WATCHDOG_PAUSE, VM_WATCHDOG },
                 { WATCHDOG_NONE, 0 }, { WATCHDOG_INJECT_NMI, 0 } };
    Dev *d = t_plug(vm, "ib700");

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        vm->cfg.on_watchdog = rows[i].a;
        vm->requests = 0;
        t_write(d, 0, 2, 1, 14);
        t_step(vm, 2 * SEC);
        check_eq(vm->requests, rows[i].request);
    }
    vm->requests = 0;
}
TEST("ib700/actions", actions);
