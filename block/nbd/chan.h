/*
 * block/nbd/chan.h - a byte stream for coroutines of one loop: a socket, plain or encrypted. One coroutine reads at a
 * time; writers take `send` around a whole message. Loop's thread only.
 */
#ifndef BLOCK_NBD_CHAN_H
#define BLOCK_NBD_CHAN_H
#include "block/iov.h"
#include "util/co.h"
#include "util/error.h"
#include "util/loop.h"

typedef struct TlsSession TlsSession;
typedef struct ChanWatch ChanWatch;
typedef struct Chan {
    Loop *loop;
    int fd; /* -1: closed */
    TlsSession *tls;
    uint8_t *in; /* read ahead */
    ChanWatch *readable;
    size_t at, have;
    CoLock send;
    bool broken;
} Chan;
void chan_init(Chan *c, Loop *loop, int fd); /* takes fd */
void chan_break(Chan *c); /* whoever waits on it wakes and sees an error; no new bytes pass */
void chan_close(Chan *c); /* nobody waits on it */
/* All of it: 0; -ECONNRESET at the end of the stream (also in the middle), or another -errno. */
CO_FN int chan_read(Chan *c, void *buf, size_t len);
CO_FN int chan_readv(Chan *c, struct iovec *v, int n);
CO_FN int chan_skip(Chan *c, uint64_t len);
CO_FN int chan_write(Chan *c, const void *buf, size_t len); /* `send` held from here on */
CO_FN int chan_writev(Chan *c, struct iovec *v, int n);     /* v is used up */
CO_FN void chan_wait(Chan *c, GIOCondition cond);
#endif
