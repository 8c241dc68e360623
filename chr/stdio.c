/*
 * chr/stdio.c - the terminal we were started from, in raw mode while we run.
 * The terminal belongs to the process, so its saved mode does too (no VM state): whoever ends the
 * process calls chr_restore_terminal(); fatal signals, Ctrl-Z and fg are handled here.
 */
#include "chr/priv.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static struct termios before, during;
static volatile sig_atomic_t changed;
static bool in_use;

static void set_mode(const struct termios *t)
{
    sigset_t ttou, old;

    sigemptyset(&ttou); /* a background process may set the terminal back */
    sigaddset(&ttou, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &ttou, &old);
    tcsetattr(0, TCSANOW, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void chr_restore_terminal(void)
{
    int e = errno;

    if (changed) {
        changed = 0;
        set_mode(&before);
    }
    errno = e;
}

static void on_fatal(int sig)
{
    chr_restore_terminal();
    raise(sig); /* SA_RESETHAND: the default action now */
}

static void on_stop(int sig)
{
    int e = errno;

    if (changed)
        set_mode(&before);
    raise(SIGSTOP);
    errno = e;
}

static void on_cont(int sig)
{
    int e = errno;

    if (changed && tcgetpgrp(0) == getpgrp())
        set_mode(&during);
    errno = e;
}

static void handle(int sig, void (*fn)(int), int flags)
{
    struct sigaction now, sa = { .sa_handler = fn, .sa_flags = flags };

    if (!sigaction(sig, NULL, &now) && now.sa_handler == SIG_DFL)
        sigaction(sig, &sa, NULL);
}

static void install_handlers(void)
{
    static const int fatal[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGSEGV,
                                 SIGBUS, SIGFPE,  SIGILL, SIGABRT };

    for (size_t i = 0; i < G_N_ELEMENTS(fatal); i++)
        handle(fatal[i], on_fatal, (int)(SA_RESETHAND | SA_NODEFER));
    handle(SIGTSTP, on_stop, SA_RESTART);
    handle(SIGCONT, on_cont, SA_RESTART);
    atexit(chr_restore_terminal);
}

static void go_raw(bool signals)
{
    static bool installed;

    if (!isatty(0) || tcgetattr(0, &before) < 0)
        return;
    during = before;
    during.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    during.c_oflag |= OPOST;
    during.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
    if (!signals)
        during.c_lflag &= ~(tcflag_t)ISIG;
    during.c_cc[VMIN] = 1;
    during.c_cc[VTIME] = 0;
    changed = 1;
    if (!installed)
        install_handlers();
    installed = true;
    set_mode(&during);
}

static void end_of_input(Chr *c) { chr__event(c, CHR_CLOSED); }

static bool stdio_open(Chr *c, Opts *o, Error **err)
{
    FdStream *s = c->opaque;
    bool signals;

    if (!opts_get_bool(o, "signal", true, &signals, err))
        return false;
    if (in_use) {
        fail(err, "chardev %s: stdio is in use already", c->id);
        return error_hint(err, "use mon:stdio, or one -chardev stdio,mux=on,id=X for both");
    }
    in_use = true;
    *s = (FdStream){ .c = c, .in = 0, .out = 1, .careful = true, .eof = end_of_input };
    go_raw(signals);
    return true;
}

static void stdio_close(Chr *c)
{
    FdStream *s = c->opaque;

    if (!s->c)
        return;
    chr__fd_stop(s);
    chr_restore_terminal();
    in_use = false;
}

static size_t stdio_write(Chr *c, const void *p, size_t n)
{
    return chr__fd_write(c->opaque, p, n);
}
static void stdio_arm(Chr *c) { chr__fd_arm(c->opaque); }

static void stdio_input(Chr *c)
{
    if (c->opened)
        chr__fd_start(c->opaque);
}

static const ChrOps stdio_chr = { .name = "stdio",
                                  .keys = "signal=on|off",
                                  .size = sizeof(FdStream),
                                  .open = stdio_open,
                                  .close = stdio_close,
                                  .write = stdio_write,
                                  .input = stdio_input,
                                  .arm = stdio_arm };
CHR_BACKEND(stdio_chr);
