/* vex.h - the operations of vexops.def that are not made of those of vops.def: vex-c.c, vex-fma.c, vex-host.c. */
#ifndef TARGET_X86_VEX_H
#define TARGET_X86_VEX_H
#include "target/x86/fpu.h"

/* clang-format off */
#define DECL_LANE(name)
#define DECL_WIDEN(name)
#define DECL_NARROW(name)
#define DECL_C(name)   VexFn vex_c_##name;
#define DECL_FMA(name)
#define DECL_FMS(name)
#define VEX(name, how, ...) DECL_##how(name)
#include "target/x86/vexops.def"
/* clang-format on */
/*
 * Which operands are multiplied (1 is the destination) and what is negated: the product, or the addend of elements with
 * even and odd numbers.
 */
enum { FMA_132, FMA_213, FMA_231, FMA_ORDER = 3, FMA_NEG = 4, FMA_EVEN = 8, FMA_ODD = 16, FMA_DOUBLE = 32, FMA_SCALAR = 64 };
unsigned vex_fma(Env *e, uint8_t *d, const uint8_t *a, const uint8_t *b, unsigned imm, unsigned how);
extern VexFn *const x86_fma_host[VEX_COUNT]; /* the x86-64 host's; NULL: none, or another kind of host */
#undef DECL_LANE
#undef DECL_WIDEN
#undef DECL_NARROW
#undef DECL_C
#undef DECL_FMA
#undef DECL_FMS
#endif
