/*
 * target/x86/cpuid.c - CPU models: what CPUID says, and which instructions exist because of it. A fact is written
 * once: features.def names each bit and says whether we implement it; models are lists of those names.
 * Source: Intel SDM vol. 2A (CPUID), AMD APM vol. 3 appendix E.
 */
#include "target/x86/cpu.h"
#include "target/x86/models.h"
#include "core/machine.h"

typedef struct Feature {
    const char *name;
    uint8_t word, bit; /* word: W_* */
    bool have;         /* the software CPU implements it */
    int row;           /* instructions of decode.tbl with cpu=..: RowFeature, or 0 */
} Feature;
enum { W_1D, W_1C, W_7B, W_7C, W_7D, W_81D, W_81C, W_D1A, W_6A, WORDS };

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

static void all_we_have(uint32_t words[WORDS])
{
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++)
        if (features[i].have)
            words[features[i].word] |= 1u << features[i].bit;
}

/* Not implemented: taken away, said once by name. */
static void drop_missing(uint32_t words[WORDS], GString *missing)
{
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        const Feature *f = &features[i];

        if (f->have || !(words[f->word] >> f->bit & 1))
            continue;
        words[f->word] &= ~(1u << f->bit);
        g_string_append_printf(missing, "%s%s", missing->len ? ", " : "", f->name);
    }
}

typedef struct Choice {
    const Model *m;
    uint32_t words[WORDS];
    bool enforce, check;
    uint64_t tsc_hz;
    char *vendor;
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

static void put(X86 *s, uint32_t leaf, uint32_t sub, bool by_sub, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
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

static void fill_leaves(X86 *s, Cpu *cpu, const Choice *c)
{
    const Model *m = c->m;
    const uint32_t *w = c->words;
    uint32_t fam = m->family > 15 ? 15 : m->family, ext = m->family > 15 ? m->family - 15u : 0, smp = cpu->vm->cfg.max_cpus;
    uint32_t sig = ext << 20 | (m->model >> 4) << 16 | fam << 8 | (m->model & 15u) << 4 | m->stepping;
    uint32_t level = MAX(m->level, w[W_D1A] || w[W_1C] >> 26 & 1 ? 0xdu : w[W_7B] ? 7u : m->level);
    const char *v = m->vendor;

    s->cpuid = g_new0(X86Cpuid, 40);
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
    if (level >= 0xd && w[W_1C] >> 26 & 1) {
        put(s, 0xd, 0, true, 3, 0x240, 0x240, 0);
        put(s, 0xd, 1, true, w[W_D1A], 0x240, 0, 0);
    }
    put(s, 0x40000000, 0, false, 0x40000010, word_of("Menu"), word_of("ra  "), word_of("TCG "));
    put(s, 0x40000010, 0, false, (uint32_t)(s->tsc_hz / 1000), 1000000, 0, 0);
    put(s, 0x80000000, 0, false, m->xlevel, word_of(v), word_of(v + 8), word_of(v + 4));
    put(s, 0x80000001, 0, false, sig, 0, w[W_81C], w[W_81D]);
    put_brand(s, m->brand);
    put(s, 0x80000005, 0, false, 0x1ff01ff, 0x1ff01ff, 0x40020140, 0x40020140);
    put(s, 0x80000006, 0, false, 0, 0x42004200, 0x2008140, 0x808140);
    put(s, 0x80000007, 0, false, 0, 0, 0, w[W_81D] >> 27 & 1 ? 0x100 : 0);
    put(s, 0x80000008, 0, false, 0x3000u | s->phys_bits, 0, smp - 1, 0);
}

static void row_features(X86 *s, const uint32_t words[WORDS])
{
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        const Feature *f = &features[i];

        if (f->row && words[f->word] >> f->bit & 1)
            s->features[f->row / 64] |= 1ull << (f->row % 64);
    }
}

bool x86_choose_model(Cpu *cpu, const char *text, Error **err)
{
    X86 *s = cpu->regs;
    Choice c = { .check = true };
    size_t n;
    GString *missing = g_string_new(NULL);
    bool ok;

    text = text ? text : cpu->vm->mc && cpu->vm->mc->default_cpu ? cpu->vm->mc->default_cpu : "qemu64";
    n = strcspn(text, ",");
    c.m = model_find(text, n);
    if (!c.m) {
        g_string_free(missing, TRUE);
        fail(err, "-cpu %.*s: there is no such CPU model", (int)n, text);
        return error_hint(err, "-cpu help lists models and features");
    }
    add_features(c.m, c.words);
    if (!strcmp(c.m->name, "max") || !strcmp(c.m->name, "host"))
        all_we_have(c.words);
    ok = apply(&c, text, err);
    if (ok) {
        drop_missing(c.words, missing);
        if (missing->len && c.enforce)
            ok = fail(err, "-cpu %s: the software CPU lacks %s", text, missing->str);
        else if (missing->len && c.check && cpu->index == 0 && strcmp(c.m->name, "qemu64"))
            warn_report("CPU model %s: the software CPU lacks %s", c.m->name, missing->str);
    }
    g_string_free(missing, TRUE);
    if (!ok)
        return false;
    s->vendor_amd = !strcmp(c.m->vendor, "AuthenticAMD");
    s->phys_bits = 40;
    s->tsc_hz = c.tsc_hz ? c.tsc_hz : cpu->vm->cfg.tsc_hz ? cpu->vm->cfg.tsc_hz : 1000000000;
    fill_leaves(s, cpu, &c);
    row_features(s, c.words);
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
    if (leaf == 7 && sub == 0 && s->cr4 & CR4_PKE)
        out[2] |= 1u << 4;
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
