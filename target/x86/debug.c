/*
 * target/x86/debug.c - the guest's debug registers: what is armed, which access or instruction hits, and the traps
 * that wait for the end of an instruction. Source: Intel SDM vol. 3B chapter 17.2 and 17.3.
 */
#include "target/x86/helper.h"

enum { RW_EXEC, RW_WRITE, RW_IO, RW_ANY };

static bool armed(const X86 *s, unsigned i) { return s->dr[7] >> (2 * i) & 3; }
static unsigned kind(const X86 *s, unsigned i) { return s->dr[7] >> (16 + 4 * i) & 3; }

static uint64_t length(const X86 *s, unsigned i)
{
    static const uint8_t bytes[] = { 1, 2, 8, 4 };

    return bytes[s->dr[7] >> (18 + 4 * i) & 3];
}

static bool hits(const X86 *s, unsigned i, uint64_t at, uint64_t n)
{
    uint64_t len = length(s, i), base = s->dr[i] & -len;

    return at - base < len || base - at < n;
}

void x86_arm_debug(X86 *s)
{
    s->db_data = 0;
    for (unsigned i = 0; i < 4; i++)
        if (armed(s, i) && kind(s, i) & 1)
            s->db_data |= 1u << i;
    s->dr7_points = s->dr[7] & 0xff;
    tcg_guest_watch(s);
    x86_update_mode(s);
}

bool x86_data_break_page(const X86 *s, uint64_t page)
{
    for (unsigned i = 0; i < 4; i++)
        if (s->db_data >> i & 1 && hits(s, i, page, PAGE))
            return true;
    return false;
}

void x86_data_break(X86 *s, uint64_t va, unsigned n, bool write)
{
    for (unsigned i = 0; i < 4; i++)
        if (s->db_data >> i & 1 && (write || kind(s, i) == RW_ANY) && hits(s, i, va, n))
            s->db_pending |= 1u << i;
}

void x86_io_break(X86 *s, uint16_t port, unsigned n)
{
    for (unsigned i = 0; i < 4 && s->cr4 & CR4_DE; i++)
        if (armed(s, i) && kind(s, i) == RW_IO && hits(s, i, port, n))
            s->db_pending |= 1u << i;
}

static bool raise_db(X86 *s, uint32_t bits)
{
    s->dr[6] = (s->dr[6] & ~15ull) | bits;
    return x86_raise(s, EXC_DB, 0);
}

bool x86_code_break(X86 *s)
{
    uint32_t bits = 0;

    if (LIKELY(!s->dr7_points) || s->eflags & EF_RF || s->shadow & SHADOW_SS)
        return false;
    for (unsigned i = 0; i < 4; i++)
        if (armed(s, i) && kind(s, i) == RW_EXEC && s->dr[i] == s->env.pc)
            bits |= 1u << i;
    if (bits)
        raise_db(s, bits);
    return bits;
}

bool x86_after_insn(X86 *s, bool tf)
{
    uint32_t bits = s->db_pending | (tf && !s->no_step ? DR6_BS : 0);

    if (LIKELY(!bits) || s->shadow & SHADOW_SS) /* after MOV SS it waits for the next instruction; a step is lost */
        return false;
    s->db_pending = 0;
    raise_db(s, bits);
    return true;
}

/* ---- MOV to and from debug registers ---- */
static bool debug_reg(X86 *s, unsigned *n)
{
    if (*n == 4 || *n == 5) {
        if (s->cr4 & CR4_DE)
            return x86_raise(s, EXC_UD, 0);
        *n += 2;
    }
    if (*n > 7)
        return x86_raise(s, EXC_UD, 0);
    if (s->dr[7] & DR7_GD) {
        s->dr[6] |= DR6_BD;
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
    s->dr[n] = n == 6 ? (b & 0xe00f) | 0xffff0ff0 : n == 7 ? (b & 0xffff23ff) | 0x400 : b;
    s->eflags &= ~(uint64_t)EF_RF; /* it was for this instruction */
    x86_arm_debug(s);
    return 0;
}
