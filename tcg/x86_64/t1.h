/*
 * tcg/x86_64/t1.h - the one-pass emitter's own declarations.
 *
 * Registers (generated code): rsp = Env, r15 = the view, r9-r11 temps, guest registers by pin[], the rest of
 * them in Env. Invariants: guest flags are in host EFLAGS (ef_ok), in Env.cc as CC_HOST (env_ok), or both, wherever
 * they are live; at block boundaries in Env.cc. A temp is in a host temp register, in its slot Env.v[n], or a
 * constant not loaded yet.
 */
#ifndef TCG_X86_64_T1_H
#define TCG_X86_64_T1_H
#include "tcg/jit.h"
#include "tcg/x86_64/asm.h"

extern const int8_t t1_pin[16]; /* guest register -> host register, -1: lives in Env */
enum { V_GROUP = 24, V_BEFORE = 30 /* what memory held before a change, in a slow path */ }; /* Env.v: addends of checked groups, IR_GROUPS of them */
enum { G_AX = 0, G_CX = 1, G_DX = 2 }; /* guest registers that T_WIDE ops and shifts name */

#define ENV(field)  rm_mem(HSP, (int64_t)offsetof(Env, field))
#define VIEW(field) ((int64_t)__builtin_offsetof(View, field))
static inline Rm env_slot(unsigned v) { return rm_mem(HSP, (int64_t)offsetof(Env, v) + 8 * (int64_t)v); }
static inline Rm env_vec(unsigned n) { return rm_mem(HSP, (int64_t)(offsetof(Env, vec) + n * sizeof(((Env *)NULL)->vec[0]))); }
static inline bool is_temp(unsigned v) { return v >= V_TEMP && v <= V_LAST; }
static inline bool is_pinned(unsigned v) { return v < 16 && t1_pin[v] >= 0; }
static inline bool is_small(int64_t v) { return v == (int32_t)v; }

/* Out-of-line code of a block: where it is entered, what it does, where it returns. */
typedef enum TailKind { TAIL_EXIT, TAIL_JUMP, TAIL_BRIND, TAIL_POLL, TAIL_MEM, TAIL_VEC, TAIL_DIV, TAIL_DATA, TAIL_CAS, TAIL_LIVE, TAIL_FPU, TAIL_FPU_LIVE, TAIL_GROUP } TailKind;
typedef struct Tail {
    TailKind kind;
    uint8_t *jump[3], *back;
    const IrOp *op, *fused;
    bool change; /* fused: of memory */
    unsigned what, addr, data, insn, slot;
    Rm from; /* value to store, if it is not in a register */
    bool from_mem, is_const, wide_const, save;
    bool window, write; /* of an access through a window: what its tail checks, */
    uint8_t *check, *access; /* where the check ends;  .. the instructions for it, up to back; */
    unsigned x, y, bytes, align; /* .. two free registers */
    bool grouped, flags; /* .. its check is its group's: it comes only from a fault, with flags in the host's that live on (save: only there) */
    Rm m;            /* .. where it goes */
    uint64_t konst; /* wide_const: .. the value itself */
} Tail;

enum { JIT_GUARDED = 1u << 31 }; /* in BlockExit.patch: the exit checks the jump cache first; else it is where its distance lies */
enum { FREE = -1, LOANED = -2 }; /* owner[] of a host temp register */
typedef struct GroupExit { /* of a group's check: where it jumps when it fails */
    uint8_t *jump[2];
    uint8_t njumps;
    bool entry; /* nothing of the block is done before it */
} GroupExit;
typedef struct T1 {
    Asm a;
    CodeCache *code;
    const IrBlock *b;
    Block *blk;
    const uint8_t *start, *cold; /* of its code, of its tails; NULL: not yet there */
    unsigned i;      /* the op being emitted */
    int8_t reg[256]; /* host register of a temp, or -1 */
    bool is_const[256], written[256];
    int64_t konst[256];
    int owner[3];    /* of r9, r10, r11: a temp's or global's number, or */
    uint32_t later[MAX_OPS]; /* globals in Env that are read behind the op; what is in a register then may stay there */
    uint32_t unsaved; /* addends of groups that are not in Env yet */
    unsigned locked; /* host registers that must not be evicted now */
    bool ef_ok, env_ok;
    uint8_t vs;      /* vector register that xmm15 holds, or V_NONE */
    bool vs_wide;    /* .. all 32 bytes of it */
    bool wide;       /* the block writes upper halves */
    unsigned skip;   /* so many of the next ops are done already */
    unsigned last_vector, last_fpu;
    IrGroup group[IR_GROUPS];
    unsigned ngroups;
    uint8_t group_of[MAX_OPS];
    GroupExit part[IR_GROUPS];
    bool by_window[IR_GROUPS];
    unsigned nchecked; /* groups whose check is emitted */
    Tail tail[2 * MAX_OPS]; /* an op has two at most */
    unsigned ntails, nside;
    JitTables *tables;
    bool windows;
} T1;

/* t1_reg.c */
unsigned t1_grab(T1 *t);
unsigned t1_use(T1 *t, unsigned v); /* v in some register, to be read, locked until the op ends */
unsigned t1_own(T1 *t, unsigned r); /* r of t1_use() or t1_grab(), not of a temp: it may be written now */
Rm t1_loc(T1 *t, unsigned v);       /* v as an operand to be read: register or Env */
Rm t1_dest(T1 *t, unsigned v);      /* v as an operand that is written without t1_put() */
bool t1_later(const T1 *t, unsigned v); /* it is read again in this block */
void t1_cache(T1 *t, unsigned v, unsigned r); /* r holds v, which is not in Env yet */
void t1_forget_temps(T1 *t);        /* after t1_store_temps(): no register holds one any more */
void t1_drop_copies(T1 *t);         /* of globals: before C that does not keep r9 to r11 */
void t1_op_done(T1 *t, const IrOp *o);
void t1_find_later(T1 *t, const IrBlock *b);
void t1_load_ax(Asm *a); /* and back; rax is lost */
void t1_store_ax(Asm *a, int free); /* flags to Env; free: a register, or -1 */
void t1_put(T1 *t, unsigned d, unsigned x, unsigned size); /* result in x becomes d */
void t1_store_temps(T1 *t);         /* every temp to its slot: before a call */
void t1_in_slot(T1 *t, unsigned v); /* .. and this one even if it is a constant */
void t1_save_flags(T1 *t);
void t1_need_flags(T1 *t);
/* t1.c */
void t1_set32(T1 *t, Rm m, uint32_t v);
void t1_leave_for(T1 *t, unsigned why); /* JIT_* */
void t1_here_and_now(T1 *t, unsigned r, uint64_t pc); /* pc of the block, as it is here and now, to r */
Tail *t1_tail(T1 *t, TailKind kind);
void t1_call(T1 *t, const uint8_t *stub, unsigned insn); /* with its side point */
/* t1_ops.c, t1_mem.c, t1_call.c: true if the op was theirs */
bool t1_alu_op(T1 *t, const IrOp *o);
bool t1_mem_op(T1 *t, const IrOp *o);
bool t1_call_op(T1 *t, const IrOp *o);
bool t1_alu_native(const T1 *t, const IrOp *o);
bool t1_fusible(const T1 *t, const IrOp *o); /* the op behind o, a load, can take its operand from memory */
void t1_fused(T1 *t, const IrOp *o, unsigned loaded, unsigned x, Rm m);
void t1_extend(T1 *t, const IrOp *o, unsigned x, Rm a); /* zx, sx of a, to x */
int64_t t1_imm(const IrOp *o, unsigned size);
bool t1_in_place(const T1 *t, const IrOp *o); /* o, a load, begins a change of memory that one instruction makes */
void t1_change(T1 *t, const IrOp *o, Rm m); /* which o, the middle one of three ops, says */
bool t1_grouped(T1 *t, const IrOp *o, Rm *m); /* checked at the entry: where it is */
void t1_check_groups(T1 *t);         /* ahead of op t->i */
void t1_group_exits(T1 *t);
void t1_mem_tail(T1 *t, Tail *k);
void t1_data_tail(T1 *t, Tail *k);
void t1_cas_tail(T1 *t, Tail *k);
unsigned t1_address(T1 *t, const IrOp *o); /* the guest address, in a register */
Rm t1_tlb_check(T1 *t, Tail *k, unsigned va, unsigned bytes, bool write, unsigned *scratch);
void t1_look_up_group(T1 *t, unsigned n, unsigned x, unsigned y);
/* t1_window.c */
Rm t1_mem_check(T1 *t, const IrOp *o, Tail *k, unsigned va, unsigned bytes, bool write, unsigned *scratch); /* by window if it may */
void t1_window_tail(T1 *t, Tail *k); /* what comes ahead of the slow path */
Tail *t1_group_access(T1 *t, TailKind kind, Rm m); /* the tail of an access whose group goes by a window; NULL: it does not */
bool t1_all_by_window(T1 *t, unsigned n); /* may that group? */
void t1_check_by_window(T1 *t, unsigned n, unsigned x, unsigned y); /* its first address is in x; the window's delta to y */
void t1_group_tail(T1 *t, Tail *k);   /* of a group's check */
void t1_tail_address(T1 *t, Tail *k); /* to Env.jit.addr, flags to Env */
void t1_tail_flags(T1 *t, Tail *k);   /* and back, if they were saved */
/* t1_vec.c */
unsigned t1_last_vector(const IrBlock *b);
void t1_vectors_live(T1 *t, bool entry);
bool t1_vec_op(T1 *t, const IrOp *o); /* false: the host has no such instruction */
void t1_vec_memory(T1 *t, const IrOp *o);
void t1_vec_tail(T1 *t, Tail *k);
void t1_live_tail(T1 *t, Tail *k);
void t1_move_vectors(Asm *a, bool save, bool scratch, int shift);
uint8_t *t1_unmasked(Asm *a, int shift);
unsigned t1_vec_general(T1 *t, const IrOp *o, bool *direct); /* where a result for a general register goes, */
void t1_vec_general_done(T1 *t, const IrOp *o, unsigned x, bool direct); /* .. and that it is there */
/* t1_avx.c */
enum { VS = 15 }; /* the vector register for what has none of its own */
static inline bool is_host_vec(unsigned n) { return n < VS; }
bool t1_needs_avx(const IrOp *o);    /* a memory access that does, on a host that has none */
bool t1_writes_upper(const IrBlock *b);
void t1_upper(T1 *t);                /* vectors are live: from here on upper halves may be written */
bool t1_vex_op(T1 *t, const IrOp *o); /* false: not an op of its kind, or the host has no such instruction */
const HostVop *t1_host_vex(const IrOp *o);
void t1_avx_move(Asm *a, bool store, unsigned v, Rm m, unsigned log_bytes, unsigned scratch);
unsigned t1_use_wide(T1 *t, unsigned n);
void t1_wrote_wide(T1 *t, unsigned n);
bool t1_stays_here(const T1 *t, unsigned n);
/* t1_x87.c */
unsigned t1_last_fpu(const IrBlock *b);
void t1_fpu_live(T1 *t, bool entry);
bool t1_fpu_op(T1 *t, const IrOp *o); /* true if the op was its own */
void t1_fpu_tail(T1 *t, Tail *k);
void t1_fpu_live_tail(T1 *t, Tail *k);
void t1_fpu_again(T1 *t, const Tail *k); /* in a tail, behind a call: if the block goes on with the FPU */
void t1_fpu_store(Asm *a, int shift); /* if it is live: to X86. The general registers are in Env, two are lost */
void t1_fpu_load(Asm *a, int shift);
uint8_t *t1_fpu_unmasked(Asm *a, int shift, uint8_t **other);
uint8_t *t1_jc_probe(Asm *a, unsigned r, unsigned y);
void t1_lea(T1 *t, const IrOp *o);
#endif
