/*
 * core/dev.c - device classes, entry and settle, wires, reset. Creation and unplug: devlife.c.
 * Invariants: depth > 0 exactly while code of the device runs under an entry point; outputs with a level
 * function are recomputed when the outermost entry ends; a device that is no longer live neither is
 * entered by wires nor answers accesses.
 */
#include "core/priv.h"
#include "util/trace.h"
#include <stdarg.h>

extern const DevEntry *const __start_devclasses[] __attribute__((weak));
extern const DevEntry *const __stop_devclasses[] __attribute__((weak));

TRACE_POINT(guest_error_point, "guest_error", "");
TRACE_POINT(io_read_point, "io.read", "-> %#" PRIx64 " (offset %#" PRIx64 ", %" PRIu64 " bytes)");
TRACE_POINT(io_write_point, "io.write", "<- %#" PRIx64 " (offset %#" PRIx64 ", %" PRIu64 " bytes)");

enum { SETTLE_MAX = 16, ERRORS_PER_SEC = 50 };

/* ---- classes ---- */
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

        return d->base ? &d->base->obj : &core__device_class;
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
    trace(&io_read_point, io->d->cls->obj.name, *val, off, size, 0);
    return r;
}

static MemResult devio_write(void *p, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    DevIo *io = p;
    MemResult r;

    if (!io->orig->write || !core__dev_may_enter(io->d))
        return MEM_REFUSED;
    trace(&io_write_point, io->d->cls->obj.name, val, off, size, 0);
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
    if (e->d->tap.fn)
        e->d->tap.fn(e->d->tap.arg, n, level);
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

bool dev_set_in(Dev *d, const char *name, uint64_t n, bool level)
{
    for (const DevClass *c = d->cls; c; c = c->base)
        for (unsigned i = 0; i < c->nins; i++)
            if ((!name || !strcmp(c->ins[i].name, name)) && n < MAX(c->ins[i].count, 1)) {
                InEnd e = { d, &c->ins[i] };

                in_set(&e, (unsigned)n, level);
                return true;
            }
    return false;
}

/* ---- listening on wires ---- */
bool dev_tap_in(Dev *d, IrqTap tap)
{
    bool any = false;

    for (const DevClass *c = d->cls; c; c = c->base)
        any |= c->nins > 0;
    if (any)
        d->tap = tap;
    return any;
}

typedef struct OutTap {
    IrqTap tap;
    unsigned n;
    Irq to; /* where the wire goes */
} OutTap;

static void out_set(void *chip, unsigned n, bool level)
{
    OutTap *t = chip;

    t->tap.fn(t->tap.arg, t->n, level);
    if (t->to.set)
        t->to.set(t->to.chip, t->to.n, level);
}

bool dev_tap_out(Dev *d, const char *name, IrqTap tap)
{
    Irq *first = name ? find_out(d, name, 0) : d->out;
    unsigned n = 0;

    if (!first || !d->nout)
        return false;
    for (Irq *w = first; w < d->out + d->nout && (!name || find_out(d, name, n) == w); w++, n++) {
        OutTap *t = g_new(OutTap, 1);

        *t = (OutTap){ tap, n, *w };
        w->set = out_set;
        w->chip = own(&d->obj, t, g_free);
    }
    return true;
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

/* ---- what the guest does wrong ---- */
static void guest_message(Dev *d, LogItem item, const char *kind, const char *fmt, va_list ap)
{
    int64_t now = host_now();
    g_autofree char *text = NULL;

    trace(&guest_error_point, d->cls->obj.name, 0, 0, 0, 0);
    if (!log_on(item) && !*guest_error_point.on)
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
