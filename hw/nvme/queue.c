/*
 * hw/nvme/queue.c - submission and completion queues, doorbells, interrupts. Source: NVM Express 1.4 sections 3.1.24,
 * 4.1, 4.6, 7.5.
 * Invariants: head and tail of a queue are at most `last`; a command leaves its submission queue only when the
 * completion queue has room for what is owed to it and one more.
 */
#include "hw/nvme/nvme.h"

static unsigned used(const NvmeCq *q) { return (q->tail + q->last + 1u - q->head) % (q->last + 1u); }

bool nvme_room(const Nvme *n, unsigned cqid)
{
    const NvmeCq *q = &n->cq[cqid];

    return used(q) + n->owed[cqid] < q->last;
}

/* CSTS.CFS: nothing is done until the driver resets the controller. */
void nvme_fatal(Nvme *n, const char *why)
{
    guest_error(&n->pci.dev, "fatal: %s", why);
    n->csts |= CSTS_CFS;
}

/* ---- interrupts ---- */
bool nvme_asserted(const Nvme *n)
{
    if (pci_msix_on(&n->pci))
        return false;
    for (unsigned i = 0; i < NVME_QUEUES; i++) {
        const NvmeCq *q = &n->cq[i];

        if (q->live && q->irq && q->head != q->tail && q->vector < 32 && !(n->intms >> q->vector & 1))
            return true;
    }
    return false;
}

/* ---- completions ---- */
static void post(Nvme *n, const NvmeCmd *c, uint16_t status)
{
    NvmeSq *sq = &n->sq[c->sqid];
    NvmeCq *cq = &n->cq[sq->cqid];
    uint8_t e[NVME_CQE] = { 0 };

    le32_store(e, c->result);
    le16_store(e + 8, sq->head);
    le16_store(e + 10, c->sqid);
    le16_store(e + 12, c->cid);
    le16_store(e + 14, (uint16_t)(status << 1 | cq->phase));
    if (!dma_write(&n->pci.dev, cq->base + (uint64_t)cq->tail * NVME_CQE, e, sizeof(e))) {
        nvme_fatal(n, "a completion queue cannot be written");
        return;
    }
    cq->tail = cq->tail == cq->last ? 0 : (uint16_t)(cq->tail + 1);
    cq->phase ^= cq->tail == 0;
    if (cq->irq && pci_msix_on(&n->pci))
        pci_msix_send(&n->pci, cq->vector);
}

/* Ends a command that nvme_start took. */
void nvme_complete(Nvme *n, const NvmeCmd *c, uint16_t status)
{
    n->owed[n->sq[c->sqid].cqid]--;
    if (status)
        nvme_log_error(n, c, status);
    post(n, c, status);
}

/* ---- submissions ---- */
void nvme_parse(NvmeCmd *c, const uint8_t *raw, uint16_t sqid)
{
    memmove(c->raw, raw, NVME_SQE);
    c->sqid = sqid;
    c->opcode = raw[0];
    c->cid = le16_load(raw + 2);
    c->nsid = le32_load(raw + 4);
    c->prp1 = le64_load(raw + 24);
    c->prp2 = le64_load(raw + 32);
    c->dw10 = le32_load(raw + 40);
    c->dw11 = le32_load(raw + 44);
    c->dw12 = le32_load(raw + 48);
    c->dw13 = le32_load(raw + 52);
    c->dw14 = le32_load(raw + 56);
    c->slba = le64_load(raw + 40);
    c->result = 0;
}

void nvme_start(Nvme *n, NvmeCmd *c)
{
    const NvmeOps *ops = c->sqid ? &nvme_io_ops : &nvme_admin_ops;
    uint16_t status = INVALID_OPCODE | NVME_DNR;

    n->owed[n->sq[c->sqid].cqid]++;
    if (c->raw[1] & 3) /* fused */
        status = INVALID_FIELD | NVME_DNR;
    else
        for (size_t i = 0; i < ops->n; i++)
            if (ops->v[i].code == c->opcode)
                status = ops->v[i].fn(n, c);
    if (status == (INVALID_OPCODE | NVME_DNR))
        guest_unimp(&n->pci.dev, "%s command %#x", c->sqid ? "I/O" : "admin", c->opcode);
    if (status != NVME_LATER)
        nvme_complete(n, c, status);
}

static bool fetch(Nvme *n, unsigned i, NvmeCmd *c)
{
    NvmeSq *q = &n->sq[i];
    uint8_t raw[NVME_SQE];

    if (!dma_read(&n->pci.dev, q->base + (uint64_t)q->head * NVME_SQE, raw, sizeof(raw))) {
        nvme_fatal(n, "a submission queue cannot be read");
        return false;
    }
    q->head = q->head == q->last ? 0 : (uint16_t)(q->head + 1);
    nvme_parse(c, raw, (uint16_t)i);
    return true;
}

static bool running(const Nvme *n) { return (n->csts & (CSTS_RDY | CSTS_CFS)) == CSTS_RDY; }

/* Bounded by what a queue holds: a command cannot move its own tail. */
static void serve_queue(Nvme *n, unsigned i)
{
    NvmeSq *q = &n->sq[i];
    NvmeCmd c;

    for (unsigned k = 0; k <= UINT16_MAX && running(n) && q->live && q->head != q->tail && n->flying < NVME_FLYING_MAX && nvme_room(n, q->cqid) &&
                         fetch(n, i, &c); k++)
        nvme_start(n, &c);
}

void nvme_serve(Nvme *n)
{
    if (n->serving) /* a completion inside a command that waited for the disks */
        return;
    n->serving = true;
    for (unsigned i = 0; i < NVME_QUEUES; i++)
        serve_queue(n, i);
    nvme_tell(n);
    n->serving = false;
}

/* ---- doorbells ---- */
static bool rung(Nvme *n, bool live, uint64_t val, unsigned last)
{
    if (!running(n))
        return false;
    if (!live || val > last) {
        guest_error(&n->pci.dev, "doorbell: %s", live ? "no such entry" : "no such queue");
        nvme_event(n, live ? EVENT_DOORBELL_VALUE : EVENT_DOORBELL_REGISTER);
        return false;
    }
    return true;
}

void nvme_tail_written(Dev *d, unsigned i, uint64_t val, unsigned lanes)
{
    Nvme *n = NVME(d);
    NvmeSq *q = &n->sq[i];

    val &= UINT16_MAX;
    if (!rung(n, q->live, val, q->last))
        return;
    q->tail = (uint16_t)val;
    nvme_serve(n);
}

void nvme_head_written(Dev *d, unsigned i, uint64_t val, unsigned lanes)
{
    Nvme *n = NVME(d);
    NvmeCq *q = &n->cq[i];

    val &= UINT16_MAX;
    if (!rung(n, q->live, val, q->last))
        return;
    /* not beyond what was posted */
    if ((val + q->last + 1u - q->head) % (q->last + 1u) > used(q)) {
        guest_error(&n->pci.dev, "doorbell: completion queue %u has no entry before %u", i, (unsigned)val);
        nvme_event(n, EVENT_DOORBELL_VALUE);
        return;
    }
    q->head = (uint16_t)val;
    if (q->irq && q->head != q->tail && pci_msix_on(&n->pci))
        pci_msix_send(&n->pci, q->vector); /* more waits than the driver took */
    nvme_serve(n);
}
