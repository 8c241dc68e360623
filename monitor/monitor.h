/* monitor/monitor.h - the human monitor on a character device. VM loop, VM lock. */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H
#include "chr/chr.h"
#include "core/vm.h"

/* The VM owns the monitor. qmp true: the machine protocol. */
bool monitor_new(Vm *vm, Chr *chr, bool qmp, Error **err);
/* One command line; the answer, freed with g_free. VM lock held. */
char *monitor_hmp(Vm *vm, const char *line);
#endif
