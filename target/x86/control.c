/*
 * target/x86/control.c - control registers and EFER: what may be set, what it changes, what must be flushed;
 * multiply and divide. Source: Intel SDM vol. 3A section 2.5, 4.1.
 */
#include "target/x86/cpu.h"

static bool load_pdptes(X86 *s)
{
    uint64_t v[4];

    for (unsigned i = 0; i < 4; i++) {
        uint64_t at = (s->cr3 & 0xffffffe0) + i * 8;

        if (as_load(s->env.cpu->mem[s->smm], at, 8, &v[i], (MemAttrs){ .secure = s->smm }) != MEM_OK)
            v[i] = 0;
        if (v[i] & 1 && v[i] & 0x1e6)
            return x86_raise(s, EXC_GP, 0);
    }
    memcpy(s->pdpte, v, sizeof(v));
    return true;
}

bool x86_set_cr0(X86 *s, uint64_t v)
{
    uint64_t old = s->cr0, diff;

    if (v >> 32 || (v & CR0_PG && !(v & CR0_PE)) || (v & CR0_NW && !(v & CR0_CD)))
        return x86_raise(s, EXC_GP, 0);
    v = (v & 0xe005003f) | CR0_ET;
    diff = old ^ v;
    if (diff & CR0_PG && v & CR0_PG && s->efer & EFER_LME) {
        if (!(s->cr4 & CR4_PAE) || s->seg[SEG_CS].attr & SA_L)
            return x86_raise(s, EXC_GP, 0);
        s->efer |= EFER_LMA;
    } else if (diff & CR0_PG && !(v & CR0_PG)) {
        if (code64(s) || s->cr4 & CR4_PCIDE)
            return x86_raise(s, EXC_GP, 0);
        s->efer &= ~(uint64_t)EFER_LMA;
    }
    if (v & CR0_PG && s->cr4 & CR4_PAE && !long_mode(s) && diff & (CR0_PG | CR0_CD | CR0_NW) && !load_pdptes(s))
        return false;
    s->cr0 = v;
    if (diff & CR0_PE && !(v & CR0_PE))
        s->cpl = 0;
    if (diff & (CR0_PG | CR0_WP))
        tcg_flush_all(s);
    x86_update_mode(s);
    return true;
}

bool x86_set_cr3(X86 *s, uint64_t v)
{
    bool keep = s->cr4 & CR4_PCIDE && v >> 63;
    uint64_t old = s->cr3;

    if (s->cr4 & CR4_PCIDE)
        v &= ~(1ull << 63);
    if (long_mode(s) && v >> s->phys_bits)
        return x86_raise(s, EXC_GP, 0);
    s->cr3 = v;
    if (s->cr0 & CR0_PG && s->cr4 & CR4_PAE && !long_mode(s) && !load_pdptes(s)) {
        s->cr3 = old;
        return false;
    }
    tcg_set_cr3(s, keep);
    return true;
}

static uint64_t cr4_allowed(const X86 *s)
{
    static const struct {
        uint64_t bit;
        unsigned word, n;
    } by_feature[] = { /* CPUID word (0: 1.edx, 1: 1.ecx, 2: 7.ebx, 3: 7.ecx) and bit */
        { CR4_VME | CR4_PVI, 0, 1 }, { CR4_TSD, 0, 4 }, { CR4_DE, 0, 2 }, { CR4_PSE, 0, 3 }, { CR4_PAE, 0, 6 },
        { CR4_MCE, 0, 7 }, { CR4_PGE, 0, 13 }, { CR4_OSFXSR | CR4_OSXMMEXCPT, 0, 24 }, { CR4_PCIDE, 1, 17 },
        { CR4_OSXSAVE, 1, 26 }, { CR4_FSGSBASE, 2, 0 }, { CR4_SMEP, 2, 7 }, { CR4_SMAP, 2, 20 }, { CR4_UMIP, 3, 2 },
        { CR4_PKE, 3, 3 }, { CR4_LA57, 3, 16 },
    };
    uint32_t one[4], seven[4];
    uint64_t ok = CR4_PCE;

    x86_cpuid((X86 *)(uintptr_t)s, 1, 0, one);
    x86_cpuid((X86 *)(uintptr_t)s, 7, 0, seven);
    for (size_t i = 0; i < G_N_ELEMENTS(by_feature); i++) {
        uint32_t w = by_feature[i].word == 0 ? one[3] : by_feature[i].word == 1 ? one[2] : by_feature[i].word == 2 ? seven[1] : seven[2];

        ok |= w >> by_feature[i].n & 1 ? by_feature[i].bit : 0;
    }
    return ok;
}

bool x86_set_cr4(X86 *s, uint64_t v)
{
    uint64_t diff = s->cr4 ^ v;

    if (v & ~cr4_allowed(s))
        return x86_raise(s, EXC_GP, 0);
    if (long_mode(s) && (diff & CR4_LA57 || !(v & CR4_PAE)))
        return x86_raise(s, EXC_GP, 0);
    if (diff & v & CR4_PCIDE && (!long_mode(s) || s->cr3 & 0xfff))
        return x86_raise(s, EXC_GP, 0);
    if (s->cr0 & CR0_PG && !long_mode(s) && v & CR4_PAE && diff & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP) && !load_pdptes(s))
        return false;
    s->cr4 = v;
    if (diff & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PCIDE))
        tcg_flush_all(s);
    if (diff & CR4_PCIDE)
        tcg_set_cr3(s, false);
    x86_update_mode(s);
    return true;
}

bool x86_set_efer(X86 *s, uint64_t v)
{
    uint32_t ext[4];
    uint64_t ok = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE, diff;

    x86_cpuid(s, 0x80000001, 0, ext);
    ok |= ext[3] >> 25 & 1 ? EFER_FFXSR : 0;
    if (v & ~ok)
        return false;
    v = (v & ~(uint64_t)EFER_LMA) | (s->efer & EFER_LMA);
    diff = v ^ s->efer;
    if (diff & EFER_LME && s->cr0 & CR0_PG)
        return false;
    s->efer = v;
    if (diff & EFER_NXE)
        tcg_flush_all(s);
    return true;
}

typedef unsigned __int128 u128;
typedef __int128 s128;

static void set_low(uint64_t *r, unsigned size, uint64_t v)
{
    uint64_t m = size >= 2 ? ~0ull : (1ull << (8u << size)) - 1;

    *r = (*r & ~m) | (trunc_to(v, size) & m);
}

bool target_divide(Env *e, bool is_signed, unsigned size, uint64_t src)
{
    unsigned bits = 8u << size;
    uint64_t lo = trunc_to(e->v[RAX], size), q, r;
    uint64_t hi = size ? trunc_to(e->v[RDX], size) : e->v[RAX] >> 8 & 0xff;
    u128 n = (u128)hi << bits | lo;

    src = trunc_to(src, size);
    if (src == 0)
        return x86_raise(x86(e), EXC_DE, 0);
    if (is_signed) {
        s128 sn = (s128)(n << (128 - 2 * bits)) >> (128 - 2 * bits), d = sext_from(src, size), sq;

        if (d == -1 && sn == (s128)((u128)1 << (2 * bits - 1)))
            return x86_raise(x86(e), EXC_DE, 0);
        sq = sn / d;
        if (sq != (s128)sext_from((uint64_t)sq, size))
            return x86_raise(x86(e), EXC_DE, 0);
        q = (uint64_t)sq;
        r = (uint64_t)(sn % d);
    } else {
        if (hi >= src)
            return x86_raise(x86(e), EXC_DE, 0);
        q = size == 3 && hi ? (uint64_t)(n / src) : size == 3 ? lo / src : (uint64_t)n / src;
        r = size == 3 && hi ? (uint64_t)(n % src) : size == 3 ? lo % src : (uint64_t)n % src;
    }
    if (size == 0) {
        set_low(&e->v[RAX], 1, (q & 0xff) | (r & 0xff) << 8);
        return true;
    }
    set_low(&e->v[RAX], size, q);
    set_low(&e->v[RDX], size, r);
    return true;
}

void target_multiply(Env *e, bool is_signed, unsigned size, uint64_t src, unsigned *flags)
{
    unsigned bits = 8u << size;
    u128 p = is_signed ? (u128)((s128)sext_from(e->v[RAX], size) * sext_from(src, size))
                       : (u128)trunc_to(e->v[RAX], size) * trunc_to(src, size);
    uint64_t lo = (uint64_t)p, hi = (uint64_t)(p >> bits);
    bool big = is_signed ? (s128)p != sext_from(lo, size) : hi != 0;

    *flags = big ? FC | FO : 0;
    if (size == 0) {
        set_low(&e->v[RAX], 1, lo);
        return;
    }
    set_low(&e->v[RAX], size, lo);
    set_low(&e->v[RDX], size, hi);
}
