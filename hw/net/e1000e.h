/*
 * hw/net/e1000e.h - the 82574L's state, shared by its registers and interrupts (e1000e.c) and its own ways to receive
 * (e1000e-rx.c). Names as in Intel's data sheet (317694). VM lock.
 */
#ifndef HW_NET_E1000E_H
#define HW_NET_E1000E_H
#include "hw/net/e1000.h"

enum { VECTORS = 5, RETA_WORDS = 32, KEY_WORDS = 10, MASK_WORDS = 32, FLEX_LENGTHS = 6, FLEX_BYTES = 128, RFCTL_EXTEN = 1 << 15 };

typedef struct E82574 {
    E1000 nic;
    /* registers */
    uint32_t ctrl_ext, extcnf_ctrl, extcnf_size, phy_ctrl, pbs, eemngctl, eewr, flop, ert, fcrtl, fcrth, fcrtv, psrctl, raid, cpuvec;
    uint32_t eiac, iam, ivar, eitr[VECTORS], tarc[2], rfctl, mrqc, reta[RETA_WORDS], rssrk[KEY_WORDS];
    uint32_t ipav, ip4at[7], ip6at[4], wupl, wupm[MASK_WORDS], fflt[FLEX_LENGTHS], ffmt[FLEX_BYTES], ffvt[FLEX_BYTES];
    uint32_t gcr, gcr2, functag, gscl[4], factps, fwsm, swsm2, pbacl, timinca, tsync[10], rxmtrl, rxudp;
    E1000Ring tx1, rx1;
    uint32_t pad;
    E1000Frame frame1;
    uint64_t systim;             /* at systim_from */
    int64_t systim_from;
    uint16_t subsys_ven, subsys; /* properties */
    uint8_t sent, gaps;          /* vectors: whose causes have been told; whose interval runs */
    uint8_t pad2[2];
    Timer interval[VECTORS];
} E82574;
#define EE(d) ((E82574 *)(void *)(d))
static inline const E82574 *e1000e_of(const void *s) { return s; }

void e1000e__classify(const E1000 *s, const uint8_t *f, size_t len, E1000Report *r);
unsigned e1000e__format(const E1000 *s);
size_t e1000e__descriptors(const E1000 *s, const E1000Report *r, size_t all);
size_t e1000e__store(E1000 *s, const E1000Ring *q, const uint8_t *f, size_t at, size_t all, const E1000Report *r);
#endif
