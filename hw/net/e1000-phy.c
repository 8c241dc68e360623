/*
 * hw/net/e1000-phy.c - the 82540EM's EEPROM, by EERD and bit by bit (Microwire, 64 words), and its PHY (M88E1011) behind MDIC.
 * Source: 317453 sections 5, 8.6.1, 13.4.3 to 13.4.5; IEEE 802.3 clause 22. Left out: writing the EEPROM.
 */
#include "hw/net/e1000.h"

enum { EE_SK = 1, EE_CS = 2, EE_DI = 4, EE_DO = 8, EE_REQ = 0x40, EE_GNT = 0x80, EE_PRES = 0x100, EE_RW = 0x77 };
enum { EERD_START = 1, EERD_DONE = 0x10 };
enum { MDIC_WRITE = 1, MDIC_READ = 2, MDIC_READY = 1 << 28, MDIC_IE = 1 << 29, MDIC_ERROR = 1 << 30, PHY_ADDRESS = 1 };
enum { PHY_CONTROL, PHY_STATUS, PHY_ID1, PHY_ID2, PHY_ADVERTISE, PHY_PARTNER, PHY_1000_CONTROL = 9, PHY_1000_STATUS, PHY_M88_CONTROL = 16,
       PHY_M88_STATUS, PHY_M88_EXT_CONTROL = 20 };
enum { CONTROL_RESET = 0x8000, CONTROL_RESTART = 0x0200, STATUS_LINK = 4, M88_LINK = 0x400 };
enum { CHECKSUM_AT = 0x3f, CHECKSUM = 0xbaba };

/* ---- EEPROM ---- */
void e1000__eeprom_fill(E1000 *s, const uint8_t mac[6])
{
    /* compatibility, image version, .., initialization control 1 and 2, subsystem and device ids */
    static const uint16_t words[] = { [3] = 0x0000, [8] = 0x3000, [9] = 0x1000, [10] = 0x6403, [11] = 0x100e, [12] = 0x8086, [13] = 0x100e,
                                      [14] = 0x8086, [15] = 0x3040, [32] = 0x0000, [33] = 0x7863, [36] = 0x0602 };
    uint16_t sum = 0;

    memset(s->eeprom, 0, sizeof(s->eeprom));
    memcpy(s->eeprom, words, sizeof(words));
    for (unsigned i = 0; i < 3; i++)
        s->eeprom[i] = le16_load(mac + 2 * i);
    for (unsigned i = 0; i < CHECKSUM_AT; i++)
        sum = (uint16_t)(sum + s->eeprom[i]);
    s->eeprom[CHECKSUM_AT] = (uint16_t)(CHECKSUM - sum);
}

void e1000__eecd_w(Dev *d, uint64_t old)
{
    E1000 *s = E(d);

    if (!(s->eecd & EE_CS))
        microwire_deselect(&s->ee);
    else if (s->eecd & ~old & EE_SK)
        microwire_clock(&s->ee, s->eeprom, s->eecd & EE_DI);
}

uint64_t e1000__eecd(const Dev *d)
{
    const E1000 *s = (const E1000 *)(const void *)d;

    return (s->eecd & EE_RW) | EE_PRES | (s->eecd & EE_REQ ? EE_GNT : 0) | (microwire_out(&s->ee) ? EE_DO : 0);
}

void e1000__eerd_w(Dev *d, uint64_t old)
{
    E1000 *s = E(d);
    unsigned word = s->eerd >> 8 & 0xff;

    if (s->eerd & EERD_START)
        s->eerd = (s->eerd & 0xff00) | EERD_DONE | (uint32_t)(word < MICROWIRE_WORDS ? s->eeprom[word] : 0xffff) << 16;
}

/* ---- PHY ---- */
void e1000__phy_reset(E1000 *s)
{
    static const uint16_t values[32] = {
        [PHY_CONTROL] = 0x1140, [PHY_STATUS] = 0x7949, [PHY_ID1] = 0x0141, [PHY_ID2] = 0x0c20, [PHY_ADVERTISE] = 0x0de1, [PHY_PARTNER] = 0x45e1,
        [6] = 0x0001, [PHY_1000_CONTROL] = 0x0e00, [PHY_1000_STATUS] = 0x3c00, [15] = 0x3000, [PHY_M88_CONTROL] = 0x0360, [PHY_M88_STATUS] = 0xa800,
        [PHY_M88_EXT_CONTROL] = 0x0d60,
    };

    memcpy(s->phy, values, sizeof(values));
}

/* Negotiation is over as soon as it begins. */
static unsigned phy_read(const E1000 *s, unsigned r)
{
    bool up = net_link_up(&s->port);

    if (r == PHY_STATUS)
        return s->phy[r] | (up ? STATUS_LINK | 0x20u : 0);
    return r == PHY_M88_STATUS && up ? s->phy[r] | M88_LINK : s->phy[r];
}

static void phy_write(E1000 *s, unsigned r, unsigned v)
{
    static const uint16_t writable[32] = {
        [PHY_CONTROL] = 0x7dff, [PHY_ADVERTISE] = 0xffff, [7] = 0xffff, [PHY_1000_CONTROL] = 0xff00, [PHY_M88_CONTROL] = 0xffff, [18] = 0xffff,
        [PHY_M88_EXT_CONTROL] = 0xffff, [24] = 0xffff, [29] = 0xffff, [30] = 0xffff,
    };

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
