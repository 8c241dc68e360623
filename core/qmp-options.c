/*
 * core/qmp-options.c - query-command-line-options: groups and parameters, read off the option table's own texts
 * ("[size=]MEGS[,slots=N,maxmem=SIZE]") and the machine types' properties, so that they are written once.
 */
#include "core/api/machine.h"
#include "core/machine.h"

static const struct {
    const char *option, *group;
} groups[] = { { "smp", "smp-opts" }, { "boot", "boot-opts" }, { "m", "memory" } };

static const char *group_of(const char *option)
{
    for (size_t i = 0; i < G_N_ELEMENTS(groups); i++)
        if (!strcmp(option, groups[i].option))
            return groups[i].group;
    return option;
}

static bool has(const CommandLineOptionInfo *o, const char *name, size_t n)
{
    for (size_t i = 0; i < o->parameters.n; i++)
        if (strlen(o->parameters.v[i].name) == n && !strncmp(o->parameters.v[i].name, name, n))
            return true;
    return false;
}

static CommandLineParameterType type_of(const char *value)
{
    return g_str_has_prefix(value, "on|off") ? COMMAND_LINE_PARAMETER_TYPE_BOOLEAN
           : g_str_has_prefix(value, "SIZE") ? COMMAND_LINE_PARAMETER_TYPE_SIZE
           : *value == 'N' && !g_ascii_isalpha(value[1]) ? COMMAND_LINE_PARAMETER_TYPE_NUMBER
                                                         : COMMAND_LINE_PARAMETER_TYPE_STRING;
}

static bool in_name(char c) { return g_ascii_isalnum(c) || c == '-' || c == '_'; }

/* Each word before '=' but "prop", which stands for any. */
static void from_text(CommandLineOptionInfo *o, const char *arg)
{
    for (const char *eq = strchr(arg, '='); eq; eq = strchr(eq + 1, '=')) {
        const char *p = eq;
        CommandLineParameterInfo *i;

        while (p > arg && in_name(p[-1]))
            p--;
        if (p == eq || !strncmp(p, "prop=", 5) || !g_ascii_islower(*p) || has(o, p, (size_t)(eq - p)))
            continue;
        i = API_ADD(&o->parameters);
        i->name = g_strndup(p, (size_t)(eq - p));
        i->type = type_of(eq + 1 + (eq[1] == ']'));
    }
}

static void from_prop(const Prop *p, void *arg)
{
    CommandLineOptionInfo *o = arg;
    CommandLineParameterInfo *i = has(o, p->name, strlen(p->name)) ? NULL : API_ADD(&o->parameters);

    if (!i)
        return;
    i->name = g_strdup(p->name);
    i->type = p->kind == P_BOOL ? COMMAND_LINE_PARAMETER_TYPE_BOOLEAN : p->kind == P_SIZE ? COMMAND_LINE_PARAMETER_TYPE_SIZE
              : p->kind <= P_S64 ? COMMAND_LINE_PARAMETER_TYPE_NUMBER : COMMAND_LINE_PARAMETER_TYPE_STRING;
    i->help = g_strdup(p->doc);
}

static void from_machine(const MachineClass *m, void *arg) { obj_prop_foreach(&m->props, from_prop, arg); }

bool qmp_query_command_line_options(Vm *vm, const QueryCommandLineOptionsArgs *args, CommandLineOptionInfoList *ret, Error **err)
{
    for (guint i = 0; vm->cfg.options && i < vm->cfg.options->len; i++) {
        char **text = vm->cfg.options->pdata[i];
        const char *group = group_of(text[0]);
        CommandLineOptionInfo *o;

        if (!strchr(text[1], '=') || (args->option && strcmp(args->option, group)))
            continue;
        o = API_ADD(ret);
        o->option = g_strdup(group);
        from_text(o, text[1]);
        if (!strcmp(group, "machine"))
            machine_foreach(from_machine, o);
    }
    return !args->option || ret->n || fail(err, "invalid option name: %s", args->option);
}
