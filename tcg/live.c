/*
 * tcg/live.c - one backward pass: which flags and temps are still wanted.
 *
 * A flag setter whose flags nobody reads loses its F bit; a pure op whose temp nobody reads goes
 * away; the last use of a temp is marked so that T1 can free its register in one forward pass. What is only moved
 * on to a register goes there at once.
 * Flags are NOT kept alive by ops that may fault: a flag that every path overwrites before reading
 * it is allowed to be stale in a fault frame.  What is live is always exact there, and live means
 * at the start of the instruction, because that is where execution resumes.
 */
#include "tcg/ir.h"

typedef struct Live {
    uint64_t temps[4]; /* bit set over value numbers */
    unsigned flags;
} Live;

static bool is_live(const Live *l, unsigned v) { return l->temps[v >> 6] >> (v & 63) & 1; }
static void set_live(Live *l, unsigned v) { l->temps[v >> 6] |= 1ull << (v & 63); }
static void clear_live(Live *l, unsigned v) { l->temps[v >> 6] &= ~(1ull << (v & 63)); }
static bool is_temp(unsigned v) { return v >= V_TEMP && v <= V_LAST; }

static bool use(Live *l, unsigned v)
{
    bool last;

    if (!is_temp(v))
        return false;
    last = !is_live(l, v);
    set_live(l, v);
    return last;
}

static void flow_flags(const IrBlock *b, IrOp *o, Live *l)
{
    const IrInfo *k = &ir_info[IR_KIND(o->op)];
    unsigned writes = o->op & IR_F ? k->writes : 0;

    if (!(writes & l->flags))
        o->op &= (uint16_t)~IR_F;
    else if (!(k->traits & T_MAYBE) || (o->op & IR_I && o->imm & (IR_SIZE(o->op) == 3 ? 63 : 31)))
        l->flags &= ~writes;
    if (IR_KIND(o->op) == IR_brcc || IR_KIND(o->op) == IR_brz)
        l->flags |= b->slot[o->c].live;
    if (IR_KIND(o->op) == IR_jump)
        l->flags = b->slot[o->c].live;
    l->flags |= k->reads == FX ? ir_cond_reads(o->x) : k->reads;
}

/* A fault restarts the instruction: what its earlier ops have read must still be there. */
static unsigned read_again(const IrBlock *b, unsigned i)
{
    unsigned flags = 0;

    for (unsigned j = i; j-- > 0 && b->at[j] == b->at[i];) {
        unsigned r = ir_info[IR_KIND(b->ops[j].op)].reads;
        flags |= r == FX ? ir_cond_reads(b->ops[j].x) : r;
    }
    return flags;
}

/* Returns false if the op is dead. */
static bool flow(IrBlock *b, unsigned i, Live *l)
{
    IrOp *o = &b->ops[i];
    const IrInfo *k = &ir_info[IR_KIND(o->op)];
    bool keeps_d = k->uses & USES_D || (k->uses & WRITES_D && IR_SIZE(o->op) < 2);

    if (k->traits & T_FAULT)
        l->flags |= read_again(b, i);
    b->live[i] = (uint8_t)l->flags;
    flow_flags(b, o, l);
    if (!(k->traits & T_SIDE) && !(o->op & IR_F) &&
        (o->d == V_NONE || (is_temp(o->d) && !is_live(l, o->d))))
        return false;
    b->kill[i] = is_temp(o->d) && !is_live(l, o->d) ? 8 : 0;
    if (k->uses & USES_D)
        use(l, o->d);
    else if (is_temp(o->d) && !keeps_d)
        clear_live(l, o->d);
    b->kill[i] |= (uint8_t)(use(l, o->a) | use(l, o->b) << 1 | use(l, o->c) << 2);
    return true;
}

/* The result of op i goes on to a register right behind it, and to nowhere else: then it may go there at once. */
static bool joins(const IrBlock *b, unsigned i)
{
    const IrOp *o = &b->ops[i], *m = o + 1;
    IrKind k = IR_KIND(o->op);
    unsigned size = IR_SIZE(o->op), to = IR_SIZE(m->op);

    if (!is_temp(o->d) || i + 1 >= b->nops || b->at[i] != b->at[i + 1] || (k != IR_ld && k != IR_lea && k != IR_zx && k != IR_sx))
        return false;
    if (IR_KIND(m->op) != IR_mov || m->op & IR_I || m->a != o->d || !(b->kill[i + 1] & 1) || m->d >= V_GLOBALS)
        return false;
    return to == 3 ? size >= 2 : to == 2 ? size == 2 || k == IR_lea : k == IR_ld && size == to;
}

static void copy_op(IrBlock *b, unsigned to, unsigned from)
{
    if (to == from)
        return;
    b->ops[to] = b->ops[from];
    b->at[to] = b->at[from];
    b->kill[to] = b->kill[from];
    b->live[to] = b->live[from];
}

/* What is left of the block begins at op `from`: it goes to the front, moves that can be spared are left out. */
static void join_moves(IrBlock *b, unsigned from)
{
    unsigned n = 0;

    for (unsigned i = from; i < b->nops; i++, n++) {
        bool join = joins(b, i);

        copy_op(b, n, i);
        if (!join)
            continue;
        i++;
        b->ops[n].d = b->ops[i].d;
        b->kill[n] &= 7;
        if (IR_KIND(b->ops[n].op) == IR_lea && IR_SIZE(b->ops[i].op) == 2)
            b->ops[n].op = IR_OP(IR_lea, 2, 0);
    }
    b->nops = n;
}

void ir_live(IrBlock *b, bool all_flags)
{
    Live l = { { 0 }, FALL };
    unsigned keep = b->nops;

    for (unsigned i = b->nops; i-- > 0;) {
        if (all_flags)
            l.flags = FALL;
        if (flow(b, i, &l)) /* compact towards the end, then move down once */
            copy_op(b, --keep, i);
    }
    join_moves(b, keep);
}
