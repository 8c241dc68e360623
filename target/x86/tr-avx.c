/*
 * target/x86/tr-avx.c - translators of the VEX rows on vectors: operands into place, then one operation of vexops.def on
 * whole registers. What writes no vector register uses the SSE rows' translators. SDM volume 2, 2.3.
 */
#include "target/x86/fpu.h"
#include "target/x86/tr.h"

enum { TMP = VEC_TEMP, TMP2 = VEC_TEMP + 1 };

static unsigned vex_l(const Tr *t) { return t->in.vex_l && !(t->in.row->traits & R_LIG) ? VEX_L : 0; }
static unsigned imm8(const Tr *t) { return (unsigned)t->in.imm & 0xff; }
static X86VexId row_vex(const Tr *t) { return (X86VexId)x86_row_arg[t->in.row - x86_rows]; }

static void emit(Tr *t, X86VexId id, unsigned d, unsigned a, unsigned b, unsigned imm)
{
    static const IrKind kind[] = { [VOP_PLAIN] = IR_vex, [VOP_RAISES] = IR_vexf, [VOP_FLAGS] = IR_vexx };
    IrOp *o = ir_emit(t->b, kind[x86_vex_effect(id)], 3, val_reg(d), val_reg(a), val_reg(b));

    o->x = (uint16_t)imm;
    o->imm = (int64_t)(uintptr_t)x86_vex(id);
}

/* log2 bytes of a memory operand */
static unsigned mem_size(const Tr *t, const Opr *o)
{
    unsigned l = vex_l(t) ? 1 : 0;

    switch (o->size) {
    case SZ_V: return t->in.size;
    case SZ_X: return 4;
    case SZ_L: return 4 + l;
    case SZ_H: return 3 + l;
    case SZ_Q: return 2 + l;
    case SZ_E: return 1 + l;
    default: return o->size;
    }
}

static IrOp *vec_access(Tr *t, const Opr *o, unsigned v, bool store)
{
    unsigned size = mem_size(t, o);
    IrOp *m = size < 4 ? tr_mem(t, store ? IR_vstn : IR_vldn, size, val_reg(v), store)
                       : tr_mem(t, store ? IR_vst : IR_vld, size == 4 ? 3 : 0, val_reg(v), store);

    m->x |= o->kind == O_W ? X_ALIGNED : 0;
    return m;
}

/* The vector register that holds operand n, in place of which memory is loaded. */
static unsigned source(Tr *t, unsigned n)
{
    if (!t->in.mem)
        return t->in.rm;
    vec_access(t, &t->in.row->opr[n], TMP, false);
    return TMP;
}

static bool takes_vvvv(const Row *r) { return r->nopr > 1 && r->opr[1].kind == O_BV; }

void tr_vex(Tr *t) /* V [Bv] W [Ub] */
{
    const Row *r = t->in.row;
    bool three = takes_vvvv(r);
    unsigned b = source(t, three ? 2 : 1), imm = imm8(t);

    if (t->code != CODE64 && r->map == 6 && r->opc >= 0x4a && r->opc <= 0x4c) /* a register, one of eight */
        imm &= 0x7f;
    emit(t, row_vex(t), t->in.reg, three ? t->in.vvvv : t->in.reg, b, imm | vex_l(t));
}

void tr_vex_imm(Tr *t) /* Bv U Ub: shifts */
{
    emit(t, row_vex(t), t->in.vvvv, t->in.rm, t->in.rm, imm8(t) | vex_l(t));
}

void tr_vinsertps(Tr *t)
{
    unsigned b = source(t, 2);

    emit(t, VEX_vinsertps, t->in.reg, t->in.vvvv, b, t->in.mem ? imm8(t) & 0x3f : imm8(t));
}

void tr_vbroadcast128(Tr *t)
{
    unsigned b = source(t, 1);

    emit(t, VEX_vperm2f128, t->in.reg, b, b, VEX_L);
}

/* ---- moves */
void tr_vex_ld(Tr *t)
{
    if (t->in.mem)
        vec_access(t, &t->in.row->opr[1], t->in.reg, false)->x |= X_ZERO;
    else
        emit(t, row_vex(t), t->in.reg, t->in.reg, t->in.rm, vex_l(t));
}

void tr_vex_st(Tr *t)
{
    if (t->in.mem)
        vec_access(t, &t->in.row->opr[0], t->in.reg, true);
    else
        emit(t, row_vex(t), t->in.rm, t->in.rm, t->in.reg, vex_l(t));
}

void tr_vmovs_st(Tr *t) /* U Bv V: vmovss and vmovsd between registers, encoded the other way round */
{
    emit(t, row_vex(t), t->in.rm, t->in.vvvv, t->in.reg, 0);
}

static uint64_t probe_store(Env *e, uint64_t at, uint64_t bytes, uint64_t c)
{
    if (x86_aligned(x86(e), at, (unsigned)bytes, (unsigned)bytes))
        mem_writable(e, at, (unsigned)bytes);
    return 0;
}

void tr_vex_store(Tr *t) /* W V Ub: vextractf128, vcvtps2ph */
{
    if (!t->in.mem) {
        emit(t, row_vex(t), t->in.rm, t->in.rm, t->in.reg, imm8(t) | vex_l(t));
        return;
    }
    if (x86_vex_effect(row_vex(t)) == VOP_RAISES) { /* a store that faults leaves MXCSR alone */
        unsigned size = mem_size(t, &t->in.row->opr[0]);

        tr_call(t, IR_call, NOVAL, probe_store, tr_linear(t, size, true), val_const(1 << size), NOVAL);
    }
    emit(t, row_vex(t), TMP, TMP, t->in.reg, imm8(t) | vex_l(t));
    vec_access(t, &t->in.row->opr[0], TMP, true);
}

/* ---- general registers */
static void general_to_temp(Tr *t, unsigned size)
{
    if (t->in.mem)
        tr_mem(t, IR_vldn, size, val_reg(TMP), false);
    else
        ir_emit(t->b, IR_vmovg, size, val_reg(TMP), val_reg(t->in.rm), NOVAL);
}

void tr_vmovd_ld(Tr *t)
{
    general_to_temp(t, t->in.size);
    emit(t, VEX_vmovaps, t->in.reg, t->in.reg, TMP, 0);
}

void tr_vpinsr(Tr *t) /* the next operation is the 64-bit one of vpinsrd */
{
    X86VexId id = row_vex(t);
    unsigned size = id == VEX_vpinsrb ? 0 : id == VEX_vpinsrw ? 1 : t->in.size;

    general_to_temp(t, size);
    emit(t, size == 3 ? VEX_vpinsrq : id, t->in.reg, t->in.vvvv, TMP, imm8(t));
}

void tr_vcvtsi(Tr *t)
{
    general_to_temp(t, t->in.size);
    emit(t, (X86VexId)(row_vex(t) + (t->in.size == 3)), t->in.reg, t->in.vvvv, TMP, 0);
}

void tr_vex_mask(Tr *t) /* Gd U */
{
    emit(t, row_vex(t), TMP2, TMP2, t->in.rm, vex_l(t));
    ir_emit(t->b, IR_vgetg, 2, val_reg(t->in.reg), val_reg(TMP2), NOVAL);
}

void tr_vzero(Tr *t) { emit(t, row_vex(t), 0, 0, 0, vex_l(t)); }

void tr_vpcmpstr(Tr *t)
{
    const uintptr_t vop = x86_row_arg[t->in.row - x86_rows];

    tr_pcmpstr(t);
    if (vop == VOP_pcmpestrm || vop == VOP_pcmpistrm)
        emit(t, VEX_vmovaps, 0, 0, 0, 0); /* zeros above XMM0 */
}

/* ---- masked moves and gathers: element by element, in C. Addresses are offsets in the segment, whose limit counts
 * for the chosen elements alone. Neither checks alignment. */
enum { HOW_A = 8, HOW_B = 16, HOW_SIZE = 24, HOW_N = 28, HOW_SCALE = 34, HOW_SEG = 36, HOW_ASIZE = 40, HOW_CODE64 = 42,
       HOW_WIDE_INDEX = 43 };

static bool chosen(const uint8_t *mask, unsigned i, unsigned size) { return mask[((i + 1) << size) - 1] & 0x80; }

/* Linear address of the element at this offset. False: the segment's limit. */
static bool element(Env *e, uint64_t off, uint64_t how, bool write, uint64_t *va)
{
    unsigned seg = how >> HOW_SEG & 7, size = how >> HOW_SIZE & 15;
    bool long_code = how >> HOW_CODE64 & 1;

    if (!long_code && off + (1u << size) - 1 > UINT32_MAX)
        return x86_raise(x86(e), seg == SEG_SS ? EXC_SS : EXC_GP, 0);
    if (!long_code && e->mode >> (MODE_CHECK_SHIFT + seg) & 1 && !target_segchk(e, off, seg | size << 3 | (write ? 1u << 7 : 0)))
        return false;
    *va = !long_code ? (uint32_t)(off + e->v[V_SEGBASE + seg]) : seg >= SEG_FS ? off + e->v[V_SEGBASE + seg] : off;
    return true;
}

static uint64_t masked_load(Env *e, uint64_t at, uint64_t how, uint64_t c)
{
    const uint8_t *mask = e->vec[how >> HOW_A & 31];
    unsigned size = how >> HOW_SIZE & 15, n = how >> HOW_N & 63;
    uint8_t r[32] = { 0 };
    uint64_t va;

    for (unsigned i = 0; i < n; i++)
        if (chosen(mask, i, size) &&
            (!element(e, at + (i << size), how, false, &va) || !mem_load(e, va, 1u << size, r + (i << size), false)))
            return 0;
    memcpy(e->vec[how & 31], r, 32);
    return 0;
}

static uint64_t masked_store(Env *e, uint64_t at, uint64_t how, uint64_t c)
{
    const uint8_t *mask = e->vec[how >> HOW_A & 31], *data = e->vec[how & 31];
    unsigned size = how >> HOW_SIZE & 15, n = how >> HOW_N & 63;
    uint64_t seen, va[8];

    for (unsigned i = 0; i < n; i++) /* all or nothing */
        if (chosen(mask, i, size) &&
            (!element(e, at + (i << size), how, true, &va[i]) || !mem_load(e, va[i], 1u << size, &seen, true)))
            return 0;
    for (unsigned i = 0; i < n; i++)
        if (chosen(mask, i, size) && !mem_store(e, va[i], 1u << size, data + (i << size)))
            return 0;
    return 0;
}

static uint64_t where(const Tr *t, unsigned size, unsigned n)
{
    const Insn *in = &t->in;

    return in->reg | (uint64_t)in->vvvv << HOW_A | (uint64_t)in->vsib << HOW_B | (uint64_t)size << HOW_SIZE | (uint64_t)n << HOW_N |
           (uint64_t)in->scale << HOW_SCALE | (uint64_t)in->seg << HOW_SEG | (uint64_t)in->asize << HOW_ASIZE |
           (uint64_t)(t->code == CODE64) << HOW_CODE64;
}

static void masked(Tr *t, HelperFn fn)
{
    bool by_w = t->in.row->opc >= 0x80; /* vpmaskmovd, vpmaskmovq; else ps and pd have opcodes of their own */
    unsigned size = by_w ? (t->in.row->w == 1 ? 3 : 2) : t->in.row->opc & 1 ? 3 : 2;

    tr_call(t, IR_call, NOVAL, fn, tr_ea(t, 3), val_const((int64_t)where(t, size, (vex_l(t) ? 32u : 16u) >> size)), NOVAL);
}

void tr_vmaskld(Tr *t) { masked(t, masked_load); }
void tr_vmaskst(Tr *t) { masked(t, masked_store); }

/* Elements are loaded in order; each done clears its mask, so that a fault in the middle loses nothing. */
static uint64_t gather(Env *e, uint64_t base, uint64_t how, uint64_t c)
{
    uint8_t *d = e->vec[how & 31], *mask = e->vec[how >> HOW_A & 31];
    const uint8_t *index = e->vec[how >> HOW_B & 31];
    unsigned size = how >> HOW_SIZE & 15, n = how >> HOW_N & 63, used = n << size;
    uint64_t va;

    for (unsigned i = 0; i < n && !x86(e)->vendor_amd; i++) /* Intel's: all of an element follows its top bit */
        memset(mask + (i << size), chosen(mask, i, size) ? 0xff : 0, 1u << size);
    for (unsigned i = 0; i < n; i++) {
        int64_t x = how >> HOW_WIDE_INDEX & 1 ? (int64_t)le64_load(index + 8 * i) : (int32_t)le32_load(index + 4 * i);

        if (!chosen(mask, i, size)) {
            memset(mask + (i << size), 0, 1u << size);
            continue;
        }
        uint64_t off = base + ((uint64_t)x << (how >> HOW_SCALE & 3));

        if (!element(e, (how >> HOW_ASIZE & 3) == 2 ? (uint32_t)off : off, how, false, &va) ||
            !mem_load(e, va, 1u << size, &x, false))
            return 0;
        memcpy(d + (i << size), &x, 1u << size);
        memset(mask + (i << size), 0, 1u << size);
    }
    memset(mask, 0, 32);
    memset(d + used, 0, 32 - used);
    return 0;
}

void tr_vgather(Tr *t) /* V M Bv: destination, memory by vector index, mask */
{
    const Insn *in = &t->in;
    bool wide_index = in->row->opc & 1;
    unsigned size = in->row->w ? 3 : 2, n = (vex_l(t) ? 32u : 16u) >> (wide_index ? 3 : size);
    uint64_t how = where(t, size, n) | (uint64_t)wide_index << HOW_WIDE_INDEX;

    if (in->reg == in->vvvv || in->reg == in->vsib || in->vvvv == in->vsib) {
        tr_exc(t, EXC_UD);
        return;
    }
    t->in.index = V_NONE;
    tr_call(t, IR_call, NOVAL, gather, tr_ea(t, 3), val_const((int64_t)how), NOVAL);
}
