/*
 * hw/virtio/virtio.h - virtio devices on PCI, modern and transitional: queues and configuration. A device is a VirtioClass with a
 * handler for notified queues; it pops chains, works on their segments, pushes them back. It need not know which
 * layout a ring has, nor by which interface the driver came.
 * VM lock. Everything in a ring is the guest's: a malformed one breaks the device until it is reset.
 */
#ifndef HW_VIRTIO_VIRTIO_H
#define HW_VIRTIO_VIRTIO_H
#include "core/state.h"
#include "core/vm.h"
#include "hw/pci/pci.h"

enum { VIRTIO_QUEUES = 64, VIRTIO_SEGMENTS = 1024, VIRTIO_QUEUE_MAX = 1024, VIRTIO_VECTORS_MAX = 64 };
#define VIRTIO_F_NOTIFY_ON_EMPTY (1ull << 24) /* legacy: accepted, never needed */
#define VIRTIO_F_ANY_LAYOUT      (1ull << 27) /* legacy: always so */
#define VIRTIO_F_INDIRECT  (1ull << 28)
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1 (1ull << 32)
#define VIRTIO_F_PACKED    (1ull << 34)
enum { VIRTIO_S_DRIVER = 2, VIRTIO_S_FEATURES_OK = 8, VIRTIO_S_DRIVER_OK = 4, VIRTIO_S_NEEDS_RESET = 0x40 };

typedef struct VirtioQueues { /* by number of the queue */
    uint64_t desc[VIRTIO_QUEUES], driver[VIRTIO_QUEUES], device[VIRTIO_QUEUES]; /* areas, as the driver named them */
    uint16_t size[VIRTIO_QUEUES], vector[VIRTIO_QUEUES], enable[VIRTIO_QUEUES];
    uint16_t avail[VIRTIO_QUEUES], used[VIRTIO_QUEUES], signalled[VIRTIO_QUEUES]; /* split: counts; packed: slots */
    uint8_t signalled_valid[VIRTIO_QUEUES];
    uint8_t avail_wrap[VIRTIO_QUEUES], used_wrap[VIRTIO_QUEUES]; /* packed: wrapped an odd number of times (0: as at start) */
} VirtioQueues;
typedef struct Virtio {
    PciDev pci;
    uint32_t device_select, driver_select, driver_features[2];
    uint16_t config_vector, queue_select;
    uint8_t status, generation, isr;
    uint8_t legacy; /* the driver came by the legacy interface */
    VirtioQueues q;
    uint16_t queues;  /* how many there are; set by init, else the class's */
    bool was_live;    /* what `live` was told last */
    uint64_t unseen;  /* queues that may hold more than their device did at once; `look` brings it back to them */
    Timer look;
    struct VirtioKicks *kicks; /* kick.c, or NULL */
    /* properties */
    bool event_idx, indirect, packed, ioeventfd, disable_modern;
    uint8_t disable_legacy;
    uint32_t vectors;
} Virtio;
#define VIRTIO(d) ((Virtio *)(void *)(d))

typedef struct VirtioSeg {
    uint64_t addr;
    uint32_t len;
} VirtioSeg;
typedef struct VirtioChain { /* heap; g_free */
    uint16_t queue, head;    /* head: split: the first descriptor; packed: the buffer's id */
    uint16_t descriptors;    /* packed: slots of the ring that it took */
    unsigned nout, nin;      /* segments the device reads; writes, which follow them */
    uint64_t out_len, in_len;
    VirtioSeg seg[];
} VirtioChain;

typedef enum VirtioLegacy { VIRTIO_BY_BUS, VIRTIO_TRANSITIONAL, VIRTIO_MODERN } VirtioLegacy;
typedef struct VirtioClass {
    PciClass pci; /* first */
    uint16_t id;  /* of the specification: 2 block, 4 entropy, 18 input */
    uint16_t legacy_id; /* PCI device id of the transitional form; 0: there is none */
    uint8_t form;       /* VirtioLegacy; BY_BUS: as disable-legacy= says, by default transitional unless behind a PCIe port */
    uint16_t queues;
    uint16_t queue_size;
    uint64_t (*features)(const Virtio *v);
    void (*notified)(Virtio *v, unsigned queue);
    unsigned config_size;
    void (*config)(const Virtio *v, uint8_t *out); /* fills config_size bytes */
    void (*config_w)(Virtio *v, unsigned off, uint8_t val);
    void (*reset)(Virtio *v);      /* status was set to 0, or system reset */
    void (*live)(Virtio *v, bool on); /* the driver is there; is gone */
} VirtioClass;
extern const DevClass virtio_base;
extern const Out virtio_outs[1];
bool virtio__window_read(PciDev *p, unsigned off, unsigned size, uint32_t *val); /* cfg.c, of all virtio devices */
void virtio__window_written(PciDev *p, unsigned off, unsigned size);
static inline const VirtioClass *virtio_class(const Virtio *v) { return (const VirtioClass *)(const void *)v->pci.dev.cls; }
#define VIRTIO_DEVICE(T, n, d, virtio_id)                                                          \
    .pci.dev.obj.name = (n), .pci.dev.obj.desc = (d), .pci.dev.obj.size = sizeof(T), .pci.dev.bus = "PCI",           \
    .pci.dev.base = &virtio_base, .pci.vendor = 0x1af4, .pci.device = 0x1040 + (virtio_id), .pci.revision = 1,       \
    .pci.subvendor = 0x1af4, .pci.subdevice = 0x1100, .pci.irq_pin = 1, .pci.express = PCIE_ENDPOINT, .pci.msix_bar = 1, .pci.msix_vectors = 2, .pci.dev.outs = virtio_outs, \
    .pci.config_read = virtio__window_read, .pci.config_written = virtio__window_written,                          \
    .pci.dev.nouts = 1, .id = (virtio_id)
/* A device in the three forms that clients know: NAME, NAME-transitional, NAME-non-transitional. ROWS(name, form) is the class's initialiser. */
#define VIRTIO_FORMS(T, c, name, ROWS)                                                             \
    static const VirtioClass c = ROWS(name, VIRTIO_BY_BUS);                                        \
    static const VirtioClass c##_old = ROWS(name "-transitional", VIRTIO_TRANSITIONAL);            \
    static const VirtioClass c##_new = ROWS(name "-non-transitional", VIRTIO_MODERN);              \
    DEVICE_OF(T, c, &c.pci.dev);                                                                   \
    DEVICE_OF(T, c##_old, &c##_old.pci.dev);                                                       \
    DEVICE_OF(T, c##_new, &c##_new.pci.dev)

static inline uint64_t virtio_features(const Virtio *v) { return (uint64_t)v->driver_features[1] << 32 | v->driver_features[0]; }
static inline bool virtio_has(const Virtio *v, uint64_t f) { return virtio_features(v) & f; }
/* In init: so many queues, and a vector for each and the configuration unless vectors= says otherwise. */
void virtio_set_queues(Virtio *v, unsigned n);
bool virtio_live(const Virtio *v); /* the driver is ready and the device not broken */
/* The next chain of a queue, or NULL: none, or the device broke. */
VirtioChain *virtio_pop(Virtio *v, unsigned queue);
void virtio_push(Virtio *v, VirtioChain *c, uint32_t written); /* used; frees c; interrupts as the guest wants */
bool virtio_has_room(Virtio *v, unsigned queue); /* a chain waits */
/* A device that has done as much as it does at once, and left the queue without having seen its end, is notified of it again soon: the
 * driver owes no kick for what it added before the end was seen. */
void virtio_more(Virtio *v, unsigned queue);
/* virtio_pop() for a loop that takes no more than `most` at once: counts in *n, and behind the last one does virtio_more(). */
VirtioChain *virtio_take(Virtio *v, unsigned queue, unsigned most, unsigned *n);
/* Puts the chain popped last back, as if it had not been popped; frees it. */
void virtio_unpop(Virtio *v, VirtioChain *c);
/* Chains in flight in a saved state; get: NULL when the stream is not one of ours. */
void virtio_chain_put(StateOut *o, const VirtioChain *c);
VirtioChain *virtio_chain_get(const Virtio *v, StateIn *i);
/* The same for all that a device has in flight, given newest first; load: NULL and err when it cannot be so, else they free themselves. */
void virtio_chains_put(StateOut *o, const GPtrArray *newest_first);
GPtrArray *virtio_chains_get(const Virtio *v, StateIn *i, unsigned max, Error **err);
/* Copies between the chain's segments and buf; false when the segments are too short or not in memory. */
bool virtio_out(Virtio *v, const VirtioChain *c, uint64_t off, void *buf, uint64_t len);
bool virtio_in(Virtio *v, const VirtioChain *c, uint64_t off, const void *buf, uint64_t len);
/* Bytes [off, off+len) of the segments (in: the writable ones) as pinned memory. */
bool virtio_map(Virtio *v, const VirtioChain *c, bool in, uint64_t off, uint64_t len, DmaSg *sg);
void virtio_config_changed(Virtio *v);
void virtio_broken(Virtio *v, const char *why);
#endif
