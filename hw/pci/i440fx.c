/*
 * hw/pci/i440fx.c - the host bridge of the pc machine: PAM, SMRAM. Source: Intel 82441FX data sheet (sections 3.2.18 PAM,
 * 3.2.20 SMRAM). Left out: DRAM row registers, ECC, AGP; SMRAM closed to data only (DCLS).
 */
#include "hw/pci/i440fx.h"

enum { PAM0 = 0x59, SMRAM = 0x72, SMRAM_ENABLE = 8, SMRAM_OPEN = 0x40, SMRAM_LOCK = 0x10, SMRAM_WRITABLE = 0x78 };

typedef struct I440fx {
    PciDev pci;
    Pam pam;
    Region *vga, *smram;
} I440fx;
#define FX(d) ((I440fx *)(void *)(d))

static void update(Dev *d)
{
    I440fx *s = FX(d);
    const uint8_t *c = s->pci.config;

    s->pci.wmask[SMRAM] = c[SMRAM] & SMRAM_LOCK ? 0 : SMRAM_WRITABLE; /* until reset */
    if (!s->vga)
        return;
    mem_begin(d->obj.vm);
    pam_update(&s->pam, c + PAM0);
    region_set_enabled(s->vga, !(c[SMRAM] & SMRAM_OPEN));
    region_set_enabled(s->smram, c[SMRAM] & SMRAM_ENABLE);
    mem_commit(d->obj.vm);
}

void i440fx_map(Dev *d, Region *ram, Region *pci)
{
    I440fx *s = FX(d);
    Vm *vm = d->obj.vm;

    pam_map(&s->pam, d, ram, pci);
    s->vga = region_alias(&d->obj, "smram-pci", pci, 0xa0000, 0x20000);
    region_map(vm->sysmem, 0xa0000, s->vga, 1);
    s->smram = region_alias(&d->obj, "smram", ram, 0xa0000, 0x20000);
    region_map(vm->smmmem, 0xa0000, s->smram, 1);
    update(d);
}

static bool fx_init(Obj *o, Error **err)
{
    pam_masks(PCI(o)->wmask + PAM0);
    PCI(o)->wmask[SMRAM] = SMRAM_WRITABLE;
    return true;
}

static void written(PciDev *p, unsigned off, unsigned size)
{
    if (p->config[SMRAM] & SMRAM_LOCK)
        p->config[SMRAM] &= (uint8_t)~SMRAM_OPEN;
    update(&p->dev);
}

static void fx_reset(Dev *d)
{
    PCI(d)->config[SMRAM] = 0x02;
    update(d);
}

/* clang-format off */
static const Field fx_state[] = {
    TRANSIENT(I440fx, pam, "follows config", .keep = true), TRANSIENT(I440fx, vga, "follows config", .keep = true),
    TRANSIENT(I440fx, smram, "follows config", .keep = true),
};
static const PciClass fx = {
    PCI_DEVICE(I440fx, "i440FX", "Host bridge"), .dev.no_user = true, .dev.obj.init = fx_init, .dev.state = TABLE(fx_state),
    .dev.on_reset = fx_reset, .dev.loaded = update, .vendor = 0x8086, .device = 0x1237, .class_id = 0x060000, .revision = 2,
    .config_written = written,
};
DEVICE_OF(I440fx, fx, &fx.dev);
/* clang-format on */
