/* target/x86/disas.h - code and deaths put into words. vCPU stopped, registers synced; any thread.
 */
#ifndef TARGET_X86_DISAS_H
#define TARGET_X86_DISAS_H
#include "target/x86/cpu.h"

/* Appends up to n lines "address  bytes  text" of the code at linear address va, in the CPU's mode.
 */
void x86_disas(Cpu *c, uint64_t va, const uint8_t *code, size_t len, unsigned n, GString *out);
/* Target.autopsy: why a triple fault came about. True: an empty IDT, the usual way to reboot. */
bool x86_autopsy(Cpu *c, const Exit *e, GString *first_line, GString *report);
#endif
