/*
 * hw/net/rtl8139-ring.c - frames by the buffers of the first RTL8139: four to send, one ring to receive into, with a header of
 * four bytes before each frame. Source: RTL8139C(L)+ data sheet, sections 5.5 to 5.8, 5.18, 6.
 */
#include "hw/net/rtl8139.h"

enum { SIZE_MAX_TX = 1792, CAPR_BEHIND = 16, HEADER = 4 };

void rtl__ring_transmit(Rtl *s)
{
    for (unsigned i = 0; i < 4 && s->cr & CR_TE && !(s->tsd[s->tx_next] & TSD_OWN) && net_has_room(&s->port); i++) {
        uint8_t f[SIZE_MAX_TX];
        uint32_t *tsd = &s->tsd[s->tx_next];
        size_t n = MIN(*tsd & 0x1fff, SIZE_MAX_TX);

        dma_read(&s->pci.dev, s->tsad[s->tx_next], f, n);
        rtl__send_frame(s, f, n);
        *tsd |= TSD_OWN | TSD_TOK;
        s->isr |= ISR_TOK;
        s->tx_next = (s->tx_next + 1) % 4;
    }
}

static uint32_t ring_size(const Rtl *s) { return 8192u << (s->rcr >> 11 & 3); }
static uint32_t reader(const Rtl *s) { return (uint16_t)(s->capr + CAPR_BEHIND) % ring_size(s); }
bool rtl__ring_empty(const Rtl *s) { return s->cbr % ring_size(s) == reader(s); }

/* At `at` in the ring; beyond its end it goes on at the start, or straight on when the driver wants so. */
static void put(Rtl *s, uint32_t at, const uint8_t *p, uint32_t n)
{
    uint32_t size = ring_size(s), first = s->rcr & RCR_WRAP && size < 65536 ? n : MIN(n, size - at);

    dma_write(&s->pci.dev, (uint64_t)s->rbstart + at, p, first);
    if (n > first)
        dma_write(&s->pci.dev, s->rbstart, p + first, n - first);
}

bool rtl__ring_receive(Rtl *s, const uint8_t *f, size_t len, unsigned rx)
{
    uint32_t size = ring_size(s), at = s->cbr % size, all = (uint32_t)align_up(HEADER + len + FCS, 4);
    uint32_t room = rtl__ring_empty(s) ? size : (reader(s) + size - at) % size;
    g_autofree uint8_t *p = NULL;

    if (all >= room)
        return all >= size; /* it never will: lost */
    p = g_malloc0(all);
    le16_store(p, (uint16_t)(RX_ROK | rx));
    le16_store(p + 2, (uint16_t)(len + FCS));
    memcpy(p + HEADER, f, len + FCS);
    put(s, at, p, all);
    s->cbr = (uint16_t)((at + all) % size);
    s->isr |= ISR_ROK;
    return true;
}
