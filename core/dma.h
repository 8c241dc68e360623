/*
 * core/dma.h - a device's way into memory. VM lock or the device's own loop. While a device's code
 * runs it is busy: an access that comes back to it is refused with guest_error.
 */
#ifndef CORE_DMA_H
#define CORE_DMA_H
#include "core/mem.h"

typedef struct Dev Dev;
typedef enum DmaDir { DMA_TO_RAM, DMA_FROM_RAM } DmaDir;
/* false: nothing (or not all) is there; the rest of buf is 0xff for reads. Uses dev's address space.
 * A bus may refuse (Dev.may_dma; PCI: while bus master is off). */
bool dma_read(Dev *d, uint64_t addr, void *buf, uint64_t len);
bool dma_write(Dev *d, uint64_t addr, const void *buf, uint64_t len);
/* Little-endian scalars. */
static inline bool dma_load(Dev *d, uint64_t addr, unsigned size, uint64_t *v)
{
    uint8_t b[8];
    bool ok = dma_read(d, addr, b, size);

    *v = le_load(b, size);
    return ok;
}
static inline bool dma_store(Dev *d, uint64_t addr, unsigned size, uint64_t v)
{
    uint8_t b[8];

    le_store(b, size, v);
    return dma_write(d, addr, b, size);
}
/* Pins RAM for asynchronous I/O (bounded bounce buffer, at most 1 MiB in flight per VM, for
 * non-RAM). *len may shrink; NULL: cannot be mapped (or no bounce room). dma_unmap marks dirty and
 * invalidates code for DMA_TO_RAM, `done` bytes of it. */
typedef struct DmaMap {
    void *host;
    uint64_t len, addr;
    RamBlock *block;
    uint64_t off;
    bool bounce;
    uint8_t dir;
} DmaMap;
bool dma_map(Dev *d, uint64_t addr, uint64_t *len, DmaDir dir, DmaMap *out);
void dma_unmap(Dev *d, DmaMap *m, uint64_t done);
/* A scatter list -> iovec of pinned memory; grows as needed. */
typedef struct DmaSg {
    GArray *maps; /* DmaMap */
    GArray *iov;  /* struct iovec */
    uint64_t len;
} DmaSg;
void dma_sg_init(DmaSg *s);
bool dma_sg_add(Dev *d, DmaSg *s, uint64_t addr, uint64_t len, DmaDir dir); /* false: unmappable, s unchanged beyond it */
/* Between a buffer and the pinned memory, from its start; what is beyond the shorter is left. */
void dma_sg_put(const DmaSg *s, const void *buf, uint64_t len);
void dma_sg_get(const DmaSg *s, void *buf, uint64_t len);
void dma_sg_free(Dev *d, DmaSg *s, uint64_t done); /* done bytes were written (DMA_TO_RAM) */
#endif
