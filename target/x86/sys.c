/*
 * target/x86/sys.c - helpers of the system instructions. Each gets its operands as values, raises by
 * setting env.fault, and changes nothing before it can no longer fail.
 */
#include "target/x86/cpu.h"
#include "tcg/flags.h"

#define HELPER(name)                                                                               \
    uint64_t hx_##name(Env *e, uint64_t a, uint64_t b, uint64_t c);                                \
    uint64_t hx_##name(Env *e, uint64_t a, uint64_t b, uint64_t c)

bool x86_port_allowed(X86 *s, uint16_t port, unsigned bytes);

static bool cpl0(X86 *s) { return (s->cpl == 0 && !vm86(s)) || x86_raise(s, EXC_GP, 0); }
static bool umip_ok(X86 *s) { return !(s->cr4 & CR4_UMIP && s->cpl) || x86_raise(s, EXC_GP, 0); }

/* ---- flags ---- */
HELPER(pushf)
{
    X86 *s = x86(e);

    if (vm86(s) && iopl(s) < 3)
        return x86_raise(s, EXC_GP, 0);
    return x86_eflags(s) & ~(uint64_t)(EF_VM | EF_RF);
}

HELPER(popf)
{
    X86 *s = x86(e);
    uint64_t m = EF_ARITH | EF_TF | EF_DF | EF_NT | (b > 1 ? EF_AC | EF_ID : 0);

    if (vm86(s) && iopl(s) < 3)
        return x86_raise(s, EXC_GP, 0);
    if (s->cpl == 0)
        m |= EF_IOPL;
    if (s->cpl <= iopl(s) || !(s->cr0 & CR0_PE))
        m |= EF_IF;
    x86_set_eflags(s, a, m);
    return 0;
}

static bool may_mask(X86 *s) { return !(s->cr0 & CR0_PE) || s->cpl <= iopl(s) || x86_raise(s, EXC_GP, 0); }

HELPER(cli)
{
    X86 *s = x86(e);

    if (may_mask(s))
        s->eflags &= ~(uint64_t)EF_IF;
    return 0;
}

HELPER(sti)
{
    X86 *s = x86(e);

    if (!may_mask(s))
        return 0;
    if (!(s->eflags & EF_IF)) {
        s->shadow = SHADOW_STI;
        s->eflags |= EF_IF;
        x86_update_mode(s);
    }
    return 0;
}

HELPER(cld) { x86(e)->eflags &= ~(uint64_t)EF_DF; return 0; }
HELPER(std) { x86(e)->eflags |= EF_DF; return 0; }
HELPER(nop0) { return 0; }

HELPER(hlt)
{
    e->fault = (Fault){ FAULT_HALT, 0, a };
    return 0;
}

HELPER(fwait)
{
    X86 *s = x86(e);

    if ((s->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        return x86_raise(s, EXC_NM, 0);
    if (s->fpu.sw & 0x80)
        return x86_raise(s, EXC_MF, 0);
    return 0;
}

/* ---- BCD ---- */
static void bcd_flags(Env *e, uint8_t al, bool cf, bool af, unsigned keep)
{
    unsigned f = flags_szp(al, 0) | (cf ? FC : 0) | (af ? FA : 0);

    e->cc = (Cc){ .kind = CC_RAW, .res = f | keep };
}

static void set_al(Env *e, uint8_t al) { e->v[RAX] = (e->v[RAX] & ~0xffull) | al; }
static void set_ax(Env *e, uint16_t ax) { e->v[RAX] = (e->v[RAX] & ~0xffffull) | ax; }

static uint64_t decimal(Env *e, bool sub)
{
    unsigned f = flags_of(&e->cc);
    uint8_t al = (uint8_t)e->v[RAX], old = al;
    bool cf = f & FC, af = false, oldcf = cf;

    cf = false;
    if ((al & 15) > 9 || f & FA) {
        cf = oldcf || (sub ? al < 6 : al > 0xf9);
        al = (uint8_t)(sub ? al - 6 : al + 6);
        af = true;
    }
    if (old > 0x99 || oldcf) {
        al = (uint8_t)(sub ? al - 0x60 : al + 0x60);
        cf = true;
    }
    set_al(e, al);
    bcd_flags(e, al, cf, af, 0);
    return 0;
}
HELPER(daa) { return decimal(e, false); }
HELPER(das) { return decimal(e, true); }

static uint64_t ascii(Env *e, bool sub)
{
    uint16_t ax = (uint16_t)e->v[RAX];
    bool adjust = (ax & 15) > 9 || flags_of(&e->cc) & FA;

    if (adjust)
        ax = (uint16_t)(sub ? ax - 0x106 : ax + 0x106);
    ax &= 0xff0f;
    set_ax(e, ax);
    bcd_flags(e, (uint8_t)ax, adjust, adjust, 0);
    return 0;
}
HELPER(aaa) { return ascii(e, false); }
HELPER(aas) { return ascii(e, true); }

HELPER(aam)
{
    uint8_t al = (uint8_t)e->v[RAX], base = (uint8_t)a;

    if (!base)
        return x86_raise(x86(e), EXC_DE, 0);
    set_ax(e, (uint16_t)(al / base << 8 | al % base));
    bcd_flags(e, al % base, false, false, 0);
    return 0;
}

HELPER(aad)
{
    uint8_t al = (uint8_t)(e->v[RAX] + (e->v[RAX] >> 8 & 0xff) * (uint8_t)a);

    set_ax(e, al);
    bcd_flags(e, al, false, false, 0);
    return 0;
}

HELPER(bound)
{
    if ((int64_t)a < (int64_t)b || (int64_t)a > (int64_t)c)
        x86_raise(x86(e), EXC_BR, 0);
    return 0;
}

HELPER(into)
{
    if (flags_of(&e->cc) & FO)
        x86_interrupt(x86(e), EXC_OF, true, a);
    else
        e->pc = a;
    return 0;
}

HELPER(crc32)
{
    uint32_t crc = (uint32_t)a;

    for (unsigned i = 0; i < 8 * c; i++) {
        bool bit = (crc ^ b >> i) & 1;

        crc = crc >> 1 ^ (bit ? 0x82f63b78 : 0);
    }
    return crc;
}

HELPER(cmpxchg8b)
{
    X86 *s = x86(e);
    uint8_t old[16] = { 0 }, new[16];
    unsigned n = (unsigned)b / 2, f = flags_of(&e->cc);
    bool ok = false;

    if (b == 16 && a & 15)
        return x86_raise(s, EXC_GP, 0);
    le_store(old, n, e->v[RAX]);
    le_store(old + n, n, e->v[RDX]);
    le_store(new, n, e->v[RBX]);
    le_store(new + n, n, e->v[RCX]);
    if (!mem_cas(e, a, (unsigned)b, old, new, &ok))
        return 0;
    if (!ok) {
        e->v[RAX] = le_load(old, n);
        e->v[RDX] = le_load(old + n, n);
    }
    e->cc = (Cc){ .kind = CC_RAW, .res = (f & ~(unsigned)FZ) | (ok ? FZ : 0) };
    return 0;
}

/* ---- stack frames ---- */
static uint64_t stack_mask(const X86 *s) { return code64(s) ? ~0ull : s->seg[SEG_SS].attr & SA_DB ? 0xffffffff : 0xffff; }
static uint64_t stack_base(const X86 *s) { return code64(s) ? 0 : seg_base(s, SEG_SS); }

static bool stack_ok(X86 *s, uint64_t off, unsigned size, bool write)
{
    return code64(s) || !(s->env.mode >> (MODE_CHECK_SHIFT + SEG_SS) & 1) ||
           target_segchk(&s->env, off, SEG_SS | size << 3 | (unsigned)write << 7);
}

HELPER(pusha)
{
    X86 *s = x86(e);
    uint64_t m = stack_mask(s), sp = e->v[RSP], n = 1u << a;

    for (unsigned i = 0; i < 8; i++) {
        uint64_t off = (sp - (i + 1) * n) & m;

        if (!stack_ok(s, off, (unsigned)a, true) || !x86_write(s, stack_base(s) + off, (unsigned)n, e->v[i]))
            return 0;
    }
    e->v[RSP] = (sp & ~m) | ((sp - 8 * n) & m);
    return 0;
}

HELPER(popa)
{
    X86 *s = x86(e);
    uint64_t m = stack_mask(s), sp = e->v[RSP], n = 1u << a, v[8];

    for (unsigned i = 0; i < 8; i++) {
        uint64_t off = (sp + i * n) & m;

        if (!stack_ok(s, off, (unsigned)a, false) || !x86_read(s, stack_base(s) + off, (unsigned)n, &v[7 - i]))
            return 0;
    }
    for (unsigned i = 0; i < 8; i++)
        if (i != RSP)
            e->v[i] = a == 1 ? (e->v[i] & ~0xffffull) | v[i] : v[i];
    e->v[RSP] = (sp & ~m) | ((sp + 8 * n) & m);
    return 0;
}

/* a: operand size, b: bytes of locals, c: nesting level 0..31 */
HELPER(enter)
{
    X86 *s = x86(e);
    uint64_t m = stack_mask(s), sp = e->v[RSP], n = 1u << a, frame, v, bp = e->v[RBP];
#define PUSH(x) (sp -= n, stack_ok(s, sp & m, (unsigned)a, true) && x86_write(s, stack_base(s) + (sp & m), (unsigned)n, (x)))
    if (!PUSH(bp))
        return 0;
    frame = sp;
    for (unsigned i = 1; i < c; i++) {
        bp -= n;
        if (!stack_ok(s, bp & m, (unsigned)a, false) || !x86_read(s, stack_base(s) + (bp & m), (unsigned)n, &v) || !PUSH(v))
            return 0;
    }
    if (c && !PUSH(frame))
        return 0;
#undef PUSH
    sp -= b;
    if (!stack_ok(s, sp & m, (unsigned)a, true) || !mem_load(e, stack_base(s) + (sp & m), (unsigned)n, &v, true))
        return 0; /* the new top must be writable, though nothing is stored there */
    e->v[RSP] = (e->v[RSP] & ~m) | (sp & m);
    if (a == 1)
        e->v[RBP] = (e->v[RBP] & ~0xffffull) | (frame & 0xffff);
    else
        e->v[RBP] = a == 2 ? (uint32_t)frame : frame;
    return 0;
}

/* ---- ports ---- */
HELPER(in)
{
    X86 *s = x86(e);
    uint64_t v = 0;

    if (!x86_port_allowed(s, (uint16_t)a, 1u << b))
        return 0;
    as_load(e->cpu->ports, (uint16_t)a, 1u << b, &v, MEM_CPU);
    return v;
}

HELPER(out)
{
    X86 *s = x86(e);

    if (x86_port_allowed(s, (uint16_t)a, 1u << b))
        as_store(e->cpu->ports, (uint16_t)a, 1u << b, trunc_to(c, (unsigned)b), MEM_CPU);
    return 0;
}

/* ---- descriptor tables ---- */
HELPER(sldt) { return umip_ok(x86(e)) ? x86(e)->ldt.sel : 0; }
HELPER(str) { return umip_ok(x86(e)) ? x86(e)->tr.sel : 0; }
HELPER(smsw) { return umip_ok(x86(e)) ? x86(e)->cr0 : 0; }

/* System descriptors are 16 bytes in long mode. */
static bool system_desc(X86 *s, uint16_t sel, X86Table *t, unsigned type, unsigned type_mask)
{
    uint64_t d, hi = 0;
    uint32_t err = sel & 0xfffc;

    if (sel & 4 || !x86_fetch_desc(s, sel, &d))
        return s->env.fault.kind ? false : x86_raise(s, EXC_GP, err);
    if ((x86_desc_attr(d) & 0x10) || (x86_desc_attr(d) & type_mask) != type)
        return x86_raise(s, EXC_GP, err);
    if (!(x86_desc_attr(d) & SA_P))
        return x86_raise(s, EXC_NP, err);
    if (long_mode(s)) {
        if ((sel & 0xfff8) + 15u > s->gdt.limit)
            return x86_raise(s, EXC_GP, err);
        if (!x86_read_sys(s, s->gdt.base + (sel & 0xfff8) + 8, 8, &hi))
            return false;
    }
    *t = (X86Table){ x86_desc_base(d) | hi << 32, x86_desc_limit(d), x86_desc_attr(d), sel, { 0 } };
    return true;
}

HELPER(lldt)
{
    X86 *s = x86(e);
    X86Table t = { .sel = (uint16_t)a, .attr = SA_NULL };

    if (!(a & 0xfffc) || system_desc(s, (uint16_t)a, &t, 2, 15))
        s->ldt = t;
    return 0;
}

HELPER(ltr)
{
    X86 *s = x86(e);
    X86Table t;
    uint64_t at = s->gdt.base + (a & 0xfff8) + 5;

    if (!(a & 0xfffc))
        return x86_raise(s, EXC_GP, 0);
    if (!system_desc(s, (uint16_t)a, &t, long_mode(s) ? 9 : 1, long_mode(s) ? 15 : 7))
        return 0;
    if (!x86_write_sys(s, at, 1, (t.attr & 0xff) | 2))
        return 0;
    t.attr |= 2;
    s->tr = t;
    return 0;
}

/* a: linear address, b: operand size */
static uint64_t store_table(X86 *s, const X86Table *t, uint64_t at, unsigned size)
{
    if (!umip_ok(s) || !x86_write(s, at, 2, t->limit))
        return 0;
    x86_write(s, at + 2, size == 3 ? 8 : 4, t->base);
    return 0;
}
HELPER(sgdt) { return store_table(x86(e), &x86(e)->gdt, a, (unsigned)b); }
HELPER(sidt) { return store_table(x86(e), &x86(e)->idt, a, (unsigned)b); }

static uint64_t load_table(X86 *s, X86Table *t, uint64_t at, unsigned size)
{
    uint64_t limit, base;

    if (!x86_read(s, at, 2, &limit) || !x86_read(s, at + 2, size == 3 ? 8 : 4, &base))
        return 0;
    if (!canonical(s, base) && size == 3)
        return x86_raise(s, EXC_GP, 0);
    t->limit = (uint32_t)limit;
    t->base = size == 1 ? base & 0xffffff : base;
    return 0;
}
HELPER(lgdt) { return load_table(x86(e), &x86(e)->gdt, a, (unsigned)b); }
HELPER(lidt) { return load_table(x86(e), &x86(e)->idt, a, (unsigned)b); }

static void set_zf(Env *e, bool z)
{
    unsigned f = flags_of(&e->cc);

    e->cc = (Cc){ .kind = CC_RAW, .res = (f & ~(unsigned)FZ) | (z ? FZ : 0) };
}

static bool visible(X86 *s, uint16_t sel, uint64_t *d)
{
    uint32_t a;

    if (!(sel & 0xfffc) || !x86_fetch_desc(s, sel, d))
        return false;
    a = x86_desc_attr(*d);
    if ((a & 0x1c) == 0x1c) /* conforming code: any level */
        return true;
    return SA_DPL(a) >= s->cpl && SA_DPL(a) >= (sel & 3u);
}

static uint64_t verify(Env *e, uint16_t sel, bool write)
{
    X86 *s = x86(e);
    uint64_t d = 0;
    bool ok = visible(s, sel, &d);
    uint32_t a = x86_desc_attr(d);

    if (s->env.fault.kind)
        return 0;
    ok = ok && a & SA_S && (write ? (a & 0xa) == 2 : (a & 0xa) != 8);
    set_zf(e, ok);
    return 0;
}
HELPER(verr) { return verify(e, (uint16_t)a, false); }
HELPER(verw) { return verify(e, (uint16_t)a, true); }

/* Which system types LAR and LSL accept, in long mode and else. */
static bool lar_type(const X86 *s, uint32_t a, bool limit)
{
    unsigned t = a & 15;

    if (a & SA_S)
        return true;
    if (long_mode(s))
        return t == 2 || t == 9 || t == 11 || (!limit && t == 12);
    return t == 1 || t == 2 || t == 3 || t == 9 || t == 11 || (!limit && (t == 4 || t == 5 || t == 12));
}

static uint64_t load_rights(Env *e, uint16_t sel, uint64_t old, unsigned size, bool limit)
{
    X86 *s = x86(e);
    uint64_t d = 0, v;
    bool ok = visible(s, sel, &d) && lar_type(s, x86_desc_attr(d), limit);

    if (s->env.fault.kind)
        return old;
    set_zf(e, ok);
    if (!ok)
        return old;
    v = limit ? x86_desc_limit(d) : d >> 32 & 0xffff00;
    return size == 1 ? (old & ~0xffffull) | (v & 0xffff) : v;
}
HELPER(lar) { return load_rights(e, (uint16_t)a, b, (unsigned)c, false); }
HELPER(lsl) { return load_rights(e, (uint16_t)a, b, (unsigned)c, true); }

HELPER(arpl)
{
    bool less = (a & 3) < (b & 3);

    set_zf(e, less);
    return less ? (a & ~3ull) | (b & 3) : a;
}

/* ---- control registers ---- */
HELPER(lmsw)
{
    X86 *s = x86(e);

    x86_set_cr0(s, (s->cr0 & ~14ull) | (a & 15) | (s->cr0 & CR0_PE));
    return 0;
}

HELPER(clts)
{
    X86 *s = x86(e);

    s->cr0 &= ~(uint64_t)CR0_TS;
    x86_update_mode(s);
    return 0;
}

HELPER(rdcr)
{
    X86 *s = x86(e);

    switch (a) {
    case 0: return s->cr0;
    case 2: return s->cr2;
    case 3: return s->cr3;
    case 4: return s->cr4;
    case 8: return e->cpu->intc ? e->cpu->intc->get_tpr(e->cpu->intc_chip) : 0;
    default: return x86_raise(s, EXC_UD, 0);
    }
}

HELPER(wrcr)
{
    X86 *s = x86(e);

    switch (a) {
    case 0: x86_set_cr0(s, b); break;
    case 2: s->cr2 = b; break;
    case 3: x86_set_cr3(s, b); break;
    case 4: x86_set_cr4(s, b); break;
    case 8:
        if (b & ~15ull)
            return x86_raise(s, EXC_GP, 0);
        if (e->cpu->intc)
            e->cpu->intc->set_tpr(e->cpu->intc_chip, b);
        break;
    default: return x86_raise(s, EXC_UD, 0);
    }
    return 0;
}

static bool debug_reg(X86 *s, unsigned *n)
{
    if (*n == 4 || *n == 5) {
        if (s->cr4 & CR4_DE)
            return x86_raise(s, EXC_UD, 0);
        *n += 2;
    }
    if (*n > 7)
        return x86_raise(s, EXC_UD, 0);
    if (s->dr[7] & 1 << 13) { /* GD: general detect */
        s->dr[7] &= ~(1ull << 13);
        s->dr[6] |= 1 << 13;
        return x86_raise(s, EXC_DB, 0);
    }
    return true;
}

HELPER(rddr)
{
    X86 *s = x86(e);
    unsigned n = (unsigned)a;

    return debug_reg(s, &n) ? s->dr[n] : 0;
}

HELPER(wrdr)
{
    X86 *s = x86(e);
    unsigned n = (unsigned)a;

    if (!debug_reg(s, &n))
        return 0;
    if (n >= 6 && b >> 32)
        return x86_raise(s, EXC_GP, 0);
    s->dr[n] = n == 6 ? (b & 0xe00f) | 0xffff0ff0 : n == 7 ? (b & 0xffff2fff) | 0x400 : b;
    s->dr7_points = s->dr[7] & 0xff;
    x86_update_mode(s);
    return 0;
}

HELPER(invlpg)
{
    tcg_flush_page(x86(e), a);
    return 0;
}

HELPER(invpcid)
{
    X86 *s = x86(e);
    uint64_t pcid, va;

    if (!x86_read(s, b, 8, &pcid) || !x86_read(s, b + 8, 8, &va))
        return 0;
    if (a > 3 || pcid & ~0xfffull || (a == 0 && !canonical(s, va)))
        return x86_raise(s, EXC_GP, 0);
    if (a == 0)
        tcg_flush_page(s, va);
    else if (a == 2)
        tcg_flush_all(s);
    else
        tcg_flush_nonglobal(s);
    return 0;
}

/* 0F 01 with a register operand. */
HELPER(0f01)
{
    X86 *s = x86(e);

    switch (a) {
    case 0xc8: /* monitor */
    case 0xc9: /* mwait */
        if (s->cpl)
            return x86_raise(s, EXC_UD, 0);
        if (a == 0xc9)
            e->fault = (Fault){ FAULT_HALT, 1, b };
        return 0;
    case 0xca: /* clac */
    case 0xcb: /* stac */
        if (s->cpl || !(s->cr0 & CR0_PE))
            return x86_raise(s, EXC_UD, 0);
        s->eflags = a == 0xcb ? s->eflags | EF_AC : s->eflags & ~(uint64_t)EF_AC;
        x86_update_mode(s);
        return 0;
    case 0xd0: /* xgetbv */
        if (!(s->cr4 & CR4_OSXSAVE))
            return x86_raise(s, EXC_UD, 0);
        if ((uint32_t)e->v[RCX])
            return x86_raise(s, EXC_GP, 0);
        e->v[RAX] = (uint32_t)s->xcr0;
        e->v[RDX] = s->xcr0 >> 32;
        return 0;
    case 0xd1: { /* xsetbv */
        uint64_t v = (e->v[RDX] << 32) | (uint32_t)e->v[RAX];

        if (!(s->cr4 & CR4_OSXSAVE))
            return x86_raise(s, EXC_UD, 0);
        if (!cpl0(s))
            return 0;
        if ((uint32_t)e->v[RCX] || !(v & 1) || v & ~3ull)
            return x86_raise(s, EXC_GP, 0);
        s->xcr0 = v;
        return 0;
    }
    case 0xee: /* rdpkru */
        if (!(s->cr4 & CR4_PKE))
            return x86_raise(s, EXC_UD, 0);
        if ((uint32_t)e->v[RCX])
            return x86_raise(s, EXC_GP, 0);
        e->v[RAX] = s->pkru;
        e->v[RDX] = 0;
        return 0;
    case 0xef: /* wrpkru */
        if (!(s->cr4 & CR4_PKE))
            return x86_raise(s, EXC_UD, 0);
        if ((uint32_t)e->v[RCX] || (uint32_t)e->v[RDX])
            return x86_raise(s, EXC_GP, 0);
        s->pkru = (uint32_t)e->v[RAX];
        tcg_flush_all(s);
        return 0;
    case 0xf8: { /* swapgs */
        uint64_t base = seg_base(s, SEG_GS);

        if (!code64(s))
            return x86_raise(s, EXC_UD, 0);
        if (!cpl0(s))
            return 0;
        e->v[V_SEGBASE + SEG_GS] = s->kernelgsbase;
        s->kernelgsbase = base;
        return 0;
    }
    case 0xf9: /* rdtscp */
        if (s->cr4 & CR4_TSD && s->cpl)
            return x86_raise(s, EXC_GP, 0);
        e->v[RCX] = (uint32_t)s->tsc_aux;
        e->v[RAX] = (uint32_t)x86_tsc(s);
        e->v[RDX] = x86_tsc(s) >> 32;
        return 0;
    default: return x86_raise(s, EXC_UD, 0);
    }
}

/* ---- fast system calls ---- */
static void flat_cs(X86 *s, uint16_t sel, bool to64, unsigned cpl)
{
    x86_set_seg(s, SEG_CS, (uint16_t)((sel & ~3u) | cpl), 0, UINT32_MAX,
                (uint32_t)(0x809b | cpl << 5 | (to64 ? SA_L : SA_DB)));
    s->cpl = (uint8_t)cpl;
}

static void flat_ss(X86 *s, uint16_t sel, unsigned cpl)
{
    x86_set_seg(s, SEG_SS, (uint16_t)((sel & ~3u) | cpl), 0, UINT32_MAX, 0xc093 | cpl << 5);
}

HELPER(syscall)
{
    X86 *s = x86(e);
    uint16_t sel = (uint16_t)(s->star >> 32);

    if (!(s->efer & EFER_SCE) || !(s->cr0 & CR0_PE) || (!code64(s) && !s->vendor_amd))
        return x86_raise(s, EXC_UD, 0);
    if (!long_mode(s)) { /* AMD, legacy */
        e->v[RCX] = (uint32_t)(a - seg_base(s, SEG_CS));
        s->eflags &= ~(uint64_t)(EF_VM | EF_IF | EF_RF);
        flat_cs(s, sel, false, 0);
        flat_ss(s, (uint16_t)(sel + 8), 0);
        x86_update_mode(s);
        e->pc = (uint32_t)s->star;
        return 0;
    }
    uint64_t to = code64(s) ? s->lstar : s->cstar;

    e->v[RCX] = code64(s) ? a : (uint32_t)(a - seg_base(s, SEG_CS));
    e->v[11] = x86_eflags(s) & ~(uint64_t)EF_RF;
    flat_cs(s, sel, true, 0);
    flat_ss(s, (uint16_t)(sel + 8), 0);
    x86_set_eflags(s, e->v[11] & ~s->sfmask & ~(uint64_t)EF_RF, ~0ull);
    e->pc = to;
    return 0;
}

HELPER(sysret)
{
    X86 *s = x86(e);
    uint16_t sel = (uint16_t)(s->star >> 48);
    bool lm = long_mode(s), to64 = a;

    if (!(s->efer & EFER_SCE) || (!code64(s) && !s->vendor_amd))
        return x86_raise(s, EXC_UD, 0);
    if (to64 && !canonical(s, e->v[RCX]))
        return x86_raise(s, EXC_GP, 0);
    flat_cs(s, (uint16_t)(to64 ? sel + 16 : sel), to64, 3);
    if (s->vendor_amd)
        s->seg[SEG_SS].sel = (uint16_t)((sel + 8) | 3);
    else
        flat_ss(s, (uint16_t)(sel + 8), 3);
    if (lm)
        x86_set_eflags(s, e->v[11], EF_ARITH | EF_TF | EF_IF | EF_DF | EF_IOPL | EF_NT | EF_AC | EF_VIF | EF_VIP | EF_ID | EF_RF);
    else
        s->eflags |= EF_IF;
    s->eflags &= ~(uint64_t)(EF_VM | EF_RF);
    x86_update_mode(s);
    e->pc = to64 ? e->v[RCX] : (uint32_t)e->v[RCX];
    return 0;
}

HELPER(sysenter)
{
    X86 *s = x86(e);
    uint16_t sel = (uint16_t)(s->sysenter_cs & 0xfffc);
    bool lm = long_mode(s);

    if (!(s->cr0 & CR0_PE) || !sel)
        return x86_raise(s, EXC_GP, 0);
    if (lm && s->vendor_amd)
        return x86_raise(s, EXC_UD, 0);
    s->eflags &= ~(uint64_t)(EF_VM | EF_IF | EF_RF);
    flat_cs(s, sel, lm, 0);
    flat_ss(s, (uint16_t)(sel + 8), 0);
    e->v[RSP] = lm ? s->sysenter_esp : (uint32_t)s->sysenter_esp;
    x86_update_mode(s);
    e->pc = lm ? s->sysenter_eip : (uint32_t)s->sysenter_eip;
    return 0;
}

HELPER(sysexit)
{
    X86 *s = x86(e);
    uint16_t sel = (uint16_t)(s->sysenter_cs & 0xfffc);

    if (!sel || (long_mode(s) && s->vendor_amd))
        return x86_raise(s, EXC_GP, 0);
    if (a && (!canonical(s, e->v[RCX]) || !canonical(s, e->v[RDX])))
        return x86_raise(s, EXC_GP, 0);
    flat_cs(s, (uint16_t)(sel + (a ? 32 : 16)), a, 3);
    flat_ss(s, (uint16_t)(sel + (a ? 40 : 24)), 3);
    e->v[RSP] = a ? e->v[RCX] : (uint32_t)e->v[RCX];
    x86_update_mode(s);
    e->pc = a ? e->v[RDX] : (uint32_t)e->v[RDX];
    return 0;
}

HELPER(rsm)
{
    X86 *s = x86(e);

    if (!s->smm)
        return x86_raise(s, EXC_UD, 0);
    x86_rsm(s);
    return 0;
}

/* ---- time, identification, MSRs ---- */
HELPER(rdtsc)
{
    X86 *s = x86(e);
    uint64_t t;

    if (s->cr4 & CR4_TSD && s->cpl)
        return x86_raise(s, EXC_GP, 0);
    t = x86_tsc(s);
    e->v[RAX] = (uint32_t)t;
    e->v[RDX] = t >> 32;
    return 0;
}

HELPER(rdpmc) { return x86_raise(x86(e), EXC_GP, 0); }

HELPER(rdpid) { return x86(e)->tsc_aux; }

HELPER(rdmsr)
{
    X86 *s = x86(e);
    uint64_t v = 0;

    if (!x86_rdmsr(s, (uint32_t)e->v[RCX], &v))
        return x86_raise(s, EXC_GP, 0);
    e->v[RAX] = (uint32_t)v;
    e->v[RDX] = v >> 32;
    return 0;
}

HELPER(wrmsr)
{
    X86 *s = x86(e);

    if (!x86_wrmsr(s, (uint32_t)e->v[RCX], e->v[RDX] << 32 | (uint32_t)e->v[RAX]))
        return s->env.fault.kind ? 0 : x86_raise(s, EXC_GP, 0);
    return 0;
}

HELPER(cpuid)
{
    uint32_t out[4];

    x86_cpuid(x86(e), (uint32_t)e->v[RAX], (uint32_t)e->v[RCX], out);
    e->v[RAX] = out[0];
    e->v[RBX] = out[1];
    e->v[RCX] = out[2];
    e->v[RDX] = out[3];
    return 0;
}

HELPER(rdrand)
{
    uint64_t v = 0;

    door_random(e->cpu->vm, &v, 1u << a);
    e->cc = (Cc){ .kind = CC_RAW, .res = FC };
    return v;
}

HELPER(fsgsbase)
{
    X86 *s = x86(e);

    if (!(s->cr4 & CR4_FSGSBASE))
        return x86_raise(s, EXC_UD, 0);
    if (b && !canonical(s, a))
        return x86_raise(s, EXC_GP, 0);
    return 0;
}
