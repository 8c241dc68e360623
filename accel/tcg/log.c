/* accel/tcg/log.c - `-d in_asm,op,op_opt,out_asm`: what becomes of a block of guest code. */
#include "accel/tcg/tcg.h"
#include "target/x86/disas.h"

void tcg_log_code(TcgCpu *t, const IrBlock *ir, const uint8_t *code)
{
    GString *out;

    if (!log_on(LOG_IN_ASM))
        return;
    out = g_string_new(NULL);
    x86_disas(t->cpu, ir->pc, code, ir->insn_pc[ir->ninsns] - ir->pc, ir->ninsns, out);
    log_print("IN: %u instructions, mode %#" PRIx64 "%s\n%s", ir->ninsns, ir->mode, ir->rel ? ", at any page" : "", out->str);
    g_string_free(out, TRUE);
}

void tcg_log_ops(const IrBlock *ir, LogItem when)
{
    GString *out;

    if (!log_on(when))
        return;
    out = g_string_new(NULL);
    ir_print(ir, out);
    log_print("%s:\n%s", when == LOG_OP ? "OP" : "OP after liveness", out->str);
    g_string_free(out, TRUE);
}

void tcg_log_host(const Block *b)
{
    GString *out;

    if (!log_on(LOG_OUT_ASM) || !b->host_size)
        return;
    out = g_string_new(NULL);
    x86_disas_host((uintptr_t)b->host, b->host, b->host_size, out);
    g_string_append_printf(out, "tails: %u bytes\n", b->cold_size);
    x86_disas_host((uintptr_t)b->cold, b->cold, b->cold_size, out);
    log_print("OUT: %u bytes for %#" PRIx64 "\n%s\n", b->host_size, b->pc, out->str);
    g_string_free(out, TRUE);
}
