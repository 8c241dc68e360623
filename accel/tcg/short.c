/*
 * accel/tcg/short.c - short forms of the helpers that kernels call all the time: SYSCALL and SYSRET between 64-bit
 * code, what saves and changes IF and AC in ring 0, SWAPGS, RDTSC, MOVS and STOS inside a page, fences. This file is compiled for general registers only, so
 * generated code keeps vectors, FPU and half of the registers where they are (target_short() in tcg/runtime.h). What is
 * not common goes the long way: each function first finds out, then changes something.
 */
#include "accel/tcg/tcg.h"
#include "target/x86/helper.h"
#include "target/x86/tr.h"

#define LONG(name) uint64_t hx_##name(Env *e, uint64_t a, uint64_t b, uint64_t c);
LONG(cli) LONG(movs) LONG(pushf) LONG(rdtsc) LONG(stos) LONG(syscall) LONG(sysret)

static uint64_t long_way(Env *e, HelperFn fn)
{
    e->jit.long_way = fn;
    return 0;
}

/* The six flags as EFLAGS has them, of CC_HOST. */
static uint64_t six(const Env *e) { return (e->cc.res >> 8 & (EF_ARITH & 0xff)) | (e->cc.res & 1) << 11; }

static void set_six(Env *e, uint64_t f) { e->cc.res = 0x200 | (f & (EF_ARITH & 0xff)) << 8 | (f >> 11 & 1); }

static uint64_t pushf(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    const X86 *s = x86(e);

    if (UNLIKELY(vm86(s)))
        return long_way(e, hx_pushf);
    return (s->eflags & ~(uint64_t)(EF_ARITH | EF_VM | EF_RF)) | 2 | six(e);
}

static uint64_t cli(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    X86 *s = x86(e);

    if (UNLIKELY(s->cpl > iopl(s)))
        return long_way(e, hx_cli);
    s->eflags &= ~(uint64_t)EF_IF;
    return 0;
}

/* Something waits that x86_rearm() looks for. */
static bool waits(const X86 *s) { return cpu_requests(s->env.cpu) & (CPU_REQ_IRQ | CPU_REQ_NMI | CPU_REQ_SMI); }

static uint64_t sti_ring0(Env *e, uint64_t next, uint64_t b, uint64_t c)
{
    X86 *s = x86(e);

    if (UNLIKELY(waits(s)))
        return long_way(e, x86_sti_ring0);
    if (!(s->eflags & EF_IF))
        s->sti_next = next;
    s->eflags |= EF_IF;
    return 0;
}

/* From the host's counter, if the clock was looked at just now. */
static uint64_t rdtsc(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    X86 *s = x86(e);
    uint64_t past = host_ticks() - s->ticks.host, t;

    if (UNLIKELY(past >= s->ticks.span || (s->cr4 & CR4_TSD && s->cpl)))
        return long_way(e, hx_rdtsc);
    t = s->ticks.ns + (past * s->ticks.rate >> 32) + s->tsc_offset;
    e->v[RAX] = (uint32_t)t;
    e->v[RDX] = t >> 32;
    return 0;
}

static uint64_t fence(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return 0;
}

/* A string instruction upwards in 64-bit code, with flat segments and 64-bit addresses, of `bytes` that lie in one page each; how: string.c */
static bool string_here(const Env *e, uint64_t how, uint64_t *bytes)
{
    const uint64_t wanted = 1 << 9 | 3 << 2;
    uint64_t n = how >> 4 & 3 ? e->v[RCX] : 1;

    *bytes = n << (how & 3);
    return (how & wanted) == wanted && (how >> 6 & 7) < SEG_FS && n - 1 < PAGE && *bytes <= PAGE && !(e->mode & (MODE_ONE | MODE_AC)) &&
           !(((const X86 *)e)->eflags & EF_DF);
}

static void string_done(Env *e, uint64_t how, uint64_t bytes)
{
    e->v[RDI] += bytes;
    if (how >> 4 & 3)
        e->v[RCX] = 0;
}

/* The host's own instructions: elements as whole as the guest's. */
#define REP(op, to, n, ...) __asm__ volatile("rep " op : "+D"(to), "+c"(n) __VA_ARGS__ : "memory")

static void copy(uint8_t *to, uint8_t *from, unsigned size, uint64_t n)
{
    switch (size) {
    case 0: REP("movsb", to, n, , "+S"(from) :); break;
    case 1: REP("movsw", to, n, , "+S"(from) :); break;
    case 2: REP("movsl", to, n, , "+S"(from) :); break;
    default: REP("movsq", to, n, , "+S"(from) :); break;
    }
}

static void fill(uint8_t *to, uint64_t v, unsigned size, uint64_t n)
{
    switch (size) {
    case 0: REP("stosb", to, n, : "a"(v)); break;
    case 1: REP("stosw", to, n, : "a"(v)); break;
    case 2: REP("stosl", to, n, : "a"(v)); break;
    default: REP("stosq", to, n, : "a"(v)); break;
    }
}

static uint64_t movs(Env *e, uint64_t how, uint64_t b, uint64_t c)
{
    uint64_t bytes, dst = e->v[RDI], src = e->v[RSI];
    uint8_t *to, *from;

    if (UNLIKELY(!string_here(e, how, &bytes) || dst - src < bytes)) /* the latter repeats what it has written */
        return long_way(e, hx_movs);
    from = tlb_hit(e->view->r, src, (unsigned)bytes);
    to = tlb_hit(e->view->w, dst, (unsigned)bytes);
    if (UNLIKELY(!from || !to))
        return long_way(e, hx_movs);
    e->v[RSI] = src + bytes;
    string_done(e, how, bytes);
    copy(to, from, how & 3, bytes >> (how & 3));
    return 0;
}

static uint64_t stos(Env *e, uint64_t how, uint64_t b, uint64_t c)
{
    uint64_t bytes, dst = e->v[RDI];
    uint8_t *to;

    if (UNLIKELY(!string_here(e, how, &bytes)))
        return long_way(e, hx_stos);
    to = tlb_hit(e->view->w, dst, (unsigned)bytes);
    if (UNLIKELY(!to))
        return long_way(e, hx_stos);
    string_done(e, how, bytes);
    fill(to, e->v[RAX], how & 3, bytes >> (how & 3));
    return 0;
}

static void kernel_view(X86 *s)
{
    TcgCpu *t = s->tcg;

    t->kind = s->cr4 & CR4_SMAP && s->eflags & EF_AC ? VIEW_KERNEL_AC : VIEW_KERNEL;
    s->env.view = tcg_view_at(t, t->now, t->kind);
}

static uint64_t stac(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    x86(e)->eflags |= EF_AC;
    kernel_view(x86(e));
    return 0;
}

static uint64_t clac(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    x86(e)->eflags &= ~(uint64_t)EF_AC;
    kernel_view(x86(e));
    return 0;
}

static uint64_t swapgs(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    X86 *s = x86(e);
    uint64_t base = seg_base(s, SEG_GS);

    e->v[V_SEGBASE + SEG_GS] = s->kernelgsbase;
    s->kernelgsbase = base;
    return 0;
}

static void set_seg(X86 *s, unsigned n, uint16_t sel, uint32_t attr)
{
    s->seg[n].sel = sel;
    s->seg[n].limit = UINT32_MAX;
    s->seg[n].attr = attr;
    s->env.v[V_SEGBASE + n] = 0;
}

/* The mode word of 64-bit code in that view, with or without a big stack segment. The word of now is one of 64-bit code, too. */
static uint64_t mode64(const X86 *s, unsigned cpl, const View *v, bool ss32)
{
    return (s->env.mode & ~(uint64_t)(MODE_CPL | MODE_AC | MODE_SS32 | MODE_WINDOW)) | cpl << MODE_CPL_SHIFT | (ss32 ? MODE_SS32 : 0) | v->mode;
}

/* Are SYSCALL and SYSRET the common ones, and has that mode a number? */
static bool common(const X86 *s, uint64_t mode)
{
    const TcgCpu *t = s->tcg;
    unsigned h = tcg_front_slot(mode);

    return s->efer & EFER_SCE && (mode & MODE_CODE) == CODE64 && !(mode & (MODE_ONE | MODE_SHADOW | MODE_VM)) && t->front[h].n &&
           t->front[h].mode == mode && !waits(s);
}

static void enter_mode(X86 *s, uint64_t mode)
{
    s->env.mode = mode;
    s->env.jc_key = (uint64_t)(s->tcg->front[tcg_front_slot(mode)].n - 1) << JC_KEY_SHIFT;
}

static uint64_t syscall_64(Env *e, uint64_t next, uint64_t b, uint64_t c)
{
    X86 *s = x86(e);
    uint64_t flags = (s->eflags & ~(uint64_t)(EF_ARITH | EF_RF)) | 2 | six(e), to = flags & ~s->sfmask;
    uint64_t mode = mode64(s, 0, tcg_view_at(s->tcg, s->tcg->now, VIEW_KERNEL), true);
    uint16_t sel = (uint16_t)(s->star >> 32);

    if (UNLIKELY(!common(s, mode) || to & EF_TF))
        return long_way(e, hx_syscall);
    e->v[RCX] = next;
    e->v[11] = flags;
    set_seg(s, SEG_CS, sel & 0xfffc, 0x809b | SA_L);
    set_seg(s, SEG_SS, (uint16_t)(sel + 8), 0xc093);
    s->cpl = 0;
    s->eflags = (to & ~(uint64_t)EF_ARITH) | 2;
    set_six(e, to);
    s->no_step = true;
    enter_mode(s, mode);
    kernel_view(s);
    e->pc = s->lstar;
    return 0;
}

static uint64_t sysret_64(Env *e, uint64_t to64, uint64_t b, uint64_t c)
{
    enum { GIVEN = EF_ARITH | EF_TF | EF_IF | EF_DF | EF_IOPL | EF_NT | EF_AC | EF_VIF | EF_VIP | EF_ID | EF_VM | EF_RF };
    X86 *s = x86(e);
    View *view = tcg_view_at(s->tcg, s->tcg->now, VIEW_USER);
    uint64_t mode = mode64(s, 3, view, !s->vendor_amd || s->seg[SEG_SS].attr & SA_DB), flags = e->v[11] & GIVEN & ~(uint64_t)(EF_VM | EF_RF);
    uint16_t sel = (uint16_t)(s->star >> 48);

    if (UNLIKELY(!to64 || s->tcg->win_always || !common(s, mode) || flags & (EF_TF | EF_AC) || !canonical(s, e->v[RCX])))
        return long_way(e, hx_sysret);
    set_seg(s, SEG_CS, (uint16_t)(sel + 16) | 3, 0x809b | 3 << 5 | SA_L);
    if (s->vendor_amd)
        s->seg[SEG_SS].sel = (uint16_t)(sel + 8) | 3;
    else
        set_seg(s, SEG_SS, (uint16_t)(sel + 8) | 3, 0xc093 | 3 << 5);
    s->cpl = 3;
    s->eflags = (s->eflags & ~(uint64_t)GIVEN) | (flags & ~(uint64_t)EF_ARITH) | 2;
    set_six(e, flags);
    enter_mode(s, mode);
    s->tcg->kind = VIEW_USER;
    e->view = view;
    e->pc = e->v[RCX];
    return 0;
}

HelperFn target_short(HelperFn fn)
{
    static const struct {
        HelperFn of, is;
    } forms[] = {
        { hx_movs, movs }, { hx_stos, stos }, { hx_pushf, pushf }, { hx_rdtsc, rdtsc }, { x86_fence, fence }, { hx_cli, cli }, { x86_sti_ring0, sti_ring0 }, { x86_stac_ring0, stac }, { x86_clac_ring0, clac },
        { x86_swapgs_ring0, swapgs }, { hx_syscall, syscall_64 }, { hx_sysret, sysret_64 },
    };

    for (size_t i = 0; MENURA_SHORT && i < G_N_ELEMENTS(forms); i++)
        if (forms[i].of == fn)
            return forms[i].is;
    return NULL;
}
