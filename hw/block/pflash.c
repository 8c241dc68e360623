/*
 * hw/block/pflash.c - a NOR flash chip with the Intel command set on an 8-bit bus, for firmware and its variables.
 * Sources: Intel StrataFlash J3 data sheet (command cycles, status register), JEDEC JESD68.01 (CFI query).
 * The contents are RAM of the VM (romd: reads bypass the device in read-array mode); erase blocks that changed are
 * written to the drive behind, one at a time.
 * Machine's habit: after Clear Status the status register reads 00h until the next program or erase. OVMF tells flash
 * from ROM by it.
 * With "secure", only accesses made in system management mode are commands; others see the array and change nothing.
 * Left out: suspend, protection registers, lock-down; locks of blocks read back as open.
 */
#include "hw/block/pflash.h"
#include "block/disk.h"
#include "core/vm.h"

enum { SIZE_MAX_BYTES = 64 << 20, BLOCK_MIN = 4096, BLOCKS_MAX = SIZE_MAX_BYTES / BLOCK_MIN, BUFFER = 256 };
enum { SR_READY = 0x80, SR_ERASE = 0x20, SR_PROGRAM = 0x10, SR_LOCK = 0x02 };
enum { READ_ARRAY, READ_STATUS, READ_ID, READ_QUERY }; /* mode: what reads see */

typedef struct Pflash {
    Dev dev;
    void *disk;
    uint32_t num_blocks, sector_length;
    uint8_t width;
    bool secure;
    char *ram_name;
    uint16_t id[2];
    RamBlock *ram;
    Region *region;
    uint8_t mode, status;
    uint8_t command;  /* waits for its next cycle; 0: none */
    uint16_t left;    /* bytes of a buffered write still to come */
    uint16_t want;    /* of how many */
    uint32_t base;    /* where it begins */
    uint8_t buf[BUFFER];
    uint8_t dirty[BLOCKS_MAX / 8]; /* blocks that the drive does not have yet */
    BlkReq req;
    struct iovec iov;
    uint8_t *copy;
    uint32_t writing; /* block in flight + 1 */
} Pflash;
#define FLASH(d) ((Pflash *)(d))

/* ---- the drive behind ---- */
static void flush_next(Pflash *f);

static void written(void *o, BlkReq *r, int ret)
{
    Pflash *f = o;

    if (ret)
        warn_report("flash %s: the drive '%s' cannot be written: %s", f->ram_name, disk_id(f->disk), g_strerror(-ret));
    f->writing = 0;
    flush_next(f);
}

/* The lowest block that changed; the loop ends with the chip. */
static void flush_next(Pflash *f)
{
    for (uint32_t n = 0; n < f->num_blocks; n++) {
        if (!(f->dirty[n / 8] >> n % 8 & 1))
            continue;
        if (!f->writing && f->disk && !disk_readonly(f->disk) && f->dev.life == LIFE_LIVE) {
            f->dirty[n / 8] &= (uint8_t)~(1u << n % 8);
            memcpy(f->copy, f->ram->host + (uint64_t)n * f->sector_length, f->sector_length);
            f->iov = (struct iovec){ f->copy, f->sector_length };
            f->req = (BlkReq){ .op = BLK_WRITE, .off = (uint64_t)n * f->sector_length, .len = f->sector_length, .iov = &f->iov, .niov = 1 };
            f->writing = n + 1;
            disk_submit(f->disk, &f->req, written, f);
        }
        return;
    }
}

static bool writable(const Pflash *f) { return !f->disk || !disk_readonly(f->disk); }

static void changed(Pflash *f, uint64_t off, uint64_t len)
{
    uint64_t n = off / f->sector_length;

    ram_mark_dirty(f->ram, off, len);
    f->dirty[n / 8] |= (uint8_t)(1u << n % 8);
}

/* ---- commands ---- */
static void set_mode(Pflash *f, uint8_t mode)
{
    f->mode = mode;
    f->command = 0;
    region_set_romd(f->region, mode == READ_ARRAY);
    if (mode == READ_ARRAY)
        flush_next(f);
}

static void fail_command(Pflash *f, uint8_t bits)
{
    f->status |= bits;
    set_mode(f, READ_STATUS);
}

static bool may_write(Pflash *f, uint8_t bits)
{
    f->status |= SR_READY;
    if (writable(f))
        return true;
    fail_command(f, bits | SR_LOCK);
    return false;
}

/* Programming can only clear bits. */
static void program(Pflash *f, uint64_t off, const uint8_t *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        f->ram->host[off + i] &= p[i];
    changed(f, off, n);
}

static void program_byte(Pflash *f, uint64_t off, uint8_t v)
{
    if (!may_write(f, SR_PROGRAM))
        return;
    program(f, off, &v, 1);
    set_mode(f, READ_STATUS);
}

static void erase(Pflash *f, uint64_t off, uint8_t v)
{
    uint64_t at = align_down(off, f->sector_length);

    if (v != 0xd0) {
        fail_command(f, SR_READY | SR_ERASE | SR_PROGRAM);
    } else if (may_write(f, SR_ERASE)) {
        memset(f->ram->host + at, 0xff, f->sector_length);
        changed(f, at, f->sector_length);
        set_mode(f, READ_STATUS);
    }
}

static void lock(Pflash *f, uint64_t off, uint8_t v)
{
    if (v != 0x01 && v != 0xd0 && v != 0x2f)
        fail_command(f, SR_READY | SR_ERASE | SR_PROGRAM);
    else
        set_mode(f, READ_STATUS);
}

/* Count, then data within BUFFER bytes from the first, then the confirmation. */
enum { BUFFER_DATA = 0xe9, BUFFER_CONFIRM = 0xea };
static void buffer_count(Pflash *f, uint64_t off, uint8_t v)
{
    f->left = f->want = (uint16_t)(v + 1);
    memset(f->buf, 0xff, sizeof(f->buf));
    f->command = BUFFER_DATA;
}

static void buffer_data(Pflash *f, uint64_t off, uint8_t v)
{
    if (f->left == f->want)
        f->base = (uint32_t)off;
    if (off < f->base || off - f->base >= f->want || off / f->sector_length != f->base / f->sector_length) {
        fail_command(f, SR_READY | SR_ERASE | SR_PROGRAM);
        return;
    }
    f->buf[off - f->base] = v;
    if (!--f->left)
        f->command = BUFFER_CONFIRM;
}

static void buffer_confirm(Pflash *f, uint64_t off, uint8_t v)
{
    if (v != 0xd0) {
        fail_command(f, SR_READY | SR_ERASE | SR_PROGRAM);
    } else if (may_write(f, SR_PROGRAM)) {
        program(f, f->base, f->buf, f->want);
        set_mode(f, READ_STATUS);
    }
}

static const struct {
    uint8_t command;
    void (*next)(Pflash *f, uint64_t off, uint8_t v); /* its following cycle */
} cycles[] = {
    { 0x10, program_byte }, { 0x40, program_byte }, { 0x20, erase }, { 0x60, lock },
    { 0xe8, buffer_count }, { BUFFER_DATA, buffer_data }, { BUFFER_CONFIRM, buffer_confirm },
};
static const struct {
    uint8_t command, mode;
} first[] = { /* what reads see from the first cycle on */
    { 0xff, READ_ARRAY }, { 0xf0, READ_ARRAY }, { 0x70, READ_STATUS }, { 0x90, READ_ID }, { 0x98, READ_QUERY }, { 0x50, READ_ARRAY },
    { 0x10, READ_STATUS }, { 0x40, READ_STATUS }, { 0x20, READ_STATUS }, { 0x60, READ_STATUS }, { 0xe8, READ_STATUS },
};

static void first_cycle(Pflash *f, uint8_t v)
{
    for (size_t i = 0; i < G_N_ELEMENTS(first); i++) {
        if (first[i].command != v)
            continue;
        if (v == 0x50)
            f->status = 0;
        if (v == 0xe8)
            f->status |= SR_READY; /* the buffer is free */
        set_mode(f, first[i].mode);
        for (size_t k = 0; k < G_N_ELEMENTS(cycles); k++)
            if (cycles[k].command == v)
                f->command = v;
        return;
    }
    guest_error(&f->dev, "command %#x is not defined", v);
    set_mode(f, READ_ARRAY);
}

static MemResult flash_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    Pflash *f = o;

    if (f->secure && !at.secure) {
        guest_error(&f->dev, "write outside system management mode");
        return MEM_OK;
    }
    if (!f->command) {
        first_cycle(f, (uint8_t)val);
        return MEM_OK;
    }
    for (size_t k = 0; k < G_N_ELEMENTS(cycles); k++)
        if (cycles[k].command == f->command) {
            cycles[k].next(f, off, (uint8_t)val);
            break;
        }
    return MEM_OK;
}

/* ---- reading ---- */
typedef struct CfiRow {
    uint8_t at, v;
} CfiRow;
static const CfiRow cfi[] = {
    { 0x10, 'Q' }, { 0x11, 'R' }, { 0x12, 'Y' }, { 0x13, 1 } /* Intel commands */, { 0x15, 0x31 }, { 0x1b, 0x27 }, { 0x1c, 0x36 },
    { 0x1f, 7 } /* 128 us a byte */, { 0x20, 7 }, { 0x21, 10 } /* 1 s a block */, { 0x23, 4 }, { 0x24, 4 }, { 0x25, 4 },
    { 0x2a, 8 } /* buffer 256 */, { 0x2c, 1 } /* one kind of block */, { 0x31, 'P' }, { 0x32, 'R' }, { 0x33, 'I' }, { 0x34, '1' }, { 0x35, '0' },
};

static uint8_t query(const Pflash *f, uint64_t at)
{
    uint32_t units = f->sector_length / 256;

    switch (at) {
    case 0x27: return (uint8_t)(63 - __builtin_clzll(f->ram->size));
    case 0x2d: return (uint8_t)(f->num_blocks - 1);
    case 0x2e: return (uint8_t)((f->num_blocks - 1) >> 8);
    case 0x2f: return (uint8_t)units;
    case 0x30: return (uint8_t)(units >> 8);
    default: break;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(cfi); i++)
        if (cfi[i].at == at)
            return cfi[i].v;
    return 0;
}

static uint8_t read_byte(const Pflash *f, uint64_t off, bool array)
{
    if (array || f->mode == READ_ARRAY)
        return f->ram->host[off];
    if (f->mode == READ_QUERY)
        return query(f, off & 0xff);
    if (f->mode == READ_ID)
        return off % f->sector_length < 2 ? (uint8_t)f->id[off % f->sector_length] : 0; /* 2: the block's lock, open */
    return f->status;
}

static MemResult flash_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    *val = read_byte(o, off, FLASH(o)->secure && !at.secure);
    return MEM_OK;
}
static const RegionOps ops = { .read = flash_read, .write = flash_write, .takes = { 1, 8, true }, .does = { 1, 1, false } };

/* ---- life ---- */
Region *pflash_region(Dev *d) { return FLASH(d)->region; }

static void detach(void *disk) { disk_detach(disk); }

static bool shape(Pflash *f, Error **err)
{
    uint64_t size = f->disk ? disk_size(f->disk) : (uint64_t)f->num_blocks * f->sector_length;

    if (f->sector_length < BLOCK_MIN || !is_pow2(f->sector_length) || f->sector_length > 16 * MiB)
        return fail(err, "flash: sector-length is a power of two from %d on", BLOCK_MIN);
    if (f->width != 1)
        return fail(err, "flash: only width=1 is modelled");
    if (!size || size % f->sector_length || size > SIZE_MAX_BYTES) {
        fail(err, "flash: the image has %" PRIu64 " bytes, which is not a whole number of blocks up to 64 MiB", size);
        return error_hint(err, "blocks have %u bytes", f->sector_length);
    }
    if (f->num_blocks && f->num_blocks != size / f->sector_length)
        return fail(err, "flash: the image has %" PRIu64 " blocks, num-blocks is %u", size / f->sector_length, f->num_blocks);
    f->num_blocks = (uint32_t)(size / f->sector_length);
    return true;
}

static bool init(Obj *o, Error **err)
{
    Pflash *f = FLASH(o);
    int got;

    if (!shape(f, err))
        return false;
    f->ram = ram_new(o, f->ram_name, (uint64_t)f->num_blocks * f->sector_length, err);
    if (!f->ram)
        return false;
    f->region = region_romd(o, f->ram_name, f->ram, &ops, f);
    f->copy = own(o, g_malloc(f->sector_length), g_free);
    memset(f->ram->host, 0xff, f->ram->size);
    if (!f->disk)
        return true;
    if (!disk_attach(f->disk, &(DiskUser){ .dev = &f->dev, .writes = !disk_readonly(f->disk) }, err))
        return false;
    own(o, f->disk, detach);
    got = disk_read_now(f->disk, 0, f->ram->host, f->ram->size);
    return got >= 0 || fail(err, "flash: drive '%s' cannot be read: %s", disk_id(f->disk), g_strerror(-got));
}

/* What the drive does not have yet goes to it before the chip does. */
static void fini(Obj *o)
{
    Pflash *f = FLASH(o);

    if (!f->region || !f->disk || disk_readonly(f->disk))
        return;
    disk_cancel_all(f->disk);
    for (uint32_t n = 0; n < f->num_blocks; n++) {
        uint64_t at = (uint64_t)n * f->sector_length;

        if (f->dirty[n / 8] >> n % 8 & 1 && disk_write_now(f->disk, at, f->ram->host + at, f->sector_length))
            warn_report("flash %s: the drive '%s' cannot be written", f->ram_name, disk_id(f->disk));
    }
}

static bool check(const Dev *d, Error **err)
{
    const Pflash *f = FLASH(d);

    if (f->mode > READ_QUERY || f->want > BUFFER || f->left > f->want)
        return fail(err, "flash: impossible state");
    if (f->command == BUFFER_CONFIRM && !in_range(f->base, f->want, (uint64_t)f->num_blocks * f->sector_length))
        return fail(err, "flash: a buffered write beyond its end");
    return true;
}

static void loaded(Dev *d)
{
    region_set_romd(FLASH(d)->region, FLASH(d)->mode == READ_ARRAY);
    flush_next(FLASH(d));
}

static void on_reset(Dev *d) { region_set_romd(FLASH(d)->region, true); }

/* What is in flight when saved is written again. */
static void before_save(Dev *d)
{
    Pflash *f = FLASH(d);

    if (f->writing)
        f->dirty[(f->writing - 1) / 8] |= (uint8_t)(1u << (f->writing - 1) % 8);
}

static bool drained(const Dev *d) { return !FLASH(d)->writing; }

/* clang-format off */
static const Prop props[] = {
    PROP_LINK(Pflash, disk, "drive", "drive", "image of the contents"),
    PROP(Pflash, num_blocks, "num-blocks", 0, "erase blocks; 0: as many as the image has"),
    PROP(Pflash, sector_length, "sector-length", BLOCK_MIN, "bytes of an erase block"),
    PROP(Pflash, width, "width", 1, "bytes of the bus"),
    PROP(Pflash, secure, "secure", false, "commands only in system management mode"),
    PROP(Pflash, id[0], "id0", 0x89, "manufacturer"), PROP(Pflash, id[1], "id1", 0x18, "device"),
    PROP_STR(Pflash, ram_name, "name", "pflash", "name of the memory"),
};
static const Field state[] = {
    FIELD(Pflash, mode), FIELD(Pflash, status), FIELD(Pflash, command), FIELD(Pflash, left), FIELD(Pflash, want),
    FIELD(Pflash, base), BYTES(Pflash, buf), BYTES(Pflash, dirty, .keep = true),
    TRANSIENT(Pflash, ram, "saved as memory", .keep = true), TRANSIENT(Pflash, region, "wiring", .keep = true),
    TRANSIENT(Pflash, req, "re-issued by the dirty bits", .keep = true), TRANSIENT(Pflash, iov, "of req", .keep = true),
    TRANSIENT(Pflash, copy, "of req", .keep = true), TRANSIENT(Pflash, writing, "re-issued by the dirty bits", .keep = true),
};
static const DevClass pflash = {
    .obj = { .name = "cfi.pflash01", .desc = "NOR flash, Intel commands", .size = sizeof(Pflash), .props = TABLE(props), .init = init, .fini = fini },
    .state = TABLE(state), .check = check, .loaded = loaded, .on_reset = on_reset, .before_save = before_save, .drained = drained,
    .category = "Storage devices", .no_user = true,
};
DEVICE(Pflash, pflash);
/* clang-format on */
