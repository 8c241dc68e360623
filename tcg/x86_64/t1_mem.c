/* t1_mem.c - addresses, the inline xor-TLB, division: everything with a slow path in a tail. */
#include "tcg/x86_64/t1.h"

/* a + (b << scale) + imm as an operand of lea; absolute if there is neither. */
static Rm operand(T1 *t, const IrOp *o)
{
    unsigned base = o->a == V_NONE ? 0xff : t1_use(t, o->a);
    unsigned index = o->b == V_NONE ? 0xff : t1_use(t, o->b);

    if (!is_small(o->imm)) { /* an absolute address beside a segment base */
        unsigned x = t1_grab(t);

        a_const(&t->a, x, (uint64_t)o->imm);
        if (base != 0xff)
            a_op(&t->a, 0, 0x8d, 3, x, rm_idx(x, base, 0, 0));
        return (Rm){ true, (uint8_t)x, (uint8_t)index, o->x & X_SCALE, 0 };
    }
    return (Rm){ true, (uint8_t)base, (uint8_t)index, o->x & X_SCALE, (int32_t)o->imm };
}

static bool is_scratch(unsigned r) { return r >= H9 && r <= H11; }

/* Address components that are in r9 to r11 may be spilled, or go back, once the sum is made. */
static void unlock(T1 *t, unsigned r, unsigned sum)
{
    if (!is_scratch(r) || r == sum)
        return;
    t->locked &= ~(1u << r);
    if (t->owner[r - H9] == LOANED)
        t->owner[r - H9] = FREE;
}

/* The guest address in a register.  A loan for a component may become the sum. */
unsigned t1_address(T1 *t, const IrOp *o)
{
    Rm m;
    unsigned x;

    if (o->a != V_NONE && o->b == V_NONE && o->imm == 0)
        return t1_use(t, o->a);
    if (o->a == V_NONE && o->b == V_NONE) {
        x = t1_grab(t);
        a_const(&t->a, x, (uint64_t)o->imm);
        return x;
    }
    m = operand(t, o);
    if (is_scratch(m.reg) && t->owner[m.reg - H9] == LOANED)
        x = m.reg;
    else if (is_scratch(m.index) && t->owner[m.index - H9] == LOANED)
        x = m.index;
    else
        x = t1_grab(t);
    a_op(&t->a, 0, 0x8d, 3, x, m);
    unlock(t, m.reg, x);
    unlock(t, m.index, x);
    return x;
}

/*
 * The inline check.  On a hit the operand is [addend + va]; everything else jumps to the tail.
 * The scratch register is free again after the compare.
 */
Rm t1_tlb_check(T1 *t, Tail *k, unsigned va, unsigned bytes, bool write, unsigned *scratch)
{
    unsigned x = t1_grab(t), y = t1_grab(t);
    int64_t side = write ? VIEW(w) : VIEW(r);

    a_rorx(&t->a, 3, x, va, 8); /* page number * 16, and its upper garbage */
    a_alu_imm(&t->a, 4, 2, rm_reg(x), (TLB_N - 1) * 16);
    a_mov(&t->a, 3, y, rm_reg(va));
    a_op(&t->a, 0, 0x33, 3, y, rm_idx(H15, x, 0, side));
    a_alu_imm(&t->a, 7, 3, rm_reg(y), PAGE - (int64_t)bytes);
    k->jump[0] = a_jump(&t->a, 7, NULL);
    a_mov(&t->a, 3, x, rm_idx(H15, x, 0, side + 8));
    k->addr = va;
    *scratch = y;
    t->ef_ok = false;
    return rm_idx(x, va, 0, 0);
}

/* ---- groups: one check, the addend in a register or in Env */
static bool at_entry(const T1 *t, const IrGroup *g) { return g->at == (IR_KIND(t->b->ops[0].op) == IR_poll); }

static void failed(T1 *t, unsigned n, unsigned cond) /* here, by that condition */
{
    GroupExit *x = &t->part[n];

    x->jump[x->njumps++] = a_jump(&t->a, cond, NULL);
}

/* By the TLB: the addend of x, which is lost, to y. */
void t1_look_up_group(T1 *t, unsigned n, unsigned x, unsigned y)
{
    const IrGroup *g = &t->group[n];
    int64_t side = g->write ? VIEW(w) : VIEW(r);

    a_rorx(&t->a, 3, y, x, 8);
    a_alu_imm(&t->a, 4, 2, rm_reg(y), (TLB_N - 1) * 16);
    a_op(&t->a, 0, 0x33, 3, x, rm_idx(H15, y, 0, side));
    a_alu_imm(&t->a, 7, 3, rm_reg(x), PAGE - (g->hi - g->lo));
    failed(t, n, 7);
    a_mov(&t->a, 3, y, rm_idx(H15, y, 0, side + 8));
}

static void check_group(T1 *t, unsigned n)
{
    const IrGroup *g = &t->group[n];
    unsigned x = t1_grab(t), y = t1_grab(t);

    if (g->base == V_NONE)
        a_const(&t->a, x, (uint64_t)g->lo);
    else
        a_op(&t->a, 0, 0x8d, 3, x, rm_mem(t1_use(t, g->base), g->lo));
    if (g->align >= 0) {
        a_op(&t->a, 0, 0x8d, 2, y, rm_mem(x, (g->align - g->lo) & 15));
        a_op(&t->a, 0, 0xf6, 0, 0, rm_reg(y));
        a_imm(&t->a, 15, 1);
        failed(t, n, 5);
    }
    t->by_window[n] = t1_all_by_window(t, n);
    if (t->by_window[n])
        t1_check_by_window(t, n, x, y);
    else
        t1_look_up_group(t, n, x, y);
    t1_cache(t, V_GROUP + n, y);
    t->owner[x - H9] = FREE;
    for (unsigned r = 0; r < 3; r++)
        if (t->owner[r] == LOANED)
            t->owner[r] = FREE;
    t->locked = 0;
}

/* Those whose first access belongs to the instruction that begins with this op. */
void t1_check_groups(T1 *t)
{
    for (; t->nchecked < t->ngroups && t->group[t->nchecked].at <= t->i; t->nchecked++) {
        GroupExit *x = &t->part[t->nchecked];

        g_assert(t->group[t->nchecked].at == t->i);
        x->entry = at_entry(t, &t->group[t->nchecked]);
        x->njumps = 0;
        if (!x->entry && t->b->live[t->i - 1])
            t1_save_flags(t);
        t->ef_ok = false;
        check_group(t, t->nchecked);
    }
}

/* Where failed checks go: to C, later to a block that checks each access: the careful twin, or one from that instruction on. */
void t1_group_exits(T1 *t)
{
    bool entry = false;

    for (unsigned i = 0; i < t->nchecked; i++)
        for (unsigned j = 0; j < t->part[i].njumps && t->part[i].entry; j++, entry = true)
            a_patch(t->part[i].jump[j], t->a.p);
    if (entry) {
        t->blk->at_careful = (uint32_t)(t->a.p - t->start);
        a_jump(&t->a, 16, t->a.p + 5);
        t1_leave_for(t, JIT_CAREFUL);
    }
    for (unsigned i = 0; i < t->nchecked; i++) {
        if (t->part[i].entry)
            continue;
        for (unsigned j = 0; j < t->part[i].njumps; j++)
            a_patch(t->part[i].jump[j], t->a.p);
        t->blk->part[i].at = (uint32_t)(a_jump(&t->a, 16, t->a.p + 5) - t->start);
        t1_set32(t, ENV(jit.arg[0]), t->b->at[t->group[i].at] | i << 8);
        t1_leave_for(t, JIT_PART);
    }
}

bool t1_grouped(T1 *t, const IrOp *o, Rm *m)
{
    unsigned g = t->ngroups ? t->group_of[t->i] : 0, x, r;

    if (!g)
        return false;
    x = t1_use(t, V_GROUP + g - 1);
    if (o->a == V_NONE) {
        r = t1_grab(t);
        a_const(&t->a, r, (uint64_t)o->imm);
        *m = rm_idx(x, r, 0, 0);
        return true;
    }
    r = t1_use(t, o->a);
    *m = rm_idx(x, r, 0, o->imm);
    return true;
}

static unsigned wanted_in(T1 *t, unsigned d) { return is_pinned(d) ? (unsigned)t1_pin[d] : t1_grab(t); }

static bool extends(const IrOp *o) { return IR_KIND(o->op) == IR_zx || IR_KIND(o->op) == IR_sx; }

/* The op behind the load with it, memory its operand. k: how the tail does the same; or NULL. */
static void load_fused(T1 *t, const IrOp *o, Tail *k, Rm m)
{
    const IrOp *n = o + 1;
    unsigned x = 0;

    if (extends(n))
        x = k && !k->grouped && !is_pinned(n->d) ? m.reg : wanted_in(t, n->d); /* m.reg: a loan of the check's */
    else if (!(n->op & IR_F) && t->b->live[t->i + 1])
        t1_save_flags(t);
    t1_fused(t, n, o->d, x, m);
    if (k) {
        k->back = t->a.p;
        k->data = x;
        k->fused = n;
    }
    if (extends(n)) {
        t->i++; /* what is read again is that behind the extension */
        t1_put(t, n->d, x, IR_SIZE(n->op));
        t->i--;
    }
    t->skip = 1;
}

/* The op and the store behind the load with it. */
static void change(T1 *t, const IrOp *o, Tail *k, Rm m)
{
    const IrOp *n = o + 1;

    if (!(n->op & IR_F) && t->b->live[t->i + 1])
        t1_save_flags(t);
    t1_change(t, n, m);
    if (k) {
        k->back = t->a.p;
        k->fused = n;
        k->change = true;
    }
    t->skip = 2;
}

static void load_grouped(T1 *t, const IrOp *o, Rm m)
{
    unsigned size = IR_SIZE(o->op), x;
    Tail *k = t1_group_access(t, TAIL_MEM, m);

    if (k)
        k->what = size + (o->x & X_W ? SLOW_RMW : 0);
    if (t1_in_place(t, o)) {
        change(t, o, k, m);
        return;
    }
    if (t1_fusible(t, o)) {
        load_fused(t, o, k, m);
        return;
    }
    x = wanted_in(t, o->d);
    if (is_pinned(o->d) || size >= 2)
        a_mov(&t->a, size, x, m);
    else
        a_op(&t->a, 0, 0x0fb6 + size, 2, x, m);
    if (k) {
        k->back = t->a.p;
        k->data = x;
    }
    t1_put(t, o->d, x, size);
}

static void store_grouped(T1 *t, const IrOp *o, Rm m)
{
    unsigned size = IR_SIZE(o->op), v = 0;
    bool konst = is_temp(o->c) && t->is_const[o->c] && t->reg[o->c] < 0 && is_small(t->konst[o->c]);
    Tail *k;

    if (!konst)
        v = t1_use(t, o->c);
    k = t1_group_access(t, TAIL_MEM, m);
    if (konst) {
        a_op(&t->a, 0, size ? 0xc7 : 0xc6, size, 0, m);
        a_imm(&t->a, (uint64_t)t->konst[o->c], size == 3 ? 4 : 1u << size);
    } else {
        a_store(&t->a, size, m, v);
    }
    if (!k)
        return;
    k->what = SLOW_ST + size;
    k->back = t->a.p;
    k->data = v;
    k->is_const = konst;
    k->from.disp = konst ? (int32_t)t->konst[o->c] : 0;
}

static void load(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), y, va = t1_address(t, o), x;
    Tail *k = t1_tail(t, TAIL_MEM);
    Rm m = o->x & X_W && !t1_in_place(t, o) ? t1_tlb_check(t, k, va, 1u << size, true, &y) /* that it may be written must be known here */
                                            : t1_mem_check(t, o, k, va, 1u << size, o->x & X_W, &y);

    k->what = size + (o->x & X_W ? SLOW_RMW : 0);
    if (t1_in_place(t, o)) {
        change(t, o, k, m);
        return;
    }
    if (t1_fusible(t, o)) {
        load_fused(t, o, k, m);
        return;
    }
    x = is_pinned(o->d) ? (unsigned)t1_pin[o->d] : m.reg;
    if (is_pinned(o->d) || size >= 2)
        a_mov(&t->a, size, x, m);
    else
        a_op(&t->a, 0, 0x0fb6 + size, 2, x, m);
    k->back = t->a.p;
    k->data = x;
    t1_put(t, o->d, x, size);
}

static void store(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), y, va = t1_address(t, o);
    Tail *k = t1_tail(t, TAIL_MEM);
    Rm m = t1_mem_check(t, o, k, va, 1u << size, true, &y);
    bool konst = is_temp(o->c) && t->is_const[o->c] && t->reg[o->c] < 0 && is_small(t->konst[o->c]);

    k->what = SLOW_ST + size;
    if (konst) {
        a_op(&t->a, 0, size ? 0xc7 : 0xc6, size, 0, m);
        a_imm(&t->a, (uint64_t)t->konst[o->c], size == 3 ? 4 : 1u << size);
        k->is_const = true;
        k->from.disp = (int32_t)t->konst[o->c];
    } else {
        bool in_reg = is_pinned(o->c) || t->reg[o->c] >= 0;
        unsigned v = in_reg ? t1_use(t, o->c) : y;
        if (!in_reg && is_temp(o->c) && t->is_const[o->c])
            a_const(&t->a, y, (uint64_t)t->konst[o->c]);
        else if (!in_reg)
            a_mov(&t->a, 3, y, env_slot(o->c));
        a_store(&t->a, size, m, v);
        k->data = v;
        k->wide_const = !in_reg && is_temp(o->c) && t->is_const[o->c];
        k->konst = k->wide_const ? (uint64_t)t->konst[o->c] : 0;
        k->from_mem = !in_reg && !k->wide_const;
        k->from = env_slot(o->c);
    }
    k->back = t->a.p;
}

/* Inline when it cannot overflow; otherwise C decides between a result and #DE. */
static void divide(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), s = t1_use(t, o->a), x;
    bool is_signed = IR_KIND(o->op) == IR_idivw;
    Tail *k = t1_tail(t, TAIL_DIV);

    k->data = s;
    k->what = is_signed ? SLOW_IDIV : SLOW_DIV;
    if (size < 2) {
        k->jump[0] = a_jump(&t->a, 16, NULL);
    } else if (!is_signed) {
        a_op(&t->a, 0, 0x3b, size, HDX, rm_reg(s)); /* rdx >= s: overflow, or s is zero */
        k->jump[0] = a_jump(&t->a, 3, NULL);
        a_op(&t->a, 0, 0xf7, size, 6, rm_reg(s));
    } else {
        x = t1_grab(t);
        a_mov(&t->a, size, x, rm_reg(HAX));
        a_op(&t->a, 0, 0xc1, size, 7, rm_reg(x));
        a_imm(&t->a, size == 3 ? 63 : 31, 1);
        a_op(&t->a, 0, 0x3b, size, x, rm_reg(HDX));
        k->jump[0] = a_jump(&t->a, 5, NULL);
        a_op(&t->a, 0, 0x8d, size, x, rm_mem(s, 1)); /* 0 and -1 become 1 and 0 */
        a_alu_imm(&t->a, 7, size, rm_reg(x), 1);
        k->jump[1] = a_jump(&t->a, 6, NULL);
        a_op(&t->a, 0, 0xf7, size, 7, rm_reg(s));
    }
    k->back = t->a.p;
}

void t1_lea(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), x;
    IrOp c = *o;

    if (o->a == V_NONE && o->b == V_NONE) {
        c.op = IR_OP(IR_mov, size, IR_I);
        t1_alu_op(t, &c);
        return;
    }
    if (size < 3)
        c.imm = (int32_t)o->imm;
    Rm m = operand(t, &c);
    x = is_pinned(o->d) && size >= 2 ? (unsigned)t1_pin[o->d] : t1_grab(t);
    a_op(&t->a, 0, 0x8d, size < 2 ? 2 : size, x, m);
    t1_put(t, o->d, x, size);
}

bool t1_mem_op(T1 *t, const IrOp *o)
{
    IrKind kind = IR_KIND(o->op);
    Rm m;
    bool grouped = (kind == IR_ld || kind == IR_st) && t1_grouped(t, o, &m);

    switch (IR_KIND(o->op)) {
    case IR_ld:
        if (grouped)
            load_grouped(t, o, m);
        else
            load(t, o);
        break;
    case IR_st:
        if (grouped)
            store_grouped(t, o, m);
        else
            store(t, o);
        break;
    case IR_vld:
    case IR_vst:
    case IR_vldn:
    case IR_vstn: t1_vec_memory(t, o); break;
    case IR_divw:
    case IR_idivw: divide(t, o); break;
    default: g_assert_not_reached();
    }
    return true;
}

static void store_tail(T1 *t, Tail *k)
{
    Asm *a = &t->a;

    if (k->is_const) {
        a_op(a, 0, 0xc7, 3, 0, ENV(jit.val));
        a_imm(a, (uint32_t)k->from.disp, 4);
    } else {
        if (k->wide_const)
            a_const(a, k->data, k->konst);
        if (k->from_mem)
            a_mov(a, 3, k->data, k->from);
        a_store(a, 3, ENV(jit.val), k->data);
    }
    t1_call(t, t->code->slow[k->what], k->insn);
}

/* Behind the load: C stores what becomes of it. The flags are made again at the end, from what was there before. */
static void change_tail(T1 *t, Tail *k)
{
    unsigned addr = k->addr;

    a_store(&t->a, 3, ENV(jit.save[3]), HAX);
    a_mov(&t->a, 3, HAX, ENV(jit.val));
    a_store(&t->a, 3, env_slot(V_BEFORE), HAX);
    a_mov(&t->a, 3, HAX, ENV(jit.save[3]));
    t1_change(t, k->fused, ENV(jit.val));
    if (!k->grouped)
        a_store(&t->a, 3, ENV(jit.addr), addr);
    t1_call(t, t->code->slow[SLOW_ST + (k->what & 3)], k->insn);
}

void t1_mem_tail(T1 *t, Tail *k)
{
    Asm *a = &t->a;
    unsigned size = k->what & 3;

    if (k->window)
        t1_window_tail(t, k);
    if (k->kind == TAIL_DIV) {
        a_store(a, 3, ENV(jit.val), k->data);
        t1_set32(t, ENV(jit.addr), IR_SIZE(k->op->op));
        t1_call(t, t->code->slow[k->what], k->insn);
    } else {
        if (k->grouped)
            t1_tail_address(t, k);
        else
            a_store(a, 3, ENV(jit.addr), k->addr);
        if (k->what >= SLOW_ST) {
            store_tail(t, k);
        } else {
            t1_call(t, t->code->slow[k->what], k->insn);
            if (k->change)
                change_tail(t, k);
            else if (!k->fused)
                a_mov(a, is_pinned(k->op->d) && size < 2 ? size : 3, k->data, ENV(jit.val));
        }
    }
    t1_fpu_again(t, k);
    t1_tail_flags(t, k);
    if (k->change) /* last: the flags are wanted */
        t1_change(t, k->fused, env_slot(V_BEFORE));
    else if (k->fused)
        t1_fused(t, k->fused, k->op->d, k->data, ENV(jit.val));
    a_jump(a, 16, k->back);
}
