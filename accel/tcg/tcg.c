/*
 * accel/tcg/tcg.c - the software CPU as an accelerator: one host thread per vCPU runs blocks until something
 * has to be decided, which is done here: requests, interrupts, exceptions, halts, single steps.
 */
#include "accel/tcg/tcg.h"
#include "util/rcu.h"
#include "util/trace.h"
#include <errno.h>

static void kick(Cpu *c)
{
    X86 *s = c->regs;

    __atomic_store_n(&s->env.exit_req, 1, __ATOMIC_SEQ_CST);
}

/* Take an interrupt if one waits and may come now. */
static void take_irq(X86 *s, Cpu *c)
{
    int vector;

    if (!(cpu_requests(c) & CPU_REQ_IRQ) || !(s->eflags & EF_IF) || s->shadow || !c->intc)
        return;
    cpu_request_clear(c, CPU_REQ_IRQ);
    vector = c->intc->ack(c->intc_chip);
    if (c->intc->pending(c->intc_chip))
        __atomic_fetch_or(&c->request, CPU_REQ_IRQ, __ATOMIC_SEQ_CST);
    if (vector < 0)
        return;
    if (log_on(LOG_INT))
        log_print("x86: interrupt %#x pc %#" PRIx64 "\n", (unsigned)vector, s->env.pc);
    if (!x86_interrupt(s, (unsigned)vector, false, s->env.pc) && s->env.fault.kind >= FAULT_EXC)
        return; /* delivered as an exception by the caller */
}

static void take_nmi_smi(X86 *s, Cpu *c)
{
    if (cpu_requests(c) & CPU_REQ_SMI && !s->smm && !s->shadow) {
        cpu_request_clear(c, CPU_REQ_SMI);
        x86_smi(s);
    }
    if (cpu_requests(c) & CPU_REQ_NMI && !s->nmi_blocked && !s->shadow) {
        cpu_request_clear(c, CPU_REQ_NMI);
        s->nmi_blocked = 1;
        x86_interrupt(s, EXC_NMI, false, s->env.pc);
    }
}

/* What must happen before the guest's memory is touched again. */
static void serve_memory(X86 *s, Cpu *c)
{
    uint32_t r = cpu_requests(c);

    if (LIKELY(!(r & (CPU_REQ_TLB | REQ_STRIP | REQ_CODE)) && !s->tcg->flush_code))
        return;
    if (r & CPU_REQ_TLB) {
        cpu_request_clear(c, CPU_REQ_TLB);
        tcg_memory_changed(s->tcg);
    }
    if (r & REQ_STRIP)
        tcg_strip_todo(s->tcg);
    if (r & REQ_CODE)
        tcg_todo(s->tcg);
    if (s->tcg->flush_code)
        tcg_blocks_flush(s->tcg);
}

/* False: leave run(). */
static bool serve(X86 *s, Cpu *c)
{
    uint32_t r;

    __atomic_store_n(&s->env.exit_req, 0, __ATOMIC_SEQ_CST);
    serve_memory(s, c);
    r = cpu_requests(c);
    if (r & (CPU_REQ_STOP | CPU_REQ_INIT | CPU_REQ_SIPI))
        return false;
    if (r & CPU_REQ_DEBUG)
        cpu_request_clear(c, CPU_REQ_DEBUG);
    if (s->tcg->step)
        return true; /* the debugger steps through the program, not into interrupts */
    if (r & (CPU_REQ_SMI | CPU_REQ_NMI))
        take_nmi_smi(s, c);
    if (r & CPU_REQ_IRQ)
        take_irq(s, c);
    return true;
}

/* True: run() returns *e. */
static bool stopped(X86 *s, Cpu *c, bool tf, Exit *x)
{
    Env *e = &s->env;
    Fault f = e->fault;

    e->fault.kind = FAULT_NONE;
    switch (f.kind) {
    case FAULT_RETRY: tcg_jc_drop(s->tcg, e->pc); return false; /* so that it is looked up, and made alone */
    case FAULT_NONE:
    case FAULT_EXIT: return false;
    case FAULT_AGAIN:
        if (f.err) /* an iteration of a string instruction is done */
            x86_after_insn(s, tf);
        return false;
    case FAULT_POLL: x86_after_insn(s, tf); return false;
    case FAULT_HALT:
        if (f.err) { /* stays before this instruction until an interrupt comes */
            s->shadow = 0;
            *x = (Exit){ .kind = EXIT_HALT };
            return true;
        }
        e->pc = f.addr;
        if (x86_after_insn(s, tf))
            return false;
        *x = (Exit){ .kind = EXIT_HALT };
        return true;
    case FAULT_DEBUG:
        *x = (Exit){ .kind = EXIT_DEBUG, .addr = e->pc };
        return true;
    default:
        s->db_pending = 0; /* the instruction will run again */
        e->fault = f;
        return false;
    }
}

/* What another engine left half done. A software interrupt's instruction simply runs again. */
static void take_over(X86 *s)
{
    if (s->exc_pending) {
        if (s->exc_vector == EXC_DB)
            s->dr[6] |= s->exc_addr;
        s->env.fault = (Fault){ FAULT_EXC + s->exc_vector, s->exc_error, s->exc_addr };
    } else if (s->int_pending == 1) {
        x86_interrupt(s, s->int_vector, false, s->env.pc);
    }
    s->exc_pending = s->int_pending = 0;
}

static Exit run_locked(Cpu *c)
{
    X86 *s = c->regs;
    Exit x = { .kind = EXIT_KICKED };

    if (UNLIKELY(s->exc_pending | s->int_pending))
        take_over(s);
    for (;;) {
        bool tf;

        serve_memory(s, c);
        s->tcg->delivered = s->env.fault.kind >= FAULT_EXC;
        if (s->tcg->delivered && !x86_deliver(s)) {
            s->env.fault.kind = FAULT_NONE;
            return (Exit){ .kind = EXIT_SHUTDOWN };
        }
        x86_sti_shadow(s);
        if (tcg_debug_stop(s->tcg, &x))
            return x;
        if (!serve(s, c))
            return x;
        if (s->env.fault.kind)
            continue;
        if (x86_after_insn(s, false) || x86_code_break(s)) /* the former: of a task switch by an event */
            continue;
        tf = s->eflags & EF_TF;
        s->no_step = false;
        s->eflags &= ~(uint64_t)EF_RF;
        s->tcg->in_block = true;
        tcg_exec(s->tcg);
        s->tcg->in_block = false;
        if (stopped(s, c, tf, &x))
            return x;
        tcg_window_sample(s->tcg);
    }
}

static Exit run(Cpu *c)
{
    Exit x;

    /* Host pointers in the TLB are good while we run, and beyond: before any of them goes, view_changed() asks for
     * a flush, which is served before the next use. */
    rcu_lock();
    x86_ticks_reset(c->regs);
    x86_arm_debug(c->regs); /* registers may have come from outside */
    x = run_locked(c);
    rcu_unlock();
    return x;
}

/* Registers were changed from outside: control registers may lead elsewhere. */
static bool push(Cpu *c, unsigned groups, Error **err)
{
    X86 *s = c->regs;

    x86_set_eflags(s, s->eflags, ~0ull); /* whole: pulled, loaded or reset; */
    s->eflags = x86_eflags(s);           /* and it stays so until the CPU runs: this may be called again */
    tcg_set_cr3(s, false);
    tcg_flush_all(s);
    x86_update_mode(s);
    tcg_mode_changed(s);
    return true;
}

/* ---- memory listeners ---- */
static void view_changed(void *self)
{
    TcgVm *v = self;

    for (unsigned i = 0; i < v->vm->ncpus; i++) {
        Cpu *c = v->vm->cpus[i];

        if (c == cpu_self() && c->engine)
            tcg_memory_changed(c->engine);
        else
            cpu_request(c, CPU_REQ_TLB);
    }
}

/* Writes to the range must be seen again: no vCPU may have any of it writable. */
static void log_cleared(void *self, RamBlock *b, uint64_t off, uint64_t len)
{
    TcgVm *v = self;

    for (unsigned i = 0; i < v->vm->ncpus; i++)
        if (v->vm->cpus[i]->engine)
            tcg_ask_strip(v->vm->cpus[i], NULL);
}

static void log_changed(void *self, RamBlock *b) { view_changed(self); }

static void code_written(void *self, RamBlock *b, uint64_t off, uint64_t len)
{
    X86 *s = cpu_self() ? cpu_self()->regs : NULL;

    tcg_code_written(self, b, off, len, s ? s->tcg : NULL);
}

/* ---- -accel tcg,... ---- */
typedef struct TcgOptions {
    Obj obj;
    uint8_t jit; /* ON, OFF, AUTO */
    uint32_t tb_size;
    uint8_t thread;
    bool one_insn;
    uint8_t windows;
    uint64_t stress;
} TcgOptions;

static const char *const thread_names[] = { "multi", "single", NULL };
static const Prop tcg_props[] = {
    PROP_AUTO(TcgOptions, jit, "jit", AUTO, "compile guest code; off: interpret it"),
    PROP(TcgOptions, tb_size, "tb-size", 0, "MiB of translated code and what is known of it, all vCPUs together; 0: 256"),
    PROP(TcgOptions, one_insn, "one-insn-per-tb", false, "blocks of one instruction, to find one that is wrong"),
    PROP_ENUM(TcgOptions, thread, "thread", thread_names, "multi", "one host thread a vCPU in any case"),
    PROP_AUTO(TcgOptions, windows, "x-windows", AUTO, "the host's page tables check accesses of user programs; on: from the first access"),
    PROP(TcgOptions, stress, "x-stress", 0, "for tests, a seed: flush, retranslate, change the executor at random"),
};
static const ObjClass tcg_class = { .name = "tcg-accel", .desc = "software CPU", .size = sizeof(TcgOptions),
                                    .props = { tcg_props, G_N_ELEMENTS(tcg_props) } };
OBJECT(tcg_class);

/* Executable memory may be forbidden, or the host unknown: then the interpreter, said once unless jit=on insists. */
static bool start_jit(Cpu *c, TcgCpu *t, Error **err)
{
    const TcgOptions *o = (const TcgOptions *)(void *)c->vm->accel_obj;
    size_t bytes = o && o->tb_size ? (size_t)o->tb_size << 20 : tcg_jit_default();
    const char *why = NULL;

    t->budget = bytes = MAX(bytes / MAX(c->vm->cfg.max_cpus, 1), TCG_LEAST);
    t->one_insn = o && o->one_insn;
    if (o && o->jit == OFF)
        return true;
    t->stress.s = o ? o->stress : 0;
    t->stress_flush = 4096u << t->stress.s % 8;
    if (jit_usable(&why) && tcg_jit_init(t, bytes)) {
        tcg_windows_init(t, !o || o->windows != OFF, o && o->windows == ON);
        return true;
    }
    if (!why)
        why = g_strerror(errno);
    if (o && o->jit == ON)
        return fail(err, "no compiled code here: %s", why);
    if (!c->index)
        warn_report("guest code is interpreted, which is slow: %s", why);
    return true;
}

static bool vm_init(Vm *vm, Error **err)
{
    TcgVm *v = g_new0(TcgVm, 1);

    v->vm = vm;
    v->npages = 1ull << 24; /* 64 GiB of RAM, pages of zeroes until used */
    v->granule = g_try_malloc0(v->npages * sizeof(uint64_t));
    if (!v->granule) {
        g_free(v);
        return fail(err, "no memory for the software CPU's page table");
    }
    vm->accel_data = v;
    v->listen[0] = (MemListener){ .commit = view_changed, .log_start = log_changed, .log_clear = log_cleared,
                                  .code_written = code_written, .self = v };
    v->listen[1] = (MemListener){ .commit = view_changed, .self = v };
    as_listen(vm->mem, &v->listen[0]);
    as_listen(vm->smm, &v->listen[1]);
    return true;
}

static void vm_exit(Vm *vm)
{
    TcgVm *v = vm->accel_data;

    if (!v)
        return;
    as_unlisten(vm->mem, &v->listen[0]);
    as_unlisten(vm->smm, &v->listen[1]);
    g_free(v->granule);
    g_free(v);
    vm->accel_data = NULL;
}

static bool cpu_init(Cpu *c, Error **err)
{
    X86 *s = c->regs;
    TcgCpu *t = g_try_new0(TcgCpu, 1);

    if (!t)
        return fail(err, "no memory for a virtual CPU");
    t->cpu = c;
    t->s = s;
    s->tcg = t;
    s->env.cpu = c;
    if (!tcg_views_init(t)) {
        s->tcg = NULL;
        g_free(t);
        return fail(err, "no memory for a virtual CPU's translations");
    }
    tcg_blocks_init(t);
    c->engine = t;
    if (!start_jit(c, t, err))
        return false;
    return true;
}

static void cpu_exit(Cpu *c)
{
    TcgCpu *t = c->engine;

    tcg_blocks_free(t);
    tcg_views_free(t);
    tcg_jit_free(t);
    g_free(t->points);
    ((X86 *)c->regs)->tcg = NULL;
    g_free(t);
    c->engine = NULL;
}

/* The arithmetic flags join the others, for saving; running does not look at them there. */
static bool pull(Cpu *c, unsigned groups, Error **err)
{
    X86 *s = c->regs;

    s->eflags = x86_eflags(s);
    return true;
}

static void cpu_was_reset(Cpu *c)
{
    X86 *s = c->regs;

    s->env.cpu = c;
    s->tcg = c->engine;
    push(c, RG_ALL, NULL);
}

static bool smm(const Vm *vm) { return true; }

static const Accel tcg = {
    .name = "tcg", .desc = "software CPU", .smm = smm, .props = &tcg_class, .vm_init = vm_init, .vm_exit = vm_exit,
    .cpu_init = cpu_init, .cpu_exit = cpu_exit, .run = run, .kick = kick, .pull = pull, .push = push, .cpu_reset = cpu_was_reset, .debug = tcg_debug, .stats = tcg_stats, .opcount = tcg_opcount, .past = tcg_past,
};
ACCEL(tcg);
