/*
 * block/snapset/priv.h - a snapshot set in memory.
 *
 * Invariants
 *  1. What is known of cluster c of an image in snapshot p is p's map: NONE: as in the disk now; ZERO; or a slot of `blocks`.
 *  2. `cur` says the same of the disk itself: the slot that equals it, NONE when it equals none for sure.
 *  3. A cluster of the disk is written only after no snapshot has NONE there, `cur` has NONE there, and both is durable.
 *  4. A slot belongs to one cluster of one image. It is used again only after the record that let it go is durable.
 *  5. The state in memory is what replaying the records gives (apply.c does both), ahead of the disk by `pending`.
 */
#ifndef BLOCK_SNAPSET_PRIV_H
#define BLOCK_SNAPSET_PRIV_H
#include "block/snapset/snapset.h"
#include "core/state.h"

enum { CLUSTER = 64 * KiB, CHUNK = 1024, BATCH = 16 /* clusters copied at once */ };
enum { SLOT_NONE, SLOT_ZERO, SLOT_FIRST }; /* slot n lies at (n - SLOT_FIRST) * CLUSTER */
enum { SNAPS_MAX = 4096, IMAGES_MAX = 256, CLUSTERS_MAX = 1 << 28, ENTRIES_MAX = 1 << 28, RECORD_MAX = 1 << 20 };

typedef struct Map { /* a slot for each cluster, SLOT_NONE unless set; made in pieces when first set */
    uint32_t **chunk;
    uint32_t chunks;
} Map;
uint32_t map_get(const Map *m, uint32_t i);
void map_set(Map *m, uint32_t i, uint32_t v);
void map_copy(Map *to, const Map *from); /* to is empty */
void map_clear(Map *m);
bool map_next(const Map *m, uint32_t *i); /* the first from *i on that is not NONE */

typedef struct Range { /* clusters being saved by somebody */
    uint64_t first, end;
} Range;
typedef struct Image {
    char *name;
    Node *node;        /* NULL: not attached */
    Map cur;
    Map ready;         /* 1: may be written (a cache of invariant 3) */
    bool stale, clean; /* changed by others; the stamp was taken at a proper end */
    SnapStamp stamp;
    GQueue saving;  /* of Range * */
    GQueue waiters; /* of Co * */
} Image;
typedef struct Snap {
    uint32_t id, parent;
    char *tag;
    uint64_t date_ns, vm_clock_ns, state_bytes;
    GArray *parts; /* of Part */
} Snap;
typedef struct Part { /* of one image */
    uint32_t image;
    uint64_t size;
    Map map;
} Part;
struct SnapSet {
    Loop *loop;
    Node *index, *blocks;
    GPtrArray *images, *snaps; /* of Image, Snap */
    uint32_t current, restoring, next_id;
    uint64_t entries;          /* of maps, as read: at most ENTRIES_MAX */
    GArray *refs, *unused;     /* of uint32_t: users of each slot; slots that nobody uses */
    GArray *let_go;            /* of uint32_t: nobody uses them, but that is not durable yet */
    /* log.c */
    uint64_t gen, start, at, high; /* of the log in use; where the next record goes; nothing was ever written past it */
    bool renew;                /* a new generation was begun and did not succeed: the next commit tries again */
    uint32_t chain;            /* checksum of the last record made */
    GByteArray *pending;       /* records not written yet */
    uint64_t made, durable;    /* records since we opened */
    CoLock commit;
    uint64_t alive_ns;         /* real time, last told to the index */
    uint64_t found_alive_ns;   /* as found when it was opened */
    uint32_t found_boot;
};

/* log.c */
enum { R_IMAGE = 1, R_SNAP, R_BARE, R_MAP, R_KEEP, R_DIRTY, R_DELETE, R_RESTORE, R_RESTORED, R_STAMP, R_HEAD, R_MOVED, R_KINDS };
CO_FN bool set__log_open(SnapSet *s, Error **err);
void set__record(SnapSet *s, uint8_t kind, const GByteArray *payload); /* applies it, too */
CO_FN int set__commit(SnapSet *s); /* all records made so far are durable */
CO_FN int set__compact(SnapSet *s);
CO_FN int set__alive(SnapSet *s);
uint32_t set__boot(void);
/* apply.c */
bool set__apply(SnapSet *s, uint8_t kind, StateIn *in); /* false: it makes no sense */
void set__dump(SnapSet *s, void (*put)(SnapSet *s, uint8_t kind, const GByteArray *payload)); /* as records */
Image *set__image(const SnapSet *s, uint32_t i);
Snap *set__snap(const SnapSet *s, uint32_t id);
Part *set__part(const Snap *p, uint32_t image);
bool set__wanted(const SnapSet *s, uint32_t image, uint32_t c); /* a snapshot has NONE there */
void set__count(SnapSet *s); /* refs and unused anew */
static inline uint32_t clusters_of(uint64_t bytes) { return (uint32_t)MIN((bytes + CLUSTER - 1) / CLUSTER, CLUSTERS_MAX); }
/* keep.c */
CO_FN int set__keep(SnapSet *s, uint32_t image, const uint32_t *list, unsigned n); /* saves old contents; makes the record */
#endif
