/* block/nbd/server-priv.h - the server inside: server.c (life), handshake.c (options), serve.c (requests), meta.c. */
#ifndef BLOCK_NBD_SERVER_PRIV_H
#define BLOCK_NBD_SERVER_PRIV_H
#include "block/nbd/proto.h"
#include "block/nbd/server.h"

struct NbdServer {
    Loop *loop;
    NbdConfig cfg;
    GPtrArray *exports, *clients, *listeners; /* of NbdExport, NbdClient, GUINT watch ids with their fds (Listener) */
    bool stopping;
};
struct NbdExport {
    NbdServer *s;
    char *id, *name, *description;
    Node *node;
    bool writable, writethrough, depth, shared, closing;
    GPtrArray *bitmaps; /* of DirtyBitmap */
    unsigned clients;
    void (*gone)(void *arg);
    void *arg;
};
/* What a client asked to be told of the export, by block status. Ids: 0 base:allocation, 1 depth, 2.. bitmaps. */
enum { CTX_ALLOCATION, CTX_DEPTH, CTX_BITMAPS, CTX_MAX = 256 };
typedef struct NbdClient {
    NbdServer *s;
    NbdExport *e; /* once chosen */
    Chan chan;
    bool no_zeroes, structured, extended;
    const NbdExport *ctx_export; /* whose contexts were chosen */
    GArray *ctx;                 /* of uint32_t: context ids, in order */
    unsigned in_flight;
    uint64_t bytes_in_flight;
    Co *waiting; /* the reader, until requests end */
    guint timer;
} NbdClient;
typedef struct NbdReq {
    NbdClient *c;
    uint16_t flags, type;
    uint64_t cookie, off, len;
    uint8_t *data; /* WRITE's payload */
    GArray *ctx;   /* BLOCK_STATUS: asked for (of uint32_t), or NULL: the negotiated ones */
    int ret;       /* found while it was received: negative */
} NbdReq;
/* handshake.c. True: c->e is chosen and requests follow. */
CO_FN bool nbd__handshake(NbdClient *c);
/* meta.c */
char *nbd__context_name(const NbdExport *e, uint32_t id);       /* NULL past the end; caller frees */
CO_FN int nbd__status(NbdReq *r);                               /* sends the reply; -errno: not sent */
/* serve.c */
CO_FN void nbd__serve(NbdClient *c);
uint32_t nbd__error(int ret);
CO_FN int nbd__send_chunk(const NbdReq *r, unsigned flags, unsigned type, struct iovec *v, int n); /* v[0] is the header's place */
enum { NBD_CHUNK_HEADER_MAX = 32 };
#endif
