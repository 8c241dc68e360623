/*
 * app/net.c - -netdev, -nic and -net: back ends, then cards, in the order of the command line.
 * -nic is a back end and a card at once; what -net names sits at hub 0.
 */
#include "app/opt.h"
#include "net/net.h"

bool o_net(App *a, const Option *o, const char *v, Error **err)
{
    char **pair;

    if (opt__is_help(v)) {
        GString *s = g_string_new(NULL);

        net_help(s);
        return opt__shown(a, s);
    }
    pair = g_new0(char *, 3);
    pair[0] = g_strdup(o->name);
    pair[1] = g_strdup(v);
    g_ptr_array_add(a->nets, pair);
    return true;
}

typedef struct Card { /* heap; in App.cards until the machine is there */
    char *model, *rest; /* rest: ",netdev=..,mac=.." */
} Card;

static void card_free(gpointer p)
{
    g_free(((Card *)p)->model);
    g_free(((Card *)p)->rest);
    g_free(p);
}

static const char *driver_of(const char *model)
{
    static const char *const names[][2] = { { "virtio", "virtio-net-pci" }, { "virtio-net", "virtio-net-pci" } };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (!strcmp(model, names[i][0]))
            return names[i][1];
    return model;
}

static void add_card(App *a, const char *model, const char *netdev, Opts *o)
{
    static const char *const keys[][2] = { { "mac", "mac" }, { "macaddr", "mac" }, { "addr", "addr" }, { "vectors", "vectors" }, { "name", "id" } };
    GString *s = g_string_new(NULL);
    Card *c = g_new0(Card, 1);

    g_string_append_printf(s, ",netdev=%s", netdev);
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autofree char *v = opts_take(o, keys[i][0]);

        if (v)
            g_string_append_printf(s, ",%s=%s", keys[i][1], v);
    }
    c->model = g_strdup(model);
    c->rest = g_string_free(s, FALSE);
    if (!a->cards)
        a->cards = g_ptr_array_new_with_free_func(card_free);
    g_ptr_array_add(a->cards, c);
}

static char *next_id(App *a, const char *stem) { return g_strdup_printf("#%s%u", stem, a->net_ids++); }

static bool add_backend(App *a, const char *type, const char *id, Opts *o, Error **err)
{
    opts_set(o, "type", type);
    opts_set(o, "id", id);
    return net_new(a->vm, o, err);
}

/* -nic BACKEND[,model=M,mac=..,..] */
static bool add_nic(App *a, const char *text, Error **err)
{
    g_autoptr(Opts) o = opts_parse_any(text, "type", err);
    g_autofree char *type = o ? opts_take(o, "type") : NULL, *model = NULL, *id = NULL;

    if (!o || (type && !strcmp(type, "none")))
        return o;
    model = opts_take(o, "model");
    id = opts_take(o, "id");
    if (!id)
        id = next_id(a, "net");
    add_card(a, model ? model : "", id, o);
    return add_backend(a, type ? type : "user", id, o, err);
}

static bool add_hubport(App *a, const char *id, const char *other, Error **err)
{
    g_autoptr(Opts) o = opts_new();

    opts_set(o, "hubid", "0");
    if (other)
        opts_set(o, "netdev", other);
    return add_backend(a, "hubport", id, o, err);
}

/* -net nic[,model=..] and -net BACKEND[,..]: all of them at hub 0 */
static bool add_net(App *a, const char *text, Error **err)
{
    g_autoptr(Opts) o = opts_parse_any(text, "type", err);
    g_autofree char *type = o ? opts_take(o, "type") : NULL, *port = next_id(a, "hub0port"), *model = NULL, *id = NULL;

    if (!o || !type || !strcmp(type, "none"))
        return o && (type || fail(err, "-net: type is missing"));
    if (!strcmp(type, "nic")) {
        g_autofree char *netdev = opts_take(o, "netdev");

        model = opts_take(o, "model");
        add_card(a, model ? model : "", netdev ? netdev : port, o);
        return opts_all_used(o, "-net nic", err) && (netdev || add_hubport(a, port, NULL, err));
    }
    id = opts_take(o, "id");
    if (!id)
        id = next_id(a, "net");
    return add_backend(a, type, id, o, err) && add_hubport(a, port, id, err);
}

static bool make_nets(App *a, Error **err)
{
    for (guint i = 0; i < a->nets->len; i++) {
        char **pair = a->nets->pdata[i];
        bool ok;

        if (!strcmp(pair[0], "netdev")) {
            g_autoptr(Opts) o = opts_parse_any(pair[1], "type", err);

            ok = o && net_new(a->vm, o, err);
        } else {
            ok = !strcmp(pair[0], "nic") ? add_nic(a, pair[1], err) : add_net(a, pair[1], err);
        }
        if (!ok)
            return false;
    }
    if (a->nets->len || a->nodefaults || !app_net_default(a->vm->mc))
        return true;
    return add_nic(a, "user", err);
}

bool app_make_cards(App *a, Error **err)
{
    for (guint i = 0; a->cards && i < a->cards->len; i++) {
        const Card *c = a->cards->pdata[i];
        const char *driver = *c->model ? driver_of(c->model) : app_net_default(a->vm->mc);
        g_autofree char *text = g_strconcat(driver ? driver : "", c->rest, NULL);
        bool ok;

        if (!driver || !dev_class_find(driver))
            return fail(err, "-nic model=%s: there is no such network card", driver ? driver : "(default)");
        lock_take(&a->vm->lock);
        ok = dev_plug(a->vm, bus_find_type(a->vm, "PCI"), text, err);
        lock_drop(&a->vm->lock);
        if (!ok)
            return false;
    }
    return true;
}

bool app_make_nets(App *a, Error **err)
{
    bool ok;

    lock_take(&a->vm->lock);
    ok = make_nets(a, err);
    lock_drop(&a->vm->lock);
    return ok;
}

/* The card a machine has of its own accord; NULL: none. */
const char *app_net_default(const MachineClass *mc)
{
    const char *name = mc && mc->default_nic ? mc->default_nic : "e1000";

    if (mc && mc->no_cpu)
        return NULL;
    return dev_class_find(name) ? name : dev_class_find("e1000") ? "e1000" : NULL;
}
