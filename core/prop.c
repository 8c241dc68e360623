/*
 * core/prop.c - properties: one row of a table serves the command line, QOM, help and docs.
 * A link (P_LINK) holds what vm_lookup finds under the row's space; "" unlinks.
 */
#include "core/priv.h"
#include "util/error.h"
#include <stdio.h>

static void *field(Obj *o, const Prop *p) { return (char *)o + p->at; }

const Prop *obj_prop_find(const ObjClass *cls, const char *name)
{
    name = core__prop_alias(cls, name);
    for (; cls; cls = core__class_parent(cls))
        for (size_t i = 0; i < cls->props.n; i++)
            if (!strcmp(cls->props.v[i].name, name))
                return &cls->props.v[i];
    return NULL;
}

void obj_prop_foreach(const ObjClass *cls, void (*fn)(const Prop *p, void *arg), void *arg)
{
    for (const ObjClass *c = cls; c; c = core__class_parent(c))
        for (size_t i = 0; i < c->props.n; i++)
            if (obj_prop_find(cls, c->props.v[i].name) == &c->props.v[i])
                fn(&c->props.v[i], arg);
}

/* ---- text to field ---- */
static void store(void *at, uint32_t size, uint64_t v) { memcpy(at, &v, size); /* little-endian hosts */ }

static bool set_number(void *at, const Prop *p, const char *text, Error **err)
{
    bool has_sign = p->kind == P_S32 || p->kind == P_S64;
    uint64_t v, most = has_sign ? bytes_mask(p->size) >> 1 : bytes_mask(p->size);

    if (*text == '-') {
        int64_t s;

        if (!parse_s64(text, &s, err))
            return false;
        v = (uint64_t)s;
        if (!has_sign && (v & bytes_mask(p->size)) != (p->def & bytes_mask(p->size))) /* a default may be spelled so */
            return fail(err, "'%s' is out of range (at least 0)", text);
        if (p->size < 8 && s < -(int64_t)(1ull << (8 * p->size - 1)))
            return fail(err, "'%s' is out of range", text);
    } else {
        if (!parse_u64(text, &v, err))
            return false;
        if (v > most)
            return fail(err, "'%s' is out of range (at most %" PRIu64 ")", text, most);
    }
    store(at, p->size, v);
    return true;
}

static bool set_enum(uint8_t *at, const char *const *names, const char *text, Error **err)
{
    GString *all;

    for (unsigned i = 0; names[i]; i++)
        if (!strcmp(names[i], text)) {
            *at = (uint8_t)i;
            return true;
        }
    fail(err, "'%s' is not a known value", text);
    all = g_string_new(NULL);
    for (unsigned i = 0; names[i]; i++)
        g_string_append_printf(all, "%s%s", i ? ", " : "", names[i]);
    error_hint(err, "use one of: %s", all->str);
    g_string_free(all, TRUE);
    return false;
}

static bool hex_bytes(const char *text, const char *seps, uint8_t *out, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        int hi = g_ascii_xdigit_value(text[0]), lo = hi < 0 ? -1 : g_ascii_xdigit_value(text[1]);

        if (lo < 0)
            return false;
        out[i] = (uint8_t)(hi << 4 | lo);
        text += 2;
        if (*text && strchr(seps, *text))
            text++;
    }
    return !*text;
}

static bool set_mac(void *at, const char *text, Error **err)
{
    uint8_t v[6];

    if (!hex_bytes(text, ":-", v, 6))
        return fail(err, "'%s' is not a MAC address (52:54:00:12:34:56)", text);
    memcpy(at, v, 6);
    return true;
}

static bool set_uuid(Obj *o, void *at, const char *text, Error **err)
{
    uint8_t v[16];

    if (!strcmp(text, "auto")) {
        door_random(o->vm, v, sizeof(v));
        v[6] = (uint8_t)((v[6] & 0x0f) | 0x40);
        v[8] = (uint8_t)((v[8] & 0x3f) | 0x80);
    } else if (!hex_bytes(text, "-", v, 16)) {
        return fail(err, "'%s' is not a UUID", text);
    }
    memcpy(at, v, 16);
    return true;
}

static bool set_link(Obj *o, void **at, const Prop *p, const char *text, Error **err)
{
    void *to = NULL;

    if (*text) {
        to = o->vm ? vm_lookup(o->vm, p->space, text) : NULL;
        if (!to) {
            fail(err, "Property '%s.%s' can't find value '%s'", o->cls->name, p->name, text);
            return error_hint(err, "define it first: -%s .., id=%s", p->space, text);
        }
    }
    *at = to;
    return true;
}

static const char *const on_off_auto[] = { "off", "on", "auto", NULL };

static bool set_auto(uint8_t *at, const char *text, Error **err)
{
    bool b;

    if (!strcmp(text, "auto"))
        *at = AUTO;
    else if (parse_bool(text, &b, err))
        *at = b ? ON : OFF;
    else
        return false;
    return true;
}

static bool set_text(Obj *o, const Prop *p, const char *text, Error **err)
{
    void *at = field(o, p);

    switch (p->kind) {
    case P_BOOL: return parse_bool(text, at, err);
    case P_U8:
    case P_U16:
    case P_U32:
    case P_U64:
    case P_S32:
    case P_S64: return set_number(at, p, text, err);
    case P_SIZE: {
        uint64_t v;

        if (!parse_size(text, 'B', &v, err))
            return false;
        if (v > bytes_mask(p->size))
            return fail(err, "'%s' is too large", text);
        store(at, p->size, v);
        return true;
    }
    case P_STR:
        g_free(*(char **)at);
        *(char **)at = g_strdup(text);
        return true;
    case P_ENUM: return set_enum(at, p->names, text, err);
    case P_ONOFFAUTO: return set_auto(at, text, err);
    case P_MAC: return set_mac(at, text, err);
    case P_UUID: return set_uuid(o, at, text, err);
    case P_LINK: return set_link(o, at, p, text, err);
    case P_CUSTOM: return p->set ? p->set(o, text, err) : fail(err, "it cannot be set");
    }
    return fail(err, "it cannot be set");
}

static bool set_named(Obj *o, const char *name, const char *text, Error **err)
{
    const Prop *p = obj_prop_find(o->cls, name);
    Error *why = NULL;

    if (!p) {
        fail(err, "Property '%s.%s' not found", o->cls->name, name);
        error_hint(err, "'%s,help' lists what it has", o->cls->name);
        return false;
    }
    if (p->kind == P_LINK)
        return set_link(o, field(o, p), p, text ? text : "", err);
    if (set_text(o, p, text ? text : "", &why))
        return true;
    return fail_because(err, why, "%s: property '%s'", o->cls->name, name);
}

static bool is_made(const Obj *o) { return core__is_dev(o->cls) && ((const Dev *)o)->realized; }

bool obj_prop_set(Obj *o, const char *name, const char *text, Error **err)
{
    const Prop *p = obj_prop_find(o->cls, name);

    if (p && !p->live && is_made(o))
        return fail(err, "%s: property '%s' can only be set when the device is created", o->cls->name, name);
    return set_named(o, name, text, err);
}

bool core__prop_apply(Obj *o, Opts *props, Error **err)
{
    for (guint i = 0; i < props->v->len; i++) {
        Opt *x = props->v->pdata[i];

        if (!set_named(o, x->key, x->value, err))
            return false;
        x->used = true;
    }
    return true;
}

static void set_default(Obj *o, const Prop *p)
{
    if (p->def_str && p->kind != P_CUSTOM)
        set_text(o, p, p->def_str, &abort_on_error);
    else if (p->kind <= P_SIZE || p->kind == P_ONOFFAUTO || p->kind == P_ENUM)
        store(field(o, p), p->size, p->def);
}

static void defaults_of(Obj *o, const ObjClass *c)
{
    if (!c)
        return;
    defaults_of(o, core__class_parent(c));
    for (size_t i = 0; i < c->props.n; i++)
        set_default(o, &c->props.v[i]);
}

void core__prop_defaults(Obj *o) { defaults_of(o, o->cls); }

void core__prop_release(Obj *o)
{
    for (const ObjClass *c = o->cls; c; c = core__class_parent(c))
        for (size_t i = 0; i < c->props.n; i++)
            if (c->props.v[i].kind == P_STR)
                g_clear_pointer((char **)field(o, &c->props.v[i]), g_free);
}

/* ---- field to text ---- */
static uint64_t load(const void *at, uint32_t size)
{
    uint64_t v = 0;

    memcpy(&v, at, MIN(size, 8));
    return v;
}

typedef struct Reverse {
    const void *p;
    const char *id;
} Reverse;

static void find_id(const char *id, void *p, void *arg)
{
    Reverse *r = arg;

    if (p == r->p)
        r->id = id;
}

static char *get_link(Obj *o, const Prop *p)
{
    Reverse r = { *(void **)field(o, p), NULL };

    if (r.p && o->vm)
        vm_registry_foreach(o->vm, p->space, find_id, &r);
    return g_strdup(r.id ? r.id : "");
}

static char *get_uuid(const uint8_t *v)
{
    GString *s = g_string_new(NULL);

    for (unsigned i = 0; i < 16; i++)
        g_string_append_printf(s, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", v[i]);
    return g_string_free(s, FALSE);
}

static char *get_text(Obj *o, const Prop *p)
{
    const void *at = field(o, p);
    const uint8_t *b = at;

    switch (p->kind) {
    case P_BOOL: return g_strdup(*b ? "true" : "false");
    case P_U8:
    case P_U16:
    case P_U32:
    case P_U64:
    case P_SIZE: return g_strdup_printf("%" PRIu64, load(at, p->size));
    case P_S32: return g_strdup_printf("%" PRId32, (int32_t)load(at, 4));
    case P_S64: return g_strdup_printf("%" PRId64, (int64_t)load(at, 8));
    case P_STR: return g_strdup(*(char *const *)at ? *(char *const *)at : "");
    case P_ENUM: return g_strdup(p->names[*b]);
    case P_ONOFFAUTO: return g_strdup(on_off_auto[MIN(*b, AUTO)]);
    case P_MAC: return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
    case P_UUID: return get_uuid(at);
    case P_LINK: return get_link(o, p);
    case P_CUSTOM: return p->get_named ? p->get_named(o, p) : p->get ? p->get(o) : g_strdup("");
    }
    return g_strdup("");
}

char *obj_prop_get(Obj *o, const char *name, Error **err)
{
    const Prop *p = obj_prop_find(o->cls, name);

    if (!p) {
        fail(err, "Property '%s.%s' not found", o->cls->name, name);
        return NULL;
    }
    return get_text(o, p);
}
