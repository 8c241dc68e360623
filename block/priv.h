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
/* Opens a node of the options; upper: whose backing or data file it becomes, or NULL. */
CO_FN Node *block__open(Loop *loop, Opts *o, bool readonly, Node *file, Node *backing,
                        const Node *upper, Error **err);
/* n's backing file by the options "backing", "backing.*", else by the name (and format, or NULL: guessed) that its
 * header gives; none of them: none. */
CO_FN bool block__open_backing(Node *n, Opts *o, const char *name, const char *format, Error **err);
CO_FN bool block__open_data(Node *n, Opts *o, const char *name, Error **err); /* the same for n->data */
char *block__beside(const char *image, const char *name); /* where a name in an image's header leads; caller frees */
const char *block__format_of(const uint8_t *head, size_t n); /* by its first bytes; NULL: raw */
/* What all nodes have: node-name, read-only, cache.*, discard, detect-zeroes, .. */
bool block__common(Node *n, Opts *o, Error **err);
/* The options that a child without options of its own gets of its parent's. */
void block__inherit(const Opts *o, Opts *child);
/* Children that a driver calls otherwise are "file" and "backing" from here on. */
void block__own_keys(Opts *o);
/* A filter's request as it is to its file; the node's size goes along. */
CO_FN int block__forward(Node *n, BlkReq *r);
/* Locks other processes see. want/share: PERM_*. fd readable. */
bool block__file_lock(int fd, const char *filename, unsigned want, unsigned unshared,
                      unsigned had_want, unsigned had_unshared, Error **err);
/* Before fd is closed: what io_uring or a child of ours still holds of the file must not keep others out. */
void block__file_unlock(int fd);
#endif
