/*
 * net/user-ports.c - rules of a user network: hostfwd (a port of the host that is one of the guest), guestfwd (an address of the network that is
 * a character back end or a command), both at the start and at run time.
 */
#include "net/user-priv.h"

typedef struct Forward { /* guestfwd */
    struct User *u;
    Chr *chr;
    struct in_addr addr;
    int port;
    char *command; /* instead of chr: run for each connection */
} Forward;

/* ---- hostfwd: [tcp|udp]:[addr]:port[-[addr]:port] ---- */
typedef struct Ports {
    bool udp;
    struct in_addr host, guest;
    uint16_t host_port, guest_port;
} Ports;

static bool port_number(const char *text, uint16_t *out)
{
    uint64_t v;

    if (!text || !parse_u64(text, &v, NULL) || v > 65535)
        return false;
    *out = (uint16_t)v;
    return true;
}

static bool end_of(const char *text, struct in_addr *addr, uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    g_autofree char *host = colon ? g_strndup(text, (gsize)(colon - text)) : NULL;

    return colon && (!*host || inet_pton(AF_INET, host, addr) == 1) && port_number(colon + 1, port);
}

static bool parse_ports(const User *u, const char *text, bool both, Ports *out, Error **err)
{
    g_auto(GStrv) sides = g_strsplit(text, "-", 2);
    const char *rest = sides[0] ? strchr(sides[0], ':') : NULL;
    bool ok = rest;

    *out = (Ports){ .guest = u->dhcp, .host.s_addr = htonl(INADDR_ANY), .udp = g_str_has_prefix(text, "udp:") };
    ok = ok && (out->udp || text[0] == ':' || g_str_has_prefix(text, "tcp:"));
    ok = ok && end_of(rest + 1, &out->host, &out->host_port);
    ok = ok && (sides[1] ? end_of(sides[1], &out->guest, &out->guest_port) && out->guest_port : !both);
    if (ok)
        return true;
    fail(err, "hostfwd '%s': not understood", text);
    return error_hint(err, both ? "write tcp:[HOSTADDR]:PORT-[GUESTADDR]:PORT" : "write tcp:[HOSTADDR]:PORT");
}

static bool add_hostfwd(User *u, const char *text, Error **err)
{
    Ports p;

    if (!parse_ports(u, text, true, &p, err))
        return false;
    if (slirp_add_hostfwd(u->slirp, p.udp, p.host, p.host_port, p.guest, p.guest_port) < 0)
        return fail(err, "could not set up host forwarding rule '%s': the port cannot be bound", text);
    g_ptr_array_add(u->hostfwds, g_strdup(text));
    return true;
}

/* ---- guestfwd: tcp:addr:port-CHARDEV or -cmd:COMMAND ---- */
static ssize_t forward_write(const void *buf, size_t len, void *opaque)
{
    Forward *f = opaque;

    chr_write_all(f->chr, buf, len);
    return (ssize_t)len;
}

static size_t forward_room(void *o)
{
    const Forward *f = o;

    return slirp_socket_can_recv(f->u->slirp, f->addr, f->port);
}

static void forward_take(void *o, const uint8_t *p, size_t n)
{
    Forward *f = o;

    slirp_socket_recv(f->u->slirp, f->addr, f->port, p, (int)n);
}

static bool to_chardev(User *u, const char *dev, struct in_addr addr, uint16_t port, Error **err)
{
    Forward *f = g_new0(Forward, 1);
    g_autofree char *id = g_strdup_printf("%s.guestfwd.tcp.%u", u->d->id, port);

    f->u = u;
    f->addr = addr;
    f->port = port;
    g_ptr_array_add(u->forwards, f);
    f->chr = chr_new_short(u->d->vm, id, dev, err);
    if (!f->chr || !chr_attach(f->chr, &(ChrUser){ forward_room, forward_take, NULL, f, &f->chr }, err))
        return false;
    return slirp_add_guestfwd(u->slirp, forward_write, f, &f->addr, port) >= 0 || fail(err, "guestfwd: %s:%u is in use", inet_ntoa(addr), port);
}

static bool to_command(User *u, const char *command, struct in_addr addr, uint16_t port)
{
    Forward *f = g_new0(Forward, 1);

    f->u = u;
    f->addr = addr;
    f->port = port;
    f->command = g_strdup(command);
    g_ptr_array_add(u->forwards, f);
    return slirp_add_exec(u->slirp, command, &addr, port) >= 0;
}

static bool add_guestfwd(User *u, const char *text, Error **err)
{
    const char *dash = strchr(text, '-'), *start = strchr(text, ':');
    g_autofree char *at = dash && start && start < dash ? g_strndup(start + 1, (gsize)(dash - start - 1)) : NULL;
    struct in_addr addr = u->host;
    uint16_t port = 0;

    if (!at || !end_of(at, &addr, &port) || !port) {
        fail(err, "guestfwd '%s': not understood", text);
        return error_hint(err, "write tcp:ADDR:PORT-CHARDEV or tcp:ADDR:PORT-cmd:COMMAND");
    }
    if (!user__inside(u, "guestfwd", addr, err))
        return false;
    if (!g_str_has_prefix(dash + 1, "cmd:"))
        return to_chardev(u, dash + 1, addr, port, err);
    return to_command(u, dash + 5, addr, port) || fail(err, "guestfwd '%s': the address is in use", text);
}

/* Options that may come several times. */
static bool each(User *u, Opts *o, const char *key, bool (*fn)(User *u, const char *text, Error **err), Error **err)
{
    for (guint i = 0; i < o->v->len; i++) {
        Opt *x = o->v->pdata[i];

        if (strcmp(x->key, key) && !(g_str_has_prefix(x->key, key) && x->key[strlen(key)] == '.'))
            continue;
        x->used = true;
        if (!fn(u, x->value, err))
            return false;
    }
    return true;
}

static void forward_free(gpointer f)
{
    g_free(((Forward *)f)->command);
    g_free(f);
}

bool user__rules(User *u, Opts *o, Error **err)
{
    u->forwards = g_ptr_array_new_with_free_func(forward_free);
    u->hostfwds = g_ptr_array_new_with_free_func(g_free);
    return each(u, o, "hostfwd", add_hostfwd, err) && each(u, o, "guestfwd", add_guestfwd, err);
}

void user__rules_again(User *u)
{
    g_autoptr(GPtrArray) rules = g_steal_pointer(&u->hostfwds);
    Error *e = NULL;

    u->hostfwds = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < rules->len; i++)
        if (!add_hostfwd(u, rules->pdata[i], &e)) {
            warn_report("-netdev user,id=%s: %s", u->d->id, error_text(e));
            g_clear_pointer(&e, error_free);
        }
    for (guint i = 0; i < u->forwards->len; i++) {
        Forward *f = u->forwards->pdata[i];

        if (f->chr)
            slirp_add_guestfwd(u->slirp, forward_write, f, &f->addr, f->port);
        else
            slirp_add_exec(u->slirp, f->command, &f->addr, f->port);
    }
}

void user__rules_acked(User *u)
{
    for (guint i = 0; i < u->forwards->len; i++) {
        Forward *f = u->forwards->pdata[i];

        if (f->chr)
            chr_accept_input(f->chr);
    }
}

void user__rules_detach(User *u)
{
    for (guint i = 0; u->forwards && i < u->forwards->len; i++) {
        Forward *f = u->forwards->pdata[i];

        if (f->chr)
            chr_detach(f->chr, f);
    }
}

void user__rules_free(User *u)
{
    if (u->forwards)
        g_ptr_array_free(u->forwards, TRUE);
    if (u->hostfwds)
        g_ptr_array_free(u->hostfwds, TRUE);
}

/* ---- at run time ---- */
typedef struct Found {
    const char *id;
    NetDev *d;
} Found;

static void look_at(const char *id, void *p, void *arg)
{
    Found *f = arg;
    NetDev *d = p;

    if (d->be == &user__backend && (!f->id || !strcmp(id, f->id)))
        f->d = d;
}

static User *find(Vm *vm, const char *dev, Error **err)
{
    Found f = { dev, NULL };

    vm_registry_foreach(vm, "netdev", look_at, &f);
    if (!f.d)
        fail(err, dev ? "'%s' is not a user network" : "no user network is there%s", dev ? dev : "");
    return f.d ? user__of(f.d) : NULL;
}

bool net_hostfwd_add(Vm *vm, const char *dev, const char *text, Error **err)
{
    User *u = find(vm, dev, err);

    return u && add_hostfwd(u, text, err);
}

static void forget_rule(User *u, const Ports *gone)
{
    for (guint i = 0; i < u->hostfwds->len; i++) {
        Ports p;

        if (parse_ports(u, u->hostfwds->pdata[i], true, &p, NULL) && p.udp == gone->udp && p.host.s_addr == gone->host.s_addr &&
            p.host_port == gone->host_port) {
            g_ptr_array_remove_index(u->hostfwds, i);
            return;
        }
    }
}

bool net_hostfwd_remove(Vm *vm, const char *dev, const char *text, Error **err)
{
    User *u = find(vm, dev, err);
    Ports p;

    if (!u || !parse_ports(u, text, false, &p, err))
        return false;
    if (slirp_remove_hostfwd(u->slirp, p.udp, p.host, p.host_port) < 0)
        return fail(err, "host forwarding rule for %s not found", text);
    forget_rule(u, &p);
    return true;
}

static void connections(const char *id, void *p, void *arg)
{
    NetDev *d = p;

    if (d->be == &user__backend) {
        char *text = slirp_connection_info(user__of(d)->slirp);

        g_string_append_printf(arg, "VLAN -1 (%s):\n%s", id, text);
        g_free(text);
    }
}

char *net_user_connections(Vm *vm)
{
    GString *s = g_string_new(NULL);

    vm_registry_foreach(vm, "netdev", connections, s);
    return g_string_free(s, FALSE);
}
