/*
 * hw/net/e1000.h - the 82540EM's state and bits, shared by its registers (e1000.c), its two sides of the wire (e1000-tx.c,
 * e1000-rx.c) and its EEPROM and PHY (e1000-phy.c). Names as in Intel's "PCI/PCI-X Family of Gigabit Ethernet Controllers
 * Software Developer's Manual" (317453). VM lock.
 */
#ifndef HW_NET_E1000_H
#define HW_NET_E1000_H
#include "hw/net/microwire.h"
#include "hw/pci/pci.h"
#include "net/net.h"

enum { CTRL_SLU = 1 << 6, CTRL_RST = 1 << 26, CTRL_VME = 1 << 30, STATUS_FD = 1, STATUS_LU = 2, STATUS_SPEED_1000 = 0x80 };
enum { ICR_TXDW = 1, ICR_TXQE = 2, ICR_LSC = 4, ICR_RXDMT0 = 0x10, ICR_RXT0 = 0x80, ICR_MDAC = 0x200, ICR_BITS = 0x1ffff };
enum { RCTL_EN = 2, RCTL_UPE = 8, RCTL_MPE = 0x10, RCTL_LPE = 0x20, RCTL_BAM = 0x8000, RCTL_VFE = 0x40000, RCTL_BSEX = 1 << 25, RCTL_SECRC = 1 << 26 };
enum { TCTL_EN = 2, RAH_AV = 1 << 31 };
enum { DESC_BYTES = 16, ADDRESSES = 16, MTA_WORDS = 128, VFTA_WORDS = 128, STATISTICS = 74, MMIO_SIZE = 0x20000 };
/* Counters, by word from 4000h. */
enum { ST_GPRC = 29, ST_BPRC = 30, ST_MPRC = 31, ST_GPTC = 32, ST_GORC = 34, ST_GOTC = 36, ST_TOR = 48, ST_TOT = 50, ST_TPR = 52, ST_TPT = 53 };

typedef struct E1000Context { /* of the last context descriptor */
    uint8_t ipcss, ipcso, tucss, tucso, hdrlen, tucmd;
    uint16_t ipcse, tucse, mss;
} E1000Context;
typedef struct E1000 {
    PciDev pci;
    void *netdev;
    NetPort port;
    uint8_t conf_mac[6]; /* property */
    uint8_t pad[2];
    int32_t bootindex;
    /* registers */
    uint32_t ctrl, eecd, eerd, mdic, fcal, fcah, fct, vet, icr, itr, ims, rctl, fcttv, tctl, tipg, ait, ledctl, pba;
    uint32_t rdbal, rdbah, rdlen, rdh, rdt, rdtr, radv, rsrpd, rxdctl, tdbal, tdbah, tdlen, tdh, tdt, tidv, tadv, txdctl, rxcsum;
    uint32_t wuc, wufc, wus, manc, swsm, ioaddr;
    uint32_t mta[MTA_WORDS], ra[2 * ADDRESSES], vfta[VFTA_WORDS], stats[STATISTICS];
    uint16_t eeprom[MICROWIRE_WORDS], phy[32];
    Microwire ee;
    /* sending: the frame that its descriptors make up */
    E1000Context context;
    uint8_t tx_popts, tx_cmd, tx_legacy, tx_cso, tx_css, tx_bad /* too long: dropped at its end */;
    uint16_t tx_vlan;
    uint8_t *tx, *held; /* held: a frame that waits for receive descriptors */
    uint32_t tx_len, held_len;
    uint8_t gap; /* the throttle interval runs */
    uint8_t pad2[7];
    Timer throttle, tx_delay, rx_delay, more;
} E1000;
#define E(d) ((E1000 *)(void *)(d))

void e1000__cause(E1000 *s, uint32_t icr); /* an interrupt's cause came about */
void e1000__count(E1000 *s, unsigned packets, unsigned octets, size_t bytes); /* counters, the second a pair */
/* e1000-phy.c */
void e1000__eeprom_fill(E1000 *s, const uint8_t mac[6]);
void e1000__eecd_w(Dev *d, uint64_t old);
uint64_t e1000__eecd(const Dev *d);
void e1000__eerd_w(Dev *d, uint64_t old);
void e1000__mdic_w(Dev *d, uint64_t old);
void e1000__phy_reset(E1000 *s);
/* e1000-tx.c */
void e1000__transmit(Dev *d);
/* e1000-rx.c */
bool e1000__can_take(void *o);
void e1000__take(void *o, const struct iovec *iov, int n);
void e1000__more_descriptors(E1000 *s);
#endif
