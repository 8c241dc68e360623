/* core/steady.h - a third clock, for -rtc clock=rt: of the host, but nobody sets it. */
#ifndef CORE_STEADY_H
#define CORE_STEADY_H
#include "core/clock.h"

int64_t vm_steady_time(Vm *vm); /* ns since 1970 as the process started, steady from then on, while the VM is stopped too; any thread */
#endif
