/* core/autopsy.c - framing a target's findings into one readable page. */
#include "core/autopsy.h"
#include "util/trace.h"
#include <stdio.h>

enum { LAST_EVENTS = 400, LAST_LINES = 40 };

static void indent(GString *out, const char *text)
{
    char **lines = g_strsplit(text, "\n", -1);

    for (char **l = lines; *l; l++)
        if (**l)
            g_string_append_printf(out, "  %s\n", *l);
    g_strfreev(lines);
}

/* "  -1.2 us  what": what of it, which says whether two events are the same */
static const char *deed(const char *line)
{
    const char *us = strstr(line, " us  ");

    return us ? us : line;
}

/* The last events; what repeats is one line with a count. */
static void put_events(GString *out)
{
    GString *all = g_string_new(NULL), *run = g_string_new(NULL);
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    char **l, **next;
    char **raw;

    flight_dump(all, LAST_EVENTS);
    raw = g_strsplit(all->str, "\n", -1);
    for (l = raw; *l && **l; l = next) {
        unsigned n = 1;

        for (next = l + 1; *next && **next && !strcmp(deed(*l), deed(*next)); next++)
            n++;
        g_string_assign(run, *l);
        if (n > 1)
            g_string_append_printf(run, " (%u times)", n);
        g_ptr_array_add(lines, g_strdup(run->str));
    }
    for (guint i = lines->len > LAST_LINES ? lines->len - LAST_LINES : 0; i < lines->len; i++)
        g_string_append_printf(out, "  %s\n", (char *)lines->pdata[i]);
    g_ptr_array_free(lines, TRUE);
    g_strfreev(raw);
    g_string_free(run, TRUE);
    g_string_free(all, TRUE);
}

bool autopsy_report(Vm *vm, Cpu *cpu, const Exit *e, const char *what)
{
    GString *first = g_string_new(NULL), *report = g_string_new(NULL), *page = g_string_new(NULL);
    bool meant = false;

    if (cpu) {
        cpu_sync(cpu, RG_ALL);
        if (cpu->target->autopsy)
            meant = cpu->target->autopsy(cpu, e, first, report);
        if (cpu->accel->past)
            cpu->accel->past(cpu, report);
    }
    if (!meant) {
        g_string_append_printf(page, "menura: %s: %s\n", what, first->len ? first->str : "the cause is not known");
        if (e && e->why)
            g_string_append_printf(page, "  %s\n", e->why);
        indent(page, report->str);
        g_string_append(page, "  last events:\n");
        put_events(page);
        fputs(page->str, stderr);
        event_menura_autopsy(vm, &(EventMenuraAutopsy){ (char *)what, first->str, page->str });
    }
    g_string_free(first, TRUE);
    g_string_free(report, TRUE);
    g_string_free(page, TRUE);
    return !meant;
}
