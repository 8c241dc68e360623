/*
 * migrate/statefile.h - the state of a VM in a file of its own, laid out so that RAM is mapped instead of read: each memory
 * has its place, a multiple of 4096, and pages of zeros are holes. (A stream, migrate/stream.h, goes through pipes.)
 */
#ifndef MIGRATE_STATEFILE_H
#define MIGRATE_STATEFILE_H
#include "migrate/stream.h"

typedef struct StateFile StateFile; /* a file that was read: its header and devices; RAM stays where it is */
/* Writes and syncs it. Any thread; nothing changes the image's memories meanwhile. *bytes: what it takes on the disk. */
bool statefile_write(const char *path, const Image *m, uint64_t *bytes, Error **err);
StateFile *statefile_read(const char *path, Error **err); /* any thread; checked as far as that goes without a VM */
void statefile_free(StateFile *f);
RunState statefile_run_state(const StateFile *f);
/* Would statefile_load take it? VM lock. */
bool statefile_check(const StateFile *f, Vm *vm, Error **err);
/* RAM and devices, or nothing. VM lock, vCPUs stopped. */
bool statefile_load(StateFile *f, Vm *vm, Error **err);
#endif
