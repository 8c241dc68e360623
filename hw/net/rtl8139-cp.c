/*
 * hw/net/rtl8139-cp.c - frames by the descriptors of the RTL8139C+, with checksums and TCP segmentation when sending.
 * Source: RTL8139C(L)+ data sheet, section 8. Left out: the high-priority queue, checksum reports and VLAN tags of received frames.
 * Invariants: at most RING descriptors are looked at in one go; a frame begins only when the back end has room.
 */
#include "hw/net/rtl8139.h"

enum { RING = 64, DESC_BYTES = 16 };
enum { LGSEN = 1 << 27, FS = 1 << 29, LS = 1 << 28, EOR = 1 << 30, IPCS = 1 << 18, UDPCS = 1 << 17, TCPCS = 1 << 16, TAGC = 1 << 17 };
#define OWN (1u << 31)

static uint64_t tx_ring(const Rtl *s) { return (uint64_t)s->tsad[1] << 32 | (s->tsad[0] & ~255u); }
static uint64_t rx_ring(const Rtl *s) { return (uint64_t)s->rdsar[1] << 32 | (s->rdsar[0] & ~255u); }
static uint32_t next_slot(uint32_t i, uint32_t flags) { return flags & EOR || i + 1 >= RING ? 0 : i + 1; }

static void piece(void *arg, const uint8_t *p, size_t n) { rtl__send_frame(arg, p, n); }

/* The chip finds the headers itself: plain IPv4 behind Ethernet, else there is nothing to do. */
static void finish_frame(Rtl *s, uint32_t flags)
{
    size_t ip = NET_HEADER, l4, len = s->tx_len;
    uint8_t *f = s->tx;
    unsigned proto;

    if (len < ip + 20 || be_load(f + 12, 2) != 0x800 || (l4 = ip + (f[ip] & 15u) * 4) < ip + 20 || l4 >= len) {
        rtl__send_frame(s, f, len);
        return;
    }
    if (flags & LGSEN && net_segment(f, len, ip, l4, flags >> 16 & 0x7ff, piece, s))
        return;
    proto = f[ip + 9];
    if (!(flags & LGSEN) && flags & IPCS) {
        be_store(f + ip + 10, 2, 0);
        be_store(f + ip + 10, 2, net_fold(net_sum(f + ip, l4 - ip, 0)));
    }
    if (!(flags & LGSEN) && ((flags & TCPCS && proto == 6 && len >= l4 + 20) || (flags & UDPCS && proto == 17 && len >= l4 + 8))) {
        size_t at = l4 + (proto == 6 ? 16 : 6);
        uint16_t v;

        be_store(f + at, 2, 0);
        v = net_fold(net_sum(f + l4, len - l4, net_sum(f + ip + 12, 8, proto + (uint32_t)(len - l4))));
        be_store(f + at, 2, v ? v : 0xffff);
    }
    rtl__send_frame(s, f, len);
}

static void gather(Rtl *s, uint64_t at, uint32_t n)
{
    if (n > NET_FRAME_MAX - s->tx_len)
        n = NET_FRAME_MAX - s->tx_len;
    s->tx = g_realloc(s->tx, NET_FRAME_MAX);
    dma_read(&s->pci.dev, at, s->tx + s->tx_len, n);
    s->tx_len += n;
}

/* False: it is not ours to send. */
static bool send_descriptor(Rtl *s)
{
    uint64_t at = tx_ring(s) + DESC_BYTES * (uint64_t)s->tx_slot;
    uint8_t d[DESC_BYTES];
    uint32_t flags;

    if (!dma_read(&s->pci.dev, at, d, sizeof(d)) || !((flags = le32_load(d)) & OWN))
        return false;
    if (flags & FS)
        s->tx_len = 0;
    gather(s, le64_load(d + 8), flags & 0xffff);
    dma_store(&s->pci.dev, at, 4, flags & (EOR | FS | LS | 0xffff)); /* where the MSS and the orders stood is now the status: no error, no collision */
    s->tx_slot = next_slot(s->tx_slot, flags);
    if (flags & LS) {
        finish_frame(s, flags);
        s->tx_len = 0;
        s->isr |= ISR_TOK;
    }
    return true;
}

void rtl__cp_transmit(Rtl *s)
{
    for (unsigned i = 0; i < RING && (s->tx_len || net_has_room(&s->port)); i++)
        if (!send_descriptor(s)) {
            s->isr |= ISR_TDU;
            return;
        }
    if (net_has_room(&s->port))
        timer_in(&s->more, US);
}

/* Bytes that descriptors from the present one on offer, at most RING of them. */
static uint64_t offered(Rtl *s, size_t need)
{
    uint64_t have = 0;
    uint32_t slot = s->rx_slot;

    for (unsigned i = 0; i < RING && have < need; i++) {
        uint64_t flags = 0;

        if (!dma_load(&s->pci.dev, rx_ring(s) + DESC_BYTES * (uint64_t)slot, 4, &flags) || !(flags & OWN))
            return have;
        have += flags & 0x1fff;
        slot = next_slot(slot, (uint32_t)flags);
    }
    return have;
}

bool rtl__cp_receive(Rtl *s, const uint8_t *f, size_t len, unsigned rx)
{
    size_t all = len + FCS, done = 0;

    if (offered(s, all) < all)
        return false;
    for (unsigned i = 0; i < RING && done < all; i++) {
        uint64_t at = rx_ring(s) + DESC_BYTES * (uint64_t)s->rx_slot;
        uint8_t d[DESC_BYTES];
        uint32_t flags, out;
        size_t n;

        dma_read(&s->pci.dev, at, d, sizeof(d));
        flags = le32_load(d);
        n = MIN(flags & 0x1fff, all - done);
        dma_write(&s->pci.dev, le64_load(d + 8), f + done, n);
        out = (flags & EOR) | (done ? 0 : FS) | (uint32_t)n;
        done += n;
        if (done == all)
            out = (out & ~0x1fffu) | LS | (uint32_t)all | (rx & RX_MAR ? 1u << 27 : 0) | (rx & RX_PAM ? 1u << 26 : 0) | (rx & RX_BAR ? 1u << 25 : 0);
        dma_store(&s->pci.dev, at + 4, 4, 0);
        dma_store(&s->pci.dev, at, 4, out);
        s->rx_slot = next_slot(s->rx_slot, flags);
    }
    s->isr |= ISR_ROK;
    return true;
}
