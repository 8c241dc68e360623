/* monitor/monitor.h - the monitors: QMP for programs, HMP for people, each on a character device. VM loop, VM lock. */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H
#include "chr/chr.h"
#include "core/vm.h"

typedef enum MonitorMode { MONITOR_HMP, MONITOR_QMP, MONITOR_QMP_PRETTY } MonitorMode;
/* The VM owns the monitor. */
bool monitor_new(Vm *vm, Chr *chr, MonitorMode mode, Error **err);
/* One command line of the human monitor; its answer, freed with g_free. VM lock held. */
char *monitor_hmp(Vm *vm, const char *line);
#endif
