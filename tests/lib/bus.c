/* tests/lib/bus.c - buses and back ends for devices under test: found by type, else made where this build can. */
#include "tests/lib/t.h"

Bus *t_bus(Vm *vm, const char *type) { return bus_find_type(vm, type); }
void t_backends(Vm *vm) {}
void t_bus_poke(Dev *d, Rng *r) {}
