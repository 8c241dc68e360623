/*
 * core/devstate.c - one device as records `name kind length bytes`; one walk over its layout for save, load
 * and dump.
 * Invariants: a load parses and checks everything into a shadow instance before the first byte of the device
 * changes; lengths come from our tables, never from the stream.
 */
#include "core/priv.h"
#include "core/state.h"

/* ---- primitives ---- */
static void put_le(StateOut *o, uint64_t v, unsigned n)
{
    uint8_t b[8];

    le_store(b, n, v);
    g_byte_array_append(o->b, b, n);
}

void put_u8(StateOut *o, uint8_t v) { put_le(o, v, 1); }
void put_u16(StateOut *o, uint16_t v) { put_le(o, v, 2); }
void put_u32(StateOut *o, uint32_t v) { put_le(o, v, 4); }
void put_u64(StateOut *o, uint64_t v) { put_le(o, v, 8); }
void put_bytes(StateOut *o, const void *p, size_t n) { g_byte_array_append(o->b, p, (guint)n); }

void put_str(StateOut *o, const char *s)
{
    put_u16(o, (uint16_t)strlen(s));
    put_bytes(o, s, strlen(s));
}

bool get_bytes(StateIn *i, void *p, size_t n)
{
    if (i->bad || !in_range(i->at, n, i->n)) {
        i->bad = true;
        memset(p, 0, n);
        return false;
    }
    memcpy(p, i->p + i->at, n);
    i->at += n;
    return true;
}

static uint64_t get_le(StateIn *i, unsigned n)
{
    uint8_t b[8];

    get_bytes(i, b, n);
    return le_load(b, n);
}

uint8_t get_u8(StateIn *i) { return (uint8_t)get_le(i, 1); }
uint16_t get_u16(StateIn *i) { return (uint16_t)get_le(i, 2); }
uint32_t get_u32(StateIn *i) { return (uint32_t)get_le(i, 4); }
uint64_t get_u64(StateIn *i) { return get_le(i, 8); }

bool state_name_ok(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)s[i] < ' ' || s[i] == 127)
            return false;
    return g_utf8_validate(s, (gssize)n, NULL);
}

char *get_str(StateIn *i)
{
    size_t n = get_u16(i);
    char *s;

    if (i->bad || !in_range(i->at, n, i->n) || !state_name_ok((const char *)i->p + i->at, n)) {
        i->bad = true;
        return NULL;
    }
    s = g_strndup((const char *)i->p + i->at, n);
    i->at += n;
    return s;
}

/* A record's length is patched in when its payload is known. */
static guint open_record(StateOut *o, const char *name, Kind k)
{
    put_str(o, name);
    put_u8(o, (uint8_t)k);
    put_u32(o, 0);
    return o->b->len;
}

static void close_record(StateOut *o, guint start) { le32_store(o->b->data + start - 4, o->b->len - start); }

/* ---- save ---- */
static uint64_t value_at(const void *p, unsigned n)
{
    uint64_t v = 0;

    memcpy(&v, p, n);
    return v;
}

static void save_table(const Dev *d, const char *base, const FieldTable *t, StateOut *o);

static void save_field(const Dev *d, const char *base, const Field *f, StateOut *o)
{
    const char *at = base + f->at;

    for (uint32_t i = 0; i < MAX(f->count, 1); i++, at += f->size)
        switch (f->kind) {
        case K_BYTES: put_bytes(o, at, f->size); break;
        case K_STRUCT: {
            guint start = o->b->len + 4;

            put_u32(o, 0);
            save_table(d, at, f->of, o);
            close_record(o, start);
            break;
        }
        case K_BUF: put_bytes(o, *(uint8_t *const *)(const void *)at, MIN(value_at(base + f->len_at, 4), f->max)); break;
        case K_TIMER: {
            const Timer *t = (const Timer *)(const void *)at;

            put_u8(o, t->pending);
            put_u64(o, t->pending ? (uint64_t)t->when : 0);
            break;
        }
        case K_CUSTOM: f->save(d, o); break;
        default: put_le(o, value_at(at, f->size), f->size); break;
        }
}

/* A field that came later than the first version is written only when it says something. */
static bool is_default(const char *base, const Field *f)
{
    return f->since && f->kind <= K_U64 && MAX(f->count, 1) == 1 && value_at(base + f->at, f->size) == f->def;
}

static void save_table(const Dev *d, const char *base, const FieldTable *t, StateOut *o)
{
    for (size_t i = 0; i < t->n; i++) {
        const Field *f = &t->v[i];
        guint start;

        if (f->kind == K_TRANSIENT || is_default(base, f))
            continue;
        start = open_record(o, f->name, f->kind);
        save_field(d, base, f, o);
        close_record(o, start);
    }
}

static void before_save(const DevClass *c, Dev *d)
{
    if (c->base)
        before_save(c->base, d);
    if (c->before_save)
        c->before_save(d);
}

GByteArray *dev_save(Dev *d)
{
    const Layout *l = core__layout(d->cls);
    StateOut o = { g_byte_array_new() };
    guint start;

    before_save(d->cls, d);
    for (unsigned i = 0; i < l->n; i++) {
        const Slot *s = &l->v[i];

        if (s->kind == K_TRANSIENT || (s->field && is_default((char *)d, s->field)))
            continue;
        start = open_record(&o, s->name, s->kind);
        if (s->field)
            save_field(d, (char *)d, s->field, &o);
        else
            for (uint32_t k = 0; k < s->count; k++)
                put_le(&o, value_at((char *)d + s->at + k * s->stride, s->size), s->size);
        close_record(&o, start);
    }
    start = open_record(&o, "@outputs", K_BYTES);
    for (unsigned i = 0; i < d->nout; i++)
        put_u8(&o, d->out[i].level);
    close_record(&o, start);
    return o.b;
}

/* ---- load into a shadow ---- */
typedef struct Record {
    char *name;
    Kind kind;
    StateIn in;
} Record;

static bool next_record(StateIn *i, Record *r)
{
    uint32_t n;

    r->name = get_str(i);
    r->kind = (Kind)get_u8(i);
    n = get_u32(i);
    if (i->bad || !in_range(i->at, n, i->n)) {
        g_free(r->name);
        return false;
    }
    r->in = (StateIn){ .p = i->p + i->at, .n = n };
    i->at += n;
    return true;
}

static bool load_table(Dev *s, char *base, const FieldTable *t, StateIn *in, Error **err);

static bool load_scalar(char *at, unsigned size, Kind k, StateIn *in, Error **err)
{
    uint64_t v = get_le(in, size);

    if (k == K_BOOL && v > 1)
        return fail(err, "a truth value of %" PRIu64, v);
    memcpy(at, &v, size);
    return true;
}

static bool load_timer(Timer *t, StateIn *in, Error **err)
{
    uint8_t pending = get_u8(in);
    int64_t when = (int64_t)get_u64(in);

    if (pending > 1 || when < 0)
        return fail(err, "an impossible deadline");
    t->pending = pending;
    t->when = when;
    return true;
}

static bool load_buffer(char *base, char *at, const Field *f, StateIn *in, Error **err)
{
    uint32_t n = (uint32_t)in->n;
    uint8_t *p;

    if (in->n > f->max)
        return fail(err, "%zu bytes, at most %u fit", in->n, f->max);
    p = n ? g_malloc(n) : NULL;
    if (n)
        get_bytes(in, p, n);
    memcpy(at, &p, sizeof(p));
    memcpy(base + f->len_at, &n, 4);
    return true;
}

static bool load_struct(Dev *s, char *at, const Field *f, StateIn *in, Error **err)
{
    uint32_t n = get_u32(in);
    StateIn part = { .p = in->p + in->at, .n = n };

    if (in->bad || !in_range(in->at, n, in->n))
        return fail(err, "a structure ends too early");
    in->at += n;
    return load_table(s, at, f->of, &part, err);
}

static bool load_element(Dev *s, char *base, char *at, const Field *f, StateIn *in, Error **err)
{
    switch (f->kind) {
    case K_BYTES: return get_bytes(in, at, f->size) || fail(err, "too short");
    case K_STRUCT: return load_struct(s, at, f, in, err);
    case K_BUF: return load_buffer(base, at, f, in, err);
    case K_TIMER: return load_timer((Timer *)(void *)at, in, err);
    case K_CUSTOM: return f->load(s, in, err);
    default: return load_scalar(at, f->size, f->kind, in, err);
    }
}

static bool load_field(Dev *s, char *base, const Field *f, StateIn *in, Error **err)
{
    char *at = base + f->at;

    for (uint32_t i = 0; i < MAX(f->count, 1); i++, at += f->size)
        if (!load_element(s, base, at, f, in, err))
            return false;
    return (!in->bad && in->at == in->n) || fail(err, "the length is wrong");
}

static bool absent(char *base, const Field *f, Error **err)
{
    if (!f->since)
        return fail(err, "field '%s' is missing", f->name);
    if (f->kind <= K_U64)
        for (uint32_t i = 0; i < MAX(f->count, 1); i++)
            memcpy(base + f->at + i * f->size, &f->def, f->size);
    return true;
}

static bool load_table(Dev *s, char *base, const FieldTable *t, StateIn *in, Error **err)
{
    GHashTable *got = g_hash_table_new(NULL, NULL);
    bool ok = true;

    while (ok && in->at < in->n) {
        Record r;
        const Field *f = NULL;

        if (!next_record(in, &r)) {
            ok = fail(err, "a record is cut off");
            break;
        }
        for (size_t i = 0; i < t->n && !f; i++)
            if (t->v[i].kind != K_TRANSIENT && !strcmp(t->v[i].name, r.name))
                f = &t->v[i];
        ok = f && f->kind == r.kind && g_hash_table_add(got, (gpointer)f);
        if (!ok)
            fail(err, "field '%s' is unknown here", r.name);
        else
            ok = load_field(s, base, f, &r.in, err);
        g_free(r.name);
    }
    for (size_t i = 0; ok && i < t->n; i++)
        if (t->v[i].kind != K_TRANSIENT && !g_hash_table_contains(got, &t->v[i]))
            ok = absent(base, &t->v[i], err);
    g_hash_table_destroy(got);
    return ok;
}

static bool load_slot(Dev *s, const Slot *w, StateIn *in, Error **err)
{
    Error *why = NULL;
    bool ok = true;

    if (w->field) {
        ok = load_field(s, (char *)s, w->field, in, &why);
    } else {
        for (uint32_t k = 0; k < w->count; k++)
            load_scalar((char *)s + w->at + k * w->stride, w->size, w->kind, in, NULL);
        if (in->bad || in->at != in->n)
            ok = fail(&why, "the length is wrong");
    }
    return ok || fail_because(err, why, "field '%s'", w->name);
}

static const Slot *slot_named(const Layout *l, const char *name, unsigned *at)
{
    for (*at = 0; *at < l->n; ++*at)
        if (!strcmp(l->v[*at].name, name))
            return &l->v[*at];
    return NULL;
}

struct Shadow {
    Dev *d, *s;
    bool *out;
};

static bool load_outputs(Shadow *w, StateIn *in, Error **err)
{
    if (in->n != w->d->nout)
        return fail(err, "%zu outputs, this device has %u", in->n, w->d->nout);
    for (unsigned i = 0; i < w->d->nout; i++)
        w->out[i] = get_u8(in) & 1;
    return true;
}

static bool load_records(Shadow *w, StateIn *in, Error **err)
{
    const Layout *l = core__layout(w->d->cls);
    g_autofree bool *got = g_new0(bool, l->n + 1);

    while (in->at < in->n) {
        Record r;
        unsigned at;
        const Slot *s;
        bool ok;

        if (!next_record(in, &r))
            return fail(err, "a record is cut off");
        s = slot_named(l, r.name, &at);
        if (!strcmp(r.name, "@outputs"))
            ok = load_outputs(w, &r.in, err);
        else if (!s || s->kind != r.kind || s->kind == K_TRANSIENT || got[at])
            ok = fail(err, "field '%s' is unknown here", r.name);
        else
            ok = load_slot(w->s, s, &r.in, err);
        if (ok && s)
            got[at] = true;
        g_free(r.name);
        if (!ok)
            return false;
    }
    for (unsigned i = 0; i < l->n; i++) {
        const Slot *s = &l->v[i];

        if (got[i] || s->kind == K_TRANSIENT)
            continue;
        if (!s->field)
            return fail(err, "register '%s' is missing", s->name);
        if (!absent((char *)w->s, s->field, err))
            return false;
    }
    return true;
}

static bool check_chain(const DevClass *c, const Dev *s, Error **err)
{
    if (c->base && !check_chain(c->base, s, err))
        return false;
    return !c->check || c->check(s, err);
}

/* What the shadow must not share with the device: owned memory. */
static void forget_owned(Dev *s, char *base, const FieldTable *t)
{
    for (size_t i = 0; i < t->n; i++) {
        const Field *f = &t->v[i];
        char *at = base + f->at;

        if (f->kind == K_BUF || f->kind == K_CUSTOM)
            memset(at, 0, f->size * MAX(f->count, 1));
        for (uint32_t k = 0; f->kind == K_STRUCT && k < MAX(f->count, 1); k++)
            forget_owned(s, at + k * f->size, f->of);
    }
}

Shadow *core__shadow_new(Dev *d, const uint8_t *p, size_t n, Error **err)
{
    const Layout *l = core__layout(d->cls);
    Shadow *w = g_new0(Shadow, 1);
    StateIn in = { .p = p, .n = n };
    Error *why = NULL;

    w->d = d;
    w->s = g_memdup2(d, d->cls->obj.size);
    w->out = g_new0(bool, d->nout + 1);
    for (guint i = 0; i < l->chain->len; i++)
        forget_owned(w->s, (char *)w->s, &((const DevClass *)l->chain->pdata[i])->state);
    if (load_records(w, &in, &why) && check_chain(d->cls, w->s, &why))
        return w;
    core__shadow_free(w);
    fail_because(err, why, "%s '%s'", d->cls->obj.name, d->id ? d->id : d->obj.name);
    return NULL;
}

void core__shadow_free(Shadow *w)
{
    if (!w)
        return;
    core__state_free(w->s);
    g_free(w->s);
    g_free(w->out);
    g_free(w);
}

Dev *core__shadow_dev(Shadow *w) { return w->d; }

/* ---- commit ---- */
static void swap_bytes(char *a, char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char t = a[i];

        a[i] = b[i];
        b[i] = t;
    }
}

static void commit_field(char *to, char *from, const Field *f)
{
    for (uint32_t i = 0; i < MAX(f->count, 1); i++) {
        char *a = to + f->at + i * f->size, *b = from + f->at + i * f->size;

        if (f->kind == K_TIMER) {
            Timer *t = (Timer *)(void *)a, *saved = (Timer *)(void *)b;

            timer_del(t);
            t->when = saved->when;
            if (saved->pending)
                timer_at(t, saved->when);
        } else if (f->kind == K_STRUCT) {
            for (size_t k = 0; k < f->of->n; k++)
                commit_field(a, b, &f->of->v[k]);
        } else if (f->kind != K_TRANSIENT) {
            swap_bytes(a, b, f->size); /* owned memory of the device goes with the shadow */
        }
    }
    if (f->kind == K_BUF)
        swap_bytes(to + f->len_at, from + f->len_at, 4);
}

void core__shadow_commit(Shadow *w)
{
    const Layout *l = core__layout(w->d->cls);

    for (unsigned i = 0; i < l->n; i++) {
        const Slot *s = &l->v[i];

        if (s->field)
            commit_field((char *)w->d, (char *)w->s, s->field);
        else
            for (uint32_t k = 0; k < s->count; k++)
                memcpy((char *)w->d + s->at + k * s->stride, (char *)w->s + s->at + k * s->stride, s->size);
    }
}

static void loaded_chain(const DevClass *c, Dev *d)
{
    if (c->base)
        loaded_chain(c->base, d);
    if (c->loaded)
        c->loaded(d);
}

void core__dev_loaded(Dev *d)
{
    dev_enter(d);
    loaded_chain(d->cls, d);
    d->depth--; /* settled by core__shadow_propagate, when all devices are there */
}

/* Listeners hear what differs from what they heard before the load: those that count sources stay right. */
void core__shadow_propagate(Shadow *w)
{
    for (unsigned i = 0; i < w->d->nout; i++)
        irq_set(&w->d->out[i], w->out[i]);
    dev_settle(w->d);
}

bool dev_load(Dev *d, const uint8_t *p, size_t n, Error **err)
{
    Shadow *w = core__shadow_new(d, p, n, err);

    if (!w)
        return false;
    mem_begin(d->obj.vm);
    core__shadow_commit(w);
    core__dev_loaded(d);
    core__shadow_propagate(w);
    mem_commit(d->obj.vm);
    core__shadow_free(w);
    return true;
}

/* ---- coverage ---- */
static void cover(uint8_t *map, uint32_t at, uint32_t n) { memset(map + at, 1, n); }

static void cover_fields(uint8_t *map, uint32_t base, const FieldTable *t)
{
    for (size_t i = 0; i < t->n; i++) {
        const Field *f = &t->v[i];

        if (f->kind == K_BUF)
            cover(map, base + f->len_at, 4);
        for (uint32_t k = 0; k < MAX(f->count, 1); k++)
            if (f->kind == K_STRUCT)
                cover_fields(map, base + f->at + k * f->size, f->of);
            else
                cover(map, base + f->at + k * f->size, f->size);
    }
}

static void cover_class(uint8_t *map, const DevClass *c)
{
    const Layout *l = core__layout(c);

    cover(map, 0, sizeof(Dev));
    for (guint i = 0; i < l->chain->len; i++) {
        const DevClass *k = l->chain->pdata[i];

        cover_fields(map, 0, &k->state);
        for (size_t p = 0; p < k->obj.props.n; p++)
            if (k->obj.props.v[p].kind != P_CUSTOM)
                cover(map, k->obj.props.v[p].at, k->obj.props.v[p].size);
    }
    for (unsigned i = 0; i < l->n; i++)
        for (uint32_t k = 0; !l->v[i].field && k < l->v[i].count; k++)
            cover(map, l->v[i].at + k * l->v[i].stride, l->v[i].size);
}

unsigned dev_uncovered(const DevEntry *e, GString *out)
{
    size_t n = e->cls->obj.size;
    g_autofree uint8_t *real = g_malloc(n), *map = g_malloc0(n);
    unsigned bad = 0;

    if (!e->pad)
        return 0; /* needs __builtin_clear_padding: the gcc build checks */
    memset(real, 1, n);
    e->pad(real); /* now 0 in padding, 1 in fields */
    cover_class(map, e->cls);
    for (size_t i = 0; i < n; i++)
        if (real[i] && !map[i]) {
            size_t end = i;

            while (end < n && real[end] && !map[end])
                end++;
            g_string_append_printf(out, "%s: bytes %zu..%zu of the instance are in no table\n", e->cls->obj.name, i, end - 1);
            bad += (unsigned)(end - i);
            i = end;
        }
    return bad;
}
