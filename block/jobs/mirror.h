/* block/jobs/mirror.h - making mirrors and active commits. VM lock; in a coroutine of the VM loop. */
#ifndef BLOCK_JOBS_MIRROR_H
#define BLOCK_JOBS_MIRROR_H
#include "block/jobs/bjob.h"

typedef struct MirrorSpec {
    bool commit, none, write_blocking, take_backing;
    unsigned depth; /* only what is allocated in the upper `depth` layers; 0: all */
    uint64_t granularity;
    Node *replaces;
    OnError on_read, on_write;
} MirrorSpec;
/* Records from now on; started by the caller. NULL + err. */
CO_FN Job *mirror_new(Vm *vm, const BJobArgs *a, const MirrorSpec *spec, Node *n, Node *target, Error **err);
#endif
