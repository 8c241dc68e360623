/* hw/virtio/ring.h - between ring.c, which is the same for all queues, and the two layouts. VM lock. */
#ifndef HW_VIRTIO_RING_H
#define HW_VIRTIO_RING_H
#include "hw/virtio/virtio.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_BYTES = 16 };
typedef struct VirtioDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t id /* packed; split: next */, flags;
} VirtioDesc;
typedef struct RingLayout {
    bool (*waits)(Virtio *v, unsigned queue);
    /* Fills an empty chain with VIRTIO_SEGMENTS segments of room. 0: nothing waits; 1: taken; -1: *why. */
    int (*pop)(Virtio *v, unsigned queue, VirtioChain *c, const char **why);
    void (*unpop)(Virtio *v, const VirtioChain *c);
    void (*push)(Virtio *v, const VirtioChain *c, uint32_t written);
    bool (*wants_interrupt)(Virtio *v, unsigned queue);
} RingLayout;
extern const RingLayout ring_split, ring_packed;
bool ring__is_packed(const Virtio *v);
uint16_t ring__load16(Virtio *v, uint64_t at);
const char *ring__add_segment(VirtioChain *c, const VirtioDesc *d); /* why not, or NULL */
bool ring__indirect_ok(const Virtio *v, const VirtioDesc *d);
void virtio__interrupt(Virtio *v, unsigned vector, uint8_t isr); /* pci.c: the vector, or the pin with that ISR bit */
/* Did the count pass `event` on its way from old to now? Virtio 1.2 section 2.7.7.2. */
static inline bool ring__passed(uint16_t event, uint16_t now, uint16_t old) { return (uint16_t)(now - event - 1) < (uint16_t)(now - old); }
#endif
