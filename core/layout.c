/*
 * core/layout.c - what the tables of a class say about its instance: the list of slots (registers and
 * fields, base classes first, each byte once) that reset, saved state and the coverage check walk.
 * Derived once per class from const tables and kept for the life of the process.
 */
#include "core/priv.h"

static GMutex lock;
static GHashTable *layouts; /* DevClass -> Layout; guarded by lock */

typedef struct Build {
    Layout *l;
    uint8_t *covered;
    size_t size;
    GHashTable *names;
} Build;

static void collect_chain(GPtrArray *chain, const DevClass *c)
{
    if (c->base)
        collect_chain(chain, c->base);
    g_ptr_array_add(chain, (gpointer)c);
}

/* A hook of a base class sees the class of the instance: that is where the BARs and ports are. */
static void collect_banks(GPtrArray *banks, const GPtrArray *chain)
{
    const DevClass *leaf = chain->pdata[chain->len - 1];

    for (guint i = 0; i < chain->len; i++) {
        const DevClass *c = chain->pdata[i];

        for (unsigned k = 0; k < c->nbanks; k++)
            g_ptr_array_add(banks, (gpointer)&c->banks[k]);
        for (unsigned k = 0; c->bank_at && k < c->nbank_at; k++) {
            const Bank *b = c->bank_at(leaf, k);

            if (b && !g_ptr_array_find(banks, b, NULL))
                g_ptr_array_add(banks, (gpointer)b);
        }
    }
}

static void cover(Build *b, const Slot *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        g_assert(in_range(s->at + (uint64_t)i * s->stride, s->size, b->size));
        memset(b->covered + s->at + i * s->stride, 1, s->size);
    }
}

static bool all_covered(const Build *b, const Slot *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        for (uint32_t k = 0; k < s->size; k++)
            if (!b->covered[s->at + i * s->stride + k])
                return false;
    return true;
}

static void add(Build *b, const char *name, Slot s)
{
    Layout *l = b->l;
    GString *unique = g_string_new(name);

    for (unsigned i = 2; g_hash_table_contains(b->names, unique->str); i++)
        g_string_printf(unique, "%s#%u", name, i);
    s.name = g_string_free(unique, FALSE);
    g_hash_table_add(b->names, s.name);
    l->v = g_renew(Slot, l->v, l->n + 1);
    l->v[l->n++] = s;
    cover(b, &s);
}

static void add_field(Build *b, const Field *f)
{
    Slot s = { .at = f->at, .size = f->size, .count = MAX(f->count, 1), .stride = f->size, .kind = f->kind,
               .field = f, .reset = f->reset, .keep = f->keep };

    add(b, f->name, s);
    if (f->kind == K_BUF) {
        g_assert(in_range(f->len_at, 4, b->size));
        memset(b->covered + f->len_at, 1, 4);
    }
}

static const Kind kind_of_size[9] = { [1] = K_U8, [2] = K_U16, [4] = K_U32, [8] = K_U64 };

static void add_reg(Build *b, const Reg *r)
{
    Slot s = { .at = r->at, .size = r->size, .count = MAX(r->count, 1), .stride = r->at_stride ? r->at_stride : r->size,
               .kind = kind_of_size[r->size & 15], .reset = r->reset, .keep = r->keep };

    if (r->at == UINT32_MAX)
        return;
    g_assert(s.kind);
    if (!all_covered(b, &s))
        add(b, r->name, s);
    else if (r->reset)
        g_ptr_array_add(b->l->resets, (gpointer)r);
}

static void add_regs(Build *b, const RegTable *t)
{
    for (size_t i = 0; i < t->n; i++) {
        add_reg(b, &t->v[i]);
        if (t->v[i].indexed)
            add_regs(b, t->v[i].indexed);
    }
}

static Layout *build(const DevClass *c)
{
    Layout *l = g_new0(Layout, 1);
    Build b = { l, g_malloc0(c->obj.size), c->obj.size, g_hash_table_new(g_str_hash, g_str_equal) };

    l->resets = g_ptr_array_new();
    l->banks = g_ptr_array_new();
    l->chain = g_ptr_array_new();
    collect_chain(l->chain, c);
    collect_banks(l->banks, l->chain);
    for (guint i = 0; i < l->chain->len; i++) {
        const DevClass *k = l->chain->pdata[i];

        for (size_t f = 0; f < k->state.n; f++)
            add_field(&b, &k->state.v[f]);
        for (unsigned o = 0; o < k->nouts; o++)
            l->nout += MAX(k->outs[o].count, 1);
    }
    for (guint i = 0; i < l->banks->len; i++)
        add_regs(&b, &((const Bank *)l->banks->pdata[i])->regs);
    g_free(b.covered);
    g_hash_table_destroy(b.names);
    return l;
}

const Layout *core__layout(const DevClass *c)
{
    Layout *l;

    g_mutex_lock(&lock);
    if (!layouts)
        layouts = g_hash_table_new(NULL, NULL);
    l = g_hash_table_lookup(layouts, c);
    if (!l) {
        l = build(c);
        g_hash_table_insert(layouts, (gpointer)c, l);
    }
    g_mutex_unlock(&lock);
    return l;
}

/* ---- reset ---- */
static void store(void *at, uint32_t size, uint64_t v) { memcpy(at, &v, MIN(size, 8)); }

static void reset_field(Dev *d, char *base, const Field *f);

static void reset_table(Dev *d, char *base, const FieldTable *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (!t->v[i].keep)
            reset_field(d, base, &t->v[i]);
}

static void reset_field(Dev *d, char *base, const Field *f)
{
    char *at = base + f->at;

    for (uint32_t i = 0; i < MAX(f->count, 1); i++, at += f->size)
        switch (f->kind) {
        case K_TIMER: timer_del((Timer *)(void *)at); break;
        case K_STRUCT: reset_table(d, at, f->of); break;
        case K_BUF:
            g_clear_pointer((uint8_t **)(void *)at, g_free);
            store(base + f->len_at, 4, 0);
            break;
        case K_CUSTOM:
            if (f->drop)
                f->drop(d);
            memset(at, 0, f->size);
            break;
        case K_BYTES: memset(at, (int)f->reset, f->size); break;
        case K_TRANSIENT: memset(at, 0, f->size); break;
        default: store(at, f->size, f->reset); break;
        }
}

void core__reset_fields(Dev *d)
{
    const Layout *l = core__layout(d->cls);

    for (unsigned i = 0; i < l->n; i++) {
        const Slot *s = &l->v[i];

        if (s->keep)
            continue;
        if (s->field)
            reset_field(d, (char *)d, s->field);
        else
            for (uint32_t k = 0; k < s->count; k++)
                store((char *)d + s->at + k * s->stride, s->size, s->reset);
    }
    for (guint i = 0; i < l->resets->len; i++) {
        const Reg *r = l->resets->pdata[i];

        for (uint32_t k = 0; !r->keep && k < MAX(r->count, 1); k++)
            store((char *)d + r->at + k * r->at_stride, r->size, r->reset);
    }
}

/* ---- what fields own ---- */
typedef void FieldFn(Dev *d, char *at, const Field *f);

static void each_field(Dev *d, char *base, const FieldTable *t, FieldFn *fn)
{
    for (size_t i = 0; i < t->n; i++) {
        const Field *f = &t->v[i];

        fn(d, base + f->at, f);
        for (uint32_t k = 0; f->kind == K_STRUCT && k < MAX(f->count, 1); k++)
            each_field(d, base + f->at + k * f->size, f->of, fn);
    }
}

static void each_of_chain(Dev *d, FieldFn *fn)
{
    const Layout *l = core__layout(d->cls);

    for (guint i = 0; i < l->chain->len; i++)
        each_field(d, (char *)d, &((const DevClass *)l->chain->pdata[i])->state, fn);
}

static void timer_start(Dev *d, char *at, const Field *f)
{
    Timer *t = (Timer *)(void *)at;

    if (f->kind != K_TIMER)
        return;
    for (uint32_t i = 0; i < MAX(f->count, 1); i++) {
        timer_init(&t[i], d->obj.vm, f->clock, NULL, NULL);
        t[i].n = (uint16_t)i;
        t[i].dev = d;
        t[i].dev_fire = f->fire_n;
        t[i].dev_fire1 = f->fire;
    }
}

void core__timers_init(Dev *d) { each_of_chain(d, timer_start); }

static void timer_stop(Dev *d, char *at, const Field *f)
{
    for (uint32_t i = 0; f->kind == K_TIMER && i < MAX(f->count, 1); i++)
        timer_del((Timer *)(void *)at + i);
}

void core__timers_stop(Dev *d) { each_of_chain(d, timer_stop); }

static void free_owned(Dev *d, char *at, const Field *f)
{
    if (f->kind == K_BUF)
        g_clear_pointer((uint8_t **)(void *)at, g_free);
    if (f->kind == K_CUSTOM && f->drop) {
        f->drop(d);
        memset(at, 0, f->size);
    }
}

void core__state_free(Dev *d) { each_of_chain(d, free_owned); }
