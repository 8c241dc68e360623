/*
 * hw/usb/ehci.c - Enhanced Host Controllers: high speed; ports are handed to companions for the other speeds. Source: EHCI 1.0.
 * Left out: isochronous transfers (iTD, siTD), split transactions, 64-bit addresses, frame span traversal.
 * What is in flight is in the guest's lists: a queue whose transfer was answered USB_NAK stays active and is tried again. Lists are walked
 * once in a millisecond while a schedule is on, and when a device says that it is ready.
 */
#include "hw/pci/pci.h"
#include "hw/usb/usb.h"

enum { PORTS = 6, BAR = 0x1000, CAPS = 0x20, FRAME = 1 * MS, QUEUES_MAX = 256, TRANSFERS_MAX = 128, PAGES = 5, PAGE = 4096 };
enum { CMD_RS = 1, CMD_HCRESET = 2, CMD_PSE = 16, CMD_ASE = 32, CMD_IAAD = 64, CMD_DEFAULT = 0x80000 };
enum { STS_INT = 1, STS_ERROR = 2, STS_PORT = 4, STS_ROLLOVER = 8, STS_FATAL = 16, STS_IAA = 32, STS_W1C = 63, STS_HALTED = 1 << 12,
       STS_PERIODIC = 1 << 14, STS_ASYNC = 1 << 15 };
enum { CCS = 1, CSC = 2, PED = 4, PEDC = 8, RESUME = 64, SUSPEND = 128, RESET = 256, LOW = 1 << 10, POWER = 1 << 12, OWNER = 1 << 13, WAKES = 7 << 20 };
enum { LINK_END = 1, TYPE = 6, TYPE_QH = 2 };
enum { ACTIVE = 0x80, HALTED = 0x40, BUFFER = 0x20, BABBLE = 0x10, XACT = 8, IOC = 1 << 15, CURRENT_PAGE = 7 << 12, TOTAL = 0x7fff << 16 };

typedef struct Companion {
    Dev *dev;
    const UsbPortOps *ops;
    unsigned n; /* its number of the port */
} Companion;
typedef struct Ehci {
    PciDev pci;
    uint32_t cmd, sts, intr, frindex, periodic, async, configflag, port[PORTS];
    int64_t due; /* CLOCK_VM: the next frame */
    bool running; /* inside run */
    UsbBus *bus;
    Timer frame;
    Companion companion[PORTS];
    UsbPort uport[PORTS];
} Ehci;
#define EHCI(d) container_of(d, Ehci, pci.dev)
#define EHCI_CONST(d) ((const Ehci *)(const void *)(d))

typedef struct EhciClass {
    PciClass pci; /* first */
    uint8_t companions;
} EhciClass;

/* ---- queues ---- */
typedef struct Queue { /* a queue head, section 3.6 */
    uint32_t at, link, ch, cap, current;
    uint32_t next, alt, token, page[PAGES]; /* the overlay */
} Queue;

static bool load(Ehci *e, Queue *q)
{
    uint8_t b[48];

    if (!dma_read(&e->pci.dev, q->at, b, sizeof(b)))
        return false;
    q->link = le32_load(b);
    q->ch = le32_load(b + 4);
    q->cap = le32_load(b + 8);
    q->current = le32_load(b + 12);
    q->next = le32_load(b + 16);
    q->alt = le32_load(b + 20);
    q->token = le32_load(b + 24);
    for (unsigned i = 0; i < PAGES; i++)
        q->page[i] = le32_load(b + 28 + 4 * i);
    return true;
}

/* The next transfer becomes the overlay; false: there is none that is active. Section 4.10.2. */
static bool advance(Ehci *e, Queue *q)
{
    uint32_t from = q->token & TOTAL && !(q->alt & LINK_END) ? q->alt : q->next;
    uint8_t b[32];

    if (q->token & HALTED || from & LINK_END || !dma_read(&e->pci.dev, from & ~31u, b, sizeof(b)) || !(b[8] & ACTIVE))
        return false;
    q->current = from & ~31u;
    q->next = le32_load(b);
    q->alt = le32_load(b + 4);
    q->token = le32_load(b + 8);
    for (unsigned i = 0; i < PAGES; i++)
        q->page[i] = le32_load(b + 12 + 4 * i);
    dma_store(&e->pci.dev, q->at + 12, 4, q->current);
    dma_write(&e->pci.dev, q->at + 16, b, sizeof(b));
    return true;
}

static unsigned segments(const Queue *q, UsbSeg *s)
{
    uint32_t left = q->token >> 16 & 0x7fff, off = q->page[0] & (PAGE - 1);
    unsigned n = 0;

    for (unsigned i = q->token >> 12 & 7; i < PAGES && left; i++, off = 0) {
        uint32_t k = MIN(left, PAGE - off);

        s[n++] = (UsbSeg){ (q->page[i] & ~(PAGE - 1u)) + off, k };
        left -= k;
    }
    return n;
}

static UsbStatus ask(Ehci *e, const Queue *q, UsbXfer *x)
{
    UsbSeg s[PAGES];
    unsigned pid = q->token >> 8 & 3;
    UsbDev *d = usb_by_address(e->bus, q->ch & 127, &e->pci.dev);

    *x = (UsbXfer){ .hc = &e->pci.dev, .seg = s, .nseg = segments(q, s), .ep = (uint8_t)((q->ch >> 8 & 15) | (pid == USB_PID_IN ? USB_IN : 0)) };
    for (unsigned i = 0; i < x->nseg; i++)
        x->len += s[i].len;
    return d && pid <= USB_PID_SETUP ? usb_token(d, (UsbPid)pid, x) : USB_GONE;
}

/* What has moved is taken off, and the transfer is over. */
static void retire(Ehci *e, Queue *q, UsbStatus s, const UsbXfer *x)
{
    uint32_t left = (q->token >> 16 & 0x7fff) - (uint32_t)x->done, off = (q->page[0] & (PAGE - 1)) + (q->token >> 12 & 7) * PAGE + (uint32_t)x->done;

    q->token = (q->token & ~(uint32_t)(ACTIVE | TOTAL | CURRENT_PAGE)) | left << 16 | MIN(off / PAGE, PAGES - 1u) << 12;
    if (x->fault)
        q->token |= HALTED | BUFFER;
    else if (s != USB_OK)
        q->token |= HALTED | (s == USB_BABBLE ? BABBLE : s == USB_GONE ? XACT : 0);
    if (q->token & HALTED)
        e->sts |= STS_ERROR;
    if (q->token & IOC || (left && !(q->token & HALTED)))
        e->sts |= STS_INT;
    dma_store(&e->pci.dev, q->at + 24, 4, q->token);
    dma_store(&e->pci.dev, q->at + 28, 4, (q->page[0] & ~(PAGE - 1u)) | off % PAGE);
    dma_store(&e->pci.dev, (q->current & ~31u) + 8, 4, q->token);
}

/* At most TRANSFERS_MAX at once; the others follow in the next millisecond. */
static void run_queue(Ehci *e, Queue *q)
{
    for (unsigned i = 0; i < TRANSFERS_MAX; i++) {
        UsbStatus s;
        UsbXfer x;

        if (!(q->token & ACTIVE) && !advance(e, q))
            return;
        s = ask(e, q, &x);
        if (s == USB_NAK)
            return;
        retire(e, q, s, &x);
    }
}

/* ---- schedules ---- */
/* A ring; it ends where it began. */
static void run_async(Ehci *e)
{
    Queue q = { .at = e->async & ~31u };

    for (unsigned i = 0; i < QUEUES_MAX && load(e, &q); i++) {
        run_queue(e, &q);
        if (q.link & LINK_END || (q.link & ~31u) == (e->async & ~31u))
            break;
        q.at = q.link & ~31u;
    }
}

static void run_periodic(Ehci *e)
{
    unsigned size = 1024u >> (e->cmd >> 2 & 3);
    uint64_t link = LINK_END;

    dma_load(&e->pci.dev, (e->periodic & ~(PAGE - 1u)) + 4 * (e->frindex / 8 % size), 4, &link);
    for (unsigned i = 0; i < QUEUES_MAX && !(link & LINK_END); i++) {
        Queue q = { .at = (uint32_t)link & ~31u };

        if ((link & TYPE) != TYPE_QH) { /* isochronous: passed over */
            if (!dma_load(&e->pci.dev, q.at, 4, &link))
                return;
            continue;
        }
        if (!load(e, &q))
            return;
        run_queue(e, &q);
        link = q.link;
    }
}

static void run(Ehci *e, bool whole)
{
    if (e->running || !(e->cmd & CMD_RS))
        return;
    e->running = true;
    if (e->cmd & CMD_ASE)
        run_async(e);
    if (whole && e->cmd & CMD_PSE)
        run_periodic(e);
    e->running = false;
}

static void frame(Dev *d)
{
    Ehci *e = EHCI(d);
    int64_t now = clock_now(d), behind = (now - e->due) / FRAME;
    uint32_t was = e->frindex;

    if (!(e->cmd & CMD_RS))
        return;
    if (behind < 0 || behind > 1024)
        behind = 0;
    e->frindex = (e->frindex + 8 * (uint32_t)(behind + 1)) & 0x3fff;
    if ((was ^ e->frindex) & 0x2000)
        e->sts |= STS_ROLLOVER;
    run(e, true);
    e->due = now + FRAME;
    timer_at(&e->frame, e->due);
}

static void ready(Dev *d, UsbDev *dev, uint8_t ep) { run(EHCI(d), false); }
static void gone(Dev *d) {}

/* ---- ports ---- */
static bool mine(const Ehci *e, unsigned i) { return !(e->port[i] & OWNER); }

static void change(Ehci *e, unsigned i, uint32_t bits)
{
    e->port[i] |= bits;
    e->sts |= STS_PORT;
}

static void look(Ehci *e, unsigned i)
{
    const UsbDev *d = mine(e, i) ? e->uport[i].dev : NULL;
    uint32_t was = e->port[i];

    e->port[i] &= ~(uint32_t)(CCS | LOW | (d ? 0 : PED | SUSPEND | RESUME));
    e->port[i] |= d ? CCS | (d->speed == USB_LOW ? LOW : 0) : 0;
    if ((was ^ e->port[i]) & CCS)
        change(e, i, CSC);
    if (mine(e, i))
        e->uport[i].live = e->port[i] & PED && !(e->port[i] & SUSPEND);
}

/* Section 4.2: who sees the port, and so how fast the device is. */
static void route(Ehci *e, unsigned i, bool away)
{
    const Companion *c = &e->companion[i];
    UsbDev *d = e->uport[i].dev;
    bool was = !mine(e, i);

    away = away && c->dev;
    e->port[i] = (e->port[i] & ~(uint32_t)OWNER) | (away ? OWNER : 0);
    e->uport[i].routed = away ? c->dev : NULL;
    if (d)
        d->speed = (uint8_t)(away ? MIN(d->speed, USB_FULL) : 31 - __builtin_clz(d->speeds & e->uport[i].speeds));
    if (was == away)
        return;
    look(e, i);
    if (c->dev && d)
        WITH_DEV(c->dev)
            c->ops->attached(c->dev, c->n, away);
}

static void attached(Dev *dev, unsigned n, bool there)
{
    Ehci *e = EHCI(dev);
    unsigned i = n - 1;
    const Companion *c = &e->companion[i];

    if (mine(e, i)) {
        look(e, i);
        return;
    }
    if (there)
        e->uport[i].dev->speed = MIN(e->uport[i].dev->speed, USB_FULL);
    WITH_DEV(c->dev)
        c->ops->attached(c->dev, c->n, there);
    if (!there && e->configflag)
        route(e, i, false);
}

static void wakeup(Dev *d, unsigned n)
{
    Ehci *e = EHCI(d);
    const Companion *c = &e->companion[n - 1];

    if (!mine(e, n - 1))
        WITH_DEV(c->dev)
            c->ops->wakeup(c->dev, c->n);
    else if (e->port[n - 1] & SUSPEND)
        change(e, n - 1, RESUME);
}
static const UsbPortOps port_ops = { attached, wakeup };

static UsbPort *companion(Dev *d, unsigned i, Dev *other, const UsbPortOps *ops, unsigned n)
{
    Ehci *e = EHCI(d);

    if (i >= PORTS || e->companion[i].dev)
        return NULL;
    e->companion[i] = (Companion){ other, ops, n };
    e->uport[i].speeds |= AT_LOW | AT_FULL;
    return &e->uport[i];
}

static void companion_gone(Dev *d, Dev *other)
{
    Ehci *e = EHCI(d);

    for (unsigned i = 0; i < PORTS; i++)
        if (e->companion[i].dev == other) {
            e->companion[i] = (Companion){ NULL, NULL, 0 };
            route(e, i, false);
        }
}
static const UsbHost host = { ready, gone, companion, companion_gone };

static uint64_t portsc(const Dev *d, unsigned n) { return EHCI_CONST(d)->port[n] | POWER; }

static void portsc_w(Dev *d, unsigned n, uint64_t val, unsigned lanes)
{
    Ehci *e = EHCI(d);
    UsbDev *dev = mine(e, n) ? e->uport[n].dev : NULL;
    uint32_t *p = &e->port[n], v = (uint32_t)val;

    if (lanes != 15)
        return;
    *p &= ~(v & (CSC | PEDC));
    *p = (*p & ~(uint32_t)WAKES) | (v & WAKES);
    if (!(v & PED))
        *p &= ~(uint32_t)(PED | SUSPEND);
    if (v & RESET && !(*p & RESET)) {
        *p = (*p | RESET) & ~(uint32_t)(PED | SUSPEND);
        if (dev)
            usb_bus_reset(dev);
    } else if (!(v & RESET) && *p & RESET) {
        *p &= ~(uint32_t)RESET;
        *p |= dev && dev->speed == USB_HIGH ? PED : 0;
    }
    if (v & SUSPEND && *p & PED)
        *p |= SUSPEND;
    if (v & RESUME)
        *p |= RESUME;
    else if (*p & RESUME)
        *p &= ~(uint32_t)(RESUME | SUSPEND);
    if (((v & OWNER) != 0) != !mine(e, n))
        route(e, n, v & OWNER);
    look(e, n);
}

/* ---- registers ---- */
static unsigned companions(const Ehci *e) { return ((const EhciClass *)(const void *)e->pci.dev.cls)->companions; }
static uint64_t caplength(const Dev *d) { return 0x0100ull << 16 | CAPS; }
static uint64_t hcsparams(const Dev *d) { return PORTS | (companions(EHCI_CONST(d)) ? 2u << 8 | companions(EHCI_CONST(d)) << 12 : 0); }
static uint64_t hccparams(const Dev *d) { return 0x6880; } /* USBLEGSUP at 68h; list elements may be cached for a frame */

static void route_all(Ehci *e, bool away)
{
    for (unsigned i = 0; i < PORTS; i++)
        route(e, i, away);
}

static void host_reset(Ehci *e)
{
    e->cmd = CMD_DEFAULT;
    e->sts = STS_HALTED;
    e->intr = e->frindex = e->periodic = e->async = e->configflag = 0;
    timer_del(&e->frame);
    for (unsigned i = 0; i < PORTS; i++) {
        e->port[i] &= OWNER;
        if (e->uport[i].dev)
            usb_bus_reset(e->uport[i].dev);
        route(e, i, true);
        look(e, i);
    }
    e->sts = STS_HALTED;
}

static void cmd_w(Dev *d, uint64_t old)
{
    Ehci *e = EHCI(d);

    if (e->cmd & CMD_HCRESET) {
        host_reset(e);
        return;
    }
    e->sts = (e->sts & ~(uint32_t)(STS_HALTED | STS_PERIODIC | STS_ASYNC)) | (e->cmd & CMD_RS ? 0 : STS_HALTED);
    if (e->cmd & CMD_RS)
        e->sts |= (e->cmd & CMD_PSE ? STS_PERIODIC : 0) | (e->cmd & CMD_ASE ? STS_ASYNC : 0);
    if (e->cmd & CMD_IAAD) { /* nothing of the lists is kept here */
        e->cmd &= ~(uint32_t)CMD_IAAD;
        e->sts |= STS_IAA;
    }
    if (!(e->cmd & CMD_RS)) {
        timer_del(&e->frame);
    } else if (!(old & CMD_RS)) {
        e->due = clock_now(d) + FRAME;
        timer_at(&e->frame, e->due);
    }
}

static void configflag_w(Dev *d, uint64_t old) { route_all(EHCI(d), !EHCI(d)->configflag); }
static bool intx(const Dev *d) { return EHCI_CONST(d)->sts & EHCI_CONST(d)->intr & STS_W1C; }

/* ---- life ---- */
static bool init(Obj *o, Error **err)
{
    Ehci *e = EHCI(o);
    uint8_t *c = e->pci.config;

    c[0x60] = c[0x61] = 0x20; /* USB 2.0, frames as long as they should be */
    c[0x68] = 1;
    le32_store(e->pci.wmask + 0x68, 0x01000000);
    le32_store(e->pci.wmask + 0x6c, 0x0000e03f);
    e->bus = usb_bus_new(&e->pci.dev, &host);
    for (unsigned n = 1; n <= PORTS; n++)
        usb_port_add(e->bus, &e->uport[n - 1], &port_ops, &e->pci.dev, n, AT_HIGH, NULL);
    return true;
}

static void on_reset(Dev *d) { host_reset(EHCI(d)); }

static void loaded(Dev *d)
{
    Ehci *e = EHCI(d);

    for (unsigned i = 0; i < PORTS; i++) {
        UsbDev *dev = e->uport[i].dev;

        e->port[i] &= e->companion[i].dev ? ~0u : ~(uint32_t)OWNER;
        e->uport[i].routed = mine(e, i) ? NULL : e->companion[i].dev;
        if (dev)
            dev->speed = (uint8_t)(mine(e, i) ? 31 - __builtin_clz(dev->speeds & e->uport[i].speeds) : MIN(dev->speed, USB_FULL));
        if (mine(e, i))
            e->uport[i].live = e->port[i] & PED && !(e->port[i] & SUSPEND);
    }
}

/* clang-format off */
static const Reg regs[] = {
    { "CAPLENGTH", 0x00, NOFIELD(4), .value = caplength, .doc = "and HCIVERSION" },
    { "HCSPARAMS", 0x04, NOFIELD(4), .value = hcsparams },
    { "HCCPARAMS", 0x08, NOFIELD(4), .value = hccparams },
    { "USBCMD",    CAPS + 0x00, REG(Ehci, cmd), .reset = CMD_DEFAULT, .rw = 0xff007f, .write = cmd_w },
    { "USBSTS",    CAPS + 0x04, REG(Ehci, sts), .reset = STS_HALTED, .w1c = STS_W1C },
    { "USBINTR",   CAPS + 0x08, REG(Ehci, intr), .rw = STS_W1C },
    { "FRINDEX",   CAPS + 0x0c, REG(Ehci, frindex), .rw = 0x3fff },
    { "CTRLDSSEGMENT", CAPS + 0x10, NOFIELD(4) },
    { "PERIODICLISTBASE", CAPS + 0x14, REG(Ehci, periodic), .rw = ~0xfffu },
    { "ASYNCLISTADDR", CAPS + 0x18, REG(Ehci, async), .rw = ~0x1fu },
    { "CONFIGFLAG", CAPS + 0x40, REG(Ehci, configflag), .rw = 1, .write = configflag_w },
    { "PORTSC",    CAPS + 0x44, .at = UINT32_MAX, .size = 4, ARRAY(PORTS, 4, 0), .value_n = portsc, .wrote_n = portsc_w },
};
static const Bank bank = { "ehci", BAR, TABLE(regs), .quiet = true };
static const Field fields[] = {
    ARRAY_FIELD(Ehci, port), FIELD(Ehci, due), TIMER(Ehci, frame, frame, CLOCK_VM),
    TRANSIENT(Ehci, running, "true only inside run"), TRANSIENT(Ehci, bus, "wiring", .keep = true),
    TRANSIENT(Ehci, companion, "wiring", .keep = true), TRANSIENT(Ehci, uport, "wiring", .keep = true),
};
static const Out outs[] = { { "intx", intx } };
#define EHCI_CLASS(c, nm, dsc, prod, rev, n)                                                                               \
    static const EhciClass c = { .pci = {                                                                                 \
        PCI_DEVICE(Ehci, nm, dsc), .dev.category = "USB devices", .dev.obj.init = init, .dev.state = TABLE(fields),        \
        .dev.outs = outs, .dev.nouts = 1, .dev.on_reset = on_reset, .dev.loaded = loaded, .dev.hotplug = !(n),              \
        .vendor = 0x8086, .device = (prod), .class_id = 0x0c0320, .revision = (rev), .irq_pin = 4,                        \
        .bar[0] = { .size = BAR, .bank = &bank },                                                                         \
    }, .companions = (n) };                                                                                               \
    DEVICE_OF(Ehci, c, &c.pci.dev)
EHCI_CLASS(usb_ehci, "usb-ehci", "USB 2 controller (EHCI)", 0x24cd, 0x10, 0);
EHCI_CLASS(ich9_ehci1, "ich9-usb-ehci1", "USB 2 controller (EHCI) of the ICH9", 0x293a, 3, 3);
EHCI_CLASS(ich9_ehci2, "ich9-usb-ehci2", "USB 2 controller (EHCI) of the ICH9, the second", 0x293c, 3, 3);
/* clang-format on */
