/*
 * t1_x87.c - the x87, instruction by instruction. While Env.jit.fpu_live is set the host's x87 is the guest's: registers,
 * tags, status and control word; all exceptions are masked, so none is ever pending. Blocks that use it look at their
 * entry, and behind calls, and load it when it is not live; whatever calls C stores it. Its two pointers alone are kept
 * apart, since the host's own would name generated code. Source: Intel SDM vol. 1, chapter 8.
 */
#include "tcg/x86_64/t1.h"

enum { FLDCW = 0x128, FNSTCW = 0x138, FNSTSW = 0x538, FNCLEX = 0x3e2, FNSTSW_AX = 0x7e0 };

static Rm at(size_t off, int shift) { return rm_mem(HSP, (int64_t)off + shift); }
#define AT(field, shift) at(offsetof(Env, field), shift)
static Rm part(size_t off, int shift, unsigned n) { return at(off + n, shift); }

static bool is_fpu(IrKind k) { return k == IR_fpu || k == IR_fpux || k == IR_fpum; }

unsigned t1_last_fpu(const IrBlock *b) /* index + 1 of the last op that uses it; 0: none */
{
    for (unsigned i = b->nops; i-- > 0;)
        if (is_fpu(IR_KIND(b->ops[i].op)))
            return i + 1;
    return 0;
}

/* ---- live or not */
void t1_fpu_live(T1 *t, bool entry) /* the flags are in Env */
{
    Tail *k = t1_tail(t, TAIL_FPU_LIVE);

    a_alu_imm(&t->a, 7, 0, ENV(jit.fpu_live), 0);
    k->jump[0] = a_jump(&t->a, 4, NULL);
    k->back = t->a.p;
    k->what = entry;
}

void t1_fpu_live_tail(T1 *t, Tail *k)
{
    if (k->what)
        a_const(&t->a, H11, (uint64_t)(uintptr_t)t->blk | JIT_INTERP);
    a_jump(&t->a, 17, k->what ? t->code->fpu_entry : t->code->fpu);
    a_jump(&t->a, 16, k->back);
}

/* The slow path stored the FPU if it was live. */
void t1_fpu_again(T1 *t, const Tail *k)
{
    uint8_t *over;

    if ((unsigned)(k->op - t->b->ops) + 1 >= t->last_fpu)
        return;
    a_alu_imm(&t->a, 7, 0, ENV(jit.fpu_live), 0);
    over = a_jump(&t->a, 5, NULL);
    a_jump(&t->a, 17, t->code->fpu);
    a_patch(over, t->a.p);
}

/* ---- for stubs; rsp is `shift` below Env */

/* FLDENV; what it says of pointers is of no matter. */
static void load_env(Asm *a, int shift)
{
    a_op(a, 0, 0xd9, 2, 4, AT(jit.fpu_env, shift));
}

static void env_word(Asm *a, unsigned n, int shift, uint32_t v)
{
    a_op(a, 0, 0xc7, 2, 0, part(offsetof(Env, jit.fpu_env), shift, n));
    a_imm(a, v, 4);
}

static void copy_word(Asm *a, Rm to, Rm from)
{
    a_op(a, 0, 0x0fb7, 2, HAX, from);
    a_store(a, 1, to, HAX);
}

/* 16 bits of tags, 11 is empty, to one bit each in eax, 1 is in use; ecx is lost. */
static void shorten_tags(Asm *a)
{
    a_mov(a, 2, HCX, rm_reg(HAX));
    a_op(a, 0, 0xd1, 2, 5, rm_reg(HCX)); /* shr ecx, 1 */
    a_op(a, 0, 0x23, 2, HAX, rm_reg(HCX));
    a_const(a, HCX, 0x5555);
    a_vex(a, 2, 2, 0xf5, 2, HAX, HAX, rm_reg(HCX)); /* pext */
    a_alu_imm(a, 6, 2, rm_reg(HAX), 0xff);
}

void t1_fpu_store(Asm *a, int shift)
{
    const size_t env = offsetof(Env, jit.fpu_env);
    uint8_t *over;

    a_alu_imm(a, 7, 0, AT(jit.fpu_live, shift), 0);
    over = a_jump(a, 4, NULL);
    a_op(a, 0, 0xd9, 2, 6, AT(jit.fpu_env, shift)); /* fnstenv */
    copy_word(a, at(target_fpu_at.cw, shift), part(env, shift, 0));
    copy_word(a, at(target_fpu_at.sw, shift), part(env, shift, 4));
    a_op(a, 0, 0x0fb7, 2, HAX, part(env, shift, 8));
    shorten_tags(a);
    a_store(a, 1, at(target_fpu_at.tags, shift), HAX);
    env_word(a, 0, shift, 0x37f);
    env_word(a, 4, shift, 0); /* TOP 0: ST(i) is register i */
    env_word(a, 8, shift, 0); /* .. and all of them can be stored, empty or not */
    load_env(a, shift);
    for (unsigned i = 0; i < 8; i++)
        a_op(a, 0, 0xdb, 2, 7, part(target_fpu_at.st, shift, 16 * i)); /* fstp m80: moves the bits, whatever they are */
    a_op(a, 0, 0xc6, 0, 0, AT(jit.fpu_live, shift));
    a_imm(a, 0, 1);
    a_patch(over, a->p);
}

/* Every register of the guest's and every temp is kept. The host's x87 is empty, its TOP 0. */
void t1_fpu_load(Asm *a, int shift)
{
    const size_t env = offsetof(Env, jit.fpu_env);

    a_store(a, 3, AT(jit.save[0], shift), HAX);
    a_store(a, 3, AT(jit.save[1], shift), HCX);
    for (unsigned i = 8; i-- > 0;)
        a_op(a, 0, 0xdb, 2, 5, part(target_fpu_at.st, shift, 16 * i)); /* fld m80 */
    copy_word(a, part(env, shift, 0), at(target_fpu_at.cw, shift));
    copy_word(a, part(env, shift, 4), at(target_fpu_at.sw, shift));
    a_op(a, 0, 0x0fb7, 2, HAX, at(target_fpu_at.tags, shift));
    a_op(a, 0, 0xf7, 2, 2, rm_reg(HAX)); /* not */
    a_const(a, HCX, 0x5555);
    a_vex(a, 3, 2, 0xf5, 2, HAX, HAX, rm_reg(HCX)); /* pdep */
    a_op(a, 0, 0x8d, 2, HAX, rm_idx(HAX, HAX, 1, 0)); /* 01 to 11 */
    a_store(a, 1, part(env, shift, 8), HAX);
    load_env(a, shift);
    a_op(a, 0, 0xc6, 0, 0, AT(jit.fpu_live, shift));
    a_imm(a, 1, 1);
    a_mov(a, 3, HAX, AT(jit.save[0], shift));
    a_mov(a, 3, HCX, AT(jit.save[1], shift));
}

/* Two jumps where an exception is unmasked or pending. Uses r9. */
uint8_t *t1_fpu_unmasked(Asm *a, int shift, uint8_t **other)
{
    uint8_t *one;

    a_op(a, 0, 0x0fb7, 2, H9, at(target_fpu_at.cw, shift));
    a_alu_imm(a, 4, 2, rm_reg(H9), 0x3f);
    a_alu_imm(a, 7, 2, rm_reg(H9), 0x3f);
    one = a_jump(a, 5, NULL);
    a_op(a, 0, 0xf6, 0, 0, at(target_fpu_at.sw, shift));
    a_imm(a, 0x80, 1);
    *other = a_jump(a, 5, NULL);
    return one;
}

/* ---- operations */
static bool is_control(unsigned op)
{
    return (op & 0x738) == FLDCW || (op & 0x738) == FNSTCW || (op & 0x738) == FNSTSW ? (op & 0xc0) != 0xc0
                                                                                      : op == FNCLEX || op == FNSTSW_AX;
}

/* The instruction pointer; not if the next op sets it again and nobody can look in between. */
static void note_ip(T1 *t)
{
    const IrOp *next = &t->b->ops[t->i + 1];
    uint64_t pc = target_fpu_pc(t->b->mode, t->b->insn_pc[t->b->at[t->i]]);
    unsigned r;

    if (t->i + 1 < t->b->nops && IR_KIND(next->op) == IR_fpu && !is_control(next->x))
        return;
    if (!t->b->rel && is_small((int64_t)pc)) {
        a_op(&t->a, 0, 0xc7, 3, 0, rm_mem(HSP, (int64_t)target_fpu_at.ip));
        a_imm(&t->a, pc, 4);
        return;
    }
    r = t1_grab(t);
    if (t->b->rel) {
        a_mov(&t->a, 3, r, env_slot(V_PAGE));
        a_op(&t->a, 0, 0x8d, 3, r, rm_mem(r, (int64_t)pc));
    } else {
        a_const(&t->a, r, pc);
    }
    a_store(&t->a, 3, rm_mem(HSP, (int64_t)target_fpu_at.ip), r);
}

static void by_register(T1 *t, const IrOp *o)
{
    bool flags = IR_KIND(o->op) == IR_fpux;

    if (flags)
        t1_need_flags(t);
    a_byte(&t->a, 0xd8 | o->x >> 8);
    a_byte(&t->a, o->x & 0xff);
    if (flags && (o->x & 0x3e0) == 0x3e0) { /* FCOMI and its like; not FCMOV */
        t->ef_ok = true;
        t->env_ok = false;
    }
    if (!is_control(o->x))
        note_ip(t);
}

/* FLDCW: only of a word that masks everything. */
static void load_control(T1 *t, Tail *k, unsigned y, Rm m)
{
    a_op(&t->a, 0, 0x0fb7, 2, y, m);
    a_alu_imm(&t->a, 4, 2, rm_reg(y), 0x3f);
    a_alu_imm(&t->a, 7, 2, rm_reg(y), 0x3f);
    k->jump[1] = a_jump(&t->a, 5, NULL);
    a_op(&t->a, 0, 0xd9, 2, 5, m);
}

static bool wants_flags_later(const T1 *t) { return t->b->live[t->i]; }

static void with_memory(T1 *t, const IrOp *o)
{
    unsigned op = fpu_with_memory(o), va, y = 0, bytes = IR_SIZE(o->op) ? 1u << IR_SIZE(o->op) : 10;
    bool grouped, control = is_control(op), cw = (op & 0x738) == FLDCW;
    Tail *k;
    Rm m;

    if (!t->ngroups || !t->group_of[t->i] || cw) {
        if (wants_flags_later(t))
            t1_save_flags(t);
        t->ef_ok = false;
    }
    grouped = !cw && t1_grouped(t, o, &m);
    if (grouped) {
        a_op(&t->a, 0, 0xd8 | op >> 8, 2, op >> 3 & 7, m);
        if (control)
            return;
        if (m.index != 0xff && m.disp == 0 && o->a == V_NONE) {
            va = m.index;
        } else {
            va = t1_own(t, m.reg);
            a_op(&t->a, 0, 0x8d, 3, va, rm_mem(m.index, m.disp));
        }
        a_store(&t->a, 3, rm_mem(HSP, (int64_t)target_fpu_at.dp), va);
        t->locked = 0;
        note_ip(t);
        return;
    }
    t1_drop_copies(t);
    va = t1_address(t, o);
    k = t1_tail(t, TAIL_FPU);
    m = t1_tlb_check(t, k, va, bytes, o->x & X_FPU_ST, &y);
    if (cw)
        load_control(t, k, y, m);
    else
        a_op(&t->a, 0, 0xd8 | op >> 8, 2, op >> 3 & 7, m);
    if (!control) {
        a_store(&t->a, 3, rm_mem(HSP, (int64_t)target_fpu_at.dp), va);
        t->owner[y - H9] = FREE;
        t->locked &= ~(1u << y);
        note_ip(t);
    }
    k->what = op;
    k->back = t->a.p;
    t1_drop_copies(t); /* the tail calls */
    t->vs = V_NONE;
}

bool t1_fpu_op(T1 *t, const IrOp *o)
{
    if (!is_fpu(IR_KIND(o->op)))
        return false;
    if (IR_KIND(o->op) == IR_fpum)
        with_memory(t, o);
    else
        by_register(t, o);
    return true;
}

/* Not in the TLB, or a control word that unmasks: C does it. */
void t1_fpu_tail(T1 *t, Tail *k)
{
    Asm *a = &t->a;
    unsigned i = (unsigned)(k->op - t->b->ops);

    a_store(a, 3, ENV(jit.arg[1]), k->addr);
    t1_set32(t, ENV(jit.arg[0]), k->what);
    t1_set32(t, rm_mem(HSP, (int64_t)offsetof(Env, jit.arg[0]) + 4), 0);
    t1_here_and_now(t, H9, t->b->insn_pc[t->b->at[i]]);
    a_store(a, 3, ENV(jit.arg[2]), H9);
    a_const(a, H11, (uint64_t)(uintptr_t)target_fpu);
    t1_call(t, t->code->call, k->insn);
    if ((k->what & 0x738) == FLDCW) { /* who knows what is masked now: leave */
        t1_here_and_now(t, H9, t->b->insn_pc[k->insn + 1]);
        a_store(a, 3, ENV(pc), H9);
        a_jump(a, 16, t->code->leave);
        return;
    }
    if (i + 1 < t->last_vector) {
        a_jump(a, 17, t->code->live);
        t1_upper(t);
    }
    if (i + 1 < t->last_fpu)
        a_jump(a, 17, t->code->fpu);
    a_jump(a, 16, k->back);
}
