/*
 * accel/tcg/debug.c - the debugger's break and watch points and single steps.
 * A break point stops block look-up at its address, so blocks end before it and nothing links to
 * it; watched pages are kept out of the TLB, so their accesses come here. An access that hits runs
 * its instruction alone and stops after it, as the real debug registers do.
 */
#include "accel/tcg/tcg.h"

static bool is_watch(const DebugPoint *p) { return p->kind >= DBG_WATCH_W; }

static bool same(const TcgCpu *t, const DebugPoint *v, size_t n)
{
    return t->npoints == n && (!n || !memcmp(t->points, v, n * sizeof(*v)));
}

bool tcg_debug(Cpu *c, const DebugPoint *v, size_t n, bool step, Error **err)
{
    TcgCpu *t = c->engine;

    t->step = t->s->debug_one = step;
    t->watch_size = 0;
    t->step_from = t->s->env.icount;
    if (same(t, v, n))
        return true;
    g_free(t->points);
    t->points = n ? g_memdup2(v, n * sizeof(*v)) : NULL;
    t->npoints = n;
    t->nbreaks = 0;
    for (size_t i = 0; i < n; i++)
        t->nbreaks += !is_watch(&v[i]);
    tcg_guest_watch(t->s);
    t->flush_code = true; /* served before the next instruction */
    return true;
}

/* Both the debugger's watch points and the guest's data breakpoints keep pages out of the TLB. */
void tcg_guest_watch(X86 *s)
{
    TcgCpu *t = s->tcg;
    size_t before;

    if (!t)
        return;
    before = t->nwatches;
    t->nwatches = t->npoints - t->nbreaks + (size_t)__builtin_popcount(s->db_data);
    if (before || t->nwatches)
        tcg_flush_all(s);
}

bool tcg_break_at(const TcgCpu *t, uint64_t pc)
{
    for (size_t i = 0; i < t->npoints; i++)
        if (!is_watch(&t->points[i]) && t->points[i].addr == pc)
            return true;
    return false;
}

unsigned tcg_break_before(const TcgCpu *t, uint64_t pc, unsigned n)
{
    for (size_t i = 0; i < t->npoints; i++) {
        uint64_t off = t->points[i].addr - pc;

        if (!is_watch(&t->points[i]) && off && off < n)
            n = (unsigned)off;
    }
    return n;
}

bool tcg_page_watched(const TcgCpu *t, uint64_t va)
{
    uint64_t page = va & -(uint64_t)PAGE;

    if (t->s->db_data && x86_data_break_page(t->s, page))
        return true;
    for (size_t i = 0; i < t->npoints; i++) {
        const DebugPoint *p = &t->points[i];

        if (is_watch(p) && (p->addr - page < PAGE || page - p->addr < p->len))
            return true;
    }
    return false;
}

/* Nothing follows it without a look-up. */
static bool alone(const Block *b)
{
    return b && b->ninsns == 1 && (b->dead || b->mode & ENV_MODE_ONE);
}

bool tcg_watch(TcgCpu *t, uint64_t va, unsigned n, bool write)
{
    DebugKind not_this = write ? DBG_WATCH_R : DBG_WATCH_W;
    const Block *cur = tcg_running(t);

    for (size_t i = 0; i < t->npoints && !t->watch_size; i++) {
        const DebugPoint *p = &t->points[i];

        if (!is_watch(p) || p->kind == not_this || !(p->addr - va < n || va - p->addr < p->len))
            continue;
        if (t->in_block && !alone(cur)) {
            t->one_shot = true;
            t->s->env.fault = (Fault){ FAULT_RETRY, 0, 0 };
            return false;
        }
        t->watch_at = va;
        t->watch_size = n;
        t->watch_write = write;
        __atomic_store_n(&t->s->env.exit_req, 1, __ATOMIC_SEQ_CST);
    }
    x86_data_break(t->s, va, n, write);
    return true;
}

/* Between two instructions: is it time to tell the debugger? */
bool tcg_debug_stop(TcgCpu *t, Exit *x)
{
    const Env *e = &t->s->env;

    if (LIKELY(!t->step && !t->watch_size))
        return false;
    if (t->watch_size) {
        *x = (Exit){
            .kind = EXIT_DEBUG, .addr = t->watch_at, .size = t->watch_size, .write = t->watch_write
        };
        t->watch_size = 0;
        return true;
    }
    if (e->icount == t->step_from && !t->delivered)
        return false;
    t->step_from = e->icount;
    *x = (Exit){ .kind = EXIT_DEBUG, .addr = e->pc };
    return true;
}
