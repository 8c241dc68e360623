/*
 * core/autopsy.h - the report when a guest dies. The rules are the target's (target/x86/autopsy.c); the
 * frame, the flight recorder's last events and the way out (stderr, QMP event) are core's.
 */
#ifndef CORE_AUTOPSY_H
#define CORE_AUTOPSY_H
#include "core/vm.h"

/* vCPUs stopped, VM lock held. e: the exit that caused it, or NULL. False: it was a reboot on purpose
 * (nothing printed). Emits the event MENURA_AUTOPSY {"reason", "cause", "report"}. */
bool autopsy_report(Vm *vm, Cpu *cpu, const Exit *e, const char *what);
#endif
