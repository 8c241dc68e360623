/*
 * target/x86/tr.c - guest instructions to micro-ops: operand plumbing behind the templates of
 * decode.tbl, blocks, the scan for live flags.
 * In the other modes than 64-bit, env.pc is the linear address; EIP is pc - CS.base, and CS.base is
 * part of the mode word, so both may be baked into a block.
 */
#include "target/x86/tr.h"
#include "target/x86/fpu.h"
#include "util/trace.h"

unsigned tr_size(const Tr *t, unsigned n)
{
    unsigned s = t->in.row->opr[n].size;

    return s == SZ_V ? t->in.size : s;
}

/* ah, ch, dh, bh: byte registers 4..7 of an instruction without REX */
static bool is_high(const Tr *t, unsigned size, unsigned reg) { return size == 0 && !t->in.rex && reg >= 4 && reg < 8; }

uint64_t tr_eip(const Tr *t, uint64_t linear)
{
    return t->code == CODE64 ? linear : (uint32_t)(linear - t->cs_base);
}

uint64_t tr_target(const Tr *t, int64_t disp)
{
    uint64_t to = tr_eip(t, t->next) + (uint64_t)disp;

    if (t->code == CODE64)
        return to;
    to = t->in.size == 1 ? (uint16_t)to : (uint32_t)to;
    return (uint32_t)(to + t->cs_base);
}

static Val add(Tr *t, unsigned size, Val a, Val b)
{
    Val d = ir_temp(t->b);

    ir_emit(t->b, IR_lea, size, d, a, b);
    return d;
}

bool tr_limited(const Tr *t, unsigned seg) { return t->code != CODE64 && t->mode >> (MODE_CHECK_SHIFT + seg) & 1; }

static void seg_check(Tr *t, Val off, unsigned seg, unsigned log_bytes, bool write)
{
    if (tr_limited(t, seg))
        ir_emit(t->b, IR_segchk, 3, NOVAL, off, NOVAL)->x = (uint16_t)(seg | log_bytes << 3 | (unsigned)write << 7);
}

/* RIP-relative: the displacement is from the page when the block does not know where that is. */
static Val base_reg(const Tr *t) { return val_reg(t->in.rip && t->rel ? V_PAGE : t->in.base); }

Val tr_ea(Tr *t, unsigned size)
{
    const Insn *in = &t->in;
    Val d = ir_temp(t->b);
    IrOp *o = ir_emit(t->b, IR_lea, MIN(size, in->asize), d, base_reg(t), val_reg(in->index));

    o->x = in->scale;
    o->imm = in->rip ? (int64_t)(t->next + (uint64_t)in->disp) : in->disp;
    if (size < in->asize)
        return d;
    if (in->asize == 1) { /* deposited: make the rest zero */
        Val z = ir_temp(t->b);

        ir_emit(t->b, IR_zx, 3, z, d, NOVAL)->x = 1;
        return z;
    }
    return d;
}

/* Offset in seg -> linear triple. */
static Addr linear(Tr *t, Val off, unsigned seg)
{
    Addr r = { off, NOVAL, 0, 0 };

    if (t->code == CODE64) {
        if (seg >= SEG_FS)
            r.b = val_reg(V_SEGBASE + seg);
    } else if (t->mode >> (MODE_BASE_SHIFT + seg) & 1) {
        r.a = add(t, 2, off, val_reg(V_SEGBASE + seg));
    }
    return r;
}

static void make_addr(Tr *t, unsigned log_bytes, bool write)
{
    const Insn *in = &t->in;

    if (t->addr_ready)
        return;
    t->addr_ready = true;
    if (t->code == CODE64 && in->asize == 3 && (in->seg < SEG_FS || in->index == V_NONE)) {
        t->addr = (Addr){ base_reg(t), val_reg(in->index), in->scale,
                          in->rip ? (int64_t)(t->next + (uint64_t)in->disp) : in->disp };
        if (in->seg >= SEG_FS) {
            t->addr.b = val_reg(V_SEGBASE + in->seg);
            t->addr.scale = 0;
        }
        return;
    }
    Val off = tr_ea(t, 3);

    seg_check(t, off, in->seg, log_bytes, write);
    t->addr = linear(t, off, in->seg);
}

static uint64_t check_alignment(Env *e, uint64_t va, uint64_t bytes, uint64_t c)
{
    return x86_aligned(x86(e), va, MIN((unsigned)bytes, 16u), (unsigned)bytes); /* 32 bytes need no more than 16 do */
}

/* Its operand has to be aligned anyway, for #GP. */
static bool wants_aligned(const Tr *t)
{
    if (t->s->vendor_amd && t->in.row->traits & R_LAXAMD)
        return false;
    for (unsigned i = 0; i < t->in.row->nopr; i++)
        if (t->in.row->opr[i].kind == O_W)
            return true;
    return false;
}

static IrOp *addressed(Tr *t, IrKind k, unsigned size, Val d, Addr a)
{
    unsigned bytes = k == IR_vld || k == IR_vst ? (size ? 16 : 32) : 1u << size;

    if (t->mode & MODE_AC && k != IR_lea && bytes > 1 && !(bytes >= 16 && wants_aligned(t))) {
        Val va = ir_temp(t->b);

        addressed(t, IR_lea, 3, va, a);
        tr_call(t, IR_call, NOVAL, check_alignment, va, val_const(bytes), NOVAL);
    }
    IrOp *o = ir_emit(t->b, k, size, d, a.a, a.b);

    o->x = (uint16_t)a.scale;
    o->imm = a.imm;
    return o;
}

IrOp *tr_mem(Tr *t, IrKind k, unsigned size, Val d, bool write)
{
    unsigned log_bytes = k == IR_vld || k == IR_vst ? (size ? 4 : 5) : k == IR_fpum && !size ? 4 : size;

    make_addr(t, log_bytes, write);
    return addressed(t, k, size, d, t->addr);
}

Val tr_linear(Tr *t, unsigned log_bytes, bool write)
{
    Val d = ir_temp(t->b);

    make_addr(t, log_bytes, write);
    addressed(t, IR_lea, 3, d, t->addr);
    return d;
}

IrOp *tr_at(Tr *t, IrKind k, unsigned size, Val d, Val offset, unsigned seg, bool write)
{
    seg_check(t, offset, seg, size, write);
    return addressed(t, k, size, d, linear(t, offset, seg));
}

Val tr_get_reg(Tr *t, unsigned size, unsigned reg)
{
    Val d;

    if (!is_high(t, size, reg))
        return val_reg(reg);
    d = ir_temp(t->b);
    ir_emit(t->b, IR_hi, 3, d, val_reg(reg - 4), NOVAL);
    return d;
}

void tr_set_reg(Tr *t, unsigned size, unsigned reg, Val v)
{
    if (is_high(t, size, reg))
        ir_emit(t->b, IR_dephi, 3, val_reg(reg - 4), ir_reg(t->b, v), NOVAL);
    else
        ir_alu(t->b, IR_mov, size, 0, val_reg(reg), v, NOVAL);
}

unsigned tr_reg(const Tr *t, unsigned n)
{
    switch (t->in.row->opr[n].kind) {
    case O_G:
    case O_V:
    case O_P:
    case O_S:
    case O_C:
    case O_D: return t->in.reg;
    case O_Z: return t->in.opc_reg;
    case O_B: return t->in.vvvv;
    case O_A: return RAX;
    case O_DX: return RDX;
    default: return t->in.rm;
    }
}

static bool is_memory(const Tr *t, unsigned n)
{
    unsigned k = t->in.row->opr[n].kind;

    return k == O_O || k == O_M || (t->in.mem && (k == O_E || k == O_W || k == O_WU || k == O_Q));
}

/* The value of operand n. for_write: a memory operand is going to be stored back. */
Val tr_rd(Tr *t, unsigned n, bool for_write)
{
    unsigned size = tr_size(t, n);
    Val d;

    switch (t->in.row->opr[n].kind) {
    case O_I:
    case O_IB:
    case O_UB:
    case O_UW:
    case O_IV: return val_const(t->in.imm);
    case O_ONE: return val_const(1);
    case O_CL: return val_reg(RCX);
    default: break;
    }
    if (!is_memory(t, n))
        return tr_get_reg(t, size, tr_reg(t, n));
    d = ir_temp(t->b);
    tr_mem(t, IR_ld, size, d, for_write)->x |= for_write ? X_W : 0;
    return d;
}

/* cmov and setcc carry the condition of the instruction. */
static void op_into(Tr *t, IrKind k, unsigned flag, unsigned size, Val d, Val a, Val src)
{
    if (k == IR_cmov || k == IR_setcc)
        ir_emit(t->b, k, size, d, a, src)->x = t->in.cond;
    else
        ir_alu(t->b, k, size, flag, d, a, src);
}

void tr_to_none(Tr *t, IrKind k, unsigned flag, Val a, Val src) { op_into(t, k, flag, tr_size(t, 0), NOVAL, a, src); }

Val tr_to_temp(Tr *t, IrKind k, unsigned flag, Val a, Val src)
{
    Val d = ir_temp(t->b);

    op_into(t, k, flag, tr_size(t, 0), d, a, src);
    return d;
}

void tr_wr(Tr *t, unsigned n, Val v)
{
    unsigned size = tr_size(t, n);

    if (is_memory(t, n)) {
        v = ir_reg(t->b, v);
        tr_mem(t, IR_st, size, NOVAL, true)->c = v.v;
    } else {
        tr_set_reg(t, size, tr_reg(t, n), v);
    }
}

/* Locked: compute without flags, swap if nobody changed it meanwhile, then the flags. */
static void locked(Tr *t, IrKind k, unsigned flag, Val a, Val src)
{
    unsigned size = tr_size(t, 0);
    Val r = ir_temp(t->b);

    op_into(t, k, 0, size, r, a, src);
    tr_mem(t, IR_cas, size, a, true)->c = r.v;
    if (flag)
        op_into(t, k, flag, size, NOVAL, a, src);
}

void tr_to_operand(Tr *t, unsigned n, IrKind k, unsigned flag, Val a, Val src)
{
    unsigned size = tr_size(t, n), reg = tr_reg(t, n);
    Val r;

    if (is_memory(t, n) && t->in.lock) {
        locked(t, k, flag, a, src);
        return;
    }
    if (!is_memory(t, n) && !is_high(t, size, reg)) {
        op_into(t, k, flag, size, val_reg(reg), a, src);
        return;
    }
    r = k == IR_mov ? ir_reg(t->b, a) : tr_to_temp(t, k, flag, a, src);
    tr_wr(t, n, r);
}

Val tr_call(Tr *t, IrKind k, Val d, HelperFn fn, Val a, Val b, Val c)
{
    a = ir_reg(t->b, a);
    b = ir_reg(t->b, b);
    c = ir_reg(t->b, c);
    IrOp *o = ir_emit(t->b, k, 3, d, a, b);

    o->c = c.v;
    o->imm = (int64_t)(uintptr_t)fn;
    return d;
}

Val tr_row_call(Tr *t, IrKind k, Val d, Val a, Val b, Val c) { return tr_call(t, k, d, tr_helper(t), a, b, c); }

void tr_push_val(Tr *t, unsigned size, Val v)
{
    unsigned ss = tr_stack_size(t);
    Val sp = ir_temp(t->b);

    v = ir_reg(t->b, v);
    if (ss == 3) {
        addressed(t, IR_st, size, NOVAL, (Addr){ val_reg(RSP), NOVAL, 0, -(1 << size) })->c = v.v;
        ir_emit(t->b, IR_lea, 3, val_reg(RSP), val_reg(RSP), NOVAL)->imm = -(1 << size);
        return;
    }
    ir_emit(t->b, IR_lea, ss == 1 ? 3 : ss, sp, val_reg(RSP), NOVAL)->imm = -(1 << size);
    if (ss == 1) {
        Val z = ir_temp(t->b);

        ir_emit(t->b, IR_zx, 3, z, sp, NOVAL)->x = 1;
        sp = z;
    }
    tr_at(t, IR_st, size, NOVAL, sp, SEG_SS, true)->c = v.v;
    ir_alu(t->b, IR_mov, ss, 0, val_reg(RSP), sp, NOVAL);
}

void tr_jump_to(Tr *t, uint64_t pc)
{
    t->polls |= tr_backward(t, pc);
    ir_emit(t->b, IR_jump, 3, NOVAL, NOVAL, NOVAL)->c = (uint8_t)ir_slot(t->b, pc);
    t->done = true;
}

void tr_jump_ind(Tr *t, unsigned size, Val eip)
{
    t->polls = true; /* nothing says that an indirect jump goes forward */
    if (t->code != CODE64) {
        Val z = ir_temp(t->b);

        if (size == 1)
            ir_emit(t->b, IR_zx, 3, z, eip, NOVAL)->x = 1;
        else
            ir_emit(t->b, IR_lea, 2, z, eip, NOVAL);
        if (t->cs_base) {
            eip = ir_temp(t->b);
            ir_emit(t->b, IR_lea, 2, eip, z, NOVAL)->imm = (int64_t)t->cs_base;
        } else {
            eip = z;
        }
    }
    ir_emit(t->b, IR_brind, 3, NOVAL, eip, NOVAL);
    t->done = true;
}

void tr_leave(Tr *t, bool pc_set)
{
    IrOp *o = ir_emit(t->b, IR_leave, 3, NOVAL, NOVAL, NOVAL);

    o->x = pc_set;
    o->imm = (int64_t)t->next;
    t->done = true;
}

void tr_exc(Tr *t, unsigned vector)
{
    IrOp *o = ir_emit(t->b, IR_exc, 3, NOVAL, NOVAL, NOVAL);

    o->x = (uint16_t)(FAULT_EXC + vector);
    o->imm = (int64_t)t->pc;
    t->done = true;
}

#define WITH_TEMPLATES
#include "x86-decode.inc"
#undef WITH_TEMPLATES

static bool has_feature(const X86 *s, unsigned f) { return !f || s->features[f / 64] >> (f % 64) & 1; }

static bool feature_on(const Tr *t, const Row *r)
{
    return has_feature(t->s, r->feature) && !(r->traits & R_Y2 && t->in.vex_l && !has_feature(t->s, CPU_AVX2));
}

/* FPU and SSE availability, in the manuals' order: #UD before #NM. */
static bool unit_ready(Tr *t)
{
    uint64_t tr = t->in.row->traits;

    if (t->in.row->map >= 4 && (!(t->mode & MODE_PE) || t->mode & MODE_VM)) /* VEX */
        tr_exc(t, EXC_UD);
    else if (tr & R_AVX && !(t->mode & MODE_AVX))
        tr_exc(t, EXC_UD);
    else if (tr & R_SSE && (t->mode & MODE_EM || !(t->mode & MODE_FXSR)))
        tr_exc(t, EXC_UD);
    else if (tr & R_MMX && t->mode & MODE_EM)
        tr_exc(t, EXC_UD);
    else if (tr & R_X87 && t->mode & (MODE_EM | MODE_TS))
        tr_exc(t, EXC_NM);
    else if (tr & (R_SSE | R_MMX | R_AVX) && t->mode & MODE_TS)
        tr_exc(t, EXC_NM);
    return !t->done;
}

/* TZCNT and LZCNT are BSF and BSR with a prefix that older CPUs ignore, and compilers rely on it. */
static bool counts_zeros(const Row *r) { return r->map < 4 && r->pfx == 2 && (r->feature == CPU_BMI1 || r->feature == CPU_LZCNT); }

static void decode_without_f3(Tr *t, const uint8_t *code, unsigned n)
{
    uint8_t rest[15];
    unsigned at = 0;
    Insn in;

    n = MIN(n, sizeof(rest));
    while (at < n && code[at] != 0xf3)
        at++;
    if (at >= n)
        return;
    memcpy(rest, code, at);
    memcpy(rest + at, code + at + 1, n - at - 1);
    if (x86_decode(rest, n - 1, t->code, &in) != DEC_OK)
        return;
    t->in = in;
    t->in.len++;
}

static bool fetch(Tr *t, uint64_t pc, const uint8_t *code, unsigned n)
{
    t->pc = pc;
    t->addr_ready = false;
    switch (x86_decode(code, n, t->code, &t->in)) {
    case DEC_OK: break;
    case DEC_SHORT: t->next = pc; return false; /* target_translate sees that it did not move */
    case DEC_LONG: t->next = pc + 1; tr_exc(t, EXC_GP); return false;
    case DEC_UD:
        t->next = pc + 1;
        if (log_on(LOG_UNIMP))
            log_print("x86: undefined instruction at %#" PRIx64 ": %02x %02x %02x %02x\n", pc, code[0], n > 1 ? code[1] : 0,
                      n > 2 ? code[2] : 0, n > 3 ? code[3] : 0);
        tr_exc(t, EXC_UD);
        return false;
    }
    if (!feature_on(t, t->in.row) && counts_zeros(t->in.row))
        decode_without_f3(t, code, n);
    t->next = t->code == CODE64 ? pc + t->in.len : (uint32_t)(pc + t->in.len);
    if (!feature_on(t, t->in.row))
        tr_exc(t, EXC_UD);
    else if (t->in.row->traits & R_PM && (!(t->mode & MODE_PE) || t->mode & MODE_VM))
        tr_exc(t, EXC_UD);
    else if (t->in.row->traits & R_CPL0 && (t->mode & MODE_CPL || t->mode & MODE_VM))
        tr_exc(t, EXC_GP);
    else if (t->code != CODE64 && tr_eip(t, t->next - 1) > t->s->seg[SEG_CS].limit)
        tr_exc(t, EXC_GP);
    return !t->done && unit_ready(t);
}

enum { LONGEST = 15 /* bytes of an instruction */ };

static bool room(const IrBlock *b)
{
    return b->ninsns < MAX_INSNS - 1 && b->nslots < MAX_SLOTS - 2 && b->nops < MAX_OPS - 64 && b->next_temp < V_LAST - 32;
}

/* For an instruction of few ops, and another. */
static bool room_for_more(const IrBlock *b)
{
    return b->ninsns < MAX_INSNS - 2 && b->nslots < MAX_SLOTS - 2 && b->nops < MAX_OPS - 96 && b->next_temp < V_LAST - 48;
}

static uint64_t shadow_off(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    x86(e)->shadow = 0;
    x86_update_mode(x86(e));
    return 0;
}

/* Take back what the last instruction emitted: it belongs to the next block. */
static void cut(IrBlock *b)
{
    while (b->nops && b->at[b->nops - 1] == b->ninsns)
        b->nops--;
    while (b->nslots && b->slot[b->nslots - 1].insns > b->ninsns)
        b->nslots--;
}

static void end_at(IrBlock *b, uint64_t pc)
{
    ir_emit(b, IR_jump, 3, NOVAL, NOVAL, NOVAL)->c = (uint8_t)ir_slot(b, pc);
}

/* 64-bit code: elsewhere EIP and CS.base are baked in. */
bool target_can_be_rel(const Env *e) { return (e->mode & MODE_CODE) == CODE64 && !(e->mode & (MODE_ONE | MODE_SHADOW)); }

bool target_translate(Env *e, uint64_t pc, const uint8_t *code, unsigned before, unsigned n, unsigned page_left, bool one, bool rel,
                      IrBlock *b)
{
    X86 *s = x86(e);
    Tr t = { .s = s, .b = b, .rel = rel, .mode = e->mode, .code = (CodeSize)(e->mode & MODE_CODE), .cs_base = e->mode >> 32 };
    TrScan scan = { pc, code, before, MIN(n, page_left), 0, t.code, 0, 0 };
    bool behind_sti;

    one |= !!(e->mode & (MODE_ONE | MODE_SHADOW));
    ir_begin(b, pc, e->mode);
    b->rel = rel;
    ir_emit(b, IR_poll, 3, NOVAL, NOVAL, NOVAL);
    if (e->mode & MODE_SHADOW)
        tr_call(&t, IR_call, NOVAL, shadow_off, NOVAL, NOVAL, NOVAL);
    for (t.next = pc;; b->ninsns++) {
        unsigned off = (unsigned)(t.next - pc);
        uint64_t at = t.next;

        b->insn_pc[b->ninsns] = at;
        t.more = !one && room_for_more(b) && off + 2 * LONGEST <= MIN(n, page_left);
        behind_sti = t.sti;
        t.sti = false;
        if (fetch(&t, at, code + off, n - off))
            x86_row_fn[t.in.row - x86_rows](&t);
        if (behind_sti && !t.done)
            tr_leave(&t, false);
        if (t.next == at) { /* cut short by the end of the page */
            if (!b->ninsns)
                return false;
            cut(b);
            b->ninsns--;
            end_at(b, at);
            break;
        }
        off = (unsigned)(t.next - pc);
        b->crosses = off > page_left;
        if (t.done)
            break;
        if (one || !room(b) || off >= page_left) { /* blocks end with their page */
            end_at(b, t.next);
            break;
        }
    }
    b->insn_pc[++b->ninsns] = t.next;
    if (!t.polls || one)
        b->ops[0].op = IR_OP(IR_mov, 3, IR_I); /* to nowhere: the liveness pass drops it */
    for (unsigned i = 0; i < b->nslots && !one; i++)
        b->slot[i].live = (uint8_t)tr_flags_live_at(&scan, b->slot[i].pc);
    b->before = (uint16_t)-scan.lo;
    b->bytes = (uint16_t)MIN((unsigned)MAX(scan.hi, (int64_t)(t.next - pc)), page_left);
    return true;
}
