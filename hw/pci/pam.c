/*
 * hw/pci/pam.c - PAM registers of Intel's host bridges. Source: 82441FX data sheet section 3.2.18, Q35 section 5.1.21.
 * "Read from PCI, write to RAM" is served as PCI for both: firmware that shadows itself enables both.
 */
#include "hw/pci/host.h"

void pam_masks(uint8_t wmask[PAM_REGISTERS])
{
    memset(wmask, 0x33, PAM_REGISTERS);
    wmask[0] = 0x30;
}

void pam_update(Pam *p, const uint8_t r[PAM_REGISTERS])
{
    for (unsigned i = 0; p->ram[0] && i < PAM_SEGMENTS; i++) { /* 0: F0000 in the upper half of PAM0; then two a register */
        unsigned attr = (i == 0 ? r[0] >> 4 : r[(i + 1) / 2] >> (i & 1 ? 0 : 4)) & 3;

        region_set_enabled(p->ram[i], attr & 1);
        region_set_readonly(p->ram[i], !(attr & 2));
        region_set_enabled(p->pci[i], !(attr & 1));
    }
}

void pam_map(Pam *p, Dev *owner, Region *ram, Region *pci)
{
    Region *mem = owner->obj.vm->sysmem;

    for (unsigned i = 0; i < PAM_SEGMENTS; i++) {
        uint64_t at = i == 0 ? 0xf0000 : 0xc0000 + (i - 1) * 0x4000, len = i == 0 ? 0x10000 : 0x4000;

        p->ram[i] = region_alias(&owner->obj, "pam-ram", ram, at, len);
        p->pci[i] = region_alias(&owner->obj, "pam-pci", pci, at, len);
        region_map(mem, at, p->ram[i], 1);
        region_map(mem, at, p->pci[i], 1);
    }
}
