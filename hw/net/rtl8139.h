/*
 * hw/net/rtl8139.h - the RTL8139C+'s state and bits, shared by its registers (rtl8139.c) and its two ways to move frames: the buffers of
 * the first chips (rtl8139-ring.c) and the descriptors of the C+ (rtl8139-cp.c). Names as in Realtek's RTL8139C(L)+
 * data sheet (rev. 1.6). VM lock.
 */
#ifndef HW_NET_RTL8139_H
#define HW_NET_RTL8139_H
#include "hw/net/microwire.h"
#include "hw/pci/pci.h"
#include "net/net.h"

enum { CR_BUFE = 1, CR_TE = 4, CR_RE = 8, CR_RST = 0x10 };
enum { ISR_ROK = 1, ISR_TOK = 4, ISR_LINKCHG = 0x20, ISR_TDU = 0x80, ISR_SWINT = 0x100, ISR_TIMEOUT = 0x4000 };
enum { RCR_AAP = 1, RCR_APM = 2, RCR_AM = 4, RCR_AB = 8, RCR_WRAP = 0x80, CPCR_TE = 1, CPCR_RE = 2 };
enum { TSD_OWN = 0x2000, TSD_TOK = 0x8000, RX_ROK = 1, RX_BAR = 0x2000, RX_PAM = 0x4000, RX_MAR = 0x8000, FCS = 4 };

typedef struct Rtl {
    PciDev pci;
    void *netdev;
    int32_t bootindex;
    NetPort port;
    uint8_t conf_mac[6], tx_next, cfg9346; /* tx_next: of the four buffers the one to send next */
    uint8_t idr[6], cr, config0;
    uint8_t mar[8];
    uint32_t tsd[4], tsad[4] /* C+: TNPDS and THPDS */, rbstart, tcr, rcr, mpc, timer_int;
    uint16_t capr, cbr, imr, isr, mulint, cpcr, bmcr, anar, anlpar, aner;
    uint8_t config1, config3, config4, config5, msr, etthr, txpoll, pad;
    uint16_t eeprom[MICROWIRE_WORDS];
    uint32_t rdsar[2], tx_slot, rx_slot; /* slots of the rings of descriptors */
    Microwire ee;
    uint8_t *tx, *held; /* tx: a frame that its descriptors make up; held: one that waits for room */
    uint32_t tx_len, held_len;
    int64_t counted_from; /* when the timer was at zero */
    Timer more, timeout;
} Rtl;
#define RTL(d) ((Rtl *)(void *)(d))

void rtl__send_frame(Rtl *s, const uint8_t *p, size_t n);
void rtl__ring_transmit(Rtl *s);
/* f has room for the FCS at its end. False: no room for it yet. rx: RX_BAR, RX_PAM or RX_MAR. */
bool rtl__ring_receive(Rtl *s, const uint8_t *f, size_t len, unsigned rx);
bool rtl__ring_empty(const Rtl *s);
void rtl__cp_transmit(Rtl *s);
bool rtl__cp_receive(Rtl *s, const uint8_t *f, size_t len, unsigned rx);
#endif
