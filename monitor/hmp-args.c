/*
 * monitor/hmp-args.c - the arguments of a line, by the kinds of the schema, as a JSON object. Text is bounded by whoever
 * reads lines.
 */
#include "monitor/hmp.h"
#include "util/opts.h"

static const char *skip(const char *p)
{
    while (g_ascii_isspace(*p))
        p++;
    return p;
}

/* "quoted \" text" or all up to the next space; NULL: a quote is not closed. */
static char *word(const char **p)
{
    GString *s = g_string_new(NULL);
    const char *c = *p;
    bool quoted = *c == '"';

    for (c += quoted; *c && (quoted ? *c != '"' : !g_ascii_isspace(*c)); c++) {
        static const char from[] = "nr\\'\"", to[] = "\n\r\\'\"";
        const char *e = quoted && *c == '\\' && c[1] ? strchr(from, c[1]) : NULL;

        g_string_append_c(s, e ? to[e - from] : *c);
        c += e != NULL;
    }
    if (quoted && *c != '"')
        return g_string_free(s, TRUE);
    *p = c + quoted;
    return g_string_free(s, FALSE);
}

typedef struct Reading {
    Hmp *h;
    const HmpCommand *c;
    const ApiMember *m;
    char flag;
    const char *p;
    Error **err;
} Reading;

static JVal *expected(Reading *r, const char *what)
{
    size_t n;
    const char *name = hmp__name(r->c, &n);

    fail(r->err, "%.*s: %s expected", (int)n, name, what);
    return NULL;
}

static JVal *read_word(Reading *r, const char *what)
{
    g_autofree char *w = *r->p ? word(&r->p) : NULL;

    return w ? j_string(w) : expected(r, what);
}

static JVal *read_int(Reading *r)
{
    int64_t v;

    return hmp__expr(r->h, &r->p, &v, r->err) ? j_int(v) : NULL;
}

static JVal *read_size(Reading *r)
{
    g_autofree char *w = *r->p ? word(&r->p) : NULL;
    uint64_t v;

    if (!w)
        return expected(r, "size");
    return parse_size(w, 'M', &v, r->err) ? j_uint(v) : NULL;
}

static JVal *read_onoff(Reading *r)
{
    g_autofree char *w = *r->p ? word(&r->p) : NULL;

    if (w && (!strcmp(w, "on") || !strcmp(w, "off")))
        return j_bool(w[1] == 'n');
    fail(r->err, "Expected 'on' or 'off'");
    return NULL;
}

static JVal *read_flag(Reading *r)
{
    bool given = r->p[0] == '-' && r->p[1] == r->flag && (!r->p[2] || g_ascii_isspace(r->p[2]));

    r->p += given ? 2 : 0;
    return j_bool(given);
}

/* /COUNT, then letters: how (x d u o c i), how much (b h w g). */
static JVal *read_format(Reading *r)
{
    uint64_t count = 1;
    char letter = 'x';
    unsigned size = 4;
    bool given = *r->p == '/';

    r->p += given;
    if (given && g_ascii_isdigit(*r->p))
        count = g_ascii_strtoull(r->p, (char **)&r->p, 10);
    for (; given && *r->p && !g_ascii_isspace(*r->p); r->p++) {
        static const char sizes[] = "bhwg";
        const char *s = strchr(sizes, *r->p);

        if (s) {
            size = 1u << (s - sizes);
        } else if (strchr("xduoci", *r->p)) {
            letter = *r->p;
        } else {
            fail(r->err, "invalid char in format: '%c'", *r->p);
            return NULL;
        }
    }
    return j_set(j_set(j_set(j_set(j_object(), "count", j_uint(MIN(count, UINT32_MAX))), "letter", j_int(letter)), "size",
                       j_uint(size)), "given", j_bool(given));
}

static JVal *read_one(Reading *r, HmpArg kind)
{
    JVal *v;

    switch (kind) {
    case HMP_WORD: return read_word(r, "string");
    case HMP_COMMAND: return read_word(r, "command name");
    case HMP_FILE: return read_word(r, "filename");
    case HMP_INT: return read_int(r);
    case HMP_SIZE: return read_size(r);
    case HMP_FLAG: return read_flag(r);
    case HMP_FORMAT: return read_format(r);
    case HMP_ONOFF: return read_onoff(r);
    default:
        v = *r->p ? j_string(r->p) : expected(r, "string");
        r->p += strlen(r->p);
        return v;
    }
}

JVal *hmp__args(Hmp *h, const HmpCommand *c, const char *text, Error **err)
{
    Reading r = { .h = h, .c = c, .p = text, .err = err };
    g_autoptr(JVal) o = j_object();

    for (unsigned i = 0; c->args && i < c->args->n; i++) {
        JVal *v;

        r.m = &c->args->members[i];
        r.flag = c->flags[i];
        r.p = skip(r.p);
        if (!*r.p && r.m->optional)
            continue;
        v = read_one(&r, c->arg_kinds[i]);
        if (!v)
            return NULL;
        j_set(o, r.m->name, v);
    }
    if (*skip(r.p)) {
        fail(err, "%s: extraneous characters at the end of line", c->names);
        return NULL;
    }
    return g_steal_pointer(&o);
}
