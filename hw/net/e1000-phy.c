/*
 * hw/net/e1000-phy.c - the NVM of Intel's gigabit cards and their PHY behind MDIC (M88E1011 and its descendants).
 * Sources: 317453 sections 5, 8.6.1, 13.4.5; 317694 (82574); IEEE 802.3 clause 22. Left out: what a PHY has on pages other than 0.
 */
#include "hw/net/e1000.h"

enum { MDIC_WRITE = 1, MDIC_READ = 2, MDIC_READY = 1 << 28, MDIC_IE = 1 << 29, MDIC_ERROR = 1 << 30, PHY_ADDRESS = 1 };
enum { CONTROL_RESET = 0x8000, CONTROL_RESTART = 0x0200, STATUS_LINK = 4, STATUS_NEGOTIATED = 0x20, M88_LINK = 0x400, CHECKSUM_AT = 0x3f };

void e1000__nvm_fill(E1000 *s, const uint8_t mac[6])
{
    uint16_t sum = 0;

    memcpy(s->nvm, s->ops->nvm, sizeof(s->nvm));
    for (unsigned i = 0; i < 3; i++)
        s->nvm[i] = le16_load(mac + 2 * i);
    for (unsigned i = 0; i < CHECKSUM_AT; i++)
        sum = (uint16_t)(sum + s->nvm[i]);
    s->nvm[CHECKSUM_AT] = (uint16_t)(NVM_CHECKSUM - sum);
}

/* ---- PHY ---- */
void e1000__phy_reset(E1000 *s) { memcpy(s->phy, s->ops->phy, sizeof(s->phy)); }

static bool on_other_page(const E1000 *s, unsigned r) { return s->ops->phy_pages && s->phy[PHY_PAGE] & 0xff && r >= 16 && r != PHY_PAGE; }

/* Negotiation is over as soon as it begins. */
static unsigned phy_read(const E1000 *s, unsigned r)
{
    bool up = net_link_up(&s->port);

    if (on_other_page(s, r))
        return 0;
    if (r == PHY_STATUS)
        return s->phy[r] | (up ? STATUS_LINK | STATUS_NEGOTIATED : 0u);
    return r == PHY_M88_STATUS && up ? s->phy[r] | M88_LINK : s->phy[r];
}

static void phy_write(E1000 *s, unsigned r, unsigned v)
{
    static const uint16_t writable[32] = {
        [PHY_CONTROL] = 0x7dff, [PHY_ADVERTISE] = 0xffff, [7] = 0xffff, [PHY_1000_CONTROL] = 0xff00, [PHY_M88_CONTROL] = 0xffff, [18] = 0xffff,
        [PHY_M88_EXT_CONTROL] = 0xffff, [PHY_PAGE] = 0xffff, [24] = 0xffff, [29] = 0xffff, [30] = 0xffff,
    };

    if (on_other_page(s, r))
        return;
    if (r == PHY_CONTROL && v & CONTROL_RESET)
        e1000__phy_reset(s);
    else
        s->phy[r] = (uint16_t)((s->phy[r] & ~writable[r]) | (v & writable[r]));
    if (r == PHY_CONTROL && v & CONTROL_RESTART && net_link_up(&s->port))
        e1000__cause(s, ICR_LSC);
}

void e1000__mdic_w(Dev *d, uint64_t old)
{
    E1000 *s = E(d);
    unsigned r = s->mdic >> 16 & 31, op = s->mdic >> 26 & 3;

    if ((s->mdic >> 21 & 31) != PHY_ADDRESS || (op != MDIC_READ && op != MDIC_WRITE)) {
        s->mdic |= MDIC_ERROR;
    } else if (op == MDIC_READ) {
        s->mdic = (s->mdic & 0xffff0000u) | phy_read(s, r);
    } else {
        phy_write(s, r, s->mdic & 0xffff);
    }
    s->mdic |= MDIC_READY;
    if (s->mdic & MDIC_IE)
        e1000__cause(s, ICR_MDAC);
}
