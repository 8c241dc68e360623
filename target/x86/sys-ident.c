/* target/x86/sys-ident.c - time, identification, model specific registers, random numbers. */
#include "target/x86/helper.h"

HELPER(rdtsc)
{
    X86 *s = x86(e);
    uint64_t t;

    if (s->cr4 & CR4_TSD && s->cpl)
        return x86_raise(s, EXC_GP, 0);
    t = x86_tsc(s);
    e->v[RAX] = (uint32_t)t;
    e->v[RDX] = t >> 32;
    return 0;
}

HELPER(rdpmc) { return x86_raise(x86(e), EXC_GP, 0); }

HELPER(rdpid) { return x86(e)->tsc_aux; }

HELPER(rdmsr)
{
    X86 *s = x86(e);
    uint64_t v = 0;

    if (!x86_rdmsr(s, (uint32_t)e->v[RCX], &v))
        return x86_raise(s, EXC_GP, 0);
    e->v[RAX] = (uint32_t)v;
    e->v[RDX] = v >> 32;
    return 0;
}

HELPER(wrmsr)
{
    X86 *s = x86(e);

    if (!x86_wrmsr(s, (uint32_t)e->v[RCX], e->v[RDX] << 32 | (uint32_t)e->v[RAX]))
        return s->env.fault.kind ? 0 : x86_raise(s, EXC_GP, 0);
    return 0;
}

HELPER(cpuid)
{
    uint32_t out[4];

    x86_cpuid(x86(e), (uint32_t)e->v[RAX], (uint32_t)e->v[RCX], out);
    e->v[RAX] = out[0];
    e->v[RBX] = out[1];
    e->v[RCX] = out[2];
    e->v[RDX] = out[3];
    return 0;
}

HELPER(rdrand)
{
    uint64_t v = 0;

    door_random(e->cpu->vm, &v, 1u << a);
    e->cc = (Cc){ .kind = CC_RAW, .res = FC };
    return v;
}

HELPER(fsgsbase)
{
    X86 *s = x86(e);

    if (!(s->cr4 & CR4_FSGSBASE))
        return x86_raise(s, EXC_UD, 0);
    if (b && !canonical(s, a))
        return x86_raise(s, EXC_GP, 0);
    return 0;
}
