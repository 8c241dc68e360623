/* vec-c.h - the vector operations of kind C in vops.def (vec-c.c). */
#ifndef TARGET_X86_VEC_C_H
#define TARGET_X86_VEC_C_H
#include "target/x86/fpu.h"
#define DECL_C(name) VopFn vec_c_##name;
/* clang-format off */
DECL_C(movss) DECL_C(movsd) DECL_C(movdup) DECL_C(movsldup) DECL_C(movshdup) DECL_C(movq)
DECL_C(movlps) DECL_C(movhps) DECL_C(movhlps) DECL_C(movlhps) DECL_C(movdqa) DECL_C(maskmov)
DECL_C(pshufd) DECL_C(pshufhw) DECL_C(pshuflw) DECL_C(pshufw) DECL_C(shufps) DECL_C(shufpd)
DECL_C(palignr) DECL_C(m_palignr) DECL_C(pblendw) DECL_C(blendps) DECL_C(blendpd) DECL_C(insertps)
DECL_C(psllwi) DECL_C(pslldi) DECL_C(psllqi) DECL_C(psrlwi) DECL_C(psrldi) DECL_C(psrlqi)
DECL_C(psrawi) DECL_C(psradi) DECL_C(pslldq) DECL_C(psrldq)
DECL_C(m_psllwi) DECL_C(m_pslldi) DECL_C(m_psllqi) DECL_C(m_psrlwi) DECL_C(m_psrldi)
DECL_C(m_psrlqi) DECL_C(m_psrawi) DECL_C(m_psradi)
DECL_C(extractps) DECL_C(pextrb) DECL_C(pextrw) DECL_C(pextrd) DECL_C(pextrq) DECL_C(pinsrb) DECL_C(pinsrw)
DECL_C(pinsrd) DECL_C(pinsrq) DECL_C(m_pextrw) DECL_C(m_pinsrw) DECL_C(mpsadbw)
DECL_C(pcmpestri) DECL_C(pcmpestrm) DECL_C(pcmpistri) DECL_C(pcmpistrm)
/* clang-format on */
#undef DECL_C
#endif
