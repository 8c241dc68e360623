/* target/x86/sys-desc.c - descriptor table registers, LDTR, TR, and the instructions that ask about selectors. */
#include "target/x86/helper.h"

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
