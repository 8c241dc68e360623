/* tcg/build.c - the one forward pass that makes a block; constants and copies fold as ops are added. */
#include "tcg/ir.h"

#define HAS(args, c) (__builtin_strchr(args, c) != NULL)
#define USES(args) (((HAS(args, 'a') || HAS(args, 'm')) ? USES_A : 0) | ((HAS(args, 'b') || HAS(args, 'm')) ? USES_B : 0) | \
                    (HAS(args, 'c') ? USES_C : 0) | (HAS(args, 'D') ? USES_D | WRITES_D : 0) | (HAS(args, 'd') ? WRITES_D : 0))
const IrInfo ir_info[IR_KINDS] = {
#define OP2(n, t, r, e)    { #n, "dab", FALL, r, 0, USES("dab") },
#define OP1(n, t, w, e)    { #n, "da", w, 0, 0, USES("da") },
#define OPX(n, a, w, r, t) { #n, a, w, r, t, USES(a) },
#include "tcg/ops.def"
};

void ir_begin(IrBlock *b, uint64_t pc, uint64_t mode)
{
    b->pc = pc;
    b->mode = mode;
    b->before = b->bytes = 0;
    b->crosses = false;
    b->nops = b->ninsns = b->nslots = 0;
    b->next_temp = V_TEMP;
}

Val ir_temp(IrBlock *b)
{
    assert(b->next_temp <= V_LAST);
    return val_reg(b->next_temp++);
}

/* The meaning of the pure two-operand ops comes from ops.def, as it does in the interpreter. */
bool ir_fold(IrKind k, unsigned size, uint64_t a, uint64_t b, uint64_t *out)
{
    const uint64_t carry = 0;

    switch (k) {
#define OP2(n, t, r, e)                                                                            \
    case IR_##n:                                                                                   \
        if (r)                                                                                     \
            return false;                                                                          \
        *out = (e);                                                                                \
        break;
#define OP1(n, t, w, e)                                                                            \
    case IR_##n:                                                                                   \
        *out = (e);                                                                                \
        break;
#define OPX(n, a, w, r, t)
#include "tcg/ops.def"
    case IR_mov:
        *out = a;
        break;
    case IR_shl:
        *out = a << (b & (size == 3 ? 63 : 31));
        break;
    default:
        return false;
    }
    (void)carry;
    *out = trunc_to(*out, size);
    return true;
}

IrOp *ir_emit(IrBlock *b, IrKind k, unsigned size, Val d, Val a, Val src)
{
    assert(b->nops < MAX_OPS);
    IrOp *o = &b->ops[b->nops];

    *o = (IrOp){ IR_OP(k, size, src.is_const ? IR_I : 0),
                 d.v,
                 a.v,
                 src.is_const ? V_NONE : src.v,
                 V_NONE,
                 0,
                 src.is_const ? src.k : 0 };
    b->at[b->nops++] = (uint8_t)b->ninsns;
    return o;
}

Val ir_reg(IrBlock *b, Val v)
{
    if (!v.is_const)
        return v;
    Val t = ir_temp(b);
    ir_emit(b, IR_mov, 3, t, val_reg(V_NONE), v);
    return t;
}

/* d = a op src.  Without flags and with constant inputs it becomes a constant. */
void ir_alu(IrBlock *b, IrKind k, unsigned size, unsigned flag, Val d, Val a, Val src)
{
    uint64_t r;
    bool unary = ir_info[k].args[2] == '\0';

    if (!flag && a.is_const && (unary || src.is_const) &&
        ir_fold(k, size, (uint64_t)a.k, (uint64_t)src.k, &r)) {
        ir_emit(b, IR_mov, size, d, val_reg(V_NONE), val_const((int64_t)r));
        return;
    }
    if (k == IR_mov && size == 3 && !a.is_const && a.v == d.v)
        return; /* a copy to itself; the 32-bit one is not: it clears the upper half */
    a = ir_reg(b, a);
    IrOp *o = ir_emit(b, k, size, d, a, src);
    o->op |= (uint16_t)flag;
}

unsigned ir_slot(IrBlock *b, uint64_t pc)
{
    assert(b->nslots < MAX_SLOTS);
    b->slot[b->nslots] = (IrExit){ pc, (uint8_t)(b->ninsns + 1), FALL };
    return b->nslots++;
}

/* Condition numbers are the guest's: pairs of (claim, negation). */
unsigned ir_cond_reads(unsigned cond)
{
    static const uint8_t reads[8] = { FO, FC, FZ, FC | FZ, FS, FP, FS | FO, FS | FO | FZ };

    return reads[cond >> 1 & 7];
}
