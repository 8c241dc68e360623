/*
 * core/qmp-qom.c - the object tree and its types for the monitor (schema/qom.json). Values are text inside (core/prop.c);
 * booleans and numbers take their JSON shapes here.
 */
#include "core/api/qom.h"
#include "core/priv.h"

static bool not_found(Error **err, const char *what, const char *name)
{
    fail(err, "%s '%s' not found", what, name);
    return error_class(err, "DeviceNotFound");
}

/* "/a/b" from the root; "x" or "a/b": the one object whose path ends so. */
typedef struct Ending {
    const char *tail;
    Obj *found;
    unsigned n;
} Ending;

static void match_ending(Obj *o, Ending *e)
{
    Obj *hit = obj_find(o, e->tail);

    if (hit && hit != o) {
        e->found = hit;
        e->n++;
    }
    for (guint i = 0; o->children && i < o->children->len; i++)
        match_ending(o->children->pdata[i], e);
}

static Obj *resolve(Vm *vm, const char *path, Error **err)
{
    Ending e = { path, NULL, 0 };

    if (*path == '/')
        e.found = obj_find(&vm->root, path);
    else if (*path)
        match_ending(&vm->root, &e);
    if (e.n > 1)
        fail(err, "Path '%s' does not uniquely identify an object", path);
    else if (!e.found)
        not_found(err, "Device", path);
    return e.n > 1 ? NULL : e.found;
}

/* ---- values ---- */
/* A structure of numbers: "a=1,b=2". */
static JVal *structure(const char *text)
{
    g_auto(GStrv) items = g_strsplit(text, ",", -1);
    JVal *o = j_object();

    for (char **i = items; *i; i++) {
        g_auto(GStrv) pair = g_strsplit(*i, "=", 2);

        if (pair[0] && pair[1])
            j_set(o, pair[0], j_number(pair[1]));
    }
    return o;
}

static JVal *typed_json(const char *type, const char *text)
{
    g_auto(GStrv) items = NULL;
    JVal *l;
    uint64_t u;

    if (!strcmp(type, "bool"))
        return j_bool(!strcmp(text, "true"));
    if (!strcmp(type, "int") && parse_u64(text, &u, NULL))
        return j_uint(u);
    if (g_ascii_isupper(*type))
        return structure(text);
    if (strcmp(type, "strList"))
        return j_string(text);
    items = g_strsplit(text, ",", -1);
    l = j_list();
    for (char **i = items; *i; i++)
        if (**i)
            j_append(l, j_string(*i));
    return l;
}

static JVal *to_json(const Prop *p, const char *text)
{
    uint64_t u;
    int64_t s;
    bool b;

    switch (p->kind) {
    case P_BOOL: return parse_bool(text, &b, NULL) ? j_bool(b) : j_string(text);
    case P_U8: case P_U16: case P_U32: case P_U64:
    case P_SIZE: return parse_size(text, 'B', &u, NULL) || parse_u64(text, &u, NULL) ? j_uint(u) : j_string(text);
    case P_S32: case P_S64: return parse_s64(text, &s, NULL) ? j_int(s) : j_string(text);
    case P_CUSTOM: return p->type ? typed_json(p->type, text) : j_string(text);
    default: return j_string(text);
    }
}

static char *to_text(const JVal *v, Error **err)
{
    switch (v->kind) {
    case J_BOOL: return g_strdup(v->yes ? "on" : "off");
    case J_NUMBER:
    case J_STRING: return g_strdup(v->text);
    case J_OBJECT: return j_text(v);
    default: fail(err, "Invalid parameter type for 'value', expected: string, number or boolean"); return NULL;
    }
}

static JVal *default_of(const Prop *p)
{
    if (p->kind == P_CUSTOM || p->kind == P_LINK)
        return NULL;
    if (p->def_str)
        return j_string(p->def_str);
    if (p->kind == P_BOOL)
        return j_bool(p->def);
    if (p->kind == P_S32 || p->kind == P_S64)
        return j_int((int64_t)p->def);
    return p->kind <= P_SIZE ? j_uint(p->def) : NULL;
}

/* ---- lists of properties ---- */
static void add_prop(const Prop *p, void *arg)
{
    ObjectPropertyInfo *i = API_ADD((ObjectPropertyInfoList *)arg);

    i->name = g_strdup(p->name);
    i->type = g_strdup(prop_type_name(p));
}

static void add_prop_fully(const Prop *p, void *arg)
{
    ObjectPropertyInfoList *l = arg;

    add_prop(p, l);
    l->v[l->n - 1].description = g_strdup(p->doc);
    l->v[l->n - 1].default_value = default_of(p);
}

static void add_named(ObjectPropertyInfoList *l, const char *name, char *type /* taken */)
{
    ObjectPropertyInfo *i = API_ADD(l);

    i->name = g_strdup(name);
    i->type = type;
}

bool qmp_qom_list(Vm *vm, const QomListArgs *args, ObjectPropertyInfoList *ret, Error **err)
{
    Obj *o = resolve(vm, args->path, err);

    if (!o)
        return false;
    add_named(ret, "type", g_strdup("string"));
    if (core__is_dev(o->cls))
        add_named(ret, "realized", g_strdup("bool"));
    obj_prop_foreach(o->cls, add_prop, ret);
    for (guint i = 0; o->children && i < o->children->len; i++) {
        const Obj *c = o->children->pdata[i];

        add_named(ret, c->name, g_strdup_printf("child<%s>", c->cls->name));
    }
    return true;
}

bool qmp_qom_get(Vm *vm, const QomGetArgs *args, JVal **ret, Error **err)
{
    Obj *o = resolve(vm, args->path, err), *child = o ? obj_child(o, args->property) : NULL;
    const Prop *p = o ? obj_prop_find(o->cls, args->property) : NULL;
    g_autofree char *text = NULL;

    if (!o)
        return false;
    if (p) {
        text = obj_prop_get(o, args->property, err);
        *ret = text ? to_json(p, text) : NULL;
        return *ret;
    }
    if (!strcmp(args->property, "type"))
        *ret = j_string(o->cls->name);
    else if (!strcmp(args->property, "realized") && core__is_dev(o->cls))
        *ret = j_bool(((Dev *)o)->realized);
    else if (child)
        *ret = j_string(text = obj_path(child));
    return *ret || fail(err, "Property '%s.%s' not found", o->cls->name, args->property);
}

bool qmp_qom_set(Vm *vm, const QomSetArgs *args, Error **err)
{
    Obj *o = resolve(vm, args->path, err);
    const Prop *p = o ? obj_prop_find(o->cls, args->property) : NULL;
    g_autofree char *text = o ? to_text(args->value, err) : NULL, *path = NULL;

    if (!text)
        return false;
    if (!p)
        return fail(err, "Property '%s.%s' not found", o->cls->name, args->property);
    if (!p->live) {
        path = obj_path(o);
        return fail(err, "Attempt to set property '%s' on object '%s' (type '%s') after it was made", p->name, path, o->cls->name);
    }
    return obj_prop_set(o, args->property, text, err);
}

/* ---- types ---- */
typedef struct Types {
    ObjectTypeInfoList *out;
    const char *implements;
    bool abstract;
} Types;

static bool descends(const ObjClass *c, const char *name)
{
    for (; c; c = core__class_parent(c))
        if (!strcmp(c->name, name))
            return true;
    return false;
}

static void add_type(Types *t, const char *name, const char *parent, bool abstract)
{
    ObjectTypeInfo *i;

    if (abstract && !t->abstract)
        return;
    i = API_ADD(t->out);
    i->name = g_strdup(name);
    i->parent = g_strdup(parent);
    i->has_abstract = i->abstract = abstract;
}

static void add_class(const ObjClass *c, void *arg)
{
    Types *t = arg;
    const ObjClass *up = core__class_parent(c);

    if (!t->implements || descends(c, t->implements))
        add_type(t, c->name, up ? up->name : "object", false);
}

/* Kinds of things that are no classes of objects inside, but are types to clients. */
static void add_outside(Types *t, char *name /* taken */, const char *parent)
{
    if (!t->implements || !strcmp(t->implements, parent) || !strcmp(t->implements, name))
        add_type(t, name, parent, false);
    g_free(name);
}

static void add_accel(const Accel *a, void *arg) { add_outside(arg, g_strdup_printf("%s-accel", a->name), "accel"); }
static void add_machine(const MachineClass *m, void *arg) { add_outside(arg, g_strdup_printf("%s-machine", m->name), "machine"); }

bool qmp_qom_list_types(Vm *vm, const QomListTypesArgs *args, ObjectTypeInfoList *ret, Error **err)
{
    Types t = { ret, args->implements, !args->has_abstract || args->abstract };
    const Target *target = target_find(NULL);

    obj_class_foreach(add_class, &t);
    accel_foreach(add_accel, &t);
    machine_foreach(add_machine, &t);
    for (size_t i = 0; i < target->nmodels; i++)
        add_outside(&t, g_strdup_printf("%s-%s-cpu", target->models[i].name, target->name), "cpu");
    for (unsigned i = 0; !t.implements && i < 3; i++)
        add_type(&t, (const char *const[]){ "accel", "machine", "cpu" }[i], "object", true);
    return true;
}

typedef struct ByName {
    const char *name;
    const ObjClass *found;
} ByName;

static void match_machine(const MachineClass *m, void *arg)
{
    ByName *b = arg;
    g_autofree char *name = g_strdup_printf("%s-machine", m->name);

    if (!strcmp(name, b->name))
        b->found = &m->props;
}

static void match_accel(const Accel *a, void *arg)
{
    ByName *b = arg;
    g_autofree char *name = g_strdup_printf("%s-accel", a->name);

    if (!strcmp(name, b->name))
        b->found = a->props;
}

/* CPU classes are made with the CPUs; what they have is known before. */
static const PropTable *cpu_props(const char *type)
{
    const Target *t = target_find(NULL);

    for (size_t i = 0; t && t->cpu_props && i < t->nmodels; i++) {
        g_autofree char *name = g_strdup_printf("%s-%s-cpu", t->models[i].name, t->name);

        if (!strcmp(name, type))
            return t->cpu_props;
    }
    return NULL;
}

/* A client crashes when it is told that a type does not exist: it then has no properties. */
bool qmp_qom_list_properties(Vm *vm, const QomListPropertiesArgs *args, ObjectPropertyInfoList *ret, Error **err)
{
    ByName b = { args->typename, obj_class_find(args->typename) };
    const PropTable *cpu = b.found ? NULL : cpu_props(args->typename);

    for (size_t i = 0; cpu && i < cpu->n; i++)
        add_prop_fully(&cpu->v[i], ret);
    if (!b.found)
        machine_foreach(match_machine, &b);
    if (!b.found)
        accel_foreach(match_accel, &b);
    if (!b.found)
        return true;
    add_named(ret, "type", g_strdup("string"));
    obj_prop_foreach(b.found, add_prop_fully, ret);
    return true;
}

bool qmp_device_list_properties(Vm *vm, const DeviceListPropertiesArgs *args, ObjectPropertyInfoList *ret, Error **err)
{
    const DevClass *c = dev_class_find(args->typename);
    const PropTable *cpu = c ? NULL : cpu_props(args->typename);

    for (size_t i = 0; cpu && i < cpu->n; i++)
        add_prop_fully(&cpu->v[i], ret);
    if (cpu)
        return true;
    if (!c)
        return not_found(err, "Device", args->typename);
    obj_prop_foreach(&c->obj, add_prop_fully, ret);
    return true;
}

/* ---- by hand ---- */
void hmp_info_qtree(Hmp *h) { dev_print_tree(h->vm, h->out); }

static void print_tree(const Obj *o, unsigned depth, GString *out)
{
    g_string_append_printf(out, "%*s/%s (%s)\n", 2 * (int)depth, "", o->name, o->cls->name);
    for (guint i = 0; o->children && i < o->children->len; i++)
        print_tree(o->children->pdata[i], depth + 1, out);
}

void hmp_info_qom_tree(Hmp *h, const HmpInfoQomTreeArgs *args)
{
    Error *err = NULL;
    Obj *o = args->path ? resolve(h->vm, args->path, &err) : h->vm->machine;

    if (o) {
        print_tree(o, 0, h->out);
        return;
    }
    g_string_append_printf(h->out, "%s\n", err ? error_text(err) : "there is no machine");
    error_free(err);
}

void hmp_info_regs(Hmp *h, const HmpInfoRegsArgs *args)
{
    Dev *d = vm_find_dev(h->vm, args->device);

    if (d)
        dev_print_regs(d, h->out);
    else
        g_string_append_printf(h->out, "Error: Device '%s' not found\n", args->device);
}

void hmp_qom_list(Hmp *h, const HmpQomListArgs *args)
{
    ObjectPropertyInfoList l = { NULL, 0 };
    QomListArgs q = { args->path };
    Error *err = NULL;

    if (!args->path)
        g_string_append(h->out, "/\n");
    else if (!qmp_qom_list(h->vm, &q, &l, &err))
        hmp_say_error(h, err);
    for (size_t i = 0; i < l.n; i++)
        g_string_append_printf(h->out, "%s (%s)\n", l.v[i].name, l.v[i].type);
    api_clear(&api_ObjectPropertyInfoList, &l);
}

void hmp_qom_get(Hmp *h, const HmpQomGetArgs *args)
{
    QomGetArgs q = { args->path, args->property };
    JVal *v = NULL;
    Error *err = NULL;

    if (qmp_qom_get(h->vm, &q, &v, &err)) {
        j_write(v, h->out, true);
        g_string_append_c(h->out, '\n');
        j_free(v);
    } else {
        hmp_say_error(h, err);
    }
}
