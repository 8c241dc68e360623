/* target/x86/sys-cr.c - MOV to and from control registers, LMSW, CLTS, the INV instructions. */
#include "target/x86/helper.h"

HELPER(lmsw)
{
    X86 *s = x86(e);

    x86_set_cr0(s, (s->cr0 & ~14ull) | (a & 15) | (s->cr0 & CR0_PE));
    return 0;
}

HELPER(clts)
{
    X86 *s = x86(e);

    s->cr0 &= ~(uint64_t)CR0_TS;
    x86_update_mode(s);
    return 0;
}

HELPER(rdcr)
{
    X86 *s = x86(e);

    switch (a) {
    case 0: return s->cr0;
    case 2: return s->cr2;
    case 3: return s->cr3;
    case 4: return s->cr4;
    case 8: return e->cpu->intc ? e->cpu->intc->get_tpr(e->cpu->intc_chip) : 0;
    default: return x86_raise(s, EXC_UD, 0);
    }
}

HELPER(wrcr)
{
    X86 *s = x86(e);

    switch (a) {
    case 0: x86_set_cr0(s, b); break;
    case 2: s->cr2 = b; break;
    case 3: x86_set_cr3(s, b); break;
    case 4: x86_set_cr4(s, b); break;
    case 8:
        if (b & ~15ull)
            return x86_raise(s, EXC_GP, 0);
        if (e->cpu->intc)
            e->cpu->intc->set_tpr(e->cpu->intc_chip, b);
        break;
    default: return x86_raise(s, EXC_UD, 0);
    }
    return 0;
}

HELPER(invlpg)
{
    tcg_flush_page(x86(e), a);
    return 0;
}

HELPER(invpcid)
{
    X86 *s = x86(e);
    uint64_t pcid, va;

    if (!x86_read(s, b, 8, &pcid) || !x86_read(s, b + 8, 8, &va))
        return 0;
    if (a > 3 || pcid & ~0xfffull || (a == 0 && !canonical(s, va)) || (a < 2 && pcid && !(s->cr4 & CR4_PCIDE)))
        return x86_raise(s, EXC_GP, 0);
    if (a == 0)
        tcg_flush_pcid_page(s, (unsigned)pcid, va);
    else if (a == 1)
        tcg_flush_pcid(s, (unsigned)pcid);
    else if (a == 2)
        tcg_flush_all(s);
    else
        tcg_flush_nonglobal(s);
    return 0;
}
