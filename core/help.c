/* core/help.c - help, `info qtree` and `info regs`, all from the tables. */
#include "core/priv.h"
#include "core/dev.h"

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp((*(const DevClass *const *)a)->obj.name, (*(const DevClass *const *)b)->obj.name);
}

static void add_class(const DevClass *c, void *arg) { g_ptr_array_add(arg, (gpointer)c); }

static const char *category(const DevClass *c)
{
    for (; c; c = c->base)
        if (c->category)
            return c->category;
    return "Misc devices";
}

static void list_category(GPtrArray *v, const char *cat, GString *out)
{
    g_string_append_printf(out, "%s%s:\n", out->len ? "\n" : "", cat);
    for (guint i = 0; i < v->len; i++) {
        const DevClass *c = v->pdata[i];

        if (c->no_user || strcmp(category(c), cat))
            continue;
        g_string_append_printf(out, "name \"%s\"", c->obj.name);
        if (dev_class_bus(c))
            g_string_append_printf(out, ", bus %s", dev_class_bus(c));
        if (c->obj.desc)
            g_string_append_printf(out, ", desc \"%s\"", c->obj.desc);
        g_string_append_c(out, '\n');
    }
}

void dev_help_list(GString *out)
{
    GPtrArray *v = g_ptr_array_new();
    GHashTable *seen = g_hash_table_new(g_str_hash, g_str_equal);

    dev_class_foreach(add_class, v);
    g_ptr_array_sort(v, by_name);
    for (guint i = 0; i < v->len; i++) {
        const DevClass *c = v->pdata[i];

        if (!c->no_user && g_hash_table_add(seen, (gpointer)category(c)))
            list_category(v, category(c), out);
    }
    g_hash_table_destroy(seen);
    g_ptr_array_free(v, TRUE);
}

static const char *const kind_names[] = {
    [P_BOOL] = "bool", [P_U8] = "uint8", [P_U16] = "uint16", [P_U32] = "uint32", [P_U64] = "uint64", [P_S32] = "int32",
    [P_S64] = "int64", [P_SIZE] = "size", [P_STR] = "str", [P_ENUM] = "enum", [P_ONOFFAUTO] = "OnOffAuto",
    [P_MAC] = "str", [P_UUID] = "str", [P_LINK] = "str", [P_CUSTOM] = "str",
};

const char *prop_type_name(const Prop *p) { return p->type ? p->type : p->kind == P_LINK ? p->space : kind_names[p->kind]; }

static void default_text(const Prop *p, GString *out)
{
    static const char *const autos[] = { "off", "on", "auto" };

    if (p->def_str)
        g_string_append_printf(out, " (default: %s)", p->def_str);
    else if (p->kind == P_BOOL)
        g_string_append_printf(out, " (default: %s)", p->def ? "true" : "false");
    else if (p->kind == P_ONOFFAUTO)
        g_string_append_printf(out, " (default: %s)", autos[MIN(p->def, 2)]);
    else if (p->kind == P_S32 || p->kind == P_S64)
        g_string_append_printf(out, " (default: %" PRId64 ")", (int64_t)p->def);
    else if (p->kind <= P_SIZE)
        g_string_append_printf(out, " (default: %" PRIu64 ")", p->def);
}

static void help_prop(const Prop *p, void *arg)
{
    GString *out = arg;

    g_string_append_printf(out, "  %s=<%s>%*s - %s", p->name, prop_type_name(p),
                           MAX(0, 20 - (int)(strlen(p->name) + strlen(prop_type_name(p)))), "", p->doc ? p->doc : "");
    default_text(p, out);
    g_string_append_c(out, '\n');
}

bool dev_help(const char *driver, GString *out, Error **err)
{
    const DevClass *c = dev_class_find(driver);

    if (!c) {
        fail(err, "'%s' is not a valid device model name", driver);
        return error_hint(err, "-device help lists what there is");
    }
    g_string_append_printf(out, "%s options:\n", c->obj.name);
    obj_prop_foreach(&c->obj, help_prop, out);
    return true;
}

/* ---- info qtree ---- */
typedef struct Tree {
    Vm *vm;
    GString *out;
    Obj *o;
    unsigned depth;
} Tree;

static void print_dev(Vm *vm, Dev *d, unsigned depth, GString *out);

static void print_bus(Bus *b, unsigned depth, GString *out)
{
    g_string_append_printf(out, "%*sbus: %s\n%*stype %s\n", 2 * (int)depth, "", b->obj.name, 2 * (int)depth + 2, "",
                           b->cls->type);
    for (guint i = 0; i < b->devs->len; i++)
        print_dev(b->obj.vm, b->devs->pdata[i], depth + 1, out);
}

static void print_prop(const Prop *p, void *arg)
{
    Tree *t = arg;
    g_autofree char *v = obj_prop_get(t->o, p->name, NULL);
    const char *q = p->kind == P_STR || p->kind == P_LINK || p->kind == P_ENUM || p->kind == P_MAC ? "\"" : "";

    g_string_append_printf(t->out, "%*s%s = %s%s%s\n", 2 * (int)t->depth, "", p->name, q, v ? v : "", q);
}

static void print_dev(Vm *vm, Dev *d, unsigned depth, GString *out)
{
    Tree t = { vm, out, &d->obj, depth + 1 };

    g_string_append_printf(out, "%*sdev: %s, id \"%s\"\n", 2 * (int)depth, "", d->cls->obj.name, d->id ? d->id : "");
    if (d->bus && d->bus->cls->address) {
        g_autofree char *a = d->bus->cls->address(d->bus, d);

        g_string_append_printf(out, "%*saddr %s\n", 2 * (int)depth + 2, "", a);
    }
    obj_prop_foreach(d->obj.cls, print_prop, &t);
    for (guint i = 0; d->obj.children && i < d->obj.children->len; i++)
        if (core__is_bus(vm, d->obj.children->pdata[i]))
            print_bus(d->obj.children->pdata[i], depth + 1, out);
}

static void print_top(Dev *d, void *arg)
{
    Tree *t = arg;

    if (!d->bus)
        print_dev(t->vm, d, t->depth, t->out);
}

void dev_print_tree(Vm *vm, GString *out)
{
    Tree t = { vm, out, NULL, 1 };

    g_string_append(out, "bus: main-system-bus\n  type System\n");
    vm_foreach_dev(vm, print_top, &t);
}
