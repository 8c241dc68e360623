/*
 * target/x86/vm86.c - virtual-8086 mode extensions and protected-mode virtual interrupts: INT n through the
 * redirection map, and the flags as a program with IOPL < 3 sees them. Source: Intel SDM vol. 3B chapter 20.3, 20.4.
 */
#include "target/x86/helper.h"

/* INT n of a virtual-8086 program goes to its own handler? Reads the map before the I/O bitmap. False: fault set. */
static bool redirected(X86 *s, unsigned vector, bool *yes)
{
    uint64_t map, bits;

    *yes = false;
    if (!(s->cr4 & CR4_VME))
        return true;
    if (!x86_read_sys(s, s->tr.base + 102, 2, &map))
        return false;
    if (map < 32 || map - 32 + vector / 8 > s->tr.limit)
        return x86_raise(s, EXC_GP, 0);
    if (!x86_read_sys(s, s->tr.base + map - 32 + vector / 8, 1, &bits))
        return false;
    *yes = !(bits >> (vector & 7) & 1);
    return true;
}

uint64_t x86_vm86_flags(const X86 *s)
{
    uint64_t f = x86_eflags(s);

    return iopl(s) == 3 ? f : (f & ~(uint64_t)EF_IF) | EF_IOPL | (f & EF_VIF ? EF_IF : 0);
}

bool x86_vm86_set_flags(X86 *s, uint64_t f)
{
    if (f & EF_TF || (f & EF_IF && s->eflags & EF_VIP))
        return x86_raise(s, EXC_GP, 0);
    x86_set_eflags(s, (f & ~(uint64_t)EF_VIF) | (f & EF_IF ? EF_VIF : 0), EF_ARITH | EF_TF | EF_DF | EF_NT | EF_VIF);
    return true;
}

/* To the program's own vector, as in real mode. */
static bool to_program(X86 *s, unsigned vector, uint64_t next)
{
    uint64_t sp = s->env.v[RSP], base = seg_base(s, SEG_SS), at, put[3];

    put[0] = x86_vm86_flags(s);
    put[1] = s->seg[SEG_CS].sel;
    put[2] = next - seg_base(s, SEG_CS);
    if (!x86_read(s, vector * 4, 4, &at))
        return false;
    for (unsigned i = 0; i < 3; i++)
        if (!x86_write(s, base + ((sp - 2 * (i + 1)) & 0xffff), 2, put[i]))
            return false;
    s->env.v[RSP] = (sp & ~0xffffull) | ((sp - 6) & 0xffff);
    s->eflags &= ~(uint64_t)(EF_TF | EF_NT | EF_RF | (iopl(s) == 3 ? EF_IF : EF_VIF));
    x86_set_seg(s, SEG_CS, (uint16_t)(at >> 16), at >> 16 << 4, 0xffff, 0xf3);
    x86_update_mode(s);
    s->no_step = true;
    s->env.pc = (at & 0xffff) + seg_base(s, SEG_CS);
    return true;
}

bool x86_vm86_int(X86 *s, unsigned vector, uint64_t next)
{
    bool yes;

    if (!redirected(s, vector, &yes))
        return false;
    if (yes) {
        to_program(s, vector, next);
        return false;
    }
    return iopl(s) == 3 || x86_raise(s, EXC_GP, 0);
}
