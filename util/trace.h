/*
 * util/trace.h - tracing and the flight recorder.
 * Each trace point goes to a per-thread ring (the flight recorder, always on: fixed-size binary
 * records, some ns each) and, when its name matches `-trace PATTERN`, also to the log as text.
 */
#ifndef UTIL_TRACE_H
#define UTIL_TRACE_H
#include "util/util.h"

/* A point is a static const, found by name through a linker section. */
typedef struct TracePoint {
    const char *name;   /* "mmio.read", "irq.edge", "guest_error" */
    const char *fmt;    /* up to 4 uint64_t arguments and one const char * that lives for ever */
    uint8_t *on;        /* enabled for text */
} TracePoint;
#define TRACE_POINT(id, nm, f)                                                                     \
    static uint8_t id##_on;                                                                        \
    static const TracePoint id = { nm, f, &id##_on };                                              \
    static const TracePoint *const id##_p                                                          \
        IN_SECTION("tracepoints") = &id
/* who: a name that outlives the process or is interned (g_intern_string); may be NULL */
void trace(const TracePoint *p, const char *who, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
bool trace_enable(const char *pattern, bool on); /* glob on names; false: matches nothing */
void trace_list(GString *out);
/* The last `max` records of all threads, oldest first, as text lines. */
void flight_dump(GString *out, unsigned max);

/* The log (-d ITEMS -D FILE): items are bits; text goes to the file or stderr. */
typedef enum LogItem {
    LOG_GUEST_ERROR = 1, LOG_UNIMP = 2, LOG_INT = 4, LOG_IN_ASM = 8, LOG_OP = 16, LOG_EXEC = 32,
    LOG_CPU_RESET = 64, LOG_MMU = 128, LOG_CPU = 256, LOG_TRACE = 512, LOG_PAGE = 1024,
    LOG_OP_OPT = 2048, LOG_OUT_ASM = 4096, LOG_NOCHAIN = 8192,
} LogItem;
extern unsigned log_mask; /* process-wide like stderr itself: not VM state */
static inline bool log_on(LogItem i) { return UNLIKELY(log_mask & i); }
void log_print(const char *fmt, ...) PRINTF(1, 2);
struct Error;
bool log_set(const char *items, struct Error **err); /* "int,cpu_reset"; "help" lists */
bool log_open(const char *path, struct Error **err);
/* -dfilter: guest addresses that the items about code are printed for: "START+LENGTH,START-LENGTH,START..END" */
bool log_filter(const char *ranges, struct Error **err);
bool log_filtered(uint64_t pc); /* is it one of them, or are all? */
const char *log_items_help(void);
#endif
