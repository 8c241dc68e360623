/* migrate/snappriv.h - between snapshot.c (jobs, commands) and the two places that snapshots live in. VM loop, VM lock. */
#ifndef MIGRATE_SNAPPRIV_H
#define MIGRATE_SNAPPRIV_H
#include "block/disk.h"
#include "migrate/snapshot.h"
#include "migrate/stream.h"

typedef struct SnapAsk { /* what a job is to do */
    char *tag, *vmstate; /* vmstate NULL: whichever can */
    char **devices;      /* NULL: all that are writable */
    bool replace;        /* a snapshot of that name goes when the new one is there */
} SnapAsk;
/* A place for snapshots. The machine stands still and its disks are at rest in save and load. */
typedef struct SnapPlace {
    CO_FN bool (*save)(Job *j, const SnapAsk *a, RunState before, Error **err);
    /* `check` may refuse while the guest runs; `load` does it. */
    CO_FN bool (*check)(Job *j, const SnapAsk *a, void **plan, Error **err);
    CO_FN bool (*load)(Job *j, const SnapAsk *a, void *plan, Error **err);
    void (*free_plan)(void *plan);
    CO_FN bool (*remove)(Job *j, const SnapAsk *a, Error **err);
    void (*list)(Vm *vm, GString *out); /* info snapshots */
} SnapPlace;
extern const SnapPlace snap__folder, snap__images;
bool snap__has_folder(Vm *vm);
/* fn on a thread of the pool. */
CO_FN bool snap__in_pool(Vm *vm, bool (*fn)(void *arg, Error **err), void *arg, Error **err);
#endif
