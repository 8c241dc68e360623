/*
 * hw/pci/q35.c - the host bridge of the q35 machine (82Q35 MCH): PAM, compatible SMRAM, its high copy and TSEG, the
 * enhanced configuration space. Source: Intel 3 Series Express Chipset data sheet (316966), section 5.1.
 * EXT_TSEG is an addition that QEMU's machines have and OVMF asks for: written with all ones it reads as the size in
 * MiB of TSEG code 3. Left out: what DRAM and memory-map registers do (they read back), graphics, D_CLS (closes SMRAM to data but not to code; it reads back).
 */
#include "hw/pci/q35.h"

enum { EXT_TSEG = 0x50, PCIEXBAR = 0x60, PAM0 = 0x90, SMRAM = 0x9d, ESMRAMC = 0x9e };
enum { D_OPEN = 0x40, D_CLS = 0x20, D_LCK = 0x10, G_SMRAME = 8, C_BASE = 2, SMRAM_BITS = D_OPEN | D_CLS | D_LCK | G_SMRAME };
enum { H_SMRAME = 0x80, E_SMERR = 0x40, ESMRAMC_CACHE = 0x38, T_EN = 1, ESMRAMC_BITS = H_SMRAME | 6 | T_EN };
enum { HIGH_SMRAM = 0xfeda0000u, SMRAM_LEN = 0x20000 };

typedef struct Mch {
    PciDev pci;
    Pam pam;
    Region *ram, *vga, *smram, *high, *high_open, *tseg, *hole, *ecam;
    uint64_t below;
    uint16_t ext_mib;
} Mch;
#define MCH(d) ((Mch *)(void *)(d))

/* ---- TSEG: RAM that only system management mode sees ---- */
static MemResult hole_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    *val = bytes_mask(size);
    return MEM_OK;
}
static MemResult hole_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at) { return MEM_OK; }
static const RegionOps hole_ops = { .read = hole_read, .write = hole_write, .takes = { 1, 8, true } };

static uint64_t tseg_size(const Mch *s)
{
    static const uint8_t mib[] = { 1, 2, 8 };
    unsigned code = s->pci.config[ESMRAMC] >> 1 & 3;

    return (code < 3 ? mib[code] : s->ext_mib) * MiB;
}

static void update_smram(Mch *s)
{
    const uint8_t *c = s->pci.config;
    bool on = c[SMRAM] & G_SMRAME, open = on && c[SMRAM] & D_OPEN, high = on && c[ESMRAMC] & H_SMRAME;
    uint64_t size = MIN(tseg_size(s), s->below);

    region_set_enabled(s->vga, !open);
    region_set_enabled(s->smram, on);
    region_set_enabled(s->high, high);
    region_set_enabled(s->high_open, high && open);
    if (size) {
        region_set_size(s->tseg, size);
        region_set_alias_off(s->tseg, s->below - size);
        region_move(s->tseg, s->below - size);
        region_set_size(s->hole, size);
        region_move(s->hole, s->below - size);
    }
    region_set_enabled(s->tseg, on && c[ESMRAMC] & T_EN && size);
    region_set_enabled(s->hole, on && c[ESMRAMC] & T_EN && size && !open);
}

/* ---- enhanced configuration space: bus, device, function and register are the address ---- */
static MemResult ecam_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    *val = pci_ecam_read(PCI(o)->pbus, (uint32_t)(off >> 12), off & 0xfff, size);
    return MEM_OK;
}

static MemResult ecam_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    pci_ecam_write(PCI(o)->pbus, (uint32_t)(off >> 12), off & 0xfff, (uint32_t)val, size);
    return MEM_OK;
}
static const RegionOps ecam_ops = { .read = ecam_read, .write = ecam_write, .takes = { 1, 8, true }, .does = { 1, 4, false } };

static uint64_t ecam_size(const uint8_t *c)
{
    static const uint16_t mib[] = { 256, 128, 64, 0 };

    return mib[c[PCIEXBAR] >> 1 & 3] * MiB;
}

uint64_t q35_ecam(const Dev *d)
{
    const uint8_t *c = PCI(d)->config;
    uint64_t size = ecam_size(c);

    return c[PCIEXBAR] & 1 && size ? le64_load(c + PCIEXBAR) & 0xffc000000ull & ~(size - 1) : 0;
}

static void update_ecam(Mch *s)
{
    uint64_t at = q35_ecam(&s->pci.dev);

    if (s->ecam->parent && s->ecam->at == at)
        return;
    region_unmap(s->ecam);
    if (!at)
        return;
    region_set_size(s->ecam, ecam_size(s->pci.config));
    region_map(s->pci.dev.obj.vm->sysmem, at, s->ecam, 0);
}

/* ---- all of it ---- */
static void update(Dev *d)
{
    Mch *s = MCH(d);
    bool locked = s->pci.config[SMRAM] & D_LCK;

    s->pci.wmask[SMRAM] = locked ? D_CLS : SMRAM_BITS; /* until reset */
    s->pci.wmask[ESMRAMC] = locked ? 0 : ESMRAMC_BITS;
    if (!s->vga)
        return;
    mem_begin(d->obj.vm);
    pam_update(&s->pam, s->pci.config + PAM0);
    update_smram(s);
    update_ecam(s);
    mem_commit(d->obj.vm);
}

static void map_in(Mch *s, Region **r, Region *space, const char *name, uint64_t at)
{
    *r = region_alias(&s->pci.dev.obj, name, s->ram, 0xa0000, SMRAM_LEN);
    region_map(space, at, *r, 1);
}

void q35_map(Dev *d, Region *ram, uint64_t below, Region *pci)
{
    Mch *s = MCH(d);
    Vm *vm = d->obj.vm;

    s->ram = ram;
    s->below = below;
    pam_map(&s->pam, d, ram, pci);
    s->vga = region_alias(&d->obj, "smram-region", pci, 0xa0000, SMRAM_LEN);
    region_map(vm->sysmem, 0xa0000, s->vga, 1);
    map_in(s, &s->smram, vm->smmmem, "smram-low", 0xa0000);
    map_in(s, &s->high, vm->smmmem, "smram-high", HIGH_SMRAM);
    map_in(s, &s->high_open, vm->sysmem, "smram-open-high", HIGH_SMRAM);
    s->tseg = region_alias(&d->obj, "tseg-window", ram, 0, MiB);
    region_map(vm->smmmem, below - MiB, s->tseg, 2);
    s->hole = region_io(&d->obj, "tseg-blackhole", MiB, &hole_ops, s);
    region_map(vm->sysmem, below - MiB, s->hole, 1);
    s->ecam = dev_region_io(d, "pcie-mmcfg-mmio", 256 * MiB, &ecam_ops);
    update(d);
}

/* What firmware notes down about memory reads back; RAM is where the machine put it. */
static const struct {
    uint8_t at, size;
    uint64_t bits;
} notes[] = {
    { 0x40, 8, 0xffffff001 } /* EPBAR */, { 0x48, 8, 0xfffffc001 } /* MCHBAR */, { 0x52, 2, 0x0372 } /* GGC */,
    { 0x54, 4, 0x03db } /* DEVEN */, { 0x68, 8, 0xffffff001 } /* DMIBAR */, { 0xa0, 2, 0x03ff } /* TOM */,
    { 0xa2, 2, 0xffff } /* TOUUD */, { 0xa4, 4, 0xfff00000 } /* GBSM */, { 0xa8, 4, 0xfff00000 } /* BGSM */,
    { 0xac, 4, 0xfff00000 } /* TSEGMB */, { 0xb0, 2, 0xfff0 } /* TOLUD */,
};

static bool init(Obj *o, Error **err)
{
    uint8_t *w = PCI(o)->wmask;

    for (size_t i = 0; i < G_N_ELEMENTS(notes); i++)
        le_store(w + notes[i].at, notes[i].size, notes[i].bits);
    le16_store(w + EXT_TSEG, 0xffff);
    le64_store(w + PCIEXBAR, 0xffc000007ull);
    pam_masks(w + PAM0);
    PCI(o)->w1c[ESMRAMC] = E_SMERR;
    return true;
}

static void written(PciDev *p, unsigned off, unsigned size)
{
    if (p->config[SMRAM] & D_LCK)
        p->config[SMRAM] &= (uint8_t)~D_OPEN;
    if (off <= EXT_TSEG + 1 && off + size > EXT_TSEG) /* the query; nothing is stored */
        le16_store(p->config + EXT_TSEG, le16_load(p->config + EXT_TSEG) == 0xffff ? MCH(p)->ext_mib : 0);
    update(&p->dev);
}

static void on_reset(Dev *d)
{
    uint8_t *c = PCI(d)->config;

    le16_store(c + EXT_TSEG, MCH(d)->ext_mib);
    le64_store(c + PCIEXBAR, 0xb0000000);
    c[SMRAM] = C_BASE;
    c[ESMRAMC] = ESMRAMC_CACHE;
    update(d);
}

/* clang-format off */
static const Prop props[] = { PROP(Mch, ext_mib, "extended-tseg-mbytes", 16, "size in MiB of TSEG code 3") };
static const Field state[] = {
    TRANSIENT(Mch, pam, "follows config", .keep = true), TRANSIENT(Mch, ram, "wiring", .keep = true),
    TRANSIENT(Mch, vga, "follows config", .keep = true), TRANSIENT(Mch, smram, "follows config", .keep = true),
    TRANSIENT(Mch, high, "follows config", .keep = true), TRANSIENT(Mch, high_open, "follows config", .keep = true),
    TRANSIENT(Mch, tseg, "follows config", .keep = true), TRANSIENT(Mch, hole, "follows config", .keep = true),
    TRANSIENT(Mch, ecam, "follows config", .keep = true), TRANSIENT(Mch, below, "wiring", .keep = true),
};
static const PciClass mch = {
    PCI_DEVICE(Mch, "mch", "Host bridge"), .dev.no_user = true, .dev.obj.init = init, .dev.obj.props = TABLE(props),
    .dev.state = TABLE(state), .dev.on_reset = on_reset, .dev.loaded = update, .config_written = written,
    .vendor = 0x8086, .device = 0x29c0, .class_id = 0x060000,
};
DEVICE_OF(Mch, mch, &mch.dev);
/* clang-format on */
