/*
 * util/opts.c - ordered key=value lists from text or JSON, and text to values.
 * Flags: QEMU takes a bare `noserver`-like word as off only for the boolean spellings below.
 */
#include "util/opts.h"
#include <errno.h>
#include <json-glib/json-glib.h>
#include <math.h>
#include <stdlib.h>

enum { JSON_DEPTH = 64 };

static const char *const negatable[] = { "server", "wait", "delay", "nodelay", "mux", "append", "telnet" };

static void opt_free(gpointer p)
{
    Opt *o = p;

    g_free(o->key);
    g_free(o->value);
    g_free(o);
}

Opts *opts_new(void)
{
    Opts *o = g_new0(Opts, 1);

    o->v = g_ptr_array_new_with_free_func(opt_free);
    return o;
}

void opts_free(Opts *o)
{
    if (!o)
        return;
    g_ptr_array_free(o->v, TRUE);
    g_free(o);
}

/* The last one wins, as on QEMU's command line. */
static Opt *find(const Opts *o, const char *key)
{
    for (guint i = o->v->len; i-- > 0;) {
        Opt *x = o->v->pdata[i];

        if (!strcmp(x->key, key))
            return x;
    }
    return NULL;
}

static void append(Opts *o, char *key, char *value)
{
    Opt *x = g_new0(Opt, 1);

    x->key = key;
    x->value = value;
    g_ptr_array_add(o->v, x);
}

void opts_set(Opts *o, const char *key, const char *value)
{
    Opt *x = find(o, key);

    if (x) {
        char *copy = g_strdup(value);

        g_free(x->value);
        x->value = copy;
    } else {
        append(o, g_strdup(key), g_strdup(value));
    }
}

/* One value up to a single comma; ",," is a comma. Moves *p past the separator. */
static char *take_value(const char **p)
{
    GString *s = g_string_new(NULL);

    for (; **p; (*p)++) {
        if (**p == ',') {
            if ((*p)[1] != ',')
                break;
            (*p)++;
        }
        g_string_append_c(s, **p);
    }
    if (**p == ',')
        (*p)++;
    return g_string_free(s, FALSE);
}

static void add_flag(Opts *o, char *word)
{
    if (g_str_has_prefix(word, "no"))
        for (size_t i = 0; i < G_N_ELEMENTS(negatable); i++)
            if (!strcmp(word + 2, negatable[i])) {
                append(o, g_strdup(word + 2), g_strdup("off"));
                g_free(word);
                return;
            }
    append(o, word, g_strdup("on"));
}

Opts *opts_parse(const char *text, const char *implied, Error **err)
{
    Opts *o = opts_new();
    const char *p = text;
    bool first = true;

    while (*p) {
        size_t n = strcspn(p, "=,");
        char *key;

        if (first && implied && p[n] != '=') {
            append(o, g_strdup(implied), take_value(&p));
        } else if (p[n] == '=') {
            if (!n) {
                opts_free(o);
                fail(err, "'%s': a name is missing before '='", text);
                return NULL;
            }
            key = g_strndup(p, n);
            p += n + 1;
            append(o, key, take_value(&p));
        } else {
            char *word = take_value(&p);

            if (*word)
                add_flag(o, word);
            else
                g_free(word);
        }
        first = false;
    }
    return o;
}

/* ---- JSON ---- */
static void flatten(Opts *o, const char *key, JsonNode *n);

static void flatten_object(Opts *o, const char *key, JsonObject *obj)
{
    GList *names = json_object_get_members(obj);

    for (GList *k = names; k; k = k->next) {
        g_autofree char *full = *key ? g_strconcat(key, ".", k->data, NULL) : g_strdup(k->data);

        flatten(o, full, json_object_get_member(obj, k->data));
    }
    g_list_free(names);
}

static void flatten_array(Opts *o, const char *key, JsonArray *a)
{
    for (guint i = 0; i < json_array_get_length(a); i++) {
        g_autofree char *full = g_strdup_printf("%s.%u", key, i);

        flatten(o, full, json_array_get_element(a, i));
    }
}

static char *scalar_text(JsonNode *n)
{
    switch (json_node_get_value_type(n)) {
    case G_TYPE_BOOLEAN: return g_strdup(json_node_get_boolean(n) ? "on" : "off");
    case G_TYPE_INT64: return g_strdup_printf("%" PRId64, json_node_get_int(n));
    case G_TYPE_DOUBLE: return g_strdup_printf("%.17g", json_node_get_double(n));
    default: return g_strdup(json_node_get_string(n));
    }
}

static void flatten(Opts *o, const char *key, JsonNode *n)
{
    switch (json_node_get_node_type(n)) {
    case JSON_NODE_OBJECT: flatten_object(o, key, json_node_get_object(n)); break;
    case JSON_NODE_ARRAY: flatten_array(o, key, json_node_get_array(n)); break;
    case JSON_NODE_NULL: append(o, g_strdup(key), NULL); break;
    default: append(o, g_strdup(key), scalar_text(n)); break;
    }
}

/* json-glib recurses without a limit. */
static bool shallow(const char *text)
{
    int depth = 0;
    bool quoted = false;

    for (; *text; text++) {
        if (*text == '\\' && text[1])
            text++;
        else if (*text == '"')
            quoted = !quoted;
        else if (!quoted && (*text == '{' || *text == '['))
            depth++;
        else if (!quoted && (*text == '}' || *text == ']'))
            depth--;
        if (depth > JSON_DEPTH)
            return false;
    }
    return true;
}

static Opts *parse_json(const char *text, Error **err)
{
    g_autoptr(JsonParser) parser = NULL;
    g_autoptr(GError) why = NULL;
    JsonNode *root;
    Opts *o;

    if (!shallow(text)) {
        fail(err, "JSON: nested too deeply (more than %d levels)", JSON_DEPTH);
        return NULL;
    }
    parser = json_parser_new();
    if (!json_parser_load_from_data(parser, text, -1, &why)) {
        fail(err, "JSON: %s", why->message);
        return NULL;
    }
    root = json_parser_get_root(parser);
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        fail(err, "JSON: an object {...} is expected");
        return NULL;
    }
    o = opts_new();
    flatten(o, "", root);
    return o;
}

Opts *opts_parse_any(const char *text, const char *implied, Error **err)
{
    return *text == '{' ? parse_json(text, err) : opts_parse(text, implied, err);
}

/* ---- access ---- */
const char *opts_peek(const Opts *o, const char *key)
{
    const Opt *x = find(o, key);

    return x ? x->value : NULL;
}

const char *opts_get(Opts *o, const char *key)
{
    const char *v = opts_peek(o, key);

    for (guint i = 0; i < o->v->len; i++) {
        Opt *x = o->v->pdata[i];

        if (!strcmp(x->key, key))
            x->used = true;
    }
    return v;
}

char *opts_take(Opts *o, const char *key)
{
    char *v = g_strdup(opts_peek(o, key));

    for (guint i = o->v->len; i-- > 0;)
        if (!strcmp(((Opt *)o->v->pdata[i])->key, key))
            g_ptr_array_remove_index(o->v, i);
    return v;
}

static bool named(const char *key, Error *why, Error **err)
{
    return !why || fail_because(err, why, "option '%s'", key);
}

bool opts_get_bool(Opts *o, const char *key, bool def, bool *out, Error **err)
{
    const char *v = opts_get(o, key);
    Error *why = NULL;

    *out = def;
    if (v)
        parse_bool(v, out, &why);
    return named(key, why, err);
}

bool opts_get_size(Opts *o, const char *key, uint64_t def, uint64_t *out, Error **err)
{
    const char *v = opts_get(o, key);
    Error *why = NULL;

    *out = def;
    if (v)
        parse_size(v, 'B', out, &why);
    return named(key, why, err);
}

bool opts_get_u64(Opts *o, const char *key, uint64_t def, uint64_t *out, Error **err)
{
    const char *v = opts_get(o, key);
    Error *why = NULL;

    *out = def;
    if (v)
        parse_u64(v, out, &why);
    return named(key, why, err);
}

bool opts_all_used(const Opts *o, const char *what, Error **err)
{
    for (guint i = 0; i < o->v->len; i++) {
        const Opt *x = o->v->pdata[i];

        if (!x->used)
            return fail(err, "%s: unknown option '%s'", what, x->key);
    }
    return true;
}

Opts *opts_sub(Opts *o, const char *prefix)
{
    Opts *sub = opts_new();
    size_t n = strlen(prefix);

    for (guint i = 0; i < o->v->len;) {
        Opt *x = o->v->pdata[i];

        if (strncmp(x->key, prefix, n) || x->key[n] != '.') {
            i++;
            continue;
        }
        append(sub, g_strdup(x->key + n + 1), g_strdup(x->value));
        g_ptr_array_remove_index(o->v, i);
    }
    return sub;
}

/* ---- text to values ---- */
bool parse_bool(const char *text, bool *out, Error **err)
{
    static const char *const yes[] = { "on", "yes", "true", "y" }, *const no[] = { "off", "no", "false", "n" };

    for (size_t i = 0; i < G_N_ELEMENTS(yes); i++) {
        if (!strcmp(text, yes[i])) {
            *out = true;
            return true;
        }
        if (!strcmp(text, no[i])) {
            *out = false;
            return true;
        }
    }
    return fail(err, "'%s' is neither 'on' nor 'off'", text);
}

static bool is_hex(const char *t) { return t[0] == '0' && (t[1] == 'x' || t[1] == 'X'); }

bool parse_u64(const char *text, uint64_t *out, Error **err)
{
    char *end;
    uint64_t v;

    if (!g_ascii_isdigit(*text))
        return fail(err, "'%s' is not a number", text);
    errno = 0;
    v = strtoull(text, &end, is_hex(text) ? 16 : 10);
    if (*end)
        return fail(err, "'%s' is not a number", text);
    if (errno)
        return fail(err, "'%s' is too large", text);
    *out = v;
    return true;
}

bool parse_s64(const char *text, int64_t *out, Error **err)
{
    uint64_t v;
    bool minus = *text == '-';

    if (!parse_u64(text + minus, &v, err))
        return false;
    if (v > (uint64_t)INT64_MAX + minus)
        return fail(err, "'%s' is out of range", text);
    *out = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

static int suffix_shift(char c)
{
    static const char letters[] = "BKMGTPE";
    const char *at = c ? strchr(letters, g_ascii_toupper(c)) : NULL;

    return at ? 10 * (int)(at - letters) : -1;
}

bool parse_size(const char *text, char def_suffix, uint64_t *out, Error **err)
{
    const char *end;
    char *frac_end;
    uint64_t whole;
    double frac = 0;
    int shift;

    if (!g_ascii_isdigit(*text))
        return fail(err, "'%s' is not a size", text);
    errno = 0;
    whole = strtoull(text, &frac_end, is_hex(text) ? 16 : 10);
    if (errno)
        return fail(err, "'%s' is too large", text);
    end = frac_end;
    if (*end == '.' && g_ascii_isdigit(end[1])) {
        frac = g_ascii_strtod(end, &frac_end);
        end = frac_end;
    }
    shift = suffix_shift(*end ? *end : def_suffix);
    if (*end)
        end++;
    if (shift < 0 || *end) {
        fail(err, "'%s' is not a size", text);
        return error_hint(err, "use a number and one of the suffixes k, M, G, T, P, E");
    }
    if (whole > (UINT64_MAX >> shift) || (frac > 0 && !shift))
        return fail(err, frac > 0 ? "'%s': a fraction of a byte" : "'%s' is too large", text);
    *out = (whole << shift) + (uint64_t)(frac * (double)(1ull << shift));
    return true;
}

char *size_text(uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double v = (double)bytes;
    unsigned i = 0;

    while (v >= 1000 && i < G_N_ELEMENTS(units) - 1) {
        v /= 1024;
        i++;
    }
    return g_strdup_printf("%0.3g %s", v, units[i]);
}
