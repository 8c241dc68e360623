/*
 * x87.c - the x87 state as memory images and the instructions that only touch control state: SDM
 * volume 1, 8.1 (environments) and 10.5 (FXSAVE). FCS and FDS are stored as zero, as CPUID says.
 */
#include "target/x86/fpu.h"

/* Bytes of the memory operand by [opcode & 7][reg]; negative: written; U: #UD; 0: not by X87Fn.
 */
#define U -128
static const int8_t mem_bytes[8][8] = {
    { 4, 4, 4, 4, 4, 4, 4, 4 }, { 4, U, -4, -4, 0, 0, 0, 0 },
    { 4, 4, 4, 4, 4, 4, 4, 4 }, { 4, -4, -4, -4, U, 10, U, -10 },
    { 8, 8, 8, 8, 8, 8, 8, 8 }, { 8, -8, -8, -8, 0, U, 0, 0 },
    { 2, 2, 2, 2, 2, 2, 2, 2 }, { 2, -2, -2, -2, 10, 8, -10, -8 },
};
/* Register forms that are #UD: bit i of [opcode & 7] is modrm 0xc0 + i. */
static const uint64_t reg_ud[8] = {
    [1] = 0xfeull << 16 | 0xccull << 32 | 0x80ull << 40,
    [2] = 0xffffull << 48 | 0xfdull << 40 | 0xffull << 32,
    [3] = 0xe0ull << 32 | 0xffull << 56,
    [5] = 0xffffull << 48,
    [6] = 0xfdull << 24,
    [7] = 0xfeull << 32 | 0xffull << 56,
};
#undef U

int x87_mem(unsigned op11)
{
    if ((op11 & 0xc0) == 0xc0)
        return reg_ud[op11 >> 8 & 7] >> (op11 & 63) & 1 ? -128 : 0;
    return mem_bytes[op11 >> 8 & 7][op11 >> 3 & 7];
}

static void update_es(X86Fpu *f)
{
    f->sw &= (uint16_t) ~(FSW_ES | FSW_B);
    if (f->sw & ~f->cw & FPE_ALL)
        f->sw |= FSW_ES | FSW_B;
}

void x87_init(X86Fpu *f)
{
    f->cw = 0x37f;
    f->sw = 0;
    f->tags = 0;
    f->op = f->cs = f->ds = 0;
    f->ip = f->dp = 0;
}

void x87_clex(X86Fpu *f) { f->sw &= 0x7f00; }

void x87_set_cw(X86Fpu *f, uint16_t cw)
{
    f->cw = (uint16_t)((cw & 0x1f3f) | 0x40);
    update_es(f);
}

static unsigned tag_of(const uint8_t *r)
{
    unsigned e = (unsigned)le16_load(r + 8) & 0x7fff;
    uint64_t m = le64_load(r);

    if (e == 0 && m == 0)
        return 1;
    return e == 0 || e == 0x7fff || !(m >> 63) ? 2 : 0;
}

uint16_t x87_full_tag(const X86Fpu *f)
{
    unsigned t = 0;

    for (unsigned i = 0; i < 8; i++)
        t |= (f->tags >> i & 1 ? tag_of(f->st[i]) : 3) << (2 * i);
    return (uint16_t)t;
}

unsigned x87_env_size(X87Env e) { return e == X87_P32 || e == X87_R32 ? 28 : 14; }

static void masked(X86Fpu *f)
{
    f->cw |= FPE_ALL;
    update_es(f);
}

static void put_env32(const X86Fpu *f, bool real, uint8_t *o)
{
    const uint32_t ip = (uint32_t)f->ip, dp = (uint32_t)f->dp;

    le32_store(o, 0xffff0000u | f->cw);
    le32_store(o + 4, 0xffff0000u | f->sw);
    le32_store(o + 8, 0xffff0000u | x87_full_tag(f));
    le32_store(o + 12, real ? 0xffff0000u | (ip & 0xffff) : ip);
    le32_store(o + 16, real ? (ip >> 16) << 12 | (f->op & 0x7ff) : (uint32_t)f->op << 16 | f->cs);
    le32_store(o + 20, real ? 0xffff0000u | (dp & 0xffff) : dp);
    le32_store(o + 24, real ? (dp >> 16) << 12 : 0xffff0000u | f->ds);
}

static void put_env16(const X86Fpu *f, bool real, uint8_t *o)
{
    le16_store(o, f->cw);
    le16_store(o + 2, f->sw);
    le16_store(o + 4, x87_full_tag(f));
    le16_store(o + 6, (uint16_t)f->ip);
    le16_store(o + 8, real ? (uint16_t)((f->ip >> 16) << 12 | (f->op & 0x7ff)) : f->cs);
    le16_store(o + 10, (uint16_t)f->dp);
    le16_store(o + 12, real ? (uint16_t)((f->dp >> 16) << 12) : f->ds);
}

void x87_stenv(X86Fpu *f, X87Env e, uint8_t *out)
{
    if (e == X87_P32 || e == X87_R32)
        put_env32(f, e == X87_R32, out);
    else
        put_env16(f, e == X87_R16, out);
    masked(f);
}

void x87_ldenv(X86Fpu *f, X87Env e, const uint8_t *in)
{
    const unsigned step = x87_env_size(e) / 7;
    unsigned tags = le16_load(in + 2 * step);
    bool real = e == X87_R32 || e == X87_R16;

    f->cw = (uint16_t)((le16_load(in) & 0x1f3f) | 0x40);
    f->sw = le16_load(in + step);
    f->tags = 0;
    for (unsigned i = 0; i < 8; i++)
        f->tags |= (uint16_t)((tags >> (2 * i) & 3) != 3) << i;
    f->ip = le_load(in + 3 * step, step);
    f->dp = le_load(in + 5 * step, step);
    f->op = step == 4 && !real ? le16_load(in + 18) & 0x7ff : 0;
    if (real) {
        uint32_t hi = (uint32_t)le_load(in + 4 * step, step);

        f->op = hi & 0x7ff;
        f->ip = (f->ip & 0xffff) | (uint64_t)(hi >> 12) << 16;
        f->dp = (f->dp & 0xffff) | (uint64_t)(le_load(in + 6 * step, step) >> 12) << 16;
    }
    update_es(f);
}

void x87_save(X86Fpu *f, X87Env e, uint8_t *out)
{
    const unsigned n = x87_env_size(e), top = x86_top(f);

    x87_stenv(f, e, out);
    for (unsigned i = 0; i < 8; i++)
        memcpy(out + n + 10 * i, f->st[(top + i) & 7], 10);
    x87_init(f);
}

void x87_rstor(X86Fpu *f, X87Env e, const uint8_t *in)
{
    const unsigned n = x87_env_size(e);

    x87_ldenv(f, e, in);
    for (unsigned i = 0; i < 8; i++)
        memcpy(f->st[(x86_top(f) + i) & 7], in + n + 10 * i, 10);
}

/* ---- FXSAVE and XSAVE */

static void put_x87(const X86Fpu *f, uint8_t *o, bool rexw)
{
    le16_store(o, f->cw);
    le16_store(o + 2, f->sw);
    o[4] = (uint8_t)f->tags;
    o[5] = 0;
    le16_store(o + 6, f->op);
    le64_store(o + 8, rexw ? f->ip : (uint32_t)f->ip | (uint64_t)f->cs << 32);
    le64_store(o + 16, rexw ? f->dp : (uint32_t)f->dp | (uint64_t)f->ds << 32);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(o + 32 + 16 * i, f->st[(x86_top(f) + i) & 7], 10);
        memset(o + 42 + 16 * i, 0, 6);
    }
}

static void get_x87(X86Fpu *f, const uint8_t *in, bool rexw)
{
    f->cw = (uint16_t)((le16_load(in) & 0x1f3f) | 0x40);
    f->sw = le16_load(in + 2);
    f->tags = in[4];
    f->op = le16_load(in + 6) & 0x7ff;
    f->ip = rexw ? le64_load(in + 8) : le32_load(in + 8);
    f->dp = rexw ? le64_load(in + 16) : le32_load(in + 16);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(f->st[(x86_top(f) + i) & 7], in + 32 + 16 * i, 10);
        memset(f->st[(x86_top(f) + i) & 7] + 10, 0, 6);
    }
    update_es(f);
}

void x86_fxsave(X86 *s, uint8_t out[512], bool rexw, unsigned xmm)
{
    put_x87(&s->fpu, out, rexw);
    le32_store(out + 24, s->mxcsr);
    le32_store(out + 28, s->mxcsr_mask);
    for (unsigned i = 0; i < xmm; i++)
        memcpy(out + 160 + 16 * i, s->env.vec[i], 16);
}

bool x86_fxrstor(X86 *s, const uint8_t in[512], bool rexw, unsigned xmm)
{
    uint32_t csr = le32_load(in + 24);

    if (csr & ~s->mxcsr_mask)
        return false;
    get_x87(&s->fpu, in, rexw);
    s->mxcsr = csr;
    for (unsigned i = 0; i < xmm; i++)
        memcpy(s->env.vec[i], in + 160 + 16 * i, 16);
    return true;
}

unsigned x86_xsave_size(uint64_t components, bool compact)
{
    return components & XSTATE_YMM ? XSTATE_SIZE : 576; /* YMM is at 576 in both forms */
}

static bool any(const uint8_t *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (p[i])
            return true;
    return false;
}

static uint64_t in_use(X86 *s, unsigned nvec)
{
    const X86Fpu *f = &s->fpu;
    uint64_t r = 0;

    if (f->cw != 0x37f || f->sw || f->tags || f->op || f->ip || f->dp)
        r |= XSTATE_X87;
    for (unsigned i = 0; i < 8 && !(r & XSTATE_X87); i++)
        r |= any(f->st[i], 10) ? XSTATE_X87 : 0;
    for (unsigned i = 0; i < nvec; i++) {
        r |= any(s->env.vec[i], 16) ? XSTATE_SSE : 0;
        r |= any(s->env.vec[i] + 16, 16) ? XSTATE_YMM : 0;
    }
    return r;
}

uint64_t x86_xinuse(X86 *s) { return in_use(s, code64(s) ? 16 : 8); }

void x86_xsave(X86 *s, uint8_t *area, X86XsaveKind kind, uint64_t rfbm, bool rexw, bool long_mode)
{
    const unsigned n = long_mode ? 16 : 8;
    const bool compact = kind == XS_C || kind == XS_S;
    uint64_t use = in_use(s, n), bv = le64_load(area + 512), wr = rfbm;

    if (compact && s->mxcsr != MXCSR_RESET)
        use |= XSTATE_SSE;
    if (kind != XS_SAVE)
        wr &= use;
    if (wr & XSTATE_X87)
        put_x87(&s->fpu, area, rexw);
    if (compact ? wr & XSTATE_SSE : rfbm & (XSTATE_SSE | XSTATE_YMM)) {
        le32_store(area + 24, s->mxcsr);
        le32_store(area + 28, s->mxcsr_mask);
    }
    for (unsigned i = 0; i < n; i++) {
        if (wr & XSTATE_SSE)
            memcpy(area + 160 + 16 * i, s->env.vec[i], 16);
        if (wr & XSTATE_YMM)
            memcpy(area + 576 + 16 * i, s->env.vec[i] + 16, 16);
    }
    le64_store(area + 512, compact ? use & rfbm : (bv & ~rfbm) | (use & rfbm));
    if (compact)
        le64_store(area + 520, rfbm | 1ull << 63);
}

static bool header_ok(X86 *s, const uint8_t *area, bool s_form)
{
    uint64_t bv = le64_load(area + 512), comp = le64_load(area + 520);

    if (comp >> 63)
        return !(comp << 1 >> 1 & ~s->xcr0) && !(bv & ~comp) && !any(area + 528, 48);
    return !s_form && !(bv & ~s->xcr0) && !comp && !any(area + 528, 8);
}

unsigned x86_xrstor(X86 *s, const uint8_t *area, uint64_t rfbm, bool s_form, bool rexw,
                    bool long_mode)
{
    const unsigned n = long_mode ? 16 : 8;
    const uint64_t bv = le64_load(area + 512);
    const bool compact = le64_load(area + 520) >> 63;
    uint32_t csr = le32_load(area + 24);
    bool load_csr = compact ? rfbm & bv & XSTATE_SSE : rfbm & (XSTATE_SSE | XSTATE_YMM);

    if (!header_ok(s, area, s_form) || (load_csr && csr & ~s->mxcsr_mask))
        return FPU_GP;
    if (rfbm & bv & XSTATE_X87) {
        get_x87(&s->fpu, area, rexw);
    } else if (rfbm & XSTATE_X87) {
        x87_init(&s->fpu);
        memset(s->fpu.st, 0, sizeof(s->fpu.st));
    }
    if (load_csr)
        s->mxcsr = csr;
    else if (compact && rfbm & XSTATE_SSE)
        s->mxcsr = MXCSR_RESET;
    for (unsigned i = 0; i < n; i++) {
        static const uint8_t zero[16];

        if (rfbm & XSTATE_SSE)
            memcpy(s->env.vec[i], bv & XSTATE_SSE ? area + 160 + 16 * i : zero, 16);
        if (rfbm & XSTATE_YMM)
            memcpy(s->env.vec[i] + 16, bv & XSTATE_YMM ? area + 576 + 16 * i : zero, 16);
    }
    return 0;
}
