/*
 * target/x86/x87-func.c - the x87's transcendental instructions by MPFR: more bits than asked, rounded once, where
 * processors promise one unit in the last place. SDM volume 1, 8.3.8 to 8.3.10: angles are reduced by a pi of 66 bits, as
 * on every processor; guests get the same answers far from zero. Volume 2 has the tables of zeros and infinities.
 */
#include "target/x86/x87-soft.h"
#include <mpfr.h>

enum { PREC = 320, F2XM1 = 0x1f0, FYL2X = 0x1f1, FPTAN = 0x1f2, FPATAN = 0x1f3, FYL2XP1 = 0x1f9, FSINCOS = 0x1fb, FSIN = 0x1fe, FCOS = 0x1ff };

static void drop_cache(void *unused) { mpfr_free_cache(); }

/* MPFR keeps constants per thread: given back when the thread ends. */
static void own_cache(void)
{
    static GPrivate cache = G_PRIVATE_INIT(drop_cache);

    if (UNLIKELY(!g_private_get(&cache)))
        g_private_set(&cache, &cache);
}

static void to_mpfr(mpfr_t m, Fp v)
{
    mpfr_init2(m, PREC);
    if (v.kind == FP_ZERO)
        mpfr_set_zero(m, v.neg ? -1 : 1);
    else if (v.kind == FP_INF)
        mpfr_set_inf(m, v.neg ? -1 : 1);
    else
        mpfr_set_uj_2exp(m, v.m, v.exp - 63, MPFR_RNDN);
    if (v.kind == FP_FINITE && v.neg)
        mpfr_neg(m, m, MPFR_RNDN);
}

static uint64_t next64(mpfr_t m) /* the integer part; what is behind the point moves up */
{
    const uint64_t v = mpfr_get_uj(m, MPFR_RNDZ);

    mpfr_frac(m, m, MPFR_RNDZ);
    mpfr_mul_2ui(m, m, 64, MPFR_RNDZ);
    return v;
}

/* m was computed towards zero; cut: something was lost. m is used up. */
static Fp from_mpfr(X87Run *r, mpfr_t m, bool cut)
{
    Fp v = { .kind = FP_FINITE, .neg = mpfr_signbit(m) };
    uint64_t lo;

    if (mpfr_zero_p(m))
        return fp_zero(v.neg);
    if (mpfr_inf_p(m))
        return fp_inf(v.neg);
    v.exp = (int32_t)mpfr_get_exp(m) - 1;
    mpfr_abs(m, m, MPFR_RNDZ);
    mpfr_set_exp(m, 64);
    v.m = next64(m);
    lo = next64(m);
    r->c.flags |= FPE_P; /* processors say so even of 20 = 1 * log2(2^20) */
    return fp_finish(&r->c, &fp_ext[3], v, lo | cut | !mpfr_zero_p(m));
}

/* ---- angles */

typedef struct Angle {
    mpfr_t rest;   /* within pi/4 */
    long quadrant; /* its two low bits */
} Angle;

static void reduce(Angle *a, Fp v)
{
    mpfr_t half;

    to_mpfr(a->rest, v);
    a->quadrant = 0;
    if (v.exp < -1)
        return;
    mpfr_init2(half, 66);
    mpfr_set_uj_2exp(half, 0xc90fdaa22168c234, -63, MPFR_RNDZ);
    mpfr_add_d(half, half, 0x3p-65, MPFR_RNDZ);
    mpfr_remquo(a->rest, &a->quadrant, a->rest, half, MPFR_RNDZ); /* exact: no bit of either is below 2^-65 */
    mpfr_clear(half);
}

static Fp sine(X87Run *r, const Angle *a, unsigned quarter) /* of the angle and so many right angles */
{
    const unsigned q = ((unsigned)a->quadrant + quarter) & 3;
    mpfr_t m;
    Fp v;

    mpfr_init2(m, PREC);
    v = from_mpfr(r, m, (q & 1 ? mpfr_cos : mpfr_sin)(m, a->rest, MPFR_RNDZ) != 0);
    v.neg ^= q >> 1;
    mpfr_clear(m);
    return v;
}

static Fp tangent(X87Run *r, const Angle *a)
{
    mpfr_t m;
    Fp v;

    mpfr_init2(m, PREC);
    v = from_mpfr(r, m, (a->quadrant & 1 ? mpfr_cot : mpfr_tan)(m, a->rest, MPFR_RNDZ) != 0);
    v.neg ^= a->quadrant & 1;
    mpfr_clear(m);
    return v;
}

/* FSIN FCOS FPTAN FSINCOS: *second is what the last two push. */
static Fp of_angle(X87Run *r, Fp v, Fp *second)
{
    const bool cosine = r->op11 == FCOS;
    Angle a;
    Fp out;

    *second = fp_of_int(1);
    if (v.kind == FP_ZERO)
        return cosine ? *second : v;
    reduce(&a, v);
    if (r->op11 == FPTAN) {
        out = tangent(r, &a);
    } else {
        out = sine(r, &a, cosine);
        if (r->op11 == FSINCOS)
            *second = sine(r, &a, 1);
    }
    mpfr_clear(a.rest);
    return out;
}

static void angles(X87Run *r)
{
    const bool two = r->op11 == FPTAN || r->op11 == FSINCOS;
    Fp v = x87_get(r, 0), second = fp_default_nan(), nan;

    if (two)
        x87_room(r);
    if (r->bad_stack) {
        v = fp_default_nan();
    } else if (x87_nan(r, &v, NULL, &nan)) {
        v = second = nan;
    } else if (v.kind == FP_INF) {
        v = second = x87_invalid(r);
    } else if (v.kind == FP_FINITE && v.exp >= 63) { /* too far away: the program is to reduce it */
        r->f->sw = (uint16_t)((r->f->sw & ~X87_C1) | X87_C2);
        return;
    } else {
        x87_denormal(r, v);
        v = of_angle(r, v, &second);
    }
    r->f->sw &= (uint16_t)~X87_C2;
    if (!x87_commit(r, false))
        return;
    x87_put(r, 0, v);
    if (two)
        x87_push(r, second);
}

/* ---- exponentials and logarithms; below TINY the first term of the series is the value as far as anybody can see */
enum { TINY = -100 };

static Fp times_ln2(X87Run *r, mpfr_t m, bool divide)
{
    mpfr_t ln2;

    mpfr_init2(ln2, PREC);
    mpfr_const_log2(ln2, MPFR_RNDZ);
    (divide ? mpfr_div : mpfr_mul)(m, m, ln2, MPFR_RNDZ);
    mpfr_clear(ln2);
    return from_mpfr(r, m, true);
}

static Fp exp2_less_1(X87Run *r, Fp v)
{
    mpfr_t m;
    int cut;

    to_mpfr(m, v);
    if (v.exp < TINY) {
        v = times_ln2(r, m, false);
    } else {
        cut = mpfr_exp2(m, m, MPFR_RNDZ);
        cut |= mpfr_sub_ui(m, m, 1, MPFR_RNDZ);
        v = from_mpfr(r, m, cut != 0);
    }
    mpfr_clear(m);
    return v;
}

static void f2xm1(X87Run *r)
{
    Fp v = x87_get(r, 0), nan;

    if (r->bad_stack) {
        v = fp_default_nan();
    } else if (x87_nan(r, &v, NULL, &nan)) {
        v = nan;
    } else if (v.kind == FP_INF && v.neg) {
        v = fp_of_int(-1);
    } else if (v.kind == FP_FINITE) {
        x87_denormal(r, v);
        v = exp2_less_1(r, v);
    }
    if (x87_commit(r, false))
        x87_put(r, 0, v);
}

/* y * log2(x), or y * log2(x + 1); both finite, not zero, the logarithm exists and is not zero */
static Fp log_product(X87Run *r, Fp x, Fp y, bool plus1)
{
    mpfr_t m, n;
    int cut = 0;

    to_mpfr(m, x);
    to_mpfr(n, y);
    if (plus1 && x.exp < TINY) {
        mpfr_mul(m, m, n, MPFR_RNDZ);
        x = times_ln2(r, m, true);
    } else {
        if (plus1)
            cut |= mpfr_add_ui(m, m, 1, MPFR_RNDZ);
        cut |= mpfr_log2(m, m, MPFR_RNDZ);
        cut |= mpfr_mul(m, m, n, MPFR_RNDZ);
        x = from_mpfr(r, m, cut != 0);
    }
    mpfr_clear(m);
    mpfr_clear(n);
    return x;
}

/* FYL2X. What a product with an infinite or zero logarithm is, as FMUL has it. */
static Fp yl2x(X87Run *r, Fp x, Fp y)
{
    const Fp one = fp_of_int(1);
    Fp l;

    if (x.neg && x.kind != FP_ZERO)
        return x87_invalid(r);
    if (x.kind == FP_FINITE && y.kind == FP_FINITE && fp_compare(x, one))
        return log_product(r, x, y, false);
    if (x.kind == FP_ZERO && y.kind == FP_FINITE)
        r->c.flags |= FPE_Z;
    l = x.kind == FP_ZERO ? fp_inf(true) : x.kind == FP_INF ? x : fp_zero(false);
    if (x.kind == FP_FINITE && fp_compare(x, one))
        l = fp_compare(x, one) < 0 ? fp_of_int(-1) : one; /* y is zero or infinite: the sign is all that matters */
    return fp_mul(&r->c, &fp_ext[3], l, y);
}

static Fp yl2xp1(X87Run *r, Fp x, Fp y)
{
    if (x.kind == FP_FINITE && x.neg && fp_compare(x, fp_of_int(-1)) <= 0)
        return x87_invalid(r); /* out of the instruction's range */
    if (x.kind == FP_FINITE && y.kind == FP_FINITE)
        return log_product(r, x, y, true);
    return x.kind == FP_INF && x.neg ? x87_invalid(r) : fp_mul(&r->c, &fp_ext[3], x, y);
}

static Fp arctangent(X87Run *r, Fp x, Fp y)
{
    mpfr_t m, n;
    int cut;

    to_mpfr(m, x);
    to_mpfr(n, y);
    cut = mpfr_atan2(m, n, m, MPFR_RNDZ);
    x = from_mpfr(r, m, cut != 0);
    mpfr_clear(m);
    mpfr_clear(n);
    return x;
}

/* Of ST(0) and ST(1): the answer goes to ST(1), and one is popped. */
static void two_operands(X87Run *r, Fp (*fn)(X87Run *, Fp, Fp))
{
    Fp x = x87_get(r, 0), y = x87_get(r, 1), v = fp_default_nan();

    if (!r->bad_stack && !x87_nan(r, &x, &y, &v)) {
        v = fn(r, x, y);
        if (!(r->c.flags & (FPE_I | FPE_Z))) { /* these go first */
            x87_denormal(r, x);
            x87_denormal(r, y);
        }
    }
    if (!x87_commit(r, false))
        return;
    x87_put(r, 1, v);
    x87_pop(r->f);
}

void x87_function(X87Run *r)
{
    own_cache();
    switch (r->op11) {
    case F2XM1:
        f2xm1(r);
        break;
    case FYL2X:
        two_operands(r, yl2x);
        break;
    case FYL2XP1:
        two_operands(r, yl2xp1);
        break;
    case FPATAN:
        two_operands(r, arctangent);
        break;
    default:
        angles(r);
        break;
    }
}
