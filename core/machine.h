/* core/machine.h - machine types: hw/machine/pc.c and its fellows register here. */
#ifndef CORE_MACHINE_H
#define CORE_MACHINE_H
#include "core/vm.h"

typedef struct CompatProp {
    const char *driver, *prop, *value;
} CompatProp;
typedef struct MachineClass {
    const char *name, *alias, *desc; /* "pc-q35-10.0", "q35" */
    bool is_default, no_cpu;         /* "none" */
    ObjClass props;                  /* -machine's own options; instance is vm->machine */
    const char *default_cpu;         /* "qemu64" */
    uint64_t default_ram;            /* bytes */
    const char *default_ram_id;      /* "pc.ram" */
    unsigned max_cpus;
    const char *default_bus_type;    /* if= of a -drive without one: "ide" */
    const char *default_nic;         /* of -nic without model=; NULL: e1000 */
    bool no_floppy;                  /* no drive unless asked for: Linux takes seconds to find an empty one empty */
    unsigned ide_units;              /* units per ide bus: 2 (pc), 1 (q35) */
    bool (*init)(Vm *vm, Error **err); /* wires everything; VM lock held */
    const CompatProp *compat;
    size_t ncompat;
} MachineClass;
#define MACHINE(m)                                                                                 \
    static const MachineClass *const m##_machine                                                   \
        IN_SECTION("machines") = &m
const MachineClass *machine_find(const char *name_or_alias); /* NULL name: default */
void machine_foreach(void (*fn)(const MachineClass *m, void *arg), void *arg);

/* A -drive/-cdrom/-hda as the machine sees it (if=ide,scsi,floppy,pflash,virtio,none). */
typedef struct DriveInfo {
    char *id, *iface;
    int bus, unit, index; /* -1: unset -> assigned by app in order */
    bool cdrom, readonly;
    void *disk;           /* struct Disk * (block/disk.h); registered as ("drive", id) */
    bool claimed;
} DriveInfo;
DriveInfo *machine_drive(Vm *vm, const char *iface, int bus, int unit); /* or NULL; marks claimed */
#endif
