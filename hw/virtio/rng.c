/* hw/virtio/rng.c - virtio-rng-pci: entropy of the host. Source: virtio 1.2 section 5.4. */
#include "core/rngdev.h"
#include "hw/virtio/virtio.h"

enum { REQUEST_MAX = 4096, PER_KICK = 64 };

typedef struct VirtioRng {
    Virtio v;
    void *source; /* -object rng-*; NULL: the host's generator */
} VirtioRng;

static void notified(Virtio *v, unsigned queue)
{
    uint8_t buf[REQUEST_MAX];
    VirtioChain *c;

    /* Bounded: what other CPUs add meanwhile comes a moment later. */
    for (unsigned i = 0; (c = virtio_take(v, queue, PER_KICK, &i));) {
        uint64_t n = MIN(c->in_len, sizeof(buf));

        if (((VirtioRng *)v)->source)
            rngdev_fill(((VirtioRng *)v)->source, buf, n);
        else
            door_random(v->pci.dev.obj.vm, buf, n);
        virtio_push(v, c, virtio_in(v, c, 0, buf, n) ? (uint32_t)n : 0);
    }
}

/* clang-format off */
static const Prop rng_props[] = { PROP_LINK(VirtioRng, source, "rng", "rng", "where entropy comes from; the host's generator unless given") };
#define ROWS(nm, fm) {                                                                                                    \
    VIRTIO_DEVICE(VirtioRng, nm, "virtio entropy source", 4), .legacy_id = 0x1005, .form = (fm),                            \
    .pci.class_id = 0x00ff00, .pci.dev.category = "Misc devices", .pci.dev.hotplug = true, .pci.dev.obj.props = TABLE(rng_props), .queues = 1, .queue_size = 64, .notified = notified,      \
}
VIRTIO_FORMS(VirtioRng, rng, "virtio-rng-pci", ROWS);
/* clang-format on */
