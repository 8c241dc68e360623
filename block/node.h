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

typedef enum BlkOp { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZERO, BLK_STATUS, BLK_TRUNCATE, BLK_COPY } BlkOp;
enum { BLK_FUA = 1, BLK_NO_FALLBACK = 2, BLK_MAY_UNMAP = 4 };
enum { /* permissions, QEMU's numbering: the OFD lock bytes are 100 + bit and 200 + bit */
    PERM_CONSISTENT_READ = 1, PERM_WRITE = 2, PERM_WRITE_UNCHANGED = 4, PERM_RESIZE = 8, PERM_ALL = 15
};
typedef struct BlkReq {
    BlkOp op;
    uint64_t off, len; /* bytes */
    struct iovec *iov;
    int niov;
    unsigned flags;
    /* BLK_STATUS result */
    bool allocated, zero;
} BlkReq;
typedef struct BlkLimits {
    uint32_t align, max_iov;      /* request alignment in bytes */
    uint64_t max_transfer, max_discard, max_zero;
    uint32_t logical, physical;   /* sector sizes */
} BlkLimits;
typedef struct Node Node;
typedef struct Reopen Reopen;
typedef struct BlkDriver {
    const char *name;
    size_t size; /* of the driver's state, n->opaque */
    bool protocol; /* file, null: has no child "file" */
    int (*probe)(const uint8_t *head, size_t n);
    bool (*open)(Node *n, Opts *o, Error **err) CO_FN;
    void (*close)(Node *n) CO_FN;
    int (*submit)(Node *n, BlkReq *r) CO_FN; /* 0 or -errno */
    void (*limits)(Node *n, BlkLimits *out);
    bool (*permissions)(Node *n, Node *parent, unsigned want, unsigned share, Error **err);
    bool (*reopen_prepare)(Reopen *r, Error **err);
    void (*reopen_commit)(Reopen *r), (*reopen_abort)(Reopen *r);
} BlkDriver;
struct Node {
    const BlkDriver *drv;
    char *name, *filename;
    Node *file, *backing; /* children */
    uint64_t size;        /* bytes */
    bool readonly, direct, no_flush;
    unsigned perm, shared; /* what the parents together ask and allow */
    BlkLimits limits;
    gint refs, in_flight;
    void *opaque;
    Loop *loop;
};
#define BLK_DRIVER(d)                                                                              \
    static const BlkDriver *const d##_blkdrv IN_SECTION("blkdrivers") = &d
/* "driver", "filename", "file.driver", .. ; format probed when driver is absent. The caller owns a reference. */
Node *node_open(Loop *loop, Opts *o, bool readonly, Error **err);
Node *node_ref(Node *n);
void node_unref(Node *n); /* drains and closes at the last */
CO_FN int blk_submit(Node *n, BlkReq *r); /* checks bounds, splits to limits, then the driver */
int blk_sync(Node *n, BlkReq *r);         /* the single non-coroutine wrapper */
void node_drain(Node *n);                 /* runs the loop until nothing is in flight */
bool node_permissions(Node *n, unsigned want, unsigned share, Error **err);
#endif
