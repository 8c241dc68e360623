/*
 * monitor/qtest.h - QEMU's qtest line protocol: a test drives ports, memory, wires and, under the accelerator qtest,
 * time. The same entry points serve a character device and tests in this process. VM lock held, vCPUs stopped or not.
 */
#ifndef MONITOR_QTEST_H
#define MONITOR_QTEST_H
#include "chr/chr.h"
#include "core/vm.h"
#include <stdio.h>

typedef struct Qtest Qtest;
typedef void (*QtestSend)(void *arg, const char *line, size_t n); /* whole lines, newline included */
Qtest *qtest_new(Vm *vm, QtestSend send, void *arg); /* the VM owns it */
/* One request without its newline. Exactly one line is sent that begins with OK, FAIL or ERR; IRQ lines come before it
 * or at any time later. */
void qtest_line(Qtest *q, const char *line, size_t n);
/* On a character device. log: a file, "none", or NULL for stderr. */
bool qtest_serve(Vm *vm, Chr *chr, const char *log, Error **err);
enum { QTEST_DATA_MAX = 16 * 1024 * 1024, QTEST_LINE_MAX = 2 * QTEST_DATA_MAX + 256 };
#endif
