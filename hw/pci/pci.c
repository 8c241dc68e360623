/*
 * hw/pci/pci.c - PCI functions and buses: configuration space, BARs, INTx, MSI, PCI Express capability. Sources: PCI 3.0
 * chapters 3 and 6, PCI Express 4.0 section 7.5.3. Left out until a device needs them: option ROMs of bridges.
 */
#include "hw/pci/priv.h"
#include <stdio.h>

enum { CFG_COMMAND = 4, CFG_STATUS = 6, CFG_BAR0 = 0x10, CFG_CAP = 0x34, CFG_LINE = 0x3c, CFG_PIN = 0x3d };
enum { CFG_SECONDARY = 0x19, CFG_SUBORDINATE = 0x1a };
enum { CMD_IO = 1, CMD_MEM = 2, CMD_MASTER = 4, CMD_INTX_OFF = 1 << 10, STATUS_INTX = 1 << 3, STATUS_CAPS = 1 << 4, INTEGRATED = 9 /* endpoint of the root complex */ };

/* ---- BARs ---- */
static uint64_t bar_address(const PciDev *p, unsigned n)
{
    uint32_t cmd = le16_load(p->config + CFG_COMMAND);
    uint64_t v = le32_load(p->config + CFG_BAR0 + 4 * n), size = p->bar_size[n];

    if (p->bar_flags[n] & BAR_IO) {
        v &= ~3ull & 0xffff;
        return cmd & CMD_IO && v && v + size <= 0x10000 ? v : ~0ull;
    }
    if (p->bar_flags[n] & BAR_64)
        v |= (uint64_t)le32_load(p->config + CFG_BAR0 + 4 * n + 4) << 32;
    v &= ~15ull;
    if (!(cmd & CMD_MEM) || !v || v + size - 1 < v || v + size > 1ull << 40)
        return ~0ull;
    return v & (size - 1) ? ~0ull : v;
}

static void update_bars(PciDev *p)
{
    Vm *vm = p->dev.obj.vm;

    mem_begin(vm);
    for (unsigned n = 0; n < 6; n++) {
        uint64_t at = p->bar[n] && p->pbus ? bar_address(p, n) : ~0ull;

        if (!p->bar[n] || at == p->bar_at[n])
            continue;
        region_unmap(p->bar[n]);
        if (at != ~0ull)
            region_map(p->bar_flags[n] & BAR_IO ? p->pbus->io : p->pbus->mem, at, p->bar[n], 1);
        p->bar_at[n] = at;
    }
    pci__rom_update(p);
    mem_commit(vm);
}

void pci_set_bar(PciDev *p, unsigned n, Region *r, uint8_t flags)
{
    uint64_t size = r->size;
    unsigned at = CFG_BAR0 + 4 * n;

    g_assert(n < 6 && is_pow2(size));
    p->bar[n] = r;
    p->bar_size[n] = size;
    p->bar_flags[n] = flags;
    p->bar_at[n] = ~0ull;
    le32_store(p->config + at, flags & BAR_IO ? 1u : (flags & BAR_64 ? 4u : 0) | (flags & BAR_PREFETCH ? 8u : 0));
    le32_store(p->wmask + at, (uint32_t)~(size - 1));
    if (flags & BAR_64)
        le32_store(p->wmask + at + 4, (uint32_t)(~(size - 1) >> 32));
}

/* ---- interrupts ---- */
static void route_intx(PciDev *p, bool level)
{
    PciBus *b = p->pbus;
    PciDev *d = p;
    unsigned pin = p->config[CFG_PIN], n;

    if (!b || !pin || level == p->intx_level)
        return;
    p->intx_level = level;
    for (; b->bridge; d = b->bridge, b = d->pbus) /* through bridges: depth of the tree */
        pin = (pin - 1 + (d->devfn >> 3)) % 4 + 1;
    n = !level ? p->intx_wire : b->map_irq ? b->map_irq(d, pin - 1) : pin - 1;
    p->intx_wire = (uint8_t)n; /* routes may change meanwhile */
    b->irq_count[n] += level ? 1u : -1u;
    if (b->set_irq)
        b->set_irq(b->irq_chip, n, b->irq_count[n] != 0);
}

unsigned pci__cap_find(const PciDev *p, uint8_t id)
{
    unsigned at = p->config[CFG_CAP];

    for (unsigned i = 0; at && i < 48; i++) {
        if (p->config[at] == id)
            return at;
        at = p->config[at + 1];
    }
    return 0;
}

bool pci_msi_on(const PciDev *p)
{
    unsigned c = pci__cap_find(p, 5);

    return c && p->config[c + 2] & 1;
}

void pci_msi_send(PciDev *p, unsigned vector)
{
    unsigned c = pci__cap_find(p, 5);
    uint64_t addr;
    uint32_t data, n;

    if (!c || !(p->config[c + 2] & 1) || !pci_bus_master(p))
        return;
    n = 1u << (p->config[c + 2] >> 4 & 7);
    addr = le32_load(p->config + c + 4) | (uint64_t)le32_load(p->config + c + 8) << 32;
    data = le16_load(p->config + c + 12);
    data = (data & ~(n - 1)) | (vector & (n - 1));
    vm_msi(p->dev.obj.vm, addr, data);
}

/* The pin's wire: with MSI on, a rising edge is a message. */
static void intx_changed(void *chip, unsigned n, bool level)
{
    PciDev *p = chip;
    uint16_t st = le16_load(p->config + CFG_STATUS);

    le16_store(p->config + CFG_STATUS, level ? st | STATUS_INTX : st & ~STATUS_INTX);
    if (pci_msi_on(p)) {
        route_intx(p, false);
        if (level)
            pci_msi_send(p, 0);
        return;
    }
    route_intx(p, level && !(le16_load(p->config + CFG_COMMAND) & CMD_INTX_OFF));
}

static void refresh_intx(PciDev *p)
{
    bool level = le16_load(p->config + CFG_STATUS) & STATUS_INTX;

    route_intx(p, level && !pci_msi_on(p) && !(le16_load(p->config + CFG_COMMAND) & CMD_INTX_OFF));
}

bool pci_is_express(const PciDev *p) { return pci__cap_find(p, 0x10); }
bool pci_bus_master(const PciDev *p) { return p->config[CFG_COMMAND] & CMD_MASTER; }

/* ---- capabilities ---- */
uint8_t pci_add_cap(PciDev *p, uint8_t id, uint8_t len)
{
    uint8_t at = (uint8_t)p->cap_next;

    g_assert(at + len <= 0x100);
    p->config[at] = id;
    p->config[at + 1] = p->config[CFG_CAP];
    p->config[CFG_CAP] = at;
    p->config[CFG_STATUS] |= STATUS_CAPS;
    p->cap_next = (uint16_t)align_up(at + len, 4);
    return at;
}

uint8_t pci__add_cap_at(PciDev *p, uint8_t at, uint8_t id, uint8_t len)
{
    if (at)
        p->cap_next = at;
    return pci_add_cap(p, id, len);
}

void pci_add_ext_cap(PciDev *p, uint16_t at, uint16_t id, uint8_t version)
{
    uint16_t last = 0x100;

    while (le16_load(p->config + last + 2) >> 4) /* as many as the class added */
        last = le16_load(p->config + last + 2) >> 4;
    if (last != at)
        le16_store(p->config + last + 2, (uint16_t)((le16_load(p->config + last + 2) & 15) | at << 4));
    le16_store(p->config + at, id);
    le16_store(p->config + at + 2, version);
}

/* PCI Express capability: x1 at 2.5 GT/s for endpoints, x32 at 16 GT/s for ports as QEMU's have. Version 2, of chips 1. */
static void add_express(PciDev *p, unsigned type)
{
    bool port = type == PCIE_ROOT_PORT - 1, chip = pci_class(p)->express_chip;
    uint8_t c = pci__add_cap_at(p, pci_class(p)->cap_at.express, 0x10, chip ? 0x14 : 0x3c), *f = p->config + c, *w = p->wmask + c;

    le16_store(f + 2, (uint16_t)((chip ? 1 : 2) | type << 4 | (port ? 0x100 : 0)));
    le32_store(f + 4, chip ? 0x8020 : 0x8000); /* role-based errors; 8-bit tags */
    le16_store(w + 8, 0x000f);
    le32_store(f + 0x0c, port ? 0x00100604 : 0x00000411);
    le16_store(w + 0x10, 0x0043);
    le16_store(f + 0x12, port ? 0x0204 : 0x0011);
    if (chip)
        return;
    le16_store(w + 0x28, 0x041f);
    le32_store(f + 0x2c, port ? 0x1e : 0x02);
    if (port)
        le16_store(w + 0x1c, 0x0007);
}

/* As the class says; a function that is no port is part of the root complex when it is on the root bus. */
static void init_express(PciDev *p, const PciClass *c)
{
    bool below_port = p->pbus->express && p->pbus->bridge;

    if (!c->express || (!c->express_chip && (!p->pbus->express || (!below_port && c->express == PCIE_ENDPOINT))))
        return;
    add_express(p, c->express == PCIE_ENDPOINT && p->pbus->express && !below_port ? INTEGRATED : c->express - 1u);
}

/* Power management, version 2: states D0 and D3hot without effect, PME. */
static void add_pm(PciDev *p, uint8_t at)
{
    uint8_t c = pci__add_cap_at(p, at, 1, 8);

    le16_store(p->config + c + 2, 0x0022);
    le16_store(p->wmask + c + 4, 0x0103);
    p->w1c[c + 5] = 0x80;
}

static void add_msi(PciDev *p, unsigned vectors)
{
    uint8_t c = pci__add_cap_at(p, pci_class(p)->cap_at.msi, 5, 14);

    le16_store(p->config + c + 2, (uint16_t)(0x80 | (unsigned)__builtin_ctz(vectors) << 1));
    le16_store(p->wmask + c + 2, 0x71);
    le32_store(p->wmask + c + 4, 0xfffffffc);
    le32_store(p->wmask + c + 8, UINT32_MAX);
    le16_store(p->wmask + c + 12, 0xffff);
}

/* ---- configuration space ---- */
uint32_t pci_config_read(PciDev *p, unsigned off, unsigned size)
{
    uint32_t v = 0;

    if (!in_range(off, size, sizeof(p->config)))
        return UINT32_MAX;
    if (pci_class(p)->config_read && pci_class(p)->config_read(p, off, size, &v))
        return v;
    return (uint32_t)le_load(p->config + off, size);
}

void pci_config_write(PciDev *p, unsigned off, uint32_t val, unsigned size)
{
    if (!in_range(off, size, sizeof(p->config)))
        return;
    dev_enter(&p->dev);
    for (unsigned i = 0; i < size; i++) {
        uint8_t v = (uint8_t)(val >> (8 * i)), *c = &p->config[off + i], m = p->wmask[off + i];

        *c = (uint8_t)((*c & ~m) | (v & m));
        *c &= (uint8_t)~(v & p->w1c[off + i]);
    }
    if (off < 0x34)
        update_bars(p);
    refresh_intx(p);
    pci__msix_retry(p);
    if (pci_class(p)->config_written)
        pci_class(p)->config_written(p, off, size);
    dev_leave(&p->dev);
}

/* A bridge passes on what its secondary and subordinate numbers enclose; the first one wins. */
PciDev *pci_find(PciBus *root, uint8_t bus, uint8_t devfn)
{
    PciBus *b = root;

    for (unsigned depth = 0; b && depth < 256; depth++) {
        PciBus *next = NULL;

        if (bus == b->number)
            return b->slot[devfn];
        for (guint i = 0; !next && b->bus.devs && i < b->bus.devs->len; i++) {
            PciDev *p = PCI(b->bus.devs->pdata[i]);

            if (p->behind && bus >= p->config[CFG_SECONDARY] && bus <= p->config[CFG_SUBORDINATE])
                next = p->behind;
        }
        b = next;
    }
    return NULL;
}

uint32_t pci_host_read(PciBus *root, uint32_t bdf, unsigned reg, unsigned size)
{
    PciDev *p = pci_find(root, (uint8_t)(bdf >> 8), (uint8_t)bdf);

    return p ? pci_config_read(p, reg, size) : (uint32_t)bytes_mask(size);
}

void pci_host_write(PciBus *root, uint32_t bdf, unsigned reg, uint32_t val, unsigned size)
{
    PciDev *p = pci_find(root, (uint8_t)(bdf >> 8), (uint8_t)bdf);

    if (p)
        pci_config_write(p, reg, val, size);
}

/* Conventional functions have 256 bytes. */
uint32_t pci_ecam_read(PciBus *root, uint32_t bdf, unsigned reg, unsigned size)
{
    PciDev *p = pci_find(root, (uint8_t)(bdf >> 8), (uint8_t)bdf);

    return p && (reg < 0x100 || pci_is_express(p)) ? pci_config_read(p, reg, size) : (uint32_t)bytes_mask(size);
}

void pci_ecam_write(PciBus *root, uint32_t bdf, unsigned reg, uint32_t val, unsigned size)
{
    PciDev *p = pci_find(root, (uint8_t)(bdf >> 8), (uint8_t)bdf);

    if (p && (reg < 0x100 || pci_is_express(p)))
        pci_config_write(p, reg, val, size);
}

/* ---- life ---- */
static bool in_use(const PciDev *p, const PciDev *by, Error **err)
{
    return fail(err, "PCI: slot %u function %u not available for %s, in use by %s,id=%s", p->devfn >> 3, p->devfn & 7, p->dev.cls->obj.name,
                by->dev.cls->obj.name, by->dev.id ? by->dev.id : "(null)");
}

/* The guest has looked at the slot already. */
static bool not_seen(const PciDev *p, const PciBus *b, unsigned slot, Error **err)
{
    return fail(err, "PCI: slot %u function 0 already occupied by %s, new func %s cannot be exposed to guest.", slot,
                b->slot[slot * 8]->dev.cls->obj.name, p->dev.cls->obj.name);
}

/* The first free slot; on a port the one there is. */
static bool choose_slot(PciDev *p, const PciBus *b, Error **err)
{
    for (unsigned slot = b->devfn_min / 8; slot < (b->one_slot ? 1u : 32u); slot++)
        if (!b->slot[slot * 8]) {
            p->devfn = (uint8_t)(slot * 8);
            return true;
        }
    if (b->one_slot)
        return not_seen(p, b, 0, err);
    return fail(err, "PCI: no slot/function available for %s, all in use or reserved", p->dev.cls->obj.name);
}

static bool parse_addr(PciDev *p, PciBus *b, Error **err)
{
    const char *t = p->addr_prop;
    unsigned slot, fn = 0;

    if (!t)
        return choose_slot(p, b, err);
    if (sscanf(t, "%x.%x", &slot, &fn) < 1 || slot > 31 || fn > 7)
        return fail(err, "addr=%s: not a PCI address; want SLOT or SLOT.FUNCTION in hexadecimal", t);
    p->devfn = (uint8_t)(slot * 8 + fn);
    if (b->one_slot && slot)
        return fail(err, "addr=%s: bus %s has only slot 0", t, b->bus.obj.name);
    if (p->devfn < b->devfn_min)
        return fail(err, "addr=%s: bus %s begins with slot %u", t, b->bus.obj.name, b->devfn_min / 8);
    if (b->slot[p->devfn])
        return in_use(p, b->slot[p->devfn], err);
    return !p->dev.hot || !fn || !b->slot[slot * 8] || not_seen(p, b, slot, err);
}

static bool may_dma(const Dev *d) { return pci_bus_master((const PciDev *)(const void *)d); }

static bool bus_plug(Bus *bus, Dev *d, Error **err)
{
    PciBus *b = (PciBus *)(void *)bus;
    PciDev *p = PCI(d);

    if (!parse_addr(p, b, err))
        return false;
    p->pbus = b;
    b->slot[p->devfn] = p;
    if (b->one_slot)
        pci__slot_look(b->bridge, 0);
    d->may_dma = may_dma;
    d->requester = (uint16_t)((b->number << 8 | p->devfn) + 1);
    return true;
}

static void bus_unplug(Bus *bus, Dev *d)
{
    PciBus *b = (PciBus *)(void *)bus;
    PciDev *p = PCI(d);

    route_intx(p, false);
    for (unsigned n = 0; n < 6; n++)
        if (p->bar[n])
            region_unmap(p->bar[n]);
    if (p->rom)
        region_unmap(p->rom);
    if (b->slot[p->devfn] == p) {
        b->slot[p->devfn] = NULL;
        if (b->one_slot && b->bridge && !p->dev.obj.vm->ending)
            pci__slot_look(b->bridge, 0);
        if (b->hotplug && b->hotplug->left && !p->dev.obj.vm->ending)
            b->hotplug->left(b->hotplug_self, p);
    }
    p->pbus = NULL;
}

static bool bus_fixed(const Bus *bus) { return !((const PciBus *)(const void *)bus)->hotplug; }

static void bus_arrived(Bus *bus, Dev *d)
{
    PciBus *b = (PciBus *)(void *)bus;

    if (!(PCI(d)->devfn & 7))
        b->hotplug->came(b->hotplug_self, PCI(d));
}

static bool bus_ask(Bus *bus, Dev *d, Error **err)
{
    PciBus *b = (PciBus *)(void *)bus;

    return b->hotplug->ask(b->hotplug_self, PCI(d), err);
}

bool pci_eject(PciBus *b, unsigned slot)
{
    bool any = false;

    for (unsigned fn = 8; fn-- > 0;) {
        PciDev *p = b->slot[(slot & 31) * 8 + fn];

        if (p && p->dev.cls->hotplug) {
            dev_unplug_now(&p->dev);
            any = true;
        }
    }
    return any;
}

static char *bus_address(const Bus *b, const Dev *d)
{
    const PciDev *p = PCI(d);

    return g_strdup_printf("%02x.%x", p->devfn >> 3, p->devfn & 7);
}

#define HOTPLUG .hotplug = true, .fixed = bus_fixed, .arrived = bus_arrived, .ask = bus_ask
static const BusClass pci_bus_class = { .obj = { .name = "PCI", .desc = "PCI bus", .size = sizeof(PciBus) }, .type = "PCI",
                                        .plug = bus_plug, .unplug = bus_unplug, .address = bus_address, HOTPLUG };
static const BusClass pcie_bus_class = { .obj = { .name = "PCIE", .desc = "PCI Express bus", .size = sizeof(PciBus) }, .type = "PCI",
                                         .plug = bus_plug, .unplug = bus_unplug, .address = bus_address, HOTPLUG };

PciBus *pci_bus_new(Dev *host, const char *name, bool express, Region *mem, Region *io)
{
    PciBus *b = (PciBus *)(void *)bus_new(express ? &pcie_bus_class : &pci_bus_class, host, name);

    b->mem = mem;
    b->io = io;
    b->express = express;
    return b;
}

static void identity(PciDev *p, const PciClass *c)
{
    uint8_t *f = p->config;

    le16_store(f, c->vendor);
    le16_store(f + 2, c->device);
    f[8] = c->revision;
    f[9] = (uint8_t)c->class_id;
    le16_store(f + 10, (uint16_t)(c->class_id >> 8));
    f[14] = (uint8_t)(c->header | (c->multifunction || p->multifunction_prop ? 0x80 : 0));
    if (!c->header) {
        le16_store(f + 0x2c, c->subvendor ? c->subvendor : 0x1af4);
        le16_store(f + 0x2e, c->subdevice ? c->subdevice : 0x1100);
    }
    f[CFG_PIN] = c->irq_pin;
    le16_store(p->wmask + CFG_COMMAND, CMD_IO | CMD_MEM | CMD_MASTER | 0x140 | CMD_INTX_OFF);
    p->w1c[CFG_STATUS + 1] = 0xf9;
    p->wmask[12] = p->wmask[13] = 0xff;
    p->wmask[CFG_LINE] = 0xff;
}

static bool pci_init(Obj *o, Error **err)
{
    PciDev *p = (PciDev *)o;

    p->cap_next = 0x40;
    for (unsigned n = 0; n < 6; n++)
        p->bar_at[n] = ~0ull;
    p->rom_at = ~0ull;
    identity(p, pci_class(p));
    return true;
}

static bool pci_plug(Dev *d, Error **err)
{
    PciDev *p = PCI(d);
    const PciClass *c = pci_class(p);

    for (unsigned n = 0; n < 6; n++) {
        const PciBar *b = &c->bar[n];

        if (!b->size || b->by_init)
            continue;
        if (b->bank)
            pci_set_bar(p, n, dev_region_bank(d, b->bank), b->flags);
        else if (b->ops)
            pci_set_bar(p, n, dev_region_io(d, c->dev.obj.name, b->size, b->ops), b->flags);
        else
            pci_set_bar(p, n, region_ram(&d->obj, c->dev.obj.name, *(RamBlock **)(void *)((char *)d + b->ram_at)), b->flags);
    }
    init_express(p, c);
    if (c->cap_at.pm)
        add_pm(p, c->cap_at.pm);
    if (p->msi_vectors != PCI_NO_VECTORS && (p->msi_vectors || c->msi_vectors))
        add_msi(p, p->msi_vectors ? p->msi_vectors : c->msi_vectors);
    pci__msix_init(p);
    for (unsigned i = 0; i < d->cls->nouts; i++)
        if (!strcmp(d->cls->outs[i].name, "intx"))
            dev_wire(d, "intx", 0, (Irq){ intx_changed, p, 0, false });
    return pci__rom_load(p, err);
}

/* What the class set stays, what the guest wrote goes. */
static void pci_reset(Dev *d)
{
    PciDev *p = PCI(d);

    for (unsigned i = 0; i < sizeof(p->config); i++)
        p->config[i] &= (uint8_t)~p->wmask[i];
    for (unsigned n = 0; n < 6; n++)
        if (p->bar[n])
            p->config[CFG_BAR0 + 4 * n] |= p->bar_flags[n] & BAR_IO ? 1 : 0;
    pci__msix_reset(p);
    update_bars(p);
    refresh_intx(p);
}

static void pci_loaded(Dev *d)
{
    update_bars(PCI(d));
    refresh_intx(PCI(d));
}

/* A stream may only change what a guest could. */
static bool pci_check(const Dev *d, Error **err)
{
    const PciDev *p = PCI(d);

    for (unsigned at = p->config[CFG_CAP], i = 0; at; at = p->config[at + 1], i++)
        if (i > 47 || at > 0xfe)
            return fail(err, "a capability list that does not end");
    if (p->config[CFG_PIN] > 4)
        return fail(err, "interrupt pin %u", p->config[CFG_PIN]);
    return true;
}

/* Registers behind BARs are state too. */
static const Bank *bar_bank(const DevClass *c, unsigned i) { return ((const PciClass *)(const void *)c)->bar[i].bank; }

/* clang-format off */
static const Prop pci_props[] = {
    PROP_STR(PciDev, addr_prop, "addr", NULL, "slot and function, hexadecimal"),
    PROP(PciDev, multifunction_prop, "multifunction", false, "more functions follow in this slot"),
    PROP_STR(PciDev, romfile_prop, "romfile", NULL, "option ROM"),
    PROP(PciDev, rombar_prop, "rombar", 1, "show the option ROM"),
};
static const Field pci_state[] = {
    BYTES(PciDev, config, .keep = true),
    TRANSIENT(PciDev, pbus, "wiring", .keep = true), TRANSIENT(PciDev, behind, "wiring", .keep = true), TRANSIENT(PciDev, devfn, "topology", .keep = true),
    TRANSIENT(PciDev, wmask, "of the class", .keep = true), TRANSIENT(PciDev, w1c, "of the class", .keep = true),
    TRANSIENT(PciDev, bar, "of the class", .keep = true), TRANSIENT(PciDev, rom, "of the class", .keep = true),
    TRANSIENT(PciDev, bar_size, "of the class", .keep = true), TRANSIENT(PciDev, bar_flags, "of the class", .keep = true),
    TRANSIENT(PciDev, bar_at, "follows config", .keep = true), TRANSIENT(PciDev, rom_at, "follows config", .keep = true), TRANSIENT(PciDev, intx_level, "what the bus counts", .keep = true), TRANSIENT(PciDev, intx_wire, "what the bus counts", .keep = true),
    CUSTOM(PciDev, msix, pci__msix_save, pci__msix_load, .drop = pci__msix_drop, .keep = true), TRANSIENT(PciDev, cap_next, "of the class", .keep = true),
    TRANSIENT(PciDev, msix_vectors, "of the class", .keep = true), TRANSIENT(PciDev, msi_vectors, "of the class", .keep = true),
};
const DevClass pci_base = {
    .obj = { .name = "pci-device", .size = sizeof(PciDev), .props = TABLE(pci_props), .init = pci_init }, .bus = "PCI",
    .state = TABLE(pci_state), .plug = pci_plug, .on_reset = pci_reset, .loaded = pci_loaded, .check = pci_check, .hotplug = true,
    .bank_at = bar_bank, .nbank_at = 6,
};
/* clang-format on */
