/*
 * hw/virtio/legacy.c - the interface of before virtio 1.0, which transitional devices have in I/O BAR 0: 32 feature bits,
 * rings of fixed layout at a page number, no FEATURES_OK. Source: virtio 1.2 sections 2.7.2, 4.1.4.10.
 */
#include "hw/virtio/pci.h"

enum { PAGE_BITS = 12, USED_ALIGN = 4096, CONFIG = 20, CONFIG_MSIX = 24 };

static const Virtio *of(const Dev *d) { return (const Virtio *)(const void *)d; }
static bool msix(const Dev *d) { return pci_msix_on(&of(d)->pci); }
static bool no_msix(const Dev *d) { return !msix(d); }
static bool selected(const Virtio *v) { return v->queue_select < v->queues; }

static uint64_t device_features(const Dev *d)
{
    return (virtio__offered(of(d)) | VIRTIO_F_NOTIFY_ON_EMPTY | VIRTIO_F_ANY_LAYOUT) & UINT32_MAX;
}

static uint64_t driver_features(const Dev *d) { return of(d)->driver_features[0]; }

static void driver_features_w(Dev *d, uint64_t val, unsigned lanes)
{
    Virtio *v = VIRTIO(d);

    if (v->status & (VIRTIO_S_DRIVER_OK | VIRTIO_S_FEATURES_OK)) {
        guest_error(d, "features written after the negotiation");
        return;
    }
    v->driver_features[0] = (uint32_t)(val & device_features(d));
    v->driver_features[1] = 0;
}

static uint64_t queue_pfn(const Dev *d) { return selected(of(d)) ? of(d)->q.desc[of(d)->queue_select] >> PAGE_BITS & UINT32_MAX : 0; }

static void queue_pfn_w(Dev *d, uint64_t val, unsigned lanes)
{
    Virtio *v = VIRTIO(d);
    unsigned n = v->queue_select;
    uint64_t base = val << PAGE_BITS;

    if (!selected(v))
        return;
    v->legacy = 1;
    v->driver_features[1] = 0;
    v->q.size[n] = virtio_class(v)->queue_size; /* it cannot be chosen */
    v->q.desc[n] = base;
    v->q.driver[n] = base + 16ull * v->q.size[n];
    v->q.device[n] = align_up(v->q.driver[n] + 6 + 2ull * v->q.size[n], USED_ALIGN);
    v->q.enable[n] = base != 0;
    v->q.avail[n] = v->q.used[n] = v->q.signalled[n] = v->q.signalled_valid[n] = 0;
    virtio__tell_live(v);
}

static uint64_t queue_size(const Dev *d) { return selected(of(d)) ? virtio_class(of(d))->queue_size : 0; }
static uint64_t queue_select(const Dev *d) { return of(d)->queue_select; }
static void queue_select_w(Dev *d, uint64_t val, unsigned lanes) { VIRTIO(d)->queue_select = (uint16_t)val; }
static void notify_w(Dev *d, uint64_t val, unsigned lanes) { virtio__notify(VIRTIO(d), (unsigned)(val & 0xffff)); }
static uint64_t status(const Dev *d) { return of(d)->status; }

static void status_w(Dev *d, uint64_t val, unsigned lanes)
{
    Virtio *v = VIRTIO(d);

    if (!(val & 0xff)) {
        virtio__reset(v);
        return;
    }
    if (val & ~v->status & VIRTIO_S_DRIVER && !pci_bus_master(&v->pci)) /* old drivers (Linux before 2.6.34) forget it */
        pci_config_write(&v->pci, 4, pci_config_read(&v->pci, 4, 2) | 4, 2);
    v->status = (uint8_t)(val | (v->status & (VIRTIO_S_NEEDS_RESET | VIRTIO_S_FEATURES_OK)));
    virtio__tell_live(v);
}

static uint64_t isr(const Dev *d) { return of(d)->isr; }
static void isr_read(Dev *d, unsigned lanes) { VIRTIO(d)->isr = 0; }
static uint64_t config_vector(const Dev *d) { return of(d)->config_vector; }
static void config_vector_w(Dev *d, uint64_t val, unsigned lanes) { VIRTIO(d)->config_vector = virtio__vector(of(d), (uint16_t)val); }
static uint64_t queue_vector(const Dev *d) { return selected(of(d)) ? of(d)->q.vector[of(d)->queue_select] : 0xffff; }

static void queue_vector_w(Dev *d, uint64_t val, unsigned lanes)
{
    if (selected(of(d)))
        VIRTIO(d)->q.vector[of(d)->queue_select] = virtio__vector(of(d), (uint16_t)val);
}

/* clang-format off */
const Reg virtio__legacy_regs[VIRTIO_LEGACY_ROWS] = {
    { "Device Features",   0, NOFIELD(4), .value = device_features },
    { "Driver Features",   4, NOFIELD(4), .value = driver_features, .wrote = driver_features_w },
    { "Queue Address",     8, NOFIELD(4), .value = queue_pfn, .wrote = queue_pfn_w, .doc = "page number of the ring" },
    { "queue_size",       12, NOFIELD(2), .value = queue_size },
    { "queue_select",     14, NOFIELD(2), .value = queue_select, .wrote = queue_select_w },
    { "Queue Notify",     16, NOFIELD(2), .wrote = notify_w },
    { "Device Status",    18, NOFIELD(1), .value = status, .wrote = status_w },
    { "ISR Status",       19, NOFIELD(1), .value = isr, .on_read = isr_read },
    { "config_msix_vector", 20, NOFIELD(2), .bank = msix, .value = config_vector, .wrote = config_vector_w },
    { "queue_msix_vector", 22, NOFIELD(2), .bank = msix, .value = queue_vector, .wrote = queue_vector_w },
    { "device-specific",  CONFIG, NOFIELD(1), ARRAY(VIRTIO_CONFIG_MAX, 1, 0), .bank = no_msix, .value_n = virtio__config_byte, .wrote_n = virtio__config_byte_w },
    { "device-specific",  CONFIG_MSIX, NOFIELD(1), ARRAY(VIRTIO_CONFIG_MAX, 1, 0), .bank = msix, .value_n = virtio__config_byte, .wrote_n = virtio__config_byte_w },
};
/* clang-format on */
