/*
 * target/x86/sys-0f01.c - the instructions that 0F 01 with a register operand holds: the whole ModRM byte chooses, and
 * each exists by a CPUID bit. Source: Intel SDM vol. 2.
 */
#include "target/x86/fpu.h"
#include "target/x86/helper.h"
#include "target/x86/tr.h"
#include "util/trace.h"

enum { NO_WORD = 0xff };

/* MONITOR: arms the line; MWAIT waits until it is written, or for anything else that wakes a CPU. */
static void monitor(X86 *s, uint64_t next)
{
    uint64_t at = s->env.v[RAX] + (code64(s) ? 0 : seg_base(s, SEG_DS)), v;

    if ((uint32_t)s->env.v[RCX])
        x86_raise(s, EXC_GP, 0);
    else if (x86_read(s, code64(s) ? at : (uint32_t)at, 1, &v))
        s->monitor_addr = at & ~63ull;
}

static uint64_t line_sum(X86 *s)
{
    uint64_t sum = 0, v;

    for (unsigned i = 0; i < 64 && !s->env.fault.kind; i += 8)
        sum = sum * 31 + (x86_read(s, s->monitor_addr + i, 8, &v) ? v : 0);
    s->env.fault.kind = FAULT_NONE; /* unmapped since: then it ends at once */
    return sum;
}

/* No store is seen as such, so look now and then; what wakes a CPU asks for an exit. It may also end for no reason. */
static void mwait(X86 *s, uint64_t next)
{
    uint64_t before;

    if ((uint32_t)s->env.v[RCX] & ~1u) {
        x86_raise(s, EXC_GP, 0);
        return;
    }
    if (!s->monitor_addr)
        return;
    before = line_sum(s);
    for (unsigned i = 0; i < 20 && !__atomic_load_n(&s->env.exit_req, __ATOMIC_RELAXED) && line_sum(s) == before; i++)
        g_usleep(50);
    s->monitor_addr = 0;
}

static void set_ac(X86 *s, bool on)
{
    s->eflags = on ? s->eflags | EF_AC : s->eflags & ~(uint64_t)EF_AC;
    x86_update_view(s); /* in ring 0 AC is not part of the mode */
}
static void clac(X86 *s, uint64_t next) { set_ac(s, false); }
static void stac(X86 *s, uint64_t next) { set_ac(s, true); }

static void answer(X86 *s, uint64_t v)
{
    s->env.v[RAX] = (uint32_t)v;
    s->env.v[RDX] = v >> 32;
}

static void xgetbv(X86 *s, uint64_t next)
{
    uint32_t n = (uint32_t)s->env.v[RCX];

    if (!(s->cr4 & CR4_OSXSAVE))
        x86_raise(s, EXC_UD, 0);
    else if (n > 1 || (n && !(s->cpuid_words[W_D1A] & 4)))
        x86_raise(s, EXC_GP, 0);
    else
        answer(s, n ? s->xcr0 & x86_xinuse(s) : s->xcr0);
}

static void xsetbv(X86 *s, uint64_t next)
{
    uint64_t v = s->env.v[RDX] << 32 | (uint32_t)s->env.v[RAX];
    uint32_t d[4];

    if (!(s->cr4 & CR4_OSXSAVE)) {
        x86_raise(s, EXC_UD, 0);
        return;
    }
    if (!cpl0(s))
        return;
    x86_cpuid(s, 0xd, 0, d);
    if ((uint32_t)s->env.v[RCX] || !(v & 1) || v & ~((uint64_t)d[3] << 32 | d[0]) || (v & 6) == 4) {
        x86_raise(s, EXC_GP, 0);
        return;
    }
    s->xcr0 = v;
    x86_update_mode(s);
}

static void rdpkru(X86 *s, uint64_t next)
{
    if (!(s->cr4 & CR4_PKE))
        x86_raise(s, EXC_UD, 0);
    else if ((uint32_t)s->env.v[RCX])
        x86_raise(s, EXC_GP, 0);
    else
        answer(s, s->pkru);
}

static void wrpkru(X86 *s, uint64_t next)
{
    if (!(s->cr4 & CR4_PKE)) {
        x86_raise(s, EXC_UD, 0);
    } else if ((uint32_t)s->env.v[RCX] || (uint32_t)s->env.v[RDX]) {
        x86_raise(s, EXC_GP, 0);
    } else {
        uint32_t old = s->pkru;

        s->pkru = (uint32_t)s->env.v[RAX];
        tcg_pkru_changed(s, old);
    }
}

static void swapgs(X86 *s, uint64_t next)
{
    uint64_t base = seg_base(s, SEG_GS);

    if (!cpl0(s))
        return;
    s->env.v[V_SEGBASE + SEG_GS] = s->kernelgsbase;
    s->kernelgsbase = base;
}

static void rdtscp(X86 *s, uint64_t next)
{
    if (s->cr4 & CR4_TSD && s->cpl) {
        x86_raise(s, EXC_GP, 0);
        return;
    }
    answer(s, x86_tsc(s));
    s->env.v[RCX] = (uint32_t)s->tsc_aux;
}

/* only: #UD outside ring 0, outside protected mode, outside 64-bit code */
enum { ONLY_RING0 = 1, ONLY_64 = 2 };
static const struct Form {
    uint8_t modrm, word, bit, only;
    void (*fn)(X86 *s, uint64_t next);
} forms[] = {
    { 0xc8, W_1C, 3, ONLY_RING0, monitor }, { 0xc9, W_1C, 3, ONLY_RING0, mwait }, { 0xca, W_7B, 20, ONLY_RING0, clac },
    { 0xcb, W_7B, 20, ONLY_RING0, stac },   { 0xd0, W_1C, 26, 0, xgetbv },         { 0xd1, W_1C, 26, 0, xsetbv },
    { 0xee, W_7C, 3, 0, rdpkru },           { 0xef, W_7C, 3, 0, wrpkru },          { 0xf8, NO_WORD, 0, ONLY_64, swapgs },
    { 0xf9, W_81D, 27, 0, rdtscp },
};

static const struct Form *find(uint64_t modrm)
{
    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++)
        if (forms[i].modrm == modrm)
            return &forms[i];
    return NULL;
}

/* Neither the mode nor a translation of addresses in the view that stays: the block goes on. A change of view is no matter, a helper ends groups. */
bool x86_0f01_goes_on(unsigned modrm)
{
    const struct Form *f = find(modrm);

    return f && (f->fn == clac || f->fn == stac || f->fn == swapgs || f->fn == xgetbv || f->fn == rdpkru || f->fn == rdtscp);
}

uint64_t x86_stac_ring0(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    set_ac(x86(e), true);
    return 0;
}

uint64_t x86_clac_ring0(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    set_ac(x86(e), false);
    return 0;
}

uint64_t x86_swapgs_ring0(Env *e, uint64_t a, uint64_t b, uint64_t c)
{
    swapgs(x86(e), 0);
    return 0;
}

static bool exists(const X86 *s, const struct Form *f) { return f->word == NO_WORD || s->cpuid_words[f->word] >> f->bit & 1; }

HelperFn x86_0f01_ring0(const X86 *s, unsigned modrm)
{
    const struct Form *f = find(modrm);

    if (!f || !exists(s, f))
        return NULL;
    return f->fn == stac ? x86_stac_ring0 : f->fn == clac ? x86_clac_ring0 : f->fn == swapgs ? x86_swapgs_ring0 : NULL;
}

static uint64_t undefined(X86 *s, uint64_t modrm)
{
    if (log_on(LOG_UNIMP))
        log_print("x86: undefined instruction 0f 01 %02x\n", (unsigned)modrm);
    return x86_raise(s, EXC_UD, 0);
}

HELPER(0f01)
{
    X86 *s = x86(e);
    const struct Form *f = find(a);

    if (!f || !exists(s, f) || (f->only & ONLY_RING0 && (s->cpl || vm86(s))) ||
        (f->only & ONLY_64 && !code64(s)))
        return undefined(s, a);
    f->fn(s, b);
    return 0;
}
