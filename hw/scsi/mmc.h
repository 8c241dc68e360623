/*
 * hw/scsi/mmc.h - the commands of CD and DVD-ROM drives, for all kinds of drive: ATAPI (hw/ide/atapi.c) and scsi-cd (cd.c). A command is
 * answered by a value; whoever asked moves the data. Source: MMC-5, SFF-8020i, SPC-3. VM lock.
 */
#ifndef HW_SCSI_MMC_H
#define HW_SCSI_MMC_H
#include "block/disk.h"
#include "core/dev.h"

enum { CD_SECTOR = 2048, CD_RAW_SECTOR = 2352, MMC_REPLY_MAX = 96 };
typedef struct MmcDrive {
    uint8_t event; /* of the medium, for who polls: 1 eject request, 2 new, 3 gone */
    bool locked;   /* PREVENT ALLOW MEDIUM REMOVAL */
} MmcDrive;
extern const FieldTable mmc_fields; /* of an MmcDrive; reset keeps the event */
typedef enum MmcKind { MMC_GOOD, MMC_BAD, MMC_REPLY, MMC_TAKE /* takes `len` bytes and forgets them */, MMC_READ } MmcKind;
typedef struct MmcAnswer {
    MmcKind kind;
    uint8_t key;       /* MMC_BAD: sense key, code and qualifier */
    uint16_t code;
    bool medium_came;  /* the tray went in with a medium: a unit attention */
    uint32_t len;      /* MMC_REPLY: as much as there is and the initiator wants; may be 0 */
    uint8_t reply[MMC_REPLY_MAX];
    uint64_t lba;      /* MMC_READ: sectors that exist, each as sector_size bytes (CD_SECTOR, CD_RAW_SECTOR) */
    uint32_t count, sector_size;
} MmcAnswer;
bool mmc_knows(uint8_t code);    /* INQUIRY and REQUEST SENSE are the owner's */
bool mmc_any_time(uint8_t code); /* even with a unit attention */
void mmc_command(MmcDrive *m, Disk *disk, const uint8_t *cdb, MmcAnswer *a);
/* n sectors of data as they lie on the disc, with sync and header; EDC and ECC are not made and stay 0. The caller frees. */
uint8_t *mmc_raw_sectors(uint64_t lba, const uint8_t *data, uint32_t n);
/* DiskOps: the user changed the medium, or wants it out. */
void mmc_medium(MmcDrive *m, bool present);
bool mmc_may_eject(MmcDrive *m, bool force);
static inline bool mmc_has_medium(const Disk *d) { return disk_present(d) && !disk_tray_open(d); }
#endif
