/*
 * block/vpc/vpc.h - driver "vpc": VHD images of Virtual PC, Hyper-V and Azure, by the "Virtual Hard Disk Image Format
 * Specification" 1.0. Fixed, dynamic and differencing. All numbers are big-endian.
 *
 * A dynamic file: copy of the footer, header, table of blocks (sector numbers), then blocks, each a bitmap of its sectors
 * and their bytes; the footer at the end. Invariants
 *  1. The bitmap says what a differencing image has of a block; what is clear is the parent's. Of a dynamic image only
 *     whether the block has a place counts, as for QEMU; a block that we write to has all its bits set, for others to see.
 *  2. writeback(): data, sync, bitmaps and footer, sync, table, sync.
 */
#ifndef BLOCK_VPC_H
#define BLOCK_VPC_H
#include "block/blocks.h"

enum { VPC_FOOTER = 512, VPC_HEADER = 1024, VPC_HEADER_AT = 512, VPC_TABLE_AT = 1536, VPC_BLOCK = 2 << 20, VPC_LOCATORS = 8,
       VPC_FIXED = 2, VPC_DYNAMIC = 3, VPC_DIFF = 4, VPC_ID_AT = 68, VPC_ID = 16, VPC_PARENT_ID_AT = 40, VPC_PARENT_NAME_AT = 64,
       VPC_PARENT_NAME = 512, VPC_LOCATORS_AT = 576, VPC_LOCATOR = 24, VPC_SUM_AT = 64, VPC_HEADER_SUM_AT = 36 };
#define VPC_NONE 0xffffffffu
#define VPC_SIZE_MAX (2040 * GiB)

typedef struct VpcFooter {
    uint64_t features, version, data_at, timestamp, creator, creator_version, creator_os, original_size, size, cylinders, heads,
        sectors, type, checksum;
} VpcFooter;
typedef struct VpcHeader {
    uint64_t data_at, table_at, version, entries, block_size, checksum, parent_time;
} VpcHeader;
typedef struct Vpc {
    Blocks b;
    VpcFooter f;
    VpcHeader h;
    uint8_t footer[VPC_FOOTER], header[VPC_HEADER];
    BlockTable table;
    uint64_t bitmap_bytes, tables_end, next; /* next: byte where the next block begins */
    bool footer_moved;
    char *parent;
    /* bitmap.c */
    BlockCache bits; /* by block */
    uint8_t *full; /* dynamic: a bit per block whose bitmap is known to be all ones */
} Vpc;

/* vpc.c */
void vpc__unpack_footer(VpcFooter *f, const uint8_t *p);
void vpc__pack_footer(const VpcFooter *f, uint8_t *p); /* with the cookie and the sum; what else is in p stays */
void vpc__pack_header(const VpcHeader *h, uint8_t *p);
uint32_t vpc__sum(const uint8_t *p, size_t n, size_t sum_at);
static inline uint32_t vpc__entry(const Vpc *s, uint64_t block) { return be32_load(s->table.bytes + block * 4); }
static inline uint64_t vpc__bits_at(const Vpc *s, uint64_t block) { return vpc__entry(s, block) * 512ull; }
/* bitmap.c; b.lock held but for get, make_full */
void vpc__bits_init(Vpc *s);
void vpc__bits_free(Vpc *s);
MUST CO_FN int vpc__bits_get(Vpc *s, uint64_t block, BlockChunk **out); /* valid until the next yield */
MUST CO_FN int vpc__bits_set(Vpc *s, uint64_t block, uint64_t lo, uint64_t hi); /* bytes in the block */
void vpc__bits_new(Vpc *s, uint64_t block); /* dynamic: all ones */
MUST CO_FN int vpc__make_full(Vpc *s, uint64_t off, uint64_t len);
/* parent.c */
CO_FN bool vpc__read_parent(Vpc *s, Error **err); /* s->parent, by the locators */
bool vpc__parent_fits(const Vpc *s, Error **err);
/* The header's part about it and the locator's data, at `data_at`. False: the name cannot be said. */
bool vpc__write_parent(uint8_t *header, uint8_t *data, uint64_t data_at, const char *name, const Node *parent, Error **err);
/* create.c */
extern const char *const vpc__create_options[];
CO_FN bool vpc__create(Loop *loop, const char *filename, Opts *o, Error **err);
#endif
