/* hw/fw/acpi-priv.h - between the files of this folder. */
#ifndef HW_FW_ACPI_PRIV_H
#define HW_FW_ACPI_PRIV_H
#include "hw/fw/fw.h"

void fw__dsdt(GByteArray *a, const FwPlatform *p); /* the AML only */
void fw__hotplug(GByteArray *a, const FwPlatform *p); /* in the scope of the PCI root: registers, slots, who is told */
void fw__hotplug_event(GByteArray *a, const FwPlatform *p); /* its general purpose event */
uint16_t fw__pm_base(const FwPlatform *p);         /* what the chipset decodes now, else where we shall put it */
uint64_t fw__ecam(const FwPlatform *p);
void fw__bootorder(const FwPlatform *p); /* sets the file */
bool fw__option_roms(const FwPlatform *p, Error **err); /* of -option-rom */
void fw__device_roms(const FwPlatform *p); /* of devices that do not show them themselves */
char *fw__option_rom_path(const char *textual, long *bootindex); /* for the boot order; caller frees */
unsigned fw__pin_wire(const FwPlatform *p, unsigned slot, unsigned pin); /* PIRQ number */
void fw__srat(GByteArray *t, const FwPlatform *p); /* bodies, after the header; only with -numa */
void fw__slit(GByteArray *t, const FwPlatform *p);
void fw__add_numa(const FwPlatform *p, unsigned cpus); /* cpus: most there can be */
#endif
