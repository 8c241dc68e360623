/*
 * core/api.c - walks over described types: JSON to C with checks, C to JSON, release.
 * Depth: of the types, which are finite except through lists; lists are as deep as the JSON they are read from.
 */
#include "core/api.h"
#include "core/vm.h"

typedef struct At { /* where we are, for messages */
    const struct At *up;
    const char *name; /* or NULL: the item */
    size_t index;
} At;

#define SCALAR(nm, k, T) const ApiType api_##nm = { .name = #nm, .kind = k, .size = sizeof(T) }
SCALAR(str, API_STR, char *);
SCALAR(bool, API_BOOL, bool);
SCALAR(int, API_SINT, int64_t);
SCALAR(int8, API_SINT, int8_t);
SCALAR(int16, API_SINT, int16_t);
SCALAR(int32, API_SINT, int32_t);
SCALAR(int64, API_SINT, int64_t);
SCALAR(uint8, API_UINT, uint8_t);
SCALAR(uint16, API_UINT, uint16_t);
SCALAR(uint32, API_UINT, uint32_t);
SCALAR(uint64, API_UINT, uint64_t);
SCALAR(size, API_UINT, uint64_t);
SCALAR(number, API_NUMBER, double);
SCALAR(any, API_ANY, JVal *);
SCALAR(null, API_NULL, uint8_t);

static const ApiMember format_members[] = {
    { .name = "count", .type = &api_uint32, .at = offsetof(HmpFormat, count) },
    { .name = "letter", .type = &api_int8, .at = offsetof(HmpFormat, letter) },
    { .name = "size", .type = &api_uint8, .at = offsetof(HmpFormat, size) },
    { .name = "given", .type = &api_bool, .at = offsetof(HmpFormat, given) },
};
const ApiType api_hmp_format = { .name = "HmpFormat", .kind = API_STRUCT, .size = sizeof(HmpFormat), .members = format_members,
                                 .n = G_N_ELEMENTS(format_members) };

typedef struct List { /* any generated list */
    void *v;
    size_t n;
} List;

/* ---- messages ---- */
static void path_of(const At *at, GString *s)
{
    if (at->up)
        path_of(at->up, s);
    if (at->name)
        g_string_append_printf(s, "%s%s", s->len ? "." : "", at->name);
    else if (at->up)
        g_string_append_printf(s, "[%zu]", at->index);
}

static bool refuse(const At *at, Error **err, const char *before, const char *after)
{
    g_autoptr(GString) s = g_string_new(NULL);

    path_of(at, s);
    return fail(err, "%s '%s'%s", before, s->len ? s->str : "value", after);
}

static bool wrong_kind(const At *at, const char *want, Error **err)
{
    g_autofree char *tail = g_strdup_printf(", expected: %s", want);

    return refuse(at, err, "Invalid parameter type for", tail);
}

static const char *last_name(const At *at)
{
    while (at->up && !at->name)
        at = at->up;
    return at->name ? at->name : "value";
}

/* ---- scalars ---- */
static void put(void *to, unsigned size, uint64_t v)
{
    switch (size) {
    case 1: *(uint8_t *)to = (uint8_t)v; break;
    case 2: *(uint16_t *)to = (uint16_t)v; break;
    case 4: *(uint32_t *)to = (uint32_t)v; break;
    default: *(uint64_t *)to = v; break;
    }
}

static uint64_t get(const void *p, unsigned size)
{
    switch (size) {
    case 1: return *(const uint8_t *)p;
    case 2: return *(const uint16_t *)p;
    case 4: return *(const uint32_t *)p;
    default: return *(const uint64_t *)p;
    }
}

static bool fits(const ApiType *t, bool negative, uint64_t v)
{
    unsigned bits = 8 * t->size;
    int64_t s = (int64_t)v;

    if (bits == 64)
        return t->kind == API_UINT || negative || s >= 0;
    if (t->kind == API_UINT)
        return !negative && v >> bits == 0;
    return (negative || s >= 0) && s >= -(INT64_C(1) << (bits - 1)) && s < INT64_C(1) << (bits - 1);
}

static bool in_integer(const ApiType *t, const JVal *v, void *to, const At *at, Error **err)
{
    int64_t s = 0;
    uint64_t u = 0;
    bool is_s = j_get_s64(v, &s), is_u = !is_s && j_get_u64(v, &u);

    if (v->kind != J_NUMBER)
        return wrong_kind(at, "integer", err);
    if ((!is_s && !is_u) || !fits(t, is_s && s < 0, is_s ? (uint64_t)s : u)) {
        const char *name = t == &api_int ? "int64" : t == &api_size ? "uint64" : t->name;

        return fail(err, "Parameter '%s' expects %s", last_name(at), name);
    }
    put(to, t->size, is_s ? (uint64_t)s : u);
    return true;
}

int api_enum_find(const ApiType *t, const char *name)
{
    for (unsigned i = 0; i < t->n; i++)
        if (!strcmp(t->names[i], name))
            return (int)i;
    return -1;
}

static bool in_enum(const ApiType *t, const JVal *v, int *to, const At *at, Error **err)
{
    int i;

    if (v->kind != J_STRING)
        return wrong_kind(at, "string", err);
    i = api_enum_find(t, v->text);
    if (i < 0)
        return fail(err, "Parameter '%s' does not accept value '%s'", last_name(at), v->text);
    *to = i;
    return true;
}

/* ---- containers ---- */
static bool in_value(const ApiType *t, const JVal *v, void *to, const At *at, Error **err);

void *api_grow(void *vp, size_t *n, size_t size)
{
    void **v = vp;

    if (!*n || is_pow2(*n))
        *v = g_realloc_n(*v, *n ? 2 * *n : 1, size);
    return memset((char *)*v + (*n)++ * size, 0, size);
}

static bool in_list(const ApiType *t, const JVal *v, List *to, const At *at, Error **err)
{
    if (v->kind != J_LIST)
        return wrong_kind(at, "array", err);
    for (size_t i = 0; i < j_len(v); i++) {
        At here = { at, NULL, i };

        if (!in_value(t->of, j_at(v, i), api_grow(&to->v, &to->n, t->of->size), &here, err))
            return false;
    }
    return true;
}

static bool in_member(const ApiMember *m, const JVal *v, void *s, const At *at, Error **err)
{
    char *p = (char *)s + m->at;

    if (m->has)
        *((bool *)s + m->has - 1) = true;
    if (m->pointer)
        p = *(char **)p = g_malloc0(m->type->size);
    return in_value(m->type, v, p, at, err);
}

static const ApiMember *variant_of(const ApiType *t, const void *s)
{
    const ApiMember *m;
    int i;

    if (!t->tag)
        return NULL;
    memcpy(&i, (const char *)s + t->tag->at, sizeof(i));
    m = &t->variants[i];
    return m->type ? m : NULL;
}

static bool in_members(const ApiType *t, const JVal *v, void *s, const At *at, size_t *used, Error **err)
{
    const ApiMember *var;

    for (unsigned i = 0; i < t->n; i++) {
        const ApiMember *m = &t->members[i];
        const JVal *x = j_get(v, m->name);
        At here = { at, m->name, 0 };

        if (!x && !m->optional)
            return refuse(&here, err, "Parameter", " is missing");
        if (x && !in_member(m, x, s, &here, err))
            return false;
        *used += x != NULL;
    }
    var = variant_of(t, s);
    return !var || in_members(var->type, v, (char *)s + var->at, at, used, err);
}

static bool knows(const ApiType *t, const void *s, const char *name)
{
    const ApiMember *var = variant_of(t, s);

    for (unsigned i = 0; i < t->n; i++)
        if (!strcmp(t->members[i].name, name))
            return true;
    return var && knows(var->type, (const char *)s + var->at, name);
}

static bool in_struct(const ApiType *t, const JVal *v, void *to, const At *at, Error **err)
{
    size_t used = 0;

    if (v->kind != J_OBJECT)
        return wrong_kind(at, "object", err);
    if (!in_members(t, v, to, at, &used, err))
        return false;
    for (size_t i = 0; used < j_len(v) && i < j_len(v); i++) {
        At here = { at, j_at(v, i)->key, 0 };

        if (!knows(t, to, here.name))
            return refuse(&here, err, "Parameter", " is unexpected");
    }
    return true;
}

static bool takes(const ApiType *t, const JVal *v)
{
    static const JKind want[] = { [API_STR] = J_STRING, [API_BOOL] = J_BOOL, [API_SINT] = J_NUMBER, [API_UINT] = J_NUMBER,
                                  [API_NUMBER] = J_NUMBER, [API_NULL] = J_NULL, [API_ENUM] = J_STRING,
                                  [API_STRUCT] = J_OBJECT, [API_LIST] = J_LIST };

    return t->kind < G_N_ELEMENTS(want) && want[t->kind] == v->kind;
}

static bool in_alternate(const ApiType *t, const JVal *v, void *to, const At *at, Error **err)
{
    for (unsigned i = 0; i < t->n; i++)
        if (takes(t->members[i].type, v)) {
            *(int *)to = (int)i;
            return in_member(&t->members[i], v, to, at, err);
        }
    return wrong_kind(at, t->name, err);
}

static bool in_value(const ApiType *t, const JVal *v, void *to, const At *at, Error **err)
{
    switch (t->kind) {
    case API_STR:
        if (v->kind != J_STRING)
            return wrong_kind(at, "string", err);
        *(char **)to = g_strdup(v->text);
        return true;
    case API_BOOL:
        *(bool *)to = v->yes;
        return v->kind == J_BOOL || wrong_kind(at, "boolean", err);
    case API_NUMBER: return j_get_double(v, to) || wrong_kind(at, "number", err);
    case API_ANY: *(JVal **)to = j_copy(v); return true;
    case API_NULL: return v->kind == J_NULL || wrong_kind(at, "null", err);
    case API_ENUM: return in_enum(t, v, to, at, err);
    case API_STRUCT: return in_struct(t, v, to, at, err);
    case API_LIST: return in_list(t, v, to, at, err);
    case API_ALTERNATE: return in_alternate(t, v, to, at, err);
    default: return in_integer(t, v, to, at, err);
    }
}

bool api_in(const ApiType *t, const JVal *v, void *to, Error **err)
{
    At top = { 0 };

    if (in_value(t, v, to, &top, err))
        return true;
    api_clear(t, to);
    return false;
}

/* ---- out ---- */
static bool present(const ApiMember *m, const void *s)
{
    const char *p = (const char *)s + m->at;

    if (!m->optional)
        return true;
    if (m->has)
        return *((const bool *)s + m->has - 1);
    if (m->type->kind == API_LIST && !m->pointer)
        return ((const List *)(const void *)p)->v;
    return *(void *const *)(const void *)p;
}

static void out_members(const ApiType *t, const void *s, JVal *o)
{
    const ApiMember *var = variant_of(t, s);

    for (unsigned i = 0; i < t->n; i++) {
        const ApiMember *m = &t->members[i];
        const char *p = (const char *)s + m->at;

        if (present(m, s))
            j_set(o, m->name, api_out(m->type, m->pointer ? *(void *const *)(const void *)p : p));
    }
    if (var)
        out_members(var->type, (const char *)s + var->at, o);
}

static int64_t signed_of(const void *p, unsigned size)
{
    uint64_t v = get(p, size);
    unsigned up = 64 - 8 * size;

    return (int64_t)(v << up) >> up;
}

JVal *api_out(const ApiType *t, const void *p)
{
    const List *l = p;
    const char *text = t->kind == API_STR ? *(char *const *)p : NULL;
    JVal *v;

    switch (t->kind) {
    case API_STR: return j_string(text ? text : "");
    case API_BOOL: return j_bool(*(const bool *)p);
    case API_SINT: return j_int(signed_of(p, t->size));
    case API_UINT: return j_uint(get(p, t->size));
    case API_NUMBER: return j_double(*(const double *)p);
    case API_ANY: return *(JVal *const *)p ? j_copy(*(JVal *const *)p) : j_null();
    case API_ENUM: return j_string(t->names[*(const int *)p]);
    case API_STRUCT:
        v = j_object();
        out_members(t, p, v);
        return v;
    case API_LIST:
        v = j_list();
        for (size_t i = 0; i < l->n; i++)
            j_append(v, api_out(t->of, (const char *)l->v + i * t->of->size));
        return v;
    case API_ALTERNATE: return api_out(t->members[*(const int *)p].type, (const char *)p + t->members[*(const int *)p].at);
    default: return j_null();
    }
}

/* ---- release ---- */
static void clear_members(const ApiType *t, void *s)
{
    const ApiMember *var = variant_of(t, s);

    if (var)
        clear_members(var->type, (char *)s + var->at);
    for (unsigned i = 0; i < t->n; i++) {
        const ApiMember *m = &t->members[i];
        char *p = (char *)s + m->at;

        if (!m->pointer) {
            api_clear(m->type, p);
        } else if (*(char **)p) {
            api_clear(m->type, *(char **)p);
            g_free(*(char **)p);
        }
    }
}

void api_clear(const ApiType *t, void *p)
{
    List *l = p;
    const ApiMember *m;

    switch (t->kind) {
    case API_STR: g_free(*(char **)p); break;
    case API_ANY: j_free(*(JVal **)p); break;
    case API_STRUCT: clear_members(t, p); break;
    case API_ALTERNATE:
        m = &t->members[*(int *)p];
        api_clear(m->type, (char *)p + m->at);
        break;
    case API_LIST:
        for (size_t i = 0; i < l->n; i++)
            api_clear(t->of, (char *)l->v + i * t->of->size);
        g_free(l->v);
        break;
    default: break;
    }
    memset(p, 0, t->size);
}

void api_emit(Vm *vm, const ApiEvent *e, const void *data)
{
    JVal *v = data ? api_out(e->data, data) : NULL;
    g_autofree char *text = v ? j_text(v) : NULL;

    j_free(v);
    vm_event(vm, e->name, text ? "%s" : NULL, text);
}

/* ---- human monitor ---- */
void hmp_say_error(Hmp *h, Error *err)
{
    if (err)
        g_string_append_printf(h->out, "Error: %s\n", error_text(err));
    error_free(err);
}
