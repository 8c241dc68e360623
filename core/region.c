/* core/region.c - the tree of regions. VM lock; changes between mem_begin and mem_commit are rendered once. */
#include "core/priv.h"

static void region_destroy(void *p)
{
    Region *r = p;

    if (r->subs)
        g_ptr_array_free(r->subs, TRUE);
    if (r->eventfds)
        g_array_free(r->eventfds, TRUE);
    g_free(r->name);
    g_free(r);
}

static void region_release(void *p)
{
    Region *r = p;

    region_unmap(r);
    if (r->subs)
        while (r->subs->len)
            region_unmap(r->subs->pdata[0]);
    rcu_retire(r, region_destroy);
}

static void unmap_one(void *p) { region_unmap(p); }

void core__unmap_owned(Obj *o) { core__scope_foreach(o, region_release, unmap_one); }

static Region *region_new(Obj *o, const char *name, RegionKind kind, uint64_t size)
{
    Region *r = g_new0(Region, 1);

    r->obj = o;
    r->vm = o->vm;
    r->name = g_strdup(name);
    r->kind = kind;
    r->size = size;
    r->enabled = true;
    return own(o, r, region_release);
}

Region *region_ram(Obj *o, const char *name, RamBlock *ram)
{
    Region *r = region_new(o, name, REGION_RAM, ram->size);

    r->ram = ram;
    return r;
}

Region *region_rom(Obj *o, const char *name, uint64_t size, Error **err)
{
    RamBlock *b = ram_new(o, name, size, err);
    Region *r;

    if (!b)
        return NULL;
    b->readonly = true;
    r = region_new(o, name, REGION_ROM, b->size);
    r->ram = b;
    return r;
}

Region *region_romd(Obj *o, const char *name, RamBlock *ram, const RegionOps *ops, void *opaque)
{
    Region *r = region_new(o, name, REGION_ROMD, ram->size);

    r->ram = ram;
    r->ops = ops;
    r->opaque = opaque;
    r->romd_on = true;
    return r;
}

Region *region_io(Obj *o, const char *name, uint64_t size, const RegionOps *ops, void *opaque)
{
    Region *r = region_new(o, name, REGION_IO, size);

    r->ops = ops;
    r->opaque = opaque;
    return r;
}

Region *region_box(Obj *o, const char *name, uint64_t size) { return region_new(o, name, REGION_BOX, size); }

Region *region_alias(Obj *o, const char *name, Region *of, uint64_t off, uint64_t size)
{
    Region *r = region_new(o, name, REGION_ALIAS, size);

    r->alias = of;
    r->alias_off = off;
    return r;
}

static void changed(Vm *vm)
{
    vm->priv->mem_changed = true;
    if (!vm->priv->mem_depth) {
        mem_begin(vm);
        mem_commit(vm);
    }
}

void mem_begin(Vm *vm) { vm->priv->mem_depth++; }

void mem_commit(Vm *vm)
{
    VmPriv *p = vm->priv;

    g_assert(p->mem_depth > 0);
    if (--p->mem_depth || !p->mem_changed)
        return;
    p->mem_changed = false;
    for (guint i = 0; i < p->spaces->len; i++)
        core__as_update(p->spaces->pdata[i]);
}

void region_map(Region *box, uint64_t at, Region *child, int priority)
{
    g_assert(!child->parent);
    if (!box->subs)
        box->subs = g_ptr_array_new();
    g_ptr_array_add(box->subs, child);
    child->parent = box;
    child->at = at;
    child->priority = priority;
    changed(box->vm);
}

void region_unmap(Region *child)
{
    if (!child->parent)
        return;
    g_ptr_array_remove(child->parent->subs, child);
    child->parent = NULL;
    changed(child->vm);
}

void region_move(Region *child, uint64_t at)
{
    if (child->at == at)
        return;
    child->at = at;
    changed(child->vm);
}

void region_set_enabled(Region *r, bool on)
{
    if (r->enabled == on)
        return;
    r->enabled = on;
    changed(r->vm);
}

void region_set_readonly(Region *r, bool ro)
{
    if (r->readonly == ro)
        return;
    r->readonly = ro;
    changed(r->vm);
}

void region_set_romd(Region *r, bool on)
{
    if (r->romd_on == on)
        return;
    r->romd_on = on;
    changed(r->vm);
}

void region_set_alias_off(Region *r, uint64_t off)
{
    if (r->alias_off == off)
        return;
    r->alias_off = off;
    changed(r->vm);
}

void region_set_size(Region *r, uint64_t size)
{
    if (r->size == size)
        return;
    r->size = size;
    changed(r->vm);
}

static bool event_is(const EventFd *e, uint64_t off, unsigned size, bool match, uint64_t val, int fd)
{
    return e->off == off && e->size == size && e->match == match && e->val == val && e->fd == fd;
}

void region_add_eventfd(Region *r, uint64_t off, unsigned size, bool match, uint64_t val, int fd)
{
    EventFd e;

    memset(&e, 0, sizeof(e)); /* views compare whole structures */
    e.off = off;
    e.size = size;
    e.match = match;
    e.val = val;
    e.fd = fd;
    if (!r->eventfds)
        r->eventfds = g_array_new(FALSE, FALSE, sizeof(EventFd));
    g_array_append_val(r->eventfds, e);
    changed(r->vm);
}

void region_del_eventfd(Region *r, uint64_t off, unsigned size, bool match, uint64_t val, int fd)
{
    for (guint i = 0; r->eventfds && i < r->eventfds->len; i++)
        if (event_is(&g_array_index(r->eventfds, EventFd, i), off, size, match, val, fd)) {
            g_array_remove_index(r->eventfds, i);
            changed(r->vm);
            return;
        }
}

static const char *kind_name(const FlatRange *f)
{
    switch (f->region->kind) {
    case REGION_RAM: return f->readonly ? "rom" : "ram";
    case REGION_ROM: return "rom";
    case REGION_ROMD: return f->romd ? "romd" : "i/o";
    default: return "i/o";
    }
}

static void print_tree(const Region *r, uint64_t base, unsigned depth, GString *out)
{
    uint64_t at = base + r->at;

    g_string_append_printf(out, "%*s%016" PRIx64 "-%016" PRIx64 " (prio %d): %s%s", 2 + 2 * (int)depth, "", at,
                           at + r->size - 1, r->priority, r->name, r->enabled ? "" : " [disabled]");
    if (r->kind == REGION_ALIAS)
        g_string_append_printf(out, " alias of %s @%016" PRIx64, r->alias->name, r->alias_off);
    g_string_append_c(out, '\n');
    for (guint i = 0; r->subs && i < r->subs->len && depth < 64; i++)
        print_tree(r->subs->pdata[i], at, depth + 1, out);
}

void as_print(AddrSpace *as, GString *out, bool flat)
{
    const FlatView *v = as->view;

    g_string_append_printf(out, "address-space: %s\n", as->name);
    if (!flat) {
        print_tree(as->root, 0, 0, out);
        return;
    }
    for (unsigned i = 0; i < v->n; i++)
        g_string_append_printf(out, "  %016" PRIx64 "-%016" PRIx64 ": %s %s @%016" PRIx64 "\n", v->v[i].at,
                               v->v[i].at + v->v[i].len - 1, v->v[i].region->name, kind_name(&v->v[i]), v->v[i].offset);
}
