/*
 * core/devleave.c - how devices go. VM lock.
 *
 *   LIVE -(dev_del: the guest is asked)-> LIVE -(dev_unplug_now)-> UNPLUGGED (regions, timers, wires off) -> DRAINED -> freed,
 *   DEVICE_DELETED
 *
 * Invariants: own() of a device releases only in the last step, when no request of it is in flight; a device goes after those
 * that were on its buses.
 */
#include "core/api/qom.h"
#include "core/priv.h"

void core__leave_bus(Dev *d)
{
    Bus *b = d->bus;

    if (b && g_ptr_array_remove(b->devs, d) && b->cls->unplug)
        b->cls->unplug(b, d);
    d->bus = NULL;
}

bool core__bus_takes(const Bus *b) { return b->cls->hotplug && !(b->cls->fixed && b->cls->fixed(b)); }

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
    return d->depth == 0 && d->guests == 0;
}

/* What is on its buses goes first. Depth: of the tree of buses; each call empties a place of a bus. */
static void empty_buses(Dev *d)
{
    for (guint i = 0; d->obj.children && i < d->obj.children->len; i++) {
        Obj *o = d->obj.children->pdata[i];
        Bus *b = core__is_bus(d->obj.vm, o) ? (Bus *)(void *)o : NULL;

        while (b && b->devs->len)
            dev_unplug_now(b->devs->pdata[b->devs->len - 1]);
    }
}

static void doors_off(Dev *d)
{
    Vm *vm = d->obj.vm;

    d->host = d->bus ? d->bus->controller : NULL;
    if (d->host)
        d->host->guests++;
    unplug_chain(d->cls, d);
    for (unsigned i = 0; i < d->nout; i++) {
        irq_set(&d->out[i], false);
        d->out[i].set = NULL;
    }
    core__timers_stop(d);
    mem_begin(vm);
    core__unmap_owned(&d->obj);
    core__leave_bus(d);
    mem_commit(vm);
    d->life = LIFE_UNPLUGGED;
}

static const char *inner_name(const DevClass *c)
{
    for (; c; c = c->base)
        if (c->inner)
            return c->inner;
    return NULL;
}

static void free_and_tell(Dev *d)
{
    Vm *vm = d->obj.vm;
    g_autofree char *id = g_strdup(d->id), *path = obj_path(&d->obj), *inside = NULL;

    if (inner_name(d->cls))
        inside = g_strdup_printf("%s/%s", path, inner_name(d->cls));
    d->life = LIFE_DRAINED;
    if (d->host)
        d->host->guests--;
    obj_free(&d->obj);
    if (inside)
        event_device_deleted(vm, &(EventDeviceDeleted){ NULL, inside });
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
    empty_buses(d);
    doors_off(d);
    if (is_drained(d))
        free_and_tell(d);
    else
        loop_after(d->obj.vm->loop, 1 * MS, try_free, d);
}

void dev_asked_for(Dev *d, int64_t ns)
{
    d->asked = true;
    d->asked_until = clock_now(d) + ns;
}

/* Messages are QEMU's: some clients show them. */
bool dev_del(Vm *vm, Dev *d, Error **err)
{
    g_autofree char *path = obj_path(&d->obj);

    if (d->life != LIFE_LIVE || (d->asked && clock_now(d) < d->asked_until))
        return fail(err, "Device %s is already in the process of unplug", d->id ? d->id : path);
    if (d->bus && !core__bus_takes(d->bus))
        return fail(err, "Bus '%s' does not support hotplugging", d->bus->obj.name);
    if (!d->cls->hotplug || !d->bus)
        return fail(err, "Device '%s' does not support hotplugging", d->cls->obj.name);
    if (vm->priv->started && d->bus->cls->ask)
        return d->bus->cls->ask(d->bus, d, err);
    dev_unplug_now(d);
    return true;
}

static void find_asked(Dev *d, void *arg)
{
    if (d->asked && d->life == LIFE_LIVE)
        *(Dev **)arg = d;
}

/* One at a time: others may go with it. */
void core__drop_asked(Vm *vm)
{
    for (Dev *d;;) {
        d = NULL;
        vm_foreach_dev(vm, find_asked, &d);
        if (!d)
            return;
        dev_unplug_now(d);
    }
}
