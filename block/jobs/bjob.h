/*
 * block/jobs/bjob.h - what block jobs have in common: creation from QMP's arguments, claims on nodes, speed, errors, events,
 * and copying from node to node. A job's state begins with a BJob. VM lock; coroutines of the VM loop.
 */
#ifndef BLOCK_JOBS_BJOB_H
#define BLOCK_JOBS_BJOB_H
#include "block/dirty.h"
#include "block/disk.h"
#include "block/graph.h"
#include "block/image.h"
#include "core/api/blockjob.h"
#include "core/job.h"

enum { BJOB_CLAIMS = 4, BJOB_CHUNK = 1 << 20 };
typedef struct BJob {
    Job *job;
    Node *node; /* whose job it is: "device" of the older events; a reference */
    char *device;
    NodeClaim claims[BJOB_CLAIMS];
    int64_t next_at; /* speed limit: no byte before */
    OnError on_read, on_write;
    BlockDeviceIoStatus io_status;
    bool began, told; /* it ran; clients know that it is ready */
} BJob;
typedef struct BJobArgs { /* of every command that makes one */
    const char *id, *device; /* id NULL: the device's name */
    bool has_speed, manual_finalize, manual_dismiss;
    int64_t speed;
} BJobArgs;
/* Not started; the state is zeroed but for the BJob. NULL + err. */
void *bjob_new(Vm *vm, const JobDriver *d, const BJobArgs *a, Node *n, Error **err);
bool bjob_claim(BJob *b, unsigned slot, Node *n, unsigned want, Error **err);
void bjob_clean(BJob *b); /* releases all; last in a driver's clean */
void bjob_changed(Job *j);                                 /* JobDriver.changed */
bool bjob_set_speed(Job *j, int64_t speed, Error **err);   /* JobDriver.set_speed */
/* Between pieces: waits for its turn (speed), a pause, time for others. False: cancelled. */
CO_FN bool bjob_step(BJob *b, uint64_t bytes);
/* A failed read or write: what the policy says. True: again, or (ignore) go on; false: the job fails. */
CO_FN bool bjob_error(BJob *b, bool read, int ret);
OnError bjob_policy(bool has, BlockdevOnError e);
typedef struct BCopy { /* how bytes get from one node to another */
    Node *from, *to;
    unsigned read_flags, write_flags;
    bool this_layer; /* only what the top layer of `from` has; the rest counts as done */
    bool read_failed; /* which side the error was */
    uint8_t *buf;     /* BJOB_CHUNK bytes, or NULL: made when needed */
} BCopy;
/* *len: in at most BJOB_CHUNK, out what was dealt with. */
CO_FN int bjob_copy(BCopy *c, uint64_t off, uint64_t *len);

/* ---- what commands make; all NULL + err ---- */
Job *backup_new(Vm *vm, const BlockdevBackup *a, Node *target, Error **err);
bool backup_begin(Job *j, Error **err); /* the point in time; source quiesced or no request possible in between */
#endif
