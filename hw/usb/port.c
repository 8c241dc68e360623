/*
 * hw/usb/port.c - the root hub of an xHCI controller: port registers, links, status change events. Source: xHCI 1.1 sections
 * 4.15, 4.19, 5.4.8. A reset takes no time. Ports 1 to p3 are USB 3's, the others USB 2's; both sides of a socket have one place for a device.
 */
#include "hw/usb/xhci.h"

enum { CCS = 1 << 0, PED = 1 << 1, PR = 1 << 4, PLS = 15 << 5, PP = 1 << 9, SPEED = 15 << 10, PIC = 3 << 14, LWS = 1 << 16, CSC = 1 << 17,
       PEC = 1 << 18, WRC = 1 << 19, PRC = 1 << 21, PLC = 1 << 22, CHANGES = 0x7f << 17, WAKE = 7 << 25 };
#define WPR (1u << 31)
enum { U0, U3 = 3, DISABLED, RX_DETECT, POLLING = 7, RESUME = 15 };

static const uint8_t speed_id[USB_SPEEDS] = { [USB_FULL] = 1, [USB_LOW] = 2, [USB_HIGH] = 3, [USB_SUPER] = 4 };

static bool is_super(const Xhci *x, unsigned i) { return i < x->p3; }

static UsbDev *at_port(const Xhci *x, unsigned i)
{
    UsbDev *d = x->uport[is_super(x, i) ? i : i - x->p3].dev;

    return d && (d->speed == USB_SUPER) == is_super(x, i) ? d : NULL;
}

static void set_link(XhciPort *p, unsigned state) { p->sc = (p->sc & ~(uint32_t)PLS) | state << 5; }

static void change(Xhci *x, unsigned i, uint32_t bits)
{
    if ((x->port[i].sc & bits) == bits)
        return;
    x->port[i].sc |= bits;
    x->usbsts |= STS_PCD;
    x->port_events |= 1u << i;
}

/* What the link finds when it is let look. */
static void train(Xhci *x, unsigned i)
{
    XhciPort *p = &x->port[i];
    const UsbDev *d = at_port(x, i);

    p->sc &= ~(uint32_t)(CCS | PED | SPEED);
    set_link(p, RX_DETECT);
    if (!d)
        return;
    p->sc |= CCS | (uint32_t)speed_id[d->speed] << 10 | (is_super(x, i) ? PED : 0);
    set_link(p, is_super(x, i) ? U0 : POLLING);
}

static void attached(Dev *owner, unsigned n, bool there)
{
    Xhci *x = XHCI(owner);
    unsigned sides[2] = { n <= x->p3 ? n - 1 : XHCI_PORTS, n <= x->p2 ? x->p3 + n - 1 : XHCI_PORTS };

    for (unsigned k = 0; k < 2; k++) {
        unsigned i = sides[k];

        if (i == XHCI_PORTS || !(at_port(x, i) || x->port[i].sc & CCS))
            continue;
        train(x, i);
        change(x, i, CSC);
    }
    xhci_run(x);
}

static void wakeup(Dev *owner, unsigned n)
{
    Xhci *x = XHCI(owner);
    const UsbDev *d = x->uport[n - 1].dev;
    unsigned i = d && d->speed == USB_SUPER ? n - 1 : x->p3 + n - 1;

    if ((x->port[i].sc & PLS) >> 5 != U3)
        return;
    set_link(&x->port[i], RESUME);
    change(x, i, PLC);
    xhci_run(x);
}
static const UsbPortOps port_ops = { attached, wakeup };

void xhci_ports_init(Xhci *x)
{
    for (unsigned n = 1; n <= MAX(x->p2, x->p3); n++)
        usb_port_add(x->bus, &x->uport[n - 1], &port_ops, &x->pci.dev, n,
                     (uint8_t)((n <= x->p2 ? AT_LOW | AT_FULL | AT_HIGH : 0) | (n <= x->p3 ? AT_SUPER : 0)), NULL);
}

void xhci_ports_reset(Xhci *x)
{
    x->port_events = 0;
    memset(x->port, 0, sizeof(x->port));
    for (unsigned i = 0; i < xhci_ports(x); i++) {
        if (at_port(x, i))
            usb_bus_reset(at_port(x, i));
        x->port[i].sc = PP;
        train(x, i);
        if (x->port[i].sc & CCS)
            change(x, i, CSC);
    }
    x->usbsts &= ~(uint32_t)STS_PCD;
}

/* Bounded: by the ports. */
bool xhci_port_events(Xhci *x)
{
    bool any = false;

    for (unsigned i = 0; x->port_events && i < XHCI_PORTS; i++) {
        if (!(x->port_events >> i & 1))
            continue;
        if (!xhci_room(x, 0))
            return any;
        x->port_events &= ~(1u << i);
        xhci_event(x, 0, (uint64_t)(i + 1) << 24, (uint32_t)CC_SUCCESS << 24, TRB_PORT_EVENT << 10);
        any = true;
    }
    return any;
}

/* ---- PORTSC ---- */
uint64_t xhci_portsc(const Dev *d, unsigned n) { return XHCI_CONST(d)->port[n].sc; }

static void reset(Xhci *x, unsigned i, bool warm)
{
    XhciPort *p = &x->port[i];
    UsbDev *d = at_port(x, i);

    if (!d)
        return;
    usb_bus_reset(d);
    p->sc |= CCS | PED | (uint32_t)speed_id[d->speed] << 10;
    set_link(p, U0);
    change(x, i, PRC | (warm ? WRC : 0));
}

static void link_written(Xhci *x, unsigned i, unsigned to)
{
    XhciPort *p = &x->port[i];
    unsigned from = (p->sc & PLS) >> 5;

    if (is_super(x, i) && (to == RX_DETECT || to == DISABLED)) {
        train(x, i);
        if (to == DISABLED) {
            p->sc &= ~(uint32_t)(CCS | PED | SPEED);
            set_link(p, DISABLED);
        }
    } else if (!(p->sc & PED)) {
        return;
    } else if (to == U3 || (to == RESUME && !is_super(x, i) && from == U3)) {
        set_link(p, to);
    } else if (to == U0 && from != U0) {
        set_link(p, U0);
        change(x, i, PLC);
    }
}

void xhci_portsc_written(Dev *d, unsigned n, uint64_t val, unsigned lanes)
{
    Xhci *x = XHCI(d);
    XhciPort *p = &x->port[n];

    if (n >= xhci_ports(x) || lanes != 15)
        return;
    p->sc &= ~((uint32_t)val & CHANGES);
    p->sc = (p->sc & ~(uint32_t)(WAKE | PIC)) | ((uint32_t)val & (WAKE | PIC));
    if (val & PR || (val & WPR && is_super(x, n))) {
        reset(x, n, val & WPR);
    } else if (val & PED && p->sc & PED) {
        p->sc &= ~(uint32_t)PED;
        set_link(p, is_super(x, n) ? DISABLED : POLLING);
    } else if (val & LWS) {
        link_written(x, n, (val & PLS) >> 5);
    }
    xhci_run(x);
}

/* ---- by route ---- */
UsbDev *xhci_device(const Xhci *x, const XhciSlot *s)
{
    UsbDev *d = s->port && s->port <= xhci_ports(x) ? at_port(x, s->port - 1) : NULL;

    for (unsigned i = 0; d && i < USB_DEPTH && s->route >> 4 * i & 15; i++)
        d = usb_hub_child(d, s->route >> 4 * i & 15);
    return d;
}
