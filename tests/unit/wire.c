/* The reader of the QMP stream: grammar, limits, recovery, and what random bytes do to it. */
#include "monitor/wire.h"
#include "tests/lib/t.h"

typedef struct Seen { /* everything the reader said: "v TEXT\n" and "e MESSAGE\n" */
    GString *s;
    unsigned values, errors;
} Seen;

static void value(void *o, JVal *v)
{
    Seen *s = o;

    g_string_append(s->s, "v ");
    j_write(v, s->s, false);
    g_string_append_c(s->s, '\n');
    s->values++;
    j_free(v);
}

static void error(void *o, const char *message)
{
    Seen *s = o;

    g_string_append_printf(s->s, "e %s\n", message + strlen("JSON parse error, "));
    s->errors++;
}

static char *feed(const char *p, size_t n, size_t step, Seen *seen)
{
    Wire *w;

    *seen = (Seen){ g_string_new(NULL), 0, 0 };
    w = wire_new(&(WireUser){ value, error, seen });
    for (size_t i = 0; i < n; i += step)
        wire_feed(w, p + i, MIN(step, n - i));
    wire_free(w);
    return g_string_free(seen->s, FALSE);
}

static void says(const char *in, const char *want)
{
    for (size_t step = 1; step < 64; step = 3 * step + 1) { /* however it is cut into pieces */
        Seen seen;
        g_autofree char *got = feed(in, strlen(in), step, &seen);

        check_str(got, want);
    }
}

static void grammar(Vm *vm)
{
    says("{}", "v {}\n");
    says(" [ ] 1 2\n", "v []\nv 1\nv 2\n");
    says("{\"a\":[1,-2.5e+3,true,false,null,\"x\"]}{'b':'it\\'s'} {\n\"c\"\n:\n0}",
         "v {\"a\": [1, -2.5e+3, true, false, null, \"x\"]}\nv {\"b\": \"it's\"}\nv {\"c\": 0}\n");
    says("[18446744073709551615,9223372036854775808,-9223372036854775808,1.0]",
         "v [18446744073709551615, 9223372036854775808, -9223372036854775808, 1.0]\n");
    says("[\"\\u00e9\\ud83d\\ude00 \xc3\xa9\\/\\n\\\"\"]", "v [\"\\u00E9\\uD83D\\uDE00 \\u00E9/\\n\\\"\"]\n");
    says("[[[]],{\"a\":{\"b\":{}}}]", "v [[[]], {\"a\": {\"b\": {}}}]\n");
}
TEST("wire/grammar", grammar);

static void mistakes(Vm *vm)
{
    says("{\"a\":1,,}[1]", "e expecting value\nv [1]\n");
    says("{\"a\" 1}[1]", "e missing : in object pair\nv [1]\n");
    says("{1:2}[1]", "e key is not a string in object\nv [1]\n");
    says("[1 2][3]", "e expected separator\nv [3]\n");
    says("[1,][3]", "e expecting value\nv [3]\n");
    says("{\"a\":1,}[3]", "e expecting value\nv [3]\n");
    says("{\"a\":1,\"a\":2}[3]", "e duplicate key\nv [3]\n");
    says("{\"a\":[1}, \"]\" }[3]", "e bracket does not match\nv [3]\n"); /* mind the bracket in the string */
    says("]]] [1]\n[2]", "e expecting value\nv [2]\n");
    says(",,\n[2]", "e expecting value\nv [2]\n");
    says("nul\n[2]", "e invalid keyword 'nul'\nv [2]\n");
    says("{\"a\":TRUE}\n[2]", "e invalid keyword 'TRUE'\nv [2]\n");
    says("[01]\n[2]", "e invalid number\nv [2]\n");
    says("[1.]\n[2]", "e invalid number\nv [2]\n");
    says("[+1]\n[2]", "e stray byte\nv [2]\n");
    says("[0x10]\n[2]", "e invalid number\nv [2]\n");
    says("[1e]\n[-]\n[.5]\n[2]", "e invalid number\ne invalid number\ne stray byte\nv [2]\n");
    says("[1] // c\n[2]", "v [1]\ne stray byte\nv [2]\n");
    says("{\"a\": \"x\n[2]", "e control character in string\nv [2]\n");
    says("[\"\\x\"]\n[2]", "e invalid escape in string\nv [2]\n");
    says("[\"\\u12g4\"]\n[2]", "e invalid escape in string\nv [2]\n");
    says("[\"\\ud800\"]\n[2]", "e lone surrogate in string\nv [2]\n");
    says("[\"\\ud800x\"]\n[2]", "e lone surrogate in string\nv [2]\n");
    says("[\"\\udc00\"]\n[2]", "e lone surrogate in string\nv [2]\n");
    says("[\"\\u0000\"]\n[2]", "e NUL in string\nv [2]\n");
    says("[\"\xc3(\"][2]", "e invalid UTF-8 sequence in string\nv [2]\n");
    says("{\"a\":[{\xff[2]", "e stray byte\nv [2]\n");
}
TEST("wire/mistakes", mistakes);

static void limits(Vm *vm)
{
    enum { N = 200 * 1024 };
    g_autofree char *many = g_malloc(N + 1);
    g_autofree char *deep = g_malloc0(2 * WIRE_DEPTH + 1);
    Seen seen;

    memset(many, '[', N);
    many[N] = '\n';
    g_free(feed(many, N + 1, 4096, &seen));
    check_eq(seen.errors, 1);
    check_eq(seen.values, 0);
    memset(deep, '[', WIRE_DEPTH);
    memset(deep + WIRE_DEPTH, ']', WIRE_DEPTH);
    g_free(feed(deep, 2 * WIRE_DEPTH, 100, &seen));
    check_eq(seen.values, 1);
    check_eq(seen.errors, 0);
    for (unsigned i = 0; i < N; i++)
        many[i] = i ? '9' : '[';
    g_free(feed(many, N + 1, 4096, &seen));
    check_eq(seen.errors, 1); /* a number longer than any number */
}
TEST("wire/limits", limits);

/* Bytes and values beyond the limits are refused before the memory for them is spent. */
static void sizes(Vm *vm)
{
    enum { PART = 1024 * 1024 };
    g_autofree char *part = g_malloc(PART);
    Seen seen = { g_string_new(NULL), 0, 0 };
    Wire *w = wire_new(&(WireUser){ value, error, &seen });

    memset(part, 'x', PART);
    wire_feed(w, "[\"", 2);
    for (unsigned i = 0; i < WIRE_BYTES / PART + 1; i++)
        wire_feed(w, part, PART);
    check_eq(seen.errors, 1);
    wire_feed(w, "\n[", 2);
    for (unsigned i = 0; i < PART; i++)
        part[i] = i % 2 ? ',' : '1';
    for (unsigned i = 0; i < 2 * (WIRE_VALUES / (PART / 2)); i++)
        wire_feed(w, part, PART);
    check_eq(seen.errors, 2);
    wire_feed(w, "\n[7]", 4);
    check_eq(seen.values, 1);
    wire_free(w);
    g_string_free(seen.s, TRUE);
}
TEST("wire/sizes", sizes);

/* ---- random ---- */
static JVal *random_value(Rng *r, unsigned depth)
{
    static const char *const texts[] = { "", "a", "\"\\/\b\f\n\r\t", "\xc3\xa9", "\xf0\x9f\x98\x80", "\x01\x1f\x7f", "execute" };
    unsigned n = (unsigned)(rng_next(r) % 5);
    JVal *v;

    switch (rng_next(r) % (depth ? 8 : 6)) {
    case 0: return j_null();
    case 1: return j_bool(rng_next(r) & 1);
    case 2: return j_int((int64_t)rng_value(r));
    case 3: return j_uint(rng_value(r));
    case 4: return j_double((double)(int64_t)rng_value(r) / 3);
    case 5: return j_string(texts[rng_next(r) % G_N_ELEMENTS(texts)]);
    case 6:
        v = j_list();
        while (n--)
            j_append(v, random_value(r, depth - 1));
        return v;
    default:
        v = j_object();
        for (n *= n; n--;) { /* sometimes enough members for the index */
            g_autofree char *key = g_strdup_printf("%s%u", texts[rng_next(r) % G_N_ELEMENTS(texts)], (unsigned)(rng_next(r) % 12));

            j_set(v, key, random_value(r, depth - 1));
        }
        return v;
    }
}

static void round_trip(Vm *vm)
{
    Rng r = { 1 };

    for (unsigned i = 0; i < 3000; i++) {
        g_autoptr(JVal) v = random_value(&r, 5), back = NULL, copy = j_copy(v);
        g_autofree char *text = j_text(copy), *again = NULL, *why = NULL;
        GString *pretty = g_string_new(NULL);

        j_write(v, pretty, true);
        back = wire_parse(i % 2 ? text : pretty->str, &why);
        g_string_free(pretty, TRUE);
        check(!why);
        again = j_text(back);
        check_str(again, text);
    }
}
TEST("wire/round-trip", round_trip);

/* Good text with random damage: no crash, the same verdict however it is cut, and the next line is understood. */
static void damage(Vm *vm)
{
    static const char alphabet[] = "{}[]:,\"'\\ \n0123456789-+.eEutrfalsn\x00\x01\x80\xc3\xff";
    Rng r = { 2 };

    for (unsigned i = 0; i < 4000; i++) {
        g_autoptr(JVal) v = random_value(&r, 4);
        GString *s = g_string_new(NULL);
        unsigned hits = (unsigned)(rng_next(&r) % 6);
        g_autofree char *one = NULL, *other = NULL;
        Seen a, b;

        j_write(v, s, rng_next(&r) & 1);
        for (; hits && s->len; hits--) {
            size_t at = rng_next(&r) % s->len;
            char c = alphabet[rng_next(&r) % (sizeof(alphabet) - 1)];

            if (rng_next(&r) & 1)
                s->str[at] = c;
            else
                g_string_insert_c(s, (gssize)at, c);
        }
        g_string_append(s, "\xff\n{\"execute\": \"next\"}");
        one = feed(s->str, s->len, s->len, &a);
        other = feed(s->str, s->len, 1 + rng_next(&r) % 7, &b);
        check_str(one, other);
        check(g_str_has_suffix(one, "v {\"execute\": \"next\"}\n"));
        g_string_free(s, TRUE);
    }
}
TEST("wire/damage", damage);

static void one_text(Vm *vm)
{
    static const char *const bad[] = { "", "  ", "{", "\"x", "{} {}", "12x", "[1]]" };
    g_autoptr(JVal) v = wire_parse(" 12", NULL);

    check(j_is(v, J_NUMBER));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *why = NULL;

        check(!wire_parse(bad[i], &why));
        check(g_str_has_prefix(why, "JSON parse error, "));
    }
}
TEST("wire/one-text", one_text);
