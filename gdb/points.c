/* gdb/points.c - break and watch points; run, step, stop and the replies about it. */
#include "gdb/priv.h"

enum { SIG_INT = 2, SIG_TRAP = 5 };

const char *gdb__point(Gdb *g, bool add, unsigned type, uint64_t addr, uint64_t len)
{
    static const DebugKind kinds[] = { DBG_BREAK_SW, DBG_BREAK_HW, DBG_WATCH_W, DBG_WATCH_R,
                                       DBG_WATCH_RW };
    DebugPoint p;

    if (type >= G_N_ELEMENTS(kinds))
        return "";
    p = (DebugPoint){ kinds[type], addr, type < 2 ? 1 : MIN(len, 4096) };
    for (guint i = 0; i < g->points->len; i++) {
        DebugPoint *q = &g_array_index(g->points, DebugPoint, i);

        if (q->kind != p.kind || q->addr != p.addr || q->len != p.len)
            continue;
        if (!add)
            g_array_remove_index(g->points, i);
        return "OK";
    }
    if (!add)
        return "OK";
    if (g->points->len >= POINTS_MAX)
        return "E28";
    g_array_append_val(g->points, p);
    return "OK";
}

/* Tell the accelerator; only the stepped CPU steps. */
bool gdb__arm(Gdb *g)
{
    bool ok = true;

    for (unsigned i = 0; i < g->vm->ncpus; i++) {
        Cpu *c = g->vm->cpus[i];

        c->step = (int)i == g->step_cpu;
        if (c->accel->debug)
            ok &= c->accel->debug(c, (const DebugPoint *)(const void *)g->points->data,
                                  g->points->len, c->step, NULL);
        cpu_request(c, CPU_REQ_DEBUG);
    }
    return ok;
}

void gdb__run(Gdb *g, int step_cpu)
{
    g->step_cpu = step_cpu;
    if (!gdb__arm(g)) {
        gdb__text(g, "E01"); /* more points than the engine can hold */
        return;
    }
    g->running = true;
    vm_cont(g->vm);
}

char *gdb__stop_text(Gdb *g, unsigned cpu, int signal, const char *reason)
{
    return g_strdup_printf("T%02xthread:%x;%s", (unsigned)signal, cpu + 1, reason);
}

void gdb__stopped(Gdb *g, unsigned cpu, const char *text)
{
    bool asked = g->running;

    g->running = false;
    g->step_cpu = -1;
    g->stop_cpu = g->g_cpu = g->c_cpu = cpu;
    g_free(g->stop);
    g->stop = g_strdup(text);
    if (asked && g->attached)
        gdb__text(g, text);
}

static bool has_point(Gdb *g, DebugKind kind, uint64_t addr)
{
    for (guint i = 0; i < g->points->len; i++) {
        DebugPoint *p = &g_array_index(g->points, DebugPoint, i);

        if (p->kind == kind && p->addr == addr)
            return true;
    }
    return false;
}

/* e->size > 0: a watch point, at e->addr; else e->addr is the pc. */
static char *reason_of(Gdb *g, const Exit *e)
{
    static const char *const names[] = {
        [DBG_WATCH_W] = "watch", [DBG_WATCH_R] = "rwatch", [DBG_WATCH_RW] = "awatch"
    };

    for (guint i = 0; e->size && i < g->points->len; i++) {
        DebugPoint *p = &g_array_index(g->points, DebugPoint, i);

        if (p->kind >= DBG_WATCH_W && e->addr < p->addr + p->len && p->addr < e->addr + e->size)
            return g_strdup_printf("%s:%" PRIx64 ";", names[p->kind], p->addr);
    }
    if (g->swbreak && has_point(g, DBG_BREAK_SW, e->addr))
        return g_strdup("swbreak:;");
    if (g->hwbreak && has_point(g, DBG_BREAK_HW, e->addr))
        return g_strdup("hwbreak:;");
    return g_strdup("");
}

void gdb__on_debug(void *self, Cpu *cpu, const Exit *e)
{
    Gdb *g = self;
    g_autofree char *reason = reason_of(g, e);
    g_autofree char *text = gdb__stop_text(g, cpu->index, SIG_TRAP, reason);

    gdb__stopped(g, cpu->index, text);
}

/* Stops that are not the debugger's doing: pause, panic, shutdown. RUN_DEBUG comes with on_debug.
 */
void gdb__on_state(void *self, RunState now)
{
    Gdb *g = self;
    g_autofree char *text = NULL;

    if (now == RUN_RUNNING || now == RUN_DEBUG || !g->running)
        return;
    text = gdb__stop_text(g, g->stop_cpu, SIG_INT, "");
    gdb__stopped(g, g->stop_cpu, text);
}

void gdb__interrupt(Gdb *g)
{
    if (g->running)
        vm_stop(g->vm, RUN_PAUSED); /* on_state answers */
}

void gdb__detach(Gdb *g)
{
    bool was = g->attached;

    g->attached = g->running = false;
    g->noack = g->noack_next = g->physical = false;
    g->step_cpu = -1;
    g_array_set_size(g->points, 0);
    if (!was)
        return;
    gdb__arm(g);
    vm_cont(g->vm);
}
