/*
 * hw/usb/transfer.c - transfer rings: from TRBs to transfers of devices, and the events that tell of them. Source: xHCI 1.1
 * sections 3.2.9 to 3.2.12, 4.10, 4.11, 4.12, 6.4.1.
 *
 *   doorbell -> kick -> gather (a transfer descriptor whole) -> usb_transfer -> report (events), dequeue pointer moves
 *                          |- not whole, or nothing: the next doorbell       |- USB_NAK: until the device is ready
 */
#include "hw/usb/xhci.h"

enum { LEN = 0x1ffff, EDTLA = 0xffffff, ROOM_MAX = 14 };
typedef enum Outcome { DONE, WAIT /* for somebody else */, LATER /* by ourselves */, STUCK /* no event fits */ } Outcome;

static bool carries_data(unsigned type) { return type == TRB_NORMAL || type == TRB_DATA || type == TRB_ISOCH; }
static uint32_t length_of(const XhciTrb *t) { return carries_data(trb_type(t->control)) ? t->status & LEN : 0; }
static XhciTrb *trb(const Xhci *x, unsigned i) { return &g_array_index(x->td, XhciTrb, i); }

static unsigned target(const Xhci *x, const XhciTrb *t)
{
    unsigned n = t->status >> 22;

    return n < x->intrs ? n : 0;
}

static void transfer_event(Xhci *x, const XhciTrb *t, uint64_t param, uint32_t status, unsigned slot, unsigned dci, uint32_t flags)
{
    xhci_event(x, target(x, t), param, status, TRB_TRANSFER_EVENT << 10 | dci << 16 | slot << 24 | (t->control & TRB_BEI) | flags);
}

/* ---- contexts ---- */
void xhci_ep_state(Xhci *x, XhciSlot *s, unsigned dci, unsigned state)
{
    XhciEp *e = &s->ep[dci - 1];
    uint64_t at = s->ctx + 32 * dci, dw0 = 0;

    e->state = (uint8_t)state;
    dma_load(&x->pci.dev, at, 4, &dw0);
    dma_store(&x->pci.dev, at, 4, (dw0 & ~7ull) | state);
    if (!e->streams)
        dma_store(&x->pci.dev, at + 8, 8, e->deq | e->ccs);
}

/* Where the ring of a stream, or of an endpoint without streams, is read next. */
static bool ring_load(Xhci *x, const XhciEp *e, unsigned stream, XhciRing *r)
{
    uint64_t v = e->deq | e->ccs;

    if (e->streams && !dma_load(&x->pci.dev, e->deq + 16 * stream, 8, &v))
        return false;
    *r = (XhciRing){ v & ~15ull, v & 1 };
    return !e->streams || (v >> 1 & 7) == 1; /* a primary transfer ring */
}

static void ring_store(Xhci *x, XhciEp *e, unsigned stream, const XhciRing *r)
{
    if (e->streams) {
        dma_store(&x->pci.dev, e->deq + 16 * stream, 8, r->at | 1 << 1 | r->ccs);
    } else {
        e->deq = r->at;
        e->ccs = r->ccs;
    }
}

/* ---- gathering ---- */
/* One transfer descriptor into x->td, at most XHCI_TD_MAX TRBs; with control, Setup, Data and Status Stage together.
 * 1: whole; 0: not yet; -1: TRBs that cannot be. */
static int gather(Xhci *x, bool control, XhciRing *r)
{
    XhciTrb t;
    int got;

    g_array_set_size(x->td, 0);
    while ((got = xhci_next(x, r, &t)) > 0) {
        unsigned type = trb_type(t.control);
        bool staged;

        g_array_append_val(x->td, t);
        if (type < TRB_NORMAL || type > TRB_NOOP || x->td->len > XHCI_TD_MAX)
            return -1;
        staged = control && trb_type(trb(x, 0)->control) == TRB_SETUP;
        if (!staged && (type == TRB_SETUP || type == TRB_DATA || type == TRB_STATUS))
            return -1;
        if (t.control & TRB_CH)
            continue;
        if (!staged)
            return 1;
        for (unsigned i = x->td->len; i-- > 1;) /* the stage that has ended here */
            if (trb_type(trb(x, i)->control) == TRB_STATUS)
                return 1;
            else if (trb_type(trb(x, i)->control) == TRB_DATA)
                break;
    }
    return got;
}

/* Segments of memory, and what a control transfer asks. */
static bool prepare(Xhci *x, UsbXfer *f)
{
    g_array_set_size(x->seg, 0);
    for (unsigned i = 0; i < x->td->len; i++) {
        const XhciTrb *t = trb(x, i);
        uint32_t n = length_of(t);
        UsbSeg s = { t->control & TRB_IDT ? t->at : t->param, n };

        if (trb_type(t->control) == TRB_SETUP) {
            if (i || !(t->control & TRB_IDT) || (t->status & LEN) != 8)
                return false;
            le64_store(f->setup, t->param);
        }
        if (t->control & TRB_IDT && n > 8)
            return false;
        if (trb_type(t->control) == TRB_DATA && ((t->control & TRB_DIR) != 0) != (f->setup[0] >> 7))
            return false;
        if (n)
            g_array_append_val(x->seg, s);
        f->len += n;
    }
    f->hc = &x->pci.dev;
    f->seg = (const UsbSeg *)(const void *)x->seg->data;
    f->nseg = x->seg->len;
    return true;
}

/* ---- telling ---- */
typedef struct Report {
    unsigned slot, dci;
    unsigned code;  /* of the whole */
    uint64_t left;  /* of what was moved */
    uint32_t total; /* since the last Event Data TRB */
    bool is_short, told;
} Report;

/* False: the transfer ended here in an error. */
static bool report_one(Xhci *x, Report *p, const XhciTrb *t, bool last)
{
    unsigned type = trb_type(t->control);
    uint32_t len = length_of(t), n = (uint32_t)MIN(len, p->left), residue = len - n;
    bool first_short = residue && !p->is_short && p->code == CC_SUCCESS;

    p->left -= n;
    p->total = (p->total + n) & EDTLA;
    if (p->code != CC_SUCCESS && type != TRB_SETUP && (residue || last || type == TRB_STATUS)) {
        transfer_event(x, t, t->at, residue | p->code << 24, p->slot, p->dci, 0);
        return false;
    }
    p->is_short = first_short || (p->is_short && type != TRB_STATUS);
    if (type == TRB_EVENT_DATA) {
        if (t->control & TRB_IOC)
            transfer_event(x, t, t->param, p->total | (uint32_t)(p->is_short ? CC_SHORT : CC_SUCCESS) << 24, p->slot, p->dci, TRB_ED);
        p->total = 0;
        return true;
    }
    if (!(t->control & TRB_IOC || (first_short && t->control & TRB_ISP)) || (p->is_short && p->told))
        return true;
    transfer_event(x, t, t->at, residue | (uint32_t)(p->is_short ? CC_SHORT : CC_SUCCESS) << 24, p->slot, p->dci, 0);
    p->told = p->is_short;
    return true;
}

static void report(Xhci *x, unsigned slot, unsigned dci, uint64_t moved, unsigned code)
{
    Report p = { .slot = slot, .dci = dci, .code = code, .left = moved };

    for (unsigned i = 0; i < x->td->len; i++)
        if (!report_one(x, &p, trb(x, i), i + 1 == x->td->len))
            return;
}

/* Events that the descriptor may cause fit, or as many as the ring has at all. */
static bool room(Xhci *x)
{
    unsigned need = 1, intr = target(x, trb(x, x->td->len - 1));

    for (unsigned i = 0; i < x->td->len && need < ROOM_MAX; i++)
        need += (trb(x, i)->control & (TRB_IOC | TRB_ISP)) != 0;
    if (xhci_room(x, intr) >= need)
        return true;
    xhci_full(x, intr);
    return false;
}

/* ---- transfers ---- */
static unsigned code_of(UsbStatus s, const UsbXfer *f)
{
    if (f->fault)
        return CC_DATA_BUFFER;
    return s == USB_OK ? CC_SUCCESS : s == USB_STALL ? CC_STALL : s == USB_BABBLE ? CC_BABBLE : CC_TRANSACTION;
}

static UsbStatus ask(Xhci *x, XhciSlot *s, unsigned dci, UsbXfer *f)
{
    const XhciEp *e = &s->ep[dci - 1];
    UsbDev *d = xhci_device(x, s);
    bool in = e->type == EPT_CONTROL ? f->setup[0] & USB_IN : e->type > EPT_CONTROL;

    f->ep = (uint8_t)(dci / 2 | (in && dci > 1 ? USB_IN : 0));
    f->again = e->begun;
    if (trb_type(trb(x, 0)->control) == TRB_NOOP && x->td->len == 1)
        return USB_OK;
    return d ? usb_transfer(d, f) : USB_GONE;
}

static void failed(Xhci *x, XhciSlot *s, unsigned dci, unsigned state)
{
    s->ep[dci - 1].begun = 0;
    xhci_ep_state(x, s, dci, state);
}

/* What cannot be read as a transfer. */
static Outcome broken(Xhci *x, unsigned slot, unsigned dci, const XhciRing *at)
{
    XhciTrb t = x->td->len ? *trb(x, x->td->len - 1) : (XhciTrb){ .at = at->at };

    if (!xhci_room(x, target(x, &t))) {
        xhci_full(x, target(x, &t));
        return STUCK;
    }
    guest_error(&x->pci.dev, "slot %u endpoint %u: TRBs that cannot be", slot, dci);
    failed(x, &x->slot[slot], dci, EP_ERROR);
    transfer_event(x, &t, t.at, (uint32_t)CC_TRB << 24, slot, dci, 0);
    return WAIT;
}

static Outcome one(Xhci *x, unsigned slot, unsigned dci, unsigned stream)
{
    XhciSlot *s = &x->slot[slot];
    XhciEp *e = &s->ep[dci - 1];
    XhciRing start, r;
    UsbXfer f = { .len = 0 };
    UsbStatus st;
    unsigned code;
    int got = ring_load(x, e, stream, &start) ? gather(x, e->type == EPT_CONTROL, (r = start, &r)) : -1;

    if (!got)
        return WAIT;
    if (got < 0 || !prepare(x, &f))
        return broken(x, slot, dci, &start);
    if (!room(x))
        return STUCK;
    st = ask(x, s, dci, &f);
    if (st == USB_NAK && !e->isoch) {
        e->begun = 1;
        return WAIT;
    }
    code = st == USB_NAK ? CC_SUCCESS : code_of(st, &f);
    e->begun = 0;
    if (code == CC_SUCCESS || e->isoch)
        ring_store(x, e, stream, &r);
    else
        failed(x, s, dci, EP_HALTED);
    report(x, slot, dci, f.done, code);
    return DONE;
}

/* A periodic endpoint is served once in its interval, with a little to catch up. */
static bool early(Xhci *x, XhciEp *e)
{
    int64_t now = clock_now(&x->pci.dev);

    if (!e->period)
        return false;
    e->due = CLAMP(e->due, now - (int64_t)e->period, now + (int64_t)e->period);
    if (e->due <= now)
        return false;
    x->next = MIN(x->next, e->due);
    return true;
}

static Outcome serve_ring(Xhci *x, unsigned slot, unsigned dci, unsigned stream, unsigned *budget, bool *any)
{
    XhciEp *e = &x->slot[slot].ep[dci - 1];
    Outcome o = DONE;

    while (o == DONE && e->state == EP_RUNNING) { /* bounded by budget */
        if (!*budget || early(x, e))
            return LATER;
        o = one(x, slot, dci, stream);
        if (o != DONE)
            break;
        e->due += e->period;
        --*budget;
        *any = true;
    }
    return o;
}

static bool serve(Xhci *x, unsigned slot, unsigned dci, unsigned *budget)
{
    XhciSlot *s = &x->slot[slot];
    XhciEp *e = &s->ep[dci - 1];
    bool any = false, again = false;

    s->kick &= ~(1u << dci);
    if (e->state != EP_RUNNING)
        return false;
    for (unsigned i = 0; i < (e->streams ? 2u << e->streams : 1u); i++) {
        Outcome o;

        if (e->streams && !(e->rung >> i & 1))
            continue;
        o = serve_ring(x, slot, dci, i, budget, &any);
        again |= o == LATER || o == STUCK;
        if (o == WAIT && !e->begun)
            e->rung &= ~(1u << i);
    }
    if (again)
        s->kick |= 1u << dci;
    return any;
}

bool xhci_endpoints(Xhci *x, unsigned *budget)
{
    bool any = false;

    for (unsigned n = 1; n <= x->slots; n++)
        for (unsigned dci = 1; x->slot[n].kick && dci <= XHCI_EPS; dci++)
            if (x->slot[n].live && x->slot[n].kick >> dci & 1)
                any |= serve(x, n, dci, budget);
    return any;
}

/* ---- from the guest ---- */
void xhci_stopped_event(Xhci *x, unsigned slot, unsigned dci)
{
    XhciEp *e = &x->slot[slot].ep[dci - 1];
    XhciRing r = { e->deq, e->ccs };
    XhciTrb t;

    if (e->begun && !e->streams && xhci_next(x, &r, &t) > 0 && xhci_room(x, target(x, &t)))
        transfer_event(x, &t, t.at, length_of(&t) | (uint32_t)CC_STOPPED << 24, slot, dci, 0);
}

void xhci_doorbell(Dev *d, unsigned n, uint64_t val, unsigned lanes)
{
    Xhci *x = XHCI(d);
    unsigned dci = val & 0xff, stream = val >> 16 & 0xffff;
    XhciEp *e;

    if (!(x->usbcmd & CMD_RS) || n > x->slots)
        return;
    if (!n) {
        x->cmd_running |= !dci;
        xhci_run(x);
        return;
    }
    if (!x->slot[n].live || dci < 1 || dci > XHCI_EPS || x->slot[n].ep[dci - 1].state == EP_DISABLED) {
        guest_error(d, "doorbell of slot %u rung for endpoint %u, which is not there", n, dci);
        return;
    }
    e = &x->slot[n].ep[dci - 1];
    if (e->streams && (!stream || stream >= 2u << e->streams))
        return;
    if (e->state == EP_STOPPED)
        xhci_ep_state(x, &x->slot[n], dci, EP_RUNNING);
    if (e->streams)
        e->rung |= 1u << stream;
    x->slot[n].kick |= 1u << dci;
    xhci_run(x);
}
