/*
 * hw/ide/ata.h - an ATA/ATAPI drive as its host adapter (legacy channel, AHCI port) sees it. One command at
 * a time: ata_exec starts it; it asks for data phases through AtaHost.ready and ends with phase ATA_IDLE.
 * VM lock held; the adapter is entered around every call back (IdeBus.bus.controller).
 */
#ifndef HW_IDE_ATA_H
#define HW_IDE_ATA_H
#include "block/disk.h"
#include "core/state.h"
#include "core/vm.h"
#include "hw/scsi/mmc.h"

typedef struct Ata Ata;
typedef struct IdeBus IdeBus;
enum { ATA_ERR = 0x01, ATA_DRQ = 0x08, ATA_DSC = 0x10, ATA_DF = 0x20, ATA_DRDY = 0x40, ATA_BSY = 0x80 };
enum { ATA_ABRT = 0x04, ATA_IDNF = 0x10, ATA_UNC = 0x40 };
enum { ATA_LBA = 0x40, ATA_DEV = 0x10 };
enum { ATAPI_CD = 1, ATAPI_IO = 2 }; /* interrupt reason, in the count register */
enum { ATA_SECTOR = 512, ATA_CHUNK = 128 * 1024 };
typedef enum AtaPhase { ATA_IDLE, ATA_WAIT, ATA_IN, ATA_OUT } AtaPhase; /* WAIT: on the disk. IN: to the host */
typedef enum AtaStep { /* what follows the disk request or the data phase */
    STEP_DONE, STEP_READ, STEP_NEXT, STEP_WRITE, STEP_WROTE, STEP_PACKET, STEP_PACKET_DONE, STEP_CD_READ, STEP_CD_NEXT,
    STEP_TRIM, STEP_MODE_SELECT, STEPS
} AtaStep;

typedef struct AtaHost {
    void (*ready)(IdeBus *b, Ata *a); /* a phase began: IN or OUT with data at buf[pos..block), or IDLE */
    unsigned queue; /* commands that it queues (NCQ), or 0 */
} AtaHost;
struct IdeBus {
    Bus bus; /* "ide.N", type "ide" */
    Ata *drv[2];
    const AtaHost *host;
    unsigned n; /* of the adapter's buses */
};
typedef struct AtaRegs { /* the task file; index 1 holds what was written before (LBA48) */
    uint8_t feature[2], count[2], lba[3][2];
    uint8_t device;
} AtaRegs;
struct Ata {
    Dev dev;
    /* properties */
    Disk *disk;
    DiskConf conf;
    char *serial, *model, *version;
    uint64_t wwn;
    int32_t unit, bootindex;
    struct AtaIo *io; /* the request in flight, or NULL */
    bool cd;
    /* state */
    AtaRegs r;
    uint8_t status, error, command, phase, step;
    bool intrq, dma, lba48, no_irq;
    uint8_t multiple, transfer_mode, power;
    bool write_cache, read_ahead, smart, packet_dma;
    uint64_t lba;
    uint32_t left, sectors; /* still to move; in buf now */
    uint8_t *buf;
    uint32_t len, pos, block; /* of buf; done; end of the present DRQ block */
    uint8_t io_op; /* BlkOp + 1 of the request in flight, 0: none */
    uint64_t io_off, io_len;
    /* NCQ, which the adapter serves */
    uint8_t ncq_log[14]; /* head of log page 10h: the last error */
    bool halted;         /* from an error of a queued command until that log is read */
    /* ATAPI */
    uint8_t cdb[12], sense, asc, ascq;
    MmcDrive mmc;
    bool attention;
    uint16_t sector_size;
};
#define ATA(d) ((Ata *)(void *)(d))

IdeBus *ide_bus_new(Dev *adapter, unsigned n, unsigned units, const AtaHost *host);
/* The guest wrote the command register. Ignored while a command runs. */
void ata_exec(Ata *a, uint8_t command);
/* The host adapter moved buf[pos..block). */
void ata_moved(Ata *a);
void ata_reset(Ata *a, bool diagnose); /* SRST, COMRESET: waits for the disk */
static inline uint64_t ata_sectors(const Ata *a) { return disk_size(a->disk) / ATA_SECTOR; }

/* ---- between ata.c, ata-cmd.c, ata-id.c and atapi.c ---- */
void ata_end(Ata *a); /* idle with the status and error set before */
void ata_done(Ata *a);
void ata_fail(Ata *a, uint8_t error);
void ata_signature(Ata *a);
void ata_offer(Ata *a, uint8_t *data, uint32_t len, AtaStep then); /* takes data */
void ata_ask(Ata *a, uint32_t len, AtaStep then);
void ata_io(Ata *a, BlkOp op, uint64_t off, uint64_t len, AtaStep then);
void ata_step(Ata *a, AtaStep step, int ret);
bool ata_command(Ata *a); /* false: not one of this drive's */
void ata_identify(Ata *a, uint8_t *id);
bool ata_smart(Ata *a);
void ata_checksum(uint8_t *page); /* byte 511 makes the sum of all 0 */
uint32_t ata_block_size(const Ata *a);
uint64_t ata_lba48(const Ata *a);
void ata_set_lba48(Ata *a, uint64_t lba);
void atapi_step(Ata *a, AtaStep step, int ret);
void atapi_begin(Ata *a);
void atapi_set_limits(Ata *a);
void ata_rw_step(Ata *a, AtaStep step, int ret);
#endif
