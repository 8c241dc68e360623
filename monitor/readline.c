/*
 * monitor/readline.c - see readline.h.
 *
 *   PLAIN --ESC--> ESCAPE --'[' or 'O'--> SEQUENCE --letter or '~'--> PLAIN
 *
 * Keys: arrows, Home, End, Delete; ^A ^E ^B ^F ^D ^H ^K ^U ^W ^L ^P ^N, Tab, ^C drops the line.
 * Invariants: cursor <= line->len <= READLINE_MAX; history[history_at] is shown, history_at == history->len: the new line.
 */
#include "monitor/readline.h"

enum { CTRL = 0x40, DEL = 127 };
typedef enum Mode { PLAIN, ESCAPE, SEQUENCE } Mode;
struct Readline {
    ReadlineUser user;
    char *prompt;
    GString *line, *kept; /* kept: the new line while history is shown */
    size_t cursor;
    GPtrArray *history;
    guint history_at;
    Mode mode;
    unsigned number; /* of ESC [ N ~ */
    bool after_cr;   /* a \n that follows \r is the same key */
};

Readline *readline_new(const ReadlineUser *u, const char *prompt)
{
    Readline *r = g_new0(Readline, 1);

    r->user = *u;
    r->prompt = g_strdup(prompt);
    r->line = g_string_new(NULL);
    r->kept = g_string_new(NULL);
    r->history = g_ptr_array_new_with_free_func(g_free);
    return r;
}

void readline_free(Readline *r)
{
    g_ptr_array_free(r->history, TRUE);
    g_string_free(r->line, TRUE);
    g_string_free(r->kept, TRUE);
    g_free(r->prompt);
    g_free(r);
}

/* ---- the terminal ---- */
static void print(Readline *r, const char *text) { r->user.print(r->user.o, text, strlen(text)); }

static void left(Readline *r, size_t n)
{
    while (n--)
        print(r, "\b");
}

/* The line from the cursor on has changed, and was `gone` characters longer. */
static void repaint_tail(Readline *r, size_t gone)
{
    size_t tail = r->line->len - r->cursor;

    r->user.print(r->user.o, r->line->str + r->cursor, tail);
    for (size_t i = 0; i < gone; i++)
        print(r, " ");
    left(r, tail + gone);
}

static void move_to(Readline *r, size_t to)
{
    if (to < r->cursor)
        left(r, r->cursor - to);
    else
        r->user.print(r->user.o, r->line->str + r->cursor, to - r->cursor);
    r->cursor = to;
}

static void erase(Readline *r, size_t from, size_t to)
{
    move_to(r, from);
    g_string_erase(r->line, (gssize)from, (gssize)(to - from));
    repaint_tail(r, to - from);
}

static void insert(Readline *r, const char *text, size_t n)
{
    n = MIN(n, READLINE_MAX - r->line->len);
    g_string_insert_len(r->line, (gssize)r->cursor, text, (gssize)n);
    r->user.print(r->user.o, text, n);
    r->cursor += n;
    if (r->cursor < r->line->len)
        repaint_tail(r, 0);
}

void readline_prompt(Readline *r)
{
    g_string_truncate(r->line, 0);
    r->cursor = 0;
    r->mode = PLAIN;
    r->history_at = r->history->len;
    print(r, r->prompt);
}

void readline_redraw(Readline *r)
{
    print(r, r->prompt);
    print(r, r->line->str);
    left(r, r->line->len - r->cursor);
}

/* ---- history ---- */
static void remember(Readline *r)
{
    const char *last = r->history->len ? r->history->pdata[r->history->len - 1] : "";

    if (!r->line->len || !strcmp(last, r->line->str))
        return;
    if (r->history->len == READLINE_HISTORY)
        g_ptr_array_remove_index(r->history, 0);
    g_ptr_array_add(r->history, g_strdup(r->line->str));
}

static void show(Readline *r, const char *text)
{
    erase(r, 0, r->line->len);
    insert(r, text, strlen(text));
}

static void history(Readline *r, int step)
{
    g_autofree char *text = NULL;

    if (step < 0 ? !r->history_at : r->history_at == r->history->len)
        return;
    if (r->history_at == r->history->len)
        g_string_assign(r->kept, r->line->str);
    r->history_at = (guint)((int)r->history_at + step);
    text = g_strdup(r->history_at == r->history->len ? r->kept->str : r->history->pdata[r->history_at]);
    show(r, text);
}

guint readline_history_len(const Readline *r) { return r->history->len; }
const char *readline_history(const Readline *r, guint i) { return r->history->pdata[i]; }

/* ---- completion ---- */
static size_t common(const GPtrArray *v)
{
    const char *first = v->pdata[0];
    size_t n = strlen(first);

    for (guint i = 1; i < v->len; i++)
        for (size_t k = 0; k < n; k++)
            if (((const char *)v->pdata[i])[k] != first[k])
                n = k;
    return n;
}

static void list(Readline *r, const GPtrArray *v)
{
    print(r, "\n");
    for (guint i = 0; i < v->len; i++) {
        g_autofree char *cell = g_strdup_printf("%-19s%s", (const char *)v->pdata[i], i % 4 == 3 || i + 1 == v->len ? "\n" : " ");

        print(r, cell);
    }
    readline_redraw(r);
}

static void complete(Readline *r)
{
    g_autofree char *before = g_strndup(r->line->str, r->cursor);
    size_t word = r->cursor, typed;
    GPtrArray *v = r->user.complete ? r->user.complete(r->user.o, before, &word) : NULL;

    if (!v)
        return;
    typed = r->cursor - word;
    if (v->len) {
        size_t n = common(v);

        if (n > typed)
            insert(r, (const char *)v->pdata[0] + typed, n - typed);
        else if (v->len > 1)
            list(r, v);
        if (v->len == 1)
            insert(r, " ", 1);
    }
    g_ptr_array_free(v, TRUE);
}

/* ---- keys ---- */
static void finish(Readline *r)
{
    g_autofree char *line = g_strdup(r->line->str);

    print(r, "\n");
    remember(r);
    r->user.line(r->user.o, line);
}

static void word_back(Readline *r)
{
    size_t at = r->cursor;

    while (at && r->line->str[at - 1] == ' ')
        at--;
    while (at && r->line->str[at - 1] != ' ')
        at--;
    erase(r, at, r->cursor);
}

static void delete_here(Readline *r)
{
    if (r->cursor < r->line->len)
        erase(r, r->cursor, r->cursor + 1);
}

static void control(Readline *r, char c)
{
    switch (c | CTRL) {
    case 'A': move_to(r, 0); break;
    case 'B': move_to(r, r->cursor - (r->cursor > 0)); break;
    case 'C':
        print(r, "\n");
        readline_prompt(r);
        break;
    case 'D': delete_here(r); break;
    case 'E': move_to(r, r->line->len); break;
    case 'F': move_to(r, MIN(r->cursor + 1, r->line->len)); break;
    case 'H': erase(r, r->cursor - (r->cursor > 0), r->cursor); break;
    case 'I': complete(r); break;
    case 'J':
    case 'M': finish(r); break;
    case 'K': erase(r, r->cursor, r->line->len); break;
    case 'L':
        print(r, "\033[2J\033[1;1H");
        readline_redraw(r);
        break;
    case 'N': history(r, 1); break;
    case 'P': history(r, -1); break;
    case 'U': erase(r, 0, r->cursor); break;
    case 'W': word_back(r); break;
    default: break;
    }
}

static void sequence(Readline *r, char c)
{
    if (c >= '0' && c <= '9') {
        r->number = MIN(10 * r->number + (unsigned)(c - '0'), 1000);
        return;
    }
    r->mode = PLAIN;
    switch (c) {
    case 'A': history(r, -1); break;
    case 'B': history(r, 1); break;
    case 'C': control(r, 'F' - CTRL); break;
    case 'D': control(r, 'B' - CTRL); break;
    case 'H': move_to(r, 0); break;
    case 'F': move_to(r, r->line->len); break;
    case '~':
        if (r->number == 1 || r->number == 7)
            move_to(r, 0);
        else if (r->number == 4 || r->number == 8)
            move_to(r, r->line->len);
        else if (r->number == 3)
            delete_here(r);
        break;
    case ';': r->mode = SEQUENCE; break; /* ESC [ 1 ; 5 C: with modifiers, the same */
    default: break;
    }
}

static void key(Readline *r, char c)
{
    bool repeated = c == '\n' && r->after_cr;

    r->after_cr = c == '\r';
    if (repeated)
        return;
    if (r->mode == ESCAPE) {
        r->mode = c == '[' || c == 'O' ? SEQUENCE : PLAIN;
        r->number = 0;
    } else if (r->mode == SEQUENCE) {
        sequence(r, c);
    } else if (c == '\033') {
        r->mode = ESCAPE;
    } else if (c == DEL) {
        control(r, '\b');
    } else if ((uint8_t)c < ' ') {
        control(r, c);
    } else {
        insert(r, &c, 1);
    }
}

void readline_feed(Readline *r, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        key(r, p[i]);
}
