/*
 * core/run.c - run state: starting, stopping, and the requests that are served by the VM loop after
 * all vCPUs stopped (ARCHITECTURE 3b.3).
 *
 *   prelaunch -> running <-> paused, debug, io-error, shutdown, guest-panicked, internal-error
 */
#include "core/priv.h"
#include "core/autopsy.h"

bool vm_running(const Vm *vm) { return __atomic_load_n(&vm->state, __ATOMIC_ACQUIRE) == RUN_RUNNING; }

static void set_state(Vm *vm, RunState s)
{
    if (vm->state == s)
        return;
    __atomic_store_n(&vm->state, s, __ATOMIC_RELEASE); /* vm_running() asks without the lock */
    for (guint i = 0; i < vm->priv->listeners->len; i++) {
        const VmListener *l = vm->priv->listeners->pdata[i];

        if (l->state)
            l->state(l->self, s);
    }
}

void vm_stop(Vm *vm, RunState why)
{
    lock_take(&vm->lock);
    if (vm_running(vm)) {
        core__cpus_stop(vm);
        core__clock_stop(vm);
        set_state(vm, why);
        event_stop(vm);
    } else {
        set_state(vm, why);
    }
    lock_drop(&vm->lock);
}

void vm_cont(Vm *vm)
{
    lock_take(&vm->lock);
    if (vm->state == RUN_INMIGRATE) {
        vm->autostart = true;
    } else if (!vm_running(vm) && vm->state != RUN_FINISH_MIGRATE) {
        set_state(vm, RUN_RUNNING);
        core__clock_start(vm);
        event_resume(vm);
        core__cpus_resume(vm);
    }
    lock_drop(&vm->lock);
}

static void reset_state(Dev *d, void *arg) { dev_reset_state(d); }
static void settle(Dev *d, void *arg) { dev_settle(d); }
static void reset_done(Dev *d, void *arg) { dev_reset_done(d); }

void vm_reset(Vm *vm, Cause c)
{
    lock_take(&vm->lock);
    mem_begin(vm);
    vm_foreach_dev(vm, reset_state, NULL);
    vm_foreach_dev(vm, settle, NULL);
    for (unsigned i = 0; i < vm->ncpus; i++)
        cpu_reset(vm->cpus[i]);
    vm_foreach_dev(vm, reset_done, NULL);
    mem_commit(vm);
    for (guint i = 0; i < vm->priv->listeners->len; i++) {
        const VmListener *l = vm->priv->listeners->pdata[i];

        if (l->reset)
            l->reset(l->self);
    }
    if (c != CAUSE_NONE)
        event_reset(vm, &(EventReset){ c >= CAUSE_GUEST_SHUTDOWN, c });
    core__drop_asked(vm);
    lock_drop(&vm->lock);
}

void vm_look_begin(Vm *vm)
{
    if (!vm->priv->looks++)
        core__cpus_stop(vm);
}

void vm_look_end(Vm *vm)
{
    if (!--vm->priv->looks && vm_running(vm))
        core__cpus_resume(vm);
}

void vm_start_loop(Vm *vm)
{
    if (vm->priv->looped)
        return;
    vm->priv->looped = true;
    loop_start(vm->loop);
}

bool vm_start(Vm *vm, bool paused, Error **err)
{
    lock_take(&vm->lock);
    vm_reset(vm, CAUSE_NONE);
    if (vm->accel->vm_start && !vm->accel->vm_start(vm, err)) {
        lock_drop(&vm->lock);
        return false;
    }
    core__cpu_start_threads(vm);
    vm->priv->started = true;
    vm_start_loop(vm);
    if (!paused) {
        __atomic_store_n(&vm->awaiting, false, __ATOMIC_RELAXED);
        vm_cont(vm);
    }
    lock_drop(&vm->lock);
    return true;
}

/* ---- ending ---- */
static void ask_exit(Vm *vm, int status)
{
    VmPriv *p = vm->priv;

    g_mutex_lock(&p->exit_lock);
    if (!p->exit_asked) {
        p->exit_asked = true;
        p->exit_status = status;
    }
    g_cond_broadcast(&p->exit_cond);
    g_mutex_unlock(&p->exit_lock);
    for (guint i = 0; i < p->listeners->len; i++) {
        const VmListener *l = p->listeners->pdata[i];

        if (l->exit_asked)
            l->exit_asked(l->self, p->exit_status);
    }
}

bool vm_wait_for(Vm *vm, int64_t host_ns, int *status)
{
    VmPriv *p = vm->priv;
    int64_t end = g_get_monotonic_time() + host_ns / 1000;
    bool asked;

    g_mutex_lock(&p->exit_lock);
    while (!p->exit_asked && g_cond_wait_until(&p->exit_cond, &p->exit_lock, end))
        ;
    asked = p->exit_asked;
    if (asked && status)
        *status = p->exit_status;
    g_mutex_unlock(&p->exit_lock);
    return asked;
}

int vm_wait(Vm *vm)
{
    int status = 0;

    while (!vm_wait_for(vm, 3600 * SEC, &status))
        ;
    return status;
}

/* ---- requests ---- */
static void shutdown_now(Vm *vm, Cause c)
{
    event_shutdown(vm, &(EventShutdown){ c >= CAUSE_GUEST_SHUTDOWN, c });
    vm_stop(vm, RUN_SHUTDOWN);
    if (vm->cfg.on_shutdown == SHUTDOWN_POWEROFF || c == CAUSE_HOST_QMP_QUIT || c == CAUSE_HOST_SIGNAL)
        ask_exit(vm, 0);
}

static void reset_now(Vm *vm, Cause c)
{
    if (vm->cfg.on_reboot == REBOOT_SHUTDOWN && c != CAUSE_HOST_QMP_SYSTEM_RESET && c != CAUSE_SUBSYSTEM_RESET)
        shutdown_now(vm, c);
    else
        vm_reset(vm, c);
}

static void triple_fault(Vm *vm)
{
    VmPriv *p = vm->priv;

    if (autopsy_report(vm, p->stop_cpu, &p->stop_exit, "triple fault") && vm->cfg.autopsy_stops) {
        vm_stop(vm, RUN_INTERNAL_ERROR);
        ask_exit(vm, 66);
        return;
    }
    reset_now(vm, CAUSE_GUEST_RESET);
}

static void panicked(Vm *vm)
{
    static const GuestPanicAction actions[] = { [PANIC_PAUSE] = GUEST_PANIC_ACTION_PAUSE, [PANIC_SHUTDOWN] = GUEST_PANIC_ACTION_POWEROFF,
                                                [PANIC_EXIT_FAILURE] = GUEST_PANIC_ACTION_POWEROFF, [PANIC_NONE] = GUEST_PANIC_ACTION_RUN };
    bool stays = vm->cfg.on_panic == PANIC_SHUTDOWN && vm->cfg.on_shutdown == SHUTDOWN_PAUSE;
    PanicAction a = stays ? PANIC_PAUSE : vm->cfg.on_panic;

    event_guest_panicked(vm, &(EventGuestPanicked){ actions[a] });
    autopsy_report(vm, vm->ncpus ? vm->cpus[0] : NULL, NULL, "guest panic");
    if (vm->cfg.autopsy_stops) {
        vm_stop(vm, RUN_GUEST_PANICKED);
        ask_exit(vm, 64);
    } else if (a == PANIC_PAUSE) {
        vm_stop(vm, RUN_GUEST_PANICKED);
    } else if (a == PANIC_SHUTDOWN) {
        shutdown_now(vm, CAUSE_GUEST_PANIC);
    } else if (a == PANIC_EXIT_FAILURE) {
        vm_stop(vm, RUN_GUEST_PANICKED);
        ask_exit(vm, 1);
    }
}

static void stopped_in_debugger(Vm *vm)
{
    vm_stop(vm, RUN_DEBUG);
    for (guint i = 0; i < vm->priv->listeners->len; i++) {
        const VmListener *l = vm->priv->listeners->pdata[i];

        if (l->debug)
            l->debug(l->self, vm->priv->stop_cpu, &vm->priv->stop_exit);
    }
}

static void powerdown(Vm *vm)
{
    event_powerdown(vm);
    for (guint i = 0; i < vm->priv->listeners->len; i++) {
        const VmListener *l = vm->priv->listeners->pdata[i];

        if (l->powerdown)
            l->powerdown(l->self);
    }
}

static void broken(Vm *vm)
{
    autopsy_report(vm, vm->priv->stop_cpu, &vm->priv->stop_exit, "internal error");
    vm_stop(vm, RUN_INTERNAL_ERROR);
    if (vm->cfg.autopsy_stops)
        ask_exit(vm, 70);
}

static void serve(Vm *vm, uint32_t r)
{
    if (r & VM_QUIT)
        ask_exit(vm, vm->priv->exit_status);
    if (r & VM_DEBUG)
        stopped_in_debugger(vm);
    if (r & VM_PANIC)
        panicked(vm);
    if (r & VM_TRIPLE_FAULT)
        triple_fault(vm);
    if (r & VM_INTERNAL_ERROR)
        broken(vm);
    if (r & VM_IO_ERROR)
        vm_stop(vm, RUN_IO_ERROR);
    if (r & VM_STOP)
        vm_stop(vm, RUN_PAUSED);
    if (r & VM_WATCHDOG)
        vm_stop(vm, RUN_WATCHDOG);
    if (r & VM_RESET)
        reset_now(vm, vm->cause);
    if (r & VM_POWERDOWN)
        powerdown(vm);
    if (r & VM_SHUTDOWN)
        shutdown_now(vm, vm->cause);
}

static void serve_requests(void *arg)
{
    Vm *vm = arg;
    uint32_t r;

    if (!__atomic_load_n(&vm->requests, __ATOMIC_ACQUIRE))
        return;
    core__cpus_stop(vm);
    r = __atomic_exchange_n(&vm->requests, 0, __ATOMIC_ACQ_REL);
    serve(vm, r);
    if (vm_running(vm))
        core__cpus_resume(vm);
}

void vm_request(Vm *vm, VmRequest r, Cause c)
{
    uint32_t before = __atomic_fetch_or(&vm->requests, r, __ATOMIC_ACQ_REL);

    if (c != CAUSE_NONE)
        vm->cause = c;
    for (unsigned i = 0; i < vm->ncpus; i++) /* none goes on past the point where it was asked */
        cpu_request(vm->cpus[i], CPU_REQ_STOP);
    if (!before)
        loop_post(vm->loop, serve_requests, vm);
}

void vm_request_cpu(Vm *vm, VmRequest r, Cpu *cpu, const Exit *e)
{
    lock_take(&vm->lock);
    vm->priv->stop_cpu = cpu;
    vm->priv->stop_exit = *e;
    vm_request(vm, r, CAUSE_NONE);
    lock_drop(&vm->lock);
}

void vm_exit_code(Vm *vm, int status)
{
    g_mutex_lock(&vm->priv->exit_lock);
    if (!vm->priv->exit_asked)
        vm->priv->exit_status = status;
    g_mutex_unlock(&vm->priv->exit_lock);
    vm_request(vm, VM_QUIT, CAUSE_NONE);
}
