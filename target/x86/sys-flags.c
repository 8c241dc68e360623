/* target/x86/sys-flags.c - helpers that read and write EFLAGS whole or by bit; HLT and WAIT. */
#include "target/x86/fpu.h"
#include "target/x86/helper.h"
#include "target/x86/tr.h"

/* In virtual-8086 mode with IOPL < 3 the 16-bit forms work on VIF when CR4.VME is set; nothing else is allowed. */
static bool flags_allowed(X86 *s, uint64_t size, bool *virtual)
{
    *virtual = vm86(s) && iopl(s) < 3;
    return !*virtual || (s->cr4 & CR4_VME && size == 1) || x86_raise(s, EXC_GP, 0);
}

HELPER(pushf)
{
    X86 *s = x86(e);
    bool virtual;

    if (!flags_allowed(s, a, &virtual))
        return 0;
    return (virtual ? x86_vm86_flags(s) : x86_eflags(s)) & ~(uint64_t)(EF_VM | EF_RF);
}

HELPER(popf)
{
    X86 *s = x86(e);
    uint64_t m = EF_ARITH | EF_TF | EF_DF | EF_NT | (b > 1 ? EF_AC | EF_ID : 0);
    bool virtual;

    if (!flags_allowed(s, b, &virtual))
        return 0;
    if (virtual) {
        x86_vm86_set_flags(s, a);
        return 0;
    }
    if (s->cpl == 0)
        m |= EF_IOPL;
    if (s->cpl <= iopl(s) || !(s->cr0 & CR0_PE))
        m |= EF_IF;
    x86_set_eflags(s, a, m);
    return 0;
}

/* What CLI and STI work on: IF, or VIF for ring 3 and virtual-8086 programs when CR4 says so; 0: #GP raised. */
static uint64_t interrupt_flag(X86 *s)
{
    if (!(s->cr0 & CR0_PE) || s->cpl <= iopl(s))
        return EF_IF;
    if (s->cpl == 3 && s->cr4 & (vm86(s) ? CR4_VME : CR4_PVI))
        return EF_VIF;
    return x86_raise(s, EXC_GP, 0);
}

HELPER(cli)
{
    X86 *s = x86(e);

    s->eflags &= ~interrupt_flag(s);
    return 0;
}

HELPER(sti)
{
    X86 *s = x86(e);
    uint64_t f = interrupt_flag(s);

    if (f == EF_VIF && s->eflags & EF_VIP)
        return x86_raise(s, EXC_GP, 0);
    if (f == EF_IF && !(s->eflags & EF_IF))
        s->shadow = SHADOW_STI;
    s->eflags |= f;
    x86_update_mode(s);
    return 0;
}

uint64_t x86_sti_ring0(Env *e, uint64_t next, uint64_t b, uint64_t c)
{
    X86 *s = x86(e);

    if (!(s->eflags & EF_IF))
        s->sti_next = next;
    s->eflags |= EF_IF;
    x86_rearm(s);
    return 0;
}

/* At worst it is there again by another way: then an interrupt comes an instruction later. */
void x86_sti_shadow(X86 *s)
{
    if (LIKELY(s->env.pc != s->sti_next))
        return;
    s->sti_next = ~0ull;
    if (s->eflags & EF_IF && !s->shadow) {
        s->shadow = SHADOW_STI;
        x86_update_mode(s);
    }
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
    if (x87_pending(&s->fpu))
        x87_report(s);
    return 0;
}
