/*
 * app/life.c - the process around the VM: signals, the background, the pid file, the end.
 * Whatever way it ends, the terminal is as it was, and the pid file and the sockets are gone.
 */
#include "app/app.h"
#include "chr/chr.h"
#include "migrate/migrate.h"
#include "migrate/snapshot.h"
#include "ui/front.h"
#include "util/daemon.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* ---- signals: of the process, as signals are ---- */
static int signal_pipe[2] = { -1, -1 };
static volatile sig_atomic_t serving; /* the VM loop reads the pipe */

static void on_signal(int n)
{
    char c = (char)n;

    if (!serving) { /* still being built: nobody would read it, perhaps for long */
        chr_restore_terminal();
        signal(n, SIG_DFL);
        raise(n);
    } else if (write(signal_pipe[1], &c, 1) < 0) {
        _exit(128 + n);
    }
}

static bool signalled(void *arg, int fd, GIOCondition cond)
{
    char c;

    if (read(fd, &c, 1) == 1)
        vm_request(arg, VM_SHUTDOWN, CAUSE_HOST_SIGNAL);
    return true;
}

static void catch_signals(Vm *vm)
{
    struct sigaction s = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_NODEFER };
    static const int which[] = { SIGINT, SIGTERM, SIGHUP };

    signal(SIGPIPE, SIG_IGN);
    if (pipe2(signal_pipe, O_CLOEXEC))
        return;
    loop_watch_fd(vm->loop, signal_pipe[0], G_IO_IN, signalled, vm);
    for (size_t i = 0; i < G_N_ELEMENTS(which); i++)
        sigaction(which[i], &s, NULL);
}

/* ---- background, pid file ---- */
static bool take_pidfile(App *a, Error **err)
{
    return !a->pidfile || (a->has_pidfile = pidfile_take(a->pidfile, err));
}

static bool start(App *a, Error **err)
{
    Error *why = NULL;

    if (a->loadvm && a->incoming)
        return fail(err, "-loadvm and -incoming: the machine can only begin with one of them");
    if (a->snapdir && !snapshot_folder(a->vm, a->snapdir, err))
        return false;
    if (!vm_start(a->vm, a->paused || a->incoming || a->loadvm, err))
        return false;
    serving = 1;
    if (a->loadvm && !snapshot_begin_with(a->vm, a->loadvm, err))
        return false;
    if (a->incoming)
        migrate_await(a->vm, !a->paused);
    __atomic_store_n(&a->vm->awaiting, false, __ATOMIC_RELAXED);
    if (a->loadvm && !a->paused)
        vm_cont(a->vm);
    if (!a->incoming)
        return true;
    if (!strcmp(a->incoming, "defer") || migrate_incoming(a->vm, a->incoming, true, &why))
        return true;
    return fail_because(err, why, "-incoming %s", a->incoming);
}

static int live(App *a, Error **err)
{
    const UiDisplay *display = NULL;
    int word = -1;

    if (a->daemonize && (word = daemon_begin(err)) < 0)
        return STATUS_USAGE;
    catch_signals(a->vm);
    __atomic_store_n(&a->vm->awaiting, true, __ATOMIC_RELAXED); /* the loop may turn while images are opened */
    if (!app_build(a, &display, err) || !take_pidfile(a, err) || !start(a, err) || !app_run_with(a, err) || !app_sandbox(a->sandbox, err))
        return STATUS_USAGE;
    if (word >= 0)
        daemon_ready(word, true, NULL); /* who started us is gone: nobody is told */
    return display->run(a->vm);
}

int app_run(App *a)
{
    Error *err = NULL;
    int status = live(a, &err);

    error_report_free(err);
    chr_restore_terminal();
    return status;
}
