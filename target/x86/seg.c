/*
 * target/x86/seg.c - segment registers, descriptors, the mode word; memory as descriptor tables reach it.
 * Source: Intel SDM vol. 3A chapters 3 and 5.
 */
#include "target/x86/cpu.h"
#include "tcg/flags.h"

bool x86_raise(X86 *s, unsigned vector, uint32_t err)
{
    if (s->ext && vector >= EXC_TS && vector <= EXC_GP)
        err |= 1;
    s->env.fault = (Fault){ FAULT_EXC + vector, err, 0 };
    return false;
}

bool x86_raise_pf(X86 *s, uint64_t va, uint32_t err)
{
    s->env.fault = (Fault){ FAULT_EXC + EXC_PF, err, va };
    return false;
}

uint64_t target_eflags6(unsigned f)
{
    return (f & FC ? EF_CF : 0) | (f & FP ? EF_PF : 0) | (f & FA ? EF_AF : 0) | (f & FZ ? EF_ZF : 0) | (f & FS ? EF_SF : 0) |
           (f & FO ? EF_OF : 0);
}

uint64_t x86_eflags(const X86 *s) { return (s->eflags & ~(uint64_t)EF_ARITH) | 2 | target_eflags6(flags_of(&s->env.cc)); }

void x86_set_eflags(X86 *s, uint64_t v, uint64_t mask)
{
    uint64_t old = (mask & EF_ARITH) == EF_ARITH ? s->eflags : x86_eflags(s), now = (old & ~mask) | (v & mask) | 2;
    unsigned f = (now & EF_CF ? FC : 0) | (now & EF_PF ? FP : 0) | (now & EF_AF ? FA : 0) | (now & EF_ZF ? FZ : 0) |
                 (now & EF_SF ? FS : 0) | (now & EF_OF ? FO : 0);

    s->env.cc = (Cc){ .kind = CC_RAW, .res = f };
    s->eflags = now & ~(uint64_t)EF_ARITH;
    if (UNLIKELY(now & EF_RF && s->dr7_points)) /* it holds for one instruction */
        __atomic_store_n(&s->env.exit_req, 1, __ATOMIC_SEQ_CST);
    x86_update_mode(s);
}

void x86_return_eflags(X86 *s, uint64_t v, uint64_t mask)
{
    x86_set_eflags(s, v, mask);
    if (!s->dr7_points)
        s->eflags &= ~(uint64_t)EF_RF;
}

/* Flat for our purpose: no access of any size in 4 GB can fail in it. */
static bool must_check(const X86 *s, unsigned n)
{
    const X86Seg *g = &s->seg[n];
    unsigned want = n == SEG_CS ? 0 : 2;

    if (g->attr & SA_NULL || g->limit != UINT32_MAX)
        return true;
    if (n == SEG_CS) /* stores through CS must fail; in real mode it is data */
        return protected_mode(s);
    return (g->attr & 0xe) != (want | 0) || !(g->attr & SA_P);
}

/* What had to wait for IF, a shadow or an IRET may come now: poll again. */
void x86_rearm(X86 *s)
{
    uint32_t r = s->env.cpu ? cpu_requests(s->env.cpu) : 0;

    if (UNLIKELY(r & (CPU_REQ_IRQ | CPU_REQ_NMI | CPU_REQ_SMI)) && !s->shadow &&
        (s->eflags & EF_IF || r & (CPU_REQ_NMI | CPU_REQ_SMI)))
        __atomic_store_n(&s->env.exit_req, 1, __ATOMIC_SEQ_CST);
}

static unsigned view_of(const X86 *s)
{
    return s->cpl == 3 ? VIEW_USER : s->cr4 & CR4_SMAP && s->eflags & EF_AC ? VIEW_KERNEL_AC : VIEW_KERNEL;
}

void x86_update_view(X86 *s) { tcg_set_view(s, view_of(s)); }

void x86_update_mode(X86 *s)
{
    const X86Seg *cs = &s->seg[SEG_CS];
    uint64_t m = code64(s) ? CODE64 : cs->attr & SA_DB ? CODE32 : CODE16;

    if (m != CODE64) {
        for (unsigned i = 0; i < 6; i++) {
            m |= seg_base(s, i) ? 1ull << (MODE_BASE_SHIFT + i) : 0;
            m |= must_check(s, i) ? 1ull << (MODE_CHECK_SHIFT + i) : 0;
        }
        m |= (uint64_t)(uint32_t)seg_base(s, SEG_CS) << 32;
    }
    m |= s->seg[SEG_SS].attr & SA_DB ? MODE_SS32 : 0;
    m |= s->cr0 & CR0_PE ? MODE_PE : 0;
    m |= vm86(s) ? MODE_VM : 0;
    m |= (uint64_t)s->cpl << MODE_CPL_SHIFT;
    m |= s->eflags & EF_TF || s->debug_one || s->dr7_points ? MODE_ONE : 0;
    m |= s->shadow ? MODE_SHADOW : 0;
    m |= s->cr0 & CR0_EM ? MODE_EM : 0;
    m |= s->cr0 & CR0_TS ? MODE_TS : 0;
    m |= s->cr0 & CR0_MP ? MODE_MP : 0;
    m |= s->cr4 & CR4_OSFXSR ? MODE_FXSR : 0;
    m |= s->cr4 & CR4_OSXSAVE ? MODE_XSAVE : 0;
    m |= s->cr4 & CR4_OSXSAVE && (s->xcr0 & 6) == 6 ? MODE_AVX : 0;
    m |= s->smm ? MODE_SMM : 0;
    m |= s->cpl == 3 && s->cr0 & CR0_AM && s->eflags & EF_AC ? MODE_AC : 0;
    tcg_set_view(s, view_of(s));
    m |= s->tcg ? s->env.view->mode : 0;
    if (UNLIKELY(m & ~s->env.mode & MODE_ONE)) /* the loop of the engine has to see each instruction from here */
        __atomic_store_n(&s->env.exit_req, 1, __ATOMIC_SEQ_CST);
    if (s->env.mode != m) {
        s->env.mode = m;
        tcg_mode_changed(s);
    }
    x86_rearm(s);
}

uint64_t x86_desc_base(uint64_t d) { return (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000); }

uint32_t x86_desc_limit(uint64_t d)
{
    uint32_t l = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));

    return d >> 55 & 1 ? l << 12 | 0xfff : l;
}

uint32_t x86_desc_attr(uint64_t d) { return (uint32_t)(d >> 40) & 0xf0ff; }

void x86_set_seg(X86 *s, unsigned n, uint16_t sel, uint64_t base, uint32_t limit, uint32_t attr)
{
    s->seg[n].sel = sel;
    s->seg[n].limit = limit;
    s->seg[n].attr = attr;
    s->env.v[V_SEGBASE + n] = base;
}

bool x86_fetch_desc(X86 *s, uint16_t sel, uint64_t *desc)
{
    const X86Table *t = sel & 4 ? &s->ldt : &s->gdt;
    uint32_t at = sel & 0xfff8;

    if ((sel & 4 && (s->ldt.attr & SA_NULL || !(s->ldt.attr & SA_P))) || at + 7 > t->limit)
        return false;
    return x86_read_sys(s, t->base + at, 8, desc);
}

/* Mark accessed; tables in ROM keep working. */
static bool set_accessed(X86 *s, uint16_t sel, uint64_t d)
{
    const X86Table *t = sel & 4 ? &s->ldt : &s->gdt;

    if (d >> 40 & 1)
        return true;
    return x86_write_sys(s, t->base + (sel & 0xfff8) + 5, 1, (d >> 40 & 0xff) | 1);
}

void x86_set_cs(X86 *s, uint16_t sel, uint64_t d, unsigned cpl)
{
    x86_set_seg(s, SEG_CS, (uint16_t)((sel & ~3) | cpl), x86_desc_base(d), x86_desc_limit(d), x86_desc_attr(d) | 1);
    s->cpl = (uint8_t)cpl;
}

static bool load_real(X86 *s, unsigned n, uint16_t sel)
{
    bool v = vm86(s);

    /* real mode keeps limit and attributes: "unreal" mode lives on that */
    x86_set_seg(s, n, sel, (uint64_t)sel << 4, v ? 0xffff : s->seg[n].limit, v ? 0xf3 : s->seg[n].attr & ~(uint32_t)SA_NULL);
    if (!v && !(s->seg[n].attr & SA_P))
        s->seg[n].attr = 0x93;
    x86_update_mode(s);
    return true;
}

static bool load_null(X86 *s, unsigned n, uint16_t sel)
{
    if (n == SEG_SS && (!code64(s) || s->cpl == 3 || (sel & 3) != s->cpl))
        return x86_raise(s, EXC_GP, 0);
    /* AMD keeps the base of a null segment, Intel clears it */
    x86_set_seg(s, n, sel, s->vendor_amd ? seg_base(s, n) : 0, n == SEG_SS ? UINT32_MAX : 0,
                SA_NULL | (n == SEG_SS ? (uint32_t)s->cpl << 5 | 0xc013 | SA_DB : 0));
    x86_update_mode(s);
    return true;
}

static bool type_fits(const X86 *s, unsigned n, uint16_t sel, uint32_t attr)
{
    unsigned rpl = sel & 3, dpl = SA_DPL(attr);

    if (!(attr & SA_S))
        return false;
    if (n == SEG_SS)
        return rpl == s->cpl && dpl == s->cpl && (attr & 0xa) == 2;
    if ((attr & 0xa) == 8) /* code that cannot be read */
        return false;
    if ((attr & 0xc) == 0xc) /* conforming code: any privilege */
        return true;
    return dpl >= rpl && dpl >= s->cpl;
}

bool x86_load_seg(X86 *s, unsigned n, uint16_t sel)
{
    uint64_t d;
    uint32_t attr, err = sel & 0xfffc;

    if (!protected_mode(s))
        return load_real(s, n, sel);
    if (!err)
        return load_null(s, n, sel);
    if (!x86_fetch_desc(s, sel, &d))
        return s->env.fault.kind ? false : x86_raise(s, EXC_GP, err);
    attr = x86_desc_attr(d);
    if (!type_fits(s, n, sel, attr))
        return x86_raise(s, EXC_GP, err);
    if (!(attr & SA_P))
        return x86_raise(s, n == SEG_SS ? EXC_SS : EXC_NP, err);
    if (!set_accessed(s, sel, d))
        return false;
    x86_set_seg(s, n, sel, x86_desc_base(d), x86_desc_limit(d), attr | 1);
    x86_update_mode(s);
    return true;
}

bool x86_in_limit(uint32_t attr, uint32_t limit, uint64_t off, uint64_t n)
{
    uint64_t last = off + n - 1;

    if ((attr & 0xc) == 4) /* data that expands down */
        return off > limit && last <= (attr & SA_DB ? UINT32_MAX : 0xffff);
    return last <= limit;
}

/* x: 0-2 segment, 3-6 log2 bytes, 7 write. */
bool target_segchk(Env *e, uint64_t off, unsigned x)
{
    X86 *s = x86(e);
    unsigned n = x & 7, bytes = 1u << (x >> 3 & 15);
    const X86Seg *g = &s->seg[n];
    bool write = x >> 7 & 1;

    if (protected_mode(s) && g->attr & SA_NULL)
        return x86_raise(s, n == SEG_SS ? EXC_SS : EXC_GP, 0);
    if (protected_mode(s) && (write ? (g->attr & 0xa) != 2 : (g->attr & 0xa) == 8))
        return x86_raise(s, EXC_GP, 0);
    return x86_in_limit(g->attr, g->limit, off, bytes) || x86_raise(s, n == SEG_SS ? EXC_SS : EXC_GP, 0);
}

bool target_brind_ok(Env *e, uint64_t pc)
{
    X86 *s = x86(e);

    return !code64(s) || canonical(s, pc) || x86_raise(s, EXC_GP, 0);
}

/*
 * As supervisor whatever the CPL, and without AC: SMAP knows no excuse for these (SDM vol. 3A 4.6.1). In long mode addresses
 * have 64 bits whatever code runs: what is at 4 GiB and above does not wrap for a 32-bit program's exceptions.
 */
static bool sys_access(X86 *s, uint64_t va, unsigned n, uint64_t *v, bool write)
{
    uint8_t cpl = s->cpl;
    uint32_t attr = s->seg[SEG_CS].attr;
    uint64_t ac = s->eflags & EF_AC;
    bool ok;

    s->cpl = 0;
    s->eflags &= ~(uint64_t)EF_AC;
    s->seg[SEG_CS].attr |= long_mode(s) ? SA_L : 0;
    tcg_set_view(s, VIEW_KERNEL);
    if (!write)
        *v = 0;
    ok = write ? mem_store(&s->env, va, n, v) : mem_load(&s->env, va, n, v, false);
    s->cpl = cpl;
    s->eflags |= ac;
    s->seg[SEG_CS].attr = attr;
    tcg_set_view(s, view_of(s));
    return ok;
}

bool x86_read_sys(X86 *s, uint64_t va, unsigned n, uint64_t *v)
{
    return sys_access(s, long_mode(s) ? va : (uint32_t)va, n, v, false);
}
bool x86_write_sys(X86 *s, uint64_t va, unsigned n, uint64_t v)
{
    return sys_access(s, long_mode(s) ? va : (uint32_t)va, n, &v, true);
}
bool x86_aligned(X86 *s, uint64_t va, unsigned align, unsigned n)
{
    if (LIKELY(!(s->env.mode & MODE_AC) || !(va & (align - 1))) || x86_past_end(s, va, n))
        return true;
    return x86_raise(s, EXC_AC, 0);
}

bool x86_read(X86 *s, uint64_t va, unsigned n, uint64_t *v)
{
    *v = 0;
    return x86_aligned(s, va, n, n) && mem_load(&s->env, code64(s) ? va : (uint32_t)va, n, v, false);
}
bool x86_write(X86 *s, uint64_t va, unsigned n, uint64_t v)
{
    return x86_aligned(s, va, n, n) && mem_store(&s->env, code64(s) ? va : (uint32_t)va, n, &v);
}
