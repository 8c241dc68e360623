/*
 * hw/virtio/cfg.c - the window in configuration space to the registers in BARs, for firmware that cannot reach those. Source: virtio 1.2
 * section 4.1.4.9.
 */
#include "hw/virtio/pci.h"

enum { VENDOR_CAP = 9, CFG_TYPE = 5, CAP_LEN = 20, BAR = 4, OFFSET = 8, LENGTH = 12, DATA = 16, CAP_PTR = 0x34, CAPS_MAX = 48 };

void virtio__window_add(Virtio *v)
{
    uint8_t at = pci_add_cap(&v->pci, VENDOR_CAP, CAP_LEN);

    v->pci.config[at + 2] = CAP_LEN;
    v->pci.config[at + 3] = CFG_TYPE;
    v->pci.wmask[at + BAR] = 0xff;
    memset(v->pci.wmask + at + OFFSET, 0xff, CAP_LEN - OFFSET);
}

/* The capability if the access touches its data, else NULL. */
static uint8_t *touched(PciDev *p, unsigned off, unsigned size)
{
    unsigned at = p->config[CAP_PTR];

    for (unsigned i = 0; at && i < CAPS_MAX; i++, at = p->config[at + 1])
        if (p->config[at] == VENDOR_CAP && p->config[at + 3] == CFG_TYPE)
            return off < at + CAP_LEN && off + size > at + DATA ? p->config + at : NULL;
    return NULL;
}

/* Where it looks; NULL: nowhere. */
static const Region *target(PciDev *p, const uint8_t *cap, uint32_t *off, unsigned *len)
{
    const Region *r = cap[BAR] < G_N_ELEMENTS(p->bar) ? p->bar[cap[BAR]] : NULL;

    *off = le32_load(cap + OFFSET);
    *len = le32_load(cap + LENGTH);
    if (r && r->ops && (*len == 1 || *len == 2 || *len == 4) && *off % *len == 0 && in_range(*off, *len, r->size))
        return r;
    guest_error(&p->dev, "the window to BAR %u, offset %#x, length %u looks at nothing", cap[BAR], *off, *len);
    return NULL;
}

bool virtio__window_read(PciDev *p, unsigned off, unsigned size, uint32_t *val)
{
    uint8_t *cap = touched(p, off, size);
    const Region *r;
    uint32_t at;
    unsigned len;
    uint64_t v = 0;

    if (!cap || !(r = target(p, cap, &at, &len)))
        return false;
    r->ops->read(r->opaque, at, len, &v, MEM_CPU);
    le_store(cap + DATA, len, v);
    return false; /* as the rest, from the configuration space */
}

void virtio__window_written(PciDev *p, unsigned off, unsigned size)
{
    uint8_t *cap = touched(p, off, size);
    const Region *r;
    uint32_t at;
    unsigned len;

    if (!cap || !(r = target(p, cap, &at, &len)))
        return;
    dev_leave(&p->dev); /* the write is an entry of its own, not one that comes back to a busy device */
    r->ops->write(r->opaque, at, len, le_load(cap + DATA, len), MEM_CPU);
    dev_enter(&p->dev);
}
