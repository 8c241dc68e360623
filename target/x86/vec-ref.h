/* vec-ref.h - C references that live outside vec-ref.c. */
#ifndef TARGET_X86_VEC_REF_H
#define TARGET_X86_VEC_REF_H
#include "target/x86/fpu.h"

/* clang-format off */
#define VEC_REF_FP4(X, op) X(op##ps) X(op##ss) X(op##pd) X(op##sd)
#define VEC_REF_OTHERS(X)                                                                          \
    X(aesenc) X(aesenclast) X(aesdec) X(aesdeclast) X(aesimc) X(aeskeygen) X(pclmulqdq)            \
    X(sha1nexte) X(sha1msg1) X(sha1msg2) X(sha1rnds4) X(sha256msg1) X(sha256msg2) X(sha256rnds2)   \
    VEC_REF_FP4(X, add) VEC_REF_FP4(X, sub) VEC_REF_FP4(X, mul) VEC_REF_FP4(X, div)                \
    VEC_REF_FP4(X, min) VEC_REF_FP4(X, max) VEC_REF_FP4(X, sqrt) VEC_REF_FP4(X, cmp)               \
    VEC_REF_FP4(X, round) X(haddps) X(haddpd) X(hsubps) X(hsubpd) X(addsubps) X(addsubpd)          \
    X(dpps) X(dppd) X(ucomiss) X(ucomisd) X(comiss) X(comisd) X(rcpps) X(rcpss) X(rsqrtps)         \
    X(rsqrtss) X(cvtps2pd) X(cvtss2sd) X(cvtpd2ps) X(cvtsd2ss) X(cvtdq2ps) X(cvtdq2pd)             \
    X(cvtpi2ps) X(cvtpi2pd) X(cvtps2dq) X(cvttps2dq) X(cvtpd2dq) X(cvttpd2dq) X(cvtps2pi)          \
    X(cvttps2pi) X(cvtpd2pi) X(cvttpd2pi) X(cvtss2si32) X(cvtss2si64) X(cvttss2si32)               \
    X(cvttss2si64) X(cvtsd2si32) X(cvtsd2si64) X(cvttsd2si32) X(cvttsd2si64) X(cvtsi2ss32)         \
    X(cvtsi2ss64) X(cvtsi2sd32) X(cvtsi2sd64)
/* clang-format on */
#define VEC_REF_DECL(name) VopFn vec_ref_##name;
VEC_REF_OTHERS(VEC_REF_DECL)
#undef VEC_REF_DECL
#endif
