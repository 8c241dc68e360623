/* core/topology.c - see topology.h. */
#include "core/topology.h"

static unsigned of(unsigned n) { return MAX(n, 1); } /* 0: not given */

CpuPlace cpu_place(const VmConfig *c, unsigned index)
{
    CpuPlace p;

    p.thread = index % of(c->threads);
    index /= of(c->threads);
    p.core = index % of(c->cores);
    index /= of(c->cores);
    p.module = index % of(c->modules);
    index /= of(c->modules);
    p.die = index % of(c->dies);
    p.socket = index / of(c->dies);
    return p;
}

unsigned cpu_index_of(const VmConfig *c, CpuPlace p)
{
    return (((p.socket * of(c->dies) + p.die) * of(c->modules) + p.module) * of(c->cores) + p.core) * of(c->threads) + p.thread;
}

static unsigned bits_for(unsigned n) { return of(n) > 1 ? 32u - (unsigned)__builtin_clz(n - 1) : 0; }

CpuBits cpu_bits(const VmConfig *c)
{
    CpuBits b = { .core = bits_for(c->threads) };

    b.module = b.core + bits_for(c->cores);
    b.die = b.module + bits_for(c->modules);
    b.socket = b.die + bits_for(c->dies);
    return b;
}

uint32_t cpu_apic_id(const VmConfig *c, unsigned index)
{
    CpuPlace p = cpu_place(c, index);
    CpuBits b = cpu_bits(c);

    return p.thread | p.core << b.core | p.module << b.module | p.die << b.die | p.socket << b.socket;
}

unsigned cpus_per_die(const VmConfig *c) { return of(c->threads) * of(c->cores) * of(c->modules); }
unsigned cpus_per_socket(const VmConfig *c) { return cpus_per_die(c) * of(c->dies); }
