/*
 * hw/scsi/scsi.h - SCSI: targets on a bus, and the requests that a host adapter brings them. Source: SAM-5, SPC-4, SBC-3.
 * VM lock; completions of the disks enter the adapter first.
 *
 * An adapter embeds a ScsiReq, fills dev, cdb, done, and asks scsi_prepare: which way the data goes and how much. Then it
 * brings the data (direct: an iov of exactly `len` bytes; else into buf) and calls scsi_go. done(q) has status and sense, and what the
 * initiator reads is in the iov or in buf. done may come before scsi_go returns, and it owns the request.
 */
#ifndef HW_SCSI_SCSI_H
#define HW_SCSI_SCSI_H
#include "block/disk.h"
#include "core/dev.h"

enum { SCSI_CDB = 16, SCSI_SENSE = 18 };
enum { SCSI_GOOD = 0, SCSI_CHECK_CONDITION = 2 };
typedef enum ScsiDir { SCSI_NONE, SCSI_IN /* the initiator reads */, SCSI_OUT } ScsiDir;
typedef struct ScsiDev ScsiDev;
typedef struct ScsiReq ScsiReq;
struct ScsiReq {
    ScsiDev *dev;
    uint8_t cdb[SCSI_CDB];
    void (*done)(ScsiReq *q);
    /* from scsi_prepare */
    ScsiDir dir;
    bool direct;  /* between the disk and an iov of the adapter's; else through buf */
    uint64_t len; /* bytes that the command moves */
    uint8_t *buf; /* len bytes, freed by scsi_end */
    /* from the device */
    uint8_t status, sense[SCSI_SENSE];
    /* the device's own */
    BlkReq r;
    struct iovec iov;
    unsigned step, steps;
};
enum { SCSI_CAME, SCSI_GONE, SCSI_CHANGED };
typedef struct ScsiBus {
    Bus bus; /* first */
    unsigned targets, luns;
    /* a device came, went, or has something to say (sense code and qualifier: 0x2a09); NULL: the adapter has no way to tell */
    void (*event)(struct ScsiBus *b, ScsiDev *d, int what, unsigned code);
} ScsiBus;
typedef struct ScsiKind { /* of unit */
    uint8_t type; /* peripheral device type */
    const struct ScsiOp *(*op)(uint8_t code); /* NULL: there is no such command */
    void (*unit_reset)(ScsiDev *d); /* or NULL */
    const char *product;
} ScsiKind;
struct ScsiDev {
    Dev dev; /* first */
    const ScsiKind *kind;
    Disk *disk;
    DiskConf conf;
    char *serial, *vendor, *product, *ver;
    uint64_t wwn;
    int32_t bootindex, id, lun;
    uint32_t block; /* bytes: conf.logical of a disk, what a sector of a CD has */
    uint16_t attention; /* code and qualifier of the unit attention that waits; 0: none */
    bool write_cache, removable, stopped, prevented;
};
#define SCSI(d) ((ScsiDev *)(void *)(d))

ScsiBus *scsi_bus_new(Dev *adapter, const char *name, unsigned targets, unsigned luns);
/* NULL: nobody is there. lun -1: the first of the target. */
ScsiDev *scsi_find(const ScsiBus *b, unsigned target, int lun);
/* q->dev may be another unit of the target than `lun` asked for: INQUIRY and REPORT LUNS are answered for it. */
void scsi_prepare(ScsiReq *q, const ScsiBus *b, unsigned target, unsigned lun);
void scsi_go(ScsiReq *q);
void scsi_end(ScsiReq *q); /* frees what prepare made */
void scsi_unit_reset(ScsiDev *d); /* waits until nothing of it is in flight */

/* Between the files here. */
typedef struct ScsiOp {
    uint8_t code, flags;
    const char *name;
    bool (*prepare)(ScsiReq *q); /* false: fails with the sense it set */
    void (*go)(ScsiReq *q);      /* NULL: done */
} ScsiOp;
enum { OP_ANY_TIME = 1 /* even with a unit attention */, OP_WRITES = 2, OP_MEDIUM = 4 };
bool scsi_sense(ScsiReq *q, uint8_t key, unsigned code); /* returns false */
bool scsi_reply(ScsiReq *q, const void *data, size_t have, size_t room); /* what prepare answers with; returns true */
bool scsi_request_sense(ScsiReq *q);
void scsi_resized(void *o); /* DiskOps */
bool scsi_init(ScsiDev *d, const ScsiKind *kind, const DiskOps *ops, bool want_write, Error **err); /* takes the disk */
extern const DevClass scsi_base; /* properties, state and life of all units */
bool scsi_inquiry(ScsiReq *q);
bool scsi_mode_sense(ScsiReq *q);
bool scsi_mode_select(ScsiReq *q);
void scsi_mode_set(ScsiReq *q);
/* What a unit of a given class begins with. */
#define SCSI_UNIT(T, nm, dc)                                                                                            \
    .obj = { .name = nm, .desc = dc, .size = sizeof(T), .init = init }, .bus = "SCSI", .base = &scsi_base, .category = "Storage devices", \
    .hotplug = true
static inline uint64_t scsi_blocks(const ScsiDev *d) { return disk_size(d->disk) / d->block; }
enum { NOT_READY = 2, MEDIUM_ERROR = 3, ILLEGAL_REQUEST = 5, UNIT_ATTENTION = 6, DATA_PROTECT = 7, MISCOMPARE = 14 };
enum { INVALID_OPCODE = 0x2000, OUT_OF_RANGE = 0x2100, INVALID_FIELD = 0x2400, NO_SUCH_UNIT = 0x2500, BAD_PARAMETERS = 0x2600,
       LIST_LENGTH = 0x1a00, WRITE_PROTECTED = 0x2700, NO_MEDIUM = 0x3a00, POWER_ON = 0x2900, MEDIUM_CHANGED = 0x2800, CAPACITY_CHANGED = 0x2a09, STOPPED = 0x0402,
       UNIT_NOT_READY = 0x0403 /* manual intervention required */ };
#endif
