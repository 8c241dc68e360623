/*
 * t1_reg.c - r9, r10 and r11: temps, and copies of guest registers and other globals that live in Env and are read
 * again later in the block. The copies are written through, so giving one up costs nothing; only the addend of a group
 * of accesses is stored when its register is wanted for something else (T1.unsaved). Flags at the end.
 */
#include "tcg/x86_64/t1.h"

static void set_owner(T1 *t, unsigned reg, int v)
{
    t->owner[reg - H9] = v;
    if (v >= 0)
        t->reg[v] = (int8_t)reg;
}

static unsigned lend(T1 *t, unsigned r)
{
    set_owner(t, r, LOANED);
    t->locked |= 1u << r;
    return r;
}

static bool is_global(int v) { return v >= 0 && v < V_GLOBALS; }
static uint32_t bit_of(unsigned v) { return v < V_GLOBALS ? 1u << v : 0; }
bool t1_later(const T1 *t, unsigned v) { return t->later[t->i] & bit_of(v); }

/* The register's content is wanted no more, or can be had from Env. */
static void give_up(T1 *t, unsigned r)
{
    int v = t->owner[r - H9];

    if (v >= 0 && (is_temp((unsigned)v) || t->unsaved & bit_of((unsigned)v)))
        a_store(&t->a, 3, env_slot((unsigned)v), r);
    if (v >= 0) {
        t->unsaved &= ~bit_of((unsigned)v);
        t->reg[v] = -1;
    }
    t->owner[r - H9] = FREE;
}

/* Of those that may be taken: a copy that nobody reads again, a copy, a group's addend, a temp. */
static unsigned worth(const T1 *t, unsigned r)
{
    int v = t->owner[r - H9];

    if (!is_global(v))
        return 3;
    return !t1_later(t, (unsigned)v) ? 0 : t->unsaved & bit_of((unsigned)v) ? 2 : 1;
}

unsigned t1_grab(T1 *t)
{
    unsigned best = 0;

    for (unsigned r = H9; r <= H11; r++)
        if (t->owner[r - H9] == FREE && !(t->locked & 1u << r))
            return lend(t, r);
    for (unsigned r = H9; r <= H11; r++)
        if (t->owner[r - H9] >= 0 && !(t->locked & 1u << r) && (!best || worth(t, r) < worth(t, best)))
            best = r;
    g_assert(best); /* an op needs at most three */
    give_up(t, best);
    return lend(t, best);
}

unsigned t1_use(T1 *t, unsigned v)
{
    unsigned r;

    if (is_pinned(v))
        return (unsigned)t1_pin[v];
    if (t->reg[v] >= 0) {
        t->locked |= 1u << t->reg[v];
        return (unsigned)t->reg[v];
    }
    r = t1_grab(t);
    if (is_temp(v) && t->is_const[v])
        a_const(&t->a, r, (uint64_t)t->konst[v]);
    else
        a_mov(&t->a, 3, r, env_slot(v));
    if (is_temp(v) || t1_later(t, v))
        set_owner(t, r, (int)v);
    return r;
}

Rm t1_loc(T1 *t, unsigned v)
{
    if (is_pinned(v) || t->reg[v] >= 0 || (is_temp(v) && t->is_const[v]) || t1_later(t, v))
        return rm_reg(t1_use(t, v));
    return env_slot(v);
}

Rm t1_dest(T1 *t, unsigned v)
{
    if (is_pinned(v))
        return rm_reg((unsigned)t1_pin[v]);
    if (t->reg[v] >= 0 && is_global((int)v))
        give_up(t, (unsigned)t->reg[v]);
    return is_temp(v) ? t1_loc(t, v) : env_slot(v);
}

/* r came from t1_use() of a global, or is a loan: from now on it may be written. */
unsigned t1_own(T1 *t, unsigned r)
{
    if (t->owner[r - H9] != LOANED)
        give_up(t, r);
    return lend(t, r);
}

static void put_temp(T1 *t, unsigned d, unsigned x, unsigned size)
{
    if (size < 2 && t->written[d] && t->reg[d] < 0) /* a deposit into a temp that is not in a register */
        t1_use(t, d);
    if (t->reg[d] >= 0 && t->reg[d] != (int)x)
        a_mov(&t->a, size, (unsigned)t->reg[d], rm_reg(x));
    else
        set_owner(t, x, (int)d);
    t->is_const[d] = false;
    t->written[d] = true;
}

static void put_global(T1 *t, unsigned d, unsigned x, unsigned size)
{
    a_store(&t->a, size == 2 ? 3 : size, env_slot(d), x);
    if (t->reg[d] == (int)x)
        return;
    if (t->reg[d] >= 0)
        give_up(t, (unsigned)t->reg[d]);
    if (size >= 2 && x >= H9 && x <= H11 && t->owner[x - H9] == LOANED && t1_later(t, d))
        set_owner(t, x, (int)d);
}

void t1_put(T1 *t, unsigned d, unsigned x, unsigned size)
{
    if (is_temp(d)) {
        put_temp(t, d, x, size);
    } else if (is_pinned(d)) {
        if (t1_pin[d] != (int)x)
            a_mov(&t->a, size, (unsigned)t1_pin[d], rm_reg(x));
    } else if (d < V_GLOBALS) {
        put_global(t, d, x, size);
    }
}

void t1_cache(T1 *t, unsigned v, unsigned r) /* of a group, not stored yet */
{
    set_owner(t, r, (int)v);
    t->unsaved |= bit_of(v);
}

void t1_in_slot(T1 *t, unsigned v)
{
    if (!is_temp(v) || !t->is_const[v] || t->reg[v] >= 0)
        return;
    if (is_small(t->konst[v])) {
        a_op(&t->a, 0, 0xc7, 3, 0, env_slot(v));
        a_imm(&t->a, (uint64_t)t->konst[v], 4);
    } else {
        a_const(&t->a, H11, (uint64_t)t->konst[v]); /* the temps are stored: it is free */
        a_store(&t->a, 3, env_slot(v), H11);
    }
}

void t1_store_temps(T1 *t)
{
    for (unsigned r = H9; r <= H11; r++) {
        int v = t->owner[r - H9];

        if (v >= 0 && t->is_const[v]) {
            t->reg[v] = -1;
            t->owner[r - H9] = FREE;
        } else {
            give_up(t, r);
        }
    }
    t->locked = 0;
}

void t1_forget_temps(T1 *t) /* all are in their slots */
{
    for (unsigned r = 0; r < 3; r++) {
        if (t->owner[r] >= 0)
            t->reg[t->owner[r]] = -1;
        t->owner[r] = FREE;
    }
    t->locked = 0;
}

void t1_drop_copies(T1 *t)
{
    for (unsigned r = H9; r <= H11; r++)
        if (is_global(t->owner[r - H9]))
            give_up(t, r);
}

static void drop(T1 *t, unsigned v)
{
    if (!is_temp(v))
        return;
    if (t->reg[v] >= 0)
        t->owner[t->reg[v] - H9] = FREE;
    t->reg[v] = -1;
    t->is_const[v] = false;
}

void t1_op_done(T1 *t, const IrOp *o)
{
    unsigned kill = t->b->kill[t->i];

    if (kill & 1 && o->a != o->d)
        drop(t, o->a);
    if (kill & 2 && o->b != o->d)
        drop(t, o->b);
    if (kill & 4 && o->c != o->d)
        drop(t, o->c);
    if (kill & 8)
        drop(t, o->d);
    for (unsigned r = H9; r <= H11; r++) {
        int v = t->owner[r - H9];

        if (v == LOANED)
            t->owner[r - H9] = FREE;
        if (is_global(v) && !t->skip && !t1_later(t, (unsigned)v)) { /* skip: what is done already may have made it */
            t->unsaved &= ~bit_of((unsigned)v);
            give_up(t, r);
        }
    }
    t->locked = 0;
}

/* ---- what is read again */
static bool is_call(IrKind k) { return k == IR_call || k == IR_callf || k == IR_segchk || k == IR_cas; }

static uint32_t reads_of(const IrOp *o)
{
    unsigned uses = ir_info[IR_KIND(o->op)].uses;

    return (uses & USES_A ? bit_of(o->a) : 0) | (uses & USES_B && !(o->op & IR_I) ? bit_of(o->b) : 0) | (uses & USES_C ? bit_of(o->c) : 0) |
           (uses & USES_D || (uses & WRITES_D && IR_SIZE(o->op) < 2) ? bit_of(o->d) : 0);
}

static uint32_t pinned_bits(void)
{
    uint32_t m = 0;

    for (unsigned v = 0; v < 16; v++)
        m |= (uint32_t)is_pinned(v) << v;
    return m;
}

/* Which globals outside registers are read behind op i, before they are written or C may have changed them. */
void t1_find_later(T1 *t, const IrBlock *b)
{
    const uint32_t pinned = pinned_bits();
    uint32_t m = 0;

    for (unsigned i = b->nops; i-- > 0;) {
        const IrOp *o = &b->ops[i];
        IrKind k = IR_KIND(o->op);

        t->later[i] = m & ~pinned;
        if (is_call(k))
            m = 0;
        if ((ir_info[k].uses & (USES_D | WRITES_D)) == WRITES_D && IR_SIZE(o->op) >= 2)
            m &= ~bit_of(o->d);
        m |= reads_of(o);
        if (t->ngroups && t->group_of[i])
            m |= bit_of(V_GROUP + t->group_of[i] - 1u);
    }
}

/* ---- flags: ax = lahf + seto, so every producer's flags are saved the same way, exactly */
void t1_store_ax(Asm *a, int free)
{
    if (free >= 0)
        a_mov(a, 3, (unsigned)free, rm_reg(HAX));
    else
        a_store(a, 3, ENV(jit.save[3]), HAX);
    a_byte(a, 0x9f);                       /* lahf */
    a_op(a, 0, 0x0f90, 2, 0, rm_reg(HAX)); /* seto al */
    a_store(a, 2, ENV(cc.res), HAX);
    a_mov(a, 3, HAX, free >= 0 ? rm_reg((unsigned)free) : ENV(jit.save[3]));
}

void t1_load_ax(Asm *a)
{
    a_mov(a, 2, HAX, ENV(cc.res));
    a_alu_imm(a, 0, 0, rm_reg(HAX), 0x7f); /* 1 + 0x7f overflows: OF comes back */
    a_byte(a, 0x9e);                       /* sahf */
}

void t1_save_flags(T1 *t)
{
    int free = -1;

    if (t->env_ok)
        return;
    g_assert(t->ef_ok);
    for (int r = H9; r <= H11; r++)
        if (t->owner[r - H9] == FREE && !(t->locked & 1u << r))
            free = r;
    t1_store_ax(&t->a, free);
    t->env_ok = true;
}

void t1_need_flags(T1 *t)
{
    if (t->ef_ok)
        return;
    g_assert(t->env_ok);
    a_store(&t->a, 3, ENV(jit.save[3]), HAX);
    t1_load_ax(&t->a);
    a_mov(&t->a, 3, HAX, ENV(jit.save[3]));
    t->ef_ok = true;
}
