/*
 * accel/kvm/time.c - a guest's clocks follow the VM's: its TSC is CLOCK_VM times the VM's frequency plus an offset, its
 * kvmclock is CLOCK_VM. KVM's own run on while a VM is stopped; what they gained is taken away before it goes on.
 */
#include "accel/kvm/kvm.h"
#include <errno.h>

enum { MSR_TSC = 0x10, TSC_SLACK_US = 1000, PPM = 250 };

/* The offset KVM adds to the host's TSC can be set exactly (Linux 5.16); else the MSR is written, some cycles late. */
static bool offset_attr(KvmCpu *k, unsigned long call, uint64_t *offset)
{
    struct kvm_device_attr a = { .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)offset };

    return k->v->caps.vcpu_attributes > 0 && kvm_call(k->fd, call, &a) >= 0;
}

static uint64_t cycles(const KvmCpu *k, int64_t ns) { return muldiv64((uint64_t)MAX(ns, 0), k->s->tsc_hz, SEC); }

static bool tsc_shift(KvmCpu *k, uint64_t by, Error **err)
{
    uint64_t v;

    if (offset_attr(k, KVM_GET_DEVICE_ATTR, &v)) {
        v += by;
        if (offset_attr(k, KVM_SET_DEVICE_ATTR, &v))
            return true;
    }
    return kvm_get_msr(k, MSR_TSC, &v, err) && kvm_set_msr(k, MSR_TSC, v + by, err);
}

bool kvm_tsc_init(KvmCpu *k, Error **err)
{
    long khz = kvm_call(k->fd, KVM_GET_TSC_KHZ, NULL);
    uint64_t want = k->s->tsc_hz, host = khz > 0 ? (uint64_t)khz * 1000 : 0;

    if (!host)
        return fail(err, "KVM_GET_TSC_KHZ: KVM does not know the frequency of this host's time stamp counter");
    if ((want > host ? want - host : host - want) <= host / 1000000 * PPM)
        return true;
    if (k->v->caps.tsc_control > 0)
        return kvm_must(k->fd, KVM_SET_TSC_KHZ, kvm_value(want / 1000), err);
    fail(err, "tsc-frequency=%" PRIu64 ": this host's KVM cannot scale the time stamp counter, which runs at %" PRIu64 " Hz", want, host);
    return error_hint(err, "leave it away or say tsc-frequency=%" PRIu64 "; -accel tcg runs at any", host);
}

/* Offsets that differ by less than reading them takes are one: guests rely on CPUs that agree. */
static uint64_t agreed(const KvmCpu *k, uint64_t offset)
{
    const Vm *vm = k->cpu->vm;
    int64_t d;

    if (!k->cpu->index || !vm->ncpus)
        return offset;
    d = (int64_t)(offset - x86_of(vm->cpus[0])->tsc_offset);
    return ABS(d) < (int64_t)cycles(k, TSC_SLACK_US * US) ? x86_of(vm->cpus[0])->tsc_offset : offset;
}

bool kvm_tsc_pull(KvmCpu *k, Error **err)
{
    uint64_t t;
    int64_t late;

    if (!kvm_get_msr(k, MSR_TSC, &t, err))
        return false;
    late = k->v->stopped_at ? host_now() - k->v->stopped_at : 0;
    k->s->tsc_offset = agreed(k, t - cycles(k, late) - cycles(k, vm_now(k->cpu->vm)));
    return true;
}

/* From the registers, after a reset or a load. While the VM is stopped its clock stands, so the counter is set to what it
 * would show had it run: kvm_time_starts takes that away again. */
bool kvm_tsc_push(KvmCpu *k, Error **err)
{
    uint64_t now, want;
    int64_t late, ahead;

    if (!kvm_get_msr(k, MSR_TSC, &now, err))
        return false;
    late = k->v->stopped_at ? host_now() - k->v->stopped_at : 0;
    want = x86_tsc(k->s) + cycles(k, late);
    if (!tsc_shift(k, want - now, err) || !kvm_get_msr(k, MSR_TSC, &now, err))
        return false;
    /* Some nested KVMs take the order and do nothing. After a reset that makes no odds; a guest that goes on may notice. */
    ahead = (int64_t)(now - want) / (int64_t)k->s->tsc_hz;
    if (ahead && x86_tsc(k->s) > k->s->tsc_hz / 100 && !k->cpu->index)
        warn_report("this host's KVM does not shift the time stamp counter: the guest's jumps by %" PRId64 " s", ahead);
    return true;
}

void kvm_time_stopped(KvmVm *v)
{
    struct kvm_clock_data c = { 0 };

    v->stopped_at = host_now();
    if (v->caps.adjust_clock > 0 && kvm_call(v->fd, KVM_GET_CLOCK, &c) >= 0)
        v->kvmclock = c.clock;
}

/* VM lock, CPUs stopped, CLOCK_VM about to go on. */
void kvm_time_starts(KvmVm *v)
{
    struct kvm_clock_data c = { .clock = MAX(v->kvmclock, (uint64_t)vm_now(v->vm)) };
    int64_t paused = host_now() - v->stopped_at;
    Error *err = NULL;

    for (unsigned i = 0; v->stopped_at && i < v->vm->ncpus; i++) {
        KvmCpu *k = kvm_cpu_of(v->vm->cpus[i]);

        if (!tsc_shift(k, 0 - cycles(k, paused), &err)) {
            kvm_break(v, "CPU %u: %s", i, error_text(err));
            error_free(err);
            err = NULL;
        }
    }
    v->stopped_at = 0;
    if (v->caps.adjust_clock > 0)
        kvm_call(v->fd, KVM_SET_CLOCK, &c); /* a guest that does not look at kvmclock does not miss it */
}
