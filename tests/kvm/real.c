/* tests/kvm/real.c - the KVM accelerator on this host's KVM; skipped where there is none. */
#include "accel/kvm/kvm.h"
#include "hw/pci/pci.h"
#include "tests/kvm/guest.h"
#include <stdio.h>

static void ring3(const char *accel)
{
    Vm *vm;

    if (!kvm_here())
        return;
    vm = guest_new(accel, "menura64-v1", 1, GUEST_USER, &abort_on_error);
    check(vm_start(vm, false, &abort_on_error));
    check(guest_wait(vm, BOX_TICKS, 3));
    check(guest_wait(vm, BOX_TURNS, 100));
    check_eq(guest_box(vm, BOX_WRONG), 0);
    vm_free(vm);
}

static void ring3_on(Vm *unused) { ring3("kvm"); }
static void ring3_split(Vm *unused) { ring3("kvm,kernel-irqchip=split"); }
static void ring3_off(Vm *unused) { ring3("kvm,kernel-irqchip=off"); }
TEST("kvm/ring3-irqchip-on", ring3_on);
TEST("kvm/ring3-irqchip-split", ring3_split);
TEST("kvm/ring3-irqchip-off", ring3_off);

static void smp(const char *accel)
{
    Vm *vm;

    if (!kvm_here())
        return;
    vm = guest_new(accel, "menura64-v1", 2, GUEST_SMP, &abort_on_error);
    check(vm_start(vm, false, &abort_on_error));
    check(guest_wait(vm, BOX_BACK, 50));
    check_eq(guest_box(vm, BOX_AP), 1);
    vm_stop(vm, RUN_PAUSED);
    check(guest_box(vm, BOX_IPIS) - guest_box(vm, BOX_BACK) <= 1);
    vm_cont(vm);
    check(guest_wait(vm, BOX_BACK, guest_box(vm, BOX_BACK) + 10)); /* none was lost */
    vm_free(vm);
}

static void smp_on(Vm *unused) { smp("kvm"); }
static void smp_split(Vm *unused) { smp("kvm,kernel-irqchip=split"); }
static void smp_off(Vm *unused) { smp("kvm,kernel-irqchip=off"); }
TEST("kvm/smp-irqchip-on", smp_on);
TEST("kvm/smp-irqchip-split", smp_split);
TEST("kvm/smp-irqchip-off", smp_off);

static void smp_tcg(Vm *unused)
{
    Vm *vm = guest_new("tcg", "menura64-v1", 2, GUEST_SMP, &abort_on_error);

    check(vm_start(vm, false, &abort_on_error));
    check(guest_wait(vm, BOX_BACK, 50));
    vm_free(vm);
}
TEST("kvm/smp-tcg", smp_tcg);

static void ring3_tcg(Vm *unused)
{
    Vm *vm = guest_new("tcg", "menura64-v1", 1, GUEST_USER, &abort_on_error);

    check(vm_start(vm, false, &abort_on_error));
    check(guest_wait(vm, BOX_TICKS, 3));
    check(guest_wait(vm, BOX_TURNS, 100));
    check_eq(guest_box(vm, BOX_WRONG), 0);
    vm_free(vm);
}
TEST("kvm/ring3-tcg", ring3_tcg);

/* ---- eventfds both ways ---- */
enum { DESC = 0x10000, USED = 0x12000, DATA = 0x13000, MSIX = GUEST_BAR + 0x100000 };

/* A virtio-rng with a queue of one buffer and vector 0 on it: CPU 0, 44h. Vm lock. */
static void set_up_rng(Vm *vm)
{
    PciDev *p = PCI(dev_plug(vm, bus_find(vm, "pci.0"), "virtio-rng-pci,disable-legacy=on", &abort_on_error));

    pci_config_write(p, 0x20, GUEST_BAR, 4);
    pci_config_write(p, 0x14, MSIX, 4);
    pci_config_write(p, 4, 6, 2);
    for (unsigned c = p->config[0x34]; c; c = p->config[c + 1])
        if (p->config[c] == 0x11)
            pci_config_write(p, c + 2, 0x8000, 2);
    as_store(vm->mem, MSIX, 4, 0xfee00000, MEM_CPU);
    as_store(vm->mem, MSIX + 8, 4, 0x44, MEM_CPU);
    as_store(vm->mem, MSIX + 12, 4, 0, MEM_CPU);
    as_store(vm->mem, GUEST_BAR + 0x14, 1, 3, MEM_CPU);
    as_store(vm->mem, GUEST_BAR + 0x08, 4, 1, MEM_CPU);
    as_store(vm->mem, GUEST_BAR + 0x0c, 4, 1, MEM_CPU); /* VERSION_1, no more */
    as_store(vm->mem, GUEST_BAR + 0x14, 1, 11, MEM_CPU);
    as_store(vm->mem, GUEST_BAR + 0x18, 2, 1, MEM_CPU);
    as_store(vm->mem, GUEST_BAR + 0x1a, 2, 0, MEM_CPU);
    as_store(vm->mem, GUEST_BAR + 0x20, 8, DESC, MEM_CPU);
    as_store(vm->mem, GUEST_BAR + 0x28, 8, GUEST_AVAIL, MEM_CPU);
    as_store(vm->mem, GUEST_BAR + 0x30, 8, USED, MEM_CPU);
    as_store(vm->mem, GUEST_BAR + 0x1c, 2, 1, MEM_CPU);
    as_store(vm->mem, GUEST_BAR + 0x14, 1, 15, MEM_CPU);
    as_store(vm->mem, DESC, 8, DATA, MEM_CPU);
    as_store(vm->mem, DESC + 8, 4, 8, MEM_CPU);
    as_store(vm->mem, DESC + 12, 4, 2, MEM_CPU);
}

/* While we hold the VM's lock a kick by eventfd comes back, one by an exit would not. */
static void virtio(const char *accel, bool eventfds)
{
    Vm *vm;
    uint64_t n;

    if (strcmp(accel, "tcg") && !kvm_here())
        return;
    vm = guest_new(accel, "menura64-v1", 1, GUEST_VIRTIO, &abort_on_error);
    check(vm_start(vm, true, &abort_on_error));
    lock_take(&vm->lock);
    set_up_rng(vm);
    vm_cont(vm);
    lock_drop(&vm->lock);
    check(guest_wait(vm, BOX_TICKS, 20));
    if (eventfds) {
        lock_take(&vm->lock);
        g_usleep(300000); /* what was on its way has come */
        check(guest_wait(vm, BOX_TURNS, guest_box(vm, BOX_TICKS) + 1));
        lock_drop(&vm->lock);
        check_eq(kvm_of(vm)->irqfds->len, 1);
    }
    for (unsigned i = 0; i < 10; i++) { /* none is lost when it stops and goes on */
        vm_stop(vm, RUN_PAUSED);
        n = guest_box(vm, BOX_TICKS);
        vm_cont(vm);
        check(guest_wait(vm, BOX_TICKS, n + 5));
    }
    check(guest_box(vm, DATA));
    vm_free(vm);
}

static void virtio_on(Vm *unused) { virtio("kvm", true); }
static void virtio_split(Vm *unused) { virtio("kvm,kernel-irqchip=split", true); }
static void virtio_off(Vm *unused) { virtio("kvm,kernel-irqchip=off", false); } /* EOIs need the lock, too */
static void virtio_tcg(Vm *unused) { virtio("tcg", false); }
TEST("kvm/virtio-irqchip-on", virtio_on);
TEST("kvm/virtio-irqchip-split", virtio_split);
TEST("kvm/virtio-irqchip-off", virtio_off);
TEST("kvm/virtio-tcg", virtio_tcg);

static void two_vms(Vm *unused)
{
    Vm *a, *b;
    uint64_t n;

    if (!kvm_here())
        return;
    a = guest_new("kvm", "menura64-v1", 1, GUEST_USER, &abort_on_error);
    b = guest_new("kvm,kernel-irqchip=off", "menura64-v1", 2, GUEST_SMP, &abort_on_error);
    check(vm_start(a, false, &abort_on_error));
    check(vm_start(b, false, &abort_on_error));
    check(guest_wait(a, BOX_TICKS, 2));
    check(guest_wait(b, BOX_BACK, 10));
    vm_stop(a, RUN_PAUSED);
    n = guest_box(a, BOX_TURNS);
    check(guest_wait(b, BOX_BACK, guest_box(b, BOX_BACK) + 10));
    check_eq(guest_box(a, BOX_TURNS), n);
    vm_free(b);
    vm_cont(a);
    check(guest_wait(a, BOX_TICKS, guest_box(a, BOX_TICKS) + 2));
    check_eq(guest_box(a, BOX_WRONG), 0);
    vm_free(a);
}
TEST("kvm/two-vms", two_vms);

/* ---- registers there and back ---- */
static uint64_t plausible(const CpuReg *r, Rng *g)
{
    static const struct {
        const char *name;
        uint64_t v;
    } fixed[] = { /* what cannot be anything */
        { "eflags", 0x246 }, { "cr0", 0x80050033 }, { "cr3", 0x3000 }, { "cr4", 0x6a0 }, { "efer", 0xd01 }, { "cpl", 0 }, { "xcr0", 1 },
        { "cs", 8 }, { "cs.base", 0 }, { "cs.limit", UINT32_MAX }, { "cs.attr", 0xa09b }, { "ss", 16 }, { "ss.base", 0 },
        { "ss.limit", UINT32_MAX }, { "ss.attr", 0xc093 }, { "tr", 40 }, { "tr.limit", 0x67 }, { "tr.attr", 0x8b }, { "ldtr.attr", 0x82 },
        { "mxcsr", 0x1fa0 }, { "fcw", 0x27f }, { "fsw", 0x3800 }, { "ftag", 0xa5 }, { "fop", 0x123 }, { "dr6", 0xffff0ff1 },
        { "dr7", 0x401 }, { "shadow", 1 }, { "nmi_blocked", 1 }, { "pat", 0x0007010600070106 }, { "sysenter_cs", 8 },
        { "sfmask", 0x47700 }, { "mtrr_def", 0xc06 }, { "exc_pending", 2 }, { "exc_vector", 13 }, { "exc_has_error", 1 }, { "exc_error", 0x18 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(fixed); i++)
        if (!strcmp(r->name, fixed[i].name))
            return fixed[i].v;
    if (!strcmp(r->name, "fcs") || !strcmp(r->name, "fds"))
        return 0; /* not in 64-bit images */
    if (g_str_has_suffix(r->name, ".attr"))
        return 0xc093;
    if (g_str_has_suffix(r->name, ".limit"))
        return r->name[0] == 'g' || r->name[0] == 'i' ? 0xfff : UINT32_MAX; /* the tables' are 16 bits */
    if (r->group & (RG_CORE | RG_SEG | RG_FPU | RG_DEBUG) || g_str_has_suffix(r->name, "star") || !strcmp(r->name, "kernelgsbase"))
        return rng_next(g) & ones(MIN(r->bits, 46));
    return r->reset;
}

static unsigned bytes_of(const CpuReg *r)
{
    unsigned n = 1;

    while (n * 8 < r->bits)
        n *= 2;
    return n;
}

static void fill(Cpu *c, Rng *g)
{
    for (size_t i = 0; i < c->target->nregs; i++) {
        const CpuReg *r = &c->target->regs[i];
        uint8_t *p = (uint8_t *)c->regs + r->at;

        for (unsigned k = 0; k < bytes_of(r); k += 8)
            le_store(p + k, MIN(bytes_of(r), 8), plausible(r, g) & ones(MIN(r->bits - 8 * k, 64)));
        if (r->bits == 256) /* AVX is not in every model */
            memset(p + 16, 0, 16);
    }
}

static void registers(Vm *unused)
{
    Vm *vm;
    Cpu *c;
    Rng g = { 7 };
    g_autofree uint8_t *before = NULL;
    unsigned wrong = 0;

    if (!kvm_here())
        return;
    vm = guest_new("kvm", "menura64-v1,check=off", 1, GUEST_USER, &abort_on_error);
    c = vm->cpus[0];
    fill(c, &g);
    before = g_memdup2(c->regs, c->target->regs_size);
    check(kvm_push(c, RG_ALL, &abort_on_error));
    for (size_t i = 0; i < c->target->nregs; i++)
        memset((uint8_t *)c->regs + c->target->regs[i].at, 0x5a, bytes_of(&c->target->regs[i]));
    x86_of(c)->smm = 0;
    check(kvm_pull(c, RG_ALL, &abort_on_error));
    for (size_t i = 0; i < c->target->nregs; i++) {
        const CpuReg *r = &c->target->regs[i];
        const uint8_t *a = before + r->at, *b = (uint8_t *)c->regs + r->at;

        bool absent = r->kvm != -1 && le_load(a, 8) == r->reset; /* an MSR that this kernel has not */

        if (!strcmp(r->name, "tsc_offset") || g_str_has_prefix(r->name, "pdpte") || absent || !memcmp(a, b, MIN(bytes_of(r), 32)))
            continue;
        printf("  %s: %#" PRIx64 " -> %#" PRIx64 "\n", r->name, le_load(a, MIN(bytes_of(r), 8)), le_load(b, MIN(bytes_of(r), 8)));
        wrong++;
    }
    check_eq(wrong, 0);
    vm_free(vm);
}
TEST("kvm/registers", registers);

/* Arithmetic flags that a debugger or a state sets reach the software CPU, which keeps them apart, however often they are pushed. */
static void flags_tcg(Vm *unused)
{
    Vm *vm = guest_new("tcg", "menura64-v1", 1, GUEST_USER, &abort_on_error);
    Cpu *c = vm->cpus[0];

    check(cpu_set_reg(c, "eflags", 0x2d7));
    for (unsigned i = 0; i < 2; i++)
        check(c->accel->push(c, RG_ALL, &abort_on_error));
    check_eq(x86_eflags(x86_of(c)), 0x2d7);
    vm_free(vm);
}
TEST("kvm/flags-tcg", flags_tcg);

/* ---- a state changes engines ---- */
/* menura64-v1 without what this host's KVM lacks: hosts that emulate kernel code may hide even SSE3. */
static char *common_model(bool our_lapic)
{
    GString *m = g_string_new(our_lapic ? "menura64-v1,-x2apic" : "menura64-v1");
    Error *err = NULL;
    Vm *vm = guest_new("kvm", "menura64-v1,enforce", 1, GUEST_USER, &err);
    uint64_t hz;

    if (!vm) {
        const char *names = strstr(error_text(err), "lacks ");
        g_auto(GStrv) v = NULL;

        check(names);
        v = g_strsplit(names + 6, ", ", -1);
        for (char **n = v; *n; n++)
            g_string_append_printf(m, ",-%s", *n);
        error_free(err);
        vm = guest_new("kvm", m->str, 1, GUEST_USER, &abort_on_error);
    }
    hz = x86_of(vm->cpus[0])->tsc_hz;
    vm_free(vm);
    g_string_append_printf(m, ",enforce,tsc-frequency=%" PRIu64, hz);
    return g_string_free(m, FALSE);
}

static void copy_ram(Vm *to, Vm *from)
{
    g_autofree uint8_t *b = g_malloc(2 * MiB);

    as_read(from->mem, 0, b, 0xa0000, MEM_CPU);
    as_write(to->mem, 0, b, 0xa0000, MEM_CPU);
    as_read(from->mem, MiB, b, MiB, MEM_CPU);
    as_write(to->mem, MiB, b, MiB, MEM_CPU);
}

static Vm *move(Vm *from, const char *accel, const char *cpu, unsigned cpus, GuestKind kind)
{
    Vm *to = guest_new(accel, cpu, cpus, kind, &abort_on_error);
    GByteArray *s = g_byte_array_new();

    check(vm_start(to, true, &abort_on_error));
    vm_stop(from, RUN_PAUSED);
    check(vm_save_state(from, s, &abort_on_error));
    copy_ram(to, from);
    check(vm_load_state(to, s->data, s->len, &abort_on_error));
    g_byte_array_unref(s);
    vm_free(from);
    vm_cont(to);
    return to;
}

static void hand_over(const char *const accels[3], bool our_lapic)
{
    g_autofree char *cpu = NULL;
    Vm *vm;

    if (!kvm_here())
        return;
    cpu = common_model(our_lapic);
    vm = guest_new(accels[0], cpu, 1, GUEST_USER, &abort_on_error);
    check(vm_start(vm, false, &abort_on_error));
    check(guest_wait(vm, BOX_TICKS, 2));
    for (unsigned i = 1; i < 3; i++) {
        uint64_t tsc = guest_box(vm, BOX_TSC), ticks, turns;

        vm = move(vm, accels[i], cpu, 1, GUEST_USER);
        ticks = guest_box(vm, BOX_TICKS);
        check(guest_wait(vm, BOX_TICKS, ticks + 3));
        turns = guest_box(vm, BOX_TURNS);
        for (unsigned k = 0; k < 10000 && guest_box(vm, BOX_TURNS) == turns; k++)
            g_usleep(1000);
        check(guest_box(vm, BOX_TURNS) != turns);
        check_eq(guest_box(vm, BOX_WRONG), 0);
        check(guest_box(vm, BOX_TSC) > tsc);
        if (ABS((int64_t)(host_ticks() - guest_box(vm, BOX_TSC))) < (int64_t)x86_of(vm->cpus[0])->tsc_hz)
            puts("  this host's KVM does not shift the time stamp counter");
        else
            check(guest_box(vm, BOX_TSC) - tsc < 60 * x86_of(vm->cpus[0])->tsc_hz); /* nor far ahead */
    }
    vm_free(vm);
}

static void over_on(Vm *unused) { hand_over((const char *const[]){ "tcg", "kvm", "tcg" }, false); }
static void over_split(Vm *unused) { hand_over((const char *const[]){ "tcg", "kvm,kernel-irqchip=split", "tcg" }, false); }
static void over_off(Vm *unused) { hand_over((const char *const[]){ "tcg", "kvm,kernel-irqchip=off", "tcg" }, true); }
static void over_chips(Vm *unused) { hand_over((const char *const[]){ "kvm", "kvm,kernel-irqchip=off", "kvm,kernel-irqchip=split" }, true); }
TEST("kvm/hand-over-irqchip-on", over_on);
TEST("kvm/hand-over-irqchip-split", over_split);
TEST("kvm/hand-over-irqchip-off", over_off);
TEST("kvm/hand-over-between-irqchips", over_chips);

static void hand_over_smp(Vm *unused)
{
    static const char *const accels[] = { "kvm", "tcg", "kvm,kernel-irqchip=off", "kvm,kernel-irqchip=split", "tcg" };
    g_autofree char *cpu = NULL;
    Vm *vm;

    if (!kvm_here())
        return;
    cpu = common_model(true);
    vm = guest_new("tcg", cpu, 2, GUEST_SMP, &abort_on_error);
    check(vm_start(vm, false, &abort_on_error));
    check(guest_wait(vm, BOX_BACK, 20));
    for (size_t i = 0; i < G_N_ELEMENTS(accels); i++) {
        vm = move(vm, accels[i], cpu, 2, GUEST_SMP);
        check(guest_wait(vm, BOX_BACK, guest_box(vm, BOX_BACK) + 20));
    }
    vm_free(vm);
}
TEST("kvm/hand-over-two-cpus", hand_over_smp);
