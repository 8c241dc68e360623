/*
 * hw/ide/ahci-port.c - commands of an AHCI port: FIS in and out, PRD tables. Source: AHCI 1.3.1 sections 4, 5;
 * SATA 3.0 section 10.
 * Not modelled: command completion coalescing, port multipliers, device sleep, FIS-based switching.
 */
#include "hw/ide/ahci.h"

enum { FIS_H2D = 0x27, FIS_D2H = 0x34, FIS_PIO = 0x5f, FIS_SDB = 0xa1 };
enum { RX_PIO = 0x20, RX_D2H = 0x40, RX_SDB = 0x58 };

static uint64_t address(uint32_t low, uint32_t high) { return low | (uint64_t)high << 32; }

void ahci_raise(Ahci *s, unsigned n, uint32_t bits)
{
    AhciPort *p = &s->port[n];

    p->is |= bits;
    if (p->is & p->ie)
        s->is |= 1u << n;
}

/* ---- FIS to the host ---- */
static void deliver(Ahci *s, unsigned n, unsigned at, const uint8_t *fis, unsigned len, uint32_t bits)
{
    AhciPort *p = &s->port[n];

    if (p->cmd & CMD_FRE && !dma_write(&s->pci.dev, address(p->fb & ~0xffu, p->fbu) + at, fis, len))
        bits |= IS_HBD;
    ahci_raise(s, n, bits);
}

static void registers(const Ata *a, uint8_t *f)
{
    f[2] = a->status;
    f[3] = a->error;
    for (unsigned i = 0; i < 3; i++) {
        f[4 + i] = a->r.lba[i][0];
        f[8 + i] = a->r.lba[i][1];
    }
    f[7] = a->r.device;
    f[12] = a->r.count[0];
    f[13] = a->r.count[1];
}

static void set_tfd(Ahci *s, unsigned n, const Ata *a) { s->port[n].tfd = (uint32_t)a->error << 8 | a->status; }

void ahci_send_d2h(Ahci *s, unsigned n, const Ata *a, bool interrupt)
{
    uint8_t f[20] = { FIS_D2H, interrupt ? 0x40 : 0 };

    registers(a, f);
    set_tfd(s, n, a);
    deliver(s, n, RX_D2H, f, sizeof(f), (interrupt ? IS_DHR : 0) | (a->status & ATA_ERR ? IS_TFE : 0));
}

static void send_pio_setup(Ahci *s, unsigned n, const Ata *a)
{
    uint32_t len = a->len - a->pos;
    uint8_t f[20] = { FIS_PIO, (uint8_t)(0x40 | (a->phase == ATA_IN ? 0x20 : 0)) };

    registers(a, f);
    f[15] = a->status & (uint8_t)~ATA_DRQ;
    le16_store(f + 16, (uint16_t)len);
    deliver(s, n, RX_PIO, f, sizeof(f), IS_PS);
}

void ahci_send_sdb(Ahci *s, unsigned n, const Ata *a, uint32_t tags, bool interrupt)
{
    uint8_t f[8] = { FIS_SDB, interrupt ? 0x40 : 0, a->status & 0x77, a->error };

    le32_store(f + 4, tags);
    s->port[n].sact &= ~tags;
    s->port[n].tfd = (s->port[n].tfd & 0x88) | (uint32_t)a->error << 8 | (a->status & 0x77);
    deliver(s, n, RX_SDB, f, sizeof(f), (interrupt ? IS_SDB : 0) | (a->status & ATA_ERR ? IS_TFE : 0));
}

void ahci_link_up(Ahci *s, unsigned n)
{
    AhciPort *p = &s->port[n];
    Ata *a = ahci_drive(s, n);

    if (!a) {
        p->tfd = 0x7f;
        p->sig = UINT32_MAX;
        return;
    }
    p->sig = a->cd ? 0xeb140101 : 0x00000101;
    ahci_send_d2h(s, n, a, false);
}

/* ---- data ---- */
bool ahci_next_prd(Ahci *s, AhciRun *r)
{
    uint8_t e[16];

    if (r->prd >= r->prds || !dma_read(&s->pci.dev, r->table + 0x80 + 16ull * r->prd, e, sizeof(e)))
        return false;
    r->prd++;
    r->prd_addr = le64_load(e) & ~1ull;
    r->prd_left = (le32_load(e + 12) & 0x3fffff) + 1;
    return true;
}

/* Between buf[pos..len) and the PRDs; each has at least one byte, so the walk ends with the buffer. */
static bool scatter(Ahci *s, AhciRun *r, Ata *a)
{
    while (a->pos < a->len) {
        uint32_t n;
        bool ok;

        if (!r->prd_left && !ahci_next_prd(s, r))
            return false;
        n = MIN(r->prd_left, a->len - a->pos);
        ok = a->phase == ATA_IN ? dma_write(&s->pci.dev, r->prd_addr, a->buf + a->pos, n)
                                : dma_read(&s->pci.dev, r->prd_addr, a->buf + a->pos, n);
        if (!ok)
            return false;
        a->pos += n;
        r->prd_addr += n;
        r->prd_left -= n;
        r->moved += n;
    }
    return true;
}

/* Fewer PRDs than data: what is left of a read is lost, a write does not happen. */
static void overrun(Ahci *s, unsigned n, Ata *a)
{
    guest_error(&s->pci.dev, "port %u: the PRD table is shorter than the data", n);
    ahci_raise(s, n, IS_OF);
    a->status = ATA_DRDY | ATA_ERR;
    a->error = ATA_ABRT;
    ata_end(a);
}

static void data_phase(Ahci *s, unsigned n, Ata *a)
{
    AhciRun *r = &s->run[n];
    bool dma = a->dma;

    a->block = a->len; /* a data FIS is not bound to DRQ blocks */
    if (a->step == STEP_PACKET) {
        if (dma_read(&s->pci.dev, r->table + 0x40, a->buf, MIN(a->len, 16)))
            ata_moved(a);
        else
            overrun(s, n, a);
        return;
    }
    if (!dma)
        send_pio_setup(s, n, a);
    if (scatter(s, r, a))
        ata_moved(a);
    else
        overrun(s, n, a);
}

/* ---- ends ---- */
static void complete(Ahci *s, unsigned n, Ata *a)
{
    AhciRun *r = &s->run[n];
    AhciPort *p = &s->port[n];
    bool bad = a->status & ATA_ERR;

    r->last = r->slot;
    r->failed = bad;
    dma_store(&s->pci.dev, r->header + 4, 4, r->moved);
    if (!bad)
        p->ci &= ~(1u << r->slot);
    r->slot = NO_SLOT;
    ahci_send_d2h(s, n, a, true);
    ahci_start(s, n);
}

static void ready(IdeBus *b, Ata *a)
{
    Ahci *s = AHCI(b->bus.controller);
    unsigned n = b->n;

    if (s->run[n].slot == NO_SLOT)
        return;
    if (a->phase == ATA_IDLE)
        complete(s, n, a);
    else
        data_phase(s, n, a);
}
const AtaHost ahci_host = { .ready = ready, .queue = AHCI_SLOTS };

void ahci_abort(Ahci *s, unsigned n)
{
    AhciRun *r = &s->run[n];
    Ata *a = ahci_drive(s, n);

    s->port[n].ci = s->port[n].sact = 0;
    r->failed = false;
    ahci_ncq_forget(s, n);
    if (r->slot != NO_SLOT) {
        r->slot = NO_SLOT;
        if (a)
            ata_reset(a, false);
    }
}

/* ---- a command ---- */
void ahci_load_registers(Ata *a, const uint8_t *f)
{
    a->r.feature[0] = f[3];
    a->r.feature[1] = f[11];
    a->r.device = f[7];
    for (unsigned i = 0; i < 3; i++) {
        a->r.lba[i][0] = f[4 + i];
        a->r.lba[i][1] = f[8 + i];
    }
    a->r.count[0] = f[12];
    a->r.count[1] = f[13];
}

static void control_fis(Ahci *s, unsigned n, Ata *a, const uint8_t *f)
{
    AhciRun *r = &s->run[n];
    bool srst = f[15] & 4, ended = r->srst && !srst;

    s->port[n].ci &= ~(1u << r->slot);
    r->slot = NO_SLOT;
    r->srst = srst;
    if (ended) {
        ahci_ncq_forget(s, n);
        ata_reset(a, false);
        ahci_link_up(s, n);
    }
}

static void accept(Ahci *s, unsigned n, Ata *a, const uint8_t *f)
{
    ahci_load_registers(a, f);
    if (!ahci_ncq_admits(s, n, f)) {
        ahci_ncq_refuse(s, n);
    } else if (ahci_ncq_is(a, f[2])) {
        ahci_ncq_start(s, n, f);
    } else {
        s->port[n].tfd |= ATA_BSY;
        ata_exec(a, f[2]);
    }
}

bool ahci_fetch(Ahci *s, unsigned n, unsigned slot, uint8_t *fis)
{
    AhciPort *p = &s->port[n];
    AhciRun *r = &s->run[n];
    uint8_t h[32];

    r->header = address(p->clb & ~0x3ffu, p->clbu) + 32 * slot;
    if (!dma_read(&s->pci.dev, r->header, h, sizeof(h)))
        return false;
    r->table = le64_load(h + 8) & ~0x7full;
    r->prds = le16_load(h + 2);
    r->prd = r->prd_left = r->moved = 0;
    if ((h[0] & 31) < 2 || (h[0] & 31) > 16 || !dma_read(&s->pci.dev, r->table, fis, 20))
        return false;
    return fis[0] == FIS_H2D;
}

void ahci_start(Ahci *s, unsigned n)
{
    AhciPort *p = &s->port[n];
    AhciRun *r = &s->run[n];
    Ata *a = ahci_drive(s, n);

    while (a && p->ci && p->cmd & CMD_ST && r->slot == NO_SLOT && !r->failed && a->phase == ATA_IDLE) {
        /* bounded: each turn takes a bit of CI or leaves */
        uint32_t after = r->last < 31 ? p->ci & ~(uint32_t)ones(r->last + 1u) : 0;
        uint8_t f[20];

        r->slot = (uint8_t)__builtin_ctz(after ? after : p->ci);
        if (!ahci_fetch(s, n, r->slot, f)) {
            guest_error(&s->pci.dev, "port %u: slot %u holds no command", n, r->slot);
            r->slot = NO_SLOT;
            r->failed = true;
            ahci_raise(s, n, IS_HBD);
            return;
        }
        r->last = r->slot;
        if (f[1] & 0x80)
            accept(s, n, a, f);
        else
            control_fis(s, n, a, f);
    }
}

/* clang-format off */
#define R(m, ...) FIELD(AhciRun, m, __VA_ARGS__)
static const Field fields[] = {
    R(slot, .reset = NO_SLOT), R(last), R(flying), R(failed), R(srst), R(moved), R(header), R(table),
    R(prds), R(prd), R(prd_left), R(prd_addr),
};
const FieldTable ahci_run_table = TABLE(fields);
/* clang-format on */
