/*
 * hw/ide/legacy.c - piix3-ide: two ATA channels at the compatibility ports, with bus mastering.
 * Source: Intel 82371SB (PIIX3) section 2.3, SFF-8038i 1.0. Left out: timing registers act on nothing; the
 * decode enables of IDETIM are kept but the channels always answer.
 * The task file is plain RegionOps, not a table: each register belongs to the drives of the cable, writes go
 * to both, and the data port is as wide as the access. The bus master registers are a table.
 * Outputs: "irq" 0 and 1, for the machine to wire to IRQ 14 and 15.
 */
#include "hw/ide/ata.h"
#include "hw/pci/pci.h"

enum { BM_START = 1, BM_TO_RAM = 8 };            /* command */
enum { BM_ACTIVE = 1, BM_ERROR = 2, BM_INTR = 4 }; /* status */
enum { CTL_NIEN = 2, CTL_SRST = 4, CTL_HOB = 0x80 };

typedef struct Piix {
    PciDev pci;
    IdeBus *ch[2];
    uint8_t bm_cmd[2], bm_status[2];
    uint32_t bm_prd[2];
    uint8_t select[2], control[2];
    uint32_t prd_next[2], prd_addr[2], prd_left[2]; /* the walk: next entry, rest of the present one */
    bool prd_last[2];
} Piix;
#define P(d) ((Piix *)(void *)(d))

static Ata *selected(const Piix *s, unsigned c) { return s->ch[c]->drv[s->select[c] & ATA_DEV ? 1 : 0]; }

/* ---- bus mastering ---- */
static bool prd_fetch(Piix *s, unsigned c)
{
    uint8_t e[8];

    if (s->prd_last[c] || !dma_read(&s->pci.dev, s->prd_next[c], e, sizeof(e)))
        return false;
    s->prd_next[c] += 8;
    s->prd_addr[c] = le32_load(e) & ~1u;
    s->prd_left[c] = le16_load(e + 4) & ~1u;
    if (!s->prd_left[c])
        s->prd_left[c] = 65536;
    s->prd_last[c] = e[7] & 0x80;
    return true;
}

static bool move(Piix *s, unsigned c, Ata *a, uint32_t n)
{
    void *p = a->buf + a->pos;

    return a->phase == ATA_IN ? dma_write(&s->pci.dev, s->prd_addr[c], p, n) : dma_read(&s->pci.dev, s->prd_addr[c], p, n);
}

/* Moves what the drive holds; an entry has at least two bytes, so the walk ends with the buffer. */
static void transfer(Piix *s, unsigned c, Ata *a)
{
    while (a->pos < a->block) {
        uint32_t n;

        if (!s->prd_left[c] && !prd_fetch(s, c)) {
            guest_error(&s->pci.dev, "the PRD table ends before the transfer");
            s->bm_status[c] &= (uint8_t)~BM_ACTIVE;
            s->bm_status[c] |= BM_ERROR;
            return;
        }
        n = MIN(s->prd_left[c], a->block - a->pos);
        if (!move(s, c, a, n)) {
            s->bm_status[c] |= BM_ERROR;
            s->bm_status[c] &= (uint8_t)~BM_ACTIVE;
            return;
        }
        a->pos += n;
        s->prd_addr[c] += n;
        s->prd_left[c] -= n;
    }
    ata_moved(a);
}

static bool wants_dma(const Piix *s, unsigned c, const Ata *a)
{
    AtaPhase phase = s->bm_cmd[c] & BM_TO_RAM ? ATA_IN : ATA_OUT;

    return s->bm_status[c] & BM_ACTIVE && a->dma && a->phase == phase;
}

/* The drive's wire, which nIEN cuts: its rising edge is what the bus master's interrupt bit tells. */
static bool irq_level(const Dev *d, unsigned c)
{
    const Piix *s = (const Piix *)(const void *)d;
    const Ata *a = selected(s, c);

    return a && a->intrq && !(s->control[c] & CTL_NIEN);
}

static void ready(IdeBus *b, Ata *a)
{
    Piix *s = P(b->bus.controller);
    unsigned c = b->n;

    if (irq_level(&s->pci.dev, c))
        s->bm_status[c] |= BM_INTR;
    if (a->phase == ATA_IDLE && a->dma && s->prd_last[c] && !s->prd_left[c])
        s->bm_status[c] &= (uint8_t)~BM_ACTIVE;
    else if (wants_dma(s, c, a))
        transfer(s, c, a);
}
static const AtaHost host = { ready };

static void bm_cmd_w(Dev *d, unsigned c, uint64_t old)
{
    Piix *s = P(d);
    Ata *a = selected(s, c);

    if (!((s->bm_cmd[c] ^ old) & BM_START))
        return;
    if (!(s->bm_cmd[c] & BM_START)) {
        s->bm_status[c] &= (uint8_t)~BM_ACTIVE;
        return;
    }
    s->bm_status[c] |= BM_ACTIVE;
    s->prd_next[c] = s->bm_prd[c];
    s->prd_left[c] = 0;
    s->prd_last[c] = false;
    if (a && wants_dma(s, c, a))
        transfer(s, c, a);
}

/* ---- the task file ---- */
static uint64_t data_read(Ata *a, unsigned size)
{
    uint64_t v = bytes_mask(size);

    if (a->phase != ATA_IN || a->dma)
        return v;
    size = MIN(size, a->block - a->pos);
    v = 0;
    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)a->buf[a->pos + i] << 8 * i;
    a->pos += size;
    if (a->pos == a->block)
        ata_moved(a);
    return v;
}

static void data_write(Ata *a, unsigned size, uint64_t v)
{
    if (a->phase != ATA_OUT || a->dma)
        return;
    size = MIN(size, a->block - a->pos);
    for (unsigned i = 0; i < size; i++)
        a->buf[a->pos + i] = (uint8_t)(v >> 8 * i);
    a->pos += size;
    if (a->pos == a->block)
        ata_moved(a);
}

static uint8_t reg_read(Piix *s, unsigned c, unsigned off)
{
    Ata *a = selected(s, c);
    unsigned old = s->control[c] & CTL_HOB ? 1 : 0;

    if (!a)
        return 0; /* nothing on the cable holds a line up */
    switch (off) {
    case 1: return old ? a->r.feature[1] : a->error;
    case 2: return a->r.count[old];
    case 3:
    case 4:
    case 5: return a->r.lba[off - 3][old];
    case 6: return (uint8_t)((a->r.device & ~ATA_DEV) | (s->select[c] & ATA_DEV) | 0xa0);
    default: a->intrq = false; return s->control[c] & CTL_SRST ? ATA_BSY : a->status;
    }
}

static void set_reg(Ata *a, unsigned off, uint8_t v)
{
    AtaRegs *r = &a->r;

    if (a->status & (ATA_BSY | ATA_DRQ) && off != 6)
        return;
    switch (off) {
    case 1: r->feature[1] = r->feature[0]; r->feature[0] = v; break;
    case 2: r->count[1] = r->count[0]; r->count[0] = v; break;
    case 6: r->device = v; break;
    default: r->lba[off - 3][1] = r->lba[off - 3][0]; r->lba[off - 3][0] = v; break;
    }
}

static void command(Piix *s, unsigned c, uint8_t v)
{
    Ata *a = selected(s, c);

    if (v == 0x90) { /* both drives diagnose themselves, the master answers */
        s->select[c] = 0;
        for (int i = 1; i >= 0; i--)
            if (s->ch[c]->drv[i]) {
                ata_exec(s->ch[c]->drv[i], v);
                s->ch[c]->drv[i]->intrq &= i == 0;
            }
    } else if (a) {
        ata_exec(a, v);
    }
}

static void reg_write(Piix *s, unsigned c, unsigned off, uint8_t v)
{
    s->control[c] &= (uint8_t)~CTL_HOB;
    if (off == 7) {
        command(s, c, v);
        return;
    }
    if (off == 6)
        s->select[c] = v;
    for (unsigned i = 0; i < 2; i++)
        if (s->ch[c]->drv[i])
            set_reg(s->ch[c]->drv[i], off, v);
}

static MemResult file_read(Piix *s, unsigned c, uint64_t off, unsigned size, uint64_t *val)
{
    Ata *a = selected(s, c);

    if (off == 0) {
        *val = a ? data_read(a, size) : bytes_mask(size);
        return MEM_OK;
    }
    *val = 0;
    for (unsigned i = 0; i < size && off + i < 8; i++)
        *val |= (uint64_t)reg_read(s, c, (unsigned)off + i) << 8 * i;
    return MEM_OK;
}

static MemResult file_write(Piix *s, unsigned c, uint64_t off, unsigned size, uint64_t val)
{
    Ata *a = selected(s, c);

    if (off == 0) {
        if (a)
            data_write(a, size, val);
        return MEM_OK;
    }
    for (unsigned i = 0; i < size && off + i < 8; i++)
        reg_write(s, c, (unsigned)off + i, (uint8_t)(val >> 8 * i));
    return MEM_OK;
}

static uint8_t alternate_status(Piix *s, unsigned c)
{
    Ata *a = selected(s, c);

    if (!a)
        return 0; /* nothing on the cable holds a line up */
    return s->control[c] & CTL_SRST ? ATA_BSY : a->status;
}

static MemResult control_write(Piix *s, unsigned c, uint8_t v)
{
    bool was = s->control[c] & CTL_SRST, level = irq_level(&s->pci.dev, c);

    s->control[c] = v & (CTL_NIEN | CTL_SRST | CTL_HOB);
    if (!level && irq_level(&s->pci.dev, c))
        s->bm_status[c] |= BM_INTR;
    if (!was && v & CTL_SRST)
        for (unsigned i = 0; i < 2; i++)
            if (s->ch[c]->drv[i])
                ata_reset(s->ch[c]->drv[i], false);
    if (v & CTL_SRST)
        s->select[c] = 0;
    return MEM_OK;
}

#define CHANNEL(c)                                                                                 \
    static MemResult file_read##c(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at) \
    {                                                                                              \
        return file_read(P(o), c, off, size, val);                                                 \
    }                                                                                              \
    static MemResult file_write##c(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at) \
    {                                                                                              \
        return file_write(P(o), c, off, size, val);                                                \
    }                                                                                              \
    static MemResult control_read##c(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at) \
    {                                                                                              \
        *val = alternate_status(P(o), c);                                                          \
        return MEM_OK;                                                                             \
    }                                                                                              \
    static MemResult control_write##c(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at) \
    {                                                                                              \
        return control_write(P(o), c, (uint8_t)val);                                               \
    }
CHANNEL(0)
CHANNEL(1)

/* clang-format off */
#define FILE_OPS(c)    { .read = file_read##c, .write = file_write##c, .takes = { 1, 4, true }, .does = { 1, 4, true } }
#define CONTROL_OPS(c) { .read = control_read##c, .write = control_write##c, .takes = { 1, 4, true }, .does = { 1, 1, false } }
static const struct {
    uint16_t file, control;
    RegionOps file_ops, control_ops;
} channels[2] = {
    { 0x1f0, 0x3f6, FILE_OPS(0), CONTROL_OPS(0) },
    { 0x170, 0x376, FILE_OPS(1), CONTROL_OPS(1) },
};
/* clang-format on */

/* ---- life ---- */
static bool init(Obj *o, Error **err)
{
    Piix *s = P(o);

    for (unsigned c = 0; c < 2; c++)
        s->ch[c] = ide_bus_new(&s->pci.dev, c, 2, &host);
    pci_set_bar(&s->pci, 4, dev_region(&s->pci.dev, 0), BAR_IO);
    le16_store(s->pci.config + 0x40, 0x8000); /* IDETIM: both channels decode */
    le16_store(s->pci.config + 0x42, 0x8000);
    le32_store(s->pci.wmask + 0x40, UINT32_MAX);
    return true;
}

static bool plug(Dev *d, Error **err)
{
    Region *io = PCI(d)->pbus->io;

    for (unsigned c = 0; c < 2; c++) {
        region_map(io, channels[c].file, dev_region_io(d, "ide", 8, &channels[c].file_ops), 1);
        region_map(io, channels[c].control, dev_region_io(d, "ide-control", 1, &channels[c].control_ops), 1);
    }
    return true;
}

static void on_reset(Dev *d)
{
    le16_store(PCI(d)->config + 0x40, 0x8000);
    le16_store(PCI(d)->config + 0x42, 0x8000);
}

/* clang-format off */
static const Reg bm_regs[] = {
    { "BMIC",  0, REGS(Piix, bm_cmd, 2, 8), .rw = BM_START | BM_TO_RAM, .write_n = bm_cmd_w },
    { "BMIS",  2, REGS(Piix, bm_status, 2, 8), .rw = 0x60, .w1c = BM_ERROR | BM_INTR },
    { "BMIDTP", 4, REGS(Piix, bm_prd, 2, 8), .rw = 0xfffffffc },
};
static const Bank banks[] = { { "bmdma", 16, TABLE(bm_regs), .quiet = true } };
static const Field fields[] = {
    BYTES(Piix, select), BYTES(Piix, control), ARRAY_FIELD(Piix, prd_next), ARRAY_FIELD(Piix, prd_addr),
    ARRAY_FIELD(Piix, prd_left), ARRAY_FIELD(Piix, prd_last),
    TRANSIENT(Piix, ch, "wiring", .keep = true),
};
static const Out outs[] = { { "irq", .count = 2, .level_n = irq_level } };
static const PciClass piix3_ide = {
    PCI_DEVICE(Piix, "piix3-ide", "PIIX3 IDE controller"),
    .dev.obj.init = init, .dev.state = TABLE(fields), .dev.banks = banks, .dev.nbanks = 1, .dev.outs = outs,
    .dev.nouts = 1, .dev.plug = plug, .dev.on_reset = on_reset, .dev.category = "Storage devices",
    .vendor = 0x8086, .device = 0x7010, .class_id = 0x010180,
};
/* clang-format on */
DEVICE_OF(Piix, piix3_ide, &piix3_ide.dev);
