/*
 * hw/pci/msix.c - MSI-X: table and pending bits in a BAR of their own. Source: PCI 3.0 section 6.8.2.
 * Plain RegionOps: the number of vectors is the device's, and an entry is four words that are read as one message.
 * Invariants: a message of a masked vector waits in the pending bits and goes out when the mask goes.
 */
#include "hw/pci/priv.h"

enum { ENTRY = 16, VECTORS_MAX = 64, CAP_LEN = 12, MASK_ALL = 0x4000, ENABLE = 0x8000 };
struct PciMsix {
    uint32_t n;
    uint8_t table[VECTORS_MAX * ENTRY];
    uint64_t pending;
};

static uint16_t control(const PciDev *p)
{
    unsigned c = p->msix ? pci__cap_find(p, 0x11) : 0;

    return c ? le16_load(p->config + c + 2) : 0;
}

bool pci_msix_on(const PciDev *p) { return control(p) & ENABLE; }

static bool masked(const PciDev *p, unsigned n)
{
    return control(p) & MASK_ALL || p->msix->table[n * ENTRY + 12] & 1;
}

bool pci_msix_message(const PciDev *p, unsigned vector, uint64_t *addr, uint32_t *data)
{
    const uint8_t *e;

    if (!pci_msix_on(p) || vector >= p->msix->n || masked(p, vector))
        return false;
    e = p->msix->table + vector * ENTRY;
    *addr = le64_load(e);
    *data = le32_load(e + 8);
    return true;
}

void pci_msix_send(PciDev *p, unsigned vector)
{
    uint64_t addr;
    uint32_t data;

    if (!pci_msix_on(p) || vector >= p->msix->n)
        return;
    if (!pci_msix_message(p, vector, &addr, &data)) {
        p->msix->pending |= 1ull << vector;
        return;
    }
    p->msix->pending &= ~(1ull << vector);
    if (pci_bus_master(p))
        vm_msi(p->dev.obj.vm, addr, data);
}

static uint32_t pba(const PciDev *p) { return pci_class(p)->msix_pba ? pci_class(p)->msix_pba : 0x800; } /* half of the BAR */

/* Masks may have gone. */
void pci__msix_retry(PciDev *p)
{
    if (!p->msix || !pci_msix_on(p))
        return;
    for (unsigned n = 0; n < p->msix->n; n++)
        if (p->msix->pending >> n & 1 && !masked(p, n))
            pci_msix_send(p, n);
}

static MemResult bar_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    const struct PciMsix *m = PCI(o)->msix;

    *val = 0;
    if (in_range(off, size, m->n * ENTRY))
        *val = le_load(m->table + off, size);
    else if (off >= pba(o) && in_range(off - pba(o), size, 8))
        *val = m->pending >> 8 * (off - pba(o)) & bytes_mask(size);
    return MEM_OK;
}

static MemResult bar_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    struct PciMsix *m = PCI(o)->msix;

    if (in_range(off, size, m->n * ENTRY)) {
        le_store(m->table + off, size, val);
        m->table[off / ENTRY * ENTRY + 12] &= 1; /* reserved bits of vector control */
        memset(m->table + off / ENTRY * ENTRY + 13, 0, 3);
        pci__msix_retry(PCI(o));
    }
    return MEM_OK;
}
static const RegionOps bar_ops = { .read = bar_read, .write = bar_write, .takes = { 4, 8 }, .does = { 4, 8 } };

void pci__msix_reset(PciDev *p)
{
    if (!p->msix)
        return;
    memset(p->msix->table, 0, sizeof(p->msix->table));
    for (unsigned n = 0; n < p->msix->n; n++)
        p->msix->table[n * ENTRY + 12] = 1;
    p->msix->pending = 0;
}

static unsigned vectors(const PciDev *p)
{
    return p->msix_vectors == PCI_NO_VECTORS ? 0 : p->msix_vectors ? p->msix_vectors : pci_class(p)->msix_vectors;
}

void pci__msix_init(PciDev *p)
{
    const PciClass *c = pci_class(p);
    uint8_t at;

    if (!vectors(p))
        return;
    g_assert(vectors(p) <= VECTORS_MAX && !p->bar[c->msix_bar]);
    p->msix = g_new0(struct PciMsix, 1);
    p->msix->n = vectors(p);
    pci_set_bar(p, c->msix_bar, dev_region_io(&p->dev, "msix", 2 * pba(p), &bar_ops), 0);
    at = pci__add_cap_at(p, c->cap_at.msix, 0x11, CAP_LEN);
    le16_store(p->config + at + 2, (uint16_t)(vectors(p) - 1));
    le16_store(p->wmask + at + 2, MASK_ALL | ENABLE);
    le32_store(p->config + at + 4, c->msix_bar);
    le32_store(p->config + at + 8, pba(p) | c->msix_bar);
}

/* ---- state ---- */
void pci__msix_save(const Dev *d, StateOut *o)
{
    const struct PciMsix *m = ((const PciDev *)(const void *)d)->msix;

    if (!m)
        return;
    put_bytes(o, m->table, m->n * ENTRY);
    put_u64(o, m->pending);
}

bool pci__msix_load(Dev *d, StateIn *i, Error **err)
{
    struct PciMsix *m;

    if (!vectors(PCI(d)))
        return true;
    m = g_new0(struct PciMsix, 1);
    m->n = vectors(PCI(d));
    get_bytes(i, m->table, m->n * ENTRY);
    m->pending = get_u64(i) & ones(m->n);
    for (unsigned n = 0; n < m->n; n++)
        le32_store(m->table + n * ENTRY + 12, m->table[n * ENTRY + 12] & 1);
    PCI(d)->msix = m;
    return true;
}

void pci__msix_drop(Dev *d) { g_free(PCI(d)->msix); }
