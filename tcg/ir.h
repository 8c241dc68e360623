/*
 * tcg/ir.h - the one intermediate form of the software CPU.
 *
 * Invariants:
 *  1. A block is a straight line of ops with side exits; its last op has T_END.
 *  2. A temp is written once before it is read, and lives inside one guest instruction.
 *  3. Within one guest instruction no global is written before the last op that can fault, so at a
 *     fault the globals are exactly the state before that instruction. (A helper keeps this by itself.)
 *  4. At block boundaries live flags are in Env.cc; dead flags may be anything.
 *  5. at[i] is the guest instruction of op i: a parallel array, so that it costs the executors nothing.
 */
#ifndef TCG_IR_H
#define TCG_IR_H
#include "util/util.h"
#include <assert.h>
#include <stdio.h>

enum { FC = 1, FP = 2, FA = 4, FZ = 8, FS = 16, FO = 32, FALL = 63, FX = 64 /* by condition */ };
enum { T_MAYBE = 1, T_SIDE = 2, T_FAULT = 4, T_END = 8, T_WIDE = 16 };
enum { X_SCALE = 3, X_W = 16, X_ALIGNED = 32, X_ZERO = 64, X_FPU_ST = 128, X_FPU_OP = 8 }; /* bits of x in addressing ops */

typedef enum CcKind { CC_RAW, CC_ADD, CC_SUB, CC_LOGIC, CC_INC, CC_DEC, CC_SHL, CC_SHR, CC_SAR,
               CC_HOST /* res: as LAHF and SETO AL leave AX */ } CcKind;

typedef enum IrKind {
#define OP2(n, t, r, e)    IR_##n,
#define OP1(n, t, w, e)    IR_##n,
#define OPX(n, a, w, r, t) IR_##n,
#include "tcg/ops.def"
    IR_KINDS
} IrKind;

/* Bits of IrInfo.uses, of args: which fields it reads, and whether d is a general register that it writes. */
enum { USES_A = 1, USES_B = 2, USES_C = 4, USES_D = 8 /* whatever its size */, WRITES_D = 16 };
typedef struct IrInfo {
    const char *name, *args;
    uint8_t writes, reads, traits, uses;
} IrInfo;
extern const IrInfo ir_info[IR_KINDS];

/* Value numbers index Env.v: 0..15 guest registers, 16..31 other globals, then temps. */
/* V_PAGE: where the page that code runs in is mapped; what a block that is good at any address adds to its pcs. */
enum { V_PAGE = 22 /* 24 to 31: an executor's own */, V_GLOBALS = 32, V_TEMP = 32, V_LAST = 239, V_DUMP = 254, V_NONE = 255 };
enum { VEC_TEMP = 16, VEC_N = 20 }; /* Env.vec: 0..15 guest, 16..19 temps */

typedef struct IrOp {
    uint16_t op; /* kind << 4 | size << 2 | sets flags << 1 | b is imm; lowered: a label number */
    uint8_t d, a, b, c;
    uint16_t x;
    int64_t imm;
} IrOp;
static_assert(sizeof(IrOp) == 16, "two words per op");

#define IR_KIND(op) ((IrKind)((op) >> 4))
#define IR_SIZE(op) (((op) >> 2) & 3)
enum { IR_F = 2, IR_I = 1 };
#define IR_OP(k, size, flags) ((uint16_t)((k) << 4 | (size) << 2 | (flags)))

enum { MAX_OPS = 512, MAX_INSNS = 64, MAX_SLOTS = 8 };

typedef struct IrExit {
    uint64_t pc;
    uint8_t insns; /* guest instructions done when the block leaves here */
    uint8_t live;  /* flags some path from pc reads before writing */
} IrExit;

typedef struct IrBlock {
    uint64_t pc;
    uint64_t mode;
    bool rel; /* pcs count from the start of the page; V_PAGE is to be added */
    unsigned nops, ninsns, nslots, next_temp;
    uint16_t before, bytes; /* of guest code that it was made of, counted in its first page, before pc and from it on */
    bool crosses;     /* its (only) instruction continues on the next page */
    IrOp ops[MAX_OPS];
    uint8_t at[MAX_OPS];   /* guest instruction of an op */
    uint8_t kill[MAX_OPS]; /* live.c: bit 0 a, 1 b, 2 c dies here; 3: d is never read */
    uint8_t live[MAX_OPS]; /* live.c: flags live after the op */
    uint64_t insn_pc[MAX_INSNS + 1];
    IrExit slot[MAX_SLOTS];
} IrBlock;

/* Bytes of a vector access. */
static inline unsigned ir_vec_bytes(const IrOp *o)
{
    IrKind k = IR_KIND(o->op);

    return k == IR_vld || k == IR_vst ? (IR_SIZE(o->op) ? 16 : 32) : 1u << IR_SIZE(o->op);
}

/* A value as the builder sees it: a register number or a constant not yet materialised. */
typedef struct Val {
    uint8_t v;
    bool is_const;
    int64_t k;
} Val;
static inline Val val_reg(unsigned v) { return (Val){ (uint8_t)v, false, 0 }; }
static inline Val val_const(int64_t k) { return (Val){ V_NONE, true, k }; }

/* build.c: one forward pass, folding as it goes */
void ir_begin(IrBlock *b, uint64_t pc, uint64_t mode);
Val ir_temp(IrBlock *b);
Val ir_reg(IrBlock *b, Val v); /* materialise a constant */
void ir_alu(IrBlock *b, IrKind k, unsigned size, unsigned flag, Val d, Val a, Val src);
IrOp *ir_emit(IrBlock *b, IrKind k, unsigned size, Val d, Val a, Val src);
unsigned ir_slot(IrBlock *b, uint64_t pc);
bool ir_fold(IrKind k, unsigned size, uint64_t a, uint64_t b, uint64_t *out);
/* live.c: dead flags (unless all_flags), dead temps, last uses; compacts the block */
void ir_live(IrBlock *b, bool all_flags);
/* group.c: accesses that one check serves; of[i]: group of op i, from 1, or 0. Groups come in the order of `at`. */
enum { IR_GROUPS = 4 };
typedef struct IrGroup {
    uint16_t at;  /* the op ahead of which it is checked, the first of an instruction */
    uint8_t base; /* guest register, its value there, or V_PAGE; V_NONE: absolute */
    bool write;   /* some access stores */
    int64_t lo, hi;
    int align;    /* offset modulo 16 of those that must be aligned, or -1 */
} IrGroup;
unsigned ir_group(const IrBlock *b, IrGroup *groups, uint8_t *of);
/* verify.c */
bool ir_verify(const IrBlock *b, char *why, size_t n);
void ir_print(const IrBlock *b, GString *out);
unsigned ir_cond_reads(unsigned cond);

static inline uint64_t trunc_to(uint64_t v, unsigned size)
{
    return size == 3 ? v : v & ((1ull << (8u << size)) - 1);
}
static inline int64_t sext_from(uint64_t v, unsigned size)
{
    unsigned sh = 64 - (8u << size);

    return (int64_t)(v << sh) >> sh;
}
#endif
