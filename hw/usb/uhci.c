/*
 * hw/usb/uhci.c - a Universal Host Controller: full and low speed, one frame each millisecond. Source: UHCI design guide 1.1.
 * Left out: nested queues (a queue head as the element of another), resume signalling that takes time, software debug mode.
 * What is in flight is in the guest's lists: a transfer descriptor that was answered USB_NAK stays active and is tried in a later frame.
 */
#include "hw/pci/pci.h"
#include "hw/usb/usb.h"

enum { PORTS = 2, FRAME = 1 * MS, STEPS_MAX = 512, LATE_MAX = 8 };
enum { CMD_RS = 1, CMD_HCRESET = 2, CMD_GRESET = 4, CMD_EGSM = 8 };
enum { STS_INT = 1, STS_ERROR = 2, STS_RESUME = 4, STS_FATAL = 0x18, STS_HALTED = 0x20 };
enum { IRQ_ERROR = 1, IRQ_RESUME = 2, IRQ_IOC = 4, IRQ_SHORT = 8 };
enum { CCS = 1, CSC = 2, PED = 4, PEDC = 8, RESUME = 0x40, ONE = 0x80, LOW = 0x100, RESET = 0x200, SUSPEND = 0x1000 };
enum { LINK_END = 1, LINK_QUEUE = 2, LINK_DEPTH = 4 };
/* of a transfer descriptor's second word */
enum { ACTUAL = 0x7ff, TIMEOUT = 1 << 18, NAK = 1 << 19, BABBLE = 1 << 20, BUFFER = 1 << 21, STALLED = 1 << 22, ACTIVE = 1 << 23, IOC = 1 << 24,
       ISOCH = 1 << 25, SPD = 1 << 29 };
enum { PID_SETUP = 0x2d, PID_IN = 0x69, PID_OUT = 0xe1 };

typedef struct Uhci {
    PciDev pci;
    uint16_t cmd, sts, intr, frnum, port[PORTS];
    uint8_t sof;
    uint32_t base, bandwidth;
    int64_t due; /* CLOCK_VM: the next frame */
    uint32_t firstport;
    char *masterbus;
    UsbBus *bus;          /* its own, or that of the controller whose companion it is */
    UsbPort *root[PORTS]; /* its own, or the other's */
    Timer frame;
    UsbPort uport[PORTS];
} Uhci;
#define UHCI(d) container_of(d, Uhci, pci.dev)

/* ---- transfer descriptors ---- */
typedef struct Td {
    uint32_t at, link, status, token, buffer;
} Td;
typedef enum Fate { DONE, STOP /* the queue stands still */ } Fate;

static UsbStatus ask(Uhci *u, const Td *t, UsbXfer *x)
{
    unsigned pid = t->token & 0xff;
    UsbSeg s = { t->buffer, ((t->token >> 21) + 1) & 0x7ff };
    UsbDev *d = usb_by_address(u->bus, t->token >> 8 & 127, &u->pci.dev);

    *x = (UsbXfer){ .hc = &u->pci.dev, .seg = &s, .nseg = 1, .len = s.len, .ep = (uint8_t)((t->token >> 15 & 15) | (pid == PID_IN ? USB_IN : 0)) };
    if (!d || (pid != PID_SETUP && pid != PID_IN && pid != PID_OUT))
        return USB_GONE;
    return usb_token(d, pid == PID_SETUP ? USB_PID_SETUP : pid == PID_IN ? USB_PID_IN : USB_PID_OUT, x);
}

/* Section 3.2.2: what becomes of its status. */
static Fate settle(Uhci *u, Td *t, UsbStatus s, const UsbXfer *x)
{
    bool in = (t->token & 0xff) == PID_IN, is_short = in && s == USB_OK && x->done < x->len;

    if (s == USB_NAK && !(t->status & ISOCH)) {
        t->status |= NAK;
        return STOP;
    }
    t->status &= ~(uint32_t)(ACTIVE | ACTUAL | NAK);
    t->status |= (uint32_t)(x->done - 1) & ACTUAL;
    if (x->fault)
        t->status |= BUFFER | STALLED;
    else if (s != USB_OK && s != USB_NAK)
        t->status |= STALLED | (s == USB_GONE ? TIMEOUT : s == USB_BABBLE ? BABBLE : 0);
    if (t->status & STALLED)
        u->sts |= STS_ERROR;
    if (t->status & IOC || (is_short && t->status & SPD))
        u->sts |= STS_INT;
    return t->status & STALLED || (is_short && t->status & SPD) ? STOP : DONE;
}

static Fate run_td(Uhci *u, uint32_t link, Td *t, unsigned *bytes)
{
    uint8_t b[16];
    UsbXfer x;
    Fate f;

    *t = (Td){ .at = link & ~15u, .link = LINK_END };
    if (!dma_read(&u->pci.dev, t->at, b, sizeof(b)))
        return STOP;
    *t = (Td){ t->at, le32_load(b), le32_load(b + 4), le32_load(b + 8), le32_load(b + 12) };
    if (!(t->status & ACTIVE))
        return STOP;
    f = settle(u, t, ask(u, t, &x), &x);
    dma_store(&u->pci.dev, t->at + 4, 4, t->status);
    *bytes += (unsigned)x.done;
    return f;
}

/* ---- a frame ---- */
/* A transfer of the queue, or several when it says so; where to go on. */
static uint32_t run_queue(Uhci *u, uint32_t link, unsigned *bytes, unsigned *steps, bool *moved)
{
    uint8_t b[8];
    uint32_t head, element;
    Td t;

    if (!dma_read(&u->pci.dev, link & ~15u, b, sizeof(b)))
        return LINK_END;
    head = le32_load(b);
    element = le32_load(b + 4);
    while (!(element & (LINK_END | LINK_QUEUE)) && *bytes < u->bandwidth && ++*steps < STEPS_MAX) {
        if (run_td(u, element, &t, bytes) != DONE)
            break;
        *moved = true;
        element = t.link;
        dma_store(&u->pci.dev, (link & ~15u) + 4, 4, element);
        if (!(t.link & LINK_DEPTH))
            break;
    }
    return head;
}

/* Bounded: by STEPS_MAX, and it ends when a round through the queues moves nothing. */
static void run_frame(Uhci *u)
{
    uint64_t link = LINK_END;
    uint32_t mark = LINK_END;
    unsigned bytes = 0, steps = 0;
    bool moved = false;
    Td t;

    dma_load(&u->pci.dev, u->base + 4u * (u->frnum & 0x3ff), 4, &link);
    while (!(link & LINK_END) && bytes < u->bandwidth && ++steps < STEPS_MAX) {
        if (!(link & LINK_QUEUE)) {
            run_td(u, (uint32_t)link, &t, &bytes);
            link = t.link;
            continue;
        }
        if (link == mark && !moved)
            break;
        if (mark == LINK_END || moved) {
            mark = (uint32_t)link;
            moved = false;
        }
        link = run_queue(u, (uint32_t)link, &bytes, &steps, &moved);
    }
}

static void frame(Dev *d)
{
    Uhci *u = UHCI(d);
    int64_t now = clock_now(d);

    if (!(u->cmd & CMD_RS))
        return;
    if (u->due > now || u->due < now - LATE_MAX * FRAME) /* time that nobody saw */
        u->due = now;
    while (u->due <= now) {
        run_frame(u);
        u->frnum = (u->frnum + 1) & 0x7ff;
        u->due += FRAME;
    }
    timer_at(&u->frame, u->due);
}

/* ---- ports ---- */
static UsbDev *at_port(const Uhci *u, unsigned i)
{
    const UsbPort *p = u->root[i];

    return p && (p->routed ? p->routed : p->owner) == &u->pci.dev ? p->dev : NULL;
}

/* Tokens go through. */
static void set_live(Uhci *u, unsigned i)
{
    UsbPort *p = u->root[i];

    if (p && (p->routed ? p->routed : p->owner) == &u->pci.dev)
        p->live = u->port[i] & PED && !(u->port[i] & SUSPEND);
}

static void look(Uhci *u, unsigned i)
{
    const UsbDev *d = at_port(u, i);
    uint16_t was = u->port[i], now = (uint16_t)(was & ~(CCS | LOW));

    now |= d ? CCS | (d->speed == USB_LOW ? LOW : 0) : 0;
    if (!d && was & PED)
        now = (uint16_t)((now & ~(PED | SUSPEND)) | PEDC);
    if (d || was & CCS)
        now |= CSC;
    u->port[i] = now;
    set_live(u, i);
}

static void resume(Uhci *u)
{
    if (u->cmd & CMD_EGSM)
        u->sts |= STS_RESUME;
}

static void attached(Dev *d, unsigned n, bool there)
{
    look(UHCI(d), n - 1);
    resume(UHCI(d));
}

static void wakeup(Dev *d, unsigned n)
{
    Uhci *u = UHCI(d);

    if (u->port[n - 1] & SUSPEND)
        u->port[n - 1] |= RESUME;
    if (u->port[n - 1] & SUSPEND || u->cmd & CMD_EGSM)
        u->sts |= STS_RESUME;
}
static const UsbPortOps port_ops = { attached, wakeup };

static void ready(Dev *d, UsbDev *dev, uint8_t ep) {} /* the next frame asks */
static void gone(Dev *d) {}
static const UsbHost host = { ready, gone };

static uint64_t portsc(const Dev *d, unsigned n) { return ((const Uhci *)(const void *)d)->port[n] | ONE; }

static void portsc_w(Dev *d, unsigned n, uint64_t val, unsigned lanes)
{
    Uhci *u = UHCI(d);
    uint16_t v = (uint16_t)val, was = u->port[n];
    UsbDev *dev = at_port(u, n);

    if (lanes != 3)
        return;
    was &= (uint16_t)~(v & (CSC | PEDC));
    was = (uint16_t)((was & ~(RESUME | RESET | SUSPEND)) | (v & (RESUME | RESET | SUSPEND)));
    if (v & RESET) {
        if (dev && !(u->port[n] & RESET))
            usb_bus_reset(dev);
        was &= (uint16_t)~(PED | SUSPEND);
    } else if (dev) {
        was = (uint16_t)((was & ~PED) | (v & PED));
    }
    u->port[n] = was;
    set_live(u, n);
}

/* ---- registers ---- */
static void reset_devices(Uhci *u)
{
    for (unsigned i = 0; i < PORTS; i++) {
        u->port[i] = 0;
        if (at_port(u, i))
            usb_bus_reset(at_port(u, i));
        look(u, i);
    }
}

static void host_reset(Uhci *u)
{
    u->cmd = u->intr = u->frnum = 0;
    u->sts = STS_HALTED;
    u->base = 0;
    u->sof = 0x40;
    timer_del(&u->frame);
    reset_devices(u);
}

static void cmd_w(Dev *d, uint64_t old)
{
    Uhci *u = UHCI(d);

    if (u->cmd & CMD_HCRESET) {
        host_reset(u);
        return;
    }
    if (u->cmd & CMD_GRESET && !(old & CMD_GRESET))
        reset_devices(u);
    if (u->cmd & CMD_RS && !(old & CMD_RS)) {
        u->sts &= (uint16_t)~STS_HALTED;
        u->due = clock_now(d) + FRAME;
        timer_at(&u->frame, u->due);
    } else if (!(u->cmd & CMD_RS) && old & CMD_RS) {
        u->sts |= STS_HALTED;
        timer_del(&u->frame);
    }
}

static bool stopped(const Dev *d) { return ((const Uhci *)(const void *)d)->sts & STS_HALTED; }

static bool intx(const Dev *d)
{
    const Uhci *u = (const Uhci *)(const void *)d;

    return (u->sts & STS_INT && u->intr & (IRQ_IOC | IRQ_SHORT)) || (u->sts & STS_ERROR && u->intr & IRQ_ERROR) ||
           (u->sts & STS_RESUME && u->intr & IRQ_RESUME) || u->sts & STS_FATAL;
}

/* ---- life ---- */
static void leave(Uhci *u)
{
    Dev *master = u->masterbus && u->bus ? u->bus->bus.controller : NULL;

    if (master && master->life == LIFE_LIVE)
        u->bus->host->companion_gone(master, &u->pci.dev);
    memset(u->root, 0, sizeof(u->root));
}

/* As a companion its ports are those of another controller, which lends them. */
static bool join(Uhci *u, Error **err)
{
    Bus *b = bus_find(dev_vm(&u->pci.dev), u->masterbus);

    if (!b || strcmp(b->cls->type, "usb-bus") || !((UsbBus *)(void *)b)->host->companion)
        return fail(err, "masterbus=%s: there is no such bus of a controller that has companions", u->masterbus);
    u->bus = (UsbBus *)(void *)b;
    for (unsigned i = 0; i < PORTS; i++) {
        u->root[i] = u->bus->host->companion(b->controller, u->firstport + i, &u->pci.dev, &port_ops, i + 1);
        if (!u->root[i]) {
            leave(u);
            return fail(err, "firstport=%u: port %u of bus %s is not there, or has a companion", u->firstport, u->firstport + i, u->masterbus);
        }
    }
    return true;
}

static bool init(Obj *o, Error **err)
{
    Uhci *u = UHCI(o);
    uint8_t *c = u->pci.config;

    c[0x60] = 0x10; /* USB 1.0 */
    le16_store(c + 0xc0, 0x2000);
    le16_store(u->pci.wmask + 0xc0, 0x20bf);
    if (u->masterbus)
        return join(u, err);
    u->bus = usb_bus_new(&u->pci.dev, &host);
    for (unsigned n = 1; n <= PORTS; n++) {
        u->root[n - 1] = &u->uport[n - 1];
        usb_port_add(u->bus, u->root[n - 1], &port_ops, &u->pci.dev, n, AT_LOW | AT_FULL, NULL);
    }
    return true;
}

static void unplug(Dev *d) { leave(UHCI(d)); }

static void on_reset(Dev *d) { host_reset(UHCI(d)); }

static void loaded(Dev *d)
{
    Uhci *u = UHCI(d);

    for (unsigned i = 0; i < PORTS; i++)
        set_live(u, i);
}

/* clang-format off */
static const Reg regs[] = {
    { "USBCMD",    0x00, REG(Uhci, cmd), .rw = 0xff, .write = cmd_w },
    { "USBSTS",    0x02, REG(Uhci, sts), .reset = STS_HALTED, .w1c = 0x1f },
    { "USBINTR",   0x04, REG(Uhci, intr), .rw = 15 },
    { "FRNUM",     0x06, REG(Uhci, frnum), .rw = 0x7ff, .when = stopped },
    { "FRBASEADD", 0x08, REG(Uhci, base), .rw = ~0xfffu },
    { "SOFMOD",    0x0c, REG(Uhci, sof), .reset = 0x40, .rw = 0x7f },
    { "PORTSC",    0x10, .at = UINT32_MAX, .size = 2, ARRAY(PORTS, 2, 0), .value_n = portsc, .wrote_n = portsc_w },
};
static const Bank bank = { "uhci", 32, TABLE(regs), .quiet = true };
static const Field fields[] = {
    ARRAY_FIELD(Uhci, port), FIELD(Uhci, due), TIMER(Uhci, frame, frame, CLOCK_VM),
    TRANSIENT(Uhci, bus, "wiring", .keep = true), TRANSIENT(Uhci, root, "wiring", .keep = true), TRANSIENT(Uhci, uport, "wiring", .keep = true),
};
static const Prop props[] = {
    PROP(Uhci, bandwidth, "bandwidth", 1280, "bytes of a frame"),
    PROP_STR(Uhci, masterbus, "masterbus", NULL, "the bus of an EHCI controller whose companion it is"),
    PROP(Uhci, firstport, "firstport", 0, "the first of its ports there, from 0"),
};
static const Out outs[] = { { "intx", intx } };
#define UHCI_CLASS(c, nm, dsc, prod, rev, pin, hot)                                                                            \
    static const PciClass c = {                                                                                           \
        PCI_DEVICE(Uhci, nm, dsc), .dev.category = "USB devices", .dev.obj.init = init, .dev.obj.props = TABLE(props),     \
        .dev.state = TABLE(fields), .dev.outs = outs, .dev.nouts = 1, .dev.on_reset = on_reset, .dev.loaded = loaded, .dev.unplug = unplug, \
        .dev.hotplug = (hot), .vendor = 0x8086, .device = (prod), .class_id = 0x0c0300, .revision = (rev), .irq_pin = (pin), \
        .bar[4] = { .size = 32, .bank = &bank, .flags = BAR_IO },                                                          \
    };                                                                                                                    \
    DEVICE_OF(Uhci, c, &c.dev)
UHCI_CLASS(piix3_uhci, "piix3-usb-uhci", "USB 1 controller (UHCI) of the PIIX3", 0x7020, 1, 4, true);
UHCI_CLASS(piix4_uhci, "piix4-usb-uhci", "USB 1 controller (UHCI) of the PIIX4", 0x7112, 1, 4, true);
UHCI_CLASS(ich9_uhci1, "ich9-usb-uhci1", "USB 1 controller (UHCI) of the ICH9", 0x2934, 3, 1, false);
UHCI_CLASS(ich9_uhci2, "ich9-usb-uhci2", "USB 1 controller (UHCI) of the ICH9, the second", 0x2935, 3, 2, false);
UHCI_CLASS(ich9_uhci3, "ich9-usb-uhci3", "USB 1 controller (UHCI) of the ICH9, the third", 0x2936, 3, 3, false);
/* clang-format on */
