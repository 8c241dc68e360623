/*
 * accel/kvm/x86.c - registers between KVM and X86, whole, in both directions. What is one number each comes from regs.def
 * (column kvm: the MSR); the rest is grouped by KVM's calls. All of a CPU moves at once: it is the unit of laziness.
 * Order when writing: SREGS first, for they decide how others are read; events after REGS, which drops exceptions.
 */
#include "accel/kvm/kvm.h"
#include <errno.h>

enum { MSRS = 160, MSR_EFER = 0xc0000080, MSR_TSC_DEADLINE = 0x6e0, MSR_TSC_ADJUST = 0x3b };

/* ---- SREGS ---- */
static uint32_t attr_of(const struct kvm_segment *g)
{
    return (uint32_t)((g->type & 15) | (g->s & 1) << 4 | (g->dpl & 3) << 5 | (g->present & 1) << 7 | (g->avl & 1) << 12 |
                      (g->l & 1) << 13 | (g->db & 1) << 14 | (g->g & 1) << 15 | (g->unusable & 1) << 16);
}

static struct kvm_segment segment(uint16_t sel, uint64_t base, uint32_t limit, uint32_t a)
{
    return (struct kvm_segment){ .base = base, .limit = limit, .selector = sel, .type = a & 15, .s = a >> 4 & 1, .dpl = a >> 5 & 3,
                                 .present = a >> 7 & 1, .avl = a >> 12 & 1, .l = a >> 13 & 1, .db = a >> 14 & 1, .g = a >> 15 & 1,
                                 .unusable = a >> 16 & 1 };
}

static struct kvm_segment table_segment(const X86Table *t) { return segment(t->sel, t->base, t->limit, t->attr); }

static X86Table table_of(const struct kvm_segment *g)
{
    return (X86Table){ .base = g->base, .limit = g->limit, .attr = attr_of(g) & 0xffff, .sel = g->selector };
}

/* SREGS and SREGS2 agree up to the interrupt bitmap, in whose place the second has PDPTRs. */
typedef union Sregs {
    struct kvm_sregs one;
    struct kvm_sregs2 two;
} Sregs;
_Static_assert(offsetof(struct kvm_sregs, interrupt_bitmap) == offsetof(struct kvm_sregs2, flags), "the two differ");

static struct kvm_segment *seg_at(Sregs *r, unsigned n)
{
    struct kvm_sregs *g = &r->one;
    struct kvm_segment *const v[] = { [SEG_ES] = &g->es, [SEG_CS] = &g->cs, [SEG_SS] = &g->ss,
                                      [SEG_DS] = &g->ds, [SEG_FS] = &g->fs, [SEG_GS] = &g->gs };

    return v[n];
}

static bool sregs_pull(KvmCpu *k, Error **err)
{
    X86 *s = k->s;
    Sregs r = { 0 };

    if (!kvm_must(k->fd, k->v->caps.sregs2 > 0 ? KVM_GET_SREGS2 : KVM_GET_SREGS, &r, err))
        return false;
    for (unsigned i = 0; i < 6; i++) {
        const struct kvm_segment *g = seg_at(&r, i);

        s->seg[i].sel = g->selector;
        s->seg[i].limit = g->limit;
        s->seg[i].attr = attr_of(g);
        s->env.v[V_SEGBASE + i] = g->base;
    }
    s->gdt.base = r.one.gdt.base;
    s->gdt.limit = r.one.gdt.limit;
    s->idt.base = r.one.idt.base;
    s->idt.limit = r.one.idt.limit;
    s->ldt = table_of(&r.one.ldt);
    s->tr = table_of(&r.one.tr);
    s->cr0 = r.one.cr0;
    s->cr2 = r.one.cr2;
    s->cr3 = r.one.cr3;
    s->cr4 = r.one.cr4;
    s->efer = r.one.efer;
    k->apic_base = r.one.apic_base;
    if (k->v->caps.sregs2 > 0 && r.two.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID)
        memcpy(s->pdpte, r.two.pdptrs, sizeof(s->pdpte));
    return true;
}

static bool sregs_push(KvmCpu *k, Error **err)
{
    const X86 *s = k->s;
    Cpu *c = k->cpu;
    Sregs r = { 0 };

    for (unsigned i = 0; i < 6; i++)
        *seg_at(&r, i) = segment(s->seg[i].sel, seg_base(s, i), s->seg[i].limit, seg_attr(s, i));
    r.one.gdt = (struct kvm_dtable){ .base = s->gdt.base, .limit = (uint16_t)s->gdt.limit };
    r.one.idt = (struct kvm_dtable){ .base = s->idt.base, .limit = (uint16_t)s->idt.limit };
    r.one.ldt = table_segment(&s->ldt);
    r.one.tr = table_segment(&s->tr);
    r.one.cr0 = s->cr0;
    r.one.cr2 = s->cr2;
    r.one.cr3 = s->cr3;
    r.one.cr4 = s->cr4;
    r.one.efer = s->efer;
    r.one.cr8 = c->intc ? c->intc->get_tpr(c->intc_chip) : 0;
    r.one.apic_base = c->intc ? c->intc->get_base(c->intc_chip) : 0xfee00800 | (c->index ? 0 : 0x100);
    k->run->cr8 = r.one.cr8;
    k->run->apic_base = r.one.apic_base;
    if (k->v->caps.sregs2 > 0 && s->cr0 & CR0_PG && s->cr4 & CR4_PAE && !long_mode(s)) {
        r.two.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
        memcpy(r.two.pdptrs, s->pdpte, sizeof(s->pdpte));
    }
    return kvm_must(k->fd, k->v->caps.sregs2 > 0 ? KVM_SET_SREGS2 : KVM_SET_SREGS, &r, err);
}

/* ---- REGS: after SREGS, for our pc is linear ---- */
#define GPRS(m) m(RAX, rax) m(RBX, rbx) m(RCX, rcx) m(RDX, rdx) m(RSI, rsi) m(RDI, rdi) m(RBP, rbp) m(RSP, rsp) \
    m(8, r8) m(9, r9) m(10, r10) m(11, r11) m(12, r12) m(13, r13) m(14, r14) m(15, r15)

static bool regs_pull(KvmCpu *k, Error **err)
{
    X86 *s = k->s;
    struct kvm_regs r = { 0 };

    if (!kvm_must(k->fd, KVM_GET_REGS, &r, err))
        return false;
#define M(n, f) s->env.v[n] = r.f;
    GPRS(M)
#undef M
    x86_set_eflags(s, r.rflags, ~0ull);
    s->eflags = r.rflags; /* the arithmetic flags too, for saving */
    s->cpl = !(s->cr0 & CR0_PE) ? 0 : vm86(s) ? 3 : (uint8_t)SA_DPL(s->seg[SEG_SS].attr);
    s->env.pc = code64(s) ? r.rip : (uint32_t)(seg_base(s, SEG_CS) + r.rip);
    s->env.a20_off = 0;
    x86_update_mode(s);
    return true;
}

static bool regs_push(KvmCpu *k, Error **err)
{
    const X86 *s = k->s;
    struct kvm_regs r = { .rflags = s->eflags | 2 }; /* whole: pulled, loaded or reset */

    r.rip = code64(s) ? s->env.pc : (uint32_t)(s->env.pc - seg_base(s, SEG_CS));
#define M(n, f) r.f = s->env.v[n];
    GPRS(M)
#undef M
    return kvm_must(k->fd, KVM_SET_REGS, &r, err);
}

/* ---- debug registers ---- */
static bool debugregs_pull(KvmCpu *k, Error **err)
{
    struct kvm_debugregs r = { 0 };

    if (!kvm_must(k->fd, KVM_GET_DEBUGREGS, &r, err))
        return false;
    memcpy(k->s->dr, r.db, sizeof(r.db));
    k->s->dr[6] = r.dr6;
    k->s->dr[7] = r.dr7;
    k->s->dr7_points = r.dr7 & 0xff;
    return true;
}

static bool debugregs_push(KvmCpu *k, Error **err)
{
    struct kvm_debugregs r = { .dr6 = k->s->dr[6], .dr7 = k->s->dr[7] };

    memcpy(r.db, k->s->dr, sizeof(r.db));
    return kvm_must(k->fd, KVM_SET_DEBUGREGS, &r, err);
}

/* ---- MSRs: the rows of regs.def that KVM knows ---- */
static bool msr_known(const KvmVm *v, uint32_t n)
{
    if (n >= 0x200 && n < 0x300) /* MTRRs and PAT: KVM takes them, not all kernels list them */
        return true;
    for (uint32_t i = 0; i < v->msrs->nmsrs; i++)
        if (v->msrs->indices[i] == n)
            return true;
    return false;
}

static bool msr_row(const KvmVm *v, const CpuReg *r) { return r->kvm != -1 && (uint32_t)r->kvm != MSR_EFER && msr_known(v, (uint32_t)r->kvm); }

static uint64_t *field(X86 *s, const CpuReg *r) { return (uint64_t *)(void *)((char *)s + r->at); }

static bool msrs(KvmCpu *k, bool push, Error **err)
{
    union {
        struct kvm_msrs h;
        uint8_t room[sizeof(struct kvm_msrs) + MSRS * sizeof(struct kvm_msr_entry)];
    } m = { .room = { 0 } };
    struct kvm_msr_entry *v = m.h.entries;
    const Target *t = k->cpu->target;
    const CpuReg *row[MSRS];
    unsigned n = 0;

    for (size_t i = 0; i < t->nregs && n < MSRS; i++)
        if (msr_row(k->v, &t->regs[i])) {
            row[n] = &t->regs[i];
            v[n++] = (struct kvm_msr_entry){ .index = (uint32_t)t->regs[i].kvm, .data = *field(k->s, &t->regs[i]) };
        }
    for (unsigned at = 0; at < n;) { /* KVM stops at the first it does not take: one that is as after reset may stay away */
        struct kvm_msr_entry *e = &v[at];
        long r;

        memmove(v, e, (n - at) * sizeof(*e));
        memmove(row, row + at, (n - at) * sizeof(row[0]));
        n -= at;
        m.h.nmsrs = n;
        r = kvm_call(k->fd, push ? KVM_SET_MSRS : KVM_GET_MSRS, &m);
        if (r < 0)
            return fail_errno_is(err, (int)-r, "KVM refuses %s", push ? "KVM_SET_MSRS" : "KVM_GET_MSRS");
        for (long i = 0; !push && i < r && i < n; i++)
            *field(k->s, row[i]) = v[i].data;
        at = (unsigned)r + 1;
        if (push && r < n && v[r].data != row[r]->reset)
            return fail(err, "KVM does not take %s = %#llx (MSR %#x)", row[r]->name, (unsigned long long)v[r].data, v[r].index);
    }
    return true;
}

/* One MSR there or back. */
static long one_msr(KvmCpu *k, unsigned long request, uint32_t n, uint64_t *val)
{
    union {
        struct kvm_msrs h;
        uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
    } m = { .room = { 0 } };
    long r;

    m.h.nmsrs = 1;
    m.h.entries[0].index = n;
    m.h.entries[0].data = *val;
    r = kvm_call(k->fd, request, &m);
    *val = m.h.entries[0].data;
    return r < 0 ? -r : r == 1 ? 0 : EINVAL;
}

bool kvm_get_msr(KvmCpu *k, uint32_t n, uint64_t *val, Error **err)
{
    long e;

    *val = 0;
    e = one_msr(k, KVM_GET_MSRS, n, val);
    return !e || fail_errno_is(err, (int)e, "KVM_GET_MSRS: KVM does not tell MSR %#x", n);
}

bool kvm_set_msr(KvmCpu *k, uint32_t n, uint64_t val, Error **err)
{
    long e = one_msr(k, KVM_SET_MSRS, n, &val);

    return !e || fail_errno_is(err, (int)e, "KVM_SET_MSRS: KVM does not take MSR %#x = %#" PRIx64, n, val);
}

/* ---- what is in flight ---- */
static void request(Cpu *c, uint32_t bit, bool on)
{
    if (on)
        __atomic_fetch_or(&c->request, bit, __ATOMIC_SEQ_CST);
    else
        cpu_request_clear(c, bit);
}

static void exception_pull(X86 *s, const struct kvm_vcpu_events *e)
{
    bool with_payload = e->flags & KVM_VCPUEVENT_VALID_PAYLOAD && e->exception.pending && e->exception_has_payload;

    s->exc_pending = e->exception.injected ? 2 : e->exception.pending ? 1 : 0;
    s->exc_vector = s->exc_pending ? e->exception.nr : 0;
    s->exc_has_error = s->exc_pending && e->exception.has_error_code;
    s->exc_error = s->exc_has_error ? e->exception.error_code : 0;
    s->exc_addr = !s->exc_pending ? 0 : with_payload ? e->exception_payload : s->exc_vector == EXC_PF ? s->cr2 : 0;
}

static bool events_pull(KvmCpu *k, Error **err)
{
    X86 *s = k->s;
    struct kvm_vcpu_events e = { 0 };

    if (!kvm_must(k->fd, KVM_GET_VCPU_EVENTS, &e, err))
        return false;
    exception_pull(s, &e);
    s->int_pending = e.interrupt.injected ? (e.interrupt.soft ? 2 : 1) : 0;
    s->int_vector = s->int_pending ? e.interrupt.nr : 0;
    s->shadow = (uint8_t)((e.interrupt.shadow & KVM_X86_SHADOW_INT_STI ? SHADOW_STI : 0) |
                          (e.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? SHADOW_SS : 0));
    /* An NMI half delivered is one that waits: its delivery blocks others again. */
    s->nmi_blocked = e.nmi.masked && !e.nmi.injected;
    if (e.nmi.injected || e.nmi.pending)
        request(k->cpu, CPU_REQ_NMI, true);
    if (e.flags & KVM_VCPUEVENT_VALID_SMM) {
        s->smm = e.smi.smm;
        s->smm_nmi_was_blocked = e.smi.smm_inside_nmi;
        k->cpu->attrs.secure = s->smm;
        request(k->cpu, CPU_REQ_SMI, e.smi.pending || cpu_requests(k->cpu) & CPU_REQ_SMI);
    }
    return true;
}

static bool events_push(KvmCpu *k, Error **err)
{
    const X86 *s = k->s;
    struct kvm_vcpu_events e = { .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW };
    bool pending = s->exc_pending == 1;

    e.exception.nr = s->exc_vector;
    e.exception.has_error_code = s->exc_has_error;
    e.exception.error_code = s->exc_error;
    e.exception.injected = s->exc_pending == 2;
    if (k->v->caps.exception_payload > 0) {
        e.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
        e.exception.pending = pending;
        e.exception_has_payload = pending && (s->exc_vector == EXC_PF || s->exc_vector == EXC_DB);
        e.exception_payload = e.exception_has_payload ? s->exc_addr : 0;
    } else {
        e.exception.injected |= pending;
    }
    e.interrupt.injected = s->int_pending != 0;
    e.interrupt.nr = s->int_vector;
    e.interrupt.soft = s->int_pending == 2;
    e.interrupt.shadow = (uint8_t)((s->shadow & SHADOW_STI ? KVM_X86_SHADOW_INT_STI : 0) |
                                   (s->shadow & SHADOW_SS ? KVM_X86_SHADOW_INT_MOV_SS : 0));
    e.nmi.masked = s->nmi_blocked;
    if (k->v->caps.smm > 0) {
        e.flags |= KVM_VCPUEVENT_VALID_SMM;
        e.smi.smm = s->smm;
        e.smi.smm_inside_nmi = s->smm_nmi_was_blocked;
    }
    return kvm_must(k->fd, KVM_SET_VCPU_EVENTS, &e, err);
}

/* ---- multiprocessor state: KVM's only where its LAPIC is ---- */
static const struct {
    uint8_t ours, kvm;
} mp_states[] = { /* the first that fits, in either direction */
    { CPU_RUNNABLE, KVM_MP_STATE_RUNNABLE }, { CPU_HALTED, KVM_MP_STATE_HALTED }, { CPU_WAIT_SIPI, KVM_MP_STATE_INIT_RECEIVED },
    { CPU_WAIT_SIPI, KVM_MP_STATE_UNINITIALIZED }, { CPU_RUNNABLE, KVM_MP_STATE_SIPI_RECEIVED }, { CPU_OFF, KVM_MP_STATE_STOPPED },
};

static bool mp_pull(KvmCpu *k, Error **err)
{
    struct kvm_mp_state m = { 0 };

    if (!k->cpu->sleeps_in_run)
        return true;
    if (!kvm_must(k->fd, KVM_GET_MP_STATE, &m, err))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(mp_states); i++)
        if (mp_states[i].kvm == m.mp_state) {
            __atomic_store_n(&k->cpu->mp_state, mp_states[i].ours, __ATOMIC_RELEASE);
            return true;
        }
    return fail(err, "KVM_GET_MP_STATE: state %u is unknown", m.mp_state);
}

static bool mp_push(KvmCpu *k, Error **err)
{
    struct kvm_mp_state m = { KVM_MP_STATE_RUNNABLE };

    if (!k->cpu->sleeps_in_run)
        return true;
    for (size_t i = G_N_ELEMENTS(mp_states); i-- > 0;)
        if (mp_states[i].ours == k->cpu->mp_state)
            m.mp_state = mp_states[i].kvm;
    return kvm_must(k->fd, KVM_SET_MP_STATE, &m, err);
}

/* ---- nested virtualisation: a blob, as only KVM reads it ---- */
static bool nested_pull(KvmCpu *k, Error **err)
{
    if (k->v->caps.nested_state <= 0)
        return true;
    if (!k->nested)
        k->nested = g_malloc0(MAX((size_t)k->v->caps.nested_state, sizeof(*k->nested)));
    k->nested->size = (uint32_t)k->v->caps.nested_state;
    return kvm_must(k->fd, KVM_GET_NESTED_STATE, k->nested, err);
}

static bool nested_push(KvmCpu *k, Error **err)
{
    if (!k->nested_loaded)
        return true; /* KVM has it still */
    k->nested_loaded = false;
    return kvm_must(k->fd, KVM_SET_NESTED_STATE, k->nested, err);
}

/* ---- all of it ---- */
/* The instruction whose access was handed out ends only when the CPU is entered again; that may bring further accesses. */
static bool finish_io(KvmCpu *k, Error **err)
{
    Cpu *c = k->cpu;
    struct kvm_run *r = k->run;

    for (unsigned i = 0; k->pending_io && i < 4096; i++) { /* bound: pieces of one instruction */
        long e;

        __atomic_store_n(&r->immediate_exit, 1, __ATOMIC_SEQ_CST);
        e = kvm_call(k->fd, KVM_RUN, NULL);
        k->pending_io = false;
        if (e == -EINTR || e == -EAGAIN)
            return true;
        if (e < 0)
            return fail_errno_is(err, (int)-e, "KVM_RUN cannot end an access");
        if (r->exit_reason == KVM_EXIT_MMIO) {
            unsigned n = MIN(r->mmio.len, 8u);

            k->pending_io = true;
            if (r->mmio.is_write)
                as_write(c->mem[c->attrs.secure], r->mmio.phys_addr, r->mmio.data, n, c->attrs);
            else
                as_read(c->mem[c->attrs.secure], r->mmio.phys_addr, r->mmio.data, n, c->attrs);
        } else if (r->exit_reason == KVM_EXIT_IO) {
            uint8_t *p = (uint8_t *)r + r->io.data_offset;

            k->pending_io = true;
            for (uint32_t n = 0; n < r->io.count; n++, p += r->io.size)
                if (r->io.direction == KVM_EXIT_IO_OUT)
                    as_write(c->ports, r->io.port, p, r->io.size, c->attrs);
                else
                    as_read(c->ports, r->io.port, p, r->io.size, c->attrs);
        }
    }
    return true;
}

bool kvm_pull(Cpu *c, unsigned groups, Error **err)
{
    KvmCpu *k = kvm_cpu_of(c);

    return finish_io(k, err) && sregs_pull(k, err) && regs_pull(k, err) && kvm_fpu_pull(k, err) && debugregs_pull(k, err) &&
           msrs(k, false, err) && kvm_tsc_pull(k, err) && kvm_lapic_pull(k, err) && events_pull(k, err) && mp_pull(k, err) &&
           nested_pull(k, err);
}

bool kvm_push(Cpu *c, unsigned groups, Error **err)
{
    KvmCpu *k = kvm_cpu_of(c);

    if (!sregs_push(k, err) || !regs_push(k, err) || !kvm_fpu_push(k, err) || !msrs(k, true, err) || !debugregs_push(k, err))
        return false;
    if (k->fresh && (!kvm_tsc_push(k, err) || !kvm_lapic_push(k, err) || !mp_push(k, err)))
        return false;
    if (!nested_push(k, err) || !events_push(k, err))
        return false;
    k->run->ready_for_interrupt_injection = 0; /* what KVM said of the old registers */
    k->fresh = false;
    return true;
}

bool kvm_can_hold(Vm *vm, const void *shadow, Error **err)
{
    const X86 *s = shadow;
    const KvmVm *v = kvm_of(vm);

    if (s->env.a20_off)
        return fail(err, "KVM cannot close the A20 gate, which is closed in this state");
    if (s->smm && v->caps.smm <= 0)
        return fail(err, "this CPU is in system management mode, which this KVM lacks");
    for (size_t i = 0; i < target_x86.nregs; i++) {
        const CpuReg *r = &target_x86.regs[i];
        uint64_t val = r->kvm == -1 ? 0 : le64_load((const char *)shadow + r->at);

        if (r->kvm != -1 && (uint32_t)r->kvm != MSR_EFER && val != r->reset && !msr_known(v, (uint32_t)r->kvm) && strcmp(r->name, "smbase"))
            return fail(err, "this KVM has no %s (MSR %#x), which is %#" PRIx64 " in this state", r->name, (unsigned)r->kvm, val);
    }
    return true;
}
