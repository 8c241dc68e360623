/* block/iov.c - lists of buffers. */
#include "block/iov.h"

size_t iov_total(const struct iovec *v, int n)
{
    size_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += v[i].iov_len;
    return sum;
}

int iov_slice(const struct iovec *v, int n, size_t at, size_t len, struct iovec *out)
{
    int used = 0;

    for (int i = 0; i < n && len; i++) {
        if (at >= v[i].iov_len) {
            at -= v[i].iov_len;
            continue;
        }
        out[used].iov_base = (char *)v[i].iov_base + at;
        out[used].iov_len = MIN(len, v[i].iov_len - at);
        len -= out[used++].iov_len;
        at = 0;
    }
    return used;
}

typedef void (*Piece)(char *at, size_t len, void *arg);

static size_t walk(const struct iovec *v, int n, size_t at, size_t len, Piece fn, void *arg)
{
    size_t done = 0;

    for (int i = 0; i < n && done < len; i++) {
        if (at >= v[i].iov_len) {
            at -= v[i].iov_len;
            continue;
        }
        size_t k = MIN(len - done, v[i].iov_len - at);

        fn((char *)v[i].iov_base + at, k, arg);
        done += k;
        at = 0;
    }
    return done;
}

static void copy_out(char *at, size_t len, void *arg)
{
    char **to = arg;

    memcpy(*to, at, len);
    *to += len;
}

static void copy_in(char *at, size_t len, void *arg)
{
    const char **from = arg;

    memcpy(at, *from, len);
    *from += len;
}

static void clear(char *at, size_t len, void *arg) { memset(at, 0, len); }

size_t iov_gather(const struct iovec *v, int n, size_t at, void *buf, size_t len)
{
    return walk(v, n, at, len, copy_out, &buf);
}

size_t iov_scatter(const struct iovec *v, int n, size_t at, const void *buf, size_t len)
{
    return walk(v, n, at, len, copy_in, &buf);
}

void iov_zero(const struct iovec *v, int n, size_t at, size_t len)
{
    walk(v, n, at, len, clear, NULL);
}

bool iov_all_zero(const struct iovec *v, int n)
{
    for (int i = 0; i < n; i++) {
        const char *p = v[i].iov_base;
        size_t len = v[i].iov_len;

        if (len && (p[0] || memcmp(p, p + 1, len - 1)))
            return false;
    }
    return true;
}

bool iov_aligned(const struct iovec *v, int n, size_t align)
{
    for (int i = 0; i < n && align > 1; i++)
        if ((uintptr_t)v[i].iov_base % align || v[i].iov_len % align)
            return false;
    return true;
}
