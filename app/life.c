/* app/life.c - the process around the VM: signals, the pid file, the end. */
#include "app/app.h"
#include "chr/chr.h"
#include "migrate/migrate.h"
#include "ui/front.h"
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* ---- signals: the terminal is put back, the VM ends in order ---- */
static int signal_pipe[2] = { -1, -1 }; /* of the process, as signals are */

static void on_signal(int n)
{
    char c = (char)n;

    if (write(signal_pipe[1], &c, 1) < 0)
        _exit(128 + n);
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
    struct sigaction s = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    static const int which[] = { SIGINT, SIGTERM, SIGHUP };

    if (pipe(signal_pipe))
        return;
    loop_watch_fd(vm->loop, signal_pipe[0], G_IO_IN, signalled, vm);
    for (size_t i = 0; i < G_N_ELEMENTS(which); i++)
        sigaction(which[i], &s, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static bool start(App *a, Error **err)
{
    Error *why = NULL;

    if (!vm_start(a->vm, a->paused || a->incoming, err))
        return false;
    if (!a->incoming)
        return true;
    migrate_await(a->vm, !a->paused);
    if (!strcmp(a->incoming, "defer") || migrate_incoming(a->vm, a->incoming, true, &why))
        return true;
    return fail_because(err, why, "-incoming %s", a->incoming);
}

int app_run(App *a)
{
    Error *err = NULL;
    const UiDisplay *display = NULL;
    int status;

    if (!app_build(a, &display, &err)) {
        error_report_free(err);
        return STATUS_USAGE;
    }
    if (a->pidfile) {
        g_autofree char *pid = g_strdup_printf("%d\n", getpid());

        if (!g_file_set_contents(a->pidfile, pid, -1, NULL)) {
            fprintf(stderr, "menura: -pidfile %s: cannot write it\n", a->pidfile);
            return STATUS_USAGE;
        }
    }
    catch_signals(a->vm);
    if (!start(a, &err)) {
        error_report_free(err);
        return STATUS_USAGE;
    }
    status = display->run(a->vm);
    if (a->pidfile)
        unlink(a->pidfile);
    chr_restore_terminal();
    return status;
}
