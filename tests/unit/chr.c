/* tests/unit/chr.c - character back ends: sockets, back-pressure, mux, short forms, telnet. */
#include "chr/chr.h"
#include "tests/lib/t.h"
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

typedef struct User {
    GString *got;
    size_t room;
    int opened, closed, breaks, in, out;
} User;

static size_t room(void *o) { return ((User *)o)->room; }

static void take(void *o, const uint8_t *p, size_t n)
{
    User *u = o;

    check(n <= u->room);
    g_string_append_len(u->got, (const char *)p, (gssize)n);
    u->room -= n;
}

static void event(void *o, ChrEvent e)
{
    User *u = o;
    int *const count[] = { [CHR_OPENED] = &u->opened,
                           [CHR_CLOSED] = &u->closed,
                           [CHR_BREAK] = &u->breaks,
                           [CHR_MUX_IN] = &u->in,
                           [CHR_MUX_OUT] = &u->out };

    (*count[e])++;
}

static void attach(Chr *c, User *u, size_t n)
{
    *u = (User){ .got = g_string_new(NULL), .room = n };
    check(chr_attach(c, &(ChrUser){ room, take, event, u }, &abort_on_error));
}

static bool nothing(void *arg) { return true; }

static void spin(Vm *vm, int ms)
{
    guint id = loop_after(vm->loop, MS, nothing, NULL);
    int64_t end = host_now() + ms * MS;

    while (host_now() < end)
        loop_iterate(vm->loop, true);
    loop_unwatch(vm->loop, id);
}

static int connect_unix(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(un.sun_path, path, sizeof(un.sun_path));
    check(!connect(fd, (struct sockaddr *)&un, sizeof(un)));
    return fd;
}

static void sockets(Vm *vm)
{
    g_autofree char *dir = g_dir_make_tmp("menura-chr.XXXXXX", NULL),
                    *path = g_build_filename(dir, "s", NULL);
    g_autofree char *text = g_strdup_printf("unix:%s,server,nowait", path);
    Chr *c = chr_new_short(vm, "c0", text, &abort_on_error);
    char buf[64];
    User u;
    int fd;

    attach(c, &u, 5);
    check(!chr_is_open(c));
    check_eq(chr_write(c, "lost", 4), 4);
    for (int round = 0; round < 2; round++) { /* it listens again after a peer left */
        fd = connect_unix(path);
        spin(vm, 20);
        check(chr_is_open(c) && u.opened == round + 1);
        u.room = 5;
        g_string_truncate(u.got, 0);
        check_eq(write(fd, "hello world", 11), 11);
        spin(vm, 20);
        check_str(u.got->str, "hello"); /* back-pressure */
        u.room = 100;
        chr_accept_input(c);
        spin(vm, 20);
        check_str(u.got->str, "hello world");
        check_eq(chr_write(c, "answer", 6), 6);
        check_eq(read(fd, buf, sizeof(buf)), 6);
        check(!memcmp(buf, "answer", 6));
        close(fd);
        u.room = 100;
        chr_accept_input(c);
        spin(vm, 20);
        check(!chr_is_open(c) && u.closed == round + 1);
    }
    check(vm_lookup(vm, "chardev", "c0") == c);
    chr_free(c);
    check(!vm_lookup(vm, "chardev", "c0") && access(path, F_OK));
    g_rmdir(dir);
    g_string_free(u.got, TRUE);
}
TEST("chr/socket", sockets);

static void on_ready(void *arg) { ++*(int *)arg; }

/* A reader that does not read: what was written all arrives, in order, and nobody blocks. */
static void slow_reader(Vm *vm)
{
    g_autofree char *dir = g_dir_make_tmp("menura-chr.XXXXXX", NULL),
                    *path = g_build_filename(dir, "s", NULL);
    g_autofree char *text = g_strdup_printf("unix:%s,server=on,wait=off", path);
    Chr *c = chr_new_short(vm, "c0", text, &abort_on_error);
    g_autofree uint8_t *data = g_malloc(900000), *back = g_malloc(2000000);
    size_t sent, got = 0, expect;
    int fd = connect_unix(path), ready = 0;

    spin(vm, 20);
    for (size_t i = 0; i < 900000; i++)
        data[i] = (uint8_t)(i * 31 + i / 1000);
    sent = chr_write(c, data, 900000);
    check(sent > 0 && sent < 900000);
    chr_write_all(c, data + sent, 900000 - sent);
    check_eq(chr_write(c, data, 10), 0);
    chr_want_write(c, on_ready, &ready);
    expect = 900000;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 5000 && got < expect; i++) {
        ssize_t n = read(fd, back + got, 2000000 - got);

        got += n > 0 ? (size_t)n : 0;
        loop_iterate(vm->loop, false);
    }
    check_eq(got, expect);
    check(!memcmp(back, data, expect));
    check_eq(ready, 1);
    close(fd);
    chr_free(c);
    g_rmdir(dir);
}
TEST("chr/slow-reader", slow_reader);

static void fd_passing(Vm *vm)
{
    int pair[2], pipe_fds[2];
    g_autofree char *text = NULL;
    union {
        struct cmsghdr h;
        char room[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec one = { (void *)"x", 1 };
    struct msghdr m = {
        .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
    };
    struct cmsghdr *h;
    Opts *o;
    Chr *c;
    User u;
    int fd;

    check(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair) && !pipe(pipe_fds));
    text = g_strdup_printf("socket,id=f,fd=%d", pair[0]);
    o = opts_parse(text, "backend", &abort_on_error);
    c = chr_new(vm, o, &abort_on_error);
    opts_free(o);
    attach(c, &u, 10);
    h = CMSG_FIRSTHDR(&m);
    *h = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                           .cmsg_type = SCM_RIGHTS,
                           .cmsg_len = CMSG_LEN(sizeof(int)) };
    memcpy(CMSG_DATA(h), &pipe_fds[1], sizeof(int));
    check_eq(sendmsg(pair[1], &m, 0), 1);
    spin(vm, 20);
    check_str(u.got->str, "x");
    fd = chr_take_fd(c);
    check(fd >= 0 && write(fd, "y", 1) == 1);
    check_eq(chr_take_fd(c), -1);
    close(fd);
    close(pair[1]);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    chr_free(c);
    g_string_free(u.got, TRUE);
}
TEST("chr/fd-passing", fd_passing);

static void mux(Vm *vm)
{
    int pair[2];
    g_autofree char *text = NULL;
    char buf[1024];
    Opts *o;
    Chr *c;
    User a, b;

    check(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    text = g_strdup_printf("socket,id=m,fd=%d,mux=on", pair[0]);
    o = opts_parse(text, "backend", &abort_on_error);
    c = chr_new(vm, o, &abort_on_error);
    opts_free(o);
    attach(c, &a, 100);
    attach(c, &b, 100); /* the last has the focus */
    check(b.in == 1 && a.out >= 1);
    check_eq(write(pair[1], "to b\001cto a\001\001\001b", 14), 14);
    spin(vm, 20);
    check_str(b.got->str, "to b");
    check_str(a.got->str, "to a\001");
    check(a.breaks == 1 && b.breaks == 0);
    check_eq(write(pair[1], "\001h", 2), 2);
    spin(vm, 20);
    check(read(pair[1], buf, sizeof(buf)) > 50);
    a.room = 0; /* typed while nobody takes: kept */
    check_eq(write(pair[1], "later", 5), 5);
    spin(vm, 20);
    check_str(a.got->str, "to a\001");
    check_eq(write(pair[1], "\001cyours", 7), 7); /* .. for the one it was typed to */
    spin(vm, 20);
    check_str(b.got->str, "to byours");
    check_eq(write(pair[1], "\001c", 2), 2);
    spin(vm, 20);
    check_str(a.got->str, "to a\001");
    a.room = 100;
    chr_accept_input(c);
    check_str(a.got->str, "to a\001later");
    check_eq(write(pair[1], "\001t", 2), 2);
    spin(vm, 20);
    chr_write(c, "stamp\n", 6);
    memset(buf, 0, sizeof(buf));
    check(read(pair[1], buf, sizeof(buf) - 1) > 0);
    check(buf[0] == '[' && strstr(buf, "] stamp\n"));
    chr_detach(c, &a);
    chr_free(c);
    close(pair[1]);
    g_string_free(a.got, TRUE);
    g_string_free(b.got, TRUE);
}
TEST("chr/mux", mux);

static void tcp_telnet(Vm *vm)
{
    Chr *s = chr_new_short(vm, "s", "telnet:127.0.0.1:0,server=on,wait=off", &abort_on_error), *c;
    g_autofree char *where = chr_describe(s), *text = NULL;
    User us, uc;

    check(g_str_has_prefix(where, "disconnected:tcp:127.0.0.1:"));
    text = g_strdup_printf("tcp:127.0.0.1:%d,reconnect=1",
                           (int)g_ascii_strtoull(strrchr(where, ':') + 1, NULL, 10));
    c = chr_new_short(vm, "c", text, &abort_on_error);
    attach(s, &us, 100);
    attach(c, &uc, 100);
    spin(vm, 50);
    check(chr_is_open(s) && chr_is_open(c));
    check_eq(uc.got->len, 12); /* the hello */
    chr_write(c, "a\377\377b\377\373\001c\377\363d", 11);
    chr_write(s, "x\377y", 3);
    spin(vm, 50);
    check_str(us.got->str, "a\377bcd");
    check_eq(us.breaks, 1);
    check_str(uc.got->str + 12, "x\377\377y");
    chr_free(s);
    spin(vm, 50);
    check(!chr_is_open(c));
    chr_free(c);
    g_string_free(us.got, TRUE);
    g_string_free(uc.got, TRUE);
}
TEST("chr/tcp-telnet", tcp_telnet);

static void others(Vm *vm)
{
    static const char *const bad[] = { "bogus",           "chardev:none",
                                       "tcp:host",        "file:/nonexistent/dir/x",
                                       "unix:/x,bogus=1", "null,size=1" };
    g_autofree char *dir = g_dir_make_tmp("menura-chr.XXXXXX", NULL),
                    *path = g_build_filename(dir, "f", NULL);
    g_autofree char *text = g_strdup_printf("file:%s", path), *content = NULL;
    Chr *c = chr_new_short(vm, "f", text, &abort_on_error),
        *r = chr_new_short(vm, "r", "ringbuf:4", NULL);
    GByteArray *ring;
    Error *e;
    User u;

    chr_write(c, "log\n", 4);
    chr_free(c);
    check(g_file_get_contents(path, &content, NULL, NULL));
    check_str(content, "log\n");
    g_unlink(path);
    g_rmdir(dir);
    check(r && chr_ring_read(r, 1) != NULL);
    chr_write(r, "abcdef", 6);
    ring = chr_ring_read(r, 100);
    check(ring->len == 4 && !memcmp(ring->data, "cdef", 4));
    g_byte_array_free(ring, TRUE);
    check(!chr_new_short(vm, "n", "none", &abort_on_error));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        e = NULL;
        if (chr_new_short(vm, "bad", bad[i], &e) || !e)
            t_fail(__FILE__, __LINE__, "%s was accepted", bad[i]);
        error_free(e);
    }
    attach(r, &u, 1);
    check(!chr_attach(r, &(ChrUser){ 0 }, NULL));
    check(chr_new_short(vm, "x", "chardev:r", &abort_on_error) == r);
    g_string_free(u.got, TRUE);
}
TEST("chr/others", others);

static void ptys(Vm *vm)
{
    Chr *c = chr_new_short(vm, "p", "pty", &abort_on_error);
    char buf[16];
    User u;
    int fd;

    attach(c, &u, 100);
    check(!chr_is_open(c));
    fd = open(chr_pty_path(c), O_RDWR | O_NOCTTY);
    check(fd >= 0);
    spin(vm, 400);
    check(chr_is_open(c));
    check_eq(write(fd, "in\n", 3), 3);
    chr_write(c, "out", 3);
    spin(vm, 30);
    check_str(u.got->str, "in\n");
    check_eq(read(fd, buf, sizeof(buf)), 3);
    close(fd);
    spin(vm, 30);
    check(!chr_is_open(c));
    chr_free(c);
    g_string_free(u.got, TRUE);
}
TEST("chr/pty", ptys);

/* ---- the terminal comes back, however the process ends ---- */
static pid_t on_terminal(int master, Vm *vm)
{
    pid_t pid = fork();

    if (pid)
        return pid;
    setsid();
    for (int fd = 0, slave = open(ptsname(master), O_RDWR); fd < 3; fd++)
        dup2(slave, fd);
    for (int sig = 1; sig < 32; sig++)
        signal(sig, SIG_DFL);
    Chr *c = chr_new_short(vm, "s", "mon:stdio", &abort_on_error);

    chr_write_all(c, "ready", 5);
    for (;;)
        loop_iterate(vm->loop, true);
}

static bool is_raw(int fd)
{
    struct termios t;

    check(!tcgetattr(fd, &t));
    return !(t.c_lflag & (ICANON | ECHO | ISIG));
}

static void wait_for_text(int fd, const char *text)
{
    char buf[64] = "";
    size_t n = 0;

    while (!strstr(buf, text) && n < sizeof(buf) - 1) {
        ssize_t k = read(fd, buf + n, sizeof(buf) - 1 - n);

        check(k > 0);
        n += (size_t)k;
    }
}

static void terminal(Vm *vm)
{
    static const int ends[] = { SIGTERM, SIGINT, SIGHUP, SIGSEGV };

    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        int master = posix_openpt(O_RDWR | O_NOCTTY), slave, status;
        pid_t pid;

        check(master >= 0 && !grantpt(master) && !unlockpt(master));
        slave = open(ptsname(master), O_RDWR | O_NOCTTY); /* keeps the terminal alive to look at */
        check(!is_raw(slave));
        pid = on_terminal(master, vm);
        wait_for_text(master, "ready");
        check(is_raw(slave));
        kill(pid, SIGTSTP);
        check(waitpid(pid, &status, WUNTRACED) == pid);
        if (WIFSTOPPED(status)) { /* an orphaned group is not stopped by the kernel */
            check(!is_raw(slave));
            kill(pid, SIGCONT);
            for (int k = 0; k < 200 && !is_raw(slave); k++)
                g_usleep(5000);
            check(is_raw(slave));
        }
        kill(pid, ends[i]);
        check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == ends[i]);
        check(!is_raw(slave));
        close(slave);
        close(master);
    }
}
TEST("chr/terminal", terminal);
