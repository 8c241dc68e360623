/*
 * accel/kvm/debug.c - breakpoints, watchpoints and single steps by the four debug registers, which KVM lends from the guest.
 */
#include "accel/kvm/kvm.h"

enum { EXECUTE = 0, WRITE = 1, ACCESS = 3 };

static unsigned length_code(uint64_t len) { return len == 2 ? 1 : len == 4 ? 3 : len == 8 ? 2 : 0; }

bool kvm_debug(Cpu *c, const DebugPoint *p, size_t n, bool step, Error **err)
{
    KvmCpu *k = kvm_cpu_of(c);
    struct kvm_guest_debug d = { .control = n || step ? KVM_GUESTDBG_ENABLE : 0 };

    if (n > 4) {
        fail(err, "%zu breakpoints: under KVM there are four, the processor's", n);
        return error_hint(err, "-accel tcg has no such limit");
    }
    if (k->v->caps.guest_debug <= 0)
        return fail(err, "this kernel's KVM cannot debug guests");
    if (step)
        d.control |= KVM_GUESTDBG_SINGLESTEP;
    if (n)
        d.control |= KVM_GUESTDBG_USE_HW_BP;
    d.arch.debugreg[7] = 0x600;
    for (size_t i = 0; i < n; i++) {
        bool code = p[i].kind == DBG_BREAK_SW || p[i].kind == DBG_BREAK_HW;
        unsigned type = code ? EXECUTE : p[i].kind == DBG_WATCH_W ? WRITE : ACCESS;

        if (!code && p[i].len != 1 && p[i].len != 2 && p[i].len != 4 && p[i].len != 8)
            return fail(err, "a watchpoint of %" PRIu64 " bytes: the processor watches 1, 2, 4 or 8", p[i].len);
        d.arch.debugreg[i] = p[i].addr;
        d.arch.debugreg[7] |= 2ull << (2 * i) | (uint64_t)(type | (code ? 0 : length_code(p[i].len) << 2)) << (16 + 4 * i);
    }
    k->debugging = n || step;
    return kvm_must(k->fd, KVM_SET_GUEST_DEBUG, &d, err);
}

Exit kvm_debug_exit(KvmCpu *k)
{
    const struct kvm_debug_exit_arch *d = &k->run->debug.arch;

    return (Exit){ .kind = EXIT_DEBUG, .addr = d->pc };
}
