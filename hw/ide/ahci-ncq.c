/*
 * hw/ide/ahci-ncq.c - queued commands of an AHCI port: up to 32 in flight on the disk, finished in any order.
 * Source: AHCI 1.3.1 sections 5.3.8, 6.2.2; SATA 3.0 sections 11.15 (FPDMA protocol), 13.6; ATA8-ACS READ LOG EXT page 10h.
 * Invariants: bit n of AhciRun.flying is set exactly when a request that is not forgotten holds slot n; the command stays
 * in the guest's memory until its bit of PxSACT goes, so that a load fetches it again and saves nothing else. A drive
 * that reported an error is halted: its other commands answer nobody, and it takes only READ LOG EXT of page 10h and resets.
 */
#include "hw/ide/ahci.h"

enum { READ_FPDMA = 0x60, WRITE_FPDMA = 0x61, FUA = 0x80, NOT_QUEUED = 0x80 };
struct AhciReq {
    Ahci *s;
    AhciReq *next, **self;
    unsigned port, slot;
    bool forgotten;
    uint64_t lba;
    BlkReq r;
    DmaSg sg;
};

bool ahci_ncq_is(const Ata *a, uint8_t command) { return !a->cd && (command == READ_FPDMA || command == WRITE_FPDMA); }

/* ---- errors ---- */
/* What page 10h will say: section "NCQ Command Error log". */
static void record(Ata *a, uint8_t who)
{
    uint8_t *l = a->ncq_log;

    memset(l, 0, sizeof(a->ncq_log));
    l[0] = who;
    l[2] = a->status;
    l[3] = a->error;
    for (unsigned i = 0; i < 3; i++) {
        l[4 + i] = a->r.lba[i][0];
        l[8 + i] = a->r.lba[i][1];
    }
    l[7] = a->r.device;
    l[12] = a->r.count[0];
    l[13] = a->r.count[1];
    a->halted = true;
}

static void forget(AhciReq *q)
{
    q->forgotten = true;
    q->s->run[q->port].flying &= ~(1u << q->slot);
}

/* true: there were some, and their memory is still pinned. */
static bool forget_all(Ahci *s, unsigned n)
{
    bool any = false;

    for (AhciReq *q = s->first; q; q = q->next)
        if (q->port == n) {
            any = true;
            forget(q);
        }
    s->run[n].flying = 0;
    return any;
}

/* Also those of a halted drive: the guest may use their memory again after this. */
void ahci_ncq_forget(Ahci *s, unsigned n)
{
    Ata *a = ahci_drive(s, n);

    if (forget_all(s, n) && a)
        disk_cancel_all(a->disk);
}

static void stop(Ahci *s, unsigned n, uint8_t who, uint8_t error)
{
    Ata *a = ahci_drive(s, n);

    a->status = ATA_DRDY | ATA_DSC | ATA_ERR;
    a->error = error;
    if (!a->halted)
        record(a, who);
    forget_all(s, n);
    s->run[n].slot = NO_SLOT;
    s->run[n].failed = true;
}

/* A command that was taken fails. */
static void command_error(Ahci *s, unsigned n, unsigned slot, uint8_t error)
{
    stop(s, n, (uint8_t)slot, error);
    ahci_send_sdb(s, n, ahci_drive(s, n), 0, true);
}

void ahci_ncq_refuse(Ahci *s, unsigned n)
{
    stop(s, n, NOT_QUEUED, ATA_ABRT);
    ahci_send_d2h(s, n, ahci_drive(s, n), true);
}

bool ahci_ncq_admits(Ahci *s, unsigned n, const uint8_t *fis)
{
    Ata *a = ahci_drive(s, n);
    bool log = (fis[2] == 0x2f || fis[2] == 0x47) && fis[4] == 0x10;

    if (!a->halted)
        return ahci_ncq_is(a, fis[2]) || !s->run[n].flying;
    if (!log)
        return false;
    a->halted = false;
    a->status = ATA_DRDY | ATA_DSC;
    a->error = 0;
    ahci_send_sdb(s, n, a, UINT32_MAX, false); /* all that was queued is gone */
    return true;
}

/* ---- the life of a command ---- */
static void unlink_request(AhciReq *q)
{
    *q->self = q->next;
    if (q->next)
        q->next->self = q->self;
}

static void finish(AhciReq *q, int ret)
{
    Ahci *s = q->s;
    Ata *a = ahci_drive(s, q->port);

    forget(q);
    if (!a)
        return;
    if (ret) {
        ata_set_lba48(a, q->lba);
        a->r.count[0] = (uint8_t)(q->slot << 3);
        command_error(s, q->port, q->slot, q->r.op == BLK_READ ? ATA_UNC : ATA_ABRT);
        return;
    }
    a->status = ATA_DRDY | ATA_DSC;
    a->error = 0;
    ahci_send_sdb(s, q->port, a, 1u << q->slot, true);
    ahci_start(s, q->port);
}

static void done(void *o, BlkReq *r, int ret)
{
    AhciReq *q = o;
    Dev *d = &q->s->pci.dev;

    WITH_DEV(d) {
        dma_sg_free(d, &q->sg, r->op == BLK_READ && !ret ? r->len : 0);
        unlink_request(q);
        if (!q->forgotten)
            finish(q, ret);
    }
    g_free(q);
}

/* Each entry of the PRD table holds at least a byte, so the walk ends with the data. */
static bool map(AhciReq *q)
{
    Dev *d = &q->s->pci.dev;
    AhciRun *r = &q->s->run[q->port];
    DmaDir dir = q->r.op == BLK_READ ? DMA_TO_RAM : DMA_FROM_RAM;

    for (uint64_t left = q->r.len; left;) {
        uint64_t len;

        if (!ahci_next_prd(q->s, r))
            return false;
        len = MIN(left, r->prd_left);
        if (!dma_sg_add(d, &q->sg, r->prd_addr, len, dir))
            return false;
        left -= len;
    }
    return true;
}

static void submit(Ahci *s, unsigned n, unsigned slot, BlkReq r)
{
    AhciReq *q = g_new0(AhciReq, 1);

    *q = (AhciReq){ .s = s, .port = n, .slot = slot, .r = r, .lba = r.off / ATA_SECTOR };
    dma_sg_init(&q->sg);
    if (!map(q)) {
        guest_error(&s->pci.dev, "port %u: the PRD table is shorter than the data", n);
        dma_sg_free(&s->pci.dev, &q->sg, 0);
        g_free(q);
        ahci_raise(s, n, IS_OF);
        command_error(s, n, slot, ATA_ABRT);
        return;
    }
    q->r.iov = (struct iovec *)(void *)q->sg.iov->data;
    q->r.niov = (int)q->sg.iov->len;
    q->next = s->first;
    q->self = &s->first;
    if (q->next)
        q->next->self = &q->next;
    s->first = q;
    s->run[n].flying |= 1u << slot;
    disk_submit(ahci_drive(s, n)->disk, &q->r, done, q);
}

/* A range beyond the disk may be noticed when the command runs, as here, or before it is taken (SATA 13.6.4). */
static void run(Ahci *s, unsigned n, unsigned slot, const uint8_t *f)
{
    Ata *a = ahci_drive(s, n);
    bool write = f[2] == WRITE_FPDMA;
    uint64_t count = f[3] | f[11] << 8, lba = ata_lba48(a);
    BlkReq r = { .op = write ? BLK_WRITE : BLK_READ, .off = lba * ATA_SECTOR };

    if (!count)
        count = 65536;
    r.len = count * ATA_SECTOR;
    if (write && (f[7] & FUA || !a->write_cache))
        r.flags = BLK_FUA;
    if (!in_range(lba, count, ata_sectors(a)))
        command_error(s, n, slot, ATA_IDNF);
    else if (write && disk_readonly(a->disk))
        command_error(s, n, slot, ATA_ABRT);
    else
        submit(s, n, slot, r);
}

void ahci_ncq_start(Ahci *s, unsigned n, const uint8_t *f)
{
    AhciRun *r = &s->run[n];
    Ata *a = ahci_drive(s, n);
    unsigned slot = r->slot;

    if (f[12] >> 3 != slot || r->flying & 1u << slot) {
        guest_error(&s->pci.dev, "port %u: tag %u in slot %u%s", n, f[12] >> 3, slot, r->flying & 1u << slot ? ", which is in flight" : "");
        stop(s, n, f[12] >> 3, ATA_ABRT);
        ahci_send_d2h(s, n, a, true);
        return;
    }
    r->slot = NO_SLOT;
    a->status = ATA_DRDY | ATA_DSC;
    a->error = 0;
    s->port[n].ci &= ~(1u << slot);
    ahci_send_d2h(s, n, a, false); /* taken; the bus is free */
    run(s, n, slot, f);
}

/* What was in flight when the state was saved is fetched again. */
void ahci_ncq_loaded(Ahci *s, unsigned n)
{
    AhciRun *r = &s->run[n];
    uint32_t again = r->flying;
    uint8_t f[20];

    ahci_ncq_forget(s, n);
    if (!ahci_drive(s, n))
        return;
    for (unsigned slot = 0; slot < AHCI_SLOTS; slot++) {
        if (!(again & 1u << slot))
            continue;
        if (ahci_fetch(s, n, slot, f) && ahci_ncq_is(ahci_drive(s, n), f[2])) {
            ahci_load_registers(ahci_drive(s, n), f);
            run(s, n, slot, f);
        } else {
            command_error(s, n, slot, ATA_ABRT);
        }
    }
}
