/* The QMP connection: greeting, negotiation, requests good and bad, order of events, several clients, slow ones. */
#include "tests/lib/qmp.h"
#include <unistd.h>

static void says(Client *c, const char *request, const char *line)
{
    g_autofree char *got = NULL;

    if (request)
        qmp_send(c, request);
    got = qmp_line(c);
    if (strcmp(got, line))
        t_fail(__FILE__, __LINE__, "%s says %s, not %s", request ? request : "(next line)", got, line);
}

static void refuses(Client *c, const char *request, const char *class, const char *desc)
{
    g_autofree char *line = g_strdup_printf("{\"error\": {\"class\": \"%s\", \"desc\": \"%s\"}}", class, desc);

    says(c, request, line);
}

#define GENERIC(request, desc) refuses(c, request, "GenericError", desc)
static const char caps[] = "{'execute': 'qmp_capabilities'}";
static const char is_stopped[] = "{\"return\": {\"running\": false, \"status\": \"prelaunch\"}}";

static void greeting(Vm *unused)
{
    Bench b;
    g_autofree char *path = NULL, *hello = NULL;
    Client *c;

    qmp_bench_open(&b, NULL);
    path = qmp_bench_monitor(&b, MONITOR_QMP);
    qmp_bench_start(&b);
    c = qmp_connect(path);
    hello = qmp_line(c);
    check(g_str_has_prefix(hello, "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 10, \"minor\": 0, \"micro\": 2}, \"package\": \"Menura "));
    check(g_str_has_suffix(hello, "\"}, \"capabilities\": []}}"));
    refuses(c, "{'execute': 'query-status'}", "CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'");
    refuses(c, "{'execute': 'no-such'}", "CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'");
    GENERIC("{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}", "Capability 'oob' is not available");
    says(c, caps, "{\"return\": {}}");
    refuses(c, caps, "CommandNotFound", "Capabilities negotiation is already complete, command ignored");
    says(c, "{'execute': 'query-status'}", is_stopped);
    qmp_disconnect(c);
    c = qmp_connect(path); /* anew */
    g_free(qmp_line(c));
    refuses(c, "{'execute': 'query-status'}", "CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'");
    qmp_disconnect(c);
    qmp_bench_close(&b);
}
TEST("qmp/greeting", greeting);

static void one_client(Bench *b, Client **c)
{
    g_autofree char *path = NULL;

    qmp_bench_open(b, NULL);
    path = qmp_bench_monitor(b, MONITOR_QMP);
    qmp_bench_start(b);
    *c = qmp_ready(path);
}

/* The texts are QEMU's: clients show them, some match them. */
static void bad_requests(Vm *unused)
{
    Bench b;
    Client *c;

    one_client(&b, &c);
    refuses(c, "{'execute': 'foo'}", "CommandNotFound", "The command foo has not been found");
    GENERIC("[1]", "QMP input must be a JSON object");
    GENERIC("3\n", "QMP input must be a JSON object");
    GENERIC("'x'", "QMP input must be a JSON object");
    GENERIC("{'execute': 1}", "QMP input member 'execute' must be a string");
    GENERIC("{'exec': 'stop'}", "QMP input member 'exec' is unexpected");
    GENERIC("{'arguments': {}}", "QMP input lacks member 'execute'");
    GENERIC("{'execute': 'stop', 'foo': 1}", "QMP input member 'foo' is unexpected");
    GENERIC("{'execute': 'stop', 'arguments': []}", "QMP input member 'arguments' must be an object");
    GENERIC("{'execute': 'stop', 'arguments': {'a': 1}}", "Parameter 'a' is unexpected");
    GENERIC("{'execute': 'set-action', 'arguments': {'b': 1}}", "Parameter 'b' is unexpected");
    GENERIC("{'execute': 'set-action', 'arguments': {'panic': 1}}", "Invalid parameter type for 'panic', expected: string");
    GENERIC("{'execute': 'set-action', 'arguments': {'panic': 'x'}}", "Parameter 'panic' does not accept value 'x'");
    GENERIC("{'execute': 'stop',,}\n", "JSON parse error, expecting value");
    GENERIC("{'execute': 'stop', 'execute': 'stop'}", "JSON parse error, duplicate key");
    GENERIC("{'execute': 'system_wakeup'}", "Unable to wake up: guest is not in suspended state");
    says(c, "{'execute': 'query-status'}", is_stopped);
    qmp_disconnect(c);
    qmp_bench_close(&b);
}
TEST("qmp/bad-requests", bad_requests);

static void ids(Vm *unused)
{
    static const char *const good[] = { "1", "18446744073709551615", "\"libvirt-7\"", "null", "{\"a\": [1, 2.50, null, true, -0, 1e3]}" };
    Bench b;
    Client *c;

    one_client(&b, &c);
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *ask = g_strdup_printf("{\"execute\": \"stop\", \"id\": %s}", good[i]);
        g_autofree char *line = g_strdup_printf("{\"return\": {}, \"id\": %s}", good[i]);

        says(c, ask, line);
    }
    says(c, "{'id': 5, 'execute': 'foo'}",
         "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command foo has not been found\"}, \"id\": 5}");
    qmp_disconnect(c);
    qmp_bench_close(&b);
}
TEST("qmp/ids", ids);

/* Not framed: several requests in one write, one request byte by byte, one over many lines. */
static void stream(Vm *unused)
{
    static const char slowly[] = "{\"execute\": \"query-status\"}";
    Bench b;
    Client *c;

    one_client(&b, &c);
    qmp_send(c, "{'execute':'query-status'} {'execute':'query-status'}{\n'execute'\n:\n'query-status'\n}\r\n");
    for (unsigned i = 0; i < 3; i++)
        says(c, NULL, is_stopped);
    for (const char *p = slowly; *p; p++) {
        char one[2] = { *p, 0 };

        qmp_send(c, one);
        g_usleep(300);
    }
    says(c, NULL, is_stopped);
    qmp_disconnect(c);
    qmp_bench_close(&b);
}
TEST("qmp/stream", stream);

static void brackets(Vm *unused)
{
    enum { N = 200 * 1024 };
    g_autofree char *many = g_malloc(N + 2);
    Bench b;
    Client *c;

    memset(many, '[', N);
    g_strlcpy(many + N, "\n", 2);
    one_client(&b, &c);
    GENERIC(many, "JSON parse error, nesting depth limit exceeded");
    says(c, "{'execute': 'query-status'}", is_stopped);
    qmp_disconnect(c);
    qmp_bench_close(&b);
}
TEST("qmp/brackets", brackets);

static void is_event(Client *c, const char *name, const char *data)
{
    g_autofree char *line = qmp_line(c);
    g_autofree char *want = g_strdup_printf("{'event': '%s', 'timestamp': {}%s%s}", name, data ? ", 'data': " : "", data ? data : "");
    g_autoptr(JVal) v = wire_parse(line, NULL), w = wire_parse(want, NULL);
    int64_t seconds = 0, us = -1;

    check(v && w);
    if (!qmp_matches(v, w) || (!data && j_get(v, "data")))
        t_fail(__FILE__, __LINE__, "%s, not %s", line, want);
    check(j_get_s64(j_get(j_get(v, "timestamp"), "seconds"), &seconds) && j_get_s64(j_get(j_get(v, "timestamp"), "microseconds"), &us));
    check(seconds > 1600000000 && us >= 0 && us < 1000000);
}

static void events(Vm *unused)
{
    Bench b;
    g_autofree char *p1 = NULL, *p2 = NULL, *p3 = NULL;
    Client *c, *d, *mute;

    qmp_bench_open(&b, NULL);
    b.vm->cfg.on_shutdown = SHUTDOWN_PAUSE;
    p1 = qmp_bench_monitor(&b, MONITOR_QMP);
    p2 = qmp_bench_monitor(&b, MONITOR_QMP);
    p3 = qmp_bench_monitor(&b, MONITOR_QMP);
    qmp_bench_start(&b);
    c = qmp_ready(p1);
    d = qmp_ready(p2);
    mute = qmp_connect(p3); /* negotiates never: hears no events */
    g_free(qmp_line(mute));
    says(c, "{'execute': 'stop'}", "{\"return\": {}}"); /* stopped already: no event */
    qmp_send(c, "{'execute': 'cont'}");
    is_event(c, "RESUME", NULL); /* before its reply */
    says(c, NULL, "{\"return\": {}}");
    is_event(d, "RESUME", NULL);
    says(d, "{'execute': 'query-status'}", "{\"return\": {\"running\": true, \"status\": \"running\"}}");
    qmp_send(d, "{'execute': 'stop'}");
    is_event(d, "STOP", NULL);
    says(d, NULL, "{\"return\": {}}");
    is_event(c, "STOP", NULL);
    says(c, "{'execute': 'system_reset'}", "{\"return\": {}}");
    is_event(c, "RESET", "{'guest': false, 'reason': 'host-qmp-system-reset'}");
    is_event(d, "RESET", "{'guest': false, 'reason': 'host-qmp-system-reset'}");
    says(c, "{'execute': 'system_powerdown'}", "{\"return\": {}}");
    is_event(c, "POWERDOWN", NULL);
    vm_request(b.vm, VM_SHUTDOWN, CAUSE_GUEST_SHUTDOWN);
    is_event(c, "SHUTDOWN", "{'guest': true, 'reason': 'guest-shutdown'}");
    says(c, "{'execute': 'cont'}", "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Resetting the Virtual Machine is required\"}}");
    says(mute, "{'execute': 'qmp_capabilities'}", "{\"return\": {}}"); /* and nothing came before */
    qmp_disconnect(c);
    qmp_disconnect(d);
    qmp_disconnect(mute);
    qmp_bench_close(&b);
}
TEST("qmp/events", events);

/* A client that does not read: nothing is lost, and the VM does not wait for it. */
static void slow_reader(Vm *unused)
{
    enum { N = 300 };
    Bench b;
    g_autofree char *path = NULL, *other = NULL;
    Client *c, *d;

    qmp_bench_open(&b, NULL);
    path = qmp_bench_monitor(&b, MONITOR_QMP);
    other = qmp_bench_monitor(&b, MONITOR_QMP);
    qmp_bench_start(&b);
    c = qmp_ready(path);
    d = qmp_ready(other);
    for (unsigned i = 0; i < N; i++) {
        g_autofree char *ask = g_strdup_printf("{'execute': 'query-qmp-schema', 'id': %u}", i);

        qmp_send(c, ask);
    }
    says(d, "{'execute': 'query-status'}", is_stopped);
    for (unsigned i = 0; i < N; i++) {
        g_autofree char *line = qmp_line(c), *end = g_strdup_printf("}], \"id\": %u}", i);

        check(g_str_has_prefix(line, "{\"return\": [{"));
        check(g_str_has_suffix(line, end));
    }
    qmp_disconnect(c);
    qmp_disconnect(d);
    qmp_bench_close(&b);
}
TEST("qmp/slow-reader", slow_reader);

static void pretty(Vm *unused)
{
    Bench b;
    g_autofree char *path = NULL, *text = NULL;
    Client *c;

    qmp_bench_open(&b, NULL);
    path = qmp_bench_monitor(&b, MONITOR_QMP_PRETTY);
    qmp_bench_start(&b);
    c = qmp_connect(path);
    g_free(qmp_until(c, "\n}\r\n"));
    qmp_send(c, caps);
    g_free(qmp_until(c, "\n}\r\n"));
    qmp_send(c, "{'execute': 'query-status'}");
    text = qmp_until(c, "\n}\r\n");
    check_str(text, "{\n    \"return\": {\n        \"running\": false,\n        \"status\": \"prelaunch\"\n    }\n}\r\n");
    qmp_disconnect(c);
    qmp_bench_close(&b);
}
TEST("qmp/pretty", pretty);
