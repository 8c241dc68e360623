/*
 * core/topology.h - where each CPU sits: threads in cores, cores in modules, modules in dies, dies in sockets, as -smp says; and APIC ids,
 * in which each level has bits of its own, so that there are gaps when a number is no power of two. Pure functions of the configuration.
 */
#ifndef CORE_TOPOLOGY_H
#define CORE_TOPOLOGY_H
#include "core/vm.h"

typedef struct CpuPlace {
    unsigned socket, die, module, core, thread; /* each within the one before */
} CpuPlace;
typedef struct CpuBits { /* the lowest bit of an APIC id that tells these apart */
    unsigned core, module, die, socket;
} CpuBits;
CpuPlace cpu_place(const VmConfig *c, unsigned index);
unsigned cpu_index_of(const VmConfig *c, CpuPlace p);
CpuBits cpu_bits(const VmConfig *c);
uint32_t cpu_apic_id(const VmConfig *c, unsigned index);
unsigned cpus_per_die(const VmConfig *c);
unsigned cpus_per_socket(const VmConfig *c);
#endif
