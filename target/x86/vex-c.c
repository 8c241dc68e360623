/*
 * vex-c.c - VEX operations that have no SSE form, or do more in theirs: moves between the halves, broadcasts, shifts by
 * element, blends by mask, the 32 comparisons, half precision. In C on every host. SDM volume 2.
 */
#include "target/x86/vex.h"
#include "tcg/flags.h"

#define C(name) unsigned vex_c_##name(Env *e, void *d, const void *a, const void *b, unsigned imm)
static inline bool wide(unsigned imm) { return imm & VEX_L; }
static inline unsigned bytes(unsigned imm) { return wide(imm) ? 32 : 16; }

typedef union Vec {
    uint8_t b[32];
    uint16_t w[16];
    uint32_t d[8];
    uint64_t q[4];
} Vec;

static Vec get(const void *p)
{
    Vec v;

    memcpy(v.b, p, 32);
    return v;
}
static unsigned put(void *d, const Vec *v)
{
    memcpy(d, v->b, 32);
    return 0;
}
/* The low 16 or 32 bytes, zeros above. */
static Vec low(const void *p, unsigned n)
{
    Vec v = { .q = { 0 } };

    memcpy(v.b, p, n);
    return v;
}

C(vmovaps)
{
    Vec v = low(b, bytes(imm));

    return put(d, &v);
}

C(vzeroupper)
{
    for (unsigned i = 0; i < 16; i++) /* outside 64-bit mode the upper eight stay; nobody sees them there */
        memset(e->vec[i] + 16, 0, i < 8 || code64(x86(e)) ? 16 : 0);
    return 0;
}
C(vzeroall)
{
    for (unsigned i = 0; i < 16; i++)
        memset(e->vec[i], 0, i < 8 || code64(x86(e)) ? 32 : 0);
    return 0;
}

/* ---- shuffles */
C(vpermilps)
{
    Vec s = get(a), c = get(b), r = { .q = { 0 } };

    for (unsigned i = 0; i < bytes(imm) / 4; i++)
        r.d[i] = s.d[(i & 4) | (c.d[i] & 3)];
    return put(d, &r);
}
C(vpermilpd)
{
    Vec s = get(a), c = get(b), r = { .q = { 0 } };

    for (unsigned i = 0; i < bytes(imm) / 8; i++)
        r.q[i] = s.q[(i & 2) | (c.q[i] >> 1 & 1)];
    return put(d, &r);
}
C(vpermilpsi)
{
    Vec s = get(b), r = { .q = { 0 } };

    for (unsigned i = 0; i < bytes(imm) / 4; i++)
        r.d[i] = s.d[(i & 4) | (imm >> (i & 3) * 2 & 3)];
    return put(d, &r);
}
C(vpermilpdi)
{
    Vec s = get(b), r = { .q = { 0 } };

    for (unsigned i = 0; i < bytes(imm) / 8; i++)
        r.q[i] = s.q[(i & 2) | (imm >> i & 1)];
    return put(d, &r);
}
C(vpermd)
{
    Vec c = get(a), s = get(b), r;

    for (unsigned i = 0; i < 8; i++)
        r.d[i] = s.d[c.d[i] & 7];
    return put(d, &r);
}
C(vpermq)
{
    Vec s = get(b), r;

    for (unsigned i = 0; i < 4; i++)
        r.q[i] = s.q[imm >> 2 * i & 3];
    return put(d, &r);
}
C(vperm2f128)
{
    Vec s[2] = { get(a), get(b) }, r = { .q = { 0 } };

    for (unsigned i = 0; i < 2; i++) {
        unsigned how = imm >> 4 * i;

        if (!(how & 8))
            memcpy(r.b + 16 * i, s[how >> 1 & 1].b + 16 * (how & 1), 16);
    }
    return put(d, &r);
}
C(vinsertf128)
{
    Vec r = get(a);

    memcpy(r.b + 16 * (imm & 1), b, 16);
    return put(d, &r);
}
C(vextractf128)
{
    Vec r = low((const uint8_t *)b + 16 * (imm & 1), 16);

    return put(d, &r);
}
static unsigned broadcast(void *d, const void *s, unsigned size, unsigned imm)
{
    Vec r = { .q = { 0 } };

    for (unsigned i = 0; i < bytes(imm); i += size)
        memcpy(r.b + i, s, size);
    return put(d, &r);
}
C(vbroadcastss)
{
    Vec s = get(b);

    return broadcast(d, &s, 4, imm);
}
C(vpbroadcastb)
{
    Vec s = get(b);

    return broadcast(d, &s, 1, imm);
}
C(vpbroadcastw)
{
    Vec s = get(b);

    return broadcast(d, &s, 2, imm);
}
C(vpbroadcastq)
{
    Vec s = get(b);

    return broadcast(d, &s, 8, imm);
}

/* ---- by element */
C(vpblendd)
{
    Vec r = low(a, bytes(imm)), s = get(b);

    for (unsigned i = 0; i < bytes(imm) / 4; i++)
        r.d[i] = imm >> i & 1 ? s.d[i] : r.d[i];
    return put(d, &r);
}
#define SHIFT(name, f, bits, expr)                                                                 \
    C(name)                                                                                        \
    {                                                                                              \
        Vec s = get(a), c = get(b), r = { .q = { 0 } };                                            \
                                                                                                   \
        for (unsigned i = 0; i < bytes(imm) * 8 / bits; i++)                                       \
            r.f[i] = c.f[i] < bits ? s.f[i] expr c.f[i] : 0;                                       \
        return put(d, &r);                                                                         \
    }
SHIFT(vpsllvd, d, 32, <<)
SHIFT(vpsllvq, q, 64, <<)
SHIFT(vpsrlvd, d, 32, >>)
SHIFT(vpsrlvq, q, 64, >>)
C(vpsravd)
{
    Vec s = get(a), c = get(b), r = { .q = { 0 } };

    for (unsigned i = 0; i < bytes(imm) / 4; i++)
        r.d[i] = (uint32_t)((int32_t)s.d[i] >> MIN(c.d[i], 31u));
    return put(d, &r);
}
/* The top bit of each element of the fourth operand chooses the second source. */
static unsigned blend(Env *e, void *d, const void *a, const void *b, unsigned imm, unsigned size)
{
    Vec r = low(a, bytes(imm)), s = get(b), m = get(e->vec[imm >> 4 & (code64(x86(e)) ? 15 : 7)]);

    for (unsigned i = 0; i < bytes(imm); i += size)
        if (m.b[i + size - 1] & 0x80)
            memcpy(r.b + i, s.b + i, size);
    return put(d, &r);
}
C(vblendvps) { return blend(e, d, a, b, imm, 4); }
C(vblendvpd) { return blend(e, d, a, b, imm, 8); }
C(vpblendvb) { return blend(e, d, a, b, imm, 1); }

/* ---- sign bits and tests */
static unsigned signs(const void *s, unsigned size, unsigned imm)
{
    Vec v = get(s);
    unsigned r = 0;

    for (unsigned i = 0; i < bytes(imm) / size; i++)
        r |= (v.b[i * size + size - 1] >> 7 & 1u) << i;
    return r;
}
static unsigned put_general(void *d, unsigned v)
{
    Vec r = { .q = { v } };

    return put(d, &r);
}
C(vpmovmskb) { return put_general(d, signs(b, 1, imm)); }
C(vmovmskps) { return put_general(d, signs(b, 4, imm)); }
C(vmovmskpd) { return put_general(d, signs(b, 8, imm)); }

static unsigned test_flags(Env *e, uint64_t both, uint64_t only_b)
{
    return vop_flags(e, (both ? 0 : EF_ZF) | (only_b ? 0 : EF_CF));
}
C(vptest)
{
    Vec x = get(d), y = get(b);
    uint64_t both = 0, only = 0;

    for (unsigned i = 0; i < bytes(imm) / 8; i++) {
        both |= x.q[i] & y.q[i];
        only |= ~x.q[i] & y.q[i];
    }
    return test_flags(e, both, only);
}
C(vtestps)
{
    unsigned x = signs(d, 4, imm), y = signs(b, 4, imm);

    return test_flags(e, x & y, ~x & y);
}
C(vtestpd)
{
    unsigned x = signs(d, 8, imm), y = signs(b, 8, imm);

    return test_flags(e, x & y, ~x & y);
}

/* ---- comparisons */
enum { LT = 1, EQ = 2, GT = 4, UN = 8 };
/* What each of the first 16 predicates is true of; the next 16 differ in which of them object to a quiet NaN. */
static const uint8_t holds[16] = { EQ, LT, LT | EQ, UN, LT | GT | UN, EQ | GT | UN, GT | UN, LT | EQ | GT,
                                   EQ | UN, LT | UN, LT | EQ | UN, 0, LT | GT, EQ | GT, GT, 15 };
enum { SIGNALS = 0x6666 };

typedef struct Format { /* of a number in IEEE 754's binary forms */
    unsigned bits, fraction;
} Format;
static const Format single = { 32, 23 }, twice = { 64, 52 };

static bool is_nan(Format f, uint64_t v) { return (v << (65 - f.bits)) > ((1ull << (f.bits - 1 - f.fraction)) - 1) << (65 - f.bits + f.fraction); }
static bool is_snan(Format f, uint64_t v) { return is_nan(f, v) && !(v >> (f.fraction - 1) & 1); }
static bool is_denormal(Format f, uint64_t v)
{
    uint64_t m = v & ((1ull << f.fraction) - 1), e = (v >> f.fraction) & ((1ull << (f.bits - 1 - f.fraction)) - 1);

    return m && !e;
}
/* Order as integers: negative numbers turned round, both zeros the same. */
static int64_t rank(Format f, uint64_t v)
{
    uint64_t top = 1ull << (f.bits - 1), m = v & (top - 1);

    return v & top ? -(int64_t)m : (int64_t)m;
}

static bool compare(Format f, uint64_t x, uint64_t y, unsigned predicate, uint32_t csr, uint32_t *flags)
{
    bool signals = (SIGNALS >> (predicate & 15) & 1) ^ (predicate >> 4);
    int64_t rx, ry;

    if (is_nan(f, x) || is_nan(f, y)) {
        if (signals || is_snan(f, x) || is_snan(f, y))
            *flags |= FPE_I;
        return holds[predicate & 15] & UN;
    }
    rx = is_denormal(f, x) && csr & MXCSR_DAZ ? 0 : rank(f, x);
    ry = is_denormal(f, y) && csr & MXCSR_DAZ ? 0 : rank(f, y);
    if ((is_denormal(f, x) || is_denormal(f, y)) && !(csr & MXCSR_DAZ))
        *flags |= FPE_D;
    return holds[predicate & 15] & (rx < ry ? LT : rx > ry ? GT : EQ);
}

static unsigned raised(Env *e, uint32_t flags) { return vop_raised(e, flags) ? FPU_XM : 0; }

static unsigned compare_all(Env *e, void *d, const void *a, const void *b, unsigned imm, Format f, unsigned n)
{
    Vec x = get(a), y = get(b), r = low(a, bytes(imm));
    uint32_t flags = 0;
    unsigned bad;

    for (unsigned i = 0; i < n; i++)
        if (f.bits == 32)
            r.d[i] = compare(f, x.d[i], y.d[i], imm & 31, x86(e)->mxcsr, &flags) ? ~0u : 0;
        else
            r.q[i] = compare(f, x.q[i], y.q[i], imm & 31, x86(e)->mxcsr, &flags) ? ~0ull : 0;
    bad = raised(e, flags);
    return bad ? bad : put(d, &r);
}
C(vcmpps) { return compare_all(e, d, a, b, imm, single, bytes(imm) / 4); }
C(vcmppd) { return compare_all(e, d, a, b, imm, twice, bytes(imm) / 8); }
C(vcmpss) { return compare_all(e, d, a, b, imm, single, 1); }
C(vcmpsd) { return compare_all(e, d, a, b, imm, twice, 1); }

/* ---- half precision */
static uint32_t from_half(uint16_t h, uint32_t *flags)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 0x3ff;

    if (e == 31) {
        if (m && !(m & 0x200))
            *flags |= FPE_I;
        return sign | 0x7f800000 | m << 13 | (m ? 0x400000 : 0);
    }
    if (e == 0) {
        if (!m)
            return sign;
        for (e = 1; !(m & 0x400); e--) /* a denormal of ours is a normal number there */
            m <<= 1;
        m &= 0x3ff;
    }
    return sign | (e + 112) << 23 | m << 13;
}
C(vcvtph2ps)
{
    Vec s = get(b), r = { .q = { 0 } };
    uint32_t flags = 0;
    unsigned bad;

    for (unsigned i = 0; i < bytes(imm) / 4; i++)
        r.d[i] = from_half(s.w[i], &flags);
    bad = raised(e, flags);
    return bad ? bad : put(d, &r);
}

/* v / 2^shift, rounded: 0 nearest, 1 down, 2 up, 3 towards zero. */
static uint32_t rounded(uint32_t v, unsigned shift, unsigned mode, bool negative, bool *inexact)
{
    uint32_t q = shift > 31 ? 0 : v >> shift, rest = shift > 31 ? v : v & ((1u << shift) - 1), half = shift > 31 ? ~0u : 1u << (shift - 1);

    *inexact = rest;
    if (mode == 0)
        return q + (rest > half || (rest == half && q & 1));
    return q + (rest && mode == (negative ? 1 : 2));
}

static uint16_t overflow(uint16_t sign, unsigned mode, uint32_t *flags)
{
    *flags |= FPE_O | FPE_P;
    return sign | (mode == 0 || mode == (sign ? 1 : 2) ? 0x7c00 : 0x7bff);
}

static uint16_t to_half(uint32_t v, unsigned mode, uint32_t csr, uint32_t *flags)
{
    uint16_t sign = v >> 16 & 0x8000;
    int e = (int)(v >> 23 & 255);
    uint32_t m = v & 0x7fffff, q;
    bool inexact, tiny;

    if (e == 255) {
        if (m && !(m & 0x400000))
            *flags |= FPE_I;
        return sign | 0x7c00 | (uint16_t)(m >> 13) | (m ? 0x200 : 0);
    }
    if (e == 0) {
        if (!m || csr & MXCSR_DAZ)
            return sign;
        *flags |= FPE_D;
        e = 1;
    } else {
        m |= 0x800000;
    }
    if (e >= 113) {
        q = rounded(m, 13, mode, sign, &inexact);
        e += q >> 11; /* rounded up to the next power of two: the fraction is zero then */
        *flags |= inexact ? FPE_P : 0;
        return e >= 143 ? overflow(sign, mode, flags) : sign | (uint16_t)((unsigned)(e - 112) << 10 | (q >> 11 ? 0 : q & 0x3ff));
    }
    /* Tiny, if it still is after rounding with as many bits as a normal number has. */
    tiny = e < 112 || rounded(m, 13, mode, sign, &inexact) < 0x800;
    q = rounded(m, (unsigned)(126 - e), mode, sign, &inexact);
    if (tiny && (inexact || !(csr >> 7 & FPE_U)))
        *flags |= FPE_U;
    *flags |= inexact ? FPE_P : 0;
    return sign | (uint16_t)q;
}
C(vcvtps2ph)
{
    Vec s = get(b), r = { .q = { 0 } };
    uint32_t flags = 0, csr = x86(e)->mxcsr;
    unsigned mode = imm & 4 ? csr >> 13 & 3 : imm & 3, bad;

    for (unsigned i = 0; i < bytes(imm) / 4; i++)
        r.w[i] = to_half(s.d[i], mode, csr, &flags);
    bad = raised(e, flags);
    return bad ? bad : put(d, &r);
}
