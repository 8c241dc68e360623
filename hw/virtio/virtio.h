/*
 * hw/virtio/virtio.h - virtio 1.x devices on PCI: queues and configuration. A device is a VirtioClass with a
 * handler for notified queues; it pops chains, works on their segments, pushes them back.
 * VM lock. Everything in a ring is the guest's: a malformed one breaks the device until it is reset.
 */
#ifndef HW_VIRTIO_VIRTIO_H
#define HW_VIRTIO_VIRTIO_H
#include "core/state.h"
#include "core/vm.h"
#include "hw/pci/pci.h"

enum { VIRTIO_QUEUES = 4, VIRTIO_SEGMENTS = 1024, VIRTIO_QUEUE_MAX = 1024 };
#define VIRTIO_F_INDIRECT  (1ull << 28)
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1 (1ull << 32)
enum { VIRTIO_S_FEATURES_OK = 8, VIRTIO_S_DRIVER_OK = 4, VIRTIO_S_NEEDS_RESET = 0x40 };

typedef struct VirtioQueueRegs {
    uint64_t desc, driver, device;
    uint16_t size, vector, enable, pad;
} VirtioQueueRegs;
typedef struct VirtioQueue {
    uint16_t last_avail, used, signalled;
    uint16_t signalled_valid;
} VirtioQueue;
typedef struct Virtio {
    PciDev pci;
    uint32_t device_select, driver_select, driver_features[2];
    uint16_t config_vector, queue_select;
    uint8_t status, generation, isr;
    VirtioQueueRegs qr[VIRTIO_QUEUES];
    VirtioQueue q[VIRTIO_QUEUES];
} Virtio;
#define VIRTIO(d) ((Virtio *)(void *)(d))

typedef struct VirtioSeg {
    uint64_t addr;
    uint32_t len;
} VirtioSeg;
typedef struct VirtioChain { /* heap; virtio_chain_free */
    uint16_t queue, head;
    unsigned nout, nin;      /* segments the device reads; writes, which follow them */
    uint64_t out_len, in_len;
    VirtioSeg seg[];
} VirtioChain;

typedef struct VirtioClass {
    PciClass pci; /* first */
    uint16_t id;  /* of the specification: 2 block, 4 entropy, 18 input */
    uint8_t queues;
    uint16_t queue_size;
    uint64_t (*features)(const Virtio *v);
    void (*notified)(Virtio *v, unsigned queue);
    unsigned config_size;
    void (*config)(const Virtio *v, uint8_t *out); /* fills config_size bytes */
    void (*config_w)(Virtio *v, unsigned off, uint8_t val);
    void (*reset)(Virtio *v);      /* status was set to 0, or system reset */
} VirtioClass;
extern const DevClass virtio_base;
extern const Out virtio_outs[1];
static inline const VirtioClass *virtio_class(const Virtio *v) { return (const VirtioClass *)(const void *)v->pci.dev.cls; }
#define VIRTIO_DEVICE(T, n, d, virtio_id)                                                          \
    .pci.dev.obj.name = (n), .pci.dev.obj.desc = (d), .pci.dev.obj.size = sizeof(T), .pci.dev.bus = "PCI",           \
    .pci.dev.base = &virtio_base, .pci.vendor = 0x1af4, .pci.device = 0x1040 + (virtio_id), .pci.revision = 1,       \
    .pci.subvendor = 0x1af4, .pci.subdevice = 0x1100, .pci.irq_pin = 1, .pci.msix_bar = 1, .pci.msix_vectors = VIRTIO_QUEUES + 1, .pci.dev.outs = virtio_outs, \
    .pci.dev.nouts = 1, .id = (virtio_id)

static inline bool virtio_has(const Virtio *v, uint64_t f)
{
    return ((uint64_t)v->driver_features[1] << 32 | v->driver_features[0]) & f;
}
bool virtio_live(const Virtio *v); /* DRIVER_OK and not broken */
/* The next chain of a queue, or NULL: none, or the device broke. */
VirtioChain *virtio_pop(Virtio *v, unsigned queue);
VirtioChain *virtio_chain_at(Virtio *v, unsigned queue, uint16_t head); /* again, after a load */
void virtio_push(Virtio *v, VirtioChain *c, uint32_t written); /* used; frees c; interrupts as the guest wants */
bool virtio_has_room(Virtio *v, unsigned queue); /* a chain waits */
/* Copies between the chain's segments and buf; false when the segments are too short or not in memory. */
bool virtio_out(Virtio *v, const VirtioChain *c, uint64_t off, void *buf, uint64_t len);
bool virtio_in(Virtio *v, const VirtioChain *c, uint64_t off, const void *buf, uint64_t len);
/* Bytes [off, off+len) of the segments (in: the writable ones) as pinned memory. */
bool virtio_map(Virtio *v, const VirtioChain *c, bool in, uint64_t off, uint64_t len, DmaSg *sg);
void virtio_config_changed(Virtio *v);
void virtio_broken(Virtio *v, const char *why);
#endif
