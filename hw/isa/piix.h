/* hw/isa/piix.h - PIIX3 and PIIX4 PM as the pc machine wires them. VM lock. */
#ifndef HW_ISA_PIIX_H
#define HW_ISA_PIIX_H
#include "hw/pci/pci.h"

enum { PIIX4_ACPI_ENABLE = 0xf1, PIIX4_ACPI_DISABLE = 0xf0 };
void piix3_pirq(void *piix3, unsigned n, bool level); /* a PCI interrupt pin: PciBus.set_irq */
unsigned piix3_map_irq(PciDev *p, unsigned pin);      /* of a slot: PciBus.map_irq */
enum { PIIX4_HOTPLUG_PORT = 0xae00, PIIX4_GPE_PORT = 0xafe0, PIIX4_GPE_LEN = 4 };
bool piix4_acpi_hotplug(Dev *pm, PciBus *root);       /* as its properties say; false: nothing is served */
uint16_t piix4_pm_base(const Dev *pm);                /* 0: not programmed */
#endif
