/*
 * core/cpu.c - virtual CPUs and the one vCPU loop.
 * Invariants: run() is called with no lock held; a vCPU that sees CPU_REQ_STOP parks under the VM lock
 * until the VM runs again and no request of the VM is unserved; mp_state is changed by the vCPU's
 * own thread, or by anybody while it is parked.
 */
#include "core/priv.h"
#include <unistd.h>
#include "util/trace.h"
#include <sys/mman.h>

static _Thread_local Cpu *self;

TRACE_POINT(cpu_exit_point, "cpu.exit", "cpu %" PRIu64 " kind %" PRIu64 " addr %#" PRIx64);

Cpu *cpu_self(void) { return self; }

/* Below the registers lies a stack for what an executor calls with its stack pointer there, below that a guard page. */
enum { HELPER_STACK = 1 << 20, GUARD = 4096 };

static size_t regs_bytes(const Cpu *c) { return GUARD + HELPER_STACK + align_up(c->target->regs_size, 4096); }

static bool cpu_alloc_regs(Cpu *c)
{
    uint8_t *p = mmap(NULL, regs_bytes(c), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return false;
    mprotect(p, GUARD, PROT_NONE);
    c->regs = p + GUARD + HELPER_STACK;
    return true;
}

static void free_regs(Cpu *c)
{
    if (c->regs)
        munmap((uint8_t *)c->regs - GUARD - HELPER_STACK, regs_bytes(c));
}

static void cpu_fini(Obj *o)
{
    Cpu *c = (Cpu *)o;

    g_assert(!c->thread);
    if (c->engine && c->accel->cpu_exit)
        c->accel->cpu_exit(c);
    free_regs(c);
    g_mutex_clear(&c->wake_lock);
    g_cond_clear(&c->wake);
}

static const ObjClass cpu_class = { .name = "cpu", .desc = "virtual CPU", .size = sizeof(Cpu), .fini = cpu_fini };
OBJECT(cpu_class);

/* "qemu64,+x": the type name QOM shows is MODEL-TARGET-cpu. */
static const ObjClass *class_for(Vm *vm, const Target *t, const char *model)
{
    g_autofree char *base = g_strndup(model, strcspn(model, ","));
    g_autofree char *name = g_strdup_printf("%s-%s-cpu", base, t->name);
    ObjClass *c = g_hash_table_lookup(vm->priv->cpu_classes, name);

    if (c)
        return c;
    c = g_new0(ObjClass, 1);
    *c = cpu_class;
    c->name = g_intern_string(name);
    c->parent = &cpu_class;
    c->fini = NULL;
    if (t->cpu_props)
        c->props = *t->cpu_props;
    g_hash_table_insert(vm->priv->cpu_classes, (gpointer)c->name, c);
    return c;
}

Cpu *cpu_new(Vm *vm, const char *model, uint32_t apic_id, Error **err)
{
    const Target *t = target_find(NULL);
    Cpu *c;

    if (!t) {
        fail(err, "this build has no CPU target");
        return NULL;
    }
    c = (Cpu *)obj_new(class_for(vm, t, model ? model : vm->mc && vm->mc->default_cpu ? vm->mc->default_cpu : "default"), vm->unattached, NULL, NULL, err);
    if (!c)
        return NULL;
    c->accel = vm->accel;
    c->target = t;
    c->vm = vm;
    c->index = vm->ncpus;
    c->apic_id = apic_id;
    c->mem[0] = vm->mem;
    c->mem[1] = vm->smm;
    c->ports = vm->ports;
    c->parked = true;
    g_mutex_init(&c->wake_lock);
    g_cond_init(&c->wake);
    g_queue_init(&c->work);
    if (!cpu_alloc_regs(c) || !t->cpu_init(c, model, err) || !vm->accel->cpu_init(c, err)) {
        obj_free(&c->obj);
        return NULL;
    }
    vm->cpus = g_renew(Cpu *, vm->cpus, vm->ncpus + 1);
    vm->cpus[vm->ncpus++] = c;
    cpu_reset(c);
    return c;
}

void cpu_set_intc(Cpu *c, const struct CpuIntc *ops, void *chip)
{
    c->intc = ops;
    c->intc_chip = chip;
}

void cpu_request(Cpu *c, uint32_t bits)
{
    uint32_t before = __atomic_fetch_or(&c->request, bits, __ATOMIC_SEQ_CST);

    if ((before & bits) == bits && !(bits & (CPU_REQ_STOP | CPU_REQ_IRQ)))
        return;
    if (__atomic_load_n(&c->running, __ATOMIC_SEQ_CST) && c->accel->kick)
        c->accel->kick(c);
    g_mutex_lock(&c->wake_lock);
    g_cond_signal(&c->wake);
    g_mutex_unlock(&c->wake_lock);
}

static bool irq_waits(Cpu *c)
{
    return c->intc && c->intc->pending(c->intc_chip) && (!c->target->irq_open || c->target->irq_open(c));
}

bool cpu_wants_to_run(Cpu *c)
{
    uint32_t r = cpu_requests(c);

    switch (__atomic_load_n(&c->mp_state, __ATOMIC_ACQUIRE)) {
    case CPU_RUNNABLE: return true;
    case CPU_HALTED:
        return r & (CPU_REQ_NMI | CPU_REQ_SMI | CPU_REQ_INIT | CPU_REQ_MCE) || (r & CPU_REQ_IRQ && irq_waits(c));
    case CPU_WAIT_SIPI: return r & (CPU_REQ_INIT | CPU_REQ_SIPI);
    default: return r & CPU_REQ_INIT;
    }
}

/* Sleeps until it may run or must park. */
static void sleep_until_wanted(Cpu *c)
{
    g_mutex_lock(&c->wake_lock);
    while (!(cpu_requests(c) & (CPU_REQ_STOP | CPU_REQ_INIT | CPU_REQ_SIPI | CPU_REQ_NMI | CPU_REQ_SMI | CPU_REQ_MCE |
                                CPU_REQ_DEBUG | CPU_REQ_IRQ)))
        g_cond_wait(&c->wake, &c->wake_lock);
    g_mutex_unlock(&c->wake_lock);
}

typedef struct Work {
    void (*fn)(Cpu *c, void *arg);
    void *arg;
    bool done;
} Work;

static void do_work(Cpu *c)
{
    Work *w;

    while ((w = g_queue_pop_head(&c->work))) {
        w->fn(c, w->arg);
        w->done = true;
        g_cond_broadcast(&c->vm->priv->parked);
    }
}

void cpu_run_on(Cpu *c, void (*fn)(Cpu *c, void *arg), void *arg)
{
    Work w = { fn, arg, false };

    if (self == c || !c->thread) {
        fn(c, arg);
        return;
    }
    lock_take(&c->vm->lock);
    g_queue_push_tail(&c->work, &w);
    g_cond_broadcast(&c->vm->priv->resumed);
    cpu_request(c, CPU_REQ_STOP);
    while (!w.done)
        lock_wait(&c->vm->lock, &c->vm->priv->parked, 0);
    lock_drop(&c->vm->lock);
}

static bool must_park(const Vm *vm)
{
    return vm->priv->cpus_stopped || __atomic_load_n(&vm->requests, __ATOMIC_ACQUIRE);
}

/* VM lock inside. False: the VM is ending. */
static bool park(Cpu *c)
{
    Vm *vm = c->vm;
    bool more;

    lock_take(&vm->lock);
    cpu_request_clear(c, CPU_REQ_STOP);
    c->parked = true;
    g_cond_broadcast(&vm->priv->parked);
    do_work(c);
    while (must_park(vm) && !vm->priv->quitting) {
        lock_wait(&vm->lock, &vm->priv->resumed, 0);
        do_work(c);
    }
    more = !vm->priv->quitting;
    if (more)
        c->parked = false;
    lock_drop(&vm->lock);
    return more;
}

static void set_mp(Cpu *c, uint8_t s) { __atomic_store_n(&c->mp_state, s, __ATOMIC_RELEASE); }

static void serve_init(Cpu *c)
{
    cpu_request_clear(c, CPU_REQ_INIT);
    cpu_sync(c, RG_ALL);
    c->target->cpu_reset(c, true);
    if (c->intc && c->intc->init)
        c->intc->init(c->intc_chip);
    if (c->accel->cpu_reset)
        c->accel->cpu_reset(c);
    cpu_touch(c);
    set_mp(c, c->index ? CPU_WAIT_SIPI : CPU_RUNNABLE);
}

static void serve_sipi(Cpu *c)
{
    cpu_request_clear(c, CPU_REQ_SIPI);
    if (c->mp_state != CPU_WAIT_SIPI)
        return;
    if (c->target->sipi)
        c->target->sipi(c, __atomic_load_n(&c->sipi_vector, __ATOMIC_RELAXED));
    cpu_touch(c);
    set_mp(c, CPU_RUNNABLE);
}

/* Serves requests and sleeps while there is nothing to do. False once the VM ends. */
static bool cpu_ready(Cpu *c)
{
    for (;;) {
        uint32_t r = cpu_requests(c);

        if (r & CPU_REQ_STOP) {
            if (!park(c))
                return false;
            continue;
        }
        if (r & CPU_REQ_INIT)
            serve_init(c);
        if (r & CPU_REQ_SIPI)
            serve_sipi(c);
        if (c->mp_state == CPU_RUNNABLE || c->sleeps_in_run)
            return true;
        if (c->mp_state == CPU_HALTED && cpu_wants_to_run(c)) {
            set_mp(c, CPU_RUNNABLE);
            return true;
        }
        if (r & CPU_REQ_IRQ) { /* none that ends this sleep: the next edge sets the bit again */
            cpu_request_clear(c, CPU_REQ_IRQ);
            if (cpu_wants_to_run(c) || (c->intc && c->intc->pending(c->intc_chip) && c->target->irq_open &&
                                        c->target->irq_open(c))) {
                __atomic_fetch_or(&c->request, CPU_REQ_IRQ, __ATOMIC_SEQ_CST);
                continue;
            }
        }
        if (c->mp_state != CPU_RUNNABLE && r & (CPU_REQ_NMI | CPU_REQ_SMI | CPU_REQ_MCE | CPU_REQ_DEBUG))
            cpu_request_clear(c, CPU_REQ_NMI | CPU_REQ_SMI | CPU_REQ_MCE | CPU_REQ_DEBUG); /* off or waiting for SIPI */
        sleep_until_wanted(c);
    }
}

static void serve(Cpu *c, AddrSpace *as, const Exit *e)
{
    uint8_t *p = e->data;

    for (unsigned i = 0; i < e->count; i++, p += e->size)
        if (e->write)
            as_write(as, e->addr, p, e->size, c->attrs);
        else if (as_read(as, e->addr, p, e->size, c->attrs) != MEM_OK)
            memset(p, 0xff, e->size); /* nobody drives the bus */
}

/* HALT, then the requests are read again by cpu_ready: an interrupt that came meanwhile is not lost. */
static void halt(Cpu *c) { set_mp(c, CPU_HALTED); }

void cpu_park(Cpu *c, unsigned vm_req, const Exit *e) { vm_request_cpu(c->vm, vm_req, c, e); }

static Exit run(Cpu *c)
{
    Exit e;
    Error *err = NULL;

    if (c->dirty && c->accel->push && !c->accel->push(c, RG_ALL, &err)) {
        static _Thread_local char why[256];

        g_strlcpy(why, error_text(err), sizeof(why));
        error_free(err);
        return (Exit){ .kind = EXIT_BROKEN, .why = why };
    }
    c->dirty = false;
    c->stale = true;
    __atomic_store_n(&c->running, true, __ATOMIC_SEQ_CST);
    if (cpu_requests(c) & CPU_REQ_STOP)
        e = (Exit){ .kind = EXIT_KICKED };
    else
        e = c->accel->run(c);
    __atomic_store_n(&c->running, false, __ATOMIC_SEQ_CST);
    return e;
}

static void cpu_loop(Cpu *c)
{
    while (cpu_ready(c)) {
        Exit e = run(c);

        if (e.kind != EXIT_KICKED)
            trace(&cpu_exit_point, NULL, c->index, e.kind, e.addr, 0);
        switch (e.kind) {
        case EXIT_MMIO: serve(c, c->mem[c->attrs.secure], &e); break;
        case EXIT_IO: serve(c, c->ports, &e); break;
        case EXIT_HALT: halt(c); break;
        case EXIT_KICKED: break;
        case EXIT_DEBUG: cpu_park(c, VM_DEBUG, &e); break;
        case EXIT_SHUTDOWN: cpu_park(c, VM_TRIPLE_FAULT, &e); break;
        case EXIT_BROKEN: cpu_park(c, VM_INTERNAL_ERROR, &e); break;
        }
    }
}

static gpointer cpu_thread(gpointer arg)
{
    self = arg;
    __atomic_store_n(&self->tid, gettid(), __ATOMIC_RELEASE);
    cpu_loop(self);
    return NULL;
}

void core__cpu_start_threads(Vm *vm)
{
    for (unsigned i = 0; i < vm->ncpus; i++) {
        Cpu *c = vm->cpus[i];
        g_autofree char *name = g_strdup_printf("CPU %u", i);

        if (c->thread || !c->accel->run)
            continue;
        cpu_request(c, CPU_REQ_STOP); /* it parks first */
        c->thread = g_thread_new(name, cpu_thread, c);
        while (!__atomic_load_n(&c->tid, __ATOMIC_ACQUIRE)) /* the first thing it says; clients pin it by this */
            g_thread_yield();
    }
}

/* VM lock held. */
void core__cpus_stop(Vm *vm)
{
    g_assert(!self || !self->vm || self->vm != vm);
    for (bool all = false; !all;) {
        /* Again after every wait: the loop may have stopped and resumed them while the lock was free. */
        vm->priv->cpus_stopped = true;
        all = true;
        for (unsigned i = 0; i < vm->ncpus; i++)
            if (vm->cpus[i]->thread && !vm->cpus[i]->parked) {
                all = false;
                cpu_request(vm->cpus[i], CPU_REQ_STOP);
            }
        if (!all)
            lock_wait(&vm->lock, &vm->priv->parked, 0);
    }
}

void core__cpus_resume(Vm *vm)
{
    vm->priv->cpus_stopped = false;
    g_cond_broadcast(&vm->priv->resumed);
}

void core__cpu_join(Vm *vm)
{
    lock_take(&vm->lock);
    core__cpus_stop(vm);
    vm->priv->quitting = true;
    g_cond_broadcast(&vm->priv->resumed);
    lock_drop(&vm->lock);
    for (unsigned i = 0; i < vm->ncpus; i++)
        if (vm->cpus[i]->thread) {
            g_thread_join(vm->cpus[i]->thread);
            WITH_LOCK(&vm->lock) /* the loop may be stopping them still */
                vm->cpus[i]->thread = NULL;
        }
}

bool cpu_pull(Cpu *c, unsigned groups, Error **err)
{
    if (!c->stale)
        return true;
    if (c->accel->pull && !c->accel->pull(c, groups, err))
        return false;
    if (groups == (unsigned)RG_ALL)
        c->stale = false;
    return true;
}

bool cpu_sync(Cpu *c, unsigned groups)
{
    Error *err = NULL;

    if (cpu_pull(c, groups, &err))
        return true;
    error_report_free(err);
    return false;
}

void cpu_touch(Cpu *c)
{
    c->dirty = true;
    c->stale = false;
}

static const CpuReg *reg_find(const Cpu *c, const char *name)
{
    for (size_t i = 0; i < c->target->nregs; i++)
        if (!strcmp(c->target->regs[i].name, name))
            return &c->target->regs[i];
    return NULL;
}

static unsigned reg_bytes(const CpuReg *r)
{
    unsigned n = 1;

    while (n * 8 < r->bits && n < 8)
        n *= 2;
    return n;
}

bool cpu_set_reg(Cpu *c, const char *name, uint64_t v)
{
    const CpuReg *r = reg_find(c, name);

    if (!r || r->bits > 64)
        return false;
    cpu_sync(c, RG_ALL);
    memcpy((char *)c->regs + r->at, &v, reg_bytes(r)); /* hosts are little-endian: checked in meson */
    cpu_touch(c);
    return true;
}

bool cpu_get_reg(Cpu *c, const char *name, uint64_t *v)
{
    const CpuReg *r = reg_find(c, name);

    if (!r || r->bits > 64)
        return false;
    cpu_sync(c, RG_ALL);
    *v = 0;
    memcpy(v, (char *)c->regs + r->at, reg_bytes(r));
    return true;
}

void cpu_reset(Cpu *c)
{
    c->stale = false;
    c->target->cpu_reset(c, false);
    c->attrs.secure = false;
    cpu_request_clear(c, ~(uint32_t)CPU_REQ_KEPT);
    set_mp(c, c->index ? CPU_WAIT_SIPI : CPU_RUNNABLE);
    if (c->accel->cpu_reset)
        c->accel->cpu_reset(c);
    cpu_touch(c);
}

static bool each_page(Cpu *c, uint64_t va, uint8_t *p, size_t len, bool write)
{
    cpu_sync(c, RG_ALL);
    while (len) {
        Walk w;
        size_t n = MIN(len, 4096 - (va & 4095));
        AddrSpace *as = c->mem[c->attrs.secure];
        MemAttrs at = { .secure = c->attrs.secure, .peek = true };

        if (!c->target->walk(c, va, ACC_R | ACC_PEEK, &w))
            return false;
        if ((write ? as_write_rom(as, w.pa, p, n) : as_read(as, w.pa, p, n, at)) != MEM_OK)
            return false;
        va += n;
        p += n;
        len -= n;
    }
    return true;
}

bool cpu_read_va(Cpu *c, uint64_t va, void *buf, size_t len) { return each_page(c, va, buf, len, false); }
bool cpu_write_va(Cpu *c, uint64_t va, const void *buf, size_t len)
{
    return each_page(c, va, (uint8_t *)(uintptr_t)buf, len, true);
}
