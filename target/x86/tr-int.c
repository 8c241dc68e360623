/* target/x86/tr-int.c - translators of the integer rows that a template cannot say. */
#include "target/x86/tr.h"


void tr_push(Tr *t) { tr_push_val(t, t->in.size, tr_rd(t, 0, false)); }

/* rsp + n in the stack's size, zero-extended for use as an offset */
static Val stack_top(Tr *t, Val base)
{
    unsigned ss = tr_stack_size(t);
    Val z;

    if (ss == 3)
        return base;
    z = ir_temp(t->b);
    if (ss == 1)
        ir_emit(t->b, IR_zx, 3, z, base, NOVAL)->x = 1;
    else
        ir_emit(t->b, IR_lea, 2, z, base, NOVAL);
    return z;
}

static void add_rsp(Tr *t, int64_t n)
{
    ir_emit(t->b, IR_lea, tr_stack_size(t), val_reg(RSP), val_reg(RSP), NOVAL)->imm = n;
}

static Val pop_val(Tr *t, unsigned size)
{
    Val d = ir_temp(t->b);

    tr_at(t, IR_ld, size, d, stack_top(t, val_reg(RSP)), SEG_SS, false);
    return d;
}

void tr_pop(Tr *t)
{
    Val d = pop_val(t, t->in.size);

    if (t->in.opc_reg != RSP) { /* in this order the load goes straight to the register */
        ir_alu(t->b, IR_mov, t->in.size, 0, val_reg(t->in.opc_reg), d, NOVAL);
        add_rsp(t, 1 << t->in.size);
        return;
    }
    add_rsp(t, 1 << t->in.size);
    ir_alu(t->b, IR_mov, t->in.size, 0, val_reg(t->in.opc_reg), d, NOVAL);
}

/* The address is computed with rsp already moved; the store may fault before rsp is. */
void tr_pop_e(Tr *t)
{
    Val d = pop_val(t, t->in.size);

    if (t->in.mem) {
        if (t->in.base == RSP)
            t->in.disp += 1 << t->in.size;
        tr_mem(t, IR_st, t->in.size, NOVAL, true)->c = d.v;
        add_rsp(t, 1 << t->in.size);
        return;
    }
    add_rsp(t, 1 << t->in.size);
    ir_alu(t->b, IR_mov, t->in.size, 0, val_reg(t->in.rm), d, NOVAL);
}

void tr_pusha(Tr *t)
{
    tr_row_call(t, IR_call, NOVAL, val_const(t->in.size), NOVAL, NOVAL);
}

void tr_enter(Tr *t)
{
    tr_row_call(t, IR_call, NOVAL, val_const(t->in.size), val_const(t->in.imm & 0xffff), val_const(t->in.imm >> 16 & 31));
}

static uint64_t eip_of_next(const Tr *t) { return tr_eip(t, t->next); }

/* What the branch just emitted adds to rsp when its target is not canonical: the fault is at the branch. */
static void undo_rsp(Tr *t, int64_t n)
{
    IrOp *o = &t->b->ops[t->b->nops - 1];

    o->b = RSP;
    o->imm = n;
}

void tr_call_ind(Tr *t)
{
    Val to = tr_rd(t, 0, false), copy = to;

    if (!t->in.mem) { /* the push must not change the target */
        copy = ir_temp(t->b);
        ir_alu(t->b, IR_mov, 3, 0, copy, to, NOVAL);
    }
    tr_push_val(t, t->in.size, tr_visible(t, eip_of_next(t)));
    tr_jump_ind(t, t->in.size, copy);
    undo_rsp(t, 1 << t->in.size);
}

void tr_jmp_ind(Tr *t) { tr_jump_ind(t, t->in.size, tr_rd(t, 0, false)); }

void tr_ret(Tr *t)
{
    int64_t n = (1 << t->in.size) + (t->in.row->nopr ? t->in.imm : 0);
    Val to = pop_val(t, t->in.size);

    add_rsp(t, n);
    tr_jump_ind(t, t->in.size, to);
    undo_rsp(t, -n);
}

void tr_jmp(Tr *t) { tr_jump_to(t, tr_target(t, t->in.imm)); }

void tr_jcc(Tr *t)
{
    uint64_t to = tr_target(t, t->in.imm);
    IrOp *o = ir_emit(t->b, IR_brcc, 3, NOVAL, NOVAL, NOVAL);

    t->polls |= tr_backward(t, to);
    o->x = t->in.cond;
    o->c = (uint8_t)ir_slot(t->b, to);
}

/* loop and jcxz count in the address size; loopz looks at ZF as well. */
void tr_loop(Tr *t)
{
    unsigned size = t->in.asize;
    uint64_t to = tr_target(t, t->in.imm);
    IrOp *o;

    ir_emit(t->b, IR_lea, size, val_reg(RCX), val_reg(RCX), NOVAL)->imm = -1;
    t->polls |= tr_backward(t, to);
    if (t->in.opcode == 0xe2) {
        o = ir_emit(t->b, IR_brz, size, NOVAL, val_reg(RCX), NOVAL);
        o->x = 1;
        o->c = (uint8_t)ir_slot(t->b, to);
    } else {
        o = ir_emit(t->b, IR_brz, size, NOVAL, val_reg(RCX), NOVAL);
        o->x = 0;
        o->c = (uint8_t)ir_slot(t->b, t->next);
        o = ir_emit(t->b, IR_brcc, 3, NOVAL, NOVAL, NOVAL);
        o->x = t->in.opcode == 0xe1 ? 4 : 5;
        o->c = (uint8_t)ir_slot(t->b, to);
    }
    tr_jump_to(t, t->next);
}

void tr_jcxz(Tr *t)
{
    uint64_t to = tr_target(t, t->in.imm);
    IrOp *o = ir_emit(t->b, IR_brz, t->in.asize, NOVAL, val_reg(RCX), NOVAL);

    t->polls |= tr_backward(t, to);
    o->c = (uint8_t)ir_slot(t->b, to);
    tr_jump_to(t, t->next);
}

void tr_xchg_a(Tr *t)
{
    unsigned reg = t->in.opc_reg;
    Val tmp;

    if (reg == RAX) {
        if (t->in.rep) /* pause: let interrupts and other vCPUs in */
            t->polls = true;
        return; /* 90 is nop: it does not clear the upper half of rax */
    }
    tmp = ir_temp(t->b);
    ir_alu(t->b, IR_mov, 3, 0, tmp, val_reg(RAX), NOVAL);
    ir_alu(t->b, IR_mov, t->in.size, 0, val_reg(RAX), val_reg(reg), NOVAL);
    ir_alu(t->b, IR_mov, t->in.size, 0, val_reg(reg), tmp, NOVAL);
}

/* With memory it is locked with or without the prefix. */
void tr_xchg(Tr *t)
{
    unsigned size = t->in.size;
    Val mine = tr_rd(t, 1, false), old = tr_rd(t, 0, true), copy;

    if (t->in.mem) {
        mine = ir_reg(t->b, mine);
        tr_mem(t, IR_cas, size, old, true)->c = mine.v;
        tr_wr(t, 1, old);
        return;
    }
    copy = ir_temp(t->b);
    ir_alu(t->b, IR_mov, 3, 0, copy, old, NOVAL);
    tr_wr(t, 0, mine);
    tr_wr(t, 1, copy);
}

void tr_xadd(Tr *t)
{
    unsigned size = t->in.size;
    Val add = tr_rd(t, 1, false), old = tr_rd(t, 0, true), sum = ir_temp(t->b), keep = old;

    ir_alu(t->b, IR_add, size, 0, sum, old, add);
    if (t->in.mem) {
        if (t->in.lock)
            tr_mem(t, IR_cas, size, old, true)->c = sum.v;
        else
            tr_mem(t, IR_st, size, NOVAL, true)->c = sum.v;
    } else {
        keep = ir_temp(t->b);
        ir_alu(t->b, IR_mov, 3, 0, keep, old, NOVAL);
    }
    ir_alu(t->b, IR_add, size, IR_F, NOVAL, old, add);
    tr_wr(t, 1, keep);
    if (!t->in.mem)
        tr_wr(t, 0, sum);
}

/* Memory is written in any case; the accumulator only when the comparison fails. */
void tr_cmpxchg(Tr *t)
{
    unsigned size = t->in.size;
    Val old = tr_rd(t, 0, true), src = tr_rd(t, 1, false), new = ir_temp(t->b), acc = ir_temp(t->b), was = old;
    Val full = ir_temp(t->b);

    if (!t->in.mem) {
        was = ir_temp(t->b);
        ir_alu(t->b, IR_mov, 3, 0, was, old, NOVAL);
    }
    ir_alu(t->b, IR_sub, size, IR_F, NOVAL, val_reg(RAX), was);
    ir_alu(t->b, IR_mov, 3, 0, new, was, NOVAL);
    ir_emit(t->b, IR_cmov, 3, new, was, src)->x = 4;
    ir_alu(t->b, IR_mov, 2, 0, full, src, NOVAL); /* a 32-bit register that does not match keeps its upper half */
    if (t->in.mem && t->in.lock)
        tr_mem(t, IR_cas, size, was, true)->c = new.v;
    else if (t->in.mem)
        tr_mem(t, IR_st, size, NOVAL, true)->c = new.v;
    ir_alu(t->b, IR_mov, 3, 0, acc, val_reg(RAX), NOVAL);
    ir_alu(t->b, IR_mov, size, 0, acc, was, NOVAL);
    ir_emit(t->b, IR_cmov, 3, val_reg(RAX), val_reg(RAX), acc)->x = 5;
    if (!t->in.mem && size == 2)
        ir_emit(t->b, IR_cmov, 3, val_reg(t->in.rm), val_reg(t->in.rm), full)->x = 4;
    else if (!t->in.mem)
        tr_wr(t, 0, new);
}

void tr_cmpxchg8b(Tr *t)
{
    Val at = tr_linear(t, t->in.rexw ? 4 : 3, true);

    tr_row_call(t, IR_callf, NOVAL, at, val_const(t->in.rexw ? 16 : 8), NOVAL);
}

void tr_lea(Tr *t)
{
    Val ea = tr_ea(t, 3);

    ir_alu(t->b, IR_mov, t->in.size, 0, val_reg(t->in.reg), ea, NOVAL);
}

static void extend(Tr *t, IrKind k)
{
    Val s = tr_rd(t, 1, false);

    ir_emit(t->b, k, t->in.size, val_reg(t->in.reg), s, NOVAL)->x = (uint16_t)tr_size(t, 1);
}
void tr_movzx(Tr *t) { extend(t, IR_zx); }
void tr_movsx(Tr *t)
{
    if (t->in.opcode == 0x63 && t->in.size == 1) { /* movsxd r16 extends nothing; AMD's CPUs read a doubleword */
        Val v = val_reg(t->in.rm);

        if (t->in.mem) {
            v = ir_temp(t->b);
            tr_mem(t, IR_ld, t->s->vendor_amd ? 2 : 1, v, false);
        }
        ir_alu(t->b, IR_mov, 1, 0, val_reg(t->in.reg), v, NOVAL);
        return;
    }
    extend(t, IR_sx);
}
void tr_movoff(Tr *t) { tr_wr(t, 0, tr_rd(t, 1, false)); }

void tr_cwde(Tr *t)
{
    ir_emit(t->b, IR_sx, t->in.size, val_reg(RAX), val_reg(RAX), NOVAL)->x = t->in.size - 1;
}

void tr_cdq(Tr *t)
{
    unsigned n = t->in.size;
    Val s = ir_temp(t->b);

    ir_emit(t->b, IR_sx, 3, s, val_reg(RAX), NOVAL)->x = (uint16_t)n;
    ir_alu(t->b, IR_sar, 3, 0, s, s, val_const(63));
    ir_alu(t->b, IR_mov, n, 0, val_reg(RDX), s, NOVAL);
}

static void wide(Tr *t, IrKind k)
{
    Val s = tr_rd(t, 0, false);

    ir_emit(t->b, k, t->in.size, NOVAL, s, NOVAL)->op |= ir_info[k].writes ? IR_F : 0;
}
void tr_mulw(Tr *t) { wide(t, IR_mulw); }
void tr_imulw(Tr *t) { wide(t, IR_imulw); }
void tr_divw(Tr *t) { wide(t, IR_divw); }
void tr_idivw(Tr *t) { wide(t, IR_idivw); }

void tr_mulx(Tr *t)
{
    Val s = tr_rd(t, 2, false), lo = ir_temp(t->b), hi = ir_temp(t->b);

    ir_emit(t->b, IR_imul, t->in.size, lo, val_reg(RDX), s);
    ir_emit(t->b, IR_mulx, t->in.size, hi, val_reg(RDX), s);
    tr_wr(t, 1, lo);
    tr_wr(t, 0, hi);
}

void tr_shiftx(Tr *t)
{
    static const IrKind kind[] = { [1] = IR_shl, [3] = IR_shr, [2] = IR_sar };

    tr_to_operand(t, 0, kind[t->in.row->pfx], 0, tr_rd(t, 1, false), tr_rd(t, 2, false));
}

static void double_shift(Tr *t, IrKind k)
{
    unsigned size = t->in.size;
    Val by = ir_reg(t->b, tr_rd(t, 2, false)), a = tr_rd(t, 0, true), b = tr_rd(t, 1, false);
    Val d = t->in.mem ? ir_temp(t->b) : val_reg(t->in.rm);
    IrOp *o = ir_emit(t->b, k, size, d, a, b);

    o->c = by.v;
    o->op |= IR_F;
    if (t->in.mem)
        tr_mem(t, IR_st, size, NOVAL, true)->c = d.v;
}
void tr_shld(Tr *t) { double_shift(t, IR_shld); }
void tr_shrd(Tr *t) { double_shift(t, IR_shrd); }

void tr_bmi(Tr *t)
{
    const Row *r = t->in.row;
    unsigned kind = r->opc == 0xf2 ? BMI_ANDN : r->opc == 0xf5 ? BMI_BZHI : r->opc == 0xf7 ? BMI_BEXTR :
                    r->ext == 1 ? BMI_BLSR : r->ext == 2 ? BMI_BLSMSK : BMI_BLSI;
    Val a = tr_rd(t, 1, false), b = r->nopr > 2 ? tr_rd(t, 2, false) : a;
    IrOp *o = ir_emit(t->b, IR_bmi, t->in.size, val_reg(tr_reg(t, 0)), a, b);

    o->x = (uint16_t)kind;
    o->op |= IR_F;
}

/* bt/bts/btr/btc: with a register index the memory form addresses a bit string, not one word. */
void tr_bitop(Tr *t)
{
    static const IrKind kind[] = { IR_bt, IR_bts, IR_btr, IR_btc };
    bool by_reg = t->in.row->opr[1].kind == O_G;
    IrKind k = kind[by_reg ? t->in.row->opc >> 3 & 3 : t->in.row->ext & 3];
    unsigned size = t->in.size;
    Val bit = tr_rd(t, 1, false), v, r;

    if (t->in.mem && by_reg) {
        Val ea = tr_ea(t, 3), word = ir_temp(t->b);

        ir_emit(t->b, IR_sx, 3, word, bit, NOVAL)->x = (uint16_t)size;
        ir_alu(t->b, IR_sar, 3, 0, word, word, val_const(3 + size));
        t->in.base = ea.v; /* from here on the operand is [ea + word << size] */
        t->in.index = word.v;
        t->in.scale = (uint8_t)size;
        t->in.disp = 0;
        t->in.rip = false;
    }
    v = tr_rd(t, 0, k != IR_bt);
    if (k == IR_bt) {
        ir_alu(t->b, k, size, IR_F, NOVAL, v, bit);
        return;
    }
    if (!t->in.mem) {
        ir_alu(t->b, k, size, IR_F, val_reg(t->in.rm), v, bit);
        return;
    }
    r = ir_temp(t->b);
    ir_alu(t->b, k, size, 0, r, v, bit);
    tr_mem(t, t->in.lock ? IR_cas : IR_st, size, t->in.lock ? v : NOVAL, true)->c = r.v;
    ir_alu(t->b, IR_bt, size, IR_F, NOVAL, v, bit);
}

void tr_lahf(Tr *t)
{
    Val f = ir_temp(t->b);

    ir_emit(t->b, IR_getf, 3, f, NOVAL, NOVAL);
    ir_alu(t->b, IR_or, 3, 0, f, f, val_const(2));
    ir_emit(t->b, IR_dephi, 3, val_reg(RAX), f, NOVAL);
}

static uint64_t from_ah(Env *e, uint64_t ah, uint64_t b, uint64_t c)
{
    return (ah & EF_CF ? FC : 0) | (ah & EF_PF ? FP : 0) | (ah & EF_AF ? FA : 0) | (ah & EF_ZF ? FZ : 0) | (ah & EF_SF ? FS : 0);
}

static void set_flags(Tr *t, Val v, unsigned which)
{
    IrOp *o = ir_emit(t->b, IR_setf, 3, NOVAL, v, NOVAL);

    o->x = (uint16_t)which;
    o->op |= IR_F;
}

void tr_sahf(Tr *t)
{
    Val ah = ir_temp(t->b), f = ir_temp(t->b);

    ir_emit(t->b, IR_hi, 3, ah, val_reg(RAX), NOVAL);
    tr_call(t, IR_call, f, from_ah, ah, NOVAL, NOVAL);
    set_flags(t, f, FC | FP | FA | FZ | FS);
}

void tr_clc(Tr *t) { set_flags(t, ir_reg(t->b, val_const(0)), FC); }
void tr_stc(Tr *t) { set_flags(t, ir_reg(t->b, val_const(FC)), FC); }
void tr_cmc(Tr *t)
{
    Val f = ir_temp(t->b);

    ir_emit(t->b, IR_getf, 3, f, NOVAL, NOVAL);
    ir_alu(t->b, IR_xor, 3, 0, f, f, val_const(1));
    ir_alu(t->b, IR_and, 3, 0, f, f, val_const(1));
    set_flags(t, f, FC);
}

void tr_salc(Tr *t)
{
    Val f = ir_temp(t->b);

    ir_emit(t->b, IR_getf, 3, f, NOVAL, NOVAL);
    ir_alu(t->b, IR_and, 3, 0, f, f, val_const(1));
    ir_alu(t->b, IR_neg, 3, 0, f, f, NOVAL);
    ir_alu(t->b, IR_mov, 0, 0, val_reg(RAX), f, NOVAL);
}

void tr_call_al(Tr *t) /* daa, aam ..: the helper works on rax and the flags */
{
    tr_row_call(t, IR_callf, NOVAL, val_const(t->in.imm), NOVAL, NOVAL);
}

void tr_xlat(Tr *t)
{
    Val al = ir_temp(t->b), d = ir_temp(t->b);

    ir_emit(t->b, IR_zx, 3, al, val_reg(RAX), NOVAL)->x = 0;
    t->in.base = RBX;
    t->in.index = al.v;
    t->in.mem = true;
    tr_mem(t, IR_ld, 0, d, false);
    ir_alu(t->b, IR_mov, 0, 0, val_reg(RAX), d, NOVAL);
}

void tr_crc32(Tr *t)
{
    extern uint64_t hx_crc32(Env *, uint64_t, uint64_t, uint64_t);
    Val s = ir_reg(t->b, tr_rd(t, 1, false)), d = ir_temp(t->b);

    tr_call(t, IR_call, d, hx_crc32, val_reg(t->in.reg), s, val_const(1 << tr_size(t, 1)));
    ir_alu(t->b, IR_mov, 2, 0, val_reg(t->in.reg), d, NOVAL);
}

uint64_t x86_fence(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return 0;
}

void tr_fence(Tr *t) { tr_call(t, IR_call, NOVAL, x86_fence, NOVAL, NOVAL, NOVAL); }

void tr_touch(Tr *t) /* clflush and its like fault as a load of a byte */
{
    Val d = ir_temp(t->b);

    tr_mem(t, IR_ld, 0, d, false);
}

void tr_ud(Tr *t) { tr_exc(t, EXC_UD); }

void tr_string(Tr *t)
{
    unsigned rep = t->in.rep ? 1 : t->in.repne ? 2 : 0;
    bool moves = t->in.opcode <= 0xa5 || (t->in.opcode >= 0xaa && t->in.opcode <= 0xad); /* MOVS, STOS, LODS: no flags */
    uint64_t how = t->in.size | t->in.asize << 2 | rep << 4 | (uint64_t)t->in.seg << 6 | (uint64_t)(t->code == CODE64) << 9;

    t->polls = true;
    tr_row_call(t, moves ? IR_call : IR_callf, NOVAL, val_const((int64_t)how), NOVAL, NOVAL);
}

void tr_leaveq(Tr *t)
{
    unsigned size = t->in.size;
    Val v = ir_temp(t->b), sp = stack_top(t, val_reg(RBP));

    tr_at(t, IR_ld, size, v, sp, SEG_SS, false);
    ir_emit(t->b, IR_lea, tr_stack_size(t), val_reg(RSP), sp, NOVAL)->imm = 1 << size;
    ir_alu(t->b, IR_mov, size, 0, val_reg(RBP), v, NOVAL);
}

void tr_calln(Tr *t)
{
    tr_push_val(t, t->in.size, tr_visible(t, eip_of_next(t)));
    tr_jump_to(t, tr_target(t, t->in.imm));
}

/* A 16-bit BSWAP is undefined in the manuals; all processors clear the register. */
void tr_bswap(Tr *t)
{
    Val r = val_reg(t->in.opc_reg);

    if (t->in.size == 1)
        ir_alu(t->b, IR_mov, 1, 0, r, val_const(0), NOVAL);
    else
        ir_alu(t->b, IR_bswap, t->in.size, 0, r, r, NOVAL);
}
