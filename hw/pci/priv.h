/* hw/pci/priv.h - between pci.c and msix.c. VM lock. */
#ifndef HW_PCI_PRIV_H
#define HW_PCI_PRIV_H
#include "core/state.h"
#include "hw/pci/pci.h"

unsigned pci__cap_find(const PciDev *p, uint8_t id); /* offset; 0: none */
void pci__msix_init(PciDev *p); /* when the class has vectors: BAR and capability */
void pci__msix_reset(PciDev *p);
void pci__msix_retry(PciDev *p); /* after a write to the configuration space */
void pci__msix_save(const Dev *d, StateOut *o);
bool pci__msix_load(Dev *d, StateIn *i, Error **err);
void pci__msix_drop(Dev *d);
#endif
