/*
 * hw/usb/bus.c - the bus: ports and their paths, and what all devices have in common.
 * Invariants: a port has at most one device; the ports of a hub are on the bus as long as the hub is.
 */
#include "hw/usb/usb.h"
#include "core/state.h"

/* ---- ports ---- */
void usb_port_add(UsbBus *b, UsbPort *p, const UsbPortOps *ops, Dev *owner, unsigned n, uint8_t speeds, const UsbPort *above)
{
    *p = (UsbPort){ .bus = b, .ops = ops, .owner = owner, .n = n, .speeds = speeds, .depth = (uint8_t)(above ? above->depth + 1 : 0) };
    g_snprintf(p->path, sizeof(p->path), "%s%s%u", above ? above->path : "", above ? "." : "", n);
    g_ptr_array_add(b->ports, p);
}

static void let_go(UsbPort *p)
{
    if (p->dev)
        p->dev->port = NULL;
    p->dev = NULL;
}

void usb_port_del(UsbPort *p)
{
    let_go(p);
    if (p->bus)
        g_ptr_array_remove(p->bus->ports, p);
    p->bus = NULL;
}

UsbDev *usb_hub_child(const UsbDev *hub, unsigned n)
{
    const UsbBus *b = hub->port ? hub->port->bus : NULL;

    for (guint i = 0; b && i < b->ports->len; i++) {
        const UsbPort *p = b->ports->pdata[i];

        if (p->owner == &hub->dev && p->n == n)
            return p->dev;
    }
    return NULL;
}

UsbDev *usb_by_address(const UsbBus *b, uint8_t addr, const Dev *hc)
{
    for (guint i = 0; i < b->ports->len; i++) {
        const UsbPort *p = b->ports->pdata[i], *root = p;

        if (!p->dev || p->dev->addr != addr)
            continue;
        while (root->depth) /* up its hubs */
            root = USB(root->owner)->port;
        if ((root->routed ? root->routed : root->owner) == hc && root->live)
            return p->dev;
    }
    return NULL;
}

static const char *speed_name(unsigned speeds)
{
    static const char *const names[] = { "low", "full", "high", "super" };

    return speeds ? names[31 - __builtin_clz(speeds)] : "no";
}

static UsbPort *find_port(UsbBus *b, const char *path, unsigned speeds)
{
    for (guint i = 0; i < b->ports->len; i++) {
        UsbPort *p = b->ports->pdata[i];

        if (!p->dev && (path ? !strcmp(p->path, path) : (p->speeds & speeds) != 0))
            return p;
    }
    return NULL;
}

static bool bus_plug(Bus *bus, Dev *dev, Error **err)
{
    UsbBus *b = (UsbBus *)(void *)bus;
    UsbDev *d = USB(dev);
    UsbPort *p = find_port(b, d->port_prop, d->speeds);

    if (!p && d->port_prop)
        return fail(err, "usb port %s (bus %s) not found (in use?)", d->port_prop, bus->obj.name);
    if (!p)
        return fail(err, "bus %s has no free port for a %s speed device", bus->obj.name, speed_name(d->speeds));
    if (!(p->speeds & d->speeds))
        return fail(err, "speed mismatch trying to attach usb device \"%s\" (%s speed) to bus \"%s\", port \"%s\" (%s speed)",
                    usb_class(d)->name, speed_name(d->speeds), bus->obj.name, p->path, speed_name(p->speeds));
    p->dev = d;
    d->port = p;
    d->speed = (uint8_t)(31 - __builtin_clz(p->speeds & d->speeds));
    return true;
}

static void bus_unplug(Bus *bus, Dev *dev)
{
    UsbPort *p = USB(dev)->port;

    if (!p)
        return;
    p->dev = NULL;
    USB(dev)->port = NULL;
    if (dev->obj.vm->ending || !bus->controller->realized || bus->controller->life != LIFE_LIVE)
        return;
    if (p->owner->realized && p->owner->life == LIFE_LIVE)
        WITH_DEV(p->owner)
            p->ops->attached(p->owner, p->n, false);
    WITH_DEV(bus->controller)
        p->bus->host->gone(bus->controller);
}

static char *bus_address(const Bus *bus, const Dev *dev)
{
    const UsbDev *d = (const UsbDev *)(const void *)dev;

    return g_strdup_printf("addr 0.%u, port %s, speed %s, name %s", d->addr, d->port ? d->port->path : "", usb_mbps(d), usb_class(d)->name);
}

static const BusClass bus_class = {
    .obj = { .name = "usb-bus", .desc = "USB", .size = sizeof(UsbBus) },
    .type = "usb-bus", .plug = bus_plug, .unplug = bus_unplug, .address = bus_address, .hotplug = true,
};

/* The bus goes before some of its devices and hubs. */
static void free_ports(void *ports)
{
    GPtrArray *v = ports;

    for (guint i = 0; i < v->len; i++) {
        let_go(v->pdata[i]);
        ((UsbPort *)v->pdata[i])->bus = NULL;
    }
    g_ptr_array_free(v, TRUE);
}

static void count_bus(Bus *b, void *arg)
{
    if (b->cls == &bus_class)
        ++*(unsigned *)arg;
}

UsbBus *usb_bus_new(Dev *hc, const UsbHost *host)
{
    unsigned others = 0;
    g_autofree char *name = NULL;
    UsbBus *b;

    bus_foreach(dev_vm(hc), count_bus, &others);
    name = hc->id ? g_strdup_printf("%s.0", hc->id) : g_strdup_printf("usb-bus.%u", others);
    b = (UsbBus *)(void *)bus_new(&bus_class, hc, name);
    b->host = host;
    b->ports = own(&b->bus.obj, g_ptr_array_new(), free_ports);
    return b;
}

/* ---- devices ---- */
void usb_ready(UsbDev *d, uint8_t ep)
{
    UsbBus *b = d->port ? d->port->bus : NULL;

    if (b && d->dev.life == LIFE_LIVE && b->bus.controller->realized)
        WITH_DEV(b->bus.controller)
            b->host->ready(b->bus.controller, d, ep);
}

void usb_wakeup(UsbDev *d)
{
    UsbPort *p = d->port;

    if (p && d->features & 2 && p->owner->realized)
        WITH_DEV(p->owner)
            p->ops->wakeup(p->owner, p->n);
}

const char *usb_mbps(const UsbDev *d)
{
    static const char *const names[USB_SPEEDS] = { "1.5", "12", "480", "5000" };

    return names[d->speed];
}

/* Twelve hexadecimal digits, as bulk-only storage wants: two for each level of the path. */
const char *usb_serial(UsbDev *d, char buf[16])
{
    uint64_t v = 0;

    if (d->serial)
        return d->serial;
    for (const char *p = d->port ? d->port->path : ""; *p; p++)
        if (p[0] != '.' && (p[1] == '.' || !p[1]))
            v = v << 8 | (uint64_t)(p[0] - '0') | (p > d->port->path && p[-1] != '.' ? (uint64_t)(p[-1] - '0') << 4 : 0);
    g_snprintf(buf, 16, "%012" PRIX64, v & ones(48));
    return buf;
}

void usb_bus_reset(UsbDev *d)
{
    WITH_DEV(&d->dev) {
        d->addr = d->config = d->features = 0;
        memset(d->alt, 0, sizeof(d->alt));
        d->halted = 0;
        d->stage = 0;
        if (usb_class(d)->configured)
            usb_class(d)->configured(d);
    }
}

static bool init(Obj *o, Error **err)
{
    UsbDev *d = (UsbDev *)(void *)o;

    d->speeds = usb_class(d)->speeds;
    return !d->serial || strlen(d->serial) < 100 || fail(err, "serial=: more than 99 characters");
}

static bool plug(Dev *dev, Error **err)
{
    UsbPort *p = USB(dev)->port;

    if (p->owner->realized)
        WITH_DEV(p->owner)
            p->ops->attached(p->owner, p->n, true);
    return true;
}

static char *state_key(const Dev *dev)
{
    const UsbDev *d = (const UsbDev *)(const void *)dev;
    g_autofree char *above = d->port ? dev_state_key(d->port->bus->bus.controller) : NULL;

    return above ? g_strdup_printf("%s/usb/%s", above, d->port->path) : NULL;
}

static bool check(const Dev *dev, Error **err)
{
    const UsbDev *d = (const UsbDev *)(const void *)dev;

    return (d->addr < 128 && d->config < 2 && d->pos <= d->ctl_len) || fail(err, "an address or configuration that no host can have set");
}

/* clang-format off */
static const Prop props[] = {
    PROP_STR(UsbDev, port_prop, "port", NULL, "where it is plugged in: 2, or 2.3 behind the hub at 2"),
    PROP_STR(UsbDev, serial, "serial", NULL, "what the guest reads as its serial number"),
};
static const Field fields[] = {
    FIELD(UsbDev, addr), FIELD(UsbDev, config), FIELD(UsbDev, features), BYTES(UsbDev, alt), FIELD(UsbDev, halted), BYTES(UsbDev, setup),
    FIELD(UsbDev, stage), FIELD(UsbDev, asked), FIELD(UsbDev, pos), BUF(UsbDev, ctl, ctl_len, 4096),
    TRANSIENT(UsbDev, port, "wiring", .keep = true), TRANSIENT(UsbDev, speeds, "of the class", .keep = true),
    TRANSIENT(UsbDev, speed, "wiring", .keep = true),
};
const DevClass usb_base = {
    .obj = { .name = "usb-device", .size = sizeof(UsbDev), .props = TABLE(props), .init = init }, .bus = "usb-bus",
    .state = TABLE(fields), .plug = plug, .state_key = state_key, .check = check,
};
/* clang-format on */
