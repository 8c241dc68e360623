/*
 * monitor/qmp.c - QMP: greeting, negotiation, one JSON object per request, one line per reply, events in between.
 *
 *   closed --opened--> greeted --qmp_capabilities--> negotiated --closed--> closed
 *
 * Requests are served one after the other on the VM loop; an event that a command causes at once (STOP, RESUME) is
 * therefore on the wire before its reply.
 */
#include "core/api/monitor.h"
#include "monitor/priv.h"

/* ---- output ---- */
static void send_line(Monitor *m, const JVal *v)
{
    GString *s = g_string_new(NULL);

    j_write(v, s, m->mode == MONITOR_QMP_PRETTY);
    g_string_append(s, "\r\n");
    mon__send(m, s->str, s->len);
    g_string_free(s, TRUE);
}

static void send_error(Monitor *m, Error *e, JVal *id)
{
    JVal *why = j_set(j_set(j_object(), "class", j_string(error_qmp_class(e))), "desc", j_string(error_text(e)));
    g_autoptr(JVal) v = j_set(j_object(), "error", why);

    if (id)
        j_set(v, "id", id);
    send_line(m, v);
    error_free(e);
}

static void greet(Monitor *m)
{
    VersionInfo version = { 0 };
    JVal *inner;
    g_autoptr(JVal) v = NULL;

    qmp_query_version(m->vm, &version, NULL);
    inner = j_set(j_object(), "version", api_out(&api_VersionInfo, &version));
    api_clear(&api_VersionInfo, &version);
    v = j_set(j_object(), "QMP", j_set(inner, "capabilities", j_list()));
    send_line(m, v);
}

static void on_event(void *self, const char *name, const char *json)
{
    Monitor *m = self;
    gint64 us = g_get_real_time();
    JVal *when;
    g_autoptr(JVal) v = NULL;

    if (!m->negotiated || mon__is_slow(m))
        return;
    when = j_set(j_set(j_object(), "seconds", j_int(us / G_USEC_PER_SEC)), "microseconds", j_int(us % G_USEC_PER_SEC));
    v = j_set(j_set(j_object(), "timestamp", when), "event", j_string(name));
    if (json) {
        JVal *data = wire_parse(json, NULL);

        if (data)
            j_set(v, "data", data);
    }
    send_line(m, v);
}

/* ---- calls ---- */
bool qmp__offers(const Vm *vm, const ApiCommand *c)
{
    return !vm->cfg.commands || g_strv_contains(vm->cfg.commands, c->name);
}

const ApiCommand *qmp__find(const Vm *vm, const char *name)
{
    for (unsigned i = 0; i < api_command_count; i++)
        if (!strcmp(api_commands[i].name, name) && qmp__offers(vm, &api_commands[i]))
            return &api_commands[i];
    return NULL;
}

/* Members beyond the listed ones are the handler's: check only those. */
static JVal *listed(const ApiType *t, const JVal *args)
{
    JVal *o = j_object();

    for (unsigned i = 0; i < t->n; i++) {
        const JVal *v = j_get(args, t->members[i].name);

        if (v)
            j_set(o, t->members[i].name, j_copy(v));
    }
    return o;
}

static bool read_args(const ApiCommand *c, const JVal *args, void *into, Error **err)
{
    g_autoptr(JVal) some = NULL;

    if (!c->args && c->open)
        return true;
    if (!c->args)
        return !j_len(args) || fail(err, "Parameter '%s' is unexpected", j_at(args, 0)->key);
    if (c->open)
        some = listed(c->args, args);
    return api_in(c->args, some ? some : args, into, err);
}

bool qmp__call(Vm *vm, Monitor *m, const ApiCommand *c, const JVal *args, JVal **ret, Error **err)
{
    g_autoptr(JVal) none = args ? NULL : j_object();
    void *in = c->args ? g_malloc0(c->args->size) : NULL, *out = c->ret ? g_malloc0(c->ret->size) : NULL;
    bool ok = read_args(c, args ? args : none, in, err);

    if (ok) {
        ok = c->call(vm, m, args ? args : none, in, out, err);
        if (in)
            api_clear(c->args, in);
    }
    *ret = ok && out ? api_out(c->ret, out) : NULL;
    if (out)
        api_clear(c->ret, out);
    g_free(in);
    g_free(out);
    return ok;
}

static bool unknown_members(const JVal *v, Error **err)
{
    static const char *const known[] = { "execute", "arguments", "id", NULL };

    for (size_t i = 0; i < j_len(v); i++)
        if (!g_strv_contains(known, j_at(v, i)->key))
            return !fail(err, "QMP input member '%s' is unexpected", j_at(v, i)->key);
    return false;
}

static bool not_now(Error **err, const char *why)
{
    fail(err, "%s", why);
    return error_class(err, "CommandNotFound");
}

static bool serve(Monitor *m, const JVal *v, JVal **ret, Error **err)
{
    const JVal *name, *args;
    const ApiCommand *c;

    if (v->kind != J_OBJECT)
        return fail(err, "QMP input must be a JSON object");
    if (unknown_members(v, err))
        return false;
    name = j_get(v, "execute");
    args = j_get(v, "arguments");
    if (!name)
        return fail(err, "QMP input lacks member 'execute'");
    if (name->kind != J_STRING)
        return fail(err, "QMP input member 'execute' must be a string");
    if (args && args->kind != J_OBJECT)
        return fail(err, "QMP input member 'arguments' must be an object");
    c = qmp__find(m->vm, name->text);
    if (!m->negotiated && (!c || !c->early))
        return not_now(err, "Expecting capabilities negotiation with 'qmp_capabilities'");
    if (!c) {
        fail(err, "The command %s has not been found", name->text);
        return error_class(err, "CommandNotFound");
    }
    if (m->negotiated && c->early)
        return not_now(err, "Capabilities negotiation is already complete, command ignored");
    return qmp__call(m->vm, m, c, args, ret, err);
}

static void on_value(void *o, JVal *v)
{
    Monitor *m = o;
    JVal *ret = NULL, *id = v->kind == J_OBJECT ? j_steal(v, "id") : NULL;
    g_autoptr(JVal) reply = NULL;
    Error *e = NULL;

    if (!serve(m, v, &ret, &e)) {
        send_error(m, e, id);
    } else {
        reply = j_set(j_object(), "return", ret ? ret : j_object());
        if (id)
            j_set(reply, "id", id);
        send_line(m, reply);
    }
    j_free(v);
}

static void on_error(void *o, const char *message)
{
    Error *e = NULL;

    fail(&e, "%s", message);
    send_error(o, e, NULL);
}

bool qmp_qmp_capabilities(Vm *vm, Monitor *m, const QmpCapabilitiesArgs *args, Error **err)
{
    if (args->enable.n)
        return fail(err, "Capability '%s' is not available", api_QMPCapability.names[args->enable.v[0]]);
    m->negotiated = true;
    return true;
}

/* ---- session ---- */
void qmp__opened(Monitor *m)
{
    wire_reset(m->wire);
    m->negotiated = false;
    greet(m);
}

void qmp__closed(Monitor *m) { wire_reset(m->wire); } /* the end of stdin is not the end of stdout */

void qmp__take(Monitor *m, const uint8_t *p, size_t n) { wire_feed(m->wire, p, n); }

void qmp__init(Monitor *m)
{
    m->wire = wire_new(&(WireUser){ on_value, on_error, m });
    m->listener = (VmListener){ .event = on_event, .self = m };
    vm_listen(m->vm, &m->listener);
}

void qmp__fini(Monitor *m)
{
    vm_unlisten(m->vm, &m->listener);
    wire_free(m->wire);
}
