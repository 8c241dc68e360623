/*
 * accel/kvm/kvm.c - virtual machines by Linux's KVM: a VM's life, its CPUs, and the loop that turns KVM's exits into
 * core's. What only KVM knows of (windows, EOIs, TPR) is served here and never leaves.
 *
 * How a CPU is stopped: kick() sets immediate_exit and sends a signal. A CPU clears immediate_exit before it reads its
 * requests, so that a kick after that makes KVM_RUN return at once, before it the request is seen.
 */
#include "accel/kvm/kvm.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SIG_KICK = SIGUSR1, TSS_ADDR = 0xfffbd000, IDENTITY_ADDR = 0xfffbc000 };

typedef struct KvmProps {
    Obj obj;
    char *chip;
} KvmProps;

/* clang-format off */
static const Prop props[] = { PROP_STR(KvmProps, chip, "kernel-irqchip", "on", "interrupt controllers in the kernel: on, split or off") };
/* clang-format on */
static const ObjClass kvm_props = { .name = "kvm-accel", .desc = "KVM", .size = sizeof(KvmProps), .props = TABLE(props) };
OBJECT(kvm_props);

void kvm_break(KvmVm *v, const char *fmt, ...)
{
    char *text, *none = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (!__atomic_compare_exchange_n(&v->broken, &none, text, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        g_free(text);
    for (unsigned i = 0; i < v->vm->ncpus; i++)
        kvm_kick(v->vm->cpus[i]);
}

bool kvm_enable(int fd, uint32_t cap, uint64_t arg, Error **err)
{
    struct kvm_enable_cap c = { .cap = cap, .args = { arg } };

    return kvm_must(fd, KVM_ENABLE_CAP, &c, err);
}

/* ---- kicks ---- */
static void on_kick(int sig) {}

static void catch_kicks(void)
{
    static gsize once; /* signals are the process's */

    if (g_once_init_enter(&once)) {
        struct sigaction s = { .sa_handler = on_kick };

        sigaction(SIG_KICK, &s, NULL);
        g_once_init_leave(&once, 1);
    }
}

void kvm_kick(Cpu *c)
{
    KvmCpu *k = kvm_cpu_of(c);
    int tid;

    if (!k || !k->run)
        return;
    __atomic_store_n(&k->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    tid = __atomic_load_n(&k->tid, __ATOMIC_ACQUIRE);
    if (tid && c != cpu_self())
        syscall(SYS_tgkill, getpid(), tid, SIG_KICK);
}

/* ---- VM ---- */
static bool choose_chip(KvmVm *v, Error **err)
{
    const char *text = v->vm->accel_obj ? ((KvmProps *)(void *)v->vm->accel_obj)->chip : "on";

    if (!g_strcmp0(text, "on"))
        v->chip = CHIP_ON;
    else if (!g_strcmp0(text, "split"))
        v->chip = CHIP_SPLIT;
    else if (!g_strcmp0(text, "off"))
        v->chip = CHIP_OFF;
    else
        return fail(err, "-accel kvm,kernel-irqchip=%s: want on, split or off", text);
    return true;
}

static bool make_vm(KvmVm *v, Error **err)
{
    uint64_t identity = IDENTITY_ADDR;
    long r;

    v->sys = kvm_open(&v->caps, err);
    if (v->sys < 0)
        return false;
    r = kvm_call(v->sys, KVM_CREATE_VM, kvm_value(0));
    if (r < 0) {
        fail_errno_is(err, (int)-r, "KVM_CREATE_VM: KVM makes no virtual machine");
        return r == -EBUSY ? error_hint(err, "another hypervisor (VirtualBox, VMware) holds the processor: stop it") : false;
    }
    v->fd = (int)r;
    r = kvm_call(v->sys, KVM_GET_VCPU_MMAP_SIZE, NULL);
    if (r < (long)sizeof(struct kvm_run))
        return fail(err, "KVM_GET_VCPU_MMAP_SIZE: a CPU's run area of %ld bytes is too small", r);
    v->run_size = (size_t)r;
    v->tsc_hz = kvm_host_tsc_hz(v->sys, err);
    if (!v->tsc_hz)
        return false;
    if (v->caps.exception_payload > 0 && !kvm_enable(v->fd, KVM_CAP_EXCEPTION_PAYLOAD, 1, err))
        return false;
    if (!kvm_must(v->fd, KVM_SET_TSS_ADDR, kvm_value(TSS_ADDR), err))
        return false;
    return v->caps.identity_map <= 0 || kvm_must(v->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity, err);
}

static bool load_msrs(KvmVm *v, Error **err)
{
    struct kvm_msr_list ask = { .nmsrs = 0 };
    long r = kvm_call(v->sys, KVM_GET_MSR_INDEX_LIST, &ask);

    if (r < 0 && r != -E2BIG)
        return fail_errno_is(err, (int)-r, "KVM refuses KVM_GET_MSR_INDEX_LIST");
    ask.nmsrs = MIN(ask.nmsrs, 4096u);
    v->msrs = g_malloc0(sizeof(ask) + ask.nmsrs * sizeof(uint32_t));
    v->msrs->nmsrs = ask.nmsrs;
    return kvm_must(v->sys, KVM_GET_MSR_INDEX_LIST, v->msrs, err);
}

static void free_vm(KvmVm *v)
{
    vm_unlisten(v->vm, &v->watch);
    kvm_mem_exit(v);
    kvm_irq_exit(v);
    if (v->fd >= 0)
        kvm_kernel()->close(v->fd);
    if (v->sys >= 0)
        kvm_kernel()->close(v->sys);
    g_free(v->cpuid);
    g_free(v->msrs);
    g_free(v->broken);
    g_mutex_clear(&v->gate);
    g_cond_clear(&v->left);
    g_cond_clear(&v->opened);
    v->vm->accel_data = NULL;
    g_free(v);
}

/* What was reset or loaded reaches KVM before any CPU runs: one that ran might interrupt another that still waits. */
static void push_fresh(KvmVm *v)
{
    for (unsigned i = 0; i < v->vm->ncpus; i++) {
        Cpu *c = v->vm->cpus[i];
        Error *err = NULL;

        if (!c->dirty || !kvm_cpu_of(c)->fresh)
            continue;
        if (kvm_push(c, RG_ALL, &err)) {
            c->dirty = false;
            c->stale = true;
        } else {
            kvm_break(v, "CPU %u: %s", i, error_text(err));
            error_free(err);
        }
    }
}

static void on_state(void *self, RunState now)
{
    KvmVm *v = self;

    if (now == RUN_RUNNING) {
        push_fresh(v);
        kvm_time_starts(v);
    } else if (!v->stopped_at) {
        kvm_time_stopped(v);
    }
}

static void on_reset(void *self)
{
    KvmVm *v = self;

    if (v->vm->irq && v->vm->irq->chip_push)
        v->vm->irq->chip_push(v->vm);
    push_fresh(v);
}

static bool make(Vm *vm, Error **err)
{
    KvmVm *v = g_new0(KvmVm, 1);

    v->vm = vm;
    v->sys = v->fd = -1;
    v->stopped_at = host_now();
    v->watch = (VmListener){ .state = on_state, .reset = on_reset, .self = v };
    g_mutex_init(&v->gate);
    g_cond_init(&v->left);
    g_cond_init(&v->opened);
    vm->accel_data = v;
    vm_listen(vm, &v->watch);
    catch_kicks();
    kvm_blob_init(v);
    if (choose_chip(v, err) && make_vm(v, err) && kvm_cpuid_load(v, err) && load_msrs(v, err) && kvm_irq_init(v, err) &&
        kvm_mem_init(v, err))
        return true;
    free_vm(v);
    return false;
}

static bool before_start(Vm *vm, Error **err)
{
    KvmVm *v = kvm_of(vm);

    return !v->broken || fail(err, "%s", v->broken);
}

static void unmake(Vm *vm)
{
    if (kvm_of(vm))
        free_vm(kvm_of(vm));
}

/* ---- CPUs ---- */
static void free_cpu(KvmCpu *k)
{
    if (k->run) {
        if (k->v->caps.coalesced_mmio > 0)
            __atomic_store_n(&k->v->ring, NULL, __ATOMIC_RELEASE);
        kvm_kernel()->unmap(k->run, k->v->run_size);
    }
    if (k->fd >= 0)
        kvm_kernel()->close(k->fd);
    g_free(k->xsave);
    g_free(k->nested);
    g_free(k);
}

static bool make_cpu(KvmCpu *k, Error **err)
{
    KvmVm *v = k->v;
    long r = kvm_call(v->fd, KVM_CREATE_VCPU, kvm_value(k->cpu->apic_id));
    int at = v->caps.coalesced_mmio;
    void *p;

    if (r < 0)
        return fail_errno_is(err, (int)-r, "KVM_CREATE_VCPU: KVM makes no CPU %u", k->cpu->index);
    k->fd = (int)r;
    p = kvm_kernel()->map(k->fd, v->run_size);
    if (p == MAP_FAILED)
        return fail_errno(err, "cannot map the run area of CPU %u", k->cpu->index);
    k->run = p;
    if (at > 0 && (size_t)(at + 1) * 4096 <= v->run_size)
        __atomic_store_n(&v->ring, (struct kvm_coalesced_mmio_ring *)((char *)p + (size_t)at * 4096), __ATOMIC_RELEASE);
    return kvm_tsc_init(k, err) && kvm_cpuid_set(k, err) && kvm_fpu_init(k, err);
}

static bool cpu_init(Cpu *c, Error **err)
{
    KvmCpu *k = g_new0(KvmCpu, 1);

    k->cpu = c;
    k->s = c->regs;
    k->v = kvm_of(c->vm);
    k->fd = -1;
    c->sleeps_in_run = k->v->chip != CHIP_OFF;
    if (!make_cpu(k, err)) {
        free_cpu(k);
        return false;
    }
    c->engine = k;
    return true;
}

static void cpu_exit(Cpu *c)
{
    free_cpu(kvm_cpu_of(c));
    c->engine = NULL;
}

static void cpu_was_reset(Cpu *c)
{
    KvmCpu *k = kvm_cpu_of(c);

    k->fresh = true;
    k->pending_io = false;
    k->run->request_interrupt_window = k->run->ready_for_interrupt_injection = 0;
}

/* ---- running ---- */
static void gate_leave(KvmCpu *k)
{
    KvmVm *v = k->v;

    __atomic_store_n(&k->inside, 0, __ATOMIC_SEQ_CST);
    if (LIKELY(!__atomic_load_n(&v->closed, __ATOMIC_SEQ_CST)))
        return;
    g_mutex_lock(&v->gate);
    g_cond_broadcast(&v->left);
    g_mutex_unlock(&v->gate);
}

/* False: memory was changing; look at the requests again. */
static bool gate_enter(KvmCpu *k)
{
    KvmVm *v = k->v;

    __atomic_store_n(&k->inside, 1, __ATOMIC_SEQ_CST);
    if (LIKELY(!__atomic_load_n(&v->closed, __ATOMIC_SEQ_CST)))
        return true;
    gate_leave(k);
    g_mutex_lock(&v->gate);
    while (__atomic_load_n(&v->closed, __ATOMIC_SEQ_CST))
        g_cond_wait(&v->opened, &v->gate);
    g_mutex_unlock(&v->gate);
    return false;
}

/* True: *x is core's to serve. */
static bool served(KvmCpu *k, Exit *x)
{
    struct kvm_run *r = k->run;
    Cpu *c = k->cpu;

    switch (r->exit_reason) {
    case KVM_EXIT_IO:
        *x = (Exit){ .kind = EXIT_IO, .addr = r->io.port, .data = (char *)r + r->io.data_offset, .size = r->io.size,
                     .count = r->io.count, .write = r->io.direction == KVM_EXIT_IO_OUT };
        k->pending_io = true;
        return true;
    case KVM_EXIT_MMIO:
        *x = (Exit){ .kind = EXIT_MMIO, .addr = r->mmio.phys_addr, .data = r->mmio.data, .size = MIN(r->mmio.len, 8u), .count = 1,
                     .write = r->mmio.is_write };
        k->pending_io = true;
        return true;
    case KVM_EXIT_HLT:
        x86_of(c)->eflags = r->if_flag ? x86_of(c)->eflags | EF_IF : x86_of(c)->eflags & ~(uint64_t)EF_IF; /* core asks irq_open */
        *x = (Exit){ .kind = EXIT_HALT };
        return true;
    case KVM_EXIT_SHUTDOWN: *x = (Exit){ .kind = EXIT_SHUTDOWN }; return true; /* AMD-V has reset registers by now: autopsy says which */
    case KVM_EXIT_DEBUG: *x = kvm_debug_exit(k); return true;
    case KVM_EXIT_IOAPIC_EOI: vm_eoi(c->vm, r->eoi.vector); return false;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_INTR: return false;
    case KVM_EXIT_SYSTEM_EVENT:
        vm_request(c->vm, r->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN ? VM_SHUTDOWN : VM_RESET, CAUSE_GUEST_RESET);
        *x = (Exit){ .kind = EXIT_KICKED };
        return true;
    default:
        kvm_explain(k, 0);
        *x = (Exit){ .kind = EXIT_BROKEN, .why = k->why };
        return true;
    }
}

/* True: run() returns *x. */
static bool turn(KvmCpu *k, Exit *x)
{
    Cpu *c = k->cpu;
    char *broken;
    long r;

    __atomic_store_n(&k->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    *x = (Exit){ .kind = EXIT_KICKED };
    broken = __atomic_load_n(&k->v->broken, __ATOMIC_ACQUIRE);
    if (broken) {
        *x = (Exit){ .kind = EXIT_BROKEN, .why = broken };
        return true;
    }
    cpu_request_clear(c, CPU_REQ_TLB | CPU_REQ_DEBUG);
    if (cpu_requests(c) & (CPU_REQ_STOP | (c->sleeps_in_run ? 0 : CPU_REQ_INIT | CPU_REQ_SIPI)))
        return true;
    kvm_inject(k);
    if (!gate_enter(k))
        return false;
    r = kvm_call(k->fd, KVM_RUN, NULL);
    gate_leave(k);
    k->pending_io = false;
    kvm_drain(k->v);
    kvm_ran(k);
    if (r == -EINTR || r == -EAGAIN)
        return false;
    if (r < 0) {
        kvm_explain(k, r);
        *x = (Exit){ .kind = EXIT_BROKEN, .why = k->why };
        return true;
    }
    return served(k, x);
}

static Exit run(Cpu *c)
{
    KvmCpu *k = kvm_cpu_of(c);
    Exit x;

    if (!k->tid)
        __atomic_store_n(&k->tid, (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
    while (!turn(k, &x))
        ;
    return x;
}

static void stats(Vm *vm, GString *out)
{
    KvmVm *v = kvm_of(vm);
    static const char *const chip[] = { "on", "split", "off" };

    g_string_append_printf(out, "KVM: kernel-irqchip %s, %u memory slots, TSC scaling %s, SMM %s\n", chip[v->chip], v->slots->len,
                           v->caps.tsc_control > 0 ? "yes" : "no", v->caps.smm > 0 ? "yes" : "no");
}

static uint64_t tsc_hz(Vm *vm) { return kvm_of(vm)->tsc_hz; }
static bool eventfds(Vm *vm) { return kvm_of(vm)->caps.ioeventfd > 0; }

static bool smm(const Vm *vm) { return kvm_of(vm)->caps.smm > 0 && kvm_of(vm)->caps.address_spaces > 1; }

static const Accel kvm = {
    .name = "kvm", .desc = "Linux's KVM: guest code runs on the processor itself", .props = &kvm_props, .probe = kvm_probe, .fast = kvm_fast,
    .vm_init = make, .vm_start = before_start, .vm_exit = unmake, .cpu_init = cpu_init, .cpu_exit = cpu_exit, .run = run,
    .kick = kvm_kick, .pull = kvm_pull, .push = kvm_push, .can_hold = kvm_can_hold, .debug = kvm_debug, .cpu_reset = cpu_was_reset,
    .stats = stats, .smm = smm, .cpuid = kvm_cpuid_offer, .tsc_hz = tsc_hz, .eventfds = eventfds,
};
ACCEL(kvm);
