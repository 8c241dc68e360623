/* target/x86/models.h - choosing what CPUID says. */
#ifndef TARGET_X86_MODELS_H
#define TARGET_X86_MODELS_H
#include "target/x86/cpu.h"

/* "MODEL,+feat,-feat,feat=on": fills X86.cpuid, features, vendor, TSC frequency. text NULL: the machine's. */
bool x86_choose_model(Cpu *cpu, const char *text, Error **err);
/* Once per VM: its states say what CPUID said, and loads compare. */
void x86_cpuid_section(Vm *vm);
const X86Cpuid *x86_cpuid_row(const X86 *s, uint32_t leaf, uint32_t sub); /* or NULL */
/* Names of the features that a row of a table has and ours (NULL: no such row) has not; ", " between. */
void x86_missing_features(const X86Cpuid *theirs, const X86Cpuid *ours, GString *out);
void x86_models_help(GString *out); /* -cpu help */
#endif
