/* hw/machine/none.c - the machine without anything: clients start it to ask questions. */
#include "core/machine.h"

static const MachineClass none = {
    .name = "none", .desc = "empty machine", .no_cpu = true, .props = { .name = "none-machine", .size = sizeof(Obj) }, .max_cpus = 1,
    .default_bus_type = "none",
};
MACHINE(none);
