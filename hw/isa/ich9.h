/* hw/isa/ich9.h - the ICH9 LPC bridge as the q35 machine wires it. VM lock. */
#ifndef HW_ISA_ICH9_H
#define HW_ISA_ICH9_H
#include "hw/pci/pci.h"

enum { ICH9_ACPI_ENABLE = 0x02, ICH9_ACPI_DISABLE = 0x03 };
void ich9_pirq(void *lpc, unsigned n, bool level);     /* PIRQ A..H: PciBus.set_irq */
unsigned ich9_map_irq(PciDev *p, unsigned pin);        /* of a function on the root bus: PciBus.map_irq; irq_chip is the bridge */
uint16_t ich9_pm_base(const Dev *lpc);                 /* 0: off */
#endif
