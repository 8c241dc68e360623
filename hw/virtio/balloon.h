/* hw/virtio/balloon.h - the machine's balloon, as the monitor sees it. VM lock. */
#ifndef HW_VIRTIO_BALLOON_H
#define HW_VIRTIO_BALLOON_H
#include "hw/virtio/virtio.h"

bool balloon_set(Vm *vm, uint64_t target_bytes, Error **err); /* asks the guest; BALLOON_CHANGE tells what came of it */
bool balloon_actual(Vm *vm, uint64_t *bytes, Error **err);
#endif
