/* hw/virtio/pci.h - between the modern and the legacy interface of virtio on PCI. VM lock. */
#ifndef HW_VIRTIO_PCI_H
#define HW_VIRTIO_PCI_H
#include "hw/virtio/virtio.h"

enum { VIRTIO_BAR = 4, VIRTIO_NOTIFY = 0x3000, VIRTIO_NOTIFY_STEP = 4 }; /* the modern interface: queue n is kicked at NOTIFY + n * STEP */
enum { VIRTIO_CONFIG_MAX = 256, VIRTIO_LEGACY_SIZE = 512, VIRTIO_LEGACY_ROWS = 12 };
extern const Reg virtio__legacy_regs[VIRTIO_LEGACY_ROWS];
uint64_t virtio__offered(const Virtio *v);
void virtio__reset(Virtio *v);
void virtio__tell_live(Virtio *v);
void virtio__notify(Virtio *v, unsigned n);
/* kick.c: kicks by eventfd, if the property and the accelerator want them; from plug to unplug. */
bool virtio__kicks_begin(Virtio *v, Error **err);
void virtio__kicks_end(Virtio *v);
bool virtio__call(Virtio *v, unsigned vector); /* MSI-X by irqfd; false: it cannot be so now */
void virtio__window_add(Virtio *v); /* cfg.c */
uint16_t virtio__vector(const Virtio *v, uint16_t wanted);
uint64_t virtio__config_byte(const Dev *d, unsigned n);
void virtio__config_byte_w(Dev *d, unsigned n, uint64_t val, unsigned lanes);
#endif
