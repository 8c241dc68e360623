/* block/disk-priv.h - a Disk inside; disk.c, disk-io.c, disk-medium.c. VM lock. */
#ifndef BLOCK_DISK_PRIV_H
#define BLOCK_DISK_PRIV_H
#include "block/disk.h"
#include "block/throttle.h"
#include "core/vm.h"

typedef struct DiskItem { /* one request of the device */
    Disk *d;
    BlkReq *r;
    void (*done)(void *o, BlkReq *r, int ret);
    void *o;
    int ret;
    int64_t since;
} DiskItem;
typedef struct DiskFault { /* what was told last, or will be */
    bool write;
    unsigned action; /* BlockErrorAction */
    int ret;
} DiskFault;
struct Disk {
    Vm *vm;
    char *id, *serial;
    Node *node; /* NULL: no medium */
    const DiskOps *ops;
    Dev *dev;   /* that has it, or NULL */
    void *user; /* what ops are called with */
    bool attached, want_write, share_rw;
    bool with_device; /* of a -drive: goes with the device that is unplugged */
    bool cdrom, removable, readonly, snapshot, copy_on_read, write_through, no_flush, direct, unmap;
    uint8_t detect_zeroes;
    OnError rerror, werror;
    OnError own_rerror, own_werror; /* without a device that says otherwise */
    bool own_write_through;
    bool tray_open, tray_locked, failed, nospace;
    char *aio, *locking;
    GQueue queue, stopped, done; /* of DiskItem *: not started; waiting for cont; to be reported */
    bool kicked, reporting, draining;
    bool wrote, flush_wanted, flushing; /* since the last flush of ours; the VM stopped: once nothing is in flight */
    unsigned in_flight; /* from submit to done */
    GCond idle;
    DiskFault fault;
    int64_t told;  /* host time; 0: never */
    guint teller;  /* of a fault that is told later; 0: there is none */
    ThrottleMember throttle;
    DiskStats stats;
    VmListener listener;
    DiskGuard guard; /* .before NULL: none */
};
void disk__io_init(Disk *d);
void disk__io_fini(Disk *d);
void disk__drain(Disk *d);
void disk__throttle(Disk *d, const char *group, const ThrottleLimits *l); /* the group has these limits from now on */
CO_FN int disk__before(Disk *d, const BlkReq *r); /* asks the guard */
int disk__now(Disk *d, BlkReq *r); /* one request, outside of coroutines: waits */
void disk__unguard(Disk *d); /* the medium goes */
bool disk__may_move(Disk *d, Node *to, Error **err); /* as far as the guard is concerned */
void disk__moved(Disk *d);
char *disk__qdev(const Disk *d); /* what clients call the device it is in; NULL: in none; caller frees */
char *disk__qom_path(const Disk *d); /* of that device; "": none; caller frees */
bool disk__can_stop(const Disk *d);  /* some error of the device that has it would stop the VM */
/* Attach's permissions on the present node. */
bool disk__take_permissions(Disk *d, Error **err);
void disk__give_permissions(Node *n); /* of d's node of until now */
/* A job put `to` where d's node `from` was: a -blockdev's drive has its node's name, and `from` stays a node by its own. */
void disk__renamed(Disk *d, Node *from, Node *to);
/* qmp-export.c: the exports' nodes are roots of the graph, too. */
void export__foreach_root(Vm *vm, void (*fn)(Node **root, void *arg), void *arg);
/* The stored bitmaps of n and of what is below, in memory. Not in a coroutine, or in one of n's loop. */
bool graph__load_bitmaps(Node *n, Error **err);
/* A node made by a command (not of a -drive) becomes one of the monitor's: takes over the reference. */
Disk *disk__of_node(Vm *vm, Node *n);
#endif
