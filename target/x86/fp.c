/*
 * target/x86/fp.c - floating point in integers (fp.h). IEEE 754-2008; SDM volume 1, 4.8 and 4.9, 8.5 and 11.5 for what x86
 * leaves to masks. Every loop is over the bits of a significand.
 */
#include "target/x86/fp.h"

typedef unsigned __int128 u128;
static const uint64_t top_bit = 1ull << 63;

const FpFormat fp_single = { 24, 4, -126, 127 }, fp_double = { 53, 8, -1022, 1023 };
const FpFormat fp_ext[4] = { { 24, 10, -16382, 16383 }, { 64, 10, -16382, 16383 }, { 53, 10, -16382, 16383 }, { 64, 10, -16382, 16383 } };

/* ---- images */

static Fp normal(Fp v)
{
    unsigned by;

    if (!v.m)
        return fp_zero(v.neg);
    by = (unsigned)__builtin_clzll(v.m);
    v.m <<= by;
    v.exp -= (int)by;
    return v;
}

Fp fp_unpack(const FpFormat *f, uint64_t image)
{
    const unsigned frac = f->prec - 1u, ebits = f->bytes * 8u - f->prec;
    const int e = (int)(image >> frac & ((1u << ebits) - 1));
    Fp v = { .kind = FP_FINITE, .neg = image >> (f->bytes * 8u - 1) & 1, .exp = e - f->emax, .m = image << (64 - f->prec) };

    if (e == 0) {
        v.m &= ~top_bit;
        v.exp = f->emin;
        v.denormal = v.m != 0;
        return normal(v);
    }
    v.m |= top_bit;
    if (e == (1 << ebits) - 1)
        v.kind = v.m == top_bit ? FP_INF : FP_NAN;
    return v;
}

uint64_t fp_pack(const FpFormat *f, Fp v)
{
    const unsigned frac = f->prec - 1u;
    const uint64_t sign = (uint64_t)v.neg << (f->bytes * 8u - 1), special = (uint64_t)(2 * f->emax + 1) << frac;
    uint64_t m = (v.m & ~top_bit) >> (64 - f->prec);

    if (v.kind == FP_ZERO)
        return sign;
    if (v.kind != FP_FINITE)
        return sign | special | (v.kind == FP_INF ? 0 : m);
    if (v.exp < f->emin)
        return sign | v.m >> (64 - f->prec) >> MIN(f->emin - v.exp, 63); /* far below: an exponent wrapped, nobody looks */
    return sign | (uint64_t)(v.exp + f->emax) << frac | m;
}

Fp fp_unpack80(const uint8_t image[10])
{
    const unsigned e = le16_load(image + 8) & 0x7fff;
    Fp v = { .kind = FP_FINITE, .neg = image[9] >> 7, .m = le64_load(image), .exp = (int)e - 16383 };

    if (e == 0) {
        v.exp = -16382;
        v.denormal = v.m != 0;
        return normal(v);
    }
    if (!(v.m & top_bit))
        v.kind = FP_BAD;
    else if (e == 0x7fff)
        v.kind = v.m == top_bit ? FP_INF : FP_NAN;
    return v;
}

void fp_pack80(uint8_t image[10], Fp v)
{
    unsigned e = v.neg ? 0x8000 : 0;
    uint64_t m = v.m;

    if (v.kind == FP_ZERO) {
        m = 0;
    } else if (v.kind != FP_FINITE) {
        e |= 0x7fff;
        m = v.kind == FP_INF ? top_bit : m;
    } else if (v.exp < -16382) {
        m = -16382 - v.exp < 64 ? m >> (-16382 - v.exp) : 0;
    } else {
        e |= (unsigned)(v.exp + 16383);
    }
    le64_store(image, m);
    le16_store(image + 8, (uint16_t)e);
}

/* ---- rounding */

/* Keeps `prec` bits of m:lo, the value's place stays. True: something was cut off. */
static bool cut(Fp *v, uint64_t lo, unsigned prec, unsigned round, bool *up)
{
    const uint64_t unit = 1ull << (64 - prec), below = v->m & (unit - 1);
    const bool half = prec == 64 ? lo >> 63 : below >> (63 - prec) & 1;
    const bool rest = prec == 64 ? lo << 1 : (below & (unit / 2 - 1)) | lo;

    *up = round == FP_NEAREST ? half && (rest || v->m & unit) : (half || rest) && round == (v->neg ? FP_DOWN : FP_UP);
    v->m -= below;
    if (*up) {
        v->m += unit;
        if (!v->m) {
            v->m = top_bit;
            v->exp++;
        }
    }
    return half || rest;
}

static void shift_down(uint64_t *hi, uint64_t *lo, unsigned by)
{
    u128 x = (u128)*hi << 64 | *lo, lost;

    if (by == 0)
        return;
    lost = by < 128 ? x << (128 - by) : x;
    x = by < 128 ? x >> by : 0;
    *hi = (uint64_t)(x >> 64);
    *lo = (uint64_t)x | (lost != 0);
}

static Fp overflow(FpCtl *c, const FpFormat *f, Fp r, bool inexact)
{
    if (c->unmasked & FPE_O) {
        c->flags |= FPE_O | (inexact ? FPE_P : 0);
        r.exp -= FP_WRAP;
        if (r.exp <= f->emax)
            return r;
        c->flags |= FPE_P;
        c->up = true;
        return fp_inf(r.neg);
    }
    c->flags |= FPE_O | FPE_P;
    c->up = c->round == FP_NEAREST || c->round == (r.neg ? FP_DOWN : FP_UP);
    if (c->up)
        return fp_inf(r.neg);
    r.m = ~0ull << (64 - f->prec);
    r.exp = f->emax;
    return r;
}

/* r: v rounded as if there were no least exponent. */
static Fp underflow(FpCtl *c, const FpFormat *f, Fp v, uint64_t lo, Fp r, bool inexact)
{
    if (c->unmasked & FPE_U) {
        c->flags |= FPE_U | (inexact ? FPE_P : 0);
        r.exp += FP_WRAP;
        if (r.exp >= f->emin)
            return r;
        c->flags |= FPE_P;
        c->up = false;
        return fp_zero(r.neg);
    }
    if (c->ftz) {
        c->flags |= FPE_U | FPE_P;
        c->up = false;
        return fp_zero(v.neg);
    }
    shift_down(&v.m, &lo, (unsigned)MIN(f->emin - v.exp, 200));
    v.exp = f->emin;
    if (cut(&v, lo, f->prec, c->round, &c->up))
        c->flags |= FPE_U | FPE_P;
    return normal(v);
}

Fp fp_finish(FpCtl *c, const FpFormat *f, Fp v, uint64_t lo)
{
    bool inexact;
    Fp r;

    v.kind = FP_FINITE;
    v.denormal = false;
    if (!v.m) {
        v.m = lo;
        v.exp -= 64;
        lo = 0;
    }
    if (!(v.m & top_bit)) {
        unsigned by = (unsigned)__builtin_clzll(v.m);

        v.m = v.m << by | lo >> (64 - by);
        lo <<= by;
        v.exp -= (int)by;
    }
    r = v;
    inexact = cut(&r, lo, f->prec, c->round, &c->up);
    if (r.exp > f->emax)
        return overflow(c, f, r, inexact);
    if (r.exp < f->emin)
        return underflow(c, f, v, lo, r, inexact);
    c->flags |= inexact ? FPE_P : 0;
    return r;
}

/* ---- arithmetic */

static Fp invalid(FpCtl *c)
{
    c->flags |= FPE_I;
    return fp_default_nan();
}

static int compare_size(Fp a, Fp b)
{
    if (a.exp != b.exp)
        return a.exp < b.exp ? -1 : 1;
    return a.m < b.m ? -1 : a.m > b.m;
}

static Fp add_finite(FpCtl *c, const FpFormat *f, Fp a, Fp b)
{
    uint64_t bl = 0;
    u128 x, y;

    if (compare_size(a, b) < 0) {
        Fp t = a;

        a = b;
        b = t;
    }
    shift_down(&b.m, &bl, (unsigned)MIN(a.exp - b.exp, 200));
    x = (u128)a.m << 64;
    y = (u128)b.m << 64 | bl;
    if (a.neg != b.neg) {
        x -= y;
        if (!x)
            return fp_zero(c->round == FP_DOWN);
    } else {
        x += y;
        if (x < y) { /* a carry */
            x = x >> 1 | (x & 1) | (u128)1 << 127;
            a.exp++;
        }
    }
    a.m = (uint64_t)(x >> 64);
    return fp_finish(c, f, a, (uint64_t)x);
}

Fp fp_add(FpCtl *c, const FpFormat *f, Fp a, Fp b)
{
    if (a.kind == FP_INF && b.kind == FP_INF && a.neg != b.neg)
        return invalid(c);
    if (a.kind == FP_INF || b.kind == FP_INF)
        return fp_inf(a.kind == FP_INF ? a.neg : b.neg);
    if (a.kind == FP_ZERO && b.kind == FP_ZERO)
        return fp_zero(a.neg == b.neg ? a.neg : c->round == FP_DOWN);
    if (a.kind == FP_ZERO || b.kind == FP_ZERO)
        return fp_finish(c, f, a.kind == FP_ZERO ? b : a, 0);
    return add_finite(c, f, a, b);
}

Fp fp_sub(FpCtl *c, const FpFormat *f, Fp a, Fp b)
{
    b.neg = !b.neg;
    return fp_add(c, f, a, b);
}

Fp fp_mul(FpCtl *c, const FpFormat *f, Fp a, Fp b)
{
    const bool zero = a.kind == FP_ZERO || b.kind == FP_ZERO, inf = a.kind == FP_INF || b.kind == FP_INF;
    u128 x = (u128)a.m * b.m;

    a.neg ^= b.neg;
    if (zero && inf)
        return invalid(c);
    if (zero || inf)
        return zero ? fp_zero(a.neg) : fp_inf(a.neg);
    a.exp += b.exp + 1;
    a.m = (uint64_t)(x >> 64);
    return fp_finish(c, f, a, (uint64_t)x);
}

Fp fp_div(FpCtl *c, const FpFormat *f, Fp a, Fp b)
{
    uint64_t rest;
    u128 x;

    if (a.kind == b.kind && a.kind != FP_FINITE)
        return invalid(c);
    a.neg ^= b.neg;
    if (a.kind == FP_FINITE && b.kind == FP_ZERO)
        c->flags |= FPE_Z;
    if (a.kind == FP_INF || b.kind == FP_ZERO)
        return fp_inf(a.neg);
    if (a.kind == FP_ZERO || b.kind == FP_INF)
        return fp_zero(a.neg);
    a.exp -= b.exp;
    x = (u128)a.m << 63;
    if (a.m < b.m) {
        x <<= 1;
        a.exp--;
    }
    a.m = (uint64_t)(x / b.m);
    rest = (uint64_t)(x % b.m);
    return fp_finish(c, f, a, rest ? (rest > b.m - rest ? top_bit | 1 : rest == b.m - rest ? top_bit : 1) : 0);
}

/* Digit by digit: 64 bits of the root, and whether the rest is more than half a unit (it is never just half). */
Fp fp_sqrt(FpCtl *c, const FpFormat *f, Fp a, Fp b)
{
    uint64_t root = 0;
    u128 rest = 0, x;

    if (b.kind != FP_ZERO && b.neg)
        return invalid(c);
    if (b.kind != FP_FINITE)
        return b;
    x = (u128)b.m << (b.exp & 1 ? 64 : 63); /* in [2^126, 2^128) */
    for (unsigned i = 0; i < 64; i++) {
        u128 try = (u128)root << 2 | 1;

        rest = rest << 2 | (unsigned)(x >> 126);
        x <<= 2;
        root <<= 1;
        if (rest >= try) {
            rest -= try;
            root |= 1;
        }
    }
    b.exp = b.exp & 1 ? (b.exp - 1) / 2 : b.exp / 2;
    b.m = root;
    return fp_finish(c, f, b, rest ? (rest > root ? top_bit | 1 : 1) : 0);
}

int fp_compare(Fp a, Fp b)
{
    const int sa = a.neg ? -1 : 1, sb = b.neg ? -1 : 1;

    if (a.kind == FP_ZERO && b.kind == FP_ZERO)
        return 0;
    if (a.kind == FP_ZERO || b.kind == FP_ZERO || sa != sb)
        return a.kind == FP_ZERO ? -sb : sa;
    if (a.kind == FP_INF || b.kind == FP_INF)
        return a.kind == b.kind ? 0 : a.kind == FP_INF ? sa : -sa;
    return sa * compare_size(a, b);
}

/* ---- integers */

Fp fp_to_integral(FpCtl *c, Fp v)
{
    uint64_t lo = 0;

    c->up = false;
    if (v.kind != FP_FINITE || v.exp >= 63)
        return v;
    shift_down(&v.m, &lo, (unsigned)MIN(63 - v.exp, 200));
    v.exp = 63;
    c->flags |= cut(&v, lo, 64, c->round, &c->up) ? FPE_P : 0;
    v.denormal = false;
    return normal(v);
}

Fp fp_of_int(int64_t v)
{
    return normal((Fp){ .kind = FP_FINITE, .neg = v < 0, .m = v < 0 ? 0 - (uint64_t)v : (uint64_t)v, .exp = 63 });
}

bool fp_to_int(FpCtl *c, Fp v, unsigned bits, int64_t *out)
{
    const uint64_t limit = 1ull << (bits - 1);
    const uint8_t before = c->flags;
    uint64_t m;

    v = v.kind == FP_NAN || v.kind == FP_BAD ? fp_inf(false) : fp_to_integral(c, v);
    m = v.kind == FP_ZERO ? 0 : v.kind == FP_FINITE && v.exp < 64 ? v.m >> (63 - v.exp) : ~0ull;
    if (m > limit - !v.neg) {
        c->flags = before | FPE_I;
        c->up = false;
        return false;
    }
    *out = (int64_t)(v.neg ? 0 - m : m);
    return true;
}

/* ---- remainder */

Fp fp_rem(Fp a, Fp b, bool nearest, unsigned *q)
{
    int d = a.exp - b.exp;
    uint64_t m = a.m;
    bool over;

    *q = 0;
    if (a.kind == FP_ZERO || d < -1)
        return a;
    a.exp = b.exp;
    if (d < 0) { /* |b|/4 < |a| < |b|: only a nearest quotient can be 1 */
        a.exp--;
        if (!nearest || m <= b.m)
            return a;
        *q = 1;
        a.neg = !a.neg; /* b - a in units of 2^(exp - 63): 2b.m - m < 2^64 */
        a.m = 2 * b.m - m;
        return normal(a);
    }
    over = m >= b.m;
    m -= over ? b.m : 0;
    *q = over;
    for (int i = 0; i < d; i++) {
        over = m >> 63 || m << 1 >= b.m;
        m = (m << 1) - (over ? b.m : 0);
        *q = *q << 1 | over;
    }
    a.m = m;
    if (nearest && m && (m > b.m - m || (m == b.m - m && *q & 1))) {
        ++*q;
        a.m = b.m - m;
        a.neg = !a.neg;
    }
    a.denormal = false;
    return normal(a);
}
