/*
 * target/x86/msr.c - model specific registers. One table says where each lives; the few with behaviour are
 * served by name. Source: Intel SDM vol. 4, AMD APM vol. 2 appendix A.
 */
#include "target/x86/cpu.h"
#include "util/trace.h"

typedef struct Msr {
    uint32_t n;
    uint32_t at;     /* offset of a uint64_t in X86 */
    uint64_t writable;
    bool canonical;
} Msr;
#define AT(f) offsetof(X86, f)

enum { TSC_AUX = 0xc0000103, RDTSCP = 1 << 27 /* of W_81D */, RDPID = 1 << 22 /* of W_7C */ };
static const Msr table[] = {
    { 0x0000001b, 0, 0, false }, /* IA32_APIC_BASE: the LAPIC's, below */
    { 0x0000003a, AT(feature_control), 0xffff, false },
    { 0x00000048, AT(spec_ctrl), 0x7, false },
    { 0x00000174, AT(sysenter_cs), ~0ull, false },
    { 0x00000175, AT(sysenter_esp), ~0ull, true },
    { 0x00000176, AT(sysenter_eip), ~0ull, true },
    { 0x0000017a, AT(mcg_status), 0x7, false },
    { 0x000001a0, AT(misc_enable), ~0ull, false },
    { 0x00000277, AT(pat), ~0ull, false },
    { 0x000002ff, AT(mtrr.def), 0xcff, false },
    { 0x00000da0, AT(xss), 0, false },
    { 0xc0000081, AT(star), ~0ull, false },
    { 0xc0000082, AT(lstar), ~0ull, true },
    { 0xc0000083, AT(cstar), ~0ull, true },
    { 0xc0000084, AT(sfmask), 0xffffffff, false },
    { 0xc0000100, AT(env.v[V_SEGBASE + SEG_FS]), ~0ull, true },
    { 0xc0000101, AT(env.v[V_SEGBASE + SEG_GS]), ~0ull, true },
    { 0xc0000102, AT(kernelgsbase), ~0ull, true },
    { TSC_AUX, AT(tsc_aux), 0xffffffff, false },
};

/* Read as zero, writes ignored: what guests probe without asking CPUID and hardware of the family has. */
static const uint32_t quiet[] = { 0x17, 0x2a, 0x33, 0x34, 0x79, 0x8b, 0xcd, 0xce, 0xe7, 0xe8, 0x140, 0x179, 0x17b,
    0x186, 0x187, 0x198, 0x199, 0x19a, 0x19b, 0x19c, 0x1d9, 0x1db, 0x1dc, 0x1dd, 0x1de, 0x1fc, 0x345, 0x38d, 0x38e, 0x38f,
    0x390, 0x3f1, 0x400, 0x401, 0x606,
    0xc0010000, 0xc0010001, 0xc0010002, 0xc0010003, 0xc0010004, 0xc0010005, 0xc0010006, 0xc0010007, 0xc0010010, 0xc0010015, 0xc001001f, 0xc0010055, 0xc0010058, 0xc0010062,
    0xc0010063, 0xc0010064, 0xc0010112, 0xc0010113, 0xc0011020, 0xc0011022, 0xc0011023, 0xc0011029, 0xc001102a, 0xc001102c };

static const uint32_t fixed_mtrr[] = { 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f };

static uint64_t *field(X86 *s, uint32_t at) { return (uint64_t *)(void *)((char *)s + at); }

static const Msr *find(const X86 *s, uint32_t n)
{
    if (n == TSC_AUX && !(s->cpuid_words[W_81D] & RDTSCP) && !(s->cpuid_words[W_7C] & RDPID))
        return NULL;
    for (size_t i = 1; i < G_N_ELEMENTS(table); i++)
        if (table[i].n == n)
            return &table[i];
    return NULL;
}

static uint64_t *mtrr(X86 *s, uint32_t n)
{
    if (n >= 0x200 && n < 0x210)
        return n & 1 ? &s->mtrr.mask[(n - 0x200) / 2] : &s->mtrr.base[(n - 0x200) / 2];
    for (size_t i = 0; i < G_N_ELEMENTS(fixed_mtrr); i++)
        if (fixed_mtrr[i] == n)
            return &s->mtrr.fixed[i];
    return NULL;
}

static bool is_quiet(uint32_t n)
{
    for (size_t i = 0; i < G_N_ELEMENTS(quiet); i++)
        if (quiet[i] == n)
            return true;
    return n >= 0x400 && n < 0x440; /* machine check banks */
}

enum { TICKS_NS = 20000, MEASURE = 10000000, MEASURE_AGAIN = 1000000000 /* ns */ };

void x86_ticks_reset(X86 *s) { s->ticks.span = s->ticks.base = 0; }

/* The clock showed ns, between host and host + took. What took longer than most may have been interrupted and says nothing. */
static void note_ticks(X86 *s, uint64_t host, uint64_t took, uint64_t ns)
{
    X86Ticks *k = &s->ticks;

    k->span = 0;
    if (!k->least || took < k->least / 2) {
        k->least = took;
        k->base = k->rate = 0;
    }
    if (took > 2 * k->least)
        return;
    if (k->base && ns - k->base_ns >= (k->rate ? MEASURE_AGAIN : MEASURE)) {
        uint64_t rate = (uint64_t)(((unsigned __int128)(ns - k->base_ns) << 32) / MAX(host - k->base, 1));

        k->rate = rate - (rate >> 13);
        k->base = 0;
    }
    if (!k->base) {
        k->base = host;
        k->base_ns = ns;
    }
    if (k->rate >> 27) { /* else it makes no sense */
        k->span = ((uint64_t)TICKS_NS << 32) / k->rate;
        k->host = host + took;
        k->ns = ns;
    }
}

uint64_t x86_tsc(X86 *s)
{
    uint64_t host = host_ticks(), ns = (uint64_t)vm_now(s->env.cpu->vm);

    if (s->tsc_hz == SEC && x86_host_ticks_steady())
        note_ticks(s, host, host_ticks() - host, ns);
    return (s->tsc_hz == SEC ? ns : muldiv64(ns, s->tsc_hz, SEC)) + s->tsc_offset;
}

bool x86_rdmsr(X86 *s, uint32_t msr, uint64_t *v)
{
    Cpu *c = s->env.cpu;
    const Msr *m = find(s, msr);
    uint64_t *p;

    if (m) {
        *v = *field(s, m->at);
        return true;
    }
    if ((p = mtrr(s, msr))) {
        *v = *p;
        return true;
    }
    switch (msr) {
    case 0x10: *v = x86_tsc(s); return true;
    case 0x1b: *v = c->intc ? c->intc->get_base(c->intc_chip) : 0xfee00900; return true;
    case 0x3b: *v = s->tsc_adjust; return true;
    case 0xfe: *v = 0x508; return true; /* MTRRcap: 8 variable, fixed, write-combining */
    case 0x9e: *v = s->smbase; return true;
    case 0xc0000080: *v = s->efer; return true;
    default: break;
    }
    if ((msr >= 0x800 && msr < 0x900) || msr == 0x6e0)
        return c->intc && c->intc->msr_read && c->intc->msr_read(c->intc_chip, msr, v);
    *v = 0;
    if (!is_quiet(msr) && log_on(LOG_UNIMP))
        log_print("x86: rdmsr of unknown %#x\n", msr);
    return is_quiet(msr);
}

static bool valid_types(uint64_t v, uint32_t reserved_mask)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned t = v >> (8 * i) & 0xff;

        if (t > 7 || reserved_mask >> t & 1)
            return false;
    }
    return true;
}

/* Memory types 2 and 3 and those over 6 do not exist in MTRRs; a variable pair has reserved bits. */
static bool valid_mtrr(const X86 *s, uint32_t msr, uint64_t v)
{
    uint64_t beyond = ~0ull << s->phys_bits;

    if (msr >= 0x210)
        return valid_types(v, 0x8c);
    if (msr & 1)
        return !(v & (beyond | 0x7ff));
    return !(v & (beyond | 0xf00)) && valid_types(v & 0xff, 0x8c);
}

bool x86_wrmsr(X86 *s, uint32_t msr, uint64_t v)
{
    Cpu *c = s->env.cpu;
    const Msr *m = find(s, msr);
    uint64_t *p;

    if (m) {
        if (v & ~m->writable || (m->canonical && !canonical(s, v)) || (msr == 0x277 && !valid_types(v, 0x0c)))
            return false;
        *field(s, m->at) = v;
        return true;
    }
    if ((p = mtrr(s, msr))) {
        if (!valid_mtrr(s, msr, v))
            return false;
        *p = v;
        return true;
    }
    switch (msr) {
    case 0x10: x86_wrmsr(s, 0x3b, s->tsc_adjust + (v - x86_tsc(s))); return true;
    case 0x3b:
        s->tsc_offset += v - s->tsc_adjust;
        s->tsc_adjust = v;
        return true;
    case 0x1b: return c->intc && c->intc->set_base(c->intc_chip, v);
    case 0x49: return true; /* PRED_CMD */
    case 0x10b: return true; /* FLUSH_CMD */
    case 0xc0000080: return x86_set_efer(s, v);
    default: break;
    }
    if ((msr >= 0x800 && msr < 0x900) || msr == 0x6e0)
        return c->intc && c->intc->msr_write && c->intc->msr_write(c->intc_chip, msr, v);
    if (!is_quiet(msr) && log_on(LOG_UNIMP))
        log_print("x86: wrmsr of unknown %#x = %#" PRIx64 "\n", msr, v);
    return is_quiet(msr);
}
