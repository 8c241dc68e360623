/*
 * target/x86/tr-sse.c - translators of the SSE and MMX rows: operands into place, then one vector
 * operation (vops.def), called directly by the interpreter.
 * MMX registers live in the x87 registers, so their rows go through one helper.
 */
#include "target/x86/fpu.h"
#include "target/x86/tr.h"

enum { TMP = VEC_TEMP, TMP2 = VEC_TEMP + 1 };

static X86VopId row_vop(const Tr *t) { return (X86VopId)x86_row_arg[t->in.row - x86_rows]; }

static void emit_vop(Tr *t, X86VopId id, unsigned d, unsigned s, unsigned imm)
{
    static const IrKind kind[] = { [VOP_PLAIN] = IR_vop, [VOP_RAISES] = IR_vopf, [VOP_FLAGS] = IR_vopx };
    IrOp *o = ir_emit(t->b, kind[x86_vop_effect[id]], 3, val_reg(d), val_reg(s), NOVAL);

    o->x = (uint16_t)imm;
    o->imm = (int64_t)(uintptr_t)x86_vop(t->s->units, id);
}

static bool must_align(const Tr *t, const Opr *o)
{
    return o->kind == O_W && !(t->s->vendor_amd && t->in.row->traits & R_LAXAMD);
}

static void load_vec(Tr *t, const Opr *o, unsigned d)
{
    if (o->size == SZ_X)
        tr_mem(t, IR_vld, 3, val_reg(d), false)->x |= must_align(t, o) ? X_ALIGNED : 0;
    else
        tr_mem(t, IR_vldn, o->size, val_reg(d), false);
}

/* The vector register that holds source operand n, loaded if it is memory. */
static unsigned source(Tr *t, unsigned n)
{
    if (!t->in.mem)
        return t->in.rm;
    load_vec(t, &t->in.row->opr[n], TMP);
    return TMP;
}

static unsigned imm8(const Tr *t) { return (unsigned)t->in.imm & 0xff; }

void tr_sse(Tr *t) /* V W [Ub], or U Ub */
{
    const Row *r = t->in.row;
    unsigned s;

    if (r->opr[0].kind == O_U) {
        emit_vop(t, row_vop(t), t->in.rm, t->in.rm, imm8(t));
        return;
    }
    s = r->opr[1].kind == O_Q ? (load_vec(t, &r->opr[1], TMP), (unsigned)TMP) : source(t, 1);
    emit_vop(t, row_vop(t), t->in.reg, s, imm8(t));
}

void tr_insertps(Tr *t)
{
    unsigned s = source(t, 1);

    emit_vop(t, VOP_insertps, t->in.reg, s, t->in.mem ? imm8(t) & 0x3f : imm8(t));
}

void tr_sse_ld(Tr *t)
{
    if (t->in.mem)
        load_vec(t, &t->in.row->opr[1], t->in.reg);
    else
        emit_vop(t, row_vop(t), t->in.reg, t->in.rm, 0);
}

static void store_vec(Tr *t, const Opr *o, unsigned s)
{
    if (o->size == SZ_X)
        tr_mem(t, IR_vst, 3, val_reg(s), true)->x |= must_align(t, o) ? X_ALIGNED : 0;
    else
        tr_mem(t, IR_vstn, o->size, val_reg(s), true);
}

void tr_sse_st(Tr *t)
{
    if (t->in.mem)
        store_vec(t, &t->in.row->opr[0], t->in.reg);
    else
        emit_vop(t, row_vop(t), t->in.rm, t->in.reg, 0);
}

void tr_movhps_st(Tr *t)
{
    emit_vop(t, VOP_movhlps, TMP, t->in.reg, 0);
    tr_mem(t, IR_vstn, 3, val_reg(TMP), true);
}

/* ---- general registers. A row with REX.W takes the 64-bit vop, the next one in vops.def. */
static unsigned wide(const Tr *t) { return t->in.size == 3 ? 1 : 0; }

void tr_sse_tog(Tr *t) /* G from a vector operation */
{
    bool cvt = t->in.row->opr[0].size == SZ_V;
    unsigned s = source(t, 1);

    emit_vop(t, (X86VopId)(row_vop(t) + (cvt ? wide(t) : 0)), TMP2, s, imm8(t));
    ir_emit(t->b, IR_vgetg, cvt ? t->in.size : 2, val_reg(t->in.reg), val_reg(TMP2), NOVAL);
}

static void general_to_temp(Tr *t, unsigned size)
{
    if (t->in.mem)
        tr_mem(t, IR_vldn, size, val_reg(TMP), false);
    else
        ir_emit(t->b, IR_vmovg, size, val_reg(TMP), val_reg(t->in.rm), NOVAL);
}

void tr_sse_fromg(Tr *t) /* cvtsi2ss, cvtsi2sd */
{
    general_to_temp(t, t->in.size);
    emit_vop(t, (X86VopId)(row_vop(t) + wide(t)), t->in.reg, TMP, 0);
}

void tr_movd_ld(Tr *t)
{
    general_to_temp(t, t->in.size);
    emit_vop(t, VOP_movdqa, t->in.reg, TMP, 0);
}

static void temp_to_general(Tr *t, unsigned v, unsigned mem_size, unsigned reg_size)
{
    if (t->in.mem)
        tr_mem(t, IR_vstn, mem_size, val_reg(v), true);
    else
        ir_emit(t->b, IR_vgetg, reg_size, val_reg(t->in.rm), val_reg(v), NOVAL);
}

void tr_movd_st(Tr *t) { temp_to_general(t, t->in.reg, t->in.size, t->in.size); }

static unsigned element_size(const Tr *t, X86VopId id)
{
    return id == VOP_pextrb || id == VOP_pinsrb                         ? 0
           : id == VOP_pextrw || id == VOP_pinsrw || id == VOP_m_pinsrw ? 1
           : id == VOP_extractps                                        ? 2
                                                                        : t->in.size;
}

void tr_pextr(Tr *t)
{
    X86VopId id = row_vop(t);
    unsigned size = element_size(t, id);

    emit_vop(t, id == VOP_pextrd && size == 3 ? VOP_pextrq : id, TMP, t->in.reg, imm8(t));
    temp_to_general(t, TMP, size, MAX(size, 2));
}

void tr_pinsr(Tr *t)
{
    X86VopId id = row_vop(t);
    unsigned size = element_size(t, id);

    general_to_temp(t, size);
    emit_vop(t, id == VOP_pinsrd && size == 3 ? VOP_pinsrq : id, t->in.reg, TMP, imm8(t));
}

/* ---- string compares: lengths from RAX and RDX, index to RCX */
static unsigned length_of(uint64_t v, bool w)
{
    int64_t n = w ? (int64_t)v : (int32_t)v;

    return n > 16 || n < -16 ? 16 : (unsigned)(n < 0 ? -n : n);
}

static uint64_t pcmpstr(Env *e, uint64_t how, uint64_t id, uint64_t w)
{
    unsigned imm = how & 0xff, d = how >> 8 & 31, s = how >> 16 & 31;
    uint64_t index = 0;

    if (id == VOP_pcmpestri || id == VOP_pcmpestrm)
        imm |= length_of(e->v[RAX], w) << 8 | length_of(e->v[RDX], w) << 16;
    if (id == VOP_pcmpestri || id == VOP_pcmpistri) {
        x86_vop(x86(e)->units, (X86VopId)id)(e, &index, e->vec[s], imm | d << 24);
        e->v[RCX] = index;
    } else {
        x86_vop(x86(e)->units, (X86VopId)id)(e, e->vec[d], e->vec[s], imm);
    }
    return 0;
}

void tr_pcmpstr(Tr *t)
{
    unsigned s = source(t, 1);

    tr_call(t, IR_callf, NOVAL, pcmpstr,
            val_const((int64_t)(imm8(t) | (unsigned)t->in.reg << 8 | s << 16)),
            val_const(row_vop(t)), val_const(t->in.size == 3));
}

/* ---- MMX: registers are named 0..7 MMX, 8.. vector registers */
enum { VECS = 8, PEEK = 1 << 24 /* the state changes later, after a store */ };

static void *mm_reg(X86 *s, unsigned n) { return n < VECS ? s->fpu.st[n] : s->env.vec[n - VECS]; }

static uint64_t mmx_do(Env *e, uint64_t id, uint64_t how, uint64_t c)
{
    X86 *s = x86(e);
    unsigned d = how & 31, src = how >> 8 & 31;
    uint8_t in[16] = { 0 };

    if (x87_pending(&s->fpu) && !x87_report(s))
        return 0;
    memcpy(in, mm_reg(s, src), src < VECS ? 8 : 16);
    x86_vop(s->units, (X86VopId)id)(e, mm_reg(s, d), in, how >> 16 & 0xff);
    if (e->fault.kind || how & PEEK)
        return 0;
    x86_mmx_enter(&s->fpu);
    if (d < VECS)
        x86_mmx_wrote(&s->fpu, d);
    return 0;
}

static uint64_t mmx_enter(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    x86_mmx_enter(&x86(e)->fpu);
    return 0;
}

static uint64_t mmx_check(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    if (x87_pending(&x86(e)->fpu))
        x87_report(x86(e));
    return 0;
}

/* A pending x87 exception goes before what the memory operand may raise. */
static void before_memory(Tr *t)
{
    if (t->in.mem)
        tr_call(t, IR_call, NOVAL, mmx_check, NOVAL, NOVAL, NOVAL);
}

static void emit_mmx(Tr *t, X86VopId id, unsigned d, unsigned s, unsigned how)
{
    tr_call(t, IR_call, NOVAL, mmx_do, val_const(id),
            val_const((int64_t)(d | s << 8 | imm8(t) << 16 | how)), NOVAL);
}

static unsigned mm_operand(Tr *t, unsigned n, bool dest)
{
    const Opr *o = &t->in.row->opr[n];

    switch (o->kind) {
    case O_P:
        return t->in.reg & 7;
    case O_V:
        return VECS + t->in.reg;
    case O_N:
        return t->in.rm & 7;
    case O_U:
        return VECS + t->in.rm;
    default:
        break;
    }
    if (t->in.mem && !dest)
        load_vec(t, o, TMP);
    return t->in.mem ? VECS + TMP : o->kind == O_Q ? t->in.rm & 7 : VECS + t->in.rm;
}

void tr_mmx(Tr *t)
{
    bool shift = t->in.row->nopr == 2 && t->in.row->opr[1].kind == O_UB;
    unsigned s;

    before_memory(t);
    s = mm_operand(t, shift ? 0 : 1, false);

    emit_mmx(t, row_vop(t), mm_operand(t, 0, true), s, 0);
}

void tr_mmx_st(Tr *t)
{
    emit_mmx(t, row_vop(t), mm_operand(t, 0, true), t->in.reg & 7, t->in.mem ? PEEK : 0);
    if (!t->in.mem)
        return;
    tr_mem(t, IR_vstn, 3, val_reg(TMP), true);
    tr_call(t, IR_call, NOVAL, mmx_enter, NOVAL, NOVAL, NOVAL);
}

void tr_mmx_fromg(Tr *t) /* movd, pinsrw */
{
    before_memory(t);
    general_to_temp(t, element_size(t, row_vop(t)));
    emit_mmx(t, row_vop(t), t->in.reg & 7, VECS + TMP, 0);
}

void tr_mmx_tog(Tr *t) /* movd to r/m; pmovmskb, pextrw to a register */
{
    bool movd = t->in.row->opr[0].kind == O_E;

    emit_mmx(t, row_vop(t), VECS + TMP, movd ? t->in.reg & 7 : t->in.rm & 7, movd ? PEEK : 0);
    if (movd) { /* a store that faults leaves the FPU alone; a register is written last */
        if (t->in.mem)
            temp_to_general(t, TMP, t->in.size, t->in.size);
        tr_call(t, IR_call, NOVAL, mmx_enter, NOVAL, NOVAL, NOVAL);
        if (!t->in.mem)
            temp_to_general(t, TMP, t->in.size, t->in.size);
    } else {
        ir_emit(t->b, IR_vgetg, 2, val_reg(t->in.reg), val_reg(TMP), NOVAL);
    }
}

static uint64_t emms(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    mmx_check(e, a, b, c);
    if (!e->fault.kind)
        x86_emms(&x86(e)->fpu);
    return 0;
}

void tr_emms(Tr *t) { tr_call(t, IR_call, NOVAL, emms, NOVAL, NOVAL, NOVAL); }

/* ---- maskmovq, maskmovdqu: the chosen bytes to [rdi] */
static uint64_t mask_move(Env *e, uint64_t at, uint64_t data, uint64_t mask)
{
    X86 *s = x86(e);
    unsigned n = data < VECS ? 8 : 16;
    const uint8_t *d = mm_reg(s, (unsigned)data), *m = mm_reg(s, (unsigned)mask);

    if (n == 8 && x87_pending(&s->fpu) && !x87_report(s))
        return 0;
    for (unsigned i = n;
         i-- > 0;) /* from the end: a fault on the second page comes before any store */
        if (m[i] & 0x80 && !mem_store(e, at + i, 1, d + i))
            return 0;
    if (n == 8)
        x86_mmx_enter(&s->fpu);
    return 0;
}

void tr_maskmov(Tr *t)
{
    unsigned d = mm_operand(t, 0, true), m = mm_operand(t, 1, false);
    Val at;

    t->in.base = RDI;
    t->in.index = V_NONE;
    t->in.mem = true;
    t->in.disp = 0;
    t->in.rip = false;
    if (!t->in.seg_override)
        t->in.seg = SEG_DS;
    at = tr_linear(t, d < VECS ? 3 : 4, true);
    tr_call(t, IR_call, NOVAL, mask_move, at, val_const(d), val_const(m));
}

static uint64_t set_mxcsr(Env *e, uint64_t v, uint64_t b, uint64_t c)
{
    if ((uint32_t)v & ~x86(e)->mxcsr_mask)
        x86_raise(x86(e), EXC_GP, 0);
    else
        x86(e)->mxcsr = (uint32_t)v;
    return 0;
}

static uint64_t get_mxcsr(Env *e, uint64_t a, uint64_t b, uint64_t c) { return x86(e)->mxcsr; }

void tr_ldmxcsr(Tr *t)
{
    Val v = ir_temp(t->b);

    tr_mem(t, IR_ld, 2, v, false);
    tr_call(t, IR_call, NOVAL, set_mxcsr, v, NOVAL, NOVAL);
    tr_leave(t, false); /* compiled blocks look at its masks when they begin */
}

void tr_stmxcsr(Tr *t)
{
    Val v = ir_temp(t->b);

    tr_call(t, IR_call, v, get_mxcsr, NOVAL, NOVAL, NOVAL);
    tr_mem(t, IR_st, 2, NOVAL, true)->c = v.v;
}
