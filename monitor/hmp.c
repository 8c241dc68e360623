/*
 * monitor/hmp.c - the human monitor: finds the row of the schema that a line begins with, reads its arguments, runs it;
 * help. Shapes and texts are QEMU's, since programs read them.
 */
#include "monitor/hmp.h"
#include "core/api/monitor.h"
#include "monitor/priv.h"

/* ---- finding ---- */
bool hmp__is_named(const HmpCommand *c, const char *name, size_t n)
{
    const char *p = c->names;

    for (;;) {
        size_t len = strcspn(p, "|");

        if (len == n && !strncmp(p, name, n))
            return true;
        if (!p[len])
            return false;
        p += len + 1;
    }
}

const char *hmp__name(const HmpCommand *c, size_t *n)
{
    *n = strcspn(c->names, "|");
    return c->names;
}

static const HmpCommand *find(const char *name, size_t n)
{
    for (unsigned i = 0; i < hmp_command_count; i++)
        if (hmp__is_named(&hmp_commands[i], name, n))
            return &hmp_commands[i];
    return NULL;
}

static size_t word_len(const char *p) { return strcspn(p, " \t/"); }

const HmpCommand *hmp__find(const char *line, const char **args)
{
    size_t n = word_len(line), gap, sub;
    g_autofree char *both = NULL;
    const HmpCommand *c;

    *args = line + n;
    gap = strspn(*args, " \t");
    sub = word_len(*args + gap);
    if (n != 4 || strncmp(line, "info", 4) || !sub)
        return find(line, n);
    both = g_strdup_printf("info %.*s", (int)sub, *args + gap);
    c = find(both, strlen(both));
    *args += gap + sub;
    return c;
}

/* ---- running ---- */
static bool run_qmp(Hmp *h, const HmpCommand *c, const JVal *args, Error **err)
{
    JVal *ret = NULL;
    bool ok = qmp__call(h->vm, h->mon, c->qmp, args, &ret, err);

    j_free(ret); /* commands that show something have a function of their own */
    return ok;
}

static void run(Hmp *h, const HmpCommand *c, const JVal *args)
{
    Error *err = NULL;
    void *in = NULL;

    if (c->qmp) {
        run_qmp(h, c, args, &err);
        hmp_say_error(h, err);
        return;
    }
    if (c->args) {
        in = g_malloc0(c->args->size);
        if (!api_in(c->args, args, in, &err)) {
            hmp_say_error(h, err);
            g_free(in);
            return;
        }
    }
    c->run(h, in);
    if (in)
        api_clear(c->args, in);
    g_free(in);
}

void hmp__run(Hmp *h, const char *line)
{
    const HmpCommand *c;
    const char *rest;
    g_autoptr(JVal) args = NULL;
    Error *err = NULL;

    line += strspn(line, " \t");
    if (!*line || *line == '#')
        return;
    c = hmp__find(line, &rest);
    if (!c) {
        int n = (int)(rest - line);

        g_string_append_printf(h->out, "unknown command: '%.*s'\n", n, line);
        return;
    }
    args = hmp__args(h, c, rest, &err);
    if (args) {
        run(h, c, args);
    } else {
        size_t n;
        const char *name = hmp__name(c, &n);

        g_string_append_printf(h->out, "%s\nTry \"help %.*s\" for more information\n", error_text(err), (int)n, name);
        error_free(err);
    }
}

char *monitor_hmp(Vm *vm, const char *line)
{
    Hmp h = { .vm = vm, .out = g_string_new(NULL) };

    hmp__run(&h, line);
    return g_string_free(h.out, FALSE);
}

bool qmp_human_monitor_command(Vm *vm, const HumanMonitorCommandArgs *args, char **ret, Error **err)
{
    Hmp h = { .vm = vm, .out = g_string_new(NULL) };

    if (args->has_cpu_index && (args->cpu_index < 0 || args->cpu_index >= vm->ncpus)) {
        g_string_free(h.out, TRUE);
        return fail(err, "Parameter 'cpu-index' expects a CPU number");
    }
    h.cpu = (unsigned)args->cpu_index;
    hmp__run(&h, args->command_line);
    *ret = g_string_free(h.out, FALSE);
    return true;
}

/* ---- help ---- */
static int by_name(const void *a, const void *b)
{
    return strcmp((*(const HmpCommand *const *)a)->names, (*(const HmpCommand *const *)b)->names);
}

static bool is_info(const HmpCommand *c) { return g_str_has_prefix(c->names, "info "); }

static void help_line(Hmp *h, const HmpCommand *c)
{
    g_string_append_printf(h->out, "%s %s -- %s\n", c->names, c->params, c->help);
}

static void help_all(Hmp *h, bool info)
{
    g_autofree const HmpCommand **v = g_new(const HmpCommand *, hmp_command_count);

    for (unsigned i = 0; i < hmp_command_count; i++)
        v[i] = &hmp_commands[i];
    qsort(v, hmp_command_count, sizeof(*v), by_name);
    for (unsigned i = 0; i < hmp_command_count; i++)
        if (is_info(v[i]) == info)
            help_line(h, v[i]);
}

void hmp_help(Hmp *h, const HmpHelpArgs *args)
{
    const HmpCommand *c;

    if (!args->name || !strcmp(args->name, "info")) {
        help_all(h, args->name);
        return;
    }
    c = find(args->name, strlen(args->name));
    if (c)
        help_line(h, c);
    else
        g_string_append_printf(h->out, "unknown command: '%s'\n", args->name);
}

void hmp_info(Hmp *h, const HmpInfoArgs *args)
{
    if (args->item)
        g_string_append_printf(h->out, "unknown command: 'info %s'\n", args->item);
    else
        help_all(h, true);
}

/* ---- completion ---- */
static void offer(GPtrArray *v, const char *names, const char *typed)
{
    g_auto(GStrv) each = g_strsplit(names, "|", -1);

    for (char **e = each; *e; e++)
        if (g_str_has_prefix(*e, typed) && !strchr(*e, ' '))
            g_ptr_array_add(v, g_strdup(*e));
}

static gint by_text(gconstpointer a, gconstpointer b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void offer_files(GPtrArray *v, const char *typed)
{
    const char *slash = strrchr(typed, '/');
    g_autofree char *folder = slash ? g_strndup(typed, (size_t)(slash - typed) + 1) : g_strdup("");
    GDir *d = g_dir_open(*folder ? folder : ".", 0, NULL);
    const char *name;

    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_strconcat(folder, name, NULL);

        if (g_str_has_prefix(path, typed))
            g_ptr_array_add(v, g_strconcat(path, g_file_test(path, G_FILE_TEST_IS_DIR) ? "/" : NULL, NULL));
    }
    if (d)
        g_dir_close(d);
}

/* What the argument being typed is: the n-th that is not a flag. */
static int kind_at(const HmpCommand *c, const char *args)
{
    unsigned words = 0;

    for (const char *p = args; *p; p++)
        words += !g_ascii_isspace(*p) && (p == args || g_ascii_isspace(p[-1])) && *p != '-' && *p != '/';
    if (words && !g_ascii_isspace(args[strlen(args) - 1]))
        words--;
    for (unsigned i = 0; c->args && i < c->args->n; i++)
        if (c->arg_kinds[i] != HMP_FLAG && c->arg_kinds[i] != HMP_FORMAT && !words--)
            return c->arg_kinds[i];
    return -1;
}

GPtrArray *hmp__complete(Hmp *h, const char *before, size_t *word)
{
    GPtrArray *v = g_ptr_array_new_with_free_func(g_free);
    const char *space = strrchr(before, ' '), *typed = space ? space + 1 : before, *args;
    const HmpCommand *c = space ? hmp__find(before, &args) : NULL;
    int kind = c && args < typed ? kind_at(c, args) : -1;

    *word = (size_t)(typed - before);
    for (unsigned i = 0; i < hmp_command_count; i++) {
        const char *names = hmp_commands[i].names;

        if (!space || kind == HMP_COMMAND)
            offer(v, names, typed);
        else if (g_str_has_prefix(before, "info ") && space == before + 4 && is_info(&hmp_commands[i]))
            offer(v, names + 5, typed);
    }
    if (kind == HMP_FILE)
        offer_files(v, typed);
    g_ptr_array_sort(v, by_text);
    return v;
}
