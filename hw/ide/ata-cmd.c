/*
 * hw/ide/ata-cmd.c - the ATA command set: a table of commands, reads and writes in chunks.
 * Source: ATA8-ACS section 7. Not modelled: security, host protected area changes, streaming, trusted computing.
 */
#include "hw/ide/ata.h"

enum { HD = 1, CD = 2, EXT = 4, DMA = 8, WR = 16, MULTI = 32, FUA = 128, VERIFY = 256 };
typedef struct AtaCmd {
    uint8_t code;
    uint16_t flags;
    const char *name;
    void (*fn)(Ata *a, unsigned flags);
} AtaCmd;
extern const AtaCmd ata_commands[];
extern const size_t ata_ncommands;

static unsigned flags_of(uint8_t code)
{
    for (size_t i = 0; i < ata_ncommands; i++)
        if (ata_commands[i].code == code)
            return ata_commands[i].flags;
    return 0;
}

uint32_t ata_block_size(const Ata *a)
{
    unsigned limit;

    if (a->command == 0xa0 && a->step != STEP_PACKET) {
        limit = a->r.lba[1][0] | a->r.lba[2][0] << 8;
        return limit < 2 || limit == 0xffff ? 0xfffe : limit & ~1u;
    }
    if (a->command == 0xa0)
        return sizeof(a->cdb);
    return ATA_SECTOR * (flags_of(a->command) & MULTI && a->multiple ? a->multiple : 1);
}

/* ---- addresses ---- */
uint64_t ata_lba48(const Ata *a)
{
    uint64_t lba = 0;

    for (unsigned i = 0; i < 6; i++)
        lba |= (uint64_t)a->r.lba[i % 3][i / 3] << 8 * i;
    return lba;
}

void ata_set_lba48(Ata *a, uint64_t lba)
{
    for (unsigned i = 0; i < 6; i++)
        a->r.lba[i % 3][i / 3] = (uint8_t)(lba >> 8 * i);
}

static uint64_t address(const Ata *a, bool ext)
{
    const AtaRegs *r = &a->r;
    uint64_t low = r->lba[0][0] | r->lba[1][0] << 8 | r->lba[2][0] << 16, head = r->device & 15;

    if (ext)
        return ata_lba48(a);
    if (r->device & ATA_LBA)
        return low | head << 24;
    if (!r->lba[0][0])
        return UINT64_MAX;
    return ((low >> 8) * 16 + head) * 63 + r->lba[0][0] - 1;
}

static void set_address(Ata *a, uint64_t lba)
{
    AtaRegs *r = &a->r;

    if (!a->lba48 && !(r->device & ATA_LBA)) {
        r->lba[0][0] = (uint8_t)(lba % 63 + 1);
        r->device = (uint8_t)((r->device & 0xf0) | (lba / 63 % 16));
        lba = lba / 63 / 16;
        r->lba[1][0] = (uint8_t)lba;
        r->lba[2][0] = (uint8_t)(lba >> 8);
        return;
    }
    if (a->lba48) {
        ata_set_lba48(a, lba);
        return;
    }
    for (unsigned i = 0; i < 3; i++)
        r->lba[i][0] = (uint8_t)(lba >> 8 * i);
    r->device = (uint8_t)((r->device & 0xf0) | (lba >> 24 & 15));
}

/* ---- reads and writes ---- */
static void rw_next(Ata *a)
{
    bool write = flags_of(a->command) & WR;
    unsigned per = ata_block_size(a) / ATA_SECTOR;

    if (!a->left) {
        set_address(a, a->lba - 1);
        a->r.count[0] = a->r.count[1] = 0;
        if (write || a->dma || flags_of(a->command) & VERIFY) {
            if (write && (!a->write_cache || flags_of(a->command) & FUA))
                ata_io(a, BLK_FLUSH, 0, 0, STEP_WROTE);
            else
                ata_done(a);
        } else {
            ata_step(a, STEP_DONE, 0);
        }
        return;
    }
    a->sectors = MIN(a->left, a->dma ? ATA_CHUNK / ATA_SECTOR : 64 / per * per);
    if (write)
        ata_ask(a, a->sectors * ATA_SECTOR, STEP_WRITE);
    else
        ata_io(a, BLK_READ, a->lba * ATA_SECTOR, (uint64_t)a->sectors * ATA_SECTOR, STEP_READ);
}

static void rw_failed(Ata *a, bool write)
{
    set_address(a, a->lba);
    ata_fail(a, write ? ATA_ABRT : ATA_UNC);
}

/* DATA SET MANAGEMENT: ranges of 48-bit LBA and 16-bit count, one discard at a time. a->left: the next entry. */
static void trim_next(Ata *a)
{
    for (; a->left * 8 + 8 <= a->len; a->left++) { /* bounded by the buffer */
        uint64_t e = le64_load(a->buf + a->left * 8), at = e & ones(48), n = e >> 48;

        if (!n)
            continue;
        if (!in_range(at, n, ata_sectors(a))) {
            ata_fail(a, ATA_IDNF | ATA_ABRT);
            return;
        }
        a->left++;
        ata_io(a, BLK_DISCARD, at * ATA_SECTOR, n * ATA_SECTOR, STEP_TRIM);
        return;
    }
    ata_done(a);
}

void ata_rw_step(Ata *a, AtaStep step, int ret)
{
    if (ret && step != STEP_TRIM) {
        rw_failed(a, step != STEP_READ);
        return;
    }
    switch (step) {
    case STEP_READ:
        a->lba += a->sectors;
        a->left -= a->sectors;
        if (flags_of(a->command) & VERIFY)
            rw_next(a);
        else
            ata_offer(a, g_steal_pointer(&a->buf), a->len, STEP_NEXT);
        break;
    case STEP_WRITE: ata_io(a, BLK_WRITE, a->lba * ATA_SECTOR, (uint64_t)a->sectors * ATA_SECTOR, STEP_WROTE); break;
    case STEP_WROTE:
        if (!a->left) { /* the flush after it */
            ata_done(a);
            break;
        }
        a->lba += a->sectors;
        a->left -= a->sectors;
        rw_next(a);
        break;
    case STEP_TRIM: trim_next(a); break;
    default: rw_next(a); break;
    }
}

static void rw(Ata *a, unsigned flags)
{
    unsigned n = a->r.count[0];

    a->lba48 = flags & EXT;
    a->dma = flags & DMA;
    if (flags & EXT) {
        n |= a->r.count[1] << 8;
        a->left = n ? n : 65536;
    } else {
        a->left = n ? n : 256;
    }
    a->lba = address(a, flags & EXT);
    a->no_irq = flags & WR;
    if (flags & MULTI && !a->multiple)
        ata_fail(a, ATA_ABRT);
    else if (!in_range(a->lba, a->left, ata_sectors(a)))
        ata_fail(a, ATA_IDNF);
    else if (flags & WR && disk_readonly(a->disk))
        ata_fail(a, ATA_ABRT);
    else
        rw_next(a);
}

static void dsm(Ata *a, unsigned flags)
{
    unsigned n = a->r.count[0];

    a->dma = true;
    a->left = 0;
    if (!(a->r.feature[0] & 1) || !n || !a->conf.granularity)
        ata_fail(a, ATA_ABRT);
    else
        ata_ask(a, n * ATA_SECTOR, STEP_TRIM);
}

/* ---- the rest ---- */
static void identify(Ata *a, unsigned flags)
{
    uint8_t *id;

    if (a->cd != !!(flags & CD)) { /* ATAPI drives refuse IDENTIFY DEVICE and show who they are */
        ata_signature(a);
        ata_fail(a, ATA_ABRT);
        return;
    }
    id = g_malloc0(ATA_SECTOR);
    ata_identify(a, id);
    ata_offer(a, id, ATA_SECTOR, STEP_DONE);
}

static void nop(Ata *a, unsigned flags) { ata_fail(a, ATA_ABRT); }
static void done(Ata *a, unsigned flags) { ata_done(a); }
static void flush(Ata *a, unsigned flags) { ata_io(a, BLK_FLUSH, 0, 0, STEP_DONE); }
static void packet(Ata *a, unsigned flags) { atapi_begin(a); }

static void power_mode(Ata *a, unsigned flags)
{
    a->power = (a->command & 0x0f) == 0 || (a->command & 0x0f) == 2 ? 0x00 : 0x80;
    ata_done(a);
}

static void check_power(Ata *a, unsigned flags)
{
    a->r.count[0] = 0xff;
    ata_done(a);
}

static void diagnose(Ata *a, unsigned flags)
{
    ata_signature(a);
    a->error = 1; /* passed */
    a->status = a->cd ? 0 : ATA_DRDY | ATA_DSC;
    a->intrq = true;
    ata_end(a);
}

static void device_reset(Ata *a, unsigned flags)
{
    ata_reset(a, false);
    ata_end(a);
}

static void set_multiple(Ata *a, unsigned flags)
{
    uint8_t n = a->r.count[0];

    if (n > 16 || (n & (n - 1))) {
        ata_fail(a, ATA_ABRT);
        return;
    }
    a->multiple = n;
    ata_done(a);
}

static void max_address(Ata *a, unsigned flags)
{
    uint64_t last = ata_sectors(a) - 1;

    a->lba48 = flags & EXT;
    a->r.device |= ATA_LBA;
    set_address(a, a->lba48 ? last : MIN(last, 0xfffffff));
    ata_done(a);
}

static bool set_transfer_mode(Ata *a, uint8_t mode)
{
    unsigned kind = mode >> 3, n = mode & 7;

    if (kind > 1 && kind != 4 && kind != 8)
        return false;
    if ((kind == 8 && n > 5) || (kind == 4 && n > 2) || (kind == 1 && n > 4))
        return false;
    if (kind)
        a->transfer_mode = mode;
    return true;
}

static void set_features(Ata *a, unsigned flags)
{
    bool ok = true;

    switch (a->r.feature[0]) {
    case 0x02: a->write_cache = true; break;
    case 0x82:
        a->write_cache = false;
        if (!a->cd) {
            flush(a, 0);
            return;
        }
        break;
    case 0xaa: a->read_ahead = true; break;
    case 0x55: a->read_ahead = false; break;
    case 0x03: ok = set_transfer_mode(a, a->r.count[0]); break;
    case 0x05: case 0x85: case 0x42: case 0xc2: case 0x66: case 0xcc: case 0x10: case 0x90: case 0x5d: case 0xdd: break;
    default: ok = false; break;
    }
    if (ok)
        ata_done(a);
    else
        ata_fail(a, ATA_ABRT);
}

static void smart(Ata *a, unsigned flags)
{
    if (!ata_smart(a))
        ata_fail(a, ATA_ABRT);
}

static void read_log(Ata *a, unsigned flags)
{
    uint8_t *log;
    unsigned n = a->r.count[0] | a->r.count[1] << 8, page = a->r.lba[0][0];

    if (!n || n > ATA_CHUNK / ATA_SECTOR || (page != 0x00 && page != 0x10)) {
        ata_fail(a, ATA_ABRT);
        return;
    }
    a->dma = flags & DMA;
    log = g_malloc0(n * ATA_SECTOR);
    if (page == 0x00) {
        log[0] = 1;
        log[0x20] = 1; /* one page of log 10h: NCQ errors */
    } else {
        memcpy(log, a->ncq_log, sizeof(a->ncq_log));
        ata_checksum(log);
    }
    ata_offer(a, log, n * ATA_SECTOR, STEP_DONE);
}

/* clang-format off */
const AtaCmd ata_commands[] = {
    { 0x00, HD | CD, "NOP", nop },
    { 0x06, HD | DMA | EXT, "DATA SET MANAGEMENT", dsm },
    { 0x08, CD, "DEVICE RESET", device_reset },
    { 0x10, HD, "RECALIBRATE", done },
    { 0x20, HD, "READ SECTORS", rw },
    { 0x21, HD, "READ SECTORS (no retry)", rw },
    { 0x24, HD | EXT, "READ SECTORS EXT", rw },
    { 0x25, HD | EXT | DMA, "READ DMA EXT", rw },
    { 0x27, HD | EXT, "READ NATIVE MAX ADDRESS EXT", max_address },
    { 0x29, HD | EXT | MULTI, "READ MULTIPLE EXT", rw },
    { 0x2f, HD, "READ LOG EXT", read_log },
    { 0x30, HD | WR, "WRITE SECTORS", rw },
    { 0x31, HD | WR, "WRITE SECTORS (no retry)", rw },
    { 0x34, HD | WR | EXT, "WRITE SECTORS EXT", rw },
    { 0x35, HD | WR | EXT | DMA, "WRITE DMA EXT", rw },
    { 0x39, HD | WR | EXT | MULTI, "WRITE MULTIPLE EXT", rw },
    { 0x3d, HD | WR | EXT | DMA | FUA, "WRITE DMA FUA EXT", rw },
    { 0x40, HD | VERIFY, "READ VERIFY SECTORS", rw },
    { 0x41, HD | VERIFY, "READ VERIFY SECTORS (no retry)", rw },
    { 0x42, HD | VERIFY | EXT, "READ VERIFY SECTORS EXT", rw },
    { 0x47, HD | DMA, "READ LOG DMA EXT", read_log },
    { 0x70, HD, "SEEK", done },
    { 0x90, HD | CD, "EXECUTE DEVICE DIAGNOSTIC", diagnose },
    { 0x91, HD, "INITIALIZE DEVICE PARAMETERS", done },
    { 0xa0, CD, "PACKET", packet },
    { 0xa1, HD | CD, "IDENTIFY PACKET DEVICE", identify },
    { 0xb0, HD, "SMART", smart },
    { 0xc4, HD | MULTI, "READ MULTIPLE", rw },
    { 0xc5, HD | WR | MULTI, "WRITE MULTIPLE", rw },
    { 0xc6, HD, "SET MULTIPLE MODE", set_multiple },
    { 0xc8, HD | DMA, "READ DMA", rw },
    { 0xc9, HD | DMA, "READ DMA (no retry)", rw },
    { 0xca, HD | WR | DMA, "WRITE DMA", rw },
    { 0xcb, HD | WR | DMA, "WRITE DMA (no retry)", rw },
    { 0xce, HD | WR | EXT | MULTI | FUA, "WRITE MULTIPLE FUA EXT", rw },
    { 0xe0, HD | CD, "STANDBY IMMEDIATE", power_mode },
    { 0xe1, HD | CD, "IDLE IMMEDIATE", power_mode },
    { 0xe2, HD | CD, "STANDBY", power_mode },
    { 0xe3, HD | CD, "IDLE", power_mode },
    { 0xe5, HD | CD, "CHECK POWER MODE", check_power },
    { 0xe6, HD | CD, "SLEEP", power_mode },
    { 0xe7, HD | CD, "FLUSH CACHE", flush },
    { 0xea, HD | EXT, "FLUSH CACHE EXT", flush },
    { 0xec, HD | CD, "IDENTIFY DEVICE", identify },
    { 0xef, HD | CD, "SET FEATURES", set_features },
    { 0xf8, HD, "READ NATIVE MAX ADDRESS", max_address },
};
/* clang-format on */
const size_t ata_ncommands = G_N_ELEMENTS(ata_commands);

bool ata_command(Ata *a)
{
    for (size_t i = 0; i < ata_ncommands; i++) {
        const AtaCmd *c = &ata_commands[i];

        if (c->code != a->command || !(c->flags & (a->cd ? CD : HD)))
            continue;
        c->fn(a, a->command == 0xa1 ? CD : a->command == 0xec ? HD : c->flags);
        return true;
    }
    return false;
}
