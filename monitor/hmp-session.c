/*
 * monitor/hmp-session.c - the human monitor on a character device: banner, prompt, editing. On a shared terminal what is
 * said while somebody else has the keyboard waits until it comes back.
 */
#include "core/api/monitor.h"
#include "core/version.h"
#include "monitor/hmp.h"
#include "monitor/priv.h"
#include "monitor/readline.h"

/* Terminals want carriage returns. */
static void say(void *o, const char *p, size_t n)
{
    Monitor *m = o;

    while (n) {
        const char *nl = memchr(p, '\n', n);
        size_t k = nl ? (size_t)(nl - p) : n;

        mon__send(m, p, k);
        if (nl)
            mon__send(m, "\r\n", 2);
        k += nl != NULL;
        p += k;
        n -= k;
    }
}

static void line(void *o, const char *text)
{
    Monitor *m = o;
    Hmp h = { .vm = m->vm, .mon = m, .out = g_string_new(NULL), .cpu = m->cpu };

    hmp__run(&h, text);
    m->cpu = h.cpu;
    say(m, h.out->str, h.out->len);
    g_string_free(h.out, TRUE);
    readline_prompt(m->readline);
}

static GPtrArray *complete(void *o, const char *before, size_t *word)
{
    Monitor *m = o;
    Hmp h = { .vm = m->vm, .mon = m, .cpu = m->cpu };

    return hmp__complete(&h, before, word);
}

void hmp__take(Monitor *m, const uint8_t *p, size_t n) { readline_feed(m->readline, (const char *)p, n); }

/* The keyboard is ours: what was held back, or the prompt again. */
static void come_in(void *o)
{
    Monitor *m = o;
    bool said = m->out->len;

    if (!m->focused || !m->held)
        return;
    m->held = false;
    if (!said)
        readline_redraw(m->readline);
    mon__send(m, "", 0);
}

/* On a shared terminal the events are OUT, IN while we are attached, then OPENED; others may still join, so that the banner
 * waits until the loop runs. */
void hmp__event(Monitor *m, ChrEvent e)
{
    static const char hello[] = "QEMU " QEMU_VERSION " monitor - type 'help' for more information\n";

    if (e == CHR_OPENED) {
        say(m, hello, sizeof(hello) - 1);
        readline_prompt(m->readline);
        m->greeted = true;
        if (m->held)
            loop_post(m->vm->loop, come_in, m);
    } else if (e == CHR_MUX_OUT) {
        if (m->greeted && !m->held)
            say(m, "\n", 1);
        m->held = true;
        m->focused = false;
    } else if (e == CHR_MUX_IN) {
        m->focused = true;
        if (m->greeted)
            come_in(m);
    }
}

void hmp_info_history(Hmp *h)
{
    guint n = h->mon ? readline_history_len(h->mon->readline) : 0;

    for (guint i = 0; i < n; i++)
        g_string_append_printf(h->out, "%u: '%s'\n", i, readline_history(h->mon->readline, i));
}

void hmp__init(Monitor *m) { m->readline = readline_new(&(ReadlineUser){ say, line, complete, m }, "(qemu) "); }
void hmp__fini(Monitor *m) { readline_free(m->readline); }
