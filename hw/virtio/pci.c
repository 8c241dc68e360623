/*
 * hw/virtio/pci.c - the PCI transport of virtio 1.x: common configuration, notification, ISR and device
 * configuration in one memory BAR, described as a register table.
 * Source: virtio 1.2 section 4.1. Left out: the legacy interface (devices are modern only) and access through
 * configuration space.
 */
#include "hw/virtio/virtio.h"

enum { ISR = 0x1000, CONFIG = 0x2000, NOTIFY = 0x3000, BAR = 4, CONFIG_MAX = 256, NOTIFY_STEP = 4 };
#define NO_VECTOR 0xffff

static const Virtio *of(const Dev *d) { return (const Virtio *)(const void *)d; }

static uint64_t offered(const Virtio *v)
{
    const VirtioClass *c = virtio_class(v);

    return VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX | (c->features ? c->features(v) : 0);
}

/* ---- reset ---- */
static void reset_queues(Virtio *v)
{
    const VirtioClass *c = virtio_class(v);

    memset(v->q, 0, sizeof(v->q));
    memset(v->qr, 0, sizeof(v->qr));
    for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
        v->qr[i].size = i < c->queues ? c->queue_size : 0;
        v->qr[i].vector = NO_VECTOR;
    }
    v->config_vector = NO_VECTOR;
}

static void reset(Virtio *v)
{
    const VirtioClass *c = virtio_class(v);

    v->status = v->isr = 0;
    v->device_select = v->driver_select = 0;
    v->driver_features[0] = v->driver_features[1] = 0;
    v->queue_select = 0;
    if (c->reset)
        c->reset(v); /* what is in flight ends before the queues go */
    reset_queues(v);
}

static void status_w(Dev *d, uint64_t old)
{
    Virtio *v = VIRTIO(d);
    uint64_t f = (uint64_t)v->driver_features[1] << 32 | v->driver_features[0];

    if (!v->status) {
        reset(v);
        return;
    }
    v->status |= old & VIRTIO_S_NEEDS_RESET;
    if (v->status & ~old & VIRTIO_S_FEATURES_OK && (f & ~offered(v) || !(f & VIRTIO_F_VERSION_1))) {
        guest_error(d, "features %#" PRIx64 " are not what is offered", f);
        v->status &= (uint8_t)~VIRTIO_S_FEATURES_OK;
    }
}

/* ---- common configuration ---- */
static uint64_t device_features(const Dev *d)
{
    const Virtio *v = of(d);

    return v->device_select < 2 ? offered(v) >> 32 * v->device_select & UINT32_MAX : 0;
}
static unsigned driver_select(const Dev *d) { return of(d)->driver_select; }
static bool negotiating(const Dev *d) { return !(of(d)->status & VIRTIO_S_FEATURES_OK); }
static uint64_t num_queues(const Dev *d) { return virtio_class(of(d))->queues; }
static uint64_t notify_off(const Dev *d) { return of(d)->queue_select; }

static unsigned queue(const Dev *d)
{
    const Virtio *v = of(d);

    return v->queue_select < virtio_class(v)->queues ? v->queue_select : VIRTIO_QUEUES;
}

static bool queue_off(const Dev *d)
{
    unsigned n = queue(d);

    return n < VIRTIO_QUEUES && !of(d)->qr[n].enable;
}

static void size_w(Dev *d, uint64_t old)
{
    Virtio *v = VIRTIO(d);
    VirtioQueueRegs *r = &v->qr[v->queue_select];

    if (is_pow2(r->size) && r->size <= virtio_class(v)->queue_size)
        return;
    guest_error(d, "queue size %u", r->size);
    r->size = (uint16_t)old;
}

static void enable_w(Dev *d, uint64_t old)
{
    Virtio *v = VIRTIO(d);

    v->qr[v->queue_select].enable |= (uint16_t)old; /* only a reset turns it off */
}

static void notify(Dev *d, unsigned n, uint64_t val, unsigned lanes)
{
    Virtio *v = VIRTIO(d);

    if (n < virtio_class(v)->queues && v->qr[n].enable && virtio_live(v))
        virtio_class(v)->notified(v, n);
}

/* ---- device configuration ---- */
static uint64_t config_byte(const Dev *d, unsigned n)
{
    const VirtioClass *c = virtio_class(of(d));
    uint8_t b[CONFIG_MAX] = { 0 };

    if (n >= c->config_size)
        return 0;
    c->config(of(d), b);
    return b[n];
}

static void config_byte_w(Dev *d, unsigned n, uint64_t val, unsigned lanes)
{
    const VirtioClass *c = virtio_class(of(d));

    if (c->config_w && n < c->config_size)
        c->config_w(VIRTIO(d), n, (uint8_t)val);
    else
        guest_error(d, "write to byte %u of the configuration", n);
}

/* ---- life ---- */
static void cap(Virtio *v, uint8_t type, uint8_t len, uint32_t off, uint32_t size)
{
    uint8_t *p = v->pci.config + pci_add_cap(&v->pci, 9, len);

    p[2] = len;
    p[3] = type;
    p[4] = BAR;
    le32_store(p + 8, off);
    le32_store(p + 12, size);
    if (type == 2)
        le32_store(p + 16, NOTIFY_STEP);
}

static const Bank bank;

static bool init(Obj *o, Error **err)
{
    Virtio *v = VIRTIO(o);

    pci_set_bar(&v->pci, BAR, dev_region_bank(&v->pci.dev, &bank), BAR_64 | BAR_PREFETCH);
    cap(v, 1, 16, 0, 0x38);
    cap(v, 3, 16, ISR, 1);
    cap(v, 4, 16, CONFIG, 0x1000);
    cap(v, 2, 20, NOTIFY, NOTIFY_STEP * VIRTIO_QUEUES);
    return true;
}

static void on_reset(Dev *d) { reset(VIRTIO(d)); }

static bool check(const Dev *d, Error **err)
{
    const Virtio *v = of(d);

    for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
        unsigned max = i < virtio_class(v)->queues ? virtio_class(v)->queue_size : 0;

        if (v->qr[i].size > max || (max && !is_pow2(v->qr[i].size)) || (v->qr[i].enable && !max))
            return fail(err, "queue %u: impossible size", i);
    }
    return true;
}

static bool intx_level(const Dev *d) { return of(d)->isr; }
const Out virtio_outs[1] = { { "intx", intx_level } };

/* clang-format off */
#define QUEUE(m) .at = offsetof(Virtio, qr[0].m), .size = sizeof(((VirtioQueueRegs *)0)->m), .count = VIRTIO_QUEUES, \
    .at_stride = sizeof(VirtioQueueRegs), .select = queue
static const Reg regs[] = {
    { "device_feature_select", 0x00, REG(Virtio, device_select), .rw = UINT32_MAX },
    { "device_feature",        0x04, NOFIELD(4), .value = device_features },
    { "driver_feature_select", 0x08, REG(Virtio, driver_select), .rw = UINT32_MAX },
    { "driver_feature",        0x0c, .at = offsetof(Virtio, driver_features), .size = 4, .count = 2, .at_stride = 4,
      .select = driver_select, .rw = UINT32_MAX, .when = negotiating },
    { "config_msix_vector",    0x10, REG(Virtio, config_vector), .rw = 0xffff },
    { "num_queues",            0x12, NOFIELD(2), .value = num_queues },
    { "device_status",         0x14, REG(Virtio, status), .rw = 0xff, .write = status_w },
    { "config_generation",     0x15, REG(Virtio, generation) },
    { "queue_select",          0x16, REG(Virtio, queue_select), .rw = 0xffff },
    { "queue_size",            0x18, QUEUE(size), .rw = 0xffff, .when = queue_off, .write = size_w },
    { "queue_msix_vector",     0x1a, QUEUE(vector), .rw = 0xffff },
    { "queue_enable",          0x1c, QUEUE(enable), .rw = 1, .write = enable_w },
    { "queue_notify_off",      0x1e, NOFIELD(2), .value = notify_off },
    { "queue_desc",            0x20, QUEUE(desc), .rw = ~0ull, .when = queue_off },
    { "queue_driver",          0x28, QUEUE(driver), .rw = ~0ull, .when = queue_off },
    { "queue_device",          0x30, QUEUE(device), .rw = ~0ull, .when = queue_off },
    { "ISR status",       ISR,    REG(Virtio, isr), .rc = 0xff },
    { "device-specific",  CONFIG, NOFIELD(1), ARRAY(CONFIG_MAX, 1, 0), .value_n = config_byte, .wrote_n = config_byte_w },
    { "notify",           NOTIFY, NOFIELD(4), ARRAY(VIRTIO_QUEUES, NOTIFY_STEP, 0), .wrote_n = notify },
};
static const Bank bank = { "virtio-pci", 0x4000, TABLE(regs), .quiet = true };
static const Field queue_reg_fields[] = {
    FIELD(VirtioQueueRegs, desc), FIELD(VirtioQueueRegs, driver), FIELD(VirtioQueueRegs, device), FIELD(VirtioQueueRegs, size),
    FIELD(VirtioQueueRegs, vector), FIELD(VirtioQueueRegs, enable), TRANSIENT(VirtioQueueRegs, pad, "padding"),
};
static const FieldTable queue_reg_table = TABLE(queue_reg_fields);
static const Field queue_fields[] = {
    FIELD(VirtioQueue, last_avail), FIELD(VirtioQueue, used), FIELD(VirtioQueue, signalled), FIELD(VirtioQueue, signalled_valid),
};
static const FieldTable queue_table = TABLE(queue_fields);
static const Field fields[] = { STRUCTS(Virtio, qr, &queue_reg_table), STRUCTS(Virtio, q, &queue_table) };
const DevClass virtio_base = {
    .obj = { .name = "virtio-pci-device", .size = sizeof(Virtio), .init = init }, .base = &pci_base,
    .state = TABLE(fields), .banks = &bank, .nbanks = 1, .on_reset = on_reset, .check = check, .hotplug = true,
};
/* clang-format on */
