/*
 * hw/scsi/mmc.c - see mmc.h. Left out: audio playback, writing, DVD structures, sub-channel data.
 */
#include "hw/scsi/mmc.h"

enum { NOT_READY = 2, ILLEGAL_REQUEST = 5, INVALID_FIELD = 0x2400, OUT_OF_RANGE = 0x2100, NO_SAVING = 0x3900, DVD_SECTORS = 450000 };

typedef struct Command {
    MmcDrive *m;
    Disk *disk;
    const uint8_t *cdb;
    MmcAnswer *a;
} Command;

static uint64_t sectors(const Command *c) { return mmc_has_medium(c->disk) ? disk_size(c->disk) / CD_SECTOR : 0; }

static void bad(Command *c, uint8_t key, unsigned code)
{
    c->a->kind = MMC_BAD;
    c->a->key = key;
    c->a->code = (uint16_t)code;
}

static void good(Command *c) { }
static void invalid_field(Command *c) { bad(c, ILLEGAL_REQUEST, INVALID_FIELD); }

/* Of the n bytes that there are the initiator wants at most `max`. */
static void reply(Command *c, uint32_t n, uint32_t max)
{
    c->a->kind = MMC_REPLY;
    c->a->len = MIN(n, max);
}

/* ---- reading ---- */
static uint8_t bcd(unsigned v) { return (uint8_t)(v / 10 << 4 | v % 10); }

uint8_t *mmc_raw_sectors(uint64_t lba, const uint8_t *data, uint32_t n)
{
    uint8_t *out = g_malloc0((size_t)n * CD_RAW_SECTOR);

    for (uint32_t i = 0; i < n; i++) {
        uint8_t *p = out + (size_t)i * CD_RAW_SECTOR;
        uint64_t f = lba + i + 150;

        memset(p + 1, 0xff, 10);
        p[12] = bcd((unsigned)(f / 75 / 60));
        p[13] = bcd((unsigned)(f / 75 % 60));
        p[14] = bcd((unsigned)(f % 75));
        p[15] = 1; /* mode */
        memcpy(p + 16, data + (size_t)i * CD_SECTOR, CD_SECTOR);
    }
    return out;
}

static void read_from(Command *c, uint64_t lba, uint64_t n, unsigned sector_size)
{
    if (!in_range(lba, n, sectors(c))) {
        bad(c, ILLEGAL_REQUEST, OUT_OF_RANGE);
        return;
    }
    c->a->kind = MMC_READ;
    c->a->lba = lba;
    c->a->count = (uint32_t)n;
    c->a->sector_size = sector_size;
}

static void read10(Command *c) { read_from(c, be32_load(c->cdb + 2), be16_load(c->cdb + 7), CD_SECTOR); }
static void read12(Command *c) { read_from(c, be32_load(c->cdb + 2), be32_load(c->cdb + 6), CD_SECTOR); }

static void read_cd(Command *c)
{
    uint64_t n = (uint64_t)c->cdb[6] << 16 | c->cdb[7] << 8 | c->cdb[8];
    uint8_t what = c->cdb[9] & 0xf8;

    if (!n || !what)
        good(c);
    else if (what == 0x10)
        read_from(c, be32_load(c->cdb + 2), n, CD_SECTOR);
    else if (what == 0xf8)
        read_from(c, be32_load(c->cdb + 2), n, CD_RAW_SECTOR);
    else
        invalid_field(c);
}

static void seek(Command *c)
{
    if (be32_load(c->cdb + 2) >= sectors(c))
        bad(c, ILLEGAL_REQUEST, OUT_OF_RANGE);
    else
        good(c);
}

static void read_capacity(Command *c)
{
    uint8_t *p = c->a->reply;

    be32_store(p, (uint32_t)(sectors(c) - 1));
    be32_store(p + 4, CD_SECTOR);
    reply(c, 8, 8);
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

static void read_toc(Command *c)
{
    bool msf = c->cdb[1] & 2;
    unsigned format = c->cdb[2] & 15, start = c->cdb[6];
    uint8_t *p = c->a->reply, *e = p + 4;

    format = format ? format : c->cdb[9] >> 6;
    p[2] = p[3] = 1;
    if (format == 0 && (start <= 1 || start == 0xaa)) {
        if (start <= 1)
            e = toc_entry(e, 1, 0, msf);
        e = toc_entry(e, 0xaa, sectors(c), msf);
    } else if (format == 1) {
        e = toc_entry(e, 0, 0, false);
        p[5] = p[6] = 0;
    } else if (format == 2) {
        e = toc_raw_entry(e, 0xa0, 0, 1, false, msf);
        e = toc_raw_entry(e, 0xa1, 0, 1, false, msf);
        e = toc_raw_entry(e, 0xa2, sectors(c), 0, true, true);
        e = toc_raw_entry(e, 1, 0, 0, true, true);
    } else {
        invalid_field(c);
        return;
    }
    be16_store(p, (uint16_t)(e - p - 2));
    reply(c, (uint32_t)(e - p), be16_load(c->cdb + 7));
}

/* ---- about the drive ---- */
static unsigned page_error(uint8_t *p)
{
    p[0] = 1;
    p[1] = 6;
    p[3] = 5;
    return 8;
}

static unsigned page_capabilities(const Command *c, uint8_t *p)
{
    p[0] = 0x2a;
    p[1] = 0x14;
    p[2] = 0x3b; /* CD-R, CD-RW, DVD-ROM, DVD-R are read */
    p[4] = 0x70;
    p[6] = (uint8_t)(0x29 | (c->m->locked ? 2 : 0)); /* tray, lock, eject */
    be16_store(p + 8, 706);
    be16_store(p + 10, 2);
    be16_store(p + 12, 512);
    be16_store(p + 14, 706);
    return 22;
}

static void mode_sense(Command *c)
{
    bool ten = c->cdb[0] == 0x5a;
    unsigned page = c->cdb[2] & 0x3f, control = c->cdb[2] >> 6, n = ten ? 8 : 4, head = n;
    uint8_t *p = c->a->reply;

    if (control == 3) {
        bad(c, ILLEGAL_REQUEST, NO_SAVING);
        return;
    }
    if (page == 0x01 || page == 0x3f)
        n += page_error(p + n);
    if (page == 0x2a || page == 0x3f)
        n += page_capabilities(c, p + n);
    if (n == head) {
        invalid_field(c);
        return;
    }
    p[ten ? 1 : 0] = (uint8_t)(n - (ten ? 2 : 1));
    p[ten ? 2 : 1] = mmc_has_medium(c->disk) ? 0x01 : 0x70; /* 120 mm data disc; none */
    reply(c, n, ten ? be16_load(c->cdb + 7) : c->cdb[4]);
}

static void mode_select(Command *c)
{
    unsigned n = c->cdb[0] == 0x55 ? be16_load(c->cdb + 7) : c->cdb[4];

    if (!n)
        return;
    c->a->kind = MMC_TAKE; /* no page has anything to change */
    c->a->len = n;
}

static unsigned feature(uint8_t *p, unsigned code, bool persistent, bool current, const uint8_t *data, unsigned n)
{
    be16_store(p, (uint16_t)code);
    p[2] = (uint8_t)(persistent * 2 | current);
    p[3] = (uint8_t)n;
    memcpy(p + 4, data, n);
    return n + 4;
}

static void get_configuration(Command *c)
{
    static const uint8_t core[] = { 0, 0, 0, 2, 1, 0, 0, 0 }, removable[] = { 0x29, 0, 0, 0 };
    static const uint8_t random_read[] = { 0, 0, 8, 0, 0, 1, 0, 0 }, cd_read[] = { 0, 0, 0, 0 };
    bool disc = mmc_has_medium(c->disk), dvd = sectors(c) > DVD_SECTORS;
    unsigned profile = !disc ? 0 : dvd ? 0x10 : 0x08, start = be16_load(c->cdb + 2), rt = c->cdb[1] & 3, n = 8;
    uint8_t *p = c->a->reply;
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
    reply(c, n, be16_load(c->cdb + 7));
}

static void event_status(Command *c)
{
    uint8_t *p = c->a->reply;

    if (!(c->cdb[1] & 1)) { /* only polled operation */
        invalid_field(c);
        return;
    }
    p[3] = 0x10; /* we tell of media events */
    if (!(c->cdb[4] & 0x10)) {
        p[1] = 2;
        p[2] = 0x80;
        reply(c, 4, be16_load(c->cdb + 7));
        return;
    }
    p[1] = 6;
    p[2] = 4;
    p[4] = c->m->event;
    p[5] = (uint8_t)(disk_tray_open(c->disk) | (disk_present(c->disk) ? 2 : 0));
    c->m->event = 0;
    reply(c, 8, be16_load(c->cdb + 7));
}

static void mechanism_status(Command *c)
{
    uint8_t *p = c->a->reply;

    p[1] = disk_tray_open(c->disk) ? 0x10 : 0;
    p[5] = 1;
    reply(c, 8, be16_load(c->cdb + 8));
}

static void disc_information(Command *c)
{
    uint8_t *p = c->a->reply;

    if (c->cdb[1] & 7) {
        invalid_field(c);
        return;
    }
    be16_store(p, 32);
    p[2] = 0x0e; /* last session complete, disc finalized */
    p[3] = p[4] = p[5] = p[6] = 1;
    p[7] = 0x20;
    memset(p + 16, 0xff, 8);
    reply(c, 34, be16_load(c->cdb + 7));
}

/* ---- the tray ---- */
static void start_stop(Command *c)
{
    bool start = c->cdb[4] & 1, move = c->cdb[4] & 2;

    if (c->cdb[4] >> 4 || !move)
        return;
    if (!start && c->m->locked) {
        bad(c, mmc_has_medium(c->disk) ? ILLEGAL_REQUEST : NOT_READY, 0x5302);
        return;
    }
    c->a->medium_came = disk_tray_open(c->disk) && start && disk_present(c->disk);
    disk_set_tray(c->disk, !start);
}

static void prevent(Command *c)
{
    c->m->locked = c->cdb[4] & 1;
    disk_lock_tray(c->disk, c->m->locked);
}

void mmc_medium(MmcDrive *m, bool present) { m->event = present ? 2 : 3; }

bool mmc_may_eject(MmcDrive *m, bool force)
{
    if (m->locked && !force)
        m->event = 1;
    return force || !m->locked;
}

/* ---- the table ---- */
enum { ANY_TIME = 1 /* also under unit attention */, MEDIUM = 2 /* needs one */ };
static const struct {
    uint8_t code, flags;
    const char *name;
    void (*fn)(Command *c);
} commands[] = {
    { 0x00, MEDIUM, "TEST UNIT READY", good },
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

static int find(uint8_t code)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
        if (commands[i].code == code)
            return (int)i;
    return -1;
}

bool mmc_knows(uint8_t code) { return find(code) >= 0; }
bool mmc_any_time(uint8_t code) { return find(code) >= 0 && commands[find(code)].flags & ANY_TIME; }

void mmc_command(MmcDrive *m, Disk *disk, const uint8_t *cdb, MmcAnswer *a)
{
    Command c = { m, disk, cdb, a };
    int i = find(cdb[0]);

    *a = (MmcAnswer){ .kind = MMC_GOOD };
    if (i < 0)
        bad(&c, ILLEGAL_REQUEST, 0x2000);
    else if (commands[i].flags & MEDIUM && !mmc_has_medium(disk))
        bad(&c, NOT_READY, disk_tray_open(disk) ? 0x3a02 : 0x3a01);
    else
        commands[i].fn(&c);
}

static const Field fields[] = { FIELD(MmcDrive, event, .keep = true), FIELD(MmcDrive, locked) };
const FieldTable mmc_fields = TABLE(fields);
