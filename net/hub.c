/* net/hub.c - hubport: back ends and cards that hear each other. A hub is made by its first port and goes with its last. */
#include "net/priv.h"

typedef struct Hub {
    Vm *vm;
    char *id;
    GPtrArray *ports; /* of NetDev */
} Hub;
typedef struct HubPort {
    Hub *hub;
    NetDev *other; /* netdev=: what this port joins instead of a card */
    NetPort at_other;
} HubPort;

static HubPort *port(NetDev *d) { return d->opaque; }

/* A frame from one port goes to all others; one that is full does not hold up the rest of them for ever: it waits in its queue. */
static void spread(NetDev *from, const struct iovec *iov, int n)
{
    Hub *h = port(from)->hub;

    for (guint i = 0; i < h->ports->len; i++) {
        NetDev *d = h->ports->pdata[i];

        if (d != from)
            net_send(port(d)->other ? &port(d)->at_other : &d->port, iov, n);
    }
}

static void take(void *o, const struct iovec *iov, int n) { spread(o, iov, n); }

/* Taken only when every other port has room, so that nothing is lost. */
static bool all_have_room(void *o)
{
    Hub *h = port(o)->hub;

    for (guint i = 0; i < h->ports->len; i++) {
        NetDev *d = h->ports->pdata[i];

        if (d != o && !net_has_room(port(d)->other ? &port(d)->at_other : &d->port))
            return false;
    }
    return true;
}

/* Somebody has room again: what waited for the hub goes on. */
static void ready(void *o)
{
    Hub *h = port(o)->hub;

    for (guint i = 0; i < h->ports->len; i++) {
        NetDev *d = h->ports->pdata[i];

        if (d != o)
            net_can_take(port(d)->other ? &port(d)->at_other : &d->port);
    }
}

static Hub *hub_of(Vm *vm, const char *id)
{
    Hub *h = vm_lookup(vm, "net-hub", id);

    if (h)
        return h;
    h = g_new0(Hub, 1);
    h->vm = vm;
    h->id = g_strdup(id);
    h->ports = g_ptr_array_new();
    vm_register(vm, "net-hub", id, h);
    return h;
}

static const NetPortOps other_ops = { .can_take = all_have_room, .take = take, .ready = ready };

static bool open_port(NetDev *d, Opts *o, Error **err)
{
    HubPort *p = port(d);
    const char *other = opts_get(o, "netdev");
    uint64_t id;

    if (!opts_peek(o, "hubid"))
        return fail(err, "-netdev hubport: hubid= is missing");
    if (!opts_get_u64(o, "hubid", 0, &id, err))
        return false;
    if (other) {
        p->other = net_find(d->vm, other);
        if (p->other && p->other->be == d->be)
            return fail(err, "-netdev hubport: hubs cannot be joined");
        if (!p->other)
            return fail(err, "-netdev hubport: there is no netdev '%s'", other);
        net_port_init(&p->at_other, d->vm, &other_ops, d);
        if (!net_attach(p->other, &p->at_other, err))
            return false;
    }
    {
        g_autofree char *name = g_strdup_printf("%" PRIu64, id);

        p->hub = hub_of(d->vm, name);
    }
    g_ptr_array_add(p->hub->ports, d);
    return true;
}

static void close_port(NetDev *d)
{
    HubPort *p = port(d);
    Hub *h = p->hub;

    if (p->at_other.ops)
        net_detach(&p->at_other);
    if (!h)
        return;
    g_ptr_array_remove(h->ports, d);
    if (h->ports->len)
        return;
    vm_unregister(h->vm, "net-hub", h->id);
    g_ptr_array_free(h->ports, TRUE);
    g_free(h->id);
    g_free(h);
}

static char *describe(const NetDev *d) { return g_strdup_printf("hubid=%s", ((const HubPort *)d->opaque)->hub->id); }

static const NetBackend hubport = {
    .name = "hubport", .doc = "a port of a hub: hubid=N[,netdev=ID]", .size = sizeof(HubPort), .open = open_port, .close = close_port,
    .describe = describe, .ops = { .can_take = all_have_room, .take = take, .ready = ready },
};
NET_BACKEND(hubport);
