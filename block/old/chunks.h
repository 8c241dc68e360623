/*
 * block/old/chunks.h - what read-only formats of packed chunks share: a list of them, sorted by their place on the disk;
 * the one unpacked last is kept. Between chunks there are zeros.
 */
#ifndef BLOCK_OLD_CHUNKS_H
#define BLOCK_OLD_CHUNKS_H
#include "block/image.h"
#include "block/priv.h"

enum { CHUNK_MAX = 64 << 20 /* bytes of a packed one, packed or not */, CHUNKS_MAX = 4 << 20 };
typedef enum ChunkKind { CHUNK_ZERO, CHUNK_RAW, CHUNK_ZLIB, CHUNK_BZIP2, CHUNK_LZFSE, CHUNK_ADC } ChunkKind;
typedef struct Chunk {
    uint64_t off, len, at, packed; /* bytes: on the disk; in the file */
    ChunkKind kind;
} Chunk;
typedef struct Chunks {
    Node *n;
    GArray *list; /* of Chunk */
    CoLock lock;  /* of what is kept */
    uint8_t *bytes;
    guint kept; /* index plus 1; 0: nothing */
} Chunks;
void chunks_init(Chunks *c, Node *n);
/* Sorts and checks: none overlaps another one or lies behind the file's end; those that cannot be unpacked are named. */
bool chunks_ready(Chunks *c, Error **err);
void chunks_free(Chunks *c);
CO_FN int chunks_submit(Chunks *c, BlkReq *r);
/* bzip2.c or bzip2-none.c */
extern const bool chunks_have_bzip2;
bool chunks_bzip2(const void *in, size_t n, void *out, size_t want);
#endif
