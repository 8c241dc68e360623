/*
 * hw/net/e1000.c - Intel's 82540EM gigabit Ethernet card: registers, interrupts with throttling, link, reset.
 * Source: Intel 317453, chapters 4, 13 and 14. The other side of e1000-tx.c, e1000-rx.c and e1000-phy.c.
 * Left out: flow control frames, wake-up, the diagnostic registers, flash.
 */
#include "hw/net/e1000.h"

enum { DELAY_UNIT = 1024 /* ns */, ITR_UNIT = 256, CTRL_RESET = CTRL_SLU | 0x201 /* full duplex, 1000 Mbit/s */ };

static const E1000 *of(const Dev *d) { return (const E1000 *)(const void *)d; }

/* ---- interrupts ---- */
static bool level(const Dev *d) { return of(d)->icr & of(d)->ims && !of(d)->gap; }
void e1000__cause(E1000 *s, uint32_t icr) { s->icr |= icr & ICR_BITS; }

/* The line goes down: it stays so for the throttle interval. */
static void begin_gap(E1000 *s)
{
    if (!(s->itr & 0xffff) || s->gap)
        return;
    s->gap = 1;
    timer_in(&s->throttle, (int64_t)(s->itr & 0xffff) * ITR_UNIT);
}

static void gap_over(Dev *d) { E(d)->gap = 0; }

static void icr_read(Dev *d, unsigned lanes)
{
    bool was = level(d);

    E(d)->icr = 0;
    if (was)
        begin_gap(E(d));
}

static void icr_w(Dev *d, uint64_t val, unsigned lanes)
{
    bool was = level(d);

    E(d)->icr &= (uint32_t)~val;
    if (was && !level(d))
        begin_gap(E(d));
}

static uint64_t icr(const Dev *d) { return of(d)->icr | (of(d)->icr & of(d)->ims ? 1u << 31 : 0); }
static void ics_w(Dev *d, uint64_t val, unsigned lanes) { e1000__cause(E(d), (uint32_t)val); }
static void ims_w(Dev *d, uint64_t val, unsigned lanes) { E(d)->ims |= (uint32_t)val & ICR_BITS; }
static void imc_w(Dev *d, uint64_t val, unsigned lanes) { E(d)->ims &= (uint32_t)~val; }

static void tx_delayed(Dev *d) { e1000__cause(E(d), ICR_TXDW); }
static void rx_delayed(Dev *d) { e1000__cause(E(d), ICR_RXT0); }

static void rdtr_w(Dev *d, uint64_t old)
{
    E1000 *s = E(d);

    if (s->rdtr & 1u << 31) { /* FPD: do not wait any more */
        s->rdtr &= 0xffff;
        if (timer_pending(&s->rx_delay)) {
            timer_del(&s->rx_delay);
            rx_delayed(d);
        }
    }
}

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
static uint64_t status(const Dev *d)
{
    return STATUS_FD | STATUS_SPEED_1000 | (net_link_up(&of(d)->port) && of(d)->ctrl & CTRL_SLU ? STATUS_LU : 0);
}

static void link_changed(void *o, bool up)
{
    E1000 *s = o;

    WITH_DEV(&s->pci.dev)
        e1000__cause(s, ICR_LSC);
}

/* What the EEPROM loads. */
static void load_defaults(E1000 *s)
{
    s->ra[0] = le32_load(s->conf_mac);
    s->ra[1] = le16_load(s->conf_mac + 4) | RAH_AV;
    e1000__eeprom_fill(s, s->conf_mac);
    e1000__phy_reset(s);
}

static void ctrl_w(Dev *d, uint64_t old)
{
    E1000 *s = E(d);
    uint32_t link = s->ctrl & ~(uint32_t)old & CTRL_SLU;

    if (s->ctrl & CTRL_RST) {
        dev_reset_state(d);
        load_defaults(s);
        return;
    }
    if (link && net_link_up(&s->port))
        e1000__cause(s, ICR_LSC);
}

static void on_reset(Dev *d) { load_defaults(E(d)); }

/* ---- rings ---- */
static void transmit(Dev *d, uint64_t old) { e1000__transmit(d); }
static void receive(Dev *d, uint64_t old) { e1000__more_descriptors(E(d)); }
static void ready(void *o)
{
    WITH_DEV(&((E1000 *)o)->pci.dev)
        e1000__transmit(o);
}
static const NetPortOps port_ops = { .can_take = e1000__can_take, .take = e1000__take, .ready = ready, .link = link_changed };

/* ---- life ---- */
static bool init(Obj *o, Error **err)
{
    E1000 *s = E(o);

    return net_card_init(o, &s->port, &port_ops, s->netdev, s->conf_mac, err);
}

static void fini(Obj *o)
{
    if (E(o)->port.ops)
        net_detach(&E(o)->port);
}
static void unplug(Dev *d) { net_detach(&E(d)->port); }

static bool check(const Dev *d, Error **err)
{
    const E1000 *s = of(d);

    return (s->gap <= 1 && s->ee.bits <= 9 && s->tx_len <= NET_FRAME_MAX) || fail(err, "the card cannot be in that state");
}

/* clang-format off */
#define PLAIN(nm, off, m) { nm, off, REG(E1000, m), .rw = UINT32_MAX }
static const Reg mmio[] = {
    { "CTRL",   0x0000, REG(E1000, ctrl), .rw = UINT32_MAX, .reset = CTRL_RESET, .write = ctrl_w, .doc = "6 link up, 26 reset, 30 VLAN" },
    { "CTRL",   0x0004, REG(E1000, ctrl), .rw = UINT32_MAX, .write = ctrl_w, .doc = "its duplicate" },
    { "STATUS", 0x0008, NOFIELD(4), .value = status, .doc = "0 full duplex, 1 link" },
    { "EECD",   0x0010, REG(E1000, eecd), .rw = 0x77, .value = e1000__eecd, .write = e1000__eecd_w, .doc = "EEPROM, bit by bit" },
    { "EERD",   0x0014, REG(E1000, eerd), .rw = UINT32_MAX, .write = e1000__eerd_w, .doc = "EEPROM, word by word" },
    { "MDIC",   0x0020, REG(E1000, mdic), .rw = 0x2fffffff, .write = e1000__mdic_w, .doc = "PHY registers" },
    PLAIN("FCAL", 0x0028, fcal), PLAIN("FCAH", 0x002c, fcah), PLAIN("FCT", 0x0030, fct),
    { "VET",    0x0038, REG(E1000, vet), .rw = 0xffff, .reset = 0x8100, .doc = "type of VLAN tags" },
    { "ICR",    0x00c0, REG(E1000, icr), .value = icr, .on_read = icr_read, .wrote = icr_w, .doc = "causes; a read clears them" },
    PLAIN("ITR", 0x00c4, itr),
    { "ICS",    0x00c8, NOFIELD(4), .wo = true, .wrote = ics_w, .doc = "sets causes" },
    { "IMS",    0x00d0, REG(E1000, ims), .wrote = ims_w, .doc = "lets causes through" },
    { "IMC",    0x00d8, NOFIELD(4), .wo = true, .wrote = imc_w, .doc = "holds them back" },
    { "RCTL",   0x0100, REG(E1000, rctl), .rw = 0x0fffffff, .write = receive, .doc = "receive control" },
    PLAIN("FCTTV", 0x0170, fcttv),
    { "TCTL",   0x0400, REG(E1000, tctl), .rw = 0x0fffffff, .write = transmit, .doc = "transmit control" },
    PLAIN("TIPG", 0x0410, tipg), PLAIN("AIFS", 0x0458, ait), PLAIN("LEDCTL", 0x0e00, ledctl),
    { "PBA",    0x1000, REG(E1000, pba), .rw = 0xffff, .reset = 0x00100030 },
    { "RDBAL",  0x2800, REG(E1000, rdbal), .rw = 0xfffffff0 }, PLAIN("RDBAH", 0x2804, rdbah),
    { "RDLEN",  0x2808, REG(E1000, rdlen), .rw = 0xfff80 }, { "RDH", 0x2810, REG(E1000, rdh), .rw = 0xffff },
    { "RDT",    0x2818, REG(E1000, rdt), .rw = 0xffff, .write = receive, .doc = "descriptors up to here are free" },
    { "RDTR",   0x2820, REG(E1000, rdtr), .rw = 0x8000ffff, .write = rdtr_w }, PLAIN("RXDCTL", 0x2828, rxdctl),
    PLAIN("RADV", 0x282c, radv), PLAIN("RSRPD", 0x2c00, rsrpd),
    { "TDBAL",  0x3800, REG(E1000, tdbal), .rw = 0xfffffff0 }, PLAIN("TDBAH", 0x3804, tdbah),
    { "TDLEN",  0x3808, REG(E1000, tdlen), .rw = 0xfff80 }, { "TDH", 0x3810, REG(E1000, tdh), .rw = 0xffff },
    { "TDT",    0x3818, REG(E1000, tdt), .rw = 0xffff, .write = transmit, .doc = "descriptors up to here are to be sent" },
    PLAIN("TIDV", 0x3820, tidv), PLAIN("TXDCTL", 0x3828, txdctl), PLAIN("TADV", 0x382c, tadv),
    { "statistics", 0x4000, REGS(E1000, stats, STATISTICS, 4), .rc = UINT32_MAX },
    PLAIN("RXCSUM", 0x5000, rxcsum),
    { "MTA",    0x5200, REGS(E1000, mta, MTA_WORDS, 4), .rw = UINT32_MAX, .doc = "hash of multicast addresses" },
    { "RA",     0x5400, REGS(E1000, ra, 2 * ADDRESSES, 4), .rw = UINT32_MAX, .doc = "addresses" },
    { "VFTA",   0x5600, REGS(E1000, vfta, VFTA_WORDS, 4), .rw = UINT32_MAX, .doc = "VLANs" },
    PLAIN("WUC", 0x5800, wuc), PLAIN("WUFC", 0x5808, wufc), { "WUS", 0x5810, REG(E1000, wus), .w1c = UINT32_MAX },
    PLAIN("MANC", 0x5820, manc), PLAIN("SWSM", 0x5b50, swsm),
};
static const Bank mmio_bank = { "e1000", MMIO_SIZE, TABLE(mmio), .max = 4, .quiet = true };
static const RegTable mmio_table = TABLE(mmio);
static const Reg io[] = {
    { "IOADDR", 0, REG(E1000, ioaddr), .rw = UINT32_MAX, .doc = "which register IODATA is" },
    { "IODATA", 4, .at = UINT32_MAX, .size = 4, .indexed = &mmio_table, .index_at = offsetof(E1000, ioaddr), .index_size = 4 },
};
static const Bank io_bank = { "e1000-io", 64, TABLE(io), .quiet = true };
static const Field context_fields[] = {
    FIELD(E1000Context, ipcss), FIELD(E1000Context, ipcso), FIELD(E1000Context, tucss), FIELD(E1000Context, tucso), FIELD(E1000Context, hdrlen),
    FIELD(E1000Context, tucmd), FIELD(E1000Context, ipcse), FIELD(E1000Context, tucse), FIELD(E1000Context, mss),
};
static const FieldTable context_table = TABLE(context_fields);
static const Field state[] = {
    ARRAY_FIELD(E1000, eeprom), ARRAY_FIELD(E1000, phy), STRUCT(E1000, ee, &microwire_fields),
    STRUCT(E1000, context, &context_table), FIELD(E1000, tx_popts), FIELD(E1000, tx_cmd), FIELD(E1000, tx_legacy), FIELD(E1000, tx_cso),
    FIELD(E1000, tx_css), FIELD(E1000, tx_bad), FIELD(E1000, tx_vlan), BUF(E1000, tx, tx_len, NET_FRAME_MAX), BUF(E1000, held, held_len, NET_FRAME_MAX),
    FIELD(E1000, gap), TIMER(E1000, throttle, gap_over, CLOCK_VM, MISSED_DROP), TIMER(E1000, tx_delay, tx_delayed, CLOCK_VM, MISSED_DROP),
    TIMER(E1000, rx_delay, rx_delayed, CLOCK_VM, MISSED_DROP), TIMER(E1000, more, e1000__transmit, CLOCK_VM, MISSED_DROP),
    TRANSIENT(E1000, port, "wiring", .keep = true), TRANSIENT(E1000, pad, "padding"), TRANSIENT(E1000, pad2, "padding"),
};
static const Prop props[] = {
    { .name = "netdev", PROP_(E1000, netdev), .kind = P_LINK, .space = "netdev", .doc = "the back end" },
    PROP_BOOTINDEX(E1000),
    PROP_MAC(E1000, conf_mac, "mac", "hardware address; 52:54:00:12:34:56 and on when not given"),
};
static const Out outs[] = { { "intx", level } };
static const PciClass e1000 = {
    PCI_DEVICE(E1000, "e1000", "Intel Gigabit Ethernet (82540EM)"), .dev.category = "Network devices", .dev.obj.props = TABLE(props),
    .dev.obj.init = init, .dev.obj.fini = fini, .dev.state = TABLE(state), .dev.outs = outs, .dev.nouts = 1, .dev.on_reset = on_reset,
    .dev.check = check, .dev.unplug = unplug, .dev.hotplug = true,
    .vendor = 0x8086, .device = 0x100e, .revision = 3, .class_id = 0x020000, .irq_pin = 1,
    .bar[0] = { MMIO_SIZE, .bank = &mmio_bank }, .bar[1] = { 64, BAR_IO, .bank = &io_bank },
};
DEVICE_OF(E1000, e1000, &e1000.dev);
/* clang-format on */
