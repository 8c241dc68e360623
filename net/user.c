/*
 * net/user.c - a network of its own behind the host's sockets, on libslirp: its life, addresses and polling; rules are in user-ports.c.
 * libslirp wants its descriptors polled: a GSource asks it for them before each wait of the VM loop and tells it what
 * happened after. While the card has no room nothing is polled, so that host sockets push back on their senders.
 * Its clock is the VM's. Left out: smb.
 */
#include "net/user-priv.h"

enum { FDS_MAX = 4096 };

typedef struct Polled {
    int fd;
    GIOCondition want;
    gpointer tag;
} Polled;
typedef struct UserSource {
    GSource source; /* first */
    struct User *u;
    gint64 due; /* of libslirp, on GLib's clock in us; -1: never. A ready time of the source would wake the loop each time it is set */
} UserSource;
/* ---- what libslirp calls ---- */
static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
    User *u = opaque;
    uint8_t padded[NET_MIN_FRAME] = { 0 };

    if (len < sizeof(padded)) { /* as the wire would */
        memcpy(padded, buf, len);
        return net__from_outside(u->d, padded, sizeof(padded)) ? (ssize_t)len : -1;
    }
    return net__from_outside(u->d, buf, len) ? (ssize_t)len : -1;
}

static void slirp_guest_error(const char *msg, void *opaque) {}
static int64_t clock_ns(void *opaque) { return vm_now(((User *)opaque)->d->vm); }

typedef struct SlirpTimer {
    Timer t;
    SlirpTimerCb fn;
    void *arg;
} SlirpTimer;

static void timer_fired(void *owner, unsigned n) { ((SlirpTimer *)owner)->fn(((SlirpTimer *)owner)->arg); }

static void *timer_new(SlirpTimerCb fn, void *arg, void *opaque)
{
    User *u = opaque;
    SlirpTimer *t = g_new0(SlirpTimer, 1);

    t->fn = fn;
    t->arg = arg;
    timer_init(&t->t, u->d->vm, CLOCK_VM, timer_fired, t);
    return t;
}

static void timer_free(void *timer, void *opaque)
{
    timer_del(&((SlirpTimer *)timer)->t);
    g_free(timer);
}

static void timer_mod(void *timer, int64_t ms, void *opaque) { timer_at(&((SlirpTimer *)timer)->t, ms * MS); }
static void poll_fd(int fd, void *opaque) {}
static void notify(void *opaque) { g_main_context_wakeup(loop_context(((User *)opaque)->d->vm->loop)); }

static const SlirpCb callbacks = {
    .send_packet = send_packet, .guest_error = slirp_guest_error, .clock_get_ns = clock_ns, .timer_new = timer_new, .timer_free = timer_free,
    .timer_mod = timer_mod, .register_poll_fd = poll_fd, .unregister_poll_fd = poll_fd, .notify = notify,
};

/* ---- polling ---- */
static GIOCondition to_glib(int e)
{
    return (e & SLIRP_POLL_IN ? G_IO_IN : 0) | (e & SLIRP_POLL_OUT ? G_IO_OUT : 0) | (e & SLIRP_POLL_PRI ? G_IO_PRI : 0) |
           (e & SLIRP_POLL_ERR ? G_IO_ERR : 0) | (e & SLIRP_POLL_HUP ? G_IO_HUP : 0);
}

static int from_glib(GIOCondition c)
{
    return (c & G_IO_IN ? SLIRP_POLL_IN : 0) | (c & G_IO_OUT ? SLIRP_POLL_OUT : 0) | (c & G_IO_PRI ? SLIRP_POLL_PRI : 0) |
           (c & G_IO_ERR ? SLIRP_POLL_ERR : 0) | (c & G_IO_HUP ? SLIRP_POLL_HUP : 0);
}

/* Each change of the set makes the loop go round once more, so only differences are applied. */
static int add_poll(int fd, int events, void *opaque)
{
    User *u = opaque;
    GSource *s = &u->source->source;
    GIOCondition want = to_glib(events);
    Polled *p;

    if (u->filled == FDS_MAX)
        return -1;
    if (u->filled == u->polled->len)
        g_array_set_size(u->polled, u->polled->len + 1);
    p = &g_array_index(u->polled, Polled, u->filled);
    if (p->tag && p->fd == fd && p->want != want)
        g_source_modify_unix_fd(s, p->tag, want);
    if (p->tag && p->fd != fd) {
        g_source_remove_unix_fd(s, p->tag);
        p->tag = NULL;
    }
    if (!p->tag)
        p->tag = g_source_add_unix_fd(s, fd, want);
    p->fd = fd;
    p->want = want;
    return (int)u->filled++;
}

static int got_events(int i, void *opaque)
{
    User *u = opaque;

    if (i < 0 || (guint)i >= u->filled)
        return 0;
    return from_glib(g_source_query_unix_fd(&u->source->source, g_array_index(u->polled, Polled, i).tag));
}

static void drop_polled(User *u, guint from)
{
    while (u->polled->len > from) {
        Polled *p = &g_array_index(u->polled, Polled, u->polled->len - 1);

        if (p->tag)
            g_source_remove_unix_fd(&u->source->source, p->tag);
        g_array_set_size(u->polled, u->polled->len - 1);
    }
}

static gboolean prepare(GSource *s, gint *timeout)
{
    UserSource *us = (UserSource *)(void *)s;
    User *u = us->u;
    uint32_t ms = UINT32_MAX;
    gint64 now = g_get_monotonic_time(), due;

    lock_take(&u->d->vm->lock);
    u->filled = 0;
    if (net_has_room(&u->d->port))
        slirp_pollfds_fill(u->slirp, &ms, add_poll, u);
    drop_polled(u, u->filled);
    lock_drop(&u->d->vm->lock);
    due = ms == UINT32_MAX ? -1 : now + MIN(ms, 1000) * 1000ll;
    if (due < 0 || us->due < 0 || due < us->due) /* what else wakes the loop does not put it off */
        us->due = due;
    *timeout = us->due < 0 ? -1 : us->due <= now ? 0 : (gint)((us->due - now + 999) / 1000);
    return us->due >= 0 && us->due <= now;
}

static gboolean check(GSource *s)
{
    UserSource *us = (UserSource *)(void *)s;
    User *u = us->u;

    for (guint i = 0; i < u->polled->len; i++)
        if (g_array_index(u->polled, Polled, i).tag && g_source_query_unix_fd(s, g_array_index(u->polled, Polled, i).tag))
            return TRUE;
    return us->due >= 0 && us->due <= g_get_monotonic_time();
}

static gboolean dispatch(GSource *s, GSourceFunc fn, gpointer arg)
{
    User *u = ((UserSource *)(void *)s)->u;

    ((UserSource *)(void *)s)->due = -1;
    lock_take(&u->d->vm->lock);
    if (!g_source_is_destroyed(s))
        slirp_pollfds_poll(u->slirp, 0, got_events, u);
    lock_drop(&u->d->vm->lock);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_funcs = { .prepare = prepare, .check = check, .dispatch = dispatch };

/* ---- addresses ---- */
static bool address(const char *what, const char *text, struct in_addr *out, Error **err)
{
    return !text || inet_pton(AF_INET, text, out) == 1 || fail(err, "-netdev user,%s=%s: not an IPv4 address", what, text);
}

static bool network(User *u, const char *text, Error **err)
{
    g_auto(GStrv) part = g_strsplit(text ? text : "10.0.2.0/24", "/", 2);
    uint64_t bits = 24;

    if (!address("net", part[0], &u->net, err) || (part[1] && !strchr(part[1], '.') && !parse_u64(part[1], &bits, err)))
        return false;
    if (part[1] && strchr(part[1], '.')) {
        if (!address("net", part[1], &u->mask, err))
            return false;
    } else if (bits > 30) {
        return fail(err, "-netdev user,net=%s: a network has at most 30 bits of prefix", text);
    } else {
        u->mask.s_addr = htonl((uint32_t)(UINT64_C(0xffffffff) << (32 - bits)));
    }
    u->net.s_addr &= u->mask.s_addr;
    u->host.s_addr = u->net.s_addr | htonl(2);
    u->dns.s_addr = u->net.s_addr | htonl(3);
    u->dhcp.s_addr = u->net.s_addr | htonl(15);
    return true;
}

bool user__inside(const User *u, const char *what, struct in_addr a, Error **err)
{
    return (a.s_addr & u->mask.s_addr) == u->net.s_addr || fail(err, "-netdev user,%s=: not in the network", what);
}

static bool addresses(User *u, Opts *o, Error **err)
{
    return network(u, opts_get(o, "net"), err) && address("host", opts_get(o, "host"), &u->host, err) &&
           address("dns", opts_get(o, "dns"), &u->dns, err) && address("dhcpstart", opts_get(o, "dhcpstart"), &u->dhcp, err) &&
           user__inside(u, "host", u->host, err) && user__inside(u, "dns", u->dns, err) && user__inside(u, "dhcpstart", u->dhcp, err);
}

/* ---- life ---- */
static void make_source(User *u)
{
    u->polled = g_array_new(FALSE, TRUE, sizeof(Polled));
    u->source = (UserSource *)(void *)g_source_new(&source_funcs, sizeof(UserSource));
    u->source->u = u;
    g_source_attach(&u->source->source, loop_context(u->d->vm->loop));
}

static bool v6_address(Opts *o, const char *key, const char *def, struct in6_addr *out, Error **err)
{
    const char *text = opts_peek(o, key) ? opts_get(o, key) : def;

    return inet_pton(AF_INET6, text, out) == 1 || fail(err, "-netdev user,%s=%s: not an IPv6 address", key, text);
}

/* The host and the name server are 2 and 3 of the network unless named. */
static bool v6_addresses(Opts *o, SlirpConfig *c, Error **err)
{
    g_auto(GStrv) net = g_strsplit(opts_peek(o, "ipv6-net") ? opts_get(o, "ipv6-net") : "fec0::/64", "/", 2);
    g_autofree char *host = NULL, *dns = NULL;
    char text[INET6_ADDRSTRLEN];
    uint64_t bits;

    if (!v6_address(o, "ipv6-prefix", net[0], &c->vprefix_addr6, err) || !opts_get_u64(o, "ipv6-prefixlen", 64, &bits, err))
        return false;
    if (net[1] && !parse_u64(net[1], &bits, err))
        return false;
    if (bits > 126)
        return fail(err, "-netdev user: an IPv6 network has at most 126 bits of prefix");
    c->vprefix_len = (uint8_t)bits;
    c->vhost6 = c->vnameserver6 = c->vprefix_addr6;
    c->vhost6.s6_addr[15] |= 2;
    c->vnameserver6.s6_addr[15] |= 3;
    host = g_strdup(inet_ntop(AF_INET6, &c->vhost6, text, sizeof(text)));
    dns = g_strdup(inet_ntop(AF_INET6, &c->vnameserver6, text, sizeof(text)));
    return v6_address(o, "ipv6-host", host, &c->vhost6, err) && v6_address(o, "ipv6-dns", dns, &c->vnameserver6, err);
}

static bool start(User *u, Opts *o, Error **err)
{
    const char *search[17] = { NULL };
    unsigned n = 0;
    bool restricted, v4, v6;
    SlirpConfig c = { .version = 4, .vnetwork = u->net, .vnetmask = u->mask, .vhost = u->host, .vnameserver = u->dns, .vdhcp_start = u->dhcp,
                      .vhostname = opts_get(o, "hostname"), .tftp_path = opts_get(o, "tftp"), .bootfile = opts_get(o, "bootfile"),
                      .tftp_server_name = opts_get(o, "tftp-server-name"), .vdomainname = opts_get(o, "domainname") };

    if (!v6_addresses(o, &c, err) || !opts_get_bool(o, "restrict", false, &restricted, err) || !opts_get_bool(o, "ipv4", true, &v4, err) ||
        !opts_get_bool(o, "ipv6", v4, &v6, err))
        return false;
    for (guint i = 0; i < o->v->len; i++) {
        Opt *x = o->v->pdata[i];

        if (strcmp(x->key, "dnssearch"))
            continue;
        x->used = true;
        if (n < 16)
            search[n++] = x->value;
    }
    c.restricted = restricted;
    c.in_enabled = v4;
    c.in6_enabled = v6;
    c.vdnssearch = n ? search : NULL;
    u->slirp = slirp_new(&c, &callbacks, u);
    return u->slirp || fail(err, "-netdev user: libslirp refuses the addresses");
}

static Opts *copy_of(const Opts *o)
{
    Opts *c = opts_new();

    for (guint i = 0; i < o->v->len; i++)
        opts_set(c, ((Opt *)o->v->pdata[i])->key, ((Opt *)o->v->pdata[i])->value);
    return c;
}

static bool open_user(NetDev *d, Opts *o, Error **err)
{
    User *u = user__of(d);

    u->d = d;
    u->options = copy_of(o);
    if (!addresses(u, o, err) || !start(u, o, err))
        return false;
    make_source(u);
    return user__rules(u, o, err);
}

static void close_user(NetDev *d)
{
    User *u = user__of(d);

    if (u->source) {
        g_source_destroy(&u->source->source);
        g_source_unref(&u->source->source);
        g_array_free(u->polled, TRUE);
    }
    user__rules_detach(u);
    if (u->slirp)
        slirp_cleanup(u->slirp);
    user__rules_free(u);
    opts_free(u->options);
}

/* A new network with the old one's rules: what the guest sends on a connection of before is answered with a reset, and its
 * host's side is closed. */
static void begin_anew(NetDev *d)
{
    User *u = user__of(d);
    g_autoptr(Opts) o = copy_of(u->options);

    drop_polled(u, 0);
    slirp_cleanup(g_steal_pointer(&u->slirp));
    start(u, o, &abort_on_error); /* it took these options before */
    user__rules_again(u);
    notify(u);
}

static char *describe(const NetDev *d)
{
    const User *u = user__of(d);
    char net[INET_ADDRSTRLEN];

    inet_ntop(AF_INET, &u->net, net, sizeof(net));
    return g_strdup_printf("net=%s", net);
}

/* ---- the card sends ---- */
static void take(void *o, const struct iovec *iov, int n)
{
    User *u = user__of(o);
    uint8_t buf[NET_FRAME_MAX];
    size_t len = net_flatten(iov, n, buf, sizeof(buf));

    slirp_input(u->slirp, buf, (int)len);
    user__rules_acked(u);
    notify(u);
}

static void ready(void *o) { notify(user__of(o)); }

const NetBackend user__backend = {
    .name = "user", .doc = "a network of its own behind the host's sockets (libslirp)", .size = sizeof(User), .open = open_user,
    .close = close_user, .loaded = begin_anew, .describe = describe, .ops = { .take = take, .ready = ready },
};
NET_BACKEND(user__backend);
