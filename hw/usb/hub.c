/*
 * hw/usb/hub.c - usb-hub: a USB 2 hub with one transaction translator. Source: USB 2.0 chapter 11. What is behind it is on the same bus;
 * its ports have the paths "2.1", "2.2". Left out: over-current, indicators, a limit of power.
 */
#include "hw/usb/usb.h"

enum { GET_HUB_STATUS = 0xa000, GET_PORT_STATUS = 0xa300, GET_HUB_DESCRIPTOR = 0xa006, SET_PORT_FEATURE = 0x2303, CLEAR_PORT_FEATURE = 0x2301,
       SET_HUB_FEATURE = 0x2003, CLEAR_HUB_FEATURE = 0x2001, CLEAR_TT_BUFFER = 0x2308, RESET_TT = 0x2309, STOP_TT = 0x230b };
/* wPortStatus and, the first five, wPortChange; features have the numbers of the bits, those of changes 16 more */
enum { CONNECTION = 1 << 0, ENABLE = 1 << 1, SUSPEND = 1 << 2, RESET = 1 << 4, POWER = 1 << 8, LOW_SPEED = 1 << 9, HIGH_SPEED = 1 << 10 };
enum { PORT_ENABLE = 1, PORT_SUSPEND, PORT_RESET = 4, PORT_POWER = 8, C_FIRST = 16, C_LAST = 20, PORT_INDICATOR = 22 };

typedef struct Hub {
    UsbDev usb;
    uint32_t ports;
    uint16_t status[USB_HUB_PORTS], changes[USB_HUB_PORTS];
    UsbPort port[USB_HUB_PORTS];
} Hub;
#define HUB(d) ((Hub *)(void *)(d))

/* ---- ports ---- */
static void change(Hub *h, unsigned i, uint16_t bits)
{
    h->changes[i] |= bits;
    usb_wakeup(&h->usb);
    usb_ready(&h->usb, USB_IN | 1);
}

/* What a port with power sees of its device. */
static void look(Hub *h, unsigned i)
{
    const UsbDev *d = h->port[i].dev;
    uint16_t was = h->status[i];

    h->status[i] = was & POWER;
    if (d && was & POWER)
        h->status[i] |= CONNECTION | (d->speed == USB_LOW ? LOW_SPEED : d->speed == USB_HIGH ? HIGH_SPEED : 0);
    if ((h->status[i] ^ was) & CONNECTION || (was & CONNECTION && d))
        change(h, i, CONNECTION);
}

static void attached(Dev *owner, unsigned n, bool there) { look(HUB(owner), n - 1); }

static void wakeup(Dev *owner, unsigned n)
{
    Hub *h = HUB(owner);

    if (h->status[n - 1] & SUSPEND) {
        h->status[n - 1] &= (uint16_t)~SUSPEND;
        change(h, n - 1, SUSPEND);
    } else {
        usb_wakeup(&h->usb);
    }
}
static const UsbPortOps port_ops = { attached, wakeup };

static UsbStatus transfer(UsbDev *d, UsbXfer *x)
{
    Hub *h = HUB(d);
    unsigned bits = 0;
    uint8_t b[2];

    for (unsigned i = 0; i < h->ports; i++)
        bits |= h->changes[i] ? 2u << i : 0;
    if (!bits)
        return USB_NAK;
    le16_store(b, (uint16_t)bits);
    usb_put(x, b, h->ports / 8 + 1);
    return USB_OK;
}

/* ---- requests ---- */
static UsbStatus hub_status(UsbDev *d, UsbXfer *x, const UsbRequest *q) { return usb_answer(x, q, (uint8_t[4]){ 0 }, 4); }
static UsbStatus nothing(UsbDev *d, UsbXfer *x, const UsbRequest *q) { return USB_OK; }

static bool port_of(const Hub *h, const UsbRequest *q, unsigned *i)
{
    *i = (q->index & 0xff) - 1u;
    return *i < h->ports;
}

static UsbStatus port_status(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    unsigned i;
    uint8_t b[4];

    if (!port_of(HUB(d), q, &i))
        return USB_STALL;
    le16_store(b, HUB(d)->status[i]);
    le16_store(b + 2, HUB(d)->changes[i]);
    return usb_answer(x, q, b, sizeof(b));
}

static UsbStatus hub_descriptor(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    uint8_t ports = (uint8_t)HUB(d)->ports, maps = (uint8_t)(ports / 8 + 1), b[11] = { 7, 0x29, ports, 0x09, 0, 1 }; /* power and over-current by port */

    if (q->value >> 8 != 0x29)
        return USB_STALL;
    b[0] = (uint8_t)(7 + 2 * maps);
    memset(b + 7 + maps, 0xff, maps);
    return usb_answer(x, q, b, b[0]);
}

static UsbStatus set_port_feature(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    Hub *h = HUB(d);
    unsigned i;

    if (!port_of(h, q, &i))
        return USB_STALL;
    switch (q->value) {
    case PORT_POWER:
        if (!(h->status[i] & POWER)) {
            h->status[i] |= POWER;
            look(h, i);
        }
        return USB_OK;
    case PORT_RESET:
        if (h->status[i] & CONNECTION && h->port[i].dev) {
            usb_bus_reset(h->port[i].dev);
            h->status[i] = (uint16_t)((h->status[i] & ~SUSPEND) | ENABLE);
            change(h, i, RESET);
        }
        return USB_OK;
    case PORT_SUSPEND: h->status[i] |= h->status[i] & ENABLE ? SUSPEND : 0; return USB_OK;
    case PORT_INDICATOR: return USB_OK;
    default: return USB_STALL;
    }
}

static UsbStatus clear_port_feature(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    Hub *h = HUB(d);
    unsigned i;

    if (!port_of(h, q, &i))
        return USB_STALL;
    if (q->value >= C_FIRST && q->value <= C_LAST) {
        h->changes[i] &= (uint16_t)~(1u << (q->value - C_FIRST));
        return USB_OK;
    }
    switch (q->value) {
    case PORT_ENABLE: h->status[i] &= (uint16_t)~(ENABLE | SUSPEND); return USB_OK;
    case PORT_SUSPEND:
        if (h->status[i] & SUSPEND) {
            h->status[i] &= (uint16_t)~SUSPEND;
            change(h, i, SUSPEND);
        }
        return USB_OK;
    case PORT_POWER: h->status[i] = h->changes[i] = 0; return USB_OK;
    case PORT_INDICATOR: return USB_OK;
    default: return USB_STALL;
    }
}

/* Without configuration its ports have no power. */
static void configured(UsbDev *d)
{
    memset(HUB(d)->status, 0, sizeof(HUB(d)->status));
    memset(HUB(d)->changes, 0, sizeof(HUB(d)->changes));
}

/* ---- life ---- */
static bool init(Obj *o, Error **err)
{
    return (HUB(o)->ports >= 1 && HUB(o)->ports <= USB_HUB_PORTS) || fail(err, "ports=%u: must be 1 to %d", HUB(o)->ports, USB_HUB_PORTS);
}

static bool plug(Dev *d, Error **err)
{
    Hub *h = HUB(d);
    UsbPort *up = h->usb.port;

    if (up->depth >= USB_DEPTH)
        return fail(err, "a hub at %s would be the %dth in a row; there can be %d", up->path, USB_DEPTH + 1, USB_DEPTH);
    for (unsigned n = 1; n <= h->ports; n++)
        usb_port_add(up->bus, &h->port[n - 1], &port_ops, d, n, (uint8_t)(AT_LOW | AT_FULL | (h->usb.speed == USB_HIGH ? AT_HIGH : 0)), up);
    return true;
}

static void unplug(Dev *d)
{
    Hub *h = HUB(d);

    for (unsigned i = 0; i < h->ports; i++) {
        if (h->port[i].dev)
            dev_unplug_now(&h->port[i].dev->dev);
        usb_port_del(&h->port[i]);
    }
}

static void fini(Obj *o)
{
    for (unsigned i = 0; i < USB_HUB_PORTS; i++)
        usb_port_del(&HUB(o)->port[i]);
}

/* clang-format off */
static const UsbEp eps[] = { { .addr = USB_IN | 1, .type = USB_INTERRUPT, .packet = { 2, 2, 2, 2 }, .ms = 255 } };
static const UsbIface ifaces[] = { { .class_id = 9, .ep = eps, .neps = 1 } };
static const UsbOp ops[] = {
    { GET_HUB_STATUS, "GetHubStatus", hub_status }, { GET_PORT_STATUS, "GetPortStatus", port_status },
    { GET_HUB_DESCRIPTOR, "GetHubDescriptor", hub_descriptor }, { SET_PORT_FEATURE, "SetPortFeature", set_port_feature },
    { CLEAR_PORT_FEATURE, "ClearPortFeature", clear_port_feature }, { SET_HUB_FEATURE, "SetHubFeature", nothing },
    { CLEAR_HUB_FEATURE, "ClearHubFeature", nothing }, { CLEAR_TT_BUFFER, "ClearTTBuffer", nothing }, { RESET_TT, "ResetTT", nothing },
    { STOP_TT, "StopTT", nothing },
};
static const Prop props[] = { PROP(Hub, ports, "ports", USB_HUB_PORTS, "how many, 1 to 8") };
static const Field fields[] = { ARRAY_FIELD(Hub, status), ARRAY_FIELD(Hub, changes), TRANSIENT(Hub, port, "wiring", .keep = true) };
static const UsbClass hub = {
    USB_DEVICE(Hub, "usb-hub", "USB 2 hub"), .dev.category = "USB devices", .dev.obj.props = TABLE(props), .dev.obj.init = init, .dev.obj.fini = fini,
    .dev.state = TABLE(fields), .dev.plug = plug, .dev.unplug = unplug,
    .vendor = 0x0409, .product = 0x55aa, .release = 0x0101, .maker = "QEMU", .name = "QEMU USB Hub", .class_id = 9, .protocol = { [USB_HIGH] = 1 },
    .speeds = AT_FULL | AT_HIGH, .attributes = SELF_POWERED | REMOTE_WAKEUP, USB_IFACE_TABLE(ifaces), USB_OPS(ops), .transfer = transfer,
    .configured = configured,
};
/* clang-format on */
DEVICE_OF(Hub, hub, &hub.dev);
