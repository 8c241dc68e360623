/*
 * hw/net/e1000-mac.c - what Intel's gigabit cards share: interrupt causes with the throttle of INTx and MSI, delayed causes, counters,
 * link, reset, properties and state. Sources: 317453 chapters 4, 13 and 14; 317694.
 */
#include "hw/net/e1000.h"

enum { ITR_UNIT = 256 /* ns */ };

/* ---- interrupts ---- */
bool e1000__level(const Dev *d)
{
    const E1000 *s = e1000_of(d);

    return s->icr & s->ims && !s->gap && !pci_msix_on(&s->pci);
}

void e1000__cause(E1000 *s, uint32_t icr)
{
    s->icr |= icr & s->ops->causes;
    if (s->ops->caused)
        s->ops->caused(s, icr);
}

/* The line goes down: it stays so for the throttle interval. */
void e1000__asserted(E1000 *s, bool was)
{
    if (!was || e1000__level(&s->pci.dev) || !(s->itr & 0xffff) || s->gap)
        return;
    s->gap = 1;
    timer_in(&s->throttle, (int64_t)(s->itr & 0xffff) * ITR_UNIT);
}

static void gap_over(Dev *d) { E(d)->gap = 0; }
void e1000__ics_w(Dev *d, uint64_t val, unsigned lanes) { e1000__cause(E(d), (uint32_t)val); }

static void tx_delayed(Dev *d)
{
    e1000__cause(E(d), ICR_TXDW | (uint32_t)E(d)->tx_late * ICR_TXQ0);
    E(d)->tx_late = 0;
}

static void rx_delayed(Dev *d)
{
    e1000__cause(E(d), ICR_RXT0 | (uint32_t)E(d)->rx_late * ICR_RXQ0);
    E(d)->rx_late = 0;
}

/* FPD, the top bit of a delay: do not wait any more. */
static void flush(Dev *d, uint32_t *delay, Timer *t, void (*fire)(Dev *d))
{
    if (*delay >> 31 && timer_pending(t)) {
        timer_del(t);
        fire(d);
    }
    *delay &= 0xffff;
}

void e1000__rdtr_w(Dev *d, uint64_t old) { flush(d, &E(d)->rdtr, &E(d)->rx_delay, rx_delayed); }
void e1000__tidv_w(Dev *d, uint64_t old) { flush(d, &E(d)->tidv, &E(d)->tx_delay, tx_delayed); }

/* ---- counters ---- */
void e1000__count(E1000 *s, unsigned packets, unsigned octets, size_t bytes)
{
    uint64_t n = s->stats[octets] | (uint64_t)s->stats[octets + 1] << 32;

    n += bytes;
    s->stats[octets] = (uint32_t)n;
    s->stats[octets + 1] = (uint32_t)(n >> 32);
    s->stats[packets]++;
}

/* ---- link and reset ---- */
uint64_t e1000__status(const Dev *d)
{
    const E1000 *s = e1000_of(d);

    return STATUS_FD | STATUS_SPEED_1000 | (net_link_up(&s->port) && s->ctrl & CTRL_SLU ? STATUS_LU : 0);
}

static void link_changed(void *o, bool up)
{
    E1000 *s = o;

    WITH_DEV(&s->pci.dev)
        e1000__cause(s, ICR_LSC);
}

/* What the NVM loads. */
static void load_defaults(E1000 *s)
{
    s->ra[0] = le32_load(s->conf_mac);
    s->ra[1] = le16_load(s->conf_mac + 4) | RAH_AV;
    e1000__nvm_fill(s, s->conf_mac);
    e1000__phy_reset(s);
}

void e1000__ctrl_w(Dev *d, uint64_t old)
{
    E1000 *s = E(d);
    uint32_t link = s->ctrl & ~(uint32_t)old & CTRL_SLU;

    if (s->ctrl & CTRL_RST) {
        dev_reset_state(d);
        load_defaults(s);
        return;
    }
    if (s->ctrl & CTRL_PHY_RST)
        e1000__phy_reset(s);
    if (link && net_link_up(&s->port))
        e1000__cause(s, ICR_LSC);
}

static void on_reset(Dev *d) { load_defaults(E(d)); }

/* ---- rings ---- */
void e1000__transmit_w(Dev *d, uint64_t old) { e1000__transmit(d); }
void e1000__receive_w(Dev *d, uint64_t old) { e1000__more_descriptors(E(d)); }
static void ready(void *o)
{
    WITH_DEV(&((E1000 *)o)->pci.dev)
        e1000__transmit(o);
}
static const NetPortOps port_ops = { .can_take = e1000__can_take, .take = e1000__take, .ready = ready, .link = link_changed };

/* ---- life ---- */
bool e1000__init(E1000 *s, const E1000Ops *ops, Error **err)
{
    s->ops = ops;
    return net_card_init(&s->pci.dev.obj, &s->port, &port_ops, s->netdev, s->conf_mac, err);
}

static void fini(Obj *o)
{
    if (E(o)->port.ops)
        net_detach(&E(o)->port);
}
static void unplug(Dev *d) { net_detach(&E(d)->port); }

static bool check(const Dev *d, Error **err)
{
    const E1000 *s = e1000_of(d);

    return (s->gap <= 1 && s->tx_late < 1 << E1000_QUEUES && s->rx_late < 1 << E1000_QUEUES) || fail(err, "the card cannot be in that state");
}

/* clang-format off */
static const Field state[] = {
    ARRAY_FIELD(E1000, nvm), ARRAY_FIELD(E1000, phy), STRUCT(E1000, frame, &e1000__frame_fields), BUF(E1000, held, held_len, NET_FRAME_MAX),
    FIELD(E1000, gap), FIELD(E1000, tx_late), FIELD(E1000, rx_late), TIMER(E1000, throttle, gap_over, CLOCK_VM),
    TIMER(E1000, tx_delay, tx_delayed, CLOCK_VM), TIMER(E1000, rx_delay, rx_delayed, CLOCK_VM),
    TIMER(E1000, more, e1000__transmit, CLOCK_VM), TRANSIENT(E1000, ops, "of the class", .keep = true),
    TRANSIENT(E1000, port, "wiring", .keep = true), TRANSIENT(E1000, pad, "padding"), TRANSIENT(E1000, pad2, "padding"),
};
static const Prop props[] = {
    { .name = "netdev", PROP_(E1000, netdev), .kind = P_LINK, .space = "netdev", .doc = "the back end" },
    PROP_BOOTINDEX(E1000),
    PROP_MAC(E1000, conf_mac, "mac", "hardware address; 52:54:00:12:34:56 and on when not given"),
};
const DevClass e1000__base = {
    .obj = { .name = "e1000-base", .size = sizeof(E1000), .props = TABLE(props), .fini = fini }, .bus = "PCI", .base = &pci_base,
    .state = TABLE(state), .on_reset = on_reset, .check = check, .unplug = unplug,
};
/* clang-format on */
