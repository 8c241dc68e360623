/*
 * app/later.c - options whose meaning waits until what they refer to exists. Each keeps its place on the command line
 * for messages: "-device foo,id=x: ..".
 */
#include "app/opt.h"

typedef struct Later {
    const Option *option;
    char *text;
    Opts *opts;
} Later;

void app_later_free(gpointer p)
{
    Later *l = p;

    g_free(l->text);
    opts_free(l->opts);
    g_free(l);
}

bool opt__later(App *a, const Option *o, const char *v, const char *implied, Error **err)
{
    Opts *opts = opts_parse_any(v, implied, err);
    Later *l;

    if (!opts)
        return false;
    l = g_new(Later, 1);
    *l = (Later){ o, g_strdup(v), opts };
    g_ptr_array_add(a->later, l);
    return true;
}

bool app_each(App *a, const char *option, bool (*fn)(App *a, Opts *o, Error **err), Error **err)
{
    for (guint i = 0; i < a->later->len; i++) {
        Later *l = a->later->pdata[i];
        Error *why = NULL;

        if (!strcmp(l->option->name, option) && !fn(a, l->opts, &why))
            return opt__blame(l->option, l->text, why, err);
    }
    return true;
}

/* "-opt arg: text", once. */
bool opt__blame(const Option *o, const char *v, Error *why, Error **err)
{
    g_autofree char *name = g_strconcat("-", o->name, NULL);

    if (g_str_has_prefix(error_text(why), name))
        return error_pass(err, why);
    return v ? fail_because(err, why, "%s %s", name, v) : fail_because(err, why, "%s", name);
}
