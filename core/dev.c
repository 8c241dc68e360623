/*
 * core/dev.c - the life of devices: classes, creation, entry and settle, wires, reset, unplug.
 * Invariants: depth > 0 exactly while code of the device runs under an entry point; outputs with a level
 * function are recomputed when the outermost entry ends; a device that is no longer live neither is
 * entered by wires nor answers accesses.
 *
 *   new -> realized (LIVE) -> UNPLUGGED (regions, timers, wires off) -> DRAINED -> freed
 */
#include "core/machine.h"
#include "core/priv.h"
#include "util/trace.h"
#include <stdarg.h>

extern const DevEntry *const __start_devclasses[] __attribute__((weak));
extern const DevEntry *const __stop_devclasses[] __attribute__((weak));

TRACE_POINT(guest_error_point, "guest_error", "");

enum { SETTLE_MAX = 16, ERRORS_PER_SEC = 50 };

/* ---- classes ---- */
static bool dev_init(Obj *o, Error **err);
static void dev_fini(Obj *o);
static const ObjClass device_class = { .name = "device", .desc = "a device", .size = sizeof(Dev), .init = dev_init, .fini = dev_fini };

static GHashTable *dev_classes(void)
{
    static GHashTable *known; /* of all ObjClass that head a DevClass; derived from const tables */

    if (g_once_init_enter(&known)) {
        GHashTable *h = g_hash_table_new(NULL, NULL);

        for (const DevEntry *const *p = __start_devclasses; p < __stop_devclasses; p++)
            for (const DevClass *c = (*p)->cls; c; c = c->base)
                g_hash_table_add(h, (gpointer)&c->obj);
        g_once_init_leave(&known, h);
    }
    return known;
}

bool core__is_dev(const ObjClass *c) { return g_hash_table_contains(dev_classes(), c); }

const ObjClass *core__class_parent(const ObjClass *c)
{
    if (core__is_dev(c)) {
        const DevClass *d = (const DevClass *)(const void *)c;

        return d->base ? &d->base->obj : &device_class;
    }
    return c->parent;
}

void core__dev_classes(void (*fn)(const ObjClass *c, void *arg), void *arg)
{
    for (const DevEntry *const *p = __start_devclasses; p < __stop_devclasses; p++)
        fn(&(*p)->cls->obj, arg);
}

void dev_class_foreach(void (*fn)(const DevClass *c, void *arg), void *arg)
{
    for (const DevEntry *const *p = __start_devclasses; p < __stop_devclasses; p++)
        fn((*p)->cls, arg);
}

void dev_entry_foreach(void (*fn)(const DevEntry *e, void *arg), void *arg)
{
    for (const DevEntry *const *p = __start_devclasses; p < __stop_devclasses; p++)
        fn(*p, arg);
}

const DevClass *dev_class_find(const char *name)
{
    const char *real = core__type_alias(name);

    for (const DevEntry *const *p = __start_devclasses; p < __stop_devclasses; p++)
        if (!strcmp((*p)->cls->obj.name, real) || !strcmp((*p)->cls->obj.name, name))
            return (*p)->cls;
    return NULL;
}

const char *dev_class_bus(const DevClass *c)
{
    for (; c; c = c->base)
        if (c->bus)
            return strcmp(c->bus, "System") ? c->bus : NULL;
    return NULL;
}

void core__retire(void *p) { rcu_retire(p, g_free); }

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
    if (!join_bus(d, err) || !plug_chain(m->cls, d, err)) {
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

/* ---- entry and settle ---- */
static void settle_outs(Dev *d)
{
    const Layout *l = d->layout;
    unsigned at = 0;

    for (guint i = 0; i < l->chain->len; i++) {
        const DevClass *c = l->chain->pdata[i];

        for (unsigned k = 0; k < c->nouts; k++) {
            const Out *o = &c->outs[k];

            for (unsigned n = 0; n < MAX(o->count, 1); n++, at++)
                if (o->level_n)
                    irq_set(&d->out[at], o->level_n(d, n));
                else if (o->level)
                    irq_set(&d->out[at], o->level(d));
        }
    }
}

/* A wire may come back to the device while it settles: then once more, but not for ever. */
void dev_settle(Dev *d)
{
    if (!d->nout)
        return;
    if (d->settling) {
        d->unsettled = true;
        return;
    }
    d->settling = true;
    for (unsigned i = 0; i < SETTLE_MAX; i++) {
        d->unsettled = false;
        settle_outs(d);
        if (!d->unsettled)
            break;
    }
    d->settling = false;
}

void dev_enter(Dev *d) { d->depth++; }

void dev_leave(Dev *d)
{
    g_assert(d->depth > 0);
    if (--d->depth == 0 && d->life == LIFE_LIVE)
        dev_settle(d);
}

bool core__dev_may_enter(Dev *d)
{
    if (LIKELY(!d->depth && !d->settling && d->life == LIFE_LIVE))
        return true;
    if (d->life == LIFE_LIVE)
        guest_error(d, "an access of the device to itself is refused");
    return false;
}

typedef struct DevIo {
    Dev *d;
    const RegionOps *orig;
    RegionOps ops;
} DevIo;

static MemResult devio_read(void *p, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    DevIo *io = p;
    MemResult r;

    *val = bytes_mask(size);
    if (!io->orig->read || (!at.peek && !core__dev_may_enter(io->d)))
        return MEM_REFUSED;
    if (at.peek)
        return io->orig->peek ? io->orig->peek(io->d, off, size, val) : MEM_REFUSED;
    dev_enter(io->d);
    r = io->orig->read(io->d, off, size, val, at);
    dev_leave(io->d);
    return r;
}

static MemResult devio_write(void *p, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    DevIo *io = p;
    MemResult r;

    if (!io->orig->write || !core__dev_may_enter(io->d))
        return MEM_REFUSED;
    dev_enter(io->d);
    r = io->orig->write(io->d, off, size, val, at);
    dev_leave(io->d);
    return r;
}

static MemResult devio_peek(const void *p, uint64_t off, unsigned size, uint64_t *val)
{
    const DevIo *io = p;

    return io->orig->peek(io->d, off, size, val);
}

static Lock *devio_lock(void *p)
{
    DevIo *io = p;

    return io->orig->lock(io->d);
}

Region *dev_region_io(Dev *d, const char *name, uint64_t size, const RegionOps *ops)
{
    DevIo *io;

    if (ops->flags & REGION_NO_LOCK) /* entry counts are guarded by the VM lock: such a device does its own */
        return region_io(&d->obj, name, size, ops, d);
    io = g_new0(DevIo, 1);
    io->d = d;
    io->orig = ops;
    io->ops = *ops;
    io->ops.read = devio_read;
    io->ops.write = devio_write;
    io->ops.peek = ops->peek ? devio_peek : NULL;
    io->ops.lock = ops->lock ? devio_lock : NULL;
    own(&d->obj, io, core__retire);
    return region_io(&d->obj, name, size, &io->ops, io);
}

Region *dev_region(Dev *d, unsigned bank) { return d->regions[bank]; }

/* ---- wires ---- */
static Irq *find_out(Dev *d, const char *name, unsigned n)
{
    const Layout *l = core__layout(d->cls);
    unsigned at = 0;

    for (guint i = 0; i < l->chain->len; i++) {
        const DevClass *c = l->chain->pdata[i];

        for (unsigned k = 0; k < c->nouts; k++) {
            if (!strcmp(c->outs[k].name, name) && n < MAX(c->outs[k].count, 1))
                return &d->out[at + n];
            at += MAX(c->outs[k].count, 1);
        }
    }
    return NULL;
}

Irq *dev_out(Dev *d, const char *name, unsigned n) { return find_out(d, name, n); }

void dev_wire(Dev *from, const char *out, unsigned n, Irq to)
{
    Irq *w = find_out(from, out, n);

    g_assert(w);
    w->set = to.set;
    w->chip = to.chip;
    w->n = to.n;
    if (w->set && w->level)
        w->set(w->chip, w->n, true);
}

typedef struct InEnd {
    Dev *d;
    const In *in;
} InEnd;

static void in_set(void *chip, unsigned n, bool level)
{
    InEnd *e = chip;

    if (e->d->life != LIFE_LIVE)
        return;
    dev_enter(e->d);
    e->in->set(e->d, n, level);
    dev_leave(e->d);
}

Irq dev_in(Dev *to, const char *in, unsigned n)
{
    for (const DevClass *c = to->cls; c; c = c->base)
        for (unsigned i = 0; i < c->nins; i++)
            if (!strcmp(c->ins[i].name, in) && n < MAX(c->ins[i].count, 1)) {
                InEnd *e = g_new(InEnd, 1);

                *e = (InEnd){ to, &c->ins[i] };
                own(&to->obj, e, g_free);
                return (Irq){ .set = in_set, .chip = e, .n = n };
            }
    g_error("%s has no input %s[%u]", to->cls->obj.name, in, n);
}

/* n sources, one line: high while any is. Levels of the ends follow from the sources' own. */
typedef struct Join {
    Irq to;
    unsigned n;
    bool level[];
} Join;

static void join_set(void *chip, unsigned n, bool level)
{
    Join *j = chip;
    bool any = false;

    j->level[n] = level;
    for (unsigned i = 0; i < j->n; i++)
        any |= j->level[i];
    irq_set(&j->to, any);
}

Irq irq_join(Obj *owner, Irq to, unsigned n, Irq *ends)
{
    Join *j = g_malloc0(sizeof(Join) + n * sizeof(bool));

    j->to = to;
    j->to.level = false;
    j->n = n;
    own(owner, j, g_free);
    for (unsigned i = 0; i < n; i++)
        ends[i] = (Irq){ .set = join_set, .chip = j, .n = i };
    return n ? ends[0] : to;
}

/* ---- reset ---- */
void dev_reset_state(Dev *d) { core__reset_fields(d); }

static void reset_done_chain(const DevClass *c, Dev *d)
{
    if (c->base)
        reset_done_chain(c->base, d);
    if (c->on_reset)
        c->on_reset(d);
}

void dev_reset_done(Dev *d)
{
    dev_enter(d);
    reset_done_chain(d->cls, d);
    dev_leave(d);
}

void dev_reset(Dev *d)
{
    dev_reset_state(d);
    dev_settle(d);
    dev_reset_done(d);
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
    if (id)
        vm_event(vm, "DEVICE_DELETED", "{\"device\": \"%s\", \"path\": \"%s\"}", id, path);
    else
        vm_event(vm, "DEVICE_DELETED", "{\"path\": \"%s\"}", path);
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

/* ---- what the guest does wrong ---- */
static void guest_message(Dev *d, LogItem item, const char *kind, const char *fmt, va_list ap)
{
    int64_t now = host_now();
    g_autofree char *text = NULL;

    trace(&guest_error_point, d->cls->obj.name, 0, 0, 0, 0);
    if (!log_on(item))
        return;
    if (now - d->errors_since > SEC) {
        d->errors_since = now;
        d->errors = 0;
    }
    if (d->errors++ >= ERRORS_PER_SEC)
        return;
    text = g_strdup_vprintf(fmt, ap);
    log_print("%s: %s (%s): %s%s\n", kind, d->id ? d->id : d->obj.name, d->cls->obj.name, text,
              d->errors == ERRORS_PER_SEC ? " (more are not shown this second)" : "");
}

void guest_error(Dev *d, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    guest_message(d, LOG_GUEST_ERROR, "guest error", fmt, ap);
    va_end(ap);
}

void guest_unimp(Dev *d, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    guest_message(d, LOG_UNIMP, "not modelled", fmt, ap);
    va_end(ap);
}
