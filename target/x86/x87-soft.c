/*
 * target/x86/x87-soft.c - the x87 in C, for every host: loads, stores, arithmetic, compares and moves over fp.h. SDM
 * volume 1, 8; volume 2. What the manual leaves open is as AMD's Zen has it: it was asked (tests/isa/x87.c).
 */
#include "target/x86/x87-soft.h"

/* ---- exceptions and registers */

Fp x87_invalid(X87Run *r)
{
    r->c.flags |= FPE_I;
    return fp_default_nan();
}

static void stack_fault(X87Run *r, bool full)
{
    r->bad_stack = true;
    r->c.flags |= FPE_I | FSW_SF;
    r->c.up = full;
}

Fp x87_get(X87Run *r, unsigned i)
{
    if (x87_used(r->f, i))
        return fp_unpack80(x87_st(r->f, i));
    stack_fault(r, false);
    return fp_default_nan();
}

void x87_room(X87Run *r)
{
    if (x87_used(r->f, 7) && !r->bad_stack)
        stack_fault(r, true);
}

bool x87_commit(X87Run *r, bool to_mem)
{
    const unsigned early = FPE_I | FPE_D | FPE_Z;
    unsigned fl = r->c.flags, unmasked = fl & r->c.unmasked;
    bool done = true;

    if (unmasked & early) {
        fl &= early | FSW_SF;
        r->c.up &= r->bad_stack;
        done = false;
    } else if (to_mem && unmasked & (FPE_O | FPE_U)) {
        fl &= FPE_O | FPE_U;
        r->c.up = done = false;
    }
    if (!r->keeps_c1 || r->bad_stack)
        r->f->sw &= (uint16_t)~X87_C1;
    r->f->sw |= (uint16_t)(fl | (r->c.up ? X87_C1 : 0));
    if (unmasked) {
        r->f->sw |= FSW_ES | FSW_B;
        r->f->op = (uint16_t)r->op11;
    }
    return done;
}

void x87_put(X87Run *r, unsigned i, Fp v)
{
    fp_pack80(x87_st(r->f, i), r->bad_stack ? fp_default_nan() : v);
    x87_use(r->f, i);
}

void x87_push(X87Run *r, Fp v)
{
    x87_set_top(r->f, x86_top(r->f) - 1);
    x87_put(r, 0, v);
}

void x87_codes(X87Run *r, unsigned codes) { r->f->sw = (uint16_t)((r->f->sw & ~(X87_C0 | X87_C2 | X87_C3)) | codes); }

static bool signalling(const Fp *v) { return v->kind == FP_NAN && !fp_quiet(*v); }

/* Of two NaNs a quiet one, then the larger significand, then the positive one. */
bool x87_nan(X87Run *r, const Fp *a, const Fp *b, Fp *out)
{
    const Fp *n = a;

    if (a->kind == FP_BAD || (b && b->kind == FP_BAD)) {
        *out = x87_invalid(r);
        return true;
    }
    if (a->kind != FP_NAN && (!b || b->kind != FP_NAN))
        return false;
    if (a->kind != FP_NAN)
        n = b;
    else if (b && b->kind == FP_NAN)
        n = fp_quiet(*a) != fp_quiet(*b) ? (fp_quiet(*a) ? a : b) : a->m != b->m ? (a->m > b->m ? a : b) : a->neg ? b : a;
    if (signalling(a) || (b && signalling(b)))
        r->c.flags |= FPE_I;
    *out = *n;
    out->m |= 1ull << 62;
    return true;
}

/* ---- operands in memory */

static Fp real_operand(const X87Run *r, bool wide) { return fp_unpack(wide ? &fp_double : &fp_single, le_load(r->mem, wide ? 8 : 4)); }
static Fp int_operand(const X87Run *r, unsigned bytes)
{
    const unsigned unused = 64 - 8 * bytes;

    return fp_of_int((int64_t)(le_load(r->mem, bytes) << unused) >> unused);
}

/* ---- arithmetic: kinds 0 add 1 mul 4 sub 5 reversed 6 div 7 reversed, of ST(0) and another operand */

static Fp arith(X87Run *r, unsigned kind, Fp t, Fp s)
{
    static FpArith *const op[8] = { fp_add, fp_mul, NULL, NULL, fp_sub, fp_sub, fp_div, fp_div };
    const Fp a = kind & 4 && kind & 1 ? s : t, b = kind & 4 && kind & 1 ? t : s;
    Fp v;

    if (r->bad_stack || x87_nan(r, &a, &b, &v))
        return v = r->bad_stack ? fp_default_nan() : v;
    if (!(op[kind] == fp_div && b.kind == FP_ZERO)) {
        x87_denormal(r, a);
        x87_denormal(r, b);
    }
    return op[kind](&r->c, r->fmt, a, b);
}

static void arith_to(X87Run *r, unsigned kind, unsigned dst, Fp s, bool pops)
{
    Fp v = arith(r, kind, x87_get(r, 0), s);

    if (!x87_commit(r, false))
        return;
    x87_put(r, dst, v);
    if (pops)
        x87_pop(r->f);
}

/* ---- compares */

enum { UNORDERED = 2 };

static int order(X87Run *r, Fp a, Fp b, bool quiet)
{
    Fp nan;

    if (r->bad_stack)
        return UNORDERED;
    if (x87_nan(r, &a, &b, &nan)) {
        if (!quiet)
            r->c.flags |= FPE_I;
        return UNORDERED;
    }
    x87_denormal(r, a);
    x87_denormal(r, b);
    return fp_compare(a, b);
}

static void compare(X87Run *r, Fp s, bool quiet, unsigned pops)
{
    static const unsigned codes[] = { X87_C0, X87_C3, 0, X87_C0 | X87_C2 | X87_C3 };
    const int o = order(r, x87_get(r, 0), s, quiet);
    const bool done = x87_commit(r, false);

    x87_codes(r, codes[o + 1]);
    while (done && pops-- > 0)
        x87_pop(r->f);
}

static void compare_flags(X87Run *r, bool quiet, bool pops)
{
    static const unsigned flags[] = { 1, 0x40, 0, 0x45 };
    const Fp t = x87_get(r, 0), s = x87_get(r, r->op11 & 7);
    const int o = order(r, t, s, quiet);

    r->keeps_c1 = true;
    *r->eflags = (*r->eflags & ~0x8d5u) | flags[o + 1];
    if (x87_commit(r, false) && pops)
        x87_pop(r->f);
}

/* ---- loads and stores */

static void load(X87Run *r, Fp v)
{
    Fp nan;

    x87_room(r);
    if (!r->bad_stack && r->op11 & 0x100 && !(r->op11 & 0x200)) { /* FLD m32, m64 */
        x87_denormal(r, v);
        if (x87_nan(r, &v, NULL, &nan))
            v = nan;
    }
    if (x87_commit(r, false) || !(r->c.flags & FPE_I)) /* a denormal is loaded even if it traps */
        x87_push(r, v);
}

static void load_raw(X87Run *r, const uint8_t *image, bool is_used)
{
    uint8_t v[10];

    memcpy(v, image, 10);
    if (!is_used)
        stack_fault(r, false);
    x87_room(r);
    if (!x87_commit(r, false))
        return;
    x87_push(r, fp_default_nan());
    if (!r->bad_stack)
        memcpy(x87_st(r->f, 0), v, 10);
}

static void store_real(X87Run *r, const FpFormat *f, bool pops)
{
    Fp v = x87_get(r, 0), nan;

    if (!r->bad_stack && x87_nan(r, &v, NULL, &nan))
        v = nan;
    else if (v.kind == FP_FINITE)
        v = fp_finish(&r->c, f, v, 0);
    *r->stored = x87_commit(r, true);
    if (!*r->stored)
        return;
    le_store(r->mem, f->bytes, fp_pack(f, v));
    if (pops)
        x87_pop(r->f);
}

static void store_raw(X87Run *r)
{
    const Fp v = x87_get(r, 0);

    *r->stored = x87_commit(r, true);
    if (!*r->stored)
        return;
    if (r->bad_stack)
        fp_pack80(r->mem, v);
    else
        memcpy(r->mem, x87_st(r->f, 0), 10);
    x87_pop(r->f);
}

static void store_int(X87Run *r, unsigned bytes, bool truncate, bool pops)
{
    const Fp v = x87_get(r, 0);
    int64_t i = INT64_MIN >> (64 - 8 * bytes);

    if (truncate)
        r->c.round = FP_TO_ZERO;
    if (!r->bad_stack && !fp_to_int(&r->c, v, 8 * bytes, &i))
        i = INT64_MIN >> (64 - 8 * bytes);
    *r->stored = x87_commit(r, true);
    if (!*r->stored)
        return;
    le_store(r->mem, bytes, (uint64_t)i);
    if (pops)
        x87_pop(r->f);
}

/* ---- moves between registers */

static void store_reg(X87Run *r, unsigned i, bool pops)
{
    const uint8_t *s = x87_st(r->f, 0);
    uint8_t v[10];

    memcpy(v, s, 10);
    x87_get(r, 0);
    if (!x87_commit(r, false))
        return;
    x87_put(r, i, fp_default_nan());
    if (!r->bad_stack)
        memcpy(x87_st(r->f, i), v, 10);
    if (pops)
        x87_pop(r->f);
}

static void exchange(X87Run *r, unsigned i)
{
    const bool used0 = x87_used(r->f, 0), usedi = x87_used(r->f, i);
    uint8_t a[10], b[10];

    fp_pack80(a, fp_default_nan());
    fp_pack80(b, fp_default_nan());
    if (used0)
        memcpy(a, x87_st(r->f, 0), 10);
    if (usedi)
        memcpy(b, x87_st(r->f, i), 10);
    if (!used0 || !usedi)
        stack_fault(r, false);
    if (!x87_commit(r, false))
        return;
    memcpy(x87_st(r->f, 0), b, 10);
    memcpy(x87_st(r->f, i), a, 10);
    x87_use(r->f, 0);
    x87_use(r->f, i);
}

static void move_if(X87Run *r)
{
    static const unsigned test[] = { 1, 0x40, 0x41, 4 }; /* B, E, BE, U */
    const unsigned fl = *r->eflags & test[r->op11 >> 3 & 3], i = r->op11 & 7;
    const bool yes = !fl == (r->op11 >> 8 == 3);

    r->keeps_c1 = true;
    x87_get(r, 0);
    x87_get(r, i);
    if (!x87_commit(r, false))
        return;
    if (r->bad_stack)
        x87_put(r, 0, fp_default_nan());
    else if (yes)
        memmove(x87_st(r->f, 0), x87_st(r->f, i), 10);
}

static void change_sign(X87Run *r, bool negate)
{
    x87_get(r, 0);
    if (!x87_commit(r, false))
        return;
    if (r->bad_stack)
        x87_put(r, 0, fp_default_nan());
    else
        x87_st(r->f, 0)[9] = (uint8_t)(negate ? x87_st(r->f, 0)[9] ^ 0x80 : x87_st(r->f, 0)[9] & 0x7f);
}

/* ---- of one operand */

static void one_operand(X87Run *r, FpArith *op)
{
    Fp v = x87_get(r, 0), out;

    if (r->bad_stack || x87_nan(r, &v, NULL, &out)) {
        out = r->bad_stack ? fp_default_nan() : out;
    } else {
        if (!(op == fp_sqrt && v.neg)) /* invalid goes first */
            x87_denormal(r, v);
        out = op(&r->c, r->fmt, v, v);
    }
    if (x87_commit(r, false))
        x87_put(r, 0, out);
}

static Fp integral(FpCtl *c, const FpFormat *f, Fp a, Fp b) { return fp_to_integral(c, b); }

/* ---- which instruction */

static void memory_form(X87Run *r)
{
    const unsigned op = r->op11 >> 8, reg = r->op11 >> 3 & 7, bytes = op == 3 ? 4 : op == 7 && reg != 5 && reg != 7 ? 2 : 8;

    if (!(op & 1)) {
        const Fp s = op & 2 ? int_operand(r, op == 2 ? 4 : 2) : real_operand(r, op == 4);

        if (reg == 2 || reg == 3)
            compare(r, s, false, reg & 1);
        else
            arith_to(r, reg, 0, s, false);
    } else if (op == 3 && reg == 5) {
        load_raw(r, r->mem, true);
    } else if (op == 3 && reg == 7) {
        store_raw(r);
    } else if (op == 7 && reg == 4) {
        x87_fbld(r);
    } else if (op == 7 && reg == 6) {
        x87_fbstp(r);
    } else if (reg == 0 || reg == 5) {
        load(r, op == 3 || op == 7 ? int_operand(r, bytes) : real_operand(r, op == 5));
    } else if (op == 1 || (op == 5 && reg != 1)) {
        store_real(r, op == 1 ? &fp_single : &fp_double, reg & 1);
    } else {
        store_int(r, op == 5 ? 8 : bytes, reg == 1, reg != 2);
    }
}

static void turn(X87Run *r, unsigned by)
{
    x87_commit(r, false);
    x87_set_top(r->f, x86_top(r->f) + by);
}

/* D9 E0 .. FF */
static void special(X87Run *r)
{
    switch (r->op11 & 0x1f) {
    case 0x00: change_sign(r, true); break;
    case 0x01: change_sign(r, false); break;
    case 0x04: compare(r, fp_zero(false), false, 0); break;
    case 0x05: x87_fxam(r); break;
    case 0x08: case 0x09: case 0x0a: case 0x0b: case 0x0c: case 0x0d: case 0x0e: x87_constant(r); break;
    case 0x14: x87_fxtract(r); break;
    case 0x15: case 0x18: x87_fprem(r); break;
    case 0x16: turn(r, 7); break;
    case 0x17: turn(r, 1); break;
    case 0x1a: one_operand(r, fp_sqrt); break;
    case 0x1c: one_operand(r, integral); break;
    case 0x1d: x87_fscale(r); break;
    default: x87_function(r); break;
    }
}

/* D9 C0 .. DF, DA .. DF: what is not arithmetic */
static void register_form(X87Run *r)
{
    const unsigned op = r->op11 >> 8, kind = r->op11 >> 3 & 7, i = r->op11 & 7;

    switch (op << 4 | kind) {
    case 0x10: load_raw(r, x87_st(r->f, i), x87_used(r->f, i)); break;
    case 0x11: case 0x51: case 0x71: exchange(r, i); break;
    case 0x12: break; /* fnop */
    case 0x13: /* fstp by an undocumented name: from an empty register it only pops */
        r->f->sw &= (uint16_t)~X87_C1;
        if (x87_used(r->f, 0))
            store_reg(r, i, true);
        else
            x87_pop(r->f);
        break;
    case 0x14: case 0x15: case 0x16: case 0x17: special(r); break;
    case 0x20: case 0x21: case 0x22: case 0x23: case 0x30: case 0x31: case 0x32: case 0x33: move_if(r); break;
    case 0x25: compare(r, x87_get(r, 1), true, 2); break;
    case 0x35: case 0x75: compare_flags(r, true, op == 7); break;
    case 0x36: case 0x76: compare_flags(r, false, op == 7); break;
    case 0x50: case 0x70: /* ffree, ffreep */
        x87_commit(r, false);
        x87_free(r->f, i);
        if (op == 7)
            x87_pop(r->f);
        break;
    case 0x54: case 0x55: compare(r, x87_get(r, i), true, kind & 1); break;
    default: store_reg(r, i, op != 5 || kind == 3); break; /* fst, fstp and its other names */
    }
}

static unsigned x87_soft(X86Fpu *f, unsigned op11, void *mem, bool *stored, uint32_t *eflags)
{
    const unsigned op = op11 >> 8, kind = op11 >> 3 & 7, i = op11 & 7;
    X87Run r = { .f = f, .fmt = &fp_ext[f->cw >> 8 & 3], .mem = mem, .stored = stored, .eflags = eflags, .op11 = op11,
                 .c = { .round = f->cw >> 10 & 3, .unmasked = (uint8_t)(~f->cw & FPE_ALL) } };

    *stored = true;
    if (x87_pending(f))
        return FPU_MF;
    if (x87_mem(op11) == -128)
        return FPU_UD;
    if ((op11 & 0xc0) != 0xc0) {
        memory_form(&r);
    } else if (op == 0 || op == 4 || op == 6) {
        const Fp s = x87_get(&r, i);

        if (kind == 2 || kind == 3)
            compare(&r, s, false, op == 6 ? kind - 1 : kind & 1);
        else
            arith_to(&r, kind, op ? i : 0, s, op == 6);
    } else {
        register_form(&r);
    }
    return 0;
}

static const X86Units c = { "C", x86_vop_ref, x87_soft };
const X86Units *const x86_units_c = &c;
