/*
 * hw/pci/bridge.c - PCI-to-PCI bridges: pcie-root-port, pcie-pci-bridge, pci-bridge. Sources: PCI-to-PCI Bridge 1.2 chapter 3
 * (windows, bus numbers, VGA enable), PCI Express 4.0 section 7.5.3 (capability; hw/pci/pci.c makes it).
 * Windows are views of the secondary bus's own memory and I/O spaces in the primary's.
 * Hot-plug of root ports is slot.c. Left out: AER, ISA enable, subtractive decode, the standard hot-plug controller.
 */
#include "hw/pci/priv.h"

enum { COMMAND = 0x04, SECONDARY = 0x19, SUBORDINATE = 0x1a, IO_BASE = 0x1c, SEC_STATUS = 0x1e, MEM_BASE = 0x20, PREF_BASE = 0x24,
       PREF_UPPER = 0x28, CONTROL = 0x3e, VGA_ENABLE = 1 << 3, BUS_RESET = 1 << 6 };
enum { WIN_IO, WIN_MEM, WIN_PREF, WIN_VGA_MEM, WIN_VGA_IO0, WIN_VGA_IO1, WINDOWS };

typedef struct Bridge {
    PciDev pci;
    Region *mem, *io, *win[WINDOWS];
    bool in_reset;
} Bridge;
typedef struct RootPort {
    Bridge bridge;
    uint8_t port, chassis;
    uint16_t slot;
    bool hotplug, power; /* properties */
    uint16_t slot_ctl;   /* as last written */
    uint64_t reserve[4]; /* io, mem, pref32, pref64: bytes that firmware should leave; ~0: as it likes */
    uint32_t bus_reserve;
} RootPort;
typedef struct PciPci {
    Bridge bridge;
    uint32_t chassis_nr;
} PciPci;
#define BRIDGE(d) ((Bridge *)(void *)(d))

typedef struct Range {
    uint64_t base, limit; /* base above limit: closed */
} Range;

static Range range_of(const uint8_t *c, unsigned n)
{
    static const Range vga[] = { { 0xa0000, 0xbffff }, { 0x3b0, 0x3bb }, { 0x3c0, 0x3df } };
    bool io = c[COMMAND] & 1, mem = c[COMMAND] & 2;
    Range r = { 1, 0 };

    if (n == WIN_IO && io)
        r = (Range){ (c[IO_BASE] & 0xf0u) << 8, (c[IO_BASE + 1] & 0xf0u) << 8 | 0xfff };
    else if (n == WIN_MEM && mem)
        r = (Range){ (le16_load(c + MEM_BASE) & 0xfff0u) << 16, ((uint32_t)le16_load(c + MEM_BASE + 2) & 0xfff0u) << 16 | 0xfffff };
    else if (n == WIN_PREF && mem)
        r = (Range){ (uint64_t)le32_load(c + PREF_UPPER) << 32 | (le16_load(c + PREF_BASE) & 0xfff0u) << 16,
                     (uint64_t)le32_load(c + PREF_UPPER + 4) << 32 | ((uint32_t)le16_load(c + PREF_BASE + 2) & 0xfff0u) << 16 | 0xfffff };
    else if (n >= WIN_VGA_MEM && c[CONTROL] & VGA_ENABLE && (n == WIN_VGA_MEM ? mem : io))
        r = vga[n - WIN_VGA_MEM];
    return r;
}

static bool is_io(unsigned n) { return n == WIN_IO || n >= WIN_VGA_IO0; }

static void update_windows(Bridge *b)
{
    mem_begin(b->pci.dev.obj.vm);
    for (unsigned n = 0; n < WINDOWS; n++) {
        Range r = range_of(b->pci.config, n);
        uint64_t size = r.limit - r.base + 1;

        if (!b->win[n] || (b->win[n]->parent && b->win[n]->at == r.base && b->win[n]->size == size))
            continue;
        region_unmap(b->win[n]);
        if (r.base > r.limit || !size || !b->pci.pbus)
            continue;
        region_set_alias_off(b->win[n], r.base);
        region_set_size(b->win[n], size);
        region_map(is_io(n) ? b->pci.pbus->io : b->pci.pbus->mem, r.base, b->win[n], 1);
    }
    mem_commit(b->pci.dev.obj.vm);
}

static void update(Dev *d)
{
    Bridge *b = BRIDGE(d);
    PciBus *s = b->pci.behind;

    if (!s)
        return;
    if (s->number != b->pci.config[SECONDARY]) {
        s->number = b->pci.config[SECONDARY];
        for (unsigned i = 0; i < G_N_ELEMENTS(s->slot); i++)
            if (s->slot[i])
                s->slot[i]->dev.requester = (uint16_t)((s->number << 8 | i) + 1);
    }
    update_windows(b);
}

static void reset_behind(PciBus *b)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(b->slot); i++)
        if (b->slot[i] && !b->slot[i]->dev.depth) { /* not who asked for it, by DMA */
            if (b->slot[i]->behind)
                reset_behind(b->slot[i]->behind); /* depth: of the tree */
            dev_reset(&b->slot[i]->dev);
        }
}

/* The secondary bus is in reset while the bit is set; here: it goes through one when it is set. */
static void written(PciDev *p, unsigned off, unsigned size)
{
    Bridge *b = BRIDGE(p);
    bool reset = p->config[CONTROL] & BUS_RESET;

    if (reset && !b->in_reset)
        reset_behind(p->behind);
    b->in_reset = reset;
    update(&p->dev);
}

static char *bus_name(const Dev *d, bool express)
{
    const char *kind = express ? "pcie" : "pci";

    if (d->id)
        return g_strdup(d->id);
    for (unsigned n = 1;; n++) { /* at most one more than there are buses */
        char *name = g_strdup_printf("%s.%u", kind, n);

        if (!bus_find(d->obj.vm, name))
            return name;
        g_free(name);
    }
}

static bool plug(Dev *d, Error **err)
{
    Bridge *b = BRIDGE(d);
    bool express = pci_class(&b->pci)->express == PCIE_ROOT_PORT;
    g_autofree char *name = bus_name(d, express);
    static const char *const names[WINDOWS] = { "pci_bridge_io", "pci_bridge_mem", "pci_bridge_pref_mem", "pci_bridge_vga_mem",
                                                "pci_bridge_vga_io_lo", "pci_bridge_vga_io_hi" };

    b->mem = region_box(&d->obj, "pci_bridge_pci", UINT64_MAX);
    b->io = region_box(&d->obj, "pci_bridge_io", 65536);
    for (unsigned n = 0; n < WINDOWS; n++)
        b->win[n] = region_alias(&d->obj, names[n], is_io(n) ? b->io : b->mem, 0, 1);
    b->pci.behind = pci_bus_new(d, name, express, b->mem, b->io);
    b->pci.behind->bridge = &b->pci;
    b->pci.behind->one_slot = express;
    b->pci.behind->devfn_min = pci_class(&b->pci)->express ? 0 : 8; /* slot 0 is the hot-plug controller's */
    return true;
}

static void unplug(Dev *d)
{
    for (unsigned n = 0; n < WINDOWS; n++)
        if (BRIDGE(d)->win[n])
            region_unmap(BRIDGE(d)->win[n]);
}

static bool init(Obj *o, Error **err)
{
    static const struct {
        uint8_t at, size;
        uint32_t bits;
    } rw[] = {
        { 0x18, 4, UINT32_MAX }, { IO_BASE, 2, 0xf0f0 }, { MEM_BASE, 4, 0xfff0fff0 }, { PREF_BASE, 4, 0xfff0fff0 },
        { PREF_UPPER, 4, UINT32_MAX }, { PREF_UPPER + 4, 4, UINT32_MAX }, { CONTROL, 2, 0x004f },
    };
    PciDev *p = PCI(o);

    for (size_t i = 0; i < G_N_ELEMENTS(rw); i++)
        le_store(p->wmask + rw[i].at, rw[i].size, rw[i].bits);
    p->config[PREF_BASE] = p->config[PREF_BASE + 2] = 1; /* 64 bits */
    p->w1c[SEC_STATUS + 1] = 0xf9;
    return true;
}

/* All windows closed: bases above limits. */
static void on_reset(Dev *d)
{
    uint8_t *c = PCI(d)->config;

    le16_store(c + IO_BASE, 0x00f0);
    le32_store(c + MEM_BASE, 0x0000fff0);
    le32_store(c + PREF_BASE, 0x0001fff1);
    update(d);
}

/* What a bridge that is there from the start can leave to the root's hot-plug controller. */
static void offer(PciDev *p)
{
    PciBus *root = p->pbus;

    while (root->bridge) /* depth of the tree */
        root = root->bridge->pbus;
    if (root->adopt && !p->dev.hot)
        root->adopt(root->adopt_self, p->behind);
}

static bool plug_and_offer(Dev *d, Error **err)
{
    if (!plug(d, err))
        return false;
    offer(PCI(d));
    return true;
}

static bool reserves(const RootPort *r)
{
    for (size_t i = 0; i < G_N_ELEMENTS(r->reserve); i++)
        if (r->reserve[i] != UINT64_MAX)
            return true;
    return r->bus_reserve != UINT32_MAX;
}

/* The capability by which QEMU's ports tell firmware what to keep free (the project's docs/pcie_pci_bridge): vendor-specific,
 * type 1; ~0: nothing is said. */
static void add_reserves(RootPort *r)
{
    PciDev *p = &r->bridge.pci;
    uint8_t *c = p->config + pci_add_cap(p, 0x09, 32);

    c[2] = 32;
    c[3] = 1;
    le32_store(c + 4, r->bus_reserve);
    le64_store(c + 8, r->reserve[0]);
    le32_store(c + 16, (uint32_t)r->reserve[1]);
    le32_store(c + 20, (uint32_t)r->reserve[2]);
    le64_store(c + 24, r->reserve[3]);
}

static bool port_plug(Dev *d, Error **err)
{
    RootPort *r = (RootPort *)(void *)d;

    if (!PCI(d)->pbus->express)
        return fail(err, "pcie-root-port: bus %s is not PCI Express", d->bus->obj.name);
    if (r->slot > 0x1fff)
        return fail(err, "pcie-root-port: slot is at most 8191");
    PCI(d)->config[pci__cap_find(PCI(d), 0x10) + 0x0f] = r->port; /* of the link capabilities */
    if (!plug(d, err))
        return false;
    if (reserves(r))
        add_reserves(r);
    if (r->hotplug)
        offer(PCI(d));
    pci__slot_init(PCI(d), r->slot, r->hotplug, r->power);
    return true;
}

static void port_written(PciDev *p, unsigned off, unsigned size)
{
    written(p, off, size);
    pci__slot_written(p, off, size, &((RootPort *)(void *)p)->slot_ctl);
}

static void port_reset(Dev *d)
{
    on_reset(d);
    pci__slot_reset(PCI(d), &((RootPort *)(void *)d)->slot_ctl);
}

/* clang-format off */
#define WIRED(m) TRANSIENT(Bridge, m, "wiring", .keep = true)
#define STATE WIRED(mem), WIRED(io), WIRED(win), FIELD(Bridge, in_reset)
static const Field state[] = { STATE };
static const Field port_state[] = { STATE, FIELD(RootPort, slot_ctl) };
#define RESERVE(i, n, d) \
    { .name = (n), .at = offsetof(RootPort, reserve[i]), .size = 8, .kind = P_SIZE, .def = UINT64_MAX, .doc = (d) }
static const Prop root_port_props[] = {
    PROP(RootPort, port, "port", 0, "number of the port"),
    PROP(RootPort, chassis, "chassis", 0, "number of the chassis (software does not see it)"),
    PROP(RootPort, slot, "slot", 0, "number of the slot"),
    PROP(RootPort, hotplug, "hotplug", true, "devices may come and go"),
    PROP(RootPort, power, "power_controller_present", true, "the guest can switch the slot off"),
    PROP(RootPort, bus_reserve, "bus-reserve", UINT32_MAX, "bus numbers for firmware to keep free behind it"),
    RESERVE(0, "io-reserve", "bytes of ports for firmware to keep free"),
    RESERVE(1, "mem-reserve", "bytes of memory for firmware to keep free"),
    RESERVE(2, "pref32-reserve", "bytes of prefetchable memory below 4 GiB for firmware to keep free"),
    RESERVE(3, "pref64-reserve", "bytes of prefetchable memory for firmware to keep free"),
};
static const Out port_outs[] = { { "intx", pci__slot_interrupt } };
static const Prop pci_pci_props[] = { PROP(PciPci, chassis_nr, "chassis_nr", 0, "number of the chassis (software does not see it)") };
#define BRIDGE_CLASS(T, n, d, p, dev_id, exp, ...)                                                                        \
    { PCI_DEVICE(T, n, d), .dev.obj.init = init, .dev.plug = p, .dev.unplug = unplug, .dev.on_reset = on_reset,           \
      .dev.loaded = update, .dev.hotplug = true, .dev.state = TABLE(state), .dev.category = "Controller/Bridge/Hub devices", .header = 1,      \
      .config_written = written, .vendor = 0x1b36, .device = (dev_id), .class_id = 0x060400, .irq_pin = 1,                \
      .msi_vectors = 1, .express = (exp), __VA_ARGS__ }
static const PciClass root_port = BRIDGE_CLASS(RootPort, "pcie-root-port", "PCI Express root port", port_plug, 0x000c, PCIE_ROOT_PORT,
    .dev.obj.props = TABLE(root_port_props), .dev.outs = port_outs, .dev.nouts = 1, .dev.on_reset = port_reset, .dev.state = TABLE(port_state),
    .config_written = port_written);
DEVICE_OF(RootPort, root_port, &root_port.dev);
static const PciClass pcie_pci = BRIDGE_CLASS(Bridge, "pcie-pci-bridge", "PCI Express to PCI bridge", plug_and_offer, 0x000e, PCIE_PCI_BRIDGE);
DEVICE_OF(Bridge, pcie_pci, &pcie_pci.dev);
static const PciClass pci_pci = BRIDGE_CLASS(PciPci, "pci-bridge", "PCI to PCI bridge", plug_and_offer, 0x0001, 0, .dev.obj.props = TABLE(pci_pci_props));
DEVICE_OF(PciPci, pci_pci, &pci_pci.dev);
/* clang-format on */
