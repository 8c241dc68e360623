/*
 * block/nbd/server.h - an NBD server: exports of nodes over sockets, to several clients at once. Everything on the loop of
 * its nodes; the monitor, menura-nbd and menura-storage use it alike.
 */
#ifndef BLOCK_NBD_SERVER_H
#define BLOCK_NBD_SERVER_H
#include "block/dirty.h"
#include "block/nbd/addr.h"
#include "block/nbd/tls.h"
#include "block/node.h"

typedef struct NbdServer NbdServer;
typedef struct NbdExport NbdExport;
typedef struct NbdConfig {
    TlsCreds *tls;        /* kept alive by the caller; NULL: plain */
    unsigned handshake_s; /* a client that has not chosen an export by then is dropped; 0: never */
    unsigned max_clients; /* 0: any number (NBD_CLIENTS_MAX) */
    void (*stopped)(void *arg); /* the end of nbd_server_stop */
    void (*idle)(void *arg); /* the last client left */
    void (*accepted)(void *arg); /* one came */
    void *arg;
} NbdConfig;
typedef struct NbdExportSpec {
    const char *id, *name, *description;
    Node *node;      /* a reference is taken; its permissions are the caller's */
    bool writable, writethrough, depth; /* depth: qemu:allocation-depth */
    bool shared;     /* several clients may write: NBD_CAN_MULTI_CONN */
    void (*gone)(void *arg); /* after its last request: the node may be closed */
    void *arg;
} NbdExportSpec;
enum { NBD_CLIENTS_MAX = 1024 };
NbdServer *nbd_server_new(Loop *loop, const NbdConfig *c);
/* fd: a listening socket, taken over. */
void nbd_server_listen(NbdServer *s, int fd);
void nbd_server_serve(NbdServer *s, int fd); /* a connected one */
/* No new clients; the present ones and all exports go; then it frees itself. */
void nbd_server_stop(NbdServer *s);
unsigned nbd_server_clients(const NbdServer *s);
NbdExport *nbd_export_add(NbdServer *s, const NbdExportSpec *spec, Error **err);
/* The bitmap is in use (`busy`) as long as the export lives. */
bool nbd_export_bitmap(NbdExport *e, DirtyBitmap *b, Error **err);
void nbd_export_remove(NbdExport *e); /* its clients are cut off; `gone` follows, perhaps at once */
bool nbd_export_has_clients(const NbdExport *e);
bool nbd_export_closing(const NbdExport *e);
const char *nbd_export_id(const NbdExport *e);
const char *nbd_export_name(const NbdExport *e);
Node **nbd_export_node(NbdExport *e); /* block jobs put another one there */
NbdExport *nbd_export_find(const NbdServer *s, const char *id, const char *name); /* by the one that is not NULL */
void nbd_export_foreach(const NbdServer *s, void (*fn)(NbdExport *e, void *arg), void *arg);
#endif
