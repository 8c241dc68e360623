/* block/jobs/chain.h - making stream and commit jobs. VM lock; in a coroutine of the VM loop. NULL + err. */
#ifndef BLOCK_JOBS_CHAIN_H
#define BLOCK_JOBS_CHAIN_H
#include "block/jobs/bjob.h"

typedef struct ChainSpec {
    Node *top, *base, *above; /* commit: from top into base, `above` stands on top; stream: base alone, NULL: none */
    char *backing_file;       /* what the header says then; NULL: base's file */
    OnError on_error;
} ChainSpec;
CO_FN Job *stream_new(Vm *vm, const BJobArgs *a, const ChainSpec *s, Node *n, Error **err);
CO_FN Job *commit_new(Vm *vm, const BJobArgs *a, const ChainSpec *s, Node *n, Error **err);
#endif
