/*
 * target/x86/cpuid-state.c - what a saved state says of the CPUs it ran on: vendor, features, TSC frequency. A machine that lacks
 * something of it refuses the state by name: its guest has seen CPUID and will not ask again.
 */
#include "core/state.h"
#include "target/x86/models.h"

static void save(Vm *vm, StateOut *o)
{
    const X86 *s = x86_of(vm->cpus[0]);

    put_u64(o, s->tsc_hz);
    put_u32(o, s->ncpuid);
    for (unsigned i = 0; i < s->ncpuid; i++) {
        const X86Cpuid *c = &s->cpuid[i];
        const uint32_t v[] = { c->leaf, c->sub, c->a, c->b, c->c, c->d };

        for (size_t k = 0; k < G_N_ELEMENTS(v); k++)
            put_u32(o, v[k]);
    }
}

static bool take_frequency(Vm *vm, uint64_t hz, bool commit, Error **err)
{
    const X86 *mine = x86_of(vm->cpus[0]);

    if (hz == mine->tsc_hz)
        return true;
    if (vm->accel->cpuid || hz < 1000000 || hz > 100000000000) {
        fail(err, "the state's time stamp counter runs at %" PRIu64 " Hz, this machine's at %" PRIu64, hz, mine->tsc_hz);
        return error_hint(err, "-cpu MODEL,tsc-frequency=%" PRIu64, hz);
    }
    for (unsigned i = 0; commit && i < vm->ncpus; i++)
        x86_of(vm->cpus[i])->tsc_hz = hz;
    return true;
}

static bool load(Vm *vm, StateIn *in, bool commit, Error **err)
{
    uint64_t hz = get_u64(in);
    uint32_t n = get_u32(in);
    GString *missing = g_string_new(NULL);
    g_autofree char *names = NULL;
    bool vendor = true;

    for (uint32_t i = 0; i < n && !in->bad; i++) { /* bound: the section's length */
        X86Cpuid c = { 0 };
        const X86Cpuid *m;

        c.leaf = get_u32(in);
        c.sub = get_u32(in);
        c.a = get_u32(in);
        c.b = get_u32(in);
        c.c = get_u32(in);
        c.d = get_u32(in);
        m = x86_cpuid_row(x86_of(vm->cpus[0]), c.leaf, c.sub);
        if (c.leaf == 0 && (!m || m->b != c.b || m->c != c.c || m->d != c.d))
            vendor = false;
        x86_missing_features(&c, m, missing);
    }
    names = g_string_free(missing, FALSE);
    if (in->bad)
        return fail(err, "CPUID is cut off");
    if (!vendor)
        return fail(err, "the state is of CPUs of another vendor");
    if (*names) {
        fail(err, "the state's CPUs have %s, which this machine's lack", names);
        return error_hint(err, "start both machines with a CPU model that both have, such as -cpu menura64-v1");
    }
    return take_frequency(vm, hz, commit, err);
}

static const StateSection section = { .key = "cpuid", .save = save, .load = load };

void x86_cpuid_section(Vm *vm) { vm_add_section(vm, &section); }
