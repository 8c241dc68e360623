/*
 * vex.c - the operations of VEX rows (vexops.def): most are one of vops.def on each 16 bytes. SDM volume 2, 2.3.
 */
#include "target/x86/vex.h"
#include "target/x86/vec-c.h"

/* One operation on each 16 bytes. step: how far the second 16 look into the source. */
static unsigned each16(Env *e, X86VopId id, uint8_t r[32], const uint8_t *src, unsigned step, unsigned imm, unsigned shift)
{
    VopFn *fn = x86_vop(x86(e)->units, id);
    unsigned bad = fn(e, r, src, imm & 0xff);

    return bad & FPU_XM || !(imm & VEX_L) ? bad : fn(e, r + 16, src + step, (imm & 0xff) >> shift);
}

/* Both halves raise together: first what each does with everything masked. */
static unsigned together(Env *e, X86VopId id, uint8_t r[32], const uint8_t *src, unsigned step, unsigned imm, unsigned shift)
{
    X86 *s = x86(e);
    const uint32_t csr = s->mxcsr;
    uint32_t flags;

    if (!(imm & VEX_L) || x86_vop_effect[id] == VOP_PLAIN)
        return each16(e, id, r, src, step, imm, shift);
    s->mxcsr = (csr & ~(uint32_t)FPE_ALL) | MXCSR_RESET;
    each16(e, id, r, src, step, imm, shift);
    flags = s->mxcsr & FPE_ALL;
    s->mxcsr = csr;
    return vop_raised(e, flags) ? FPU_XM : 0;
}

static unsigned widen(Env *e, X86VopId id, void *d, const void *a, const void *b, unsigned step, unsigned imm, unsigned shift)
{
    uint8_t r[32] = { 0 }, src[48] = { 0 };
    unsigned bad;

    memcpy(r, a, imm & VEX_L ? 32 : 16);
    memcpy(src, b, 32);
    bad = together(e, id, r, src, step, imm, shift);
    if (!(bad & FPU_XM))
        memcpy(d, r, 32);
    return bad;
}

static unsigned narrow(Env *e, X86VopId id, void *d, const void *b, unsigned imm)
{
    uint8_t r[32] = { 0 }, src[32];
    unsigned bad;

    memcpy(src, b, 32);
    bad = together(e, id, r, src, 16, imm, 0);
    if (bad & FPU_XM)
        return bad;
    if (imm & VEX_L)
        memcpy(r + 8, r + 16, 8);
    memset(r + 16, 0, 16);
    memcpy(d, r, 32);
    return bad;
}

static unsigned fused(Env *e, X86VexId id, void *d, const void *a, const void *b, unsigned imm, unsigned how)
{
    bool host = x86(e)->units == x86_units_host && x86_host_fma();

    return host ? x86_fma_host[id](e, d, a, b, imm) : vex_fma(e, d, a, b, imm, how);
}

/* clang-format off */
#define DEF_LANE(name, of, n)   { return widen(e, VOP_##of, d, a, b, 16, imm, n); }
#define DEF_WIDEN(name, of, n)  { return widen(e, VOP_##of, d, a, b, n, imm, 0); }
#define DEF_NARROW(name, of, n) { return narrow(e, VOP_##of, d, b, imm); }
#define DEF_C(name, of, n)      { return vex_c_##name(e, d, a, b, imm); }
#define DEF_FMA(name, of, n)    { return fused(e, VEX_##name, d, a, b, imm, n); }
#define DEF_FMS(name, of, n)    { return fused(e, VEX_##name, d, a, b, imm, (n) | FMA_SCALAR); }
#define VEX(name, how, of, n) static unsigned f_##name(Env *e, void *d, const void *a, const void *b, unsigned imm) DEF_##how(name, of, n)
#include "target/x86/vexops.def"

#define EFFECT_LANE(of)   x86_vop_effect[VOP_##of]
#define EFFECT_WIDEN(of)  x86_vop_effect[VOP_##of]
#define EFFECT_NARROW(of) x86_vop_effect[VOP_##of]
#define EFFECT_C(of)      VOP_##of
#define EFFECT_FMA(of)    VOP_##of
#define EFFECT_FMS EFFECT_FMA
#define VEX(name, how, of, n) case VEX_##name: return EFFECT_##how(of);
/* clang-format on */
unsigned x86_vex_effect(X86VexId id)
{
    switch (id) {
#include "target/x86/vexops.def"
    default: g_assert_not_reached();
    }
}

VexFn *x86_vex(X86VexId id)
{
    static VexFn *const fn[VEX_COUNT] = {
#define VEX(name, ...) f_##name,
#include "target/x86/vexops.def"
    };

    return fn[id];
}
