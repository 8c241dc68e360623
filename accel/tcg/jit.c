/*
 * accel/tcg/jit.c - runs blocks by the compiled executor, and by the interpreter where a block has no code: one
 * instruction at a time (TF, break points, code that has just been written), code outside RAM.
 * Invariants: the jump cache holds only blocks that are alive; a dead block's entry comes back with JIT_DEAD, so
 * that nobody who knows it has to be found; blocks and code go together, never while one runs.
 */
#include "accel/tcg/tcg.h"
#include "tcg/flags.h"

enum { DEFAULT_MIB = 256, PATIENCE = 4 /* checks of groups that fail before code without them is made */ };

bool tcg_jit_init(TcgCpu *t, size_t bytes)
{
    if (!tcg_code_alloc(&t->code, bytes))
        return false;
    t->by_host = g_ptr_array_new();
    t->by_page = g_array_new(FALSE, FALSE, sizeof(guint));
    t->by_cold = g_ptr_array_new();
    t->pieces = g_array_new(FALSE, FALSE, sizeof(guint));
    jit_stubs(&t->code);
    t->code.env = &t->s->env;
    return t->jit = true;
}

void tcg_jit_free(TcgCpu *t)
{
    tcg_code_free(&t->code);
    if (!t->by_host)
        return;
    g_ptr_array_free(t->by_host, TRUE);
    g_array_free(t->by_page, TRUE);
    g_ptr_array_free(t->by_cold, TRUE);
    g_array_free(t->pieces, TRUE);
}

void tcg_jit_flush(TcgCpu *t)
{
    if (!t->jit)
        return;
    t->code_peak = MAX(t->code_peak, tcg_code_bytes(t));
    t->code.used = t->code.stubs;
    t->code.top = t->code.cold = t->code.cold_end = t->code.size;
    g_ptr_array_set_size(t->by_host, 0);
    g_array_set_size(t->by_page, 0);
    g_ptr_array_set_size(t->by_cold, 0);
    g_array_set_size(t->pieces, 0);
}

/* Blocks and code share the budget: how much of each there is depends on the guest. */
bool tcg_full(const TcgCpu *t)
{
    size_t need = JIT_ROOM + (t->jit ? jit_cold_piece(&t->code) : 0);

    return t->budget - MIN(t->budget, t->arena_used + tcg_code_bytes(t)) < need;
}

/* b is the next of by_host. */
static void note_page(TcgCpu *t, const Block *b)
{
    size_t page = (size_t)(b->host - t->code.rx) / PAGE;
    guint ahead = t->by_host->len - !!t->by_host->len;

    while (t->by_page->len <= page)
        g_array_append_val(t->by_page, ahead);
}

/* Code for a block, unless it is one that runs alone. */
void tcg_jit_block(TcgCpu *t, Block *b, const IrBlock *ir, bool alone)
{
    static _Thread_local JitTables tables; /* scratch */
    BlockPart part[IR_GROUPS] = { 0 };
    unsigned n, m;

    if (!t->jit)
        return;
    if (alone || b->mode & ENV_MODE_ONE) {
        b->host = (uint8_t *)(uintptr_t)t->code.no_code;
        return;
    }
    b->part = part;
    jit_emit(&t->code, ir, b, t->careful, &tables);
    n = tables.nside;
    m = tables.npoints;
    b->part = tcg_arena(t, b->nparts * sizeof(BlockPart) + n * sizeof(SidePoint) + m * sizeof(FaultPoint));
    memcpy(b->part, part, b->nparts * sizeof(BlockPart));
    b->side = (SidePoint *)(b->part + b->nparts);
    memcpy(b->side, tables.side, n * sizeof(SidePoint));
    b->nside = (uint16_t)n;
    b->point = (FaultPoint *)(b->side + n);
    memcpy(b->point, tables.point, m * sizeof(FaultPoint));
    b->npoints = (uint16_t)m;
    note_page(t, b);
    g_ptr_array_add(t->by_host, b);
    if (b->cold_size && (t->code.size - t->code.top) / jit_cold_piece(&t->code) > t->pieces->len)
        g_array_append_val(t->pieces, t->by_cold->len);
    if (b->cold_size)
        g_ptr_array_add(t->by_cold, b);
    t->host_bytes += b->host_size + b->cold_size;
    t->guest_bytes += (uint64_t)(ir->insn_pc[ir->ninsns] - ir->pc);
    if (UNLIKELY(tcg_perf_wanted))
        tcg_perf_block(b);
}

void tcg_jit_kill(TcgCpu *t, Block *b)
{
    if (t->jit && b->host_size)
        jit_kill(&t->code, b);
}

/* An indirect branch whose target the jump cache does not know. False: the fault is the branch's. */
static bool target_ok(Env *e, const Block *from)
{
    if (target_brind_ok(e, e->pc))
        return true;
    e->v[from->undo] += (uint64_t)(int64_t)from->undo_by; /* the stack pointer as it was */
    e->pc = block_pc(e, from, block_insn(from, from->ninsns - 1u));
    return false;
}

/*
 * A check at b's entry failed: a page that is not in the TLB yet, most often, which running the block once mends;
 * or one that never will be, or accesses on both sides of a page's end. NULL: done, or a fault.
 */
static Block *carefully(TcgCpu *t, Env *e, Block *b)
{
    e->pc = block_pc(e, b, b->pc);
    if (!b->careful && b->failed++ >= PATIENCE && !b->dead && !tcg_full(t)) {
        b->careful = tcg_careful(t, b);
        if (e->fault.kind)
            return NULL;
        if (b->careful)
            jit_link_careful(&t->code, b);
    }
    if (!b->careful)
        tcg_interpret(t, b, 0);
    return b->careful;
}

/* The same from an instruction in the middle on: what was checked there serves what follows. */
static Block *rest(TcgCpu *t, Env *e, Block *b)
{
    unsigned insn = e->jit.arg[0] & 0xff, group = (unsigned)(e->jit.arg[0] >> 8) & 0xff;
    Block *to = NULL;

    e->pc = block_pc(e, b, block_insn(b, insn));
    if (b->part[group].failed < PATIENCE)
        b->part[group].failed++;
    else if (!b->dead && !tcg_full(t))
        to = tcg_careful(t, b);
    if (e->fault.kind)
        return NULL;
    if (to)
        jit_link_part(&t->code, b, group, to);
    else
        tcg_interpret(t, b, insn);
    return to;
}

/* Generated code came back without a fault. False: one was found now. */
static bool came_back(TcgCpu *t, Env *e, Block **from, unsigned *slot)
{
    unsigned why = e->jit.link & JIT_REASON;
    Block *b = (Block *)(uintptr_t)(e->jit.link & ~(uint64_t)JIT_REASON);

    *from = NULL;
    t->back[why]++;
    switch (why) {
    case JIT_BRIND: return target_ok(e, b);
    case JIT_LOOKUP: return true;
    case JIT_CAREFUL:
        t->next = carefully(t, e, b);
        return !e->fault.kind;
    case JIT_PART:
        t->next = rest(t, e, b);
        return !e->fault.kind;
    case JIT_INTERP:
        e->pc = block_pc(e, b, b->pc);
        tcg_interpret(t, b, 0);
        return !e->fault.kind;
    case JIT_DEAD:
        b = tcg_block_at(t, (const uint8_t *)(uintptr_t)e->jit.arg[0]);
        e->pc = block_pc(e, b, b->pc);
        return true;
    default:
        *from = b;
        *slot = why;
        e->pc = block_pc(e, b, b->slot[why].pc);
        return true;
    }
}

/* x-stress: what may happen at any block boundary happens often; how often all blocks go, which is what takes time, the seed says. False: leave. */
static bool stressed(TcgCpu *t, Env *e, Block *b, Block **from)
{
    unsigned r = (unsigned)(rng_next(&t->stress) >> 40);

    if (r % t->stress_flush == 0) {
        t->flush_code = true;
        return false;
    }
    if (r % 256 == 7)
        tcg_window_tails(t, r & 256);
    if (r & 1)
        *from = NULL; /* not linked this time */
    if (r % 8 == 2)
        __atomic_store_n(&e->exit_req, 1, __ATOMIC_SEQ_CST);
    if (r % 4 == 0) {
        tcg_interpret(t, b, 0);
        *from = NULL;
        return false;
    }
    return true;
}

static void run(TcgCpu *t)
{
    Env *e = &t->s->env;
    Block *from = NULL, *b;
    unsigned slot = 0;

    e->v[V_NONE] = 0;
    e->jit.csr = 0x1f80; /* the C ABI's: round to nearest, nothing raises */
    t->next = NULL;
    while (LIKELY(!__atomic_load_n(&e->exit_req, __ATOMIC_RELAXED))) {
        b = t->next;
        t->next = NULL;
        env_note(e, e->pc);
        if (!b)
            b = jc_find(e, e->pc);
        if (!b)
            b = block_get(e, e->pc);
        if (UNLIKELY(!b))
            return;
        env_enter_page(e, e->pc);
        if (!b->host_size) {
            t->alone++;
            interp_block(e, b);
            if (e->fault.kind)
                return;
            from = NULL;
            continue;
        }
        if (UNLIKELY(t->stress.s) && !stressed(t, e, b, &from))
            return;
        if (from && !log_on(LOG_NOCHAIN) && block_may_link(from, slot, b))
            jit_link(&t->code, from, slot, b);
        jit_fold(e);
        e->in_host = true;
        jit_enter(&t->code, e, b->host);
        e->in_host = false;
        e->cur = NULL;
        if (UNLIKELY(e->fault.kind) || !came_back(t, e, &from, &slot))
            return;
    }
}

void tcg_jit_run(TcgCpu *t)
{
    tcg_windows_here(t);
    run(t);
    tcg_windows_here(NULL);
}

void tcg_jit_stats(const TcgCpu *t, GString *out)
{
    uint64_t exits = 0;

    if (!t->jit)
        return;
    for (unsigned i = 0; i < JIT_BRIND; i++)
        exits += t->back[i];
    g_string_append_printf(out, "  compiled: %" PRIu64 " bytes of code for %" PRIu64 " guest bytes (%.1f each) since the start, %zu of %zu"
                           " KiB in use\n", t->host_bytes, t->guest_bytes, (double)t->host_bytes / (double)MAX(t->guest_bytes, 1),
                           (t->code.used + t->code.size - t->code.top) / 1024, t->code.size / 1024);
    g_string_append_printf(out, "  came back: %" PRIu64 " exits not linked, %" PRIu64 " indirect, %" PRIu64 " look-ups, %" PRIu64
                           " dead, %" PRIu64 " to interpret, %" PRIu64 " checks failed; %" PRIu64 " blocks interpreted\n", exits, t->back[JIT_BRIND],
                           t->back[JIT_LOOKUP], t->back[JIT_DEAD], t->back[JIT_INTERP], t->back[JIT_CAREFUL] + t->back[JIT_PART], t->alone);
}

size_t tcg_jit_default(void) { return (size_t)DEFAULT_MIB << 20; }
