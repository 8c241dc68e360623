/* vec.c - which implementation of a vector operation this host uses, and what an operation can do.
 */
#include "target/x86/fpu.h"
#include "tcg/flags.h"

const X86Units *x86_units(void) { return (MENURA_PORTABLE_FP && x86_units_c) || !x86_units_host ? x86_units_c : x86_units_host; }

VopFn *x86_vop(const X86Units *u, X86VopId id)
{
    const X86Vop *v = &u->vops[id];

    return v->fn && (u != x86_units_host || x86_host_vec_has((X86VopFeature)v->feature)) ? v->fn : x86_vop_ref[id].fn;
}

unsigned vop_flags(Env *e, unsigned f)
{
    unsigned r =
        (f & 1) | (f & 4) >> 1 | (f & 16) >> 2 | (f & 64) >> 3 | (f & 128) >> 3 | (f & 0x800) >> 6;

    e->cc = (Cc){ .kind = CC_RAW, .res = r };
    return f;
}

bool vop_raise(Env *e, unsigned flags)
{
    const unsigned early = FPE_I | FPE_D | FPE_Z;

    if (flags & ~(x86(e)->mxcsr >> 7) & early)
        flags &= early; /* found before the operation: nothing was computed */
    x86(e)->mxcsr |= flags;
    x86_raise(x86(e), x86(e)->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD, 0);
    return true;
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
