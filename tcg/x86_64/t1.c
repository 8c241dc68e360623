/* t1.c - one forward pass: temps to registers, flags in place, exits and tails. */
#include "tcg/x86_64/t1.h"

/* ---- exits */
Tail *t1_tail(T1 *t, TailKind kind)
{
    Tail *k = &t->tail[t->ntails++];

    g_assert(t->ntails <= G_N_ELEMENTS(t->tail));
    memset(k, 0, sizeof(*k));
    k->kind = kind;
    k->op = &t->b->ops[t->i];
    k->insn = t->b->at[t->i];
    return k;
}

void t1_call(T1 *t, const uint8_t *stub, unsigned insn)
{
    a_jump(&t->a, 17, stub);
    g_assert(t->nside < MAX_SIDE);
    t->tables->side[t->nside++] = (SidePoint){ .ret = (uint32_t)(t->a.p - (t->cold ? t->cold : t->start)) & 0xffffff, .cold = t->cold != NULL, .insn = insn & 0x7f };
}

void t1_set32(T1 *t, Rm m, uint32_t v)
{
    a_op(&t->a, 0, 0xc7, 2, 0, m);
    a_imm(&t->a, v, 4);
}

static void leave_by(T1 *t, const uint8_t *stub, unsigned why)
{
    a_const(&t->a, H11, (uint64_t)(uintptr_t)t->blk | why);
    a_jump(&t->a, 16, stub);
}

void t1_leave_for(T1 *t, unsigned why) { leave_by(t, t->code->exit_link, why); }

void t1_here_and_now(T1 *t, unsigned r, uint64_t pc)
{
    a_const(&t->a, r, pc);
    if (t->b->rel)
        a_op(&t->a, 0, 0x03, 3, r, env_slot(V_PAGE));
}

/* Out of the page from a block that does not know where it is: as if the target were computed. */
static void far_exit(T1 *t, uint64_t pc)
{
    uint8_t *miss;

    t1_here_and_now(t, H9, pc);
    miss = t1_jc_probe(&t->a, H9, H10);
    a_op(&t->a, 0, 0xff, 2, 4, rm_reg(H11));
    a_patch(miss, t->a.p);
    a_store(&t->a, 3, ENV(pc), H9);
    leave_by(t, t->code->find, JIT_LOOKUP);
}

/* The exit leads into another page, or to an instruction that may reach into one. */
static bool guarded_exit(const T1 *t, unsigned slot)
{
    uint64_t pc = t->b->slot[slot].pc;

    return ((pc ^ t->b->pc) & -(uint64_t)PAGE) || (pc & (PAGE - 1)) > PAGE - 15;
}

/*
 * A direct exit. Inside a page it is a jump that gets linked. Into another page the target must also be in the jump cache
 * of this view, which says that the mapping is what it was.
 */
static void direct_exit(T1 *t, unsigned slot)
{
    const IrExit *x = &t->b->slot[slot];
    bool guarded = guarded_exit(t, slot);
    uint8_t *over;

    if (guarded && t->b->rel) {
        far_exit(t, x->pc);
        return;
    }
    if (guarded) { /* the target may be a block that asks where its page is */
        a_const(&t->a, H11, x->pc & -(uint64_t)PAGE);
        a_store(&t->a, 3, env_slot(V_PAGE), H11);
    }
    if (guarded) {
        t->blk->slot[slot].patch = (uint32_t)(t->a.p - t->start) | JIT_GUARDED;
        a_byte(&t->a, 0x41); /* mov r11d, its code; 1 is none */
        a_byte(&t->a, 0xb8 | (H11 & 7));
        a_imm(&t->a, 1, 4);
        a_op(&t->a, 0, 0x3b, 3, H11, rm_mem(H15, VIEW(jc[jc_slot(x->pc)].host)));
        over = a_jump(&t->a, 5, NULL);
        a_patch(over, a_jump(&t->a, 16, NULL) + 4);
    } else {
        t->blk->slot[slot].patch = (uint32_t)(a_jump(&t->a, 16, t->a.p + 5) - t->start);
    }
    t1_leave_for(t, JIT_EXIT + slot);
}

/* At the end of the block; until it is linked it goes by a tail. */
static void last_exit(T1 *t, unsigned slot)
{
    Tail *k;

    if (guarded_exit(t, slot)) {
        direct_exit(t, slot);
        return;
    }
    k = t1_tail(t, TAIL_JUMP);
    k->slot = slot;
    k->jump[0] = a_jump(&t->a, 16, NULL);
}

static void cond_exit(T1 *t, unsigned slot, unsigned cond)
{
    Tail *k = t1_tail(t, TAIL_EXIT);

    k->jump[0] = a_jump(&t->a, cond, NULL);
    k->slot = slot;
    k->save = t->b->slot[slot].live && !t->env_ok;
}

/* The code that the jump cache names for the pc in r: to r11; its page to V_PAGE. y is lost. Answers the jump of a miss. */
uint8_t *t1_jc_probe(Asm *a, unsigned r, unsigned y)
{
    uint8_t *miss;

    a_rorx(a, 3, H11, r, 52); /* jc_slot(), 16 bytes each */
    a_op(a, 0, 0x33, 3, H11, rm_reg(r));
    a_alu_imm(a, 4, 2, rm_reg(H11), (JC_N - 1) << 4);
    a_mov(a, 3, y, ENV(jc_key));
    a_op(a, 0, 0x33, 3, y, rm_reg(r));
    a_op(a, 0, 0x3b, 3, y, rm_idx(H15, H11, 0, VIEW(jc[0].tag)));
    miss = a_jump(a, 5, NULL);
    a_mov(a, 3, y, rm_reg(r));
    a_alu_imm(a, 4, 3, rm_reg(y), -(int64_t)PAGE);
    a_store(a, 3, env_slot(V_PAGE), y);
    a_mov(a, 3, H11, rm_idx(H15, H11, 0, VIEW(jc[0].host)));
    return miss;
}

static void indirect(T1 *t, const IrOp *o)
{
    unsigned r = t1_use(t, o->a);
    Tail *k = t1_tail(t, TAIL_BRIND);

    t1_save_flags(t);
    if (r == H11)
        a_mov(&t->a, 3, r = H10, rm_reg(H11));
    k->jump[0] = t1_jc_probe(&t->a, r, r == H9 ? H10 : H9);
    k->addr = r;
    a_op(&t->a, 0, 0xff, 2, 4, rm_reg(H11));
}

static void poll(T1 *t)
{
    Tail *k = t1_tail(t, TAIL_POLL);

    a_alu_imm(&t->a, 7, 2, ENV(exit_req), 0);
    k->jump[0] = a_jump(&t->a, 5, NULL);
}

static void exit_fault(T1 *t, uint32_t kind, uint64_t pc)
{
    a_op(&t->a, 0, 0xc7, 3, 0, ENV(fault.kind)); /* and err: 0 */
    a_imm(&t->a, kind, 4);
    a_op(&t->a, 0, 0xc7, 3, 0, ENV(fault.addr));
    a_imm(&t->a, 0, 4);
    t1_here_and_now(t, H9, pc);
    a_store(&t->a, 3, ENV(pc), H9);
    t1_leave_for(t, JIT_LOOKUP);
}

/* With nothing to do but the jump, it is the conditional one that gets linked. */
static void exit_tail(T1 *t, const Tail *k)
{
    if (!k->save && !guarded_exit(t, k->slot)) {
        t->blk->slot[k->slot].patch = (uint32_t)(k->jump[0] - t->start);
        t1_leave_for(t, JIT_EXIT + k->slot);
        return;
    }
    if (k->save)
        t1_store_ax(&t->a, H9);
    direct_exit(t, k->slot);
}

static void emit_tail(T1 *t, Tail *k)
{
    for (unsigned i = 0; i < 3; i++)
        if (k->jump[i])
            a_patch(k->jump[i], t->a.p);
    switch (k->kind) {
    case TAIL_EXIT:
    case TAIL_JUMP: exit_tail(t, k); break;
    case TAIL_BRIND:
        a_store(&t->a, 3, ENV(pc), k->addr);
        leave_by(t, t->code->find, JIT_BRIND);
        break;
    case TAIL_POLL: exit_fault(t, FAULT_POLL, t->b->pc); break;
    case TAIL_DATA: t1_data_tail(t, k); break;
    case TAIL_CAS: t1_cas_tail(t, k); break;
    case TAIL_VEC: t1_vec_tail(t, k); break;
    case TAIL_LIVE: t1_live_tail(t, k); break;
    case TAIL_FPU: t1_fpu_tail(t, k); break;
    case TAIL_FPU_LIVE: t1_fpu_live_tail(t, k); break;
    case TAIL_GROUP: t1_group_tail(t, k); break;
    default: t1_mem_tail(t, k); break;
    }
}

/* ---- driver */
static void before(T1 *t, const IrOp *o)
{
    const IrInfo *k = &ir_info[IR_KIND(o->op)];
    bool sets = o->op & IR_F, fixed = o->op & IR_I && o->imm & (IR_SIZE(o->op) == 3 ? 63 : 31);
    unsigned writes = sets && (!(k->traits & T_MAYBE) || fixed) ? k->writes : 0;
    unsigned pass = t->b->live[t->i] & ~writes; /* wanted later, but not made here */

    if (k->reads || (sets && pass))
        t1_need_flags(t); /* the host op merges exactly as the guest's does */
    if (!sets && pass)
        t1_save_flags(t);
}

/* Ops that leave the host flags alone; everything else makes or destroys them. */
static bool keeps_flags(IrKind k)
{
    return k == IR_mov || k == IR_zx || k == IR_sx || k == IR_hi || k == IR_dephi || k == IR_lea || k == IR_not ||
           k == IR_bswap || k == IR_cmov || k == IR_setcc || k == IR_mulx || k == IR_pdep || k == IR_pext;
}

static void leave(T1 *t, const IrOp *o)
{
    t1_save_flags(t);
    if (!o->x) {
        t1_here_and_now(t, H9, (uint64_t)o->imm);
        a_store(&t->a, 3, ENV(pc), H9);
    }
    a_jump(&t->a, 16, t->code->leave);
}

static void branch_zero(T1 *t, const IrOp *o)
{
    unsigned r;

    if (t->b->live[t->i] | t->b->slot[o->c].live)
        t1_save_flags(t);
    r = t1_use(t, o->a);
    a_op(&t->a, 0, IR_SIZE(o->op) ? 0x85 : 0x84, IR_SIZE(o->op), r, rm_reg(r));
    t->ef_ok = false;
    cond_exit(t, o->c, o->x ? 5 : 4);
    t->tail[t->ntails - 1].save = false;
}

static void control_op(T1 *t, const IrOp *o)
{
    const IrBlock *b = t->b;

    switch (IR_KIND(o->op)) {
    case IR_poll:
        poll(t);
        t->ef_ok = false;
        break;
    case IR_brcc:
        t1_need_flags(t);
        cond_exit(t, o->c, o->x);
        break;
    case IR_brz: branch_zero(t, o); break;
    case IR_jump:
        if (b->slot[o->c].live)
            t1_save_flags(t);
        last_exit(t, o->c);
        break;
    case IR_brind: indirect(t, o); break;
    case IR_leave: leave(t, o); break;
    default:
        t1_save_flags(t);
        exit_fault(t, o->x, (uint64_t)o->imm);
        break;
    }
}

static void flags_after(T1 *t, const IrOp *o)
{
    t->ef_ok = o->op & IR_F;
    t->env_ok &= !(o->op & IR_F);
}

static void emit_op(T1 *t, const IrOp *o)
{
    IrKind k = IR_KIND(o->op);

    if (k >= IR_poll) {
        control_op(t, o);
    } else if (t1_fpu_op(t, o)) {
        /* likewise */
    } else if (t->ngroups && t->group_of[t->i] && !t1_needs_avx(o)) {
        t1_mem_op(t, o); /* no check, so the flags stay where they are */
        if (t->skip && !keeps_flags(IR_KIND(o[1].op)))
            flags_after(t, o + 1);
    } else if (t1_vec_op(t, o) || t1_vex_op(t, o)) {
        /* it leaves the flags alone, or says what it did to them */
    } else if (!t1_alu_native(t, o) && t1_call_op(t, o)) {
        t->ef_ok = false;
        if (t->i + 1 < t->last_vector)
            t1_vectors_live(t, false);
        if (t->i + 1 < t->last_fpu)
            t1_fpu_live(t, false);
    } else if (keeps_flags(k)) {
        if (ir_info[k].reads)
            t1_need_flags(t);
        t1_alu_op(t, o);
    } else {
        before(t, o);
        if (!t1_alu_op(t, o))
            t1_mem_op(t, o);
        flags_after(t, o);
        if (t->skip && !keeps_flags(IR_KIND(o[1].op)))
            flags_after(t, o + 1);
    }
    t1_op_done(t, o);
}

static void emit_ops(T1 *t, const IrBlock *b)
{
    t->i = 0;
    if (IR_KIND(b->ops[0].op) == IR_poll)
        emit_op(t, &b->ops[t->i++]);
    if (t->last_vector)
        t1_vectors_live(t, true);
    if (t->last_fpu)
        t1_fpu_live(t, true);
    for (; t->i < b->nops; t->i++) {
        if (t->skip) {
            t->skip--;
            t1_op_done(t, &b->ops[t->i]);
            continue;
        }
        t1_check_groups(t);
        emit_op(t, &b->ops[t->i]);
    }
}

size_t jit_cold_piece(const CodeCache *c) { return MAX(512u << 10, MIN(2u << 20, c->size / 32 & -(size_t)4096)); }

/* What rarely runs lies elsewhere, so that what runs lies close together. */
static void emit_cold(T1 *t)
{
    CodeCache *c = t->code;
    uint8_t *from;

    if (c->cold_end - c->cold < JIT_ROOM) {
        c->cold_end = c->top;
        c->cold = c->top -= jit_cold_piece(c);
    }
    from = c->rw + c->cold;
    t->cold = from;
    t->a = (Asm){ from, c->rw + c->cold_end };
    for (unsigned i = 0; i < t->ntails; i++)
        emit_tail(t, &t->tail[i]);
    t1_group_exits(t);
    t->blk->cold = c->rx + c->cold;
    t->blk->cold_size = (uint32_t)(t->a.p - from);
    c->cold += t->blk->cold_size;
}

void jit_emit(CodeCache *c, const IrBlock *b, Block *blk, bool careful, JitTables *tables)
{
    static _Thread_local T1 state; /* scratch, nothing kept between blocks */
    T1 *t = &state;

    t->code = c; /* field by field: clearing all of it costs more than the translation */
    t->b = b;
    t->blk = blk;
    t->ef_ok = false;
    t->env_ok = true;
    t->locked = t->ntails = t->nside = 0;
    t->tables = tables;
    tables->npoints = 0;
    t->windows = b->mode & ENV_MODE_WINDOW;
    t->a = (Asm){ c->rw + c->used, c->rw + c->top };
    t->start = t->a.p;
    t->cold = NULL;
    memset(t->reg, -1, sizeof(t->reg));
    memset(t->is_const, 0, sizeof(t->is_const));
    memset(t->written, 0, sizeof(t->written));
    t->owner[0] = t->owner[1] = t->owner[2] = FREE;
    t->vs = V_NONE;
    t->skip = 0;
    t->last_vector = t1_last_vector(b);
    t->last_fpu = t1_last_fpu(b);
    t->wide = t1_writes_upper(b);
    t->nchecked = 0;
    t->ngroups = careful ? 0 : ir_group(b, t->group, t->group_of);
    t->unsaved = 0;
    blk->nparts = (uint8_t)t->ngroups;
    t1_find_later(t, b);
    emit_ops(t, b);
    blk->host = c->rx + c->used;
    blk->host_size = (uint32_t)(t->a.p - t->start);
    c->used += (blk->host_size + 15u) & ~15u;
    emit_cold(t);
    tables->nside = t->nside;
}

void jit_link(CodeCache *c, Block *from, unsigned slot, const Block *to)
{
    uint32_t at = from->slot[slot].patch & ~JIT_GUARDED, host = (uint32_t)(uintptr_t)to->host;
    uint8_t *p = c->rw + (from->host - c->rx) + at, *target = c->rw + (to->host - c->rx);

    if (!(from->slot[slot].patch & JIT_GUARDED)) {
        if (!to->crosses)
            a_patch(p, target);
        return;
    }
    if (host != (uintptr_t)to->host || !memcmp(p + 2, &host, 4))
        return; /* code lies above 4 GiB: not reached by a 32-bit compare; or it is linked to this one */
    memcpy(p + 2, &host, 4);
    a_patch(p + 6 + 7 + 6 + 1, target);
    a_patch(p + 6 + 7 + 6 + 5 + 6 + 1, c->find_exit); /* the view's jump cache does not name it: the page may be known */
}

void jit_link_careful(CodeCache *c, Block *b)
{
    a_patch(c->rw + (b->host - c->rx) + b->at_careful + 1, c->rw + (b->careful->host - c->rx));
}

void jit_link_part(CodeCache *c, Block *b, unsigned group, const Block *to)
{
    a_patch(c->rw + (b->host - c->rx) + b->part[group].at, c->rw + (to->host - c->rx));
}

/* The displacements of its compare and its load, a byte each: t1_mem_check(). */
void jit_slot(CodeCache *c, const Block *b, const FaultPoint *f, unsigned slot)
{
    enum { MOV = 4, JNE = 6 };
    uint8_t *p = c->rw + (b->host - c->rx) + f->check, *tail = c->rw + (b->cold - c->rx) + f->tail;

    p[-1] = (uint8_t)VIEW(win[slot].delta);
    p[-1 - MOV - JNE] = (uint8_t)VIEW(win[slot].tag);
    tail -= f->ahead;
    tail[0] = 0xeb;
    tail[1] = (uint8_t)(f->ahead - 2);
}

void jit_kill(CodeCache *c, Block *b)
{
    uint8_t *p = c->rw + (b->host - c->rx);

    *p = 0xe8;
    a_patch(p + 1, c->rw + (c->dead - c->rx));
}
