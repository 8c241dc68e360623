/*
 * app/test.c - menura run --test: watches the guest's serial port and how the machine ends, and judges.
 *
 *   pass          --expect was found on the serial port; without --expect: the guest switched off
 *   fail          it ended without
 *   panic         it said so: pvpanic, or the words "Kernel panic"
 *   triple-fault  as it is
 *   hang          every CPU halts with interrupts off: nothing will ever happen again
 *   timeout       none of these in time
 *
 * The port is one end of a socket pair; the other is read on the VM loop, VM lock held, as all here is but the two ends.
 */
#include "app/test-priv.h"
#include "chr/chr.h"
#include "core/autopsy.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONSOLE_MAX = 1024 * 1024, TAIL = 16384, DEAD_LOOKS = 3, LAST_BYTES_MAX = 65536 };
#define LOOK_EVERY (250 * (int64_t)MS)
#define PANIC_TRACE (2 * (int64_t)SEC) /* until its trace is out */

struct Test {
    App *a;
    const TestPlan *plan;
    GRegex *expect;
    int fd;               /* our end of the serial port */
    guint watch, look, limit, panic_wait;
    GString *console;     /* its end, at most CONSOLE_MAX */
    char *matched, *reason, *cause, *report;
    unsigned dead;        /* looks in a row that found all CPUs dead */
    bool timed_out, hung, panic_seen, started;
    int64_t since;
    VmListener listener;
};

/* ---- the serial port ---- */
static bool panicked(void *arg)
{
    Test *t = arg;

    t->panic_wait = 0;
    vm_request(t->a->vm, VM_PANIC, CAUSE_NONE);
    return false;
}

/* Looked for in the end of what came, so that each byte is looked at a bounded number of times. */
static void judge_text(Test *t)
{
    size_t from = t->console->len > TAIL ? t->console->len - TAIL : 0;
    const char *tail = t->console->str + from;
    g_autoptr(GMatchInfo) m = NULL;

    if (t->expect && !t->matched && g_regex_match_full(t->expect, tail, (gssize)(t->console->len - from), 0, 0, &m, NULL)) {
        t->matched = g_match_info_fetch(m, 0);
        vm_exit_code(t->a->vm, 0);
        return;
    }
    if (!t->panic_seen && !t->matched && g_strstr_len(tail, (gssize)(t->console->len - from), "Kernel panic - not syncing")) {
        t->panic_seen = true;
        t->panic_wait = loop_after(t->a->vm->loop, PANIC_TRACE, panicked, t);
    }
}

static bool heard(void *arg, int fd, GIOCondition cond)
{
    Test *t = arg;
    char buf[4096];
    ssize_t n = read(fd, buf, sizeof(buf));

    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    fwrite(buf, 1, (size_t)n, stdout);
    fflush(stdout);
    for (ssize_t i = 0; i < n; i++)
        if (buf[i]) /* the text is a string */
            g_string_append_c(t->console, buf[i]);
    if (t->console->len > CONSOLE_MAX)
        g_string_erase(t->console, 0, (gssize)(t->console->len - CONSOLE_MAX / 2));
    judge_text(t);
    return true;
}

/* ---- the machine ---- */
static void event(void *self, const char *name, const char *json)
{
    Test *t = self;
    g_autoptr(Opts) o = NULL;

    if (strcmp(name, "MENURA_AUTOPSY") || !json || !(o = opts_parse_any(json, NULL, NULL)))
        return;
    g_free(t->reason);
    g_free(t->cause);
    g_free(t->report);
    t->reason = opts_take(o, "reason");
    t->cause = opts_take(o, "cause");
    t->report = opts_take(o, "report");
}

static void state(void *self, RunState now)
{
    if (now == RUN_RUNNING)
        ((Test *)self)->started = true;
}

/* Halted, and deaf: nothing but a reset will wake it. */
static bool is_dead(Cpu *c)
{
    return c->mp_state == CPU_HALTED && !c->target->irq_open(c);
}

static bool all_dead(Vm *vm)
{
    bool dead = vm->ncpus > 0, running = false;

    for (unsigned i = 0; i < vm->ncpus; i++)
        running |= __atomic_load_n(&vm->cpus[i]->mp_state, __ATOMIC_ACQUIRE) == CPU_RUNNABLE;
    if (running)
        return false;
    vm_look_begin(vm);
    for (unsigned i = 0; dead && i < vm->ncpus; i++)
        dead = vm->cpus[i]->mp_state == CPU_WAIT_SIPI ? i > 0 : cpu_sync(vm->cpus[i], RG_ALL) && is_dead(vm->cpus[i]);
    vm_look_end(vm);
    return dead;
}

static void end_with(Test *t, const char *what, int status)
{
    Vm *vm = t->a->vm;

    vm_look_begin(vm);
    autopsy_report(vm, vm->ncpus ? vm->cpus[0] : NULL, NULL, what);
    vm_look_end(vm);
    vm_exit_code(vm, status);
}

static bool look(void *arg)
{
    Test *t = arg;

    t->dead = vm_running(t->a->vm) && all_dead(t->a->vm) ? t->dead + 1 : 0;
    if (t->dead < DEAD_LOOKS)
        return true;
    t->hung = true;
    t->look = 0;
    end_with(t, "hang", STATUS_HANG);
    return false;
}

static bool out_of_time(void *arg)
{
    Test *t = arg;

    t->limit = 0;
    t->timed_out = true;
    end_with(t, "timeout", STATUS_TIMEOUT);
    return false;
}

/* ---- begin and end ---- */
static bool open_port(Test *t, Error **err)
{
    g_autoptr(Opts) o = opts_new();
    g_autofree char *text = NULL;
    int fd[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd))
        return fail_errno(err, "run --test: cannot make a socket pair");
    fcntl(fd[0], F_SETFL, O_NONBLOCK);
    t->fd = own_fd(&t->a->vm->root, fd[0]);
    text = g_strdup_printf("%d", fd[1]);
    opts_set(o, "backend", "socket");
    opts_set(o, "id", "test-serial");
    opts_set(o, "fd", text);
    if (!chr_new(t->a->vm, o, err))
        return false;
    g_ptr_array_add(t->a->serials, g_strdup("chardev:test-serial"));
    return true;
}

Test *app_test_new(App *a, const TestPlan *plan, Error **err)
{
    Test *t = g_new0(Test, 1);
    Vm *vm = a->vm;
    GError *e = NULL;

    *t = (Test){ .a = a, .plan = plan, .console = g_string_new(NULL), .since = g_get_monotonic_time() };
    t->expect = plan->expect ? g_regex_new(plan->expect, G_REGEX_RAW | G_REGEX_MULTILINE, 0, &e) : NULL;
    if (e)
        fail(err, "run: --expect %s: %s", plan->expect, e->message);
    g_clear_error(&e);
    if ((plan->expect && !t->expect) || !open_port(t, err)) {
        g_string_free(t->console, TRUE);
        g_free(t);
        return NULL;
    }
    t->listener = (VmListener){ .state = state, .event = event, .self = t };
    vm_listen(vm, &t->listener);
    t->watch = loop_watch_fd(vm->loop, t->fd, G_IO_IN, heard, t);
    t->look = loop_after(vm->loop, LOOK_EVERY, look, t);
    t->limit = loop_after(vm->loop, (int64_t)((plan->timeout > 0 ? plan->timeout : 60) * SEC), out_of_time, t);
    return t;
}

static void judge(const Test *t, TestResult *r)
{
    bool own_end = r->status != STATUS_PANIC && r->status != STATUS_TRIPLE_FAULT && r->status != STATUS_BUG && t->started;
    const struct {
        bool is;
        const char *verdict, *why;
        int status;
    } rows[] = { /* the first that is */
        { t->matched, "pass", "the serial port said what is expected", 0 },
        { t->hung, "hang", "all CPUs halt with interrupts off", STATUS_HANG },
        { t->timed_out, "timeout", "the time is over", STATUS_TIMEOUT },
        { r->status == STATUS_PANIC, "panic", "the guest's kernel panicked", STATUS_PANIC },
        { r->status == STATUS_TRIPLE_FAULT, "triple-fault", t->cause && *t->cause ? t->cause : "a triple fault", STATUS_TRIPLE_FAULT },
        { !own_end, "error", "the emulator could not go on", r->status },
        { t->plan->expect, "fail", "the guest ended before the serial port said what is expected", STATUS_FAIL },
        { r->status > 1, "fail", "the guest ended with a status of its own", STATUS_FAIL }, /* 1: isa-debug-exit with 0 */
        { true, "pass", "the guest switched off", 0 },
    };
    size_t i = 0;

    while (!rows[i].is)
        i++;
    r->verdict = rows[i].verdict;
    r->why = rows[i].why;
    r->status = rows[i].status;
}

int app_test_verdict(Test *t, int status)
{
    Vm *vm = t->a->vm;
    guint ids[] = { t->watch, t->look, t->limit, t->panic_wait };
    char rest[4096];
    TestResult r;
    ssize_t n;

    lock_take(&vm->lock); /* none of ours runs on the loop */
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++)
        if (ids[i])
            loop_unwatch(vm->loop, ids[i]);
    vm_unlisten(vm, &t->listener);
    lock_drop(&vm->lock);
    for (size_t sum = 0; sum < LAST_BYTES_MAX && (n = read(t->fd, rest, sizeof(rest))) > 0; sum += (size_t)n) { /* sent before the end */
        fwrite(rest, 1, (size_t)n, stdout);
        g_string_append_len(t->console, rest, n);
    }
    if (t->expect && !t->matched && g_regex_match(t->expect, t->console->str, 0, NULL))
        t->matched = g_strdup(t->plan->expect);
    fflush(stdout);
    r = (TestResult){ .status = status, .matched = t->matched, .console = t->console, .reason = t->reason, .cause = t->cause, .report = t->report };
    judge(t, &r);
    r.seconds = (double)(g_get_monotonic_time() - t->since) / 1e6;
    test__report(t->plan, &r);
    fprintf(stderr, "menura: test: %s after %.1f s: %s\n", r.verdict, r.seconds, r.why);
    g_string_free(t->console, TRUE);
    g_clear_pointer(&t->expect, g_regex_unref);
    g_free(t->matched);
    g_free(t->reason);
    g_free(t->cause);
    g_free(t->report);
    g_free(t);
    return r.status;
}
