/*
 * accel/kvm/fpu.c - the x87, vector and protection-key registers in the layout of XSAVE (SDM vol. 1 chapter 13, standard form).
 * Components that X86 has no name for stay in KVM's image: a push changes what it knows and leaves the rest.
 */
#include "accel/kvm/kvm.h"

enum { FCW = 0, FSW = 2, FTW = 4, FOP = 6, FIP = 8, FDP = 16, MXCSR = 24, ST = 32, XMM = 160, XSTATE_BV = 512, XSAVE_AREA = 4096 };
enum { X_X87 = 1, X_SSE = 2, X_AVX = 4, X_PKRU = 1 << 9 };

/* Where a component lies on this host; 0: nowhere. */
static uint32_t offset_of(const KvmVm *v, unsigned component, uint32_t size)
{
    for (uint32_t i = 0; i < v->cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &v->cpuid->entries[i];

        if (e->function == 0xd && e->index == component && e->eax == size)
            return e->ebx;
    }
    return 0;
}

static uint8_t *component(const KvmCpu *k, unsigned n, uint32_t size)
{
    uint32_t at = offset_of(k->v, n, size);

    return at >= 576 && in_range(at, size, k->xsave_size) ? k->xsave + at : NULL;
}

static bool get_image(KvmCpu *k, Error **err)
{
    return kvm_must(k->fd, k->xsave_size > XSAVE_AREA ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, k->xsave, err);
}

bool kvm_fpu_init(KvmCpu *k, Error **err)
{
    int n = k->v->caps.xsave2;

    k->xsave_size = n > XSAVE_AREA ? align_up((uint64_t)n, XSAVE_AREA) : XSAVE_AREA;
    k->xsave = g_try_malloc0(k->xsave_size);
    return k->xsave || fail(err, "no memory for the registers of CPU %u", k->cpu->index);
}

static bool xcr0_pull(KvmCpu *k, Error **err)
{
    struct kvm_xcrs x = { 0 };

    if (!kvm_must(k->fd, KVM_GET_XCRS, &x, err))
        return false;
    k->s->xcr0 = 1;
    for (unsigned i = 0; i < x.nr_xcrs && i < KVM_MAX_XCRS; i++)
        if (x.xcrs[i].xcr == 0)
            k->s->xcr0 = x.xcrs[i].value;
    return true;
}

static void x87_pull(KvmCpu *k)
{
    X86Fpu *f = &k->s->fpu;
    const uint8_t *p = k->xsave;
    unsigned top;

    f->cw = le16_load(p + FCW);
    f->sw = le16_load(p + FSW);
    f->tags = p[FTW];
    f->op = le16_load(p + FOP);
    f->ip = le64_load(p + FIP);
    f->dp = le64_load(p + FDP);
    f->cs = f->ds = 0; /* the image is of 64-bit mode, where they are not kept */
    top = f->sw >> 11 & 7;
    for (unsigned i = 0; i < 8; i++) { /* ST(i) there, physical registers here */
        memset(f->st[(top + i) & 7], 0, 16);
        memcpy(f->st[(top + i) & 7], p + ST + 16 * i, 10);
    }
}

bool kvm_fpu_pull(KvmCpu *k, Error **err)
{
    X86 *s = k->s;
    const uint8_t *ymm, *pkru;
    uint64_t have;

    if (!xcr0_pull(k, err) || !get_image(k, err))
        return false;
    have = le64_load(k->xsave + XSTATE_BV);
    if (have & X_X87) {
        x87_pull(k);
    } else { /* as FNINIT leaves it */
        memset(&s->fpu, 0, sizeof(s->fpu));
        s->fpu.cw = 0x37f;
    }
    s->mxcsr = le32_load(k->xsave + MXCSR);
    ymm = have & X_AVX ? component(k, 2, 256) : NULL;
    for (unsigned i = 0; i < 16; i++) {
        memset(s->env.vec[i], 0, 32);
        if (have & X_SSE)
            memcpy(s->env.vec[i], k->xsave + XMM + 16 * i, 16);
        if (ymm)
            memcpy(s->env.vec[i] + 16, ymm + 16 * i, 16);
    }
    pkru = have & X_PKRU ? component(k, 9, 8) : NULL;
    s->pkru = pkru ? le32_load(pkru) : 0;
    return true;
}

/* XSTATE_BV alone would be true of parts that were used once and are as after reset since. */
bool kvm_fpu_unnamed(const KvmCpu *k)
{
    return k->xsave && le64_load(k->xsave + XSTATE_BV) & k->s->xcr0 & ~(uint64_t)(X_X87 | X_SSE | X_AVX | X_PKRU);
}

static bool xcr0_push(KvmCpu *k, Error **err)
{
    struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs[0].value = k->s->xcr0 };

    if (k->s->xcr0 == 1 && offset_of(k->v, 2, 256) == 0)
        return true; /* a host without XSAVE */
    return kvm_must(k->fd, KVM_SET_XCRS, &x, err);
}

static void x87_push(KvmCpu *k)
{
    const X86Fpu *f = &k->s->fpu;
    uint8_t *p = k->xsave;
    unsigned top = f->sw >> 11 & 7;

    le16_store(p + FCW, f->cw);
    le16_store(p + FSW, f->sw);
    p[FTW] = (uint8_t)f->tags;
    p[FTW + 1] = 0;
    le16_store(p + FOP, f->op);
    le64_store(p + FIP, f->ip);
    le64_store(p + FDP, f->dp);
    for (unsigned i = 0; i < 8; i++) {
        memset(p + ST + 16 * i, 0, 16);
        memcpy(p + ST + 16 * i, f->st[(top + i) & 7], 10);
    }
}

bool kvm_fpu_push(KvmCpu *k, Error **err)
{
    const X86 *s = k->s;
    uint8_t *ymm, *pkru;
    uint64_t have;

    if (!xcr0_push(k, err) || (!k->xsave_loaded && !get_image(k, err)))
        return false;
    k->xsave_loaded = false;
    have = le64_load(k->xsave + XSTATE_BV) | X_X87 | X_SSE;
    x87_push(k);
    le32_store(k->xsave + MXCSR, s->mxcsr);
    ymm = component(k, 2, 256);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(k->xsave + XMM + 16 * i, s->env.vec[i], 16);
        if (ymm)
            memcpy(ymm + 16 * i, s->env.vec[i] + 16, 16);
    }
    have |= ymm ? X_AVX : 0;
    pkru = component(k, 9, 8);
    if (pkru) {
        le32_store(pkru, s->pkru);
        have |= X_PKRU;
    }
    le64_store(k->xsave + XSTATE_BV, have);
    return kvm_must(k->fd, KVM_SET_XSAVE, k->xsave, err);
}
