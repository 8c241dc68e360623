/*
 * gdb/gdb.h - GDB's remote protocol on a character device (-gdb, -s). VM loop, VM lock.
 * The VM stops when a debugger connects and goes on when it leaves.
 */
#ifndef GDB_GDB_H
#define GDB_GDB_H
#include "chr/chr.h"
#include "core/vm.h"

typedef struct Gdb Gdb;
/* device: a chardev short form, "tcp::1234" (server, no wait: implied), "none" (stops listening;
 * returns NULL without error). The VM owns the result. Call when the CPUs exist. */
Gdb *gdb_open(Vm *vm, const char *device, Error **err);
void gdb_close(Gdb *g);
/* What `monitor TEXT` does; returns the answer, freed with g_free. Without it the command says so.
 */
void gdb_set_monitor(Gdb *g, char *(*exec)(Vm *vm, const char *line));
#endif
