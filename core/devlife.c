/* core/devlife.c - how devices come; how they go is devleave.c. VM lock. */
#include "core/machine.h"
#include "core/priv.h"

/* ---- creation ---- */
static bool dev_init(Obj *o, Error **err)
{
    Dev *d = (Dev *)o;
    const Layout *l = core__layout(d->cls);

    d->nout = l->nout;
    if (d->nout)
        d->out = g_new0(Irq, d->nout);
    d->regions = g_new0(Region *, MAX(d->cls->nbanks, 1));
    for (unsigned i = 0; i < d->cls->nbanks; i++)
        d->regions[i] = dev_region_bank(d, &d->cls->banks[i]);
    return true;
}

static void dev_fini(Obj *o)
{
    Dev *d = (Dev *)o;

    d->life = LIFE_DRAINED;
    core__timers_stop(d);
    core__state_free(d);
    core__leave_bus(d);
    g_free(d->regions);
    g_free(d->out);
    g_free(d->id);
}

const ObjClass core__device_class = { .name = "device", .desc = "a device", .size = sizeof(Dev), .init = dev_init, .fini = dev_fini };

typedef struct Making {
    const char *id;
    Bus *bus;
    const DevClass *cls;
} Making;

static bool apply_one(Obj *o, const char *prop, const char *value, Error **err)
{
    g_autoptr(Opts) one = opts_new();

    opts_set(one, prop, value);
    return core__prop_apply(o, one, err);
}

static bool is_kind(const DevClass *c, const char *driver)
{
    for (const DevClass *k = c; k; k = k->base)
        if (k->obj.name && !strcmp(k->obj.name, core__type_alias(driver)))
            return true;
    return false;
}

/* The machine version's properties, then -global's. */
static bool apply_overrides(Dev *d, Error **err)
{
    Vm *vm = d->obj.vm;
    GPtrArray *g = vm->cfg.globals;

    for (size_t i = 0; vm->mc && i < vm->mc->ncompat; i++)
        if (is_kind(d->cls, vm->mc->compat[i].driver) &&
            !apply_one(&d->obj, vm->mc->compat[i].prop, vm->mc->compat[i].value, err))
            return false;
    for (guint i = 0; g && i < g->len; i++) {
        char **row = g->pdata[i];

        if (is_kind(d->cls, row[0]) && !apply_one(&d->obj, row[1], row[2], err))
            return false;
    }
    return true;
}

static bool prepare(Obj *o, void *arg, Error **err)
{
    Making *m = arg;
    Dev *d = (Dev *)o;

    d->cls = m->cls;
    d->layout = core__layout(m->cls);
    d->id = g_strdup(m->id);
    d->bus = m->bus;
    d->hot = o->vm->priv->started;
    d->dma = o->vm->mem;
    core__timers_init(d);
    core__reset_fields(d); /* init sees reset values */
    return apply_overrides(d, err);
}

static bool plug_chain(const DevClass *c, Dev *d, Error **err)
{
    if (c->base && !plug_chain(c->base, d, err))
        return false;
    return !c->plug || c->plug(d, err);
}

typedef struct Place {
    const Dev *self, *other;
    const char *index;
} Place;

static char *bootindex_of(const Dev *d)
{
    return obj_prop_find(d->obj.cls, "bootindex") ? obj_prop_get((Obj *)(uintptr_t)&d->obj, "bootindex", NULL) : NULL;
}

static void same_place(Dev *d, void *arg)
{
    Place *p = arg;
    g_autofree char *index = d == p->self ? NULL : bootindex_of(d);

    if (index && !strcmp(index, p->index))
        p->other = d;
}

/* A place in the boot order is for one. */
static bool own_place(const Dev *d, Error **err)
{
    g_autofree char *index = bootindex_of(d);
    Place p = { d, NULL, index };

    if (index && strcmp(index, "-1"))
        vm_foreach_dev(d->obj.vm, same_place, &p);
    return !p.other || fail(err, "bootindex=%s is that of another %s already", index, p.other->cls->obj.name);
}

static bool join_bus(Dev *d, Error **err)
{
    Bus *b = d->bus;

    if (!b)
        return true;
    if (b->cls->plug && !b->cls->plug(b, d, err))
        return false;
    g_ptr_array_add(b->devs, d);
    return true;
}

static bool find_bus(Vm *vm, const DevClass *c, Bus **bus, Error **err)
{
    const char *type = dev_class_bus(c);

    if (!type) {
        *bus = NULL;
        return true;
    }
    if (!*bus) {
        *bus = bus_find_type(vm, type);
        if (!*bus) {
            fail(err, "No '%s' bus found for device '%s'", type, c->obj.name);
            return error_hint(err, "this machine has no such bus, or all its places are taken");
        }
    }
    if (strcmp((*bus)->cls->type, type))
        return fail(err, "Device '%s' can't go on %s bus", c->obj.name, (*bus)->cls->type);
    if ((*bus)->max && (*bus)->devs->len >= (*bus)->max)
        return fail(err, "Bus '%s' is full", (*bus)->obj.name);
    return true;
}

static Dev *build(Vm *vm, Making *m, Obj *parent, Opts *props, Error **err)
{
    Dev *d = (Dev *)core__obj_make(&m->cls->obj, parent, m->id, props, prepare, m, err);

    if (!d)
        return NULL;
    if (!own_place(d, err) || !join_bus(d, err) || !plug_chain(m->cls, d, err)) {
        obj_free(&d->obj);
        return NULL;
    }
    d->realized = true;
    dev_reset(d);
    return d;
}

Dev *dev_new(Vm *vm, const char *driver, const char *id, Bus *bus, Obj *parent, Opts *props, Error **err)
{
    Making m = { id, bus, dev_class_find(driver) };
    Dev *d;

    if (!m.cls) {
        fail(err, "'%s' is not a valid device model name", driver);
        error_hint(err, "-device help lists what there is");
        return NULL;
    }
    if (!find_bus(vm, m.cls, &m.bus, err))
        return NULL;
    mem_begin(vm);
    d = build(vm, &m, parent ? parent : vm->unattached, props, err);
    mem_commit(vm);
    if (d && vm->priv->started && d->bus && d->bus->cls->arrived)
        d->bus->cls->arrived(d->bus, d);
    return d;
}

static Dev *from_opts(Vm *vm, Bus *bus, Opts *o, Obj *parent, Error **err)
{
    g_autofree char *driver = opts_take(o, "driver"), *id = opts_take(o, "id"), *bus_name = opts_take(o, "bus");

    if (!driver) {
        fail(err, "Parameter 'driver' is missing");
        return NULL;
    }
    if (bus_name) {
        bus = bus_find(vm, bus_name);
        if (!bus) {
            fail(err, "Bus '%s' not found", bus_name);
            return NULL;
        }
    }
    if (id && vm->peripheral && obj_child(vm->peripheral, id)) {
        fail(err, "Duplicate device ID '%s'", id);
        return NULL;
    }
    if (!parent)
        parent = id ? vm->peripheral : vm->peripheral_anon;
    return dev_new(vm, driver, id, bus, parent, o, err);
}

Dev *dev_plug(Vm *vm, Bus *bus, const char *text, Error **err)
{
    g_autoptr(Opts) o = opts_parse(text, "driver", err);

    return o ? from_opts(vm, bus, o, vm->unattached, err) : NULL;
}

static bool may_come(Vm *vm, const DevClass *c, const Opts *o, Error **err)
{
    const char *name = opts_peek(o, "bus");
    Bus *bus = name ? bus_find(vm, name) : NULL;

    if (c->no_user) {
        fail(err, "Parameter 'driver' expects a pluggable device type");
        return error_hint(err, "'%s' is part of machines and cannot be added", c->obj.name);
    }
    if (!vm->priv->started || (name && !bus))
        return true;
    if (!find_bus(vm, c, &bus, err))
        return false;
    if (bus && (c->hotplug || !bus->cls->hotplug) && !core__bus_takes(bus))
        return fail(err, "Bus '%s' does not support hotplugging", bus->obj.name);
    return c->hotplug || fail(err, "Device '%s' does not support hotplugging", c->obj.name);
}

bool dev_add(Vm *vm, Opts *o, Error **err)
{
    const char *driver = opts_peek(o, "driver");
    const DevClass *c = driver ? dev_class_find(driver) : NULL;

    if (c && !may_come(vm, c, o, err))
        return false;
    return from_opts(vm, NULL, o, NULL, err) != NULL;
}
