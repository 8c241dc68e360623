/*
 * hw/usb/control.c - transfers as a device gets them, and the standard requests, which are answered here for all.
 * Source: USB 2.0 sections 9.4, 8.5.3; USB 3.1 section 9.4.
 */
#include "hw/usb/usb.h"

enum { ENDPOINT_HALT = 0, WAKEUP_FEATURE = 1, U1_ENABLE = 48, U2_ENABLE = 49 };

/* ---- memory ---- */
static uint64_t move(UsbXfer *x, uint8_t *buf, uint64_t n, bool in)
{
    uint64_t at = x->done, moved = 0;

    n = MIN(n, x->len - x->done);
    if (x->buf) {
        memcpy(in ? x->buf + x->done : buf, in ? buf : x->buf + x->done, n);
        x->done += n;
        return n;
    }
    for (unsigned i = 0; i < x->nseg && moved < n; i++) { /* bounded: the controller's segments */
        const UsbSeg *s = &x->seg[i];
        uint64_t k;

        if (at >= s->len) {
            at -= s->len;
            continue;
        }
        k = MIN(n - moved, s->len - at);
        if (!(in ? dma_write(x->hc, s->at + at, buf + moved, k) : dma_read(x->hc, s->at + at, buf + moved, k)))
            x->fault = true;
        moved += k;
        at = 0;
    }
    x->done += moved;
    return moved;
}

uint64_t usb_put(UsbXfer *x, const void *buf, uint64_t n) { return move(x, (uint8_t *)(uintptr_t)buf, n, true); }
uint64_t usb_get(UsbXfer *x, void *buf, uint64_t n) { return move(x, buf, n, false); }

UsbStatus usb_answer(UsbXfer *x, const UsbRequest *q, const void *buf, size_t n)
{
    usb_put(x, buf, MIN(n, q->length));
    return USB_OK;
}

/* ---- endpoints ---- */
static uint32_t bit_of(uint8_t ep) { return 1u << ((ep & 15) + (ep & USB_IN ? 16 : 0)); }

const UsbEp *usb__ep(const UsbDev *d, uint8_t ep)
{
    const UsbClass *c = usb_class(d);

    for (unsigned i = 0; d->config && i < c->nifaces; i++)
        for (unsigned k = 0; k < c->iface[i].neps && d->alt[c->iface[i].number] == c->iface[i].alt; k++)
            if (c->iface[i].ep[k].addr == ep)
                return &c->iface[i].ep[k];
    return NULL;
}

static bool has_iface(const UsbDev *d, unsigned number, unsigned alt)
{
    const UsbClass *c = usb_class(d);

    for (unsigned i = 0; d->config && i < c->nifaces; i++)
        if (c->iface[i].number == number && c->iface[i].alt == alt)
            return true;
    return false;
}

/* ---- standard requests ---- */
static UsbStatus status_device(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    return usb_answer(x, q, (uint8_t[]){ (uint8_t)(d->features | (usb_class(d)->attributes & SELF_POWERED ? 1 : 0)), 0 }, 2);
}

static UsbStatus status_iface(UsbDev *d, UsbXfer *x, const UsbRequest *q) { return usb_answer(x, q, (uint8_t[]){ 0, 0 }, 2); }

static UsbStatus status_endpoint(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    uint8_t ep = (uint8_t)q->index;

    if (ep & 15 && !usb__ep(d, ep))
        return USB_STALL;
    return usb_answer(x, q, (uint8_t[]){ (d->halted & bit_of(ep)) != 0, 0 }, 2);
}

/* Bits of GET_STATUS. */
static uint8_t feature_bit(const UsbDev *d, unsigned feature)
{
    if (feature == WAKEUP_FEATURE)
        return usb_class(d)->attributes & REMOTE_WAKEUP ? 2 : 0;
    if (d->speed == USB_SUPER && d->config && (feature == U1_ENABLE || feature == U2_ENABLE))
        return feature == U1_ENABLE ? 4 : 8;
    return 0;
}

static UsbStatus set_feature(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    uint8_t bit = feature_bit(d, q->value);

    d->features |= bit;
    return bit ? USB_OK : USB_STALL;
}

static UsbStatus clear_feature(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    uint8_t bit = feature_bit(d, q->value);

    d->features &= (uint8_t)~bit;
    return bit ? USB_OK : USB_STALL;
}

static UsbStatus feature_iface(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    return d->speed == USB_SUPER && !q->value && has_iface(d, q->index & 0xff, d->alt[q->index % USB_IFACES]) ? USB_OK : USB_STALL; /* FUNCTION_SUSPEND */
}

static UsbStatus halt(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    if (q->value != ENDPOINT_HALT || !usb__ep(d, (uint8_t)q->index))
        return USB_STALL;
    d->halted |= bit_of((uint8_t)q->index);
    return USB_OK;
}

static UsbStatus clear_halt(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    uint8_t ep = (uint8_t)q->index;

    if (q->value != ENDPOINT_HALT || (ep & 15 && !usb__ep(d, ep)))
        return USB_STALL;
    d->halted &= ~bit_of(ep);
    if (usb_class(d)->halt_cleared)
        usb_class(d)->halt_cleared(d, ep);
    return USB_OK;
}

static UsbStatus address(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    if (q->value > 127)
        return USB_STALL;
    d->addr = (uint8_t)q->value;
    return USB_OK;
}

static UsbStatus get_configuration(UsbDev *d, UsbXfer *x, const UsbRequest *q) { return usb_answer(x, q, &d->config, 1); }

static UsbStatus set_configuration(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    if ((q->value & 0xff) > 1)
        return USB_STALL;
    d->config = (uint8_t)q->value;
    memset(d->alt, 0, sizeof(d->alt));
    d->halted = 0;
    if (usb_class(d)->configured)
        usb_class(d)->configured(d);
    return USB_OK;
}

static UsbStatus get_interface(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    if (q->index >= USB_IFACES || !has_iface(d, q->index, d->alt[q->index]))
        return USB_STALL;
    return usb_answer(x, q, &d->alt[q->index], 1);
}

static UsbStatus set_interface(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    if (q->index >= USB_IFACES || !has_iface(d, q->index, q->value))
        return USB_STALL;
    d->alt[q->index] = (uint8_t)q->value;
    d->halted = 0;
    if (usb_class(d)->configured)
        usb_class(d)->configured(d);
    return USB_OK;
}

/* What a host tells of its timing changes nothing here. */
static UsbStatus timing(UsbDev *d, UsbXfer *x, const UsbRequest *q) { return d->speed == USB_SUPER ? USB_OK : USB_STALL; }

/* clang-format off */
static const UsbOp standard[] = {
    { 0x8000, "GET_STATUS", status_device },         { 0x8100, "GET_STATUS (interface)", status_iface },
    { 0x8200, "GET_STATUS (endpoint)", status_endpoint },
    { 0x0001, "CLEAR_FEATURE", clear_feature },      { 0x0101, "CLEAR_FEATURE (interface)", feature_iface },
    { 0x0201, "CLEAR_FEATURE (endpoint)", clear_halt },
    { 0x0003, "SET_FEATURE", set_feature },          { 0x0103, "SET_FEATURE (interface)", feature_iface },
    { 0x0203, "SET_FEATURE (endpoint)", halt },
    { 0x0005, "SET_ADDRESS", address },              { 0x8006, "GET_DESCRIPTOR", usb__descriptor },
    { 0x8008, "GET_CONFIGURATION", get_configuration }, { 0x0009, "SET_CONFIGURATION", set_configuration },
    { 0x810a, "GET_INTERFACE", get_interface },      { 0x010b, "SET_INTERFACE", set_interface },
    { 0x0030, "SET_SEL", timing },                   { 0x0031, "SET_ISOCH_DELAY", timing },
};
/* clang-format on */

static const UsbOp *find_op(const UsbOp *v, size_t n, uint16_t op)
{
    for (size_t i = 0; i < n; i++)
        if (v[i].op == op)
            return &v[i];
    return NULL;
}

const UsbOp *usb__standard(uint16_t op) { return find_op(standard, G_N_ELEMENTS(standard), op); }

static UsbStatus control(UsbDev *d, UsbXfer *x)
{
    const uint8_t *s = x->setup;
    UsbRequest q = { (uint16_t)(s[0] << 8 | s[1]), le16_load(s + 2), le16_load(s + 4), le16_load(s + 6) };
    const UsbOp *op = find_op(usb_class(d)->ops, usb_class(d)->nops, q.op);

    if (!op)
        op = usb__standard(q.op);
    return op ? op->fn(d, x, &q) : USB_STALL;
}

/* ---- transfers ---- */
static UsbStatus data(UsbDev *d, UsbXfer *x)
{
    UsbStatus s;

    if (!usb__ep(d, x->ep) || d->halted & bit_of(x->ep))
        return USB_STALL;
    s = usb_class(d)->transfer(d, x);
    if (s == USB_STALL)
        d->halted |= bit_of(x->ep);
    return s;
}

UsbStatus usb_transfer(UsbDev *d, UsbXfer *x)
{
    UsbStatus s = USB_GONE;

    x->done = 0;
    x->fault = false;
    if (d->dev.life != LIFE_LIVE)
        return s;
    WITH_DEV(&d->dev)
        s = x->ep & 15 ? data(d, x) : control(d, x);
    return s;
}

/* ---- control transfers by stages: USB 2.0 section 8.5.3 ---- */
enum { IDLE, IN_DATA, OUT_DATA, NO_DATA /* or all of it is here: the status stage asks for the request */, IN_STATUS, STALLED, CTL_MAX = 4096 };

static UsbStatus ctl_run(UsbDev *d)
{
    UsbXfer x = { .buf = d->ctl, .len = d->ctl_len, .again = d->asked };
    UsbStatus s;

    memcpy(x.setup, d->setup, sizeof(d->setup));
    s = usb_transfer(d, &x);
    d->asked = s == USB_NAK;
    if (s == USB_OK && d->setup[0] & USB_IN)
        d->ctl_len = (uint32_t)x.done;
    if (s != USB_OK && s != USB_NAK)
        d->stage = STALLED;
    return s;
}

static UsbStatus ctl_setup(UsbDev *d, UsbXfer *x)
{
    uint16_t len;

    if (usb_get(x, d->setup, 8) != 8)
        return USB_GONE;
    len = le16_load(d->setup + 6);
    d->pos = 0;
    d->asked = false;
    d->ctl_len = MIN(len, CTL_MAX);
    g_free(d->ctl);
    d->ctl = g_malloc0(MAX(d->ctl_len, 1));
    d->stage = len > CTL_MAX ? STALLED : !len ? NO_DATA : d->setup[0] & USB_IN ? IN_DATA : OUT_DATA;
    if (d->stage == IN_DATA)
        ctl_run(d); /* STALL and NAK are said by the data stage */
    return USB_OK;
}

static UsbStatus ctl_in(UsbDev *d, UsbXfer *x)
{
    UsbStatus s;

    if (d->stage == IN_DATA) {
        if (d->asked && (s = ctl_run(d)) != USB_OK)
            return s;
        d->pos += (uint32_t)usb_put(x, d->ctl + d->pos, d->ctl_len - d->pos);
        return USB_OK;
    }
    if (d->stage == OUT_DATA || d->stage == NO_DATA) {
        s = ctl_run(d);
        if (s == USB_OK)
            d->stage = IDLE;
        return s;
    }
    return USB_STALL;
}

static UsbStatus ctl_out(UsbDev *d, UsbXfer *x)
{
    if (d->stage == OUT_DATA && d->pos < d->ctl_len) {
        d->pos += (uint32_t)usb_get(x, d->ctl + d->pos, d->ctl_len - d->pos);
        return USB_OK;
    }
    if (d->stage != IN_DATA)
        return USB_STALL;
    d->stage = IDLE;
    return USB_OK;
}

UsbStatus usb_token(UsbDev *d, UsbPid pid, UsbXfer *x)
{
    UsbStatus s;

    if (x->ep & 15)
        return usb_transfer(d, x);
    x->done = 0;
    x->fault = false;
    s = pid == USB_PID_SETUP ? ctl_setup(d, x) : pid == USB_PID_IN ? ctl_in(d, x) : ctl_out(d, x);
    return x->fault ? USB_GONE : s;
}

void usb_cancel(UsbDev *d, uint8_t ep)
{
    if (usb_class(d)->cancel && d->dev.life == LIFE_LIVE)
        WITH_DEV(&d->dev)
            usb_class(d)->cancel(d, ep);
}

UsbStatus usb_set_address(UsbDev *d, uint8_t addr)
{
    UsbXfer x = { .setup = { 0, 5, addr } };

    return usb_transfer(d, &x);
}
