/*
 * util/trace.c - trace points, the flight recorder and the log.
 * Invariants: a ring is written only by its thread; readers (a dump) accept a torn newest record, so
 * neither side waits. Rings outlive their threads: a dump shows what a dead thread did last.
 */
#include "util/trace.h"
#include "util/error.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

enum { RING = 4096 };

typedef struct Record {
    uint64_t when; /* host_ticks */
    const TracePoint *p;
    const char *who;
    uint64_t v[4];
} Record;
typedef struct Ring {
    struct Ring *next;
    uint32_t at; /* grows */
    Record r[RING];
} Ring;

extern const TracePoint *const __start_tracepoints[] __attribute__((weak));
extern const TracePoint *const __stop_tracepoints[] __attribute__((weak));

static Ring *rings; /* all threads'; atomic push */
static _Thread_local Ring *mine;
static FILE *log_file; /* NULL: stderr */
unsigned log_mask;

/* When the first record was made, in both units: gives the rate of the ticks. */
static int64_t first_ns;
static uint64_t first_ticks;

static Ring *ring_get(void)
{
    if (UNLIKELY(!mine)) {
        Ring *r = g_new0(Ring, 1), *head = __atomic_load_n(&rings, __ATOMIC_ACQUIRE);

        if (!head) {
            first_ticks = host_ticks();
            first_ns = host_now();
        }
        do
            r->next = head;
        while (!__atomic_compare_exchange_n(&rings, &head, r, false, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE));
        mine = r;
    }
    return mine;
}

static void print_record(GString *out, const Record *r)
{
    g_string_append_printf(out, "%s%s%s ", r->who ? r->who : "", r->who ? " " : "", r->p->name);
/* The format belongs to the point; it is checked by eye and by the unit test that prints all points. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
    g_string_append_printf(out, r->p->fmt, r->v[0], r->v[1], r->v[2], r->v[3]);
#pragma GCC diagnostic pop
}

void trace(const TracePoint *p, const char *who, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    Ring *g = ring_get();
    Record *r = &g->r[g->at % RING];

    *r = (Record){ host_ticks(), p, who, { a, b, c, d } };
    __atomic_store_n(&g->at, g->at + 1, __ATOMIC_RELEASE);
    if (UNLIKELY(*p->on)) {
        GString *s = g_string_new(NULL);

        print_record(s, r);
        log_print("%s\n", s->str);
        g_string_free(s, TRUE);
    }
}

bool trace_enable(const char *pattern, bool on)
{
    bool any = false;

    for (const TracePoint *const *p = __start_tracepoints; p < __stop_tracepoints; p++)
        if (g_pattern_match_simple(pattern, (*p)->name)) {
            *(*p)->on = on;
            any = true;
        }
    return any;
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp((*(const TracePoint *const *)a)->name, (*(const TracePoint *const *)b)->name);
}

void trace_list(GString *out)
{
    GPtrArray *v = g_ptr_array_new();

    for (const TracePoint *const *p = __start_tracepoints; p < __stop_tracepoints; p++)
        g_ptr_array_add(v, (gpointer)*p);
    g_ptr_array_sort(v, by_name);
    for (guint i = 0; i < v->len; i++) {
        const TracePoint *p = v->pdata[i];

        g_string_append_printf(out, "%s%s\n", p->name, *p->on ? " (on)" : "");
    }
    g_ptr_array_free(v, TRUE);
}

static double ns_per_tick(void)
{
    int64_t ns = host_now() - first_ns;
    uint64_t ticks = host_ticks() - first_ticks;

    return ns > 0 && ticks ? (double)ns / (double)ticks : 1;
}

static gint by_time(gconstpointer a, gconstpointer b)
{
    uint64_t x = ((const Record *)a)->when, y = ((const Record *)b)->when;

    return x < y ? -1 : x > y;
}

void flight_dump(GString *out, unsigned max)
{
    GArray *v = g_array_new(FALSE, FALSE, sizeof(Record));
    uint64_t end;
    double unit = ns_per_tick();

    for (Ring *g = __atomic_load_n(&rings, __ATOMIC_ACQUIRE); g; g = g->next) {
        uint32_t at = __atomic_load_n(&g->at, __ATOMIC_ACQUIRE), n = MIN(at, RING);

        for (uint32_t i = at - n; i != at; i++)
            if (g->r[i % RING].p)
                g_array_append_val(v, g->r[i % RING]);
    }
    g_array_sort(v, by_time);
    end = v->len ? g_array_index(v, Record, v->len - 1).when : 0;
    for (guint i = v->len > max ? v->len - max : 0; i < v->len; i++) {
        const Record *r = &g_array_index(v, Record, i);

        g_string_append_printf(out, "%+12.3f us  ", -(double)(end - r->when) * unit / 1000);
        print_record(out, r);
        g_string_append_c(out, '\n');
    }
    g_array_free(v, TRUE);
}

/* ---- the log ---- */
static const struct {
    const char *name;
    LogItem bit;
    const char *doc;
} items[] = {
    { "guest_errors", LOG_GUEST_ERROR, "what the guest does wrong" },
    { "unimp", LOG_UNIMP, "what the guest asks for and is not modelled" },
    { "int", LOG_INT, "interrupts and exceptions" },
    { "in_asm", LOG_IN_ASM, "guest code when it is translated" },
    { "op", LOG_OP, "micro-operations of each block" },
    { "op_opt", LOG_OP_OPT, "the same as they are executed" },
    { "out_asm", LOG_OUT_ASM, "host code of each block" },
    { "exec", LOG_EXEC, "each block when it is entered" },
    { "cpu_reset", LOG_CPU_RESET, "registers before a CPU reset" },
    { "mmu", LOG_MMU, "address translation" },
    { "cpu", LOG_CPU, "registers before each block" },
    { "trace", LOG_TRACE, "enabled trace points" },
    { "page", LOG_PAGE, "pages of guest code: when they are protected, and written" },
    { "nochain", LOG_NOCHAIN, "leave out links between blocks" },
};

const char *log_items_help(void)
{
    static char *text;

    if (g_once_init_enter(&text)) {
        GString *s = g_string_new("Log items (comma separated):\n");

        for (size_t i = 0; i < G_N_ELEMENTS(items); i++)
            g_string_append_printf(s, "%-15s %s\n", items[i].name, items[i].doc);
        g_string_append(s, "trace:PATTERN   enables trace points\nall, none\n");
        g_once_init_leave(&text, g_string_free(s, FALSE));
    }
    return text;
}

static bool log_item(const char *name, unsigned *mask, Error **err)
{
    if (g_str_has_prefix(name, "trace:")) {
        *mask |= LOG_TRACE;
        return trace_enable(name + 6, true) || fail(err, "-d %s: no trace point matches", name);
    }
    if (!strcmp(name, "all")) {
        *mask = ~0u;
        return true;
    }
    if (!strcmp(name, "none")) {
        *mask = 0;
        return true;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(items); i++)
        if (!strcmp(name, items[i].name)) {
            *mask |= items[i].bit;
            return true;
        }
    if (!strcmp(name, "nochain") || !strcmp(name, "strace") || !strcmp(name, "plugin") || !strcmp(name, "fpu"))
        return true; /* QEMU's; nothing to do here */
    fail(err, "-d: there is no log item '%s'", name);
    return error_hint(err, "-d help lists them");
}

bool log_set(const char *text, Error **err)
{
    char **v = g_strsplit(text, ",", -1);
    unsigned mask = 0;
    bool ok = true;

    for (char **p = v; *p && ok; p++)
        ok = log_item(*p, &mask, err);
    g_strfreev(v);
    if (ok)
        log_mask = mask;
    return ok;
}

typedef struct LogRange {
    uint64_t first, last;
} LogRange;
static GArray *filter; /* NULL: all */

/* START+LENGTH, START-LENGTH (what ends at START), START..END, as C writes numbers. */
static bool parse_range(const char *text, LogRange *r)
{
    char *end;
    uint64_t a = g_ascii_strtoull(text, &end, 0), b;
    char how = *end;

    if (end == text || !how || (how == '.' && end[1] != '.'))
        return false;
    text = end + (how == '.' ? 2 : 1);
    b = g_ascii_strtoull(text, &end, 0);
    if (end == text || *end || (how != '.' && !b))
        return false;
    *r = how == '+' ? (LogRange){ a, a + b - 1 } : how == '-' ? (LogRange){ a - b + 1, a } : (LogRange){ a, b };
    return (how == '+' || how == '-' || how == '.') && r->first <= r->last;
}

bool log_filter(const char *ranges, Error **err)
{
    g_auto(GStrv) v = g_strsplit(ranges, ",", -1);
    GArray *a;

    if (!*v)
        return fail(err, "-dfilter: no range: START+LENGTH, START-LENGTH or START..END");
    a = g_array_new(FALSE, FALSE, sizeof(LogRange));
    for (char **p = v; *p; p++) {
        LogRange r;

        if (!parse_range(*p, &r)) {
            g_array_free(a, TRUE);
            return fail(err, "-dfilter: '%s' is no range: START+LENGTH, START-LENGTH or START..END", *p);
        }
        g_array_append_val(a, r);
    }
    if (filter)
        g_array_free(filter, TRUE);
    filter = a;
    return true;
}

bool log_filtered(uint64_t pc)
{
    for (guint i = 0; filter && i < filter->len; i++) {
        const LogRange *r = &g_array_index(filter, LogRange, i);

        if (pc >= r->first && pc <= r->last)
            return true;
    }
    return !filter;
}

bool log_open(const char *path, Error **err)
{
    FILE *f = fopen(path, "we");

    if (!f)
        return fail_errno(err, "cannot open the log file %s", path);
    setvbuf(f, NULL, _IOLBF, 0);
    if (log_file)
        fclose(log_file);
    log_file = f;
    return true;
}

void log_print(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfprintf(log_file ? log_file : stderr, fmt, ap);
    va_end(ap);
}
