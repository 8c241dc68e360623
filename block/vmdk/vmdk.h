/*
 * block/vmdk/vmdk.h - driver "vmdk", by VMware's "Virtual Disk Format 5.0" technical note. A text, the descriptor, lists
 * extents: flat files, sparse files, or the very file that the text is embedded in. A sparse extent has two levels of tables
 * with 32-bit sector numbers, the grain directory and grain tables, most often twice; streamOptimized ones have their grains
 * compressed. Read and written: monolithicSparse and -Flat, twoGbMaxExtentSparse and -Flat, streamOptimized (packed writes
 * to grains that are new), with parents. Left out: COWD (vmfsSparse), seSparse, raw devices.
 *
 * writeback(): data, sync, grain tables, (sync, directories,) sync.
 */
#ifndef BLOCK_VMDK_H
#define BLOCK_VMDK_H
#include "block/blocks.h"

enum { SECTOR = 512, VMDK_HEAD = 512, VMDK_NEWLINES = 1, VMDK_TWICE = 2, VMDK_ZEROED = 4, VMDK_PACKED = 1 << 16, VMDK_MARKERS = 1 << 17,
       VMDK_DESCRIPTOR_MAX = 1 << 20, VMDK_EXTENTS_MAX = 4096, VMDK_GRAIN = 128, VMDK_GTES = 512, VMDK_ZERO_GTE = 1, VMDK_MARKER = 12 };
#define VMDK_MAGIC     "KDMV"
#define VMDK_AT_END    UINT64_MAX
#define VMDK_NO_PARENT 0xffffffffu

typedef struct VmdkHeader { /* sectors */
    uint64_t version, flags, capacity, grain, descriptor_at, descriptor_len, gtes, redundant_at, directory_at, overhead, unclean,
        newlines, compression;
} VmdkHeader;
typedef enum ExtentKind { EXTENT_FLAT, EXTENT_SPARSE, EXTENT_ZERO } ExtentKind;
typedef struct Extent {
    ExtentKind kind;
    unsigned index;
    const char *type; /* as the descriptor spells it; "" for the embedded one */
    Node *file;       /* the image's own file or one of n->extents */
    uint64_t start, size, flat_at; /* bytes of the disk; where they begin in a flat file */
    /* sparse */
    VmdkHeader h;
    uint64_t next; /* byte where the next grain begins */
    BlockTable directory, redundant; /* redundant: len 0 without */
    bool packed, zeroed, ends_in_footer, only_read;
} Extent;
typedef struct Vmdk {
    Blocks b;
    char *text; /* the descriptor */
    uint64_t text_at, text_room; /* where it is in n->file; room 0: the file is nothing else */
    char *create_type, *parent;
    uint32_t cid, parent_cid;
    GPtrArray *extents; /* of Extent, in order of start */
    BlockCache tables;  /* grain tables, by extent and index */
} Vmdk;

/* descriptor.c */
CO_FN bool vmdk__read_descriptor(Vmdk *s, uint64_t at, uint64_t room, Error **err); /* s->text and what it says but for extents */
CO_FN bool vmdk__open_extents(Vmdk *s, Error **err); /* those of the text */
CO_FN int vmdk__new_cid(Vmdk *s);
/* extent.c */
void vmdk__unpack_header(VmdkHeader *h, const uint8_t *p);
void vmdk__pack_header(const VmdkHeader *h, uint8_t *p);
CO_FN bool vmdk__open_sparse(Vmdk *s, Extent *e, Error **err); /* e->file and e->start are set */
void vmdk__extent_free(gpointer extent);
Extent *vmdk__extent_at(const Vmdk *s, uint64_t off);
static inline uint64_t vmdk__grain(const Extent *e) { return e->h.grain * SECTOR; }
/* The table of grain `g` of the extent; make: it is made. *out NULL: none. Until the next yield. */
MUST CO_FN int vmdk__table(Vmdk *s, Extent *e, uint64_t g, bool make, BlockChunk **out);
static inline uint32_t vmdk__gte(const Extent *e, const BlockChunk *t, uint64_t g) { return le32_load(t->bytes + g % e->h.gtes * 4); }
MUST CO_FN int vmdk__set_gte(Vmdk *s, Extent *e, uint64_t g, uint32_t v); /* lock held */
CO_FN int vmdk__check(Node *n, BlkCheck *c, unsigned fix);
/* packed.c */
MUST CO_FN int vmdk__unpack(Node *n, uint64_t block, const BlockMap *m, void *buf);
MUST CO_FN int vmdk__write_packed(Node *n, const BlkReq *r); /* the lock is not held */
/* vmdk.c, create.c */
extern const BlockOps vmdk__ops;
extern const char *const vmdk__create_options[];
CO_FN bool vmdk__create(Loop *loop, const char *filename, Opts *o, Error **err);
#endif
