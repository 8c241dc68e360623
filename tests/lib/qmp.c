/* tests/lib/qmp.c - see qmp.h. Single quotes stand for double ones in requests and expectations. */
#include "tests/lib/qmp.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_MS = 60 * 1000 };

void qmp_bench_open(Bench *b, void (*make)(Vm *vm))
{
    b->vm = t_vm();
    b->dir = g_dir_make_tmp("menura-qmp.XXXXXX", NULL);
    b->monitors = 0;
    if (make)
        make(b->vm);
}

void qmp_bench_close(Bench *b)
{
    vm_free(b->vm);
    rmdir(b->dir);
    g_free(b->dir);
}

char *qmp_bench_monitor(Bench *b, MonitorMode mode)
{
    g_autofree char *id = g_strdup_printf("m%u", b->monitors++);
    char *path = g_build_filename(b->dir, id, NULL);
    g_autofree char *text = g_strdup_printf("unix:%s,server=on,wait=off", path);
    Chr *c = chr_new_short(b->vm, id, text, &abort_on_error);

    check(monitor_new(b->vm, c, mode, &abort_on_error));
    return path;
}

void qmp_bench_start(Bench *b) { check(vm_start(b->vm, true, &abort_on_error)); }

Client *qmp_connect(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    Client *c = g_new0(Client, 1);

    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    c->got = g_string_new(NULL);
    g_strlcpy(un.sun_path, path, sizeof(un.sun_path));
    check(!connect(c->fd, (struct sockaddr *)&un, sizeof(un)));
    return c;
}

void qmp_disconnect(Client *c)
{
    close(c->fd);
    g_string_free(c->got, TRUE);
    g_free(c);
}

void qmp_send(Client *c, const char *text)
{
    size_t n = strlen(text);

    while (n) {
        ssize_t k = write(c->fd, text, n);

        check(k > 0);
        text += k;
        n -= (size_t)k;
    }
}

char *qmp_until(Client *c, const char *end)
{
    for (;;) {
        const char *at = strstr(c->got->str, end);
        struct pollfd pf = { c->fd, POLLIN, 0 };
        char buf[65536];
        ssize_t n;

        if (at) {
            char *text = g_strndup(c->got->str, (size_t)(at - c->got->str) + strlen(end));

            g_string_erase(c->got, 0, (gssize)strlen(text));
            return text;
        }
        n = poll(&pf, 1, PATIENCE_MS) > 0 ? read(c->fd, buf, sizeof(buf)) : -1;
        if (n <= 0)
            t_fail(__FILE__, __LINE__, "no '%s' came; so far: %s", end, c->got->str);
        g_string_append_len(c->got, buf, n);
    }
}

char *qmp_line(Client *c)
{
    char *line = qmp_until(c, "\r\n");

    line[strlen(line) - 2] = 0;
    return line;
}

JVal *qmp_ask(Client *c, const char *request)
{
    qmp_send(c, request);
    for (;;) {
        g_autofree char *line = qmp_line(c), *why = NULL;
        JVal *v = wire_parse(line, &why);

        if (!v)
            t_fail(__FILE__, __LINE__, "%s: %s", why, line);
        if (j_get(v, "return") || j_get(v, "error"))
            return v;
        j_free(v);
    }
}

bool qmp_matches(const JVal *got, const JVal *want)
{
    if (!got || got->kind != want->kind)
        return false;
    if (want->kind == J_OBJECT) {
        for (size_t i = 0; i < j_len(want); i++)
            if (!qmp_matches(j_get(got, j_at(want, i)->key), j_at(want, i)))
                return false;
        return true;
    }
    if (want->kind == J_LIST) {
        for (size_t i = 0; i < j_len(want); i++)
            if (i >= j_len(got) || !qmp_matches(j_at(got, i), j_at(want, i)))
                return false;
        return j_len(got) == j_len(want);
    }
    return want->yes == got->yes && !g_strcmp0(want->text, got->text);
}

void qmp_expect(Client *c, const char *request, const char *want)
{
    g_autofree char *why = NULL;
    g_autoptr(JVal) reply = qmp_ask(c, request), w = wire_parse(want, &why);
    g_autofree char *text = j_text(reply);

    if (!w)
        t_fail(__FILE__, __LINE__, "%s: %s", why, want);
    if (!qmp_matches(j_get(reply, "error") ? reply : j_get(reply, "return"), w))
        t_fail(__FILE__, __LINE__, "%s answers %s, not %s", request, text, want);
}

Client *qmp_ready(const char *path)
{
    Client *c = qmp_connect(path);
    g_autofree char *hello = qmp_line(c);

    check(g_str_has_prefix(hello, "{\"QMP\": "));
    qmp_expect(c, "{'execute': 'qmp_capabilities'}", "{}");
    return c;
}
