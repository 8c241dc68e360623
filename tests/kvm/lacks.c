/* tests/kvm/lacks.c - on the scripted kernel: what this host's KVM may lack (SMM, nested state, dirty logs of a known page), what must never
 * happen (a slot that leaves under a running CPU), and the words for KVM's last exits. */
#include "core/irqchip.h"
#include "target/x86/models.h"
#include "tests/kvm/guest.h"
#include "tests/kvm/kernel.h"
#include <stdio.h>

static Vm *machine(const char *accel, const FakeExit *script, unsigned n)
{
    fake.script = script;
    fake.nscript = n;
    fake_install();
    return guest_new(accel, "menura64-v1,check=off", 1, GUEST_USER, &abort_on_error);
}

static void wait_script(void)
{
    for (unsigned i = 0; i < 20000 && __atomic_load_n(&fake.next, __ATOMIC_SEQ_CST) < fake.nscript; i++)
        g_usleep(1000);
    check_eq(fake.next, fake.nscript);
}

static bool wait_call(unsigned long request, unsigned n)
{
    for (unsigned i = 0; i < 20000; i++) {
        if (fake_calls(request) >= n)
            return true;
        g_usleep(1000);
    }
    return false;
}

static void set_slots(Vm *vm, Region *r, bool on)
{
    lock_take(&vm->lock);
    region_set_enabled(r, on);
    lock_drop(&vm->lock);
}

/* ---- SMM ---- */
static uint64_t written;
static MemResult note(void *o, uint64_t off, unsigned size, uint64_t v, MemAttrs at)
{
    written += v;
    return MEM_OK;
}
static const RegionOps note_ops = { .write = note };
static const RegionOps collected_ops = { .write = note, .flags = REGION_COALESCED };

static void store(struct kvm_run *r, uint16_t flags, uint32_t v)
{
    r->flags = flags;
    r->mmio.phys_addr = 0xfed70000;
    r->mmio.len = 4;
    r->mmio.is_write = 1;
    le32_store(r->mmio.data, v);
}

static void store_in_smm(struct kvm_run *r) { store(r, KVM_RUN_X86_SMM, 0x100); }
static void store_outside(struct kvm_run *r) { store(r, 0, 0x1); }

static void smm(Vm *unused)
{
    static const FakeExit script[] = { { KVM_EXIT_MMIO, store_in_smm }, { KVM_EXIT_MMIO, store_outside }, { KVM_EXIT_INTR, NULL } };
    Vm *vm = machine("kvm", script, G_N_ELEMENTS(script));
    Cpu *c = vm->cpus[0];
    X86 *s = x86_of(c);

    check(vm->accel->smm(vm));
    lock_take(&vm->lock);
    region_map(vm->smmmem, 0xfed70000, region_io(vm->unattached, "smram", 4096, &note_ops, vm), 2);
    lock_drop(&vm->lock);
    check(fake.nslots_smm > 0);
    check(vm_start(vm, false, &abort_on_error));
    wait_script();
    cpu_request(c, CPU_REQ_SMI);
    check(wait_call(KVM_SMI, 1));
    vm_stop(vm, RUN_PAUSED);
    check_eq(written, 0x100); /* the other went to the memory of everyday */
    cpu_sync(c, RG_ALL);
    s->smm = s->smm_nmi_was_blocked = 1;
    check(kvm_push(c, RG_ALL, &abort_on_error));
    s->smm = s->smm_nmi_was_blocked = 0;
    check(kvm_pull(c, RG_ALL, &abort_on_error));
    check(s->smm && s->smm_nmi_was_blocked && c->attrs.secure);
    vm_free(vm);
}
TEST("kvm-fake/smm", smm);

static void no_smm(Vm *unused)
{
    Vm *vm;
    g_autofree X86 *s = NULL;
    Error *err = NULL;

    fake.no_cap = KVM_CAP_X86_SMM + 1;
    vm = machine("kvm", NULL, 0);
    check(!vm->accel->smm(vm));
    check_eq(fake.nslots_smm, 0);
    s = g_memdup2(vm->cpus[0]->regs, sizeof(*s));
    check(kvm_can_hold(vm, s, &abort_on_error));
    s->smm = 1;
    check(!kvm_can_hold(vm, s, &err));
    check(strstr(error_text(err), "system management mode"));
    error_free(err);
    err = NULL;
    s->smm = 0;
    s->env.a20_off = 1;
    check(!kvm_can_hold(vm, s, &err));
    check(strstr(error_text(err), "A20"));
    error_free(err);
    vm_free(vm);
}
TEST("kvm-fake/no-smm-refuses-by-name", no_smm);

/* ---- nested state ---- */
static void nested(Vm *unused)
{
    enum { N = 300 };
    g_autofree struct kvm_nested_state *n = g_malloc0(4096), *back = g_malloc0(4096);
    GByteArray *s = g_byte_array_new();
    Error *err = NULL;
    Vm *a = machine("kvm", NULL, 0), *b, *t;

    check(vm_start(a, true, &abort_on_error));
    check(vm_save_state(a, s, &abort_on_error));
    check(!memmem(s->data, s->len, "\3\0kvm", 5)); /* not in use: not there */
    n->flags = 1;
    n->size = N;
    memset((char *)n + sizeof(*n), 0x5a, N - sizeof(*n));
    check(kvm_call(kvm_cpu_of(a->cpus[0])->fd, KVM_SET_NESTED_STATE, n) >= 0);
    a->cpus[0]->stale = true;
    g_byte_array_set_size(s, 0);
    check(vm_save_state(a, s, &abort_on_error));
    b = guest_new("kvm", "menura64-v1,check=off", 1, GUEST_USER, &abort_on_error);
    check(vm_start(b, true, &abort_on_error));
    check(vm_load_state(b, s->data, s->len, &abort_on_error));
    check(kvm_push(b->cpus[0], RG_ALL, &abort_on_error));
    back->size = 4096;
    check(kvm_call(kvm_cpu_of(b->cpus[0])->fd, KVM_GET_NESTED_STATE, back) >= 0);
    check(!memcmp(n, back, N));
    t = guest_new("tcg", "menura64-v1,check=off,tsc-frequency=2000000000", 1, GUEST_USER, &abort_on_error);
    check(vm_start(t, true, &abort_on_error));
    check(!vm_load_state(t, s->data, s->len, &err));
    check(strstr(error_text(err), "'kvm'"));
    error_free(err);
    vm_free(a);
    vm_free(b);
    vm_free(t);
    g_byte_array_unref(s);
}
TEST("kvm-fake/nested-state-moves", nested);

/* ---- memory ---- */
static void dirty_log(Vm *unused)
{
    Vm *vm = machine("kvm", NULL, 0);
    RamBlock *b;
    unsigned n = 0;

    check(vm_start(vm, false, &abort_on_error));
    as_ram(vm->mem, 0, &b, NULL, NULL);
    lock_take(&vm->lock);
    ram_log(b, DIRTY_MIGRATE, true);
    ram_take_dirty(vm, b, DIRTY_MIGRATE, 0, b->size, NULL);
    fake.dirty_at = 0x5000;
    ram_log_sync(vm, b);
    for (uint64_t at = 0; at < b->size; at += 4096)
        n += ram_is_dirty(b, DIRTY_MIGRATE, at);
    check_eq(n, 1);
    check(ram_is_dirty(b, DIRTY_MIGRATE, 0x5000));
    lock_drop(&vm->lock);
    vm_free(vm);
}
TEST("kvm-fake/dirty-log", dirty_log);

static void gate(Vm *unused)
{
    Vm *vm = machine("kvm", NULL, 0);
    RamBlock *b = ram_new(vm->unattached, "over", 64 * KiB, &abort_on_error);
    Region *r = region_ram(vm->unattached, "over", b);
    unsigned before;

    lock_take(&vm->lock);
    region_map(vm->sysmem, MiB, r, 5);
    lock_drop(&vm->lock);
    check(vm_start(vm, false, &abort_on_error));
    before = fake_calls(KVM_SET_USER_MEMORY_REGION);
    for (unsigned i = 0; i < 100; i++) {
        set_slots(vm, r, i & 1);
        while (!__atomic_load_n(&fake.running, __ATOMIC_SEQ_CST)) /* the CPU goes on each time */
            g_usleep(100);
    }
    check(fake_calls(KVM_SET_USER_MEMORY_REGION) > before + 200);
    check_eq(fake.torn, 0);
    vm_free(vm);
}
TEST("kvm-fake/no-slot-leaves-under-a-running-cpu", gate);

static void coalesced(Vm *unused)
{
    Vm *vm = machine("kvm", NULL, 0);
    struct kvm_coalesced_mmio_ring *r = (void *)((char *)fake.run[0] + 2 * 4096);
    Region *io = region_io(vm->unattached, "collected", 4096, &collected_ops, vm);

    lock_take(&vm->lock);
    region_map(vm->sysmem, 0xfed70000, io, 2);
    lock_drop(&vm->lock);
    check_eq(fake_calls(KVM_REGISTER_COALESCED_MMIO), 1);
    for (unsigned i = 0; i < 3; i++)
        r->coalesced_mmio[i] = (struct kvm_coalesced_mmio){ .phys_addr = 0xfed70000, .len = 4, .data = { (uint8_t)(1 << i) } };
    r->last = 3;
    kvm_drain(kvm_of(vm));
    check_eq(written, 7);
    check_eq(r->first, 3);
    lock_take(&vm->lock);
    region_unmap(io);
    lock_drop(&vm->lock);
    check_eq(fake_calls(KVM_UNREGISTER_COALESCED_MMIO), 1);
    vm_free(vm);
}
TEST("kvm-fake/collected-writes", coalesced);

/* ---- interrupts of our LAPIC ---- */
static void interrupt(Vm *unused)
{
    static const FakeExit script[] = { { KVM_EXIT_IRQ_WINDOW_OPEN, NULL } };
    Vm *vm = machine("kvm,kernel-irqchip=off", script, 1);

    check(vm_start(vm, true, &abort_on_error));
    as_store(vm->mem, 0xfee000f0, 4, 0x1ff, MEM_CPU);
    vm_cont(vm);
    wait_script();
    vm_msi(vm, 0xfee00000, 0x41);
    check(wait_call(KVM_INTERRUPT, 1));
    check_eq(fake.interrupt.irq, 0x41);
    vm_free(vm);
}
TEST("kvm-fake/interrupt-irqchip-off", interrupt);

/* ---- last words ---- */
static void no_emulation(struct kvm_run *r)
{
    static const uint8_t cmpxchg16b[] = { 0x48, 0x0f, 0xc7, 0x0f };

    r->emulation_failure.suberror = KVM_INTERNAL_ERROR_EMULATION;
    r->emulation_failure.ndata = 4;
    r->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
    r->emulation_failure.insn_size = sizeof(cmpxchg16b);
    memcpy(r->emulation_failure.insn_bytes, cmpxchg16b, sizeof(cmpxchg16b));
}

static void delivery(struct kvm_run *r)
{
    r->internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
    r->internal.ndata = 1;
    r->internal.data[0] = 0x80000b0d;
}

static void bad_entry(struct kvm_run *r) { r->fail_entry.hardware_entry_failure_reason = 0x80000021; }
static void bad_entry_amd(struct kvm_run *r) { r->fail_entry.hardware_entry_failure_reason = UINT64_MAX; }

static void last_words(Vm *unused)
{
    static const struct {
        FakeExit exit;
        const char *words[2];
    } rows[] = {
        { { KVM_EXIT_INTERNAL_ERROR, no_emulation }, { "cannot emulate an instruction; its bytes are 48 0f c7 0f", "-accel tcg knows all" } },
        { { KVM_EXIT_INTERNAL_ERROR, delivery }, { "while an event was being delivered", "0x80000b0d" } },
        { { KVM_EXIT_FAIL_ENTRY, bad_entry }, { "refuses to enter the guest, reason 0x80000021", "the guest's state is not valid" } },
        { { KVM_EXIT_FAIL_ENTRY, bad_entry_amd }, { "refuses to enter the guest", "VMEXIT_INVALID" } },
        { { 4711, NULL }, { "reason 4711", "does not know" } },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        int status = 0;
        Vm *vm;

        fake = (Fake){ 0 };
        vm = machine("kvm", &rows[i].exit, 1);
        check(vm_start(vm, false, &abort_on_error));
        check(vm_wait_for(vm, 20 * SEC, &status));
        check_eq(status, 70);
        for (unsigned k = 0; k < 2; k++)
            if (!strstr(kvm_cpu_of(vm->cpus[0])->why, rows[i].words[k]))
                t_fail(__FILE__, __LINE__, "'%s' is not in: %s", rows[i].words[k], kvm_cpu_of(vm->cpus[0])->why);
        vm_free(vm);
    }
}
TEST("kvm-fake/last-words", last_words);

static void triple_fault(Vm *unused)
{
    static const FakeExit script[] = { { KVM_EXIT_SHUTDOWN, NULL } };
    int status = 0;
    Vm *vm = machine("kvm", script, 1);

    check(vm_start(vm, false, &abort_on_error));
    check(vm_wait_for(vm, 20 * SEC, &status));
    check_eq(status, 66);
    vm_free(vm);
}
TEST("kvm-fake/triple-fault", triple_fault);
