/* core/autopsy.c - framing a target's findings into one readable page. */
#include "core/autopsy.h"
#include "util/trace.h"
#include <json-glib/json-glib.h>
#include <stdio.h>

enum { LAST_EVENTS = 40 };

static char *quoted(const char *s)
{
    JsonNode *n = json_node_init_string(json_node_alloc(), s);
    char *t = json_to_string(n, FALSE);

    json_node_unref(n);
    return t;
}

static void indent(GString *out, const char *text)
{
    char **lines = g_strsplit(text, "\n", -1);

    for (char **l = lines; *l; l++)
        if (**l)
            g_string_append_printf(out, "  %s\n", *l);
    g_strfreev(lines);
}

bool autopsy_report(Vm *vm, Cpu *cpu, const Exit *e, const char *what)
{
    GString *first = g_string_new(NULL), *report = g_string_new(NULL), *page = g_string_new(NULL);
    g_autofree char *a = NULL, *b = NULL, *c = NULL;
    bool meant = false;

    if (cpu) {
        cpu_sync(cpu, RG_ALL);
        if (cpu->target->autopsy)
            meant = cpu->target->autopsy(cpu, e, first, report);
    }
    if (!meant) {
        g_string_append_printf(page, "menura: %s: %s\n", what, first->len ? first->str : "the cause is not known");
        if (e && e->why)
            g_string_append_printf(page, "  %s\n", e->why);
        indent(page, report->str);
        g_string_append(page, "  last events:\n");
        g_string_truncate(report, 0);
        flight_dump(report, LAST_EVENTS);
        indent(page, report->str);
        fputs(page->str, stderr);
        a = quoted(what);
        b = quoted(first->str);
        c = quoted(page->str);
        vm_event(vm, "MENURA_AUTOPSY", "{\"reason\": %s, \"cause\": %s, \"report\": %s}", a, b, c);
    }
    g_string_free(first, TRUE);
    g_string_free(report, TRUE);
    g_string_free(page, TRUE);
    return !meant;
}
