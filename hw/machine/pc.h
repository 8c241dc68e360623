/*
 * hw/machine/pc.h - between pc.c (what PCs share) and the files of the two chipsets. VM lock.
 */
#ifndef HW_MACHINE_PC_H
#define HW_MACHINE_PC_H
#include "core/machine.h"
#include "hw/fw/fw.h"
#include "hw/isa/isa.h"

enum { ISA_END, PCI_END, IDE_END, SELF_END, HPET_END, ENDS }; /* sources of an ISA line. SELF: chips that have a line of their own */

typedef struct Pc Pc;
typedef struct PcChipset {
    uint64_t (*low_ram)(uint64_t size);          /* bytes of RAM below 4 GiB */
    bool (*bridges)(Pc *m, Error **err);         /* sets host, bus, isa, pm; wires the lines */
    bool (*storage)(Pc *m, Error **err);         /* disk controllers and the drives on them */
    void (*tell)(Pc *m, FwPlatform *p);          /* what firmware is told of this chipset */
    uint32_t hpet_lines;                         /* interrupt lines that HPET timers may use */
    const char *vga;                             /* where the default screen goes */
    bool (*smi_to_all)(const Pc *m);             /* NULL: SMIs go to the CPU that asked */
    const char *const *usb;                      /* what -machine usb=on adds; NULL at the end */
    bool fdc;                                    /* a floppy controller even without a drive */
} PcChipset;
struct Pc {
    Obj obj;
    Vm *vm;
    const PcChipset *chipset;
    Region *ram, *pci;
    PciBus *bus;
    IsaBus *isa;
    Dev *host, *mch, *pic[2], *ioapic, *lapic0, *isa_bridge, *pm, *rtc, *fdc;
    Irq pin[16], ends[16][ENDS], apic_ends[8][2]; /* apic_ends: IOAPIC pins 16..23: PCI, HPET */
    uint64_t below, above;
    bool hpet, acpi, i8042, vmport, usb;
    bool firmware;   /* something is at the reset vector */
    bool hpet_on;
    bool acpi_hotplug; /* of PCI devices, by ACPI */
    bool pit_held, tick[2]; /* the HPET replaces the PIT's line and the RTC's; what they drive meanwhile */
    uint8_t smm_prop;
    bool smm;
    char *memory_backend, *pflash[2];
    bool booted;         /* the reset of the start is over */
    VmListener listener;
};
#define PC(o) ((Pc *)(void *)(o))
extern const ObjClass pc_base; /* properties of both machines */

bool pc_init(Vm *vm, const PcChipset *chipset, Error **err); /* MachineClass.init */
void pc_join_lines(Pc *m, Irq isa[16]);  /* makes m->ends; isa gets those of the ISA bus */
bool pc_add_firmware(Pc *m, Error **err); /* ROM or flash, below m->pci; sets m->firmware */
bool pc_add_drive(Pc *m, int bus, int unit, Error **err); /* if=ide,bus=,unit= on "ide.BUS" */
#endif
