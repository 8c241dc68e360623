/*
 * core/irqchip.h - between interrupt controllers (hw/intc) and CPUs/accelerators, so that neither
 * includes the other. Path: pin -> PIC/IOAPIC model -> MSI message -> IrqBackend.msi_send.
 */
#ifndef CORE_IRQCHIP_H
#define CORE_IRQCHIP_H
#include "core/cpu.h"

typedef struct MsiRoute {
    uint64_t addr;
    uint32_t data;
    bool valid, masked, level;
} MsiRoute;
/* Implemented by each accelerator that takes interrupts itself (KVM in-kernel or split irqchip);
 * NULL in vm->irq: the software LAPICs (hw/intc/lapic.c) install theirs. */
typedef struct IrqBackend {
    /* whole in-kernel chip: a GSI pin; NULL: the PIC/IOAPIC models run in user space */
    void (*pin_set)(Vm *vm, unsigned gsi, bool level);
    bool (*msi_send)(Vm *vm, uint64_t addr, uint32_t data); /* any thread */
    void (*route_update)(Vm *vm, unsigned pin, const MsiRoute *r); /* IOAPIC pin -> message (split) */
    /* MSI-X vector -> irqfd: returns false when unsupported (then the device sends by msi_send) */
    bool (*irqfd)(Vm *vm, int fd, uint64_t addr, uint32_t data, bool on);
    void (*chip_pull)(Vm *vm), (*chip_push)(Vm *vm); /* in-kernel chips <-> our device models' fields */
} IrqBackend;
/* What a CPU asks of its local interrupt controller; set by hw/intc/lapic.c (or the machine's PIC when
 * there is no LAPIC) with cpu_set_intc. Called on the vCPU's thread. */
typedef struct CpuIntc {
    /* vector to deliver now, acknowledged; -1: none (it went away). May take the VM lock (ExtINT from the PIC). */
    int (*ack)(void *chip);
    bool (*pending)(void *chip);        /* would ack return >= 0: LAPIC IRR above PPR, or ExtINT */
    uint64_t (*get_tpr)(void *chip);    /* CR8 */
    void (*set_tpr)(void *chip, uint64_t v);
    uint64_t (*get_base)(void *chip);   /* IA32_APIC_BASE */
    bool (*set_base)(void *chip, uint64_t v);           /* false: #GP */
    bool (*msr_read)(void *chip, uint32_t msr, uint64_t *v);  /* x2APIC 0x800.., TSC deadline 0x6e0; false: #GP */
    bool (*msr_write)(void *chip, uint32_t msr, uint64_t v);
    void (*init)(void *chip);           /* INIT signal: reset except APIC id, base */
} CpuIntc;
/* IOAPICs that want EOIs (level, remote IRR): any accelerator calls it when vector v is EOI'd broadcast. VM lock taken inside. */
void vm_eoi(Vm *vm, uint8_t vector);
void vm_set_eoi_handler(Vm *vm, void (*fn)(void *chip, uint8_t vector), void *chip);
/* Send an MSI (addr 0xfeexxxxx): to vm->irq->msi_send. */
void vm_msi(Vm *vm, uint64_t addr, uint32_t data);
#endif
