/*
 * accel/tcg/once.c - the interpreter runs a block that has code: after a check of a group failed, for `-d exec`, in stress
 * mode. One block in ten ever needs that, and keeping what the interpreter runs would take more memory than the code itself,
 * so it is translated again from the same bytes, for once.
 */
#include "accel/tcg/tcg.h"
#include "util/shared.h"

typedef struct Once { /* room for the ops of one block */
    IrBlock ir;
    BlockOps ops;
    IrOp op[MAX_OPS];
    uint8_t at[MAX_OPS];
    uint64_t block[(sizeof(Block) + MAX_SLOTS * sizeof(BlockExit) + (MAX_INSNS + 1) * sizeof(uint16_t)) / 8 + 1];
} Once;

struct Once *tcg_once_new(void)
{
    Once *o = g_new0(Once, 1);

    o->ops.op = o->op;
    o->ops.at = o->at;
    return o;
}

/*
 * Of b from instruction `insn` on, at pc. NULL: it became something else, most likely because memory has other instructions
 * now: then another vCPU has written them and asked for b to be dropped. What exits read is not asked for: flags are computed
 * that nobody wants.
 */
static Block *again(TcgCpu *t, const Block *b, unsigned insn)
{
    const uint16_t *off = block_offsets(b);
    uint8_t code[PAGE];
    unsigned n = off[b->ninsns] - off[insn];
    Once *o = t->once;
    Block *now = (Block *)o->block;

    shared_copy(code, b->page->host + (b->pa & (PAGE - 1)) + off[insn], n);
    if (!target_translate(&t->s->env, block_insn(b, insn), code, 0, n, n, false, b->rel, &o->ir) || o->ir.ninsns != b->ninsns - insn)
        return NULL;
    for (unsigned i = insn; i <= b->ninsns; i++)
        if ((uint16_t)(o->ir.insn_pc[i - insn] - o->ir.pc) != off[i] - off[insn])
            return NULL;
    if (insn && IR_KIND(o->ir.ops[0].op) == IR_poll)
        o->ir.ops[0].op = IR_OP(IR_mov, 3, IR_I); /* to nowhere: nothing comes in between */
    ir_live(&o->ir, false);
    block_fill(now, &o->ir);
    interp_lower(&o->ir, &o->ops);
    now->pa = b->pa + off[insn];
    now->ops = &o->ops;
    return now;
}

void tcg_interpret(TcgCpu *t, Block *b, unsigned insn)
{
    Env *e = &t->s->env;
    bool one_page = (b->pa & (PAGE - 1)) + block_offsets(b)[b->ninsns] <= PAGE;

    if (!b->ops)
        b = one_page ? again(t, b, insn) : NULL;
    if (b) {
        interp_block(e, b);
        return;
    }
    tcg_jc_drop(t, e->pc); /* looked up again, to run one instruction alone */
    t->one_shot = true;
}
