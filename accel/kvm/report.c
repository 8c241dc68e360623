/*
 * accel/kvm/report.c - what KVM says when it gives up, in words. Source: Linux's KVM API document, section 5 (kvm_run), Intel
 * SDM vol. 3 appendix C (VM-entry failures), AMD APM vol. 2 appendix C.
 */
#include "accel/kvm/kvm.h"
#include <errno.h>

static const struct {
    uint32_t n;
    const char *text;
} suberrors[] = {
    { KVM_INTERNAL_ERROR_EMULATION, "KVM cannot emulate an instruction" },
    { KVM_INTERNAL_ERROR_SIMUL_EX, "exceptions came at the same time" },
    { KVM_INTERNAL_ERROR_DELIVERY_EV, "an exit came while an event was being delivered to the guest" },
    { KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, "the processor left the guest for a reason KVM does not know" },
};

static void put_insn(KvmCpu *k, GString *out)
{
    const struct kvm_run *r = k->run;
    uint8_t code[15];
    unsigned n = 0;

    if (r->internal.suberror != KVM_INTERNAL_ERROR_EMULATION)
        return;
    if (r->emulation_failure.ndata >= 3 && r->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
        n = MIN(r->emulation_failure.insn_size, (uint8_t)sizeof(code));
        memcpy(code, r->emulation_failure.insn_bytes, n);
    }
    if (!n)
        return;
    g_string_append(out, "; its bytes are");
    for (unsigned i = 0; i < n; i++)
        g_string_append_printf(out, " %02x", code[i]);
    if (kvm_pull(k->cpu, RG_ALL, NULL) && k->cpu->target->disas) {
        GString *text = g_string_new(NULL);

        k->cpu->target->disas(k->cpu, k->s->env.pc, code, n, 1, text);
        g_string_append_printf(out, ": %s", g_strstrip(text->str));
        g_string_free(text, TRUE);
    }
}

static void internal_error(KvmCpu *k, GString *out)
{
    const struct kvm_run *r = k->run;
    const char *text = "an error this version does not know";

    for (size_t i = 0; i < G_N_ELEMENTS(suberrors); i++)
        if (suberrors[i].n == r->internal.suberror)
            text = suberrors[i].text;
    g_string_append_printf(out, "KVM internal error %u: %s", r->internal.suberror, text);
    put_insn(k, out);
    if (r->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
        g_string_append(out, ". A KVM that emulates kernel code knows few instructions; -accel tcg knows all");
    else
        for (uint32_t i = 0; i < MIN(r->internal.ndata, 16u); i++)
            g_string_append_printf(out, "%s%#llx", i ? " " : "; data: ", (unsigned long long)r->internal.data[i]);
}

static void failed_entry(KvmCpu *k, GString *out)
{
    uint64_t why = k->run->fail_entry.hardware_entry_failure_reason;

    g_string_append_printf(out, "the processor refuses to enter the guest, reason %#" PRIx64, why);
    if (why == UINT64_MAX)
        g_string_append(out, " (AMD-V: VMEXIT_INVALID: the guest's state or controls are not consistent)");
    else if (why >> 31 & 1)
        g_string_append_printf(out, " (VT-x: %s)", (why & 0xffff) == 33   ? "the guest's state is not valid"
                                                   : (why & 0xffff) == 34 ? "an MSR cannot be loaded"
                                                                          : "see SDM appendix C");
    else
        g_string_append_printf(out, " (VT-x instruction error %" PRIu64 ")", why);
}

void kvm_explain(KvmCpu *k, long ret)
{
    GString *out = g_string_new(NULL);

    if (ret < 0)
        g_string_append_printf(out, "KVM_RUN: %s%s", g_strerror((int)-ret),
                               ret == -EFAULT ? ": guest memory cannot be reached (a backing file cut short, or no huge pages left?)" : "");
    else if (k->run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
        internal_error(k, out);
    else if (k->run->exit_reason == KVM_EXIT_FAIL_ENTRY)
        failed_entry(k, out);
    else if (k->run->exit_reason == KVM_EXIT_UNKNOWN)
        g_string_append_printf(out, "the processor left the guest for reason %#llx, which KVM does not know",
                               (unsigned long long)k->run->hw.hardware_exit_reason);
    else
        g_string_append_printf(out, "KVM left the guest for reason %u, which this version does not know", k->run->exit_reason);
    g_strlcpy(k->why, out->str, sizeof(k->why));
    g_string_free(out, TRUE);
}
