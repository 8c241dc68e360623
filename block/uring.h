/*
 * block/uring.h - reads, writes and flushes of files by io_uring: a ring for each loop, while files are open on it. Where the
 * kernel or the build has none, uring_open says so and the caller takes the pool. Loop's thread.
 */
#ifndef BLOCK_URING_H
#define BLOCK_URING_H
#include "block/node.h"

typedef struct Uring Uring;
Uring *uring_open(Loop *loop); /* a reference to the loop's ring; NULL: there is none */
void uring_close(Uring *u);    /* nothing of the caller's is under way */
/* READ, WRITE or FLUSH (of data) of fd. Bytes moved or -errno; -EAGAIN: the ring is full. */
CO_FN int uring_submit(Uring *u, int fd, const BlkReq *r);
#endif
