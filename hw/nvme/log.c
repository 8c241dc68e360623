/*
 * hw/nvme/log.c - log pages. Source: NVM Express 1.4 section 5.14.
 */
#include "hw/nvme/nvme.h"

enum { PAGE_MAX = 4096, RETAIN_EVENT = 1 << 15 };

void nvme_log_error(Nvme *n, const NvmeCmd *c, uint16_t status)
{
    memmove(n->error + 1, n->error, sizeof(n->error) - sizeof(n->error[0]));
    n->error[0] = (NvmeErr){ .count = ++n->errors, .lba = c->sqid ? c->slba : 0, .nsid = c->nsid, .sqid = c->sqid, .cid = c->cid, .status = status };
}

static unsigned error_log(Nvme *n, const NvmeCmd *c, uint8_t *out)
{
    for (unsigned i = 0; i < NVME_ERRORS; i++, out += 64) {
        const NvmeErr *e = &n->error[i];

        le64_store(out, e->count);
        le16_store(out + 8, e->sqid);
        le16_store(out + 10, e->cid);
        le16_store(out + 12, (uint16_t)(e->status << 1));
        le16_store(out + 14, 0xffff);
        le64_store(out + 16, e->lba);
        le32_store(out + 24, e->nsid);
    }
    return NVME_ERRORS * 64;
}

/* Units are a thousand blocks of 512 bytes, rounded up. */
static void smart_disk(const NvmeNs *ns, uint8_t *out)
{
    DiskStats s = disk_stats(ns->disk);

    for (unsigned i = 0; i < 2; i++) {
        le64_store(out + 32 + 16 * i, le64_load(out + 32 + 16 * i) + (s.bytes[i] + 511999) / 512000);
        le64_store(out + 64 + 16 * i, le64_load(out + 64 + 16 * i) + s.ops[i]);
        le64_store(out + 160, le64_load(out + 160) + s.failed[i]);
    }
}

static unsigned smart_log(Nvme *n, const NvmeCmd *c, uint8_t *out)
{
    for (unsigned i = 1; i <= NVME_NS_MAX; i++)
        if (n->ns[i] && (c->nsid == 0 || c->nsid == UINT32_MAX || c->nsid == i))
            smart_disk(n->ns[i], out);
    le16_store(out + 1, 323); /* kelvin */
    out[3] = 100;
    out[4] = 10;
    le64_store(out + 112, 1);
    le64_store(out + 128, (uint64_t)clock_now(&n->pci.dev) / (3600 * SEC));
    le64_store(out + 176, n->errors);
    return 512;
}

static unsigned firmware_log(Nvme *n, const NvmeCmd *c, uint8_t *out)
{
    out[0] = 1;
    memcpy(out + 8, "1.0     ", 8);
    return 512;
}

static unsigned changed_log(Nvme *n, const NvmeCmd *c, uint8_t *out)
{
    unsigned k = 0;

    for (unsigned i = 1; i <= NVME_NS_MAX; i++)
        if (n->changed[(i - 1) / 8] >> (i - 1) % 8 & 1)
            le32_store(out + 4 * k++, i);
    if (!(c->dw10 & RETAIN_EVENT))
        memset(n->changed, 0, sizeof(n->changed));
    return 4096;
}

static void effects(const NvmeOps *o, uint8_t *out)
{
    for (size_t i = 0; i < o->n; i++)
        le32_store(out + 4 * o->v[i].code, 1 | (o->v[i].changes ? 2 : 0));
}

static unsigned effects_log(Nvme *n, const NvmeCmd *c, uint8_t *out)
{
    effects(&nvme_admin_ops, out);
    effects(&nvme_io_ops, out + 1024);
    return 4096;
}

static const struct {
    uint8_t id;
    int8_t event; /* the type of event that reading it frees; -1: none */
    unsigned (*fn)(Nvme *n, const NvmeCmd *c, uint8_t *out); /* its size */
} pages[] = {
    { 1, 0, error_log }, { 2, -1, smart_log }, { 3, -1, firmware_log }, { 4, 2, changed_log }, { 5, -1, effects_log },
};

uint16_t nvme_get_log(Nvme *n, NvmeCmd *c)
{
    uint64_t len = ((uint64_t)(c->dw11 & 0xffff) << 16 | c->dw10 >> 16) + 1, off = c->dw12 | (uint64_t)c->dw13 << 32;
    uint8_t page[PAGE_MAX] = { 0 };

    for (unsigned i = 0; i < G_N_ELEMENTS(pages); i++) {
        unsigned size;

        if (pages[i].id != (c->dw10 & 0xff))
            continue;
        size = pages[i].fn(n, c, page);
        if (off & 3 || off >= size)
            return INVALID_FIELD | NVME_DNR;
        if (pages[i].event >= 0 && !(c->dw10 & RETAIN_EVENT))
            n->masked &= (uint8_t)~(1u << pages[i].event);
        return nvme_to_guest(n, c, page + off, MIN(len * 4, size - off));
    }
    return INVALID_LOG_PAGE | NVME_DNR;
}
