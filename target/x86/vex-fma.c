/*
 * vex-fma.c - fused multiply and add in integers: the exact product and the addend meet in 128 bits, and are rounded once.
 * SDM volume 1, 14.5.
 */
#include "target/x86/fp.h"
#include "target/x86/vex.h"

typedef unsigned __int128 U128;

static U128 shift_right(U128 v, unsigned by) /* bit 0 stands for all that is lost */
{
    return by == 0 ? v : by > 127 ? v != 0 : v >> by | ((v & (((U128)1 << by) - 1)) != 0);
}

static Fp finish(FpCtl *c, const FpFormat *f, bool neg, int32_t exp, U128 v)
{
    return fp_finish(c, f, (Fp){ .kind = FP_FINITE, .neg = neg, .exp = exp, .m = (uint64_t)(v >> 64) }, (uint64_t)v);
}

/* a * b + z, all finite, a and b not zero. */
static Fp finite_sum(FpCtl *c, const FpFormat *f, Fp a, Fp b, Fp z)
{
    U128 p = (U128)a.m * b.m, q = (U128)z.m << 64;
    int32_t pe = a.exp + b.exp + 1, qe = z.exp, d;
    bool neg = a.neg != b.neg, carry;

    if (!(p >> 127)) {
        p <<= 1;
        pe--;
    }
    if (z.kind == FP_ZERO)
        return finish(c, f, neg, pe, p);
    p = shift_right(p, 1); /* room for the carry: neither has a bit there */
    q >>= 1;
    d = pe - qe;
    if (d > 0)
        q = shift_right(q, (unsigned)MIN(d, 200));
    else
        p = shift_right(p, (unsigned)MIN(-d, 200));
    pe = MAX(pe, qe) + 1;
    if (neg == z.neg)
        return finish(c, f, neg, pe, p + q);
    if (p == q)
        return fp_zero(c->round == FP_DOWN);
    carry = q > p;
    return finish(c, f, carry ? z.neg : neg, pe, carry ? q - p : p - q);
}

static Fp not_finite(FpCtl *c, Fp a, Fp b, Fp z)
{
    bool neg = a.neg != b.neg;

    if ((a.kind == FP_INF && b.kind == FP_ZERO) || (a.kind == FP_ZERO && b.kind == FP_INF) ||
        ((a.kind == FP_INF || b.kind == FP_INF) && z.kind == FP_INF && z.neg != neg)) {
        c->flags |= FPE_I;
        return fp_default_nan();
    }
    return a.kind == FP_INF || b.kind == FP_INF ? fp_inf(neg) : z;
}

static Fp take(const FpCtl *c, const FpFormat *f, uint64_t image)
{
    Fp v = fp_unpack(f, image);

    return v.denormal && c->daz ? fp_zero(v.neg) : v;
}

static Fp quiet(FpCtl *c, Fp v)
{
    if (!fp_quiet(v))
        c->flags |= FPE_I;
    v.m |= 1ull << 62;
    return v;
}

/* The first operand that is a NaN is the answer. */
static Fp one(FpCtl *c, const FpFormat *f, Fp a, Fp b, Fp z, unsigned how, bool odd)
{
    const Fp all[3] = { a, b, z };
    Fp special = { .kind = FP_ZERO }; /* or an infinity */

    for (unsigned i = 3; i-- > 0;)
        if (all[i].kind == FP_NAN)
            special = quiet(c, all[i]);
    if (special.kind == FP_NAN)
        return special;
    a.neg ^= !!(how & FMA_NEG);
    z.neg ^= !!(how & (odd ? FMA_ODD : FMA_EVEN));
    if (a.kind == FP_INF || b.kind == FP_INF || z.kind == FP_INF)
        special = not_finite(c, a, b, z);
    if ((a.denormal || b.denormal || z.denormal) && special.kind != FP_NAN) /* invalid goes first */
        c->flags |= FPE_D;
    if (special.kind != FP_ZERO)
        return special;
    if (a.kind == FP_ZERO || b.kind == FP_ZERO) {
        bool neg = a.neg != b.neg;

        if (z.kind == FP_ZERO)
            return fp_zero(z.neg == neg ? neg : c->round == FP_DOWN);
        return finish(c, f, z.neg, z.exp, (U128)z.m << 64);
    }
    return finite_sum(c, f, a, b, z);
}

unsigned vex_fma(Env *e, uint8_t *d, const uint8_t *a, const uint8_t *b, unsigned imm, unsigned how)
{
    static const uint8_t order[3][3] = { { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 } };
    const FpFormat *f = how & FMA_DOUBLE ? &fp_double : &fp_single;
    const uint8_t *v[3] = { d, a, b }, *pick = order[how & FMA_ORDER];
    const uint32_t csr = x86(e)->mxcsr;
    FpCtl c = { .round = csr >> 13 & 3, .ftz = csr & MXCSR_FTZ, .daz = csr & MXCSR_DAZ, .unmasked = ~(csr >> 7) & FPE_ALL };
    unsigned n = how & FMA_SCALAR ? 1 : (imm & VEX_L ? 32u : 16u) / f->bytes;
    uint8_t r[32] = { 0 };

    memcpy(r, d, imm & VEX_L ? 32 : 16);
    for (unsigned i = 0; i < n; i++) {
        Fp x[3];

        for (unsigned k = 0; k < 3; k++)
            x[k] = take(&c, f, le_load(v[pick[k]] + i * f->bytes, f->bytes));
        le_store(r + i * f->bytes, f->bytes, fp_pack(f, one(&c, f, x[0], x[1], x[2], how, i & 1)));
    }
    if (vop_raised(e, c.flags))
        return FPU_XM;
    memcpy(d, r, 32);
    return 0;
}
