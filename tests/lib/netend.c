/* tests/lib/netend.c */
#include "tests/lib/netend.h"

static bool can_take(void *o) { return ((End *)o)->open; }
static void take(void *o, const struct iovec *iov, int n)
{
    End *e = o;

    e->len = net_flatten(iov, n, e->last, sizeof(e->last));
    e->got++;
}
static void ready(void *o) { ((End *)o)->ready++; }
static const NetPortOps ops = { .can_take = can_take, .take = take, .ready = ready };

NetDev *back_end(Vm *vm, const char *text)
{
    g_autoptr(Opts) o = opts_parse(text, "type", &abort_on_error);

    return net_new(vm, o, &abort_on_error);
}

bool try_plug(End *e, Vm *vm, const char *text, Error **err)
{
    g_autoptr(Opts) o = opts_parse(text, "type", err);
    NetDev *d = o ? net_new(vm, o, err) : NULL;

    net_port_init(&e->port, vm, &ops, e);
    e->open = d && net_attach(d, &e->port, err);
    return e->open;
}

void plug(End *e, Vm *vm, const char *text) { check(try_plug(e, vm, text, &abort_on_error)); }
