/* hw/pci/priv.h - between the files of this folder. VM lock. */
#ifndef HW_PCI_PRIV_H
#define HW_PCI_PRIV_H
#include "core/state.h"
#include "hw/pci/pci.h"

unsigned pci__cap_find(const PciDev *p, uint8_t id); /* offset; 0: none */
uint8_t pci__add_cap_at(PciDev *p, uint8_t at, uint8_t id, uint8_t len); /* at 0: pci_add_cap */
void pci__msix_init(PciDev *p); /* when the class has vectors: BAR and capability */
void pci__msix_reset(PciDev *p);
void pci__msix_retry(PciDev *p); /* after a write to the configuration space */
void pci__msix_save(const Dev *d, StateOut *o);
bool pci__msix_load(Dev *d, StateIn *i, Error **err);
void pci__msix_drop(Dev *d);
bool pci__rom_load(PciDev *p, Error **err); /* the file, when there is one */
void pci__rom_update(PciDev *p); /* maps it where the register says */
/* slot.c: the slot of a port, in its PCI Express capability; its hot-plug too unless ACPI does it. `last`: the value of the
 * control register before the write. */
void pci__slot_init(PciDev *port, unsigned number, bool hotplug, bool power);
void pci__slot_written(PciDev *port, unsigned off, unsigned size, uint16_t *last);
void pci__slot_look(PciDev *port, unsigned events); /* what is there changed */
void pci__slot_reset(PciDev *port, uint16_t *last);
bool pci__slot_interrupt(const Dev *port);
#endif
