/* hw/pci/i440fx.h - the i440FX host bridge as its machine wires it. VM lock. */
#ifndef HW_PCI_I440FX_H
#define HW_PCI_I440FX_H
#include "hw/pci/host.h"

/* After "i440FX" was plugged at 0.0: ram from 0 on, pci as seen below it. Makes the PAM and SMRAM windows. */
void i440fx_map(Dev *i440fx, Region *ram, Region *pci);
#endif
