/*
 * hw/net/e1000-rx.c - the 82540EM receives: address, multicast and VLAN filters, descriptors, checksum reports.
 * Source: 317453 section 3.2, 13.4.22, 13.5. Left out: packet split, early receive, wake-up frames.
 * A frame for which there are no descriptors yet waits in `held`; nothing is taken before it, so none is lost.
 */
#include "hw/net/e1000.h"

enum { ST_DD = 1, ST_EOP = 2, ST_IXSM = 4, ST_VP = 8, ST_TCPCS = 0x20, ST_IPCS = 0x40, ST_PIF = 0x80, ERR_TCPE = 0x20, ERR_IPE = 0x40 };
enum { RXCSUM_IPOFL = 0x100, RXCSUM_TUOFL = 0x200, USUAL_MAX = 1522, JUMBO_MAX = 16384, FCS = 4, DELAY_UNIT = 1024, PROTO_TCP = 6, PROTO_UDP = 17 };

static uint32_t buffer_size(const E1000 *s)
{
    unsigned code = s->rctl >> 16 & 3;

    return s->rctl & RCTL_BSEX && code ? 32768u >> code : 2048u >> code;
}

static uint32_t slots(const E1000 *s) { return s->rdlen / DESC_BYTES; }
static bool ring_ok(const E1000 *s) { return s->rdh < slots(s) && s->rdt < slots(s); }
static uint32_t free_slots(const E1000 *s) { return ring_ok(s) ? (s->rdt + slots(s) - s->rdh) % slots(s) : 0; }

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

/* ---- checksums: of IPv4, and of TCP and UDP whole in it ---- */
static void check_sums(const E1000 *s, const uint8_t *f, size_t len, uint8_t *status, uint8_t *errors)
{
    size_t ip = NET_HEADER, head, all;
    unsigned proto;

    *status |= ST_IXSM;
    if (len < ip + 20 || be_load(f + 12, 2) != 0x800 || f[ip] >> 4 != 4)
        return;
    head = (f[ip] & 15u) * 4;
    all = be_load(f + ip + 2, 2);
    proto = f[ip + 9];
    if (head < 20 || all < head || ip + all > len)
        return;
    if (s->rxcsum & RXCSUM_IPOFL) {
        *status = (uint8_t)((*status | ST_IPCS) & ~ST_IXSM);
        *errors |= net_fold(net_sum(f + ip, head, 0)) ? ERR_IPE : 0;
    }
    if (!(s->rxcsum & RXCSUM_TUOFL) || be_load(f + ip + 6, 2) & 0x3fff || (proto != PROTO_TCP && proto != PROTO_UDP) ||
        all - head < (proto == PROTO_TCP ? 20 : 8) || (proto == PROTO_UDP && !be_load(f + ip + head + 6, 2)))
        return;
    *status = (uint8_t)((*status | ST_TCPCS) & ~ST_IXSM);
    *errors |= net_fold(net_sum(f + ip + head, all - head, net_sum(f + ip + 12, 8, proto + (uint32_t)(all - head)))) ? ERR_TCPE : 0;
}

/* ---- into memory ---- */
/* The frame as it goes to memory (with FCS, tag taken off): its length. */
static size_t prepare(const E1000 *s, uint8_t *f, size_t len, uint8_t *status, uint8_t *errors, uint16_t *special)
{
    check_sums(s, f, len, status, errors);
    if (tagged(s, f, len) && s->ctrl & CTRL_VME) {
        *status |= ST_VP;
        *special = (uint16_t)be_load(f + 14, 2);
        memmove(f + 12, f + 16, len - 16);
        len -= 4;
    }
    if (s->rctl & RCTL_SECRC)
        return len;
    le32_store(f + len, net_crc32(f, len));
    return len + FCS;
}

static void write_descriptor(E1000 *s, const uint8_t *part, size_t n, uint8_t status, uint8_t errors, uint16_t special)
{
    uint64_t at = ((uint64_t)s->rdbah << 32 | s->rdbal) + DESC_BYTES * (uint64_t)s->rdh;
    uint64_t buffer;
    uint8_t d[8] = { 0 };

    dma_load(&s->pci.dev, at, 8, &buffer);
    if (buffer)
        dma_write(&s->pci.dev, buffer, part, n);
    le16_store(d, (uint16_t)n);
    d[4] = status;
    d[5] = errors;
    le16_store(d + 6, special);
    dma_write(&s->pci.dev, at + 8, d, sizeof(d));
    s->rdh = s->rdh + 1 == slots(s) ? 0 : s->rdh + 1;
}

static void announce(E1000 *s)
{
    if (free_slots(s) << ((s->rctl >> 8 & 3) + 1) <= slots(s))
        e1000__cause(s, ICR_RXDMT0);
    if (!(s->rdtr & 0xffff))
        e1000__cause(s, ICR_RXT0);
    else if (!timer_pending(&s->rx_delay)) /* from the first frame: no later than RDTR or RADV allow */
        timer_in(&s->rx_delay, (int64_t)(s->rdtr & 0xffff) * DELAY_UNIT);
}

/* f has room for the FCS. False: descriptors are missing. */
static bool deliver(E1000 *s, uint8_t *f, size_t len, bool inexact)
{
    uint32_t size = buffer_size(s);
    uint8_t status = ST_DD | (inexact ? ST_PIF : 0), errors = 0;
    uint16_t special = 0;
    size_t all;

    if ((len + FCS + size - 1) / size > free_slots(s))
        return false;
    e1000__count(s, ST_GPRC, ST_GORC, len + FCS);
    e1000__count(s, ST_TPR, ST_TOR, len + FCS);
    if (f[0] & 1)
        s->stats[le32_load(f) == UINT32_MAX ? ST_BPRC : ST_MPRC]++;
    all = prepare(s, f, len, &status, &errors, &special);
    for (size_t at = 0; at < all; at += size) { /* at most 16 K + 4 bytes, 256 at a time */
        size_t n = MIN(size, all - at);

        write_descriptor(s, f + at, n, at + n == all ? status | ST_EOP : ST_DD, at + n == all ? errors : 0, special);
    }
    announce(s);
    return true;
}

static bool listening(const E1000 *s) { return s->rctl & RCTL_EN; }
bool e1000__can_take(void *o) { return !listening(o) || !((E1000 *)o)->held_len; }

void e1000__take(void *o, const struct iovec *iov, int n)
{
    E1000 *s = o;
    g_autofree uint8_t *f = g_malloc(NET_FRAME_MAX + FCS);
    size_t len = net_flatten(iov, n, f, NET_FRAME_MAX), max = s->rctl & RCTL_LPE ? JUMBO_MAX : USUAL_MAX;
    bool inexact;

    if (!listening(s) || len + FCS > max || !wanted(s, f, len, &inexact))
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
        g_autofree uint8_t *f = g_malloc(NET_FRAME_MAX + FCS);
        size_t len = s->held_len;

        memcpy(f, s->held, len);
        if (!listening(s) || !wanted(s, f, len, &inexact) || deliver(s, f, len, inexact))
            s->held_len = 0;
    }
    if (!s->held_len)
        net_can_take(&s->port);
}
