/* util/jval.c - JSON values: building, looking up, writing. Depth is bounded by whoever builds (monitor/wire.c: 1,024). */
#include "util/jval.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { INDEX_FROM = 16 }; /* members from which a hash table finds them */

const char *const j_kind_names[J_KINDS] = { "null", "boolean", "number", "string", "array", "object" };

static JVal *make(JKind k)
{
    JVal *v = g_new0(JVal, 1);

    v->kind = k;
    return v;
}

static JVal *make_text(JKind k, char *text)
{
    JVal *v = make(k);

    v->text = text;
    return v;
}

JVal *j_null(void) { return make(J_NULL); }
JVal *j_int(int64_t n) { return make_text(J_NUMBER, g_strdup_printf("%" PRId64, n)); }
JVal *j_uint(uint64_t n) { return make_text(J_NUMBER, g_strdup_printf("%" PRIu64, n)); }
JVal *j_number(const char *text) { return make_text(J_NUMBER, g_strdup(text)); }
JVal *j_string(const char *text) { return make_text(J_STRING, g_strdup(text)); }

JVal *j_bool(bool yes)
{
    JVal *v = make(J_BOOL);

    v->yes = yes;
    return v;
}

JVal *j_double(double d)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    return j_number(g_ascii_dtostr(text, sizeof(text), isfinite(d) ? d : 0));
}

static JVal *make_box(JKind k)
{
    JVal *v = make(k);

    v->items = g_ptr_array_new();
    return v;
}

JVal *j_list(void) { return make_box(J_LIST); }
JVal *j_object(void) { return make_box(J_OBJECT); }

void j_free(JVal *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < j_len(v); i++)
        j_free(j_at(v, i));
    if (v->items)
        g_ptr_array_free(v->items, TRUE);
    if (v->index)
        g_hash_table_destroy(v->index);
    g_free(v->text);
    g_free(v->key);
    g_free(v);
}

JVal *j_append(JVal *list, JVal *v)
{
    g_ptr_array_add(list->items, v);
    return list;
}

JVal *j_get(const JVal *o, const char *key)
{
    if (o->index)
        return g_hash_table_lookup(o->index, key);
    for (size_t i = 0; i < j_len(o); i++)
        if (!strcmp(j_at(o, i)->key, key))
            return j_at(o, i);
    return NULL;
}

JVal *j_steal(JVal *o, const char *key)
{
    JVal *v = j_get(o, key);

    if (!v)
        return NULL;
    if (o->index)
        g_hash_table_remove(o->index, key);
    g_ptr_array_remove(o->items, v);
    g_clear_pointer(&v->key, g_free);
    return v;
}

static void add_index(JVal *o)
{
    if (!o->index && j_len(o) == INDEX_FROM) {
        o->index = g_hash_table_new(g_str_hash, g_str_equal);
        for (size_t i = 0; i < INDEX_FROM; i++)
            g_hash_table_insert(o->index, j_at(o, i)->key, j_at(o, i));
    } else if (o->index) {
        JVal *last = j_at(o, j_len(o) - 1);

        g_hash_table_insert(o->index, last->key, last);
    }
}

JVal *j_set(JVal *o, const char *key, JVal *v)
{
    j_free(j_steal(o, key));
    v->key = g_strdup(key);
    g_ptr_array_add(o->items, v);
    add_index(o);
    return o;
}

JVal *j_copy(const JVal *v)
{
    JVal *n = make(v->kind);

    n->yes = v->yes;
    n->text = g_strdup(v->text);
    if (v->items)
        n->items = g_ptr_array_new();
    for (size_t i = 0; i < j_len(v); i++) {
        if (v->kind == J_OBJECT)
            j_set(n, j_at(v, i)->key, j_copy(j_at(v, i)));
        else
            j_append(n, j_copy(j_at(v, i)));
    }
    return n;
}

/* ---- numbers ---- */
bool j_get_s64(const JVal *v, int64_t *out)
{
    return j_is(v, J_NUMBER) && g_ascii_string_to_signed(v->text, 10, INT64_MIN, INT64_MAX, out, NULL);
}

bool j_get_u64(const JVal *v, uint64_t *out)
{
    return j_is(v, J_NUMBER) && g_ascii_string_to_unsigned(v->text, 10, 0, UINT64_MAX, out, NULL);
}

bool j_get_double(const JVal *v, double *out)
{
    if (!j_is(v, J_NUMBER))
        return false;
    *out = g_ascii_strtod(v->text, NULL);
    return isfinite(*out);
}

/* ---- text ---- */
static void write_char(gunichar c, GString *out)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *p = c < 128 && c ? strchr(from, (int)c) : NULL;

    if (p)
        g_string_append_printf(out, "\\%c", to[p - from]);
    else if (c >= 0x20 && c < 0x7f)
        g_string_append_c(out, (char)c);
    else if (c < 0x10000)
        g_string_append_printf(out, "\\u%04X", c);
    else
        g_string_append_printf(out, "\\u%04X\\u%04X", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + (c & 0x3ff));
}

void j_write_string(const char *s, GString *out)
{
    g_string_append_c(out, '"');
    while (*s) {
        gunichar c = g_utf8_get_char_validated(s, -1);
        bool bad = c == (gunichar)-1 || c == (gunichar)-2; /* bytes of the host that are not UTF-8 */

        write_char(bad ? 0xfffd : c, out);
        s = bad ? s + 1 : g_utf8_next_char(s);
    }
    g_string_append_c(out, '"');
}

static void indent(GString *out, bool pretty, unsigned depth)
{
    if (!pretty)
        return;
    g_string_append_c(out, '\n');
    for (unsigned i = 0; i < depth; i++)
        g_string_append(out, "    ");
}

static void write_value(const JVal *v, GString *out, bool pretty, unsigned depth);

static void write_items(const JVal *v, GString *out, bool pretty, unsigned depth)
{
    bool object = v->kind == J_OBJECT;

    g_string_append_c(out, object ? '{' : '[');
    for (size_t i = 0; i < j_len(v); i++) {
        if (i)
            g_string_append(out, pretty ? "," : ", ");
        indent(out, pretty, depth + 1);
        if (object) {
            j_write_string(j_at(v, i)->key, out);
            g_string_append(out, ": ");
        }
        write_value(j_at(v, i), out, pretty, depth + 1);
    }
    if (j_len(v))
        indent(out, pretty, depth);
    g_string_append_c(out, object ? '}' : ']');
}

static void write_value(const JVal *v, GString *out, bool pretty, unsigned depth)
{
    switch (v->kind) {
    case J_NUMBER: g_string_append(out, v->text); break;
    case J_STRING: j_write_string(v->text, out); break;
    case J_BOOL: g_string_append(out, v->yes ? "true" : "false"); break;
    case J_LIST:
    case J_OBJECT: write_items(v, out, pretty, depth); break;
    default: g_string_append(out, "null"); break;
    }
}

void j_write(const JVal *v, GString *out, bool pretty) { write_value(v, out, pretty, 0); }

char *j_text(const JVal *v)
{
    GString *s = g_string_new(NULL);

    j_write(v, s, false);
    return g_string_free(s, FALSE);
}
