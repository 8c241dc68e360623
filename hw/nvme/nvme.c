/*
 * hw/nvme/nvme.c - an NVM Express controller: registers, reset, life. Source: NVM Express 1.4 section 3.1, 7.3, 7.6.
 * Left out: SGLs, metadata, controller memory buffer, namespace management, more than one controller of a subsystem.
 */
#include "hw/nvme/nvme.h"
#include "core/state.h"

enum { BAR_SIZE = 0x4000, MPS_MAX = 4 };
enum { CC_SETTABLE = 0x00fffff1 };

/* Section 3.1.1: 2048 entries, contiguous queues, 7.5 s to be ready, NVM command set, pages of 4 to 64 KiB. */
static uint64_t cap(const Dev *d)
{
    return (NVME_ENTRIES_MAX - 1) | 1 << 16 | 15ull << 24 | 1ull << 37 | (uint64_t)MPS_MAX << 52;
}
static uint64_t version(const Dev *d) { return 0x00010400; }
static uint64_t mask(const Dev *d) { return NVME_CONST(d)->intms; }
static void mask_set(Dev *d, uint64_t v, unsigned lanes) { NVME(d)->intms |= (uint32_t)v; }
static void mask_clear(Dev *d, uint64_t v, unsigned lanes) { NVME(d)->intms &= ~(uint32_t)v; }
static bool disabled(const Dev *d) { return !(NVME_CONST(d)->cc & CC_EN); }
static bool intx(const Dev *d) { return nvme_asserted(NVME_CONST(d)); }

/* ---- controller reset: section 7.3.2 ---- */
static void stop(Nvme *n)
{
    nvme_forget(n);
    memset(n->sq, 0, sizeof(n->sq));
    memset(n->cq, 0, sizeof(n->cq));
    memset(n->owed, 0, sizeof(n->owed));
    n->aers = n->events = n->masked = 0;
    n->csts = 0;
    n->intms = 0;
    nvme_features_reset(n);
}

static void enable(Nvme *n)
{
    unsigned mps = n->cc >> 7 & 15, css = n->cc >> 4 & 7, sq = n->aqa & 0xfff, cq = n->aqa >> 16 & 0xfff;

    if (mps > MPS_MAX || css || !sq || !cq || n->asq & 0xfff || n->acq & 0xfff) {
        nvme_fatal(n, "it was enabled with page size, command set or admin queues that it has not");
        return;
    }
    n->sq[0] = (NvmeSq){ .base = n->asq, .last = (uint16_t)sq, .live = true };
    n->cq[0] = (NvmeCq){ .base = n->acq, .last = (uint16_t)cq, .live = true, .phase = true, .irq = true };
    n->csts |= CSTS_RDY;
}

static void cc_w(Dev *d, uint64_t old)
{
    Nvme *n = NVME(d);

    if (!(old & CC_EN) && n->cc & CC_EN) {
        enable(n);
    } else if (old & CC_EN && !(n->cc & CC_EN)) {
        stop(n);
    } else if (n->cc & CC_SHN && !(old & CC_SHN)) {
        nvme_shutdown(n);
    } else if (!(n->cc & CC_SHN) && old & CC_SHN) {
        n->csts &= ~(uint32_t)CSTS_SHST;
    }
}

/* ---- life ---- */
static bool init(Obj *o, Error **err)
{
    Nvme *n = NVME(o);

    if (!n->serial || !*n->serial) {
        fail(err, "nvme needs serial=");
        return error_hint(err, "any text of up to 20 characters: serial=disk0");
    }
    if (strlen(n->serial) > 20)
        return fail(err, "serial=%s is longer than 20 characters", n->serial);
    if (n->max_ioqpairs < 1 || n->max_ioqpairs >= NVME_QUEUES)
        return fail(err, "max_ioqpairs=%u: must be 1 to %d", n->max_ioqpairs, NVME_QUEUES - 1);
    if (n->mdts > 7)
        return fail(err, "mdts=%u: must be 0 (no limit) to 7", n->mdts);
    n->pci.msix_vectors = (uint16_t)(n->max_ioqpairs + 1);
    n->bus = nvme_bus_new(n);
    n->own.disk = n->disk;
    return !n->disk || nvme_ns_open(&n->own, &n->pci.dev, &n->conf, n, 1, err);
}

static void on_reset(Dev *d) { stop(NVME(d)); }
static void unplug(Dev *d) { nvme_forget(NVME(d)); }
static bool drained(const Dev *d) { return !NVME_CONST(d)->flying; }

/* ---- state ---- */
static void drop_again(Dev *d) { g_clear_pointer(&NVME(d)->again, g_byte_array_unref); }

static bool load_flying(Dev *d, StateIn *i, Error **err)
{
    Nvme *n = NVME(d);
    unsigned count = get_u16(i);

    n->again = g_byte_array_new();
    if (count > NVME_FLYING_MAX + NVME_QUEUES)
        return fail(err, "%u requests in flight are too many", count);
    for (unsigned k = 0; k < count; k++) {
        uint8_t e[2 + NVME_SQE];

        le16_store(e, get_u16(i));
        if (!get_bytes(i, e + 2, NVME_SQE) || le16_load(e) >= NVME_QUEUES)
            return fail(err, "a request in flight cannot be so");
        g_byte_array_append(n->again, e, sizeof(e));
    }
    return true;
}

static bool check_queues(const Nvme *n, Error **err)
{
    for (unsigned i = 0; i < NVME_QUEUES; i++) {
        const NvmeSq *s = &n->sq[i];
        const NvmeCq *c = &n->cq[i];

        if (c->phase > 1 || s->last >= NVME_ENTRIES_MAX * 2 || s->head > s->last || s->tail > s->last || s->cqid >= NVME_QUEUES)
            return fail(err, "submission queue %u cannot be so", i);
        if (c->last >= NVME_ENTRIES_MAX * 2 || c->head > c->last || c->tail > c->last)
            return fail(err, "completion queue %u cannot be so", i);
        if (s->live && !n->cq[s->cqid].live)
            return fail(err, "submission queue %u has no completion queue", i);
    }
    return true;
}

static bool check(const Dev *d, Error **err)
{
    const Nvme *n = NVME_CONST(d);

    if (n->aers > NVME_AER_MAX)
        return fail(err, "%u event requests are too many", n->aers);
    if (!check_queues(n, err))
        return false;
    for (guint i = 0; n->again && i < n->again->len; i += 2 + NVME_SQE)
        if (!n->sq[le16_load(n->again->data + i)].live)
            return fail(err, "a request in flight has no queue");
    return true;
}

static void loaded(Dev *d)
{
    Nvme *n = NVME(d);
    g_autoptr(GByteArray) again = g_steal_pointer(&n->again);

    nvme_forget(n); /* what this side had in flight */
    memset(n->owed, 0, sizeof(n->owed));
    for (guint i = 0; again && i < again->len; i += 2 + NVME_SQE) {
        NvmeCmd c;

        nvme_parse(&c, again->data + i + 2, le16_load(again->data + i));
        if (nvme_room(n, n->sq[c.sqid].cqid))
            nvme_start(n, &c);
    }
    if ((n->csts & CSTS_SHST) == SHST_BUSY)
        nvme_shutdown(n);
}

/* clang-format off */
static const Reg regs[] = {
    { "CAP",    0x00, NOFIELD(8), .value = cap },
    { "VS",     0x08, NOFIELD(4), .value = version },
    { "INTMS",  0x0c, NOFIELD(4), .value = mask, .wrote = mask_set },
    { "INTMC",  0x10, NOFIELD(4), .value = mask, .wrote = mask_clear },
    { "CC",     0x14, REG(Nvme, cc), .rw = CC_SETTABLE, .write = cc_w },
    { "CSTS",   0x1c, REG(Nvme, csts) },
    { "NSSR",   0x20, NOFIELD(4), .doc = "no subsystem reset: CAP.NSSRS is 0" },
    { "AQA",    0x24, REG(Nvme, aqa), .rw = 0x0fff0fff, .when = disabled },
    { "ASQ",    0x28, REG(Nvme, asq), .rw = ~0xfffull, .when = disabled },
    { "ACQ",    0x30, REG(Nvme, acq), .rw = ~0xfffull, .when = disabled },
    { "CMBLOC", 0x38, NOFIELD(4) },
    { "CMBSZ",  0x3c, NOFIELD(4) },
    { "SQyTDBL", 0x1000, .at = UINT32_MAX, .size = 4, ARRAY(NVME_QUEUES, 8, 0), .wo = true, .wrote_n = nvme_tail_written },
    { "CQyHDBL", 0x1004, .at = UINT32_MAX, .size = 4, ARRAY(NVME_QUEUES, 8, 0), .wo = true, .wrote_n = nvme_head_written },
};
static const Bank bank = { "nvme", BAR_SIZE, TABLE(regs), .quiet = true };
#define S(m, ...) FIELD(NvmeSq, m, __VA_ARGS__)
#define C(m, ...) FIELD(NvmeCq, m, __VA_ARGS__)
#define E(m, ...) FIELD(NvmeErr, m, __VA_ARGS__)
static const Field sq_fields[] = { S(base), S(last), S(head), S(tail), S(cqid), S(live), S(priority) };
static const Field cq_fields[] = { C(base), C(last), C(head), C(tail), C(vector), C(live), C(phase), C(irq) };
static const Field error_fields[] = { E(count), E(lba), E(nsid), E(sqid), E(cid), E(status) };
static const FieldTable sq_table = TABLE(sq_fields), cq_table = TABLE(cq_fields), error_table = TABLE(error_fields);
static const Field fields[] = {
    FIELD(Nvme, intms), STRUCTS(Nvme, sq, &sq_table), STRUCTS(Nvme, cq, &cq_table), ARRAY_FIELD(Nvme, feature), ARRAY_FIELD(Nvme, vector_config),
    ARRAY_FIELD(Nvme, aer), FIELD(Nvme, aers), FIELD(Nvme, events), FIELD(Nvme, masked), BYTES(Nvme, changed),
    FIELD(Nvme, errors, .keep = true), FIELD(Nvme, stamp), FIELD(Nvme, stamped), STRUCTS(Nvme, error, &error_table, .keep = true),
    CUSTOM(Nvme, again, nvme_save_flying, load_flying, .drop = drop_again, .keep = true),
    TRANSIENT(Nvme, first, "requests of the host; their commands are saved", .keep = true),
    TRANSIENT(Nvme, flying, "counts requests of the host", .keep = true),
    TRANSIENT(Nvme, owed, "counts commands in flight", .keep = true), TRANSIENT(Nvme, serving, "true only inside nvme_serve"),
    TRANSIENT(Nvme, conf, "properties", .keep = true), TRANSIENT(Nvme, own, "wiring", .keep = true), TRANSIENT(Nvme, ns, "wiring", .keep = true), TRANSIENT(Nvme, bus, "wiring", .keep = true),
};
static const Prop props[] = {
    PROP_LINK(Nvme, disk, "drive", "drive", "the disk of namespace 1; others are nvme-ns devices"),
    PROP_BOOTINDEX(Nvme),
    PROPS_DISK(Nvme, conf),
    PROPS_DISK_SIZES(Nvme, conf),
    PROP_STR(Nvme, serial, "serial", NULL, "serial number, up to 20 characters; must be given"),
    PROP(Nvme, max_ioqpairs, "max_ioqpairs", NVME_QUEUES - 1, "pairs of I/O queues"),
    PROP(Nvme, mdts, "mdts", 7, "most data of a command: 4 KiB << mdts; 0: as much as it can ask for"),
};
static const Out outs[] = { { "intx", intx } };
static const PciClass nvme = {
    PCI_DEVICE(Nvme, "nvme", "NVM Express controller"), .dev.category = "Storage devices",
    .dev.obj.init = init, .dev.obj.props = TABLE(props), .dev.state = TABLE(fields), .dev.outs = outs, .dev.nouts = 1, .dev.on_reset = on_reset,
    .dev.check = check, .dev.loaded = loaded, .dev.unplug = unplug, .dev.drained = drained, .dev.hotplug = true,
    .vendor = 0x1b36, .device = 0x0010, .class_id = 0x010802, .revision = 2, .irq_pin = 1, .express = PCIE_ENDPOINT,
    .msix_vectors = NVME_QUEUES, .msix_bar = 4,
    .bar[0] = { .size = BAR_SIZE, .bank = &bank, .flags = BAR_64 },
};
/* clang-format on */
DEVICE_OF(Nvme, nvme, &nvme.dev);
