/* app/options.c - the command line, from the table of options.def. Values are checked where they are used. */
#include "accel/tcg/perf.h"
#include "app/opt.h"
#include "core/version.h"
#include "migrate/migrate.h"
#include "util/trace.h"
#include <stdio.h>

bool opt__shown(App *a, GString *s)
{
    fputs(s->str, stdout);
    g_string_free(s, TRUE);
    return a->help_shown = true;
}

void opt__set(char **at, const char *v)
{
    g_free(*at);
    *at = g_strdup(v);
}

bool opt__push(GPtrArray *v, const char *text)
{
    g_ptr_array_add(v, g_strdup(text));
    return true;
}

bool o_help(App *a, const Option *o, const char *v, Error **err)
{
    GString *s = g_string_new(NULL);

    app_help(s);
    return opt__shown(a, s);
}

bool o_version(App *a, const Option *o, const char *v, Error **err)
{
    printf("QEMU emulator version " QEMU_VERSION " (Menura %s)\n", MENURA_VERSION);
    a->help_shown = true;
    return true;
}

bool o_log(App *a, const Option *o, const char *v, Error **err)
{
    if (opt__is_help(v)) {
        GString *s = g_string_new(log_items_help());

        return opt__shown(a, s);
    }
    return log_set(v, err);
}
bool o_log_file(App *a, const Option *o, const char *v, Error **err) { return log_open(v, err); }
bool o_log_filter(App *a, const Option *o, const char *v, Error **err) { return log_filter(v, err); }
bool o_perf(App *a, const Option *o, const char *v, Error **err) { return !strcmp(o->name, "perfmap") ? perf_map_start(err) : perf_dump_start(err); }

bool o_trace(App *a, const Option *o, const char *v, Error **err)
{
    if (opt__is_help(v)) {
        GString *s = g_string_new(NULL);

        trace_list(s);
        return opt__shown(a, s);
    }
    return trace_enable(g_str_has_prefix(v, "enable=") ? v + 7 : v, true) || fail(err, "-trace %s: no trace point has such a name", v);
}

bool o_qtest(App *a, const Option *o, const char *v, Error **err)
{
    opt__set(!strcmp(o->name, "qtest") ? &a->qtest : &a->qtest_log, v);
    return true;
}

bool o_incoming(App *a, const Option *o, const char *v, Error **err)
{
    opt__set(&a->incoming, v);
    return !strcmp(v, "defer") || migrate_uri_check(v, err);
}

bool o_loadvm(App *a, const Option *o, const char *v, Error **err)
{
    opt__set(&a->loadvm, v);
    return true;
}

bool o_snapdir(App *a, const Option *o, const char *v, Error **err)
{
    g_free(a->snapdir);
    a->snapdir = g_canonicalize_filename(v, NULL); /* -daemonize leaves the folder */
    return *v || fail(err, "the folder's name is missing");
}

bool o_list(App *a, const Option *o, const char *v, Error **err)
{
    VmConfig *c = &a->vm->cfg;

    g_ptr_array_add(!strcmp(o->name, "smbios") ? c->smbios : !strcmp(o->name, "option-rom") ? c->option_roms : c->fw_cfg, g_strdup(v));
    return true;
}

static const Option options[] = {
#define O(n, a, f, h) { n, a, f, h },
#define ABSENT(n, a, p, i, none) { n, a, o_absent, NULL, p, i, none },
#include "app/options.def"
#undef ABSENT
#undef O
};

void app_describe_options(VmConfig *c)
{
    c->options = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        const Option *o = &options[i];

        if (o->arg && o->help)
            g_ptr_array_add(c->options, g_strdupv((char *[]){ (char *)o->name, (char *)o->arg, (char *)o->help, NULL }));
    }
}

void app_help(GString *out)
{
    g_string_append_printf(out, "QEMU emulator version " QEMU_VERSION " (Menura %s)\nusage: menura-system-x86_64 [options] [disk_image]\n"
                                "       menura run IMAGE [options]\n\n", MENURA_VERSION);
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
        if (options[i].help) /* clients look here for what they may use */
            g_string_append_printf(out, "-%s%s%s\n                %s\n", options[i].name, options[i].arg ? " " : "",
                                   options[i].arg ? options[i].arg : "", options[i].help);
}

static const Option *find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
        if (!strcmp(options[i].name, name))
            return &options[i];
    return NULL;
}

/* Groups of -readconfig that are not called as their option. */
static const struct {
    const char *group, *option;
} groups[] = { { "smp-opts", "smp" }, { "boot-opts", "boot" }, { "memory", "m" } };

bool opt__take(App *a, const char *group, const char *v, Error **err)
{
    const Option *o = find(group);
    Error *why = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(groups); i++)
        if (!strcmp(groups[i].group, group))
            o = find(groups[i].option);
    if (!o || !o->arg || !strchr(o->arg, '='))
        return fail(err, "there is no such group of options");
    return o->fn(a, o, v, &why) || opt__blame(o, v, why, err);
}

static bool parse_one(App *a, int argc, char **argv, int *i, Error **err)
{
    const char *name = argv[*i], *arg;
    const Option *o;
    Error *why = NULL;

    if (*name != '-' || !name[1])
        return o_disk(a, find("hda"), name, err);
    name += name[1] == '-' ? 2 : 1;
    o = find(name);
    if (!o) {
        fail(err, "%s: there is no such option", argv[*i]);
        return error_hint(err, "-help lists all options");
    }
    if (o->arg && *i + 1 >= argc)
        return fail(err, "%s: wants an argument: %s", argv[*i], o->arg);
    arg = o->arg ? argv[++*i] : NULL;
    return o->fn(a, o, arg, &why) || opt__blame(o, arg, why, err);
}

bool app_parse(App *a, int argc, char **argv, int *status)
{
    Error *err = NULL;

    for (int i = 1; i < argc; i++) {
        if (!parse_one(a, argc, argv, &i, &err)) {
            error_report_free(err);
            *status = STATUS_USAGE;
            return false;
        }
        if (a->help_shown) {
            *status = STATUS_OK;
            return false;
        }
    }
    return true;
}
