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

void plug(End *e, Vm *vm, const char *text)
{
    net_port_init(&e->port, vm, &ops, e);
    net_attach(back_end(vm, text), &e->port, &abort_on_error);
    e->open = true;
}
