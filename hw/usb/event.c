/*
 * hw/usb/event.c - event rings and interrupters, and reading of other rings. Source: xHCI 1.1 sections 4.9, 4.17, 6.4, 6.5.
 */
#include "hw/usb/xhci.h"

enum { SEGMENT_MIN = 16, SEGMENT_MAX = 4096, LINKS_MAX = 32, IMOD_NS = 250 };

/* ---- rings that the guest writes ---- */
int xhci_next(Xhci *x, XhciRing *r, XhciTrb *t)
{
    uint8_t b[XHCI_TRB];

    for (unsigned i = 0; i < LINKS_MAX; i++) {
        if (!dma_read(&x->pci.dev, r->at, b, sizeof(b)))
            return -1;
        *t = (XhciTrb){ r->at, le64_load(b), le32_load(b + 8), le32_load(b + 12) };
        if ((t->control & TRB_C) != r->ccs)
            return 0;
        if (trb_type(t->control) != TRB_LINK) {
            r->at += XHCI_TRB;
            return 1;
        }
        r->at = t->param & ~15ull;
        r->ccs ^= t->control & TRB_TC ? 1 : 0;
    }
    return -1; /* links that lead nowhere */
}

/* ---- event rings ---- */
static bool segment(Xhci *x, const XhciIntr *r, unsigned n, uint64_t *base, uint32_t *size)
{
    uint8_t b[16];

    if (!dma_read(&x->pci.dev, r->erstba + 16 * n, b, sizeof(b)))
        return false;
    *base = le64_load(b) & ~0x3full;
    *size = le32_load(b + 8) & 0xffff;
    return *size >= SEGMENT_MIN && *size <= SEGMENT_MAX;
}

/* Section 4.9.4: the table is read when a segment is entered. */
static bool usable(Xhci *x, XhciIntr *r)
{
    if (r->fresh) {
        r->fresh = r->told = 0;
        r->segment = r->at = r->size = 0;
        r->pcs = 1;
        if (r->erstsz && (r->erstsz > XHCI_SEGMENTS || !segment(x, r, 0, &r->base, &r->size))) {
            r->size = 0;
            xhci_fatal(x, "an event ring segment table that cannot be");
        }
    }
    return r->size && r->erstsz;
}

static unsigned capacity(Xhci *x, const XhciIntr *r)
{
    unsigned all = 0;

    for (unsigned i = 0; i < r->erstsz; i++) {
        uint64_t base;
        uint32_t size = 0;

        segment(x, r, i, &base, &size);
        all += MIN(size, SEGMENT_MAX);
    }
    return all;
}

/* Places between what we write next and what the guest reads next; from segment to segment, each at most twice. */
static unsigned places(Xhci *x, const XhciIntr *r)
{
    uint64_t deq = r->erdp & ~15ull, base = r->base;
    unsigned n = 0, at = r->at, seg = r->segment;
    uint32_t size = r->size;

    if (deq == base + (uint64_t)at * XHCI_TRB)
        return (r->erstsz == 1 ? r->size : capacity(x, r)) - 1;
    for (unsigned hop = 0; hop <= r->erstsz; hop++) {
        uint64_t from = base + (uint64_t)at * XHCI_TRB;

        if (deq >= from && deq < base + (uint64_t)size * XHCI_TRB)
            return n + (unsigned)((deq - from) / XHCI_TRB) - 1;
        n += size - at;
        at = 0;
        seg = (seg + 1) % r->erstsz;
        if (!segment(x, r, seg, &base, &size))
            break;
    }
    return 0;
}

unsigned xhci_room(Xhci *x, unsigned intr)
{
    XhciIntr *r = &x->intr[intr];
    unsigned n = usable(x, r) ? places(x, r) : 0;

    return n ? n - 1 : 0;
}

static void put(Xhci *x, XhciIntr *r, uint64_t param, uint32_t status, uint32_t control)
{
    uint64_t at = r->base + (uint64_t)r->at * XHCI_TRB;
    uint8_t b[12];
    uint32_t size;

    le64_store(b, param);
    le32_store(b + 8, status);
    dma_write(&x->pci.dev, at, b, sizeof(b)); /* first what the cycle bit gives away */
    dma_store(&x->pci.dev, at + 12, 4, (control & ~1u) | r->pcs);
    if (++r->at < r->size)
        return;
    r->at = 0;
    r->segment = (r->segment + 1) % r->erstsz;
    r->pcs ^= r->segment == 0;
    if (!segment(x, r, r->segment, &r->base, &size)) {
        r->size = 0;
        xhci_fatal(x, "an event ring segment that cannot be");
        return;
    }
    r->size = size;
}

void xhci_full(Xhci *x, unsigned intr)
{
    XhciIntr *r = &x->intr[intr];

    if (!usable(x, r) || r->told || !places(x, r))
        return;
    r->told = 1;
    put(x, r, 0, (uint32_t)CC_EVENT_RING_FULL << 24, TRB_HOST_EVENT << 10);
    r->wants = 1;
    xhci_interrupt(x, intr);
}

void xhci_event(Xhci *x, unsigned intr, uint64_t param, uint32_t status, uint32_t control)
{
    XhciIntr *r = &x->intr[intr];

    if (!usable(x, r) || !places(x, r)) {
        guest_error(&x->pci.dev, "an event finds no place in ring %u", intr);
        return;
    }
    r->told = 0;
    put(x, r, param, status, control & ~(uint32_t)TRB_BEI);
    if (control & TRB_BEI)
        return;
    r->wants = 1;
    xhci_interrupt(x, intr);
}

/* ---- interrupts: section 4.17.2 to 4.17.5 ---- */
void xhci_signal(Xhci *x, unsigned n)
{
    XhciIntr *r = &x->intr[n];

    if ((r->iman & 3) != (IMAN_IP | IMAN_IE) || !(x->usbcmd & CMD_INTE))
        return;
    if (pci_msix_on(&x->pci))
        pci_msix_send(&x->pci, n);
    else if (pci_msi_on(&x->pci))
        pci_msi_send(&x->pci, n);
    else
        return;
    r->iman &= ~(uint32_t)IMAN_IP;
}

void xhci_interrupt(Xhci *x, unsigned n)
{
    XhciIntr *r = &x->intr[n];

    if (!r->wants || r->erdp & ERDP_EHB || timer_pending(&x->imod[n]))
        return;
    r->wants = 0;
    r->iman |= IMAN_IP;
    r->erdp |= ERDP_EHB;
    x->usbsts |= STS_EINT;
    if (r->imod & 0xffff)
        timer_at(&x->imod[n], clock_now(&x->pci.dev) + (int64_t)(r->imod & 0xffff) * IMOD_NS);
    xhci_signal(x, n);
}

void xhci_imod_fired(Dev *d, unsigned n) { xhci_interrupt(XHCI(d), n); }

void xhci_erdp_written(Dev *d, unsigned n, uint64_t old)
{
    Xhci *x = XHCI(d);
    XhciIntr *r = &x->intr[n];

    if (!(r->erdp & ERDP_EHB)) {
        r->wants |= r->size && (r->erdp & ~15ull) != r->base + (uint64_t)r->at * XHCI_TRB;
        xhci_interrupt(x, n);
    }
    xhci_run(x);
}
