/*
 * block/old/clusters.h - what simple formats of fixed clusters share: a table says where each guest cluster is in the
 * file, new ones go to the file's end, none is ever let go. The format keeps the table; all else is here.
 */
#ifndef BLOCK_OLD_CLUSTERS_H
#define BLOCK_OLD_CLUSTERS_H
#include "block/image.h"
#include "block/priv.h"

#define CLUSTER_NONE 0ull /* look it up in the backing file */
#define CLUSTER_ZERO 1ull /* reads as zeros; anything else: the cluster's byte in the file */
typedef struct Clusters Clusters;
struct Clusters {
    Node *n;
    uint64_t cluster; /* bytes, any number of sectors */
    uint64_t end;     /* of the file: the next cluster's place */
    uint64_t room;    /* no cluster may reach past this byte of the file: a format's field is not wider */
    bool zeros;       /* the table can say CLUSTER_ZERO */
    CoLock lock;      /* held by all that change the table */
    CO_FN int (*look)(Clusters *c, uint64_t index, uint64_t *host); /* -EIO: the table is wrong there */
    /* `count` clusters lie in a row from `host` on (or CLUSTER_ZERO: all of them); what is in the file is written already */
    CO_FN int (*set)(Clusters *c, uint64_t index, uint64_t count, uint64_t host);
    CO_FN int (*dirty)(Clusters *c); /* before the first change; NULL: nothing */
};
void clusters_init(Clusters *c, Node *n, uint64_t cluster, uint64_t end);
CO_FN int clusters_submit(Clusters *c, BlkReq *r); /* all but TRUNCATE: -ENOTSUP */

/* Small parts of a file, kept in memory and written through. */
typedef struct Parts Parts;
Parts *parts_new(Node *file);
void parts_free(Parts *p); /* NULL is fine */
MUST CO_FN int parts_read(Parts *p, uint64_t at, void *buf, size_t len);
MUST CO_FN int parts_write(Parts *p, uint64_t at, const void *buf, size_t len);
#endif
