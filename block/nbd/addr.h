/* block/nbd/addr.h - where NBD is served: TCP, a unix socket, or a socket that is there already. */
#ifndef BLOCK_NBD_ADDR_H
#define BLOCK_NBD_ADDR_H
#include "util/opts.h"

typedef struct NbdAddr { /* owned texts; exactly one of path, host, fd */
    char *path, *host, *port;
    char *fd; /* a number, or the name of a monitor's descriptor */
    bool abstract;
    uint16_t to; /* inet: listen on the first free port up to this one; 0: on `port` alone */
} NbdAddr;
/* "type", "path", "host", "port", .. below `prefix` ("server."). False without err: none of them is there. */
bool nbd_addr_parse(NbdAddr *a, Opts *o, const char *prefix, Error **err);
bool nbd_addr_present(const NbdAddr *a);
void nbd_addr_clear(NbdAddr *a);
char *nbd_addr_text(const NbdAddr *a); /* as a URI without export: "nbd://host:port", "nbd+unix://?socket=path"; caller frees */
/* Blocking look-up of names. A listening socket, non-blocking; -1 and err. */
int nbd_addr_listen(const NbdAddr *a, int backlog, Error **err);
/* A connected socket or -1; may block: for a thread of the pool. */
int nbd_addr_connect(const NbdAddr *a, Error **err);
/* nbd://host:port/export, nbd+unix:///export?socket=PATH, nbd:host:port[:exportname=X], nbd:unix:PATH[:exportname=X].
 * *tls: nbds. The export is NULL when none is named. */
bool nbd_uri_parse(const char *uri, NbdAddr *a, char **export, bool *tls, Error **err);
#endif
