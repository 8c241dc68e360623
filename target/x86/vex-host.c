/* vex-host.c - fused multiply and add by the x86-64 host's own instructions. Chosen by meson on x86-64 hosts. */
#include "target/x86/vec-host.h"
#include "target/x86/vex.h"
#include <cpuid.h>
#include <immintrin.h>

/* clang-format off */
#define PACKED(name)                                                                               \
    if (imm & VEX_L)                                                                               \
        __asm__ volatile(#name " %t2, %t1, %t0" : "+x"(x) : "x"(y), "x"(z));                       \
    else                                                                                           \
        __asm__ volatile(#name " %x2, %x1, %x0" : "+x"(x) : "x"(y), "x"(z))
#define SCALAR(name) __asm__ volatile(#name " %x2, %x1, %x0" : "+x"(x) : "x"(y), "x"(z))
#define DEF(name, RUN)                                                                             \
    __attribute__((target("avx,fma")))                                                             \
    static unsigned h_##name(Env *e, void *d, const void *a, const void *b, unsigned imm)           \
    {                                                                                              \
        __m256i x = _mm256_loadu_si256(d), y = _mm256_loadu_si256(a), z = _mm256_loadu_si256(b);   \
        unsigned r;                                                                                \
                                                                                                   \
        csr_in(e);                                                                                 \
        RUN(name);                                                                                 \
        r = csr_out(e);                                                                            \
        if (!r)                                                                                    \
            _mm256_storeu_si256(d, x);                                                             \
        return r;                                                                                  \
    }
#define DEF_LANE(name)
#define DEF_WIDEN(name)
#define DEF_NARROW(name)
#define DEF_C(name)
#define DEF_FMA(name) DEF(name, PACKED)
#define DEF_FMS(name) DEF(name, SCALAR)
#define VEX(name, how, ...) DEF_##how(name)
#include "target/x86/vexops.def"
/* clang-format on */

VexFn *const x86_fma_host[VEX_COUNT] = {
#define PICK_LANE(name)
#define PICK_WIDEN(name)
#define PICK_NARROW(name)
#define PICK_C(name)
#define PICK_FMA(name) [VEX_##name] = h_##name,
#define PICK_FMS PICK_FMA
#define VEX(name, how, ...) PICK_##how(name)
#include "target/x86/vexops.def"
};

bool x86_host_ticks_steady(void)
{
    static int known = -1; /* CPUID is slow in a VM */
    unsigned a, b, c, d;
    int is = __atomic_load_n(&known, __ATOMIC_RELAXED);

    if (is < 0) {
        is = __get_cpuid(0x80000007, &a, &b, &c, &d) && d >> 8 & 1;
        __atomic_store_n(&known, is, __ATOMIC_RELAXED);
    }
    return is;
}

bool x86_host_fma(void)
{
    static int known = -1; /* CPUID is slow in a VM */
    unsigned a, b, c, d, lo, hi;
    int has = __atomic_load_n(&known, __ATOMIC_RELAXED);

    if (has >= 0)
        return has;
    has = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_FMA) && (c & bit_OSXSAVE);
    if (has) {
        __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
        has = (lo & 6) == 6;
    }
    __atomic_store_n(&known, has, __ATOMIC_RELAXED);
    return has;
}
