/* target/x86/sys-0f01.c - the instructions that 0F 01 with a register operand holds. */
#include "target/x86/helper.h"

static uint64_t pkru(Env *e, bool write)
{
    X86 *s = x86(e);

    if (!(s->cr4 & CR4_PKE))
        return x86_raise(s, EXC_UD, 0);
    if ((uint32_t)e->v[RCX] || (write && (uint32_t)e->v[RDX]))
        return x86_raise(s, EXC_GP, 0);
    if (write) {
        s->pkru = (uint32_t)e->v[RAX];
        tcg_flush_all(s);
    } else {
        e->v[RAX] = s->pkru;
        e->v[RDX] = 0;
    }
    return 0;
}

/* 0F 01 with a register operand. */
HELPER(0f01)
{
    X86 *s = x86(e);

    switch (a) {
    case 0xc8: /* monitor */
    case 0xc9: /* mwait */
        if (s->cpl)
            return x86_raise(s, EXC_UD, 0);
        if (a == 0xc9)
            e->fault = (Fault){ FAULT_HALT, 1, b };
        return 0;
    case 0xca: /* clac */
    case 0xcb: /* stac */
        if (s->cpl || !(s->cr0 & CR0_PE))
            return x86_raise(s, EXC_UD, 0);
        s->eflags = a == 0xcb ? s->eflags | EF_AC : s->eflags & ~(uint64_t)EF_AC;
        x86_update_mode(s);
        return 0;
    case 0xd0: /* xgetbv */
        if (!(s->cr4 & CR4_OSXSAVE))
            return x86_raise(s, EXC_UD, 0);
        if ((uint32_t)e->v[RCX])
            return x86_raise(s, EXC_GP, 0);
        e->v[RAX] = (uint32_t)s->xcr0;
        e->v[RDX] = s->xcr0 >> 32;
        return 0;
    case 0xd1: { /* xsetbv */
        uint64_t v = (e->v[RDX] << 32) | (uint32_t)e->v[RAX];

        if (!(s->cr4 & CR4_OSXSAVE))
            return x86_raise(s, EXC_UD, 0);
        if (!cpl0(s))
            return 0;
        if ((uint32_t)e->v[RCX] || !(v & 1) || v & ~3ull)
            return x86_raise(s, EXC_GP, 0);
        s->xcr0 = v;
        return 0;
    }
    case 0xee: /* rdpkru */
    case 0xef: /* wrpkru */
        return pkru(e, a == 0xef);
    case 0xf8: { /* swapgs */
        uint64_t base = seg_base(s, SEG_GS);

        if (!code64(s))
            return x86_raise(s, EXC_UD, 0);
        if (!cpl0(s))
            return 0;
        e->v[V_SEGBASE + SEG_GS] = s->kernelgsbase;
        s->kernelgsbase = base;
        return 0;
    }
    case 0xf9: /* rdtscp */
        if (s->cr4 & CR4_TSD && s->cpl)
            return x86_raise(s, EXC_GP, 0);
        e->v[RCX] = (uint32_t)s->tsc_aux;
        e->v[RAX] = (uint32_t)x86_tsc(s);
        e->v[RDX] = x86_tsc(s) >> 32;
        return 0;
    default: return x86_raise(s, EXC_UD, 0);
    }
}
