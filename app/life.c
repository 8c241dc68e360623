/*
 * app/life.c - the process around the VM: signals, the background, the pid file, the end.
 * Whatever way it ends, the terminal is as it was, and the pid file and the sockets are gone.
 */
#include "app/app.h"
#include "chr/chr.h"
#include "migrate/migrate.h"
#include "migrate/snapshot.h"
#include "ui/front.h"
#include <errno.h>
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

/* ---- background ---- */
/* In the parent: waits for the child's word and ends. In the child: where to send it. -1 + err. */
static int go_background(Error **err)
{
    int word[2];
    pid_t pid;
    char c = 1;

    if (pipe2(word, O_CLOEXEC) || (pid = fork()) < 0) {
        fail_errno(err, "-daemonize: cannot make a process");
        return -1;
    }
    if (pid) {
        close(word[1]);
        while (read(word[0], &c, 1) < 0 && errno == EINTR)
            ;
        _exit(c);
    }
    close(word[0]);
    setsid();
    return word[1];
}

static void say_ready(int word)
{
    int null = open("/dev/null", O_RDWR);
    char ok = 0;

    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
    if (chdir("/") || write(word, &ok, 1) != 1)
        return; /* the parent is gone: nobody is told */
    close(word);
}

/* ---- pid file: locked while we live ---- */
static bool write_pidfile(App *a, Error **err)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    g_autofree char *pid = g_strdup_printf("%d\n", getpid());
    int fd;

    if (!a->pidfile)
        return true;
    fd = open(a->pidfile, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return fail_errno(err, "-pidfile %s: cannot write it", a->pidfile);
    if (fcntl(fd, F_SETLK, &lock) || ftruncate(fd, 0) || write(fd, pid, strlen(pid)) < 0) {
        fail_errno(err, "-pidfile %s: cannot take it, another process may have it", a->pidfile);
        close(fd);
        return false;
    }
    return a->has_pidfile = true; /* the descriptor stays: it is the lock */
}

static bool start(App *a, Error **err)
{
    Error *why = NULL;

    if (a->loadvm && a->incoming)
        return fail(err, "-loadvm and -incoming: the machine can only begin with one of them");
    if (a->snapdir && !snapshot_folder(a->vm, a->snapdir, err))
        return false;
    a->vm->awaiting = a->incoming || a->loadvm;
    if (!vm_start(a->vm, a->paused || a->incoming || a->loadvm, err))
        return false;
    serving = 1;
    if (a->loadvm && !snapshot_begin_with(a->vm, a->loadvm, err))
        return false;
    if (a->incoming)
        migrate_await(a->vm, !a->paused);
    a->vm->awaiting = false;
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

    if (a->daemonize && (word = go_background(err)) < 0)
        return STATUS_USAGE;
    catch_signals(a->vm);
    if (!app_build(a, &display, err) || !write_pidfile(a, err) || !start(a, err) || !app_run_with(a, err) || !app_sandbox(a->sandbox, err))
        return STATUS_USAGE;
    if (word >= 0)
        say_ready(word);
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
