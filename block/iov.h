/* block/iov.h - lists of buffers. Pure functions, any thread. */
#ifndef BLOCK_IOV_H
#define BLOCK_IOV_H
#include "util/util.h"
#include <sys/uio.h>

size_t iov_total(const struct iovec *v, int n);
/* The part [at, at+len) of v as a list in out (room for n entries); returns its entries. */
int iov_slice(const struct iovec *v, int n, size_t at, size_t len, struct iovec *out);
size_t iov_gather(const struct iovec *v, int n, size_t at, void *buf, size_t len); /* list -> buf */
size_t iov_scatter(const struct iovec *v, int n, size_t at, const void *buf,
                   size_t len); /* buf -> list */
void iov_zero(const struct iovec *v, int n, size_t at, size_t len);
bool iov_all_zero(const struct iovec *v, int n);
bool iov_aligned(const struct iovec *v, int n, size_t align);
#endif
