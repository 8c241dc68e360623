/* target/x86/sys-flags.c - helpers that read and write EFLAGS whole or by bit; HLT and WAIT. */
#include "target/x86/helper.h"

HELPER(pushf)
{
    X86 *s = x86(e);

    if (vm86(s) && iopl(s) < 3)
        return x86_raise(s, EXC_GP, 0);
    return x86_eflags(s) & ~(uint64_t)(EF_VM | EF_RF);
}

HELPER(popf)
{
    X86 *s = x86(e);
    uint64_t m = EF_ARITH | EF_TF | EF_DF | EF_NT | (b > 1 ? EF_AC | EF_ID : 0);

    if (vm86(s) && iopl(s) < 3)
        return x86_raise(s, EXC_GP, 0);
    if (s->cpl == 0)
        m |= EF_IOPL;
    if (s->cpl <= iopl(s) || !(s->cr0 & CR0_PE))
        m |= EF_IF;
    x86_set_eflags(s, a, m);
    return 0;
}

static bool may_mask(X86 *s) { return !(s->cr0 & CR0_PE) || s->cpl <= iopl(s) || x86_raise(s, EXC_GP, 0); }

HELPER(cli)
{
    X86 *s = x86(e);

    if (may_mask(s))
        s->eflags &= ~(uint64_t)EF_IF;
    return 0;
}

HELPER(sti)
{
    X86 *s = x86(e);

    if (!may_mask(s))
        return 0;
    if (!(s->eflags & EF_IF)) {
        s->shadow = SHADOW_STI;
        s->eflags |= EF_IF;
        x86_update_mode(s);
    }
    return 0;
}

HELPER(cld) { x86(e)->eflags &= ~(uint64_t)EF_DF; return 0; }
HELPER(std) { x86(e)->eflags |= EF_DF; return 0; }
HELPER(nop0) { return 0; }

HELPER(hlt)
{
    e->fault = (Fault){ FAULT_HALT, 0, a };
    return 0;
}

HELPER(fwait)
{
    X86 *s = x86(e);

    if ((s->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        return x86_raise(s, EXC_NM, 0);
    if (s->fpu.sw & 0x80)
        return x86_raise(s, EXC_MF, 0);
    return 0;
}
