/* target/x86/models.h - choosing what CPUID says. */
#ifndef TARGET_X86_MODELS_H
#define TARGET_X86_MODELS_H
#include "target/x86/cpu.h"

/* "MODEL,+feat,-feat,feat=on": fills X86.cpuid, features, vendor, TSC frequency. text NULL: the machine's. */
bool x86_choose_model(Cpu *cpu, const char *text, Error **err);
void x86_models_help(GString *out); /* -cpu help */
#endif
