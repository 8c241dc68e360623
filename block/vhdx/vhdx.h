/*
 * block/vhdx/vhdx.h - driver "vhdx", by [MS-VHDX]: two headers, two region tables, a log, metadata items, a table of blocks
 * (BAT) with 64-bit entries, blocks at whole MiB. Fixed and dynamic. Left out: differencing images, as in QEMU.
 *
 * Invariants
 *  1. The BAT changes on the disk only through the log: entry, sync, pages in place, sync. An entry is a sequence of its own
 *     (its tail is itself), because what came before is in place; two in a row never overlap in the log.
 *  2. What an entry points to is on the disk before the entry: data, sync, log.
 *  3. The newer of two valid headers counts; the other one is overwritten. While we write, the header names a log (begin);
 *     end() says that it is empty.
 */
#ifndef BLOCK_VHDX_H
#define BLOCK_VHDX_H
#include "block/blocks.h"

enum { VHDX_HEADER = 4096, VHDX_HEADER1_AT = 64 << 10, VHDX_HEADER2_AT = 128 << 10, VHDX_REGIONS = 64 << 10, VHDX_REGIONS1_AT = 192 << 10,
       VHDX_REGIONS2_AT = 256 << 10, VHDX_REGION_ENTRY = 32, VHDX_METADATA_TABLE = 64 << 10, VHDX_METADATA_ENTRY = 32, VHDX_PAGE = 4096,
       VHDX_GUID = 16, VHDX_SUM_AT = 4, VHDX_UNIT = 1 << 20 };
enum { BAT_NOT_PRESENT, BAT_UNDEFINED, BAT_ZERO, BAT_UNMAPPED, BAT_PRESENT = 6, BAT_PARTIAL = 7, BAT_STATE = 7 };
#define VHDX_SIZE_MAX   (64ull << 40)
#define VHDX_FILE_MAX   (128ull << 40)
#define VHDX_LOG_MAX    (64 * MiB)
#define BAT_OFFSET_MASK (~(uint64_t)0xfffff)

typedef struct VhdxHeader {
    uint64_t sequence, log_version, version, log_len, log_at;
    uint8_t file_write[VHDX_GUID], data_write[VHDX_GUID], log[VHDX_GUID];
} VhdxHeader;
typedef struct VhdxRegion {
    uint64_t at, len;
} VhdxRegion;
typedef enum VhdxGuid { GUID_BAT, GUID_METADATA, GUID_PARAMETERS, GUID_SIZE, GUID_PAGE83, GUID_LOGICAL, GUID_PHYSICAL, GUID_PARENT, GUIDS } VhdxGuid;
typedef struct Vhdx {
    Blocks b;
    VhdxHeader h;
    unsigned slot; /* the header that counts: 0 or 1 */
    VhdxRegion bat_region, metadata_region;
    uint64_t regions_end; /* of all that are no blocks */
    uint64_t block_size, logical, physical, ratio; /* ratio: blocks for each bitmap's entry */
    BlockTable bat;
    uint64_t next;  /* byte where the next block begins */
    uint64_t log_next, log_sequence; /* where in the log, and as what, the next entry goes */
    bool replayed;
} Vhdx;

/* header.c */
extern const uint8_t vhdx__guids[GUIDS][VHDX_GUID];
uint32_t vhdx__sum(const uint8_t *p, size_t n); /* CRC-32C; the field VHDX_SUM_AT counts as zeros */
void vhdx__pack_header(const VhdxHeader *h, uint8_t *p); /* 4 KiB, with the sum */
void vhdx__new_guid(uint8_t *p);
CO_FN bool vhdx__read_headers(Vhdx *s, Error **err);
CO_FN bool vhdx__read_regions(Vhdx *s, Error **err);
CO_FN bool vhdx__read_metadata(Vhdx *s, Error **err);
CO_FN int vhdx__write_header(Vhdx *s); /* s->h, into the other slot; synced */
/* log.c */
static inline bool vhdx__has_log(const Vhdx *s)
{
    static const uint8_t none[VHDX_GUID];

    return memcmp(s->h.log, none, VHDX_GUID);
}
CO_FN bool vhdx__replay(Vhdx *s, Error **err); /* what the log has is put in place; the log is empty then */
CO_FN int vhdx__write_bat(Vhdx *s); /* the pages that changed, by the log */
/* create.c */
extern const char *const vhdx__create_options[];
CO_FN bool vhdx__create(Loop *loop, const char *filename, Opts *o, Error **err);
/* vhdx.c */
static inline uint64_t vhdx__bat_index(const Vhdx *s, uint64_t block) { return block + block / s->ratio; }
static inline uint64_t vhdx__blocks(const Vhdx *s) { return (s->b.n->size + s->block_size - 1) / s->block_size; }
#endif
