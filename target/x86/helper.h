/*
 * target/x86/helper.h - what the files of instruction helpers share. A helper gets its operands as values, raises
 * by setting env.fault (x86_raise() answers 0), and changes nothing before it can no longer fail. Called on the
 * vCPU's thread only.
 */
#ifndef TARGET_X86_HELPER_H
#define TARGET_X86_HELPER_H
#include "target/x86/cpu.h"
#include "tcg/flags.h"

#define HELPER(name)                                                                               \
    uint64_t hx_##name(Env *e, uint64_t a, uint64_t b, uint64_t c);                                \
    uint64_t hx_##name(Env *e, uint64_t a, uint64_t b, uint64_t c)

static inline bool cpl0(X86 *s) { return (s->cpl == 0 && !vm86(s)) || x86_raise(s, EXC_GP, 0); }
static inline bool umip_ok(X86 *s) { return !(s->cr4 & CR4_UMIP && s->cpl) || x86_raise(s, EXC_GP, 0); }
static inline void set_zf(Env *e, bool z)
{
    unsigned f = flags_of(&e->cc);

    e->cc = (Cc){ .kind = CC_RAW, .res = (f & ~(unsigned)FZ) | (z ? FZ : 0) };
}
bool x86_port_allowed(X86 *s, uint16_t port, unsigned bytes); /* string.c; false: fault set */
#endif
