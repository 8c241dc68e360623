/*
 * hw/net/e1000.h - what Intel's gigabit cards have in common: state, bits, and the hooks by which a model differs (E1000Ops). Shared are
 * causes, link, counters and life (e1000-mac.c), the two sides of the wire (e1000-tx.c, e1000-rx.c), EEPROM and PHY (e1000-phy.c);
 * e1000.c and e1000e.c are the models. Names as in Intel's "PCI/PCI-X Family of Gigabit Ethernet Controllers Software
 * Developer's Manual" (317453) and the 82574 data sheet (317694). VM lock.
 */
#ifndef HW_NET_E1000_H
#define HW_NET_E1000_H
#include "hw/pci/pci.h"
#include "net/net.h"

enum { CTRL_GIO_MASTER_DISABLE = 4, CTRL_SLU = 1 << 6, CTRL_RST = 1 << 26, CTRL_VME = 1 << 30, CTRL_PHY_RST = 1u << 31, STATUS_FD = 1, STATUS_LU = 2, STATUS_SPEED_1000 = 0x80 };
enum { ICR_TXDW = 1, ICR_TXQE = 2, ICR_LSC = 4, ICR_RXDMT0 = 0x10, ICR_RXT0 = 0x80, ICR_MDAC = 0x200, ICR_RXQ0 = 1 << 20, ICR_TXQ0 = 1 << 22, ICR_OTHER = 1 << 24 };
enum { RCTL_EN = 2, RCTL_UPE = 8, RCTL_MPE = 0x10, RCTL_LPE = 0x20, RCTL_PACKET_SPLIT = 0x400, RCTL_BAM = 0x8000, RCTL_VFE = 0x40000, RCTL_BSEX = 1 << 25, RCTL_SECRC = 1 << 26 };
enum { TCTL_EN = 2, RAH_AV = 1 << 31, RXCSUM_IPOFL = 0x100, RXCSUM_TUOFL = 0x200, RXCSUM_PCSD = 0x2000 };
enum { ST_DD = 1, ST_EOP = 2, ST_IXSM = 4, ST_VP = 8, ST_UDPCS = 0x10, ST_TCPCS = 0x20, ST_IPCS = 0x40, ST_PIF = 0x80, ERR_TCPE = 0x20, ERR_IPE = 0x40 };
enum { EECD_REQ = 0x40, EECD_GNT = 0x80, EECD_PRES = 0x100, E1000_FCS = 4, E1000_DELAY = 1024 /* ns: a unit of the delays */, E1000_QUEUES = 2 };
enum { PHY_CONTROL, PHY_STATUS, PHY_ID1, PHY_ID2, PHY_ADVERTISE, PHY_PARTNER, PHY_EXPANSION, PHY_1000_CONTROL = 9, PHY_1000_STATUS, PHY_EXT_STATUS = 15,
       PHY_M88_CONTROL, PHY_M88_STATUS, PHY_M88_EXT_CONTROL = 20, PHY_PAGE = 22 };
enum { NVM_WORDS = 64, NVM_CHECKSUM = 0xbaba };
enum { E1000_DESC = 16, ADDRESSES = 16, MTA_WORDS = 128, VFTA_WORDS = 128, STATISTICS = 74, MMIO_SIZE = 0x20000 };
/* Counters, by word from 4000h. */
enum { ST_GPRC = 29, ST_BPRC = 30, ST_MPRC = 31, ST_GPTC = 32, ST_GORC = 34, ST_GOTC = 36, ST_TOR = 48, ST_TOT = 50, ST_TPR = 52, ST_TPT = 53 };

typedef struct E1000Context { /* of the last context descriptor */
    uint8_t ipcss, ipcso, tucss, tucso, hdrlen, tucmd;
    uint16_t ipcse, tucse, mss;
} E1000Context;
typedef struct E1000Ring { /* registers */
    uint32_t bal, bah, len, head, tail, dctl;
} E1000Ring;
typedef struct E1000Frame { /* that the descriptors of one transmit queue make up */
    E1000Context context;
    uint8_t popts, cmd, legacy, cso, css, bad /* too long: dropped at its end */;
    uint16_t vlan;
    uint32_t len;
    uint8_t *data;
} E1000Frame;
typedef struct E1000Report { /* of a received frame; status and errors as extended descriptors have them */
    uint32_t status, errors, hash;
    uint16_t vlan, sum, ip_id, header /* bytes of headers, 0: not known */;
    uint8_t rss_type, queue;
} E1000Report;
typedef struct E1000Packet { /* where things are in an IP frame */
    size_t ip, l4, end;
    unsigned proto;
    bool v6, fragment;
} E1000Packet;
typedef struct E1000 E1000;
typedef struct E1000Ops { /* how a model differs */
    uint32_t causes;                 /* bits that ICR has */
    void (*caused)(E1000 *s, uint32_t icr); /* ICR grew by these; or NULL */
    unsigned queues;
    uint32_t tx_at[E1000_QUEUES], frame_at[E1000_QUEUES], rx_at[E1000_QUEUES]; /* in the instance */
    void (*classify)(const E1000 *s, const uint8_t *f, size_t len, E1000Report *r); /* chooses the queue; or NULL */
    /* Descriptors other than legacy ones: how many a frame takes (0: it cannot be stored), and one of them, which takes so many bytes. */
    unsigned (*format)(const E1000 *s);  /* bytes of such a descriptor, in rings of 16-byte slots; 0: legacy. NULL: always */
    size_t (*descriptors)(const E1000 *s, const E1000Report *r, size_t all);
    size_t (*store)(E1000 *s, const E1000Ring *q, const uint8_t *f, size_t at, size_t all, const E1000Report *r);
    const uint16_t *nvm, *phy;       /* as they are after reset: NVM_WORDS (addresses and checksum left out), 32 */
    bool phy_pages;                  /* PHY_PAGE chooses what the PHY's registers from 16 are; only page 0 has any */
} E1000Ops;
struct E1000 {
    PciDev pci;
    const E1000Ops *ops;
    void *netdev;
    NetPort port;
    uint8_t conf_mac[6]; /* property */
    uint8_t gap;         /* the throttle interval runs */
    uint8_t tx_late, rx_late; /* queues whose causes are delayed */
    uint8_t pad[3];
    int32_t bootindex;
    /* registers */
    uint32_t ctrl, eecd, eerd, mdic, fcal, fcah, fct, vet, icr, itr, ims, rctl, fcttv, tctl, tipg, ait, ledctl, pba;
    uint32_t rdtr, radv, rsrpd, tidv, tadv, rxcsum, wuc, wufc, wus, manc, swsm, ioaddr;
    uint32_t mta[MTA_WORDS], ra[2 * ADDRESSES], vfta[VFTA_WORDS], stats[STATISTICS];
    E1000Ring tx, rx;
    uint16_t nvm[NVM_WORDS], phy[32];
    E1000Frame frame;
    uint8_t *held; /* a frame that waits for receive descriptors */
    uint32_t held_len, pad2;
    Timer throttle, tx_delay, rx_delay, more;
};
#define E(d) ((E1000 *)(void *)(d))
static inline const E1000 *e1000_of(const Dev *d) { return (const E1000 *)(const void *)d; }

/* e1000-mac.c */
extern const DevClass e1000__base; /* properties, state, life; init wants `ops` set before: see e1000__init */
bool e1000__init(E1000 *s, const E1000Ops *ops, Error **err);
void e1000__cause(E1000 *s, uint32_t icr);    /* interrupt causes came about */
bool e1000__level(const Dev *d);              /* of INTx and MSI */
void e1000__asserted(E1000 *s, bool was);     /* after ICR shrank: was the line up before? */
void e1000__count(E1000 *s, unsigned packets, unsigned octets, size_t bytes); /* counters, the second a pair */
uint64_t e1000__status(const Dev *d);
void e1000__ctrl_w(Dev *d, uint64_t old);
void e1000__rdtr_w(Dev *d, uint64_t old);
void e1000__tidv_w(Dev *d, uint64_t old);
void e1000__ics_w(Dev *d, uint64_t val, unsigned lanes);
void e1000__transmit_w(Dev *d, uint64_t old);
void e1000__receive_w(Dev *d, uint64_t old);
/* e1000-phy.c */
void e1000__nvm_fill(E1000 *s, const uint8_t mac[6]);
void e1000__mdic_w(Dev *d, uint64_t old);
void e1000__phy_reset(E1000 *s);
/* e1000-tx.c */
extern const FieldTable e1000__frame_fields;
void e1000__transmit(Dev *d);
/* e1000-rx.c */
bool e1000__can_take(void *o);
void e1000__take(void *o, const struct iovec *iov, int n);
void e1000__more_descriptors(E1000 *s);
bool e1000__find_packet(const uint8_t *f, size_t len, E1000Packet *p); /* true: TCP or UDP, if it is that, begins at l4 <= end <= len */
uint32_t e1000__buffer_size(const E1000 *s);
static inline uint64_t e1000__slot(const E1000Ring *q, size_t bytes)
{
    return ((uint64_t)q->bah << 32 | q->bal) + bytes * (uint64_t)q->head;
}

/* clang-format off */
/* Rows of registers that are the same in all models, and of a ring: q is "R" or "T", n "" or "1". */
#define E1000_PLAIN(nm, off, m) { nm, off, REG(E1000, m), .rw = UINT32_MAX }
#define E1000_RING(T, q, n, base, m, moved)                                                                             \
    { q "DBAL" n, (base), REG(T, m.bal), .rw = 0xfffffff0 }, { q "DBAH" n, (base) + 4, REG(T, m.bah), .rw = UINT32_MAX },   \
    { q "DLEN" n, (base) + 8, REG(T, m.len), .rw = 0xfff80 }, { q "DH" n, (base) + 0x10, REG(T, m.head), .rw = 0xffff },    \
    { q "DT" n, (base) + 0x18, REG(T, m.tail), .rw = 0xffff, .write = (moved), .doc = "descriptors up to here are the card's" }
#define E1000_SHARED_REGS                                                                                               \
    { "CTRL",   0x0004, REG(E1000, ctrl), .rw = UINT32_MAX, .write = e1000__ctrl_w, .doc = "its duplicate" },               \
    { "MDIC",   0x0020, REG(E1000, mdic), .rw = 0x2fffffff, .write = e1000__mdic_w, .doc = "PHY registers" },               \
    E1000_PLAIN("FCAL", 0x0028, fcal), E1000_PLAIN("FCAH", 0x002c, fcah), E1000_PLAIN("FCT", 0x0030, fct),                  \
    { "VET",    0x0038, REG(E1000, vet), .rw = 0xffff, .reset = 0x8100, .doc = "type of VLAN tags" },                       \
    E1000_PLAIN("ITR", 0x00c4, itr),                                                                                        \
    { "ICS",    0x00c8, NOFIELD(4), .wo = true, .wrote = e1000__ics_w, .doc = "sets causes" },                              \
    E1000_PLAIN("FCTTV", 0x0170, fcttv),                                                                                    \
    { "TCTL",   0x0400, REG(E1000, tctl), .rw = 0x0fffffff, .write = e1000__transmit_w, .doc = "transmit control" },        \
    E1000_PLAIN("AIFS", 0x0458, ait),                                                                                       \
    E1000_RING(E1000, "R", "", 0x2800, rx, e1000__receive_w), E1000_RING(E1000, "T", "", 0x3800, tx, e1000__transmit_w),    \
    { "RDTR",   0x2820, REG(E1000, rdtr), .rw = 0x8000ffff, .write = e1000__rdtr_w }, E1000_PLAIN("RADV", 0x282c, radv),    \
    E1000_PLAIN("RSRPD", 0x2c00, rsrpd),                                                                                       \
    { "TIDV", 0x3820, REG(E1000, tidv), .rw = 0x8000ffff, .write = e1000__tidv_w }, E1000_PLAIN("TADV", 0x382c, tadv),              \
    E1000_PLAIN("TXDCTL", 0x3828, tx.dctl),                                                                                 \
    { "statistics", 0x4000, REGS(E1000, stats, STATISTICS, 4), .rc = UINT32_MAX },                                          \
    { "MTA",    0x5200, REGS(E1000, mta, MTA_WORDS, 4), .rw = UINT32_MAX, .doc = "hash of multicast addresses" },           \
    { "RA",     0x5400, REGS(E1000, ra, 2 * ADDRESSES, 4), .rw = UINT32_MAX, .doc = "addresses" },                          \
    { "VFTA",   0x5600, REGS(E1000, vfta, VFTA_WORDS, 4), .rw = UINT32_MAX, .doc = "VLANs" },                               \
    E1000_PLAIN("WUC", 0x5800, wuc), E1000_PLAIN("WUFC", 0x5808, wufc), { "WUS", 0x5810, REG(E1000, wus), .w1c = UINT32_MAX }
/* The two ports by which all registers are reached. */
#define E1000_IO_REGS(table)                                                                                            \
    { "IOADDR", 0, REG(E1000, ioaddr), .rw = UINT32_MAX, .doc = "which register IODATA is" },                               \
    { "IODATA", 4, .at = UINT32_MAX, .size = 4, .indexed = (table), .index_at = offsetof(E1000, ioaddr), .index_size = 4 }
/* clang-format on */
#endif
