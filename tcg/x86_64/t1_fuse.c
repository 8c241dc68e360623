/*
 * t1_fuse.c - several ops, one host instruction with a memory operand: load and use, and load, change, store. Whether it can
 * be, and the instruction; t1_mem.c says where the memory is, and does the same in the tail of a slow path on Env.
 */
#include "tcg/x86_64/t1.h"

static const uint8_t alu_digit[] = { [IR_add] = 0, [IR_sub] = 5, [IR_and] = 4, [IR_or] = 1, [IR_xor] = 6 };

/* ---- an op right behind the load of its operand, which nobody else wants: see t1_fusible() */
static void compare_memory(T1 *t, const IrOp *o, bool b_loaded, Rm m)
{
    unsigned size = IR_SIZE(o->op), wide = size ? 1 : 0;
    bool sub = IR_KIND(o->op) == IR_sub;

    if (b_loaded) {
        a_op(&t->a, 0, (sub ? 0x3a : 0x84) | wide, size, (unsigned)t1_pin[o->a], m);
    } else if (!(o->op & IR_I)) {
        a_op(&t->a, 0, (sub ? 0x38 : 0x84) | wide, size, (unsigned)t1_pin[o->b], m);
    } else if (sub) {
        a_alu_imm(&t->a, 7, size, m, t1_imm(o, size));
    } else {
        a_op(&t->a, 0, 0xf6 | wide, size, 0, m);
        a_imm(&t->a, (uint64_t)o->imm, size == 3 ? 4 : 1u << size);
    }
}

/* The op, what `loaded` stands for taken from m. x: where an extension goes. */
void t1_fused(T1 *t, const IrOp *o, unsigned loaded, unsigned x, Rm m)
{
    unsigned size = IR_SIZE(o->op);
    IrKind k = IR_KIND(o->op);

    if (k == IR_zx || k == IR_sx)
        t1_extend(t, o, x, m);
    else if (k == IR_imul)
        a_op(&t->a, 0, 0x0faf, size, (unsigned)t1_pin[o->d], m);
    else if (o->d == V_NONE)
        compare_memory(t, o, o->b == loaded && !(o->op & IR_I), m);
    else
        a_op(&t->a, 0, alu_digit[k] << 3 | (size ? 3 : 2), size, (unsigned)t1_pin[o->d], m);
}

static bool alu_fusible(const IrOp *o, unsigned loaded, unsigned kill)
{
    bool a = o->a == loaded && kill & 1, b = o->b == loaded && kill & 2, imm = o->op & IR_I;

    if (o->d != V_NONE)
        return !imm && b && !a && o->a == o->d && is_pinned(o->d);
    if (a)
        return imm ? is_small(t1_imm(o, IR_SIZE(o->op))) : o->b != loaded && is_pinned(o->b);
    return !imm && b && is_pinned(o->a);
}

/* Can the op behind o, a load, take its operand from memory? */
bool t1_fusible(const T1 *t, const IrOp *o)
{
    unsigned i = t->i, size = IR_SIZE(o->op), kill;
    const IrOp *n = o + 1;

    if (i + 1 >= t->b->nops || t->b->at[i] != t->b->at[i + 1] || !is_temp(o->d) || o->x & X_W)
        return false;
    kill = t->b->kill[i + 1];
    switch (IR_KIND(n->op)) {
    case IR_zx:
    case IR_sx: return n->a == o->d && kill & 1 && n->x == size;
    case IR_imul: return size >= 1 && n->d != V_NONE && IR_SIZE(n->op) == size && alu_fusible(n, o->d, kill);
    case IR_sub:
    case IR_and: return IR_SIZE(n->op) == size && alu_fusible(n, o->d, kill);
    case IR_add:
    case IR_or:
    case IR_xor: return n->d != V_NONE && IR_SIZE(n->op) == size && alu_fusible(n, o->d, kill);
    default: return false;
    }
}

/* ---- load, change, store */
static unsigned unary_digit(IrKind k) { return k == IR_inc ? 0 : k == IR_dec ? 1 : k == IR_neg ? 3 : 2; }

void t1_change(T1 *t, const IrOp *o, Rm m)
{
    static const uint8_t shift_digit[] = { 4, 5, 7, 0, 1 }; /* shl shr sar rol ror */
    IrKind k = IR_KIND(o->op);
    unsigned size = IR_SIZE(o->op), wide = size ? 1 : 0;

    if (k >= IR_shl && k <= IR_ror) {
        a_op(&t->a, 0, (o->imm == 1 ? 0xd0 : 0xc0) | wide, size, shift_digit[k - IR_shl], m);
        a_imm(&t->a, (uint64_t)o->imm, o->imm == 1 ? 0 : 1);
    } else if (k == IR_inc || k == IR_dec || k == IR_neg || k == IR_not) {
        a_op(&t->a, 0, (k == IR_inc || k == IR_dec ? 0xfe : 0xf6) | wide, size, unary_digit(k), m);
    } else if (o->op & IR_I) {
        a_alu_imm(&t->a, alu_digit[k], size, m, t1_imm(o, size));
    } else {
        a_op(&t->a, 0, alu_digit[k] << 3 | wide, size, (unsigned)t1_pin[o->b], m);
    }
}

static bool can_change(const IrOp *o, unsigned loaded)
{
    IrKind k = IR_KIND(o->op);
    unsigned size = IR_SIZE(o->op);

    if (o->a != loaded || !is_temp(o->d))
        return false;
    if (k == IR_inc || k == IR_dec || k == IR_neg || k == IR_not)
        return true;
    if (k >= IR_shl && k <= IR_ror)
        return o->op & IR_I;
    if (k != IR_add && k != IR_sub && k != IR_and && k != IR_or && k != IR_xor)
        return false;
    return o->op & IR_I ? is_small(t1_imm(o, size)) : is_pinned(o->b);
}

/* No flag that is wanted comes from before it. */
static bool makes_all_flags(const T1 *t, const IrOp *o, unsigned i)
{
    const IrInfo *k = &ir_info[IR_KIND(o->op)];
    bool counted = o->op & IR_I && o->imm & (IR_SIZE(o->op) == 3 ? 63 : 31);

    return !(o->op & IR_F) || !(t->b->live[i] & ~((k->traits & T_MAYBE) && !counted ? 0u : k->writes));
}

bool t1_in_place(const T1 *t, const IrOp *o)
{
    const IrOp *n = o + 1, *s = o + 2;
    unsigned i = t->i;

    if (i + 2 >= t->b->nops || t->b->at[i] != t->b->at[i + 2] || !is_temp(o->d) || !(o->x & X_W) || IR_KIND(s->op) != IR_st)
        return false;
    if (IR_SIZE(n->op) != IR_SIZE(o->op) || IR_SIZE(s->op) != IR_SIZE(o->op) || s->a != o->a || s->b != o->b || s->imm != o->imm ||
        (s->x ^ o->x) & X_SCALE)
        return false;
    return can_change(n, o->d) && s->c == n->d && t->b->kill[i + 1] & 1 && t->b->kill[i + 2] & 4 && makes_all_flags(t, n, i + 1);
}
