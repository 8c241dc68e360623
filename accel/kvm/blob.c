/*
 * accel/kvm/blob.c - parts of a saved state that only KVM reads: a nested hypervisor's state, and XSAVE components that X86 has no name
 * for. The section is there only when they are in use; an engine that does not know it refuses the state by its name.
 */
#include "accel/kvm/kvm.h"
#include "core/state.h"

enum { NESTED = 1, XSAVE = 2, MOST = 1 << 20 };

static unsigned parts(const KvmCpu *k)
{
    bool nested = k->nested && (k->nested->flags || k->nested->size > sizeof(*k->nested));

    return (nested ? NESTED : 0) | (kvm_fpu_unnamed(k) ? XSAVE : 0);
}

static bool wanted(Vm *vm)
{
    unsigned any = 0;

    for (unsigned i = 0; i < vm->ncpus; i++)
        any |= parts(kvm_cpu_of(vm->cpus[i]));
    return any;
}

static void put_part(StateOut *o, bool there, const void *p, uint32_t n)
{
    put_u32(o, there ? n : 0);
    if (there)
        put_bytes(o, p, n);
}

static void save(Vm *vm, StateOut *o)
{
    for (unsigned i = 0; i < vm->ncpus; i++) {
        const KvmCpu *k = kvm_cpu_of(vm->cpus[i]);
        unsigned which = parts(k);

        put_part(o, which & NESTED, k->nested, k->nested ? k->nested->size : 0);
        put_part(o, which & XSAVE, k->xsave, (uint32_t)k->xsave_size);
    }
}

typedef struct Part {
    const char *what;
    size_t room;
    bool sized; /* it says its own size, as struct kvm_nested_state does */
    void **at;
    bool *loaded;
} Part;

static bool get_part(StateIn *in, const Part *p, bool commit, Error **err)
{
    uint32_t n = get_u32(in);
    g_autofree uint8_t *b = NULL;

    if (!n)
        return true;
    if (in->bad || n > MOST || n > p->room || n < sizeof(struct kvm_nested_state))
        return fail(err, "%s of %u bytes: this KVM has room for %zu", p->what, n, p->room);
    b = g_malloc0(p->room);
    if (!get_bytes(in, b, n))
        return fail(err, "%s is cut off", p->what);
    if (p->sized && le32_load(b + offsetof(struct kvm_nested_state, size)) > n)
        return fail(err, "%s says that it is longer than it is", p->what);
    if (commit) {
        g_free(*p->at);
        *p->at = g_steal_pointer(&b);
        *p->loaded = true;
    }
    return true;
}

static bool load(Vm *vm, StateIn *in, bool commit, Error **err)
{
    for (unsigned i = 0; i < vm->ncpus; i++) {
        KvmCpu *k = kvm_cpu_of(vm->cpus[i]);
        const Part nested = { "nested virtualisation state", (size_t)MAX(k->v->caps.nested_state, 0), true, (void **)&k->nested, &k->nested_loaded };
        const Part xsave = { "XSAVE state", k->xsave_size, false, (void **)&k->xsave, &k->xsave_loaded };

        if (!get_part(in, &nested, commit, err) || !get_part(in, &xsave, commit, err))
            return false;
    }
    return true;
}

static const StateSection section = { .key = "kvm", .wanted = wanted, .save = save, .load = load };

void kvm_blob_init(KvmVm *v) { vm_add_section(v->vm, &section); }
