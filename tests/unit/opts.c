/* tests/unit/opts.c - key=value text, JSON, numbers and sizes. */
#include "tests/lib/t.h"

static void key_values(Vm *vm)
{
    g_autoptr(Opts) o = opts_parse("edu,id=a,,b,file=x=y,ro,nowait,empty=", "driver", &abort_on_error);

    check_str(opts_peek(o, "driver"), "edu");
    check_str(opts_peek(o, "id"), "a,b");
    check_str(opts_peek(o, "file"), "x=y");
    check_str(opts_peek(o, "ro"), "on");
    check_str(opts_peek(o, "wait"), "off");
    check_str(opts_peek(o, "empty"), "");
    check(!opts_peek(o, "nowait") && !opts_peek(o, "b"));
    check(!opts_all_used(o, "-x", NULL));
    for (guint i = 0; i < o->v->len; i++)
        opts_get(o, ((Opt *)o->v->pdata[i])->key);
    check(opts_all_used(o, "-x", NULL));
}
TEST("opts/key-values", key_values);

static void json(Vm *vm)
{
    g_autoptr(Opts) o = opts_parse_any("{\"driver\": \"nvme\", \"a\": {\"b\": [1, true, null]}, \"n\": 4294967296}", NULL,
                                       &abort_on_error);
    g_autoptr(Opts) a = NULL;
    g_autofree char *deep = g_strnfill(200000, '[');
    Error *e = NULL;

    check_str(opts_peek(o, "n"), "4294967296");
    a = opts_sub(o, "a");
    check_str(opts_peek(a, "b.0"), "1");
    check_str(opts_peek(a, "b.1"), "on");
    check(!opts_peek(a, "b.2") && !opts_peek(o, "a.b.0"));
    deep[0] = '{';
    check(!opts_parse_any(deep, NULL, &e) && e);
    error_free(e);
}
TEST("opts/json", json);

static void sizes(Vm *vm)
{
    static const struct {
        const char *text;
        uint64_t want; /* 1: refused */
    } v[] = { { "512", 512 }, { "64k", 65536 }, { "1.5G", 3ull << 29 }, { "0x10", 16 }, { "16E", 1 }, { "-1", 1 },
              { "k", 1 }, { "1kk", 1 }, { "", 1 }, { "18446744073709551616", 1 }, { "15E", 15ull << 60 } };
    uint64_t got;

    for (size_t i = 0; i < G_N_ELEMENTS(v); i++) {
        bool ok = parse_size(v[i].text, 'B', &got, NULL);

        check_eq(ok, v[i].want != 1);
        if (ok)
            check_eq(got, v[i].want);
    }
    check(parse_size("4", 'M', &got, NULL) && got == 4 * MiB);
}
TEST("opts/sizes", sizes);

static void numbers(Vm *vm)
{
    uint64_t u;
    int64_t s;
    bool b;

    check(parse_u64("0x1f", &u, NULL) && u == 31 && parse_u64("010", &u, NULL) && u == 10);
    check(!parse_u64("-1", &u, NULL) && !parse_u64("12x", &u, NULL) && !parse_u64(" 1", &u, NULL));
    check(parse_s64("-9223372036854775808", &s, NULL) && s == INT64_MIN && !parse_s64("9223372036854775808", &s, NULL));
    check(parse_bool("on", &b, NULL) && b && parse_bool("no", &b, NULL) && !b && !parse_bool("maybe", &b, NULL));
}
TEST("opts/numbers", numbers);
