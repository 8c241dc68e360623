/*
 * accel/kvm/cpuid.c - what the kernel's CPUs can offer, asked by the CPU model's code, and the table that a CPU gets.
 */
#include "accel/kvm/kvm.h"
#include <asm/kvm_para.h>

enum { ENTRIES = 256 };

bool kvm_cpuid_load(KvmVm *v, Error **err)
{
    v->cpuid = g_malloc0(sizeof(*v->cpuid) + ENTRIES * sizeof(v->cpuid->entries[0]));
    v->cpuid->nent = ENTRIES;
    return kvm_must(v->sys, KVM_GET_SUPPORTED_CPUID, v->cpuid, err);
}

/* What an emulator's LAPIC cannot honour: x2APIC and the deadline timer are MSRs that never leave the kernel. */
static void without_kernel_lapic(uint32_t leaf, uint32_t out[4])
{
    if (leaf == 1)
        out[2] &= ~(1u << 21 | 1u << 24);
    if (leaf == KVM_CPUID_FEATURES) /* asynchronous page faults, PV EOI, PV unhalt, PV IPIs */
        out[0] &= ~(1u << 4 | 1u << 6 | 1u << 7 | 1u << 10 | 1u << 11 | 1u << 13 | 1u << 14);
}

static void with_kernel_lapic(const KvmVm *v, uint32_t leaf, uint32_t out[4])
{
    if (leaf != 1)
        return;
    out[2] |= 1u << 21; /* kernels leave these two to who makes the LAPIC */
    if (v->caps.tsc_deadline > 0)
        out[2] |= 1u << 24;
}

void kvm_cpuid_offer(Vm *vm, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    const KvmVm *v = kvm_of(vm);

    memset(out, 0, 16);
    for (uint32_t i = 0; i < v->cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &v->cpuid->entries[i];

        if (e->function != leaf || (e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX && e->index != sub))
            continue;
        out[0] = e->eax;
        out[1] = e->ebx;
        out[2] = e->ecx;
        out[3] = e->edx;
        break;
    }
    if (v->chip == CHIP_OFF)
        without_kernel_lapic(leaf, out);
    else
        with_kernel_lapic(v, leaf, out);
    if (leaf == 1) {
        out[2] = (out[2] & ~(1u << 27)) | 1u << 31; /* OSXSAVE follows CR4; a hypervisor there is */
        if (v->caps.nested_state <= 0)
            out[2] &= ~(1u << 5);
    }
    if (leaf == 0x80000001 && v->caps.nested_state <= 0)
        out[2] &= ~(1u << 2); /* what cannot be saved is not offered */
}

bool kvm_cpuid_set(KvmCpu *k, Error **err)
{
    const X86 *s = k->s;
    g_autofree struct kvm_cpuid2 *t = g_malloc0(sizeof(*t) + s->ncpuid * sizeof(t->entries[0]));

    for (unsigned i = 0; i < s->ncpuid; i++) {
        const X86Cpuid *c = &s->cpuid[i];

        t->entries[t->nent++] = (struct kvm_cpuid_entry2){ .function = c->leaf, .index = c->sub, .eax = c->a, .ebx = c->b, .ecx = c->c,
                                                           .edx = c->d, .flags = c->by_sub ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0 };
    }
    return kvm_must(k->fd, KVM_SET_CPUID2, t, err);
}
