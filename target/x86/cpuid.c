/*
 * target/x86/cpuid.c - the leaves of CPUID from what was chosen (models.c), or from the processor under us.
 * Source: Intel SDM vol. 2A (CPUID), AMD APM vol. 3 appendix E.
 */
#include "core/topology.h"
#include "target/x86/fpu.h"
#include "target/x86/models.h"

enum { MAX_LEAVES = 200, CMP_LEGACY = 2 /* several CPUs in a socket, if HTT says so */ };

static void put(X86 *s, uint32_t leaf, uint32_t sub, bool by_sub, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    g_assert(s->ncpuid < MAX_LEAVES);
    s->cpuid[s->ncpuid++] = (X86Cpuid){ leaf, sub, a, b, c, d, by_sub };
}

static uint32_t word_of(const char *v) { return le32_load(v); }

static void put_brand(X86 *s, const char *brand)
{
    char text[48] = { 0 };

    g_strlcpy(text, brand, sizeof(text));
    for (unsigned i = 0; i < 3; i++)
        put(s, 0x80000002 + i, 0, false, word_of(text + 16 * i), word_of(text + 16 * i + 4), word_of(text + 16 * i + 8),
            word_of(text + 16 * i + 12));
}

static void put_hypervisor(X86 *s, Cpu *cpu, const X86Choice *c)
{
    uint32_t sign[4], feat[4];

    if (!c->kvm && cpu->accel->cpuid)
        return; /* kvm=off: the guest is not told */
    if (cpu->accel->cpuid && !c->everywhere) {
        cpu->accel->cpuid(cpu->vm, 0x40000000, 0, sign);
        cpu->accel->cpuid(cpu->vm, 0x40000001, 0, feat);
        put(s, 0x40000000, 0, false, 0x40000001, sign[1], sign[2], sign[3]);
        put(s, 0x40000001, 0, false, feat[0], feat[1], feat[2], feat[3]);
        return;
    }
    put(s, 0x40000000, 0, false, 0x40000010, word_of("Menu"), word_of("ra  "), word_of(c->everywhere ? "CPU " : "TCG "));
    put(s, 0x40000010, 0, false, (uint32_t)(s->tsc_hz / 1000), 1000000, 0, 0);
}

/* XSAVE components that follow from features; where they lie is the processor's to say. */
static uint64_t xsave_components(const uint32_t w[WORDS])
{
    return 3u | (w[W_1C] >> 28 & 1 ? 4u : 0) | (w[W_7B] >> 14 & 1 ? 0x18u : 0) | (w[W_7B] >> 16 & 1 ? 0xe0u : 0) |
           (w[W_7C] >> 3 & 1 ? 0x200u : 0) | (w[W_7D] >> 24 & 1 ? 0x60000u : 0);
}

static void put_xsave(X86 *s, Cpu *cpu, const X86Choice *c)
{
    uint64_t parts = xsave_components(c->words) & (cpu->accel->cpuid ? ~0ull : XSTATE_ALL);
    uint32_t size = 0x240, part[64][4] = { [2] = { 256, 576 } }; /* SDM vol. 1, 13.4: AVX state, in the software CPU */

    for (unsigned i = 2; i < 64; i++) {
        if (cpu->accel->cpuid)
            cpu->accel->cpuid(cpu->vm, 0xd, i, part[i]);
        if (parts >> i & 1 && part[i][0])
            size = MAX(size, part[i][0] + part[i][1]);
        else
            parts &= ~(1ull << i);
    }
    put(s, 0xd, 0, true, (uint32_t)parts, size, size, (uint32_t)(parts >> 32));
    put(s, 0xd, 1, true, c->words[W_D1A] & (c->everywhere || !cpu->accel->cpuid ? 0xfu : ~8u), size, 0, 0);
    for (unsigned i = 2; i < 64; i++)
        if (parts >> i & 1)
            put(s, 0xd, i, true, part[i][0], part[i][1], part[i][2], 0);
}

/* ---- topology: leaf B knows threads and cores; leaf 1F of Intel's modules and dies too ---- */
enum { LEVEL_SMT = 1, LEVEL_CORE, LEVEL_MODULE, LEVEL_DIE = 5 };

static void put_levels(X86 *s, Cpu *cpu, uint32_t leaf)
{
    const VmConfig *c = &cpu->vm->cfg;
    CpuBits b = cpu_bits(c);
    const struct {
        bool there;
        unsigned level, shift, cpus; /* bits of the APIC id up to the next level; CPUs in one of it */
    } all[] = {
        { true, LEVEL_SMT, b.core, MAX(c->threads, 1) },
        { true, LEVEL_CORE, leaf == 0xb ? b.socket : b.module, leaf == 0xb ? cpus_per_socket(c) : MAX(c->threads, 1) * MAX(c->cores, 1) },
        { leaf == 0x1f && c->modules > 1, LEVEL_MODULE, b.die, cpus_per_die(c) },
        { leaf == 0x1f && c->dies > 1, LEVEL_DIE, b.socket, cpus_per_socket(c) },
    };
    uint32_t n = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++)
        if (all[i].there) {
            put(s, leaf, n, true, all[i].shift, all[i].cpus, all[i].level << 8 | n, cpu->apic_id);
            n++;
        }
    put(s, leaf, n, true, 0, 0, n, cpu->apic_id);
}

static bool many_levels(const Cpu *cpu) { return cpu->vm->cfg.dies > 1 || cpu->vm->cfg.modules > 1; }

static void put_topology(X86 *s, Cpu *cpu, uint32_t level)
{
    if (level >= 0xb)
        put_levels(s, cpu, 0xb);
    if (level >= 0x1f)
        put_levels(s, cpu, 0x1f);
}

/* EBX of leaf 1: APIC id, CPUs of the socket when there are several, CLFLUSH line in 8 bytes. */
static uint32_t leaf1_b(const Cpu *cpu, uint32_t line)
{
    uint32_t n = cpus_per_socket(&cpu->vm->cfg);

    return cpu->apic_id << 24 | (n > 1 ? MIN(n, 255u) << 16 : 0) | (line & 0xff00);
}

/* Who shares a cache, by its level: threads of a core, or all of a die. In leaf 4 also how many cores there may be. */
static uint32_t cache_sharing(const Cpu *cpu, uint32_t leaf, uint32_t a)
{
    CpuBits b = cpu_bits(&cpu->vm->cfg);
    uint32_t shared = (1u << ((a >> 5 & 7) < 3 ? b.core : b.die)) - 1, cores = (1u << (b.socket - b.core)) - 1;

    if (!(a & 31)) /* no more caches */
        return a;
    return (a & 0x3fff) | (shared & 0xfff) << 14 | (leaf == 4 ? MIN(cores, 63u) << 26 : 0);
}

/* ECX of 80000008: CPUs of the socket, and the bits of the APIC id that are theirs. */
static uint32_t socket_size(const Cpu *cpu)
{
    uint32_t n = cpus_per_socket(&cpu->vm->cfg);

    return n > 1 ? MIN(cpu_bits(&cpu->vm->cfg).socket, 15u) << 12 | MIN(n - 1, 255u) : 0;
}

static void put_8000001e(X86 *s, const Cpu *cpu)
{
    const VmConfig *c = &cpu->vm->cfg;
    CpuPlace p = cpu_place(c, cpu->index);

    put(s, 0x8000001e, 0, false, cpu->apic_id, (MAX(c->threads, 1) - 1) << 8 | (p.core & 0xff), p.socket & 0xff, 0);
}

static void put_subleaves(X86 *s, Cpu *cpu, uint32_t leaf, uint32_t n)
{
    for (uint32_t sub = 0; sub < n; sub++) {
        uint32_t out[4];

        cpu->accel->cpuid(cpu->vm, leaf, sub, out);
        if (sub && !(out[0] | out[1] | out[2] | out[3]))
            break;
        if (leaf == 4 || leaf == 0x8000001d)
            out[0] = cache_sharing(cpu, leaf, out[0]);
        put(s, leaf, sub, true, out[0], out[1], out[2], out[3]);
    }
}

static void put_host_leaf(X86 *s, Cpu *cpu, const X86Choice *c, uint32_t leaf)
{
    const uint32_t *w = c->words;
    uint32_t o[4], smp = cpus_per_socket(&cpu->vm->cfg);

    cpu->accel->cpuid(cpu->vm, leaf, 0, o);
    switch (leaf) {
    case 1:
        put(s, 1, 0, false, o[0], leaf1_b(cpu, o[1]), w[W_1C], w[W_1D] | (smp > 1 ? 1u << 28 : 0));
        return;
    case 4:
    case 0x8000001d: put_subleaves(s, cpu, leaf, 8); return;
    case 6: put(s, 6, 0, false, w[W_6A] & 4, 0, 0, 0); return;
    case 7:
        put(s, 7, 0, true, o[0], w[W_7B], w[W_7C], w[W_7D]);
        for (uint32_t sub = 1; sub <= o[0] && sub < 8; sub++) {
            uint32_t x[4];

            cpu->accel->cpuid(cpu->vm, 7, sub, x);
            put(s, 7, sub, true, x[0], x[1], x[2], x[3]);
        }
        return;
    case 0xa: /* performance counters and what follows from them are not carried with a state */
    case 0x80000022:
    case 0x8000000a: put(s, leaf, 0, false, 0, 0, 0, 0); return;
    case 0xb:
    case 0xd:
    case 0x1f: return; /* put apart */
    case 0x12:
    case 0x14:
    case 0x17:
    case 0x18:
    case 0x1d:
    case 0x1e: put_subleaves(s, cpu, leaf, 8); return;
    case 0x80000001:
        put(s, leaf, 0, false, o[0], o[1], (w[W_81C] & ~(CMP_LEGACY | 1u << 23 | 1u << 24 | 1u << 28)) | (s->vendor_amd && smp > 1 ? CMP_LEGACY : 0), w[W_81D]);
        return;
    case 0x80000008: put(s, leaf, 0, false, o[0], o[1], (o[2] & ~0xf0ffu) | socket_size(cpu), o[3]); return;
    case 0x8000001e: put_8000001e(s, cpu); return;
    default: put(s, leaf, 0, false, o[0], o[1], o[2], o[3]);
    }
}

/* -cpu host, and max where a processor is under us. */
static void fill_host(X86 *s, Cpu *cpu, const X86Choice *c)
{
    uint32_t o[4], level, xlevel;

    s->cpuid = g_new0(X86Cpuid, MAX_LEAVES);
    cpu->accel->cpuid(cpu->vm, 0, 0, o);
    level = MIN(o[0], 0x20u);
    put(s, 0, 0, false, level, o[1], o[2], o[3]);
    for (uint32_t leaf = 1; leaf <= level; leaf++)
        put_host_leaf(s, cpu, c, leaf);
    put_topology(s, cpu, level);
    if (level >= 0xd && c->words[W_1C] >> 26 & 1)
        put_xsave(s, cpu, c);
    put_hypervisor(s, cpu, c);
    cpu->accel->cpuid(cpu->vm, 0x80000000, 0, o);
    xlevel = CLAMP(o[0], 0x80000008u, 0x80000022u);
    put(s, 0x80000000, 0, false, xlevel, o[1], o[2], o[3]);
    for (uint32_t leaf = 0x80000001; leaf <= xlevel; leaf++)
        put_host_leaf(s, cpu, c, leaf);
}

static void put_leaf_7(X86 *s, const uint32_t *w)
{
    uint32_t last = w[W_7D2] ? 2 : w[W_7A1] || w[W_7D1] ? 1 : 0;

    put(s, 7, 0, true, last, w[W_7B], w[W_7C], w[W_7D]);
    if (last > 0)
        put(s, 7, 1, true, w[W_7A1], 0, 0, w[W_7D1]);
    if (last > 1)
        put(s, 7, 2, true, 0, 0, 0, w[W_7D2]);
}

/* 32 KiB of data and of code, and a second level, of each core; a last level of each die. */
static void put_intel_caches(X86 *s, Cpu *cpu)
{
    static const uint32_t caches[][4] = {
        { 0x121, 0x1c0003f, 0x3f, 1 }, { 0x122, 0x1c0003f, 0x3f, 1 }, { 0x143, 0x3c0003f, 0xfff, 1 }, { 0x163, 0x3c0003f, 0x3fff, 6 },
    };

    put(s, 2, 0, false, 1, 0, 0x4d, 0x2c307d);
    for (unsigned i = 0; i < G_N_ELEMENTS(caches); i++)
        put(s, 4, i, true, cache_sharing(cpu, 4, caches[i][0]), caches[i][1], caches[i][2], caches[i][3]);
}

static void put_amd_caches(X86 *s, Cpu *cpu)
{
    static const uint32_t caches[][4] = {
        { 0x121, 0x1c0003f, 0x3f, 1 }, { 0x122, 0x1c0003f, 0x3f, 1 }, { 0x43, 0x1c0003f, 0x3ff, 0 }, { 0x163, 0x3c0003f, 0x3fff, 2 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(caches); i++)
        put(s, 0x8000001d, i, true, cache_sharing(cpu, 0x8000001d, caches[i][0]), caches[i][1], caches[i][2], caches[i][3]);
    put_8000001e(s, cpu);
}

static void fill_leaves(X86 *s, Cpu *cpu, const X86Choice *c)
{
    const uint32_t *w = c->words;
    uint32_t fam = MIN(c->family, 15u), ext = c->family - fam, smp = cpus_per_socket(&cpu->vm->cfg);
    uint32_t sig = ext << 20 | (c->model >> 4) << 16 | fam << 8 | (c->model & 15u) << 4 | c->stepping;
    uint32_t level = MAX(c->level, w[W_D1A] || w[W_1C] >> 26 & 1 ? 0xdu : w[W_7B] ? 7u : c->level);
    const char *v = c->vendor;
    bool amd = !memcmp(v, "AuthenticAMD", 12);

    if (many_levels(cpu) && !amd)
        level = MAX(level, 0x1fu);
    s->cpuid = g_new0(X86Cpuid, MAX_LEAVES);
    put(s, 0, 0, false, level, word_of(v), word_of(v + 8), word_of(v + 4));
    put(s, 1, 0, false, sig, leaf1_b(cpu, 8 << 8), w[W_1C], w[W_1D] | (smp > 1 ? 1u << 28 : 0));
    if (!amd)
        put_intel_caches(s, cpu);
    put(s, 5, 0, false, 0, 0, 3, 0);
    put(s, 6, 0, false, w[W_6A], 0, 0, 0);
    if (level >= 7)
        put_leaf_7(s, w);
    put_topology(s, cpu, level);
    if (level >= 0xd && w[W_1C] >> 26 & 1)
        put_xsave(s, cpu, c);
    put_hypervisor(s, cpu, c);
    put(s, 0x80000000, 0, false, c->xlevel, word_of(v), word_of(v + 8), word_of(v + 4));
    put(s, 0x80000001, 0, false, sig, 0, w[W_81C] | (amd && smp > 1 ? CMP_LEGACY : 0), w[W_81D]);
    put_brand(s, c->brand);
    put(s, 0x80000005, 0, false, 0x1ff01ff, 0x1ff01ff, 0x40020140, 0x40020140);
    put(s, 0x80000006, 0, false, 0, 0x42004200, 0x2008140, 0x808140);
    put(s, 0x80000007, 0, false, 0, w[W_87B], 0, w[W_87D]);
    put(s, 0x80000008, 0, false, (w[W_7C] >> 16 & 1 ? 57u : 48u) << 8 | s->phys_bits, w[W_88B], socket_size(cpu), 0);
    if (w[W_81C] >> 2 & 1)
        put(s, 0x8000000a, 0, false, 1, 16, 0, w[W_8AD]); /* revision, address space identifiers */
    if (amd && c->xlevel >= 0x8000001e)
        put_amd_caches(s, cpu);
    if (w[W_821A])
        put(s, 0x80000021, 0, false, w[W_821A], 0, 0, 0);
}

static uint8_t phys_bits(const X86 *s)
{
    for (unsigned i = 0; i < s->ncpuid; i++)
        if (s->cpuid[i].leaf == 0x80000008)
            return CLAMP(s->cpuid[i].a & 0xff, 36, 52);
    return 36;
}

void x86__fill_cpuid(X86 *s, Cpu *cpu, const X86Choice *c)
{
    if (c->host)
        fill_host(s, cpu, c);
    else
        fill_leaves(s, cpu, c);
    s->phys_bits = phys_bits(s);
}

void x86_cpuid(X86 *s, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    uint32_t base = leaf & 0x80000000 ? 0x80000000 : leaf >= 0x40000000 ? 0x40000000 : 0, max = 0;

    memset(out, 0, 16);
    for (unsigned i = 0; i < s->ncpuid; i++)
        if (s->cpuid[i].leaf == base)
            max = s->cpuid[i].a;
    if (leaf > max) { /* Intel answers with the last basic leaf, AMD with zeroes */
        if (s->vendor_amd || base)
            return;
        leaf = max;
    }
    for (unsigned i = 0; i < s->ncpuid; i++) {
        const X86Cpuid *c = &s->cpuid[i];

        if (c->leaf != leaf || (c->by_sub && c->sub != sub))
            continue;
        out[0] = c->a;
        out[1] = c->b;
        out[2] = c->c;
        out[3] = c->d;
        break;
    }
    if (leaf == 1 && s->cr4 & CR4_OSXSAVE)
        out[2] |= 1u << 27;
    if (leaf == 1 && s->env.cpu->intc && !(s->env.cpu->intc->get_base(s->env.cpu->intc_chip) & 0x800))
        out[3] &= ~(1u << 9);
    if (leaf == 0xd && sub < 2 && !s->env.cpu->accel->cpuid)
        out[1] = out[1] ? x86_xsave_size(s->xcr0, sub) : 0; /* what is enabled takes */
    if (leaf == 7 && sub == 0 && s->cr4 & CR4_PKE)
        out[2] |= 1u << 4;
}

const X86Cpuid *x86_cpuid_row(const X86 *s, uint32_t leaf, uint32_t sub)
{
    for (unsigned i = 0; i < s->ncpuid; i++)
        if (s->cpuid[i].leaf == leaf && (!s->cpuid[i].by_sub || s->cpuid[i].sub == sub))
            return &s->cpuid[i];
    return NULL;
}
