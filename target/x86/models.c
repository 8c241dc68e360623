/*
 * target/x86/models.c - CPU models and their properties: which features a CPU has, and which instructions exist because of
 * them. A fact is written once: features.def names each bit and says whether we implement it; models.def lists those names.
 * Sources of the bits: Intel SDM vol. 2A (CPUID), AMD APM vol. 3 appendix E.
 */
#include "target/x86/models.h"
#include "core/machine.h"
#include "target/x86/fpu.h"
#include "target/x86/models-priv.h"

const Feature x86__features[] = {
#define F(n, w, b, h, r) { n, w, b, h, r },
#include "target/x86/features.def"
#undef F
};

enum { FEATURES = G_N_ELEMENTS(x86__features) };
const unsigned x86__nfeatures = FEATURES;

const Model x86__models[] = {
#define M(...) { __VA_ARGS__ },
#include "target/x86/models.def"
#undef M
};

const unsigned x86__nmodels = G_N_ELEMENTS(x86__models);

/* Other spellings that clients use. '-', '_' and '.' are the same. */
static const char *const aliases[][2] = { { "i64", "lm" }, { "xd", "nx" }, { "ffxsr", "fxsr-opt" }, { "pclmuldq", "pclmulqdq" }, { "pni", "sse3" } };

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && !(strchr("-_.", *a) && strchr("-_.", *b)))
            return false;
    return !*a && !*b;
}

const Feature *x86__feature_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++)
        if (!strcmp(aliases[i][0], name))
            name = aliases[i][1];
    for (size_t i = 0; i < FEATURES; i++)
        if (same_name(x86__features[i].name, name))
            return &x86__features[i];
    return NULL;
}

const Model *x86__model_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(x86__models); i++)
        if (!strcmp(x86__models[i].name, name))
            return &x86__models[i];
    return NULL;
}

/* "a b -c": the parent's, with a and b, without c. */
void x86__add_features(const Model *m, uint32_t words[WORDS])
{
    g_auto(GStrv) names = g_strsplit(m->feats, " ", -1);

    if (*m->parent)
        x86__add_features(x86__model_find(m->parent), words);
    for (char **n = names; *n; n++) {
        const Feature *f = **n ? x86__feature_find(*n + (**n == '-')) : NULL;

        g_assert(f || !**n);
        if (f)
            words[f->word] = (uint32_t)bits_put(words[f->word], f->bit, 1, **n != '-');
    }
}

const WordAt x86__word_at[WORDS] = {
    [W_1D] = { 1, 0, 3 }, [W_1C] = { 1, 0, 2 }, [W_7B] = { 7, 0, 1 }, [W_7C] = { 7, 0, 2 }, [W_7D] = { 7, 0, 3 },
    [W_81D] = { 0x80000001, 0, 3 }, [W_81C] = { 0x80000001, 0, 2 }, [W_D1A] = { 0xd, 1, 0 }, [W_6A] = { 6, 0, 0 },
    [W_7A1] = { 7, 1, 0 }, [W_7D1] = { 7, 1, 3 }, [W_7D2] = { 7, 2, 3 }, [W_87B] = { 0x80000007, 0, 1 }, [W_87D] = { 0x80000007, 0, 3 },
    [W_88B] = { 0x80000008, 0, 1 }, [W_8AD] = { 0x8000000a, 0, 3 }, [W_821A] = { 0x80000021, 0, 0 }, [W_CAP] = { NO_LEAF, 0, 0 },
};
#define word_at x86__word_at

/* What the engine can do: a processor under us says so itself, bits without a name included. */
void x86__offered(const Cpu *cpu, uint32_t words[WORDS])
{
    memset(words, 0, WORDS * sizeof(words[0]));
    for (unsigned w = 0; w < WORDS && cpu->accel->cpuid; w++) {
        uint32_t out[4] = { 0 };

        if (word_at[w].leaf != NO_LEAF)
            cpu->accel->cpuid(cpu->vm, word_at[w].leaf, word_at[w].sub, out);
        words[w] = out[word_at[w].reg];
    }
    for (size_t i = 0; i < FEATURES && !cpu->accel->cpuid; i++)
        if (x86__features[i].have)
            words[x86__features[i].word] |= 1u << x86__features[i].bit;
    words[W_1C] |= HYPERVISOR; /* nobody but us says that */
}

void x86__names(const uint32_t words[WORDS], StrList *out)
{
    for (size_t i = 0; i < FEATURES; i++)
        if (words[x86__features[i].word] >> x86__features[i].bit & 1)
            *API_ADD(out) = g_strdup(x86__features[i].name);
}

/* ---- properties ---- */
enum { C_BOOL, C_U32, C_U64, C_TEXT };
static const struct CpuProp {
    const char *name;
    uint8_t kind;
    uint16_t at, size;
    uint64_t max;
} cpu_props[] = {
#define CP(n, k, m, x) { n, k, offsetof(X86Choice, m), sizeof_field(X86Choice, m), x }
    CP("check", C_BOOL, check, 1), CP("enforce", C_BOOL, enforce, 1), CP("migratable", C_BOOL, migratable, 1), CP("kvm", C_BOOL, kvm, 1),
    CP("host-phys-bits", C_BOOL, host_phys_bits, 1), CP("family", C_U32, family, 0xff + 0xf), CP("model", C_U32, model, 0xff),
    CP("stepping", C_U32, stepping, 0xf), CP("level", C_U32, level, 0x20), CP("xlevel", C_U32, xlevel, 0x80000022),
    CP("phys-bits", C_U32, phys_bits, 52), CP("tsc-frequency", C_U64, tsc_hz, INT64_MAX), CP("model-id", C_TEXT, brand, 48),
    CP("vendor", C_TEXT, vendor, 12),
#undef CP
};

static const struct CpuProp *prop_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cpu_props); i++)
        if (same_name(cpu_props[i].name, name))
            return &cpu_props[i];
    return NULL;
}

static bool set_number(void *at, const struct CpuProp *p, const char *val, Error **err)
{
    uint64_t v;

    if (!parse_u64(val, &v, NULL))
        return fail(err, "Parameter '%s' expects a number", p->name);
    if (v > p->max)
        return fail(err, "parameter '%s' can be at most %" PRIu64, p->name, p->max);
    if (!strcmp(p->name, "phys-bits") && v && v < 32)
        return fail(err, "phys-bits should be between 32 and 52 (but is %" PRIu64 ")", v);
    memcpy(at, &v, p->size);
    return true;
}

static bool set_text(X86Choice *c, void *at, const struct CpuProp *p, const char *val, Error **err)
{
    if (at == c->vendor) {
        if (strlen(val) != 12)
            return fail(err, "value of property 'vendor' must consist of exactly 12 characters");
        c->vendor_given = true;
    }
    if (strlen(val) > p->max)
        return fail(err, "Parameter '%s' takes at most %" PRIu64 " characters", p->name, p->max);
    g_strlcpy(at, val, p->size);
    return true;
}

bool x86__choice_set(X86Choice *c, const char *key, const char *val, Error **err)
{
    const Feature *f = x86__feature_find(key);
    const struct CpuProp *p = f ? NULL : prop_find(key);
    void *at = p ? (char *)c + p->at : NULL;
    bool on;

    if (!f && !p) {
        fail(err, "Property '%s-x86_64-cpu.%s' not found", c->name, key);
        return error_hint(err, "-cpu help lists models and features");
    }
    if (p && p->kind == C_TEXT)
        return set_text(c, at, p, val, err);
    if (p && p->kind != C_BOOL)
        return set_number(at, p, val, err);
    if (!parse_bool(val, &on, NULL))
        return fail(err, "Parameter '%s' expects 'on' or 'off'", key);
    if (p)
        *(bool *)at = on;
    else
        c->words[f->word] = (uint32_t)bits_put(c->words[f->word], f->bit, 1, on);
    return true;
}

char *x86__choice_get(const X86Choice *c, const char *key)
{
    const Feature *f = x86__feature_find(key);
    const struct CpuProp *p = f ? NULL : prop_find(key);
    const void *at = p ? (const char *)c + p->at : NULL;
    uint64_t v = 0;

    if (f)
        return g_strdup(c->words[f->word] >> f->bit & 1 ? "true" : "false");
    if (!p || p->kind == C_TEXT)
        return g_strdup(p ? at : "");
    memcpy(&v, at, p->size);
    return p->kind == C_BOOL ? g_strdup(v ? "true" : "false") : g_strdup_printf("%" PRIu64, v);
}

static char *get_prop(Obj *o, const Prop *p) { return x86__choice_get(x86_of((Cpu *)(void *)o)->choice, p->name); }

static char *get_missing(Obj *o, const Prop *p)
{
    StrList l = { NULL, 0 };
    GString *s = g_string_new(NULL);

    x86__names(x86_of((Cpu *)(void *)o)->choice->missing, &l);
    for (size_t i = 0; i < l.n; i++) {
        g_string_append_printf(s, "%s%s", i ? "," : "", l.v[i]);
        g_free(l.v[i]);
    }
    g_free(l.v);
    return g_string_free(s, FALSE);
}

/* clang-format off */
#define SHOWN(n, t) { .name = (n), .kind = P_CUSTOM, .type = (t), .get_named = get_prop }
static const Prop shown[] = {
    SHOWN("family", "int"), SHOWN("model", "int"), SHOWN("stepping", "int"), SHOWN("level", "int"), SHOWN("xlevel", "int"),
    SHOWN("phys-bits", "int"), SHOWN("tsc-frequency", "int"), SHOWN("model-id", "string"), SHOWN("vendor", "string"),
    SHOWN("check", "bool"), SHOWN("enforce", "bool"), SHOWN("migratable", "bool"), SHOWN("kvm", "bool"), SHOWN("host-phys-bits", "bool"),
    { .name = "unavailable-features", .kind = P_CUSTOM, .type = "strList", .get_named = get_missing },
#define F(n, w, b, h, r) SHOWN(n, "bool"),
#include "target/x86/features.def"
#undef F
};
const PropTable x86_cpu_props = TABLE(shown);
/* clang-format on */

/* ---- choosing ---- */
bool x86__choice_begin(X86Choice *c, const Cpu *cpu, const char *name, Error **err)
{
    const Model *m = x86__model_find(name);
    bool all;

    *c = (X86Choice){ .check = true, .migratable = true, .kvm = true };
    if (!m) {
        fail(err, "unable to find CPU model '%s'", name);
        return error_hint(err, "-cpu help lists models and features");
    }
    if (!strcmp(name, "host") && !cpu->accel->cpuid) {
        fail(err, "CPU model 'host' requires KVM");
        return error_hint(err, "-cpu max offers all that the software CPU implements; -accel kvm has -cpu host");
    }
    all = !strcmp(name, "max") || !strcmp(name, "host");
    c->name = m->name;
    c->family = m->family;
    c->model = m->model;
    c->stepping = m->stepping;
    c->level = m->level;
    c->xlevel = m->xlevel;
    g_strlcpy(c->brand, m->brand, sizeof(c->brand));
    g_strlcpy(c->vendor, m->vendor, sizeof(c->vendor));
    c->host = all && cpu->accel->cpuid;
    c->everywhere = g_str_has_prefix(name, "menura64");
    x86__add_features(m, c->words);
    if (all)
        x86__offered(cpu, c->words);
    if (all && !cpu->accel->cpuid) /* what runs fast, and waiting for a store is no such thing; +monitor has it */
        c->words[W_1C] &= ~(1u << 3);
    if (c->words[W_81D] >> 27 & 1) /* ours never changes its pace */
        c->words[W_87D] |= 1u << 8;
    return true;
}

/* "MODEL,a=on,+b,-c": + and - last, whatever their place, as QEMU has it. */
static bool apply(X86Choice *c, char **parts, Error **err)
{
    for (char **p = parts; *p; p++) {
        g_autofree char *key = g_strndup(*p, strcspn(*p, "="));

        if (**p != '+' && **p != '-' && !x86__choice_set(c, key, strchr(*p, '=') ? strchr(*p, '=') + 1 : "on", err))
            return false;
    }
    for (char **p = parts; *p; p++)
        if ((**p == '+' || **p == '-') && !x86__choice_set(c, *p + 1, **p == '+' ? "on" : "off", err))
            return false;
    return true;
}

/* Named models have the vendor of the processor under us, as in QEMU: guests ask it which MSRs there are. */
static void choose_vendor(X86Choice *c, const Cpu *cpu)
{
    uint32_t o[4];

    if (!cpu->accel->cpuid || c->everywhere || c->vendor_given)
        return;
    cpu->accel->cpuid(cpu->vm, 0, 0, o);
    le32_store(c->vendor, o[1]);
    le32_store(c->vendor + 4, o[3]);
    le32_store(c->vendor + 8, o[2]);
    c->vendor[12] = 0;
}

void x86__choice_settle(X86Choice *c, const Cpu *cpu)
{
    uint32_t have[WORDS];

    x86__offered(cpu, have);
    if (!cpu->accel->cpuid)
        have[W_87D] |= 1u << 8;
    for (unsigned w = 0; w < WORDS; w++) {
        c->missing[w] = c->words[w] & ~have[w];
        c->words[w] &= have[w];
    }
    choose_vendor(c, cpu);
}

static char *join(const uint32_t words[WORDS])
{
    GString *s = g_string_new(NULL);

    for (size_t i = 0; i < FEATURES; i++)
        if (words[x86__features[i].word] >> x86__features[i].bit & 1)
            g_string_append_printf(s, "%s%s", s->len ? ", " : "", x86__features[i].name);
    return g_string_free(s, FALSE);
}

/* False: a feature is missing and the user insists. */
static bool settle(X86Choice *c, const Cpu *cpu, const char *text, Error **err)
{
    const char *who = cpu->accel->cpuid ? "this host's KVM" : "the software CPU";
    g_autofree char *names = NULL;

    x86__choice_settle(c, cpu);
    names = join(c->missing);
    if (*names && c->enforce)
        return fail(err, "-cpu %s: %s lacks %s", text, who, names);
    if (*names && c->check && cpu->index == 0 && strcmp(c->name, "qemu64"))
        warn_report("CPU model %s: %s lacks %s", c->name, who, names);
    return true;
}

static void row_features(X86 *s, const uint32_t words[WORDS])
{
    for (size_t i = 0; i < FEATURES; i++) {
        const Feature *f = &x86__features[i];

        if (f->row && words[f->word] >> f->bit & 1)
            s->features[f->row / 64] |= 1ull << (f->row % 64);
    }
}

static uint64_t tsc_hz(const Cpu *cpu, const X86Choice *c)
{
    if (c->tsc_hz || cpu->vm->cfg.tsc_hz)
        return c->tsc_hz ? c->tsc_hz : cpu->vm->cfg.tsc_hz;
    return cpu->accel->tsc_hz ? cpu->accel->tsc_hz(cpu->vm) : 1000000000;
}

static uint8_t phys_bits(const Cpu *cpu, const X86Choice *c)
{
    uint32_t o[4];

    if (c->phys_bits || !c->host_phys_bits || !cpu->accel->cpuid)
        return c->phys_bits ? (uint8_t)c->phys_bits : 40;
    cpu->accel->cpuid(cpu->vm, 0x80000008, 0, o);
    return CLAMP(o[0] & 0xff, 36, 52);
}

bool x86_choose_model(Cpu *cpu, const char *text, Error **err)
{
    X86 *s = cpu->regs;
    X86Choice *c = own(&cpu->obj, g_new0(X86Choice, 1), g_free);
    g_auto(GStrv) parts = NULL;

    text = text ? text : cpu->vm->mc && cpu->vm->mc->default_cpu ? cpu->vm->mc->default_cpu : "qemu64";
    parts = g_strsplit(text, ",", -1);
    if (!x86__choice_begin(c, cpu, parts[0] ? parts[0] : "", err) || !apply(c, parts + (parts[0] != NULL), err) || !settle(c, cpu, text, err))
        return false;
    s->choice = c;
    s->vendor_amd = !strcmp(c->vendor, "AuthenticAMD");
    s->phys_bits = phys_bits(cpu, c);
    s->mxcsr_mask = MXCSR_BITS;
    s->tsc_hz = tsc_hz(cpu, c);
    x86__fill_cpuid(s, cpu, c);
    row_features(s, c->words);
    memcpy(s->cpuid_words, c->words, sizeof(c->words));
    return true;
}
