/*
 * hw/usb/xhci.c - xHCI controllers: registers, reset, life. Source: xHCI 1.1 sections 4.2, 4.23, 5; the identities are those that
 * QEMU's controllers show. Left out: bandwidth as a resource, secondary stream arrays, virtualization, debug capability.
 */
#include "hw/usb/xhci.h"
#include "core/state.h"

enum { BAR = 0x4000, CAPS = 0x40, RUNTIME = 0x1000, DOORBELLS = 0x2000, XECP = 0x20, BUDGET = 256, PAUSE_NS = 50 * US, MICROFRAME = 125 * US };

/* ---- capabilities ---- */
static uint64_t caplength(const Dev *d) { return 0x0110ull << 16 | CAPS; }
static uint64_t hcsparams1(const Dev *d) { return XHCI_CONST(d)->slots | XHCI_CONST(d)->intrs << 8 | (uint64_t)xhci_ports(XHCI_CONST(d)) << 24; }
static uint64_t hcsparams2(const Dev *d) { return 15 | 4 << 4; } /* scheduling threshold; 16 event ring segments; no scratchpads */
/* 64-bit addresses, no secondary stream arrays, contexts of 32 bytes */
static uint64_t hccparams1(const Dev *d) { return 1 | 1 << 7 | XHCI_STREAMS_LOG << 12 | (XECP / 4) << 16; }
static uint64_t dboff(const Dev *d) { return DOORBELLS; }
static uint64_t rtsoff(const Dev *d) { return RUNTIME; }
static uint64_t pagesize(const Dev *d) { return 1; }

/* Supported protocols, section 7.2: SuperSpeed ports come first. */
static uint64_t xecp(const Dev *d, unsigned n)
{
    const Xhci *x = XHCI_CONST(d);

    switch (n) {
    case 0: return 2 | 4 << 8 | 2 << 24;
    case 2: return (x->p3 + 1) | x->p2 << 8;
    case 4: return 2 | 3 << 24;
    case 6: return 1 | x->p3 << 8;
    case 1:
    case 5: return 0x20425355; /* "USB " */
    default: return 0;
    }
}

/* ---- running ---- */
void xhci_fatal(Xhci *x, const char *why)
{
    guest_error(&x->pci.dev, "%s", why);
    x->usbsts |= STS_HCE;
}

void xhci_run(Xhci *x)
{
    unsigned budget = BUDGET;
    bool more = true;

    if (x->running || !(x->usbcmd & CMD_RS) || x->usbsts & STS_HCE)
        return;
    x->running = true;
    x->next = INT64_MAX;
    while (more && budget) { /* each round that does not end uses budget */
        more = xhci_port_events(x);
        more |= xhci_commands(x, &budget);
        more |= xhci_endpoints(x, &budget);
    }
    if (!budget)
        x->next = clock_now(&x->pci.dev) + PAUSE_NS;
    x->running = false;
    if (x->next != INT64_MAX)
        timer_at(&x->work, x->next);
    else
        timer_del(&x->work);
}

static void work(Dev *d) { xhci_run(XHCI(d)); }

static uint64_t microframes(const Dev *d)
{
    const Xhci *x = XHCI_CONST(d);

    return x->usbcmd & CMD_RS ? (uint64_t)(clock_now(d) - x->started) / MICROFRAME : 0;
}
static uint64_t mfindex(const Dev *d) { return microframes(d) & 0x3fff; }

static void wrap_arm(Xhci *x)
{
    if (x->usbcmd & CMD_EWE && x->usbcmd & CMD_RS)
        timer_at(&x->wrap, x->started + (int64_t)((microframes(&x->pci.dev) | 0x3fff) + 1) * MICROFRAME);
    else
        timer_del(&x->wrap);
}

static void wrapped(Dev *d)
{
    xhci_event(XHCI(d), 0, 0, (uint32_t)CC_SUCCESS << 24, TRB_MFINDEX_EVENT << 10);
    wrap_arm(XHCI(d));
}

/* ---- reset ---- */
static void forget(Xhci *x)
{
    memset(x->slot, 0, sizeof(x->slot));
    memset(x->intr, 0, sizeof(x->intr));
    for (unsigned i = 0; i < XHCI_INTRS; i++) {
        x->intr[i].imod = 4000;
        timer_del(&x->imod[i]);
    }
    timer_del(&x->work);
    timer_del(&x->wrap);
}

static void host_reset(Xhci *x)
{
    forget(x);
    x->usbcmd = x->dnctrl = x->config = 0;
    x->usbsts = STS_HCH;
    x->dcbaap = x->cmd_at = 0;
    x->cmd_ccs = x->cmd_running = x->saved = false;
    x->started = 0;
    xhci_ports_reset(x);
}

static void on_reset(Dev *d) { host_reset(XHCI(d)); }

/* ---- operational registers ---- */
static void usbcmd_w(Dev *d, uint64_t old)
{
    Xhci *x = XHCI(d);

    if (x->usbcmd & CMD_HCRST) {
        host_reset(x);
        return;
    }
    if (x->usbcmd & CMD_RS && !(old & CMD_RS)) {
        x->usbsts &= ~(uint32_t)STS_HCH;
        x->started = clock_now(d);
    } else if (!(x->usbcmd & CMD_RS) && old & CMD_RS) {
        x->usbsts |= STS_HCH;
        x->cmd_running = false;
        timer_del(&x->work);
    }
    /* Section 4.23.2: our state stays where it is, unless a reset comes between. */
    if (x->usbcmd & CMD_CSS)
        x->saved = true;
    if (x->usbcmd & CMD_CRS && !x->saved)
        x->usbsts |= STS_SRE;
    x->usbcmd &= ~(uint32_t)(CMD_CSS | CMD_CRS);
    wrap_arm(x);
    for (unsigned i = 0; x->usbcmd & CMD_INTE && i < x->intrs; i++)
        xhci_signal(x, i);
    xhci_run(x);
}

static uint64_t crcr(const Dev *d) { return XHCI_CONST(d)->cmd_running ? 8 : 0; }
static bool halted(const Dev *d) { return XHCI_CONST(d)->usbsts & STS_HCH; }
static void iman_w(Dev *d, unsigned n, uint64_t old) { xhci_signal(XHCI(d), n); }
static void erstba_w(Dev *d, unsigned n, uint64_t old) { XHCI(d)->intr[n].fresh = 1; }

/* Without messages the pin is the OR of all interrupters. */
static bool intx(const Dev *d)
{
    const Xhci *x = XHCI_CONST(d);
    uint32_t any = 0;

    if (pci_msix_on(&x->pci) || pci_msi_on(&x->pci) || !(x->usbcmd & CMD_INTE))
        return false;
    for (unsigned i = 0; i < XHCI_INTRS; i++)
        any |= (x->intr[i].iman & 3) == (IMAN_IP | IMAN_IE);
    return any;
}

/* ---- the bus ---- */
static void kick_begun(Xhci *x, const UsbDev *d, unsigned dci)
{
    for (unsigned n = 1; n <= x->slots; n++) {
        XhciSlot *s = &x->slot[n];

        if (!s->live || (d && xhci_device(x, s) != d))
            continue;
        for (unsigned i = 1; i <= XHCI_EPS; i++)
            if (s->ep[i - 1].begun && (!d || i == dci))
                s->kick |= 1u << i;
    }
    xhci_run(x);
}

static void ready(Dev *d, UsbDev *dev, uint8_t ep) { kick_begun(XHCI(d), dev, ep & 15 ? (ep & 15) * 2u + (ep & USB_IN ? 1 : 0) : 1); }

/* What waits for a device that left is answered now. */
static void gone(Dev *d) { kick_begun(XHCI(d), NULL, 0); }
static const UsbHost host = { ready, gone };

/* ---- life ---- */
static void free_array(void *a) { g_array_free(a, TRUE); }

static bool init(Obj *o, Error **err)
{
    Xhci *x = XHCI(o);
    const PciClass *c = pci_class(&x->pci);

    if (x->p2 < 1 || x->p2 > XHCI_SIDE || x->p3 > XHCI_SIDE)
        return fail(err, "p2=%u,p3=%u: there can be 1 to %d USB 2 and up to %d USB 3 ports", x->p2, x->p3, XHCI_SIDE, XHCI_SIDE);
    if (x->slots < 1 || x->slots > XHCI_SLOTS)
        return fail(err, "slots=%u: must be 1 to %d", x->slots, XHCI_SLOTS);
    if (x->intrs < 1 || x->intrs > XHCI_INTRS || x->intrs & (x->intrs - 1))
        return fail(err, "intrs=%u: must be 1, 2, 4, 8 or 16", x->intrs);
    x->pci.msix_vectors = x->msix == OFF ? PCI_NO_VECTORS : (uint16_t)x->intrs;
    x->pci.msi_vectors = x->msi == OFF || (x->msi == AUTO && !c->msi_vectors) ? PCI_NO_VECTORS : (uint16_t)x->intrs;
    x->td = own(o, g_array_new(FALSE, FALSE, sizeof(XhciTrb)), free_array);
    x->seg = own(o, g_array_new(FALSE, FALSE, sizeof(UsbSeg)), free_array);
    x->bus = usb_bus_new(&x->pci.dev, &host);
    xhci_ports_init(x);
    return true;
}

static bool check_slot(const Xhci *x, const XhciSlot *s, Error **err)
{
    if (s->live > 1 || s->state > SLOT_CONFIGURED || s->port > xhci_ports(x) || s->target >= XHCI_INTRS)
        return fail(err, "a device slot cannot be so");
    for (unsigned i = 0; i < XHCI_EPS; i++) {
        const XhciEp *e = &s->ep[i];

        if (e->type > EPT_INTERRUPT_IN || e->state > EP_ERROR || e->streams > XHCI_STREAMS_LOG || e->ccs > 1)
            return fail(err, "an endpoint cannot be so");
    }
    return true;
}

static bool check(const Dev *d, Error **err)
{
    const Xhci *x = XHCI_CONST(d);

    for (unsigned i = 0; i < XHCI_INTRS; i++) {
        const XhciIntr *r = &x->intr[i];

        if (r->size > 4096 || r->segment >= 2 * XHCI_SEGMENTS || r->at > r->size || r->pcs > 1 || r->erstsz >= 2 * XHCI_SEGMENTS)
            return fail(err, "event ring %u cannot be so", i);
    }
    for (unsigned i = 0; i <= XHCI_SLOTS; i++)
        if (!check_slot(x, &x->slot[i], err))
            return false;
    return true;
}

/* clang-format off */
#define PORT(nm, off, ...) { nm, 0x400 + CAPS + (off), .size = 4, ARRAY(XHCI_PORTS, 16, sizeof(XhciPort)), __VA_ARGS__ }
#define INTR(nm, off, m, ...) { nm, RUNTIME + 0x20 + (off), .at = offsetof(Xhci, intr[0].m), .size = sizeof(((XhciIntr *)0)->m), \
                                ARRAY(XHCI_INTRS, 32, sizeof(XhciIntr)), __VA_ARGS__ }
static const Reg regs[] = {
    { "CAPLENGTH",  0x00, NOFIELD(4), .value = caplength, .doc = "and HCIVERSION" },
    { "HCSPARAMS1", 0x04, NOFIELD(4), .value = hcsparams1 },
    { "HCSPARAMS2", 0x08, NOFIELD(4), .value = hcsparams2 },
    { "HCSPARAMS3", 0x0c, NOFIELD(4) },
    { "HCCPARAMS1", 0x10, NOFIELD(4), .value = hccparams1 },
    { "DBOFF",      0x14, NOFIELD(4), .value = dboff },
    { "RTSOFF",     0x18, NOFIELD(4), .value = rtsoff },
    { "HCCPARAMS2", 0x1c, NOFIELD(4) },
    { "xECP",       XECP, .at = UINT32_MAX, .size = 4, ARRAY(8, 4, 0), .value_n = xecp },
    { "USBCMD",     CAPS + 0x00, REG(Xhci, usbcmd), .rw = 0xf0f, .write = usbcmd_w },
    { "USBSTS",     CAPS + 0x04, REG(Xhci, usbsts), .reset = STS_HCH, .w1c = STS_HSE | STS_EINT | STS_PCD | STS_SRE },
    { "PAGESIZE",   CAPS + 0x08, NOFIELD(4), .value = pagesize },
    { "DNCTRL",     CAPS + 0x14, REG(Xhci, dnctrl), .rw = 0xffff },
    { "CRCR",       CAPS + 0x18, NOFIELD(8), .value = crcr, .wrote = xhci_crcr_written },
    { "DCBAAP",     CAPS + 0x30, REG(Xhci, dcbaap), .rw = ~0x3full },
    { "CONFIG",     CAPS + 0x38, REG(Xhci, config), .rw = 0xff, .when = halted },
    PORT("PORTSC",    0,  .at = UINT32_MAX, .value_n = xhci_portsc, .wrote_n = xhci_portsc_written),
    PORT("PORTPMSC",  4,  .at = offsetof(Xhci, port[0].pmsc), .rw = 0xf001ffff),
    PORT("PORTLI",    8,  .at = offsetof(Xhci, port[0].li)),
    PORT("PORTHLPMC", 12, .at = offsetof(Xhci, port[0].lpmc), .rw = 0x3fff),
    { "MFINDEX",    RUNTIME, NOFIELD(4), .value = mfindex },
    INTR("IMAN",   0x00, iman, .rw = IMAN_IE, .w1c = IMAN_IP, .write_n = iman_w),
    INTR("IMOD",   0x04, imod, .rw = 0xffffffff),
    INTR("ERSTSZ", 0x08, erstsz, .rw = XHCI_SEGMENTS * 2 - 1),
    INTR("ERSTBA", 0x10, erstba, .rw = ~0x3full, .write_n = erstba_w),
    INTR("ERDP",   0x18, erdp, .rw = ~8ull, .w1c = ERDP_EHB, .write_n = xhci_erdp_written),
    { "DOORBELL",   DOORBELLS, .at = UINT32_MAX, .size = 4, ARRAY(XHCI_SLOTS + 1, 4, 0), .wrote_n = xhci_doorbell },
};
static const Bank bank = { "xhci", BAR, TABLE(regs), .quiet = true };
#define E(m) FIELD(XhciEp, m)
#define S(m) FIELD(XhciSlot, m)
#define I(m) FIELD(XhciIntr, m)
#define P(m) FIELD(XhciPort, m)
static const Field ep_fields[] = { E(deq), E(due), E(period), E(rung), E(packet), E(type), E(state), E(ccs), E(streams), E(begun), E(isoch) };
static const FieldTable ep_table = TABLE(ep_fields);
static const Field slot_fields[] = { S(ctx), S(route), S(port), S(kick), S(target), S(live), S(state), STRUCTS(XhciSlot, ep, &ep_table) };
static const Field intr_fields[] = { I(iman), I(imod), I(erstsz), I(wants), I(erstba), I(erdp), I(base), I(size), I(segment), I(at), I(pcs), I(fresh), I(told) };
static const Field port_fields[] = { P(sc), P(pmsc), P(li), P(lpmc) };
static const FieldTable slot_table = TABLE(slot_fields), intr_table = TABLE(intr_fields), port_table = TABLE(port_fields);
static const Field fields[] = {
    FIELD(Xhci, cmd_at), FIELD(Xhci, cmd_ccs), FIELD(Xhci, cmd_running), FIELD(Xhci, saved), FIELD(Xhci, port_events), FIELD(Xhci, started),
    STRUCTS(Xhci, slot, &slot_table), STRUCTS(Xhci, intr, &intr_table), STRUCTS(Xhci, port, &port_table),
    TIMERS(Xhci, imod, xhci_imod_fired, CLOCK_VM), TIMER(Xhci, work, work, CLOCK_VM), TIMER(Xhci, wrap, wrapped, CLOCK_VM),
    TRANSIENT(Xhci, bus, "wiring", .keep = true), TRANSIENT(Xhci, running, "true only inside xhci_run"), TRANSIENT(Xhci, next, "of xhci_run"),
    TRANSIENT(Xhci, td, "scratch", .keep = true), TRANSIENT(Xhci, seg, "scratch", .keep = true), TRANSIENT(Xhci, uport, "wiring", .keep = true),
};
static const Prop props[] = {
    PROP(Xhci, p2, "p2", 4, "USB 2 ports, 1 to 15"), PROP(Xhci, p3, "p3", 4, "USB 3 ports, 0 to 15"),
    PROP(Xhci, slots, "slots", XHCI_SLOTS, "devices at most"), PROP(Xhci, intrs, "intrs", XHCI_INTRS, "interrupters: 1, 2, 4, 8 or 16"),
    PROP_AUTO(Xhci, msi, "msi", AUTO, "message signalled interrupts"), PROP_AUTO(Xhci, msix, "msix", AUTO, "MSI-X"),
};
static const Out outs[] = { { "intx", intx } };
#define XHCI_CLASS(c, nm, dsc, ven, prod, rev, msi_)                                                                          \
    static const PciClass c = {                                                                                               \
        PCI_DEVICE(Xhci, nm, dsc), .dev.category = "USB devices", .dev.obj.init = init, .dev.obj.props = TABLE(props),         \
        .dev.state = TABLE(fields), .dev.outs = outs, .dev.nouts = 1, .dev.on_reset = on_reset, .dev.check = check,            \
        .dev.hotplug = true, .vendor = (ven), .device = (prod), .class_id = 0x0c0330, .revision = (rev), .irq_pin = 1,        \
        .express = PCIE_ENDPOINT, .msi_vectors = (msi_), .msix_vectors = XHCI_INTRS, .msix_bar = 4,                           \
        .bar[0] = { .size = BAR, .bank = &bank, .flags = BAR_64 },                                                            \
    };                                                                                                                        \
    DEVICE_OF(Xhci, c, &c.dev)
XHCI_CLASS(qemu_xhci, "qemu-xhci", "USB 3 controller (xHCI)", 0x1b36, 0x000d, 1, 0);
XHCI_CLASS(nec_xhci, "nec-usb-xhci", "USB 3 controller (xHCI) with NEC's identity", 0x1033, 0x0194, 3, XHCI_INTRS);
/* clang-format on */
