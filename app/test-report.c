/* app/test-report.c - the verdict of menura run --test as JSON and as JUnit's XML. */
#include "app/test-priv.h"
#include "util/jval.h"

static void write_file(const char *option, const char *path, const GString *text)
{
    GError *e = NULL;

    if (g_file_set_contents(path, text->str, (gssize)text->len, &e))
        return;
    warn_report("run: %s %s: %s", option, path, e->message);
    g_error_free(e);
}

/* What a serial port says need not be UTF-8, nor fit into XML. */
static char *readable(const char *text, size_t n)
{
    char *s = g_utf8_make_valid(text, (gssize)n);

    for (char *p = s; *p; p++)
        if ((unsigned char)*p < 0x20 && *p != '\n' && *p != '\t')
            *p = *p == '\r' ? ' ' : '?';
    return s;
}

static void set_text(JVal *o, const char *key, const char *text)
{
    if (text)
        j_set(o, key, j_string(text));
}

static void write_json(const TestPlan *p, const TestResult *r)
{
    g_autoptr(JVal) o = j_object();
    g_autoptr(GString) s = g_string_new(NULL);
    g_autofree char *console = readable(r->console->str, r->console->len);

    j_set(o, "image", j_string(p->image));
    j_set(o, "verdict", j_string(r->verdict));
    j_set(o, "status", j_int(r->status));
    j_set(o, "seconds", j_double(r->seconds));
    j_set(o, "why", j_string(r->why));
    set_text(o, "expect", p->expect);
    set_text(o, "matched", r->matched);
    if (r->report) {
        JVal *a = j_object();

        set_text(a, "reason", r->reason);
        set_text(a, "cause", r->cause);
        set_text(a, "report", r->report);
        j_set(o, "autopsy", a);
    }
    j_set(o, "console", j_string(console));
    j_write(o, s, true);
    g_string_append_c(s, '\n');
    write_file("--json", p->json, s);
}

static void write_junit(const TestPlan *p, const TestResult *r)
{
    g_autoptr(GString) s = g_string_new("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    bool bad = r->status != 0, broken = r->status == STATUS_USAGE || r->status == STATUS_BUG;
    g_autofree char *name = g_markup_escape_text(p->image, -1), *why = g_markup_escape_text(r->why, -1);
    g_autofree char *console = readable(r->console->str, r->console->len), *xml = g_markup_escape_text(console, -1);
    g_autofree char *report = r->report ? readable(r->report, strlen(r->report)) : g_strdup(""), *report_xml = g_markup_escape_text(report, -1);

    g_string_append_printf(s, "<testsuite name=\"menura\" tests=\"1\" failures=\"%d\" errors=\"%d\" time=\"%.3f\">\n", bad && !broken, broken, r->seconds);
    g_string_append_printf(s, "  <testcase classname=\"menura.run\" name=\"%s\" time=\"%.3f\">\n", name, r->seconds);
    if (bad)
        g_string_append_printf(s, "    <%s type=\"%s\" message=\"%s\">%s</%s>\n", broken ? "error" : "failure", r->verdict, why, report_xml,
                               broken ? "error" : "failure");
    g_string_append_printf(s, "    <system-out>%s</system-out>\n  </testcase>\n</testsuite>\n", xml);
    write_file("--junit", p->junit, s);
}

void test__report(const TestPlan *p, const TestResult *r)
{
    if (p->json)
        write_json(p, r);
    if (p->junit)
        write_junit(p, r);
}
