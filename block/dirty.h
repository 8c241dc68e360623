/*
 * block/dirty.h - dirty bitmaps of a node: which granules were written since a bitmap was made or cleared. Kept up by
 * blk_submit; persistent ones are read and stored by the format (block/image.h). Loop's thread only; no function yields.
 */
#ifndef BLOCK_DIRTY_H
#define BLOCK_DIRTY_H
#include "block/node.h"

typedef struct DirtyBitmap {
    Node *n;
    char *name;       /* NULL: a job's own */
    unsigned shift;   /* granularity: 1 << shift bytes */
    uint64_t nbits, count; /* count: bits set */
    uint64_t *bits;
    bool disabled;    /* does not record */
    bool persistent;  /* stored in the image when it is closed */
    bool inconsistent; /* the image was not closed properly: useless but for removal */
    unsigned busy;    /* users (jobs, exports) that must not be disturbed */
} DirtyBitmap;
enum { DIRTY_NAME_MAX = 1023, DIRTY_SHIFT_MIN = 9, DIRTY_SHIFT_MAX = 31 };
/* granularity 0: the format's cluster, 4 KiB to 64 KiB. Owned by the node: NULL and err for a name in use or a bad size. */
DirtyBitmap *dirty_new(Node *n, const char *name, uint64_t granularity, Error **err);
void dirty_free(DirtyBitmap *b);
DirtyBitmap *dirty_find(const Node *n, const char *name);
void dirty_set(DirtyBitmap *b, uint64_t off, uint64_t len);
void dirty_reset(DirtyBitmap *b, uint64_t off, uint64_t len); /* every granule that is touched */
void dirty_merge(DirtyBitmap *into, const DirtyBitmap *from); /* granularities may differ */
bool dirty_get(const DirtyBitmap *b, uint64_t off);
uint64_t dirty_next(const DirtyBitmap *b, uint64_t off);      /* the first dirty granule's byte from off on; UINT64_MAX: none */
/* Bytes from off, at most len, that are alike; *dirty: how. */
uint64_t dirty_run(const DirtyBitmap *b, uint64_t off, uint64_t len, bool *dirty);
static inline uint64_t dirty_granularity(const DirtyBitmap *b) { return 1ull << b->shift; }
/* What node.c calls: bytes changed; the node has a new size; it goes. */
void dirty__written(Node *n, uint64_t off, uint64_t len);
void dirty__resized(Node *n);
void dirty__closed(Node *n);
#endif
