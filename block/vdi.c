/*
 * block/vdi.c - driver "vdi", the disks of VirtualBox: a header, a table with a 32-bit entry for each block, blocks in the
 * order in which they were first written. Read and written, dynamic and static. Left out: snapshots inside the file (undo
 * and differencing images are refused), as in QEMU.
 *
 * Order: the count of blocks in the header grows before the table names one, so that nobody gives a place out twice; see
 * block/blocks.h for the rest.
 */
#include "block/blocks.h"
#include <errno.h>

#define VDI_MAGIC   0xbeda107fu
#define VDI_VERSION 0x00010001u
#define VDI_NONE    0xffffffffu
#define VDI_ZERO    0xfffffffeu
#define VDI_BLOCKS_MAX 0x3fffffffu
enum { HEAD = 512, VDI_DYNAMIC = 1, VDI_STATIC = 2, VDI_BLOCK = 1 << 20, BLOCK_MIN = 4096, BLOCK_MAX = 256 << 20 };

typedef struct VdiHeader {
    uint64_t signature, version, header_size, type, map_at, data_at, sector_size, disk_size, block_size, block_extra, blocks,
        allocated, link[2], parent[2];
} VdiHeader;
/* clang-format off */
static const struct { uint16_t at, size, member; } fields[] = {
#define FIELD(at, size, name) { at, size, offsetof(VdiHeader, name) }
    FIELD(0x40,  4, signature), FIELD(0x44,  4, version),    FIELD(0x48,  4, header_size), FIELD(0x4c,  4, type),
    FIELD(0x154, 4, map_at),    FIELD(0x158, 4, data_at),    FIELD(0x168, 4, sector_size), FIELD(0x170, 8, disk_size),
    FIELD(0x178, 4, block_size), FIELD(0x17c, 4, block_extra), FIELD(0x180, 4, blocks),    FIELD(0x184, 4, allocated),
    FIELD(0x1a8, 8, link[0]),   FIELD(0x1b0, 8, link[1]),    FIELD(0x1b8, 8, parent[0]),   FIELD(0x1c0, 8, parent[1]),
};
/* clang-format on */
enum { ALLOCATED_AT = 0x184, IMAGE_ID_AT = 0x188, SNAP_ID_AT = 0x198 };
typedef struct Vdi {
    Blocks b;
    VdiHeader h;
    BlockTable map;
    uint32_t next; /* the place that the next block gets */
} Vdi;

static int vdi_probe(const uint8_t *head, size_t n) { return n >= HEAD && le32_load(head + 0x40) == VDI_MAGIC ? 100 : 0; }
static uint32_t entry(const Vdi *s, uint64_t block) { return le32_load(s->map.bytes + block * 4); }
static bool placed(uint32_t e) { return e < VDI_ZERO; }
static uint64_t place_of(const Vdi *s, uint32_t e) { return s->h.data_at + e * s->h.block_size; }

/* ---- blocks ---- */
static CO_FN int vdi_map(Node *n, uint64_t off, uint64_t len, BlockMap *out)
{
    const Vdi *s = n->opaque;
    uint64_t block = off / s->b.block, in = off % s->b.block, end = off + len;
    uint32_t first = entry(s, block);

    *out = (BlockMap){ .type = placed(first) ? BLOCK_DATA : first == VDI_ZERO ? BLOCK_ZERO : BLOCK_NONE, .len = s->b.block - in };
    if (placed(first)) {
        out->file = n->file;
        out->host = place_of(s, first) + in;
    }
    for (uint64_t k = 1; out->len < len && (block + k) * s->b.block < end; k++) {
        uint32_t e = entry(s, block + k);

        if (placed(first) ? e != first + k || !placed(e) : e != first)
            break;
        out->len += s->b.block;
    }
    out->len = MIN(out->len, len);
    return 0;
}

static CO_FN int vdi_place(Node *n, BlockPlace *p)
{
    Vdi *s = n->opaque;
    int ret;

    if (s->next >= VDI_BLOCKS_MAX)
        return -ENOSPC;
    p->count = MIN(p->count, VDI_BLOCKS_MAX - s->next);
    p->file = n->file;
    p->host = place_of(s, s->next);
    ret = blocks_extend(n->file, p->host, p->count * s->b.block, &p->fresh);
    if (!ret)
        s->next += (uint32_t)p->count;
    return ret;
}

static CO_FN int vdi_link(Node *n, const BlockPlace *p)
{
    Vdi *s = n->opaque;
    uint32_t e = (uint32_t)((p->host - s->h.data_at) / s->h.block_size);

    for (uint64_t i = 0; i < p->count; i++)
        le32_store(s->map.bytes + (p->first + i) * 4, e + (uint32_t)i);
    block_table_mark(&s->map, p->first * 4, p->count * 4);
    return 0;
}

static CO_FN int vdi_writeback(Node *n)
{
    Vdi *s = n->opaque;
    uint8_t count[4];
    int ret = 0;

    if (s->next != s->h.allocated) {
        le32_store(count, s->next);
        ret = blk_write(n->file, ALLOCATED_AT, count, 4);
        if (!ret)
            s->h.allocated = s->next;
    }
    if (!ret)
        ret = blk_flush(n->file);
    if (!ret)
        ret = block_table_write(&s->map, n->file);
    return ret ? ret : blk_flush(n->file);
}

/* The places that are given, ascending; the caller frees. */
static uint64_t *places(const Vdi *s, size_t *count)
{
    uint64_t *v = g_try_new(uint64_t, s->h.blocks + 1);

    *count = 0;
    for (uint64_t i = 0; v && i < s->h.blocks; i++)
        if (placed(entry(s, i)))
            v[(*count)++] = place_of(s, entry(s, i));
    return v;
}

static bool vdi_may_write(const Node *n, Error **err)
{
    const Vdi *s = n->opaque;
    size_t count;
    g_autofree uint64_t *v = places(s, &count);

    if (!v)
        return fail(err, "no memory for the table of '%s'", n->filename);
    if (blocks_apart(v, count, s->h.block_size, s->h.data_at))
        return true;
    fail(err, "'%s' is corrupt: two blocks of the disk lie at one place", n->filename);
    return error_hint(err, "readonly=on lets it be read");
}

static const BlockOps ops = { .map = vdi_map, .place = vdi_place, .link = vdi_link, .may_write = vdi_may_write, .writeback = vdi_writeback };

/* ---- opening ---- */
static bool header_ok(const Node *n, const VdiHeader *h, Error **err)
{
    const char *f = n->filename;

    if (h->signature != VDI_MAGIC)
        return fail(err, "'%s' is no vdi image", f);
    if (h->version != VDI_VERSION)
        return fail(err, "'%s': unsupported VDI image (version %u.%u)", f, (unsigned)h->version >> 16, (unsigned)h->version & 0xffff);
    if (h->type != VDI_DYNAMIC && h->type != VDI_STATIC)
        return fail(err, "'%s': unsupported VDI image (type %" PRIu64 "): a part of a chain of snapshots", f, h->type);
    if (h->link[0] | h->link[1] | h->parent[0] | h->parent[1])
        return fail(err, "'%s': unsupported VDI image (it has a parent)", f);
    if (h->sector_size != 512 || h->block_extra)
        return fail(err, "'%s': unsupported VDI image (sector size %" PRIu64 ", %" PRIu64 " more bytes a block)", f, h->sector_size, h->block_extra);
    if (!is_pow2(h->block_size) || h->block_size < BLOCK_MIN || h->block_size > BLOCK_MAX)
        return fail(err, "'%s': unsupported VDI image (block size %" PRIu64 ")", f, h->block_size);
    if (h->blocks > VDI_BLOCKS_MAX || h->disk_size > h->blocks * h->block_size)
        return fail(err, "'%s': the disk's size %" PRIu64 " does not fit its %" PRIu64 " blocks", f, h->disk_size, h->blocks);
    if (h->map_at % 512 || h->data_at % 512 || h->map_at < HEAD || !in_range(h->map_at, h->blocks * 4, n->file->size))
        return fail(err, "'%s': the table of blocks lies at an invalid offset", f);
    if (h->data_at < h->map_at + h->blocks * 4)
        return fail(err, "'%s': the blocks begin inside of their table", f);
    return true;
}

static void read_header(VdiHeader *h, const uint8_t *p)
{
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++)
        *(uint64_t *)((char *)h + fields[i].member) = le_load(p + fields[i].at, fields[i].size);
}

static bool find_next(Vdi *s, Error **err)
{
    const Node *n = s->b.n;

    for (uint64_t i = 0; i < s->h.blocks; i++) {
        uint32_t e = entry(s, i);

        if (placed(e) && e >= VDI_BLOCKS_MAX)
            return fail(err, "'%s': block %" PRIu64 " lies beyond what is possible", n->filename, i);
        if (placed(e))
            s->next = MAX(s->next, e + 1);
    }
    return blocks_may_write(n, err);
}

static CO_FN bool open_steps(Node *n, Error **err)
{
    Vdi *s = n->opaque;
    uint8_t head[HEAD];
    int ret;

    if (n->file->readonly && !n->readonly)
        return fail(err, "'%s' is read-only", n->filename);
    if (!blocks_take_file(n->file, n->readonly, err))
        return false;
    ret = blk_read(n->file, 0, head, HEAD);
    if (ret)
        return fail_errno_is(err, -ret, "cannot read the header of '%s'", n->filename);
    read_header(&s->h, head);
    if (!header_ok(n, &s->h, err))
        return false;
    ret = block_table_load(&s->map, n->file, s->h.map_at, s->h.blocks * 4, 512);
    if (ret)
        return fail_errno_is(err, -ret, "cannot read the table of '%s'", n->filename);
    blocks_init(n, &ops, s->h.block_size, s->h.block_size);
    n->size = s->h.disk_size;
    return find_next(s, err);
}

static CO_FN bool vdi_open(Node *n, Opts *o, Error **err)
{
    Vdi *s = n->opaque;

    if (open_steps(n, err))
        return true;
    block_table_free(&s->map);
    return false;
}

static CO_FN void vdi_close(Node *n)
{
    Vdi *s = n->opaque;

    blocks_close(n);
    block_table_free(&s->map);
}

/* ---- creating ---- */
static const char *const create_options[] = { "size", "static=off", NULL };

static void fill_header(uint8_t *head, uint64_t size, bool is_static)
{
    uint64_t blocks = (size + VDI_BLOCK - 1) / VDI_BLOCK, ids[4];
    VdiHeader h = { .signature = VDI_MAGIC, .version = VDI_VERSION, .header_size = 0x180, .type = is_static ? VDI_STATIC : VDI_DYNAMIC,
                    .map_at = HEAD, .data_at = HEAD + align_up(blocks * 4, 512), .sector_size = 512, .disk_size = size,
                    .block_size = VDI_BLOCK, .blocks = blocks, .allocated = is_static ? blocks : 0 };

    memcpy(head, "<<< Menura VM Virtual Disk Image >>>\n", 37);
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++)
        le_store(head + fields[i].at, fields[i].size, *(uint64_t *)((char *)&h + fields[i].member));
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++)
        ids[i] = (uint64_t)g_random_int() << 32 | g_random_int();
    memcpy(head + IMAGE_ID_AT, ids, 16);
    memcpy(head + SNAP_ID_AT, ids + 2, 16);
}

static CO_FN int write_new(Node *file, uint64_t size, bool is_static)
{
    uint64_t blocks = (size + VDI_BLOCK - 1) / VDI_BLOCK, len = HEAD + align_up(blocks * 4, 512);
    g_autofree uint8_t *all = g_try_malloc0(len);
    int ret;

    if (!all)
        return -ENOMEM;
    fill_header(all, size, is_static);
    for (uint64_t i = 0; i < blocks; i++)
        le32_store(all + HEAD + i * 4, is_static ? (uint32_t)i : VDI_NONE);
    ret = blk_write(file, 0, all, len);
    if (!ret && is_static)
        ret = blk_truncate(file, len + blocks * VDI_BLOCK, 0);
    return ret ? ret : blk_flush(file);
}

static CO_FN bool vdi_create(Loop *loop, const char *filename, Opts *o, Error **err)
{
    const char *prealloc = opts_get(o, "preallocation"); /* the monitor's name for it */
    bool is_static;
    uint64_t size;
    Node *file;
    int ret;

    if (prealloc && strcmp(prealloc, "off") && strcmp(prealloc, "metadata"))
        return fail(err, "Unsupported preallocation mode '%s': off or metadata", prealloc);
    if (!opts_get_size(o, "size", 0, &size, err) || !opts_get_bool(o, "static", prealloc && *prealloc == 'm', &is_static, err) || !opts_all_used(o, "vdi", err))
        return false;
    if (size / VDI_BLOCK > BLOCK_TABLE_MAX / 4 - 1)
        return fail(err, "Unsupported VDI image size (size is 0x%" PRIx64 ", max supported is 0x%" PRIx64 ")", size, BLOCK_TABLE_MAX / 4 * VDI_BLOCK);
    file = blocks_new_file(loop, filename, err);
    if (!file)
        return false;
    ret = write_new(file, align_up(size, 512), is_static);
    node_unref(file);
    return !ret || fail_errno_is(err, -ret, "cannot write '%s'", filename);
}

/* ---- facts and check ---- */
static void vdi_names(const Node *n, BlkNames *out)
{
    const Vdi *s = n->opaque;

    *out = (BlkNames){ .cluster_size = s->b.block };
}

/* One place of two blocks, and places behind the file's end. */
static void check_places(const Vdi *s, BlkCheck *c)
{
    uint64_t end = s->b.n->file->size;
    size_t count;
    g_autofree uint64_t *v = places(s, &count);

    if (!v || !count) {
        c->errors += !v;
        return;
    }
    blocks_apart(v, count, s->h.block_size, s->h.data_at); /* sorts */
    for (size_t i = 0; i < count; i++) {
        if (v[i] >= end) {
            blk_check_say(c, "ERROR: a block lies at %#" PRIx64 ", behind the end of the file", v[i]);
            c->corruptions++;
        } else if (i && v[i] == v[i - 1]) {
            blk_check_say(c, "ERROR: two blocks lie at %#" PRIx64, v[i]);
            c->corruptions++;
        }
    }
}

/* The header counts the places; the table says which are given. */
static CO_FN int vdi_check(Node *n, BlkCheck *c, unsigned fix)
{
    Vdi *s = n->opaque;
    uint64_t counted = s->h.allocated;
    bool less = counted < s->next;
    uint8_t count[4];
    int ret;

    check_places(s, c);
    if (counted == s->next)
        return 0;
    blk_check_say(c, "%s: the header counts %" PRIu64 " blocks, the table has %u", less ? "ERROR" : "Leaked", counted, s->next);
    *(less ? &c->corruptions : &c->leaks) += less ? 1 : counted - s->next;
    if (!(fix & (less ? FIX_ERRORS : FIX_LEAKS)))
        return 0;
    le32_store(count, s->next);
    ret = blk_write(n->file, ALLOCATED_AT, count, 4);
    if (ret)
        return ret;
    s->h.allocated = s->next;
    *(less ? &c->corruptions_fixed : &c->leaks_fixed) += less ? 1 : counted - s->next;
    return blk_flush(n->file);
}

static const BlkImageOps image = { .create_options = create_options, .create = vdi_create, .names = vdi_names, .check = vdi_check };
static const BlkDriver vdi = {
    .name = "vdi",
    .size = sizeof(Vdi),
    .image = &image,
    .probe = vdi_probe,
    .open = vdi_open,
    .close = vdi_close,
    .submit = blocks_submit,
    .permissions = blocks_permissions,
    .set_readonly = blocks_set_readonly,
};
BLK_DRIVER(vdi);
