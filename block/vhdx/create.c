/* block/vhdx/create.c - new images: identifier, headers, regions, metadata, table; the order in the file is log, BAT, metadata. */
#include "block/vhdx/vhdx.h"
#include <errno.h>

const char *const vhdx__create_options[] = { "size", "log_size=1048576", "block_size=0", "subformat", "block_state_zero", NULL };
enum { ITEM_VIRTUAL_DISK = 2, ITEM_REQUIRED = 4, LEAVE_ALLOCATED = 1, RATIO_SECTORS = 1 << 23 };

typedef struct Wish {
    uint64_t size, log, block, entries, bat_at, bat_len, metadata_at, data_at;
    bool fixed, zero;
} Wish;

/* ---- what is asked for ---- */
static uint64_t default_block(uint64_t size)
{
    static const struct {
        uint64_t above;
        unsigned mib;
    } rows[] = { { 32ull << 40, 64 }, { 100 * GiB, 32 }, { GiB, 16 }, { 0, 8 } };
    unsigned i = 0;

    while (rows[i].above && size <= rows[i].above)
        i++;
    return rows[i].mib * MiB;
}

static void lay_out(Wish *w)
{
    uint64_t blocks = (w->size + w->block - 1) / w->block, ratio = (uint64_t)RATIO_SECTORS * 512 / w->block;

    w->entries = blocks ? blocks + (blocks - 1) / ratio : 0;
    w->bat_at = VHDX_UNIT + w->log;
    w->bat_len = align_up(MAX(w->entries * 8, 1), VHDX_UNIT);
    w->metadata_at = w->bat_at + w->bat_len;
    w->data_at = w->metadata_at + VHDX_UNIT;
}

static bool parse(Wish *w, Opts *o, Error **err)
{
    const char *sub = opts_get(o, "subformat");

    if (!opts_get_size(o, "size", 0, &w->size, err) || !opts_get_size(o, "log_size", MiB, &w->log, err) ||
        !opts_get_size(o, "block_size", 0, &w->block, err) || !opts_get_bool(o, "block_state_zero", true, &w->zero, err))
        return false;
    if (w->size > VHDX_SIZE_MAX)
        return fail(err, "Image size too large; max of 64TB");
    if (sub && strcmp(sub, "dynamic") && strcmp(sub, "fixed"))
        return fail(err, "Invalid subformat '%s': dynamic or fixed", sub);
    w->fixed = sub && !strcmp(sub, "fixed");
    w->size = align_up(w->size, 512);
    w->block = w->block ? w->block : default_block(w->size);
    if (!is_pow2(w->block) || w->block < MiB || w->block > 256 * MiB)
        return fail(err, "Block size must be a power of two from 1 MB to 256 MB");
    if (w->log < MiB || w->log % MiB || w->log > VHDX_LOG_MAX)
        return fail(err, "Log size must be a multiple of 1 MB, at most 64 MB");
    lay_out(w);
    if (w->entries * 8 > BLOCK_TABLE_MAX)
        return fail(err, "Block size is too small for an image of that size");
    return opts_all_used(o, "vhdx", err);
}

/* ---- the parts ---- */
static CO_FN int write_identity(Node *file)
{
    static const char creator[] = "Menura " MENURA_VERSION;
    g_autofree uint8_t *p = g_malloc0(VHDX_HEADER);

    memcpy(p, "vhdxfile", 8);
    for (size_t i = 0; i < sizeof(creator) - 1; i++)
        p[8 + 2 * i] = (uint8_t)creator[i];
    return blk_write(file, 0, p, VHDX_HEADER);
}

static CO_FN int write_headers(Node *file, const Wish *w)
{
    VhdxHeader h = { .sequence = g_random_int(), .version = 1, .log_len = w->log, .log_at = VHDX_UNIT };
    g_autofree uint8_t *p = g_malloc0(VHDX_HEADER);
    int ret;

    vhdx__new_guid(h.file_write);
    vhdx__new_guid(h.data_write);
    vhdx__pack_header(&h, p);
    ret = blk_write(file, VHDX_HEADER1_AT, p, VHDX_HEADER);
    h.sequence++;
    vhdx__pack_header(&h, p);
    return ret ? ret : blk_write(file, VHDX_HEADER2_AT, p, VHDX_HEADER);
}

static void put_region(uint8_t *p, VhdxGuid guid, uint64_t at, uint64_t len)
{
    memcpy(p, vhdx__guids[guid], VHDX_GUID);
    le64_store(p + 16, at);
    le32_store(p + 24, (uint32_t)len);
    le32_store(p + 28, 1);
}

static CO_FN int write_regions(Node *file, const Wish *w)
{
    g_autofree uint8_t *p = g_malloc0(VHDX_REGIONS);
    int ret;

    memcpy(p, "regi", 4);
    le32_store(p + 8, 2);
    put_region(p + 16, GUID_BAT, w->bat_at, w->bat_len);
    put_region(p + 16 + VHDX_REGION_ENTRY, GUID_METADATA, w->metadata_at, VHDX_UNIT);
    le32_store(p + VHDX_SUM_AT, vhdx__sum(p, VHDX_REGIONS));
    ret = blk_write(file, VHDX_REGIONS1_AT, p, VHDX_REGIONS);
    return ret ? ret : blk_write(file, VHDX_REGIONS2_AT, p, VHDX_REGIONS);
}

static CO_FN int write_metadata(Node *file, const Wish *w)
{
    static const struct {
        uint8_t guid, len, flags;
    } items[] = { { GUID_PARAMETERS, 8, ITEM_REQUIRED },
                  { GUID_SIZE, 8, ITEM_REQUIRED | ITEM_VIRTUAL_DISK },
                  { GUID_PAGE83, 16, ITEM_REQUIRED | ITEM_VIRTUAL_DISK },
                  { GUID_LOGICAL, 4, ITEM_REQUIRED | ITEM_VIRTUAL_DISK },
                  { GUID_PHYSICAL, 4, ITEM_REQUIRED | ITEM_VIRTUAL_DISK } };
    g_autofree uint8_t *p = g_malloc0(VHDX_METADATA_TABLE + VHDX_PAGE);
    uint8_t *v[G_N_ELEMENTS(items)];
    uint32_t at = VHDX_METADATA_TABLE;

    memcpy(p, "metadata", 8);
    le16_store(p + 10, G_N_ELEMENTS(items));
    for (unsigned i = 0; i < G_N_ELEMENTS(items); i++) {
        uint8_t *e = p + 32 + i * VHDX_METADATA_ENTRY;

        memcpy(e, vhdx__guids[items[i].guid], VHDX_GUID);
        le32_store(e + 16, at);
        le32_store(e + 20, items[i].len);
        le32_store(e + 24, items[i].flags);
        v[i] = p + at;
        at += items[i].len;
    }
    le32_store(v[0], (uint32_t)w->block);
    le32_store(v[0] + 4, w->fixed ? LEAVE_ALLOCATED : 0);
    le64_store(v[1], w->size);
    vhdx__new_guid(v[2]);
    le32_store(v[3], 512);
    le32_store(v[4], 512);
    return blk_write(file, w->metadata_at, p, VHDX_METADATA_TABLE + VHDX_PAGE);
}

static CO_FN int write_bat(Node *file, const Wish *w)
{
    uint64_t ratio = (uint64_t)RATIO_SECTORS * 512 / w->block, at = w->data_at;
    g_autofree uint8_t *p = g_try_malloc0(w->bat_len);
    int ret;

    if (!p)
        return -ENOMEM;
    for (uint64_t i = 0; i < w->entries; i++) {
        if (i % (ratio + 1) == ratio)
            continue; /* a bitmap's, which only differencing images have */
        le64_store(p + i * 8, w->fixed ? at | BAT_PRESENT : w->zero ? BAT_ZERO : BAT_NOT_PRESENT);
        at += w->block;
    }
    ret = blk_write(file, w->bat_at, p, w->bat_len);
    return ret ? ret : blk_truncate(file, w->fixed ? at : w->data_at, 0);
}

CO_FN bool vhdx__create(Loop *loop, const char *filename, Opts *o, Error **err)
{
    Wish w = { .size = 0 };
    Node *file = parse(&w, o, err) ? blocks_new_file(loop, filename, err) : NULL;
    int ret;

    if (!file)
        return false;
    ret = write_identity(file);
    if (!ret)
        ret = write_regions(file, &w);
    if (!ret)
        ret = write_metadata(file, &w);
    if (!ret)
        ret = write_bat(file, &w);
    if (!ret)
        ret = write_headers(file, &w);
    if (!ret)
        ret = blk_flush(file);
    node_unref(file);
    return !ret || fail_errno_is(err, -ret, "cannot write '%s'", filename);
}
