/*
 * accel/qtest/qtest.c - the accelerator that runs nothing: it owns virtual time, which stands still
 * until a test steps it (qtest_clock_step), so that device tests run in microseconds and repeat exactly.
 */
#include "accel/qtest/qtest.h"

static bool vm_init(Vm *vm, Error **err)
{
    vm_clock_take(vm);
    return true;
}

static bool cpu_init(Cpu *c, Error **err) { return true; }

int64_t qtest_clock_step(Vm *vm, int64_t ns)
{
    lock_take(&vm->lock);
    vm_clock_run(vm, ns > INT64_MAX / 2 - vm_now(vm) ? INT64_MAX / 2 : vm_now(vm) + MAX(ns, 0));
    lock_drop(&vm->lock);
    return vm_now(vm);
}

int64_t qtest_clock_step_next(Vm *vm)
{
    int64_t next = vm_next_deadline(vm), now = vm_now(vm);

    return next == INT64_MAX ? now : qtest_clock_step(vm, MAX(next - now, 0));
}

static bool smm(const Vm *vm) { return true; }

static const Accel qtest = { .name = "qtest", .desc = "runs no guest code, owns virtual time: device tests",
                             .smm = smm, .vm_init = vm_init, .cpu_init = cpu_init };
ACCEL(qtest);
