/*
 * hw/usb/desc.c - descriptors, made of the tables of a class at the speed that the device has. Source: USB 2.0 section 9.6,
 * USB 3.1 section 9.6.
 */
#include "hw/usb/usb.h"

enum { DEVICE = 1, CONFIGURATION, STRING, INTERFACE, ENDPOINT, QUALIFIER, OTHER_SPEED, BOS = 15, CAPABILITY, COMPANION = 48 };
enum { ROOM = 512, LANGUAGE = 0x0409, POWER_UNIT = 2, POWER_UNIT_SUPER = 8 };
typedef struct Text {
    uint8_t b[ROOM];
    unsigned n;
} Text;

static uint8_t *more(Text *o, unsigned len, uint8_t type)
{
    uint8_t *p = o->b + o->n;

    g_assert(o->n + len <= ROOM); /* a class is const data */
    p[0] = (uint8_t)len;
    p[1] = type;
    o->n += len;
    return p;
}

static uint16_t version(const UsbDev *d, UsbSpeed s)
{
    return s == USB_SUPER ? 0x0300 : d->speeds & (AT_HIGH | AT_SUPER) ? 0x0200 : 0x0110;
}

static uint8_t packet0(const UsbDev *d, UsbSpeed s)
{
    if (s == USB_SUPER)
        return 9; /* an exponent */
    return s == USB_LOW ? 8 : s == USB_FULL && usb_class(d)->packet0 ? usb_class(d)->packet0 : 64;
}

static void identity(const UsbDev *d, UsbSpeed s, uint8_t *p)
{
    const UsbClass *c = usb_class(d);

    le16_store(p + 2, version(d, s));
    p[4] = c->class_id;
    p[5] = c->subclass;
    p[6] = c->protocol[s];
    p[7] = packet0(d, s);
}

static void device(const UsbDev *d, Text *o)
{
    const UsbClass *c = usb_class(d);
    uint8_t *p = more(o, 18, DEVICE);

    identity(d, d->speed, p);
    le16_store(p + 8, c->vendor);
    le16_store(p + 10, c->product);
    le16_store(p + 12, c->release);
    p[14] = 1;
    p[15] = 2;
    p[16] = 3;
    p[17] = 1;
}

static uint8_t interval(const UsbEp *e, UsbSpeed s)
{
    if (e->type == USB_ISOCH)
        return 1;
    if (e->type != USB_INTERRUPT)
        return 0;
    return (uint8_t)(s <= USB_FULL ? e->ms : 32 - __builtin_clz(e->ms * 8u)); /* 2^(n - 1) microframes */
}

static void endpoint(const UsbEp *e, UsbSpeed s, Text *o)
{
    uint8_t *p = more(o, 7, ENDPOINT);

    p[2] = e->addr;
    p[3] = e->type;
    le16_store(p + 4, e->packet[s]);
    p[6] = interval(e, s);
    if (s != USB_SUPER)
        return;
    p = more(o, 6, COMPANION);
    p[2] = e->burst;
    if (e->type == USB_INTERRUPT || e->type == USB_ISOCH)
        le16_store(p + 4, (uint16_t)(e->packet[s] * (e->burst + 1)));
}

static void configuration(const UsbDev *d, UsbSpeed s, uint8_t type, Text *o)
{
    const UsbClass *c = usb_class(d);
    uint8_t *p = more(o, 9, type), ifaces = 0;

    p[5] = 1;
    p[7] = 0x80 | c->attributes;
    p[8] = (uint8_t)(c->milliamps / (s == USB_SUPER ? POWER_UNIT_SUPER : POWER_UNIT));
    for (unsigned i = 0; i < c->nifaces; i++) {
        const UsbIface *f = &c->iface[i];
        uint8_t *q = more(o, 9, INTERFACE);

        ifaces = (uint8_t)MAX(ifaces, f->number + 1);
        memcpy(q + 2, (uint8_t[]){ f->number, f->alt, f->neps, f->class_id, f->subclass, f->protocol }, 6);
        g_assert(o->n + f->extra_len <= ROOM);
        if (f->extra_len)
            memcpy(o->b + o->n, f->extra, f->extra_len);
        o->n += f->extra_len;
        for (unsigned k = 0; k < f->neps; k++)
            endpoint(&f->ep[k], s, o);
    }
    le16_store(p + 2, (uint16_t)o->n);
    p[4] = ifaces;
}

static bool string(UsbDev *d, unsigned n, Text *o)
{
    const UsbClass *c = usb_class(d);
    char buf[16];
    const char *s;
    uint8_t *p;

    if (n > 3)
        return false;
    if (!n) {
        le16_store(more(o, 4, STRING) + 2, LANGUAGE);
        return true;
    }
    s = n == 1 ? c->maker : n == 2 ? (c->shown ? c->shown : c->name) : usb_serial(d, buf);
    p = more(o, 2 + 2 * (unsigned)MIN(strlen(s), 126), STRING);
    for (unsigned i = 2; i < p[0]; i += 2)
        le16_store(p + i, (uint8_t)s[i / 2 - 1]);
    return true;
}

/* What it would be at the other of full and high speed. */
static bool other(const UsbDev *d, uint8_t type, Text *o)
{
    UsbSpeed s = d->speed == USB_HIGH ? USB_FULL : USB_HIGH;

    if (d->speed == USB_SUPER || d->speed == USB_LOW || !(d->speeds & 1u << s))
        return false;
    if (type == QUALIFIER) {
        uint8_t *p = more(o, 10, QUALIFIER);

        identity(d, s, p);
        p[8] = 1;
    } else {
        configuration(d, s, OTHER_SPEED, o);
    }
    return true;
}

static bool bos(const UsbDev *d, Text *o)
{
    uint8_t *p, *q;

    if (!(d->speeds & AT_SUPER))
        return false;
    p = more(o, 5, BOS);
    more(o, 7, CAPABILITY)[2] = 2; /* USB 2.0 extension, without link power management */
    q = more(o, 10, CAPABILITY);
    q[2] = 3; /* SuperSpeed */
    le16_store(q + 4, d->speeds);
    q[6] = USB_FULL;
    q[7] = 10; /* latencies of U1 and U2, us */
    le16_store(q + 8, 32);
    le16_store(p + 2, (uint16_t)o->n);
    p[4] = 2;
    return true;
}

UsbStatus usb__descriptor(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    Text o = { .n = 0 };
    uint8_t type = (uint8_t)(q->value >> 8), index = (uint8_t)q->value;
    bool have = true;

    switch (type) {
    case DEVICE: device(d, &o); break;
    case CONFIGURATION:
        have = !index;
        configuration(d, d->speed, type, &o);
        break;
    case STRING: have = string(d, index, &o); break;
    case QUALIFIER:
    case OTHER_SPEED: have = other(d, type, &o); break;
    case BOS: have = bos(d, &o); break;
    default: have = false;
    }
    return have ? usb_answer(x, q, o.b, o.n) : USB_STALL;
}
