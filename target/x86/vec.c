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
#define EFFECT_VEC VOP_PLAIN
#define EFFECT_MMX VOP_PLAIN
#define EFFECT_VX0 VOP_PLAIN
#define EFFECT_FP VOP_RAISES
#define EFFECT_FPX VOP_RAISES
#define EFFECT_FCMP VOP_FLAGS
#define EFFECT_TEST VOP_FLAGS
#define EFFECT_FGPR32 VOP_RAISES
#define EFFECT_FGPR64 VOP_RAISES
#define EFFECT_FSI VOP_RAISES
#define EFFECT_FSI64 VOP_RAISES
#define EFFECT_FTOMM VOP_RAISES
#define EFFECT_FTOMMD VOP_RAISES
#define EFFECT_FFROMMM VOP_RAISES
#define EFFECT_MASK VOP_PLAIN
#define EFFECT_MMASK VOP_PLAIN
#define EFFECT_FPI8 VOP_RAISES
#define EFFECT_FPI16 VOP_RAISES
#define EFFECT_VECI4 VOP_PLAIN
#define EFFECT_DPPS VOP_RAISES
#define EFFECT_DPPD VOP_RAISES
#define EFFECT_CLMUL VOP_PLAIN
#define EFFECT_KEYGEN VOP_PLAIN
#define EFFECT_C VOP_PLAIN
/* clang-format on */
const uint8_t x86_vop_effect[VOP_COUNT] = {
#define VOP(name, kind, insn, feature) EFFECT_##kind,
#include "target/x86/vops.def"
};
