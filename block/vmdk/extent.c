/* block/vmdk/extent.c - sparse extents: header, directory, grain tables, and what a check finds there. */
#include "block/vmdk/vmdk.h"
#include <errno.h>

enum { GRAIN_MIN = 1, GRAIN_MAX = 1 << 16, VERSION_MAX = 3, TABLES_CACHED = 8192, END_BYTES = 3 * SECTOR, FOOTER_MARKER = 3 };
/* clang-format off */
static const struct { uint16_t at, size, member; } fields[] = {
#define FIELD(at, size, name) { at, size, offsetof(VmdkHeader, name) }
    FIELD(4,  4, version),        FIELD(8,  4, flags), FIELD(12, 8, capacity),     FIELD(20, 8, grain),        FIELD(28, 8, descriptor_at),
    FIELD(36, 8, descriptor_len), FIELD(44, 4, gtes),  FIELD(48, 8, redundant_at), FIELD(56, 8, directory_at), FIELD(64, 8, overhead),
    FIELD(72, 1, unclean),        FIELD(73, 4, newlines), FIELD(77, 2, compression),
};
/* clang-format on */

void vmdk__unpack_header(VmdkHeader *h, const uint8_t *p)
{
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++)
        *(uint64_t *)((char *)h + fields[i].member) = le_load(p + fields[i].at, fields[i].size);
}

void vmdk__pack_header(const VmdkHeader *h, uint8_t *p)
{
    memcpy(p, VMDK_MAGIC, 4);
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++)
        le_store(p + fields[i].at, fields[i].size, *(const uint64_t *)((const char *)h + fields[i].member));
}

/* ---- opening ---- */
/* A stream's header is at its end, where the directory's place is known: marker, header, end marker. */
static CO_FN bool read_footer(Extent *e, Error **err)
{
    uint8_t end[END_BYTES];
    uint64_t at = e->file->size - END_BYTES;
    int ret = e->file->size < END_BYTES + VMDK_HEAD ? -EINVAL : blk_read(e->file, at, end, END_BYTES);

    if (ret)
        return fail_errno_is(err, -ret, "cannot read the footer of '%s'", e->file->filename);
    if (le64_load(end) != 1 || le32_load(end + 8) || le32_load(end + 12) != FOOTER_MARKER || memcmp(end + SECTOR, VMDK_MAGIC, 4))
        return fail(err, "'%s' is a stream that was cut off: its footer is missing", e->file->filename);
    vmdk__unpack_header(&e->h, end + SECTOR);
    e->ends_in_footer = true;
    return true;
}

static uint64_t directory_entries(const VmdkHeader *h)
{
    uint64_t covers = h->grain * h->gtes;

    return h->capacity / covers + (h->capacity % covers != 0);
}

static bool header_ok(const Extent *e, Error **err)
{
    const VmdkHeader *h = &e->h;
    const char *f = e->file->filename;

    if (h->version < 1 || h->version > VERSION_MAX)
        return fail(err, "'%s': VMDK version %" PRIu64 " is not supported", f, h->version);
    if (!is_pow2(h->grain) || h->grain < GRAIN_MIN || h->grain > GRAIN_MAX)
        return fail(err, "'%s': invalid size of grains: %" PRIu64 " sectors", f, h->grain);
    if (!h->gtes || h->gtes > VMDK_GTES)
        return fail(err, "'%s': grain tables of %" PRIu64 " entries are not possible", f, h->gtes);
    if (h->capacity > INT64_MAX / SECTOR)
        return fail(err, "'%s': the extent is too large", f);
    if (h->flags & VMDK_PACKED && (!(h->flags & VMDK_MARKERS) || h->compression > 1))
        return fail(err, "'%s': unknown way of compression", f);
    if (!in_range(h->directory_at, directory_entries(h) * 4 / SECTOR, e->file->size / SECTOR + 1))
        return fail(err, "'%s': the grain directory lies beyond the end of the file", f);
    return true;
}

static CO_FN bool load_directories(Extent *e, Error **err)
{
    uint64_t len = directory_entries(&e->h) * 4;
    int ret = block_table_load(&e->directory, e->file, e->h.directory_at * SECTOR, len, SECTOR);

    if (!ret && e->h.flags & VMDK_TWICE && in_range(e->h.redundant_at, len / SECTOR, e->file->size / SECTOR))
        ret = block_table_load(&e->redundant, e->file, e->h.redundant_at * SECTOR, len, SECTOR);
    return !ret || fail_errno_is(err, -ret, "cannot read the grain directory of '%s'", e->file->filename);
}

/* Behind all that there is; a packed one ends in a sector of zeros, which the next grain replaces. */
static CO_FN bool find_next(Vmdk *s, Extent *e, Error **err)
{
    uint8_t last[SECTOR] = { 1 }, zero[SECTOR] = { 0 };
    uint64_t unit = e->packed ? SECTOR : vmdk__grain(e);
    int ret = 0;

    if (e->h.overhead > INT64_MAX / SECTOR / 2)
        return fail(err, "'%s': invalid overhead", e->file->filename);
    e->next = align_up(MAX(e->file->size, e->h.overhead * SECTOR), unit);
    if (!e->packed || e->file->size <= e->h.overhead * SECTOR)
        return true;
    ret = blk_read(e->file, e->file->size - SECTOR, last, SECTOR);
    if (!ret && !memcmp(last, zero, SECTOR))
        e->next -= SECTOR;
    return !ret || fail_errno_is(err, -ret, "cannot read '%s'", e->file->filename);
}

CO_FN bool vmdk__open_sparse(Vmdk *s, Extent *e, Error **err)
{
    uint8_t head[VMDK_HEAD];
    int ret = blk_read(e->file, 0, head, VMDK_HEAD);

    if (ret)
        return fail_errno_is(err, -ret, "cannot read the header of '%s'", e->file->filename);
    if (memcmp(head, VMDK_MAGIC, 4))
        return fail(err, "'%s' is no sparse extent of a vmdk image", e->file->filename);
    vmdk__unpack_header(&e->h, head);
    if (e->h.directory_at == VMDK_AT_END && !read_footer(e, err))
        return false;
    if (!header_ok(e, err) || !load_directories(e, err))
        return false;
    if (!*e->type)
        e->size = e->h.capacity * SECTOR;
    if (e->size > align_up(e->h.capacity * SECTOR, vmdk__grain(e)) || e->start % vmdk__grain(e))
        return fail(err, "'%s': the extent and the descriptor differ about its size", e->file->filename);
    if (s->tables.chunks && (s->b.block != vmdk__grain(e) || s->tables.size != e->h.gtes * 4))
        return fail(err, "'%s': extents with grains of different sizes are not supported", e->file->filename);
    e->packed = e->h.flags & VMDK_PACKED;
    e->zeroed = e->h.flags & VMDK_ZEROED;
    if (!s->tables.chunks)
        block_cache_init(&s->tables, (unsigned)e->h.gtes * 4, TABLES_CACHED);
    s->b.block = vmdk__grain(e);
    return find_next(s, e, err);
}

void vmdk__extent_free(gpointer extent)
{
    Extent *e = extent;

    block_table_free(&e->directory);
    block_table_free(&e->redundant);
    g_free(e);
}

Extent *vmdk__extent_at(const Vmdk *s, uint64_t off)
{
    guint lo = 0, hi = s->extents->len;

    while (hi - lo > 1) {
        guint mid = (lo + hi) / 2;

        *(off < ((Extent *)s->extents->pdata[mid])->start ? &hi : &lo) = mid;
    }
    return s->extents->pdata[lo];
}

/* ---- grain tables ---- */
static uint64_t key_of(const Extent *e, uint64_t index) { return (uint64_t)e->index << 40 | index; }

static uint64_t mirror_of(const Extent *e, uint64_t index)
{
    return e->redundant.len ? le32_load(e->redundant.bytes + index * 4) * (uint64_t)SECTOR : 0;
}

static CO_FN int new_table(Extent *e, BlockTable *directory, uint64_t index, uint64_t *at)
{
    uint64_t len = align_up(e->h.gtes * 4, SECTOR);
    bool fresh;
    int ret = e->next / SECTOR > UINT32_MAX - GRAIN_MAX ? -ENOSPC : blocks_extend(e->file, e->next, len, &fresh);

    if (ret)
        return ret;
    *at = e->next;
    e->next = align_up(e->next + len, e->packed ? SECTOR : vmdk__grain(e));
    le32_store(directory->bytes + index * 4, (uint32_t)(*at / SECTOR));
    block_table_mark(directory, index * 4, 4);
    return 0;
}

static CO_FN int make_table(Vmdk *s, Extent *e, uint64_t index, BlockChunk **out)
{
    uint64_t at, mirror = 0;
    int ret = new_table(e, &e->directory, index, &at);

    if (!ret && e->redundant.len)
        ret = new_table(e, &e->redundant, index, &mirror);
    if (ret)
        return ret;
    *out = block_cache_new(&s->tables, key_of(e, index), e->file, at);
    (*out)->mirror = mirror;
    block_cache_dirty(&s->tables, *out);
    s->b.dirty = true;
    return 0;
}

CO_FN int vmdk__table(Vmdk *s, Extent *e, uint64_t g, bool make, BlockChunk **out)
{
    uint64_t index = g / e->h.gtes, at = le32_load(e->directory.bytes + index * 4) * (uint64_t)SECTOR;
    int ret;

    *out = NULL;
    if (!at)
        return make ? make_table(s, e, index, out) : 0;
    if (at >= e->file->size && !make && !g_hash_table_contains(s->tables.chunks, &(uint64_t){ key_of(e, index) }))
        return -EIO;
    ret = block_cache_get(&s->tables, key_of(e, index), e->file, at, out);
    if (!ret)
        (*out)->mirror = mirror_of(e, index);
    return ret;
}

CO_FN int vmdk__set_gte(Vmdk *s, Extent *e, uint64_t g, uint32_t v)
{
    BlockChunk *t;
    int ret = vmdk__table(s, e, g, true, &t);

    if (ret)
        return ret;
    le32_store(t->bytes + g % e->h.gtes * 4, v);
    block_cache_dirty(&s->tables, t);
    s->b.dirty = true;
    return block_cache_is_full(&s->tables) ? blocks_writeback(s->b.n) : 0;
}

/* ---- check ---- */
typedef struct Used { /* a bit per sector or grain of the file */
    uint8_t *bits;
    uint64_t n, unit;
} Used;

static CO_FN int check_grain(Vmdk *s, const Extent *e, uint64_t off, Used *used, BlkCheck *c)
{
    BlockMap m;
    uint64_t i;
    int ret = vmdk__ops.map(s->b.n, off, 1, &m);

    if (ret) {
        blk_check_say(c, "ERROR: the table for offset %" PRIu64 " cannot be read", off);
        c->corruptions++;
        return ret == -EIO ? 0 : ret;
    }
    if (m.type != BLOCK_DATA && m.type != BLOCK_PACKED)
        return 0;
    i = m.host / used->unit;
    if (i >= used->n) {
        blk_check_say(c, "ERROR: the grain of offset %" PRIu64 " lies behind the end of the file", off);
        c->corruptions++;
        return 0;
    }
    if (used->bits[i / 8] >> (i % 8) & 1) {
        blk_check_say(c, "ERROR: the grain of offset %" PRIu64 " lies where another one does", off);
        c->corruptions++;
    }
    used->bits[i / 8] |= (uint8_t)(1 << (i % 8));
    return 0;
}

/* More tables than the file has room for: some are one. */
static bool too_many_tables(const Extent *e, BlkCheck *c)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < e->directory.len / 4; i++)
        n += le32_load(e->directory.bytes + i * 4) != 0;
    if (n * e->h.gtes * 4 <= e->file->size)
        return false;
    blk_check_say(c, "ERROR: grain tables of '%s' overlap", e->file->filename);
    c->corruptions++;
    return true;
}

static CO_FN int check_extent(Vmdk *s, const Extent *e, BlkCheck *c)
{
    uint64_t grain = vmdk__grain(e), covers = grain * e->h.gtes;
    Used used = { .unit = e->packed ? SECTOR : grain };
    int ret = 0;

    if (too_many_tables(e, c))
        return 0;
    used.n = (e->file->size + used.unit - 1) / used.unit;
    used.bits = used.n / 8 > BLOCK_TABLE_MAX ? NULL : g_try_malloc0(used.n / 8 + 1);
    if (!used.bits)
        return -ENOMEM;
    for (uint64_t at = 0; at < e->size && !ret;) {
        if (le32_load(e->directory.bytes + at / covers * 4)) {
            ret = check_grain(s, e, e->start + at, &used, c);
            at += grain;
        } else {
            at = (at / covers + 1) * covers;
        }
    }
    g_free(used.bits);
    return ret;
}

CO_FN int vmdk__check(Node *n, BlkCheck *c, unsigned fix)
{
    Vmdk *s = n->opaque;
    int ret = 0;

    for (guint i = 0; i < s->extents->len && !ret; i++)
        if (((Extent *)s->extents->pdata[i])->kind == EXTENT_SPARSE)
            ret = check_extent(s, s->extents->pdata[i], c);
    return ret;
}
