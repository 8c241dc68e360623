/* block/uring-none.c - a build without liburing: the pool does it. */
#include "block/uring.h"
#include <errno.h>

Uring *uring_open(Loop *loop) { return NULL; }
void uring_close(Uring *u) {}
CO_FN int uring_submit(Uring *u, int fd, const BlkReq *r) { return -EAGAIN; }
