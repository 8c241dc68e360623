/* core/numa.h - -numa: which CPUs and which memory lie together, and how far apart. Main thread, then VM lock. */
#ifndef CORE_NUMA_H
#define CORE_NUMA_H
#include "core/vm.h"

enum { NUMA_NODES = 64, NUMA_CPUS = 256, NUMA_LOCAL = 10, NUMA_REMOTE = 20 };
typedef struct NumaNode {
    bool present;
    char *memdev;        /* object that is its memory, or NULL: it has none */
    RamBlock *ram;
    uint64_t size;       /* bytes */
} NumaNode;
typedef struct Numa {    /* registered as ("config", "numa") */
    NumaNode node[NUMA_NODES];
    unsigned n;          /* 0 .. n-1 are present once numa_complete() has looked */
    int cpu[NUMA_CPUS];  /* node of each CPU; -1: not said */
    uint8_t distance[NUMA_NODES][NUMA_NODES]; /* 0: not said */
} Numa;

bool numa_option(Vm *vm, Opts *o, Error **err); /* one -numa; its first word under "type" */
const Numa *numa_of(Vm *vm); /* NULL: there was no -numa */
/* Takes the memory devices, fills what was not said. ram: the machine's bytes. */
bool numa_complete(Vm *vm, uint64_t ram, Error **err);
int numa_node_of(Vm *vm, unsigned cpu); /* 0 without -numa */
#endif
