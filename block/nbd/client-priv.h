/* block/nbd/client-priv.h - the driver "nbd" inside: client.c (life of the connection), client-io.c (requests). */
#ifndef BLOCK_NBD_CLIENT_PRIV_H
#define BLOCK_NBD_CLIENT_PRIV_H
#include "block/nbd/link.h"
#include "block/node.h"

enum { NBD_SLOTS = 64 };
typedef enum NbdState { NBD_DEAD, NBD_UP, NBD_LOST } NbdState;
typedef struct NbdAsk { /* a request under way */
    Co *co;
    BlkReq *r;
    uint16_t type;
    uint64_t cookie, got; /* bytes of a READ that came */
    bool done, told;      /* told: BLOCK_STATUS had an extent */
    int ret;
} NbdAsk;
typedef struct NbdDisk {
    Node *n;
    NbdLink link;
    NbdState state;
    NbdAddr addr;
    char *export, *context, *tls_hostname;
    TlsCreds *tls;
    bool wants_tls, closing;
    uint32_t reconnect_s, open_s;
    NbdAsk *slots[NBD_SLOTS];
    unsigned in_flight;
    uint64_t serial; /* the high part of cookies */
    GQueue waiters;  /* of Co *: for a slot, or for the connection */
    Co *reader, *connector, *closer, *sleeper;
    guint timer, limit; /* limit: while requests wait for the connection */
} NbdDisk;
CO_FN int nbd__submit(Node *n, BlkReq *r);
CO_FN void nbd__read_replies(NbdDisk *s); /* until the connection ends */
void nbd__answer(NbdDisk *s, unsigned slot, int ret);
CO_FN int nbd__usable(NbdDisk *s); /* waits for a slot of a connection that is up; -EIO: there is none */
void nbd__slot_free(NbdDisk *s);
void nbd__reconnect(NbdDisk *s);
/* The loop's thread ends: its connections end before, because a coroutine never changes thread. VM lock not held elsewhere. */
void nbd__end_all(Loop *loop);
CO_FN void nbd__say_goodbye(NbdDisk *s);
#endif
