/* target/x86/sys-debug.c - debug registers. Source: Intel SDM vol. 3B chapter 17. */
#include "target/x86/helper.h"

static bool debug_reg(X86 *s, unsigned *n)
{
    if (*n == 4 || *n == 5) {
        if (s->cr4 & CR4_DE)
            return x86_raise(s, EXC_UD, 0);
        *n += 2;
    }
    if (*n > 7)
        return x86_raise(s, EXC_UD, 0);
    if (s->dr[7] & 1 << 13) { /* GD: general detect */
        s->dr[7] &= ~(1ull << 13);
        s->dr[6] |= 1 << 13;
        return x86_raise(s, EXC_DB, 0);
    }
    return true;
}

HELPER(rddr)
{
    X86 *s = x86(e);
    unsigned n = (unsigned)a;

    return debug_reg(s, &n) ? s->dr[n] : 0;
}

HELPER(wrdr)
{
    X86 *s = x86(e);
    unsigned n = (unsigned)a;

    if (!debug_reg(s, &n))
        return 0;
    if (n >= 6 && b >> 32)
        return x86_raise(s, EXC_GP, 0);
    s->dr[n] = n == 6 ? (b & 0xe00f) | 0xffff0ff0 : n == 7 ? (b & 0xffff2fff) | 0x400 : b;
    s->dr7_points = s->dr[7] & 0xff;
    x86_update_mode(s);
    return 0;
}
