/* block/vpc/vpc.c - see vpc.h: opening, blocks. */
#include "block/vpc/vpc.h"
#include <errno.h>

/* clang-format off */
typedef struct Field { uint16_t at, size, member; } Field;
static const Field footer_fields[] = {
#define F(at, size, name) { at, size, offsetof(VpcFooter, name) }
    F(8, 4, features),      F(12, 4, version),          F(16, 8, data_at),    F(24, 4, timestamp), F(28, 4, creator),
    F(32, 4, creator_version), F(36, 4, creator_os),    F(40, 8, original_size), F(48, 8, size),   F(56, 2, cylinders),
    F(58, 1, heads),        F(59, 1, sectors),          F(60, 4, type),       F(VPC_SUM_AT, 4, checksum),
}, header_fields[] = {
#define H(at, size, name) { at, size, offsetof(VpcHeader, name) }
    H(8, 8, data_at),       H(16, 8, table_at),         H(24, 4, version),    H(28, 4, entries),   H(32, 4, block_size),
    H(VPC_HEADER_SUM_AT, 4, checksum),                  H(56, 4, parent_time),
};
/* Programs whose disks are as large as their geometry says; all others mean the size. */
static const char by_geometry[][5] = { "qemu", "vpc " };
/* clang-format on */
enum { BLOCK_MIN = 4096, BLOCK_MAX = 256 << 20 };
#define GEOMETRY_MAX (65535ull * 16 * 255)

/* ---- header and footer ---- */
static void unpack(void *to, const uint8_t *p, const Field *f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *(uint64_t *)((char *)to + f[i].member) = be_load(p + f[i].at, f[i].size);
}

static void pack(const void *from, uint8_t *p, const Field *f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        be_store(p + f[i].at, f[i].size, *(const uint64_t *)((const char *)from + f[i].member));
}

uint32_t vpc__sum(const uint8_t *p, size_t n, size_t sum_at)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += i - sum_at < 4 ? 0 : p[i];
    return ~sum;
}

void vpc__unpack_footer(VpcFooter *f, const uint8_t *p) { unpack(f, p, footer_fields, G_N_ELEMENTS(footer_fields)); }

void vpc__pack_footer(const VpcFooter *f, uint8_t *p)
{
    pack(f, p, footer_fields, G_N_ELEMENTS(footer_fields));
    memcpy(p, "conectix", 8);
    be32_store(p + VPC_SUM_AT, vpc__sum(p, VPC_FOOTER, VPC_SUM_AT));
}

void vpc__pack_header(const VpcHeader *h, uint8_t *p)
{
    pack(h, p, header_fields, G_N_ELEMENTS(header_fields));
    memcpy(p, "cxsparse", 8);
    be32_store(p + VPC_HEADER_SUM_AT, vpc__sum(p, VPC_HEADER, VPC_HEADER_SUM_AT));
}

static int vpc_probe(const uint8_t *head, size_t n) { return n >= 8 && !memcmp(head, "conectix", 8) ? 100 : 0; }

/* ---- blocks ---- */
static CO_FN int map_fixed(Node *n, uint64_t off, uint64_t len, BlockMap *out)
{
    *out = (BlockMap){ .type = BLOCK_DATA, .len = len, .file = n->file, .host = off };
    return 0;
}

/* Sectors in a row, from `first` on, whose bits are alike. */
static uint64_t run_of(const BlockChunk *v, uint64_t first, uint64_t end, bool *set)
{
    uint64_t i = first;

    *set = v->bytes[i / 8] & 0x80 >> (i % 8);
    while (i < end && !!(v->bytes[i / 8] & 0x80 >> (i % 8)) == *set)
        i++;
    return i - first;
}

static CO_FN int map_bits(Vpc *s, uint64_t block, uint64_t in, uint64_t len, BlockMap *out)
{
    bool set = true;
    BlockChunk *v;
    int ret = vpc__bits_get(s, block, &v);

    if (ret)
        return ret;
    out->len = run_of(v, in / 512, s->b.block / 512, &set) * 512 - in % 512;
    out->len = MIN(out->len, len);
    out->type = set ? BLOCK_DATA : BLOCK_NONE;
    return 0;
}

static CO_FN int vpc_map(Node *n, uint64_t off, uint64_t len, BlockMap *out)
{
    Vpc *s = n->opaque;
    uint64_t block = off / s->b.block, in = off % s->b.block;

    if (s->f.type == VPC_FIXED)
        return map_fixed(n, off, len, out);
    *out = (BlockMap){ .type = BLOCK_NONE, .len = MIN(len, s->b.block - in) };
    if (vpc__entry(s, block) == VPC_NONE) {
        while (out->len < len && vpc__entry(s, ++block) == VPC_NONE)
            out->len = MIN(len, out->len + s->b.block);
        return 0;
    }
    out->file = n->file;
    out->host = vpc__bits_at(s, block) + s->bitmap_bytes + in;
    if (s->f.type == VPC_DIFF)
        return map_bits(s, block, in, out->len, out);
    out->type = BLOCK_DATA;
    return 0;
}

static CO_FN int vpc_place(Node *n, BlockPlace *p)
{
    Vpc *s = n->opaque;
    uint64_t all = s->bitmap_bytes + s->b.block;
    int ret;

    if ((s->next + all) / 512 >= VPC_NONE)
        return -ENOSPC;
    p->count = 1;
    p->file = n->file;
    p->host = s->next + s->bitmap_bytes;
    ret = blocks_extend(n->file, p->host, s->b.block + VPC_FOOTER, &p->fresh); /* the bitmap covers the old footer */
    if (ret)
        return ret;
    s->next += all;
    s->footer_moved = true;
    return 0;
}

static CO_FN int vpc_link(Node *n, const BlockPlace *p)
{
    Vpc *s = n->opaque;
    uint64_t start = p->first * s->b.block;
    int ret;

    if (!p->had_place) {
        be32_store(s->table.bytes + p->first * 4, (uint32_t)((p->host - s->bitmap_bytes) / 512));
        block_table_mark(&s->table, p->first * 4, 4);
        vpc__bits_new(s, p->first);
    }
    s->b.dirty = true;
    ret = s->f.type == VPC_DIFF ? vpc__bits_set(s, p->first, p->lo - start, p->hi - start) : 0;
    return !ret && block_cache_is_full(&s->bits) ? blocks_writeback(n) : ret;
}

static CO_FN int vpc_writeback(Node *n)
{
    Vpc *s = n->opaque;
    int ret = s->f.type == VPC_DIFF ? blk_flush(n->file) : 0; /* bits speak of data that is there */

    if (!ret)
        ret = block_cache_write(&s->bits);
    if (!ret && s->footer_moved)
        ret = blk_write(n->file, s->next, s->footer, VPC_FOOTER);
    if (!ret)
        s->footer_moved = false;
    if (!ret)
        ret = blk_flush(n->file);
    if (!ret)
        ret = block_table_write(&s->table, n->file);
    return ret ? ret : blk_flush(n->file);
}

static bool vpc_may_write(const Node *n, Error **err)
{
    const Vpc *s = n->opaque;
    g_autofree uint64_t *v = g_try_new(uint64_t, s->h.entries + 1);
    size_t count = 0;

    if (!v)
        return fail(err, "no memory for the table of '%s'", n->filename);
    for (uint64_t i = 0; i < s->h.entries; i++)
        if (vpc__entry(s, i) != VPC_NONE)
            v[count++] = vpc__bits_at(s, i);
    if (blocks_apart(v, count, s->bitmap_bytes + s->h.block_size, s->tables_end))
        return true;
    fail(err, "'%s' is corrupt: two blocks of the disk lie at one place, or one in the tables", n->filename);
    return error_hint(err, "readonly=on lets it be read");
}

static const BlockOps sparse_ops = { .map = vpc_map, .place = vpc_place, .link = vpc_link, .may_write = vpc_may_write, .writeback = vpc_writeback };
static const BlockOps fixed_ops = { .map = vpc_map };

static CO_FN int vpc_submit(Node *n, BlkReq *r)
{
    Vpc *s = n->opaque;
    int ret = 0;

    if (s->full && !n->readonly && (r->op == BLK_WRITE || r->op == BLK_ZERO) && r->len)
        ret = vpc__make_full(s, r->off, r->len);
    return ret ? ret : blocks_submit(n, r);
}

/* ---- opening ---- */
static CO_FN bool read_footer(Node *n, Error **err)
{
    Vpc *s = n->opaque;
    int ret = blk_read(n->file, 0, s->footer, VPC_FOOTER);

    if (!ret && memcmp(s->footer, "conectix", 8) && n->file->size >= VPC_FOOTER)
        ret = blk_read(n->file, align_down(n->file->size, 512) - VPC_FOOTER, s->footer, VPC_FOOTER); /* fixed: no copy in front */
    if (ret)
        return fail_errno_is(err, -ret, "cannot read the footer of '%s'", n->filename);
    if (memcmp(s->footer, "conectix", 8))
        return fail(err, "'%s' is no vpc (VHD) image", n->filename);
    vpc__unpack_footer(&s->f, s->footer);
    if (s->f.checksum != vpc__sum(s->footer, VPC_FOOTER, VPC_SUM_AT))
        return fail(err, "'%s' is corrupt: the footer's checksum is wrong", n->filename);
    if (s->f.type != VPC_FIXED && s->f.type != VPC_DYNAMIC && s->f.type != VPC_DIFF)
        return fail(err, "'%s': unknown type %" PRIu64 " of VHD", n->filename, s->f.type);
    return true;
}

static bool size_by_geometry(const Vpc *s, const char *how)
{
    bool said = false;

    for (size_t i = 0; i < G_N_ELEMENTS(by_geometry); i++)
        said |= !memcmp(s->footer + 28, by_geometry[i], 4);
    return how ? !strcmp(how, "chs") : said && s->f.cylinders * s->f.heads * s->f.sectors < GEOMETRY_MAX;
}

static bool find_size(Node *n, Opts *o, Error **err)
{
    const char *how = opts_get(o, "force_size_calc");
    Vpc *s = n->opaque;

    if (how && strcmp(how, "chs") && strcmp(how, "current_size"))
        return fail(err, "Invalid size calculation algorithm '%s': chs or current_size", how);
    n->size = size_by_geometry(s, how) ? s->f.cylinders * s->f.heads * s->f.sectors * 512 : align_up(s->f.size, 512);
    if (n->size > VPC_SIZE_MAX)
        return fail(err, "'%s': the disk is larger than 2040 GiB, the most that a VHD can be", n->filename);
    if (s->f.type == VPC_FIXED)
        n->size = MIN(n->size, align_down(n->file->size, 512) - VPC_FOOTER);
    return true;
}

static CO_FN bool read_header(Node *n, Error **err)
{
    Vpc *s = n->opaque;
    const char *f = n->filename;
    int ret = in_range(s->f.data_at, VPC_HEADER, n->file->size) ? blk_read(n->file, s->f.data_at, s->header, VPC_HEADER) : -EINVAL;

    if (ret)
        return fail_errno_is(err, -ret, "cannot read the header of '%s'", f);
    unpack(&s->h, s->header, header_fields, G_N_ELEMENTS(header_fields));
    if (memcmp(s->header, "cxsparse", 8))
        return fail(err, "'%s' is corrupt: no header where the footer says", f);
    if (!is_pow2(s->h.block_size) || s->h.block_size < BLOCK_MIN || s->h.block_size > BLOCK_MAX)
        return fail(err, "'%s': invalid block size %" PRIu64, f, s->h.block_size);
    if (s->h.entries < (n->size + s->h.block_size - 1) / s->h.block_size)
        return fail(err, "'%s': the table of blocks is too small for the disk", f);
    if (s->h.table_at % 512 || !in_range(s->h.table_at, s->h.entries * 4, n->file->size))
        return fail(err, "'%s': the table of blocks lies at an invalid offset", f);
    return true;
}

/* Behind all blocks. Locators have added theirs to s->tables_end. */
static bool find_next(Vpc *s, Error **err)
{
    s->tables_end = MAX(s->tables_end, MAX(align_up(s->h.table_at + s->h.entries * 4, 512), s->f.data_at + VPC_HEADER));
    s->next = s->tables_end;
    for (uint64_t i = 0; i < s->h.entries; i++)
        if (vpc__entry(s, i) != VPC_NONE)
            s->next = MAX(s->next, vpc__bits_at(s, i) + s->bitmap_bytes + s->h.block_size);
    return blocks_may_write(s->b.n, err);
}

static CO_FN bool open_sparse(Node *n, Opts *o, Error **err)
{
    Vpc *s = n->opaque;
    int ret;

    if (!read_header(n, err))
        return false;
    ret = block_table_load(&s->table, n->file, s->h.table_at, s->h.entries * 4, 512);
    if (ret)
        return fail_errno_is(err, -ret, "cannot read the table of '%s'", n->filename);
    s->bitmap_bytes = align_up(s->h.block_size / 512 / 8, 512);
    vpc__bits_init(s);
    blocks_init(n, &sparse_ops, s->h.block_size, s->f.type == VPC_DIFF ? 512 : s->h.block_size);
    if (s->f.type == VPC_DYNAMIC)
        return find_next(s, err);
    return vpc__read_parent(s, err) && find_next(s, err) && block__open_backing(n, o, s->parent, "vpc", err) && vpc__parent_fits(s, err);
}

static CO_FN bool open_steps(Node *n, Opts *o, Error **err)
{
    Vpc *s = n->opaque;

    if (n->file->readonly && !n->readonly)
        return fail(err, "'%s' is read-only", n->filename);
    if (!blocks_take_file(n->file, n->readonly, err))
        return false;
    blocks_init(n, &fixed_ops, VPC_BLOCK, VPC_BLOCK);
    if (!read_footer(n, err) || !find_size(n, o, err))
        return false;
    s->b.alone = s->f.type != VPC_DIFF;
    if (s->b.alone)
        g_free(opts_take(o, "backing"));
    return s->f.type == VPC_FIXED || open_sparse(n, o, err);
}

static void free_state(Vpc *s)
{
    block_table_free(&s->table);
    vpc__bits_free(s);
    g_free(s->parent);
}

static CO_FN bool vpc_open(Node *n, Opts *o, Error **err)
{
    if (open_steps(n, o, err))
        return true;
    free_state(n->opaque);
    return false;
}

static CO_FN void vpc_close(Node *n)
{
    blocks_close(n);
    free_state(n->opaque);
}

static void vpc_names(const Node *n, BlkNames *out)
{
    const Vpc *s = n->opaque;

    *out = (BlkNames){ .backing = s->parent, .backing_format = s->parent ? "vpc" : NULL, .cluster_size = s->h.block_size };
}

static const BlkImageOps image = { .create_options = vpc__create_options, .create = vpc__create, .names = vpc_names };
static const BlkDriver vpc = {
    .name = "vpc",
    .size = sizeof(Vpc),
    .has_backing = true,
    .image = &image,
    .probe = vpc_probe,
    .open = vpc_open,
    .close = vpc_close,
    .submit = vpc_submit,
    .permissions = blocks_permissions,
    .set_readonly = blocks_set_readonly,
};
BLK_DRIVER(vpc);
