/*
 * t1_vec.c - vectors. Guest vector registers 0..14 are the host's while Env.jit.vec_live is set, and host MXCSR is
 * the guest's, all exceptions masked. Blocks that use vectors look at their entry, and after calls, and load them
 * when they are not live; whatever calls C stores them, so that code without vectors pays one compare in a stub.
 * Register 15 and the temps live in Env; xmm15 holds the one used last (T1.vs), written through.
 */
#include "tcg/x86_64/feat.h"
#include "tcg/x86_64/t1.h"

static bool is_host(unsigned n) { return is_host_vec(n); }

static bool is_vector(IrKind k)
{
    return k == IR_vld || k == IR_vst || k == IR_vldn || k == IR_vstn || k == IR_vop || k == IR_vopf || k == IR_vopx ||
           k == IR_vmovg || k == IR_vgetg || k == IR_vex || k == IR_vexf || k == IR_vexx;
}

unsigned t1_last_vector(const IrBlock *b) /* index + 1 of the last op that uses vectors; 0: none */
{
    for (unsigned i = b->nops; i-- > 0;)
        if (is_vector(IR_KIND(b->ops[i].op)))
            return i + 1;
    return 0;
}

/* The flags are in Env. */
void t1_vectors_live(T1 *t, bool entry)
{
    Tail *k = t1_tail(t, TAIL_LIVE);

    a_alu_imm(&t->a, 7, 0, ENV(jit.vec_live), 0);
    k->jump[0] = a_jump(&t->a, 4, NULL);
    k->back = t->a.p;
    k->what = entry;
    t->vs = V_NONE;
    t1_upper(t);
}

void t1_live_tail(T1 *t, Tail *k)
{
    if (k->what)
        a_const(&t->a, H11, (uint64_t)(uintptr_t)t->blk | JIT_INTERP);
    a_jump(&t->a, 17, k->what ? t->code->live_entry : t->code->live);
    a_jump(&t->a, 16, k->back);
}

static const uint8_t prefix[] = { 0, 0x66, 0xf3, 0xf2 };

static unsigned use_vec(T1 *t, unsigned n)
{
    if (is_host(n))
        return n;
    if (t->vs != n) {
        a_op(&t->a, 0, 0x0f28, 2, VS, env_vec(n)); /* movaps */
        t->vs_wide = false;
    }
    t->vs = (uint8_t)n;
    return VS;
}

static void wrote_vec(T1 *t, unsigned n)
{
    if (is_host(n))
        return;
    t->vs_wide &= t->vs == n; /* legacy instructions keep the upper half */
    t->vs = (uint8_t)n;
    if (!t1_stays_here(t, n))
        a_op(&t->a, 0, 0x0f29, 2, VS, env_vec(n));
}

static const HostVop *host_vop(const IrOp *o)
{
    IrKind k = IR_KIND(o->op);

    return k == IR_vop || k == IR_vopf || k == IR_vopx ? target_host_vop((const void *)(uintptr_t)o->imm) : NULL;
}

/* Is it read only by the next op, from the register? */
bool t1_stays_here(const T1 *t, unsigned n)
{
    const IrOp *next = &t->b->ops[t->i + 1];
    const HostVop *h;

    if (n == VS || t->i + 1 >= t->b->nops || t->b->at[t->i + 1] != t->b->at[t->i])
        return false;
    if (t1_host_vex(next))
        return next->b == n;
    if (next->a != n)
        return false;
    h = host_vop(next);
    return h && (is_host(next->d) || h->form == HV_GV || h->form == HV_EV);
}

static void op(T1 *t, const HostVop *h, unsigned size, unsigned reg, Rm m, unsigned imm)
{
    a_op(&t->a, prefix[h->pfx & 3], h->opc, size, reg, m);
    if (h->imm)
        a_imm(&t->a, imm, 1);
}

/* Both operands want the one register: borrow another. */
static void vop_both(T1 *t, const HostVop *h, const IrOp *o)
{
    enum { OTHER = 1 }; /* not 0: some ops name it */

    a_op(&t->a, 0, 0x0f29, 2, OTHER, env_vec(OTHER));
    a_op(&t->a, 0, 0x0f28, 2, OTHER, env_vec(o->a));
    t->vs = V_NONE;
    use_vec(t, o->d);
    op(t, h, 2, VS, rm_reg(OTHER), o->x);
    a_op(&t->a, 0, 0x0f28, 2, OTHER, env_vec(OTHER));
    wrote_vec(t, o->d);
}

static void vop_vv(T1 *t, const HostVop *h, const IrOp *o)
{
    unsigned a;

    if (!is_host(o->d) && !is_host(o->a) && o->d != o->a) {
        vop_both(t, h, o);
        return;
    }
    a = use_vec(t, o->a);
    op(t, h, 2, use_vec(t, o->d), rm_reg(a), o->x);
    if (!h->flags)
        wrote_vec(t, o->d);
}

static void vop_imm(T1 *t, const HostVop *h, const IrOp *o)
{
    op(t, h, 2, h->ext, rm_reg(use_vec(t, o->d)), o->x);
    wrote_vec(t, o->d);
}

static void vop_from_general(T1 *t, const HostVop *h, const IrOp *o)
{
    unsigned x = t1_grab(t);

    if (is_host(o->a) || t->vs == o->a)
        a_op(&t->a, 0x66, 0x0f7e, 3, use_vec(t, o->a), rm_reg(x)); /* movq */
    else
        a_mov(&t->a, 3, x, env_vec(o->a));
    op(t, h, h->wide ? 3 : 2, use_vec(t, o->d), rm_reg(x), o->x);
    wrote_vec(t, o->d);
}

/* The result is the low bytes of vector d, which the next op usually moves to a general register. */
unsigned t1_vec_general(T1 *t, const IrOp *o, bool *direct)
{
    const IrOp *next = o + 1;

    *direct = t->i + 1 < t->b->nops && IR_KIND(next->op) == IR_vgetg && next->a == o->d &&
              t->b->at[t->i + 1] == t->b->at[t->i] && IR_SIZE(next->op) >= 2;
    return *direct && is_pinned(next->d) ? (unsigned)t1_pin[next->d] : t1_grab(t);
}

void t1_vec_general_done(T1 *t, const IrOp *o, unsigned x, bool direct)
{
    const IrOp *next = o + 1;

    if (direct) {
        t1_put(t, next->d, x, IR_SIZE(next->op));
        t->skip = 1;
        return;
    }
    a_store(&t->a, 3, env_vec(o->d), x);
    if (t->vs == o->d)
        t->vs = V_NONE;
}

static void vop_to_general(T1 *t, const HostVop *h, const IrOp *o)
{
    bool direct;
    unsigned s = use_vec(t, o->a), x = t1_vec_general(t, o, &direct);

    if (h->form == HV_EV)
        op(t, h, h->wide ? 3 : 2, s, rm_reg(x), o->x);
    else
        op(t, h, h->wide ? 3 : 2, x, rm_reg(s), o->x);
    t1_vec_general_done(t, o, x, direct);
}

static void vector_from_general(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), r, v = is_host(o->d) ? o->d : VS;

    if (size < 2) {
        r = t1_grab(t);
        a_op(&t->a, 0, 0x0fb6 + size, 2, r, t1_loc(t, o->a));
    } else {
        r = t1_use(t, o->a);
    }
    a_op(&t->a, 0x66, 0x0f6e, size == 3 ? 3 : 2, v, rm_reg(r));
    t->vs = v == VS ? V_NONE : t->vs;
    wrote_vec(t, o->d);
}

static void general_from_vector(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), x = is_pinned(o->d) && size >= 2 ? (unsigned)t1_pin[o->d] : t1_grab(t);

    if (is_host(o->a) || t->vs == o->a)
        a_op(&t->a, 0x66, 0x0f7e, size == 3 ? 3 : 2, use_vec(t, o->a), rm_reg(x));
    else
        a_mov(&t->a, MAX(size, 2u), x, env_vec(o->a));
    t1_put(t, o->d, x, size);
}

bool t1_vec_op(T1 *t, const IrOp *o)
{
    const HostVop *h;

    if (IR_KIND(o->op) == IR_vmovg) {
        vector_from_general(t, o);
        return true;
    }
    if (IR_KIND(o->op) == IR_vgetg) {
        general_from_vector(t, o);
        return true;
    }
    h = host_vop(o);
    if (!h)
        return false;
    switch (h->form) {
    case HV_VV: vop_vv(t, h, o); break;
    case HV_IMM: vop_imm(t, h, o); break;
    case HV_VG: vop_from_general(t, h, o); break;
    default: vop_to_general(t, h, o); break;
    }
    if (h->flags) {
        t->ef_ok = true;
        t->env_ok = false;
    }
    return true;
}

static void load(T1 *t, const IrOp *o, unsigned size, unsigned y, Rm m)
{
    unsigned v = is_host(o->d) ? o->d : VS;

    if (size == 5 || o->x & X_ZERO) {
        t1_avx_move(&t->a, false, v, m, size, y);
        t1_wrote_wide(t, o->d);
        return;
    }
    t->vs = v == VS ? V_NONE : t->vs;
    if (size == 4) {
        a_op(&t->a, 0, 0x0f10, 2, v, m);
    } else if (size == 3) {
        a_op(&t->a, 0xf3, 0x0f7e, 2, v, m);
    } else if (size == 2) {
        a_op(&t->a, 0x66, 0x0f6e, 2, v, m);
    } else {
        a_op(&t->a, 0, 0x0fb6 + size, 2, y, m);
        a_op(&t->a, 0x66, 0x0f6e, 2, v, rm_reg(y));
    }
    wrote_vec(t, o->d);
}

static void store(T1 *t, unsigned v, unsigned size, unsigned y, Rm m)
{
    if (size == 5) {
        t1_avx_move(&t->a, true, v, m, size, y);
    } else if (size == 4) {
        a_op(&t->a, 0, 0x0f11, 2, v, m);
    } else if (size == 3) {
        a_op(&t->a, 0x66, 0x0fd6, 2, v, m);
    } else if (size == 2) {
        a_op(&t->a, 0x66, 0x0f7e, 2, v, m);
    } else {
        a_op(&t->a, 0x66, 0x0f7e, 2, v, rm_reg(y));
        a_store(&t->a, size, m, y);
    }
}

static unsigned how(const IrOp *o, unsigned size)
{
    return o->d | size << 8 | (o->x & X_ALIGNED ? VSLOW_ALIGNED : 0u) | (o->x & X_ZERO ? VSLOW_ZERO : 0u);
}

void t1_vec_memory(T1 *t, const IrOp *o)
{
    IrKind kind = IR_KIND(o->op);
    bool st = kind == IR_vst || kind == IR_vstn;
    unsigned bytes = ir_vec_bytes(o), size = (unsigned)__builtin_ctz(bytes), y, va;
    unsigned v = !st ? 0 : size == 5 ? t1_use_wide(t, o->d) : use_vec(t, o->d);
    Tail *k;
    Rm m;

    if (t1_grouped(t, o, &m)) {
        y = size < 2 ? t1_grab(t) : 0;
        k = t1_group_access(t, TAIL_VEC, m);
        if (st)
            store(t, v, size, y, m);
        else
            load(t, o, size, y, m);
        if (!k)
            return;
        k->what = st ? SLOW_VST : SLOW_VLD;
        k->data = how(o, size);
        k->back = t->a.p;
        return;
    }
    va = t1_address(t, o);
    k = t1_tail(t, TAIL_VEC);
    m = t1_mem_check(t, o, k, va, bytes, st, &y);
    k->what = st ? SLOW_VST : SLOW_VLD;
    k->data = how(o, size);
    if (o->x & X_ALIGNED) {
        a_op(&t->a, 0, 0xf6, 0, 0, rm_reg(va));
        a_imm(&t->a, bytes - 1, 1);
        k->jump[1] = a_jump(&t->a, 5, NULL);
        k->align = bytes;
        k->access = t->a.p;
    }
    if (st)
        store(t, v, size, y, m);
    else
        load(t, o, size, y, m);
    k->back = t->a.p;
}

void t1_vec_tail(T1 *t, Tail *k)
{
    if (k->window)
        t1_window_tail(t, k);
    if (k->grouped)
        t1_tail_address(t, k);
    else
        a_store(&t->a, 3, ENV(jit.addr), k->addr);
    t1_set32(t, ENV(jit.val), k->data);
    t1_call(t, t->code->slow[k->what], k->insn);
    if (k->what == SLOW_VLD && !is_host(k->data & 0xff)) {
        if (k->data & VSLOW_ZERO || (k->data >> 8 & 7) == 5)
            t1_avx_move(&t->a, false, VS, env_vec(k->data & 0xff), 5, 0);
        else
            a_op(&t->a, 0, 0x0f28, 2, VS, env_vec(k->data & 0xff));
    }
    t1_fpu_again(t, k);
    t1_tail_flags(t, k);
    a_jump(&t->a, 16, k->back);
}

/* ---- for stubs: from Env to the host, and back; rsp is `shift` below Env */
static Rm at(size_t off, int shift) { return rm_mem(HSP, (int64_t)off + shift); }

static Rm fpcsr(int shift) { return at(target_fpcsr_at, shift); }

static void move_low(Asm *a, bool save, bool scratch, int shift)
{
    for (unsigned i = 0; i < VS; i++)
        a_op(a, 0, save ? 0x0f29 : 0x0f28, 2, i, rm_mem(HSP, env_vec(i).disp + shift));
    if (scratch)
        a_op(a, 0, save ? 0x0f11 : 0x0f10, 2, VS, at(offsetof(Env, jit.vs), shift));
}

static void move_whole(Asm *a, bool save, bool scratch, int shift)
{
    for (unsigned i = 0; i < VS; i++)
        t1_avx_move(a, save, i, rm_mem(HSP, env_vec(i).disp + shift), 5, 0);
    if (scratch)
        t1_avx_move(a, save, VS, at(offsetof(Env, jit.vs), shift), 5, 0);
}

static void zero_upper(Asm *a)
{
    a_byte(a, 0xc5);
    a_byte(a, 0xf8);
    a_byte(a, 0x77);
}

/* Jumps if no upper half has anything in it; so are those of most guests, and legacy instructions like them so. xmm15 is lost. */
static uint8_t *all_zero(Asm *a, int shift)
{
    for (unsigned i = 0; i < VS; i++)
        a_op(a, 0, i ? 0x0f56 : 0x0f28, 2, VS, rm_mem(HSP, env_vec(i).disp + 16 + shift));
    a_op(a, 0x66, 0x0f3817, 2, VS, rm_reg(VS)); /* ptest */
    return a_jump(a, 4, NULL);
}

static void move_registers(Asm *a, bool save, bool scratch, int shift)
{
    uint8_t *is_low, *done;

    if (!t1_host_has_avx()) {
        move_low(a, save, scratch, shift);
        return;
    }
    if (save || scratch) { /* in the middle of a block it stays what it is */
        a_alu_imm(a, 7, 0, at(offsetof(Env, jit.upper), shift), 0);
        is_low = a_jump(a, 4, NULL);
    } else {
        is_low = all_zero(a, shift);
        a_op(a, 0, 0xc6, 0, 0, at(offsetof(Env, jit.upper), shift));
        a_imm(a, 1, 1);
    }
    move_whole(a, save, scratch, shift);
    if (save)
        zero_upper(a); /* C is compiled without AVX */
    done = a_jump(a, 16, NULL);
    a_patch(is_low, a->p);
    if (!save) {
        zero_upper(a);
        a_op(a, 0, 0xc6, 0, 0, at(offsetof(Env, jit.upper), shift));
        a_imm(a, 0, 1);
    }
    move_low(a, save, scratch, shift);
    a_patch(done, a->p);
}

void t1_move_vectors(Asm *a, bool save, bool scratch, int shift)
{
    move_registers(a, save, scratch, shift);
    if (save) {
        a_op(a, 0, 0x0fae, 2, 3, fpcsr(shift)); /* stmxcsr */
        a_op(a, 0, 0x0fae, 2, 2, at(offsetof(Env, jit.csr), shift)); /* ldmxcsr */
    } else {
        a_op(a, 0, 0x0fae, 2, 2, fpcsr(shift));
    }
    a_op(a, 0, 0xc6, 0, 0, at(offsetof(Env, jit.vec_live), shift));
    a_imm(a, !save, 1);
}

/* Jumps where the guest wants exceptions of vector floating point, or a bit that the host may not have. Uses r9. */
uint8_t *t1_unmasked(Asm *a, int shift)
{
    a_mov(a, 2, H9, fpcsr(shift));
    a_alu_imm(a, 4, 2, rm_reg(H9), (int32_t)0xffff1f80);
    a_alu_imm(a, 7, 2, rm_reg(H9), 0x1f80);
    return a_jump(a, 5, NULL);
}
