/*
 * vec-ref.c - the C reference of the integer vector operations: what hosts without the instruction
 * run, and what tests/isa compares the host's instructions with. SDM volume 2.
 * MMX forms (m_NAME) are the same functions over 8 bytes. Floating point is in vec-ref-fp.c, AES,
 * SHA and carry-less multiplication in vec-ref-crypto.c.
 */
#include "target/x86/vec-ref.h"
#include "target/x86/vec-c.h"

typedef int8_t s8;
typedef uint8_t u8;
typedef int16_t s16;
typedef uint16_t u16;
typedef int32_t s32;
typedef uint32_t u32;
typedef int64_t s64;
typedef uint64_t u64;

static s64 clamp(s64 v, s64 lo, s64 hi) { return v < lo ? lo : v > hi ? hi : v; }
static s64 sat8(s64 v) { return clamp(v, -128, 127); }
static s64 satu8(s64 v) { return clamp(v, 0, 255); }
static s64 sat16(s64 v) { return clamp(v, -32768, 32767); }
static s64 satu16(s64 v) { return clamp(v, 0, 65535); }

#define ID(v) (v)
#define WRAP(name)                                                                                 \
    static unsigned r_##name(Env *e, void *d, const void *s, unsigned imm)                         \
    {                                                                                              \
        g_##name(d, s, 16);                                                                        \
        return 0;                                                                                  \
    }                                                                                              \
    static G_GNUC_UNUSED unsigned r_m_##name(Env *e, void *d, const void *s, unsigned imm)         \
    {                                                                                              \
        g_##name(d, s, 8);                                                                         \
        return 0;                                                                                  \
    }
/* Element by element: x and y are T, the result is stored as T. */
#define LANES(name, T, expr)                                                                       \
    static void g_##name(u8 *d, const u8 *s, unsigned n)                                           \
    {                                                                                              \
        for (unsigned i = 0; i < n; i += sizeof(T)) {                                              \
            T x, y, z;                                                                             \
            memcpy(&x, d + i, sizeof(T));                                                          \
            memcpy(&y, s + i, sizeof(T));                                                          \
            z = (T)(expr);                                                                         \
            memcpy(d + i, &z, sizeof(T));                                                          \
        }                                                                                          \
    }                                                                                              \
    WRAP(name)

LANES(paddb, u8, x + y)
LANES(paddw, u16, x + y)
LANES(paddd, u32, x + y)
LANES(paddq, u64, x + y)
LANES(paddsb, s8, sat8(x + y))
LANES(paddsw, s16, sat16(x + y))
LANES(paddusb, u8, satu8(x + y))
LANES(paddusw, u16, satu16(x + y))
LANES(psubb, u8, x - y)
LANES(psubw, u16, x - y)
LANES(psubd, u32, x - y)
LANES(psubq, u64, x - y)
LANES(psubsb, s8, sat8(x - y))
LANES(psubsw, s16, sat16(x - y))
LANES(psubusb, u8, satu8(x - y))
LANES(psubusw, u16, satu16(x - y))
LANES(pmullw, u16, (u32)x *y)
LANES(pmulhw, s16, (x * y) >> 16)
LANES(pmulhuw, u16, ((u32)x * y) >> 16)
LANES(pmuludq, u64, (u64)(u32)x *(u32)y)
LANES(pmuldq, s64, (s64)(s32)x *(s32)y)
LANES(pmulld, u32, x *y)
LANES(pmulhrsw, s16, (((x * y) >> 14) + 1) >> 1)
LANES(pavgb, u8, (x + y + 1) >> 1)
LANES(pavgw, u16, (x + y + 1) >> 1)
LANES(pminub, u8, x < y ? x : y)
LANES(pmaxub, u8, x > y ? x : y)
LANES(pminsb, s8, x < y ? x : y)
LANES(pmaxsb, s8, x > y ? x : y)
LANES(pminsw, s16, x < y ? x : y)
LANES(pmaxsw, s16, x > y ? x : y)
LANES(pminuw, u16, x < y ? x : y)
LANES(pmaxuw, u16, x > y ? x : y)
LANES(pminsd, s32, x < y ? x : y)
LANES(pmaxsd, s32, x > y ? x : y)
LANES(pminud, u32, x < y ? x : y)
LANES(pmaxud, u32, x > y ? x : y)
LANES(pand, u64, x &y)
LANES(pandn, u64, ~x &y)
LANES(por, u64, x | y)
LANES(pxor, u64, x ^ y)
LANES(pcmpeqb, u8, x == y ? -1 : 0)
LANES(pcmpeqw, u16, x == y ? -1 : 0)
LANES(pcmpeqd, u32, x == y ? -1 : 0)
LANES(pcmpeqq, u64, x == y ? -1 : 0)
LANES(pcmpgtb, s8, x > y ? -1 : 0)
LANES(pcmpgtw, s16, x > y ? -1 : 0)
LANES(pcmpgtd, s32, x > y ? -1 : 0)
LANES(pcmpgtq, s64, x > y ? -1 : 0)
LANES(psignb, s8, y < 0 ? -x : y ? x : 0)
LANES(psignw, s16, y < 0 ? -x : y ? x : 0)
LANES(psignd, u32, (s32)y < 0 ? 0 - x : y ? x : 0)
LANES(pabsb, s8, ((void)x, y < 0 ? -y : y))
LANES(pabsw, s16, ((void)x, y < 0 ? -y : y))
LANES(pabsd, u32, ((void)x, (s32)y < 0 ? 0 - y : y))

/* Two neighbours of each source make one element. */
#define PAIRS(name, T, expr)                                                                       \
    static void g_##name(u8 *d, const u8 *s, unsigned n)                                           \
    {                                                                                              \
        u8 both[32], r[16];                                                                        \
        memcpy(both, d, n);                                                                        \
        memcpy(both + n, s, n);                                                                    \
        for (unsigned i = 0; i < n; i += sizeof(T)) {                                              \
            T x, y, z;                                                                             \
            memcpy(&x, both + 2 * i, sizeof(T));                                                   \
            memcpy(&y, both + 2 * i + sizeof(T), sizeof(T));                                       \
            z = (T)(expr);                                                                         \
            memcpy(r + i, &z, sizeof(T));                                                          \
        }                                                                                          \
        memcpy(d, r, n);                                                                           \
    }                                                                                              \
    WRAP(name)
PAIRS(phaddw, u16, x + y)
PAIRS(phaddd, u32, x + y)
PAIRS(phaddsw, s16, sat16(x + y))
PAIRS(phsubw, u16, x - y)
PAIRS(phsubd, u32, x - y)
PAIRS(phsubsw, s16, sat16(x - y))

/* Narrowing with saturation. */
#define PACK(name, F, T, sat)                                                                      \
    static void g_##name(u8 *d, const u8 *s, unsigned n)                                           \
    {                                                                                              \
        u8 both[32], r[16];                                                                        \
        memcpy(both, d, n);                                                                        \
        memcpy(both + n, s, n);                                                                    \
        for (unsigned i = 0; i < n / sizeof(T); i++) {                                             \
            F x;                                                                                   \
            T z;                                                                                   \
            memcpy(&x, both + i * sizeof(F), sizeof(F));                                           \
            z = (T)sat(x);                                                                         \
            memcpy(r + i * sizeof(T), &z, sizeof(T));                                              \
        }                                                                                          \
        memcpy(d, r, n);                                                                           \
    }                                                                                              \
    WRAP(name)
PACK(packsswb, s16, s8, sat8)
PACK(packssdw, s32, s16, sat16)
PACK(packuswb, s16, u8, satu8)
PACK(packusdw, s32, u16, satu16)

static void unpack(u8 *d, const u8 *s, unsigned n, unsigned size, bool high)
{
    u8 r[16];

    for (unsigned i = 0; i < n / 2; i += size) {
        memcpy(r + 2 * i, d + (high ? n / 2 : 0) + i, size);
        memcpy(r + 2 * i + size, s + (high ? n / 2 : 0) + i, size);
    }
    memcpy(d, r, n);
}
#define UNPACK(name, size, high)                                                                   \
    static void g_##name(u8 *d, const u8 *s, unsigned n) { unpack(d, s, n, size, high); }          \
    WRAP(name)
UNPACK(punpcklbw, 1, false)
UNPACK(punpcklwd, 2, false)
UNPACK(punpckldq, 4, false)
UNPACK(punpckhbw, 1, true)
UNPACK(punpckhwd, 2, true)
UNPACK(punpckhdq, 4, true)
UNPACK(punpcklqdq, 8, false)
UNPACK(punpckhqdq, 8, true)

/* Shifts by the low 64 bits of the source. */
#define SHIFT(name, T, bits, expr, over)                                                           \
    static void g_##name(u8 *d, const u8 *s, unsigned n)                                           \
    {                                                                                              \
        u64 by = le64_load(s);                                                                     \
        for (unsigned i = 0; i < n; i += sizeof(T)) {                                              \
            T x, z;                                                                                \
            memcpy(&x, d + i, sizeof(T));                                                          \
            z = (T)(by < bits ? (expr) : (over));                                                  \
            memcpy(d + i, &z, sizeof(T));                                                          \
        }                                                                                          \
    }                                                                                              \
    WRAP(name)
SHIFT(psllw, u16, 16, x << by, 0)
SHIFT(pslld, u32, 32, x << by, 0)
SHIFT(psllq, u64, 64, x << by, 0)
SHIFT(psrlw, u16, 16, x >> by, 0)
SHIFT(psrld, u32, 32, x >> by, 0)
SHIFT(psrlq, u64, 64, x >> by, 0)
SHIFT(psraw, s16, 16, x >> by, x >> 15)
SHIFT(psrad, s32, 32, x >> by, x >> 31)

static void g_pmaddwd(u8 *d, const u8 *s, unsigned n)
{
    for (unsigned i = 0; i < n; i += 4) {
        s16 a[2], b[2];
        u32 r;

        memcpy(a, d + i, 4);
        memcpy(b, s + i, 4);
        r = (u32)(a[0] * b[0]) + (u32)(a[1] * b[1]);
        memcpy(d + i, &r, 4);
    }
}
WRAP(pmaddwd)

static void g_pmaddubsw(u8 *d, const u8 *s, unsigned n)
{
    for (unsigned i = 0; i < n; i += 2) {
        s16 r = (s16)sat16(d[i] * (s8)s[i] + d[i + 1] * (s8)s[i + 1]);

        memcpy(d + i, &r, 2);
    }
}
WRAP(pmaddubsw)

static void g_psadbw(u8 *d, const u8 *s, unsigned n)
{
    for (unsigned i = 0; i < n; i += 8) {
        u64 sum = 0;

        for (unsigned j = i; j < i + 8; j++)
            sum += (u64)(d[j] > s[j] ? d[j] - s[j] : s[j] - d[j]);
        memcpy(d + i, &sum, 8);
    }
}
WRAP(psadbw)

static void g_pshufb(u8 *d, const u8 *s, unsigned n)
{
    u8 r[16];

    for (unsigned i = 0; i < n; i++)
        r[i] = s[i] & 0x80 ? 0 : d[s[i] & (n - 1)];
    memcpy(d, r, n);
}
WRAP(pshufb)

#define REF(name) static unsigned r_##name(Env *e, void *d, const void *s, unsigned imm)
REF(phminposuw)
{
    u16 a[8], r[8] = { 0 };

    memcpy(a, s, 16);
    r[0] = a[0];
    for (unsigned i = 1; i < 8; i++)
        if (a[i] < r[0])
            r[0] = a[i], r[1] = (u16)i;
    memcpy(d, r, 16);
    return 0;
}

#define EXTEND(name, F, T)                                                                         \
    REF(name)                                                                                      \
    {                                                                                              \
        u8 r[16];                                                                                  \
        for (unsigned i = 0; i < 16 / sizeof(T); i++) {                                            \
            F x;                                                                                   \
            T z;                                                                                   \
            memcpy(&x, (const u8 *)s + i * sizeof(F), sizeof(F));                                  \
            z = (T)x;                                                                              \
            memcpy(r + i * sizeof(T), &z, sizeof(T));                                              \
        }                                                                                          \
        memcpy(d, r, 16);                                                                          \
        return 0;                                                                                  \
    }
EXTEND(pmovsxbw, s8, s16)
EXTEND(pmovsxbd, s8, s32)
EXTEND(pmovsxbq, s8, s64)
EXTEND(pmovsxwd, s16, s32)
EXTEND(pmovsxwq, s16, s64)
EXTEND(pmovsxdq, s32, s64)
EXTEND(pmovzxbw, u8, u16)
EXTEND(pmovzxbd, u8, u32)
EXTEND(pmovzxbq, u8, u64)
EXTEND(pmovzxwd, u16, u32)
EXTEND(pmovzxwq, u16, u64)
EXTEND(pmovzxdq, u32, u64)

static void blend_by_x0(Env *e, u8 *d, const u8 *s, unsigned size)
{
    u8 m[16];

    memcpy(m, e->vec[0], 16);
    for (unsigned i = 0; i < 16; i += size)
        if (m[i + size - 1] & 0x80)
            memmove(d + i, s + i, size);
}
REF(pblendvb)
{
    blend_by_x0(e, d, s, 1);
    return 0;
}
REF(blendvps)
{
    blend_by_x0(e, d, s, 4);
    return 0;
}
REF(blendvpd)
{
    blend_by_x0(e, d, s, 8);
    return 0;
}

REF(ptest)
{
    u64 a[2], b[2];

    memcpy(a, d, 16);
    memcpy(b, s, 16);
    return vop_flags(e, ((a[0] & b[0]) | (a[1] & b[1]) ? 0 : 0x40u) |
                            ((~a[0] & b[0]) | (~a[1] & b[1]) ? 0 : 1u));
}

static void signs(void *d, const u8 *s, unsigned n, unsigned size)
{
    u64 r = 0;

    for (unsigned i = 0; i < n; i++)
        r |= (u64)(s[i * size + size - 1] >> 7) << i;
    memcpy(d, &r, 8);
}
REF(pmovmskb)
{
    signs(d, s, 16, 1);
    return 0;
}
REF(m_pmovmskb)
{
    signs(d, s, 8, 1);
    return 0;
}
REF(movmskps)
{
    signs(d, s, 4, 4);
    return 0;
}
REF(movmskpd)
{
    signs(d, s, 2, 8);
    return 0;
}

/* clang-format off */
#define R(name) [VOP_##name] = { #name, r_##name, VF_sse2 },
#define A(name, other) [VOP_##name] = { #name, r_##other, VF_sse2 },
#define B(name) R(name) R(m_##name)
#define X(name) [VOP_##name] = { #name, vec_ref_##name, VF_sse2 },
#define C(name) [VOP_##name] = { #name, vec_c_##name, VF_sse2 },
const X86Vop x86_vop_ref[VOP_COUNT] = {
    B(paddb) B(paddw) B(paddd) B(paddq) B(paddsb) B(paddsw) B(paddusb) B(paddusw)
    B(psubb) B(psubw) B(psubd) B(psubq) B(psubsb) B(psubsw) B(psubusb) B(psubusw)
    B(pmullw) B(pmulhw) B(pmulhuw) B(pmuludq) B(pmaddwd) B(psadbw) B(pavgb) B(pavgw)
    B(pminub) B(pminsw) B(pmaxub) B(pmaxsw) B(pand) B(pandn) B(por) B(pxor)
    B(pcmpeqb) B(pcmpeqw) B(pcmpeqd) B(pcmpgtb) B(pcmpgtw) B(pcmpgtd)
    B(packsswb) B(packssdw) B(packuswb) B(punpcklbw) B(punpcklwd) B(punpckldq)
    B(punpckhbw) B(punpckhwd) B(punpckhdq)
    B(psllw) B(pslld) B(psllq) B(psrlw) B(psrld) B(psrlq) B(psraw) B(psrad)
    B(pshufb) B(phaddw) B(phaddd) B(phaddsw) B(phsubw) B(phsubd) B(phsubsw) B(pmaddubsw)
    B(pmulhrsw) B(psignb) B(psignw) B(psignd) B(pabsb) B(pabsw) B(pabsd)
    R(punpcklqdq) R(punpckhqdq) A(andps, pand) A(andnps, pandn) A(orps, por) A(xorps, pxor)
    A(unpcklps, punpckldq) A(unpckhps, punpckhdq) A(unpcklpd, punpcklqdq) A(unpckhpd, punpckhqdq)
    R(pmuldq) R(pcmpeqq) R(packusdw) R(pminsb) R(pminuw) R(pminud) R(pminsd) R(pmaxsb) R(pmaxuw)
    R(pmaxud) R(pmaxsd) R(pmulld) R(phminposuw) R(pcmpgtq)
    R(pmovsxbw) R(pmovsxbd) R(pmovsxbq) R(pmovsxwd) R(pmovsxwq) R(pmovsxdq)
    R(pmovzxbw) R(pmovzxbd) R(pmovzxbq) R(pmovzxwd) R(pmovzxwq) R(pmovzxdq)
    R(pblendvb) R(blendvps) R(blendvpd) R(ptest)
    R(pmovmskb) R(m_pmovmskb) R(movmskps) R(movmskpd)
    C(movss) C(movsd) C(movdup) C(movsldup) C(movshdup) C(movq) C(movlps) C(movhps) C(movhlps)
    C(movlhps) C(movdqa) C(maskmov) C(pshufd) C(pshufhw) C(pshuflw) C(pshufw) C(shufps) C(shufpd)
    C(palignr) C(m_palignr) C(pblendw) C(blendps) C(blendpd) C(insertps)
    C(psllwi) C(pslldi) C(psllqi) C(psrlwi) C(psrldi) C(psrlqi) C(psrawi) C(psradi)
    C(pslldq) C(psrldq) C(m_psllwi) C(m_pslldi) C(m_psllqi) C(m_psrlwi) C(m_psrldi) C(m_psrlqi)
    C(m_psrawi) C(m_psradi) C(extractps) C(pextrb) C(pextrw) C(pextrd) C(pextrq) C(pinsrb) C(pinsrw) C(pinsrd)
    C(pinsrq) C(m_pextrw) C(m_pinsrw) C(mpsadbw) C(pcmpestri) C(pcmpestrm) C(pcmpistri)
    C(pcmpistrm)
    VEC_REF_OTHERS(X)
};
/* clang-format on */
