/*
 * hw/nvme/io.c - I/O commands. Source: NVM Express 1.4 section 6.
 * Invariants: a request owns its command and pinned memory until its disk request is done; it answers once, unless it
 * was forgotten by a reset. A command of several steps (dataset management, flush of all namespaces) has one disk request at a
 * time.
 */
#include "hw/nvme/nvme.h"
#include "core/state.h"
#include <errno.h>

enum { RANGE = 16, RANGES_MAX = 256, DSM_DEALLOCATE = 1 << 2, FORCE_UNIT_ACCESS = 1 << 30, DEALLOCATE = 1 << 25, NOBODY = UINT16_MAX,
       TRANSFER_MAX = 256 * 1024 * 1024 /* of a command, where MDTS sets no limit */ };
struct NvmeReq {
    Nvme *n;
    NvmeReq *next, **self;
    NvmeNs *ns;
    NvmeCmd c;   /* c.sqid NOBODY: forgotten */
    bool inner;  /* the controller's own: flush before shutdown */
    bool mapped;
    unsigned step, steps;
    BlkReq r;
    DmaSg sg;
    uint8_t *buf; /* ranges, or what is compared */
    struct iovec iov;
};

static bool submit_next(NvmeReq *q);

/* ---- ends ---- */
static void unlink_request(NvmeReq *q)
{
    *q->self = q->next;
    if (q->next)
        q->next->self = q->self;
    q->n->flying--;
}

static void shutdown_step(Nvme *n)
{
    for (const NvmeReq *q = n->first; q; q = q->next)
        if (q->inner)
            return;
    n->csts = (n->csts & ~(uint32_t)CSTS_SHST) | SHST_DONE;
}

static uint16_t verdict(const NvmeReq *q, int ret)
{
    switch (ret) {
    case 0: return NVME_OK;
    case -ENOSPC: return CAPACITY_EXCEEDED;
    case -EROFS: return READ_ONLY_RANGE | NVME_DNR;
    default: return q->r.op == BLK_READ ? READ_FAULT : WRITE_FAULT;
    }
}

/* The guest's memory against what was read. */
static uint16_t compare_memory(const NvmeReq *q)
{
    g_autofree uint8_t *want = g_malloc(q->r.len);

    dma_sg_get(&q->sg, want, q->r.len);
    return memcmp(want, q->buf, q->r.len) ? COMPARE_FAILURE | NVME_DNR : NVME_OK;
}

static void finish(NvmeReq *q, int ret)
{
    Nvme *n = q->n;
    uint16_t status = verdict(q, ret);

    if (!status && q->c.opcode == 0x05 && q->mapped)
        status = compare_memory(q);
    if (q->mapped)
        dma_sg_free(&n->pci.dev, &q->sg, q->c.opcode == 0x02 && !ret ? q->r.len : 0);
    unlink_request(q);
    if (q->inner && (n->csts & CSTS_SHST) == SHST_BUSY)
        shutdown_step(n);
    else if (q->c.sqid != NOBODY)
        nvme_complete(n, &q->c, status);
    g_free(q->buf);
    g_free(q);
}

static void done(void *o, BlkReq *r, int ret)
{
    NvmeReq *q = o;
    Nvme *n = q->n;

    WITH_DEV(&n->pci.dev) {
        if (ret || q->c.sqid == NOBODY || !submit_next(q)) {
            finish(q, ret);
            nvme_serve(n);
        }
    }
}

/* ---- requests ---- */
static NvmeReq *request(Nvme *n, NvmeNs *ns, const NvmeCmd *c, BlkReq r)
{
    NvmeReq *q = g_new0(NvmeReq, 1);

    q->n = n;
    q->ns = ns;
    q->c = *c;
    q->r = r;
    q->next = n->first;
    q->self = &n->first;
    if (q->next)
        q->next->self = &q->next;
    n->first = q;
    n->flying++;
    return q;
}

static uint16_t go(NvmeReq *q)
{
    disk_submit(q->ns->disk, &q->r, done, q);
    return NVME_LATER;
}

static uint16_t take_back(NvmeReq *q, uint16_t status)
{
    unlink_request(q);
    g_free(q->buf);
    g_free(q);
    return status;
}

static uint16_t find(Nvme *n, const NvmeCmd *c, NvmeNs **ns)
{
    *ns = c->nsid && c->nsid <= NVME_NS_MAX ? n->ns[c->nsid] : NULL;
    return *ns && disk_present((*ns)->disk) ? NVME_OK : INVALID_NAMESPACE | NVME_DNR;
}

/* SLBA and NLB of dword 10 to 12 -> bytes. */
static uint16_t extent(Nvme *n, const NvmeCmd *c, NvmeNs **ns, bool transfers, BlkReq *r)
{
    uint64_t blocks = (c->dw12 & 0xffff) + 1;
    uint16_t status = find(n, c, ns);

    if (status)
        return status;
    if (transfers && blocks << (*ns)->shift > (n->mdts ? (uint64_t)NVME_PAGE << n->mdts : TRANSFER_MAX))
        return INVALID_FIELD | NVME_DNR;
    if (!in_range(c->slba, blocks, nvme_blocks(*ns)))
        return LBA_OUT_OF_RANGE | NVME_DNR;
    if (r->op != BLK_READ && disk_readonly((*ns)->disk))
        return READ_ONLY_RANGE | NVME_DNR;
    r->off = c->slba << (*ns)->shift;
    r->len = blocks << (*ns)->shift;
    return NVME_OK;
}

static uint16_t move(Nvme *n, NvmeCmd *c, BlkOp op)
{
    BlkReq r = { .op = op, .flags = op == BLK_WRITE && c->dw12 & FORCE_UNIT_ACCESS ? BLK_FUA : 0 };
    DmaSg sg;
    NvmeNs *ns;
    NvmeReq *q;
    uint16_t status = extent(n, c, &ns, true, &r);

    if (!status)
        status = nvme_map(n, c, r.len, op == BLK_READ ? DMA_TO_RAM : DMA_FROM_RAM, &sg);
    if (status)
        return status;
    q = request(n, ns, c, r);
    q->sg = sg;
    q->mapped = true;
    q->r.iov = (struct iovec *)(void *)q->sg.iov->data;
    q->r.niov = (int)q->sg.iov->len;
    return go(q);
}

static uint16_t read_blocks(Nvme *n, NvmeCmd *c) { return move(n, c, BLK_READ); }
static uint16_t write_blocks(Nvme *n, NvmeCmd *c) { return move(n, c, BLK_WRITE); }

static uint16_t compare_blocks(Nvme *n, NvmeCmd *c)
{
    BlkReq r = { .op = BLK_READ };
    DmaSg sg;
    NvmeNs *ns;
    NvmeReq *q;
    uint16_t status = extent(n, c, &ns, true, &r);

    if (!status)
        status = nvme_map(n, c, r.len, DMA_FROM_RAM, &sg);
    if (status)
        return status;
    q = request(n, ns, c, r);
    q->sg = sg;
    q->mapped = true;
    q->buf = g_malloc(r.len);
    q->iov = (struct iovec){ q->buf, r.len };
    q->r.iov = &q->iov;
    q->r.niov = 1;
    return go(q);
}

static uint16_t write_zeroes(Nvme *n, NvmeCmd *c)
{
    BlkReq r = { .op = BLK_ZERO, .flags = (c->dw12 & DEALLOCATE ? BLK_MAY_UNMAP : 0) | (c->dw12 & FORCE_UNIT_ACCESS ? BLK_FUA : 0) };
    NvmeNs *ns;
    uint16_t status = extent(n, c, &ns, false, &r);

    return status ? status : go(request(n, ns, c, r));
}

/* ---- commands of several steps ---- */
/* Dataset management: the ranges, one after the other. */
static bool next_range(NvmeReq *q)
{
    while (q->step < q->steps) {
        const uint8_t *e = q->buf + (size_t)RANGE * q->step++;
        uint64_t blocks = le32_load(e + 4);

        if (!blocks)
            continue;
        q->r = (BlkReq){ .op = BLK_DISCARD, .off = le64_load(e + 8) << q->ns->shift, .len = blocks << q->ns->shift };
        go(q);
        return true;
    }
    return false;
}

static bool next_namespace(NvmeReq *q)
{
    while (q->step < q->steps) {
        NvmeNs *ns = q->n->ns[++q->step];

        if (ns && disk_present(ns->disk)) {
            q->ns = ns;
            go(q);
            return true;
        }
    }
    return false;
}

static bool submit_next(NvmeReq *q)
{
    if (q->step == q->steps)
        return false;
    return q->c.opcode == 0x09 && q->c.sqid && !q->inner ? next_range(q) : next_namespace(q);
}

static uint16_t dataset_management(Nvme *n, NvmeCmd *c)
{
    NvmeNs *ns;
    NvmeReq *q;
    uint16_t status = find(n, c, &ns);
    unsigned ranges = (c->dw10 & 0xff) + 1;

    if (status)
        return status;
    if (!(c->dw11 & DSM_DEALLOCATE))
        return NVME_OK; /* the others are hints */
    if (disk_readonly(ns->disk))
        return READ_ONLY_RANGE | NVME_DNR;
    q = request(n, ns, c, (BlkReq){ .op = BLK_DISCARD });
    q->steps = ranges;
    q->buf = g_malloc(RANGES_MAX * RANGE);
    status = nvme_from_guest(n, c, q->buf, (uint64_t)ranges * RANGE);
    for (unsigned i = 0; !status && i < ranges; i++)
        if (!in_range(le64_load(q->buf + RANGE * i + 8), le32_load(q->buf + RANGE * i + 4), nvme_blocks(ns)))
            status = LBA_OUT_OF_RANGE | NVME_DNR;
    return !status && next_range(q) ? NVME_LATER : take_back(q, status);
}

static uint16_t flush_all(Nvme *n, const NvmeCmd *c, bool inner)
{
    NvmeReq *q = request(n, NULL, c, (BlkReq){ .op = BLK_FLUSH });

    q->inner = inner;
    q->steps = NVME_NS_MAX;
    return next_namespace(q) ? NVME_LATER : take_back(q, NVME_OK);
}

static uint16_t flush(Nvme *n, NvmeCmd *c)
{
    NvmeNs *ns;
    uint16_t status;

    if (c->nsid == UINT32_MAX)
        return flush_all(n, c, false);
    status = find(n, c, &ns);
    return status ? status : go(request(n, ns, c, (BlkReq){ .op = BLK_FLUSH }));
}

void nvme_shutdown(Nvme *n)
{
    NvmeCmd none = { .sqid = 0 };

    n->csts = (n->csts & ~(uint32_t)CSTS_SHST) | SHST_BUSY;
    if (flush_all(n, &none, true) == NVME_OK)
        n->csts = (n->csts & ~(uint32_t)CSTS_SHST) | SHST_DONE;
}

/* ---- waiting ---- */
void nvme_settle_disks(Nvme *n)
{
    for (unsigned i = 1; i <= NVME_NS_MAX && n->flying; i++)
        if (n->ns[i])
            disk_cancel_all(n->ns[i]->disk);
}

/* The commands are forgotten; the memory stays pinned until the disks are done with it. */
void nvme_forget(Nvme *n)
{
    for (NvmeReq *q = n->first; q; q = q->next) {
        q->c.sqid = NOBODY;
        q->inner = false;
        q->step = q->steps;
    }
    nvme_settle_disks(n);
}

/* Oldest first. */
void nvme_save_flying(const Dev *d, struct StateOut *o)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    for (NvmeReq *q = NVME_CONST(d)->first; q; q = q->next)
        if (q->c.sqid != NOBODY && !q->inner)
            g_ptr_array_insert(all, 0, q);
    put_u16(o, (uint16_t)all->len);
    for (guint i = 0; i < all->len; i++) {
        const NvmeReq *q = all->pdata[i];

        put_u16(o, q->c.sqid);
        put_bytes(o, q->c.raw, sizeof(q->c.raw));
    }
}

/* clang-format off */
static const NvmeOp ops[] = {
    { 0x00, false, "Flush", flush }, { 0x01, true, "Write", write_blocks }, { 0x02, false, "Read", read_blocks },
    { 0x05, false, "Compare", compare_blocks }, { 0x08, true, "Write Zeroes", write_zeroes },
    { 0x09, true, "Dataset Management", dataset_management },
};
/* clang-format on */
const NvmeOps nvme_io_ops = TABLE(ops);
