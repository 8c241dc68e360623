/*
 * hw/ide/atapi.c - the packet interface of a CD/DVD-ROM drive: packets, their data phases, INQUIRY and REQUEST SENSE; the commands are
 * in hw/scsi/mmc.c. Source: SFF-8020i, MMC-5, SPC-3.
 * Invariants: a reply lies complete in buf; data of the disc comes in chunks of CD_CHUNK sectors.
 */
#include "hw/ide/ata.h"
#include <errno.h>

enum { CD_CHUNK = 32 };
enum { NOT_READY = 2, MEDIUM_ERROR = 3, ILLEGAL_REQUEST = 5, UNIT_ATTENTION = 6 };

/* ---- ends ---- */
static void good(Ata *a)
{
    a->r.count[0] = ATAPI_CD | ATAPI_IO;
    a->sense = a->asc = a->ascq = 0;
    ata_done(a);
}

static void bad(Ata *a, uint8_t sense, unsigned code)
{
    a->sense = sense;
    a->asc = (uint8_t)(code >> 8);
    a->ascq = (uint8_t)code;
    a->r.count[0] = ATAPI_CD | ATAPI_IO;
    ata_fail(a, (uint8_t)(sense << 4 | ATA_ABRT));
}

void atapi_set_limits(Ata *a)
{
    uint32_t n = a->block - a->pos;

    a->r.count[0] = a->phase == ATA_IN ? ATAPI_IO : 0;
    if (!a->dma) {
        a->r.lba[1][0] = (uint8_t)n;
        a->r.lba[2][0] = (uint8_t)(n >> 8);
    }
}

/* A reply of n bytes in p (taken), of which the host wants at most `max`. */
static void reply(Ata *a, uint8_t *p, uint32_t n, uint32_t max)
{
    n = MIN(n, max);
    if (!n) {
        g_free(p);
        good(a);
        return;
    }
    ata_offer(a, p, n, STEP_PACKET_DONE);
}

/* ---- reading ---- */
static void read_next(Ata *a)
{
    if (!a->left) {
        good(a);
        return;
    }
    a->sectors = MIN(a->left, CD_CHUNK);
    ata_io(a, BLK_READ, a->lba * CD_SECTOR, (uint64_t)a->sectors * CD_SECTOR, STEP_CD_READ);
}

static void have_read(Ata *a, int ret)
{
    uint32_t n = a->sectors;
    uint8_t *data;

    if (ret) {
        if (ret == -ENOMEDIUM)
            bad(a, NOT_READY, 0x3a00);
        else
            bad(a, MEDIUM_ERROR, 0x1100);
        return;
    }
    data = a->sector_size == CD_RAW_SECTOR ? mmc_raw_sectors(a->lba, a->buf, n) : g_steal_pointer(&a->buf);
    a->lba += n;
    a->left -= n;
    ata_offer(a, data, n * a->sector_size, STEP_CD_NEXT);
}

/* ---- about the drive ---- */
static void put_text(uint8_t *p, unsigned n, const char *s)
{
    size_t len = MIN(strlen(s), n);

    memset(p, ' ', n);
    memcpy(p, s, len);
}

static void inquiry(Ata *a)
{
    uint8_t *p = g_malloc0(36);

    if (a->cdb[1] & 1) { /* vital product data */
        unsigned page = a->cdb[2];

        p[0] = 5;
        p[1] = (uint8_t)page;
        if (page != 0) {
            g_free(p);
            bad(a, ILLEGAL_REQUEST, 0x2400);
            return;
        }
        p[3] = 1;
        reply(a, p, 5, be16_load(a->cdb + 3));
        return;
    }
    p[0] = 5;    /* CD/DVD */
    p[1] = 0x80; /* removable */
    p[3] = 0x21;
    p[4] = 31;
    put_text(p + 8, 8, "MENURA");
    put_text(p + 16, 16, a->model ? a->model : "DVD-ROM");
    put_text(p + 32, 4, a->version ? a->version : MENURA_VERSION);
    reply(a, p, 36, be16_load(a->cdb + 3));
}

static void request_sense(Ata *a)
{
    uint8_t *p = g_malloc0(18);

    if (a->attention) {
        a->sense = UNIT_ATTENTION;
        a->asc = 0x28;
        a->ascq = 0;
        a->attention = false;
    }
    p[0] = 0x70;
    p[2] = a->sense;
    p[7] = 10;
    p[12] = a->asc;
    p[13] = a->ascq;
    reply(a, p, 18, a->cdb[4]);
}

/* ---- commands ---- */
static void command(Ata *a)
{
    MmcAnswer r;

    mmc_command(&a->mmc, a->disk, a->cdb, &r);
    a->attention |= r.medium_came;
    switch (r.kind) {
    case MMC_GOOD: good(a); break;
    case MMC_BAD: bad(a, r.key, r.code); break;
    case MMC_REPLY: reply(a, g_memdup2(r.reply, sizeof(r.reply)), r.len, r.len); break;
    case MMC_TAKE: ata_ask(a, r.len, STEP_MODE_SELECT); break;
    case MMC_READ:
        a->lba = r.lba;
        a->left = r.count;
        a->sector_size = (uint16_t)r.sector_size;
        read_next(a);
        break;
    }
}

static void execute(Ata *a)
{
    uint8_t code = a->cdb[0];

    if (code == 0x12) {
        inquiry(a);
    } else if (code == 0x03) {
        request_sense(a);
    } else if (a->attention && mmc_knows(code) && !mmc_any_time(code) && mmc_has_medium(a->disk)) {
        a->attention = false;
        bad(a, UNIT_ATTENTION, 0x2800);
    } else {
        if (!mmc_knows(code))
            guest_unimp(&a->dev, "packet command %#x", code);
        command(a);
    }
}

/* ---- phases ---- */
void atapi_begin(Ata *a)
{
    bool dma = a->r.feature[0] & 1;

    if (a->r.feature[0] & 2) { /* overlap */
        ata_fail(a, ATA_ABRT);
        return;
    }
    a->r.count[0] = ATAPI_CD;
    a->no_irq = true;
    a->dma = false; /* the packet itself goes by PIO */
    a->packet_dma = dma;
    ata_ask(a, sizeof(a->cdb), STEP_PACKET);
}

void atapi_step(Ata *a, AtaStep step, int ret)
{
    switch (step) {
    case STEP_PACKET:
        memcpy(a->cdb, a->buf, sizeof(a->cdb));
        a->dma = a->packet_dma;
        execute(a);
        break;
    case STEP_CD_READ: have_read(a, ret); break;
    case STEP_CD_NEXT: read_next(a); break;
    default: good(a); break;
    }
}
