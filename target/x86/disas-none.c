/* target/x86/disas-none.c - without capstone: the bytes of the code. */
#include "target/x86/disas.h"

void x86_disas(Cpu *c, uint64_t va, const uint8_t *code, size_t len, unsigned n, GString *out)
{
    for (size_t i = 0; i < len && i < n * 4ull; i++) {
        if (i % 16 == 0)
            g_string_append_printf(out, "%s%016" PRIx64 " ", i ? "\n" : "", va + i);
        g_string_append_printf(out, " %02x", code[i]);
    }
    g_string_append(out, "\n");
}

void x86_disas_host(uint64_t at, const uint8_t *code, size_t n, GString *out) { x86_disas(NULL, at, code, n, (unsigned)n, out); }

bool x86_insn_at(Cpu *c, X86Insn *out)
{
    *out = (X86Insn){ .len = sizeof(out->bytes) };
    while (out->len && !cpu_read_va(c, x86_of(c)->env.pc, out->bytes, out->len))
        out->len--;
    return false;
}
