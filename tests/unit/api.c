/*
 * What the schema's tables do to JSON: for every command and event, values made at random from the types are read and
 * written back unchanged; damaged ones are refused without a leak; QEMU's texts where clients see them.
 */
#include "core/api/ui.h"
#include "core/machine.h"
#include "monitor/wire.h"
#include "tests/lib/t.h"
#include "ui/ui.h"

/* ---- values from types ---- */
static JVal *make(const ApiType *t, Rng *r, unsigned depth);

static void add_members(const ApiType *t, Rng *r, unsigned depth, JVal *o)
{
    for (unsigned i = 0; i < t->n; i++) {
        const ApiMember *m = &t->members[i];
        bool list = m->type->kind == API_LIST;
        JVal *v;

        if (m->optional && (rng_next(r) & 1 || !depth))
            continue;
        v = make(m->type, r, depth ? depth - 1 : 0);
        if (m->optional && list && !j_len(v)) { /* an empty optional list is an absent one */
            j_free(v);
            continue;
        }
        j_set(o, m->name, v);
    }
    if (t->tag) {
        int i = api_enum_find(t->tag->type, j_get(o, t->tag->name)->text);

        if (t->variants[i].type)
            add_members(t->variants[i].type, r, depth, o);
    }
}

static JVal *integer(const ApiType *t, Rng *r)
{
    uint64_t v = rng_value(r) & bytes_mask(t->size);
    unsigned up = 64 - 8 * t->size;

    return t->kind == API_UINT ? j_uint(v) : j_int((int64_t)(v << up) >> up);
}

static JVal *make(const ApiType *t, Rng *r, unsigned depth)
{
    JVal *v;

    switch (t->kind) {
    case API_STR: return j_string(rng_next(r) & 1 ? "text \xc3\xa9" : "x");
    case API_BOOL: return j_bool(rng_next(r) & 1);
    case API_SINT:
    case API_UINT: return integer(t, r);
    case API_NUMBER: return j_double((double)(int32_t)rng_next(r) / 8);
    case API_ANY: return j_set(j_object(), "any", j_uint(rng_value(r)));
    case API_ENUM: return j_string(t->names[rng_next(r) % t->n]);
    case API_STRUCT:
        v = j_object();
        add_members(t, r, depth, v);
        return v;
    case API_LIST:
        v = j_list();
        for (unsigned n = depth ? (unsigned)(rng_next(r) % 4) : 0; n; n--)
            j_append(v, make(t->of, r, depth - 1));
        return v;
    case API_ALTERNATE: return make(t->members[rng_next(r) % t->n].type, r, depth);
    default: return j_null();
    }
}

static void there_and_back(const ApiType *t, Rng *r)
{
    for (unsigned i = 0; t && i < 40; i++) {
        g_autoptr(JVal) in = make(t, r, 4), out = NULL;
        g_autofree char *a = j_text(in), *b = NULL;
        void *p = g_malloc0(t->size);

        api_in(t, in, p, &abort_on_error);
        out = api_out(t, p);
        b = j_text(out);
        check_str(b, a);
        api_clear(t, p);
        g_free(p);
    }
}

static void round_trip(Vm *vm)
{
    Rng r = { 3 };

    for (unsigned i = 0; i < api_command_count; i++) {
        there_and_back(api_commands[i].args, &r);
        there_and_back(api_commands[i].ret, &r);
    }
    for (unsigned i = 0; i < api_event_count; i++)
        there_and_back(api_events[i].data, &r);
}
TEST("api/round-trip", round_trip);

/* Replace one value somewhere by one of a wrong kind, or drop or add a member: an error and nothing left behind. */
static void hurt(JVal *v, Rng *r)
{
    while (v->items && j_len(v) && rng_next(r) % 3)
        v = j_at(v, rng_next(r) % j_len(v));
    if (v->kind == J_OBJECT && rng_next(r) & 1) {
        if (j_len(v) && rng_next(r) & 1)
            j_free(j_steal(v, j_at(v, rng_next(r) % j_len(v))->key));
        else
            j_set(v, "no-such-member", j_null());
    } else if (v->text) {
        v->kind = v->kind == J_STRING ? J_NUMBER : J_STRING;
        g_free(v->text);
        v->text = g_strdup("1e99");
    }
}

static void damage(Vm *vm)
{
    Rng r = { 4 };
    unsigned refused = 0;

    for (unsigned k = 0; k < 40; k++)
        for (unsigned i = 0; i < api_command_count; i++) {
            const ApiType *t = api_commands[i].args;
            g_autoptr(JVal) in = t ? make(t, &r, 4) : NULL;
            void *p = t ? g_malloc0(t->size) : NULL;
            Error *err = NULL;

            if (!t)
                continue;
            hurt(in, &r);
            if (!api_in(t, in, p, &err)) {
                refused++;
                for (size_t b = 0; b < t->size; b++)
                    check_eq(((uint8_t *)p)[b], 0);
            }

            error_free(err);
            api_clear(t, p);
            g_free(p);
        }
    check(refused > 100);
}
TEST("api/damage", damage);

static void refuses(const ApiType *t, const char *text, const char *want)
{
    g_autoptr(JVal) v = wire_parse(text, NULL);
    void *p = g_malloc0(t->size);
    Error *err = NULL;

    check(v && !api_in(t, v, p, &err));
    check_str(error_text(err), want);
    error_free(err);
    g_free(p);
}

static void texts(Vm *vm)
{
    const ApiType *t = &api_SendKeyArgs;

    refuses(t, "{}", "Parameter 'keys' is missing");
    refuses(t, "{'keys': 1}", "Invalid parameter type for 'keys', expected: array");
    refuses(t, "{'keys': [1]}", "Invalid parameter type for 'keys[0]', expected: object");
    refuses(t, "{'keys': [{'data': 1}]}", "Parameter 'keys[0].type' is missing");
    refuses(t, "{'keys': [{'type': 'number'}]}", "Parameter 'keys[0].data' is missing");
    refuses(t, "{'keys': [{'type': 'number', 'data': 'x'}]}", "Invalid parameter type for 'keys[0].data', expected: integer");
    refuses(t, "{'keys': [{'type': 'number', 'data': 1.5}]}", "Parameter 'data' expects int64");
    refuses(t, "{'keys': [{'type': 'number', 'data': 9223372036854775808}]}", "Parameter 'data' expects int64");
    refuses(t, "{'keys': [{'type': 'nnumber', 'data': 1}]}", "Parameter 'type' does not accept value 'nnumber'");
    refuses(t, "{'keys': [{'type': 'number', 'data': 1, 'x': 2}]}", "Parameter 'keys[0].x' is unexpected");
    refuses(t, "{'keys': [], 'x': 2}", "Parameter 'x' is unexpected");
    refuses(t, "[]", "Invalid parameter type for 'value', expected: object");
}
TEST("api/texts", texts);

/* Two lists of names of one thing: the buttons of ui.h are those of the schema. */
static void buttons(Vm *vm)
{
    static const struct { UiButton b; const char *name; } same[] = { { UI_LEFT, "left" }, { UI_MIDDLE, "middle" }, { UI_RIGHT, "right" },
        { UI_WHEEL_UP, "wheel-up" }, { UI_WHEEL_DOWN, "wheel-down" }, { UI_SIDE, "side" }, { UI_EXTRA, "extra" },
        { UI_WHEEL_LEFT, "wheel-left" }, { UI_WHEEL_RIGHT, "wheel-right" } };

    check_eq(G_N_ELEMENTS(same), UI_BUTTONS);
    check_eq(INPUT_BUTTONS, UI_BUTTONS);
    for (size_t i = 0; i < G_N_ELEMENTS(same); i++)
        check_str(api_InputButton.names[same[i].b], same[i].name);
}
TEST("api/buttons", buttons);
