/*
 * hw/nvme/admin.c - admin commands: queues, features, events. Source: NVM Express 1.4 section 5.
 */
#include "hw/nvme/nvme.h"

enum { CONTIGUOUS = 1, QUEUE_IRQ = 2 }; /* dword 11 of the commands that create queues */

/* ---- queues ---- */
static bool io_queue(const Nvme *n, uint32_t id) { return id && id <= n->max_ioqpairs; }

static uint16_t create_sq(Nvme *n, NvmeCmd *c)
{
    uint32_t id = c->dw10 & 0xffff, last = c->dw10 >> 16, cqid = c->dw11 >> 16;
    NvmeSq *q;

    if (!io_queue(n, cqid) || !n->cq[cqid].live)
        return INVALID_CQ | NVME_DNR;
    if (!io_queue(n, id) || n->sq[id].live)
        return INVALID_QUEUE_ID | NVME_DNR;
    if (!last || last >= NVME_ENTRIES_MAX)
        return INVALID_QUEUE_SIZE | NVME_DNR;
    if (!(c->dw11 & CONTIGUOUS) || c->prp1 % NVME_PAGE)
        return (c->dw11 & CONTIGUOUS ? INVALID_PRP_OFFSET : INVALID_FIELD) | NVME_DNR;
    q = &n->sq[id];
    *q = (NvmeSq){ .base = c->prp1, .last = (uint16_t)last, .cqid = (uint16_t)cqid, .live = true,
                    .priority = c->dw11 >> 1 & 3 };
    return NVME_OK;
}

static uint16_t create_cq(Nvme *n, NvmeCmd *c)
{
    uint32_t id = c->dw10 & 0xffff, last = c->dw10 >> 16, vector = c->dw11 >> 16;

    if (!io_queue(n, id) || n->cq[id].live)
        return INVALID_QUEUE_ID | NVME_DNR;
    if (!last || last >= NVME_ENTRIES_MAX)
        return INVALID_QUEUE_SIZE | NVME_DNR;
    if (vector >= (pci_msix_on(&n->pci) ? n->pci.msix_vectors : 1u))
        return INVALID_VECTOR | NVME_DNR;
    if (!(c->dw11 & CONTIGUOUS) || c->prp1 % NVME_PAGE)
        return (c->dw11 & CONTIGUOUS ? INVALID_PRP_OFFSET : INVALID_FIELD) | NVME_DNR;
    n->cq[id] = (NvmeCq){ .base = c->prp1, .last = (uint16_t)last, .vector = (uint16_t)vector, .live = true, .phase = true,
                          .irq = c->dw11 & QUEUE_IRQ ? 1 : 0 };
    return NVME_OK;
}

/* What it had taken is answered first. */
static uint16_t delete_sq(Nvme *n, NvmeCmd *c)
{
    uint32_t id = c->dw10 & 0xffff;

    if (!io_queue(n, id) || !n->sq[id].live)
        return INVALID_QUEUE_ID | NVME_DNR;
    nvme_settle_disks(n);
    n->sq[id].live = false;
    return NVME_OK;
}

static uint16_t delete_cq(Nvme *n, NvmeCmd *c)
{
    uint32_t id = c->dw10 & 0xffff;

    if (!io_queue(n, id) || !n->cq[id].live)
        return INVALID_QUEUE_ID | NVME_DNR;
    for (unsigned i = 1; i < NVME_QUEUES; i++)
        if (n->sq[i].live && n->sq[i].cqid == id)
            return INVALID_QUEUE_DELETION | NVME_DNR;
    n->cq[id].live = false;
    return NVME_OK;
}

/* Section 5.1: a controller may say of each command that it was not aborted. */
static uint16_t abort_command(Nvme *n, NvmeCmd *c)
{
    c->result = 1;
    return NVME_OK;
}

/* ---- features ---- */
enum { ARBITRATION, POWER, TEMPERATURE, RECOVERY, WRITE_CACHE, QUEUE_COUNT, COALESCING, VECTOR_CONFIG, ATOMICITY, EVENT_CONFIG, TIMESTAMP };
static const struct {
    uint8_t id;
    uint32_t def, settable;
} features[] = {
    [ARBITRATION] = { 0x01, 7, 0xffffff07 },
    [POWER] = { 0x02, 0, 0xe0 }, /* one power state; a workload hint */
    [TEMPERATURE] = { 0x04, 0x157, 0x3fffff },
    [RECOVERY] = { 0x05, 0, 0xffff },
    [WRITE_CACHE] = { 0x06, 1, 1 },
    [QUEUE_COUNT] = { 0x07, 0, 0 },
    [COALESCING] = { 0x08, 0, 0xffff },
    [VECTOR_CONFIG] = { 0x09, 0, 0 },
    [ATOMICITY] = { 0x0a, 0, 1 },
    [EVENT_CONFIG] = { 0x0b, 0, 0x1ff },
    [TIMESTAMP] = { 0x0e, 0, 0 },
};
G_STATIC_ASSERT(G_N_ELEMENTS(features) == NVME_FEATURES);
enum { NAMESPACE_NOTICES = 1 << 8 };

void nvme_features_reset(Nvme *n)
{
    for (unsigned i = 0; i < NVME_FEATURES; i++)
        n->feature[i] = features[i].def;
    memset(n->vector_config, 0, sizeof(n->vector_config));
    n->stamp = 0;
    n->stamped = clock_now(&n->pci.dev);
}

static int feature_index(const NvmeCmd *c)
{
    for (unsigned i = 0; i < NVME_FEATURES; i++)
        if (features[i].id == (c->dw10 & 0xff))
            return (int)i;
    return -1;
}

static uint32_t granted(const Nvme *n) { return (n->max_ioqpairs - 1) << 16 | (n->max_ioqpairs - 1); }

static uint16_t vector_config(Nvme *n, NvmeCmd *c, bool set)
{
    uint32_t v = c->dw11 & 0xffff;

    if (v >= n->pci.msix_vectors)
        return INVALID_FIELD | NVME_DNR;
    if (set)
        n->vector_config[v] = c->dw11 >> 16 & 1;
    c->result = v | (uint32_t)n->vector_config[v] << 16;
    return NVME_OK;
}

static uint64_t timestamp(const Nvme *n) { return n->stamp + (uint64_t)(clock_now(&n->pci.dev) - n->stamped) / MS; }

/* Section 5.21.1.14: 48 bits of milliseconds; origin 1: the host set it. */
static uint16_t get_timestamp(Nvme *n, NvmeCmd *c)
{
    uint8_t b[8];

    le64_store(b, (timestamp(n) & ones(48)) | (n->stamp ? 2ull << 48 : 0));
    return nvme_to_guest(n, c, b, sizeof(b));
}

static uint16_t set_timestamp(Nvme *n, NvmeCmd *c)
{
    uint8_t b[8];
    uint16_t status = nvme_from_guest(n, c, b, sizeof(b));

    if (status)
        return status;
    n->stamp = le64_load(b) & ones(48);
    n->stamped = clock_now(&n->pci.dev);
    return NVME_OK;
}

static uint16_t get_features(Nvme *n, NvmeCmd *c)
{
    int i = feature_index(c);
    unsigned select = c->dw10 >> 8 & 7;

    if (i < 0 || select > 3)
        return INVALID_FIELD | NVME_DNR;
    if (select == 3) { /* capabilities: changeable, nothing is saved */
        c->result = features[i].settable || i == QUEUE_COUNT || i == VECTOR_CONFIG || i == TIMESTAMP ? 4 : 0;
        return NVME_OK;
    }
    c->result = select ? features[i].def : n->feature[i];
    switch (i) {
    case QUEUE_COUNT: c->result = granted(n); return NVME_OK;
    case VECTOR_CONFIG: return vector_config(n, c, false);
    case TIMESTAMP: return get_timestamp(n, c);
    default: return NVME_OK;
    }
}

static bool io_queues(const Nvme *n)
{
    for (unsigned i = 1; i < NVME_QUEUES; i++)
        if (n->cq[i].live || n->sq[i].live)
            return true;
    return false;
}

static uint16_t set_features(Nvme *n, NvmeCmd *c)
{
    int i = feature_index(c);

    if (i < 0)
        return INVALID_FIELD | NVME_DNR;
    if (c->dw10 >> 31)
        return NOT_SAVEABLE | NVME_DNR;
    switch (i) {
    case QUEUE_COUNT:
        if ((c->dw11 & 0xffff) == 0xffff || c->dw11 >> 16 == 0xffff)
            return INVALID_FIELD | NVME_DNR;
        c->result = granted(n);
        return io_queues(n) ? COMMAND_SEQUENCE_ERROR | NVME_DNR : NVME_OK;
    case VECTOR_CONFIG: return vector_config(n, c, true);
    case TIMESTAMP: return set_timestamp(n, c);
    default: break;
    }
    if (c->dw11 & ~features[i].settable)
        return INVALID_FIELD | NVME_DNR;
    n->feature[i] = c->dw11;
    return NVME_OK;
}

/* ---- events: section 5.2 ---- */
static const struct {
    uint8_t type, info, log;
} events[] = {
    [EVENT_DOORBELL_REGISTER] = { 0, 0, 1 },
    [EVENT_DOORBELL_VALUE] = { 0, 1, 1 },
    [EVENT_NAMESPACE] = { 2, 0, 4 },
};

void nvme_event(Nvme *n, unsigned event)
{
    if (event == EVENT_NAMESPACE && !(n->feature[EVENT_CONFIG] & NAMESPACE_NOTICES))
        return;
    n->events |= (uint8_t)(1u << event);
}

/* A type that was told is quiet until its log page was read. */
void nvme_tell(Nvme *n)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(events); i++) {
        NvmeCmd c = { .sqid = 0, .result = events[i].type | (uint32_t)events[i].info << 8 | (uint32_t)events[i].log << 16 };

        if (!(n->events >> i & 1) || n->masked >> events[i].type & 1 || !n->aers || !(n->csts & CSTS_RDY) || !nvme_room(n, 0))
            continue;
        c.cid = n->aer[0];
        n->aers--;
        memmove(n->aer, n->aer + 1, n->aers * sizeof(n->aer[0]));
        n->events &= (uint8_t)~(1u << i);
        n->masked |= (uint8_t)(1u << events[i].type);
        n->owed[0]++;
        nvme_complete(n, &c, NVME_OK);
    }
}

/* Nothing is owed for it until the event comes: it may wait for ever. */
static uint16_t event_request(Nvme *n, NvmeCmd *c)
{
    if (n->aers == NVME_AER_MAX)
        return AER_LIMIT | NVME_DNR;
    n->aer[n->aers++] = c->cid;
    n->owed[0]--;
    return NVME_LATER;
}

static const NvmeOp ops[] = {
    { 0x00, false, "Delete I/O Submission Queue", delete_sq },
    { 0x01, false, "Create I/O Submission Queue", create_sq },
    { 0x02, false, "Get Log Page", nvme_get_log },
    { 0x04, false, "Delete I/O Completion Queue", delete_cq },
    { 0x05, false, "Create I/O Completion Queue", create_cq },
    { 0x06, false, "Identify", nvme_identify },
    { 0x08, false, "Abort", abort_command },
    { 0x09, false, "Set Features", set_features },
    { 0x0a, false, "Get Features", get_features },
    { 0x0c, false, "Asynchronous Event Request", event_request },
};
const NvmeOps nvme_admin_ops = TABLE(ops);
