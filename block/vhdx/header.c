/* block/vhdx/header.c - headers, region tables and metadata items: read, checked and bounded. */
#include "block/vhdx/vhdx.h"
#include <errno.h>

/* clang-format off */
const uint8_t vhdx__guids[GUIDS][VHDX_GUID] = {
    [GUID_BAT]        = { 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08 },
    [GUID_METADATA]   = { 0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e },
    [GUID_PARAMETERS] = { 0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b },
    [GUID_SIZE]       = { 0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8 },
    [GUID_PAGE83]     = { 0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46 },
    [GUID_LOGICAL]    = { 0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f },
    [GUID_PHYSICAL]   = { 0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56 },
    [GUID_PARENT]     = { 0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c },
};
enum { FILE_WRITE_AT = 16, DATA_WRITE_AT = 32, LOG_AT = 48, REGIONS_MAX = 2047, ITEMS_MAX = 2047, ITEM_REQUIRED = 4, HAS_PARENT = 2, ITEM_MAX = 64 };
#define CASTAGNOLI 0x82f63b78u
static const struct { uint16_t at, size, member; } fields[] = {
#define FIELD(at, size, name) { at, size, offsetof(VhdxHeader, name) }
    FIELD(8, 8, sequence), FIELD(64, 2, log_version), FIELD(66, 2, version), FIELD(68, 4, log_len), FIELD(72, 8, log_at),
};
/* clang-format on */

uint32_t vhdx__sum(const uint8_t *p, size_t n)
{
    uint32_t table[256], crc = ~0u;

    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? CASTAGNOLI : 0);
    }
    for (size_t i = 0; i < n; i++)
        crc = crc >> 8 ^ table[(crc ^ (i - VHDX_SUM_AT < 4 ? 0 : p[i])) & 0xff];
    return ~crc;
}

void vhdx__new_guid(uint8_t *p)
{
    for (unsigned i = 0; i < VHDX_GUID; i += 4)
        le32_store(p + i, g_random_int() | 1);
}

/* ---- headers ---- */
void vhdx__pack_header(const VhdxHeader *h, uint8_t *p)
{
    memset(p, 0, VHDX_HEADER);
    memcpy(p, "head", 4);
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++)
        le_store(p + fields[i].at, fields[i].size, *(const uint64_t *)((const char *)h + fields[i].member));
    memcpy(p + FILE_WRITE_AT, h->file_write, VHDX_GUID);
    memcpy(p + DATA_WRITE_AT, h->data_write, VHDX_GUID);
    memcpy(p + LOG_AT, h->log, VHDX_GUID);
    le32_store(p + VHDX_SUM_AT, vhdx__sum(p, VHDX_HEADER));
}

static bool unpack_header(VhdxHeader *h, const uint8_t *p)
{
    if (memcmp(p, "head", 4) || le32_load(p + VHDX_SUM_AT) != vhdx__sum(p, VHDX_HEADER))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++)
        *(uint64_t *)((char *)h + fields[i].member) = le_load(p + fields[i].at, fields[i].size);
    memcpy(h->file_write, p + FILE_WRITE_AT, VHDX_GUID);
    memcpy(h->data_write, p + DATA_WRITE_AT, VHDX_GUID);
    memcpy(h->log, p + LOG_AT, VHDX_GUID);
    return h->version == 1;
}

static uint64_t header_at(unsigned slot) { return slot ? VHDX_HEADER2_AT : VHDX_HEADER1_AT; }

static bool log_ok(const Vhdx *s, Error **err)
{
    const Node *n = s->b.n;

    if (s->h.log_version)
        return fail(err, "'%s': a log of version %" PRIu64 " is not supported", n->filename, s->h.log_version);
    if (s->h.log_len > VHDX_LOG_MAX)
        return fail(err, "'%s': the log is too large (%" PRIu64 " bytes)", n->filename, s->h.log_len);
    if (s->h.log_len % VHDX_UNIT || s->h.log_at % VHDX_UNIT || s->h.log_at < VHDX_UNIT || !s->h.log_len || !in_range(s->h.log_at, s->h.log_len, n->file->size))
        return fail(err, "'%s': the log lies at an invalid place", n->filename);
    return true;
}

CO_FN bool vhdx__read_headers(Vhdx *s, Error **err)
{
    g_autofree uint8_t *p = g_malloc(VHDX_HEADER);
    const Node *n = s->b.n;
    bool any = false;
    int ret = blk_read(n->file, 0, p, VHDX_HEADER);

    if (!ret && memcmp(p, "vhdxfile", 8))
        return fail(err, "'%s' is no vhdx image", n->filename);
    for (unsigned i = 0; i < 2 && !ret; i++) {
        VhdxHeader h = { 0 };

        ret = blk_read(n->file, header_at(i), p, VHDX_HEADER);
        if (!ret && unpack_header(&h, p) && (!any || h.sequence > s->h.sequence)) {
            s->h = h;
            s->slot = i;
            any = true;
        }
    }
    if (ret)
        return fail_errno_is(err, -ret, "cannot read the headers of '%s'", n->filename);
    s->regions_end = s->h.log_at + s->h.log_len;
    return any ? log_ok(s, err) : fail(err, "'%s' is corrupt: none of its two headers is valid", n->filename);
}

CO_FN int vhdx__write_header(Vhdx *s)
{
    g_autofree uint8_t *p = g_malloc(VHDX_HEADER);
    int ret;

    s->h.sequence++;
    vhdx__pack_header(&s->h, p);
    ret = blk_write(s->b.n->file, header_at(!s->slot), p, VHDX_HEADER);
    if (!ret)
        ret = blk_flush(s->b.n->file);
    if (!ret)
        s->slot = !s->slot;
    return ret;
}

/* ---- regions ---- */
static bool region_ok(const Node *n, const VhdxRegion *r, Error **err)
{
    if (r->at % VHDX_UNIT || r->at < VHDX_UNIT || r->len % VHDX_UNIT || !r->len || !in_range(r->at, r->len, n->file->size))
        return fail(err, "'%s': a region lies at an invalid place", n->filename);
    return true;
}

static bool take_region(Vhdx *s, const uint8_t *p, Error **err)
{
    VhdxRegion r = { le64_load(p + 16), le32_load(p + 24) };
    VhdxRegion *to = !memcmp(p, vhdx__guids[GUID_BAT], VHDX_GUID) ? &s->bat_region
                     : !memcmp(p, vhdx__guids[GUID_METADATA], VHDX_GUID) ? &s->metadata_region : NULL;

    if (!to && le32_load(p + 28) & 1)
        return fail(err, "'%s' needs a region that is not known here", s->b.n->filename);
    if (!region_ok(s->b.n, &r, err))
        return false;
    s->regions_end = MAX(s->regions_end, r.at + r.len);
    if (to && to->len)
        return fail(err, "'%s': two regions of one kind", s->b.n->filename);
    if (to)
        *to = r;
    return true;
}

static bool apart(const VhdxRegion *a, const VhdxRegion *b) { return a->at + a->len <= b->at || b->at + b->len <= a->at; }

static bool regions_ok(const Vhdx *s, Error **err)
{
    VhdxRegion log = { s->h.log_at, s->h.log_len };

    if (!s->bat_region.len || !s->metadata_region.len)
        return fail(err, "'%s': the %s is missing", s->b.n->filename, s->bat_region.len ? "metadata" : "table of blocks");
    if (!apart(&log, &s->bat_region) || !apart(&log, &s->metadata_region) || !apart(&s->bat_region, &s->metadata_region))
        return fail(err, "'%s': regions overlap", s->b.n->filename);
    return true;
}

CO_FN bool vhdx__read_regions(Vhdx *s, Error **err)
{
    static const uint64_t at[] = { VHDX_REGIONS1_AT, VHDX_REGIONS2_AT };
    g_autofree uint8_t *p = g_malloc(VHDX_REGIONS);
    unsigned i = 0;

    for (; i < 2; i++)
        if (!blk_read(s->b.n->file, at[i], p, VHDX_REGIONS) && !memcmp(p, "regi", 4) && le32_load(p + VHDX_SUM_AT) == vhdx__sum(p, VHDX_REGIONS))
            break;
    if (i == 2)
        return fail(err, "'%s' is corrupt: none of its two region tables is valid", s->b.n->filename);
    if (le32_load(p + 8) > REGIONS_MAX)
        return fail(err, "'%s': too many regions", s->b.n->filename);
    for (uint32_t k = 0; k < le32_load(p + 8); k++)
        if (!take_region(s, p + 16 + k * VHDX_REGION_ENTRY, err))
            return false;
    return regions_ok(s, err);
}

/* ---- metadata ---- */
typedef struct Items {
    uint8_t bytes[GUIDS][ITEM_MAX];
    uint32_t len[GUIDS];
} Items;

static CO_FN bool read_item(Vhdx *s, const uint8_t *p, Items *to, Error **err)
{
    uint32_t at = le32_load(p + 16), len = le32_load(p + 20), flags = le32_load(p + 24);
    unsigned i = GUID_PARAMETERS;
    int ret;

    while (i < GUIDS && memcmp(p, vhdx__guids[i], VHDX_GUID))
        i++;
    if (i == GUIDS && flags & ITEM_REQUIRED)
        return fail(err, "'%s' needs a metadata item that is not known here", s->b.n->filename);
    if (i == GUIDS || i == GUID_PARENT)
        return true;
    if (at < VHDX_METADATA_TABLE || len > ITEM_MAX || !in_range(at, len, s->metadata_region.len))
        return fail(err, "'%s': a metadata item lies at an invalid place", s->b.n->filename);
    to->len[i] = len;
    ret = blk_read(s->b.n->file, s->metadata_region.at + at, to->bytes[i], len);
    return !ret || fail_errno_is(err, -ret, "cannot read the metadata of '%s'", s->b.n->filename);
}

static bool use_items(Vhdx *s, const Items *v, Error **err)
{
    const char *f = s->b.n->filename;
    uint64_t size = le64_load(v->bytes[GUID_SIZE]);

    if (v->len[GUID_PARAMETERS] < 8 || v->len[GUID_SIZE] < 8 || v->len[GUID_LOGICAL] < 4)
        return fail(err, "'%s': required metadata is missing", f);
    if (le32_load(v->bytes[GUID_PARAMETERS] + 4) & HAS_PARENT) {
        fail(err, "'%s' is a differencing image, which is not supported", f);
        return error_hint(err, "merge it with its parent where it was made");
    }
    s->block_size = le32_load(v->bytes[GUID_PARAMETERS]);
    s->logical = le32_load(v->bytes[GUID_LOGICAL]);
    s->physical = v->len[GUID_PHYSICAL] >= 4 ? le32_load(v->bytes[GUID_PHYSICAL]) : s->logical;
    if (!is_pow2(s->block_size) || s->block_size < VHDX_UNIT || s->block_size > 256 * VHDX_UNIT)
        return fail(err, "'%s': invalid block size %" PRIu64, f, s->block_size);
    if (s->logical != 512 && s->logical != 4096)
        return fail(err, "'%s': invalid sector size %" PRIu64, f, s->logical);
    if (size > VHDX_SIZE_MAX || size % s->logical)
        return fail(err, "'%s': invalid size %" PRIu64 " of the disk", f, size);
    s->ratio = (s->logical << 23) / s->block_size;
    s->b.n->size = size;
    return true;
}

CO_FN bool vhdx__read_metadata(Vhdx *s, Error **err)
{
    g_autofree uint8_t *p = g_malloc(VHDX_METADATA_TABLE);
    g_autofree Items *items = g_new0(Items, 1);
    int ret = blk_read(s->b.n->file, s->metadata_region.at, p, VHDX_METADATA_TABLE);

    if (ret)
        return fail_errno_is(err, -ret, "cannot read the metadata of '%s'", s->b.n->filename);
    if (memcmp(p, "metadata", 8) || le16_load(p + 10) > ITEMS_MAX)
        return fail(err, "'%s' is corrupt: no table of metadata where it should be", s->b.n->filename);
    for (unsigned i = 0; i < le16_load(p + 10); i++)
        if (!read_item(s, p + 32 + i * VHDX_METADATA_ENTRY, items, err))
            return false;
    return use_items(s, items, err);
}
