/* target/x86/x87-soft.h - what the files of the x87 in C share (x87-soft.c, x87-misc.c, x87-func.c). */
#ifndef TARGET_X86_X87_SOFT_H
#define TARGET_X86_X87_SOFT_H
#include "target/x86/fp.h"
#include "target/x86/x87-regs.h"

/* One instruction under way. Nothing of the state changes until x87_commit() has said what the masks leave of it. */
typedef struct X87Run {
    X86Fpu *f;
    FpCtl c;             /* flags: FPE_* and FSW_SF */
    const FpFormat *fmt; /* of results in registers, by the precision control */
    void *mem;
    bool *stored;
    uint32_t *eflags;
    unsigned op11;
    bool keeps_c1;  /* unless the stack has a fault */
    bool bad_stack; /* an operand was in an empty register, or there was no room: results are default NaNs */
} X87Run;

enum { X87_C0 = 0x100, X87_C1 = 0x200, X87_C2 = 0x400, X87_C3 = 0x4000 };

/* Values of operands; an empty register is noted as a fault of the stack and reads as the default NaN. */
Fp x87_get(X87Run *r, unsigned i);
/* There must be room for a push. */
void x87_room(X87Run *r);
/* The answer of a NaN or unsupported operand (b may be NULL) into *out, FPE_I if that is invalid. False: there was none. */
bool x87_nan(X87Run *r, const Fp *a, const Fp *b, Fp *out);
static inline void x87_denormal(X87Run *r, Fp a) { r->c.flags |= a.denormal ? FPE_D : 0; }
Fp x87_invalid(X87Run *r);
/* Flags into the status word. False: an unmasked exception, registers and memory stay. to_mem: overflow and underflow too. */
bool x87_commit(X87Run *r, bool to_mem);
void x87_put(X87Run *r, unsigned i, Fp v); /* makes the register used */
void x87_push(X87Run *r, Fp v);
void x87_codes(X87Run *r, unsigned codes); /* C0, C2 and C3 */

/* x87-misc.c */
void x87_fxtract(X87Run *r), x87_fprem(X87Run *r), x87_fscale(X87Run *r), x87_fxam(X87Run *r), x87_fbld(X87Run *r),
    x87_fbstp(X87Run *r), x87_constant(X87Run *r);
/* x87-func.c: F2XM1, FYL2X, FPTAN, FPATAN, FYL2XP1, FSINCOS, FSIN, FCOS */
void x87_function(X87Run *r);
#endif
