/* accel/qtest/qtest.h - stepping virtual time under the test accelerator. Any thread. */
#ifndef ACCEL_QTEST_QTEST_H
#define ACCEL_QTEST_QTEST_H
#include "core/vm.h"

int64_t qtest_clock_step(Vm *vm, int64_t ns); /* fires what is due on the way; returns the new time */
int64_t qtest_clock_step_next(Vm *vm);        /* to the next deadline */
#endif
