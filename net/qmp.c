/* net/qmp.c - the monitor's commands about the network (schema/net.json). */
#include "core/api/net.h"
#include "net/priv.h"

static bool add(Vm *vm, const char *text, Error **err)
{
    g_autoptr(Opts) o = opts_parse_any(text, "type", err);

    return o && net_new(vm, o, err);
}

bool qmp_netdev_add(Vm *vm, const JVal *json, Error **err)
{
    g_autofree char *text = j_text(json);

    return add(vm, text, err);
}

bool qmp_netdev_del(Vm *vm, const NetdevDelArgs *args, Error **err)
{
    NetDev *d = net_find(vm, args->id);

    if (!d) {
        fail(err, "Device '%s' not found", args->id);
        return error_class(err, "DeviceNotFound");
    }
    net_free(d);
    return true;
}

typedef struct Search {
    const char *card;
    NetDev *found;
} Search;

/* A card's line begins with its name. */
static void look_at(const char *id, void *p, void *arg)
{
    Search *s = arg;
    NetDev *d = p;
    size_t n = strlen(s->card);

    if (d->card && !strncmp(d->card, s->card, n) && d->card[n] == ':')
        s->found = d;
}

bool qmp_set_link(Vm *vm, const SetLinkArgs *args, Error **err)
{
    Search s = { args->name, net_find(vm, args->name) };

    if (!s.found)
        vm_registry_foreach(vm, "netdev", look_at, &s);
    if (!s.found) {
        fail(err, "Device '%s' not found", args->name);
        return error_class(err, "DeviceNotFound");
    }
    return net_set_link(s.found, args->up);
}

/* ---- human monitor ---- */
void hmp_info_network(Hmp *h) { net_print(h->vm, h->out); }

void hmp_info_usernet(Hmp *h)
{
    g_autofree char *text = net_user_connections(h->vm);

    g_string_append(h->out, text);
}

void hmp_netdev_add(Hmp *h, const HmpNetdevAddArgs *args)
{
    Error *err = NULL;

    add(h->vm, args->netdev, &err);
    hmp_say_error(h, err);
}

void hmp_hostfwd_add(Hmp *h, const HmpHostfwdAddArgs *args)
{
    Error *err = NULL;

    net_hostfwd_add(h->vm, args->arg2 ? args->arg1 : NULL, args->arg2 ? args->arg2 : args->arg1, &err);
    hmp_say_error(h, err);
}

void hmp_hostfwd_remove(Hmp *h, const HmpHostfwdRemoveArgs *args)
{
    g_autofree char *done = g_strdup_printf("host forwarding rule for %s removed\n", args->arg2 ? args->arg2 : args->arg1);
    Error *err = NULL;

    if (net_hostfwd_remove(h->vm, args->arg2 ? args->arg1 : NULL, args->arg2 ? args->arg2 : args->arg1, &err))
        g_string_append(h->out, done);
    hmp_say_error(h, err);
}
