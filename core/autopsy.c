/* core/autopsy.c - framing a target's findings into one readable page. */
#include "core/autopsy.h"
#include "util/trace.h"
#include <stdio.h>

enum { LAST_EVENTS = 40 };

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
        event_menura_autopsy(vm, &(EventMenuraAutopsy){ (char *)what, first->str, page->str });
    }
    g_string_free(first, TRUE);
    g_string_free(report, TRUE);
    g_string_free(page, TRUE);
    return !meant;
}
