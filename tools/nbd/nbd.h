/* tools/nbd/nbd.h - menura-nbd: its options, and the two things it does. */
#ifndef TOOLS_NBD_H
#define TOOLS_NBD_H
#include "block/image.h"
#include "block/nbd/link.h"
#include "block/nbd/server.h"
#include <stdio.h>

typedef struct NbdTool {
    Loop *loop;
    const char *bind, *port, *socket, *name, *description, *format, *cache, *aio, *discard, *detect_zeroes, *snapshot_view, *pid_file;
    const char *tls_id, *tls_hostname, *file;
    GPtrArray *bitmaps, *objects; /* of const char *; of --object, or NULL */
    TlsCreds *tls;
    uint64_t offset;
    unsigned shared, handshake_s;
    bool list, persistent, readonly, snapshot, image_opts, depth, fork, verbose;
    int ready_fd; /* --fork: the parent waits for a byte; -1 */
} NbdTool;
int nbd_list(NbdTool *t, Error **err);  /* prints; the process's status */
int nbd_serve(NbdTool *t, Error **err); /* until a signal, or the last client leaves */
void nbd_tool_addr(const NbdTool *t, NbdAddr *out); /* of the options; the caller clears */
#endif
