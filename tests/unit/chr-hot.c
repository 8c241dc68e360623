/* tests/unit/chr-hot.c - back ends made and removed by the monitor; hubs; datagrams; ring buffers. */
#include "chr/chr.h"
#include "tests/lib/qmp.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct User {
    GString *got;
    int breaks;
} User;

static size_t room(void *o) { return 64; }
static void take(void *o, const uint8_t *p, size_t n) { g_string_append_len(((User *)o)->got, (const char *)p, (gssize)n); }
static void event(void *o, ChrEvent e) { ((User *)o)->breaks += e == CHR_BREAK; }
static bool nothing(void *arg) { return true; }

static void spin_until(Vm *vm, bool (*done)(void *arg), void *arg)
{
    guint id = loop_after(vm->loop, MS, nothing, NULL);
    int64_t end = host_now() + 20 * SEC;

    while (!done(arg)) {
        check(host_now() < end);
        loop_iterate(vm->loop, true);
    }
    loop_unwatch(vm->loop, id);
}

static Chr *make(Vm *vm, const char *text)
{
    g_autoptr(Opts) o = opts_parse(text, "backend", &abort_on_error);

    return chr_new(vm, o, &abort_on_error);
}

static void refused(Vm *vm, const char *text, const char *why)
{
    g_autoptr(Opts) o = opts_parse(text, "backend", &abort_on_error);
    Error *err = NULL;

    check(!chr_new(vm, o, &err) && strstr(error_text(err), why));
    error_free(err);
}

/* ---- datagrams ---- */
static int datagrams(char port[16])
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    check(fd >= 0 && !bind(fd, (struct sockaddr *)&at, len) && !getsockname(fd, (struct sockaddr *)&at, &len));
    g_snprintf(port, 16, "%u", ntohs(at.sin_port));
    return fd;
}

static bool has_some(void *arg) { return ((User *)arg)->got->len > 0; }

static void udp(Vm *vm)
{
    char port[16], buf[16];
    int fd = datagrams(port);
    g_autofree char *text = g_strdup_printf("udp,id=u,host=127.0.0.1,port=%s,ipv4=on", port);
    Chr *c = make(vm, text);
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    User u = { g_string_new(NULL), 0 };

    check(chr_attach(c, &(ChrUser){ room, take, event, &u }, &abort_on_error));
    check_eq(chr_write(c, "ping", 4), 4);
    check_eq(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 4);
    check_eq(sendto(fd, "", 0, 0, (struct sockaddr *)&from, len), 0); /* no end of input */
    check_eq(sendto(fd, "pong", 4, 0, (struct sockaddr *)&from, len), 4);
    spin_until(vm, has_some, &u);
    check_str(u.got->str, "pong");
    close(fd);
    for (int i = 0; i < 3; i++) /* nobody is there: lost, not broken */
        check_eq(chr_write(c, "ping", 4), 4);
    chr_free(c);
    g_string_free(u.got, TRUE);
}
TEST("chr/udp", udp);

/* ---- hubs ---- */
static void hub(Vm *vm)
{
    Chr *a = make(vm, "ringbuf,id=a"), *b = make(vm, "ringbuf,id=b"), *h;
    User u = { g_string_new(NULL), 0 };
    g_autoptr(GByteArray) one = NULL, two = NULL;

    h = make(vm, "hub,id=h,chardevs.0=a,chardevs.1=b");
    check(chr_attach(h, &(ChrUser){ room, take, event, &u }, &abort_on_error));
    check(chr_in_use(a) && chr_in_use(b));
    check_eq(chr_write(h, "both", 4), 4);
    one = chr_ring_read(a, 100);
    two = chr_ring_read(b, 100);
    check(one->len == 4 && two->len == 4 && !memcmp(one->data, two->data, 4));
    refused(vm, "hub,id=x,chardevs.0=h", "hub itself");
    refused(vm, "hub,id=x", "needs chardevs.0");
    chr_free(h);
    check(!chr_in_use(a) && !chr_in_use(b));
    g_string_free(u.got, TRUE);
}
TEST("chr/hub", hub);

/* ---- the monitor's ---- */
static void ask(Client *c, const char *request, const char *part)
{
    g_autofree char *line = NULL;

    qmp_send(c, request);
    line = qmp_line(c);
    if (!strstr(line, part))
        t_fail(__FILE__, __LINE__, "%s says %s, wanted %s", request, line, part);
}

#define ADD(id, type, data, part) ask(c, "{'execute': 'chardev-add', 'arguments': {'id': '" id "', 'backend': {'type': '" type "', 'data': {" data "}}}}", part)

#define CHANGE(id, type, data, part) ask(c, "{'execute': 'chardev-change', 'arguments': {'id': '" id "', 'backend': {'type': '" type "', 'data': {" data "}}}}", part)

static void monitor(Vm *unused)
{
    Bench b;
    Client *c;
    g_autofree char *path = NULL, *sock = NULL, *add = NULL;
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    qmp_bench_open(&b, NULL);
    path = qmp_bench_monitor(&b, MONITOR_QMP);
    qmp_bench_start(&b);
    c = qmp_ready(path);
    ADD("r", "ringbuf", "'size': 8", "return");
    ADD("r", "null", "", "already exists");
    ADD("r2", "ringbuf", "'size': 7", "power of two");
    ask(c, "{'execute': 'ringbuf-write', 'arguments': {'device': 'r', 'data': 'aGVsbG8gd29ybGQ=', 'format': 'base64'}}", "return");
    ask(c, "{'execute': 'ringbuf-read', 'arguments': {'device': 'r', 'size': 5}}", "\"return\": \"lo wo\"");
    ask(c, "{'execute': 'ringbuf-read', 'arguments': {'device': 'r', 'size': 9, 'format': 'base64'}}", "\"return\": \"cmxk\"");
    ask(c, "{'execute': 'ringbuf-read', 'arguments': {'device': 'r', 'size': 0}}", "greater than zero");
    ADD("n", "null", "", "return");
    ask(c, "{'execute': 'ringbuf-read', 'arguments': {'device': 'n', 'size': 1}}", "not a ringbuf");
    ADD("h", "hub", "'chardevs': ['r', 'n']", "return");
    ask(c, "{'execute': 'chardev-remove', 'arguments': {'id': 'r'}}", "is busy");
    ask(c, "{'execute': 'chardev-send-break', 'arguments': {'id': 'h'}}", "return");
    ask(c, "{'execute': 'chardev-remove', 'arguments': {'id': 'h'}}", "return");
    ask(c, "{'execute': 'chardev-remove', 'arguments': {'id': 'r'}}", "return");
    ask(c, "{'execute': 'chardev-remove', 'arguments': {'id': 'r'}}", "not found");
    ADD("p", "pty", "", "\"pty\": \"/dev/pts/");
    ADD("u", "udp", "'remote': {'type': 'inet', 'data': {'host': '127.0.0.1', 'port': '9'}}", "return");
    ADD("u2", "udp", "'remote': {'type': 'unix', 'data': {'path': '/x'}}", "of type inet");
    ADD("f", "file", "'out': '/nonexistent/x'", "cannot open");
    ADD("z", "bogus", "", "bogus");
    CHANGE("none", "null", "", "Chardev 'none' does not exist");
    CHANGE("n", "pty", "", "\"pty\": \"/dev/pts/");
    CHANGE("n", "hub", "'chardevs': ['p']", "hotswap is not supported");
    sock = g_build_filename(b.dir, "added", NULL);
    add = g_strdup_printf("{'execute': 'chardev-add', 'arguments': {'id': 's', 'backend': {'type': 'socket', 'data': {'addr': {'type': 'unix', "
                          "'data': {'path': '%s'}}}}}}", sock);
    ask(c, add, "return"); /* a server that waits for nobody */
    g_strlcpy(at.sun_path, sock, sizeof(at.sun_path));
    check(!connect(fd, (struct sockaddr *)&at, sizeof(at)));
    close(fd);
    ask(c, "{'execute': 'chardev-remove', 'arguments': {'id': 's'}}", "return");
    check(access(sock, F_OK));
    qmp_disconnect(c);
    qmp_bench_close(&b);
}
TEST("chr/monitor", monitor);

/* ---- another back end under who sits in front ---- */
static Chr *change(Chr *c, const char *text, Error **err)
{
    g_autoptr(Opts) o = opts_parse(text, "backend", &abort_on_error);

    return chr_change(c, o, err);
}

static void not_changed(Vm *vm, Chr *c, const char *text, const char *why)
{
    Error *err = NULL;

    check(!change(c, text, &err) && strstr(error_text(err), why));
    check(vm_lookup(vm, "chardev", "c") == c);
    error_free(err);
}

typedef struct Front {
    Chr *chr;
    int opened, closed, ready;
} Front;
static void front_take(void *o, const uint8_t *p, size_t n) {}
static void front_event(void *o, ChrEvent e)
{
    ((Front *)o)->opened += e == CHR_OPENED;
    ((Front *)o)->closed += e == CHR_CLOSED;
}
static void front_ready(void *o) { ((Front *)o)->ready++; }
static bool is_ready(void *o) { return ((Front *)o)->ready; }

static void changed(Vm *vm)
{
    Chr *first = make(vm, "ringbuf,id=c"), *last;
    Front f = { first, 0, 0, 0 };
    g_autofree char *dir = g_dir_make_tmp("menura-XXXXXX", NULL), *path = g_build_filename(dir, "s", NULL);
    g_autofree char *sock = g_strdup_printf("socket,id=c,path=%s,server=on,wait=off", path), *read = NULL;
    g_autofree char *file = g_strdup_printf("file,id=c,path=%s/out", dir), *out = g_build_filename(dir, "out", NULL);

    check(chr_attach(first, &(ChrUser){ room, front_take, front_event, &f, &f.chr }, &abort_on_error));
    check_eq(f.opened, 1);
    not_changed(vm, first, "file,id=c,path=/nonexistent/x", "cannot open");
    not_changed(vm, first, "null,id=c,mux=on", "hotswap");
    check(f.chr == first && f.closed == 0);
    check(change(first, sock, &abort_on_error)); /* nobody is connected */
    check(f.chr == vm_lookup(vm, "chardev", "c") && !chr_is_open(f.chr));
    check_eq(f.closed, 1);
    check(change(f.chr, sock, &abort_on_error)); /* the same place again: the file that is there now is the new one's */
    check(!access(path, F_OK));
    chr_want_write(f.chr, front_ready, &f); /* waits on the old one, is called by the new one */
    last = change(f.chr, file, &abort_on_error);
    check(last == f.chr && chr_is_open(last));
    check_eq(f.opened, 2);
    check(access(path, F_OK)); /* and went with it */
    spin_until(vm, is_ready, &f);
    check_eq(chr_write(last, "written", 7), 7);
    chr_detach(last, &f);
    check(chr_attach(last, &(ChrUser){ room, front_take, NULL, &f }, &abort_on_error));
    not_changed(vm, last, "null,id=c", "does not support");
    chr_free(last);
    check(g_file_get_contents(out, &read, NULL, NULL));
    check_str(read, "written");
    unlink(out);
    rmdir(dir);
}
TEST("chr/change", changed);
