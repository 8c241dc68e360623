/* core/qmp-run.c - the monitor's commands about the run state (schema/run.json). */
#include "core/vm.h"

bool qmp_query_status(Vm *vm, StatusInfo *ret, Error **err)
{
    ret->running = vm_running(vm);
    ret->status = vm->state;
    return true;
}

bool qmp_stop(Vm *vm, Error **err)
{
    if (vm_running(vm))
        vm_stop(vm, RUN_PAUSED);
    return true;
}

/* States that only a reset, or the end of a transfer, leaves. */
static bool needs_reset(const Vm *vm) { return vm->state == RUN_INTERNAL_ERROR || vm->state == RUN_SHUTDOWN; }

bool qmp_cont(Vm *vm, Error **err)
{
    if (needs_reset(vm))
        return fail(err, "Resetting the Virtual Machine is required");
    if (vm->state == RUN_FINISH_MIGRATE || vm->state == RUN_SAVE_VM || vm->state == RUN_RESTORE_VM)
        return fail(err, "Migration is not finalized yet");
    if (vm->state != RUN_SUSPENDED)
        vm_cont(vm);
    return true;
}

bool qmp_system_reset(Vm *vm, Error **err)
{
    vm_request(vm, VM_RESET, CAUSE_HOST_QMP_SYSTEM_RESET);
    return true;
}

bool qmp_system_powerdown(Vm *vm, Error **err)
{
    vm_request(vm, VM_POWERDOWN, CAUSE_NONE);
    return true;
}

bool qmp_system_wakeup(Vm *vm, Error **err)
{
    if (vm->state != RUN_SUSPENDED)
        return fail(err, "Unable to wake up: guest is not in suspended state");
    vm_request(vm, VM_WAKEUP, CAUSE_NONE);
    return true;
}

bool qmp_quit(Vm *vm, Error **err)
{
    if (vm->mc)
        vm_request(vm, VM_SHUTDOWN, CAUSE_HOST_QMP_QUIT);
    else
        vm_exit_code(vm, 0);
    return true;
}

bool qmp_set_action(Vm *vm, const SetActionArgs *args, Error **err)
{
    if (args->has_reboot)
        vm->cfg.on_reboot = args->reboot;
    if (args->has_shutdown)
        vm->cfg.on_shutdown = args->shutdown;
    if (args->has_panic)
        vm->cfg.on_panic = args->panic;
    if (args->has_watchdog)
        vm->cfg.on_watchdog = args->watchdog;
    return true;
}

bool qmp_inject_nmi(Vm *vm, Error **err)
{
    for (unsigned i = 0; i < vm->ncpus; i++)
        cpu_request(vm->cpus[i], CPU_REQ_NMI);
    return vm->ncpus || fail(err, "this machine has no CPU");
}

void hmp_info_status(Hmp *h)
{
    const Vm *vm = h->vm;
    const char *why = vm->state == RUN_RUNNING || vm->state == RUN_PAUSED ? NULL : api_RunState.names[vm->state];

    g_string_append_printf(h->out, "VM status: %s", vm_running(vm) ? "running" : "paused");
    if (why)
        g_string_append_printf(h->out, " (%s)", why);
    g_string_append_c(h->out, '\n');
}
