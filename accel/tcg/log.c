/* accel/tcg/log.c - `-d in_asm,op,op_opt,out_asm`: what becomes of a block of guest code; `-d exec,cpu`: what runs. */
#include "accel/tcg/tcg.h"
#include "target/x86/disas.h"

void tcg_log_code(TcgCpu *t, const IrBlock *ir, const uint8_t *code)
{
    GString *out;

    if (!log_on(LOG_IN_ASM) || !log_filtered(ir->pc))
        return;
    out = g_string_new(NULL);
    x86_disas(t->cpu, ir->pc, code, ir->insn_pc[ir->ninsns] - ir->pc, ir->ninsns, out);
    log_print("IN: %u instructions, mode %#" PRIx64 "%s\n%s", ir->ninsns, ir->mode, ir->rel ? ", at any page" : "", out->str);
    g_string_free(out, TRUE);
}

void tcg_log_ops(const IrBlock *ir, LogItem when)
{
    GString *out;

    if (!log_on(when) || !log_filtered(ir->pc))
        return;
    out = g_string_new(NULL);
    ir_print(ir, out);
    log_print("%s:\n%s", when == LOG_OP ? "OP" : "OP after liveness", out->str);
    g_string_free(out, TRUE);
}

void tcg_log_host(const Block *b)
{
    GString *out;

    if (!log_on(LOG_OUT_ASM) || !b->host_size || !log_filtered(b->pc))
        return;
    out = g_string_new(NULL);
    x86_disas_host((uintptr_t)b->host, b->host, b->host_size, out);
    g_string_append_printf(out, "tails: %u bytes\n", b->cold_size);
    x86_disas_host((uintptr_t)b->cold, b->cold, b->cold_size, out);
    log_print("OUT: %u bytes for %#" PRIx64 "\n%s\n", b->host_size, b->pc, out->str);
    g_string_free(out, TRUE);
}

static void log_entry(TcgCpu *t, const Block *b, uint64_t pc)
{
    if (!log_filtered(pc))
        return;
    if (log_on(LOG_EXEC))
        log_print("exec: cpu %u: %#" PRIx64 ", %u instructions, mode %#" PRIx64 "\n", t->cpu->index, pc, b->ninsns, b->mode);
    if (log_on(LOG_CPU)) {
        g_autoptr(GString) out = g_string_new(NULL);

        t->cpu->target->print_regs(t->cpu, out);
        log_print("%s\n", out->str);
    }
}

void tcg_log_run(TcgCpu *t)
{
    Env *e = &t->s->env;

    while (!__atomic_load_n(&e->exit_req, __ATOMIC_RELAXED)) {
        uint64_t pc = e->pc;
        Block *b = jc_find(e, pc);

        env_note(e, pc);
        if (!b)
            b = block_get(e, pc);
        if (!b)
            return;
        env_enter_page(e, pc);
        log_entry(t, b, pc);
        tcg_interpret(t, b, 0);
        if (e->fault.kind)
            return;
    }
}
