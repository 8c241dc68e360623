/*
 * vec-host.c - vector operations by the x86-64 host's own instructions: exact by construction.
 * Chosen by meson on x86-64 hosts. The guest's MXCSR is loaded with its exceptions masked; flags
 * that the guest has unmasked are answered as FPU_XM. Left out: an exact denormal result with
 * underflow unmasked does not raise.
 */
#include "target/x86/fpu.h"
#include "target/x86/vec-c.h"
#include "target/x86/vec-host.h"
#include <cpuid.h>
#include <emmintrin.h>

static inline __m128i load(const void *p) { return _mm_loadu_si128(p); }
static inline void store(void *p, __m128i v) { _mm_storeu_si128(p, v); }

#define FN(name) static unsigned h_##name(Env *e, void *d, const void *s, unsigned imm)
#define IMPL_C(name, insn)
#define IMPL_VEC(name, insn)                                                                       \
    FN(name)                                                                                       \
    {                                                                                              \
        __m128i a = load(d), b = load(s);                                                          \
        __asm__(#insn " %1, %0" : "+x"(a) : "x"(b));                                               \
        store(d, a);                                                                               \
        return 0;                                                                                  \
    }
#define IMPL_MMX(name, insn)                                                                       \
    FN(name)                                                                                       \
    {                                                                                              \
        __asm__ volatile("movq (%0), %%mm0\n\tmovq (%1), %%mm1\n\t" #insn " %%mm1, %%mm0\n\t"      \
                         "movq %%mm0, (%0)\n\temms" ::"r"(d),                                      \
                         "r"(s)                                                                    \
                         : "memory", "mm0", "mm1");                                                \
        return 0;                                                                                  \
    }
#define IMPL_VX0(name, insn)                                                                       \
    FN(name)                                                                                       \
    {                                                                                              \
        __m128i a = load(d), b = load(s);                                                          \
        register __m128i x0 __asm__("xmm0") = load(e->vec[0]);                                     \
        __asm__(#insn " %1, %0" : "+x"(a) : "x"(b), "x"(x0));                                      \
        store(d, a);                                                                               \
        return 0;                                                                                  \
    }
#define IMPL_FP(name, insn)                                                                        \
    FN(name)                                                                                       \
    {                                                                                              \
        __m128i a = load(d), b = load(s);                                                          \
        unsigned r;                                                                                \
        csr_in(e);                                                                                 \
        __asm__ volatile(#insn " %1, %0" : "+x"(a) : "x"(b));                                      \
        r = csr_out(e);                                                                            \
        if (LIKELY(!r))                                                                            \
            store(d, a);                                                                           \
        return r;                                                                                  \
    }
#define IMPL_FPX IMPL_FP
#define IMPL_FCMP(name, insn)                                                                      \
    FN(name)                                                                                       \
    {                                                                                              \
        __m128i a = load(d), b = load(s);                                                          \
        uint64_t fl;                                                                               \
        csr_in(e);                                                                                 \
        __asm__ volatile(#insn " %2, %1\n\tpushfq\n\tpopq %0" : "=r"(fl) : "x"(a), "x"(b) : "cc"); \
        return csr_out(e) ? FPU_XM : vop_flags(e, (unsigned)fl & 0x8d5);                           \
    }
#define IMPL_TEST(name, insn)                                                                      \
    FN(name)                                                                                       \
    {                                                                                              \
        __m128i a = load(d), b = load(s);                                                          \
        uint64_t fl;                                                                               \
        __asm__ volatile(#insn " %2, %1\n\tpushfq\n\tpopq %0" : "=r"(fl) : "x"(a), "x"(b) : "cc"); \
        return vop_flags(e, (unsigned)fl & 0x8d5);                                                 \
    }
#define TO_GPR(name, insn, T, mod)                                                                 \
    FN(name)                                                                                       \
    {                                                                                              \
        __m128i b = load(s);                                                                       \
        uint64_t v = 0;                                                                            \
        unsigned r;                                                                                \
        csr_in(e);                                                                                 \
        __asm__ volatile(#insn " %1, %" mod "0" : "+r"(v) : "x"(b));                               \
        r = csr_out(e);                                                                            \
        if (!r) {                                                                                  \
            v = (T)v;                                                                              \
            memcpy(d, &v, 8);                                                                      \
        }                                                                                          \
        return r;                                                                                  \
    }
#define IMPL_FGPR32(name, insn) TO_GPR(name, insn, uint32_t, "k")
#define IMPL_FGPR64(name, insn) TO_GPR(name, insn, uint64_t, "q")
#define FROM_GPR(name, insn, mod)                                                                  \
    FN(name)                                                                                       \
    {                                                                                              \
        __m128i a = load(d);                                                                       \
        uint64_t v;                                                                                \
        unsigned r;                                                                                \
        memcpy(&v, s, 8);                                                                          \
        csr_in(e);                                                                                 \
        __asm__ volatile(#insn " %" mod "1, %0" : "+x"(a) : "r"(v));                               \
        r = csr_out(e);                                                                            \
        if (!r)                                                                                    \
            store(d, a);                                                                           \
        return r;                                                                                  \
    }
#define IMPL_FSI(name, insn)   FROM_GPR(name, insn, "k")
#define IMPL_FSI64(name, insn) FROM_GPR(name, insn, "q")
/* cvtps2pi: two elements; zeros in the others raise nothing. */
#define TO_MM(name, insn, LOAD)                                                                    \
    FN(name)                                                                                       \
    {                                                                                              \
        __m128i a, b = LOAD(s);                                                                    \
        unsigned r;                                                                                \
        csr_in(e);                                                                                 \
        __asm__ volatile(#insn " %1, %0" : "=x"(a) : "x"(b));                                      \
        r = csr_out(e);                                                                            \
        if (!r)                                                                                    \
            _mm_storel_epi64(d, a);                                                                \
        return r;                                                                                  \
    }
#define IMPL_FTOMM(name, insn)   TO_MM(name, insn, _mm_loadl_epi64)
#define IMPL_FTOMMD(name, insn)  TO_MM(name, insn, load)
#define IMPL_FFROMMM(name, insn) TO_MM(name, insn, _mm_loadl_epi64)
#define IMPL_MASK(name, insn)                                                                      \
    FN(name)                                                                                       \
    {                                                                                              \
        uint64_t v = 0;                                                                            \
        __asm__(#insn " %1, %k0" : "+r"(v) : "x"(load(s)));                                        \
        memcpy(d, &v, 8);                                                                          \
        return 0;                                                                                  \
    }
#define IMPL_MMASK(name, insn)                                                                     \
    FN(name)                                                                                       \
    {                                                                                              \
        uint64_t v = 0;                                                                            \
        __asm__(#insn " %1, %k0" : "+r"(v) : "x"(_mm_loadl_epi64(s)));                             \
        memcpy(d, &v, 8);                                                                          \
        return 0;                                                                                  \
    }
#define CASE(n, insn)                                                                              \
    case n:                                                                                        \
        __asm__ volatile(#insn " $" #n ", %1, %0" : "+x"(a) : "x"(b));                             \
        break;
#define CASES4(insn) CASE(0, insn) CASE(1, insn) CASE(2, insn) CASE(3, insn)
#define CASES8(insn) CASES4(insn) CASE(4, insn) CASE(5, insn) CASE(6, insn) CASE(7, insn)
#define CASES16(insn)                                                                              \
    CASES8(insn)                                                                                   \
    CASE(8, insn)                                                                                  \
    CASE(9, insn) CASE(10, insn) CASE(11, insn) CASE(12, insn) CASE(13, insn) CASE(14, insn)       \
        CASE(15, insn)
#define FP_IMM(name, mask, cases)                                                                  \
    FN(name)                                                                                       \
    {                                                                                              \
        __m128i a = load(d), b = load(s);                                                          \
        unsigned r;                                                                                \
        csr_in(e);                                                                                 \
        switch (imm & mask) {                                                                      \
            cases                                                                                  \
        }                                                                                          \
        r = csr_out(e);                                                                            \
        if (!r)                                                                                    \
            store(d, a);                                                                           \
        return r;                                                                                  \
    }
#define IMPL_FPI8(name, insn)  FP_IMM(name, 7, CASES8(insn))
#define IMPL_FPI16(name, insn) FP_IMM(name, 15, CASES16(insn))
#define IMPL_VECI4(name, insn)                                                                     \
    FN(name)                                                                                       \
    {                                                                                              \
        __m128i a = load(d), b = load(s);                                                          \
        switch (imm & 3) {                                                                         \
            CASES4(insn)                                                                           \
        }                                                                                          \
        store(d, a);                                                                               \
        return 0;                                                                                  \
    }
/* Elements left out by the immediate become 0 * 0, which raises nothing. */
#define DOT(name, text, T, n)                                                                      \
    FN(name)                                                                                       \
    {                                                                                              \
        T a[n], b[n];                                                                              \
        __m128i x;                                                                                 \
        unsigned r;                                                                                \
        memcpy(a, d, 16);                                                                          \
        memcpy(b, s, 16);                                                                          \
        for (unsigned i = 0; i < n; i++)                                                           \
            if (!(imm >> (4 + i) & 1))                                                             \
                a[i] = b[i] = 0;                                                                   \
        x = load(a);                                                                               \
        csr_in(e);                                                                                 \
        __asm__ volatile(text ", %1, %0" : "+x"(x) : "x"(load(b)));                                \
        r = csr_out(e);                                                                            \
        if (r)                                                                                     \
            return r;                                                                              \
        store(a, x);                                                                               \
        for (unsigned i = 0; i < n; i++)                                                           \
            if (!(imm >> i & 1))                                                                   \
                a[i] = 0;                                                                          \
        memcpy(d, a, 16);                                                                          \
        return 0;                                                                                  \
    }
#define IMPL_DPPS(name, insn) DOT(name, "dpps $0xff", uint32_t, 4)
#define IMPL_DPPD(name, insn) DOT(name, "dppd $0x33", uint64_t, 2)
#define IMPL_CLMUL(name, insn)                                                                     \
    FN(name)                                                                                       \
    {                                                                                              \
        __m128i a = _mm_loadl_epi64((const __m128i *)((const uint8_t *)d + 8 * (imm & 1)));        \
        __m128i b = _mm_loadl_epi64((const __m128i *)((const uint8_t *)s + (imm & 16) / 2));       \
        __asm__(#insn " $0, %1, %0" : "+x"(a) : "x"(b));                                           \
        store(d, a);                                                                               \
        return 0;                                                                                  \
    }
#define IMPL_KEYGEN(name, insn)                                                                    \
    FN(name)                                                                                       \
    {                                                                                              \
        __m128i a;                                                                                 \
        __asm__(#insn " $0, %1, %0" : "=x"(a) : "x"(load(s)));                                     \
        store(d, _mm_xor_si128(a, _mm_set_epi32((int)imm & 255, 0, (int)imm & 255, 0)));           \
        return 0;                                                                                  \
    }

#define VOP(name, kind, insn, feature) IMPL_##kind(name, insn)
#include "target/x86/vops.def"

/* clang-format off */
#define PICK_C(name) vec_c_##name
#define PICK_HOST(name) h_##name
#define PICK_VEC PICK_HOST
#define PICK_MMX PICK_HOST
#define PICK_VX0 PICK_HOST
#define PICK_FP PICK_HOST
#define PICK_FPX PICK_HOST
#define PICK_FCMP PICK_HOST
#define PICK_TEST PICK_HOST
#define PICK_FGPR32 PICK_HOST
#define PICK_FGPR64 PICK_HOST
#define PICK_FSI PICK_HOST
#define PICK_FSI64 PICK_HOST
#define PICK_FTOMM PICK_HOST
#define PICK_FTOMMD PICK_HOST
#define PICK_FFROMMM PICK_HOST
#define PICK_MASK PICK_HOST
#define PICK_MMASK PICK_HOST
#define PICK_FPI8 PICK_HOST
#define PICK_FPI16 PICK_HOST
#define PICK_VECI4 PICK_HOST
#define PICK_DPPS PICK_HOST
#define PICK_DPPD PICK_HOST
#define PICK_CLMUL PICK_HOST
#define PICK_KEYGEN PICK_HOST
/* clang-format on */
const X86Vop x86_vop_host[VOP_COUNT] = {
#define VOP(name, kind, insn, feature) { #name, PICK_##kind(name), VF_##feature },
#include "target/x86/vops.def"
};

/* CPUID is slow, in a VM very. Whoever comes first notes what it says; all would note the same. */
static unsigned host_features(void)
{
    static unsigned known; /* bit 31 and one per feature */
    static const uint8_t bit[] = { [VF_ssse3] = 9, [VF_sse41] = 19, [VF_sse42] = 20, [VF_aes] = 25, [VF_pclmul] = 1 };
    unsigned a, b, c, d, f = __atomic_load_n(&known, __ATOMIC_RELAXED);

    if (f)
        return f;
    f = 1u << 31 | 1u << VF_sse2;
    if (__get_cpuid(1, &a, &b, &c, &d))
        for (unsigned i = VF_ssse3; i < G_N_ELEMENTS(bit); i++)
            f |= (c >> bit[i] & 1) << i;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
        f |= (b >> 29 & 1) << VF_sha | (b >> 5 & (unsigned)x86_host_fma()) << VF_avx2 | (c >> 9 & 1) << VF_vaes | (c >> 10 & 1) << VF_vpclmul;
    __atomic_store_n(&known, f, __ATOMIC_RELAXED);
    return f;
}

bool x86_host_vec_has(X86VopFeature f) { return host_features() >> f & 1; }
