/* hw/pci/qmp.c - what is on the PCI buses, for the monitor (schema/pci.json). */
#include "core/api/pci.h"
#include "hw/pci/pci.h"

enum { BUSES_MAX = 256, ROM_BAR = 6 };

static const struct {
    uint16_t class;
    const char *desc;
} classes[] = {
    { 0x0100, "SCSI controller" }, { 0x0101, "IDE controller" }, { 0x0102, "Floppy controller" }, { 0x0104, "RAID controller" },
    { 0x0106, "SATA controller" }, { 0x0180, "Storage controller" }, { 0x0108, "NVMe controller" }, { 0x0200, "Ethernet controller" },
    { 0x0280, "Network controller" }, { 0x0300, "VGA controller" }, { 0x0380, "Display controller" }, { 0x0401, "Audio controller" },
    { 0x0403, "Audio controller" }, { 0x0600, "Host bridge" }, { 0x0601, "ISA bridge" }, { 0x0604, "PCI bridge" }, { 0x0680, "Bridge" },
    { 0x0700, "Serial port" }, { 0x0780, "Communication controller" }, { 0x0880, "System peripheral" }, { 0x0900, "Keyboard" },
    { 0x0980, "Input device" }, { 0x0c03, "USB controller" }, { 0x0c05, "SMBus" }, { 0x00ff, "Unclassified device" },
};

static uint32_t config(const PciDev *p, unsigned at, unsigned n) { return (uint32_t)le_load(p->config + at, n); }

static char *describe(uint16_t class)
{
    for (size_t i = 0; i < G_N_ELEMENTS(classes); i++)
        if (classes[i].class == class)
            return g_strdup(classes[i].desc);
    return NULL;
}

static void fill_bars(const PciDev *p, PciMemoryRegionList *l)
{
    for (unsigned i = 0; i < 6; i++) {
        PciMemoryRegion *r = p->bar_size[i] ? API_ADD(l) : NULL;
        bool io = p->bar_flags[i] & BAR_IO;

        if (!r)
            continue;
        r->bar = i;
        r->type = g_strdup(io ? "io" : "memory");
        r->address = p->bar_at[i] == UINT64_MAX ? -1 : (int64_t)p->bar_at[i];
        r->size = (int64_t)p->bar_size[i];
        r->has_prefetch = r->has_mem_type_64 = !io;
        r->prefetch = p->bar_flags[i] & BAR_PREFETCH;
        r->mem_type_64 = p->bar_flags[i] & BAR_64;
    }
    if (p->rom) {
        PciMemoryRegion *r = API_ADD(l);
        uint32_t at = config(p, p->behind ? 0x38 : 0x30, 4);

        r->bar = ROM_BAR;
        r->type = g_strdup("memory");
        r->address = at & 1 ? (int64_t)(at & ~1u) : -1;
        r->size = (int64_t)p->rom->size;
        r->has_prefetch = r->has_mem_type_64 = true;
    }
}

/* Base and limit of a window of a bridge: the upper bits of 16 (I/O: 8) each. */
static PciMemoryRange window(const PciDev *p, unsigned at, bool io)
{
    if (io) {
        uint32_t b = config(p, at, 1), l = config(p, at + 1, 1);

        return (PciMemoryRange){ (b & 0xf0) << 8, (int64_t)((l & 0xf0) << 8 | 0xfff) };
    }
    return (PciMemoryRange){ (int64_t)(config(p, at, 2) & 0xfff0) << 16, (int64_t)(config(p, at + 2, 2) & 0xfff0) << 16 | 0xfffff };
}

static void fill_bus(const PciBus *bus, PciDeviceInfoList *l, unsigned depth);

static void fill_bridge(const PciDev *p, PciBridgeInfo *b, unsigned depth)
{
    b->bus.number = config(p, 0x18, 1);
    b->bus.secondary = config(p, 0x19, 1);
    b->bus.subordinate = config(p, 0x1a, 1);
    b->bus.io_range = window(p, 0x1c, true);
    b->bus.memory_range = window(p, 0x20, false);
    b->bus.prefetchable_range = window(p, 0x24, false);
    if (depth < BUSES_MAX)
        fill_bus(p->behind, &b->devices, depth + 1);
}

static void fill(const PciDev *p, PciDeviceInfo *d, unsigned depth)
{
    uint8_t pin = (uint8_t)config(p, 0x3d, 1);

    d->bus = p->pbus->number;
    d->slot = p->devfn >> 3;
    d->function = p->devfn & 7;
    d->class_info.class = config(p, 10, 2);
    d->class_info.desc = describe((uint16_t)d->class_info.class);
    d->id.vendor = config(p, 0, 2);
    d->id.device = config(p, 2, 2);
    if (!p->behind) {
        d->id.has_subsystem_vendor = d->id.has_subsystem = true;
        d->id.subsystem_vendor = config(p, 0x2c, 2);
        d->id.subsystem = config(p, 0x2e, 2);
    }
    d->has_irq = pin;
    d->irq = config(p, 0x3c, 1);
    d->irq_pin = pin;
    d->qdev_id = g_strdup(p->dev.id ? p->dev.id : "");
    fill_bars(p, &d->regions);
    if (p->behind) {
        d->pci_bridge = g_new0(PciBridgeInfo, 1);
        fill_bridge(p, d->pci_bridge, depth);
    }
}

static void fill_bus(const PciBus *bus, PciDeviceInfoList *l, unsigned depth)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(bus->slot); i++)
        if (bus->slot[i])
            fill(bus->slot[i], API_ADD(l), depth);
}

static void add_root(Bus *b, void *arg)
{
    const PciBus *bus = (const PciBus *)b;
    PciInfo *i;

    if (strcmp(b->cls->type, "PCI") || bus->bridge)
        return;
    i = API_ADD((PciInfoList *)arg);
    i->bus = bus->number;
    fill_bus(bus, &i->devices, 0);
}

bool qmp_query_pci(Vm *vm, PciInfoList *ret, Error **err)
{
    bus_foreach(vm, add_root, ret);
    return true;
}

/* ---- by hand ---- */
static void print_bar(const PciMemoryRegion *r, GString *out)
{
    bool io = !strcmp(r->type, "io");

    g_string_append_printf(out, "      BAR%" PRId64 ": ", r->bar);
    if (io)
        g_string_append(out, "I/O");
    else
        g_string_append_printf(out, "%d bit%s memory", r->mem_type_64 ? 64 : 32, r->prefetch ? " prefetchable" : "");
    if (r->address == -1)
        g_string_append(out, " (not mapped)\n");
    else
        g_string_append_printf(out, io ? " at 0x%04" PRIx64 " [0x%04" PRIx64 "]\n" : " at 0x%08" PRIx64 " [0x%08" PRIx64 "]\n",
                               (uint64_t)r->address, (uint64_t)(r->address + r->size - 1));
}

static void print_list(const PciDeviceInfoList *l, GString *out);

static void print_range(const char *what, const PciMemoryRange *r, int digits, GString *out)
{
    g_string_append_printf(out, "      %s range [0x%0*" PRIx64 ", 0x%0*" PRIx64 "]\n", what, digits, (uint64_t)r->base, digits, (uint64_t)r->limit);
}

static void print_one(const PciDeviceInfo *d, GString *out)
{
    g_string_append_printf(out, "  Bus %2" PRId64 ", device %3" PRId64 ", function %" PRId64 ":\n    ", d->bus, d->slot, d->function);
    if (d->class_info.desc)
        g_string_append(out, d->class_info.desc);
    else
        g_string_append_printf(out, "Class %04" PRId64, d->class_info.class);
    g_string_append_printf(out, ": PCI device %04" PRIx64 ":%04" PRIx64 "\n", (uint64_t)d->id.vendor, (uint64_t)d->id.device);
    if (d->id.has_subsystem)
        g_string_append_printf(out, "      PCI subsystem %04" PRIx64 ":%04" PRIx64 "\n", (uint64_t)d->id.subsystem_vendor, (uint64_t)d->id.subsystem);
    if (d->has_irq)
        g_string_append_printf(out, "      IRQ %" PRId64 ", pin %c\n", d->irq, (char)('A' + d->irq_pin - 1));
    if (d->pci_bridge) {
        const PciBusInfo *b = &d->pci_bridge->bus;

        g_string_append_printf(out, "      BUS %" PRId64 ".\n      secondary bus %" PRId64 ".\n      subordinate bus %" PRId64 ".\n", b->number,
                               b->secondary, b->subordinate);
        print_range("IO", &b->io_range, 4, out);
        print_range("memory", &b->memory_range, 8, out);
        print_range("prefetchable memory", &b->prefetchable_range, 8, out);
    }
    for (size_t i = 0; i < d->regions.n; i++)
        print_bar(&d->regions.v[i], out);
    g_string_append_printf(out, "      id \"%s\"\n", d->qdev_id);
    if (d->pci_bridge)
        print_list(&d->pci_bridge->devices, out);
}

static void print_list(const PciDeviceInfoList *l, GString *out)
{
    for (size_t i = 0; i < l->n; i++)
        print_one(&l->v[i], out);
}

void hmp_info_pci(Hmp *h)
{
    PciInfoList l = { NULL, 0 };

    qmp_query_pci(h->vm, &l, NULL);
    if (!l.n)
        g_string_append(h->out, "PCI devices not supported\n");
    for (size_t i = 0; i < l.n; i++)
        print_list(&l.v[i].devices, h->out);
    api_clear(&api_PciInfoList, &l);
}
