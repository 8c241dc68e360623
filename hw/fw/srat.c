/*
 * hw/fw/srat.c - what lies near to what: SRAT (ACPI 6.4, 5.2.16) and SLIT (5.2.17), and the same for firmware that asks fw_cfg.
 */
#include "core/numa.h"
#include "core/topology.h"
#include "hw/fw/acpi-priv.h"

enum { ENABLED = 1, HOLE_FROM = 640 * KiB, HOLE_TO = MiB };

static void le(GByteArray *t, unsigned size, uint64_t v)
{
    uint8_t b[8];

    le_store(b, size, v);
    g_byte_array_append(t, b, size);
}

static void affinity_of_cpu(GByteArray *t, uint32_t apic_id, uint32_t node)
{
    if (apic_id < 255) { /* local APIC: domain in four bytes, two places */
        le(t, 2, 16 << 8 | 0);
        le(t, 1, node & 0xff);
        le(t, 1, apic_id);
        le(t, 4, ENABLED);
        le(t, 1, 0); /* SAPIC */
        le(t, 3, node >> 8);
        le(t, 4, 0);
    } else { /* x2APIC */
        le(t, 2, 24 << 8 | 2);
        le(t, 2, 0);
        le(t, 4, node);
        le(t, 4, apic_id);
        le(t, 4, ENABLED);
        le(t, 8, 0);
    }
}

static void affinity_of_memory(GByteArray *t, uint64_t from, uint64_t to, uint32_t node)
{
    if (from >= to)
        return;
    le(t, 2, 40 << 8 | 1);
    le(t, 4, node);
    le(t, 2, 0);
    le(t, 8, from);
    le(t, 8, to - from);
    le(t, 4, 0);
    le(t, 4, ENABLED);
    le(t, 8, 0);
}

/* Bytes from..to of the guest's RAM, where they are in its address space: around the hole below 1 MiB, and that below 4 GiB. */
static void memory(GByteArray *t, const FwPlatform *p, uint64_t from, uint64_t to, uint32_t node)
{
    uint64_t high = 1ull << 32;

    affinity_of_memory(t, from, MIN(to, HOLE_FROM), node);
    affinity_of_memory(t, MAX(from, HOLE_TO), MIN(to, p->below_4g), node);
    affinity_of_memory(t, high + MAX(from, p->below_4g) - p->below_4g, high + MAX(to, p->below_4g) - p->below_4g, node);
}

void fw__srat(GByteArray *t, const FwPlatform *p)
{
    const Numa *n = numa_of(p->vm);
    uint64_t at = 0;

    le(t, 4, 1); /* as ACPI 1 had it */
    le(t, 8, 0);
    for (unsigned i = 0; i < p->vm->ncpus; i++)
        affinity_of_cpu(t, p->vm->cpus[i]->apic_id, (uint32_t)numa_node_of(p->vm, i));
    for (unsigned i = 0; i < n->n; at += n->node[i].size, i++)
        memory(t, p, at, at + n->node[i].size, i);
}

void fw__slit(GByteArray *t, const FwPlatform *p)
{
    const Numa *n = numa_of(p->vm);

    le(t, 8, n->n);
    for (unsigned i = 0; i < n->n; i++)
        g_byte_array_append(t, n->distance[i], n->n);
}

/* Nodes, then the node of each possible CPU, then the bytes of each node. */
void fw__add_numa(const FwPlatform *p, unsigned ids)
{
    const Numa *n = numa_of(p->vm);
    unsigned nodes = n ? n->n : 0, len = 8 * (1 + ids + nodes);
    g_autofree uint8_t *v = g_malloc0(len);

    le64_store(v, nodes);
    for (unsigned i = 0; i < MAX(p->vm->cfg.max_cpus, p->vm->ncpus); i++) /* by APIC id */
        if (cpu_apic_id(&p->vm->cfg, i) < ids)
            le64_store(v + 8 * (1 + cpu_apic_id(&p->vm->cfg, i)), (uint64_t)numa_node_of(p->vm, i));
    for (unsigned i = 0; i < nodes; i++)
        le64_store(v + 8 * (1 + ids + i), n->node[i].size);
    fw_cfg_set(p->fw_cfg, FW_CFG_NUMA, v, len);
}
