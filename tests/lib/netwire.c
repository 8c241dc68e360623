/* tests/lib/netwire.c - a hub with two ports: "card", and ours. */
#include "tests/lib/netwire.h"

static void heard(void *o, const struct iovec *iov, int n)
{
    NetWire *w = o;
    unsigned i = w->n++ % G_N_ELEMENTS(w->len);

    w->len[i] = net_flatten(iov, n, w->last[i], sizeof(w->last[i]));
}

static void hub_port(Vm *vm, const char *text)
{
    g_autoptr(Opts) o = opts_parse(text, "type", &abort_on_error);

    net_new(vm, o, &abort_on_error);
}

void netwire_connect(NetWire *w, Vm *vm)
{
    static const NetPortOps ops = { .take = heard };

    hub_port(vm, "hubport,hubid=0,id=card");
    hub_port(vm, "hubport,hubid=0,id=wire");
    net_port_init(&w->port, vm, &ops, w);
    net_attach(net_find(vm, "wire"), &w->port, &abort_on_error);
}
