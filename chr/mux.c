/*
 * chr/mux.c - several users of one character device; Ctrl-A (-echr: another) is the escape. What is typed goes to
 * the user that has the focus, what any of them writes comes out.
 *
 *   Ctrl-A h  help      Ctrl-A x  quit      Ctrl-A c  next user     Ctrl-A b  break
 *   Ctrl-A t  time stamps   Ctrl-A s  save (nothing to do)   Ctrl-A Ctrl-A  Ctrl-A itself
 */
#include "chr/priv.h"

enum { FIFO = 256 };
typedef struct Typed { /* for one user, not taken yet */
    uint8_t byte[FIFO];
    unsigned used;
} Typed;
struct Mux {
    Chr *c;
    guint focus;
    bool escaped, stamps, line_start;
    GArray *typed; /* of Typed, by user */
    int64_t since;
};

Mux *chr__mux_new(Chr *c)
{
    Mux *m = g_new0(Mux, 1);

    m->c = c;
    m->line_start = true;
    m->since = host_now();
    m->typed = g_array_new(FALSE, TRUE, sizeof(Typed));
    return m;
}

void chr__mux_free(Mux *m)
{
    g_array_free(m->typed, TRUE);
    g_free(m);
}

/* What waits for the user that has the focus. Pointer good until another user gets it. */
static Typed *waiting(Mux *m)
{
    if (m->focus >= m->typed->len)
        g_array_set_size(m->typed, m->focus + 1);
    return &g_array_index(m->typed, Typed, m->focus);
}

guint chr__mux_focused(const Mux *m) { return m->focus; }
size_t chr__mux_room(Mux *m) { return FIFO - waiting(m)->used; }

static ChrUser *focused(Mux *m)
{
    return m->focus < m->c->users->len ? &g_array_index(m->c->users, ChrUser, m->focus) : NULL;
}

static void tell(Mux *m, ChrEvent e)
{
    ChrUser *u = focused(m);

    if (u && u->event)
        u->event(u->o, e);
}

void chr__mux_focus(Mux *m, guint user)
{
    tell(m, CHR_MUX_OUT);
    m->focus = user;
    tell(m, CHR_MUX_IN);
    chr__mux_flush(m);
}

void chr__mux_flush(Mux *m)
{
    for (;;) { /* ends when the fifo is empty or nobody takes */
        ChrUser *u = focused(m);
        Typed *t = waiting(m);
        size_t room = u && u->can_take && t->used ? u->can_take(u->o) : 0;
        uint8_t part[FIFO];
        unsigned n = (unsigned)MIN(room, t->used);

        if (!n)
            return;
        memcpy(part, t->byte, n);
        memmove(t->byte, t->byte + n, t->used - n);
        t->used -= n;
        u->take(u->o, part, n);
    }
}

static uint8_t escape_of(const Mux *m) { return m->c->vm->cfg.escape_char ? m->c->vm->cfg.escape_char : 1; }

static void help(Mux *m)
{
    static const char *const rows[][2] = {
        { "h  ", "print this help" },      { "x  ", "end the machine" },  { "s  ", "save disk data (always saved)" },
        { "t  ", "switch time stamps" },   { "b  ", "send a break" },     { "c  ", "switch between console and monitor" },
    };
    uint8_t e = escape_of(m);
    g_autofree char *key = e < 32 ? g_strdup_printf("Ctrl-%c", e + '@') : e < 127 ? g_strdup_printf("%c", e) : g_strdup_printf("\\%03o", e);
    g_autoptr(GString) s = g_string_new("\r\n");

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        g_string_append_printf(s, "%s %s  %s\r\n", key, rows[i][0], rows[i][1]);
    g_string_append_printf(s, "%s %s  send %s\r\n", key, key, key);
    chr_write_all(m->c, s->str, s->len);
}

static void command(Mux *m, uint8_t ch)
{
    switch (ch) {
    case 'h':
    case '?':
        help(m);
        break;
    case 'x':
        chr_write_all(m->c, "\r\nterminated\r\n", 14);
        vm_exit_code(m->c->vm, 0);
        break;
    case 'b':
        tell(m, CHR_BREAK);
        break;
    case 'c':
        if (m->c->users->len)
            chr__mux_focus(m, (m->focus + 1) % m->c->users->len);
        break;
    case 't':
        m->stamps = !m->stamps;
        m->line_start = true;
        m->since = host_now();
        break;
    default: /* 's' has nothing to do: writes are never held back */
        break;
    }
}

/* A user is gone: what the ones behind it had typed moves with them. */
void chr__mux_removed(Mux *m, guint user)
{
    if (user < m->typed->len)
        g_array_remove_index(m->typed, user);
}

void chr__mux_take(Mux *m, const uint8_t *p, size_t n)
{
    uint8_t escape = escape_of(m);

    for (size_t i = 0; i < n; i++) {
        bool was = m->escaped;

        m->escaped = !was && p[i] == escape;
        if (m->escaped)
            continue;
        if (was && p[i] != escape) {
            chr__mux_flush(m);
            command(m, p[i]);
        } else if (waiting(m)->used < FIFO) {
            Typed *t = waiting(m);

            t->byte[t->used++] = p[i];
        }
    }
    chr__mux_flush(m);
}

GByteArray *chr__mux_stamp(Mux *m, const uint8_t *p, size_t n)
{
    GByteArray *out;

    if (!m->stamps)
        return NULL;
    out = g_byte_array_new();
    for (size_t i = 0; i < n; i++) {
        if (m->line_start) {
            int64_t ms = (host_now() - m->since) / MS;
            g_autofree char *t =
                g_strdup_printf("[%02d:%02d:%02d.%03d] ", (int)(ms / 3600000),
                                (int)(ms / 60000 % 60), (int)(ms / 1000 % 60), (int)(ms % 1000));

            g_byte_array_append(out, (const uint8_t *)t, (guint)strlen(t));
        }
        m->line_start = p[i] == '\n';
        g_byte_array_append(out, p + i, 1);
    }
    return out;
}
