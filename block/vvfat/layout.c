/* block/vvfat/layout.c - where everything lies, and the sectors that say so. */
#include "block/vvfat/vvfat.h"

enum { FATS = 2, START = 63, RESERVED_32 = 32, MEDIA_DISK = 0xf8, MEDIA_FLOPPY = 0xf0, BACKUP_BOOT = 6, INFO = 1 };
/* clang-format off */
static const struct Shape {
    unsigned type;
    bool floppy;
    uint32_t cylinders, heads, per_track, per_cluster, root_entries;
    uint8_t partition;
} shapes[] = {
    { 12, true, 80, 2, 18, 1, 224, 0 },        { 16, true, 80, 2, 36, 1, 240, 0 },
    { 12, false, 64, 16, 63, 16, 512, 0x01 },  { 16, false, 1024, 16, 63, 16, 512, 0x0e }, { 32, false, 1024, 16, 63, 8, 0, 0x0c },
    { 0, true, 80, 2, 36, 2, 240, 0 },         { 0, false, 1024, 16, 63, 16, 512, 0x0e }, /* unless a type is said */
};
/* clang-format on */

static uint32_t up(uint64_t n, uint64_t unit) { return (uint32_t)((n + unit - 1) / unit); }

static const struct Shape *shape_of(FatDisk *d, Error **err)
{
    const struct Shape *s = shapes;

    while (s < shapes + G_N_ELEMENTS(shapes) && (s->type != d->type || s->floppy != d->floppy))
        s++;
    if (s < shapes + G_N_ELEMENTS(shapes)) {
        d->type = s->type ? s->type : s->floppy ? 12 : 16;
        return s;
    }
    fail(err, d->floppy && d->type == 32 ? "a floppy has no FAT32" : "Valid FAT types are only 12, 16 and 32");
    return NULL;
}

static void geometry(FatDisk *d, const struct Shape *s)
{
    uint32_t was, root;

    d->cylinders = s->cylinders;
    d->heads = s->heads;
    d->per_track = s->per_track;
    d->per_cluster = s->per_cluster;
    d->root_entries = s->root_entries;
    d->sectors = (uint64_t)s->cylinders * s->heads * s->per_track;
    d->start = d->floppy ? 0 : START;
    d->reserved = d->type == 32 ? RESERVED_32 : 1;
    root = up((uint64_t)d->root_entries * FAT_ENTRY, FAT_SECTOR);
    d->fat_sectors = 1;
    do { /* the FAT takes from what it describes: grows to a fixed point */
        was = d->fat_sectors;
        d->data = d->start + d->reserved + FATS * d->fat_sectors + root;
        d->clusters = (uint32_t)((d->sectors - d->data) / d->per_cluster);
        d->fat_sectors = MAX(was, up(up((uint64_t)(d->clusters + FAT_FIRST) * d->type, 8), FAT_SECTOR));
    } while (d->fat_sectors != was);
}

/* ---- places ---- */
static void place(FatDisk *d, FatFile *f, uint64_t bytes, uint32_t *next)
{
    f->clusters = up(bytes, (uint64_t)d->per_cluster * FAT_SECTOR);
    f->first = f->clusters ? *next : 0;
    *next += MIN(f->clusters, UINT32_MAX / 2 - *next); /* too many: found out in the end */
    if (f->clusters)
        g_ptr_array_add(d->placed, f);
}

static void place_tree(FatDisk *d, FatFile *dir, uint32_t *next)
{
    uint32_t entries = fat_entry_count(dir, dir == d->root);

    if (dir != d->root || d->type == 32)
        place(d, dir, (uint64_t)entries * FAT_ENTRY, next);
    for (guint i = 0; i < dir->files->len; i++) {
        FatFile *f = dir->files->pdata[i];

        if (f->dir)
            place_tree(d, f, next);
        else
            place(d, f, f->size, next);
    }
}

/* ".." of what lies in the root says 0. */
static void write_tree(FatDisk *d, FatFile *dir, uint32_t parent)
{
    fat_entries(d, dir, parent);
    for (guint i = 0; i < dir->files->len; i++) {
        FatFile *f = dir->files->pdata[i];

        if (f->dir)
            write_tree(d, f, dir == d->root ? 0 : dir->first);
    }
}

/* ---- sectors ---- */
static uint8_t *sector(const FatDisk *d, uint32_t n) { return d->meta + (size_t)n * FAT_SECTOR; }

static void set_fat(const FatDisk *d, uint32_t cluster, uint32_t v)
{
    uint8_t *fat = sector(d, d->start + d->reserved), *p;

    if (d->type == 32) {
        le32_store(fat + cluster * 4, v & 0x0fffffff);
    } else if (d->type == 16) {
        le16_store(fat + cluster * 2, (uint16_t)v);
    } else { /* two entries in three bytes */
        p = fat + cluster * 3 / 2;
        if (cluster % 2)
            le16_store(p, (uint16_t)((p[0] & 0x0f) | v << 4));
        else
            le16_store(p, (uint16_t)((v & 0xfff) | (p[1] & 0xf0) << 8));
    }
}

static void write_fats(const FatDisk *d)
{
    uint8_t *fat = sector(d, d->start + d->reserved);

    set_fat(d, 0, 0x0fffff00 | (d->floppy ? MEDIA_FLOPPY : MEDIA_DISK));
    set_fat(d, 1, 0x0fffffff);
    for (guint i = 0; i < d->placed->len; i++) {
        const FatFile *f = d->placed->pdata[i];

        for (uint32_t c = 0; c < f->clusters; c++)
            set_fat(d, f->first + c, c + 1 < f->clusters ? f->first + c + 1 : 0x0fffffff);
    }
    memcpy(fat + (size_t)d->fat_sectors * FAT_SECTOR, fat, (size_t)d->fat_sectors * FAT_SECTOR);
}

static void sign(uint8_t *p)
{
    p[510] = 0x55;
    p[511] = 0xaa;
}

static void write_boot(const FatDisk *d)
{
    uint8_t *b = sector(d, d->start), *ext = b + (d->type == 32 ? 64 : 36);
    uint64_t all = d->sectors - d->start;
    g_autofree char *kind = g_strdup_printf("FAT%u   ", d->type);

    memcpy(b, "\xeb\x58\x90MENURA  ", 11);
    le16_store(b + 11, FAT_SECTOR);
    b[13] = (uint8_t)d->per_cluster;
    le16_store(b + 14, (uint16_t)d->reserved);
    b[16] = FATS;
    le16_store(b + 17, (uint16_t)d->root_entries);
    le16_store(b + 19, all < 65536 && d->type != 32 ? (uint16_t)all : 0);
    b[21] = d->floppy ? MEDIA_FLOPPY : MEDIA_DISK;
    le16_store(b + 22, d->type == 32 ? 0 : (uint16_t)d->fat_sectors);
    le16_store(b + 24, (uint16_t)d->per_track);
    le16_store(b + 26, (uint16_t)d->heads);
    le32_store(b + 28, d->start);
    le32_store(b + 32, all < 65536 && d->type != 32 ? 0 : (uint32_t)all);
    if (d->type == 32) {
        le32_store(b + 36, d->fat_sectors);
        le32_store(b + 44, d->root->first);
        le16_store(b + 48, INFO);
        le16_store(b + 50, BACKUP_BOOT);
    }
    ext[0] = d->floppy ? 0 : 0x80;
    ext[2] = 0x29;
    le32_store(ext + 3, 0xfabe1afd);
    memcpy(ext + 7, d->label, 11);
    memcpy(ext + 18, kind, 8);
    sign(b);
}

static void write_info(const FatDisk *d, uint32_t used)
{
    uint8_t *p = sector(d, d->start + INFO);

    le32_store(p, 0x41615252);
    le32_store(p + 484, 0x61417272);
    le32_store(p + 488, d->clusters - used);
    le32_store(p + 492, FAT_FIRST + used);
    sign(p);
    memcpy(sector(d, d->start + BACKUP_BOOT), sector(d, d->start), 2 * FAT_SECTOR);
}

static void put_chs(const FatDisk *d, uint8_t *p, uint64_t at)
{
    uint64_t c = at / d->per_track / d->heads;
    bool far = c > 1023;

    p[0] = far ? 0xfe : (uint8_t)(at / d->per_track % d->heads);
    p[1] = far ? 0xff : (uint8_t)((at % d->per_track + 1) | (c >> 8) << 6);
    p[2] = far ? 0xff : (uint8_t)c;
}

static void write_mbr(const FatDisk *d, uint8_t partition)
{
    uint8_t *p = d->meta + 446;

    le32_store(d->meta + 440, 0xbe1afdfa);
    p[0] = 0x80;
    put_chs(d, p + 1, d->start);
    p[4] = partition;
    put_chs(d, p + 5, d->sectors - 1);
    le32_store(p + 8, d->start);
    le32_store(p + 12, (uint32_t)(d->sectors - d->start));
    sign(d->meta);
}

bool fat_lay_out(FatDisk *d, const char *dir, Error **err)
{
    const struct Shape *s = shape_of(d, err);
    uint32_t next = FAT_FIRST, entries;

    if (!s)
        return false;
    geometry(d, s);
    d->placed = g_ptr_array_new();
    place_tree(d, d->root, &next);
    entries = fat_entry_count(d->root, true);
    if (next - FAT_FIRST > d->clusters)
        return fail(err, "Directory does not fit in FAT%u (capacity %.2f MB): '%s'", d->type, (double)d->sectors / 2000.0, dir);
    if (d->type != 32 && entries > d->root_entries)
        return fail(err, "more files are in '%s' than a root directory of FAT%u has room for; put them into a folder below", dir, d->type);
    write_tree(d, d->root, 0);
    d->meta = g_malloc0((size_t)d->data * FAT_SECTOR);
    write_boot(d);
    write_fats(d);
    if (d->type == 32)
        write_info(d, next - FAT_FIRST);
    else
        memcpy(sector(d, d->start + d->reserved + FATS * d->fat_sectors), d->root->bytes->data, d->root->bytes->len);
    if (!d->floppy)
        write_mbr(d, s->partition);
    return true;
}
