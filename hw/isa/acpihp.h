/*
 * hw/isa/acpihp.h - PCI hot-plug by ACPI: which slots of which bus have something new or should be let go of, and the eject
 * register. A south bridge has it in its PmDev and lists the rows in a bank of its own; the guest's side is in the DSDT
 * (hw/fw/hotplug.c). VM lock.
 */
#ifndef HW_ISA_ACPIHP_H
#define HW_ISA_ACPIHP_H
#include "hw/pci/pci.h"

enum { ACPIHP_BUSES = 256, ACPIHP_PORTS = 0x18, ACPIHP_GPE = 1 << 1 };
typedef struct AcpiHp {
    uint32_t up[ACPIHP_BUSES], down[ACPIHP_BUSES]; /* by bus, a bit for each slot */
    uint32_t sel;
    unsigned buses; /* that have a number */
} AcpiHp;
extern const FieldTable acpihp_fields;

/* Rows for a structure T with an AcpiHp hp in it; T_sel(d) is what BSEL selects. */
#define ACPIHP_ROWS(T, selected, eject, removable)                                                                        \
    { "PCIU", 0x00, .at = offsetof(T, hp.up[0]), .size = 4, .count = ACPIHP_BUSES, .at_stride = 4, .select = (selected),  \
      .rc = UINT32_MAX, .doc = "slots of the bus with something new" },                                                   \
    { "PCID", 0x04, .at = offsetof(T, hp.down[0]), .size = 4, .count = ACPIHP_BUSES, .at_stride = 4, .select = (selected), \
      .doc = "slots that should be let go of" },                                                                          \
    { "B0EJ", 0x08, NOFIELD(4), .wrote = (eject), .doc = "write: slots that the guest let go of" },                       \
    { "PRMV", 0x0c, NOFIELD(4), .value = (removable), .doc = "slots that can be let go of" },                             \
    { "BSEL", 0x10, REG(T, hp.sel), .rw = UINT32_MAX, .doc = "number of the bus the others are about" }
unsigned acpihp_selected(const AcpiHp *h);               /* ACPIHP_BUSES: none */
void acpihp_eject(Vm *vm, AcpiHp *h, uint32_t slots);
uint32_t acpihp_removable(Vm *vm, const AcpiHp *h);
#endif
