/* vec.c - which implementation of a vector operation this host uses, and what an operation can do.
 */
#include "target/x86/fpu.h"
#include "tcg/flags.h"

VopFn *x86_vop(X86VopId id)
{
    const X86Vop *h = &x86_vop_host[id];

    return h->fn && x86_host_vec_has((X86VopFeature)h->feature) ? h->fn : x86_vop_ref[id].fn;
}

unsigned vop_flags(Env *e, unsigned f)
{
    unsigned r =
        (f & 1) | (f & 4) >> 1 | (f & 16) >> 2 | (f & 64) >> 3 | (f & 128) >> 3 | (f & 0x800) >> 6;

    e->cc = (Cc){ .kind = CC_RAW, .res = r };
    return f;
}

/* clang-format off */
#define FAULTS_VEC false
#define FAULTS_MMX false
#define FAULTS_VX0 false
#define FAULTS_FP true
#define FAULTS_FPX true
#define FAULTS_FCMP true
#define FAULTS_TEST true
#define FAULTS_FGPR32 true
#define FAULTS_FGPR64 true
#define FAULTS_FSI true
#define FAULTS_FSI64 true
#define FAULTS_FTOMM true
#define FAULTS_FTOMMD true
#define FAULTS_FFROMMM true
#define FAULTS_MASK false
#define FAULTS_MMASK false
#define FAULTS_FPI8 true
#define FAULTS_FPI16 true
#define FAULTS_VECI4 false
#define FAULTS_DPPS true
#define FAULTS_DPPD true
#define FAULTS_CLMUL false
#define FAULTS_KEYGEN false
#define FAULTS_C false
/* clang-format on */
const bool x86_vop_faults[VOP_COUNT] = {
#define VOP(name, kind, insn, feature) FAULTS_##kind,
#include "target/x86/vops.def"
};
