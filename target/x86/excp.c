/*
 * target/x86/excp.c - delivery of exceptions and interrupts, and the way back by IRET.
 * Source: Intel SDM vol. 3A chapter 6 (error codes, double fault table 6-5), section 5.8 (stacks).
 */
#include "target/x86/cpu.h"
#include "util/trace.h"

TRACE_POINT(excp_point, "cpu.exception", "vector %" PRIu64 " error %#" PRIx64 " addr %#" PRIx64 " pc %#" PRIx64);

static uint64_t eip(const X86 *s, uint64_t pc) { return code64(s) ? pc : (uint32_t)(pc - seg_base(s, SEG_CS)); }
static void set_eip(X86 *s, uint64_t v) { s->env.pc = code64(s) ? v : (uint32_t)(v + seg_base(s, SEG_CS)); }

/* A stack being built: nothing of the CPU changes until it is whole. */
typedef struct Stack {
    X86 *s;
    uint64_t sp, base, mask;
    unsigned size; /* log2 of a slot */
    uint32_t attr, limit, err; /* the segment; err: of #SS when it does not fit */
    bool sys, bad;
} Stack;

static Stack stack_of(X86 *s, uint64_t mask, unsigned size)
{
    const X86Seg *ss = &s->seg[SEG_SS];

    return (Stack){ s, s->env.v[RSP], seg_base(s, SEG_SS), mask, size, ss->attr, ss->limit, 0, false, false };
}

static void put(Stack *k, uint64_t v)
{
    k->sp -= 1u << k->size;
    if (k->bad)
        return;
    if (!long_mode(k->s) && !x86_in_limit(k->attr, k->limit, k->sp & k->mask, 1u << k->size)) {
        x86_raise(k->s, EXC_SS, k->err);
        k->bad = true;
        return;
    }
    k->bad = !(k->sys ? x86_write_sys : x86_write)(k->s, k->base + (k->sp & k->mask), 1u << k->size, v);
}

static uint64_t stack_mask(const X86 *s, uint32_t ss_attr)
{
    return code64(s) ? ~0ull : ss_attr & SA_DB ? 0xffffffff : 0xffff;
}

static void set_sp(X86 *s, uint64_t sp, uint64_t mask) { s->env.v[RSP] = (s->env.v[RSP] & ~mask) | (sp & mask); }

static bool real_interrupt(X86 *s, unsigned vector, uint64_t next)
{
    Stack k = stack_of(s, stack_mask(s, s->seg[SEG_SS].attr), 1); /* SS keeps its B bit in real mode */
    uint64_t at;

    if (vector * 4 + 3 > s->idt.limit)
        return x86_raise(s, EXC_GP, 0);
    if (!x86_read(s, s->idt.base + vector * 4, 4, &at))
        return false;
    put(&k, x86_eflags(s));
    put(&k, s->seg[SEG_CS].sel);
    put(&k, eip(s, next));
    if (k.bad)
        return false;
    set_sp(s, k.sp, k.mask);
    s->eflags &= ~(uint64_t)(EF_IF | EF_TF | EF_AC | EF_RF);
    x86_set_seg(s, SEG_CS, (uint16_t)(at >> 16), (at >> 16) << 4, s->seg[SEG_CS].limit, s->seg[SEG_CS].attr);
    x86_update_mode(s);
    set_eip(s, at & 0xffff);
    return true;
}

/* The stack for a privilege level from the TSS; size of its fields by type. */
static bool tss_stack(X86 *s, unsigned dpl, uint64_t *ss, uint64_t *sp)
{
    bool tss32 = s->tr.attr & 8;
    unsigned at = tss32 ? 4 + dpl * 8 : 2 + dpl * 4;

    if (at + (tss32 ? 7 : 3) > s->tr.limit)
        return x86_raise(s, EXC_TS, s->tr.sel & 0xfffc);
    return x86_read_sys(s, s->tr.base + at, tss32 ? 4 : 2, sp) && x86_read_sys(s, s->tr.base + at + (tss32 ? 4 : 2), 2, ss);
}

static bool new_ss(X86 *s, uint16_t sel, unsigned dpl, uint64_t *desc)
{
    uint32_t a, err = sel & 0xfffc;

    if (!err || !x86_fetch_desc(s, sel, desc))
        return s->env.fault.kind ? false : x86_raise(s, EXC_TS, err);
    a = x86_desc_attr(*desc);
    if ((sel & 3) != dpl || SA_DPL(a) != dpl || !(a & SA_S) || (a & 0xa) != 2)
        return x86_raise(s, EXC_TS, err);
    return a & SA_P ? true : x86_raise(s, EXC_SS, err);
}

typedef struct Gate {
    uint64_t lo, hi, offset;
    uint16_t sel;
    unsigned type, dpl, ist;
} Gate;

static bool read_gate(X86 *s, unsigned vector, bool soft, Gate *g)
{
    unsigned n = long_mode(s) ? 16 : 8;
    uint32_t err = vector * 8 + 2;

    if (vector * n + n - 1 > s->idt.limit)
        return x86_raise(s, EXC_GP, err);
    if (!x86_read_sys(s, s->idt.base + vector * n, 8, &g->lo))
        return false;
    g->hi = 0;
    if (n == 16 && !x86_read_sys(s, s->idt.base + vector * n + 8, 8, &g->hi))
        return false;
    g->type = g->lo >> 40 & 31;
    g->dpl = g->lo >> 45 & 3;
    g->sel = (uint16_t)(g->lo >> 16);
    g->ist = n == 16 ? g->lo >> 32 & 7 : 0;
    g->offset = (g->lo & 0xffff) | (g->lo >> 32 & 0xffff0000) | g->hi << 32;
    if (!long_mode(s) && !(g->type & 8))
        g->offset &= 0xffff;
    if (long_mode(s) ? g->type != 14 && g->type != 15 : g->type != 5 && (g->type & 0x17) != 6 && (g->type & 0x17) != 7)
        return x86_raise(s, EXC_GP, err);
    if (soft && g->dpl < s->cpl)
        return x86_raise(s, EXC_GP, err);
    return g->lo >> 47 & 1 ? true : x86_raise(s, EXC_NP, err);
}

static bool code_desc(X86 *s, const Gate *g, uint64_t *d, unsigned *cpl)
{
    uint32_t a, err = g->sel & 0xfffc;

    if (!err || !x86_fetch_desc(s, g->sel, d))
        return s->env.fault.kind ? false : x86_raise(s, EXC_GP, err);
    a = x86_desc_attr(*d);
    if (!(a & SA_S) || !(a & 8) || SA_DPL(a) > s->cpl || (long_mode(s) && (!(a & SA_L) || a & SA_DB)))
        return x86_raise(s, EXC_GP, err);
    if (!(a & SA_P))
        return x86_raise(s, EXC_NP, err);
    *cpl = a & 4 ? s->cpl : SA_DPL(a);
    return true;
}

static void enter_handler(X86 *s, const Gate *g, uint64_t d, unsigned cpl)
{
    s->eflags &= ~(uint64_t)(EF_TF | EF_VM | EF_RF | EF_NT | (g->type & 1 ? 0 : EF_IF));
    x86_set_cs(s, g->sel, d, cpl);
    x86_update_mode(s);
    set_eip(s, g->offset);
}

static bool long_interrupt(X86 *s, const Gate *g, uint64_t d, unsigned cpl, uint64_t next, const uint32_t *err)
{
    Stack k = { .s = s, .sp = s->env.v[RSP], .mask = ~0ull, .size = 3, .sys = true };
    uint16_t ss = s->seg[SEG_SS].sel;
    uint64_t flags = x86_eflags(s), rip = eip(s, next), old_sp = s->env.v[RSP];
    unsigned at = g->ist ? 36 + (g->ist - 1) * 8 : 4 + cpl * 8;

    if (g->ist || cpl < s->cpl) {
        if (at + 7 > s->tr.limit)
            return x86_raise(s, EXC_TS, s->tr.sel & 0xfffc);
        if (!x86_read_sys(s, s->tr.base + at, 8, &k.sp))
            return false;
    }
    if (!canonical(s, k.sp))
        return x86_raise(s, EXC_SS, 0);
    k.sp &= ~15ull;
    if (cpl == 3)
        k.sys = false;
    put(&k, ss);
    put(&k, old_sp);
    put(&k, flags);
    put(&k, s->seg[SEG_CS].sel);
    put(&k, rip);
    if (err)
        put(&k, *err);
    if (k.bad)
        return false;
    if (cpl < s->cpl)
        x86_set_seg(s, SEG_SS, (uint16_t)cpl, 0, UINT32_MAX, SA_NULL | cpl << 5 | 0xc093);
    enter_handler(s, g, d, cpl);
    s->env.v[RSP] = k.sp;
    return true;
}

static void push_vm86(Stack *k)
{
    static const uint8_t order[] = { SEG_GS, SEG_FS, SEG_DS, SEG_ES };

    for (unsigned i = 0; i < 4; i++)
        put(k, k->s->seg[order[i]].sel);
}

static void clear_data_segs(X86 *s)
{
    static const uint8_t which[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

    for (unsigned i = 0; i < 4; i++)
        x86_set_seg(s, which[i], 0, 0, 0, SA_NULL);
}

static bool outer_stack(X86 *s, unsigned cpl, Stack *k, uint16_t *sel, uint64_t *desc)
{
    uint64_t ss = 0, sp = 0;

    if (!tss_stack(s, cpl, &ss, &sp) || !new_ss(s, (uint16_t)ss, cpl, desc))
        return false;
    *sel = (uint16_t)ss;
    k->sp = sp;
    k->base = x86_desc_base(*desc);
    k->attr = x86_desc_attr(*desc);
    k->limit = x86_desc_limit(*desc);
    k->mask = k->attr & SA_DB ? 0xffffffff : 0xffff;
    k->err = ss & 0xfffc;
    k->sys = true;
    return true;
}

static bool prot_interrupt(X86 *s, const Gate *g, uint64_t d, unsigned cpl, uint64_t next, const uint32_t *err)
{
    Stack k = stack_of(s, stack_mask(s, s->seg[SEG_SS].attr), g->type & 8 ? 2 : 1);
    uint64_t flags = x86_eflags(s), ip = eip(s, next), ss_desc = 0;
    uint16_t old_ss = s->seg[SEG_SS].sel, ss = 0;
    bool v = vm86(s), inner = cpl < s->cpl || v;
    uint64_t old_sp = s->env.v[RSP];

    if (v && cpl)
        return x86_raise(s, EXC_GP, g->sel & 0xfffc);
    if (inner && !outer_stack(s, cpl, &k, &ss, &ss_desc))
        return false;
    if (g->offset > x86_desc_limit(d))
        return x86_raise(s, EXC_GP, 0);
    if (v)
        push_vm86(&k);
    if (inner) {
        put(&k, old_ss);
        put(&k, old_sp);
    }
    put(&k, flags);
    put(&k, s->seg[SEG_CS].sel);
    put(&k, ip);
    if (err)
        put(&k, *err);
    if (k.bad)
        return false;
    if (v)
        clear_data_segs(s);
    if (inner)
        x86_set_seg(s, SEG_SS, (uint16_t)((ss & ~3) | cpl), x86_desc_base(ss_desc), x86_desc_limit(ss_desc),
                    x86_desc_attr(ss_desc) | 1);
    enter_handler(s, g, d, cpl);
    set_sp(s, k.sp, k.mask);
    return true;
}

static bool has_error(unsigned vector)
{
    return vector == EXC_DF || (vector >= EXC_TS && vector <= EXC_PF) || vector == EXC_AC;
}

static bool by_gate(X86 *s, unsigned vector, bool soft, uint64_t next, const uint32_t *err)
{
    Gate g;
    uint64_t d;
    unsigned cpl = 0;

    if (!(s->cr0 & CR0_PE))
        return real_interrupt(s, vector, next);
    if (!read_gate(s, vector, soft, &g))
        return false;
    if (g.type == 5)
        return x86_task_switch(s, g.sel, 1, err, err ? *err : 0, next);
    if (!code_desc(s, &g, &d, &cpl))
        return false;
    return long_mode(s) ? long_interrupt(s, &g, d, cpl, next, err) : prot_interrupt(s, &g, d, cpl, next, err);
}

static bool interrupt(X86 *s, unsigned vector, bool soft, uint64_t next, const uint32_t *err)
{
    bool ok;

    s->no_step = true; /* the handler begins with TF = 0, and the step over INT n ends there */
    s->ext = !soft;
    ok = by_gate(s, vector, soft, next, err);
    s->ext = false;
    return ok;
}

bool x86_interrupt(X86 *s, unsigned vector, bool soft, uint64_t next_pc)
{
    return interrupt(s, vector, soft, next_pc, NULL);
}

/* 0 benign, 1 contributory, 2 page fault (SDM table 6-4) */
static unsigned severity(unsigned v)
{
    return v == EXC_PF ? 2 : v == EXC_DE || (v >= EXC_TS && v <= EXC_GP) ? 1 : 0;
}

bool x86_deliver(X86 *s)
{
    unsigned first = s->env.fault.kind - FAULT_EXC;

    s->nchain = 0;
    s->shadow = 0;
    for (;;) { /* ends: each turn makes it a double fault or a shutdown */
        Fault f = s->env.fault;
        unsigned v = f.kind - FAULT_EXC;
        bool double_fault = s->nchain && severity(first) && (severity(first) == 2 ? severity(v) : severity(v) == 1);

        if (s->nchain < 3)
            s->chain[s->nchain] = f;
        s->nchain++;
        trace(&excp_point, NULL, v, f.err, f.addr, s->env.pc);
        if (log_on(LOG_INT))
            log_print("x86: vector %u error %#x addr %#" PRIx64 " pc %04x:%" PRIx64 " cpl %u\n", v, f.err, f.addr,
                      s->seg[SEG_CS].sel, s->env.pc, s->cpl);
        if (s->nchain > 1 && first == EXC_DF && severity(v))
            return false;
        if (double_fault) {
            v = EXC_DF;
            f.err = 0;
        }
        first = v;
        if (v == EXC_PF)
            s->cr2 = f.addr;
        if (v == EXC_DB)
            s->dr[7] &= ~(uint64_t)DR7_GD;
        if (v != EXC_DB && v != EXC_BP)
            s->eflags |= EF_RF;
        s->env.fault.kind = FAULT_NONE;
        if (interrupt(s, v, false, s->env.pc, has_error(v) && s->cr0 & CR0_PE ? &f.err : NULL))
            return true;
        if (s->env.fault.kind < FAULT_EXC || s->nchain > 8)
            return false;
    }
}

/* ---- IRET ---- */
typedef struct Frame {
    X86 *s;
    uint64_t sp, base, mask;
    unsigned size;
    bool bad;
} Frame;

static uint64_t get(Frame *k)
{
    uint64_t v = 0;

    if (!k->bad && !code64(k->s) && k->s->env.mode >> (MODE_CHECK_SHIFT + SEG_SS) & 1)
        k->bad = !target_segchk(&k->s->env, k->sp & k->mask, SEG_SS | k->size << 3);
    if (!k->bad)
        k->bad = !x86_read(k->s, k->base + (k->sp & k->mask), 1u << k->size, &v);
    k->sp += 1u << k->size;
    return v;
}

static Frame frame(X86 *s, unsigned size)
{
    return (Frame){ s, s->env.v[RSP], code64(s) ? 0 : seg_base(s, SEG_SS), stack_mask(s, s->seg[SEG_SS].attr), size, false };
}

static uint64_t flags_mask(const X86 *s, unsigned size)
{
    uint64_t m = EF_ARITH | EF_TF | EF_DF | EF_NT;

    if (size > 1)
        m |= EF_RF | EF_AC | EF_ID;
    if (s->cpl == 0)
        m |= EF_IOPL | (size > 1 ? EF_VIF | EF_VIP : 0);
    if (s->cpl <= iopl(s))
        m |= EF_IF;
    return m;
}

static bool iret_real(X86 *s, unsigned size)
{
    Frame k = frame(s, size);
    bool virtual = vm86(s) && iopl(s) < 3;
    uint64_t ip, cs, f, m;

    if (virtual && (!(s->cr4 & CR4_VME) || size > 1))
        return x86_raise(s, EXC_GP, 0);
    ip = get(&k);
    cs = get(&k);
    f = get(&k);
    if (k.bad)
        return false;
    if (ip > s->seg[SEG_CS].limit)
        return x86_raise(s, EXC_GP, 0);
    if (virtual && !x86_vm86_set_flags(s, f))
        return false;
    m = virtual ? 0 : EF_ARITH | EF_TF | EF_IF | EF_DF | EF_NT | (vm86(s) ? 0 : EF_IOPL) | (size > 1 ? EF_RF | EF_AC | EF_ID : 0);
    set_sp(s, k.sp, k.mask);
    x86_set_seg(s, SEG_CS, (uint16_t)cs, (cs & 0xffff) << 4, s->seg[SEG_CS].limit, s->seg[SEG_CS].attr);
    x86_return_eflags(s, f, m);
    set_eip(s, ip);
    return true;
}

static bool iret_to_vm86(X86 *s, Frame *k, uint64_t ip, uint64_t cs, uint64_t f)
{
    uint64_t sp = get(k), ss = get(k), sel[4];
    static const uint8_t order[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

    for (unsigned i = 0; i < 4; i++)
        sel[i] = get(k);
    if (k->bad)
        return false;
    s->cpl = 3;
    x86_return_eflags(s, f, ~0ull & 0x3f7fd5);
    for (unsigned i = 0; i < 4; i++)
        x86_set_seg(s, order[i], (uint16_t)sel[i], (sel[i] & 0xffff) << 4, 0xffff, 0xf3);
    x86_set_seg(s, SEG_SS, (uint16_t)ss, (ss & 0xffff) << 4, 0xffff, 0xf3);
    x86_set_seg(s, SEG_CS, (uint16_t)cs, (cs & 0xffff) << 4, 0xffff, 0xf3);
    s->env.v[RSP] = sp & 0xffffffff;
    x86_update_mode(s);
    set_eip(s, ip & 0xffff);
    return true;
}

static bool return_cs(X86 *s, uint16_t sel, uint64_t *d)
{
    uint32_t a, err = sel & 0xfffc;

    if (!err || !x86_fetch_desc(s, sel, d))
        return s->env.fault.kind ? false : x86_raise(s, EXC_GP, err);
    a = x86_desc_attr(*d);
    if (!(a & SA_S) || !(a & 8) || (sel & 3) < s->cpl || (a & 4 ? SA_DPL(a) > (sel & 3u) : SA_DPL(a) != (sel & 3u)) ||
        (long_mode(s) && a & SA_L && a & SA_DB))
        return x86_raise(s, EXC_GP, err);
    return a & SA_P ? true : x86_raise(s, EXC_NP, err);
}

/* Data segments the outer level may not see become null. */
static void drop_inner_segs(X86 *s)
{
    static const uint8_t which[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

    for (unsigned i = 0; i < 4; i++) {
        X86Seg *g = &s->seg[which[i]];

        if (!(g->attr & SA_NULL) && (g->attr & 0xc) != 0xc && SA_DPL(g->attr) < s->cpl)
            x86_set_seg(s, which[i], 0, s->vendor_amd ? seg_base(s, which[i]) : 0, 0, SA_NULL);
    }
}

static bool return_ss(X86 *s, uint16_t sel, unsigned cpl, bool to64, uint64_t *d)
{
    uint32_t a, err = sel & 0xfffc;

    *d = 0;
    if (!err && to64 && cpl != 3)
        return (sel & 3u) == cpl || x86_raise(s, EXC_GP, 0);
    if (!err || !x86_fetch_desc(s, sel, d))
        return s->env.fault.kind ? false : x86_raise(s, EXC_GP, err);
    a = x86_desc_attr(*d);
    if ((sel & 3u) != cpl || SA_DPL(a) != cpl || !(a & SA_S) || (a & 0xa) != 2)
        return x86_raise(s, EXC_GP, err);
    return a & SA_P ? true : x86_raise(s, EXC_SS, err);
}

/* The common end of far returns: CS, and the outer stack when the level or (iretq) always. */
static bool far_return(X86 *s, Frame *k, uint64_t ip, uint16_t cs, bool always_ss, uint64_t pops)
{
    uint64_t d, ssd = 0, sp, ss;
    unsigned cpl = cs & 3;
    bool outer, to64;

    if (!return_cs(s, cs, &d))
        return false;
    to64 = long_mode(s) && x86_desc_attr(d) & SA_L;
    if (to64 ? !canonical(s, ip) : ip > x86_desc_limit(d))
        return x86_raise(s, EXC_GP, 0);
    outer = cpl > s->cpl || always_ss;
    k->sp += pops;
    if (outer) {
        sp = get(k);
        ss = get(k);
        if (k->bad || !return_ss(s, (uint16_t)ss, cpl, to64, &ssd))
            return false;
    }
    if (k->bad)
        return false;
    bool drops = cpl > s->cpl;

    x86_set_cs(s, cs, d, cpl);
    if (outer) {
        uint32_t a = x86_desc_attr(ssd);

        if (ss & 0xfffc)
            x86_set_seg(s, SEG_SS, (uint16_t)ss, x86_desc_base(ssd), x86_desc_limit(ssd), a | 1);
        else
            x86_set_seg(s, SEG_SS, (uint16_t)ss, 0, UINT32_MAX, SA_NULL | cpl << 5 | 0xc093);
        set_sp(s, sp + (always_ss ? 0 : pops), to64 ? ~0ull : a & SA_DB ? 0xffffffff : 0xffff);
        if (!to64 && a & SA_DB)
            s->env.v[RSP] &= 0xffffffff;
    } else {
        set_sp(s, k->sp, k->mask);
    }
    if (drops)
        drop_inner_segs(s);
    x86_update_mode(s);
    set_eip(s, ip);
    return true;
}

uint64_t hx_iret(Env *e, uint64_t size, uint64_t next, uint64_t c);
uint64_t hx_iret(Env *e, uint64_t size, uint64_t next, uint64_t c)
{
    X86 *s = x86(e);
    Frame k = frame(s, (unsigned)size);
    uint64_t ip, cs, f, m, link;

    s->nmi_blocked = 0;
    if (!(s->cr0 & CR0_PE) || vm86(s))
        return iret_real(s, (unsigned)size);
    if (s->eflags & EF_NT) {
        if (long_mode(s))
            return x86_raise(s, EXC_GP, 0);
        return x86_read_sys(s, s->tr.base, 2, &link) && x86_task_switch(s, (uint16_t)link, 2, false, 0, next);
    }
    ip = get(&k);
    cs = get(&k);
    f = get(&k);
    if (k.bad)
        return 0;
    if (f & EF_VM && s->cpl == 0 && size > 1 && !long_mode(s))
        return iret_to_vm86(s, &k, ip, cs, f);
    m = flags_mask(s, (unsigned)size);
    if (far_return(s, &k, ip, (uint16_t)cs, code64(s), 0))
        x86_return_eflags(s, f, m);
    return 0;
}

uint64_t hx_lret(Env *e, uint64_t size, uint64_t pops, uint64_t c);
uint64_t hx_lret(Env *e, uint64_t size, uint64_t pops, uint64_t c)
{
    X86 *s = x86(e);
    Frame k = frame(s, (unsigned)size);
    uint64_t ip = get(&k), cs = get(&k);

    if (k.bad)
        return 0;
    if (!protected_mode(s)) {
        x86_set_seg(s, SEG_CS, (uint16_t)cs, (cs & 0xffff) << 4, vm86(s) ? 0xffff : s->seg[SEG_CS].limit, s->seg[SEG_CS].attr);
        set_sp(s, k.sp + pops, k.mask);
        x86_update_mode(s);
        set_eip(s, ip);
        return 0;
    }
    far_return(s, &k, ip, (uint16_t)cs, false, pops);
    return 0;
}
