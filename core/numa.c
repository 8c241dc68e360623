/* core/numa.c - see numa.h. What firmware and the guest's ACPI tables say of it is in hw/fw. */
#include "core/numa.h"
#include "core/topology.h"
#include "core/memdev.h"

static void numa_free(void *p)
{
    Numa *n = p;

    for (unsigned i = 0; i < NUMA_NODES; i++)
        g_free(n->node[i].memdev);
    g_free(n);
}

static Numa *find(Vm *vm) { return vm_lookup(vm, "config", "numa"); }
const Numa *numa_of(Vm *vm) { return find(vm); }

static Numa *make(Vm *vm)
{
    Numa *n = find(vm);

    if (n)
        return n;
    n = own(&vm->root, g_new0(Numa, 1), numa_free);
    for (unsigned i = 0; i < NUMA_CPUS; i++)
        n->cpu[i] = -1;
    vm_register(vm, "config", "numa", n);
    return n;
}

static bool number(Opts *o, const char *key, uint64_t most, uint64_t def, unsigned *out, Error **err)
{
    uint64_t v;

    if (def == UINT64_MAX && !opts_peek(o, key))
        return fail(err, "%s= is missing", key);
    if (!opts_get_u64(o, key, def, &v, err))
        return false;
    *out = (unsigned)MIN(v, most);
    return v <= most || fail(err, "%s=%" PRIu64 ": want at most %" PRIu64, key, v, most);
}

/* "3" or "0-3" */
static bool cpu_range(Numa *n, const char *text, unsigned node, Error **err)
{
    g_auto(GStrv) ends = g_strsplit(text, "-", 2);
    uint64_t from, to;

    if (!ends[0] || !parse_u64(ends[0], &from, NULL) || !parse_u64(ends[1] ? ends[1] : ends[0], &to, NULL) || from > to || to >= NUMA_CPUS)
        return fail(err, "cpus=%s: want a number or FIRST-LAST, below %d", text, NUMA_CPUS);
    for (; from <= to; from++) {
        if (n->cpu[from] >= 0)
            return fail(err, "cpus=%s: CPU %" PRIu64 " is in node %d already", text, from, n->cpu[from]);
        n->cpu[from] = (int)node;
    }
    return true;
}

static bool node_option(Numa *n, Opts *o, Error **err)
{
    unsigned id = 0;

    while (id < NUMA_NODES - 1 && n->node[id].present)
        id++;
    if (!number(o, "nodeid", NUMA_NODES - 1, id, &id, err))
        return false;
    if (n->node[id].present)
        return fail(err, "there is a node %u already", id);
    n->node[id].present = true;
    if (opts_peek(o, "mem")) {
        fail(err, "mem= is not supported by this machine type");
        return error_hint(err, "-object memory-backend-ram,id=m0,size=.. and memdev=m0 say the same");
    }
    n->node[id].memdev = opts_take(o, "memdev");
    for (guint i = 0; i < o->v->len; i++) {
        Opt *p = o->v->pdata[i];

        if (!strcmp(p->key, "cpus") && !cpu_range(n, p->value, id, err))
            return false;
        p->used |= !strcmp(p->key, "cpus");
    }
    return true;
}

static bool distance_option(Numa *n, Opts *o, Error **err)
{
    unsigned src, dst, val;

    if (!number(o, "src", NUMA_NODES - 1, UINT64_MAX, &src, err) || !number(o, "dst", NUMA_NODES - 1, UINT64_MAX, &dst, err) ||
        !number(o, "val", 255, UINT64_MAX, &val, err))
        return false;
    if (val < NUMA_LOCAL || (src == dst) != (val == NUMA_LOCAL))
        return fail(err, "val=%u: want 10 from a node to itself, else 11 to 255 (255: cannot be reached)", val);
    n->distance[src][dst] = (uint8_t)val;
    return true;
}

/* By its place in the topology: -smp comes before it on the command line. */
static bool cpu_option(const VmConfig *c, Numa *n, Opts *o, Error **err)
{
    unsigned threads = MAX(c->threads, 1), cores = MAX(c->cores, 1), dies = MAX(c->dies, 1), modules = MAX(c->modules, 1), node, all;
    CpuPlace p;

    if (!number(o, "node-id", NUMA_NODES - 1, UINT64_MAX, &node, err) || !number(o, "socket-id", NUMA_CPUS - 1, UINT64_MAX, &p.socket, err) ||
        !number(o, "die-id", dies - 1, 0, &p.die, err) || !number(o, "module-id", modules - 1, 0, &p.module, err) ||
        !number(o, "core-id", cores - 1, opts_peek(o, "core-id") || cores == 1 ? 0 : cores, &p.core, NULL) ||
        !number(o, "thread-id", threads - 1, opts_peek(o, "thread-id") || threads == 1 ? 0 : threads, &p.thread, NULL))
        return *err || fail(err, "socket-id=, core-id= and thread-id= name one CPU of the topology");
    all = cpu_index_of(c, p); /* each number is below 256 */
    if (all >= MAX(c->max_cpus, c->cpus) || all >= NUMA_CPUS)
        return fail(err, "there is no such CPU");
    n->cpu[all] = (int)node;
    return true;
}

bool numa_option(Vm *vm, Opts *o, Error **err)
{
    g_autofree char *type = opts_take(o, "type");
    Numa *n = make(vm);
    bool ok;

    if (!g_strcmp0(type, "node"))
        ok = node_option(n, o, err);
    else if (!g_strcmp0(type, "dist"))
        ok = distance_option(n, o, err);
    else if (!g_strcmp0(type, "cpu"))
        ok = cpu_option(&vm->cfg, n, o, err);
    else
        return fail(err, "'%s': want node, dist or cpu (hmat-lb and hmat-cache are not modelled)", type ? type : "");
    return ok && opts_all_used(o, "-numa", err);
}

/* Nobody said which: by sockets, as QEMU spreads them. */
static void spread_cpus(const VmConfig *c, Numa *n)
{
    unsigned socket = cpus_per_socket(c);
    bool said = false;

    for (unsigned i = 0; i < NUMA_CPUS; i++)
        said |= n->cpu[i] >= 0;
    for (unsigned i = 0; i < NUMA_CPUS; i++)
        if (n->cpu[i] < 0)
            n->cpu[i] = said ? 0 : (int)(i / socket % n->n);
}

/* A distance that was said one way holds the other way too; when any was said, all have to be. */
static bool fill_distances(Numa *n, Error **err)
{
    bool said = false;

    for (unsigned i = 0; i < NUMA_NODES; i++)
        for (unsigned k = 0; k < NUMA_NODES; k++) {
            said |= n->distance[i][k] && i != k;
            if (n->distance[i][k] && MAX(i, k) >= n->n)
                return fail(err, "-numa dist: there is no node %u", MAX(i, k));
        }
    for (unsigned i = 0; i < n->n; i++)
        for (unsigned k = 0; k < n->n; k++) {
            uint8_t *d = &n->distance[i][k], back = n->distance[k][i];

            if (!*d && i != k && said && !back)
                return fail(err, "-numa dist: the distance between nodes %u and %u is missing", i, k);
            *d = *d ? *d : i == k ? NUMA_LOCAL : said ? back : NUMA_REMOTE;
        }
    return true;
}

bool numa_complete(Vm *vm, uint64_t ram, Error **err)
{
    Numa *n = find(vm);
    uint64_t sum = 0;

    if (!n)
        return true;
    for (unsigned i = 0; i < NUMA_NODES; i++)
        if (n->node[i].present)
            n->n = i + 1;
    for (unsigned i = 0; i < n->n; i++) {
        NumaNode *d = &n->node[i];

        if (!d->present)
            return fail(err, "-numa: node %u is missing (nodes are numbered from 0 without gaps)", i);
        if (d->memdev && !(d->ram = memdev_take(vm, d->memdev, 0, err)))
            return false;
        d->size = d->ram ? d->ram->size : 0;
        sum += d->size;
    }
    for (unsigned i = 0; i < NUMA_CPUS; i++)
        if (n->cpu[i] >= (int)n->n)
            return fail(err, "-numa: CPU %u is in node %d, which is not there", i, n->cpu[i]);
    if (!n->n)
        return fail(err, "-numa: there is no node");
    if (sum != ram) {
        fail(err, "-numa: the nodes have %" PRIu64 " bytes of memory together, the machine %" PRIu64, sum, ram);
        return error_hint(err, "each node's memory is an object: -object memory-backend-ram,id=m0,size=.. -numa node,memdev=m0");
    }
    spread_cpus(&vm->cfg, n);
    return fill_distances(n, err);
}

int numa_node_of(Vm *vm, unsigned cpu)
{
    const Numa *n = find(vm);

    return n && cpu < NUMA_CPUS ? MAX(n->cpu[cpu], 0) : 0;
}
