/*
 * block/image.h - what tools and the monitor do with a whole image besides reading and writing it. Coroutine functions
 * of the node's loop; nothing else may be in flight unless said. `err` says why.
 */
#ifndef BLOCK_IMAGE_H
#define BLOCK_IMAGE_H
#include "block/node.h"

typedef struct BlkFact { /* one line of "Format specific information" */
    const char *key;     /* JSON's spelling, static or interned; inside of others: "extents.0.format"; text has blanks for hyphens */
    char *value;         /* owned */
    bool quoted;         /* a string in JSON, not a number or boolean */
} BlkFact;
typedef struct BlkSnapshot {
    char *id, *name;
    uint64_t vm_state_bytes, disk_bytes;
    uint32_t date_s, date_ns;
    uint64_t vm_clock_ns;
    int64_t icount; /* -1: not known */
} BlkSnapshot;
typedef struct BlkBitmap { /* persistent */
    char *name;
    uint64_t granularity;
    bool in_use, recording;
} BlkBitmap;
typedef struct BlkCheck {
    uint64_t corruptions, leaks, errors, corruptions_fixed, leaks_fixed; /* errors: could not be looked at */
    uint64_t image_end, total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
    GString *lines; /* what was found, a line each, at most CHECK_LINES; owned by the caller */
} BlkCheck;
enum { FIX_LEAKS = 1, FIX_ERRORS = 2, CHECK_LINES = 2000 };
typedef struct BlkMeasure {
    uint64_t required, fully_allocated, bitmaps;
    bool has_bitmaps;
} BlkMeasure;
/* Names the layers below: what the image's header says, NULL: nothing. Borrowed from the node. */
typedef struct BlkNames {
    const char *backing, *backing_format, *data_file;
    uint64_t cluster_size;
    /* must_compress: nothing else can be written; untold: whether it is dirty, as QEMU does not tell it of all */
    bool dirty, corrupt, compressible, encrypted, must_compress, untold;
} BlkNames;
struct BlkImageOps {
    /* "cluster_size=65536", "preallocation", ..; NULL at the end; in the order in which they are told, with "size" at its
     * place; with a value: that is told when none is given. */
    const char *const *create_options;
    /* Makes `filename`: options "size", "backing_file", "backing_fmt" and the format's own. */
    CO_FN bool (*create)(Loop *loop, const char *filename, Opts *o, Error **err);
    bool new_is_noise; /* an image just made does not read as zeros */
    void (*names)(const Node *n, BlkNames *out);
    GPtrArray *(*facts)(const Node *n); /* of BlkFact, what lies together in a row; NULL: none. So with all below. */
    CO_FN int (*check)(Node *n, BlkCheck *out, unsigned fix);
    GPtrArray *(*snapshots)(const Node *n); /* of BlkSnapshot, in order; the caller frees */
    GPtrArray *(*bitmaps)(const Node *n); /* of BlkBitmap; the caller frees */
    /* Every stored bitmap becomes one of the node's (block/dirty.h). Again: nothing. */
    CO_FN int (*bitmaps_load)(Node *n);
    /* Before one of them changes otherwise than by a write: on the disk they are "in use" from now on. */
    CO_FN int (*bitmaps_touch)(Node *n);
    CO_FN bool (*snapshot_create)(Node *n, const char *name, uint32_t now_s, uint32_t now_ns, Error **err);
    CO_FN bool (*snapshot_take)(Node *n, const BlkSnapshot *facts, Error **err); /* .id and .disk_bytes are its own */
    /* The state of a machine: written beside the disk, then kept by snapshot_take, then cleared; read from a snapshot. */
    CO_FN int (*state_write)(Node *n, uint64_t off, const void *buf, uint64_t len);
    CO_FN int (*state_read)(Node *n, const char *id_or_name, uint64_t off, void *buf, uint64_t len);
    CO_FN int (*state_clear)(Node *n);
    CO_FN bool (*snapshot_apply)(Node *n, const char *id_or_name, Error **err);
    CO_FN bool (*snapshot_delete)(Node *n, const char *id_or_name, Error **err);
    /* A node opened read-only shows the snapshot from now on. */
    CO_FN bool (*snapshot_view)(Node *n, const char *id_or_name, Error **err);
    CO_FN bool (*set_backing)(Node *n, const char *file, const char *format, Error **err); /* file NULL: none */
    /* Other options of the image; force: also what loses its data (the last password). */
    CO_FN bool (*amend)(Node *n, Opts *o, bool force, Error **err);
    bool (*measure)(Opts *o, uint64_t size, uint64_t data_bytes, BlkMeasure *out, Error **err);
    /* Empties the image: every cluster is looked up below again (commit). */
    CO_FN int (*make_empty)(Node *n);
};
void blk_snapshots_free(GPtrArray *list);
/* A table of them, as text. id NULL: "--". */
void blk_snapshot_head(GString *out);
void blk_snapshot_row(GString *out, const BlkSnapshot *s);
void blk_bitmaps_free(GPtrArray *list);
void blk_facts_free(GPtrArray *list);
void blk_check_say(BlkCheck *c, const char *fmt, ...) PRINTF(2, 3); /* a line; too many are left out */
void blk_fact(GPtrArray *list, const char *key, char *value, bool quoted); /* adds one; takes value */
struct JVal *blk_facts_tree(const GPtrArray *list); /* an object, with objects and lists in it; the caller frees */
/* The stored bitmaps of an image and of those below it, in memory. */
CO_FN bool blk_bitmaps_load(Node *n, Error **err);
/* Outside of coroutines: run fn(arg) as one of the loop and wait. */
void blk_run(Loop *loop, void (*fn)(void *arg), void *arg);
/* An empty file, made or emptied under the locks of a writer. */
CO_FN bool blk_create_file(Loop *loop, const char *name, uint64_t size, Error **err);
#endif
