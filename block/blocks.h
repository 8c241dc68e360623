/*
 * block/blocks.h - what formats have in common that keep a disk in blocks of one size, found by tables: vdi, vpc, vmdk,
 * vhdx and their like. This file splits requests, gives blocks a place when they are first written, copies what surrounds
 * such a write, reads below, and has tables in memory that reach the disk in order. A driver's state begins with a Blocks;
 * its BlkDriver names the functions here.
 *
 * Invariants
 *  1. `lock` is held to change the tables and for place, link, begin, writeback. map needs none.
 *  2. A block that is being placed is in `placing` until it is linked; who wants to change it waits.
 *  3. Tables change in memory only; writeback() alone writes them, after a sync of the data. What was flushed is whole after
 *     a power cut, because a block's place is never given to another one.
 */
#ifndef BLOCK_BLOCKS_H
#define BLOCK_BLOCKS_H
#include "block/image.h"
#include "block/priv.h"

typedef enum BlockType { BLOCK_NONE, BLOCK_ZERO, BLOCK_DATA, BLOCK_PACKED } BlockType; /* NONE: as below, or zeros */
typedef struct BlockMap {
    BlockType type;
    uint64_t len;  /* bytes alike from the offset asked for; the rest of its block at most, unless they lie in a row */
    Node *file;    /* DATA: where the byte lies; NONE and ZERO: its block has a place though; PACKED: the driver's */
    uint64_t host;
} BlockMap;
typedef struct BlockPlace { /* blocks in a row that get a place */
    uint64_t off, len; /* the guest's bytes; place() may shorten len */
    uint64_t first, count; /* blocks; place() may lower count, not to 0 */
    uint64_t lo, hi;   /* what was written, with what surrounds it */
    Node *file;        /* place(): where block `first` begins */
    uint64_t host;
    bool fresh;        /* place(): the place reads as zeros */
    bool had_place;    /* place() is not called: the block has one, but lacks these units */
    void *waiters;     /* of the engine */
} BlockPlace;
typedef struct BlockOps {
    MUST CO_FN int (*map)(Node *n, uint64_t off, uint64_t len, BlockMap *out); /* len > 0, inside of the disk */
    MUST CO_FN int (*place)(Node *n, BlockPlace *p);
    MUST CO_FN int (*link)(Node *n, const BlockPlace *p); /* the bytes are in the file: the tables say so */
    MUST CO_FN int (*unpack)(Node *n, uint64_t block, const BlockMap *m, void *buf); /* a whole packed block */
    MUST CO_FN int (*write_packed)(Node *n, const BlkReq *r); /* BLK_COMPRESS, takes the lock; NULL: not possible */
    /* The blocks read as zeros from now on, if the tables can say so; else -ENOTSUP. Of BLOCK_NONE with a backing file. */
    MUST CO_FN int (*make_zero)(Node *n, uint64_t block, uint64_t count);
    bool (*may_write)(const Node *n, Error **err); /* could what the tables say hurt? NULL: no */
    MUST CO_FN int (*begin)(Node *n);     /* before the first change since it was opened for writing; or NULL */
    MUST CO_FN int (*writeback)(Node *n); /* what changed of the tables, synced before and after */
    MUST CO_FN int (*end)(Node *n);       /* after the last writeback, if it was begun; or NULL */
} BlockOps;
typedef struct Blocks {
    Node *n;
    const BlockOps *ops;
    uint64_t block, unit; /* bytes, powers of 2: of a block; of the least part that has a state of its own */
    CoLock lock;
    GQueue placing; /* of the engine */
    bool begun, dirty; /* dirty: tables in memory are newer */
    bool alone;        /* this image can have no backing file, though the format can */
} Blocks;

void blocks_init(Node *n, const BlockOps *ops, uint64_t block, uint64_t unit);
/* The file grows and is locked for what we do with it. */
bool blocks_take_file(Node *file, bool readonly, Error **err);
bool blocks_may_write(const Node *n, Error **err); /* at the end of opening: true, too, when it is opened read-only */
/* The functions of a BlkDriver. */
CO_FN int blocks_submit(Node *n, BlkReq *r);
CO_FN void blocks_close(Node *n); /* writes what is left; the driver frees its own afterwards */
CO_FN bool blocks_set_readonly(Node *n, bool readonly, Error **err);
bool blocks_permissions(Node *n, Node *parent, unsigned want, unsigned share, Error **err);
/* For drivers. */
CO_FN int blocks_sync(Node *n); /* every file of the image */
CO_FN int blocks_begin(Node *n); /* lock held: before a change that is not the engine's */
CO_FN int blocks_writeback(Node *n); /* lock held */
CO_FN int blocks_read(Node *n, uint64_t off, void *buf, uint64_t len); /* as the guest sees it; past the end zeros */
/* Room for len bytes at `at`, behind all that is used. *fresh: they read as zeros. */
MUST CO_FN int blocks_extend(Node *file, uint64_t at, uint64_t len, bool *fresh);
/* May these areas of `size` bytes be written without hurting each other or what lies below `lo`? Sorts them. */
bool blocks_apart(uint64_t *at, size_t n, uint64_t size, uint64_t lo);

/* A table of the file in memory, as it lies there, with a bit for each of its sectors that changed. */
typedef struct BlockTable {
    uint8_t *bytes, *dirty;
    uint64_t at, len; /* bytes, in the file */
    unsigned unit;    /* of what is written at once, a power of 2 */
    uint64_t ndirty;
} BlockTable;
/* -ENOMEM, -EFBIG beyond BLOCK_TABLE_MAX, or what reading gave. */
MUST CO_FN int block_table_load(BlockTable *t, Node *file, uint64_t at, uint64_t len, unsigned unit);
void block_table_mark(BlockTable *t, uint64_t off, uint64_t len);
MUST CO_FN int block_table_write(BlockTable *t, Node *file); /* what changed, in runs; not synced */
void block_table_free(BlockTable *t);
#define BLOCK_TABLE_MAX (256 * MiB)

/* Pieces of tables that are too large to be in memory whole, by a key of the driver's. Dirty ones stay. */
typedef struct BlockChunk {
    uint64_t key, at, mirror; /* bytes in the file; of a second copy, 0: none */
    Node *file;
    bool dirty;
    GList link;
    uint8_t bytes[];
} BlockChunk;
typedef struct BlockCache {
    GHashTable *chunks;
    GQueue lru;
    unsigned size, max, ndirty; /* size: bytes of a chunk */
    CoLock loading;
} BlockCache;
void block_cache_init(BlockCache *c, unsigned size, unsigned max);
void block_cache_free(BlockCache *c);
MUST CO_FN int block_cache_get(BlockCache *c, uint64_t key, Node *file, uint64_t at, BlockChunk **out); /* until the next yield */
BlockChunk *block_cache_new(BlockCache *c, uint64_t key, Node *file, uint64_t at); /* zeros; the key is not there yet */
void block_cache_dirty(BlockCache *c, BlockChunk *v);
static inline bool block_cache_is_full(const BlockCache *c) { return c->ndirty > c->max / 2; } /* write it back soon */
MUST CO_FN int block_cache_write(BlockCache *c); /* what is dirty; the lock is held; not synced */

/* A new image's file, open for writing; NULL + err. size: of the disk, checked by the caller. */
CO_FN Node *blocks_new_file(Loop *loop, const char *filename, Error **err);
#endif
