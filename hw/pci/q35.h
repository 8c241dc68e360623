/* hw/pci/q35.h - the host bridge of the q35 machine as it wires it. VM lock. */
#ifndef HW_PCI_Q35_H
#define HW_PCI_Q35_H
#include "hw/pci/host.h"

/* After "mch" was plugged at 0.0: below bytes of ram from 0 on, pci as seen below it. Makes the PAM, SMRAM and TSEG windows. */
void q35_map(Dev *mch, Region *ram, uint64_t below, Region *pci);
uint64_t q35_ecam(const Dev *mch); /* address of the enhanced configuration space, 0: off */
#endif
