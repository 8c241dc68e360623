/*
 * block/disk.h - the only block header a device sees. Error policy, retry after `cont`, medium,
 * throttle and resize live behind it. VM lock; completions run on the VM loop inside dev_enter of
 * nobody: the device's `done` must do WITH_DEV itself.
 */
#ifndef BLOCK_DISK_H
#define BLOCK_DISK_H
#include "block/node.h"

typedef struct Disk Disk;
typedef struct Vm Vm;
typedef struct Dev Dev;
typedef struct DiskOps {
    void (*resized)(void *o);
    void (*medium)(void *o, bool present); /* changed or ejected by the user */
    bool (*eject)(void *o, bool force);    /* may the medium go? (tray lock) */
    void (*drain)(void *o, bool begin);
} DiskOps;
typedef enum OnError { ON_ERROR_AUTO, ON_ERROR_REPORT, ON_ERROR_IGNORE, ON_ERROR_STOP, ON_ERROR_ENOSPC, ON_ERRORS } OnError;
extern const char *const disk_error_names[]; /* NULL-terminated */
/* What a device says about its disk; auto: as the drive says. Rows of its property table set it. */
typedef struct DiskConf {
    uint8_t werror, rerror; /* OnError */
    uint8_t write_cache;    /* AUTO: as the drive says */
    bool share_rw;
    /* PROPS_DISK_SIZES: bytes; once disk_sizes() was there, none is left to be chosen. */
    uint32_t logical, physical;
    uint32_t min_io, opt_io; /* 0: nothing is said of it */
    uint32_t granularity;    /* of discards; 0: there are none */
} DiskConf;
enum { DISK_BLOCK_MIN = 512, DISK_BLOCK_MAX = 2 * 1024 * 1024 };
#define DISK_GRANULARITY_AUTO UINT32_MAX
#define PROPS_DISK(T, m)                                                                                  \
    PROP_AUTO(T, m.write_cache, "write-cache", AUTO, "off: a write is done when the host's disk has it"), \
    PROP(T, m.share_rw, "share-rw", false, "others may write to the image meanwhile")
#define PROPS_DISK_ERRORS(T, m)                                                                                                         \
    PROP_ENUM(T, m.werror, "werror", disk_error_names, "auto", "a failed write: tell the guest, ignore it, stop (enospc: if the host's disk is full)"), \
    PROP_ENUM(T, m.rerror, "rerror", disk_error_names, "auto", "a failed read: the same")
#define PROPS_DISK_SIZES(T, m)                                                                                                                   \
    PROP_SIZE(T, m.logical, "logical_block_size", 0, "bytes of a block, of which requests are multiples: a power of two from 512 to 2 MiB; 0: 512"), \
    PROP_SIZE(T, m.physical, "physical_block_size", 0, "bytes that the medium writes in one: a power of two up to 2 MiB; 0: a logical block"),      \
    PROP_SIZE(T, m.min_io, "min_io_size", 0, "bytes that a request should have at least, whole logical blocks; 0: not said"),                     \
    PROP_SIZE(T, m.opt_io, "opt_io_size", 0, "bytes that suit a request best, whole logical blocks; 0: not said"),                               \
    PROP_SIZE(T, m.granularity, "discard_granularity", DISK_GRANULARITY_AUTO, "bytes that discards should be multiples of; 0: none; 4294967295: as suits the device")
/* Checks the sizes that the user gave and chooses the others; `own`: the granularity of discards that this kind of device has, or 0: a
 * logical block. Where the configuration is read, before disk_attach. */
bool disk_sizes(DiskConf *c, uint32_t own, Error **err);
/* Who takes a disk. */
typedef struct DiskUser {
    Dev *dev;            /* as clients know it; NULL: tests */
    const DiskOps *ops;  /* called with `o`; or NULL */
    void *o;
    const DiskConf *conf; /* borrowed for the call; NULL: as the drive says */
    bool writes;
} DiskUser;
/* -drive's options -> a Disk registered as ("drive", id). "file" absent: an empty drive (CD,
 * floppy). */
Disk *disk_new(Vm *vm, const char *id, Opts *drive_opts, Error **err);
void disk_free(Disk *d);
bool disk_attach(Disk *d, const DiskUser *u, Error **err); /* one device; takes permissions */
void disk_detach(Disk *d);
/* Asynchronous. r and its iov live until done. done(o, r, ret): ret 0 or -errno (only what the
 * policy reports). */
void disk_submit(Disk *d, BlkReq *r, void (*done)(void *o, BlkReq *r, int ret), void *o);
void disk_cancel_all(
    Disk *d); /* device reset: waits until nothing of it is in flight; done still runs */
unsigned disk_in_flight(const Disk *d);
/* Something of it still moves: requests in flight other than those that the error policy stopped. After vm_stop it
 * becomes false by itself, soon (unless a throttle makes them wait). */
bool disk_in_use(const Disk *d); /* a device has it */
bool disk_busy(const Disk *d);
bool disk_present(const Disk *d);  /* has a medium */
uint64_t disk_size(const Disk *d); /* bytes; 0 without medium */
bool disk_readonly(const Disk *d);
BlkLimits disk_limits(const Disk *d);
const char *disk_id(const Disk *d);
const char *disk_serial(const Disk *d); /* -drive serial= or "" */
bool disk_tray_open(const Disk *d);
void disk_set_tray(Disk *d, bool open); /* guest command */
void disk_lock_tray(Disk *d, bool locked);
bool disk_eject(Disk *d, bool force, Error **err);                            /* monitor */
bool disk_open_tray(Disk *d, bool force, Error **err);                        /* the medium stays */
bool disk_close_tray(Disk *d, Error **err);
bool disk_remove(Disk *d, Error **err);                      /* the tray is open: take the medium out */
bool disk_insert(Disk *d, const char *node_name, Error **err); /* the tray is open, and empty */
bool disk_change(Disk *d, const char *file, const char *format, Error **err); /* monitor */
/* Small synchronous reads at configuration time (probing geometry). */
int disk_read_now(Disk *d, uint64_t off, void *buf, size_t len);
/* The same for what a device still owes when it goes. */
int disk_write_now(Disk *d, uint64_t off, const void *buf, size_t len);
typedef struct DiskStats {
    uint64_t bytes[2], ops[2], failed[2]; /* read, write */
    uint64_t flushes, discards;
    uint64_t ns[2];
} DiskStats;
DiskStats disk_stats(const Disk *d);
const char *disk_filename(const Disk *d); /* NULL without medium */
const char *disk_format(const Disk *d);   /* "raw"; NULL without medium */
const char *disk_node_name(const Disk *d);
bool disk_removable(const Disk *d); /* media=cdrom, or opened empty */
void disk_set_removable(Disk *d); /* the device's media can be changed */
bool disk_is_cdrom(const Disk *d);  /* media=cdrom */
bool disk_tray_locked(const Disk *d);
bool disk_io_error(const Disk *d, bool *nospace);       /* stopped by the error policy */
bool disk_resize(Disk *d, uint64_t bytes, Error **err); /* block_resize */
/* -blockdev: a node registered as ("node", node-name) and as a ("drive", node-name) that a device
 * may take. */
bool disk_add_blockdev(Vm *vm, Opts *o, Error **err);
bool disk_del_blockdev(Vm *vm, const char *node_name, Error **err);
/* Who must know of changes before they happen: snapshots of the machine. In a coroutine of the VM loop; not 0: the change
 * fails with it. `gone`: the disk or its medium goes, all of it is written; the guard is off already. */
typedef struct DiskGuard {
    CO_FN int (*before)(void *o, uint64_t off, uint64_t len);
    void (*gone)(void *o);
    bool (*may_move)(void *o, Node *to, Error **err); /* `to`, with the same contents, will be the disk's node */
    void (*moved)(void *o);                           /* it is; not in a coroutine, or in one */
    void *o;
} DiskGuard;
void disk_set_guard(Disk *d, const DiskGuard *g); /* NULL: none. Nothing is in flight */
bool disk_guarded(const Disk *d);
Node *disk_node(const Disk *d);          /* NULL without medium; borrowed */
bool disk_attached(const Disk *d);       /* a device has it */
bool disk_is_temporary(const Disk *d);   /* snapshot=on */
bool disk_is_shared(const Disk *d);      /* share-rw=on: others may write to its nodes, without the guard */
/* Requests a device had in flight when saved are re-issued by it after load; nothing is kept here.
 */
#endif
