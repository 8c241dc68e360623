/* app/objects.c - -object: what devices and the machine refer to by id. */
#include "app/opt.h"

static void list_class(const ObjClass *c, void *arg)
{
    if (c->user_creatable)
        g_string_append_printf(arg, "  %s\n", c->name);
}

static void list_prop(const Prop *p, void *arg)
{
    g_string_append_printf(arg, "  %s=<%s>%s%s\n", p->name, prop_type_name(p), p->doc ? " - " : "", p->doc ? p->doc : "");
}

bool opt__props(App *a, const char *name, const ObjClass *c)
{
    GString *s = g_string_new(NULL);

    g_string_append_printf(s, "%s options:\n", name);
    if (c)
        obj_prop_foreach(c, list_prop, s);
    return opt__shown(a, s);
}

/* "TYPE,help" */
static bool help_of(App *a, const char *v, Error **err)
{
    g_autofree char *type = g_strndup(v, strcspn(v, ","));
    const ObjClass *c = obj_class_find(type);

    if (!c || !c->user_creatable)
        return fail(err, "invalid object type: %s", type);
    return opt__props(a, c->name, c);
}

bool o_object(App *a, const Option *o, const char *v, Error **err)
{
    if (opt__is_help(v)) {
        GString *s = g_string_new("List of user creatable objects:\n");

        obj_class_foreach(list_class, s);
        return opt__shown(a, s);
    }
    if (opt__wants_props(v))
        return help_of(a, v, err);
    return opt__later(a, o, v, "qom-type", err);
}

static bool make_object(App *a, Opts *o, Error **err)
{
    bool ok;

    lock_take(&a->vm->lock);
    ok = obj_create(a->vm, o, err);
    lock_drop(&a->vm->lock);
    return ok;
}

static bool is_filter(const Opts *o)
{
    const char *type = opts_peek(o, "qom-type");

    return type && g_str_has_prefix(type, "filter-");
}

static bool unless_filter(App *a, Opts *o, Error **err) { return is_filter(o) || make_object(a, o, err); }
/* What is made already has no type any more. */
static bool if_filter(App *a, Opts *o, Error **err) { return !is_filter(o) || make_object(a, o, err); }

/* -mem-path and -mem-prealloc describe the machine's RAM as an object would. */
static bool make_memory(App *a, Error **err)
{
    const MachineClass *mc = machine_find(opts_peek(a->machine, "type"));
    g_autoptr(Opts) o = opts_new();
    g_autofree char *size = NULL;

    if ((!a->mem_path && !a->mem_prealloc) || !mc || opts_peek(a->machine, "memory-backend"))
        return true;
    size = g_strdup_printf("%" PRIu64, a->vm->cfg.ram_size ? a->vm->cfg.ram_size : mc->default_ram);
    opts_set(o, "qom-type", a->mem_path ? "memory-backend-file" : "memory-backend-ram");
    opts_set(o, "id", mc->default_ram_id ? mc->default_ram_id : "pc.ram");
    opts_set(o, "size", size);
    opts_set(o, "prealloc", a->mem_prealloc ? "on" : "off");
    if (a->mem_path)
        opts_set(o, "mem-path", a->mem_path);
    opts_set(a->machine, "memory-backend", opts_peek(o, "id"));
    return make_object(a, o, err);
}

bool app_make_objects(App *a, Error **err) { return app_each(a, "object", unless_filter, err) && make_memory(a, err); }
bool app_make_filters(App *a, Error **err) { return app_each(a, "object", if_filter, err); }
