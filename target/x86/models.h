/* target/x86/models.h - choosing what CPUID says. */
#ifndef TARGET_X86_MODELS_H
#define TARGET_X86_MODELS_H
#include "target/x86/cpu.h"

/* What -cpu asked for, settled against what the accelerator offers. */
typedef struct X86Choice {
    const char *name;   /* of the model */
    uint32_t words[WORDS], missing[WORDS]; /* features; those that were asked for and are not to be had */
    uint32_t family, model, stepping, level, xlevel, phys_bits /* 0: as the model has it */;
    char brand[49], vendor[13];
    uint64_t tsc_hz;    /* 0: the machine's */
    bool enforce, check, migratable, kvm, host_phys_bits, vendor_given;
    bool host;          /* all that the processor under us offers */
    bool everywhere;    /* the same under every engine */
} X86Choice;
void x86__fill_cpuid(X86 *s, Cpu *cpu, const X86Choice *c);
extern const PropTable x86_cpu_props; /* of CPU objects */

/* "MODEL,+feat,-feat,feat=on": fills X86.cpuid, features, vendor, TSC frequency. text NULL: the machine's. */
bool x86_choose_model(Cpu *cpu, const char *text, Error **err);
/* Once per VM: its states say what CPUID said, and loads compare. */
void x86_cpuid_section(Vm *vm);
const X86Cpuid *x86_cpuid_row(const X86 *s, uint32_t leaf, uint32_t sub); /* or NULL */
/* Names of the features that a row of a table has and ours (NULL: no such row) has not; ", " between. */
void x86_missing_features(const X86Cpuid *theirs, const X86Cpuid *ours, GString *out);
void x86_models_help(GString *out); /* -cpu help */
#endif
