/* target/x86/tr-sys.c - translators of the system rows: mostly a call of the row's helper with its operands. */
#include "target/x86/tr.h"

/* Helper(next pc), block goes on. */
void tr_sys(Tr *t) { tr_row_call(t, IR_callf, NOVAL, tr_next(t), NOVAL, NOVAL); }

/* Helper(next pc); the block ends because the mode or the mapping may be another. */
void tr_sys_end(Tr *t)
{
    tr_row_call(t, IR_callf, NOVAL, tr_next(t), NOVAL, NOVAL);
    tr_leave(t, false);
}

/* Helper(next pc) sets the pc. */
void tr_sys_jump(Tr *t)
{
    tr_row_call(t, IR_callf, NOVAL, tr_next(t), NOVAL, NOVAL);
    tr_leave(t, true);
}

void tr_sysret(Tr *t)
{
    tr_row_call(t, IR_callf, NOVAL, val_const(t->in.rexw), NOVAL, NOVAL);
    tr_leave(t, true);
}

void tr_sys_modrm(Tr *t) /* 0F 01 with a register: the whole ModRM byte selects */
{
    bool goes_on = x86_0f01_goes_on(t->in.modrm), ring0 = t->code == CODE64 && !(t->mode & MODE_CPL);
    HelperFn fn = ring0 ? x86_0f01_ring0(t->s, t->in.modrm) : NULL;

    if (fn) {
        tr_call(t, IR_call, NOVAL, fn, NOVAL, NOVAL, NOVAL);
        return;
    }
    tr_row_call(t, goes_on ? IR_call : IR_callf, NOVAL, val_const(t->in.modrm), tr_next(t), NOVAL);
    if (!goes_on)
        tr_leave(t, false);
}

/*
 * What follows STI runs before an interrupt may come. In ring 0 it is in the same block, if it surely fits: nothing is taken
 * inside a block, and whoever leaves it in the middle asks x86_sti_shadow(). Else the mode says that one instruction is to run alone.
 */
void tr_sti(Tr *t)
{
    if (t->more && !(t->mode & (MODE_CPL | MODE_VM))) {
        tr_call(t, IR_call, NOVAL, x86_sti_ring0, tr_next(t), NOVAL, NOVAL);
        t->sti = true;
        return;
    }
    tr_sys_end(t);
}

void tr_far_imm(Tr *t)
{
    tr_row_call(t, IR_callf, NOVAL, val_const((int64_t)(t->in.sel | (uint64_t)t->in.size << 16)), val_const(t->in.imm), tr_next(t));
    tr_leave(t, true);
}

void tr_far_mem(Tr *t)
{
    unsigned size = t->in.size, n = 1u << size;
    Val off = ir_temp(t->b), sel = ir_temp(t->b), ea = tr_ea(t, 3), at = ir_temp(t->b);

    tr_at(t, IR_ld, size, off, ea, t->in.seg, false);
    ir_emit(t->b, IR_lea, 3, at, ea, NOVAL)->imm = n;
    tr_at(t, IR_ld, 1, sel, at, t->in.seg, false);
    ir_emit(t->b, IR_zx, 3, sel, sel, NOVAL)->x = 1;
    ir_alu(t->b, IR_or, 3, 0, sel, sel, val_const((int64_t)size << 16));
    if (size < 3) {
        Val z = ir_temp(t->b);

        ir_emit(t->b, IR_zx, 3, z, off, NOVAL)->x = (uint16_t)size;
        off = z;
    }
    tr_row_call(t, IR_callf, NOVAL, sel, off, tr_next(t));
    tr_leave(t, true);
}

void tr_lret(Tr *t)
{
    tr_row_call(t, IR_callf, NOVAL, val_const(t->in.size), val_const(t->in.row->nopr ? t->in.imm : 0), NOVAL);
    tr_leave(t, true);
}

void tr_iret(Tr *t)
{
    tr_row_call(t, IR_callf, NOVAL, val_const(t->in.size), tr_next(t), NOVAL);
    tr_leave(t, true);
}

static uint64_t soft_int(Env *e, uint64_t vector, uint64_t next, uint64_t kind)
{
    X86 *s = x86(e);

    if (kind == 0xf1) { /* int1: #DB without DPL check. A data breakpoint that MOV SS held back comes with it, not in its handler */
        s->dr[6] |= s->db_pending;
        s->db_pending = 0;
        x86_interrupt(s, EXC_DB, false, next);
        return 0;
    }
    if (kind != 0xcd || !vm86(s) || x86_vm86_int(s, (unsigned)vector, next))
        x86_interrupt(s, (unsigned)vector, true, next);
    return 0;
}

void tr_intr(Tr *t)
{
    unsigned vector = t->in.opcode == 0xcc ? EXC_BP : t->in.opcode == 0xf1 ? EXC_DB : (unsigned)t->in.imm & 0xff;

    tr_call(t, IR_callf, NOVAL, soft_int, val_const(vector), tr_next(t), val_const(t->in.opcode));
    tr_leave(t, true);
}

void tr_into(Tr *t)
{
    tr_row_call(t, IR_callf, NOVAL, tr_next(t), NOVAL, NOVAL);
    tr_leave(t, true);
}

/* pushf and popf look at IOPL and VME: the helper gives and takes the image. */
void tr_pushf(Tr *t)
{
    Val f = ir_temp(t->b);

    tr_row_call(t, IR_callf, f, val_const(t->in.size), NOVAL, NOVAL);
    tr_push_val(t, t->in.size, f);
}

void tr_popf(Tr *t)
{
    unsigned size = t->in.size, ss = tr_stack_size(t);
    Val v = ir_temp(t->b), sp = ir_temp(t->b);

    if (ss == 1)
        ir_emit(t->b, IR_zx, 3, sp, val_reg(RSP), NOVAL)->x = 1;
    else
        ir_emit(t->b, IR_lea, ss, sp, val_reg(RSP), NOVAL);
    tr_at(t, IR_ld, size, v, sp, SEG_SS, false);
    tr_row_call(t, IR_callf, NOVAL, v, val_const(size), NOVAL);
    ir_emit(t->b, IR_lea, ss, val_reg(RSP), val_reg(RSP), NOVAL)->imm = 1 << size;
    tr_leave(t, false);
}

/* ---- segment registers ---- */
static uint64_t load_seg(Env *e, uint64_t seg, uint64_t sel, uint64_t c)
{
    X86 *s = x86(e);

    if (x86_load_seg(s, (unsigned)seg, (uint16_t)sel) && seg == SEG_SS) {
        s->shadow = SHADOW_SS;
        x86_update_mode(s);
    }
    return 0;
}

/* The mode word may change with any segment outside long mode, and after SS comes a shadow. */
static void load_segment(Tr *t, unsigned seg, Val sel)
{
    tr_call(t, IR_callf, NOVAL, load_seg, val_const(seg), sel, NOVAL);
}

void tr_mov_to_seg(Tr *t)
{
    unsigned seg = t->in.reg & 7;
    Val v;

    if (seg == SEG_CS || seg > SEG_GS) {
        tr_exc(t, EXC_UD);
        return;
    }
    v = tr_rd(t, 1, false);
    load_segment(t, seg, v);
    tr_leave(t, false);
}

static uint64_t get_sel(Env *e, uint64_t seg, uint64_t b, uint64_t c) { return x86(e)->seg[seg].sel; }

void tr_mov_from_seg(Tr *t)
{
    unsigned seg = t->in.reg & 7;
    Val v = ir_temp(t->b);

    if (seg > SEG_GS) {
        tr_exc(t, EXC_UD);
        return;
    }
    tr_call(t, IR_call, v, get_sel, val_const(seg), NOVAL, NOVAL);
    if (t->in.mem)
        tr_mem(t, IR_st, 1, NOVAL, true)->c = v.v;
    else
        tr_set_reg(t, t->in.size, t->in.rm, v);
}

static unsigned seg_of_opcode(const Tr *t) { return t->in.row->map ? (t->in.opcode & 8 ? SEG_GS : SEG_FS) : t->in.opcode >> 3 & 3; }

void tr_push_seg(Tr *t)
{
    Val v = ir_temp(t->b);

    tr_call(t, IR_call, v, get_sel, val_const(seg_of_opcode(t)), NOVAL, NOVAL);
    tr_push_val(t, t->in.size, v);
}

void tr_pop_seg(Tr *t)
{
    unsigned size = t->in.size, ss = tr_stack_size(t);
    Val v = ir_temp(t->b), sp = ir_temp(t->b);

    if (ss == 1)
        ir_emit(t->b, IR_zx, 3, sp, val_reg(RSP), NOVAL)->x = 1;
    else
        ir_emit(t->b, IR_lea, ss, sp, val_reg(RSP), NOVAL);
    tr_at(t, IR_ld, size, v, sp, SEG_SS, false);
    load_segment(t, seg_of_opcode(t), v);
    ir_emit(t->b, IR_lea, ss, val_reg(RSP), val_reg(RSP), NOVAL)->imm = 1 << size;
    tr_leave(t, false);
}

void tr_loadfar(Tr *t)
{
    static const uint8_t by_opcode[] = { SEG_SS, 0, SEG_FS, SEG_GS };
    unsigned size = t->in.size, seg = t->in.row->map ? by_opcode[t->in.opcode - 0xb2] : t->in.opcode == 0xc4 ? SEG_ES : SEG_DS;
    Val off = ir_temp(t->b), sel = ir_temp(t->b), ea = tr_ea(t, 3), at = ir_temp(t->b);

    tr_at(t, IR_ld, size, off, ea, t->in.seg, false);
    ir_emit(t->b, IR_lea, 3, at, ea, NOVAL)->imm = 1 << size;
    tr_at(t, IR_ld, 1, sel, at, t->in.seg, false);
    load_segment(t, seg, sel);
    tr_wr(t, 0, off);
    tr_leave(t, false);
}

/* ---- ports ---- */
void tr_in(Tr *t)
{
    Val v = ir_temp(t->b), port = t->in.row->opr[1].kind == O_DX ? val_reg(RDX) : val_const(t->in.imm);

    tr_row_call(t, IR_callf, v, port, val_const(MIN(t->in.size, 2)), NOVAL);
    ir_alu(t->b, IR_mov, MIN(t->in.size, 2), 0, val_reg(RAX), v, NOVAL);
    tr_leave(t, false);
}

void tr_out(Tr *t)
{
    Val port = t->in.row->opr[0].kind == O_DX ? val_reg(RDX) : val_const(t->in.imm);

    tr_row_call(t, IR_callf, NOVAL, port, val_const(MIN(t->in.size, 2)), val_reg(RAX));
    tr_leave(t, false);
}

/* ---- descriptor tables and selectors ---- */
void tr_store_sel(Tr *t)
{
    Val v = ir_temp(t->b);

    tr_row_call(t, IR_callf, v, NOVAL, NOVAL, NOVAL);
    if (t->in.mem)
        tr_mem(t, IR_st, 1, NOVAL, true)->c = v.v;
    else
        tr_set_reg(t, t->in.size, t->in.rm, v);
}

void tr_load_sel(Tr *t)
{
    Val v = tr_rd(t, 0, false);

    tr_row_call(t, IR_callf, NOVAL, v, NOVAL, NOVAL);
}

void tr_ver(Tr *t) { tr_load_sel(t); }

void tr_arpl(Tr *t)
{
    Val dst = tr_rd(t, 0, true), src = tr_rd(t, 1, false), d = ir_temp(t->b);

    tr_row_call(t, IR_callf, d, dst, src, NOVAL);
    tr_wr(t, 0, d);
}

void tr_lar(Tr *t)
{
    Val sel = tr_rd(t, 1, false), d = ir_temp(t->b);

    /* the helper keeps the old value when the selector is not good */
    tr_row_call(t, IR_callf, d, sel, val_reg(t->in.reg), val_const(t->in.size));
    ir_alu(t->b, IR_mov, 3, 0, val_reg(t->in.reg), d, NOVAL);
}

void tr_table(Tr *t)
{
    unsigned size = t->code == CODE64 ? 3 : t->in.size;
    Val at = tr_linear(t, 3, !(t->in.row->ext & 2));

    tr_row_call(t, IR_callf, NOVAL, at, val_const(size), NOVAL);
}

void tr_smsw(Tr *t)
{
    Val v = ir_temp(t->b);

    tr_row_call(t, IR_callf, v, NOVAL, NOVAL, NOVAL);
    if (t->in.mem)
        tr_mem(t, IR_st, 1, NOVAL, true)->c = v.v;
    else
        tr_set_reg(t, t->in.size, t->in.rm, v);
}

void tr_lmsw(Tr *t)
{
    tr_row_call(t, IR_callf, NOVAL, tr_rd(t, 0, false), NOVAL, NOVAL);
    tr_leave(t, false);
}

void tr_invlpg(Tr *t)
{
    Val at = ir_temp(t->b), ea = tr_ea(t, 3);

    if (t->code != CODE64 || t->in.seg >= SEG_FS)
        ir_emit(t->b, IR_lea, t->code == CODE64 ? 3 : 2, at, ea, val_reg(V_SEGBASE + t->in.seg));
    else
        at = ea;
    tr_row_call(t, IR_callf, NOVAL, at, NOVAL, NOVAL);
    tr_leave(t, false);
}

void tr_invpcid(Tr *t)
{
    Val at = tr_linear(t, 4, false);

    tr_row_call(t, IR_callf, NOVAL, val_reg(t->in.reg), at, NOVAL);
    tr_leave(t, false);
}

void tr_mov_from_cr(Tr *t)
{
    Val v = ir_temp(t->b);

    t->in.size = t->code == CODE64 ? 3 : 2;
    tr_row_call(t, IR_callf, v, val_const(t->in.reg), NOVAL, NOVAL);
    ir_alu(t->b, IR_mov, t->in.size, 0, val_reg(t->in.rm), v, NOVAL);
}

void tr_mov_to_cr(Tr *t)
{
    Val v = val_reg(t->in.rm);

    if (t->code != CODE64) {
        v = ir_temp(t->b);
        ir_emit(t->b, IR_lea, 2, v, val_reg(t->in.rm), NOVAL);
    }
    tr_row_call(t, IR_callf, NOVAL, val_const(t->in.reg), v, NOVAL);
    tr_leave(t, false);
}

void tr_rdrand(Tr *t)
{
    Val v = ir_temp(t->b);

    tr_row_call(t, IR_callf, v, val_const(t->in.size), NOVAL, NOVAL);
    ir_alu(t->b, IR_mov, t->in.size, 0, val_reg(t->in.rm), v, NOVAL);
}

void tr_rdpid(Tr *t)
{
    Val v = ir_temp(t->b);

    tr_row_call(t, IR_callf, v, NOVAL, NOVAL, NOVAL);
    ir_alu(t->b, IR_mov, 3, 0, val_reg(t->in.rm), v, NOVAL);
}

/* rd/wr fs/gs base: the helper checks CR4 and canonical form. */
void tr_rdbase(Tr *t)
{
    unsigned seg = SEG_FS + (t->in.row->ext & 1);

    if (t->code != CODE64) {
        tr_exc(t, EXC_UD);
        return;
    }
    tr_row_call(t, IR_callf, NOVAL, NOVAL, NOVAL, NOVAL);
    ir_alu(t->b, IR_mov, t->in.size, 0, val_reg(t->in.rm), val_reg(V_SEGBASE + seg), NOVAL);
}

void tr_wrbase(Tr *t)
{
    unsigned seg = SEG_FS + (t->in.row->ext & 1);
    Val v = ir_temp(t->b);

    if (t->code != CODE64) {
        tr_exc(t, EXC_UD);
        return;
    }
    ir_alu(t->b, IR_mov, 3, 0, v, val_const(0), NOVAL);
    ir_alu(t->b, IR_mov, t->in.size, 0, v, val_reg(t->in.rm), NOVAL);
    tr_row_call(t, IR_callf, NOVAL, v, val_const(1), NOVAL);
    ir_alu(t->b, IR_mov, 3, 0, val_reg(V_SEGBASE + seg), v, NOVAL);
}

void tr_bound(Tr *t)
{
    Val ea = tr_ea(t, 3), lo = ir_temp(t->b), hi = ir_temp(t->b), at = ir_temp(t->b), v = ir_temp(t->b);
    unsigned size = t->in.size;

    tr_at(t, IR_ld, size, lo, ea, t->in.seg, false);
    ir_emit(t->b, IR_lea, 3, at, ea, NOVAL)->imm = 1 << size;
    tr_at(t, IR_ld, size, hi, at, t->in.seg, false);
    ir_emit(t->b, IR_sx, 3, lo, lo, NOVAL)->x = (uint16_t)size;
    ir_emit(t->b, IR_sx, 3, hi, hi, NOVAL)->x = (uint16_t)size;
    ir_emit(t->b, IR_sx, 3, v, val_reg(t->in.reg), NOVAL)->x = (uint16_t)size;
    tr_row_call(t, IR_callf, NOVAL, v, lo, hi);
}
