/*
 * hw/usb/command.c - the command ring. Source: xHCI 1.1 sections 4.5, 4.6, 6.2, 6.4.3. A command that is not allowed in the state
 * of its slot or endpoint changes nothing and says why in its completion code.
 */
#include "hw/usb/xhci.h"

enum { CTX = 32, INPUT_MAX = CTX * 33, ADD_SLOT = 1, ADD_EP0 = 2, PORT_BANDWIDTH = 80 /* percent */ };
enum { CRCR_RCS = 1, CRCR_CS = 2, CRCR_CA = 4, SP_STREAM = 1, DECONFIGURE = 1 << 9, BSR = 1 << 9, MICROFRAME = 125 * US, INTERVAL_MAX = 15 };

/* ---- contexts ---- */
static bool read_input(Xhci *x, const XhciTrb *t, uint8_t *in) { return dma_read(&x->pci.dev, t->param & ~15ull, in, INPUT_MAX); }
static uint8_t *in_ctx(uint8_t *in, unsigned dci) { return in + CTX * (dci + 1); } /* 0: the slot's */

static void slot_state(Xhci *x, XhciSlot *s, unsigned state)
{
    UsbDev *d = xhci_device(x, s);

    s->state = (uint8_t)state;
    dma_store(&x->pci.dev, s->ctx + 12, 4, (d && state > SLOT_DEFAULT ? d->addr : 0u) | state << 27);
}

static uint32_t period_of(const uint8_t *c, unsigned type)
{
    unsigned interval = MIN(c[2], INTERVAL_MAX);

    return type == EPT_BULK_IN || type == EPT_BULK_OUT || type == EPT_CONTROL ? 0 : (uint32_t)((uint64_t)MICROFRAME << interval);
}

/* Section 6.2.3. */
static bool ep_fits(const uint8_t *c, unsigned dci)
{
    unsigned type = c[4] >> 3 & 7, streams = c[1] >> 2 & 31;
    bool bulk = type == EPT_BULK_IN || type == EPT_BULK_OUT;

    if (!type || !le16_load(c + 6) || (dci == 1 && type != EPT_CONTROL))
        return false;
    if (type != EPT_CONTROL && (type > EPT_CONTROL) != (dci & 1))
        return false;
    return !streams || (bulk && streams <= XHCI_STREAMS_LOG && c[1] & 0x80);
}

static void ep_enable(Xhci *x, XhciSlot *s, unsigned dci, const uint8_t *c)
{
    XhciEp *e = &s->ep[dci - 1];
    unsigned type = c[4] >> 3 & 7;
    uint64_t deq = le64_load(c + 8);

    *e = (XhciEp){ .deq = deq & ~15ull, .ccs = deq & 1, .type = (uint8_t)type, .packet = le16_load(c + 6), .streams = c[1] >> 2 & 31,
                   .isoch = type == EPT_ISOCH_IN || type == EPT_ISOCH_OUT, .period = period_of(c, type), .due = clock_now(&x->pci.dev) };
    dma_write(&x->pci.dev, s->ctx + CTX * dci, c, CTX);
    xhci_ep_state(x, s, dci, EP_RUNNING);
    s->kick &= ~(1u << dci);
}

/* What the endpoint was asked for will not be asked again. */
static void ep_forget(Xhci *x, XhciSlot *s, unsigned dci)
{
    XhciEp *e = &s->ep[dci - 1];
    UsbDev *d = e->begun ? xhci_device(x, s) : NULL;

    e->begun = 0;
    e->rung = 0;
    s->kick &= ~(1u << dci);
    if (d)
        usb_cancel(d, (uint8_t)(dci / 2 | (e->type > EPT_CONTROL ? USB_IN : 0)));
}

static void ep_disable(Xhci *x, XhciSlot *s, unsigned dci)
{
    if (s->ep[dci - 1].state == EP_DISABLED)
        return;
    ep_forget(x, s, dci);
    xhci_ep_state(x, s, dci, EP_DISABLED);
    s->ep[dci - 1] = (XhciEp){ .deq = 0 };
}

/* ---- slots ---- */
static unsigned enable_slot(Xhci *x, const XhciTrb *t, unsigned *slot)
{
    for (unsigned n = 1; n <= MIN(x->slots, x->config & 0xff); n++)
        if (!x->slot[n].live) {
            x->slot[n] = (XhciSlot){ .live = 1 };
            *slot = n;
            return CC_SUCCESS;
        }
    return CC_NO_SLOTS;
}

static unsigned disable_slot(Xhci *x, const XhciTrb *t, unsigned *slot)
{
    XhciSlot *s = &x->slot[*slot];

    for (unsigned dci = 1; dci <= XHCI_EPS; dci++)
        ep_disable(x, s, dci);
    if (s->ctx)
        slot_state(x, s, SLOT_ENABLED);
    *s = (XhciSlot){ .live = 0 };
    return CC_SUCCESS;
}

static void slot_written(Xhci *x, XhciSlot *s, const uint8_t *c)
{
    s->target = (uint16_t)(le32_load(c + 8) >> 22);
    if (s->target >= x->intrs)
        s->target = 0;
    dma_write(&x->pci.dev, s->ctx, c, 12);
}

static unsigned address_device(Xhci *x, const XhciTrb *t, unsigned *slot)
{
    XhciSlot *s = &x->slot[*slot], want = *s;
    uint8_t in[INPUT_MAX], *sc = in_ctx(in, 0), *ec = in_ctx(in, 1);
    bool keep = t->control & BSR;
    UsbDev *d;

    if (s->state > SLOT_DEFAULT || (s->state == SLOT_DEFAULT && keep))
        return CC_CONTEXT_STATE;
    if (!read_input(x, t, in) || !dma_load(&x->pci.dev, x->dcbaap + 8ull * *slot, 8, &want.ctx))
        return CC_TRB;
    want.ctx &= ~0x3full;
    want.port = sc[6];
    want.route = le32_load(sc) & 0xfffff;
    if ((le32_load(in + 4) & 3) != (ADD_SLOT | ADD_EP0) || !want.port || want.port > xhci_ports(x) || !ep_fits(ec, 1))
        return CC_PARAMETER;
    d = xhci_device(x, &want);
    if (!d || (!keep && usb_set_address(d, (uint8_t)*slot) != USB_OK))
        return CC_TRANSACTION;
    *s = want;
    slot_written(x, s, sc);
    slot_state(x, s, keep ? SLOT_DEFAULT : SLOT_ADDRESSED);
    ep_enable(x, s, 1, ec);
    return CC_SUCCESS;
}

static unsigned deconfigure(Xhci *x, XhciSlot *s)
{
    for (unsigned dci = 2; dci <= XHCI_EPS; dci++)
        ep_disable(x, s, dci);
    slot_state(x, s, SLOT_ADDRESSED);
    return CC_SUCCESS;
}

static unsigned configure_endpoint(Xhci *x, const XhciTrb *t, unsigned *slot)
{
    XhciSlot *s = &x->slot[*slot];
    uint8_t in[INPUT_MAX];
    uint32_t drop, add;
    bool any = false;

    if (s->state < SLOT_ADDRESSED)
        return CC_CONTEXT_STATE;
    if (t->control & DECONFIGURE)
        return deconfigure(x, s);
    if (!read_input(x, t, in))
        return CC_TRB;
    drop = le32_load(in);
    add = le32_load(in + 4);
    if (drop & 3 || add & ADD_EP0)
        return CC_TRB;
    for (unsigned dci = 2; dci <= XHCI_EPS; dci++) {
        if (!(add >> dci & 1))
            continue;
        if (!(drop >> dci & 1) && s->ep[dci - 1].state != EP_DISABLED && s->ep[dci - 1].state != EP_STOPPED)
            return CC_PARAMETER;
        if (!ep_fits(in_ctx(in, dci), dci))
            return CC_PARAMETER;
    }
    if (add & ADD_SLOT)
        slot_written(x, s, in_ctx(in, 0));
    for (unsigned dci = 2; dci <= XHCI_EPS; dci++) {
        if (drop >> dci & 1)
            ep_disable(x, s, dci);
        if (add >> dci & 1)
            ep_enable(x, s, dci, in_ctx(in, dci));
        any |= s->ep[dci - 1].state != EP_DISABLED;
    }
    slot_state(x, s, any ? SLOT_CONFIGURED : SLOT_ADDRESSED);
    return CC_SUCCESS;
}

static unsigned evaluate_context(Xhci *x, const XhciTrb *t, unsigned *slot)
{
    XhciSlot *s = &x->slot[*slot];
    uint8_t in[INPUT_MAX], *sc = in_ctx(in, 0), *ec = in_ctx(in, 1), b[12];
    uint32_t add;

    if (s->state < SLOT_DEFAULT)
        return CC_CONTEXT_STATE;
    if (!read_input(x, t, in) || !dma_read(&x->pci.dev, s->ctx, b, sizeof(b)))
        return CC_TRB;
    add = le32_load(in + 4);
    if (add & ADD_EP0 && !le16_load(ec + 6))
        return CC_PARAMETER;
    if (add & ADD_SLOT) { /* Max Exit Latency, Interrupter Target */
        le16_store(b + 4, le16_load(sc + 4));
        le32_store(b + 8, (le32_load(b + 8) & 0x3fffff) | (le32_load(sc + 8) & ~0x3fffffu));
        slot_written(x, s, b);
    }
    if (add & ADD_EP0) {
        s->ep[0].packet = le16_load(ec + 6);
        dma_store(&x->pci.dev, s->ctx + CTX + 6, 2, s->ep[0].packet);
    }
    return CC_SUCCESS;
}

static unsigned reset_device(Xhci *x, const XhciTrb *t, unsigned *slot)
{
    XhciSlot *s = &x->slot[*slot];

    if (s->state < SLOT_ADDRESSED)
        return CC_CONTEXT_STATE;
    for (unsigned dci = 2; dci <= XHCI_EPS; dci++)
        ep_disable(x, s, dci);
    slot_state(x, s, SLOT_DEFAULT);
    return CC_SUCCESS;
}

/* ---- endpoints ---- */
static unsigned dci_of(const XhciTrb *t) { return t->control >> 16 & 31; }

static unsigned reset_endpoint(Xhci *x, const XhciTrb *t, unsigned *slot)
{
    XhciSlot *s = &x->slot[*slot];

    if (s->ep[dci_of(t) - 1].state != EP_HALTED)
        return CC_CONTEXT_STATE;
    xhci_ep_state(x, s, dci_of(t), EP_STOPPED);
    return CC_SUCCESS;
}

static unsigned stop_endpoint(Xhci *x, const XhciTrb *t, unsigned *slot)
{
    XhciSlot *s = &x->slot[*slot];

    if (s->ep[dci_of(t) - 1].state != EP_RUNNING)
        return CC_CONTEXT_STATE;
    xhci_stopped_event(x, *slot, dci_of(t));
    ep_forget(x, s, dci_of(t));
    xhci_ep_state(x, s, dci_of(t), EP_STOPPED);
    return CC_SUCCESS;
}

static unsigned set_dequeue(Xhci *x, const XhciTrb *t, unsigned *slot)
{
    XhciSlot *s = &x->slot[*slot];
    XhciEp *e = &s->ep[dci_of(t) - 1];
    unsigned stream = t->status >> 16;

    if (e->state != EP_STOPPED && e->state != EP_ERROR)
        return CC_CONTEXT_STATE;
    if (e->streams) {
        if (!stream || stream >= 2u << e->streams)
            return CC_STREAM_ID;
        if ((t->param >> 1 & 7) != 1)
            return CC_STREAM_TYPE;
        dma_store(&x->pci.dev, e->deq + 16 * stream, 8, t->param);
        return CC_SUCCESS;
    }
    e->deq = t->param & ~15ull;
    e->ccs = t->param & 1;
    xhci_ep_state(x, s, dci_of(t), EP_STOPPED);
    return CC_SUCCESS;
}

/* ---- others ---- */
static unsigned no_op(Xhci *x, const XhciTrb *t, unsigned *slot) { return CC_SUCCESS; }

static unsigned port_bandwidth(Xhci *x, const XhciTrb *t, unsigned *slot)
{
    uint8_t b[XHCI_PORTS + 1] = { 0 };
    bool is_super = (t->control >> 16 & 15) == 4;

    for (unsigned i = 0; i < xhci_ports(x); i++)
        b[i + 1] = (i < x->p3) == is_super ? PORT_BANDWIDTH : 0;
    return dma_write(&x->pci.dev, t->param & ~15ull, b, xhci_ports(x) + 1) ? CC_SUCCESS : CC_TRB;
}

enum { ANY, SLOT = 1 /* names one that is enabled */, ENDPOINT = 2 /* and an endpoint that is, too */ };
typedef struct Command {
    uint8_t type, needs;
    const char *name;
    unsigned (*fn)(Xhci *x, const XhciTrb *t, unsigned *slot); /* a completion code */
} Command;
/* clang-format off */
static const Command commands[] = {
    { 9, ANY, "Enable Slot", enable_slot },              { 10, SLOT, "Disable Slot", disable_slot },
    { 11, SLOT, "Address Device", address_device },      { 12, SLOT, "Configure Endpoint", configure_endpoint },
    { 13, SLOT, "Evaluate Context", evaluate_context },  { 14, SLOT | ENDPOINT, "Reset Endpoint", reset_endpoint },
    { 15, SLOT | ENDPOINT, "Stop Endpoint", stop_endpoint }, { 16, SLOT | ENDPOINT, "Set TR Dequeue Pointer", set_dequeue },
    { 17, SLOT, "Reset Device", reset_device },          { 21, ANY, "Get Port Bandwidth", port_bandwidth },
    { 22, ANY, "Force Header", no_op },                  { 23, ANY, "No Op", no_op },
    { 49, ANY, "Get Firmware (NEC)", no_op },
};
/* clang-format on */

static unsigned obey(Xhci *x, const XhciTrb *t, unsigned *slot)
{
    const Command *c = NULL;
    const XhciSlot *s;

    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
        if (commands[i].type == trb_type(t->control))
            c = &commands[i];
    if (!c) {
        guest_error(&x->pci.dev, "command %u", trb_type(t->control));
        return CC_TRB;
    }
    *slot = t->control >> 24;
    s = *slot <= x->slots ? &x->slot[*slot] : NULL;
    if (c->needs & SLOT && (!*slot || !s || !s->live))
        return CC_SLOT;
    if (c->needs & ENDPOINT && (!dci_of(t) || s->ep[dci_of(t) - 1].state == EP_DISABLED))
        return CC_ENDPOINT;
    if (!(c->needs & SLOT))
        *slot = 0;
    return c->fn(x, t, slot);
}

bool xhci_commands(Xhci *x, unsigned *budget)
{
    bool any = false;

    while (x->cmd_running && *budget) {
        XhciRing r = { x->cmd_at, x->cmd_ccs };
        XhciTrb t;
        unsigned slot = 0, code;
        int got;

        if (xhci_room(x, 0) < 2) { /* Stop Endpoint says two things */
            xhci_full(x, 0);
            break;
        }
        got = xhci_next(x, &r, &t);
        if (got < 0)
            xhci_fatal(x, "a command ring that cannot be");
        if (got <= 0)
            break;
        x->cmd_at = r.at;
        x->cmd_ccs = r.ccs;
        code = obey(x, &t, &slot);
        xhci_event(x, 0, t.at, code << 24, (trb_type(t.control) == 49 ? 48u : TRB_COMMAND_EVENT) << 10 | slot << 24);
        --*budget;
        any = true;
    }
    return any;
}

/* Section 5.4.5: the pointer is only taken while the ring stands still; its halves may come one by one. */
void xhci_crcr_written(Dev *d, uint64_t val, unsigned lanes)
{
    Xhci *x = XHCI(d);

    if (x->cmd_running) {
        if (!(lanes & 1) || !(val & (CRCR_CS | CRCR_CA)))
            return;
        x->cmd_running = false;
        xhci_event(x, 0, x->cmd_at, (uint32_t)CC_COMMAND_STOPPED << 24, TRB_COMMAND_EVENT << 10);
        return;
    }
    if (lanes & 1) {
        x->cmd_at = (x->cmd_at & ~0xffffffffull) | (val & 0xffffffc0);
        x->cmd_ccs = val & CRCR_RCS;
    }
    if (lanes & 0x10)
        x->cmd_at = (x->cmd_at & 0xffffffff) | (val & ~0xffffffffull);
}
