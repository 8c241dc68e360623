/*
 * hw/nvme/nvme.h - an NVMe controller's state, and what its files ask of each other. Source: NVM Express 1.4.
 * VM lock throughout; completions of the disks enter the device first.
 */
#ifndef HW_NVME_NVME_H
#define HW_NVME_NVME_H
#include "block/disk.h"
#include "hw/pci/pci.h"

enum { NVME_QUEUES = 64 /* with the admin queue: as many as MSI-X vectors */, NVME_NS_MAX = 256, NVME_AER_MAX = 4, NVME_ERRORS = 4,
       NVME_SQE = 64, NVME_CQE = 16, NVME_FEATURES = 11, NVME_FLYING_MAX = 1024, NVME_ENTRIES_MAX = 2048, NVME_PAGE = 4096 };
enum { CC_EN = 1, CC_SHN = 3 << 14, CSTS_RDY = 1, CSTS_CFS = 2, CSTS_SHST = 3 << 2, SHST_BUSY = 1 << 2, SHST_DONE = 2 << 2 };
/* Status: type << 8 | code (section 4.6.1); DNR: the same command would fail again. */
enum { NVME_OK = 0, INVALID_OPCODE = 0x01, INVALID_FIELD = 0x02, DATA_TRANSFER_ERROR = 0x04, INTERNAL_ERROR = 0x06,
       INVALID_NAMESPACE = 0x0b, COMMAND_SEQUENCE_ERROR = 0x0c, INVALID_PRP_OFFSET = 0x13, LBA_OUT_OF_RANGE = 0x80,
       CAPACITY_EXCEEDED = 0x81, INVALID_CQ = 0x100, INVALID_QUEUE_ID = 0x101, INVALID_QUEUE_SIZE = 0x102, AER_LIMIT = 0x105,
       INVALID_VECTOR = 0x108, INVALID_LOG_PAGE = 0x109, INVALID_QUEUE_DELETION = 0x10c, NOT_SAVEABLE = 0x10d,
       NOT_CHANGEABLE = 0x10e, READ_ONLY_RANGE = 0x182, WRITE_FAULT = 0x280, READ_FAULT = 0x281, COMPARE_FAILURE = 0x285,
       NVME_DNR = 0x4000, NVME_LATER = 0xffff /* no completion yet */ };
enum { EVENT_DOORBELL_REGISTER, EVENT_DOORBELL_VALUE, EVENT_NAMESPACE }; /* bits of Nvme.events */

typedef struct NvmeSq { /* without padding, as NvmeCq */
    uint64_t base;
    uint16_t last /* entry: entries - 1 */, head, tail, cqid;
    uint32_t live, priority;
} NvmeSq;
typedef struct NvmeCq {
    uint64_t base;
    uint16_t last, head, tail, vector;
    uint32_t live;
    uint16_t phase, irq;
} NvmeCq;
typedef struct NvmeErr { /* an entry of the error log; count 0: none */
    uint64_t count, lba;
    uint32_t nsid;
    uint16_t sqid, cid, status;
} NvmeErr;
typedef struct NvmeNs {
    Disk *disk;
    const DiskConf *conf; /* its owner's */
    struct Nvme *ctrl;
    uint32_t nsid;
    uint8_t shift; /* log2 of bytes per logical block */
    uint8_t uuid[16];
} NvmeNs;
typedef struct NvmeReq NvmeReq;
typedef struct Nvme {
    PciDev pci;
    /* registers */
    uint32_t intms, cc, csts, aqa;
    uint64_t asq, acq;
    /* admin */
    uint32_t feature[NVME_FEATURES];
    uint16_t vector_config[NVME_QUEUES]; /* bit 0: no coalescing */
    uint16_t aer[NVME_AER_MAX]; /* command identifiers of event requests that wait */
    uint8_t aers, events /* that happened and were not told */, masked /* types told and not read */;
    uint8_t changed[NVME_NS_MAX / 8];
    uint64_t errors, stamp;
    int64_t stamped;
    /* host */
    Disk *disk;
    DiskConf conf;
    char *serial;
    int32_t bootindex;
    uint32_t max_ioqpairs;
    uint8_t mdts;
    NvmeNs own;
    Bus *bus;
    NvmeNs *ns[NVME_NS_MAX + 1]; /* by nsid */
    NvmeReq *first; /* in flight, newest first */
    GByteArray *again;  /* while a load is under way: commands that were in flight, NVME_SQE + 2 bytes each */
    uint32_t flying;
    uint16_t owed[NVME_QUEUES]; /* completions that each queue must have room for */
    bool serving;
    /* last, because gcc 12's __builtin_clear_padding forgets what lies behind an array of structs */
    NvmeErr error[NVME_ERRORS];
    NvmeSq sq[NVME_QUEUES];
    NvmeCq cq[NVME_QUEUES];
} Nvme;
#define NVME(d) container_of(d, Nvme, pci.dev)
#define NVME_CONST(d) ((const Nvme *)(const void *)(d))

typedef struct NvmeCmd { /* a submission queue entry, section 4.2 */
    uint8_t raw[NVME_SQE];
    uint16_t sqid, cid;
    uint8_t opcode;
    uint32_t nsid, dw10, dw11, dw12, dw13, dw14;
    uint64_t prp1, prp2, slba;
    uint32_t result;
} NvmeCmd;
typedef struct NvmeOp {
    uint8_t code;
    bool changes; /* what the namespace holds */
    const char *name;
    uint16_t (*fn)(Nvme *n, NvmeCmd *c); /* a status, or NVME_LATER */
} NvmeOp;
typedef struct NvmeOps {
    const NvmeOp *v;
    size_t n;
} NvmeOps;
extern const NvmeOps nvme_admin_ops, nvme_io_ops;

/* queue.c */
void nvme_serve(Nvme *n); /* takes what the submission queues hold, as long as there is room for completions */
void nvme_complete(Nvme *n, const NvmeCmd *c, uint16_t status);
bool nvme_room(const Nvme *n, unsigned cqid);
void nvme_parse(NvmeCmd *c, const uint8_t *raw, uint16_t sqid);
void nvme_start(Nvme *n, NvmeCmd *c); /* also for commands of a loaded state */
void nvme_fatal(Nvme *n, const char *why);
void nvme_tail_written(Dev *d, unsigned n, uint64_t val, unsigned lanes);
void nvme_head_written(Dev *d, unsigned n, uint64_t val, unsigned lanes);
bool nvme_asserted(const Nvme *n); /* the pin */
/* data.c: PRPs; a status */
uint16_t nvme_map(Nvme *n, const NvmeCmd *c, uint64_t len, DmaDir dir, DmaSg *sg);
uint16_t nvme_to_guest(Nvme *n, const NvmeCmd *c, const void *buf, uint64_t len);
uint16_t nvme_from_guest(Nvme *n, const NvmeCmd *c, void *buf, uint64_t len);
/* admin.c, log.c, identify.c */
uint16_t nvme_identify(Nvme *n, NvmeCmd *c);
uint16_t nvme_get_log(Nvme *n, NvmeCmd *c);
void nvme_log_error(Nvme *n, const NvmeCmd *c, uint16_t status);
void nvme_event(Nvme *n, unsigned event);
void nvme_tell(Nvme *n); /* events, to the requests that wait for them */
void nvme_features_reset(Nvme *n);
/* io.c */
void nvme_forget(Nvme *n);       /* what is in flight answers nobody; waits for the disks */
void nvme_settle_disks(Nvme *n); /* waits until all that is in flight has been answered */
void nvme_shutdown(Nvme *n);     /* flushes all, then sets CSTS.SHST */
void nvme_save_flying(const Dev *d, struct StateOut *o);
/* ns.c */
bool nvme_ns_open(NvmeNs *ns, Dev *owner, DiskConf *conf /* stays */, Nvme *ctrl, uint32_t nsid, Error **err);
static inline uint64_t nvme_blocks(const NvmeNs *ns) { return disk_size(ns->disk) >> ns->shift; }
Bus *nvme_bus_new(Nvme *n);
#endif
