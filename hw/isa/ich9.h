/* hw/isa/ich9.h - the ICH9 LPC bridge as the q35 machine wires it. VM lock. */
#ifndef HW_ISA_ICH9_H
#define HW_ISA_ICH9_H
#include "hw/pci/pci.h"

enum { ICH9_HOTPLUG_PORT = 0x0cc0 };
bool ich9_acpi_hotplug(Dev *lpc, PciBus *root); /* ports are served by ACPI; false: by themselves */
enum { ICH9_ACPI_ENABLE = 0x02, ICH9_ACPI_DISABLE = 0x03 };
void ich9_pirq(void *lpc, unsigned n, bool level);     /* PIRQ A..H: PciBus.set_irq */
unsigned ich9_map_irq(PciDev *p, unsigned pin);        /* of a function on the root bus: PciBus.map_irq; irq_chip is the bridge */
/* SMI features as QEMU's machines negotiate them with firmware (the project's docs/specs): eight bytes that are asked for;
 * whether they are granted, for good until reset; what is in force. */
enum { ICH9_SMI_BROADCAST = 1 };
uint8_t *ich9_smi_requested(Dev *lpc);
bool ich9_smi_negotiate(Dev *lpc);
uint64_t ich9_smi_features(const Dev *lpc);
uint16_t ich9_pm_base(const Dev *lpc);                 /* 0: off */
#endif
