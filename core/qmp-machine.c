/* core/qmp-machine.c - the monitor's commands about the machine, its CPUs and memory (schema/machine.json). */
#include "core/numa.h"
#include "core/topology.h"
#include "core/api/machine.h"
#include "core/machine.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { SAVE_STEP = 4096 };

bool qmp_query_name(Vm *vm, NameInfo *ret, Error **err)
{
    ret->name = vm->cfg.named ? g_strdup(vm->cfg.name) : NULL;
    return true;
}

static char *uuid_text(const uint8_t *u)
{
    GString *s = g_string_new(NULL);

    for (unsigned i = 0; i < 16; i++)
        g_string_append_printf(s, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
    return g_string_free(s, FALSE);
}

bool qmp_query_uuid(Vm *vm, UuidInfo *ret, Error **err)
{
    ret->UUID = uuid_text(vm->cfg.uuid);
    return true;
}

bool qmp_query_target(Vm *vm, TargetInfo *ret, Error **err)
{
    ret->arch = g_strdup(target_find(NULL)->name);
    return true;
}

static bool runs_kvm(const Vm *vm) { return vm->accel && !strcmp(vm->accel->name, "kvm"); }

bool qmp_query_kvm(Vm *vm, KvmInfo *ret, Error **err)
{
    ret->enabled = runs_kvm(vm);
    ret->present = accel_find("kvm");
    return true;
}

void hmp_info_kvm(Hmp *h)
{
    g_string_append_printf(h->out, "kvm support: %s\n", runs_kvm(h->vm) ? "enabled" : accel_find("kvm") ? "disabled" : "not compiled");
}

/* ---- machine types ---- */
static char *cpu_type(const char *model) { return g_strdup_printf("%s-%s-cpu", model, target_find(NULL)->name); }

static void list_machine(const MachineClass *mc, void *arg)
{
    MachineInfo *m = API_ADD((MachineInfoList *)arg);

    m->name = g_strdup(mc->name);
    m->alias = g_strdup(mc->alias);
    m->has_is_default = m->is_default = mc->is_default;
    m->cpu_max = mc->max_cpus ? mc->max_cpus : 1;
    m->default_cpu_type = mc->default_cpu ? cpu_type(mc->default_cpu) : NULL;
    m->default_ram_id = g_strdup(mc->default_ram_id);
    m->acpi = obj_prop_find(&mc->props, "acpi");
}

bool qmp_query_machines(Vm *vm, MachineInfoList *ret, Error **err)
{
    machine_foreach(list_machine, ret);
    return true;
}

bool qmp_query_current_machine(Vm *vm, CurrentMachineParams *ret, Error **err)
{
    ret->wakeup_suspend_support = false; /* no machine of ours sleeps */
    return true;
}

/* ---- CPUs ---- */
/* The topology that -smp gives, and the node when there are any. */
static CpuInstanceProperties place_of(Vm *vm, unsigned index)
{
    CpuPlace at = cpu_place(&vm->cfg, index);
    CpuInstanceProperties p = { .has_socket_id = true, .has_core_id = true, .has_thread_id = true, .has_die_id = vm->cfg.dies > 1,
                                .has_module_id = vm->cfg.modules > 1, .has_node_id = numa_of(vm) };

    p.thread_id = at.thread;
    p.core_id = at.core;
    p.module_id = at.module;
    p.die_id = at.die;
    p.socket_id = at.socket;
    p.node_id = numa_node_of(vm, index);
    return p;
}

static CpuInstanceProperties *place_copy(Vm *vm, unsigned index)
{
    CpuInstanceProperties *p = g_new(CpuInstanceProperties, 1);

    *p = place_of(vm, index);
    return p;
}

static int thread_of(const Cpu *c) { return c->tid ? c->tid : getpid(); } /* the test accelerator has no threads */

bool qmp_query_cpus_fast(Vm *vm, CpuInfoFastList *ret, Error **err)
{
    for (unsigned i = 0; i < vm->ncpus; i++) {
        CpuInfoFast *c = API_ADD(ret);

        c->cpu_index = i;
        c->qom_path = obj_path(&vm->cpus[i]->obj);
        c->thread_id = thread_of(vm->cpus[i]);
        c->props = place_copy(vm, i);
        c->target = g_strdup(vm->cpus[i]->target->name);
    }
    return true;
}

/* Highest place first, as QEMU lists them. */
bool qmp_query_hotpluggable_cpus(Vm *vm, HotpluggableCPUList *ret, Error **err)
{
    if (!vm->ncpus)
        return fail(err, "machine does not support hot-plugging CPUs");
    for (unsigned i = MAX(vm->cfg.max_cpus, vm->ncpus); i-- > 0;) {
        HotpluggableCPU *c = API_ADD(ret);

        c->type = g_strdup(vm->cpus[0]->obj.cls->name);
        c->vcpus_count = 1;
        c->props = place_of(vm, i);
        c->qom_path = i < vm->ncpus ? obj_path(&vm->cpus[i]->obj) : NULL;
    }
    return true;
}

bool qmp_query_iothreads(Vm *vm, IOThreadInfoList *ret, Error **err) { return true; /* there is no such object to make */ }

/* ---- memory ---- */
bool qmp_query_memory_size_summary(Vm *vm, MemoryInfo *ret, Error **err)
{
    ret->base_memory = vm->cfg.ram_size;
    ret->has_plugged_memory = true;
    return true;
}

typedef bool (*ReadFn)(void *from, uint64_t at, void *buf, size_t n);

static bool from_cpu(void *cpu, uint64_t at, void *buf, size_t n) { return cpu_read_va(cpu, at, buf, n); }

static bool from_space(void *as, uint64_t at, void *buf, size_t n)
{
    memset(buf, 0, n);
    as_read(as, at, buf, n, (MemAttrs){ .peek = true }); /* what nobody answers is saved as zeros */
    return true;
}

static bool write_all(int fd, const char *buf, size_t n)
{
    while (n) {
        ssize_t k = write(fd, buf, n);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        buf += k;
        n -= (size_t)k;
    }
    return true;
}

static bool save(ReadFn get, void *from, uint64_t at, uint64_t size, const char *path, Error **err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool ok = fd >= 0 || fail_errno(err, "could not open '%s'", path);

    while (ok && size) {
        char buf[SAVE_STEP];
        size_t n = (size_t)MIN(size, sizeof(buf) - (at & (sizeof(buf) - 1)));

        ok = get(from, at, buf, n) || fail(err, "Invalid addr 0x%016" PRIx64 "/size %" PRIu64 " specified", at, size);
        ok = ok && (write_all(fd, buf, n) || fail_errno(err, "writing memory to '%s' failed", path));
        at += n;
        size -= n;
    }
    if (fd >= 0)
        close(fd);
    return ok;
}

bool qmp_memsave(Vm *vm, const MemsaveArgs *args, Error **err)
{
    bool ok;

    if (args->cpu_index < 0 || args->cpu_index >= vm->ncpus)
        return fail(err, "Parameter 'cpu-index' expects a CPU number");
    vm_look_begin(vm);
    ok = save(from_cpu, vm->cpus[args->cpu_index], args->val, args->size, args->filename, err);
    vm_look_end(vm);
    return ok;
}

bool qmp_pmemsave(Vm *vm, const PmemsaveArgs *args, Error **err)
{
    return save(from_space, vm->mem, args->val, args->size, args->filename, err);
}

/* ---- by hand ---- */
void hmp_info_name(Hmp *h)
{
    if (h->vm->cfg.named)
        g_string_append_printf(h->out, "%s\n", h->vm->cfg.name);
}

void hmp_info_uuid(Hmp *h)
{
    g_autofree char *text = uuid_text(h->vm->cfg.uuid);

    g_string_append_printf(h->out, "%s\n", text);
}

void hmp_info_cpus(Hmp *h)
{
    for (unsigned i = 0; i < h->vm->ncpus; i++)
        g_string_append_printf(h->out, "%c CPU #%u: thread_id=%d\n", i == h->cpu ? '*' : ' ', i, thread_of(h->vm->cpus[i]));
}

void hmp_info_iothreads(Hmp *h) {}
void hmp_info_memory_devices(Hmp *h) {}
void hmp_info_numa(Hmp *h)
{
    const Numa *n = numa_of(h->vm);

    g_string_append_printf(h->out, "%u nodes\n", n ? n->n : 0);
    for (unsigned node = 0; n && node < n->n; node++) {
        g_string_append_printf(h->out, "node %u cpus:", node);
        for (unsigned i = 0; i < h->vm->ncpus; i++)
            if (numa_node_of(h->vm, i) == (int)node)
                g_string_append_printf(h->out, " %u", i);
        g_string_append_printf(h->out, "\nnode %u size: %" PRIu64 " MB\nnode %u plugged: 0 MB\n", node, n->node[node].size / MiB, node);
    }
}

void hmp_info_hotpluggable_cpus(Hmp *h)
{
    HotpluggableCPUList l = { NULL, 0 };

    qmp_query_hotpluggable_cpus(h->vm, &l, NULL);
    g_string_append(h->out, "Hotpluggable CPUs:\n");
    for (size_t i = 0; i < l.n; i++) {
        const CpuInstanceProperties *p = &l.v[i].props;

        g_string_append_printf(h->out, "  type: \"%s\"\n  vcpus_count: \"%" PRId64 "\"\n", l.v[i].type, l.v[i].vcpus_count);
        if (l.v[i].qom_path)
            g_string_append_printf(h->out, "  qom_path: \"%s\"\n", l.v[i].qom_path);
        g_string_append(h->out, "  CPUInstance Properties:\n");
        if (p->has_node_id)
            g_string_append_printf(h->out, "    node-id: \"%" PRId64 "\"\n", p->node_id);
        g_string_append_printf(h->out, "    socket-id: \"%" PRId64 "\"\n", p->socket_id);
        if (p->has_die_id)
            g_string_append_printf(h->out, "    die-id: \"%" PRId64 "\"\n", p->die_id);
        if (p->has_module_id)
            g_string_append_printf(h->out, "    module-id: \"%" PRId64 "\"\n", p->module_id);
        g_string_append_printf(h->out, "    core-id: \"%" PRId64 "\"\n    thread-id: \"%" PRId64 "\"\n", p->core_id, p->thread_id);
    }
    api_clear(&api_HotpluggableCPUList, &l);
}

void hmp_info_memory_size_summary(Hmp *h)
{
    g_string_append_printf(h->out, "base memory: %" PRIu64 "\nplugged memory: 0\n", h->vm->cfg.ram_size);
}

void hmp_cpu(Hmp *h, const HmpCpuArgs *args)
{
    if (args->index < 0 || args->index >= h->vm->ncpus)
        g_string_append(h->out, "invalid CPU index\n");
    else
        h->cpu = (unsigned)args->index;
}

static void registers(Hmp *h, unsigned i)
{
    Cpu *c = h->vm->cpus[i];

    g_string_append_printf(h->out, "\nCPU#%u\n", i);
    cpu_sync(c, RG_ALL);
    c->target->print_regs(c, h->out);
}

void hmp_info_registers(Hmp *h, const HmpInfoRegistersArgs *args)
{
    int64_t one = args->has_vcpu ? args->vcpu : h->cpu;

    if (!args->all && (one < 0 || one >= h->vm->ncpus)) {
        g_string_append_printf(h->out, args->has_vcpu ? "CPU#%" PRId64 " not available\n" : "No CPU available\n", one);
        return;
    }
    vm_look_begin(h->vm);
    for (unsigned i = 0; i < h->vm->ncpus; i++)
        if (args->all || i == one)
            registers(h, i);
    vm_look_end(h->vm);
}

void hmp_info_mtree(Hmp *h, const HmpInfoMtreeArgs *args)
{
    AddrSpace *const all[] = { h->vm->mem, h->vm->ports };

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        as_print(all[i], h->out, args->flat);
        g_string_append_c(h->out, '\n');
    }
}

static void jit_text(Vm *vm, GString *out)
{
    if (vm->accel->stats)
        vm->accel->stats(vm, out);
    else
        g_string_append_printf(out, "accelerator %s does not translate code\n", vm->accel->name);
}

static void opcount_text(Vm *vm, GString *out)
{
    vm_look_begin(vm);
    if (vm->accel->opcount)
        vm->accel->opcount(vm, out);
    else
        g_string_append_printf(out, "accelerator %s does not translate code\n", vm->accel->name);
    vm_look_end(vm);
}

bool qmp_x_query_jit(Vm *vm, HumanReadableText *ret, Error **err)
{
    GString *s = g_string_new(NULL);

    jit_text(vm, s);
    opcount_text(vm, s);
    ret->human_readable_text = g_string_free(s, FALSE);
    return true;
}

void hmp_info_opcount(Hmp *h) { opcount_text(h->vm, h->out); }

void hmp_info_jit(Hmp *h) { jit_text(h->vm, h->out); }
