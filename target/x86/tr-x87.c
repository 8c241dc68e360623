/*
 * target/x86/tr-x87.c - x87, FXSAVE and the XSAVE family: one helper call each. SDM volume 1, 8
 * and 13. With CR0.NE clear an unmasked exception asserts FERR# at the next waiting instruction, which
 * freezes until an interrupt unless IGNNE# is on (8.7.2).
 */
#include "core/irqchip.h"
#include "target/x86/fpu.h"
#include "target/x86/tr.h"
#include "tcg/flags.h"

enum { HOW_O16 = 1 << 16, HOW_REAL = 1 << 17, HOW_LIMITED = 1 << 18, HOW_SEG = 1 << 20 /* times the segment */ };

/*
 * n bytes of an operand lie in the address space and in the segment, else #GP or #SS. HOW_LIMITED: the segment is
 * in HOW_SEG and has been looked at for the operand's first bytes.
 */
static bool inside(X86 *s, unsigned how, uint64_t at, unsigned n)
{
    const unsigned seg = how / HOW_SEG & 7;
    const X86Seg *g = &s->seg[seg];

    if (how & HOW_LIMITED && !x86_in_limit(g->attr, g->limit, (uint32_t)(at - seg_base(s, seg)), n))
        return x86_raise(s, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
    return !x86_past_end(s, at, n) || x86_raise(s, EXC_GP, 0);
}

static bool get_bytes(Env *e, uint64_t at, uint8_t *p, unsigned n)
{
    for (unsigned i = 0; i < n; i += 32)
        if (!vec_load(e, at + i, MIN(32, n - i), p + i))
            return false;
    return true;
}

/* All of it or nothing: the last byte is tried first, then pieces from the start. */
static bool put_bytes(Env *e, uint64_t at, const uint8_t *p, unsigned n)
{
    uint8_t last;

    if (n > 16 && !mem_load(e, at + n - 1, 1, &last, true))
        return false;
    for (unsigned i = 0; i < n; i += 32)
        if (!vec_store(e, at + i, MIN(32, n - i), p + i))
            return false;
    return true;
}

static X87Env env_kind(unsigned how)
{
    return how & HOW_O16    ? (how & HOW_REAL ? X87_R16 : X87_P16)
           : how & HOW_REAL ? X87_R32
                            : X87_P32;
}

/* 0: pending exceptions are to be reported before this instruction. */
static bool not_waiting(unsigned op11)
{
    unsigned k = op11 & 0x738;

    if ((op11 & 0xc0) == 0xc0)
        return (op11 >= 0x3e0 && op11 <= 0x3e4) || op11 == 0x7e0;
    return k == 0x130 || k == 0x138 || k == 0x530 || k == 0x538;
}

static bool env_op(X86 *s, unsigned op11, unsigned how, uint64_t at)
{
    const X87Env k = env_kind(how);
    const unsigned n = x87_env_size(k) + (op11 & 0x400 ? 80 : 0);
    X86Fpu old = s->fpu;
    uint8_t buf[112];

    if (!inside(s, how, at, n) || !x86_aligned(s, at, k == X87_P16 || k == X87_R16 ? 2 : 4, n))
        return true;
    if (!(op11 & 0x10)) { /* fldenv, frstor */
        if (get_bytes(&s->env, at, buf, n))
            (n > 28 ? x87_rstor : x87_ldenv)(&s->fpu, k, buf);
        return true;
    }
    (n > 28 ? x87_save : x87_stenv)(&s->fpu, k, buf);
    if (!put_bytes(&s->env, at, buf, n))
        s->fpu = old;
    return true;
}

/* Instructions of control state; false: not one of them. */
static bool control(X86 *s, unsigned op11, unsigned how, uint64_t at)
{
    Env *e = &s->env;
    uint16_t v;

    if ((op11 & 0xc0) == 0xc0) {
        if (op11 == 0x3e2)
            x87_clex(&s->fpu);
        else if (op11 == 0x3e3)
            x87_init(&s->fpu);
        else if (op11 == 0x7e0)
            e->v[RAX] = (e->v[RAX] & ~0xffffull) | s->fpu.sw;
        else
            return op11 == 0x3e0 || op11 == 0x3e1 || op11 == 0x3e4; /* FENI FDISI FSETPM: nothing */
        return true;
    }
    switch (op11 & 0x738) {
    case 0x128:
        if (x86_aligned(s, at, 2, 2) && mem_load(e, at, 2, &v, false))
            x87_set_cw(&s->fpu, v);
        return true;
    case 0x138:
    case 0x538:
        v = op11 & 0x400 ? s->fpu.sw : s->fpu.cw;
        if (x86_aligned(s, at, 2, 2) && !mem_store(e, at, 2, &v))
            return true; /* the fault is set */
        return true;
    case 0x120:
    case 0x130:
    case 0x520:
    case 0x530:
        return env_op(s, op11, how, at);
    default:
        return false;
    }
}

static bool with_flags(unsigned op11)
{
    return (op11 & 0x6e0) == 0x2c0 || (op11 & 0x3f8) == 0x3e8 || (op11 & 0x3f8) == 0x3f0;
}

/* A memory operand of n bytes, loaded, or if `out` is NULL found fit for a store. Ten bytes are two accesses, of 8 and of 2. */
static bool operand(X86 *s, unsigned how, uint64_t at, unsigned n, uint8_t *out)
{
    const unsigned first = n == 10 ? 8 : n;
    Env *e = &s->env;

    if (!x86_aligned(s, at, first, first) || !(out ? mem_load(e, at, first, out, false) : mem_writable(e, at, first)))
        return false;
    return n == first || (inside(s, how, at + 8, 2) && (out ? mem_load(e, at + 8, 2, out + 8, false) : mem_writable(e, at + 8, 2)));
}

static unsigned compute(X86 *s, unsigned op11, unsigned how, uint64_t at)
{
    Env *e = &s->env;
    uint8_t buf[16] = { 0 };
    int n = x87_mem(op11);
    uint32_t fl;
    bool stored;
    unsigned r;

    if ((op11 & 0xc0) == 0xc0 && with_flags(op11)) {
        fl = (uint32_t)target_eflags6(flags_of(&e->cc));
        r = s->units->x87(&s->fpu, op11, NULL, &stored, &fl);
        vop_flags(e, fl);
        return r;
    }
    if (n && !operand(s, how, at, (unsigned)abs(n), n > 0 ? buf : NULL)) /* a store's even if an unmasked exception then suppresses it */
        return 0;
    if (n >= 0)
        return s->units->x87(&s->fpu, op11, buf, &stored, NULL);
    X86Fpu old = s->fpu;
    r = s->units->x87(&s->fpu, op11, buf, &stored, NULL);
    if (stored && !mem_store(e, at, (unsigned)-n, buf))
        s->fpu = old;
    return r;
}

bool x87_report(X86 *s)
{
    if (s->cr0 & CR0_NE)
        x86_raise(s, EXC_MF, 0);
    else if (!vm_ferr(s->env.cpu->vm, true))
        s->env.fault = (Fault){ FAULT_HALT, 1, 0 };
    return !s->env.fault.kind;
}

/* An exception was pending: ES is what the flags and masks say now, and FERR# goes with it. */
static void ferr_follows(X86 *s)
{
    if (s->fpu.sw & ~s->fpu.cw & FPE_ALL)
        s->fpu.sw |= FSW_ES | FSW_B;
    else if (!(s->cr0 & CR0_NE))
        vm_ferr(s->env.cpu->vm, false);
}

static uint64_t before_limits(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    if (x87_pending(&x86(e)->fpu))
        x87_report(x86(e));
    return 0;
}

static uint64_t x87_do(Env *e, uint64_t how, uint64_t at, uint64_t ip) /* ip: as the guest sees it */
{
    X86 *s = x86(e);
    const unsigned op11 = how & 0x7ff;

    const bool was = x87_pending(&s->fpu);

    if (was && !not_waiting(op11) && !x87_report(s))
        return 0;
    if (!control(s, op11, (unsigned)how, at)) {
        const uint16_t ignored = s->fpu.sw & ~s->fpu.cw & FPE_ALL;

        s->fpu.sw &= (uint16_t) ~(ignored | FSW_ES | FSW_B); /* the host must not see it; it stays pending */
        compute(s, op11, (unsigned)how, at);
        s->fpu.sw |= ignored;
        if (!e->fault.kind) {
            s->fpu.ip = ip;
            if ((op11 & 0xc0) != 0xc0)
                s->fpu.dp = at;
        }
    }
    if (was)
        ferr_follows(s);
    return 0;
}

uint64_t target_fpu_pc(uint64_t mode, uint64_t pc)
{
    return (mode & MODE_CODE) == CODE64 ? pc : (uint32_t)(pc - (mode >> 32));
}

uint64_t target_fpu(Env *e, uint64_t op, uint64_t at, uint64_t pc) { return x87_do(e, op, at, target_fpu_pc(e->mode, pc)); }

#define FPU_AT(field) offsetof(X86, fpu.field)
const TargetFpuAt target_fpu_at = { FPU_AT(cw), FPU_AT(sw), FPU_AT(tags), FPU_AT(st), FPU_AT(ip), FPU_AT(dp) };

/*
 * What the host's own instruction does as well, given that no exception is unmasked. Not: environments, whose
 * memory image names the guest's addresses; FNINIT, which clears those.
 */
static bool one_to_one(unsigned op11)
{
    if ((op11 & 0xc0) == 0xc0)
        return op11 < 0x3e0 || op11 > 0x3e4 || op11 == 0x3e2;
    return x87_mem(op11) || (op11 & 0x738) == 0x128 || (op11 & 0x338) == 0x138; /* fldcw, fnstcw, fnstsw */
}

static void emit_fpum(Tr *t, unsigned op11)
{
    int n = x87_mem(op11);
    bool store = n < 0 || (op11 & 0x338) == 0x138;
    unsigned bytes = n ? (unsigned)abs(n) : 2, size = bytes == 10 ? 0 : bytes == 8 ? 3 : bytes / 2;
    IrOp *o = tr_mem(t, IR_fpum, size, NOVAL, store);

    o->x |= (uint16_t)((op11 & 0xff) << X_FPU_OP | (store ? X_FPU_ST : 0));
    o->c = (uint8_t)(op11 >> 8);
}

void tr_x87(Tr *t)
{
    unsigned op11 = (t->in.opcode & 7u) << 8 | t->in.modrm, how = op11;
    int n = t->in.mem ? x87_mem(op11) : 0;
    Val at = NOVAL;

    if (x87_mem(op11) == -128) {
        tr_exc(t, EXC_UD);
        return;
    }
    if (one_to_one(op11) && t->s->units == x86_units_host && !(t->mode & MODE_AC) && !(t->in.mem && tr_limited(t, t->in.seg))) {
        if (t->in.mem)
            emit_fpum(t, op11);
        else
            ir_emit(t->b, with_flags(op11) ? IR_fpux : IR_fpu, 3, NOVAL, NOVAL, NOVAL)->x = (uint16_t)op11;
        return;
    }
    if (t->in.mem) { /* the first bytes, for the segment's limit; operand() and env_op() look at the rest */
        const unsigned bytes = (unsigned)abs(n);
        const bool writes = n ? n < 0 : op11 & 0x10;

        if (!not_waiting(op11) && tr_limited(t, t->in.seg)) /* #MF goes before the segment's #GP */
            tr_call(t, IR_call, NOVAL, before_limits, NOVAL, NOVAL, NOVAL);
        how |= tr_limited(t, t->in.seg) ? HOW_LIMITED | t->in.seg * HOW_SEG : 0;
        at = tr_linear(t, bytes <= 2 ? 1 : bytes == 4 ? 2 : 3, writes);
    }
    how |= t->in.size == 1 ? HOW_O16 : 0;
    how |= !(t->mode & MODE_PE) || t->mode & MODE_VM ? HOW_REAL : 0;
    tr_call(t, !t->in.mem && with_flags(op11) ? IR_callf : IR_call, NOVAL, x87_do, val_const(how),
            at, tr_visible(t, tr_eip(t, t->pc)));
    if (t->in.mem && (op11 & 0x330) == 0x120) /* fldenv, frstor, fldcw: compiled blocks look at the masks when they begin */
        tr_leave(t, false);
}

/* ---- FXSAVE, XSAVE */
enum { XS_REXW = 1, XS_64 = 2, XS_LOAD = 4, XS_S_FORM = 8, XS_KIND_SHIFT = 4 };

static uint64_t fxsave(Env *e, uint64_t at, uint64_t how, uint64_t c)
{
    X86 *s = x86(e);
    uint8_t area[512];
    bool was, fast = s->efer & EFER_FFXSR && s->cpl == 0 && how & XS_64;
    unsigned xmm = fast ? 0 : how & XS_64 ? 16 : 8;

    if (at & 15) {
        x86_raise(s, EXC_GP, 0);
        return 0;
    }
    if (!inside(s, 0, at, 512) || !mem_load(e, at + 511, 1, area, !(how & XS_LOAD))) /* as the silicon does: the last byte first */
        return 0;
    if (how & XS_LOAD) {
        was = x87_pending(&s->fpu);
        if (get_bytes(e, at, area, 512) && !x86_fxrstor(s, area, how & XS_REXW, xmm))
            x86_raise(s, EXC_GP, 0);
        if (was)
            ferr_follows(s);
        return 0;
    }
    if (!mem_load(e, at, 1, area, true)) /* then from the start */
        return 0;
    x86_fxsave(s, area, how & XS_REXW, xmm);
    put_bytes(e, at, area, 160 + 16 * xmm);
    return 0;
}

static unsigned area_how(const Tr *t)
{
    return (t->in.rexw ? XS_REXW : 0) | (t->code == CODE64 ? XS_64 : 0);
}

void tr_fxsave(Tr *t)
{
    unsigned load = (t->in.modrm >> 3 & 7) == 1 ? XS_LOAD : 0;

    if (t->mode & (MODE_EM | MODE_TS)) {
        tr_exc(t, EXC_NM);
        return;
    }
    tr_call(t, IR_call, NOVAL, fxsave, tr_linear(t, 9, !load),
            val_const((int64_t)(area_how(t) | load)), NOVAL);
    if (load)
        tr_leave(t, false); /* as after ldmxcsr */
}

static uint64_t xsave(Env *e, uint64_t at, uint64_t how, uint64_t c)
{
    X86 *s = x86(e);
    const bool rexw = how & XS_REXW, l64 = how & XS_64;
    uint64_t rfbm = ((uint32_t)e->v[RAX] | e->v[RDX] << 32) & s->xcr0 & XSTATE_ALL;
    unsigned n = x86_xsave_size(s->xcr0, false);
    uint8_t area[XSTATE_SIZE] = { 0 };

    if (at & 63) {
        x86_raise(s, EXC_GP, 0);
        return 0;
    }
    if (!inside(s, 0, at, n) || !get_bytes(e, at, area, n))
        return 0;
    if (how & XS_LOAD) {
        bool was = x87_pending(&s->fpu);

        if (x86_xrstor(s, area, rfbm, how & XS_S_FORM, rexw, l64))
            x86_raise(s, EXC_GP, 0);
        if (was)
            ferr_follows(s);
        return 0;
    }
    x86_xsave(s, area, (X86XsaveKind)(how >> XS_KIND_SHIFT), rfbm, rexw, l64);
    put_bytes(e, at, area, n);
    return 0;
}

void tr_xsave(Tr *t)
{
    unsigned reg = t->in.modrm >> 3 & 7, how = area_how(t);
    bool c7 = t->in.opcode == 0xc7;

    if (!(t->mode & MODE_XSAVE)) {
        tr_exc(t, EXC_UD);
        return;
    }
    if (t->mode & MODE_TS) {
        tr_exc(t, EXC_NM);
        return;
    }
    if (c7)
        how |= reg == 3 ? XS_LOAD | XS_S_FORM : (unsigned)(reg == 4 ? XS_C : XS_S) << XS_KIND_SHIFT;
    else
        how |= reg == 5 ? XS_LOAD : (unsigned)(reg == 6 ? XS_OPT : XS_SAVE) << XS_KIND_SHIFT;
    tr_call(t, IR_call, NOVAL, xsave, tr_linear(t, 9, !(how & XS_LOAD)), val_const((int64_t)how),
            NOVAL);
    if (how & XS_LOAD)
        tr_leave(t, false);
}
