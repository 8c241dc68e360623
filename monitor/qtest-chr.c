/*
 * monitor/qtest-chr.c - qtest on a character device. A reader that is slow stops our reading, so that no answer is
 * lost; a line longer than QTEST_LINE_MAX is answered by FAIL and forgotten.
 */
#include "monitor/qtest.h"
#include <string.h>

enum { PIECE = 65536 };
typedef struct Server {
    Vm *vm;
    Chr *chr;
    Qtest *q;
    GString *in, *out;
    bool overlong;
    guint waiting;
    FILE *log;
    bool close_log;
    int64_t since;
} Server;

static void log_line(Server *s, char who, const char *text, size_t n)
{
    int64_t t = (host_now() - s->since) / 1000;

    if (s->log)
        fprintf(s->log, "[%c +%" PRId64 ".%06" PRId64 "] %.*s\n", who, t / 1000000, t % 1000000, (int)n, text);
}

static void flush(void *arg)
{
    Server *s = arg;

    s->waiting = 0;
    while (s->out->len) {
        size_t k = chr_write(s->chr, s->out->str, MIN(s->out->len, PIECE));

        g_string_erase(s->out, 0, (gssize)k);
        if (!k) {
            s->waiting = chr_want_write(s->chr, flush, s);
            return;
        }
    }
    chr_accept_input(s->chr);
}

static void send(void *arg, const char *line, size_t n)
{
    Server *s = arg;

    log_line(s, 'S', line, n - 1);
    if (!chr_is_open(s->chr))
        return;
    g_string_append_len(s->out, line, (gssize)n);
    if (!s->waiting)
        flush(s);
}

static size_t can_take(void *arg) { return ((Server *)arg)->waiting ? 0 : PIECE; }

static void line(Server *s)
{
    size_t n = s->in->len;

    while (n && (s->in->str[n - 1] == '\r' || s->in->str[n - 1] == ' '))
        n--;
    log_line(s, 'R', s->overlong ? "(too long)" : s->in->str, s->overlong ? 10 : n);
    if (s->overlong)
        send(s, "FAIL the line is too long\n", 26);
    else
        qtest_line(s->q, s->in->str, n);
    s->overlong = false;
    g_string_truncate(s->in, 0);
}

static void take(void *arg, const uint8_t *p, size_t n)
{
    Server *s = arg;

    while (n) {
        const uint8_t *end = memchr(p, '\n', n);
        size_t k = end ? (size_t)(end - p) : n;

        s->overlong |= s->in->len + k > QTEST_LINE_MAX;
        if (s->overlong)
            g_string_truncate(s->in, 0);
        else
            g_string_append_len(s->in, (const char *)p, (gssize)k);
        if (end) {
            line(s);
            k++;
        }
        p += k;
        n -= k;
    }
}

static void event(void *arg, ChrEvent e)
{
    Server *s = arg;

    if (e != CHR_OPENED && e != CHR_CLOSED)
        return;
    g_string_truncate(s->in, 0);
    g_string_truncate(s->out, 0);
    s->overlong = false;
    s->since = host_now();
    log_line(s, 'I', e == CHR_OPENED ? "OPENED" : "CLOSED", 6);
}

static void server_free(void *arg)
{
    Server *s = arg;

    if (s->waiting)
        chr_cancel_write(s->chr, s->waiting);
    chr_detach(s->chr, s);
    g_string_free(s->in, TRUE);
    g_string_free(s->out, TRUE);
    if (s->close_log)
        fclose(s->log);
    g_free(s);
}

bool qtest_serve(Vm *vm, Chr *chr, const char *log, Error **err)
{
    Server *s = g_new0(Server, 1);

    s->vm = vm;
    s->chr = chr;
    s->in = g_string_new(NULL);
    s->out = g_string_new(NULL);
    s->since = host_now();
    s->close_log = log && strcmp(log, "none");
    s->log = !log ? stderr : s->close_log ? fopen(log, "we") : NULL;
    s->q = qtest_new(vm, send, s);
    own(&vm->root, s, server_free);
    if (s->close_log && !s->log) {
        s->close_log = false;
        return fail_errno(err, "-qtest-log %s: cannot open it", log);
    }
    if (s->log)
        setvbuf(s->log, NULL, _IOLBF, 0);
    return chr_attach(chr, &(ChrUser){ can_take, take, event, s }, err);
}
