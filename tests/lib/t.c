/* tests/lib/t.c - the runner and the test machine. */
#include "tests/lib/t.h"
#include "core/machine.h"
#include "core/priv.h"
#include "util/trace.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern const TestCase *const __start_testcases[] __attribute__((weak));
extern const TestCase *const __stop_testcases[] __attribute__((weak));

enum { RAM = 16 * 1024 * 1024, LIMIT_SECONDS = MENURA_TSAN ? 400 : 50 };

static bool machine_init(Vm *vm, Error **err)
{
    RamBlock *ram = ram_new(vm->machine, "ram", RAM, err);

    if (!ram)
        return false;
    region_map(vm->sysmem, 0, region_ram(vm->machine, "ram", ram), 0);
    return true;
}

static const MachineClass test_machine = {
    .name = "test", .desc = "for tests: RAM and what a test plugs", .no_cpu = true,
    .props = { .name = "test-machine", .size = sizeof(Obj) }, .init = machine_init,
};
MACHINE(test_machine);

Vm *t_vm(void)
{
    Vm *vm = vm_new("test");

    vm->rng.s = 1;
    vm_set_accel(vm, "qtest", NULL, &abort_on_error);
    vm_init_machine(vm, "test", NULL, &abort_on_error);
    return vm;
}

void t_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s:%d: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

Dev *t_plug(Vm *vm, const char *text)
{
    g_autofree char *driver = g_strndup(text, strcspn(text, ","));
    const DevClass *c = dev_class_find(driver);

    if (c && dev_class_bus(c))
        t_bus(vm, dev_class_bus(c));
    return dev_plug(vm, NULL, text, &abort_on_error);
}

unsigned t_banks(Dev *d) { return core__layout(d->cls)->banks->len; }
const Bank *t_bank(Dev *d, unsigned n) { return core__layout(d->cls)->banks->pdata[n]; }

uint64_t t_read(Dev *d, unsigned bank, uint64_t off, unsigned size)
{
    uint64_t v;

    bank_read(d, t_bank(d, bank), off, size, &v);
    return v;
}

void t_write(Dev *d, unsigned bank, uint64_t off, unsigned size, uint64_t v)
{
    bank_write(d, t_bank(d, bank), off, size, v);
}

void t_step(Vm *vm, int64_t ns) { qtest_clock_step(vm, ns); }
bool t_irq(Dev *d) { return d->nout && d->out[0].level; }

unsigned t_guest_errors(void)
{
    GString *s = g_string_new(NULL);
    unsigned n = 0;

    flight_dump(s, 4096);
    for (const char *p = s->str; (p = strstr(p, "guest_error")); p++)
        n++;
    g_string_free(s, TRUE);
    return n;
}

/* ---- runner ---- */
static void run(void (*fn)(Vm *vm, const void *arg), const void *arg)
{
    Vm *vm = t_vm();

    alarm(LIMIT_SECONDS);
    fn(vm, arg);
    vm_free(vm);
}

int t_status(void (*fn)(Vm *vm, const void *arg), const void *arg, bool quiet)
{
    int status;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        if (quiet && (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout)))
            exit(1);
        run(fn, arg);
        exit(0);
    }
    return pid < 0 || waitpid(pid, &status, 0) < 0 ? -1 : status;
}

bool t_run(const char *name, void (*fn)(Vm *vm, const void *arg), const void *arg, bool quiet)
{
    int status = t_status(fn, arg, quiet);

    if (quiet)
        return status == 0;
    printf("%s %s\n", status ? "FAIL" : "ok  ", name);
    if (status && WIFSIGNALED(status))
        printf("     signal %d\n", WTERMSIG(status));
    return status == 0;
}

static void run_case(Vm *vm, const void *arg) { ((const TestCase *)arg)->fn(vm); }

int __attribute__((weak)) t_main(int argc, char **argv)
{
    const char *pattern = "*";
    bool list = false, fork_each = true, ok = true;

    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "-l"))
            list = true;
        else if (!strcmp(argv[i], "-n"))
            fork_each = false;
        else
            pattern = argv[i];
    for (const TestCase *const *p = __start_testcases; p < __stop_testcases; p++) {
        if (!g_pattern_match_simple(pattern, (*p)->name))
            continue;
        if (list)
            puts((*p)->name);
        else if (fork_each)
            ok &= t_run((*p)->name, run_case, *p, false);
        else
            run(run_case, *p);
    }
    return ok ? 0 : 1;
}

int main(int argc, char **argv) { return t_main(argc, argv); }
