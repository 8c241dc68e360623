/*
 * core/devlife.c - how devices come and go. VM lock.
 *
 *   new -> realized (LIVE) -> UNPLUGGED (regions, timers, wires off) -> DRAINED -> freed, DEVICE_DELETED
 *
 * Invariant: own() of a device releases only in the last step, when no request of it is in flight.
 */
#include "core/api/qom.h"
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

static void leave_bus(Dev *d)
{
    Bus *b = d->bus;

    if (b && g_ptr_array_remove(b->devs, d) && b->cls->unplug)
        b->cls->unplug(b, d);
    d->bus = NULL;
}

static void dev_fini(Obj *o)
{
    Dev *d = (Dev *)o;

    d->life = LIFE_DRAINED;
    core__timers_stop(d);
    core__state_free(d);
    leave_bus(d);
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
            fail(err, "no '%s' bus found for device '%s'", type, c->obj.name);
            return error_hint(err, "this machine has no such bus, or all its places are taken");
        }
    }
    if (strcmp((*bus)->cls->type, type))
        return fail(err, "device '%s' cannot go on a %s bus", c->obj.name, (*bus)->cls->type);
    if ((*bus)->max && (*bus)->devs->len >= (*bus)->max)
        return fail(err, "bus '%s' is full", (*bus)->obj.name);
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
    return d;
}

static Dev *from_opts(Vm *vm, Bus *bus, Opts *o, Obj *parent, Error **err)
{
    g_autofree char *driver = opts_take(o, "driver"), *id = opts_take(o, "id"), *bus_name = opts_take(o, "bus");

    if (!driver) {
        fail(err, "-device: the driver is missing");
        return NULL;
    }
    if (bus_name) {
        bus = bus_find(vm, bus_name);
        if (!bus) {
            fail(err, "bus '%s' not found", bus_name);
            return NULL;
        }
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

bool dev_add(Vm *vm, Opts *o, Error **err)
{
    const char *driver = opts_peek(o, "driver");
    const DevClass *c = driver ? dev_class_find(driver) : NULL;

    if (c && c->no_user)
        return fail(err, "'%s' is part of machines and cannot be added", driver);
    if (c && vm->priv->started && !c->hotplug)
        return fail(err, "device '%s' does not support hotplugging", driver);
    return from_opts(vm, NULL, o, NULL, err) != NULL;
}

/* ---- leaving ---- */
static void unplug_chain(const DevClass *c, Dev *d)
{
    for (; c; c = c->base)
        if (c->unplug)
            c->unplug(d);
}

static bool is_drained(const Dev *d)
{
    for (const DevClass *c = d->cls; c; c = c->base)
        if (c->drained && !c->drained(d))
            return false;
    return d->depth == 0;
}

static void doors_off(Dev *d)
{
    Vm *vm = d->obj.vm;

    unplug_chain(d->cls, d);
    for (unsigned i = 0; i < d->nout; i++) {
        irq_set(&d->out[i], false);
        d->out[i].set = NULL;
    }
    core__timers_stop(d);
    mem_begin(vm);
    core__unmap_owned(&d->obj);
    leave_bus(d);
    mem_commit(vm);
    d->life = LIFE_UNPLUGGED;
}

static void free_and_tell(Dev *d)
{
    Vm *vm = d->obj.vm;
    g_autofree char *id = g_strdup(d->id), *path = obj_path(&d->obj);

    d->life = LIFE_DRAINED;
    obj_free(&d->obj);
    event_device_deleted(vm, &(EventDeviceDeleted){ id, path });
}

static bool try_free(void *arg)
{
    Dev *d = arg;

    if (!is_drained(d))
        return true;
    free_and_tell(d);
    return false;
}

void dev_unplug_now(Dev *d)
{
    if (d->life != LIFE_LIVE)
        return;
    doors_off(d);
    if (is_drained(d))
        free_and_tell(d);
    else
        loop_after(d->obj.vm->loop, 1 * MS, try_free, d);
}

bool dev_del(Vm *vm, Dev *d, Error **err)
{
    if (!d->cls->hotplug)
        return fail(err, "device '%s' does not support hotplugging", d->cls->obj.name);
    if (d->bus && !d->bus->cls->hotplug)
        return fail(err, "bus '%s' does not support hotplugging", d->bus->obj.name);
    if (d->life != LIFE_LIVE)
        return fail(err, "device '%s' is already leaving", d->id ? d->id : d->obj.name);
    dev_unplug_now(d);
    return true;
}
