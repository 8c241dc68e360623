/* hw/pci/host.h - host bridges and the segments of RAM they switch, as machines and bridges wire them. VM lock. */
#ifndef HW_PCI_HOST_H
#define HW_PCI_HOST_H
#include "hw/pci/pci.h"

/* Configuration ports 0xcf8/0xcfc and the root bus behind them; mem: where BARs are mapped. The host's output "init"
 * pulses when software asks for a soft reset. */
PciBus *pci_host_new(Vm *vm, const char *type, const char *bus, bool express, Region *mem, Dev **host, Error **err);

/* Programmable attributes of the thirteen segments from C0000 to FFFFF: RAM or PCI. */
enum { PAM_SEGMENTS = 13, PAM_REGISTERS = 7 };
typedef struct Pam {
    Region *ram[PAM_SEGMENTS], *pci[PAM_SEGMENTS];
} Pam;
void pam_map(Pam *p, Dev *owner, Region *ram, Region *pci);
void pam_update(Pam *p, const uint8_t regs[PAM_REGISTERS]); /* after a change of the registers; before pam_map: nothing */
void pam_masks(uint8_t wmask[PAM_REGISTERS]);               /* writable bits */
#endif
