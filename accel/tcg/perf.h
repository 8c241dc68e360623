/* accel/tcg/perf.h - maps of generated code for profilers, for the whole process. False: err says why. */
#ifndef ACCEL_TCG_PERF_H
#define ACCEL_TCG_PERF_H
#include <stdbool.h>

struct Error;
bool perf_map_start(struct Error **err);  /* -perfmap */
bool perf_dump_start(struct Error **err); /* -jitdump */
#endif
