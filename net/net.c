/*
 * net/net.c - ports, links and the register of back ends.
 * Invariants: frames reach an owner in the order they were sent; one that waits is delivered before a later one; a
 * refused sender hears `ready` once the queue is half empty.
 */
#include "net/priv.h"
#include "util/trace.h"

extern const NetBackend *const __start_netbackends[], *const __stop_netbackends[];
TRACE_POINT(net_frame, "net.frame", "%" PRIu64 " bytes");

enum { ROOM = 64 /* frames that may wait before a back end stops reading its own source */ };

/* ---- ports ---- */
void net_port_init(NetPort *p, Vm *vm, const NetPortOps *ops, void *o)
{
    *p = (NetPort){ .ops = ops, .o = o, .vm = vm };
    g_queue_init(&p->waiting);
}

void net_port_clear(NetPort *p)
{
    if (p->peer) {
        p->peer->peer = NULL;
        if (p->dev && p->peer == &p->dev->port)
            g_clear_pointer(&p->dev->card, g_free);
    }
    p->peer = NULL;
    g_queue_clear_full(&p->waiting, (GDestroyNotify)g_bytes_unref);
}

static size_t total(const struct iovec *iov, int n)
{
    size_t len = 0;

    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    return len;
}

size_t net_flatten(const struct iovec *iov, int n, uint8_t *out, size_t max)
{
    size_t at = 0;

    for (int i = 0; i < n; i++) {
        if (at < max)
            memcpy(out + at, iov[i].iov_base, MIN(iov[i].iov_len, max - at));
        at += iov[i].iov_len;
    }
    return at;
}

static bool is_backend(const NetPort *p) { return p->dev && p == &p->dev->port; }

/* A stopped machine takes nothing: its state stays as it was saved. */
static bool can_take(const NetPort *p)
{
    if (!is_backend(p) && p->vm->state != RUN_RUNNING && p->vm->state != RUN_PRELAUNCH)
        return false;
    return !p->ops->can_take || p->ops->can_take(p->o);
}

static void enqueue(NetPort *to, const struct iovec *iov, int n)
{
    size_t len = total(iov, n);
    uint8_t *flat = g_malloc(len);

    net_flatten(iov, n, flat, len);
    g_queue_push_tail(&to->waiting, g_bytes_new_take(flat, len));
}

static void dump(const NetDev *d, const struct iovec *iov, int n)
{
    for (guint i = 0; d && d->dumps && i < d->dumps->len; i++)
        net__dump(d->dumps->pdata[i], iov, n);
}

bool net_send(NetPort *from, const struct iovec *iov, int n)
{
    NetPort *to = from->peer;
    size_t len = total(iov, n);

    if (!to || from->down || to->down || len < NET_HEADER || len > NET_FRAME_MAX)
        return true;
    if (g_queue_get_length(&to->waiting) >= NET_QUEUE_MAX) {
        from->refused = true;
        return false;
    }
    dump(from->dev ? from->dev : to->dev, iov, n);
    trace(&net_frame, NULL, len, 0, 0, 0);
    if (g_queue_is_empty(&to->waiting) && can_take(to))
        to->ops->take(to->o, iov, n);
    else
        enqueue(to, iov, n);
    return true;
}

bool net_send_flat(NetPort *from, const void *frame, size_t len)
{
    const struct iovec one = { (void *)(uintptr_t)frame, len };

    return net_send(from, &one, 1);
}

bool net_has_room(NetPort *from)
{
    if (!from->peer || from->down || from->peer->down || g_queue_get_length(&from->peer->waiting) < ROOM)
        return true;
    from->refused = true;
    return false;
}

/* Bounded by what waits at the start: frames that come meanwhile bring their own call. */
void net_can_take(NetPort *p)
{
    for (guint n = g_queue_get_length(&p->waiting); n && !g_queue_is_empty(&p->waiting) && can_take(p); n--) {
        GBytes *b = g_queue_pop_head(&p->waiting);
        gsize len;
        const void *data = g_bytes_get_data(b, &len);
        const struct iovec one = { (void *)(uintptr_t)data, len };

        p->ops->take(p->o, &one, 1);
        g_bytes_unref(b);
    }
    if (!p->peer || g_queue_get_length(&p->waiting) > ROOM / 2)
        return;
    if (p->peer->refused || is_backend(p->peer)) {
        p->peer->refused = false;
        if (p->peer->ops->ready)
            p->peer->ops->ready(p->peer->o);
    }
}

/* ---- a card at a back end ---- */
bool net_attach(NetDev *d, NetPort *card, Error **err)
{
    if (d->port.peer) {
        fail(err, "netdev '%s' is in use by another card", d->id);
        return error_hint(err, "give each card a netdev of its own, or join several with type=hubport");
    }
    card->dev = d;
    card->peer = &d->port;
    d->port.peer = card;
    return true;
}

void net_detach(NetPort *card)
{
    net_port_clear(card);
    card->dev = NULL;
}

bool net_link_up(const NetPort *card) { return card->peer && !card->down && !card->peer->down; }

static void describe_card(NetPort *card, const Obj *o, const uint8_t mac[6]) /* for `info network` */
{
    g_free(card->dev->card);
    card->dev->card = g_strdup_printf("%s: index=0,type=nic,model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x", o->name, o->cls->name, mac[0],
                                      mac[1], mac[2], mac[3], mac[4], mac[5]);
}

/* An address of the VM's next card, 52:54:00:12:34:56 and on, unless one is set already. */
static void default_mac(Vm *vm, uint8_t mac[6])
{
    static const uint8_t first[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
    uintptr_t n = (uintptr_t)vm_lookup(vm, "net", "next-mac");

    for (unsigned i = 0; i < 6; i++)
        if (mac[i])
            return;
    memcpy(mac, first, sizeof(first));
    mac[5] = (uint8_t)(mac[5] + n);
    if (n)
        vm_unregister(vm, "net", "next-mac");
    vm_register(vm, "net", "next-mac", (void *)(n + 1));
}

bool net_card_init(Obj *card, NetPort *port, const NetPortOps *ops, NetDev *d, uint8_t mac[6], Error **err)
{
    default_mac(card->vm, mac);
    net_port_init(port, card->vm, ops, card);
    if (!d)
        return true;
    if (!net_attach(d, port, err))
        return false;
    describe_card(port, card, mac);
    return true;
}

/* ---- back ends ---- */
typedef struct Arrival {
    NetDev *d;
    bool taken;
} Arrival;

static void arrived(void *arg, const void *data, size_t len)
{
    Arrival *a = arg;

    a->taken = net_send_flat(&a->d->port, data, len);
}

bool net__from_outside(NetDev *d, const void *frame, size_t len)
{
    Arrival a = { d, true };

    door_call(d->vm, "net", arrived, &a, frame, len);
    return a.taken;
}

static const NetBackend *find_backend(const char *name)
{
    for (const NetBackend *const *b = __start_netbackends; b < __stop_netbackends; b++)
        if (!strcmp((*b)->name, name))
            return *b;
    return NULL;
}

void net_help(GString *out)
{
    g_string_append(out, "Network back ends:\n");
    for (const NetBackend *const *b = __start_netbackends; b < __stop_netbackends; b++)
        g_string_append_printf(out, "%-10s %s\n", (*b)->name, (*b)->doc);
}

const char *net_id(const NetDev *d) { return d->id; }
NetDev *net_find(Vm *vm, const char *id) { return vm_lookup(vm, "netdev", id); }
bool net_in_use(const NetDev *d) { return d->port.peer; }

static void state_changed(void *self, RunState now)
{
    NetDev *d = self;

    if (now == RUN_RUNNING && d->port.peer)
        net_can_take(d->port.peer); /* what came while the machine stood still */
}

/* Frames on their way belong to the time before. */
static void state_loaded(void *self)
{
    NetDev *d = self;

    g_queue_clear_full(&d->port.waiting, (GDestroyNotify)g_bytes_unref);
    if (d->port.peer)
        g_queue_clear_full(&d->port.peer->waiting, (GDestroyNotify)g_bytes_unref);
    if (d->be->loaded)
        d->be->loaded(d);
}

static NetDev *make(Vm *vm, const NetBackend *b, char *id)
{
    NetDev *d = g_new0(NetDev, 1);

    d->vm = vm;
    d->id = id;
    d->be = b;
    d->opaque = g_malloc0(b->size);
    net_port_init(&d->port, vm, &b->ops, d);
    d->port.dev = d;
    d->listener = (VmListener){ .state = state_changed, .loaded = state_loaded, .self = d };
    vm_listen(vm, &d->listener);
    return d;
}

static void release(void *d) { net_free(d); }

NetDev *net_new(Vm *vm, Opts *o, Error **err)
{
    g_autofree char *type = opts_take(o, "type"), *id = opts_take(o, "id");
    const NetBackend *b = type ? find_backend(type) : NULL;
    NetDev *d;

    if (!b) {
        fail(err, "-netdev %s: there is no such back end", type ? type : "(type is missing)");
        error_hint(err, "-netdev help lists them");
        return NULL;
    }
    if (!id || net_find(vm, id)) {
        fail(err, id ? "-netdev %s: id '%s' is taken" : "-netdev %s: id= is missing", type, id);
        return NULL;
    }
    if (b->pick)
        b = b->pick(o);
    d = make(vm, b, g_steal_pointer(&id));
    if (!b->open(d, o, err) || !opts_all_used(o, "-netdev", err)) {
        net_free(d);
        return NULL;
    }
    vm_register(vm, "netdev", d->id, d);
    return own(&vm->root, d, release);
}

void net_free(NetDev *d)
{
    disown(&d->vm->root, d);
    vm_unlisten(d->vm, &d->listener);
    if (net_find(d->vm, d->id) == d)
        vm_unregister(d->vm, "netdev", d->id);
    if (d->port.peer)
        d->port.peer->dev = NULL;
    net_port_clear(&d->port);
    d->be->close(d);
    for (guint i = 0; d->dumps && i < d->dumps->len; i++)
        net__dump_gone(d->dumps->pdata[i]);
    if (d->dumps)
        g_ptr_array_free(d->dumps, TRUE);
    g_free(d->opaque);
    g_free(d->card);
    g_free(d->id);
    g_free(d);
}

bool net_set_link(NetDev *d, bool up)
{
    NetPort *card = d->port.peer;

    d->port.down = !up;
    if (card && card->ops->link)
        card->ops->link(card->o, up);
    return true;
}

static void print_one(const char *id, void *p, void *arg)
{
    const NetDev *d = p;
    g_autofree char *text = d->be->describe ? d->be->describe(d) : g_strdup("");

    if (d->card)
        g_string_append_printf(arg, "%s\n \\ ", d->card);
    g_string_append_printf(arg, "%s: index=0,type=%s%s%s%s\n", id, d->be->name, *text ? "," : "", text, d->port.down ? ",link=off" : "");
}

void net_print(Vm *vm, GString *out) { vm_registry_foreach(vm, "netdev", print_one, out); }
