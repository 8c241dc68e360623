/* block/old/qed.h - a QED image in memory, for its driver (qed.c) and what tools do with it (qed-tool.c). */
#ifndef BLOCK_OLD_QED_H
#define BLOCK_OLD_QED_H
#include "block/old/clusters.h"

enum { QED_HEADER = 64, QED_CLUSTER_MIN = 4096, QED_CLUSTER_MAX = 64 << 20, QED_NAME_MAX = 1023,
       QED_BACKING = 1, QED_NEED_CHECK = 2, QED_RAW_BACKING = 4, QED_KNOWN = 7 };
typedef struct QedHeader {
    uint32_t cluster, table, head; /* bytes; of a table and of the header: clusters */
    uint64_t features, compatible, autoclear, l1, size;
    uint32_t backing_at, backing_len;
} QedHeader;
typedef struct Qed {
    Node *n;
    QedHeader h;
    Clusters c;
    uint64_t table, entries; /* of a table: bytes, entries */
    Parts *parts;
    char *backing;
} Qed;
void qed__build(const QedHeader *h, uint8_t p[QED_HEADER]);
CO_FN int qed__write_header(Qed *q); /* and syncs */
uint64_t qed__max_size(uint64_t cluster, uint64_t table);
bool qed__place_ok(const Qed *q, uint64_t at, uint64_t len); /* of a table or cluster in the file */
extern const char *const qed__create_options[];
CO_FN bool qed__create(Loop *loop, const char *filename, Opts *o, Error **err);
CO_FN int qed__check(Node *n, BlkCheck *c, unsigned fix);
CO_FN bool qed__set_backing(Node *n, const char *file, const char *format, Error **err);
#endif
