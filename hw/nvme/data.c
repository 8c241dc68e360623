/*
 * hw/nvme/data.c - a command's memory, by PRP entries and lists. Source: NVM Express 1.4 section 4.3.
 * Bounds: a list entry describes a page of at most MDTS; a pointer to the next list must be page aligned, so each
 * list page but the first holds at least one page of data.
 */
#include "hw/nvme/nvme.h"

static uint64_t page_size(const Nvme *n) { return (uint64_t)NVME_PAGE << (n->cc >> 7 & 15); }

static bool add(Nvme *n, DmaSg *sg, uint64_t at, uint64_t len, DmaDir dir) { return dma_sg_add(&n->pci.dev, sg, at, len, dir); }

static uint16_t map_list(Nvme *n, uint64_t list, uint64_t len, DmaDir dir, DmaSg *sg)
{
    uint64_t page = page_size(n), e;

    if (list & 7)
        return INVALID_PRP_OFFSET | NVME_DNR;
    while (len) {
        bool last = list % page == page - 8;

        if (!dma_load(&n->pci.dev, list, 8, &e))
            return DATA_TRANSFER_ERROR;
        if (e % page)
            return INVALID_PRP_OFFSET | NVME_DNR;
        if (last && len > page) {
            list = e;
            continue;
        }
        if (!add(n, sg, e, MIN(len, page), dir))
            return DATA_TRANSFER_ERROR;
        len -= MIN(len, page);
        list += 8;
    }
    return NVME_OK;
}

static uint16_t map(Nvme *n, const NvmeCmd *c, uint64_t len, DmaDir dir, DmaSg *sg)
{
    uint64_t page = page_size(n), first = MIN(len, page - c->prp1 % page);

    if (c->raw[1] & 0xc0) /* PSDT: SGLs */
        return INVALID_FIELD | NVME_DNR;
    if (c->prp1 & 3)
        return INVALID_PRP_OFFSET | NVME_DNR;
    if (!add(n, sg, c->prp1, first, dir))
        return DATA_TRANSFER_ERROR;
    len -= first;
    if (len > page)
        return map_list(n, c->prp2, len, dir, sg);
    if (len && c->prp2 % page)
        return INVALID_PRP_OFFSET | NVME_DNR;
    return !len || add(n, sg, c->prp2, len, dir) ? NVME_OK : DATA_TRANSFER_ERROR;
}

/* On failure nothing stays mapped. */
uint16_t nvme_map(Nvme *n, const NvmeCmd *c, uint64_t len, DmaDir dir, DmaSg *sg)
{
    uint16_t status;

    dma_sg_init(sg);
    status = map(n, c, len, dir, sg);
    if (status)
        dma_sg_free(&n->pci.dev, sg, 0);
    return status;
}

uint16_t nvme_to_guest(Nvme *n, const NvmeCmd *c, const void *buf, uint64_t len)
{
    DmaSg sg;
    uint16_t status = nvme_map(n, c, len, DMA_TO_RAM, &sg);

    if (status)
        return status;
    dma_sg_put(&sg, buf, len);
    dma_sg_free(&n->pci.dev, &sg, len);
    return NVME_OK;
}

uint16_t nvme_from_guest(Nvme *n, const NvmeCmd *c, void *buf, uint64_t len)
{
    DmaSg sg;
    uint16_t status = nvme_map(n, c, len, DMA_FROM_RAM, &sg);

    if (status)
        return status;
    dma_sg_get(&sg, buf, len);
    dma_sg_free(&n->pci.dev, &sg, 0);
    return NVME_OK;
}
