/* block/nbd/link.h - a connection to an NBD server from the client's side: connect and negotiate. Loop of the channel. */
#ifndef BLOCK_NBD_LINK_H
#define BLOCK_NBD_LINK_H
#include "block/nbd/addr.h"
#include "block/nbd/proto.h"
#include "block/nbd/tls.h"

typedef struct NbdLinkSpec { /* all borrowed */
    const NbdAddr *addr;
    const char *export, *context; /* context: whose block status is wanted, or NULL */
    TlsCreds *tls;
    const char *tls_hostname;
} NbdLinkSpec;
typedef struct NbdLink {
    Chan chan;
    bool structured, extended, have_context, no_zeroes;
    uint32_t context_id;
    uint64_t size;
    uint16_t flags;
    uint32_t min_block, preferred_block, max_block; /* 0: not said */
} NbdLink;
typedef struct NbdListed { /* what --list shows of an export */
    char *name, *description;
    NbdLink facts; /* without channel */
    GPtrArray *contexts; /* of char *, or NULL */
    bool known; /* the server tells more than the name */
} NbdListed;
/* Connected, in the transmission phase. False + err: nothing is left of it. */
CO_FN bool nbd_link_open(NbdLink *l, Loop *loop, const NbdLinkSpec *spec, Error **err);
void nbd_link_close(NbdLink *l);
/* The exports of a server; NULL + err. The caller frees by nbd_listed_free. */
CO_FN GPtrArray *nbd_link_list(Loop *loop, const NbdLinkSpec *spec, Error **err);
void nbd_listed_free(gpointer p);
#endif
