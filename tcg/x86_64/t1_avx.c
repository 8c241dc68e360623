/*
 * t1_avx.c - VEX instructions on vectors as the host's own. The host's registers are the guest's, 32 bytes each; what has
 * none (register 15, temps) borrows ymm15 or, if more than one is wanted, another that is put aside in Env meanwhile.
 * Source: Intel SDM vol. 2, 2.3.
 */
#include "tcg/x86_64/feat.h"
#include "tcg/x86_64/t1.h"

enum { L256 = 4 /* beside the prefix, in a_vex() */, IMM_L = 1 << 8 /* in x of the ops */ };

static bool is_vex(IrKind k) { return k == IR_vex || k == IR_vexf || k == IR_vexx; }

bool t1_needs_avx(const IrOp *o)
{
    IrKind k = IR_KIND(o->op);
    bool access = k == IR_vld || k == IR_vst || k == IR_vldn || k == IR_vstn;

    return access && (ir_vec_bytes(o) > 16 || o->x & X_ZERO) && !t1_host_has_avx();
}

bool t1_writes_upper(const IrBlock *b)
{
    for (unsigned i = 0; i < b->nops; i++) {
        const IrOp *o = &b->ops[i];

        if ((is_vex(IR_KIND(o->op)) && o->x & IMM_L) || (IR_KIND(o->op) == IR_vld && ir_vec_bytes(o) > 16))
            return t1_host_has_avx();
    }
    return false;
}

void t1_upper(T1 *t)
{
    if (!t->wide)
        return;
    a_op(&t->a, 0, 0xc6, 0, 0, ENV(jit.upper));
    a_imm(&t->a, 1, 1);
}

/* Loads zero what is above. scratch: a general register for one and two bytes. */
void t1_avx_move(Asm *a, bool store, unsigned v, Rm m, unsigned log_bytes, unsigned scratch)
{
    if (log_bytes >= 4) {
        a_vex(a, log_bytes == 5 ? L256 : 0, 1, store ? 0x11 : 0x10, 2, v, 0, m); /* vmovups */
    } else if (log_bytes == 3) {
        a_vex(a, 2, 1, 0x7e, 2, v, 0, m); /* vmovq */
    } else if (log_bytes == 2) {
        a_vex(a, 1, 1, 0x6e, 2, v, 0, m); /* vmovd */
    } else {
        a_op(a, 0, 0x0fb6 + log_bytes, 2, scratch, m);
        a_vex(a, 1, 1, 0x6e, 2, v, 0, rm_reg(scratch));
    }
}

unsigned t1_use_wide(T1 *t, unsigned n)
{
    if (is_host_vec(n))
        return n;
    if (t->vs != n || (n == VS && !t->vs_wide)) { /* of a temp all is there that anybody has put into it */
        t1_avx_move(&t->a, false, VS, env_vec(n), 5, 0);
        t->vs_wide = true;
    }
    t->vs = (uint8_t)n;
    return VS;
}

void t1_wrote_wide(T1 *t, unsigned n)
{
    if (is_host_vec(n))
        return;
    t->vs = (uint8_t)n;
    t->vs_wide = true;
    if (!t1_stays_here(t, n))
        t1_avx_move(&t->a, true, VS, env_vec(n), 5, 0);
}

/* ---- operands */
typedef struct Places { /* operands without a register of their own, and where they are now */
    uint8_t what[3], reg[3];
    unsigned n, used; /* used: registers that operands have, bit by bit */
} Places;

static unsigned borrow(T1 *t, Places *p)
{
    unsigned r = 1;

    while (p->used >> r & 1)
        r++;
    p->used |= 1u << r;
    t1_avx_move(&t->a, true, r, env_vec(r), 5, 0);
    return r;
}

/* The register that holds vector n. The first that has none of its own gets ymm15. */
static unsigned place(T1 *t, Places *p, unsigned n)
{
    unsigned r;

    if (is_host_vec(n))
        return n;
    for (unsigned i = 0; i < p->n; i++)
        if (p->what[i] == n)
            return p->reg[i];
    if (p->n == 0) {
        r = t1_use_wide(t, n);
    } else {
        r = borrow(t, p);
        t1_avx_move(&t->a, false, r, env_vec(n), 5, 0);
    }
    p->what[p->n] = (uint8_t)n;
    p->reg[p->n++] = (uint8_t)r;
    return r;
}

static void give_back(T1 *t, const Places *p)
{
    for (unsigned i = 0; i < p->n; i++)
        if (p->reg[i] != VS)
            t1_avx_move(&t->a, false, p->reg[i], env_vec(p->reg[i]), 5, 0);
}

static void vex(T1 *t, const HostVop *h, const IrOp *o, unsigned reg, unsigned vvvv, unsigned rm)
{
    a_vex(&t->a, (h->pfx & 3) | (o->x & IMM_L ? L256 : 0), h->map, h->opc, h->vex_w ? 3 : 2, reg, vvvv, rm_reg(rm));
    if (h->imm)
        a_imm(&t->a, o->x & 0xff, 1);
}

static unsigned bit_of(unsigned n) { return is_host_vec(n) ? 1u << n : 0; }

/* Vectors only: b is placed first, it may be nowhere but in ymm15. */
static void all_vectors(T1 *t, const HostVop *h, const IrOp *o)
{
    Places p = { .used = bit_of(o->d) | bit_of(o->a) | bit_of(o->b) | (h->is4 ? 1u << (o->x >> 4 & 15) : 0) };
    unsigned b = place(t, &p, o->b), a = h->form == HV_VVV ? place(t, &p, o->a) : 0, d = o->d;

    if (h->reads_d || h->flags)
        d = place(t, &p, o->d);
    else if (!is_host_vec(d))
        d = VS;
    switch (h->form) {
    case HV_VVV: vex(t, h, o, d, a, b); break;
    case HV_MR: vex(t, h, o, b, 0, d); break;
    case HV_IMM: vex(t, h, o, h->ext, d, b); break;
    default: vex(t, h, o, d, 0, b); break;
    }
    if (!h->flags && !is_host_vec(o->d)) {
        if (d == VS)
            t1_wrote_wide(t, o->d);
        else
            t1_avx_move(&t->a, true, d, env_vec(o->d), 5, 0);
    }
    give_back(t, &p);
}

static void from_general(T1 *t, const HostVop *h, const IrOp *o)
{
    Places p = { .used = bit_of(o->d) | bit_of(o->a) };
    unsigned x = t1_grab(t), a;

    if (is_host_vec(o->b) || t->vs == o->b)
        a_op(&t->a, 0x66, 0x0f7e, 3, is_host_vec(o->b) ? o->b : VS, rm_reg(x)); /* movq */
    else
        a_mov(&t->a, 3, x, env_vec(o->b));
    a = place(t, &p, o->a);
    vex(t, h, o, is_host_vec(o->d) ? o->d : VS, a, x);
    t1_wrote_wide(t, o->d);
}

static void to_general(T1 *t, const HostVop *h, const IrOp *o)
{
    bool direct;
    unsigned s = t1_use_wide(t, o->b), x = t1_vec_general(t, o, &direct);

    vex(t, h, o, x, 0, s);
    t1_vec_general_done(t, o, x, direct);
}

/* VZEROUPPER, VZEROALL: register 15 is in memory. */
static void zero(T1 *t, const IrOp *o)
{
    bool all = o->x & IMM_L;

    a_byte(&t->a, 0xc5);
    a_byte(&t->a, all ? 0xfc : 0xf8);
    a_byte(&t->a, 0x77);
    for (unsigned i = all ? 0 : 16; i < 32; i += 8) {
        Rm m = env_vec(VS);

        m.disp += (int)i;
        a_op(&t->a, 0, 0xc7, 3, 0, m);
        a_imm(&t->a, 0, 4);
    }
    t->vs = V_NONE;
}

const HostVop *t1_host_vex(const IrOp *o)
{
    const HostVop *h = is_vex(IR_KIND(o->op)) ? target_host_vop((const void *)(uintptr_t)o->imm) : NULL;

    return h && h->vex && !(h->is4 && !is_host_vec(o->x >> 4 & 15)) ? h : NULL;
}

bool t1_vex_op(T1 *t, const IrOp *o)
{
    const HostVop *h = t1_host_vex(o);

    if (!h || (h->form == HV_ZERO && !target_has_all_vectors(t->b->mode)))
        return false;
    switch (h->form) {
    case HV_ZERO: zero(t, o); break;
    case HV_VG: from_general(t, h, o); break;
    case HV_GV: to_general(t, h, o); break;
    default: all_vectors(t, h, o); break;
    }
    if (h->flags) {
        t->ef_ok = true;
        t->env_ok = false;
    }
    return true;
}
