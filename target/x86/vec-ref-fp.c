/*
 * target/x86/vec-ref-fp.c - SSE floating point in C (fp.h), for every host: MXCSR's rounding, DAZ and FTZ, x86's choice of
 * NaNs, and flags found before an operation hiding those found after it. SDM volume 1, 11.5 and volume 2.
 * Elements pass as images in uint64_t. A result is stored when no element raised.
 */
#include "target/x86/fp.h"
#include "target/x86/vec-ref.h"

static FpCtl rules(Env *e)
{
    const uint32_t csr = x86(e)->mxcsr;

    return (FpCtl){ .round = csr >> 13 & 3, .ftz = csr & MXCSR_FTZ, .daz = csr & MXCSR_DAZ,
                    .unmasked = (uint8_t)(~(csr >> 7) & FPE_ALL) };
}

static uint64_t get(const FpFormat *f, const void *p, unsigned i) { return le_load((const uint8_t *)p + i * f->bytes, f->bytes); }
static void put(const FpFormat *f, void *p, unsigned i, uint64_t v) { le_store((uint8_t *)p + i * f->bytes, f->bytes, v); }

static Fp take(const FpCtl *c, const FpFormat *f, uint64_t image)
{
    Fp v = fp_unpack(f, image);

    return v.denormal && c->daz ? fp_zero(v.neg) : v;
}

static bool is_nan(Fp v) { return v.kind == FP_NAN; }

static Fp quieted(FpCtl *c, Fp v)
{
    c->flags |= fp_quiet(v) ? 0 : FPE_I;
    v.m |= 1ull << 62;
    return v;
}

/* The first NaN of the two; a signalling one in either place is invalid. */
static Fp nan_of(FpCtl *c, Fp a, Fp b)
{
    if (is_nan(b) && !fp_quiet(b))
        c->flags |= FPE_I;
    return quieted(c, is_nan(a) ? a : b);
}

/* ---- element by element */

typedef uint64_t Lane(FpCtl *c, const FpFormat *f, uint64_t x, uint64_t y, unsigned imm);

static Fp arith(FpCtl *c, const FpFormat *f, Fp a, Fp b, FpArith *op)
{
    if (is_nan(a) || is_nan(b))
        return nan_of(c, a, b);
    if ((a.denormal || b.denormal) && !(op == fp_div && b.kind == FP_ZERO)) /* dividing by zero goes first */
        c->flags |= FPE_D;
    return op(c, f, a, b);
}

static uint64_t arith_images(FpCtl *c, const FpFormat *f, uint64_t x, uint64_t y, FpArith *op)
{
    return fp_pack(f, arith(c, f, take(c, f, x), take(c, f, y), op));
}

#define ARITH(name)                                                                                                              \
    static uint64_t lane_##name(FpCtl *c, const FpFormat *f, uint64_t x, uint64_t y, unsigned imm)                               \
    {                                                                                                                            \
        return arith_images(c, f, x, y, fp_##name);                                                                              \
    }
ARITH(add)
ARITH(sub)
ARITH(mul)
ARITH(div)

static uint64_t lane_sqrt(FpCtl *c, const FpFormat *f, uint64_t x, uint64_t y, unsigned imm)
{
    Fp b = take(c, f, y);

    if (b.denormal && b.neg) /* invalid goes first */
        b.denormal = false;
    return fp_pack(f, arith(c, f, b, b, fp_sqrt));
}

/* Of a NaN, or of two zeros, the second operand as it is. */
static uint64_t pick(FpCtl *c, const FpFormat *f, uint64_t x, uint64_t y, int sign)
{
    Fp a = take(c, f, x), b = take(c, f, y);

    if (is_nan(a) || is_nan(b)) {
        c->flags |= FPE_I;
        return is_nan(b) ? y : fp_pack(f, b);
    }
    if (a.denormal || b.denormal)
        c->flags |= FPE_D;
    return fp_pack(f, fp_compare(a, b) == sign ? a : b);
}

static uint64_t lane_min(FpCtl *c, const FpFormat *f, uint64_t x, uint64_t y, unsigned imm) { return pick(c, f, x, y, -1); }
static uint64_t lane_max(FpCtl *c, const FpFormat *f, uint64_t x, uint64_t y, unsigned imm) { return pick(c, f, x, y, 1); }

enum { UNORDERED = 2 };

static int order(FpCtl *c, const FpFormat *f, uint64_t x, uint64_t y, bool signals)
{
    Fp a = take(c, f, x), b = take(c, f, y);

    if (is_nan(a) || is_nan(b)) {
        if (signals || (is_nan(a) && !fp_quiet(a)) || (is_nan(b) && !fp_quiet(b)))
            c->flags |= FPE_I;
        return UNORDERED;
    }
    if (a.denormal || b.denormal)
        c->flags |= FPE_D;
    return fp_compare(a, b);
}

static uint64_t lane_cmp(FpCtl *c, const FpFormat *f, uint64_t x, uint64_t y, unsigned imm)
{
    const unsigned what = imm & 3; /* equal, less, less or equal, unordered; bit 2: not */
    const int o = order(c, f, x, y, what == 1 || what == 2);
    const bool yes = what == 0 ? o == 0 : what == 1 ? o == -1 : what == 2 ? o == -1 || o == 0 : o == UNORDERED;

    return yes != !!(imm & 4) ? ~0ull : 0;
}

static uint64_t lane_round(FpCtl *c, const FpFormat *f, uint64_t x, uint64_t y, unsigned imm)
{
    Fp v = take(c, f, y);

    if (is_nan(v))
        return fp_pack(f, quieted(c, v));
    if (!(imm & 4))
        c->round = imm & 3;
    v = fp_to_integral(c, v);
    if (imm & 8)
        c->flags &= (uint8_t)~FPE_P;
    return fp_pack(f, v);
}

static unsigned lanes(Env *e, void *d, const void *s, const FpFormat *f, unsigned n, Lane *op, unsigned imm)
{
    FpCtl c = rules(e);
    uint64_t r[4];

    for (unsigned i = 0; i < n; i++)
        r[i] = op(&c, f, get(f, d, i), get(f, s, i), imm);
    if (vop_raised(e, c.flags))
        return FPU_XM;
    for (unsigned i = 0; i < n; i++)
        put(f, d, i, r[i]);
    return 0;
}

#define FP(name) unsigned vec_ref_##name(Env *e, void *d, const void *s, unsigned imm)
#define LANES(name, f, n, op)                                                                                                    \
    FP(name)                                                                                                                     \
    {                                                                                                                            \
        return lanes(e, d, s, f, n, lane_##op, imm);                                                                             \
    }
#define FOUR(op) LANES(op##ps, &fp_single, 4, op) LANES(op##ss, &fp_single, 1, op) LANES(op##pd, &fp_double, 2, op) LANES(op##sd, &fp_double, 1, op)
FOUR(add)
FOUR(sub)
FOUR(mul)
FOUR(div)
FOUR(min)
FOUR(max)
FOUR(sqrt)
FOUR(cmp)
FOUR(round)

/* ---- across elements */

/* Two neighbours of each source make one element. */
static unsigned pairs(Env *e, void *d, const void *s, const FpFormat *f, FpArith *op)
{
    const unsigned n = 16u / f->bytes;
    FpCtl c = rules(e);
    uint64_t r[4];

    for (unsigned i = 0; i < n; i++) {
        const void *p = i < n / 2 ? d : s;
        const unsigned at = 2 * i % n;

        r[i] = arith_images(&c, f, get(f, p, at), get(f, p, at + 1), op);
    }
    if (vop_raised(e, c.flags))
        return FPU_XM;
    for (unsigned i = 0; i < n; i++)
        put(f, d, i, r[i]);
    return 0;
}

static unsigned alternate(Env *e, void *d, const void *s, const FpFormat *f)
{
    const unsigned n = 16u / f->bytes;
    FpCtl c = rules(e);
    uint64_t r[4];

    for (unsigned i = 0; i < n; i++)
        r[i] = arith_images(&c, f, get(f, d, i), get(f, s, i), i & 1 ? fp_add : fp_sub);
    if (vop_raised(e, c.flags))
        return FPU_XM;
    for (unsigned i = 0; i < n; i++)
        put(f, d, i, r[i]);
    return 0;
}

/* Products of the elements that imm 7:4 names, summed in pairs, to the elements that imm 3:0 names. */
static unsigned dot(Env *e, void *d, const void *s, const FpFormat *f, unsigned imm)
{
    const unsigned n = 16u / f->bytes;
    FpCtl c = rules(e);
    uint64_t r[4];

    for (unsigned i = 0; i < n; i++)
        r[i] = imm >> (4 + i) & 1 ? arith_images(&c, f, get(f, d, i), get(f, s, i), fp_mul) : 0;
    for (unsigned left = n; left > 1; left /= 2)
        for (unsigned i = 0; i < left / 2; i++)
            r[i] = arith_images(&c, f, r[2 * i], r[2 * i + 1], fp_add);
    if (vop_raised(e, c.flags))
        return FPU_XM;
    for (unsigned i = 0; i < n; i++)
        put(f, d, i, imm >> i & 1 ? r[0] : 0);
    return 0;
}

#define WHOLE(name, ...)                                                                                                         \
    FP(name)                                                                                                                     \
    {                                                                                                                            \
        return __VA_ARGS__;                                                                                                      \
    }
WHOLE(haddps, pairs(e, d, s, &fp_single, fp_add))
WHOLE(haddpd, pairs(e, d, s, &fp_double, fp_add))
WHOLE(hsubps, pairs(e, d, s, &fp_single, fp_sub))
WHOLE(hsubpd, pairs(e, d, s, &fp_double, fp_sub))
WHOLE(addsubps, alternate(e, d, s, &fp_single))
WHOLE(addsubpd, alternate(e, d, s, &fp_double))
WHOLE(dpps, dot(e, d, s, &fp_single, imm))
WHOLE(dppd, dot(e, d, s, &fp_double, imm))

static unsigned compare(Env *e, const void *d, const void *s, const FpFormat *f, bool signals)
{
    static const unsigned flags[] = { 1, 0x40, 0, 0x45 }; /* CF; ZF; none; ZF PF CF */
    FpCtl c = rules(e);
    const int o = order(&c, f, get(f, d, 0), get(f, s, 0), signals);

    return vop_raised(e, c.flags) ? FPU_XM : vop_flags(e, flags[o + 1]);
}
WHOLE(ucomiss, compare(e, d, s, &fp_single, false))
WHOLE(ucomisd, compare(e, d, s, &fp_double, false))
WHOLE(comiss, compare(e, d, s, &fp_single, true))
WHOLE(comisd, compare(e, d, s, &fp_double, true))

/* ---- conversions: n elements from one kind to another; `whole`: zeros behind a result of 8 bytes */

static uint64_t convert(FpCtl *c, const FpFormat *from, const FpFormat *to, uint64_t x)
{
    Fp v = take(c, from, x);

    if (v.denormal)
        c->flags |= FPE_D;
    if (is_nan(v))
        return fp_pack(to, quieted(c, v));
    return fp_pack(to, v.kind == FP_FINITE ? fp_finish(c, to, v, 0) : v);
}

static uint64_t to_int(FpCtl *c, const FpFormat *f, uint64_t x, unsigned bits)
{
    int64_t r;

    return (uint64_t)(fp_to_int(c, take(c, f, x), bits, &r) ? r : INT64_MIN >> (64 - bits));
}

static uint64_t of_int(FpCtl *c, const FpFormat *f, int64_t x)
{
    Fp v = fp_of_int(x);

    return fp_pack(f, v.kind == FP_FINITE ? fp_finish(c, f, v, 0) : v);
}

typedef struct Convert {
    const FpFormat *from, *to; /* NULL: int32_t */
    uint8_t n;
    bool truncate, whole;
} Convert;

static unsigned conversion(Env *e, void *d, const void *s, const Convert *k)
{
    const unsigned in = k->from ? k->from->bytes : 4, size = k->to ? k->to->bytes : 4;
    FpCtl c = rules(e);
    uint8_t r[16] = { 0 };

    if (k->truncate)
        c.round = FP_TO_ZERO;
    for (unsigned i = 0; i < k->n; i++) {
        uint64_t x = le_load((const uint8_t *)s + i * in, in);

        x = !k->from ? of_int(&c, k->to, (int32_t)x) : k->to ? convert(&c, k->from, k->to, x) : to_int(&c, k->from, x, 32);
        le_store(r + i * size, size, x);
    }
    if (vop_raised(e, c.flags))
        return FPU_XM;
    memcpy(d, r, k->whole ? 16 : k->n * size);
    return 0;
}

#define CONVERT(name, ...) WHOLE(name, conversion(e, d, s, &(const Convert){ __VA_ARGS__ }))
CONVERT(cvtps2pd, &fp_single, &fp_double, 2)
CONVERT(cvtss2sd, &fp_single, &fp_double, 1)
CONVERT(cvtpd2ps, &fp_double, &fp_single, 2, .whole = true)
CONVERT(cvtsd2ss, &fp_double, &fp_single, 1)
CONVERT(cvtdq2ps, NULL, &fp_single, 4)
CONVERT(cvtdq2pd, NULL, &fp_double, 2)
CONVERT(cvtpi2ps, NULL, &fp_single, 2)
CONVERT(cvtpi2pd, NULL, &fp_double, 2)
CONVERT(cvtps2dq, &fp_single, NULL, 4)
CONVERT(cvttps2dq, &fp_single, NULL, 4, .truncate = true)
CONVERT(cvtpd2dq, &fp_double, NULL, 2, .whole = true)
CONVERT(cvttpd2dq, &fp_double, NULL, 2, .truncate = true, .whole = true)
CONVERT(cvtps2pi, &fp_single, NULL, 2)
CONVERT(cvttps2pi, &fp_single, NULL, 2, .truncate = true)
CONVERT(cvtpd2pi, &fp_double, NULL, 2)
CONVERT(cvttpd2pi, &fp_double, NULL, 2, .truncate = true)

static unsigned to_general(Env *e, void *d, const void *s, const FpFormat *f, unsigned bits, bool truncate)
{
    FpCtl c = rules(e);
    uint64_t r;

    if (truncate)
        c.round = FP_TO_ZERO;
    r = to_int(&c, f, get(f, s, 0), bits);
    if (vop_raised(e, c.flags))
        return FPU_XM;
    if (bits == 32)
        r = (uint32_t)r;
    memcpy(d, &r, 8);
    return 0;
}

static unsigned from_general(Env *e, void *d, const void *s, const FpFormat *f, unsigned bits)
{
    FpCtl c = rules(e);
    int64_t v;
    uint64_t r;

    memcpy(&v, s, 8);
    r = of_int(&c, f, bits == 32 ? (int32_t)v : v);
    if (vop_raised(e, c.flags))
        return FPU_XM;
    put(f, d, 0, r);
    return 0;
}
WHOLE(cvtss2si32, to_general(e, d, s, &fp_single, 32, false))
WHOLE(cvtss2si64, to_general(e, d, s, &fp_single, 64, false))
WHOLE(cvttss2si32, to_general(e, d, s, &fp_single, 32, true))
WHOLE(cvttss2si64, to_general(e, d, s, &fp_single, 64, true))
WHOLE(cvtsd2si32, to_general(e, d, s, &fp_double, 32, false))
WHOLE(cvtsd2si64, to_general(e, d, s, &fp_double, 64, false))
WHOLE(cvttsd2si32, to_general(e, d, s, &fp_double, 32, true))
WHOLE(cvttsd2si64, to_general(e, d, s, &fp_double, 64, true))
WHOLE(cvtsi2ss32, from_general(e, d, s, &fp_single, 32))
WHOLE(cvtsi2ss64, from_general(e, d, s, &fp_single, 64))
WHOLE(cvtsi2sd32, from_general(e, d, s, &fp_double, 32))
WHOLE(cvtsi2sd64, from_general(e, d, s, &fp_double, 64))

/* ---- approximations, here the nearest: no flags, MXCSR is not looked at, denormals are zeros in and out */

enum { RCP_VANISHES = 0x7e7fe801 /* SDM volume 2, RCPPS: from here on the answer is certainly zero */ };

static uint64_t approximate(uint64_t x, bool root)
{
    FpCtl c = { .daz = true, .ftz = true };
    const Fp one = fp_of_int(1);
    Fp v = take(&c, &fp_single, x);

    if (is_nan(v))
        return fp_pack(&fp_single, quieted(&c, v));
    if (!root && (x & 0x7fffffff) >= RCP_VANISHES)
        return x & 0x80000000;
    return fp_pack(&fp_single, root ? arith(&c, &fp_single, one, fp_sqrt(&c, &fp_ext[3], v, v), fp_div) : fp_div(&c, &fp_single, one, v));
}

static unsigned approximations(void *d, const void *s, unsigned n, bool root)
{
    for (unsigned i = 0; i < n; i++)
        put(&fp_single, d, i, approximate(get(&fp_single, s, i), root));
    return 0;
}
WHOLE(rcpps, approximations(d, s, 4, false))
WHOLE(rcpss, approximations(d, s, 1, false))
WHOLE(rsqrtps, approximations(d, s, 4, true))
WHOLE(rsqrtss, approximations(d, s, 1, true))
