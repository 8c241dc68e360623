/* hw/intc/intc.h - interrupt controllers as the machine wires them. VM lock unless said otherwise. */
#ifndef HW_INTC_INTC_H
#define HW_INTC_INTC_H
#include "core/irqchip.h"
#include "core/vm.h"

int pic_ack(Dev *master, Dev *slave); /* the vector of an INTA cycle, spurious included */
/* A local APIC per CPU, parent /machine/unattached; installs itself with cpu_set_intc. */
Dev *lapic_new(Cpu *cpu, Error **err);
void lapic_extint(Dev *lapic, bool level, int (*ack)(void *arg), void *arg); /* the PIC's INT line and who answers */
/* After all LAPICs exist: MMIO window, software IrqBackend, A20. */
void lapic_install(Vm *vm);
#endif
