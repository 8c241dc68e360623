/*
 * tests/isa/cpuid.c - nothing that CPUID claims is missing: every bit of every model is one that features.def says the
 * software CPU implements, and that is so because rows of decode.tbl carry it or because a test named here shows it.
 * Arguments: the privileged test kernels that the suite runs.
 */
#include "core/machine.h"
#include "target/x86/models.h"
#include <stdio.h>

/* Bits that are no instructions of their own table rows: the test that would fail without them. priv: a kernel. */
static const struct Proof {
    const char *feature, *test;
} proofs[] = {
    { "fpu", "oracle" }, { "vme", "priv/modes" }, { "de", "priv/debug" }, { "pse", "priv/paging32" }, { "tsc", "priv/machine" },
    { "msr", "priv/machine" }, { "pae", "priv/paging32" }, { "mce", "priv/machine" }, { "cx8", "oracle" }, { "apic", "priv/smp" },
    { "sep", "priv/syscall" }, { "mtrr", "priv/machine" }, { "pge", "priv/paging4" }, { "mca", "priv/machine" }, { "cmov", "oracle" },
    { "pat", "priv/machine" }, { "pse36", "priv/paging32" }, { "clflush", "oracle" }, { "ss", "none" }, { "ht", "none" },
    { "monitor", "priv/smp" }, { "cx16", "oracle" }, { "pcid", "guest-linux" }, { "x2apic", "priv/smp" }, { "tsc-deadline", "priv/machine" },
    { "hypervisor", "none" }, { "tsc-adjust", "priv/machine" }, { "smep", "priv/paging4" }, { "erms", "oracle" }, { "smap", "priv/paging4" },
    { "clwb", "oracle" }, { "umip", "priv/syscall" }, { "pku", "priv/paging4" }, { "la57", "priv/paging5" }, { "fsrm", "oracle" },
    { "syscall", "priv/syscall" }, { "nx", "priv/paging4" }, { "pdpe1gb", "priv/paging4" }, { "rdtscp", "priv/machine" },
    { "invtsc", "priv/machine" }, { "lm", "priv/paging4" }, { "lahf-lm", "oracle" }, { "3dnowprefetch", "oracle" }, { "xgetbv1", "priv/xsave" }, { "arat", "priv/machine" },
};

static const struct {
    const char *name;
    unsigned word, bit;
    bool have;
    int row;
} features[] = {
#define F(n, w, b, h, r) { n, w, b, h, r },
#include "target/x86/features.def"
#undef F
};

static int nkernels;
static char **kernels;
static unsigned bad, shown;

static void complain(const char *model, const char *feature, const char *what)
{
    printf("FAIL %s %s: %s\n", model, feature, what);
    bad++;
}

static bool has_row(int feature)
{
    for (unsigned i = 1; i < x86_nrows; i++)
        if (x86_rows[i].feature == feature)
            return true;
    return false;
}

static bool test_runs(const char *test)
{
    if (strncmp(test, "priv/", 5))
        return true; /* the oracle is here, "none": a bit that promises nothing */
    for (int i = 0; i < nkernels; i++)
        if (!strcmp(kernels[i], test + 5))
            return true;
    return false;
}

static void prove(const char *model, unsigned f)
{
    if (!features[f].have)
        complain(model, features[f].name, "claimed, and features.def says it is not implemented");
    shown++;
    if (features[f].row) {
        if (!has_row(features[f].row))
            complain(model, features[f].name, "no row of decode.tbl has it");
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(proofs); i++)
        if (!strcmp(proofs[i].feature, features[f].name)) {
            if (!test_runs(proofs[i].test))
                complain(model, features[f].name, "its test does not run");
            return;
        }
    complain(model, features[f].name, "neither rows nor a test");
}

static void walk(const char *model, const X86 *s)
{
    for (unsigned bit = 0; bit < 32 * WORDS; bit++) {
        unsigned f = 0;

        if (!(s->cpuid_words[bit / 32] >> (bit % 32) & 1))
            continue;
        while (f < G_N_ELEMENTS(features) && (features[f].word != bit / 32 || features[f].bit != bit % 32))
            f++;
        if (f == G_N_ELEMENTS(features))
            complain(model, "a bit without a name", "claimed");
        else
            prove(model, f);
    }
}

static bool machine_init(Vm *vm, Error **err) { return true; }
static const MachineClass models = {
    .name = "models", .desc = "for CPU models", .default_cpu = "max", .max_cpus = 64,
    .props = { .name = "models-machine", .size = sizeof(Obj) }, .init = machine_init,
};
MACHINE(models);

static void each_model(Vm *vm, char **lines)
{
    for (unsigned i = 0; lines[i] && lines[i][0]; i++) { /* "  name   description" up to the empty line */
        g_auto(GStrv) words = g_strsplit_set(g_strstrip(lines[i]), " \t", 2);
        Error *err = NULL;
        Cpu *c;

        if (!strcmp(words[0], "host") || (strstr(words[0], "-v") && !g_str_has_prefix(words[0], "menura"))) /* versions only have what their model has, or less or more of that */
            continue;
        c = cpu_new(vm, words[0], i, &err);
        if (!c) {
            error_report_free(err);
            complain(words[0], "the model", "cannot be made");
            continue;
        }
        walk(words[0], c->regs);
    }
}

int main(int argc, char **argv)
{
    Error *err = NULL;
    GString *help = g_string_new(NULL);
    Vm *vm = vm_new("models");
    g_auto(GStrv) lines = NULL;

    nkernels = argc - 1;
    kernels = argv + 1;
    vm->cfg.cpus = vm->cfg.max_cpus = vm->cfg.sockets = 64;
    vm->cfg.dies = vm->cfg.cores = vm->cfg.threads = 1;
    if (!vm_set_accel(vm, "tcg", NULL, &err) || !vm_init_machine(vm, "models", NULL, &err)) {
        error_report_free(err);
        return 2;
    }
    x86_models_help(help);
    lines = g_strsplit(help->str, "\n", -1);
    each_model(vm, lines + 1);
    printf("%u claims, %u without proof\n", shown, bad);
    g_string_free(help, TRUE);
    return bad || !shown;
}
