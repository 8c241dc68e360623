/* target/x86/x87-regs.h - the x87's register stack. ST(i) is register (TOP + i) & 7; a tag bit says that it is used. */
#ifndef TARGET_X86_X87_REGS_H
#define TARGET_X86_X87_REGS_H
#include "target/x86/fpu.h"

static inline uint8_t *x87_st(X86Fpu *f, unsigned i) { return f->st[(x86_top(f) + i) & 7]; }
static inline bool x87_used(const X86Fpu *f, unsigned i) { return f->tags >> ((x86_top(f) + i) & 7) & 1; }
static inline void x87_use(X86Fpu *f, unsigned i) { f->tags |= (uint16_t)(1u << ((x86_top(f) + i) & 7)); }
static inline void x87_free(X86Fpu *f, unsigned i) { f->tags &= (uint16_t) ~(1u << ((x86_top(f) + i) & 7)); }
static inline void x87_set_top(X86Fpu *f, unsigned top) { f->sw = (uint16_t)((f->sw & ~FSW_TOP) | (top & 7) << 11); }
static inline void x87_pop(X86Fpu *f)
{
    x87_free(f, 0);
    x87_set_top(f, x86_top(f) + 1);
}
#endif
