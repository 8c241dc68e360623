/* tests/kvm/real.c - the KVM accelerator on this host's KVM; skipped where there is none. */
#include "accel/kvm/kvm.h"
#include "tests/kvm/guest.h"
#include <stdio.h>

static void ring3(const char *accel)
{
    Vm *vm;

    if (!kvm_here())
        return;
    vm = guest_new(accel, "menura64-v1", 1, GUEST_USER, &abort_on_error);
    check(vm_start(vm, false, &abort_on_error));
    check(guest_wait(vm, BOX_TICKS, 3));
    check(guest_wait(vm, BOX_TURNS, 100));
    check_eq(guest_box(vm, BOX_WRONG), 0);
    vm_free(vm);
}

static void ring3_on(Vm *unused) { ring3("kvm"); }
static void ring3_split(Vm *unused) { ring3("kvm,kernel-irqchip=split"); }
static void ring3_off(Vm *unused) { ring3("kvm,kernel-irqchip=off"); }
TEST("kvm/ring3-irqchip-on", ring3_on);
TEST("kvm/ring3-irqchip-split", ring3_split);
TEST("kvm/ring3-irqchip-off", ring3_off);

static void smp(const char *accel)
{
    Vm *vm;

    if (!kvm_here())
        return;
    vm = guest_new(accel, "menura64-v1", 2, GUEST_SMP, &abort_on_error);
    check(vm_start(vm, false, &abort_on_error));
    check(guest_wait(vm, BOX_BACK, 50));
    check_eq(guest_box(vm, BOX_AP), 1);
    vm_stop(vm, RUN_PAUSED);
    check(guest_box(vm, BOX_IPIS) - guest_box(vm, BOX_BACK) <= 1);
    vm_cont(vm);
    check(guest_wait(vm, BOX_BACK, guest_box(vm, BOX_BACK) + 10)); /* none was lost */
    vm_free(vm);
}

static void smp_on(Vm *unused) { smp("kvm"); }
static void smp_split(Vm *unused) { smp("kvm,kernel-irqchip=split"); }
static void smp_off(Vm *unused) { smp("kvm,kernel-irqchip=off"); }
TEST("kvm/smp-irqchip-on", smp_on);
TEST("kvm/smp-irqchip-split", smp_split);
TEST("kvm/smp-irqchip-off", smp_off);

static void smp_tcg(Vm *unused)
{
    Vm *vm = guest_new("tcg", "menura64-v1", 2, GUEST_SMP, &abort_on_error);

    check(vm_start(vm, false, &abort_on_error));
    check(guest_wait(vm, BOX_BACK, 50));
    vm_free(vm);
}
TEST("kvm/smp-tcg", smp_tcg);

static void ring3_tcg(Vm *unused)
{
    Vm *vm = guest_new("tcg", "menura64-v1", 1, GUEST_USER, &abort_on_error);

    check(vm_start(vm, false, &abort_on_error));
    check(guest_wait(vm, BOX_TICKS, 3));
    check(guest_wait(vm, BOX_TURNS, 100));
    check_eq(guest_box(vm, BOX_WRONG), 0);
    vm_free(vm);
}
TEST("kvm/ring3-tcg", ring3_tcg);

static void two_vms(Vm *unused)
{
    Vm *a, *b;
    uint64_t n;

    if (!kvm_here())
        return;
    a = guest_new("kvm", "menura64-v1", 1, GUEST_USER, &abort_on_error);
    b = guest_new("kvm,kernel-irqchip=off", "menura64-v1", 2, GUEST_SMP, &abort_on_error);
    check(vm_start(a, false, &abort_on_error));
    check(vm_start(b, false, &abort_on_error));
    check(guest_wait(a, BOX_TICKS, 2));
    check(guest_wait(b, BOX_BACK, 10));
    vm_stop(a, RUN_PAUSED);
    n = guest_box(a, BOX_TURNS);
    check(guest_wait(b, BOX_BACK, guest_box(b, BOX_BACK) + 10));
    check_eq(guest_box(a, BOX_TURNS), n);
    vm_free(b);
    vm_cont(a);
    check(guest_wait(a, BOX_TICKS, guest_box(a, BOX_TICKS) + 2));
    check_eq(guest_box(a, BOX_WRONG), 0);
    vm_free(a);
}
TEST("kvm/two-vms", two_vms);
