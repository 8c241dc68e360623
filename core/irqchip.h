/*
 * core/irqchip.h - between interrupt controllers (hw/intc) and CPUs/accelerators, so that neither
 * includes the other. Path: pin -> PIC/IOAPIC model -> MSI message -> IrqBackend.msi_send.
 */
#ifndef CORE_IRQCHIP_H
#define CORE_IRQCHIP_H
#include "core/cpu.h"

/* Lines of an accelerator that has the chips itself (IrqBackend.pin_set): IOAPIC pins, then PIC inputs. Line 0 is its
 * timer's: PIC input 0 and IOAPIC pin 2. */
enum { GSI_IOAPIC = 0, GSI_PIC = 24, GSI_MSI = 40 /* the first free for messages */ };
/*
 * What chips remember, in a form that neither hw/ nor an accelerator owns, so that a chip may be served by either
 * and the saved state is the same. Spelled as the data sheets do.
 */
typedef struct PicState {
    uint8_t irr, imr, isr, lines, elcr, icw_step /* 0, or the ICW expected: 2, 3, 4 */, icw1, icw2, icw4;
    uint8_t priority_add, read_isr, poll, special_mask, rotate_on_auto_eoi;
} PicState;
typedef struct IoapicState {
    uint8_t select, id;
    uint32_t irr, lines;
    uint64_t entry[24];
} IoapicState;
typedef struct PitCounterState {
    int64_t start; /* CLOCK_VM ns at which `count` was loaded */
    uint32_t count;
    uint16_t latch;
    uint8_t mode, rw, bcd, gate, written_low, half_read, half_written, count_latched, status_latched, status, loaded;
} PitCounterState;
typedef struct PitState {
    PitCounterState c[3];
    uint8_t speaker; /* port 61h bits 0 and 1 */
} PitState;
typedef struct LapicState { /* reg[n]: the register at offset 16 * n of the xAPIC window; 0x39 is computed */
    uint32_t reg[64];
    uint64_t base, deadline;
} LapicState;
/* A device whose chip an accelerator may take over. VM lock; vCPUs stopped. `state` is the structure above of that name. */
typedef struct ChipPort {
    Vm *vm;
    const char *name; /* "pic0", "pic1", "ioapic", "pit" */
    Obj *chip;
    void (*get)(Obj *chip, void *state);
    void (*set)(Obj *chip, const void *state);
} ChipPort;
void chip_port_new(Obj *chip, const char *name, void (*get)(Obj *chip, void *state), void (*set)(Obj *chip, const void *state));
const ChipPort *chip_port(Vm *vm, const char *name); /* or NULL */

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
    bool (*msi_send)(Vm *vm, uint64_t addr, uint32_t data); /* any thread; false: nobody took it */
    /* the same from a periodic clock: what comes while one waits is owed, not merged with it. NULL: msi_send */
    bool (*tick)(Vm *vm, uint64_t addr, uint32_t data);
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
    int (*extint)(void *chip, bool ack); /* the PIC's line alone (split irqchip): -1 low; the vector when ack, else 0 */
    void (*get)(void *chip, LapicState *state); /* to and from an accelerator that has the chip itself */
    void (*set)(void *chip, const LapicState *state);
} CpuIntc;
/* IOAPICs that want EOIs (level, remote IRR): any accelerator calls it when vector v is EOI'd broadcast. VM lock taken inside. */
void vm_eoi(Vm *vm, uint8_t vector);
void vm_set_eoi_handler(Vm *vm, void (*fn)(void *chip, uint8_t vector), void *chip);
/* FERR# of a CPU, and the answer IGNNE#. VM lock taken inside. Without a chip for it the error is always ignored. */
bool vm_ferr(Vm *vm, bool level);
void vm_set_ferr_handler(Vm *vm, bool (*fn)(void *chip, bool level), void *chip);
/* The accelerator has PIC, IOAPIC, LAPICs and PIT itself: the models only hold their state while it is saved. */
bool vm_chips_in_kernel(const Vm *vm);
/* Send an MSI (addr 0xfeexxxxx): to vm->irq->msi_send. False: nobody took it. */
bool vm_msi(Vm *vm, uint64_t addr, uint32_t data);
/* The tick of a periodic clock as an MSI: a processor that a busy host starved gets those that it missed, one after the other. */
bool vm_tick(Vm *vm, uint64_t addr, uint32_t data);
#endif
