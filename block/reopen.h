/* block/reopen.h - other options for nodes in use: blockdev-reopen. VM loop, VM lock. */
#ifndef BLOCK_REOPEN_H
#define BLOCK_REOPEN_H
#include "block/graph.h"

typedef struct Reopen Reopen;
Reopen *reopen_new(Vm *vm);
void reopen_free(Reopen *x);
/* Looks at the options of one node ("driver", "node-name", ..); nothing changes yet. o is only read. */
CO_FN bool reopen_add(Reopen *x, Opts *o, Error **err);
CO_FN bool reopen_do(Reopen *x, Error **err); /* all that were added, or none */
#endif
