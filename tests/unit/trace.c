/* tests/unit/trace.c - the flight recorder, patterns, log items. */
#include "tests/lib/t.h"
#include "util/trace.h"
#include <glib/gstdio.h>

TRACE_POINT(probe, "unit.probe", "a %" PRIu64 " b %#" PRIx64);

static void recorder(Vm *vm)
{
    GString *s = g_string_new(NULL);

    for (unsigned i = 0; i < 10000; i++)
        trace(&probe, "me", i, 0x10, 0, 0);
    flight_dump(s, 2);
    check(strstr(s->str, "me unit.probe a 9999 b 0x10"));
    check(strstr(s->str, "a 9998") && !strstr(s->str, "a 9997"));
    g_string_free(s, TRUE);
}
TEST("trace/recorder", recorder);

static void log_to_file(Vm *vm)
{
    g_autofree char *path = g_strdup_printf("/tmp/t-trace.%d", (int)g_random_int_range(0, 1 << 30)), *text = NULL;

    check(log_open(path, &abort_on_error));
    check(trace_enable("unit.*", true) && !trace_enable("nothing.like.this", true));
    trace(&probe, NULL, 7, 8, 0, 0);
    check(log_set("int,cpu_reset", &abort_on_error) && log_on(LOG_INT) && !log_on(LOG_EXEC));
    check(!log_set("nonsense", NULL) && log_on(LOG_INT));
    check(g_file_get_contents(path, &text, NULL, NULL));
    check_str(text, "unit.probe a 7 b 0x8\n");
    g_unlink(path);
}
TEST("trace/log", log_to_file);
