/* util/error.c - errors with a hint, a cause and an origin. */
#include "util/error.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct Error {
    char *message, *hint, *chain; /* chain: message and causes in one line, made on demand */
    const char *qmp_class, *file;
    int line;
    Error *cause;
};

static Error abort_mark, die_mark; /* only their addresses matter */
Error *abort_on_error = &abort_mark;
Error *die_on_error = &die_mark;

void error_free(Error *e)
{
    while (e && e != &abort_mark && e != &die_mark) {
        Error *cause = e->cause;

        g_free(e->message);
        g_free(e->hint);
        g_free(e->chain);
        g_free(e);
        e = cause;
    }
}

const char *error_text(const Error *e)
{
    Error *w = (Error *)(uintptr_t)e;

    if (!e->cause)
        return e->message;
    if (!w->chain)
        w->chain = g_strconcat(e->message, ": ", error_text(e->cause), NULL);
    return w->chain;
}

const char *error_hint_text(const Error *e)
{
    for (; e; e = e->cause)
        if (e->hint)
            return e->hint;
    return NULL;
}

const char *error_qmp_class(const Error *e)
{
    for (; e; e = e->cause)
        if (e->qmp_class)
            return e->qmp_class;
    return "GenericError";
}

/* Of the process, as stderr is. */
static struct Style {
    const char *program;
    char *guest;
    bool stamp, one_line;
} style = { "menura", NULL, false, false };

void error_style(const char *program, bool stamp, const char *guest)
{
    style.program = program ? program : style.program;
    style.one_line |= program != NULL;
    style.stamp = stamp;
    g_free(style.guest);
    style.guest = g_strdup(guest);
}

static void begin(GString *s)
{
    if (style.stamp) {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        g_autofree char *text = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S.%fZ ");

        g_string_append(s, text);
    }
    if (style.guest)
        g_string_append_printf(s, "%s ", style.guest);
    g_string_append_printf(s, "%s: ", style.program);
}

static void print(const Error *e)
{
    GString *s = g_string_new(NULL);
    const char *hint = error_hint_text(e);

    begin(s);
    g_string_append(s, error_text(e));
    if (hint)
        g_string_append_printf(s, style.one_line ? " (%s)" : "\nhint: %s", hint);
    g_string_append_c(s, '\n');
    fputs(s->str, stderr);
    g_string_free(s, TRUE);
}

void error_report_free(Error *e)
{
    if (!e)
        return;
    print(e);
    error_free(e);
}

static bool is_fatal(Error **err) { return err == &abort_on_error || err == &die_on_error; }

/* A fatal destination: hints come after the message, so it is too late for them; the text is not. */
static void give_up(Error **err, Error *e)
{
    print(e);
    if (err == &abort_on_error) {
        fprintf(stderr, "from %s:%d\n", e->file, e->line);
        abort();
    }
    exit(1);
}

bool error_pass(Error **err, Error *e)
{
    if (is_fatal(err))
        give_up(err, e);
    if (!err) {
        error_free(e);
        return false;
    }
    g_assert(!*err);
    *err = e;
    return false;
}

bool error_set(Error **err, const char *file, int line, int errnum, Error *cause, const char *fmt, ...)
{
    Error *e;
    va_list ap;

    if (!err) {
        error_free(cause);
        return false;
    }
    e = g_new0(Error, 1);
    va_start(ap, fmt);
    e->message = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (errnum) {
        char *full = g_strconcat(e->message, ": ", g_strerror(errnum), NULL);

        g_free(e->message);
        e->message = full;
    }
    e->file = file;
    e->line = line;
    e->cause = cause;
    return error_pass(err, e);
}

static Error *present(Error **err) { return err && !is_fatal(err) ? *err : NULL; }

bool error_hint(Error **err, const char *fmt, ...)
{
    Error *e = present(err);
    va_list ap;

    if (!e)
        return false;
    g_free(e->hint);
    va_start(ap, fmt);
    e->hint = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return false;
}

bool error_class(Error **err, const char *qmp_class)
{
    if (present(err))
        (*err)->qmp_class = qmp_class;
    return false;
}

void warn_report(const char *fmt, ...)
{
    va_list ap;
    g_autofree char *text = NULL;
    GString *s = g_string_new(NULL);

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    begin(s);
    g_string_append_printf(s, "warning: %s\n", text);
    fputs(s->str, stderr);
    g_string_free(s, TRUE);
}
