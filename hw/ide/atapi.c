/*
 * hw/ide/atapi.c - the packet commands of a CD/DVD-ROM drive.
 * Source: SFF-8020i, MMC-5, SPC-3. Left out: audio playback, writing, DVD structures, sub-channel data.
 * Invariants: a reply lies complete in buf; data of the disc comes in chunks of CD_CHUNK sectors.
 */
#include "hw/ide/ata.h"
#include <errno.h>

enum { CD_CHUNK = 32, RAW_SECTOR = 2352 };
enum { NO_SENSE, NOT_READY = 2, MEDIUM_ERROR = 3, ILLEGAL_REQUEST = 5, UNIT_ATTENTION = 6 };

static uint64_t cd_sectors(const Ata *a) { return ata_has_medium(a) ? disk_size(a->disk) / CD_SECTOR : 0; }

/* ---- ends ---- */
static void good(Ata *a)
{
    a->r.count[0] = ATAPI_CD | ATAPI_IO;
    a->sense = a->asc = a->ascq = 0;
    ata_done(a);
}

static void bad(Ata *a, uint8_t sense, uint8_t asc, uint8_t ascq)
{
    a->sense = sense;
    a->asc = asc;
    a->ascq = ascq;
    a->r.count[0] = ATAPI_CD | ATAPI_IO;
    ata_fail(a, (uint8_t)(sense << 4 | ATA_ABRT));
}

static void invalid_field(Ata *a) { bad(a, ILLEGAL_REQUEST, 0x24, 0); }

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

static uint8_t bcd(unsigned v) { return (uint8_t)(v / 10 << 4 | v % 10); }

/* Mode 1: sync, header, data; EDC and ECC are not made and stay 0. */
static uint8_t *raw_sectors(const Ata *a)
{
    uint8_t *out = g_malloc0(a->sectors * RAW_SECTOR);

    for (uint32_t i = 0; i < a->sectors; i++) {
        uint8_t *p = out + i * RAW_SECTOR;
        uint64_t f = a->lba + i + 150;

        memset(p + 1, 0xff, 10);
        p[12] = bcd((unsigned)(f / 75 / 60));
        p[13] = bcd((unsigned)(f / 75 % 60));
        p[14] = bcd((unsigned)(f % 75));
        p[15] = 1;
        memcpy(p + 16, a->buf + i * CD_SECTOR, CD_SECTOR);
    }
    return out;
}

static void have_read(Ata *a, int ret)
{
    uint32_t n = a->sectors;
    uint8_t *data;

    if (ret) {
        if (ret == -ENOMEDIUM)
            bad(a, NOT_READY, 0x3a, 0);
        else
            bad(a, MEDIUM_ERROR, 0x11, 0);
        return;
    }
    data = a->sector_size == RAW_SECTOR ? raw_sectors(a) : g_steal_pointer(&a->buf);
    a->lba += n;
    a->left -= n;
    ata_offer(a, data, n * a->sector_size, STEP_CD_NEXT);
}

static void read_from(Ata *a, uint64_t lba, uint64_t n, unsigned sector_size)
{
    if (!in_range(lba, n, cd_sectors(a))) {
        bad(a, ILLEGAL_REQUEST, 0x21, 0);
        return;
    }
    a->lba = lba;
    a->left = (uint32_t)n;
    a->sector_size = (uint16_t)sector_size;
    read_next(a);
}

static void read10(Ata *a) { read_from(a, be32_load(a->cdb + 2), be16_load(a->cdb + 7), CD_SECTOR); }
static void read12(Ata *a) { read_from(a, be32_load(a->cdb + 2), be32_load(a->cdb + 6), CD_SECTOR); }

static void read_cd(Ata *a)
{
    uint64_t n = (uint64_t)a->cdb[6] << 16 | a->cdb[7] << 8 | a->cdb[8];
    uint8_t what = a->cdb[9] & 0xf8;

    if (!n || !what)
        good(a);
    else if (what == 0x10)
        read_from(a, be32_load(a->cdb + 2), n, CD_SECTOR);
    else if (what == 0xf8)
        read_from(a, be32_load(a->cdb + 2), n, RAW_SECTOR);
    else
        invalid_field(a);
}

static void seek(Ata *a)
{
    if (be32_load(a->cdb + 2) >= cd_sectors(a))
        bad(a, ILLEGAL_REQUEST, 0x21, 0);
    else
        good(a);
}

static void read_capacity(Ata *a)
{
    uint8_t *p = g_malloc0(8);

    be32_store(p, (uint32_t)(cd_sectors(a) - 1));
    be32_store(p + 4, CD_SECTOR);
    reply(a, p, 8, 8);
}

/* ---- table of contents ---- */
static void toc_address(uint8_t *p, uint64_t lba, bool msf)
{
    if (!msf) {
        be32_store(p, (uint32_t)lba);
        return;
    }
    lba += 150;
    p[0] = 0;
    p[1] = (uint8_t)(lba / 75 / 60);
    p[2] = (uint8_t)(lba / 75 % 60);
    p[3] = (uint8_t)(lba % 75);
}

static uint8_t *toc_entry(uint8_t *p, uint8_t track, uint64_t lba, bool msf)
{
    p[1] = 0x14; /* data track */
    p[2] = track;
    toc_address(p + 4, lba, msf);
    return p + 8;
}

static uint8_t *toc_raw_entry(uint8_t *p, uint8_t point, uint64_t lba, unsigned min, bool with_address, bool msf)
{
    p[0] = 1;
    p[1] = 0x14;
    p[3] = point;
    if (with_address)
        toc_address(p + 7, lba, msf);
    else
        p[8] = (uint8_t)min;
    return p + 11;
}

static void read_toc(Ata *a)
{
    bool msf = a->cdb[1] & 2;
    unsigned format = a->cdb[2] & 15, start = a->cdb[6];
    uint8_t *p = g_malloc0(64), *e = p + 4;

    format = format ? format : a->cdb[9] >> 6;
    p[2] = p[3] = 1;
    if (format == 0 && (start <= 1 || start == 0xaa)) {
        if (start <= 1)
            e = toc_entry(e, 1, 0, msf);
        e = toc_entry(e, 0xaa, cd_sectors(a), msf);
    } else if (format == 1) {
        e = toc_entry(e, 0, 0, false);
        p[5] = p[6] = 0;
    } else if (format == 2) {
        e = toc_raw_entry(e, 0xa0, 0, 1, false, msf);
        e = toc_raw_entry(e, 0xa1, 0, 1, false, msf);
        e = toc_raw_entry(e, 0xa2, cd_sectors(a), 0, true, true);
        e = toc_raw_entry(e, 1, 0, 0, true, true);
    } else {
        g_free(p);
        invalid_field(a);
        return;
    }
    be16_store(p, (uint16_t)(e - p - 2));
    reply(a, p, (uint32_t)(e - p), be16_load(a->cdb + 7));
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
            invalid_field(a);
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

static unsigned page_error(uint8_t *p)
{
    p[0] = 1;
    p[1] = 6;
    p[3] = 5;
    return 8;
}

static unsigned page_capabilities(const Ata *a, uint8_t *p)
{
    p[0] = 0x2a;
    p[1] = 0x14;
    p[2] = 0x3b; /* CD-R, CD-RW, DVD-ROM, DVD-R are read */
    p[4] = 0x70;
    p[6] = (uint8_t)(0x29 | (a->locked ? 2 : 0)); /* tray, lock, eject */
    be16_store(p + 8, 706);
    be16_store(p + 10, 2);
    be16_store(p + 12, 512);
    be16_store(p + 14, 706);
    return 22;
}

static void mode_sense(Ata *a)
{
    bool ten = a->cdb[0] == 0x5a;
    unsigned page = a->cdb[2] & 0x3f, control = a->cdb[2] >> 6, n = ten ? 8 : 4, head = n;
    uint8_t *p = g_malloc0(64);

    if (control == 3) {
        g_free(p);
        bad(a, ILLEGAL_REQUEST, 0x39, 0);
        return;
    }
    if (page == 0x01 || page == 0x3f)
        n += page_error(p + n);
    if (page == 0x2a || page == 0x3f)
        n += page_capabilities(a, p + n);
    if (n == head) {
        g_free(p);
        invalid_field(a);
        return;
    }
    p[ten ? 1 : 0] = (uint8_t)(n - (ten ? 2 : 1));
    p[ten ? 2 : 1] = ata_has_medium(a) ? 0x01 : 0x70; /* 120 mm data disc; none */
    reply(a, p, n, ten ? be16_load(a->cdb + 7) : a->cdb[4]);
}

static void mode_select(Ata *a)
{
    unsigned n = a->cdb[0] == 0x55 ? be16_load(a->cdb + 7) : a->cdb[4];

    if (!n)
        good(a);
    else
        ata_ask(a, n, STEP_MODE_SELECT); /* taken and forgotten: no page has anything to change */
}

static unsigned feature(uint8_t *p, unsigned code, bool persistent, bool current, const uint8_t *data, unsigned n)
{
    be16_store(p, (uint16_t)code);
    p[2] = (uint8_t)(persistent * 2 | current);
    p[3] = (uint8_t)n;
    memcpy(p + 4, data, n);
    return n + 4;
}

static void get_configuration(Ata *a)
{
    static const uint8_t core[] = { 0, 0, 0, 2, 1, 0, 0, 0 }, removable[] = { 0x29, 0, 0, 0 };
    static const uint8_t random_read[] = { 0, 0, 8, 0, 0, 1, 0, 0 }, cd_read[] = { 0, 0, 0, 0 };
    bool disc = ata_has_medium(a), dvd = cd_sectors(a) > 450000;
    unsigned profile = !disc ? 0 : dvd ? 0x10 : 0x08, start = be16_load(a->cdb + 2), rt = a->cdb[1] & 3, n = 8;
    uint8_t *p = g_malloc0(96);
    const uint8_t profiles[] = { 0, 0x10, disc && dvd, 0, 0, 0x08, disc && !dvd, 0 };
    const struct {
        unsigned code;
        bool persistent, current;
        const uint8_t *data;
        unsigned n;
    } all[] = {
        { 0x00, true, true, profiles, 8 }, { 0x01, true, true, core, 8 },          { 0x03, true, true, removable, 4 },
        { 0x10, false, disc, random_read, 8 }, { 0x1e, false, disc && !dvd, cd_read, 4 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++)
        if ((rt == 2 ? all[i].code == start : all[i].code >= start) && (rt != 1 || all[i].current))
            n += feature(p + n, all[i].code, all[i].persistent, all[i].current, all[i].data, all[i].n);
    be32_store(p, n - 4);
    be16_store(p + 6, (uint16_t)profile);
    reply(a, p, n, be16_load(a->cdb + 7));
}

static void event_status(Ata *a)
{
    uint8_t *p = g_malloc0(8);

    if (!(a->cdb[1] & 1)) { /* only polled operation */
        g_free(p);
        invalid_field(a);
        return;
    }
    p[3] = 0x10; /* we tell of media events */
    if (!(a->cdb[4] & 0x10)) {
        p[1] = 2;
        p[2] = 0x80;
        reply(a, p, 4, be16_load(a->cdb + 7));
        return;
    }
    p[1] = 6;
    p[2] = 4;
    p[4] = a->event;
    p[5] = (uint8_t)(disk_tray_open(a->disk) | (disk_present(a->disk) ? 2 : 0));
    a->event = 0;
    reply(a, p, 8, be16_load(a->cdb + 7));
}

static void mechanism_status(Ata *a)
{
    uint8_t *p = g_malloc0(8);

    p[1] = disk_tray_open(a->disk) ? 0x10 : 0;
    p[5] = 1;
    reply(a, p, 8, be16_load(a->cdb + 8));
}

static void disc_information(Ata *a)
{
    uint8_t *p = g_malloc0(34);

    if (a->cdb[1] & 7) {
        g_free(p);
        invalid_field(a);
        return;
    }
    be16_store(p, 32);
    p[2] = 0x0e; /* last session complete, disc finalized */
    p[3] = p[4] = p[5] = p[6] = 1;
    p[7] = 0x20;
    memset(p + 16, 0xff, 8);
    reply(a, p, 34, be16_load(a->cdb + 7));
}

/* ---- the tray ---- */
static void start_stop(Ata *a)
{
    bool start = a->cdb[4] & 1, move = a->cdb[4] & 2;

    if (a->cdb[4] >> 4 || !move) {
        good(a);
        return;
    }
    if (!start && a->locked) {
        bad(a, ata_has_medium(a) ? ILLEGAL_REQUEST : NOT_READY, 0x53, 2);
        return;
    }
    if (disk_tray_open(a->disk) && start && disk_present(a->disk))
        a->attention = a->changed = true;
    disk_set_tray(a->disk, !start);
    good(a);
}

static void prevent(Ata *a)
{
    a->locked = a->cdb[4] & 1;
    disk_lock_tray(a->disk, a->locked);
    good(a);
}

/* ---- the table ---- */
enum { ANY_TIME = 1 /* also under unit attention */, MEDIUM = 2 /* needs one */ };
static const struct {
    uint8_t code, flags;
    const char *name;
    void (*fn)(Ata *a);
} packets[] = {
    { 0x00, MEDIUM, "TEST UNIT READY", good },
    { 0x03, ANY_TIME, "REQUEST SENSE", request_sense },
    { 0x12, ANY_TIME, "INQUIRY", inquiry },
    { 0x15, 0, "MODE SELECT (6)", mode_select },
    { 0x1a, 0, "MODE SENSE (6)", mode_sense },
    { 0x1b, 0, "START STOP UNIT", start_stop },
    { 0x1e, 0, "PREVENT ALLOW MEDIUM REMOVAL", prevent },
    { 0x25, MEDIUM, "READ CAPACITY", read_capacity },
    { 0x28, MEDIUM, "READ (10)", read10 },
    { 0x2b, MEDIUM, "SEEK (10)", seek },
    { 0x43, MEDIUM, "READ TOC/PMA/ATIP", read_toc },
    { 0x46, ANY_TIME, "GET CONFIGURATION", get_configuration },
    { 0x4a, ANY_TIME, "GET EVENT STATUS NOTIFICATION", event_status },
    { 0x51, MEDIUM, "READ DISC INFORMATION", disc_information },
    { 0x55, 0, "MODE SELECT (10)", mode_select },
    { 0x5a, 0, "MODE SENSE (10)", mode_sense },
    { 0xa8, MEDIUM, "READ (12)", read12 },
    { 0xbb, 0, "SET CD SPEED", good },
    { 0xbd, 0, "MECHANISM STATUS", mechanism_status },
    { 0xbe, MEDIUM, "READ CD", read_cd },
};

static void execute(Ata *a)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(packets); i++) {
        unsigned f = packets[i].flags;

        if (packets[i].code != a->cdb[0])
            continue;
        if (a->attention && !(f & ANY_TIME) && ata_has_medium(a)) {
            a->attention = false;
            bad(a, UNIT_ATTENTION, 0x28, 0);
        } else if (f & MEDIUM && !ata_has_medium(a)) {
            bad(a, NOT_READY, 0x3a, disk_tray_open(a->disk) ? 2 : 1);
        } else {
            packets[i].fn(a);
        }
        return;
    }
    guest_unimp(&a->dev, "packet command %#x", a->cdb[0]);
    bad(a, ILLEGAL_REQUEST, 0x20, 0);
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
