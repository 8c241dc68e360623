/*
 * hw/ide/ata-id.c - what a drive says about itself: IDENTIFY (PACKET) DEVICE and SMART.
 * Source: ATA8-ACS sections 7.16, 7.17 and 7.53; word tables of IDENTIFY; ACS-4 section 9.11 (words 106, 209).
 */
#include "hw/ide/ata.h"

/* ---- IDENTIFY ---- */
static void word(uint8_t *id, unsigned n, unsigned v) { le16_store(id + 2 * n, (uint16_t)v); }

static void dword(uint8_t *id, unsigned n, uint64_t v)
{
    word(id, n, v & 0xffff);
    word(id, n + 1, v >> 16 & 0xffff);
}

/* Strings are padded with blanks, the bytes of each word swapped. */
static void text(uint8_t *id, unsigned n, unsigned words, const char *s)
{
    size_t len = strlen(s);

    for (unsigned i = 0; i < 2 * words; i++)
        id[2 * n + (i ^ 1)] = (uint8_t)(i < len ? s[i] : ' ');
}

static void names(const Ata *a, uint8_t *id)
{
    unsigned bus = ((const IdeBus *)(const void *)a->dev.bus)->n;
    g_autofree char *mine = g_strdup_printf("MN%05u", bus * 2 + (unsigned)a->unit + 1);
    const char *of_drive = disk_serial(a->disk);

    text(id, 10, 10, a->serial ? a->serial : *of_drive ? of_drive : mine);
    text(id, 23, 4, a->version ? a->version : MENURA_VERSION);
    text(id, 27, 20, a->model ? a->model : a->cd ? "MENURA DVD-ROM" : "MENURA HARDDISK");
}

static void modes(const Ata *a, uint8_t *id)
{
    uint8_t kind = a->transfer_mode >> 3, bit = (uint8_t)(1 << (a->transfer_mode & 7));

    word(id, 49, 0x0f00); /* LBA, DMA, IORDY */
    word(id, 53, 0x0007);
    word(id, 63, 0x07 | (kind == 4 ? bit << 8 : 0));
    word(id, 64, 3); /* PIO 3, 4 */
    for (unsigned i = 65; i <= 68; i++)
        word(id, i, 120);
    word(id, 88, 0x3f | (kind == 8 ? bit << 8 : 0));
    word(id, 93, 0x600b | (a->unit ? 0x0100 : 0));
}

static void disk_words(const Ata *a, uint8_t *id)
{
    uint64_t total = ata_sectors(a), chs = CLAMP(total / (16 * 63), 2, 16383);
    unsigned queue = ((const IdeBus *)(const void *)a->dev.bus)->host->queue;
    unsigned exponent = (unsigned)__builtin_ctz(a->conf.physical / ATA_SECTOR);

    word(id, 0, 0x0040);
    word(id, 1, (unsigned)chs);
    word(id, 3, 16);
    word(id, 6, 63);
    word(id, 47, 0x8010);
    word(id, 48, 0x4000); /* no trusted computing */
    word(id, 54, (unsigned)chs);
    word(id, 55, 16);
    word(id, 56, 63);
    dword(id, 57, chs * 16 * 63);
    word(id, 59, a->multiple ? 0x100u | a->multiple : 0);
    dword(id, 60, MIN(total, 0xfffffff));
    word(id, 69, a->conf.granularity ? 1u << 14 : 0); /* trimmed sectors: deterministic */
    if (queue) {
        word(id, 75, queue - 1);
        word(id, 76, 1u << 8 | 6); /* NCQ, generations 1 and 2 */
    }
    word(id, 80, 0x1f0);
    word(id, 82, 0x4021); /* SMART, write cache, NOP */
    word(id, 83, 0x7400); /* FLUSH (EXT), LBA48 */
    word(id, 84, 0x4000 | (a->wwn ? 0x100 : 0) | 0x40);
    word(id, 85, 0x4000u | a->smart | (a->write_cache ? 0x20 : 0));
    word(id, 86, 0x3400);
    word(id, 87, 0x4000 | (a->wwn ? 0x100 : 0) | 0x40);
    dword(id, 100, total);
    dword(id, 102, total >> 32);
    word(id, 105, 1);
    word(id, 106, 0x4000u | (exponent ? 0x2000u : 0) | exponent); /* sectors of the medium: 2^n logical ones */
    word(id, 169, a->conf.granularity ? 1 : 0); /* TRIM */
    word(id, 209, 0x4000); /* the first logical sector begins a physical one */
    word(id, 217, 1); /* not a rotating medium */
}

static void packet_words(uint8_t *id)
{
    word(id, 0, 0x85c0); /* ATAPI, CD-ROM, removable, 50 us DRQ, 12 byte packets */
    word(id, 80, 0x1e);
    word(id, 82, 0x4010);
    word(id, 83, 0x4000);
    word(id, 84, 0x4000);
    word(id, 85, 0x4010);
    word(id, 87, 0x4000);
}

void ata_identify(Ata *a, uint8_t *id)
{
    names(a, id);
    modes(a, id);
    if (a->cd)
        packet_words(id);
    else
        disk_words(a, id);
    if (a->wwn)
        for (unsigned i = 0; i < 4; i++)
            word(id, 108 + i, a->wwn >> (48 - 16 * i) & 0xffff);
    id[510] = 0xa5;
    ata_checksum(id);
}

/* ---- SMART ---- */
static const struct {
    uint8_t id, flags, value, worst, raw, threshold;
} attributes[] = {
    { 1, 3, 100, 100, 0, 6 },  { 3, 3, 100, 100, 16, 0 },   { 4, 2, 100, 100, 100, 20 }, { 5, 3, 100, 100, 0, 36 },
    { 9, 3, 100, 100, 1, 0 },  { 12, 3, 100, 100, 0, 0 },   { 190, 3, 69, 69, 31, 50 },
};

void ata_checksum(uint8_t *p)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < 511; i++)
        sum = (uint8_t)(sum + p[i]);
    p[511] = (uint8_t)-sum;
}

static void smart_page(Ata *a, bool thresholds)
{
    uint8_t *p = g_malloc0(ATA_SECTOR);

    le16_store(p, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(attributes); i++) {
        uint8_t *e = p + 2 + 12 * i;

        e[0] = attributes[i].id;
        e[1] = thresholds ? attributes[i].threshold : attributes[i].flags;
        if (thresholds)
            continue;
        e[3] = attributes[i].value;
        e[4] = attributes[i].worst;
        e[5] = attributes[i].raw;
    }
    if (!thresholds) {
        p[362] = 2; /* off-line collection: completed */
        p[367] = 1;
        p[368] = 3;
        p[370] = 1;
    }
    ata_checksum(p);
    ata_offer(a, p, ATA_SECTOR, STEP_DONE);
}

static void smart_log(Ata *a)
{
    unsigned n = a->r.count[0];

    if (!n) {
        ata_fail(a, ATA_ABRT);
        return;
    }
    ata_offer(a, g_malloc0(n * ATA_SECTOR), n * ATA_SECTOR, STEP_DONE);
}

static bool smart_no_data(Ata *a)
{
    switch (a->r.feature[0]) {
    case 0xd2: case 0xd3: case 0xd4: case 0xdb: break;
    case 0xd8: a->smart = true; break;
    case 0xd9: a->smart = false; break;
    case 0xda: /* healthy */
        a->r.lba[1][0] = 0x4f;
        a->r.lba[2][0] = 0xc2;
        break;
    default: return false;
    }
    ata_done(a);
    return true;
}

bool ata_smart(Ata *a)
{
    uint8_t f = a->r.feature[0];

    if (a->r.lba[1][0] != 0x4f || a->r.lba[2][0] != 0xc2 || (!a->smart && f != 0xd8))
        return false;
    if (f == 0xd0 || f == 0xd1)
        smart_page(a, f == 0xd1);
    else if (f == 0xd5)
        smart_log(a);
    else
        return smart_no_data(a);
    return true;
}
