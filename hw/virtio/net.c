/*
 * hw/virtio/net.c - virtio-net-pci. Source: virtio 1.2 section 5.1. Checksums and segments that the driver leaves to us are made here
 * (net/frame.c); received frames are whole. Left out: receive coalescing, RSS, hash reports, offloads changed at run time.
 * Invariants: a frame is popped for only when the back end has room for all its pieces, so that none is lost; one that
 * the driver's buffers do not hold yet waits in `held`, and nothing is taken before it.
 */
#include "hw/virtio/virtio.h"
#include "net/net.h"

enum { F_CSUM = 1 << 0, F_GUEST_CSUM = 1 << 1, F_MTU = 1 << 3, F_MAC = 1 << 5, F_TSO4 = 1 << 11, F_TSO6 = 1 << 12, F_ECN = 1 << 13,
       F_MRG_RXBUF = 1 << 15, F_STATUS = 1 << 16, F_CTRL_VQ = 1 << 17, F_CTRL_RX = 1 << 18, F_CTRL_VLAN = 1 << 19,
       F_CTRL_RX_EXTRA = 1 << 20, F_ANNOUNCE = 1 << 21, F_MQ = 1 << 22, F_CTRL_MAC = 1 << 23 };
enum { HDR = 10, HDR_MRG = 12, NEEDS_CSUM = 1, GSO_NONE = 0, GSO_TCP4 = 1, GSO_TCP6 = 4, GSO_ECN = 0x80 };
enum { S_LINK_UP = 1, S_ANNOUNCE = 2, CONFIG_SIZE = 12, QUEUE = 256, PER_KICK = 256, PAIRS_MAX = 16, MACS = 64, FLOWS = 256, CHAINS_MAX = 64 };
enum { CTRL_RX, CTRL_MAC, CTRL_VLAN, CTRL_ANNOUNCE, CTRL_MQ };
enum { RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST, RX_MODES };

typedef struct VirtioNet {
    Virtio v;
    void *netdev;
    NetPort port;
    VmListener listener;
    uint8_t *held; /* a frame that waits for buffers */
    uint32_t held_len;
    int32_t bootindex;
    uint16_t pairs, mtu;   /* properties */
    uint16_t pairs_in_use;
    uint8_t mac[6], conf_mac[6]; /* now; property */
    uint8_t rx[RX_MODES], announce, moved;
    uint8_t macs[MACS][6], nuni, nmulti, uni_overflow, multi_overflow; /* unicast first */
    uint8_t vlans[4096 / 8];
    uint8_t flow[FLOWS]; /* the pair that last sent on a flow: answers come there */
    uint8_t pad[7];
    Timer more; /* a queue that was not empty after its share */
} VirtioNet;
#define N(d) ((VirtioNet *)(void *)(d))

static size_t header(const Virtio *v) { return virtio_has(v, VIRTIO_F_VERSION_1 | F_MRG_RXBUF) ? HDR_MRG : HDR; }
static unsigned pair_count(const VirtioNet *s) { return virtio_has(&s->v, F_MQ) ? MIN(s->pairs_in_use, s->pairs) : 1; }
static unsigned ctrl_queue(const VirtioNet *s) { return virtio_has(&s->v, F_MQ) ? 2u * s->pairs : 2; }

/* The same for both directions of a conversation. */
static unsigned flow_of(const uint8_t *f, size_t len)
{
    uint32_t h = 0;

    for (size_t i = 26; i + 4 <= MIN(len, 38); i += 4)
        h ^= le32_load(f + i);
    h ^= h >> 16;
    return (h ^ h >> 8) % FLOWS;
}

/* ---- sending ---- */
static void piece(void *arg, const uint8_t *p, size_t n) { net_send_flat(&((VirtioNet *)arg)->port, p, n); }

static bool finish_checksum(uint8_t *f, size_t len, size_t start, size_t at)
{
    uint16_t v;

    if (start >= len || at > len - 2 || at < start)
        return false;
    v = net_fold(net_sum(f + start, len - start, 0));
    be_store(f + at, 2, v ? v : 0xffff);
    return true;
}

static bool send_frame(VirtioNet *s, const uint8_t *h, uint8_t *f, size_t len)
{
    unsigned gso = h[1] & ~(unsigned)GSO_ECN;
    size_t start = le16_load(h + 6), l3 = NET_HEADER;

    if (gso == GSO_TCP4 || gso == GSO_TCP6) {
        if (len > 18 && f[12] == 0x81 && f[13] == 0)
            l3 += 4;
        return h[0] & NEEDS_CSUM && net_segment(f, len, l3, start, le16_load(h + 4), piece, s);
    }
    if (gso != GSO_NONE || (h[0] & NEEDS_CSUM && !finish_checksum(f, len, start, start + le16_load(h + 8))))
        return false;
    net_send_flat(&s->port, f, len);
    return true;
}

static void transmit(VirtioNet *s, VirtioChain *c)
{
    size_t head = header(&s->v), len = c->out_len > head ? (size_t)MIN(c->out_len - head, NET_FRAME_MAX) : 0;
    g_autofree uint8_t *f = g_malloc(len + 1);
    uint8_t h[HDR];

    if (!len || c->out_len - head > NET_FRAME_MAX || !virtio_out(&s->v, c, 0, h, sizeof(h)) || !virtio_out(&s->v, c, head, f, len)) {
        guest_error(&s->v.pci.dev, "a frame to send without header or memory");
    } else {
        s->flow[flow_of(f, len)] = (uint8_t)(c->queue / 2);
        if (!send_frame(s, h, f, len))
            guest_error(&s->v.pci.dev, "a frame to send whose header does not fit it");
    }
    virtio_push(&s->v, c, 0);
}

/* Bounded: a share per kick, the rest by timer, so that others get their turn. */
static void send_queue(VirtioNet *s, unsigned queue)
{
    for (unsigned i = 0; net_has_room(&s->port); i++) {
        VirtioChain *c;

        if (i == PER_KICK) {
            timer_in(&s->more, US);
            return;
        }
        c = virtio_pop(&s->v, queue);
        if (!c)
            return;
        transmit(s, c);
    }
}

static void send_all(Dev *d)
{
    for (unsigned i = 0; i < pair_count(N(d)); i++)
        send_queue(N(d), 2 * i + 1);
}

static void ready(void *o)
{
    WITH_DEV(&((VirtioNet *)o)->v.pci.dev)
        send_all(o);
}

/* ---- receiving ---- */
static bool known_mac(const VirtioNet *s, const uint8_t *mac)
{
    bool multi = mac[0] & 1;

    for (unsigned i = multi ? s->nuni : 0; i < (multi ? s->nuni + s->nmulti : s->nuni); i++)
        if (!memcmp(s->macs[i], mac, 6))
            return true;
    return multi ? s->multi_overflow : s->uni_overflow || !memcmp(s->mac, mac, 6);
}

static bool wanted(const VirtioNet *s, const uint8_t *f, size_t len)
{
    static const uint8_t broadcast[6] = { 255, 255, 255, 255, 255, 255 };

    if (s->rx[RX_PROMISC])
        return true;
    if (f[12] == 0x81 && f[13] == 0 && len >= 16 && virtio_has(&s->v, F_CTRL_VLAN)) {
        unsigned id = (f[14] & 15u) << 8 | f[15];

        if (!(s->vlans[id / 8] >> id % 8 & 1))
            return false;
    }
    if (!memcmp(f, broadcast, 6))
        return !s->rx[RX_NOBCAST];
    if (f[0] & 1)
        return !s->rx[RX_NOMULTI] && (s->rx[RX_ALLMULTI] || known_mac(s, f));
    return !s->rx[RX_NOUNI] && (s->rx[RX_ALLUNI] || known_mac(s, f));
}

/* Chains for `need` bytes; the number, or 0: they are not there (put back), or one alone is too small. */
static unsigned gather(VirtioNet *s, unsigned queue, size_t need, VirtioChain **c, bool *never)
{
    unsigned n = 0;
    uint64_t have = 0;

    *never = false;
    while (n < CHAINS_MAX && have < need && (c[n] = virtio_pop(&s->v, queue))) {
        have += c[n++]->in_len;
        if (!virtio_has(&s->v, F_MRG_RXBUF))
            break;
    }
    if (have >= need)
        return n;
    *never = n == CHAINS_MAX || (n && !virtio_has(&s->v, F_MRG_RXBUF));
    while (n)
        virtio_unpop(&s->v, c[--n]);
    return 0;
}

/* True: delivered, or never to be. */
static bool deliver(VirtioNet *s, const uint8_t *f, size_t len)
{
    size_t head = header(&s->v), need = head + len, at = 0;
    g_autofree uint8_t *whole = g_malloc0(need);
    unsigned pair = s->flow[flow_of(f, len)], queue = pair < pair_count(s) ? 2 * pair : 0, n;
    VirtioChain *c[CHAINS_MAX];
    bool never;

    n = gather(s, queue, need, c, &never);
    if (!n) {
        if (never)
            guest_error(&s->v.pci.dev, "buffers that do not hold a frame of %zu bytes", len);
        return never;
    }
    memcpy(whole + head, f, len);
    if (head == HDR_MRG)
        le16_store(whole + 10, (uint16_t)n);
    for (unsigned i = 0; i < n; i++) {
        size_t part = MIN(need - at, c[i]->in_len);
        bool ok = virtio_in(&s->v, c[i], 0, whole + at, part);

        virtio_push(&s->v, c[i], ok ? (uint32_t)part : 0);
        at += part;
    }
    return true;
}

static bool listening(const VirtioNet *s) { return virtio_live(&s->v) && s->v.q.enable[0]; }

/* Without a driver the wire goes nowhere, as on any card. */
static bool can_take(void *o) { return !listening(o) || !((VirtioNet *)o)->held_len; }

static void take(void *o, const struct iovec *iov, int n)
{
    VirtioNet *s = o;
    g_autofree uint8_t *f = g_malloc(NET_FRAME_MAX);
    size_t len = net_flatten(iov, n, f, NET_FRAME_MAX);

    if (!listening(s) || len > NET_FRAME_MAX || !wanted(s, f, len))
        return;
    WITH_DEV(&s->v.pci.dev) {
        if (!deliver(s, f, len)) {
            g_free(s->held);
            s->held = g_steal_pointer(&f);
            s->held_len = (uint32_t)len;
        }
    }
}

static void more_buffers(VirtioNet *s)
{
    if (s->held_len && deliver(s, s->held, s->held_len))
        s->held_len = 0;
    if (!s->held_len)
        net_can_take(&s->port);
}

/* ---- control queue ---- */
static bool ctrl_rx(VirtioNet *s, unsigned cmd, const uint8_t *p, size_t n)
{
    if (cmd >= RX_MODES || n != 1)
        return false;
    s->rx[cmd] = !!p[0];
    return true;
}

/* One of the two lists: count and addresses; how long it was, 0: malformed. */
static size_t mac_list(VirtioNet *s, const uint8_t *p, size_t n, uint8_t *count, uint8_t *overflow)
{
    uint32_t k = n >= 4 ? le32_load(p) : UINT32_MAX;

    if (k > (n - 4) / 6 || n < 4)
        return 0;
    *overflow = k + s->nuni > MACS;
    *count = 0;
    if (!*overflow) {
        memcpy(s->macs[s->nuni], p + 4, 6 * k);
        *count = (uint8_t)k;
    }
    return 4 + 6 * k;
}

static bool ctrl_mac(VirtioNet *s, unsigned cmd, const uint8_t *p, size_t n)
{
    size_t first;
    uint8_t k;

    if (cmd == 1 && n == 6) {
        memcpy(s->mac, p, 6);
        return true;
    }
    s->nuni = s->nmulti = 0;
    first = cmd == 0 ? mac_list(s, p, n, &k, &s->uni_overflow) : 0;
    if (!first)
        return false;
    s->nuni = k;
    return mac_list(s, p + first, n - first, &s->nmulti, &s->multi_overflow) == n - first;
}

static bool ctrl_vlan(VirtioNet *s, unsigned cmd, const uint8_t *p, size_t n)
{
    unsigned id = n == 2 ? le16_load(p) : 4096;

    if (cmd > 1 || id > 4095)
        return false;
    s->vlans[id / 8] = (uint8_t)bits_put(s->vlans[id / 8], id % 8, 1, cmd == 0);
    return true;
}

static bool control(VirtioNet *s, const uint8_t *p, size_t n)
{
    unsigned pairs;

    switch (n < 2 ? 255 : p[0]) {
    case CTRL_RX: return ctrl_rx(s, p[1], p + 2, n - 2);
    case CTRL_MAC: return ctrl_mac(s, p[1], p + 2, n - 2);
    case CTRL_VLAN: return ctrl_vlan(s, p[1], p + 2, n - 2);
    case CTRL_ANNOUNCE: s->announce = 0; return p[1] == 0;
    case CTRL_MQ:
        pairs = n == 4 && !p[1] ? le16_load(p + 2) : 0;
        if (!pairs || pairs > s->pairs)
            return false;
        s->pairs_in_use = (uint16_t)pairs;
        return true;
    default: return false;
    }
}

static void serve_control(VirtioNet *s, unsigned queue)
{
    VirtioChain *c;

    for (unsigned i = 0; (c = virtio_take(&s->v, queue, QUEUE, &i));) {
        uint8_t p[4096], ack;
        size_t n = (size_t)MIN(c->out_len, sizeof(p));

        if (!c->in_len || !virtio_out(&s->v, c, 0, p, n)) {
            virtio_broken(&s->v, "a command without room for its answer");
            g_free(c);
            return;
        }
        ack = !control(s, p, n);
        virtio_push(&s->v, c, virtio_in(&s->v, c, 0, &ack, 1));
    }
}

static void notified(Virtio *v, unsigned queue)
{
    VirtioNet *s = N(v);

    if (queue == ctrl_queue(s))
        serve_control(s, queue);
    else if (queue & 1)
        send_queue(s, queue);
    else
        more_buffers(s);
}

/* ---- configuration ---- */
static uint64_t features(const Virtio *v)
{
    const VirtioNet *s = (const VirtioNet *)(const void *)v;

    return F_CSUM | F_GUEST_CSUM | F_MAC | F_TSO4 | F_TSO6 | F_ECN | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_CTRL_VLAN |
           F_CTRL_RX_EXTRA | F_ANNOUNCE | F_CTRL_MAC | (s->pairs > 1 ? F_MQ : 0) | (s->mtu ? F_MTU : 0);
}

static void config(const Virtio *v, uint8_t *out)
{
    const VirtioNet *s = (const VirtioNet *)(const void *)v;

    memcpy(out, s->mac, 6);
    le16_store(out + 6, (net_link_up(&s->port) ? S_LINK_UP : 0) | (s->announce ? S_ANNOUNCE : 0));
    le16_store(out + 8, s->pairs);
    le16_store(out + 10, s->mtu);
}

/* Legacy drivers set the address here. */
static void config_w(Virtio *v, unsigned off, uint8_t val)
{
    if (off < 6 && !virtio_has(v, VIRTIO_F_VERSION_1))
        N(v)->mac[off] = val;
}

/* ---- life ---- */
static void reset(Virtio *v)
{
    VirtioNet *s = N(v);

    timer_del(&s->more);
    memset(s->rx, 0, sizeof(s->rx));
    s->rx[RX_PROMISC] = 1;
    s->announce = s->nuni = s->nmulti = s->uni_overflow = s->multi_overflow = 0;
    s->pairs_in_use = 1;
    s->held_len = 0;
    memset(s->vlans, 0, sizeof(s->vlans));
    memset(s->flow, 0, sizeof(s->flow));
    memset(s->macs, 0, sizeof(s->macs));
    memcpy(s->mac, s->conf_mac, 6);
}

static void live(Virtio *v, bool on) { net_can_take(&N(v)->port); }

static void link_changed(void *o, bool up)
{
    VirtioNet *s = o;

    WITH_DEV(&s->v.pci.dev)
        virtio_config_changed(&s->v);
}

/* Arrived elsewhere: the driver tells the switches. */
static void state_changed(void *self, RunState now)
{
    VirtioNet *s = self;

    if (now != RUN_RUNNING || !s->moved)
        return;
    s->moved = 0;
    if (!virtio_live(&s->v) || !virtio_has(&s->v, F_ANNOUNCE))
        return;
    WITH_DEV(&s->v.pci.dev) {
        s->announce = 1;
        virtio_config_changed(&s->v);
    }
}

static const NetPortOps port_ops = { .can_take = can_take, .take = take, .ready = ready, .link = link_changed };

static bool init(Obj *o, Error **err)
{
    VirtioNet *s = N(o);

    if (s->pairs < 1 || s->pairs > PAIRS_MAX)
        return fail(err, "virtio-net-pci: queues=%u is not between 1 and %u", s->pairs, PAIRS_MAX);
    virtio_set_queues(&s->v, 2u * s->pairs + 1);
    s->listener = (VmListener){ .state = state_changed, .self = s };
    vm_listen(o->vm, &s->listener);
    return net_card_init(o, &s->port, &port_ops, s->netdev, s->conf_mac, err);
}

static void fini(Obj *o)
{
    vm_unlisten(o->vm, &N(o)->listener);
    if (N(o)->port.ops)
        net_detach(&N(o)->port);
}

static void unplug(Dev *d) { net_detach(&N(d)->port); }
static void loaded(Dev *d) { N(d)->moved = 1; }

static bool check(const Dev *d, Error **err)
{
    const VirtioNet *s = (const VirtioNet *)(const void *)d;

    return (s->nuni + s->nmulti <= MACS && s->pairs_in_use >= 1 && s->pairs_in_use <= s->pairs) || fail(err, "impossible address filter or number of queues");
}

/* clang-format off */
static const Prop props[] = {
    { .name = "netdev", PROP_(VirtioNet, netdev), .kind = P_LINK, .space = "netdev", .doc = "the back end" },
    PROP_BOOTINDEX(VirtioNet),
    PROP_MAC(VirtioNet, conf_mac, "mac", "hardware address; 52:54:00:12:34:56 and on when not given"),
    PROP(VirtioNet, pairs, "queues", 1, "pairs of queues"), PROP(VirtioNet, mtu, "host_mtu", 0, "largest frame to tell the driver; 0: none"),
};
static const Field fields[] = {
    BUF(VirtioNet, held, held_len, NET_FRAME_MAX), FIELD(VirtioNet, pairs_in_use, .reset = 1), BYTES(VirtioNet, mac, .keep = true), BYTES(VirtioNet, rx),
    FIELD(VirtioNet, announce), BYTES(VirtioNet, macs), FIELD(VirtioNet, nuni), FIELD(VirtioNet, nmulti), FIELD(VirtioNet, uni_overflow),
    FIELD(VirtioNet, multi_overflow), BYTES(VirtioNet, vlans), BYTES(VirtioNet, flow), TIMER(VirtioNet, more, send_all, CLOCK_VM),
    TRANSIENT(VirtioNet, port, "wiring", .keep = true), TRANSIENT(VirtioNet, listener, "of the host", .keep = true),
    TRANSIENT(VirtioNet, moved, "between a load and the first run"), TRANSIENT(VirtioNet, pad, "padding"),
};
#define ROWS(nm, fm) {                                                                                                    \
    VIRTIO_DEVICE(VirtioNet, nm, "virtio network card", 1), .legacy_id = 0x1000, .form = (fm),                              \
    .pci.class_id = 0x020000, .pci.romfile = "efi-virtio.rom", .pci.dev.category = "Network devices", .pci.dev.obj.props = TABLE(props),                     \
    .pci.dev.obj.init = init, .pci.dev.obj.fini = fini, .pci.dev.state = TABLE(fields), .pci.dev.unplug = unplug,           \
    .pci.dev.loaded = loaded, .pci.dev.check = check, .pci.dev.hotplug = true,                                              \
    .queues = 3, .queue_size = QUEUE, .features = features, .config_size = CONFIG_SIZE, .config = config,                   \
    .config_w = config_w, .notified = notified, .reset = reset, .live = live,                                               \
}
VIRTIO_FORMS(VirtioNet, virtio_net, "virtio-net-pci", ROWS);
/* clang-format on */
