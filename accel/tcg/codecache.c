/*
 * accel/tcg/codecache.c - memory for generated code: one file mapped twice, writable here, executable there, so
 * that no page is both. In the low 2 GiB when there is room: addresses then fit 32-bit operands. Filled from the
 * front; when full, the vCPU flushes all its blocks.
 */
#include "accel/tcg/tcg.h"
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif
#ifndef MAP_32BIT
#define MAP_32BIT 0 /* only x86-64 has it, and needs it */
#endif

/* Memory that dies with the vCPU, low if possible; NULL: none. */
void *tcg_low_alloc(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static bool map_both(CodeCache *c, int fd)
{
    if (ftruncate(fd, (off_t)c->size) < 0)
        return false;
    c->rw = mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (c->rw == MAP_FAILED) {
        c->rw = NULL;
        return false;
    }
    c->rx = mmap(NULL, c->size, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_32BIT | MAP_NORESERVE, fd, 0);
    if (c->rx == MAP_FAILED)
        c->rx = mmap(NULL, c->size, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (c->rx == MAP_FAILED) {
        int why = errno;

        munmap(c->rw, c->size);
        c->rw = c->rx = NULL;
        errno = why;
    }
    return c->rx != NULL;
}

bool tcg_code_alloc(CodeCache *c, size_t size)
{
    int fd = memfd_create("menura-jit", MFD_CLOEXEC | MFD_EXEC);
    bool ok;

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("menura-jit", MFD_CLOEXEC);
    if (fd < 0)
        return false;
    c->size = size;
    ok = map_both(c, fd);
    close(fd);
    return ok;
}

void tcg_code_free(CodeCache *c)
{
    if (!c->rw)
        return;
    munmap(c->rw, c->size);
    munmap(c->rx, c->size);
    c->rw = c->rx = NULL;
}
