/* block/qmp-job.h - what the commands about jobs, snapshots, bitmaps and transactions share. VM loop, VM lock. */
#ifndef BLOCK_QMP_JOB_H
#define BLOCK_QMP_JOB_H
#include "block/jobs/bjob.h"

/* fn as a coroutine of the VM loop; waits for its end. */
bool qmp__in_co(Vm *vm, bool (*fn)(Vm *vm, const void *args, Error **err), const void *args, Error **err);
CO_FN Job *qmp__backup_make(Vm *vm, const BlockdevBackup *args, Error **err); /* not begun */
CO_FN bool qmp__backup_start(Job *j, Error **err);                             /* its node quiesced */
CO_FN bool qmp__create_image(Vm *vm, const char *file, const char *format, uint64_t size, const Node *backing, Error **err);
CO_FN Node *qmp__open_image(Vm *vm, const char *file, const char *format, const char *node_name, bool alone, Error **err);
/* node stays quiesced by the caller; undo: overlay is off again. */
CO_FN bool qmp__put_layer(Vm *vm, Node *node, Node *overlay, Error **err);
/* A snapshot in the image; taken away again. The node is quiesced. */
CO_FN bool qmp__take_inside(Vm *vm, const BlockdevSnapshotInternal *a, Error **err);
CO_FN void qmp__undo_inside(Vm *vm, const BlockdevSnapshotInternal *a);
CO_FN void qmp__take_layer(Vm *vm, Node *node, Node *overlay);
CO_FN Node *qmp__layer_of(Vm *vm, const BlockdevSnapshotSync *a, Node **node, Error **err); /* made and opened: a reference */
#endif
