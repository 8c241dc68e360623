/*
 * tcg/jit.h - the compiled executor as the runtime sees it. A host provides jit_usable(), jit_stubs(),
 * jit_emit(), jit_link(), jit_kill() (tcg/x86_64), or says that it has none (tcg/nojit.c). A CodeCache and
 * its blocks belong to one vCPU's thread; so does everything here.
 *
 * Generated code runs with the stack pointer at Env: below it lies the vCPU's helper stack
 * (Target.regs_stack), so helpers are plain calls. It comes back to its caller by its exit stub with every
 * guest register in Env, Env.jit.link says why, Env.fault what happened.
 */
#ifndef TCG_JIT_H
#define TCG_JIT_H
#include "tcg/runtime.h"

enum { JIT_EXIT = 0 /* + slot: that exit is not linked */, JIT_BRIND = 8 /* Env.pc: a target not in the jump cache */,
       JIT_LOOKUP, /* go on at Env.pc, or serve Env.fault */
       JIT_INTERP, /* the interpreter has to run this block: unmasked floating-point exceptions */
       JIT_CAREFUL, /* a group's check failed, nothing has been done: run it some other way */
       JIT_PART, /* the same in the middle: Env.jit.arg[0] is the instruction, group << 8 */
       JIT_DEAD,   /* a block that is no more: Env.jit.arg[0] - 5 is its entry */
       JIT_REASON = 15 };

typedef struct SidePoint { /* a return address: of which guest instruction */
    uint32_t ret : 24, cold : 1, insn : 7; /* ret counts from the block's code, or from its tails */
} SidePoint;

typedef struct FaultPoint { /* an access through a window: [from, from + len) of the block's code; what to do if it faults, in its tails */
    uint32_t from : 24, len : 8;
    uint32_t tail : 24, ahead : 8; /* ahead of that lies what asks once for the right slot, */
    uint32_t check;                /* .. for the code that ends here */
} FaultPoint;
enum { MAX_POINTS = MAX_OPS + IR_GROUPS, MAX_SIDE = 3 * MAX_OPS };

/* slow kinds: log2 bytes 0..3, + one of these; SLOW_SLOT: of which window this address is, see jit_slot() */
enum { SLOW_LD = 0, SLOW_RMW = 4, SLOW_ST = 8, SLOW_VLD = 12, SLOW_VST = 13, SLOW_DIV = 14, SLOW_IDIV = 15, SLOW_SLOT = 16, SLOW_KINDS };
typedef struct CodeCache {
    uint8_t *rw, *rx; /* the same memory twice; code is written through rw only */
    size_t size, used, stubs; /* stubs: what a flush keeps */
    size_t top, cold, cold_end; /* from the end down to top lie pieces for code that rarely runs; the last is filled from cold to cold_end */
    const uint8_t *enter, *exit_link, *find, *find_exit, *leave, *no_code, *dead, *call, *brief, *op, *live, *live_entry, *fpu, *fpu_entry, *slow[SLOW_KINDS];
    Env *env;
    bool windows; /* code of privilege 3 goes by windows */
} CodeCache;
typedef struct JitTables { /* what jit_emit() says of a block's code */
    SidePoint side[MAX_SIDE];
    FaultPoint point[MAX_POINTS];
    unsigned nside, npoints;
} JitTables;

bool jit_usable(const char **why);  /* this host has what the emitter needs */
void jit_stubs(CodeCache *c);       /* at the start of an empty cache */
enum { JIT_ROOM = 192 << 10 };      /* what one block may need at most, in either place */
size_t jit_cold_piece(const CodeCache *c); /* bytes; the last ends with the cache, the others ahead of it */
void jit_emit(CodeCache *c, const IrBlock *ir, Block *b, bool careful, JitTables *tables); /* JIT_ROOM is free */
void jit_enter(CodeCache *c, Env *e, const uint8_t *host);
void jit_link(CodeCache *c, Block *from, unsigned slot, const Block *to); /* from's exit goes to `to` from now on */
void jit_link_careful(CodeCache *c, Block *b); /* b->careful is there */
void jit_link_part(CodeCache *c, Block *b, unsigned group, const Block *to); /* where that group's failed check goes */
void jit_slot(CodeCache *c, const Block *b, const FaultPoint *f, unsigned slot); /* that access goes by this slot from now on, and asks no more */
void jit_kill(CodeCache *c, Block *b); /* whoever enters b finds JIT_DEAD */

/* What generated code calls, implemented by accel/tcg. A false answer: e->fault is set, pc is exact. */
bool jit_slow(Env *e, unsigned kind); /* the access that missed the TLB: address and value in e->jit */
bool jit_op(Env *e, const IrOp *o);   /* interp_op, flags back in the host's form */
bool jit_unwind(Env *e);              /* a helper set e->fault: always false */
void jit_fold(Env *e);                /* flags to CC_HOST */
/* Of a vector access Env.jit.val holds register, log2 bytes << 8, and these. */
enum { VSLOW_ALIGNED = 1 << 16, VSLOW_ZERO = 1 << 17 };
#endif
