/*
 * vec-c.c - vector operations written in C on every host: moves, shuffles by immediate, inserts and
 * extracts, shifts by immediate and the string compares. SDM volume 2.
 * pcmpestr*: the caller puts the lengths (|EAX|, |EDX| saturated at 16) into imm
 * bits 8..15, 16..23; the index form writes a uint64_t at d, the mask form writes XMM0. maskmov
 * answers the byte mask.
 */
#include "target/x86/vec-c.h"

#define C(name) unsigned vec_c_##name(Env *e, void *d, const void *s, unsigned imm)

C(movss)
{
    memcpy(d, s, 4);
    return 0;
}
C(movsd)
{
    memcpy(d, s, 8);
    return 0;
}
C(movlps)
{
    memcpy(d, s, 8);
    return 0;
}
C(movdqa)
{
    memmove(d, s, 16);
    return 0;
}
C(movhps)
{
    memcpy((uint8_t *)d + 8, s, 8);
    return 0;
}
C(movhlps)
{
    memcpy(d, (const uint8_t *)s + 8, 8);
    return 0;
}
C(movlhps)
{
    memmove((uint8_t *)d + 8, s, 8);
    return 0;
}

C(movq)
{
    uint64_t v[2] = { 0, 0 };

    memcpy(v, s, 8);
    memcpy(d, v, 16);
    return 0;
}

C(movdup)
{
    uint64_t v;

    memcpy(&v, s, 8);
    memcpy(d, &v, 8);
    memcpy((uint8_t *)d + 8, &v, 8);
    return 0;
}

static void pick32(void *d, const void *s, unsigned order)
{
    uint32_t a[4], r[4];

    memcpy(a, s, 16);
    for (unsigned i = 0; i < 4; i++)
        r[i] = a[order >> (2 * i) & 3];
    memcpy(d, r, 16);
}

C(movsldup)
{
    pick32(d, s, 0xa0);
    return 0;
}
C(movshdup)
{
    pick32(d, s, 0xf5);
    return 0;
}
C(pshufd)
{
    pick32(d, s, imm);
    return 0;
}

static void pick16(uint8_t *d, const uint8_t *s, unsigned order)
{
    uint16_t a[4], r[4];

    memcpy(a, s, 8);
    for (unsigned i = 0; i < 4; i++)
        r[i] = a[order >> (2 * i) & 3];
    memcpy(d, r, 8);
}

C(pshufw)
{
    pick16(d, s, imm);
    return 0;
}

C(pshuflw)
{
    memmove((uint8_t *)d + 8, (const uint8_t *)s + 8, 8);
    pick16(d, s, imm);
    return 0;
}

C(pshufhw)
{
    memmove(d, s, 8);
    pick16((uint8_t *)d + 8, (const uint8_t *)s + 8, imm);
    return 0;
}

C(shufps)
{
    uint32_t a[4], b[4], r[4];

    memcpy(a, d, 16);
    memcpy(b, s, 16);
    for (unsigned i = 0; i < 4; i++)
        r[i] = (i < 2 ? a : b)[imm >> (2 * i) & 3];
    memcpy(d, r, 16);
    return 0;
}

C(shufpd)
{
    uint64_t a[2], b[2], r[2];

    memcpy(a, d, 16);
    memcpy(b, s, 16);
    r[0] = a[imm & 1];
    r[1] = b[imm >> 1 & 1];
    memcpy(d, r, 16);
    return 0;
}

static void align(uint8_t *d, const uint8_t *s, unsigned n, unsigned by)
{
    uint8_t both[64] = { 0 };

    memcpy(both, s, n);
    memcpy(both + n, d, n);
    if (by < 2 * n)
        memcpy(d, both + by, n);
    else
        memset(d, 0, n);
}

C(palignr)
{
    align(d, s, 16, imm & 255);
    return 0;
}
C(m_palignr)
{
    align(d, s, 8, imm & 255);
    return 0;
}

static void blend(uint8_t *d, const uint8_t *s, unsigned size, unsigned mask)
{
    for (unsigned i = 0; i < 16 / size; i++)
        if (mask >> i & 1)
            memmove(d + i * size, s + i * size, size);
}

C(pblendw)
{
    blend(d, s, 2, imm);
    return 0;
}
C(blendps)
{
    blend(d, s, 4, imm);
    return 0;
}
C(blendpd)
{
    blend(d, s, 8, imm);
    return 0;
}

/* From memory the caller clears bits 6 and 7 of imm: the operand is one element. */
C(insertps)
{
    uint8_t *r = d;
    uint32_t v;

    memcpy(&v, (const uint8_t *)s + (imm >> 6 & 3) * 4, 4);
    memcpy(r + (imm >> 4 & 3) * 4, &v, 4);
    for (unsigned i = 0; i < 4; i++)
        if (imm >> i & 1)
            memset(r + i * 4, 0, 4);
    return 0;
}

typedef enum Shift { LEFT, RIGHT, ARITH } Shift;

static void shift(uint8_t *d, unsigned n, unsigned size, Shift way, unsigned by)
{
    const unsigned bits = size * 8;

    for (unsigned i = 0; i < n; i += size) {
        uint64_t v = le_load(d + i, size);
        int64_t sv = (int64_t)(v << (64 - bits)) >> (64 - bits);

        if (way == ARITH)
            v = (uint64_t)(sv >> (by < bits ? by : bits - 1));
        else if (by >= bits)
            v = 0;
        else
            v = way == LEFT ? v << by : v >> by;
        le_store(d + i, size, v);
    }
}

#define SHIFT(name, size, way)                                                                     \
    C(name)                                                                                        \
    {                                                                                              \
        shift(d, 16, size, way, imm & 255);                                                        \
        return 0;                                                                                  \
    }                                                                                              \
    C(m_##name)                                                                                    \
    {                                                                                              \
        shift(d, 8, size, way, imm & 255);                                                         \
        return 0;                                                                                  \
    }
SHIFT(psllwi, 2, LEFT)
SHIFT(pslldi, 4, LEFT)
SHIFT(psllqi, 8, LEFT)
SHIFT(psrlwi, 2, RIGHT)
SHIFT(psrldi, 4, RIGHT)
SHIFT(psrlqi, 8, RIGHT)
SHIFT(psrawi, 2, ARITH)
SHIFT(psradi, 4, ARITH)

C(pslldq)
{
    uint8_t r[16] = { 0 };

    imm &= 255;
    if (imm < 16)
        memcpy(r + imm, d, 16 - imm);
    memcpy(d, r, 16);
    return 0;
}

C(psrldq)
{
    uint8_t r[16] = { 0 };

    imm &= 255;
    if (imm < 16)
        memcpy(r, (uint8_t *)d + imm, 16 - imm);
    memcpy(d, r, 16);
    return 0;
}

static void extract(void *d, const uint8_t *s, unsigned size, unsigned i)
{
    uint64_t v = le_load(s + i * size, size);

    memcpy(d, &v, 8);
}

C(pextrb)
{
    extract(d, s, 1, imm & 15);
    return 0;
}
C(pextrw)
{
    extract(d, s, 2, imm & 7);
    return 0;
}
C(extractps)
{
    extract(d, s, 4, imm & 3);
    return 0;
}
C(pextrd)
{
    extract(d, s, 4, imm & 3);
    return 0;
}
C(pextrq)
{
    extract(d, s, 8, imm & 1);
    return 0;
}
C(m_pextrw)
{
    extract(d, s, 2, imm & 3);
    return 0;
}
C(pinsrb)
{
    memcpy((uint8_t *)d + (imm & 15), s, 1);
    return 0;
}
C(pinsrw)
{
    memcpy((uint8_t *)d + (imm & 7) * 2, s, 2);
    return 0;
}
C(pinsrd)
{
    memcpy((uint8_t *)d + (imm & 3) * 4, s, 4);
    return 0;
}
C(pinsrq)
{
    memcpy((uint8_t *)d + (imm & 1) * 8, s, 8);
    return 0;
}
C(m_pinsrw)
{
    memcpy((uint8_t *)d + (imm & 3) * 2, s, 2);
    return 0;
}

C(maskmov)
{
    const uint8_t *m = s;
    unsigned r = 0;

    for (unsigned i = 0; i < (imm ? imm : 16); i++)
        r |= (unsigned)(m[i] >> 7) << i;
    return r;
}

C(mpsadbw)
{
    uint8_t a[16], b[16];
    uint16_t r[8];

    memcpy(a, d, 16);
    memcpy(b, s, 16);
    for (unsigned i = 0; i < 8; i++) {
        unsigned sum = 0;

        for (unsigned j = 0; j < 4; j++) {
            int x = a[(imm & 4) + i + j] - b[(imm & 3) * 4 + j];

            sum += (unsigned)(x < 0 ? -x : x);
        }
        r[i] = (uint16_t)sum;
    }
    memcpy(d, r, 16);
    return 0;
}

/* ---- string compares: imm 1:0 element, 3:2 aggregation, 5:4 polarity, 6 end or expand */

static int element(const uint8_t *p, unsigned kind, unsigned i)
{
    uint16_t w;

    if (!(kind & 1))
        return kind & 2 ? (int8_t)p[i] : p[i];
    memcpy(&w, p + 2 * i, 2);
    return kind & 2 ? (int16_t)w : w;
}

static unsigned implicit_len(const uint8_t *p, unsigned kind)
{
    unsigned n = kind & 1 ? 8 : 16, i;

    for (i = 0; i < n && element(p, kind & 1, i); i++)
        ;
    return i;
}

/* a: the set, the ranges or the needle, la valid; b: what is searched, lb valid. */
static bool aggregate(const uint8_t *a, unsigned la, const uint8_t *b, unsigned lb, unsigned imm,
                      unsigned i)
{
    const unsigned n = imm & 1 ? 8 : 16;

    switch (imm >> 2 & 3) {
    case 0:
        for (unsigned j = 0; j < la; j++)
            if (i < lb && element(a, imm, j) == element(b, imm, i))
                return true;
        return false;
    case 1:
        for (unsigned j = 0; j + 1 < la; j += 2)
            if (i < lb && element(a, imm, j) <= element(b, imm, i) &&
                element(b, imm, i) <= element(a, imm, j + 1))
                return true;
        return false;
    case 2:
        return i < la && i < lb ? element(a, imm, i) == element(b, imm, i) : i >= la && i >= lb;
    default:
        for (unsigned j = 0; j < la && i + j < n; j++)
            if (i + j >= lb || element(a, imm, j) != element(b, imm, i + j))
                return false;
        return true;
    }
}

static unsigned compare(const uint8_t *a, unsigned la, const uint8_t *b, unsigned lb, unsigned imm,
                        unsigned *flags)
{
    const unsigned n = imm & 1 ? 8 : 16;
    unsigned r = 0;

    la = MIN(la, n);
    lb = MIN(lb, n);
    for (unsigned i = 0; i < n; i++) {
        bool hit = aggregate(a, la, b, lb, imm, i);

        hit ^= imm & 16 && (!(imm & 32) || i < lb);
        r |= (unsigned)hit << i;
    }
    *flags = (r ? 1u : 0) | (lb < n ? 0x40u : 0) | (la < n ? 0x80u : 0) | (r & 1 ? 0x800u : 0);
    return r;
}

static void answer_index(void *d, unsigned r, unsigned imm)
{
    uint64_t v = imm & 1 ? 8 : 16;

    if (r)
        v = imm & 64 ? 31u - (unsigned)__builtin_clz(r) : (unsigned)__builtin_ctz(r);
    memcpy(d, &v, 8);
}

static void answer_mask(Env *e, unsigned r, unsigned imm)
{
    union {
        uint8_t b[16];
        uint16_t w[8];
    } v = { { 0 } };

    if (!(imm & 64))
        v.w[0] = (uint16_t)r;
    for (unsigned i = 0; i < 16 && imm & 64; i++)
        v.b[i] = r >> (imm & 1 ? i / 2 : i) & 1 ? 0xff : 0;
    memcpy(e->vec[0], v.b, 16);
}

/* The index forms take their first operand in f->v[imm >> 24] since d is a general register. */
C(pcmpestri)
{
    unsigned fl, r = compare(e->vec[imm >> 24 & 15], imm >> 8 & 255, s, imm >> 16 & 255, imm, &fl);

    answer_index(d, r, imm);
    return vop_flags(e, fl);
}

C(pcmpestrm)
{
    unsigned fl, r = compare(d, imm >> 8 & 255, s, imm >> 16 & 255, imm, &fl);

    answer_mask(e, r, imm);
    return vop_flags(e, fl);
}

C(pcmpistri)
{
    const uint8_t *a = e->vec[imm >> 24 & 15];
    unsigned fl, r = compare(a, implicit_len(a, imm), s, implicit_len(s, imm), imm, &fl);

    answer_index(d, r, imm);
    return vop_flags(e, fl);
}

C(pcmpistrm)
{
    unsigned fl, r = compare(d, implicit_len(d, imm), s, implicit_len(s, imm), imm, &fl);

    answer_mask(e, r, imm);
    return vop_flags(e, fl);
}
