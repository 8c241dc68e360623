/*
 * block/qcow2/qcow2.h - a qcow2 image in memory. All of one node's state lives here; everything runs on the node's loop
 * in coroutines. Clusters and tables are those of the format's description (docs/internals/qcow2.md has the picture).
 *
 * Invariants
 *  1. `lock` is held to change any metadata; reads of what is in memory need no lock, because they do not yield.
 *  2. A metadata pointer reaches the disk after what it points to: data and refcounts, sync, (refcount table, sync,)
 *     L2, sync, L1. Only writeback() writes L2 and L1.
 *  3. A refcount falls, and its cluster is used again, only after no pointer on the disk leads there (`frees`) and no
 *     request that began before is under way (epochs).
 *  4. A guest cluster that is being allocated is in `allocs` until its L2 entry is set; who wants to change it waits.
 */
#ifndef BLOCK_QCOW2_H
#define BLOCK_QCOW2_H
#include "block/crypt/luks.h"
#include "block/image.h"
#include "block/priv.h"


enum { /* the format's bits */
       INCOMPAT_DIRTY = 1, INCOMPAT_CORRUPT = 2, INCOMPAT_DATA_FILE = 4, INCOMPAT_COMPRESSION = 8, INCOMPAT_EXT_L2 = 16,
       COMPAT_LAZY = 1, AUTOCLEAR_BITMAPS = 1, AUTOCLEAR_DATA_RAW = 2 };
#define QCOW2_MAGIC    0x514649fbu
#define OFLAG_COPIED   (1ull << 63)
#define OFLAG_PACKED   (1ull << 62)
#define OFLAG_ZERO     1ull
#define OFFSET_MASK    0x00fffffffffffe00ull
#define HOST_MAX       (1ull << 56)
enum { /* what a hostile file may ask for at most */
       L1_MAX = 4 << 20, REFTABLE_MAX = 1 << 20, SNAPSHOTS_MAX = 65536, NAME_MAX_LEN = 1023,
       EXT_BACKING_FORMAT = (int)0xe2792aca, EXT_FEATURES = 0x6803f857, EXT_BITMAPS = 0x23852875, EXT_CRYPTO = 0x0537be77,
       EXT_DATA_FILE = 0x44415441 };
#define SNAPSHOT_TABLE_MAX (64 * MiB)

typedef struct Header { /* header.c has the table of where each lies */
    uint64_t magic, version, backing_offset, backing_len, cluster_bits, size, crypt, l1_len, l1_at, reftable_at,
        reftable_clusters, nsnapshots, snapshots_at, incompatible, compatible, autoclear, refcount_order, header_len,
        compression;
} Header;
typedef struct Extension { /* kept as they are unless we know better */
    uint32_t type, len;
    uint8_t *data;
} Extension;
typedef enum SliceKind { SLICE_REF, SLICE_L2 } SliceKind;
typedef struct Slice { /* a part of a refcount block or L2 table */
    uint64_t at;
    SliceKind kind;
    bool dirty;
    GList link;
    uint8_t data[];
} Slice;
typedef struct Free { /* references that go once the tables on disk do without them */
    uint64_t first, count; /* host clusters */
    uint32_t epoch;
    bool discard;
} Free;
typedef struct Alloc { /* guest clusters being allocated */
    uint64_t first, end;
    GQueue waiters;
    GList link;
} Alloc;
typedef struct Snapshot {
    BlkSnapshot facts;
    uint64_t l1_at;
    uint32_t l1_len;
    uint8_t *extra; /* the extra data, whole */
    uint32_t extra_len;
} Snapshot;
typedef struct Qcow2 {
    Node *n;
    Header h;
    uint8_t *raw_head; /* as read or written last, h.header_len bytes: fields that we do not know stay */
    unsigned cluster_bits, l2_bits, l2_entry, nsub, sub_bits, refblock_bits, refcount_bits;
    uint64_t cluster, refcount_max;
    uint64_t *l1, *reftable; /* host order; h.l1_len; reftable_len */
    uint64_t reftable_len;
    GArray *l1_dirty, *reftable_dirty; /* indices whose entry on disk is old */
    GPtrArray *snapshots, *extensions, *bitmaps; /* of Snapshot, Extension, Bitmap */
    char *backing, *backing_format, *data_file;
    CoLock lock;
    /* cache.c */
    GHashTable *slices;
    GQueue lru;
    unsigned slice, slices_max, dirty[2];
    bool writing_back, unsynced;
    /* refcount.c */
    uint64_t free_guess, packed_at; /* cluster; byte where the next packed cluster may begin, 0: none */
    GArray *frees;
    uint32_t epoch;
    unsigned active[2]; /* requests of this and the last epoch */
    uint8_t *near_meta; /* a bit per hash of each metadata cluster: no bit, no overlap */
    bool lazy, dirty_marked, corrupt, data_raw, opened, for_check, recording;
    Luks *luks;       /* encrypt.c; NULL: none */
    Sectors *sectors; /* the same; NULL: not encrypted, or no key is known */
    GQueue allocs;
    bool exclusive;
    unsigned users;
    GQueue gate; /* waiting for the exclusive one to end, or for the users to */
} Qcow2;

/* bitmap.c */
CO_FN bool qcow2__bitmaps_read(Qcow2 *s, Error **err);
CO_FN int qcow2__bitmaps_start(Qcow2 *s); /* before the first change of the guest's bytes */
void qcow2__bitmaps_set(Qcow2 *s, uint64_t off, uint64_t len);
CO_FN int qcow2__bitmaps_store(Qcow2 *s);
CO_FN int qcow2__bitmaps_load(Node *n);
CO_FN int qcow2__bitmaps_touch(Node *n);
GPtrArray *qcow2__bitmap_list(const Node *n);

/* header.c */
CO_FN bool qcow2__read_header(Qcow2 *s, Error **err);
CO_FN int qcow2__write_header(Qcow2 *s); /* the whole first cluster, synced */
CO_FN int qcow2__set_incompatible(Qcow2 *s, uint64_t set, uint64_t clear); /* at once, synced */
void qcow2__geometry(Qcow2 *s); /* what follows from the header */
bool qcow2__set_string(char **at, const char *v);
Extension *qcow2__extension(const Qcow2 *s, uint32_t type);
int qcow2__build_header(Qcow2 *s, uint8_t *cluster); /* into `cluster`, zeroed; -ENOSPC when it does not fit */

/* cache.c; lock held but for peek */
Slice *qcow2__peek(Qcow2 *s, uint64_t at);
MUST CO_FN int qcow2__get(Qcow2 *s, uint64_t at, SliceKind kind, Slice **out);
void qcow2__dirty(Qcow2 *s, Slice *e);
void qcow2__forget(Qcow2 *s, uint64_t at, uint64_t len); /* what was there is no table any more */
CO_FN int qcow2__write_slices(Qcow2 *s, SliceKind kind);
CO_FN int qcow2__writeback(Qcow2 *s); /* all of it, in invariant 2's order, then what may be freed */
void qcow2__cache_free(Qcow2 *s);

/* refcount.c; lock held */
MUST CO_FN int qcow2__refcount(Qcow2 *s, uint64_t cluster, uint64_t *out);
uint64_t qcow2__refcount_in(const Qcow2 *s, const uint8_t *block, uint64_t i);
void qcow2__refcount_put(const Qcow2 *s, uint8_t *block, uint64_t i, uint64_t v);
MUST CO_FN int qcow2__add_refs(Qcow2 *s, uint64_t first, uint64_t count, int add);
/* At least one and at most `count` clusters in a row, each with one reference; whole: all or ENOSPC. */
MUST CO_FN int qcow2__alloc(Qcow2 *s, uint64_t count, bool whole, uint64_t *at, uint64_t *got);
MUST CO_FN int qcow2__alloc_bytes(Qcow2 *s, uint64_t len, uint64_t *at); /* for packed clusters */
void qcow2__free_later(Qcow2 *s, uint64_t at, uint64_t bytes, bool discard);
CO_FN int qcow2__apply_frees(Qcow2 *s, GArray *frees);
CO_FN int qcow2__free_now(Qcow2 *s, uint64_t at, uint64_t bytes); /* nothing on disk ever led there */
void qcow2__note_meta(Qcow2 *s, uint64_t at, uint64_t len);
bool qcow2__hits_meta(Qcow2 *s, uint64_t at, uint64_t len); /* and then sets the corrupt bit's request */
CO_FN int qcow2__corrupt(Qcow2 *s, const char *fmt, ...) PRINTF(2, 3); /* -EIO; marks the image */
CO_FN int qcow2__mark_dirty(Qcow2 *s); /* lazy refcounts: before the first change */

/* map.c */
typedef enum MapType { MAP_NONE, MAP_ZERO, MAP_DATA, MAP_PACKED } MapType;
typedef struct Entry { /* an L2 entry; bits: alloc mask low, zero mask high, made up without extended L2 */
    uint64_t desc, bits;
} Entry;
typedef struct Map {
    MapType type;
    uint64_t len, host; /* bytes alike from the offset asked for; where (DATA; ZERO with a host cluster: has_host) */
    bool has_host, copied;
    Entry entry; /* of the first cluster */
} Map;
Entry qcow2__entry(const Qcow2 *s, const uint8_t *table, uint64_t i);
void qcow2__entry_put(const Qcow2 *s, uint8_t *table, uint64_t i, Entry e);
bool qcow2__has_host(const Qcow2 *s, Entry e);
MapType qcow2__sub_type(const Qcow2 *s, Entry e, unsigned sub);
void qcow2__packed_place(const Qcow2 *s, uint64_t desc, uint64_t *at, uint64_t *len);
uint64_t qcow2__packed_desc(const Qcow2 *s, uint64_t at, uint64_t len);
MUST CO_FN int qcow2__map(Qcow2 *s, uint64_t off, uint64_t len, bool locked, Map *out);
/* The slice with the entry of guest offset `off`; make: the table is made or copied so that it may be changed. *out
 * NULL without make when there is no table. */
MUST CO_FN int qcow2__l2(Qcow2 *s, uint64_t off, bool make, Slice **out, uint64_t *index);
void qcow2__release_entry(Qcow2 *s, Entry e, bool discard); /* its clusters lose a reference, later */
static inline uint64_t l2_covers(const Qcow2 *s) { return s->cluster << s->l2_bits; }
static inline uint64_t slice_entries(const Qcow2 *s) { return s->slice / s->l2_entry; }

/* io.c, write.c, packed.c, zero.c */
CO_FN int qcow2__read(Qcow2 *s, BlkReq *r);
CO_FN int qcow2__read_guest(Qcow2 *s, uint64_t off, void *buf, uint64_t len);
CO_FN int qcow2__write(Qcow2 *s, BlkReq *r);
CO_FN int qcow2__write_packed(Qcow2 *s, BlkReq *r);
CO_FN int qcow2__read_packed(Qcow2 *s, uint64_t desc, void *cluster);
CO_FN int qcow2__zero(Qcow2 *s, const BlkReq *r);
CO_FN int qcow2__discard(Qcow2 *s, const BlkReq *r);
CO_FN int qcow2__flush(Qcow2 *s);
CO_FN bool qcow2__wait_allocs(Qcow2 *s, uint64_t first, uint64_t end); /* lock held; true: waited, look again */
CO_FN void qcow2__alloc_begin(Qcow2 *s, Alloc *a, uint64_t first, uint64_t end);
void qcow2__alloc_end(Qcow2 *s, Alloc *a);
Node *qcow2__data(const Qcow2 *s);
enum { DROP_ZERO, DROP_KEEP, DROP_BELOW }; /* becomes zero; zero with its cluster kept; looked up in the backing file */
CO_FN int qcow2__drop(Qcow2 *s, uint64_t off, uint64_t len, int how, bool discard); /* whole subclusters; lock held */
/* The gate between requests and what wants the image for itself. */
CO_FN void qcow2__enter(Qcow2 *s);
void qcow2__leave(Qcow2 *s);
CO_FN void qcow2__exclusive(Qcow2 *s);
void qcow2__exclusive_end(Qcow2 *s);
uint32_t qcow2__epoch_enter(Qcow2 *s);
void qcow2__epoch_leave(Qcow2 *s, uint32_t epoch);

/* encrypt.c; host and guest: where the bytes are in the file and on the disk. -EPERM: no key was given */
CO_FN bool qcow2__crypt_open(Qcow2 *s, Opts *o, Error **err);
void qcow2__crypt_close(Qcow2 *s);
uint64_t qcow2__crypt_bytes(const Qcow2 *s, uint64_t *at); /* of the header with the keys; 0: none */
MUST CO_FN int qcow2__crypt_read(Qcow2 *s, uint64_t host, uint64_t guest, const struct iovec *iov, int niov, uint64_t len);
MUST CO_FN int qcow2__crypt_write(Qcow2 *s, uint64_t host, uint64_t guest, const struct iovec *iov, int niov, uint64_t len);
CO_FN bool qcow2__crypt_make(Qcow2 *s, const LuksWish *w, Error **err); /* a new image, still empty; lock held */
void qcow2__crypt_facts(const Qcow2 *s, GPtrArray *out);
/* snapshot.c, check.c, resize.c, create.c */
CO_FN bool qcow2__read_snapshots(Qcow2 *s, Error **err);
void qcow2__snapshot_free(gpointer p);
GPtrArray *qcow2__snapshot_list(const Node *n);
CO_FN bool qcow2__snapshot_create(Node *n, const char *name, uint32_t now_s, uint32_t now_ns, Error **err);
CO_FN bool qcow2__snapshot_take(Node *n, const BlkSnapshot *facts, Error **err);
const Snapshot *qcow2__snapshot_find(const Qcow2 *s, const char *which);
CO_FN int qcow2__load_l1(Qcow2 *s, const Snapshot *v, uint64_t len, uint64_t **out);
CO_FN int qcow2__state_write(Node *n, uint64_t off, const void *buf, uint64_t len);
CO_FN int qcow2__state_read(Node *n, const char *which, uint64_t off, void *buf, uint64_t len);
CO_FN int qcow2__state_clear(Node *n);
CO_FN bool qcow2__snapshot_apply(Node *n, const char *which, Error **err);
CO_FN bool qcow2__snapshot_delete(Node *n, const char *which, Error **err);
CO_FN bool qcow2__snapshot_view(Node *n, const char *which, Error **err);
CO_FN int qcow2__check(Node *n, BlkCheck *c, unsigned fix);
CO_FN int qcow2__check_locked(Qcow2 *s, BlkCheck *c, unsigned fix);
typedef struct Counts Counts; /* how often each host cluster is used, found by walking everything */
uint32_t qcow2__count_of(Counts *v, uint64_t cluster);
MUST bool qcow2__count_add(Counts *v, uint64_t cluster); /* false: no memory for it */
uint64_t qcow2__counts_end(const Counts *v); /* clusters of the file */
uint64_t qcow2__count_next(const Counts *v, uint64_t cluster); /* the next that may be used, from `cluster` on */
CO_FN int qcow2__rebuild(Qcow2 *s, Counts *v); /* all refcounts anew behind the file's end */
CO_FN int qcow2__grow_l1(Qcow2 *s, uint64_t len); /* lock held */
CO_FN int qcow2__resize(Qcow2 *s, uint64_t size, unsigned flags);
CO_FN int qcow2__preallocate(Qcow2 *s, uint64_t from, uint64_t to, unsigned flags);
CO_FN int qcow2__make_empty(Node *n);
CO_FN bool qcow2__create(Loop *loop, const char *filename, Opts *o, Error **err);
bool qcow2__measure(Opts *o, uint64_t size, uint64_t data, BlkMeasure *out, Error **err);
CO_FN bool qcow2__amend(Node *n, Opts *o, bool force, Error **err);
CO_FN bool qcow2__set_backing(Node *n, const char *file, const char *format, Error **err);
extern const char *const qcow2__create_options[];
/* zstd.c or zstd-none.c. Bytes made, or 0: not possible. */
extern const bool qcow2__have_zstd;
size_t qcow2__zstd_pack(const void *in, size_t n, void *out, size_t room);
bool qcow2__zstd_unpack(const void *in, size_t n, void *out, size_t want);
#endif
