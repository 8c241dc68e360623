/* t1_call.c - ops that are a call: helpers, vector functions, and ops the host has no instruction for. */
#include "tcg/x86_64/t1.h"

/* Flags a callee reads, or that must survive it, are in Env before it runs. */
static void flags_in_env(T1 *t, const IrOp *o)
{
    const IrInfo *k = &ir_info[IR_KIND(o->op)];
    unsigned live = t->b->live[t->i], writes = o->op & IR_F && !(k->traits & T_MAYBE) ? k->writes : 0;

    if (k->reads || live & ~writes)
        t1_save_flags(t);
    if (o->op & IR_F || k->reads == FALL)
        t->env_ok = true;
}

static void argument(T1 *t, unsigned n, unsigned v)
{
    Rm to = ENV(jit.arg[0]);

    to.disp += 8 * (int)n;
    if (v == V_NONE || (is_temp(v) && t->is_const[v] && t->reg[v] < 0 && is_small(t->konst[v]))) {
        a_op(&t->a, 0, 0xc7, 3, 0, to);
        a_imm(&t->a, v == V_NONE ? 0 : (uint64_t)t->konst[v], 4);
        return;
    }
    a_store(&t->a, 3, to, t1_use(t, v));
    t->locked = 0;
    for (unsigned r = 0; r < 3; r++)
        if (t->owner[r] == LOANED)
            t->owner[r] = FREE;
}

static void forget(T1 *t, unsigned v, unsigned bit) /* v dies here: its slot need not hold it */
{
    if (is_temp(v) && t->b->kill[t->i] & bit && t->reg[v] >= 0) {
        t->owner[t->reg[v] - H9] = FREE;
        t->reg[v] = -1;
    }
}

static void call(T1 *t, const IrOp *o)
{
    HelperFn fn = (HelperFn)(uintptr_t)o->imm, brief = target_short(fn);

    argument(t, 0, o->a);
    argument(t, 1, o->b);
    argument(t, 2, o->c);
    forget(t, o->a, 1);
    forget(t, o->b, 2);
    forget(t, o->c, 4);
    t1_store_temps(t);
    a_const(&t->a, H11, (uint64_t)(uintptr_t)(brief ? brief : fn));
    t1_call(t, brief ? t->code->brief : t->code->call, t->b->at[t->i]);
    if (o->d == V_NONE)
        return;
    t->owner[H11 - H9] = LOANED;
    t1_put(t, o->d, H11, 3);
}

static void address_of(T1 *t, unsigned n, unsigned vec)
{
    Rm to = ENV(jit.arg[0]);

    to.disp += 8 * (int)n;
    a_op(&t->a, 0, 0x8d, 3, H11, env_vec(vec));
    a_store(&t->a, 3, to, H11);
}

static void call_vec(T1 *t, const IrOp *o)
{
    t1_store_temps(t);
    address_of(t, 0, o->d);
    address_of(t, 1, o->a);
    t1_set32(t, ENV(jit.arg[2]), o->x);
    a_const(&t->a, H11, (uint64_t)o->imm);
    t1_call(t, t->code->call, t->b->at[t->i]);
}

static void call_vex(T1 *t, const IrOp *o)
{
    Rm how = ENV(jit.arg[0]), imm = how;

    imm.disp += 4;
    t1_store_temps(t);
    t1_set32(t, how, o->d | (uint32_t)o->a << 8 | (uint32_t)o->b << 16);
    t1_set32(t, imm, o->x);
    a_const(&t->a, H11, (uint64_t)o->imm);
    a_store(&t->a, 3, ENV(jit.arg[1]), H11);
    a_const(&t->a, H11, (uint64_t)(uintptr_t)interp_vex);
    t1_call(t, t->code->call, t->b->at[t->i]);
}

/* Operands that a C function takes from Env. */
static void operands_to_env(T1 *t, const IrOp *o)
{
    t1_store_temps(t);
    t1_in_slot(t, o->a);
    if (!(o->op & IR_I))
        t1_in_slot(t, o->b);
    t1_in_slot(t, o->c);
    t1_in_slot(t, o->d);
}

/* mov r11, an address that is known later; where. */
static uint8_t *address_later(T1 *t)
{
    a_byte(&t->a, 0x49);
    a_byte(&t->a, 0xb8 | (H11 & 7));
    a_imm(&t->a, 0, 8);
    return t->a.p - 8;
}

/* The op itself is data behind the block's code. */
static void call_op(T1 *t, const IrOp *o)
{
    Tail *k;

    operands_to_env(t, o);
    k = t1_tail(t, TAIL_DATA);
    k->back = address_later(t);
    t1_call(t, t->code->op, t->b->at[t->i]);
    if (is_temp(o->d)) {
        t->is_const[o->d] = false;
        t->written[o->d] = true;
    }
}

void t1_data_tail(T1 *t, Tail *k)
{
    IrOp o = *k->op;
    uint64_t at;

    while ((uintptr_t)t->a.p & 15)
        a_byte(&t->a, 0xcc);
    at = (uint64_t)(uintptr_t)(t->code->rx + (t->a.p - t->code->rw));
    memcpy(k->back, &at, 8);
    if (o.d == V_NONE)
        o.d = V_DUMP;
    memcpy(t->a.p, &o, sizeof(o));
    t->a.p += sizeof(o);
}

/*
 * Compare and swap by the host's own, on RAM that may be written, aligned (others take a lock in C). Whatever else it is,
 * and when another vCPU was faster, C does it again.
 */
static void compare_swap(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), va, y;
    Tail *k;
    Rm m;

    operands_to_env(t, o);
    va = t1_address(t, o);
    k = t1_tail(t, TAIL_CAS);
    m = t1_tlb_check(t, k, va, 1u << size, true, &y);
    if (size) {
        a_op(&t->a, 0, 0xf7, 2, 0, rm_reg(va));
        a_imm(&t->a, (1u << size) - 1, 4);
        k->jump[1] = a_jump(&t->a, 5, NULL);
    }
    a_op(&t->a, 0, 0x8d, 3, m.reg, m);
    a_mov(&t->a, 3, y, is_pinned(o->c) ? rm_reg((unsigned)t1_pin[o->c]) : env_slot(o->c));
    a_store(&t->a, 3, ENV(jit.save[3]), HAX);
    a_mov(&t->a, 3, HAX, is_pinned(o->d) ? rm_reg((unsigned)t1_pin[o->d]) : env_slot(o->d));
    a_byte(&t->a, 0xf0); /* lock */
    a_op(&t->a, 0, size ? 0x0fb1 : 0x0fb0, size, y, rm_mem(m.reg, 0));
    a_mov(&t->a, 3, HAX, ENV(jit.save[3]));
    k->jump[2] = a_jump(&t->a, 5, NULL);
    k->back = t->a.p;
    t1_forget_temps(t); /* they are in their slots; the tail calls */
}

void t1_cas_tail(T1 *t, Tail *k)
{
    uint8_t *at = address_later(t);

    t1_call(t, t->code->op, k->insn);
    a_jump(&t->a, 16, k->back);
    k->back = at;
    t1_data_tail(t, k);
}

bool t1_call_op(T1 *t, const IrOp *o)
{
    switch (IR_KIND(o->op)) {
    case IR_vld:
    case IR_vst:
    case IR_vldn:
    case IR_vstn:
        if (t1_needs_avx(o))
            break;
        return false;
    case IR_ld:
    case IR_st:
    case IR_divw:
    case IR_idivw: return false;
    default: break;
    }
    flags_in_env(t, o);
    switch (IR_KIND(o->op)) {
    case IR_call:
    case IR_callf: call(t, o); break;
    case IR_vex:
    case IR_vexf:
    case IR_vexx: call_vex(t, o); break;
    case IR_cas: compare_swap(t, o); break;
    case IR_vop:
    case IR_vopf:
    case IR_vopx: call_vec(t, o); break;
    default: call_op(t, o); break;
    }
    t->vs = V_NONE;
    return true;
}
