/* target/x86/sys-call.c - SYSCALL, SYSRET, SYSENTER, SYSEXIT, RSM. */
#include "target/x86/helper.h"

static void flat_cs(X86 *s, uint16_t sel, bool to64, unsigned cpl)
{
    x86_set_seg(s, SEG_CS, (uint16_t)((sel & ~3u) | cpl), 0, UINT32_MAX,
                (uint32_t)(0x809b | cpl << 5 | (to64 ? SA_L : SA_DB)));
    s->cpl = (uint8_t)cpl;
}

static void flat_ss(X86 *s, uint16_t sel, unsigned cpl)
{
    x86_set_seg(s, SEG_SS, (uint16_t)((sel & ~3u) | cpl), 0, UINT32_MAX, 0xc093 | cpl << 5);
}

/* SYSCALL's: the selector keeps the privilege level that STAR has (APM vol. 3, SYSCALL; SDM vol. 2B). */
static void call_ss(X86 *s, uint16_t sel)
{
    flat_ss(s, sel, 0);
    s->seg[SEG_SS].sel = sel;
}

HELPER(syscall)
{
    X86 *s = x86(e);
    uint16_t sel = (uint16_t)(s->star >> 32);

    if (!(s->efer & EFER_SCE) || !(s->cr0 & CR0_PE) || (!code64(s) && !s->vendor_amd))
        return x86_raise(s, EXC_UD, 0);
    if (!long_mode(s)) { /* AMD, legacy */
        e->v[RCX] = (uint32_t)(a - seg_base(s, SEG_CS));
        s->eflags &= ~(uint64_t)(EF_VM | EF_IF | EF_RF);
        flat_cs(s, sel, false, 0);
        call_ss(s, (uint16_t)(sel + 8));
        x86_update_mode(s);
        e->pc = (uint32_t)s->star;
        return 0;
    }
    uint64_t to = code64(s) ? s->lstar : s->cstar;

    e->v[RCX] = code64(s) ? a : (uint32_t)(a - seg_base(s, SEG_CS));
    e->v[11] = x86_eflags(s) & ~(uint64_t)EF_RF;
    flat_cs(s, sel, true, 0);
    call_ss(s, (uint16_t)(sel + 8));
    x86_set_eflags(s, e->v[11] & ~s->sfmask & ~(uint64_t)EF_RF, ~0ull);
    s->no_step = !(s->eflags & EF_TF);
    e->pc = to;
    return 0;
}

HELPER(sysret)
{
    X86 *s = x86(e);
    uint16_t sel = (uint16_t)(s->star >> 48);
    bool lm = long_mode(s), to64 = a;

    if (!(s->efer & EFER_SCE) || (!code64(s) && !s->vendor_amd))
        return x86_raise(s, EXC_UD, 0);
    if (to64 && !canonical(s, e->v[RCX]))
        return x86_raise(s, EXC_GP, 0);
    flat_cs(s, (uint16_t)(to64 ? sel + 16 : sel), to64, 3);
    if (s->vendor_amd)
        s->seg[SEG_SS].sel = (uint16_t)((sel + 8) | 3);
    else
        flat_ss(s, (uint16_t)(sel + 8), 3);
    if (lm)
        x86_set_eflags(s, e->v[11] & ~(uint64_t)(EF_VM | EF_RF),
                       EF_ARITH | EF_TF | EF_IF | EF_DF | EF_IOPL | EF_NT | EF_AC | EF_VIF | EF_VIP | EF_ID | EF_VM | EF_RF);
    else
        s->eflags = (s->eflags | EF_IF) & ~(uint64_t)(EF_VM | EF_RF);
    if (!lm)
        x86_update_mode(s);
    e->pc = to64 ? e->v[RCX] : (uint32_t)e->v[RCX];
    return 0;
}

HELPER(sysenter)
{
    X86 *s = x86(e);
    uint16_t sel = (uint16_t)(s->sysenter_cs & 0xfffc);
    bool lm = long_mode(s);

    if (!(s->cr0 & CR0_PE) || !sel)
        return x86_raise(s, EXC_GP, 0);
    if (lm && s->vendor_amd)
        return x86_raise(s, EXC_UD, 0);
    s->eflags &= ~(uint64_t)(EF_VM | EF_IF | EF_RF);
    flat_cs(s, sel, lm, 0);
    flat_ss(s, (uint16_t)(sel + 8), 0);
    e->v[RSP] = lm ? s->sysenter_esp : (uint32_t)s->sysenter_esp;
    x86_update_mode(s);
    e->pc = lm ? s->sysenter_eip : (uint32_t)s->sysenter_eip;
    return 0;
}

HELPER(sysexit)
{
    X86 *s = x86(e);
    uint16_t sel = (uint16_t)(s->sysenter_cs & 0xfffc);

    if (!sel || (long_mode(s) && s->vendor_amd))
        return x86_raise(s, EXC_GP, 0);
    if (a && (!canonical(s, e->v[RCX]) || !canonical(s, e->v[RDX])))
        return x86_raise(s, EXC_GP, 0);
    flat_cs(s, (uint16_t)(sel + (a ? 32 : 16)), a, 3);
    flat_ss(s, (uint16_t)(sel + (a ? 40 : 24)), 3);
    e->v[RSP] = a ? e->v[RCX] : (uint32_t)e->v[RCX];
    x86_update_mode(s);
    e->pc = a ? e->v[RDX] : (uint32_t)e->v[RDX];
    return 0;
}

HELPER(rsm)
{
    X86 *s = x86(e);

    if (!s->smm)
        return x86_raise(s, EXC_UD, 0);
    x86_rsm(s);
    return 0;
}
