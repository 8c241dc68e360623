/* block/cor.h - copy on read. */
#ifndef BLOCK_COR_H
#define BLOCK_COR_H
#include "block/node.h"

/* A READ of n, whose data then is in n itself. Where it cannot be written it is read all the same. */
CO_FN int blk_copy_on_read(Node *n, BlkReq *r);
#endif
