/* target/x86/int-ops.c - integer instructions that are not made of micro-ops: BCD, BOUND, CRC32, CMPXCHG8B, frames. */
#include "target/x86/helper.h"

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
    if (!x86_aligned(s, a, 8, (unsigned)b))
        return 0;
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
    if (!code64(s) && off + (1u << size) - 1 > UINT32_MAX)
        return x86_raise(s, EXC_SS, 0); /* beyond any limit */
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
    if (!stack_ok(s, sp & m, (unsigned)a, true) || !x86_aligned(s, stack_base(s) + (sp & m), (unsigned)n, (unsigned)n) || !mem_load(e, stack_base(s) + (sp & m), (unsigned)n, &v, true))
        return 0; /* the new top must be writable, though nothing is stored there */
    e->v[RSP] = (e->v[RSP] & ~m) | (sp & m);
    if (a == 1)
        e->v[RBP] = (e->v[RBP] & ~0xffffull) | (frame & 0xffff);
    else
        e->v[RBP] = a == 2 ? (uint32_t)frame : frame;
    return 0;
}
