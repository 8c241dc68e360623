/* target/x86/x87-misc.c - the x87 in C: constants, FXAM, FXTRACT, FPREM, FSCALE and packed decimals. SDM volume 2. */
#include "target/x86/x87-soft.h"

/* FLD1 .. FLDZ: more bits than a register has, so that rounding follows the control word. */
void x87_constant(X87Run *r)
{
    static const struct {
        uint64_t m, lo;
        int32_t exp;
    } k[] = {
        { 1ull << 63, 0, 0 },
        { 0xd49a784bcd1b8afe, 0x492bf6ff4dafdb4c, 1 },  /* log2(10) */
        { 0xb8aa3b295c17f0bb, 0xbe87fed0691d3e88, 0 },  /* log2(e) */
        { 0xc90fdaa22168c234, 0xc4c6628b80dc1cd1, 1 },  /* pi */
        { 0x9a209a84fbcff798, 0x8f8959ac0b7c9178, -2 }, /* log10(2) */
        { 0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af, -1 }, /* ln(2) */
    };
    const unsigned i = r->op11 & 7;
    FpCtl c = { .round = r->c.round };
    Fp v = fp_zero(false);

    if (i < G_N_ELEMENTS(k))
        v = fp_finish(&c, &fp_ext[3], (Fp){ .kind = FP_FINITE, .m = k[i].m, .exp = k[i].exp }, k[i].lo);
    x87_room(r);
    if (x87_commit(r, false))
        x87_push(r, v);
}

void x87_fxam(X87Run *r)
{
    static const unsigned of_kind[] = { [FP_ZERO] = X87_C3, [FP_FINITE] = X87_C2, [FP_INF] = X87_C2 | X87_C0, [FP_NAN] = X87_C0,
                                        [FP_BAD] = 0 };
    const Fp v = fp_unpack80(x87_st(r->f, 0));
    unsigned codes = v.denormal ? X87_C3 | X87_C2 : of_kind[v.kind];

    if (!x87_used(r->f, 0))
        codes = X87_C3 | X87_C0;
    x87_codes(r, codes);
    r->f->sw = (uint16_t)((r->f->sw & ~X87_C1) | (v.neg ? X87_C1 : 0));
}

void x87_fxtract(X87Run *r)
{
    Fp v = x87_get(r, 0), exp, nan;

    x87_room(r);
    exp = v;
    if (!r->bad_stack && x87_nan(r, &v, NULL, &nan)) {
        v = exp = nan;
    } else if (!r->bad_stack) {
        x87_denormal(r, v);
        exp = v.kind == FP_ZERO ? fp_inf(true) : v.kind == FP_INF ? fp_inf(false) : fp_of_int(v.exp);
        if (v.kind == FP_ZERO)
            r->c.flags |= FPE_Z;
        v.exp = 0;
    }
    if (!x87_commit(r, false))
        return;
    x87_put(r, 0, exp);
    x87_push(r, v);
}

/* FPREM, FPREM1: at most 63 binary digits of the quotient at a time. */
void x87_fprem(X87Run *r)
{
    const bool nearest = r->op11 == 0x1f5;
    Fp a = x87_get(r, 0), b = x87_get(r, 1), v;
    unsigned q = 0, codes = r->f->sw & (X87_C0 | X87_C3);
    bool whole = false;

    if (r->bad_stack || x87_nan(r, &a, &b, &v)) {
        v = r->bad_stack ? fp_default_nan() : v;
    } else if (a.kind == FP_INF || b.kind == FP_ZERO) {
        v = x87_invalid(r);
    } else {
        x87_denormal(r, a);
        x87_denormal(r, b);
        v = a;
        whole = true;
        if (a.kind == FP_FINITE && b.kind == FP_FINITE) {
            const int d = a.exp - b.exp;

            whole = d <= 63;
            if (!whole) { /* take off a multiple of b shifted, which brings the exponents nearer by 32 to 63 */
                b.exp += d - (32 + d % 32);
                codes = X87_C2;
            }
            v = fp_rem(a, b, nearest && whole, &q);
            if (v.kind == FP_FINITE)
                v = fp_finish(&r->c, &fp_ext[3], v, 0);
        }
    }
    r->f->sw &= (uint16_t)~X87_C2;
    if (!x87_commit(r, false))
        return;
    if (whole) {
        codes = (q & 4 ? X87_C0 : 0) | (q & 2 ? X87_C3 : 0);
        r->f->sw |= q & 1 ? X87_C1 : 0;
    }
    x87_codes(r, codes);
    x87_put(r, 0, v);
}

/* ST(0) * 2^ST(1), ST(1) truncated */
void x87_fscale(X87Run *r)
{
    Fp a = x87_get(r, 0), b = x87_get(r, 1), v;

    if (r->bad_stack || x87_nan(r, &a, &b, &v)) {
        v = r->bad_stack ? fp_default_nan() : v;
    } else if ((a.kind == FP_ZERO && b.kind == FP_INF && !b.neg) || (a.kind == FP_INF && b.kind == FP_INF && b.neg)) {
        v = x87_invalid(r);
    } else {
        FpCtl c = { .round = FP_TO_ZERO };
        int64_t by = 0;

        x87_denormal(r, a);
        x87_denormal(r, b);
        v = a;
        if (b.kind == FP_INF)
            v = b.neg ? fp_zero(a.neg) : fp_inf(a.neg);
        else if (a.kind == FP_FINITE) {
            if (!fp_to_int(&c, b, 32, &by))
                by = b.neg ? -100000 : 100000;
            v.exp += (int)CLAMP(by, -100000, 100000);
            v = fp_finish(&r->c, &fp_ext[3], v, 0);
        }
    }
    if (x87_commit(r, false))
        x87_put(r, 0, v);
}

/* ---- packed decimals: 18 digits, and a sign in the last byte */

void x87_fbld(X87Run *r)
{
    const uint8_t *p = r->mem;
    uint64_t n = 0;
    Fp v;

    for (unsigned i = 9; i-- > 0;)
        n = n * 100 + (p[i] >> 4) * 10u + (p[i] & 15u);
    v = fp_of_int((int64_t)n);
    v.neg = p[9] >> 7;
    x87_room(r);
    if (x87_commit(r, false))
        x87_push(r, v);
}

void x87_fbstp(X87Run *r)
{
    const int64_t limit = 1000000000000000000;
    Fp v = x87_get(r, 0);
    uint8_t *p = r->mem;
    int64_t n = limit;
    const uint8_t before = r->c.flags;

    if (!r->bad_stack && (!fp_to_int(&r->c, v, 64, &n) || n >= limit || n <= -limit)) {
        r->c.flags = before | FPE_I;
        r->c.up = false;
        n = limit;
    }
    *r->stored = x87_commit(r, true);
    if (!*r->stored)
        return;
    memset(p, 0, 10);
    if (n == limit) { /* the decimal indefinite */
        p[7] = 0xc0;
        p[8] = p[9] = 0xff;
    } else {
        p[9] = v.neg ? 0x80 : 0;
        n = n < 0 ? -n : n;
        for (unsigned i = 0; i < 9; i++, n /= 100)
            p[i] = (uint8_t)(n / 10 % 10 << 4 | n % 10);
    }
    x87_pop(r->f);
}
