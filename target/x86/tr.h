/* target/x86/tr.h - what the translators share: one instruction on its way to micro-ops. */
#ifndef TARGET_X86_TR_H
#define TARGET_X86_TR_H
#include "target/x86/cpu.h"
#include "tcg/interp.h"

typedef struct Addr { /* linear address as an addressing triple */
    Val a, b;
    unsigned scale;
    int64_t imm;
} Addr;
typedef struct Tr {
    X86 *s;
    IrBlock *b;
    Insn in;
    uint64_t pc, next; /* linear */
    uint64_t mode, cs_base;
    CodeSize code;
    bool rel;   /* pcs count from the start of the page */
    bool polls; /* the block can close a loop: it polls at its entry */
    bool more;  /* another instruction follows in this block, whatever it is */
    bool sti;   /* this instruction was STI: interrupts are looked at behind the next one */
    bool done, addr_ready;
    Addr addr;
} Tr;
#define NOVAL val_reg(V_NONE)
typedef struct TrScan { /* code of one page around a block at pc: code[-before] to code[n - 1] */
    uint64_t pc;
    const uint8_t *code;
    unsigned before, n, left;
    CodeSize code_size;
    int64_t lo, hi; /* what was looked at, from pc */
} TrScan;
unsigned tr_flags_live_at(TrScan *s, uint64_t pc);
void tr_pcmpstr(Tr *t);
uint64_t x86_fence(Env *e, uint64_t a, uint64_t b, uint64_t c);        /* HelperFns */
uint64_t x86_sti_ring0(Env *e, uint64_t next, uint64_t b, uint64_t c);
uint64_t x86_stac_ring0(Env *e, uint64_t a, uint64_t b, uint64_t c); /* HelperFns: where nothing has to be asked first */
uint64_t x86_clac_ring0(Env *e, uint64_t a, uint64_t b, uint64_t c);
uint64_t x86_swapgs_ring0(Env *e, uint64_t a, uint64_t b, uint64_t c);
bool x86_0f01_goes_on(unsigned modrm);
HelperFn x86_0f01_ring0(const X86 *s, unsigned modrm); /* in 64-bit code of ring 0; NULL: hx_0f01 has to look */
void tr_push(Tr *t); /* every row function is declared by the generated tables */
extern void (*const x86_row_fn[])(Tr *t);

unsigned tr_size(const Tr *t, unsigned n);          /* log2 bytes of operand n */
unsigned tr_reg(const Tr *t, unsigned n);
IrOp *tr_mem(Tr *t, IrKind k, unsigned size, Val d, bool write); /* the memory operand, segment checked */
Val tr_ea(Tr *t, unsigned size);                    /* offset in its segment: lea */
Val tr_linear(Tr *t, unsigned log_bytes, bool write); /* linear address in a temp */
bool tr_limited(const Tr *t, unsigned seg); /* is the segment's limit or type checked at each access? */
IrOp *tr_at(Tr *t, IrKind k, unsigned size, Val d, Val offset, unsigned seg, bool write); /* [seg:offset] */
Val tr_rd(Tr *t, unsigned n, bool for_write);
Val tr_get_reg(Tr *t, unsigned size, unsigned reg);
void tr_set_reg(Tr *t, unsigned size, unsigned reg, Val v);
void tr_wr(Tr *t, unsigned n, Val v);               /* plain store into operand n */
void tr_to_none(Tr *t, IrKind k, unsigned flag, Val a, Val src);
Val tr_to_temp(Tr *t, IrKind k, unsigned flag, Val a, Val src);
void tr_to_operand(Tr *t, unsigned n, IrKind k, unsigned flag, Val a, Val src);
Val tr_call(Tr *t, IrKind k, Val d, HelperFn fn, Val a, Val b, Val c); /* IR_call or IR_callf */
Val tr_row_call(Tr *t, IrKind k, Val d, Val a, Val b, Val c);          /* the row's helper */
void tr_push_val(Tr *t, unsigned size, Val v);
void tr_jump_to(Tr *t, uint64_t linear);
void tr_jump_ind(Tr *t, unsigned size, Val eip);
void tr_leave(Tr *t, bool pc_set);                  /* end of block, mode may change; pc = next unless set */
void tr_exc(Tr *t, unsigned vector);
uint64_t tr_eip(const Tr *t, uint64_t linear);
uint64_t tr_target(const Tr *t, int64_t disp);      /* linear target of a relative branch */
static inline unsigned tr_stack_size(const Tr *t) { return t->code == CODE64 ? 3 : t->mode & MODE_SS32 ? 2 : 1; }
static inline bool tr_backward(const Tr *t, uint64_t to) { return (int64_t)(to - t->pc) <= 0; }
/* A pc (EIP in other modes) as a value the guest may see. */
static inline Val tr_visible(Tr *t, uint64_t pc)
{
    Val v;

    if (!t->rel)
        return val_const((int64_t)pc);
    v = ir_temp(t->b);
    ir_emit(t->b, IR_lea, 3, v, val_reg(V_PAGE), NOVAL)->imm = (int64_t)pc;
    return v;
}
static inline Val tr_next(Tr *t) { return ir_reg(t->b, tr_visible(t, t->next)); }
static inline HelperFn tr_helper(const Tr *t) { return (HelperFn)x86_row_arg[t->in.row - x86_rows]; }
#endif
