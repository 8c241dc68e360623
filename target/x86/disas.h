/*
 * target/x86/disas.h - code and deaths put into words. vCPU stopped, registers synced; any thread.
 */
#ifndef TARGET_X86_DISAS_H
#define TARGET_X86_DISAS_H
#include "target/x86/cpu.h"

/* Appends up to n lines "address  bytes  text" of the code at linear address va, in the CPU's mode. */
void x86_disas(Cpu *c, uint64_t va, const uint8_t *code, size_t len, unsigned n, GString *out);

/* The same of n bytes of this host's own code, all of it; `at`: where it runs. Any thread. */
void x86_disas_host(uint64_t at, const uint8_t *code, size_t n, GString *out);

/* An instruction with what its operands are worth now. */
typedef struct X86Insn {
    char name[32], args[160];
    uint8_t bytes[16];
    unsigned len;
    bool mem;           /* it has a memory operand: */
    uint64_t at;        /* its linear address, */
    unsigned seg, size; /* segment register, bytes */
    uint64_t value[2];  /* register and immediate operands in Intel's order; 0 for others */
} X86Insn;
/* The instruction at the CPU's pc. False: not mapped, not an instruction, or no disassembler in this build;
 * bytes and len (of what is mapped, at most 16) are set all the same. */
bool x86_insn_at(Cpu *c, X86Insn *out);

/* why.c: what the fault was and which mistake makes it, in words: "#PF: a null pointer was called". */
void x86_why_fault(Cpu *c, const Fault *f, GString *out);
/* why-gate.c: why exception v cannot be delivered: "; no IDT is loaded". False: nothing wrong was found. */
bool x86_why_undelivered(Cpu *c, unsigned v, GString *out);
/* "selector 0x18 (GDT entry 3) is beyond the GDT's limit 0x17"; code: a code segment is wanted. False: it is good. */
bool x86_why_selector(Cpu *c, uint16_t sel, bool code, GString *out);
/* The access that a page fault of these words is about; its walk in w; false: it would succeed now. */
bool x86_why_walk(Cpu *c, uint64_t va, Walk *w);
bool x86_mapped(Cpu *c, uint64_t va);
const char *x86_vector_name(unsigned v); /* "#PF" */

/* Target.autopsy: why a triple fault came about. True: an empty IDT and a trap, the usual way to reboot. */
bool x86_autopsy(Cpu *c, const Exit *e, GString *first_line, GString *report);
#endif
