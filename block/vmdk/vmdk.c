/* block/vmdk/vmdk.c - see vmdk.h: opening, grains. */
#include "block/vmdk/vmdk.h"
#include <errno.h>

enum { FLAT_BLOCK = 65536 };

static int vmdk_probe(const uint8_t *head, size_t n)
{
    static const char first[] = "# Disk DescriptorFile";
    size_t at = 0;

    if (n >= 4 && !memcmp(head, VMDK_MAGIC, 4))
        return 100;
    while (at < n && (head[at] == '\n' || head[at] == '\r' || head[at] == ' '))
        at++;
    return n - at >= sizeof(first) - 1 && !g_ascii_strncasecmp((const char *)head + at, first, sizeof(first) - 1) ? 100 : 0;
}

/* ---- grains ---- */
static BlockType type_of(const Extent *e, uint32_t gte)
{
    if (!gte)
        return BLOCK_NONE;
    if (gte == VMDK_ZERO_GTE && e->zeroed)
        return BLOCK_ZERO;
    return e->packed ? BLOCK_PACKED : BLOCK_DATA;
}

/* How far entries go on alike; those of one table at most. */
static uint64_t alike(const Extent *e, const BlockChunk *t, uint64_t g, uint64_t max)
{
    uint32_t first = vmdk__gte(e, t, g);
    BlockType type = type_of(e, first);
    uint64_t n = 1;

    if (type == BLOCK_PACKED)
        return 1;
    for (; n < max && (g + n) % e->h.gtes; n++)
        if (vmdk__gte(e, t, g + n) != first + (type == BLOCK_DATA ? n * e->h.grain : 0))
            break;
    return n;
}

static CO_FN int map_sparse(Vmdk *s, Extent *e, uint64_t off, uint64_t len, BlockMap *out)
{
    uint64_t grain = vmdk__grain(e), g = off / grain, in = off % grain, n;
    BlockChunk *t;
    int ret = vmdk__table(s, e, g, false, &t);

    if (ret)
        return ret;
    if (!t) { /* up to the next table */
        *out = (BlockMap){ .type = BLOCK_NONE, .len = MIN(len, (g / e->h.gtes + 1) * e->h.gtes * grain - off) };
        return 0;
    }
    n = alike(e, t, g, (in + len + grain - 1) / grain);
    *out = (BlockMap){ .type = type_of(e, vmdk__gte(e, t, g)), .len = MIN(len, n * grain - in) };
    if (out->type == BLOCK_DATA || out->type == BLOCK_PACKED) {
        out->file = e->file;
        out->host = vmdk__gte(e, t, g) * (uint64_t)SECTOR + (out->type == BLOCK_DATA ? in : 0);
    }
    return 0;
}

static CO_FN int vmdk_map(Node *n, uint64_t off, uint64_t len, BlockMap *out)
{
    Vmdk *s = n->opaque;
    Extent *e = vmdk__extent_at(s, off);
    uint64_t in = off - e->start;

    len = MIN(len, e->size - in);
    if (e->kind == EXTENT_SPARSE)
        return map_sparse(s, e, in, len, out);
    *out = (BlockMap){ .type = e->kind == EXTENT_FLAT ? BLOCK_DATA : BLOCK_ZERO, .len = len, .file = e->file, .host = e->flat_at + in };
    return 0;
}

static CO_FN int vmdk_place(Node *n, BlockPlace *p)
{
    Vmdk *s = n->opaque;
    uint64_t off = p->first * s->b.block;
    Extent *e = vmdk__extent_at(s, off);
    int ret;

    if (e->kind != EXTENT_SPARSE || e->packed)
        return -ENOTSUP; /* a packed grain is written whole and once */
    p->count = MIN(p->count, (e->size - (off - e->start) + s->b.block - 1) / s->b.block);
    if ((e->next + p->count * s->b.block) / SECTOR > UINT32_MAX)
        return -ENOSPC;
    p->file = e->file;
    p->host = e->next;
    ret = blocks_extend(e->file, p->host, p->count * s->b.block, &p->fresh);
    if (!ret)
        e->next += p->count * s->b.block;
    return ret;
}

static CO_FN int vmdk_link(Node *n, const BlockPlace *p)
{
    Vmdk *s = n->opaque;
    Extent *e = vmdk__extent_at(s, p->first * s->b.block);
    uint64_t g = p->first - e->start / s->b.block;
    int ret = 0;

    for (uint64_t i = 0; i < p->count && !ret; i++)
        ret = vmdk__set_gte(s, e, g + i, (uint32_t)(p->host / SECTOR + i * e->h.grain));
    return ret;
}

static CO_FN int vmdk_make_zero(Node *n, uint64_t block, uint64_t count)
{
    Vmdk *s = n->opaque;
    int ret = 0;

    for (uint64_t i = block; i < block + count && !ret; i++) {
        Extent *e = vmdk__extent_at(s, i * s->b.block);

        if (e->kind != EXTENT_SPARSE || !e->zeroed)
            return -ENOTSUP;
        ret = vmdk__set_gte(s, e, i - e->start / s->b.block, VMDK_ZERO_GTE);
    }
    return ret;
}

static bool directories_changed(const Vmdk *s)
{
    uint64_t n = 0;

    for (guint i = 0; i < s->extents->len; i++) {
        const Extent *e = s->extents->pdata[i];

        n += e->directory.ndirty + e->redundant.ndirty;
    }
    return n;
}

static CO_FN int write_directories(Vmdk *s)
{
    int ret = blocks_sync(s->b.n); /* the tables are there */

    for (guint i = 0; i < s->extents->len && !ret; i++) {
        Extent *e = s->extents->pdata[i];

        ret = block_table_write(&e->directory, e->file);
        if (!ret)
            ret = block_table_write(&e->redundant, e->file);
    }
    return ret;
}

static CO_FN int vmdk_writeback(Node *n)
{
    Vmdk *s = n->opaque;
    int ret = blocks_sync(n);

    if (!ret && s->tables.ndirty)
        ret = block_cache_write(&s->tables);
    if (!ret && directories_changed(s))
        ret = write_directories(s);
    return ret ? ret : blocks_sync(n);
}

static bool vmdk_may_write(const Node *n, Error **err)
{
    const Vmdk *s = n->opaque;

    for (guint i = 0; i < s->extents->len; i++) {
        const Extent *e = s->extents->pdata[i];

        if (e->ends_in_footer) {
            fail(err, "'%s' is a finished stream, which can only be read", e->file->filename);
            return error_hint(err, "menura-img convert -O vmdk makes an image that can be written to");
        }
        if (e->only_read) {
            fail(err, "'%s': an extent is read-only", n->filename);
            return error_hint(err, "use readonly=on or snapshot=on");
        }
    }
    return true;
}

static CO_FN int vmdk_begin(Node *n) { return vmdk__new_cid(n->opaque); }

/* A stream ends in a sector of zeros. */
static CO_FN int vmdk_end(Node *n)
{
    Vmdk *s = n->opaque;
    int ret = 0;

    for (guint i = 0; i < s->extents->len && !ret; i++) {
        Extent *e = s->extents->pdata[i];

        if (e->packed && e->next + SECTOR > e->file->size)
            ret = blk_zero(e->file, e->next, SECTOR, 0);
    }
    return ret ? ret : blocks_sync(n);
}

const BlockOps vmdk__ops = { .map = vmdk_map, .place = vmdk_place, .link = vmdk_link, .unpack = vmdk__unpack, .write_packed = vmdk__write_packed,
                             .make_zero = vmdk_make_zero, .may_write = vmdk_may_write, .begin = vmdk_begin, .writeback = vmdk_writeback, .end = vmdk_end };

/* ---- opening ---- */
static CO_FN bool open_embedded(Vmdk *s, const uint8_t *head, Error **err)
{
    Extent *e = g_new0(Extent, 1);
    VmdkHeader h;

    g_ptr_array_add(s->extents, e);
    e->kind = EXTENT_SPARSE;
    e->type = "";
    e->file = s->b.n->file;
    vmdk__unpack_header(&h, head);
    if (!h.descriptor_at || h.descriptor_len > VMDK_DESCRIPTOR_MAX / SECTOR || h.descriptor_at > INT64_MAX / SECTOR || !h.descriptor_len)
        return fail(err, "'%s' has no VMDK descriptor: it may be an extent, open the file that lists it", s->b.n->filename);
    return vmdk__read_descriptor(s, h.descriptor_at * SECTOR, h.descriptor_len * SECTOR, err) && vmdk__open_sparse(s, e, err);
}

static CO_FN bool read_all(Vmdk *s, Error **err)
{
    uint8_t head[VMDK_HEAD];
    int ret = blk_read(s->b.n->file, 0, head, VMDK_HEAD);

    if (ret)
        return fail_errno_is(err, -ret, "cannot read the header of '%s'", s->b.n->filename);
    if (!memcmp(head, VMDK_MAGIC, 4))
        return open_embedded(s, head, err);
    if (!vmdk_probe(head, VMDK_HEAD))
        return fail(err, "'%s' is no vmdk image", s->b.n->filename);
    return vmdk__read_descriptor(s, 0, 0, err) && vmdk__open_extents(s, err);
}

/* The parent may not have changed since. */
static bool parent_fits(const Vmdk *s, Error **err)
{
    const Node *b = s->b.n->backing;

    if (!b || strcmp(b->drv->name, "vmdk") || ((const Vmdk *)b->opaque)->cid == s->parent_cid)
        return true;
    fail(err, "'%s' was changed since '%s' was made on it (CID %08x, not %08x)", b->filename, s->b.n->filename,
         ((const Vmdk *)b->opaque)->cid, s->parent_cid);
    return error_hint(err, "what the layer above means is lost, unless the change was none: then correct its parentCID");
}

static CO_FN bool open_steps(Node *n, Opts *o, Error **err)
{
    Vmdk *s = n->opaque;
    const Extent *last;

    if (n->file->readonly && !n->readonly)
        return fail(err, "'%s' is read-only", n->filename);
    if (!blocks_take_file(n->file, n->readonly, err) || !read_all(s, err))
        return false;
    blocks_init(n, &vmdk__ops, s->b.block ? s->b.block : FLAT_BLOCK, s->b.block ? s->b.block : FLAT_BLOCK);
    last = s->extents->pdata[s->extents->len - 1];
    n->size = last->start + last->size;
    return blocks_may_write(n, err) && block__open_backing(n, o, s->parent, "vmdk", err) && parent_fits(s, err);
}

static void free_state(Vmdk *s)
{
    g_ptr_array_free(s->extents, TRUE);
    block_cache_free(&s->tables);
    g_free(s->text);
    g_free(s->create_type);
    g_free(s->parent);
}

static CO_FN bool vmdk_open(Node *n, Opts *o, Error **err)
{
    Vmdk *s = n->opaque;

    s->b.n = n;
    s->extents = g_ptr_array_new_with_free_func(vmdk__extent_free);
    if (open_steps(n, o, err))
        return true;
    free_state(s);
    return false;
}

static CO_FN void vmdk_close(Node *n)
{
    blocks_close(n);
    free_state(n->opaque);
}

/* ---- facts ---- */
static void vmdk_names(const Node *n, BlkNames *out)
{
    const Vmdk *s = n->opaque;
    const Extent *e = s->extents->pdata[0];

    *out = (BlkNames){ .backing = s->parent, .backing_format = s->parent ? "vmdk" : NULL, .cluster_size = s->tables.chunks ? s->b.block : 0,
                       .compressible = e->packed, .must_compress = e->packed };
}

static const char *key_of(guint extent, const char *what)
{
    g_autofree char *key = g_strdup_printf("extents.%u.%s", extent, what);

    return g_intern_string(key);
}

static void extent_facts(GPtrArray *v, const Extent *e)
{
    if (e->packed)
        blk_fact(v, key_of(e->index, "compressed"), g_strdup("true"), false);
    blk_fact(v, key_of(e->index, "virtual-size"), g_strdup_printf("%" PRIu64, e->size), false);
    blk_fact(v, key_of(e->index, "filename"), g_strdup(e->file ? e->file->filename : ""), true);
    if (e->kind == EXTENT_SPARSE)
        blk_fact(v, key_of(e->index, "cluster-size"), g_strdup_printf("%" PRIu64, vmdk__grain(e)), false);
    blk_fact(v, key_of(e->index, "format"), g_strdup(e->type), true);
}

static GPtrArray *vmdk_facts(const Node *n)
{
    const Vmdk *s = n->opaque;
    GPtrArray *v = g_ptr_array_new();

    blk_fact(v, "cid", g_strdup_printf("%u", s->cid), false);
    blk_fact(v, "parent-cid", g_strdup_printf("%u", s->parent_cid), false);
    blk_fact(v, "create-type", g_strdup(s->create_type), true);
    for (guint i = 0; i < s->extents->len; i++)
        extent_facts(v, s->extents->pdata[i]);
    return v;
}

static const BlkImageOps image = { .create_options = vmdk__create_options, .create = vmdk__create, .names = vmdk_names, .facts = vmdk_facts,
                                   .check = vmdk__check };
static const BlkDriver vmdk = {
    .name = "vmdk",
    .size = sizeof(Vmdk),
    .has_backing = true,
    .image = &image,
    .probe = vmdk_probe,
    .open = vmdk_open,
    .close = vmdk_close,
    .submit = blocks_submit,
    .permissions = blocks_permissions,
    .set_readonly = blocks_set_readonly,
};
BLK_DRIVER(vmdk);
