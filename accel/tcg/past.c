/*
 * accel/tcg/past.c - what code a vCPU ran last, for an autopsy. Blocks that are linked, and targets of indirect
 * branches that generated code finds itself, leave no trace: recording them would cost every block. So the list is of
 * look-ups only, and of the blocks that hold the last instruction there may be several.
 */
#include "accel/tcg/tcg.h"

/* Has b, entered at pc, an instruction at `at`? */
static bool holds(const Block *b, uint64_t pc, uint64_t at)
{
    for (unsigned i = 0; i < b->ninsns; i++)
        if (pc + block_offsets(b)[i] == at)
            return true;
    return false;
}

/* The blocks, of those the jump cache names in the current view and mode, that have the instruction at env.pc. */
static void put_holders(const Env *e, GString *out)
{
    enum { MOST = 4 };
    unsigned n = 0;

    for (unsigned i = 0; i < JC_N && n < MOST; i++) {
        uint64_t pc = jc_pc(&e->view->jc[i]);
        const Block *b = jc_slot(pc) == i ? jc_find(e, pc) : NULL;

        if (b && holds(b, pc, e->pc))
            g_string_append_printf(out, "%s%#" PRIx64 " (%u instructions)",
                                   n++ ? ", " : "blocks known to hold the last instruction: ", pc, b->ninsns);
    }
    if (n)
        g_string_append_c(out, '\n');
}

void tcg_past(Cpu *c, GString *out)
{
    TcgCpu *t = c->engine;
    const Env *e = &t->s->env;
    uint32_t n = MIN(e->npast, ENV_PAST);

    if (!n)
        return;
    g_string_append(out, "last blocks entered by look-up (what was entered through a link is not listed), oldest first\n");
    for (uint32_t i = e->npast - n + 1; i != e->npast + 1; i++) {
        const struct EnvPast *p = &e->past[i % ENV_PAST];

        g_string_append_printf(out, "  %#" PRIx64, p->pc);
        if (p->times > 1)
            g_string_append_printf(out, " (%" PRIu64 " times)", p->times);
        g_string_append_c(out, '\n');
    }
    put_holders(e, out);
}
