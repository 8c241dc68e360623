/* vec-host.h - the guest's MXCSR in an x86-64 host's, all exceptions masked, around one instruction. */
#ifndef TARGET_X86_VEC_HOST_H
#define TARGET_X86_VEC_HOST_H
#include "target/x86/fpu.h"

static inline void csr_in(Env *e)
{
    uint32_t c = (x86(e)->mxcsr & 0xffc0) | MXCSR_RESET;

    __asm__ volatile("ldmxcsr %0" ::"m"(c));
}

static inline unsigned csr_out(Env *e)
{
    const uint32_t normal = MXCSR_RESET;
    uint32_t c;

    __asm__ volatile("stmxcsr %0" : "=m"(c));
    if ((c & 0xffc0) != MXCSR_RESET)
        __asm__ volatile("ldmxcsr %0" ::"m"(normal));
    return vop_raised(e, c & FPE_ALL) ? FPU_XM : 0;
}
#endif
