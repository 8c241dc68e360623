/* feat.c - what of the host's instruction set the emitter uses. Sources: Intel SDM vol. 2, CPUID; AMD APM vol. 3. */
#include "tcg/x86_64/feat.h"
#include "tcg/jit.h"
#include <cpuid.h>

bool t1_host_has_adx(void)
{
    static int known = -1; /* CPUID is slow in a VM */
    unsigned a, b, c, d;
    int has = __atomic_load_n(&known, __ATOMIC_RELAXED);

    if (has < 0) {
        has = __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 19 & 1;
        __atomic_store_n(&known, has, __ATOMIC_RELAXED);
    }
    return has;
}

bool t1_host_has_avx(void)
{
    static int known = -1;
    unsigned a, b, c, d, lo, hi;
    int has = __atomic_load_n(&known, __ATOMIC_RELAXED);

    if (has < 0) {
        has = __get_cpuid(1, &a, &b, &c, &d) && c >> 27 & 1 /* OSXSAVE */ && c >> 28 & 1;
        if (has) {
            __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
            has = (lo & 6) == 6 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 5 & 1;
        }
        __atomic_store_n(&known, has, __ATOMIC_RELAXED);
    }
    return has;
}

/* RORX in every memory access, LAHF in long mode at every flag spill; the rest came with them. */
bool jit_usable(const char **why)
{
    unsigned a, b, c, d;
    bool bmi = __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 3 & 1 && b >> 8 & 1;
    bool lahf = __get_cpuid(0x80000001, &a, &b, &c, &d) && c & 1 && c >> 5 & 1 /* LZCNT */;

    if (bmi && lahf && __get_cpuid(1, &a, &b, &c, &d) && c >> 23 & 1 /* POPCNT */)
        return true;
    *why = "the host's CPU has no BMI1, BMI2, LZCNT, POPCNT or LAHF";
    return false;
}
