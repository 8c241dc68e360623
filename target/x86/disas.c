/*
 * target/x86/disas.c - disassembly for the monitor and the autopsy, by capstone in Intel's syntax.
 * Left out: Capstone's view of a CPU's features; it decodes what any x86 might.
 */
#include "target/x86/disas.h"
#include <capstone/capstone.h>

static void bytes(GString *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        g_string_append_printf(out, "%02x", p[i]);
    for (size_t i = n; i < 10; i++)
        g_string_append(out, "  ");
}

void x86_disas(Cpu *c, uint64_t va, const uint8_t *code, size_t len, unsigned n, GString *out)
{
    const X86 *s = x86_of(c);
    cs_mode mode = code64(s) ? CS_MODE_64 : s->seg[SEG_CS].attr & SA_DB ? CS_MODE_32 : CS_MODE_16;
    cs_insn *in;
    csh h;

    if (cs_open(CS_ARCH_X86, mode, &h) != CS_ERR_OK)
        return;
    in = cs_malloc(h);
    for (unsigned i = 0; in && i < n && len; i++) { /* each turn uses up a byte at least */
        const uint8_t *at = code;

        if (cs_disasm_iter(h, &code, &len, &va, in)) {
            g_string_append_printf(out, "%016" PRIx64 "  ", in->address);
            bytes(out, at, in->size);
            g_string_append_printf(out, "  %s %s\n", in->mnemonic, in->op_str);
            continue;
        }
        g_string_append_printf(out, "%016" PRIx64 "  ", va++);
        bytes(out, code++, 1);
        g_string_append(out, "  (bad)\n");
        len--;
    }
    if (in)
        cs_free(in, 1);
    cs_close(&h);
}
