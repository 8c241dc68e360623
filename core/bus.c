/* core/bus.c - buses, and walking the tree for devices. VM lock. */
#include "core/priv.h"
#include "core/dev.h"

static void bus_gone(void *p)
{
    Bus *b = p;

    for (guint i = 0; i < b->devs->len; i++)
        ((Dev *)b->devs->pdata[i])->bus = NULL;
    g_ptr_array_free(b->devs, TRUE);
    g_ptr_array_remove(b->obj.vm->priv->buses, b);
}

static bool start(Obj *o, void *arg, Error **err)
{
    Bus *b = (Bus *)o;
    VmPriv *p = o->vm->priv;

    b->cls = arg;
    b->controller = o->parent && core__is_dev(o->parent->cls) ? (Dev *)o->parent : NULL;
    b->devs = g_ptr_array_new();
    if (!p->buses)
        p->buses = g_ptr_array_new();
    g_ptr_array_add(p->buses, b);
    own(o, b, bus_gone);
    return true;
}

Bus *bus_new(const BusClass *c, Dev *controller, const char *name)
{
    g_assert(controller);
    return (Bus *)core__obj_make(&c->obj, &controller->obj, name, NULL, start, (void *)(uintptr_t)c, &abort_on_error);
}

bool core__is_bus(Vm *vm, const Obj *o)
{
    return vm->priv->buses && g_ptr_array_find(vm->priv->buses, o, NULL);
}

void bus_foreach(Vm *vm, void (*fn)(Bus *b, void *arg), void *arg)
{
    for (guint i = 0; vm->priv->buses && i < vm->priv->buses->len; i++)
        fn(vm->priv->buses->pdata[i], arg);
}

Bus *bus_find(Vm *vm, const char *name)
{
    for (guint i = 0; vm->priv->buses && i < vm->priv->buses->len; i++) {
        Bus *b = vm->priv->buses->pdata[i];

        if (*name == '/' ? &b->obj == obj_find(&vm->root, name) : !strcmp(b->obj.name, name))
            return b;
    }
    return NULL;
}

Bus *bus_find_type(Vm *vm, const char *type)
{
    for (guint i = 0; vm->priv->buses && i < vm->priv->buses->len; i++) {
        Bus *b = vm->priv->buses->pdata[i];

        if (!strcmp(b->cls->type, type) && (!b->max || b->devs->len < b->max))
            return b;
    }
    return NULL;
}

static void collect(Obj *o, GPtrArray *out)
{
    if (core__is_dev(o->cls))
        g_ptr_array_add(out, o);
    for (guint i = 0; o->children && i < o->children->len; i++)
        collect(o->children->pdata[i], out);
}

void vm_foreach_dev(Vm *vm, void (*fn)(Dev *d, void *arg), void *arg)
{
    GPtrArray *v = g_ptr_array_new();

    collect(&vm->root, v);
    for (guint i = 0; i < v->len; i++)
        fn(v->pdata[i], arg);
    g_ptr_array_free(v, TRUE);
}

typedef struct Search {
    const char *id;
    Dev *found;
} Search;

static void match(Dev *d, void *arg)
{
    Search *s = arg;

    if (d->id && !strcmp(d->id, s->id))
        s->found = d;
}

Dev *vm_find_dev(Vm *vm, const char *id)
{
    Search s = { id, NULL };
    Obj *o;

    if (*id == '/') {
        o = obj_find(&vm->root, id);
        return o && core__is_dev(o->cls) ? (Dev *)o : NULL;
    }
    vm_foreach_dev(vm, match, &s);
    if (!s.found && vm->peripheral) {
        o = obj_child(vm->peripheral, id);
        s.found = o && core__is_dev(o->cls) ? (Dev *)o : NULL;
    }
    return s.found;
}
