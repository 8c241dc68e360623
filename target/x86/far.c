/*
 * target/x86/far.c - far jumps and calls: code segments, call gates, task gates.
 * Source: Intel SDM vol. 2A (CALL, JMP), vol. 3A section 5.8.
 */
#include "target/x86/cpu.h"

uint64_t hx_ljmp(Env *e, uint64_t sel_size, uint64_t off, uint64_t next);
uint64_t hx_lcall(Env *e, uint64_t sel_size, uint64_t off, uint64_t next);

static void set_eip(X86 *s, uint64_t v) { s->env.pc = code64(s) ? v : (uint32_t)(v + seg_base(s, SEG_CS)); }
static uint64_t eip(const X86 *s, uint64_t pc) { return code64(s) ? pc : (uint32_t)(pc - seg_base(s, SEG_CS)); }

static uint64_t stack_mask(const X86 *s) { return code64(s) ? ~0ull : s->seg[SEG_SS].attr & SA_DB ? 0xffffffff : 0xffff; }

static bool push2(X86 *s, unsigned size, uint64_t a, uint64_t b)
{
    uint64_t m = stack_mask(s), sp = s->env.v[RSP], base = code64(s) ? 0 : seg_base(s, SEG_SS), n = 1u << size;

    if (!x86_write(s, base + ((sp - n) & m), (unsigned)n, a) || !x86_write(s, base + ((sp - 2 * n) & m), (unsigned)n, b))
        return false;
    s->env.v[RSP] = (sp & ~m) | ((sp - 2 * n) & m);
    return true;
}

static void real_far(X86 *s, uint16_t sel, uint64_t off)
{
    x86_set_seg(s, SEG_CS, sel, (uint64_t)sel << 4, vm86(s) ? 0xffff : s->seg[SEG_CS].limit, s->seg[SEG_CS].attr);
    x86_update_mode(s);
    set_eip(s, off);
}

/* To a code segment at the same privilege. false: fault. */
static bool check_code(X86 *s, uint16_t sel, uint64_t d)
{
    uint32_t a = x86_desc_attr(d), err = sel & 0xfffc;

    if (a & 4 ? SA_DPL(a) > s->cpl : ((sel & 3u) > s->cpl || SA_DPL(a) != s->cpl))
        return x86_raise(s, EXC_GP, err);
    if (!(a & SA_P))
        return x86_raise(s, EXC_NP, err);
    if (long_mode(s) && a & SA_L && a & SA_DB)
        return x86_raise(s, EXC_GP, err);
    return true;
}

static bool check_target(X86 *s, uint64_t d, uint64_t off)
{
    bool to64 = long_mode(s) && x86_desc_attr(d) & SA_L;

    return (to64 ? canonical(s, off) : off <= x86_desc_limit(d)) || x86_raise(s, EXC_GP, 0);
}

typedef struct CallGate {
    uint16_t sel;
    uint64_t off, code;
    unsigned size, params;
} CallGate;

static bool read_call_gate(X86 *s, uint16_t sel, uint64_t d, CallGate *g)
{
    uint32_t a = x86_desc_attr(d), err = sel & 0xfffc, ca;
    uint64_t hi = 0;
    const X86Table *t = sel & 4 ? &s->ldt : &s->gdt;

    if (SA_DPL(a) < s->cpl || SA_DPL(a) < (sel & 3u))
        return x86_raise(s, EXC_GP, err);
    if (!(a & SA_P))
        return x86_raise(s, EXC_NP, err);
    if (long_mode(s) && (err + 15 > t->limit || !x86_read_sys(s, t->base + (sel & 0xfff8) + 8, 8, &hi)))
        return s->env.fault.kind ? false : x86_raise(s, EXC_GP, err);
    g->sel = (uint16_t)(d >> 16);
    g->off = (d & 0xffff) | (d >> 32 & 0xffff0000) | hi << 32;
    g->size = long_mode(s) ? 3 : a & 8 ? 2 : 1;
    if (g->size == 1)
        g->off &= 0xffff;
    g->params = d >> 32 & 31;
    err = g->sel & 0xfffc;
    if (!err || !x86_fetch_desc(s, g->sel, &g->code))
        return s->env.fault.kind ? false : x86_raise(s, EXC_GP, err);
    ca = x86_desc_attr(g->code);
    if (!(ca & SA_S) || !(ca & 8) || SA_DPL(ca) > s->cpl || (long_mode(s) && !(ca & SA_L)))
        return x86_raise(s, EXC_GP, err);
    return ca & SA_P ? true : x86_raise(s, EXC_NP, err);
}

static bool tss_stack(X86 *s, unsigned dpl, uint64_t *ss, uint64_t *sp)
{
    bool tss32 = s->tr.attr & 8;

    if (long_mode(s)) {
        *ss = dpl;
        return x86_read_sys(s, s->tr.base + 4 + dpl * 8, 8, sp);
    }
    return x86_read_sys(s, s->tr.base + (tss32 ? 4 + dpl * 8 : 2 + dpl * 4), tss32 ? 4 : 2, sp) &&
           x86_read_sys(s, s->tr.base + (tss32 ? 8 + dpl * 8 : 4 + dpl * 4), 2, ss);
}

static bool gate_inner(X86 *s, const CallGate *g, unsigned dpl, uint64_t ret)
{
    uint64_t ss, sp, d = 0, base = 0, mask = ~0ull, old_sp = s->env.v[RSP], param, n = 1u << g->size;
    uint16_t old_ss = s->seg[SEG_SS].sel;
    uint64_t old_base = seg_base(s, SEG_SS), old_mask = stack_mask(s);

    if (!tss_stack(s, dpl, &ss, &sp))
        return false;
    if (!long_mode(s)) {
        if (!x86_fetch_desc(s, (uint16_t)ss, &d) || SA_DPL(x86_desc_attr(d)) != dpl || (x86_desc_attr(d) & 0x1a) != 0x12)
            return s->env.fault.kind ? false : x86_raise(s, EXC_TS, ss & 0xfffc);
        base = x86_desc_base(d);
        mask = x86_desc_attr(d) & SA_DB ? 0xffffffff : 0xffff;
    }
#define PUSH(v) (sp -= n, x86_write_sys(s, base + (sp & mask), (unsigned)n, (v)))
    if (!PUSH(old_ss) || !PUSH(old_sp))
        return false;
    for (unsigned i = long_mode(s) ? 0 : g->params; i > 0; i--) /* at most 31 */
        if (!x86_read(s, old_base + ((old_sp + (i - 1) * n) & old_mask), (unsigned)n, &param) || !PUSH(param))
            return false;
    if (!PUSH(s->seg[SEG_CS].sel) || !PUSH(ret))
        return false;
#undef PUSH
    if (long_mode(s))
        x86_set_seg(s, SEG_SS, (uint16_t)dpl, 0, UINT32_MAX, SA_NULL | dpl << 5 | 0xc093);
    else
        x86_set_seg(s, SEG_SS, (uint16_t)((ss & ~3ull) | dpl), base, x86_desc_limit(d), x86_desc_attr(d) | 1);
    s->env.v[RSP] = (s->env.v[RSP] & ~mask) | (sp & mask);
    x86_set_cs(s, g->sel, g->code, dpl);
    return true;
}

static uint64_t call_gate(X86 *s, uint16_t sel, uint64_t d, bool call, uint64_t next)
{
    CallGate g;
    unsigned dpl;
    uint32_t ca;

    if (!read_call_gate(s, sel, d, &g))
        return 0;
    ca = x86_desc_attr(g.code);
    dpl = SA_DPL(ca);
    if (!check_target(s, g.code, g.off))
        return 0;
    if (call && !(ca & 4) && dpl < s->cpl) {
        if (!gate_inner(s, &g, dpl, eip(s, next)))
            return 0;
    } else {
        if (!call && !(ca & 4) && dpl != s->cpl)
            return x86_raise(s, EXC_GP, g.sel & 0xfffc);
        if (call && !push2(s, g.size, s->seg[SEG_CS].sel, eip(s, next)))
            return 0;
        x86_set_cs(s, g.sel, g.code, s->cpl);
    }
    x86_update_mode(s);
    set_eip(s, g.off);
    return 0;
}

static uint64_t far_transfer(X86 *s, uint16_t sel, uint64_t off, unsigned size, bool call, uint64_t next)
{
    uint64_t d;
    uint32_t a, err = sel & 0xfffc;

    if (!protected_mode(s)) {
        if (!call || push2(s, size, s->seg[SEG_CS].sel, eip(s, next)))
            real_far(s, sel, off);
        return 0;
    }
    if (!err || !x86_fetch_desc(s, sel, &d))
        return s->env.fault.kind ? 0 : x86_raise(s, EXC_GP, err);
    a = x86_desc_attr(d);
    if (a & SA_S) {
        if (!(a & 8))
            return x86_raise(s, EXC_GP, err);
        if (!check_code(s, sel, d) || !check_target(s, d, off) ||
            (call && !push2(s, size, s->seg[SEG_CS].sel, eip(s, next))))
            return 0;
        x86_set_cs(s, sel, d, s->cpl);
        x86_update_mode(s);
        set_eip(s, off);
        return 0;
    }
    switch (a & 15) {
    case 4:
    case 12: return (a & 15) == 4 && long_mode(s) ? x86_raise(s, EXC_GP, err) : call_gate(s, sel, d, call, next);
    case 5:
        if (long_mode(s) || SA_DPL(a) < s->cpl || SA_DPL(a) < (sel & 3u))
            return x86_raise(s, EXC_GP, err);
        return a & SA_P ? x86_task_switch(s, (uint16_t)(d >> 16), call, false, 0, next) : x86_raise(s, EXC_NP, err);
    case 1:
    case 9:
        if (long_mode(s) || SA_DPL(a) < s->cpl || SA_DPL(a) < (sel & 3u))
            return x86_raise(s, EXC_GP, err);
        return x86_task_switch(s, sel, call, false, 0, next);
    default: return x86_raise(s, EXC_GP, err);
    }
}

uint64_t hx_ljmp(Env *e, uint64_t sel_size, uint64_t off, uint64_t next)
{
    return far_transfer(x86(e), (uint16_t)sel_size, off, sel_size >> 16 & 3, false, next);
}

uint64_t hx_lcall(Env *e, uint64_t sel_size, uint64_t off, uint64_t next)
{
    return far_transfer(x86(e), (uint16_t)sel_size, off, sel_size >> 16 & 3, true, next);
}
