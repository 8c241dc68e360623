/* block/priv.h - what block/'s files share among themselves. */
#ifndef BLOCK_PRIV_H
#define BLOCK_PRIV_H
#include "block/iov.h"
#include "block/node.h"

extern const BlkDriver block__file, block__raw;
/* Run fn(arg) as a coroutine of `loop` and wait for its end, from inside or outside of one. */
void block__run(Loop *loop, void (*fn)(void *arg), void *arg);
/* Default limits; drivers lower them. */
void block__limits(Node *n);
/* Locks other processes see. want/share: PERM_*. fd readable. */
bool block__file_lock(int fd, const char *filename, unsigned want, unsigned unshared,
                      unsigned had_want, unsigned had_unshared, Error **err);
#endif
