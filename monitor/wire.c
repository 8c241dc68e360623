/*
 * monitor/wire.c - a JSON reader that is fed byte by byte.
 *
 *   between tokens --quote--> STRING --quote--> ..
 *                  --digit--> NUMBER --other--> ..   (the other byte is looked at again)
 *                  --letter-> WORD   --other--> ..
 *
 * Invariants: `open` holds the containers being read, outermost first, each owned by the one below it; `want` says what
 * the grammar allows next. After an error nothing is kept and the rest is skipped: after a broken token or a limit, to
 * the end of the line; after a token in the wrong place, to the bracket that closes the outermost one. 0xff, which
 * clients send to start afresh, ends both.
 */
#include "monitor/wire.h"

typedef enum Lex { BETWEEN, STRING, ESCAPE, HEX, NUMBER, WORD } Lex;
typedef enum Want { WANT_VALUE, WANT_VALUE_OR_END, WANT_KEY, WANT_KEY_OR_END, WANT_COLON, WANT_COMMA_OR_END } Want;
typedef enum Skip { SKIP_NOT, SKIP_LINE, SKIP_NEST } Skip;
enum { WORD_MAX = 32, NUMBER_MAX = 512 };

struct Wire {
    WireUser user;
    GPtrArray *open; /* of JVal * */
    GString *token;
    char *key;       /* read, its value not yet */
    Lex lex;
    Want want;
    Skip skip;
    char quote;
    unsigned hex, hex_left, high; /* \uXXXX; the high surrogate before it */
    unsigned nest;                /* of brackets, also while skipping */
    size_t bytes, values;
};

/* ---- life ---- */
Wire *wire_new(const WireUser *u)
{
    Wire *w = g_new0(Wire, 1);

    w->user = *u;
    w->open = g_ptr_array_new();
    w->token = g_string_new(NULL);
    return w;
}

static void forget(Wire *w)
{
    if (w->open->len)
        j_free(w->open->pdata[0]);
    g_ptr_array_set_size(w->open, 0);
    g_clear_pointer(&w->key, g_free);
    g_string_truncate(w->token, 0);
    w->lex = BETWEEN;
    w->want = WANT_VALUE;
    w->high = w->hex_left = 0;
    w->bytes = w->values = 0;
}

void wire_reset(Wire *w)
{
    forget(w);
    w->skip = SKIP_NOT;
    w->nest = 0;
}

void wire_free(Wire *w)
{
    if (!w)
        return;
    forget(w);
    g_ptr_array_free(w->open, TRUE);
    g_string_free(w->token, TRUE);
    g_free(w);
}

static void broken(Wire *w, Skip skip, const char *what)
{
    g_autofree char *message = g_strconcat("JSON parse error, ", what, NULL);

    forget(w);
    if (skip == SKIP_NEST && !w->nest)
        skip = SKIP_NOT;
    if (skip != SKIP_NEST)
        w->nest = 0;
    w->skip = skip;
    w->user.error(w->user.o, message);
}

/* ---- grammar ---- */
static JVal *top(const Wire *w) { return w->open->len ? w->open->pdata[w->open->len - 1] : NULL; }

static void finished(Wire *w, JVal *v)
{
    g_ptr_array_set_size(w->open, 0);
    forget(w);
    w->user.value(w->user.o, v);
}

/* v is complete, or an opened container. */
static bool place(Wire *w, JVal *v, bool opens)
{
    JVal *box = top(w);

    if (w->want != WANT_VALUE && w->want != WANT_VALUE_OR_END) {
        j_free(v);
        broken(w, SKIP_NEST, w->want == WANT_COMMA_OR_END ? "expected separator" : w->want == WANT_COLON ? "missing : in object pair"
                                                                                                        : "key is not a string in object");
        return false;
    }
    if (++w->values > WIRE_VALUES) {
        j_free(v);
        broken(w, SKIP_LINE, "too many values");
        return false;
    }
    if (box && box->kind == J_OBJECT) {
        j_set(box, w->key, v);
        g_clear_pointer(&w->key, g_free);
    } else if (box) {
        j_append(box, v);
    }
    if (opens)
        g_ptr_array_add(w->open, v);
    else if (!box)
        finished(w, v);
    if (!opens && box)
        w->want = WANT_COMMA_OR_END;
    return true;
}

static void open_box(Wire *w, JKind k)
{
    if (++w->nest > WIRE_DEPTH) {
        broken(w, SKIP_LINE, "nesting depth limit exceeded");
        return;
    }
    if (place(w, k == J_LIST ? j_list() : j_object(), true))
        w->want = k == J_LIST ? WANT_VALUE_OR_END : WANT_KEY_OR_END;
}

static void close_box(Wire *w, JKind k)
{
    JVal *box = top(w);
    bool may = w->want == WANT_COMMA_OR_END || w->want == (k == J_LIST ? WANT_VALUE_OR_END : WANT_KEY_OR_END);

    w->nest -= w->nest > 0;
    if (!box || box->kind != k || !may) {
        broken(w, box ? SKIP_NEST : SKIP_LINE, box && box->kind != k ? "bracket does not match" : "expecting value");
        return;
    }
    g_ptr_array_set_size(w->open, (int)w->open->len - 1);
    if (!w->open->len)
        finished(w, box);
    else
        w->want = WANT_COMMA_OR_END;
}

static void punctuation(Wire *w, char c)
{
    JVal *box = top(w);

    if (c == ',' && box && w->want == WANT_COMMA_OR_END)
        w->want = box->kind == J_LIST ? WANT_VALUE : WANT_KEY;
    else if (c == ':' && w->want == WANT_COLON)
        w->want = WANT_VALUE;
    else
        broken(w, box ? SKIP_NEST : SKIP_LINE, "expecting value");
}

/* ---- tokens ---- */
static void string_done(Wire *w)
{
    g_autofree char *text = g_strndup(w->token->str, w->token->len);

    w->lex = BETWEEN;
    if (w->high || !g_utf8_validate(text, -1, NULL)) {
        broken(w, SKIP_NEST, w->high ? "lone surrogate in string" : "invalid UTF-8 sequence in string");
        return;
    }
    if (w->want != WANT_KEY && w->want != WANT_KEY_OR_END) {
        place(w, j_string(text), false);
    } else if (j_get(top(w), text)) {
        broken(w, SKIP_NEST, "duplicate key");
    } else {
        w->key = g_steal_pointer(&text);
        w->want = WANT_COLON;
    }
}

static const char *digits(const char *p)
{
    while (g_ascii_isdigit(*p))
        p++;
    return p;
}

/* -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? */
static bool is_number(const char *p)
{
    const char *from;

    p += *p == '-';
    from = p;
    p = digits(p);
    if (p == from || (*from == '0' && p > from + 1))
        return false;
    if (*p == '.') {
        from = ++p;
        p = digits(p);
        if (p == from)
            return false;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '+' || *p == '-';
        from = p;
        p = digits(p);
        if (p == from)
            return false;
    }
    return !*p;
}

static void number_done(Wire *w)
{
    w->lex = BETWEEN;
    if (!is_number(w->token->str))
        broken(w, SKIP_LINE, "invalid number");
    else
        place(w, j_number(w->token->str), false);
}

static void word_done(Wire *w)
{
    const char *t = w->token->str;

    w->lex = BETWEEN;
    if (!strcmp(t, "true") || !strcmp(t, "false"))
        place(w, j_bool(*t == 't'), false);
    else if (!strcmp(t, "null"))
        place(w, j_null(), false);
    else {
        g_autofree char *what = g_strdup_printf("invalid keyword '%s'", t);

        broken(w, SKIP_LINE, what);
    }
}

static void begin(Wire *w, Lex lex, char c)
{
    g_string_truncate(w->token, 0);
    w->lex = lex;
    if (lex == STRING)
        w->quote = c;
    else
        g_string_append_c(w->token, c);
}

static void between(Wire *w, char c)
{
    switch (c) {
    case ' ': case '\t': case '\r': case '\n': break;
    case '{': open_box(w, J_OBJECT); break;
    case '[': open_box(w, J_LIST); break;
    case '}': close_box(w, J_OBJECT); break;
    case ']': close_box(w, J_LIST); break;
    case ',': case ':': punctuation(w, c); break;
    case '"': case '\'': begin(w, STRING, c); break;
    default:
        if (g_ascii_isdigit(c) || c == '-')
            begin(w, NUMBER, c);
        else if (g_ascii_isalpha(c))
            begin(w, WORD, c);
        else
            broken(w, SKIP_LINE, "stray byte");
    }
}

static void in_string(Wire *w, char c)
{
    if (w->high && c != '\\')
        broken(w, SKIP_LINE, "lone surrogate in string");
    else if (c == w->quote)
        string_done(w);
    else if (c == '\\')
        w->lex = ESCAPE;
    else if ((uint8_t)c < 0x20)
        broken(w, SKIP_LINE, "control character in string");
    else
        g_string_append_c(w->token, c);
}

static void escaped(Wire *w, char c)
{
    static const char from[] = "\"\\/'bfnrt", to[] = "\"\\/'\b\f\n\r\t";
    const char *p = c ? strchr(from, c) : NULL;

    w->lex = c == 'u' ? HEX : STRING;
    w->hex = 0;
    w->hex_left = 4;
    if (c != 'u' && (!p || w->high))
        broken(w, SKIP_LINE, p ? "lone surrogate in string" : "invalid escape in string");
    else if (p)
        g_string_append_c(w->token, to[p - from]);
}

static void in_hex(Wire *w, char c)
{
    unsigned v;

    if (!g_ascii_isxdigit(c)) {
        broken(w, SKIP_LINE, "invalid escape in string");
        return;
    }
    w->hex = 16 * w->hex + (unsigned)g_ascii_xdigit_value(c);
    if (--w->hex_left)
        return;
    v = w->hex;
    w->lex = STRING;
    if (v >= 0xd800 && v < 0xdc00 && !w->high) {
        w->high = v;
        return;
    }
    if (w->high ? v < 0xdc00 || v > 0xdfff : (v >= 0xdc00 && v <= 0xdfff) || !v) {
        broken(w, SKIP_LINE, v ? "lone surrogate in string" : "NUL in string");
        return;
    }
    g_string_append_unichar(w->token, w->high ? 0x10000 + ((w->high - 0xd800) << 10) + (v - 0xdc00) : v);
    w->high = 0;
}

/* ---- bytes ---- */
static void skipped(Wire *w, char c)
{
    if ((uint8_t)c == 0xff) {
        wire_reset(w);
    } else if (w->skip == SKIP_NEST) { /* strings are still strings, for the brackets in them */
        if (w->lex == ESCAPE)
            w->lex = STRING;
        else if (w->lex == STRING)
            w->lex = c == '\\' ? ESCAPE : c == w->quote || (uint8_t)c < 0x20 ? BETWEEN : STRING;
        else if (c == '"' || c == '\'')
            begin(w, STRING, c);
        else if (c == '[' || c == '{')
            w->nest++;
        else if ((c == ']' || c == '}') && !--w->nest)
            wire_reset(w);
    }
}

static bool goes_on(const Wire *w, char c)
{
    return w->lex == WORD ? g_ascii_isalnum(c) || c == '_' : g_ascii_isalnum(c) || c == '+' || c == '-' || c == '.';
}

static void byte(Wire *w, char c)
{
    if (w->lex == NUMBER || w->lex == WORD) {
        if (goes_on(w, c)) {
            if (w->token->len >= (w->lex == WORD ? WORD_MAX : NUMBER_MAX))
                broken(w, SKIP_LINE, w->lex == WORD ? "invalid keyword" : "number too long");
            else
                g_string_append_c(w->token, c);
            return;
        }
        if (w->lex == WORD)
            word_done(w);
        else
            number_done(w);
        if (w->skip) {
            skipped(w, c);
            return;
        }
    }
    switch (w->lex) {
    case STRING: in_string(w, c); break;
    case ESCAPE: escaped(w, c); break;
    case HEX: in_hex(w, c); break;
    default: between(w, c); break;
    }
}

void wire_feed(Wire *w, const void *p, size_t n)
{
    const char *c = p;

    for (size_t i = 0; i < n; i++) {
        if (w->skip)
            skipped(w, c[i]);
        else if ((uint8_t)c[i] == 0xff)
            broken(w, SKIP_NOT, "stray byte");
        else if (++w->bytes > WIRE_BYTES)
            broken(w, SKIP_LINE, "message too long");
        else
            byte(w, c[i]);
        if (w->skip == SKIP_LINE && c[i] == '\n')
            wire_reset(w);
        if (!w->open->len && w->lex == BETWEEN)
            w->bytes = 0;
    }
}

/* ---- one text ---- */
typedef struct One {
    JVal *v;
    char *why;
} One;

static void one_value(void *o, JVal *v)
{
    One *one = o;

    if (one->v && !one->why)
        one->why = g_strdup("JSON parse error, more than one value");
    j_free(one->v);
    one->v = v;
}

static void one_error(void *o, const char *message)
{
    One *one = o;

    if (!one->why)
        one->why = g_strdup(message);
}

JVal *wire_parse(const char *text, char **why)
{
    One one = { NULL, NULL };
    Wire *w = wire_new(&(WireUser){ one_value, one_error, &one });

    wire_feed(w, text, strlen(text));
    wire_feed(w, " ", 1);
    if (!one.v && !one.why)
        one.why = g_strdup("JSON parse error, it ends too early");
    if ((w->open->len || w->lex != BETWEEN) && !one.why)
        one.why = g_strdup("JSON parse error, it ends too early");
    wire_free(w);
    if (one.why) {
        j_free(one.v);
        one.v = NULL;
    }
    if (why)
        *why = one.why;
    else
        g_free(one.why);
    return one.v;
}
