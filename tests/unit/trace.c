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

static void log_of_some_code(Vm *vm)
{
    check(log_filtered(5));
    check(log_filter("0x1000+0x10,0x2fff-0x10,0xffffffff81000000..0xffffffff81000fff", &abort_on_error));
    check(log_filtered(0x1000) && log_filtered(0x100f) && !log_filtered(0xfff) && !log_filtered(0x1010));
    check(log_filtered(0x2ff0) && log_filtered(0x2fff) && !log_filtered(0x2fef) && !log_filtered(0x3000));
    check(log_filtered(0xffffffff81000000) && log_filtered(0xffffffff81000fff) && !log_filtered(0xffffffff81001000));
    for (const char *const *p = (const char *const[]){ "", "5", "5+", "5+0", "9..5", "5.6", "5+1x", "x+1", NULL }; *p; p++)
        check(!log_filter(*p, NULL));
    check(log_filtered(0x1000) && !log_filtered(5)); /* what was wrong changed nothing */
}
TEST("trace/dfilter", log_of_some_code);
