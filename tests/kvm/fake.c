/* tests/kvm/fake.c - the KVM accelerator on a scripted kernel: each call fails once, each capability is missing once; and what hosts
 * of today may lack: SMM, nested state. */
#include "core/irqchip.h"
#include "tests/kvm/guest.h"
#include "tests/kvm/kernel.h"
#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const chips[] = { "kvm", "kvm,kernel-irqchip=split", "kvm,kernel-irqchip=off" };

/* ---- a scenario that makes every call ---- */
static void io_out(struct kvm_run *r)
{
    r->io.direction = KVM_EXIT_IO_OUT;
    r->io.port = 0x80;
    r->io.size = 1;
    r->io.count = 1;
    r->io.data_offset = 4096;
}

static void mmio_read(struct kvm_run *r)
{
    r->mmio.phys_addr = 0xfed90000;
    r->mmio.len = 4;
    r->mmio.is_write = 0;
}

static void eoi_9(struct kvm_run *r) { r->eoi.vector = 9; }

static const FakeExit tour[] = { { KVM_EXIT_IO, io_out }, { KVM_EXIT_MMIO, mmio_read }, { KVM_EXIT_IRQ_WINDOW_OPEN, NULL }, { KVM_EXIT_SET_TPR, NULL },
                                 { KVM_EXIT_IOAPIC_EOI, eoi_9 }, { KVM_EXIT_INTR, NULL }, { KVM_EXIT_IO, io_out } };

static MemResult sink(void *o, uint64_t off, unsigned size, uint64_t v, MemAttrs at) { return MEM_OK; }
static const RegionOps sink_ops = { .write = sink, .flags = REGION_COALESCED };

static bool script_done(Vm *vm)
{
    for (unsigned i = 0; i < 5000 && __atomic_load_n(&fake.next, __ATOMIC_SEQ_CST) < fake.nscript; i++) {
        int status;

        if (vm_wait_for(vm, MS, &status))
            return false;
    }
    return true;
}

static Region *regions(Vm *vm, int fd)
{
    Region *r = region_io(vm->unattached, "sink", 4096, &sink_ops, vm);

    lock_take(&vm->lock);
    region_add_eventfd(r, 0, 4, true, 1, fd);
    region_map(vm->sysmem, 0xfed80000, r, 1);
    lock_drop(&vm->lock);
    return r;
}

static void dirty(Vm *vm)
{
    RamBlock *b;

    as_ram(vm->mem, 0, &b, NULL, NULL);
    lock_take(&vm->lock);
    ram_log(b, DIRTY_MIGRATE, true);
    ram_log_sync(vm, b);
    ram_log(b, DIRTY_MIGRATE, false);
    lock_drop(&vm->lock);
}

static bool tour_running(Vm *vm, int fd, Error **err)
{
    GByteArray *s = g_byte_array_new();
    DebugPoint p = { .kind = DBG_BREAK_HW, .addr = 0x1000 };
    Cpu *c = vm->cpus[0];
    bool ok;

    cpu_request(c, CPU_REQ_NMI | CPU_REQ_SMI);
    if (c->intc->extint) /* the PIC's line */
        as_store(vm->ports, 0x20, 1, 0x11, MEM_CPU);
    vm_msi(vm, 0xfee00000, 0x41);
    if (vm->irq->irqfd) {
        vm->irq->irqfd(vm, fd, 0xfee00000, 0x42, true);
        vm->irq->irqfd(vm, fd, 0, 0, false);
    }
    dirty(vm);
    ok = script_done(vm);
    vm_stop(vm, RUN_PAUSED);
    ok = ok && c->accel->debug(c, &p, 1, false, err) && vm_save_state(vm, s, err) && vm_load_state(vm, s->data, s->len, err);
    if (ok) {
        vm_cont(vm);
        g_usleep(2000);
        vm_stop(vm, RUN_PAUSED);
        vm_reset(vm, CAUSE_NONE);
    }
    g_byte_array_unref(s);
    return ok;
}

/* 0: all went well; 1: an Error was said; 2: the VM ended with a report. Leaks are 9. */
static int scenario(const char *accel, const char *cpu)
{
    Error *err = NULL;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), status = 0;
    Vm *vm = guest_new(accel, cpu, 2, GUEST_SMP, &err);

    if (vm) {
        regions(vm, fd);
        if (vm_start(vm, false, &err) && tour_running(vm, fd, &err))
            status = vm->state == RUN_INTERNAL_ERROR ? 2 : 0;
        else
            status = err ? 1 : 2;
        if (!err && !vm_wait_for(vm, 0, NULL) && kvm_of(vm)->broken) { /* said when a CPU would run next */
            vm_cont(vm);
            vm_wait_for(vm, 5 * SEC, NULL);
            status = 2;
        }
        vm_free(vm);
    } else {
        status = 1;
    }
    close(fd);
    if (err)
        error_report_free(err);
    return fake.fds || fake.maps ? 9 : fake.torn ? 8 : status;
}

/* Runs it in a process of its own; what it said on stderr is in *said. */
static int try(const Fake *f, const char *accel, char **said)
{
    FILE *out = tmpfile();
    int status;
    pid_t pid;
    long n;


    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        alarm(40);
        dup2(fileno(out), STDERR_FILENO);
        fake = *f;
        fake.script = tour;
        fake.nscript = G_N_ELEMENTS(tour);
        fake_install();
        exit(scenario(accel, "menura64-v1,check=off"));
    }
    check(waitpid(pid, &status, 0) == pid);
    n = lseek(fileno(out), 0, SEEK_END);
    *said = g_malloc0((gsize)n + 1);
    check(pread(fileno(out), *said, (size_t)n, 0) == n);
    fclose(out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (const char *p = text; (p = strstr(p, what)); p++)
        n++;
    return n;
}

/* One clear line, which names the call or the capability; nothing when nothing went wrong. */
static bool clear(const char *what, const char *said, int status)
{
    unsigned lines = count(said, "menura: ");

    if (status == 0)
        return lines <= 1; /* did without: at most a warning */
    return (status == 1 || status == 2) && lines == 1 && strstr(said, what);
}

static const struct {
    unsigned long request;
    const char *name;
} calls[] = {
#define C(r) { r, #r },
#include "accel/kvm/calls.def"
#undef C
};

static void each_call(const char *accel)
{
    static const int errnos[] = { EINTR, EFAULT, ENOSPC };
    unsigned wrong = 0, reached = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++)
        for (size_t e = 0; e < G_N_ELEMENTS(errnos); e++) {
            Fake f = { .fail_call = calls[i].request, .fail_errno = errnos[e] };
            g_autofree char *said = NULL;
            int status = try(&f, accel, &said);

            reached += status != 0;
            if (clear(calls[i].name, said, status) && (errnos[e] != EINTR || (status == 0 && !*said)))
                continue;
            printf("  %s, %s fails with %s: status %d, said: %.300s\n", accel, calls[i].name, g_strerror(errnos[e]), status, said);
            wrong++;
        }
    check_eq(wrong, 0);
    check(reached > 40); /* the failures were noticed at all */
}

static void calls_on(Vm *unused) { each_call(chips[0]); }
static void calls_split(Vm *unused) { each_call(chips[1]); }
static void calls_off(Vm *unused) { each_call(chips[2]); }
TEST("kvm-fake/each-call-fails-irqchip-on", calls_on);
TEST("kvm-fake/each-call-fails-irqchip-split", calls_split);
TEST("kvm-fake/each-call-fails-irqchip-off", calls_off);

static void each_cap(Vm *unused)
{
    static const struct {
        uint32_t cap;
        const char *name, *why;
    } caps[] = {
#define K(f, c, w) { c, #c, w },
#include "accel/kvm/caps.def"
#undef K
    };
    unsigned wrong = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(caps); i++)
        for (size_t k = 0; k < G_N_ELEMENTS(chips); k++) {
            Fake f = { .no_cap = caps[i].cap + 1 };
            g_autofree char *said = NULL;
            int status = try(&f, chips[k], &said);

            if (caps[i].why ? status == 1 && clear(caps[i].name, said, status) : clear("kernel's KVM", said, status))
                continue;
            printf("  %s without %s: status %d, said: %.300s\n", chips[k], caps[i].name, status, said);
            wrong++;
        }
    check_eq(wrong, 0);
}
TEST("kvm-fake/each-capability-missing", each_cap);

static void few_slots(Vm *unused)
{
    Fake f = { .memslots = 2 };
    g_autofree char *said = NULL;
    int status = try(&f, "kvm", &said);

    check(status == 1 || status == 2);
    check_eq(count(said, "menura: "), 1);
    check(strstr(said, "memory slots"));
}
TEST("kvm-fake/too-few-slots", few_slots);

static void cannot_open(Vm *unused)
{
    static const struct {
        int e;
        const char *text, *hint;
    } rows[] = { { ENOENT, "KVM", "" }, { EACCES, "no permission to open /dev/kvm", "usermod -aG kvm" }, { EMFILE, "cannot open /dev/kvm", "" } };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Error *err = NULL;

        fake = (Fake){ .open_errno = rows[i].e };
        fake_install();
        check(!kvm_probe(&err));
        check(strstr(error_text(err), rows[i].text));
        check(!*rows[i].hint || strstr(error_hint_text(err), rows[i].hint));
        error_free(err);
        err = NULL;
        check(kvm_measure(&err) < 0); /* the same reason */
        error_free(err);
    }
}
TEST("kvm-fake/cannot-open", cannot_open);
