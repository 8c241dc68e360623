/*
 * hw/virtio/pci.c - the PCI transport of virtio: the modern interface (common configuration, notification, ISR and
 * device configuration in one memory BAR) and what all devices do at reset, negotiation and interrupts. The legacy
 * interface is legacy.c. Source: virtio 1.2 section 4.1. Left out: access through configuration space, reset of single queues.
 */
#include "hw/virtio/pci.h"
#include "hw/virtio/ring.h"

enum { ISR = 0x1000, CONFIG = 0x2000 };
#define NO_VECTOR 0xffff

static const Virtio *of(const Dev *d) { return (const Virtio *)(const void *)d; }

uint64_t virtio__offered(const Virtio *v)
{
    const VirtioClass *c = virtio_class(v);

    return (v->disable_modern ? 0 : VIRTIO_F_VERSION_1) | (v->indirect ? VIRTIO_F_INDIRECT : 0) | (v->event_idx ? VIRTIO_F_EVENT_IDX : 0) |
           (v->packed ? VIRTIO_F_PACKED : 0) | (c->features ? c->features(v) : 0);
}

/* ---- interrupts ---- */
void virtio__interrupt(Virtio *v, unsigned vector, uint8_t isr)
{
    if (pci_msix_on(&v->pci)) {
        if (vector != NO_VECTOR && !virtio__call(v, vector))
            pci_msix_send(&v->pci, vector);
        return;
    }
    v->isr |= isr;
}

void virtio_config_changed(Virtio *v)
{
    v->generation++;
    if (virtio_live(v) || v->status & VIRTIO_S_NEEDS_RESET)
        virtio__interrupt(v, v->config_vector, 2);
}

/* ---- reset and status ---- */
static void reset_queues(Virtio *v)
{
    memset(&v->q, 0, sizeof(v->q));
    for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
        v->q.size[i] = i < v->queues ? virtio_class(v)->queue_size : 0;
        v->q.vector[i] = NO_VECTOR;
    }
    v->config_vector = NO_VECTOR;
}

/* Tells the device that its driver came or went. */
void virtio__tell_live(Virtio *v)
{
    bool now = virtio_live(v);

    if (now == v->was_live)
        return;
    v->was_live = now;
    if (virtio_class(v)->live)
        virtio_class(v)->live(v, now);
}

void virtio__reset(Virtio *v)
{
    const VirtioClass *c = virtio_class(v);

    v->status = v->isr = v->legacy = 0;
    v->device_select = v->driver_select = 0;
    v->driver_features[0] = v->driver_features[1] = 0;
    v->queue_select = 0;
    v->unseen = 0;
    timer_del(&v->look);
    virtio__tell_live(v);
    if (c->reset)
        c->reset(v); /* what is in flight ends before the queues go */
    reset_queues(v);
}

static void status_w(Dev *d, uint64_t old)
{
    Virtio *v = VIRTIO(d);
    uint64_t f = virtio_features(v);

    if (!v->status) {
        virtio__reset(v);
        return;
    }
    v->status |= old & (VIRTIO_S_NEEDS_RESET | VIRTIO_S_FEATURES_OK | VIRTIO_S_DRIVER_OK); /* only a reset clears them */
    if (v->status & ~old & VIRTIO_S_FEATURES_OK && (f & ~virtio__offered(v) || !(f & VIRTIO_F_VERSION_1))) {
        guest_error(d, "features %#" PRIx64 " are not what is offered", f);
        v->status &= (uint8_t)~VIRTIO_S_FEATURES_OK;
    }
    virtio__tell_live(v);
}

/* ---- common configuration ---- */
static uint64_t device_features(const Dev *d)
{
    const Virtio *v = of(d);

    return v->device_select < 2 ? virtio__offered(v) >> 32 * v->device_select & UINT32_MAX : 0;
}
static unsigned driver_select(const Dev *d) { return of(d)->driver_select; }
static bool negotiating(const Dev *d) { return !(of(d)->status & VIRTIO_S_FEATURES_OK); }
static uint64_t num_queues(const Dev *d) { return of(d)->queues; }
static uint64_t notify_off(const Dev *d) { return of(d)->queue_select; }
static unsigned queue(const Dev *d) { return of(d)->queue_select < of(d)->queues ? of(d)->queue_select : VIRTIO_QUEUES; }

static bool queue_off(const Dev *d)
{
    unsigned n = queue(d);

    return n < VIRTIO_QUEUES && !of(d)->q.enable[n];
}

static bool size_ok(const Virtio *v, unsigned size)
{
    return size && size <= virtio_class(v)->queue_size && (virtio_has(v, VIRTIO_F_PACKED) || is_pow2(size));
}

static void size_w(Dev *d, uint64_t old)
{
    Virtio *v = VIRTIO(d);
    uint16_t *size = &v->q.size[v->queue_select];

    if (size_ok(v, *size))
        return;
    guest_error(d, "queue size %u", *size);
    *size = (uint16_t)old;
}

static void enable_w(Dev *d, uint64_t old)
{
    Virtio *v = VIRTIO(d);

    v->q.enable[v->queue_select] |= (uint16_t)old; /* only a reset turns it off */
}

/* A vector that is not there reads back as none. */
uint16_t virtio__vector(const Virtio *v, uint16_t wanted) { return wanted < v->pci.msix_vectors ? wanted : NO_VECTOR; }

static void config_vector_w(Dev *d, uint64_t old) { VIRTIO(d)->config_vector = virtio__vector(of(d), of(d)->config_vector); }

static void queue_vector_w(Dev *d, uint64_t old)
{
    uint16_t *at = &VIRTIO(d)->q.vector[of(d)->queue_select];

    *at = virtio__vector(of(d), *at);
}

void virtio__notify(Virtio *v, unsigned n)
{
    if (n < v->queues && v->q.enable[n] && virtio_live(v) && virtio_class(v)->notified)
        virtio_class(v)->notified(v, n);
}

void virtio_more(Virtio *v, unsigned queue)
{
    v->unseen |= 1ull << queue;
    timer_in(&v->look, US);
}

VirtioChain *virtio_take(Virtio *v, unsigned queue, unsigned most, unsigned *n)
{
    if (*n == most) {
        virtio_more(v, queue);
        return NULL;
    }
    ++*n;
    return virtio_pop(v, queue);
}

static void look(Dev *d)
{
    Virtio *v = VIRTIO(d);
    uint64_t queues = v->unseen;

    v->unseen = 0;
    for (unsigned n = 0; queues; n++, queues >>= 1)
        if (queues & 1)
            virtio__notify(v, n);
}

static void notify(Dev *d, unsigned n, uint64_t val, unsigned lanes) { virtio__notify(VIRTIO(d), n); }

/* ---- device configuration ---- */
uint64_t virtio__config_byte(const Dev *d, unsigned n)
{
    const VirtioClass *c = virtio_class(of(d));
    uint8_t b[VIRTIO_CONFIG_MAX] = { 0 };

    if (n >= c->config_size)
        return 0;
    c->config(of(d), b);
    return b[n];
}

void virtio__config_byte_w(Dev *d, unsigned n, uint64_t val, unsigned lanes)
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
    p[4] = VIRTIO_BAR;
    le32_store(p + 8, off);
    le32_store(p + 12, size);
    if (type == 2)
        le32_store(p + 16, VIRTIO_NOTIFY_STEP);
}

static const Bank banks[2];

static void add_modern(Virtio *v)
{
    pci_set_bar(&v->pci, VIRTIO_BAR, dev_region_bank(&v->pci.dev, &banks[0]), BAR_64 | BAR_PREFETCH);
    cap(v, 1, 16, 0, 0x38);
    cap(v, 3, 16, ISR, 1);
    cap(v, 4, 16, CONFIG, 0x1000);
    cap(v, 2, 20, VIRTIO_NOTIFY, VIRTIO_NOTIFY_STEP * VIRTIO_QUEUES);
    virtio__window_add(v);
}

static bool wants_legacy(const Virtio *v)
{
    const VirtioClass *c = virtio_class(v);

    if (!c->legacy_id || c->form != VIRTIO_BY_BUS)
        return c->legacy_id && c->form == VIRTIO_TRANSITIONAL;
    return v->disable_legacy == AUTO ? !(v->pci.pbus->express && v->pci.pbus->bridge) : v->disable_legacy == OFF;
}

void virtio_set_queues(Virtio *v, unsigned n)
{
    unsigned all = n + 1, want = v->vectors == UINT32_MAX ? all : v->vectors;

    v->queues = (uint16_t)MIN(n, VIRTIO_QUEUES);
    v->pci.msix_vectors = (uint16_t)CLAMP(want, 1, VIRTIO_VECTORS_MAX);
}

static bool init(Obj *o, Error **err)
{
    virtio_set_queues(VIRTIO(o), virtio_class(VIRTIO(o))->queues);
    return true;
}

static bool plug(Dev *d, Error **err)
{
    Virtio *v = VIRTIO(d);
    const VirtioClass *c = virtio_class(v);
    bool legacy = wants_legacy(v);

    if (!legacy && v->disable_modern)
        return fail(err, "%s: neither the modern nor the legacy interface is left", c->pci.dev.obj.name);
    if (legacy) {
        pci_set_device_id(&v->pci, c->legacy_id);
        v->pci.config[8] = 0; /* revision */
        le16_store(v->pci.config + 0x2e, c->id);
        pci_set_bar(&v->pci, 0, dev_region_bank(d, &banks[1]), BAR_IO);
    }
    if (!v->disable_modern)
        add_modern(v);
    return virtio__kicks_begin(v, err);
}

static void unplug(Dev *d) { virtio__kicks_end(VIRTIO(d)); }
static void fini(Obj *o) { virtio__kicks_end(VIRTIO(o)); }

static void on_reset(Dev *d) { virtio__reset(VIRTIO(d)); }
static void loaded(Dev *d) { virtio__tell_live(VIRTIO(d)); }

static bool check(const Dev *d, Error **err)
{
    const Virtio *v = of(d);
    bool packed = ring__is_packed(v);

    for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
        unsigned size = v->q.size[i];
        bool there = i < v->queues;

        if (there ? !size || size > virtio_class(v)->queue_size : size || v->q.enable[i])
            return fail(err, "queue %u: impossible size", i);
        if (packed && there && (v->q.avail[i] >= size || v->q.used[i] >= size))
            return fail(err, "queue %u: a slot beyond its ring", i);
        if (v->q.avail_wrap[i] > 1 || v->q.used_wrap[i] > 1 || v->q.signalled_valid[i] > 1)
            return fail(err, "queue %u: impossible state", i);
    }
    return true;
}

static bool intx_level(const Dev *d) { return of(d)->isr; }
const Out virtio_outs[1] = { { "intx", intx_level } };

/* clang-format off */
#define QUEUE(m) .at = offsetof(Virtio, q.m), .size = sizeof(((VirtioQueues *)0)->m[0]), .count = VIRTIO_QUEUES, \
    .at_stride = sizeof(((VirtioQueues *)0)->m[0]), .select = queue
static const Reg regs[] = {
    { "device_feature_select", 0x00, REG(Virtio, device_select), .rw = UINT32_MAX },
    { "device_feature",        0x04, NOFIELD(4), .value = device_features },
    { "driver_feature_select", 0x08, REG(Virtio, driver_select), .rw = UINT32_MAX },
    { "driver_feature",        0x0c, .at = offsetof(Virtio, driver_features), .size = 4, .count = 2, .at_stride = 4,
      .select = driver_select, .rw = UINT32_MAX, .when = negotiating },
    { "config_msix_vector",    0x10, REG(Virtio, config_vector), .rw = 0xffff, .write = config_vector_w },
    { "num_queues",            0x12, NOFIELD(2), .value = num_queues },
    { "device_status",         0x14, REG(Virtio, status), .rw = 0xff, .write = status_w },
    { "config_generation",     0x15, REG(Virtio, generation) },
    { "queue_select",          0x16, REG(Virtio, queue_select), .rw = 0xffff },
    { "queue_size",            0x18, QUEUE(size), .rw = 0xffff, .when = queue_off, .write = size_w },
    { "queue_msix_vector",     0x1a, QUEUE(vector), .rw = 0xffff, .write = queue_vector_w },
    { "queue_enable",          0x1c, QUEUE(enable), .rw = 1, .write = enable_w },
    { "queue_notify_off",      0x1e, NOFIELD(2), .value = notify_off },
    { "queue_desc",            0x20, QUEUE(desc), .rw = ~0ull, .when = queue_off },
    { "queue_driver",          0x28, QUEUE(driver), .rw = ~0ull, .when = queue_off },
    { "queue_device",          0x30, QUEUE(device), .rw = ~0ull, .when = queue_off },
    { "ISR status",       ISR,    REG(Virtio, isr), .rc = 0xff },
    { "device-specific",  CONFIG, NOFIELD(1), ARRAY(VIRTIO_CONFIG_MAX, 1, 0), .value_n = virtio__config_byte, .wrote_n = virtio__config_byte_w },
    { "notify",           VIRTIO_NOTIFY, NOFIELD(4), ARRAY(VIRTIO_QUEUES, VIRTIO_NOTIFY_STEP, 0), .wrote_n = notify },
};
static const Bank banks[2] = {
    { "virtio-pci", 0x4000, TABLE(regs), .quiet = true }, { "virtio-pci-legacy", VIRTIO_LEGACY_SIZE, { virtio__legacy_regs, VIRTIO_LEGACY_ROWS }, .quiet = true },
};
static const Field queue_fields[] = {
    ARRAY_FIELD(VirtioQueues, desc), ARRAY_FIELD(VirtioQueues, driver), ARRAY_FIELD(VirtioQueues, device), ARRAY_FIELD(VirtioQueues, size),
    ARRAY_FIELD(VirtioQueues, vector), ARRAY_FIELD(VirtioQueues, enable), ARRAY_FIELD(VirtioQueues, avail), ARRAY_FIELD(VirtioQueues, used),
    ARRAY_FIELD(VirtioQueues, signalled), ARRAY_FIELD(VirtioQueues, signalled_valid), ARRAY_FIELD(VirtioQueues, avail_wrap), ARRAY_FIELD(VirtioQueues, used_wrap),
};
static const FieldTable queue_table = TABLE(queue_fields);
static const Field fields[] = {
    STRUCT(Virtio, q, &queue_table), FIELD(Virtio, legacy), FIELD(Virtio, unseen), TIMER(Virtio, look, look, CLOCK_VM),
    TRANSIENT(Virtio, queues, "of the device", .keep = true), TRANSIENT(Virtio, was_live, "what the device was told", .keep = true),
    TRANSIENT(Virtio, kicks, "of the host", .keep = true),
};
static const Prop props[] = {
    PROP(Virtio, event_idx, "event_idx", true, "offer event indices"), PROP(Virtio, indirect, "indirect_desc", true, "offer indirect tables"),
    PROP(Virtio, packed, "packed", false, "offer packed rings"), PROP(Virtio, ioeventfd, "ioeventfd", true, "let the accelerator deliver kicks"),
    PROP(Virtio, disable_modern, "disable-modern", false, "no virtio 1.x interface"),
    PROP_AUTO(Virtio, disable_legacy, "disable-legacy", AUTO, "no interface of before virtio 1.0; auto: only behind a PCIe port"),
    PROP(Virtio, vectors, "vectors", UINT32_MAX, "MSI-X vectors; one for each queue and one for the configuration when not given"),
};
const DevClass virtio_base = {
    .obj = { .name = "virtio-pci-device", .size = sizeof(Virtio), .init = init, .fini = fini, .props = TABLE(props) }, .base = &pci_base,
    .state = TABLE(fields), .banks = banks, .nbanks = 2, .plug = plug, .unplug = unplug, .on_reset = on_reset, .loaded = loaded, .check = check, .hotplug = true,
    .inner = "virtio-backend",
};
/* clang-format on */
