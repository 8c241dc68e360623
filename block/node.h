/*
 * block/node.h - the block graph: one request, one entry point per driver; straight-line code in
 * coroutines. A request runs wholly on the loop that submitted it.
 */
#ifndef BLOCK_NODE_H
#define BLOCK_NODE_H
#include "util/co.h"
#include "util/error.h"
#include "util/loop.h"
#include "util/opts.h"
#include <sys/uio.h>

typedef enum BlkOp {
    BLK_READ,
    BLK_WRITE,
    BLK_FLUSH,
    BLK_DISCARD,
    BLK_ZERO,
    BLK_STATUS,
    BLK_TRUNCATE,
    BLK_COPY
} BlkOp;
enum { BLK_FUA = 1, BLK_NO_FALLBACK = 2, BLK_MAY_UNMAP = 4, BLK_COMPRESS = 8,
       BLK_RESERVE = 16, /* TRUNCATE, ZERO: host blocks are reserved, so that later writes find room */
       BLK_THIS_LAYER = 32, /* STATUS: do not ask the backing file */
       BLK_PAST_GATE = 64   /* a job's own request: not stopped by node_quiesce, and no hook sees it */ };
enum { /* permissions, QEMU's numbering: the OFD lock bytes are 100 + bit and 200 + bit */
       PERM_CONSISTENT_READ = 1,
       PERM_WRITE = 2,
       PERM_WRITE_UNCHANGED = 4,
       PERM_RESIZE = 8,
       PERM_ALL = 15
};
typedef struct BlkReq {
    BlkOp op;
    uint64_t off, len; /* bytes */
    struct iovec *iov;
    int niov;
    unsigned flags;
    /* BLK_STATUS's result, for the first `len` bytes: in this layer (or, zero, below it); reads as zeros; stored
     * packed; where in the file `map_file` (borrowed, NULL: nowhere) the bytes lie; how many layers below. */
    bool allocated, zero, compressed;
    struct Node *map_file;
    uint64_t map;
    unsigned depth;
} BlkReq;
typedef struct BlkLimits {
    uint32_t align, max_iov; /* request alignment in bytes */
    uint64_t max_transfer, max_discard, max_zero;
    uint32_t mem_align;         /* of every iov base and length; 1: any */
} BlkLimits;
typedef struct Node Node;
typedef struct BlkImageOps BlkImageOps;
typedef struct BlkDriver {
    const char *name;
    size_t size;   /* of the driver's state, n->opaque */
    bool protocol; /* file, null: has no child "file" */
    const char *file_key, *backing_key; /* options that name these children, where they are not "file" and "backing" */
    bool has_backing; /* a format whose images may name a backing file */
    bool encrypts;    /* images may need a key, with the option no-io=on not */
    const BlkImageOps *image; /* what tools do with an image: block/image.h; NULL: nothing */
    const char *schemes; /* of a protocol: with which of these words and a colon a file's name may begin, "nbd nbds nbd+unix" */
    const char *suffix; /* a format that its first bytes do not tell: the file's name ends so; NULL: none */
    int (*probe)(const uint8_t *head, size_t n);
    bool (*open)(Node *n, Opts *o, Error **err) CO_FN;
    void (*close)(Node *n) CO_FN;
    int (*submit)(Node *n, BlkReq *r) CO_FN; /* 0 or -errno */
    void (*limits)(Node *n, BlkLimits *out);
    bool (*permissions)(Node *n, Node *parent, unsigned want, unsigned share, Error **err);
    /* Writable from now on, or not any more; nothing is under way. NULL: as its child "file" is. */
    bool (*set_readonly)(Node *n, bool readonly, Error **err) CO_FN;
    /* blockdev-reopen: its own options (all of them: what is not named has its default) are looked at, or with `apply` in force.
     * Nothing is under way. NULL: the driver cannot. blk_reopen_plain: it has none that may change. */
    bool (*reopen)(Node *n, Opts *o, bool apply, Error **err) CO_FN;
} BlkDriver;
struct Node {
    const BlkDriver *drv;
    char *name, *filename;
    Node *file, *backing, *data; /* children; data: an external data file, or a detached header */
    GPtrArray *extents; /* of Node: more files, in order; owned; NULL: none */
    uint64_t size;        /* bytes */
    bool readonly, direct, no_flush, force_share;
    bool unmap;            /* discard=unmap */
    bool grows;  /* a format's file: writes past the end extend it, reads there give zeros */
    bool auto_readonly; /* what cannot be written is opened read-only */
    bool probed; /* the format was guessed: raw protects its first sector from becoming another format's */
    const Node *upper; /* while it is opened: whose backing file or child it becomes */
    uint8_t detect_zeroes; /* DETECT_* */
    bool named;            /* by the user; others are called "#blockNNN" */
    unsigned perm, shared; /* what the parents together ask and allow */
    unsigned own_want, own_share; /* of these, the one's that calls node_permissions */
    bool rooted;           /* who calls is a disk, and not a node above */
    GPtrArray *claims;     /* of NodeClaim (block/graph.h), the others'; NULL: none */
    GPtrArray *hooks;      /* of NodeHook; NULL: none */
    unsigned gated;        /* node_quiesce: new requests wait in `gate` */
    GQueue gate;
    GQueue quiescers; /* of Co *: wait until nothing is under way */
    struct Node *forward;  /* graph_replace: where those that wait go */
    BlkLimits limits;
    gint refs, in_flight;
    void *opaque;
    Loop *loop;
    CoLock rmw; /* unaligned writes, one at a time */
    uint64_t write_threshold; /* writes beyond this byte are told once; 0: none */
    void (*exceeded)(Node *n, uint64_t by, void *o); /* on the node's loop */
    void *exceeded_arg;
    GPtrArray *dirty; /* of DirtyBitmap (block/dirty.h); NULL: none */
};
enum { DETECT_OFF, DETECT_ON, DETECT_UNMAP };
#define BLK_DRIVER(d) static const BlkDriver *const d##_blkdrv IN_SECTION("blkdrivers") = &d
/* "driver", "filename", "file.driver", .. ; format probed when driver is absent. The caller owns a
 * reference. */
Node *node_open(Loop *loop, Opts *o, bool readonly, Error **err);
/* The same with children that exist already (-blockdev by node name); takes references of its own.
 */
Node *node_open_on(Loop *loop, Opts *o, bool readonly, Node *file, Node *backing, Error **err);
/* The same with n->data, too: a detached header. */
Node *node_open_parts(Loop *loop, Opts *o, bool readonly, Node *file, Node *backing, Node *data, Error **err);
/* A writable layer over `base` (snapshot=on): what is written goes to a temporary file. Takes over
 * base's reference. */
Node *node_overlay(Node *base, Error **err);
Node *node_ref(Node *n);
void node_unref(Node *n);                 /* drains and closes at the last */
CO_FN int blk_submit(Node *n, BlkReq *r); /* checks bounds, splits to limits, then the driver */
/* The common requests in a line. 0 or -errno. */
CO_FN int blk_read(Node *n, uint64_t off, void *buf, size_t len);
CO_FN int blk_write(Node *n, uint64_t off, const void *buf, size_t len);
CO_FN int blk_zero(Node *n, uint64_t off, uint64_t len, unsigned flags);
CO_FN int blk_flush(Node *n);
/* What the backing file has there; past its end, or without one: zeros. */
CO_FN int blk_read_below(const Node *n, uint64_t off, struct iovec *iov, int niov, uint64_t len);
/* Zeros as data, in pieces of a megabyte, by `write`. */
CO_FN int blk_write_zeros(Node *n, CO_FN int (*write)(Node *n, BlkReq *r), uint64_t off, uint64_t len, unsigned flags);
CO_FN int blk_truncate(Node *n, uint64_t size, unsigned flags);
/* What jobs hang on a node: before and after each change of its bytes, in the request's coroutine. */
typedef struct NodeHook {
    CO_FN int (*before)(void *o, const BlkReq *r); /* -errno: the request fails with it; or NULL */
    CO_FN int (*after)(void *o, const BlkReq *r, int ret); /* what the request returns; or NULL */
    void *o;
} NodeHook;
void node_hook(Node *n, NodeHook *h);
void node_unhook(Node *n, NodeHook *h);
/* New requests wait; returns when none is under way. Nests. Hooks are taken off in between only. */
/* Opens for writing what was opened read-only, with its files, or back. */
CO_FN bool node_set_readonly(Node *n, bool readonly, Error **err);
CO_FN void node_quiesce(Node *n);
void node_release(Node *n);
int blk_sync(Node *n, BlkReq *r);         /* the single non-coroutine wrapper */
/* fn on a thread of the pool; the caller yields meanwhile. */
CO_FN int blk_in_pool(Loop *loop, int (*fn)(void *arg), void *arg);
/* The driver that fits the file's first bytes; "" when the name itself says it (json:); NULL: error. Coroutine. */
CO_FN const char *blk_guess_format(Loop *loop, const char *filename, bool force_share, Error **err);
CO_FN bool blk_reopen_plain(Node *n, Opts *o, bool apply, Error **err);
bool blk_takes_aio(const char *driver); /* the option aio= means something to it */
const BlkDriver *blk_driver_find(const char *name);
void blk_driver_foreach(void (*fn)(const BlkDriver *d, void *arg), void *arg);
void node_drain(Node *n); /* runs the loop until nothing is in flight */
bool node_permissions(Node *n, unsigned want, unsigned share, Error **err);
#endif
