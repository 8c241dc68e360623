/*
 * target/x86/cpuid.c - CPU models: what CPUID says, and which instructions exist because of it. A fact is written
 * once: features.def names each bit and says whether we implement it; models are lists of those names.
 * Source: Intel SDM vol. 2A (CPUID), AMD APM vol. 3 appendix E.
 */
#include "target/x86/fpu.h"
#include "target/x86/models.h"
#include "core/api/machine.h"
#include "core/machine.h"

typedef struct Feature {
    const char *name;
    uint8_t word, bit; /* word: W_* */
    bool have;         /* the software CPU implements it */
    int row;           /* instructions of decode.tbl with cpu=..: RowFeature, or 0 */
} Feature;

static const Feature features[] = {
#define F(n, w, b, h, r) { n, w, b, h, r },
#include "target/x86/features.def"
#undef F
};

typedef struct Model {
    const char *name, *desc, *vendor;
    uint8_t family, model, stepping;
    uint32_t level, xlevel;
    const char *brand, *parent, *feats; /* features: space separated, added to the parent's */
} Model;
static const Model models[] = {
#define M(...) { __VA_ARGS__ },
#include "target/x86/models.def"
#undef M
};

static const Feature *feature_find(const char *name, size_t len)
{
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        const char *a = features[i].name;
        size_t k = 0;

        while (k < len && a[k] && (a[k] == name[k] || ((a[k] == '-' || a[k] == '_') && (name[k] == '-' || name[k] == '_'))))
            k++;
        if (k == len && !a[k])
            return &features[i];
    }
    return NULL;
}

static const Model *model_find(const char *name, size_t len)
{
    for (size_t i = 0; i < G_N_ELEMENTS(models); i++)
        if (strlen(models[i].name) == len && !strncmp(models[i].name, name, len))
            return &models[i];
    return NULL;
}

static void add_features(const Model *m, uint32_t words[WORDS])
{
    if (m->parent && *m->parent)
        add_features(model_find(m->parent, strlen(m->parent)), words);
    for (const char *p = m->feats; *p;) {
        size_t n = strcspn(p, " ");
        const Feature *f = feature_find(p, n);

        g_assert(f || !n);
        if (f)
            words[f->word] |= 1u << f->bit;
        p += n + (p[n] == ' ');
    }
}

static const struct {
    uint32_t leaf;
    uint8_t sub, reg; /* 0 EAX .. 3 EDX */
} word_at[WORDS] = {
    [W_1D] = { 1, 0, 3 }, [W_1C] = { 1, 0, 2 }, [W_7B] = { 7, 0, 1 }, [W_7C] = { 7, 0, 2 }, [W_7D] = { 7, 0, 3 },
    [W_81D] = { 0x80000001, 0, 3 }, [W_81C] = { 0x80000001, 0, 2 }, [W_D1A] = { 0xd, 1, 0 }, [W_6A] = { 6, 0, 0 },
};

/* What the engine can do: a processor under us says so itself, bits without a name included. */
static void offered(Cpu *cpu, uint32_t words[WORDS])
{
    memset(words, 0, WORDS * sizeof(words[0]));
    for (unsigned w = 0; w < WORDS && cpu->accel->cpuid; w++) {
        uint32_t out[4];

        cpu->accel->cpuid(cpu->vm, word_at[w].leaf, word_at[w].sub, out);
        words[w] = out[word_at[w].reg];
    }
    for (size_t i = 0; i < G_N_ELEMENTS(features) && !cpu->accel->cpuid; i++)
        if (features[i].have)
            words[features[i].word] |= 1u << features[i].bit;
}

/* Not there: taken away, said once by name. */
static void drop_missing(uint32_t words[WORDS], const uint32_t have[WORDS], GString *missing)
{
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        const Feature *f = &features[i];

        if ((words[f->word] & ~have[f->word]) >> f->bit & 1)
            g_string_append_printf(missing, "%s%s", missing->len ? ", " : "", f->name);
    }
    for (unsigned w = 0; w < WORDS; w++)
        words[w] &= have[w];
}

typedef struct Choice {
    const Model *m;
    uint32_t words[WORDS];
    bool enforce, check;
    bool host;          /* all that the processor under us offers */
    bool everywhere;    /* the same under every engine */
    uint64_t tsc_hz;
    char vendor[13];
} Choice;

static bool set_feature(Choice *c, const char *name, size_t len, bool on, Error **err)
{
    const Feature *f = feature_find(name, len);

    if (!f) {
        fail(err, "-cpu %s: there is no feature '%.*s'", c->m->name, (int)len, name);
        return error_hint(err, "-cpu help lists models and features");
    }
    c->words[f->word] = on ? c->words[f->word] | 1u << f->bit : c->words[f->word] & ~(1u << f->bit);
    return true;
}

static bool property(Choice *c, const char *key, size_t klen, const char *val, Error **err)
{
    bool on;

    if (klen == 7 && !strncmp(key, "enforce", 7))
        return parse_bool(val, &c->enforce, err);
    if (klen == 5 && !strncmp(key, "check", 5))
        return parse_bool(val, &c->check, err);
    if (klen == 10 && !strncmp(key, "migratable", 10))
        return parse_bool(val, &on, err);
    if (klen == 13 && !strncmp(key, "tsc-frequency", 13))
        return parse_u64(val, &c->tsc_hz, err);
    return parse_bool(val, &on, err) && set_feature(c, key, klen, on, err);
}

static bool apply(Choice *c, const char *text, Error **err)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);

    for (char **p = parts + 1; parts[0] && *p; p++) {
        const char *eq = strchr(*p, '=');

        if (**p == '+' || **p == '-') {
            if (!set_feature(c, *p + 1, strlen(*p + 1), **p == '+', err))
                return false;
        } else if (!property(c, *p, eq ? (size_t)(eq - *p) : strlen(*p), eq ? eq + 1 : "on", err)) {
            return false;
        }
    }
    return true;
}

enum { MAX_LEAVES = 200 };

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

static void put_hypervisor(X86 *s, Cpu *cpu, const Choice *c)
{
    uint32_t sign[4], feat[4];

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

static void put_xsave(X86 *s, Cpu *cpu, const Choice *c)
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

static void put_topology(X86 *s, Cpu *cpu)
{
    uint32_t n = MAX(cpu->vm->cfg.max_cpus, 1u), shift = n > 1 ? 32u - (uint32_t)__builtin_clz(n - 1) : 0;

    put(s, 0xb, 0, true, 0, 1, 0x100, cpu->apic_id);
    put(s, 0xb, 1, true, shift, n, 0x201, cpu->apic_id);
    put(s, 0xb, 2, true, 0, 0, 2, cpu->apic_id);
}

static void put_subleaves(X86 *s, Cpu *cpu, uint32_t leaf, uint32_t n)
{
    for (uint32_t sub = 0; sub < n; sub++) {
        uint32_t out[4];

        cpu->accel->cpuid(cpu->vm, leaf, sub, out);
        if (sub && !(out[0] | out[1] | out[2] | out[3]))
            break;
        if (leaf == 4 || leaf == 0x8000001d) /* one thread a core; a cache is of one core but the last level */
            out[0] = (out[0] & 0x3fff) | (leaf == 4 ? (cpu->vm->cfg.max_cpus - 1) << 26 : 0);
        put(s, leaf, sub, true, out[0], out[1], out[2], out[3]);
    }
}

static void put_host_leaf(X86 *s, Cpu *cpu, const Choice *c, uint32_t leaf)
{
    const uint32_t *w = c->words;
    uint32_t o[4], smp = cpu->vm->cfg.max_cpus;

    cpu->accel->cpuid(cpu->vm, leaf, 0, o);
    switch (leaf) {
    case 1:
        put(s, 1, 0, false, o[0], cpu->apic_id << 24 | MIN(smp, 255u) << 16 | (o[1] & 0xff00), w[W_1C], w[W_1D] | (smp > 1 ? 1u << 28 : 0));
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
    case 0x80000001: put(s, leaf, 0, false, o[0], o[1], w[W_81C] & ~(1u << 22 | 1u << 23 | 1u << 24 | 1u << 28), w[W_81D]); return;
    case 0x80000008: put(s, leaf, 0, false, o[0], o[1], (o[2] & ~0xf0ffu) | (smp - 1), o[3]); return;
    case 0x8000001e: put(s, leaf, 0, false, cpu->apic_id, cpu->apic_id, 0, 0); return;
    default: put(s, leaf, 0, false, o[0], o[1], o[2], o[3]);
    }
}

/* -cpu host, and max where a processor is under us. */
static void fill_host(X86 *s, Cpu *cpu, const Choice *c)
{
    uint32_t o[4], level, xlevel;

    s->cpuid = g_new0(X86Cpuid, MAX_LEAVES);
    cpu->accel->cpuid(cpu->vm, 0, 0, o);
    level = MIN(o[0], 0x20u);
    put(s, 0, 0, false, level, o[1], o[2], o[3]);
    for (uint32_t leaf = 1; leaf <= level; leaf++)
        put_host_leaf(s, cpu, c, leaf);
    if (level >= 0xb)
        put_topology(s, cpu);
    if (level >= 0xd && c->words[W_1C] >> 26 & 1)
        put_xsave(s, cpu, c);
    put_hypervisor(s, cpu, c);
    cpu->accel->cpuid(cpu->vm, 0x80000000, 0, o);
    xlevel = CLAMP(o[0], 0x80000008u, 0x80000022u);
    put(s, 0x80000000, 0, false, xlevel, o[1], o[2], o[3]);
    for (uint32_t leaf = 0x80000001; leaf <= xlevel; leaf++)
        put_host_leaf(s, cpu, c, leaf);
}

static void fill_leaves(X86 *s, Cpu *cpu, const Choice *c)
{
    const Model *m = c->m;
    const uint32_t *w = c->words;
    uint32_t fam = m->family > 15 ? 15 : m->family, ext = m->family > 15 ? m->family - 15u : 0, smp = cpu->vm->cfg.max_cpus;
    uint32_t sig = ext << 20 | (m->model >> 4) << 16 | fam << 8 | (m->model & 15u) << 4 | m->stepping;
    uint32_t level = MAX(m->level, w[W_D1A] || w[W_1C] >> 26 & 1 ? 0xdu : w[W_7B] ? 7u : m->level);
    const char *v = c->vendor;

    s->cpuid = g_new0(X86Cpuid, MAX_LEAVES);
    put(s, 0, 0, false, level, word_of(v), word_of(v + 8), word_of(v + 4));
    put(s, 1, 0, false, sig, cpu->apic_id << 24 | MIN(smp, 255u) << 16 | 8 << 8, w[W_1C] | 1u << 31,
        w[W_1D] | (smp > 1 ? 1u << 28 : 0));
    put(s, 2, 0, false, 1, 0, 0x4d, 0x2c307d);
    put(s, 4, 0, true, 0x121 | (smp - 1) << 26, 0x1c0003f, 0x3f, 1);
    put(s, 4, 1, true, 0x122 | (smp - 1) << 26, 0x1c0003f, 0x3f, 1);
    put(s, 4, 2, true, 0x143 | (smp - 1) << 26, 0x3c0003f, 0xfff, 1);
    put(s, 5, 0, false, 0, 0, 3, 0);
    put(s, 6, 0, false, w[W_6A], 0, 0, 0);
    if (level >= 7)
        put(s, 7, 0, true, 0, w[W_7B], w[W_7C], w[W_7D]);
    if (level >= 0xd && w[W_1C] >> 26 & 1)
        put_xsave(s, cpu, c);
    put_hypervisor(s, cpu, c);
    put(s, 0x80000000, 0, false, m->xlevel, word_of(v), word_of(v + 8), word_of(v + 4));
    put(s, 0x80000001, 0, false, sig, 0, w[W_81C], w[W_81D]);
    put_brand(s, m->brand);
    put(s, 0x80000005, 0, false, 0x1ff01ff, 0x1ff01ff, 0x40020140, 0x40020140);
    put(s, 0x80000006, 0, false, 0, 0x42004200, 0x2008140, 0x808140);
    put(s, 0x80000007, 0, false, 0, 0, 0, w[W_81D] >> 27 & 1 ? 0x100 : 0);
    put(s, 0x80000008, 0, false, (w[W_7C] >> 16 & 1 ? 57u : 48u) << 8 | s->phys_bits, 0, smp - 1, 0);
}

static uint8_t phys_bits(const X86 *s)
{
    for (unsigned i = 0; i < s->ncpuid; i++)
        if (s->cpuid[i].leaf == 0x80000008)
            return CLAMP(s->cpuid[i].a & 0xff, 36, 52);
    return 36;
}

static void row_features(X86 *s, const uint32_t words[WORDS])
{
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        const Feature *f = &features[i];

        if (f->row && words[f->word] >> f->bit & 1)
            s->features[f->row / 64] |= 1ull << (f->row % 64);
    }
}

/* Named models have the vendor of the processor under us, as in QEMU: guests ask it which MSRs there are. */
static void choose_vendor(Choice *c, Cpu *cpu)
{
    uint32_t o[4];

    g_strlcpy(c->vendor, c->m->vendor, sizeof(c->vendor));
    if (!cpu->accel->cpuid || c->everywhere)
        return;
    cpu->accel->cpuid(cpu->vm, 0, 0, o);
    le32_store(c->vendor, o[1]);
    le32_store(c->vendor + 4, o[3]);
    le32_store(c->vendor + 8, o[2]);
    c->vendor[12] = 0;
}

/* False: a feature is missing and the user insists. */
static bool settle_features(Cpu *cpu, Choice *c, const char *text, const uint32_t have[WORDS], Error **err)
{
    const char *who = cpu->accel->cpuid ? "this host's KVM" : "the software CPU";
    g_autofree char *names = NULL;
    GString *missing = g_string_new(NULL);

    drop_missing(c->words, have, missing);
    names = g_string_free(missing, FALSE);
    if (*names && c->enforce)
        return fail(err, "-cpu %s: %s lacks %s", text, who, names);
    if (*names && c->check && cpu->index == 0 && strcmp(c->m->name, "qemu64"))
        warn_report("CPU model %s: %s lacks %s", c->m->name, who, names);
    return true;
}

static bool is_host(const Cpu *cpu, const Model *m)
{
    return cpu->accel->cpuid && (!strcmp(m->name, "max") || !strcmp(m->name, "host"));
}

static uint64_t tsc_hz(const Cpu *cpu, const Choice *c)
{
    if (c->tsc_hz || cpu->vm->cfg.tsc_hz)
        return c->tsc_hz ? c->tsc_hz : cpu->vm->cfg.tsc_hz;
    return cpu->accel->tsc_hz ? cpu->accel->tsc_hz(cpu->vm) : 1000000000;
}

bool x86_choose_model(Cpu *cpu, const char *text, Error **err)
{
    X86 *s = cpu->regs;
    Choice c = { .check = true };
    uint32_t have[WORDS];
    size_t n;

    text = text ? text : cpu->vm->mc && cpu->vm->mc->default_cpu ? cpu->vm->mc->default_cpu : "qemu64";
    n = strcspn(text, ",");
    c.m = model_find(text, n);
    if (!c.m) {
        fail(err, "-cpu %.*s: there is no such CPU model", (int)n, text);
        return error_hint(err, "-cpu help lists models and features");
    }
    if (!strcmp(c.m->name, "host") && !cpu->accel->cpuid) {
        fail(err, "-cpu host: the software CPU runs on no processor it could show");
        return error_hint(err, "-cpu max offers all that it implements; -accel kvm has -cpu host");
    }
    c.host = is_host(cpu, c.m);
    c.everywhere = g_str_has_prefix(c.m->name, "menura64");
    offered(cpu, have);
    add_features(c.m, c.words);
    if (c.host || !strcmp(c.m->name, "max"))
        memcpy(c.words, have, sizeof(have));
    if (!cpu->accel->cpuid) /* max offers what runs fast, and waiting for a store is no such thing; +monitor has it */
        c.words[W_1C] &= strcmp(c.m->name, "max") ? ~0u : ~(1u << 3);
    if (!apply(&c, text, err) || !settle_features(cpu, &c, text, have, err))
        return false;
    choose_vendor(&c, cpu);
    s->vendor_amd = !strcmp(c.vendor, "AuthenticAMD");
    s->phys_bits = 40;
    s->mxcsr_mask = MXCSR_BITS;
    s->tsc_hz = tsc_hz(cpu, &c);
    if (c.host)
        fill_host(s, cpu, &c);
    else
        fill_leaves(s, cpu, &c);
    s->phys_bits = phys_bits(s);
    row_features(s, c.words);
    memcpy(s->cpuid_words, c.words, sizeof(c.words));
    return true;
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

static uint32_t reg_of(const X86Cpuid *c, unsigned reg)
{
    return !c ? 0 : reg == 0 ? c->a : reg == 1 ? c->b : reg == 2 ? c->c : c->d;
}

void x86_missing_features(const X86Cpuid *theirs, const X86Cpuid *ours, GString *out)
{
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        const Feature *f = &features[i];
        unsigned reg = word_at[f->word].reg;

        if (word_at[f->word].leaf == theirs->leaf && word_at[f->word].sub == theirs->sub &&
            (reg_of(theirs, reg) & ~reg_of(ours, reg)) >> f->bit & 1)
            g_string_append_printf(out, "%s%s", out->len ? ", " : "", f->name);
    }
}

void x86_models_help(GString *out)
{
    g_string_append(out, "Available CPUs:\n");
    for (size_t i = 0; i < G_N_ELEMENTS(models); i++)
        g_string_append_printf(out, "  %-20s %s\n", models[i].name, models[i].desc);
    g_string_append(out, "\nRecognized CPUID flags:\n ");
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++)
        g_string_append_printf(out, " %s%s", features[i].name, features[i].have ? "" : "(-)");
    g_string_append(out, "\n(-): not implemented by the software CPU\n");
}

static void list_missing(const Model *m, const uint32_t have[WORDS], StrList *out)
{
    uint32_t words[WORDS] = { 0 };

    add_features(m, words);
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++)
        if ((words[features[i].word] & ~have[features[i].word]) >> features[i].bit & 1)
            *API_ADD(out) = g_strdup(features[i].name);
}

bool qmp_query_cpu_definitions(Vm *vm, CpuDefinitionInfoList *ret, Error **err)
{
    Cpu any = { .accel = vm->accel, .vm = vm };
    uint32_t have[WORDS];

    offered(&any, have);
    for (size_t i = 0; i < G_N_ELEMENTS(models); i++) {
        const char *name = models[i].name;
        CpuDefinitionInfo *d = API_ADD(ret);

        d->name = g_strdup(name);
        d->typename = g_strdup_printf("%s-x86_64-cpu", name);
        d->has_migration_safe = true;
        d->migration_safe = strcmp(name, "max") && strcmp(name, "host");
        list_missing(&models[i], have, &d->unavailable_features);
    }
    return true;
}
