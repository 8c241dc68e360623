/*
 * hw/net/rtl8139.c - Realtek's RTL8139C+ Fast Ethernet card: registers, filters, interrupts, EEPROM, timer.
 * Source: RTL8139C(L)+ data sheet (rev. 1.6). Left out: wake-up, the boot ROM, loopback, tally counters.
 */
#include "hw/net/rtl8139.h"

enum { EEM = 0xc0, EEM_PROGRAM = 0x80, EEM_CONFIG = 0xc0, EE_CS = 8, EE_SK = 4, EE_DI = 2, EE_DO = 1, MAC_AT = 7 /* words */ };
enum { BMCR_RESET = 0x8000, BMCR_RESTART = 0x200, BMSR_LINK = 4, MSR_LINK_BAD = 4, TPPOLL_NPQ = 0x40, TPPOLL_FSWINT = 1, FRAME_MAX = 1792 };
enum { TCR_VERSION = 0x74800000, TICKS_PER_US = 33 };

static const Rtl *of(const Dev *d) { return (const Rtl *)(const void *)d; }

/* ---- sending ---- */
void rtl__send_frame(Rtl *s, const uint8_t *p, size_t n)
{
    uint8_t padded[NET_MIN_FRAME] = { 0 };

    if (n >= sizeof(padded)) {
        net_send_flat(&s->port, p, n);
        return;
    }
    memcpy(padded, p, n);
    net_send_flat(&s->port, padded, sizeof(padded));
}

static bool by_descriptors(const Rtl *s) { return s->cpcr & CPCR_TE; }

static void send_all(Dev *d)
{
    if (by_descriptors(RTL(d)))
        rtl__cp_transmit(RTL(d));
    else
        rtl__ring_transmit(RTL(d));
}

static void ready(void *o)
{
    WITH_DEV(&((Rtl *)o)->pci.dev)
        send_all(o);
}

static void tsd_w(Dev *d, unsigned n, uint64_t old)
{
    if (!by_descriptors(RTL(d)))
        rtl__ring_transmit(RTL(d));
}

static void poll_w(Dev *d, uint64_t val, unsigned lanes)
{
    Rtl *s = RTL(d);

    if (val & TPPOLL_FSWINT)
        s->isr |= ISR_SWINT;
    if (val & TPPOLL_NPQ && s->cr & CR_TE && by_descriptors(s))
        rtl__cp_transmit(s);
}

/* ---- receiving ---- */
static bool listening(const Rtl *s) { return s->cr & CR_RE; }

/* What kind of address let it in, or 0: none. */
static unsigned wanted(const Rtl *s, const uint8_t *f)
{
    unsigned h;

    if (le32_load(f) == UINT32_MAX && le16_load(f + 4) == UINT16_MAX)
        return s->rcr & (RCR_AB | RCR_AAP) ? RX_BAR : 0;
    if (f[0] & 1) {
        h = net_crc32_be(f, 6) >> 26;
        return s->rcr & RCR_AAP || (s->rcr & RCR_AM && s->mar[h >> 3] >> (h & 7) & 1) ? RX_MAR : 0;
    }
    return s->rcr & RCR_AAP || (s->rcr & RCR_APM && !memcmp(f, s->idr, 6)) ? RX_PAM : 0;
}

static bool deliver(Rtl *s, const uint8_t *f, size_t len)
{
    unsigned rx = wanted(s, f);

    if (!rx)
        return true;
    return s->cpcr & CPCR_RE ? rtl__cp_receive(s, f, len, rx) : rtl__ring_receive(s, f, len, rx);
}

static bool can_take(void *o) { return !listening(o) || !((Rtl *)o)->held_len; }

static void take(void *o, const struct iovec *iov, int n)
{
    Rtl *s = o;
    g_autofree uint8_t *f = g_malloc0(FRAME_MAX + FCS);
    size_t len = net_flatten(iov, n, f, FRAME_MAX);

    if (!listening(s) || len > FRAME_MAX)
        return;
    len = MAX(len, NET_MIN_FRAME);
    le32_store(f + len, net_crc32(f, len));
    WITH_DEV(&s->pci.dev) {
        if (!deliver(s, f, len)) {
            g_free(s->held);
            s->held = g_steal_pointer(&f);
            s->held_len = (uint32_t)(len + FCS);
        }
    }
}

static void more_room(Rtl *s)
{
    if (s->held_len && (!listening(s) || deliver(s, s->held, s->held_len - FCS)))
        s->held_len = 0;
    if (!s->held_len)
        net_can_take(&s->port);
}

static void room_w(Dev *d, uint64_t old) { more_room(RTL(d)); }

/* ---- interrupts ---- */
static bool level(const Dev *d) { return of(d)->isr & of(d)->imr; }

/* A driver that says "seen" has given descriptors back, as a rule. */
static void isr_w(Dev *d, uint64_t val, unsigned lanes) { more_room(RTL(d)); }

static void link_changed(void *o, bool up)
{
    Rtl *s = o;

    WITH_DEV(&s->pci.dev)
        s->isr |= ISR_LINKCHG;
}

/* ---- timer: the PCI clock ---- */
static uint64_t ticks(const Rtl *s) { return (uint64_t)(clock_now(&s->pci.dev) - s->counted_from) * TICKS_PER_US / 1000; }
static uint64_t tctr(const Dev *d) { return ticks(of(d)) & UINT32_MAX; }

static void arm(Rtl *s)
{
    uint64_t now = ticks(s), at = (now & ~(uint64_t)UINT32_MAX) | s->timer_int;

    if (!s->timer_int) {
        timer_del(&s->timeout);
        return;
    }
    if (at <= now)
        at += 1ull << 32;
    timer_at(&s->timeout, s->counted_from + (int64_t)(at * 1000 / TICKS_PER_US) + 1);
}

static void timed_out(Dev *d)
{
    RTL(d)->isr |= ISR_TIMEOUT;
    arm(RTL(d));
}

static void timer_int_w(Dev *d, uint64_t old) { arm(RTL(d)); }

static void tctr_w(Dev *d, uint64_t val, unsigned lanes)
{
    RTL(d)->counted_from = clock_now(d);
    arm(RTL(d));
}

/* ---- control ---- */
static void fill_eeprom(Rtl *s)
{
    static const uint16_t words[] = { 0x8129, 0x10ec, 0x8139, 0x1100, 0x1af4, 0x0000, 0x0000 };

    memset(s->eeprom, 0, sizeof(s->eeprom));
    memcpy(s->eeprom, words, sizeof(words));
    for (unsigned i = 0; i < 3; i++)
        s->eeprom[MAC_AT + i] = le16_load(s->conf_mac + 2 * i);
    memcpy(s->idr, s->conf_mac, 6);
}

static uint64_t cr(const Dev *d)
{
    const Rtl *s = of(d);

    return (s->cr & (CR_TE | CR_RE)) | (rtl__ring_empty(s) ? CR_BUFE : 0);
}

static void cr_w(Dev *d, uint64_t old)
{
    Rtl *s = RTL(d);

    if (s->cr & CR_RST) {
        uint32_t timer = s->timer_int;

        dev_reset_state(d);
        s->timer_int = timer;
        fill_eeprom(s);
        return;
    }
    if (s->cr & CR_TE)
        send_all(d);
    more_room(s);
}

static bool unlocked(const Dev *d) { return (of(d)->cfg9346 & EEM) == EEM_CONFIG; }

static uint64_t cfg9346(const Dev *d)
{
    const Rtl *s = of(d);

    return (s->cfg9346 & ~(unsigned)EE_DO) | ((s->cfg9346 & EEM) == EEM_PROGRAM && microwire_out(&s->ee) ? EE_DO : 0);
}

static void cfg9346_w(Dev *d, uint64_t old)
{
    Rtl *s = RTL(d);

    if ((s->cfg9346 & EEM) != EEM_PROGRAM || !(s->cfg9346 & EE_CS))
        microwire_deselect(&s->ee);
    else if (s->cfg9346 & ~old & EE_SK)
        microwire_clock(&s->ee, s->eeprom, s->cfg9346 & EE_DI);
}

static uint64_t msr(const Dev *d) { return (of(d)->msr & 0xc0) | (net_link_up(&of(d)->port) ? 0 : MSR_LINK_BAD); }
static uint64_t bmsr(const Dev *d) { return 0x7809 | (net_link_up(&of(d)->port) ? BMSR_LINK | 0x20u : 0); }
static void bmcr_w(Dev *d, uint64_t old) { RTL(d)->bmcr &= (uint16_t)~(BMCR_RESET | BMCR_RESTART); }
static uint64_t tcr(const Dev *d) { return (of(d)->tcr & 0x03060ff0) | TCR_VERSION; }
static void mpc_w(Dev *d, uint64_t val, unsigned lanes) { RTL(d)->mpc = 0; }

/* Which of the four buffers are done: OWN in bits 0..3, TOK in 12..15. */
static uint64_t tsad_summary(const Dev *d)
{
    unsigned v = 0;

    for (unsigned i = 0; i < 4; i++)
        v |= (of(d)->tsd[i] & TSD_OWN ? 1u << i : 0) | (of(d)->tsd[i] & TSD_TOK ? 1u << (12 + i) : 0);
    return v;
}

static void cpcr_w(Dev *d, uint64_t old)
{
    RTL(d)->tx_slot = RTL(d)->rx_slot = 0;
    more_room(RTL(d));
}
static void rdsar_w(Dev *d, unsigned n, uint64_t old) { RTL(d)->rx_slot = 0; }
static void tsad_w(Dev *d, unsigned n, uint64_t old)
{
    if (n < 2)
        RTL(d)->tx_slot = 0;
}

/* ---- life ---- */
static const NetPortOps port_ops = { .can_take = can_take, .take = take, .ready = ready, .link = link_changed };

static bool init(Obj *o, Error **err)
{
    Rtl *s = RTL(o);

    return net_card_init(o, &s->port, &port_ops, s->netdev, s->conf_mac, err);
}

static void fini(Obj *o)
{
    if (RTL(o)->port.ops)
        net_detach(&RTL(o)->port);
}
static void unplug(Dev *d) { net_detach(&RTL(d)->port); }
static void on_reset(Dev *d) { fill_eeprom(RTL(d)); }

static bool check(const Dev *d, Error **err)
{
    const Rtl *s = of(d);

    return (s->tx_next < 4 && s->tx_slot < 64 && s->rx_slot < 64 && s->ee.bits <= 9 && s->tx_len <= NET_FRAME_MAX && s->counted_from >= 0 &&
            s->counted_from <= INT64_MAX / 4 && (!s->held_len || s->held_len >= NET_MIN_FRAME + FCS) && s->held_len <= FRAME_MAX + FCS) ||
           fail(err, "the card cannot be in that state");
}

/* clang-format off */
static const Reg regs[] = {
    { "IDR",    0x00, REGS(Rtl, idr, 6, 1), .rw = 0xff, .when = unlocked, .doc = "own address" },
    { "MAR",    0x08, REGS(Rtl, mar, 8, 1), .rw = 0xff, .doc = "hash of multicast addresses" },
    { "TSD",    0x10, REGS(Rtl, tsd, 4, 4), .reset = TSD_OWN, .rw = 0x003f3fff, .write_n = tsd_w, .doc = "size and status of a buffer to send" },
    { "TSAD",   0x20, REGS(Rtl, tsad, 4, 4), .rw = UINT32_MAX, .write_n = tsad_w, .doc = "its address; C+: the ring of descriptors" },
    { "RBSTART", 0x30, REG(Rtl, rbstart), .rw = UINT32_MAX },
    { "CR",     0x37, REG(Rtl, cr), .rw = CR_RST | CR_RE | CR_TE, .value = cr, .write = cr_w, .doc = "0 buffer empty, 2 send, 3 receive, 4 reset" },
    { "CAPR",   0x38, REG(Rtl, capr), .rw = 0xffff, .reset = 0xfff0, .write = room_w, .doc = "read up to here, less 16" },
    { "CBR",    0x3a, REG(Rtl, cbr), .doc = "written up to here" },
    { "IMR",    0x3c, REG(Rtl, imr), .rw = 0xffff }, { "ISR", 0x3e, REG(Rtl, isr), .w1c = 0xffff, .wrote = isr_w },
    { "TCR",    0x40, REG(Rtl, tcr), .rw = UINT32_MAX, .value = tcr }, { "RCR", 0x44, REG(Rtl, rcr), .rw = UINT32_MAX, .write = room_w },
    { "TCTR",   0x48, NOFIELD(4), .value = tctr, .wrote = tctr_w, .doc = "33 MHz" }, { "MPC", 0x4c, REG(Rtl, mpc), .wrote = mpc_w },
    { "9346CR", 0x50, REG(Rtl, cfg9346), .rw = 0xfe, .value = cfg9346, .write = cfg9346_w, .doc = "EEPROM, and the lock of the configuration" },
    { "CONFIG0", 0x51, REG(Rtl, config0) }, { "CONFIG1", 0x52, REG(Rtl, config1), .rw = 0xf3, .reset = 0x0c, .when = unlocked },
    { "TimerInt", 0x54, REG(Rtl, timer_int), .rw = UINT32_MAX, .write = timer_int_w },
    { "MSR",    0x58, REG(Rtl, msr), .rw = 0xc0, .value = msr, .doc = "2: no link" },
    { "CONFIG3", 0x59, REG(Rtl, config3), .rw = 0xff, .reset = 1, .when = unlocked }, { "CONFIG4", 0x5a, REG(Rtl, config4), .rw = 0xff, .reset = 0x80, .when = unlocked },
    { "MULINT", 0x5c, REG(Rtl, mulint), .rw = 0xffff },
    { "TSAD summary", 0x60, NOFIELD(2), .value = tsad_summary },
    { "BMCR",   0x62, REG(Rtl, bmcr), .rw = 0xb300, .reset = 0x1000, .write = bmcr_w }, { "BMSR", 0x64, NOFIELD(2), .value = bmsr },
    { "ANAR",   0x66, REG(Rtl, anar), .rw = 0xffff, .reset = 0x01e1 }, { "ANLPAR", 0x68, REG(Rtl, anlpar), .reset = 0x45e1 },
    { "ANER",   0x6a, REG(Rtl, aner), .reset = 1 },
    { "CONFIG5", 0xd8, REG(Rtl, config5), .rw = 0xff, .when = unlocked },
    { "TPPoll", 0xd9, REG(Rtl, txpoll), .wrote = poll_w, .doc = "C+: 6 send" },
    { "C+CR",   0xe0, REG(Rtl, cpcr), .rw = 0x7b, .write = cpcr_w, .doc = "0, 1: descriptors for sending, receiving" },
    { "RDSAR",  0xe4, REGS(Rtl, rdsar, 2, 4), .rw = UINT32_MAX, .write_n = rdsar_w }, { "ETThR", 0xec, REG(Rtl, etthr), .rw = 0xff },
};
static const Bank bank = { "rtl8139", 256, TABLE(regs), .max = 4, .quiet = true };
static const Field state[] = {
    FIELD(Rtl, tx_next), ARRAY_FIELD(Rtl, eeprom, .keep = true), FIELD(Rtl, tx_slot), FIELD(Rtl, rx_slot), STRUCT(Rtl, ee, &microwire_fields),
    BUF(Rtl, tx, tx_len, NET_FRAME_MAX), BUF(Rtl, held, held_len, NET_FRAME_MAX), FIELD(Rtl, counted_from, .keep = true),
    TIMER(Rtl, more, send_all, CLOCK_VM), TIMER(Rtl, timeout, timed_out, CLOCK_VM),
    TRANSIENT(Rtl, port, "wiring", .keep = true), TRANSIENT(Rtl, pad, "padding"),
};
static const Prop props[] = {
    { .name = "netdev", PROP_(Rtl, netdev), .kind = P_LINK, .space = "netdev", .doc = "the back end" },
    PROP_BOOTINDEX(Rtl),
    PROP_MAC(Rtl, conf_mac, "mac", "hardware address; 52:54:00:12:34:56 and on when not given"),
};
static const Out outs[] = { { "intx", level } };
static const PciClass rtl8139 = {
    PCI_DEVICE(Rtl, "rtl8139", "Realtek RTL8139C+ Fast Ethernet"), .dev.category = "Network devices", .dev.obj.props = TABLE(props),
    .dev.obj.init = init, .dev.obj.fini = fini, .dev.state = TABLE(state), .dev.outs = outs, .dev.nouts = 1, .dev.on_reset = on_reset,
    .dev.check = check, .dev.unplug = unplug, .dev.hotplug = true,
    .vendor = 0x10ec, .device = 0x8139, .revision = 0x20, .class_id = 0x020000, .irq_pin = 1, .romfile = "efi-rtl8139.rom",
    .bar[0] = { 256, BAR_IO, .bank = &bank }, .bar[1] = { 256, .bank = &bank },
};
DEVICE_OF(Rtl, rtl8139, &rtl8139.dev);
/* clang-format on */
