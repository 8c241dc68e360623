/* target/x86/task.c - hardware task switches, 16- and 32-bit TSS. Source: Intel SDM vol. 3A chapter 7. */
#include "target/x86/cpu.h"

typedef struct TssShape {
    uint8_t word, ip, flags, regs, es, nseg, ldt;
    uint16_t min;
} TssShape;
static const TssShape shapes[2] = {
    { 2, 14, 16, 18, 34, 4, 42, 43 },  /* 286 */
    { 4, 32, 36, 40, 72, 6, 96, 103 }, /* 386; CR3 at 28 */
};

static bool save_old(X86 *s, const TssShape *t, uint64_t next, uint64_t flags)
{
    uint64_t base = s->tr.base;
    bool ok = x86_write_sys(s, base + t->ip, t->word, (uint32_t)(next - seg_base(s, SEG_CS))) &&
              x86_write_sys(s, base + t->flags, t->word, flags);

    for (unsigned i = 0; i < 8 && ok; i++)
        ok = x86_write_sys(s, base + t->regs + i * t->word, t->word, s->env.v[i]);
    for (unsigned i = 0; i < t->nseg && ok; i++)
        ok = x86_write_sys(s, base + t->es + i * t->word, 2, s->seg[i].sel);
    return ok;
}

static bool set_busy(X86 *s, uint16_t sel, bool busy)
{
    uint64_t at = s->gdt.base + (sel & 0xfff8) + 5, b;

    return x86_read_sys(s, at, 1, &b) && x86_write_sys(s, at, 1, busy ? b | 2 : b & ~2ull);
}

static void load_ldt(X86 *s, uint16_t sel)
{
    uint64_t d;

    s->ldt = (X86Table){ .sel = sel, .attr = SA_NULL };
    if (!(sel & 0xfffc))
        return;
    if (sel & 4 || !x86_fetch_desc(s, sel, &d) || (x86_desc_attr(d) & 0x1f) != 2 || !(x86_desc_attr(d) & SA_P)) {
        x86_raise(s, EXC_TS, sel & 0xfffc);
        return;
    }
    s->ldt.base = x86_desc_base(d);
    s->ldt.limit = x86_desc_limit(d);
    s->ldt.attr = x86_desc_attr(d);
}

static void load_cs(X86 *s, uint16_t sel)
{
    uint64_t d;
    uint32_t a;

    if (!(sel & 0xfffc) || !x86_fetch_desc(s, sel, &d)) {
        x86_raise(s, EXC_TS, sel & 0xfffc);
        return;
    }
    a = x86_desc_attr(d);
    if (!(a & SA_S) || !(a & 8) || (a & 4 ? SA_DPL(a) > (sel & 3u) : SA_DPL(a) != (sel & 3u)))
        x86_raise(s, EXC_TS, sel & 0xfffc);
    else if (!(a & SA_P))
        x86_raise(s, EXC_NP, sel & 0xfffc);
    else
        x86_set_cs(s, sel, d, sel & 3);
}

static bool load_new(X86 *s, const TssShape *t, uint64_t base, bool is32, uint64_t *ip)
{
    uint64_t flags, v, sel[6] = { 0 }, ldt, regs[8], cr3 = 0;
    static const uint8_t order[] = { SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS };
    bool ok = x86_read_sys(s, base + t->ip, t->word, ip) && x86_read_sys(s, base + t->flags, t->word, &flags) &&
              x86_read_sys(s, base + t->ldt, 2, &ldt) && (!is32 || x86_read_sys(s, base + 28, 4, &cr3));

    for (unsigned i = 0; i < 8 && ok; i++)
        ok = x86_read_sys(s, base + t->regs + i * t->word, t->word, &regs[i]);
    for (unsigned i = 0; i < t->nseg && ok; i++)
        ok = x86_read_sys(s, base + t->es + i * t->word, 2, &sel[i]);
    if (!ok)
        return false;
    if (is32 && s->cr0 & CR0_PG)
        x86_set_cr3(s, cr3);
    for (unsigned i = 0; i < 8; i++)
        s->env.v[i] = is32 ? regs[i] : (s->env.v[i] & ~0xffffull) | regs[i];
    v = is32 ? 0x3f7fd5 : 0x7fd5;
    x86_return_eflags(s, flags, v);
    if (flags & EF_VM && is32) {
        s->cpl = 3;
        for (unsigned i = 0; i < 6; i++)
            x86_set_seg(s, i, (uint16_t)sel[i], (sel[i] & 0xffff) << 4, 0xffff, 0xf3);
        return true;
    }
    load_ldt(s, (uint16_t)ldt);
    if (!s->env.fault.kind)
        load_cs(s, (uint16_t)sel[SEG_CS]);
    for (unsigned i = 0; i < 5 && !s->env.fault.kind; i++)
        if (!x86_load_seg(s, order[i], (uint16_t)sel[order[i]]) && s->env.fault.kind == FAULT_EXC + EXC_GP)
            s->env.fault.kind = FAULT_EXC + EXC_TS;
    return true;
}

static bool find_tss(X86 *s, uint16_t sel, unsigned why, uint64_t *d)
{
    unsigned v = why == 2 ? EXC_TS : EXC_GP;
    uint32_t a, err = sel & 0xfffc;

    if (sel & 4 || !err || !x86_fetch_desc(s, sel, d))
        return s->env.fault.kind ? false : x86_raise(s, v, err);
    a = x86_desc_attr(*d);
    if ((a & 0x15) != 1 || !!(a & 2) != (why == 2))
        return x86_raise(s, v, err);
    if (!(a & SA_P))
        return x86_raise(s, EXC_NP, err);
    return x86_desc_limit(*d) >= shapes[a >> 3 & 1].min || x86_raise(s, EXC_TS, err);
}

/* The T bit: a #DB before the new task's first instruction. */
static bool debug_trap(X86 *s, bool is32)
{
    uint64_t t = 0;

    if (is32 && !x86_read_sys(s, s->tr.base + 100, 2, &t))
        return false;
    if (t & 1) {
        s->db_pending |= DR6_BT;
        __atomic_store_n(&s->env.exit_req, 1, __ATOMIC_SEQ_CST); /* the engine's loop raises it */
    }
    return true;
}

bool x86_task_switch(X86 *s, uint16_t sel, unsigned why, bool has_err, uint32_t err, uint64_t next)
{
    uint64_t d, flags = x86_eflags(s), ip = 0;
    const TssShape *old = &shapes[s->tr.attr >> 3 & 1], *new;
    bool is32;

    if (!find_tss(s, sel, why, &d))
        return false;
    is32 = x86_desc_attr(d) & 8;
    new = &shapes[is32];
    if (why == 2)
        flags &= ~(uint64_t)EF_NT;
    if (!save_old(s, old, next, flags))
        return false;
    if (why != 1 && !set_busy(s, s->tr.sel, false))
        return false;
    if (why == 1 && !x86_write_sys(s, x86_desc_base(d), 2, s->tr.sel))
        return false;
    if (why != 2 && !set_busy(s, sel, true))
        return false;
    s->tr = (X86Table){ x86_desc_base(d), x86_desc_limit(d), x86_desc_attr(d) | 2, sel, { 0 } };
    s->cr0 |= CR0_TS;
    s->no_step = true;
    s->dr[7] &= ~0x155ull; /* local breakpoints end with their task */
    x86_arm_debug(s);
    if (!load_new(s, new, s->tr.base, is32, &ip))
        return false;
    if (why == 1)
        s->eflags |= EF_NT;
    x86_update_mode(s);
    s->env.pc = (uint32_t)(ip + seg_base(s, SEG_CS));
    if (s->env.fault.kind) /* raised in the new task */
        return false;
    if (!debug_trap(s, is32))
        return false;
    if (has_err) {
        uint64_t m = s->seg[SEG_SS].attr & SA_DB ? 0xffffffff : 0xffff, sp = s->env.v[RSP] - new->word;

        if (!x86_write(s, seg_base(s, SEG_SS) + (sp & m), new->word, err))
            return false;
        s->env.v[RSP] = (s->env.v[RSP] & ~m) | (sp & m);
    }
    return true;
}
