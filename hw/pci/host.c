/*
 * hw/pci/host.c - PCI host bridges as the CPU's ports see them: configuration mechanism 1 (PCI 3.0 section 3.2.2.3.2)
 * and the reset control register of PIIX3 (section 2.5.4) and ICH9 (section 13.7.5), which lies under CONFADD.
 * Devices behind the bus are hw/pci/i440fx.c and hw/pci/q35.c.
 */
#include "hw/pci/host.h"

enum { RCR_HARD = 2, RCR_RESET = 4, RCR_FULL = 8 };

typedef struct Host {
    Dev dev;
    uint32_t addr;
    uint8_t rcr;
    PciBus *bus;
} Host;
#define HOST(d) ((Host *)(d))

/* A soft reset is INIT# of the CPUs. */
static void rcr_write(Host *h, uint8_t v)
{
    h->rcr = v & (RCR_HARD | RCR_FULL);
    if (v & RCR_RESET && v & RCR_HARD)
        vm_request(dev_vm(&h->dev), VM_RESET, CAUSE_GUEST_RESET);
    else if (v & RCR_RESET)
        irq_pulse(dev_out(&h->dev, "init", 0));
}

/* CONFADD takes doublewords only; a byte at 0xcf9 is the reset control register. */
static MemResult addr_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    Host *h = o;

    *val = size == 4 && !off ? h->addr : size == 1 && off == 1 ? h->rcr : bytes_mask(size);
    return MEM_OK;
}

static MemResult addr_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    Host *h = o;

    if (size == 4 && !off)
        h->addr = (uint32_t)val & 0x80fffffc;
    else if (size == 1 && off == 1)
        rcr_write(h, (uint8_t)val);
    return MEM_OK;
}
static const RegionOps addr_ops = { .read = addr_read, .write = addr_write, .takes = { 1, 4, true }, .does = { 1, 4, true } };

static MemResult data_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    Host *h = o;

    *val = bytes_mask(size);
    if (h->bus && h->addr >> 31)
        *val = pci_host_read(h->bus, h->addr >> 8 & 0xffff, (h->addr & 0xfc) + (unsigned)off, size);
    return MEM_OK;
}

static MemResult data_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    Host *h = o;

    if (h->bus && h->addr >> 31)
        pci_host_write(h->bus, h->addr >> 8 & 0xffff, (h->addr & 0xfc) + (unsigned)off, (uint32_t)val, size);
    return MEM_OK;
}
static const RegionOps data_ops = { .read = data_read, .write = data_write, .takes = { 1, 4, true }, .does = { 1, 4, true } };

static bool host_init(Obj *o, Error **err)
{
    Dev *d = (Dev *)o;

    region_map(o->vm->sysports, 0xcf8, dev_region_io(d, "pci-conf-idx", 4, &addr_ops), 0);
    region_map(o->vm->sysports, 0xcfc, dev_region_io(d, "pci-conf-data", 4, &data_ops), 0);
    return true;
}

/* clang-format off */
static const Field host_state[] = { FIELD(Host, addr), FIELD(Host, rcr), TRANSIENT(Host, bus, "wiring", .keep = true) };
static const Out host_outs[] = { { "init" } };
#define HOST_CLASS(n, d)                                                                                                  \
    { .obj = { .name = (n), .desc = (d), .size = sizeof(Host), .init = host_init }, .no_user = true,                      \
      .state = TABLE(host_state), .outs = host_outs, .nouts = 1 }
static const DevClass i440fx_host = HOST_CLASS("i440FX-pcihost", "i440FX host bridge");
DEVICE(Host, i440fx_host);
static const DevClass q35_host = HOST_CLASS("q35-pcihost", "Q35 host bridge");
DEVICE(Host, q35_host);
/* clang-format on */

PciBus *pci_host_new(Vm *vm, const char *type, const char *bus, bool express, Region *mem, Dev **host, Error **err)
{
    *host = dev_new(vm, type, NULL, NULL, NULL, NULL, err);
    if (!*host)
        return NULL;
    HOST(*host)->bus = pci_bus_new(*host, bus, express, mem, vm->sysports);
    return HOST(*host)->bus;
}
