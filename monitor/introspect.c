/* monitor/introspect.c - query-qmp-schema and query-commands: the schema's tables as JSON. */
#include "core/api/monitor.h"
#include "monitor/priv.h"

static const char empty_type[] = "q_empty"; /* of commands without arguments or result */

typedef struct Walker {
    JVal *out;
    GHashTable *seen; /* of type names */
} Walker;

static void add_type(Walker *w, const ApiType *t);

static JVal *features_of(const char *const *f)
{
    JVal *l = j_list();

    while (*f)
        j_append(l, j_string(*f++));
    return l;
}

/* Integers of all sizes are one type on the wire. */
static const char *name_of(const ApiType *t)
{
    return t->kind == API_SINT || t->kind == API_UINT ? "int" : t->name;
}

static JVal *builtin(const ApiType *t)
{
    static const char *const json[] = { [API_STR] = "string", [API_BOOL] = "boolean", [API_SINT] = "int", [API_UINT] = "int",
                                        [API_NUMBER] = "number", [API_ANY] = "value", [API_NULL] = "null" };

    return j_set(j_set(j_set(j_object(), "name", j_string(name_of(t))), "meta-type", j_string("builtin")), "json-type",
                 j_string(json[t->kind]));
}

static void add_members(const ApiType *t, JVal *o)
{
    JVal *l = j_list();

    for (unsigned i = 0; i < t->n; i++) {
        const ApiMember *m = &t->members[i];
        JVal *e = j_set(j_set(j_object(), "name", j_string(m->name)), "type", j_string(name_of(m->type)));

        if (m->optional)
            j_set(e, "default", j_null());
        if (m->features)
            j_set(e, "features", features_of(m->features));
        j_append(l, e);
    }
    j_set(o, "members", l);
}

static void add_variants(const ApiType *t, JVal *o)
{
    const ApiType *e = t->tag->type;
    JVal *l = j_list();

    for (unsigned i = 0; i < e->n; i++)
        j_append(l, j_set(j_set(j_object(), "case", j_string(e->names[i])), "type",
                          j_string(t->variants[i].type ? name_of(t->variants[i].type) : empty_type)));
    j_set(j_set(o, "tag", j_string(t->tag->name)), "variants", l);
}

static JVal *entry(const char *name, const char *meta)
{
    return j_set(j_set(j_object(), "name", j_string(name)), "meta-type", j_string(meta));
}

static JVal *enum_entry(const ApiType *t)
{
    JVal *o = entry(t->name, "enum"), *members = j_list(), *values = j_list();

    for (unsigned i = 0; i < t->n; i++) {
        j_append(members, j_set(j_object(), "name", j_string(t->names[i])));
        j_append(values, j_string(t->names[i]));
    }
    return j_set(j_set(o, "members", members), "values", values);
}

static JVal *struct_entry(const ApiType *t)
{
    JVal *o = entry(t->name, "object");

    add_members(t, o);
    if (t->tag)
        add_variants(t, o);
    return o;
}

static JVal *alternate_entry(const ApiType *t)
{
    JVal *o = entry(t->name, "alternate"), *l = j_list();

    for (unsigned i = 0; i < t->n; i++)
        j_append(l, j_set(j_object(), "type", j_string(name_of(t->members[i].type))));
    return j_set(o, "members", l);
}

static void add_needed(Walker *w, const ApiType *t)
{
    if (t->of)
        add_type(w, t->of);
    for (unsigned i = 0; t->members && i < t->n; i++)
        add_type(w, t->members[i].type);
    for (unsigned i = 0; t->tag && i < t->tag->type->n; i++)
        if (t->variants[i].type)
            add_type(w, t->variants[i].type);
}

static void add_type(Walker *w, const ApiType *t)
{
    JVal *o;

    if (!g_hash_table_add(w->seen, (gpointer)name_of(t)))
        return;
    switch (t->kind) {
    case API_ENUM: o = enum_entry(t); break;
    case API_STRUCT: o = struct_entry(t); break;
    case API_ALTERNATE: o = alternate_entry(t); break;
    case API_LIST: o = j_set(entry(t->name, "array"), "element-type", j_string(name_of(t->of))); break;
    default: o = builtin(t); break;
    }
    if (t->features)
        j_set(o, "features", features_of(t->features));
    j_append(w->out, o);
    add_needed(w, t);
}

static const char *use(Walker *w, const ApiType *t)
{
    if (t)
        add_type(w, t);
    return t ? name_of(t) : empty_type;
}

static void add_commands(Walker *w, const Vm *vm)
{
    for (unsigned i = 0; i < api_command_count; i++) {
        const ApiCommand *c = &api_commands[i];
        JVal *o;

        if (!qmp__offers(vm, c))
            continue;
        o = entry(c->name, "command");
        j_set(o, "arg-type", j_string(use(w, c->args)));
        j_set(o, "ret-type", j_string(use(w, c->ret)));
        j_set(o, "allow-oob", j_bool(false));
        if (c->features)
            j_set(o, "features", features_of(c->features));
        j_append(w->out, o);
    }
}

bool qmp_query_qmp_schema(Vm *vm, AnyList *ret, Error **err)
{
    Walker w = { j_list(), g_hash_table_new(g_str_hash, g_str_equal) };

    add_commands(&w, vm);
    for (unsigned i = 0; i < api_event_count; i++)
        j_append(w.out, j_set(entry(api_events[i].name, "event"), "arg-type", j_string(use(&w, api_events[i].data))));
    j_append(w.out, j_set(entry(empty_type, "object"), "members", j_list()));
    for (size_t i = 0; i < j_len(w.out); i++)
        *API_ADD(ret) = j_at(w.out, i);
    g_ptr_array_set_size(w.out->items, 0); /* they moved */
    j_free(w.out);
    g_hash_table_destroy(w.seen);
    return true;
}

bool qmp_query_commands(Vm *vm, CommandInfoList *ret, Error **err)
{
    for (unsigned i = 0; i < api_command_count; i++)
        if (qmp__offers(vm, &api_commands[i]))
            API_ADD(ret)->name = g_strdup(api_commands[i].name);
    return true;
}
