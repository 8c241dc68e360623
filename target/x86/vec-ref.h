/* vec-ref.h - C references that live outside vec-ref.c. */
#ifndef TARGET_X86_VEC_REF_H
#define TARGET_X86_VEC_REF_H
#include "target/x86/fpu.h"

/* clang-format off */
#define VEC_REF_OTHERS(X)                                                                          \
    X(aesenc) X(aesenclast) X(aesdec) X(aesdeclast) X(aesimc) X(aeskeygen) X(pclmulqdq)            \
    X(sha1nexte) X(sha1msg1) X(sha1msg2) X(sha1rnds4) X(sha256msg1) X(sha256msg2) X(sha256rnds2)
/* clang-format on */
#define VEC_REF_DECL(name) VopFn vec_ref_##name;
VEC_REF_OTHERS(VEC_REF_DECL)
#undef VEC_REF_DECL
#endif
