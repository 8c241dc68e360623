/* core/watchdog.c - what follows when a watchdog's time is up. */
#include "core/api/run.h"
#include "core/vm.h"

void vm_watchdog(Vm *vm)
{
    WatchdogAction a = vm->cfg.on_watchdog;

    event_watchdog(vm, &(EventWatchdog){ a });
    switch (a) {
    case WATCHDOG_RESET:
        vm_request(vm, VM_RESET, CAUSE_GUEST_RESET);
        break;
    case WATCHDOG_SHUTDOWN:
        vm_request(vm, VM_POWERDOWN, CAUSE_NONE);
        break;
    case WATCHDOG_POWEROFF:
        vm_request(vm, VM_SHUTDOWN, CAUSE_GUEST_SHUTDOWN);
        break;
    case WATCHDOG_PAUSE:
        vm_request(vm, VM_WATCHDOG, CAUSE_NONE);
        break;
    case WATCHDOG_INJECT_NMI:
        for (unsigned i = 0; i < vm->ncpus; i++)
            cpu_request(vm->cpus[i], CPU_REQ_NMI);
        break;
    case WATCHDOG_DEBUG:
        warn_report("the watchdog's time is up");
        break;
    case WATCHDOG_NONE:
    case WATCHDOG__MAX:
        break;
    }
}

bool qmp_watchdog_set_action(Vm *vm, const WatchdogSetActionArgs *args, Error **err)
{
    vm->cfg.on_watchdog = args->action;
    return true;
}
