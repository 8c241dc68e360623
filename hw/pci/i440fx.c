/*
 * hw/pci/i440fx.c - the host bridge of the pc machine: configuration mechanism 1, PAM, SMRAM. Source: Intel 82441FX data
 * sheet (sections 3.1, 3.2.18 PAM, 3.2.20 SMRAM). Left out: DRAM row registers, ECC, AGP.
 * PAM "read from PCI, write to RAM" is served as PCI for both: firmware that shadows itself enables both.
 */
#include "hw/pci/i440fx.h"

enum { PAM0 = 0x59, PAMS = 13, SMRAM = 0x72, SMRAM_ENABLE = 8, SMRAM_OPEN = 0x40, SMRAM_LOCK = 0x10 };
enum { RCR_HARD = 2, RCR_RESET = 4 };

typedef struct Host {
    Dev dev;
    uint32_t addr;
    uint8_t rcr;
    PciBus *bus;
} Host;
#define HOST(d) ((Host *)(d))

typedef struct I440fx {
    PciDev pci;
    Region *pam_ram[PAMS], *pam_pci[PAMS], *vga, *smram;
} I440fx;
#define FX(d) ((I440fx *)(void *)(d))

/* ---- configuration ports ---- */
/* CONFADD takes doublewords only; a byte at 0xcf9 is the reset control register of the PIIX3 (its section 2.5.4), which is
 * decoded here because it lies under CONFADD. */
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
    else if (size == 1 && off == 1) {
        h->rcr = val & RCR_HARD;
        if (val & RCR_RESET)
            vm_request(dev_vm(&h->dev), VM_RESET, CAUSE_GUEST_RESET);
    }
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
static const DevClass host = {
    .obj = { .name = "i440FX-pcihost", .desc = "i440FX host bridge", .size = sizeof(Host), .init = host_init }, .no_user = true,
    .state = TABLE(host_state),
};
DEVICE(Host, host);
/* clang-format on */

PciBus *pci_host_new(Vm *vm, const char *bus, bool express, Region *mem, Error **err)
{
    Dev *d = dev_new(vm, "i440FX-pcihost", NULL, NULL, NULL, NULL, err);

    if (!d)
        return NULL;
    HOST(d)->bus = pci_bus_new(d, bus, express, mem, vm->sysports);
    return HOST(d)->bus;
}

/* ---- PAM and SMRAM ---- */
static void update(I440fx *s)
{
    const uint8_t *c = s->pci.config;

    if (!s->vga)
        return;
    mem_begin(s->pci.dev.obj.vm);
    for (unsigned i = 0; i < PAMS; i++) { /* 0: F0000 in the upper half of PAM0; then two segments a register */
        unsigned attr = (i == 0 ? c[PAM0] >> 4 : c[PAM0 + (i + 1) / 2] >> (i & 1 ? 0 : 4)) & 3;

        region_set_enabled(s->pam_ram[i], attr & 1);
        region_set_readonly(s->pam_ram[i], !(attr & 2));
        region_set_enabled(s->pam_pci[i], !(attr & 1));
    }
    region_set_enabled(s->vga, !(c[SMRAM] & SMRAM_OPEN));
    region_set_enabled(s->smram, c[SMRAM] & SMRAM_ENABLE);
    mem_commit(s->pci.dev.obj.vm);
}

void i440fx_map(Dev *d, Region *ram, Region *pci)
{
    I440fx *s = FX(d);
    Vm *vm = d->obj.vm;

    for (unsigned i = 0; i < PAMS; i++) {
        uint64_t at = i == 0 ? 0xf0000 : 0xc0000 + (i - 1) * 0x4000, len = i == 0 ? 0x10000 : 0x4000;

        s->pam_ram[i] = region_alias(&d->obj, "pam-ram", ram, at, len);
        s->pam_pci[i] = region_alias(&d->obj, "pam-pci", pci, at, len);
        region_map(vm->sysmem, at, s->pam_ram[i], 1);
        region_map(vm->sysmem, at, s->pam_pci[i], 1);
    }
    s->vga = region_alias(&d->obj, "smram-pci", pci, 0xa0000, 0x20000);
    region_map(vm->sysmem, 0xa0000, s->vga, 1);
    s->smram = region_alias(&d->obj, "smram", ram, 0xa0000, 0x20000);
    region_map(vm->smmmem, 0xa0000, s->smram, 1);
    update(s);
}

static bool fx_init(Obj *o, Error **err)
{
    uint8_t *w = PCI(o)->wmask;

    memset(w + PAM0, 0x33, 7);
    w[PAM0] = 0x30;
    w[SMRAM] = 0x78;
    return true;
}

static void written(PciDev *p, unsigned off, unsigned size)
{
    if (p->config[SMRAM] & SMRAM_LOCK) { /* until reset */
        p->config[SMRAM] &= (uint8_t)~SMRAM_OPEN;
        p->wmask[SMRAM] = 0;
    }
    update(FX(p));
}

static void fx_reset(Dev *d)
{
    PCI(d)->wmask[SMRAM] = 0x78;
    PCI(d)->config[SMRAM] = 0x02;
    update(FX(d));
}

static void fx_loaded(Dev *d)
{
    PCI(d)->wmask[SMRAM] = PCI(d)->config[SMRAM] & SMRAM_LOCK ? 0 : 0x78;
    update(FX(d));
}

/* clang-format off */
static const Field fx_state[] = {
    TRANSIENT(I440fx, pam_ram, "follow config", .keep = true), TRANSIENT(I440fx, pam_pci, "follow config", .keep = true),
    TRANSIENT(I440fx, vga, "follows config", .keep = true), TRANSIENT(I440fx, smram, "follows config", .keep = true),
};
static const PciClass fx = {
    PCI_DEVICE(I440fx, "i440FX", "Host bridge"), .dev.no_user = true, .dev.obj.init = fx_init, .dev.state = TABLE(fx_state),
    .dev.on_reset = fx_reset, .dev.loaded = fx_loaded, .vendor = 0x8086, .device = 0x1237, .class_id = 0x060000, .revision = 2,
    .config_written = written,
};
DEVICE_OF(I440fx, fx, &fx.dev);
/* clang-format on */
