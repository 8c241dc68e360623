/*
 * monitor/monitor.c - a monitor on its character device: what is common to both kinds. Output waits in a queue of our own,
 * because a reply that lost bytes in the middle would take the whole stream with it.
 */
#include "monitor/priv.h"

enum { READ_STEP = 4096, READ_UNTIL = 256 * 1024, EVENTS_UNTIL = 16 * 1024 * 1024 };

static void pump(void *arg)
{
    Monitor *m = arg;
    size_t n = m->out->len && !m->held ? chr_write(m->chr, m->out->data, m->out->len) : 0;
    bool was_full = m->out->len >= READ_UNTIL;

    m->waiter = 0;
    if (n)
        g_byte_array_remove_range(m->out, 0, (guint)n);
    if (m->out->len && !m->held)
        m->waiter = chr_want_write(m->chr, pump, m);
    if (was_full && m->out->len < READ_UNTIL)
        chr_accept_input(m->chr);
}

/* After the end of its input (stdio) a peer may still read; a back end without a peer swallows what is written. */
void mon__send(Monitor *m, const char *text, size_t n)
{
    g_byte_array_append(m->out, (const uint8_t *)text, (guint)n);
    if (!m->waiter)
        pump(m);
}

bool mon__is_slow(const Monitor *m) { return m->out->len > EVENTS_UNTIL; }

/* ---- the character device's side ---- */
static size_t can_take(void *o)
{
    Monitor *m = o;

    return m->out->len < READ_UNTIL ? READ_STEP : 0;
}

static void take(void *o, const uint8_t *p, size_t n)
{
    Monitor *m = o;

    if (m->mode == MONITOR_HMP)
        hmp__take(m, p, n);
    else
        qmp__take(m, p, n);
}

static void event(void *o, ChrEvent e)
{
    Monitor *m = o;

    if (m->mode == MONITOR_HMP)
        hmp__event(m, e);
    else if (e == CHR_OPENED)
        qmp__opened(m);
    else if (e == CHR_CLOSED)
        qmp__closed(m);
}

static void monitor_free(void *p)
{
    Monitor *m = p;

    if (m->waiter)
        chr_cancel_write(m->chr, m->waiter);
    chr_detach(m->chr, m);
    if (m->mode == MONITOR_HMP)
        hmp__fini(m);
    else
        qmp__fini(m);
    g_byte_array_free(m->out, TRUE);
    g_free(m);
}

bool monitor_new(Vm *vm, Chr *chr, MonitorMode mode, Error **err)
{
    Monitor *m = g_new0(Monitor, 1);

    m->vm = vm;
    m->chr = chr;
    m->mode = mode;
    m->out = g_byte_array_new();
    if (mode == MONITOR_HMP)
        hmp__init(m);
    else
        qmp__init(m);
    if (!chr_attach(chr, &(ChrUser){ can_take, take, event, m }, err)) {
        monitor_free(m);
        return false;
    }
    own(&vm->root, m, monitor_free);
    return true;
}
