/*
 * hw/net/e1000-rx.c - Intel's gigabit cards receive: address, multicast and VLAN filters, legacy descriptors, checksum reports.
 * Source: 317453 section 3.2, 13.4.22, 13.5. Left out: early receive, wake-up frames.
 * A frame for which there are no descriptors yet waits in `held`; nothing is taken before it, so none is lost.
 */
#include "hw/net/e1000.h"

enum { USUAL_MAX = 1522, JUMBO_MAX = 16384, PROTO_TCP = 6, PROTO_UDP = 17, TYPE_IP4 = 0x800, TYPE_IP6 = 0x86dd };

uint32_t e1000__buffer_size(const E1000 *s)
{
    unsigned code = s->rctl >> 16 & 3, flexible = s->rctl >> 27 & 15;

    if (flexible)
        return flexible * 1024;
    return s->rctl & RCTL_BSEX && code ? 32768u >> code : 2048u >> code;
}

static E1000Ring *ring(E1000 *s, unsigned n) { return (void *)((char *)s + s->ops->rx_at[n]); }
static unsigned format(const E1000 *s) { return s->ops->format ? s->ops->format(s) : 0; }
static uint32_t slots(const E1000Ring *q) { return q->len / E1000_DESC; }
static uint32_t free_slots(const E1000Ring *q)
{
    return q->head < slots(q) && q->tail < slots(q) ? (q->tail + slots(q) - q->head) % slots(q) : 0;
}

/* ---- filters ---- */
static bool multicast_hash(const E1000 *s, const uint8_t *f)
{
    static const uint8_t shift[] = { 4, 3, 2, 0 };
    unsigned h = ((unsigned)f[5] << 8 | f[4]) >> shift[s->rctl >> 12 & 3] & 0xfff;

    return s->mta[h >> 5] >> (h & 31) & 1;
}

static bool exact(const E1000 *s, const uint8_t *f)
{
    for (unsigned i = 0; i < ADDRESSES; i++)
        if (s->ra[2 * i + 1] & RAH_AV && s->ra[2 * i] == le32_load(f) && (s->ra[2 * i + 1] & 0xffff) == le16_load(f + 4))
            return true;
    return false;
}

static bool tagged(const E1000 *s, const uint8_t *f, size_t len) { return len >= 18 && be_load(f + 12, 2) == (s->vet & 0xffff); }

/* *inexact: only the hash let it in. */
static bool wanted(const E1000 *s, const uint8_t *f, size_t len, bool *inexact)
{
    *inexact = false;
    if (tagged(s, f, len) && s->rctl & RCTL_VFE) {
        unsigned id = be_load(f + 14, 2) & 0xfff;

        if (!(s->vfta[id >> 5] >> (id & 31) & 1))
            return false;
    }
    if ((le32_load(f) == UINT32_MAX && le16_load(f + 4) == UINT16_MAX && s->rctl & RCTL_BAM) || exact(s, f))
        return true;
    if (!(f[0] & 1))
        return s->rctl & RCTL_UPE;
    if (s->rctl & RCTL_MPE)
        return true;
    return *inexact = multicast_hash(s, f);
}

/* ---- checksums: of IPv4, and of TCP and UDP whole in IPv4 or directly in IPv6 ---- */
bool e1000__find_packet(const uint8_t *f, size_t len, E1000Packet *p)
{
    size_t ip = NET_HEADER;

    *p = (E1000Packet){ .ip = ip, .v6 = len >= NET_HEADER && be_load(f + 12, 2) == TYPE_IP6 };
    if (p->v6) {
        if (len < ip + 40 || f[ip] >> 4 != 6)
            return false;
        p->l4 = ip + 40;
        p->end = p->l4 + be_load(f + ip + 4, 2);
        p->proto = f[ip + 6];
        return p->end <= len;
    }
    if (len < ip + 20 || be_load(f + 12, 2) != TYPE_IP4 || f[ip] >> 4 != 4)
        return false;
    p->l4 = ip + (f[ip] & 15u) * 4;
    p->end = ip + be_load(f + ip + 2, 2);
    p->proto = f[ip + 9];
    p->fragment = be_load(f + ip + 6, 2) & 0x3fff;
    return p->l4 >= ip + 20 && p->end >= p->l4 && p->end <= len;
}

static uint32_t pseudo_header(const uint8_t *f, const E1000Packet *p)
{
    size_t at = p->ip + (p->v6 ? 8 : 12);

    return net_sum(f + at, p->v6 ? 32 : 8, p->proto + (uint32_t)(p->end - p->l4));
}

static void check_sums(const E1000 *s, const uint8_t *f, size_t len, E1000Report *r)
{
    E1000Packet p;

    r->status |= ST_IXSM;
    if (!e1000__find_packet(f, len, &p))
        return;
    if (s->rxcsum & RXCSUM_IPOFL && !p.v6) {
        r->status = (r->status | ST_IPCS) & ~(uint32_t)ST_IXSM;
        r->errors |= net_fold(net_sum(f + p.ip, p.l4 - p.ip, 0)) ? ERR_IPE : 0;
    }
    if (!(s->rxcsum & RXCSUM_TUOFL) || p.fragment || (p.proto != PROTO_TCP && p.proto != PROTO_UDP) ||
        p.end - p.l4 < (p.proto == PROTO_TCP ? 20 : 8) || (p.proto == PROTO_UDP && !be_load(f + p.l4 + 6, 2)))
        return;
    r->status = (r->status | ST_TCPCS) & ~(uint32_t)ST_IXSM;
    r->errors |= net_fold(net_sum(f + p.l4, p.end - p.l4, pseudo_header(f, &p))) ? ERR_TCPE : 0;
}

/* ---- into memory ---- */
/* The frame as it goes to memory (with FCS, tag taken off): its length. f has room for the FCS. */
static size_t prepare(const E1000 *s, uint8_t *f, size_t len, E1000Report *r)
{
    size_t from = s->rxcsum & 0xff;

    if (tagged(s, f, len) && s->ctrl & CTRL_VME) {
        r->status |= ST_VP;
        r->vlan = (uint16_t)be_load(f + 14, 2);
        memmove(f + 12, f + 16, len - 16);
        len -= 4;
    }
    check_sums(s, f, len, r);
    if (s->ops->classify)
        s->ops->classify(s, f, len, r);
    r->sum = from < len ? (uint16_t)~net_fold(net_sum(f + from, len - from, 0)) : 0;
    if (s->rctl & RCTL_SECRC)
        return len;
    le32_store(f + len, net_crc32(f, len));
    return len + E1000_FCS;
}

static size_t legacy(E1000 *s, const E1000Ring *q, const uint8_t *f, size_t at, size_t all, const E1000Report *r)
{
    size_t n = MIN(e1000__buffer_size(s), all - at);
    uint64_t slot = e1000__slot(q, E1000_DESC), buffer;
    bool last = at + n == all;
    uint8_t d[8] = { 0 };

    dma_load(&s->pci.dev, slot, 8, &buffer);
    if (buffer)
        dma_write(&s->pci.dev, buffer, f + at, n);
    le16_store(d, (uint16_t)n);
    le16_store(d + 2, r->sum);
    d[4] = (uint8_t)(last ? r->status | ST_EOP : ST_DD);
    d[5] = (uint8_t)(last ? r->errors : 0);
    le16_store(d + 6, r->vlan);
    dma_write(&s->pci.dev, slot + 8, d, sizeof(d));
    return n;
}

static void announce(E1000 *s, unsigned n)
{
    const E1000Ring *q = ring(s, n);

    if (free_slots(q) << ((s->rctl >> 8 & 3) + 1) <= slots(q))
        e1000__cause(s, ICR_RXDMT0 | ICR_RXQ0 << n);
    if (!(s->rdtr & 0xffff)) {
        e1000__cause(s, ICR_RXT0 | ICR_RXQ0 << n);
        return;
    }
    s->rx_late |= (uint8_t)(1 << n);
    if (!timer_pending(&s->rx_delay)) /* from the first frame: no later than RDTR or RADV allow */
        timer_in(&s->rx_delay, (int64_t)(s->rdtr & 0xffff) * E1000_DELAY);
}

static size_t needed(const E1000 *s, const E1000Report *r, size_t all)
{
    size_t size = e1000__buffer_size(s);

    return format(s) ? s->ops->descriptors(s, r, all) : (all + size - 1) / size;
}

static void count(E1000 *s, const uint8_t *f, size_t len)
{
    e1000__count(s, ST_GPRC, ST_GORC, len + E1000_FCS);
    e1000__count(s, ST_TPR, ST_TOR, len + E1000_FCS);
    if (f[0] & 1)
        s->stats[le32_load(f) == UINT32_MAX ? ST_BPRC : ST_MPRC]++;
}

/* False: descriptors are missing. */
static bool deliver(E1000 *s, const uint8_t *frame, size_t len, bool inexact)
{
    E1000Report r = { .status = ST_DD | (inexact ? ST_PIF : 0) };
    g_autofree uint8_t *f = g_malloc(len + E1000_FCS);
    E1000Ring *q;
    size_t all, slots_needed, step = MAX(format(s), E1000_DESC) / E1000_DESC;

    memcpy(f, frame, len);
    all = prepare(s, f, len, &r);
    q = ring(s, r.queue);
    slots_needed = needed(s, &r, all) * step;
    if (!slots_needed || (slots(q) ? slots_needed >= slots(q) : r.queue)) {
        guest_error(&s->pci.dev, "a frame of %zu bytes that no receive ring can hold", all);
        return true;
    }
    if (slots_needed > free_slots(q))
        return false;
    count(s, frame, len);
    for (size_t at = 0; at < all;) { /* at most 16 K + 4 bytes, 128 at least at a time */
        at += format(s) ? s->ops->store(s, q, f, at, all, &r) : legacy(s, q, f, at, all, &r);
        q->head = q->head + step < slots(q) ? q->head + (uint32_t)step : 0;
    }
    announce(s, r.queue);
    return true;
}

static bool listening(const E1000 *s) { return s->rctl & RCTL_EN; }
bool e1000__can_take(void *o) { return !listening(o) || !((E1000 *)o)->held_len; }

void e1000__take(void *o, const struct iovec *iov, int n)
{
    E1000 *s = o;
    g_autofree uint8_t *f = g_malloc(NET_FRAME_MAX);
    size_t len = net_flatten(iov, n, f, NET_FRAME_MAX), max = s->rctl & RCTL_LPE ? JUMBO_MAX : USUAL_MAX;
    bool inexact;

    if (!listening(s) || len + E1000_FCS > max || !wanted(s, f, len, &inexact))
        return;
    if (len < NET_MIN_FRAME) {
        memset(f + len, 0, NET_MIN_FRAME - len);
        len = NET_MIN_FRAME;
    }
    WITH_DEV(&s->pci.dev) {
        if (!deliver(s, f, len, inexact)) {
            g_free(s->held);
            s->held = g_steal_pointer(&f);
            s->held_len = (uint32_t)len;
        }
    }
}

/* RDT moved, or receiving was switched on or off. */
void e1000__more_descriptors(E1000 *s)
{
    bool inexact;

    if (s->held_len) {
        if (!listening(s) || !wanted(s, s->held, s->held_len, &inexact) || deliver(s, s->held, s->held_len, inexact))
            s->held_len = 0;
    }
    if (!s->held_len)
        net_can_take(&s->port);
}
