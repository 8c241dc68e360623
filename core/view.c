/*
 * core/view.c - rendering the region tree into an immutable flat view, and telling listeners what
 * changed. Invariants: a view's ranges are sorted, do not overlap, and are never changed after
 * publication; adjacent ranges that continue each other are one.
 */
#include "core/priv.h"

typedef __int128 Wide; /* addresses of a 64-bit space and their ends */

typedef struct Render {
    GArray *v; /* FlatRange, sorted */
} Render;

/* Put [at, end) of r at offset `off` wherever nothing lies yet. */
static void fill(Render *x, Region *r, uint64_t off, Wide at, Wide end, bool ro)
{
    guint i = 0;

    while (i < x->v->len && (Wide)g_array_index(x->v, FlatRange, i).at + g_array_index(x->v, FlatRange, i).len <= at)
        i++;
    while (at < end) {
        Wide hole = i < x->v->len ? (Wide)g_array_index(x->v, FlatRange, i).at : end;

        if (hole > end)
            hole = end;
        if (hole > at) {
            FlatRange f = { .region = r, .offset = off, .at = (uint64_t)at, .len = (uint64_t)(hole - at),
                            .readonly = ro || r->readonly || r->kind == REGION_ROM,
                            .romd = r->kind == REGION_ROMD && r->romd_on };

            g_array_insert_val(x->v, i, f);
            i++;
            off += (uint64_t)(hole - at);
            at = hole;
        }
        if (at < end) {
            const FlatRange *f = &g_array_index(x->v, FlatRange, i);
            Wide next = (Wide)f->at + f->len;

            off += (uint64_t)(next - at);
            at = next;
            i++;
        }
    }
}

static int by_priority(const void *a, const void *b)
{
    const Region *x = *(Region *const *)a, *y = *(Region *const *)b;

    return (y->priority > x->priority) - (y->priority < x->priority);
}

/* base: where offset 0 of r would lie; [lo, hi): the window left by the parents. */
static void render(Render *x, Region *r, Wide base, Wide lo, Wide hi, bool ro, unsigned depth)
{
    Wide at = base > lo ? base : lo, end = base + (Wide)r->size;

    if (end > hi)
        end = hi;
    if (!r->enabled || at >= end || depth > 64) /* 64: deeper trees are loops of aliases */
        return;
    ro = ro || r->readonly;
    if (r->kind == REGION_ALIAS) {
        render(x, r->alias, base - (Wide)r->alias_off, at, end, ro, depth + 1);
        return;
    }
    for (guint i = 0; r->subs && i < r->subs->len; i++) {
        Region *s = r->subs->pdata[i];

        render(x, s, base + (Wide)s->at, at, end, ro, depth + 1);
    }
    if (r->kind != REGION_BOX)
        fill(x, r, (uint64_t)(at - base), at, end, ro);
}

static bool continues(const FlatRange *a, const FlatRange *b)
{
    return a->region == b->region && a->at + a->len == b->at && a->offset + a->len == b->offset &&
           a->readonly == b->readonly && a->romd == b->romd;
}

static void collect_events(FlatView *v)
{
    GArray *ev = g_array_new(FALSE, FALSE, sizeof(FlatEvent));

    for (unsigned i = 0; i < v->n; i++) {
        const FlatRange *f = &v->v[i];
        const GArray *e = f->region->eventfds;

        for (guint k = 0; e && k < e->len; k++) {
            FlatEvent x = { .e = g_array_index(e, EventFd, k), .range = *f };

            if (x.e.off < f->offset || x.e.off - f->offset >= f->len)
                continue;
            x.at = f->at + (x.e.off - f->offset);
            g_array_append_val(ev, x);
        }
    }
    v->nev = ev->len;
    v->ev = (FlatEvent *)(void *)g_array_free(ev, FALSE);
}

static void sort_tree(Region *r, unsigned depth)
{
    if (r->kind == REGION_ALIAS && depth < 64)
        sort_tree(r->alias, depth + 1);
    if (!r->subs || depth >= 64)
        return;
    g_ptr_array_sort(r->subs, by_priority); /* stable: the earlier mapped wins among equals */
    for (guint i = 0; i < r->subs->len; i++)
        sort_tree(r->subs->pdata[i], depth + 1);
}

FlatView *core__view_render(Region *root)
{
    Render x = { g_array_new(FALSE, FALSE, sizeof(FlatRange)) };
    FlatView *v = g_new0(FlatView, 1);
    GArray *out = g_array_new(FALSE, FALSE, sizeof(FlatRange));

    sort_tree(root, 0);
    render(&x, root, 0, 0, (Wide)1 << 64, false, 0);
    for (guint i = 0; i < x.v->len; i++) {
        const FlatRange *f = &g_array_index(x.v, FlatRange, i);
        FlatRange *last = out->len ? &g_array_index(out, FlatRange, out->len - 1) : NULL;

        if (last && continues(last, f))
            last->len += f->len;
        else
            g_array_append_val(out, *f);
    }
    g_array_free(x.v, TRUE);
    v->n = out->len;
    v->v = (FlatRange *)(void *)g_array_free(out, FALSE);
    collect_events(v);
    return v;
}

void core__view_free(void *view)
{
    FlatView *v = view;

    g_free(v->v);
    g_free(v->ev);
    g_free(v);
}

const FlatRange *core__view_find(const FlatView *v, uint64_t addr)
{
    unsigned lo = 0, hi = v->n;

    while (lo < hi) {
        unsigned m = (lo + hi) / 2;
        const FlatRange *f = &v->v[m];

        if (addr < f->at)
            hi = m;
        else if (addr - f->at >= f->len)
            lo = m + 1;
        else
            return f;
    }
    return NULL;
}

static bool same(const FlatRange *a, const FlatRange *b)
{
    return a->region == b->region && a->at == b->at && a->len == b->len && a->offset == b->offset &&
           a->readonly == b->readonly && a->romd == b->romd;
}

static bool has(const FlatView *v, const FlatRange *f)
{
    const FlatRange *g = v ? core__view_find(v, f->at) : NULL;

    return g && same(g, f);
}

static bool coalesced(const FlatRange *f)
{
    return f->region->kind == REGION_IO && f->region->ops->flags & REGION_COALESCED;
}

static bool has_event(const FlatView *v, const FlatEvent *e)
{
    for (unsigned i = 0; v && i < v->nev; i++)
        if (v->ev[i].at == e->at && !memcmp(&v->ev[i].e, &e->e, sizeof(e->e)))
            return true;
    return false;
}

static void tell_events(const MemListener *l, const FlatView *a, const FlatView *b, bool add)
{
    void (*fn)(void *, const FlatRange *, uint64_t, unsigned, bool, uint64_t, int) =
        add ? l->eventfd_add : l->eventfd_del;

    for (unsigned i = 0; fn && a && i < a->nev; i++)
        if (!has_event(b, &a->ev[i])) {
            const FlatEvent *e = &a->ev[i];

            fn(l->self, &e->range, e->at, e->e.size, e->e.match, e->e.val, e->e.fd);
        }
}

/* What was in `old` and is not in `new` goes first, then additions in address order. */
static void tell(const MemListener *l, const FlatView *old, const FlatView *new)
{
    if (l->begin)
        l->begin(l->self);
    tell_events(l, old, new, false);
    for (unsigned i = 0; old && i < old->n; i++)
        if (!has(new, &old->v[i])) {
            if (l->coalesced_del && coalesced(&old->v[i]))
                l->coalesced_del(l->self, &old->v[i]);
            if (l->del)
                l->del(l->self, &old->v[i]);
        }
    for (unsigned i = 0; new && i < new->n; i++) {
        const FlatRange *f = &new->v[i];

        if (has(old, f)) {
            if (l->keep)
                l->keep(l->self, f);
            continue;
        }
        if (l->add)
            l->add(l->self, f);
        if (l->coalesced_add && coalesced(f))
            l->coalesced_add(l->self, f);
    }
    tell_events(l, new, old, true);
    if (l->commit)
        l->commit(l->self);
}

static bool unchanged(const FlatView *a, const FlatView *b)
{
    if (a->n != b->n || a->nev != b->nev)
        return false;
    for (unsigned i = 0; i < a->n; i++)
        if (!same(&a->v[i], &b->v[i]))
            return false;
    for (unsigned i = 0; i < a->nev; i++)
        if (!has_event(b, &a->ev[i]))
            return false;
    return true;
}

void core__as_update(AddrSpace *as)
{
    FlatView *old = as->view, *new = core__view_render(as->root);

    if (old && unchanged(old, new)) {
        core__view_free(new);
        return;
    }
    /* Readers see the new view before listeners act on it: an access that raced is answered as if it
     * came just before or just after; accelerators flush in commit. */
    __atomic_store_n(&as->view, new, __ATOMIC_RELEASE);
    for (guint i = 0; i < as->listeners->len; i++)
        tell(as->listeners->pdata[i], old, new);
    if (old)
        rcu_retire(old, core__view_free);
}

void as_listen(AddrSpace *as, const MemListener *l)
{
    g_ptr_array_add(as->listeners, (gpointer)l);
    tell(l, NULL, as->view);
    for (guint i = 0; i < as->vm->priv->rams->len; i++) {
        RamBlock *b = as->vm->priv->rams->pdata[i];

        if (l->log_start && (b->logging[DIRTY_DISPLAY] || b->logging[DIRTY_MIGRATE]))
            l->log_start(l->self, b);
    }
}

void as_unlisten(AddrSpace *as, const MemListener *l)
{
    tell(l, as->view, NULL);
    g_ptr_array_remove(as->listeners, (gpointer)l);
}
