/*
 * core/obj.c - the object tree: classes, creation and unwinding, paths. Properties are in prop.c.
 * Invariants: an object is in its parent's children exactly while it lives; whatever it owns is released
 * newest first after its children and its fini.
 */
#include "core/obj.h"
#include "core/priv.h"
#include <unistd.h>

extern const ObjClass *const __start_objclasses[] __attribute__((weak));
extern const ObjClass *const __stop_objclasses[] __attribute__((weak));

typedef struct Owned {
    void *p;
    void (*release)(void *p);
} Owned;

static const ObjClass container_class = { .name = "container", .desc = "a folder of objects", .size = sizeof(Obj) };

/* ---- classes ---- */
typedef struct Alias {
    const char *kind, *from, *to;
} Alias;
static const Alias aliases[] = {
#define TYPE_ALIAS(from, to) { NULL, from, to },
#define PROP_ALIAS(type, from, to) { type, from, to },
#include "core/compat.def"
#undef TYPE_ALIAS
#undef PROP_ALIAS
};

const char *core__type_alias(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++)
        if (!aliases[i].kind && !strcmp(aliases[i].from, name))
            return aliases[i].to;
    return name;
}

const char *core__prop_alias(const ObjClass *cls, const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++) {
        const Alias *a = &aliases[i];

        if (!a->kind || strcmp(a->from, name))
            continue;
        for (const ObjClass *c = cls; c; c = core__class_parent(c))
            if (!strcmp(c->name, a->kind))
                return a->to;
    }
    return name;
}

void obj_class_foreach(void (*fn)(const ObjClass *c, void *arg), void *arg)
{
    for (const ObjClass *const *p = __start_objclasses; p < __stop_objclasses; p++)
        fn(*p, arg);
    core__dev_classes(fn, arg);
}

typedef struct Wanted {
    const char *name;
    const ObjClass *found;
} Wanted;

static void match(const ObjClass *c, void *arg)
{
    Wanted *w = arg;

    if (!strcmp(c->name, w->name))
        w->found = c;
}

const ObjClass *obj_class_find(const char *name)
{
    Wanted w = { core__type_alias(name), NULL };

    obj_class_foreach(match, &w);
    return w.found;
}

bool obj_is(const Obj *o, const ObjClass *cls)
{
    for (const ObjClass *c = o->cls; c; c = core__class_parent(c))
        if (c == cls)
            return true;
    return false;
}

/* ---- scopes ---- */
void *own(Obj *o, void *p, void (*release)(void *))
{
    Owned *w;

    if (!p)
        return NULL;
    if (!o->scope)
        o->scope = g_ptr_array_new();
    w = g_new(Owned, 1);
    *w = (Owned){ p, release };
    g_ptr_array_add(o->scope, w);
    return p;
}

static void close_fd(void *p) { close(GPOINTER_TO_INT(p) - 1); }

int own_fd(Obj *o, int fd)
{
    if (fd >= 0)
        own(o, GINT_TO_POINTER(fd + 1), close_fd); /* 0 is a descriptor, NULL is not recorded */
    return fd;
}

void disown(Obj *o, void *p)
{
    for (guint i = o->scope ? o->scope->len : 0; i-- > 0;) {
        Owned *w = o->scope->pdata[i];

        if (w->p == p) {
            g_free(w);
            g_ptr_array_remove_index(o->scope, i);
            return;
        }
    }
}

void core__scope_foreach(Obj *o, void (*release)(void *), void (*fn)(void *p))
{
    for (guint i = 0; o->scope && i < o->scope->len; i++) {
        Owned *w = o->scope->pdata[i];

        if (w->release == release)
            fn(w->p);
    }
}

static void release_scope(Obj *o)
{
    while (o->scope && o->scope->len) {
        Owned *w = g_ptr_array_remove_index(o->scope, o->scope->len - 1);

        w->release(w->p);
        g_free(w);
    }
    if (o->scope)
        g_ptr_array_free(o->scope, TRUE);
}

/* ---- tree ---- */
Obj *obj_child(const Obj *parent, const char *name)
{
    for (guint i = 0; parent->children && i < parent->children->len; i++) {
        Obj *c = parent->children->pdata[i];

        if (!strcmp(c->name, name))
            return c;
    }
    return NULL;
}

static char *free_name(const Obj *parent)
{
    guint n = 0;

    for (guint i = 0; parent && parent->children && i < parent->children->len; i++) {
        const char *name = ((Obj *)parent->children->pdata[i])->name;

        if (g_str_has_prefix(name, "device["))
            n = MAX(n, (guint)g_ascii_strtoull(name + 7, NULL, 10) + 1);
    }
    return g_strdup_printf("device[%u]", n);
}

static void link_to(Obj *o, Obj *parent)
{
    o->parent = parent;
    if (!parent)
        return;
    o->vm = parent->vm;
    if (!parent->children)
        parent->children = g_ptr_array_new();
    g_ptr_array_add(parent->children, o);
}

static bool init_chain(const ObjClass *c, Obj *o, Error **err)
{
    const ObjClass *up = core__class_parent(c);

    if (up && !init_chain(up, o, err))
        return false;
    return !c->init || c->init(o, err);
}

static void fini_chain(Obj *o, const ObjClass *last_done)
{
    for (const ObjClass *c = last_done; c; c = core__class_parent(c))
        if (c->fini)
            c->fini(o);
}

Obj *core__obj_make(const ObjClass *cls, Obj *parent, const char *name, Opts *props,
                    bool (*prepare)(Obj *o, void *arg, Error **err), void *arg, Error **err)
{
    Obj *o;

    if (parent && name && obj_child(parent, name)) {
        fail(err, "'%s' is already in use", name);
        return NULL;
    }
    o = g_malloc0(cls->size);
    o->cls = cls;
    o->name = name ? g_strdup(name) : free_name(parent);
    link_to(o, parent);
    core__prop_defaults(o);
    if ((prepare && !prepare(o, arg, err)) || (props && !core__prop_apply(o, props, err)) ||
        !init_chain(cls, o, err)) {
        obj_free(o);
        return NULL;
    }
    return o;
}

Obj *obj_new(const ObjClass *cls, Obj *parent, const char *name, Opts *props, Error **err)
{
    return core__obj_make(cls, parent, name, props, NULL, NULL, err);
}

void obj_free(Obj *o)
{
    if (!o)
        return;
    while (o->children && o->children->len)
        obj_free(o->children->pdata[o->children->len - 1]);
    fini_chain(o, o->cls);
    release_scope(o);
    core__prop_release(o);
    if (o->parent)
        g_ptr_array_remove(o->parent->children, o);
    if (o->children)
        g_ptr_array_free(o->children, TRUE);
    g_clear_pointer(&o->name, g_free);
    if (o->vm && core__is_dev(o->cls))
        rcu_retire(o, g_free); /* a vCPU may be on its way in; it will find the device gone */
    else
        g_free(o);
}

Obj *obj_container(Obj *parent, const char *name)
{
    Obj *o = obj_child(parent, name);

    return o ? o : obj_new(&container_class, parent, name, NULL, &abort_on_error);
}

Obj *obj_find(Obj *root, const char *path)
{
    char **v = g_strsplit(path, "/", -1);
    Obj *o = root;

    for (char **p = v; *p && o; p++)
        if (**p)
            o = obj_child(o, *p);
    g_strfreev(v);
    return o;
}

char *obj_path(const Obj *o)
{
    GString *s = g_string_new(NULL);

    for (; o && o->parent; o = o->parent) {
        g_string_prepend(s, o->name);
        g_string_prepend_c(s, '/');
    }
    if (!s->len)
        g_string_append_c(s, '/');
    return g_string_free(s, FALSE);
}
