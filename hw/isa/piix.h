/* hw/isa/piix.h - PIIX3 and PIIX4 PM as the pc machine wires them. VM lock. */
#ifndef HW_ISA_PIIX_H
#define HW_ISA_PIIX_H
#include "hw/pci/pci.h"

enum { PIIX4_ACPI_ENABLE = 0xf1, PIIX4_ACPI_DISABLE = 0xf0 };
void piix3_pirq(void *piix3, unsigned n, bool level); /* a PCI interrupt pin: PciBus.set_irq */
unsigned piix3_map_irq(PciDev *p, unsigned pin);      /* of a slot: PciBus.map_irq */
uint16_t piix4_pm_base(const Dev *pm);                /* 0: not programmed */
#endif
