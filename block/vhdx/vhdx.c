/* block/vhdx/vhdx.c - see vhdx.h: opening, blocks, check. */
#include "block/vhdx/vhdx.h"
#include <errno.h>

static int vhdx_probe(const uint8_t *head, size_t n) { return n >= 8 && !memcmp(head, "vhdxfile", 8) ? 100 : 0; }
static uint64_t entry(const Vhdx *s, uint64_t block) { return le64_load(s->bat.bytes + vhdx__bat_index(s, block) * 8); }
static bool present(uint64_t e) { return (e & BAT_STATE) == BAT_PRESENT; }

/* ---- blocks ---- */
static CO_FN int vhdx_map(Node *n, uint64_t off, uint64_t len, BlockMap *out)
{
    const Vhdx *s = n->opaque;
    uint64_t block = off / s->block_size, in = off % s->block_size, first = entry(s, block);

    if ((first & BAT_STATE) == BAT_PARTIAL)
        return -EIO; /* of differencing images only */
    *out = (BlockMap){ .type = present(first) ? BLOCK_DATA : BLOCK_ZERO, .len = s->block_size - in };
    if (present(first)) {
        out->file = n->file;
        out->host = (first & BAT_OFFSET_MASK) + in;
    }
    for (uint64_t k = 1; out->len < len; k++) {
        uint64_t e = entry(s, block + k);

        if ((e & BAT_STATE) == BAT_PARTIAL || present(e) != present(first) || (present(e) && (e & BAT_OFFSET_MASK) != (first & BAT_OFFSET_MASK) + k * s->block_size))
            break;
        out->len += s->block_size;
    }
    out->len = MIN(out->len, len);
    return 0;
}

static CO_FN int vhdx_place(Node *n, BlockPlace *p)
{
    Vhdx *s = n->opaque;
    int ret;

    if (s->next + p->count * s->block_size > VHDX_FILE_MAX)
        return -EFBIG;
    p->file = n->file;
    p->host = s->next;
    ret = blocks_extend(n->file, s->next, p->count * s->block_size, &p->fresh);
    if (!ret)
        s->next += p->count * s->block_size;
    return ret;
}

static CO_FN int vhdx_link(Node *n, const BlockPlace *p)
{
    Vhdx *s = n->opaque;

    for (uint64_t i = 0; i < p->count; i++) {
        uint64_t at = vhdx__bat_index(s, p->first + i) * 8;

        le64_store(s->bat.bytes + at, (p->host + i * s->block_size) | BAT_PRESENT);
        block_table_mark(&s->bat, at, 8);
    }
    return 0;
}

static CO_FN int vhdx_writeback(Node *n)
{
    int ret = blk_flush(n->file);

    return ret ? ret : vhdx__write_bat(n->opaque);
}

/* From now on the file is another one, and its log may have something. */
static CO_FN int vhdx_begin(Node *n)
{
    Vhdx *s = n->opaque;

    vhdx__new_guid(s->h.file_write);
    vhdx__new_guid(s->h.data_write);
    vhdx__new_guid(s->h.log);
    s->log_next = 0;
    s->log_sequence = 1;
    return vhdx__write_header(s);
}

static CO_FN int vhdx_end(Node *n)
{
    Vhdx *s = n->opaque;

    memset(s->h.log, 0, VHDX_GUID);
    return vhdx__write_header(s);
}

/* The places of the blocks; the caller frees. */
static uint64_t *places(const Vhdx *s, size_t *count)
{
    uint64_t *v = g_try_new(uint64_t, vhdx__blocks(s) + 1);

    *count = 0;
    for (uint64_t i = 0; v && i < vhdx__blocks(s); i++)
        if (present(entry(s, i)))
            v[(*count)++] = entry(s, i) & BAT_OFFSET_MASK;
    return v;
}

static bool vhdx_may_write(const Node *n, Error **err)
{
    const Vhdx *s = n->opaque;
    size_t count;
    g_autofree uint64_t *v = places(s, &count);

    if (!v)
        return fail(err, "no memory for the table of '%s'", n->filename);
    if (blocks_apart(v, count, s->block_size, s->regions_end))
        return true;
    fail(err, "'%s' is corrupt: two blocks of the disk lie at one place, or one in the tables", n->filename);
    return error_hint(err, "readonly=on lets it be read");
}

static const BlockOps ops = { .map = vhdx_map, .place = vhdx_place, .link = vhdx_link, .may_write = vhdx_may_write, .begin = vhdx_begin,
                              .writeback = vhdx_writeback, .end = vhdx_end };

/* ---- opening ---- */
static CO_FN bool load_bat(Vhdx *s, Error **err)
{
    Node *n = s->b.n;
    uint64_t blocks = vhdx__blocks(s), entries = blocks ? vhdx__bat_index(s, blocks - 1) + 1 : 0, len = align_up(entries * 8, VHDX_PAGE);
    int ret;

    if (len > s->bat_region.len)
        return fail(err, "'%s': the table of blocks is too small for the disk", n->filename);
    ret = block_table_load(&s->bat, n->file, s->bat_region.at, len, VHDX_PAGE);
    return !ret || fail_errno_is(err, -ret, "cannot read the table of '%s'", n->filename);
}

static bool find_next(Vhdx *s, Error **err)
{
    const Node *n = s->b.n;

    s->next = s->regions_end;
    for (uint64_t i = 0; i < vhdx__blocks(s); i++) {
        uint64_t e = entry(s, i);

        if (present(e) && (e & BAT_OFFSET_MASK) > VHDX_FILE_MAX)
            return fail(err, "'%s': a block lies beyond what is possible", n->filename);
        if (present(e))
            s->next = MAX(s->next, (e & BAT_OFFSET_MASK) + s->block_size);
    }
    return blocks_may_write(n, err);
}

static CO_FN bool open_steps(Node *n, Error **err)
{
    Vhdx *s = n->opaque;

    if (n->file->readonly && !n->readonly)
        return fail(err, "'%s' is read-only", n->filename);
    blocks_init(n, &ops, VHDX_UNIT, VHDX_UNIT);
    if (!blocks_take_file(n->file, n->readonly, err) || !vhdx__read_headers(s, err))
        return false;
    if (vhdx__has_log(s) && !vhdx__replay(s, err))
        return false;
    if (!vhdx__read_regions(s, err) || !vhdx__read_metadata(s, err) || !load_bat(s, err))
        return false;
    blocks_init(n, &ops, s->block_size, s->block_size);
    return find_next(s, err);
}

static CO_FN bool vhdx_open(Node *n, Opts *o, Error **err)
{
    Vhdx *s = n->opaque;

    if (open_steps(n, err))
        return true;
    block_table_free(&s->bat);
    return false;
}

static CO_FN void vhdx_close(Node *n)
{
    Vhdx *s = n->opaque;

    blocks_close(n);
    block_table_free(&s->bat);
}

/* ---- facts and check ---- */
static void vhdx_names(const Node *n, BlkNames *out)
{
    const Vhdx *s = n->opaque;

    *out = (BlkNames){ .cluster_size = s->block_size };
}

static CO_FN int vhdx_check(Node *n, BlkCheck *c, unsigned fix)
{
    Vhdx *s = n->opaque;
    size_t count;
    g_autofree uint64_t *v = places(s, &count);

    if (!v)
        return -ENOMEM;
    if (s->replayed) { /* when it was opened */
        c->corruptions++;
        c->corruptions_fixed++;
        s->replayed = false;
    }
    blocks_apart(v, count, s->block_size, s->regions_end); /* sorts */
    for (size_t i = 0; i < count; i++) {
        if (v[i] >= n->file->size || v[i] < s->regions_end) {
            blk_check_say(c, "ERROR: a block lies at %#" PRIx64 ", %s", v[i], v[i] < s->regions_end ? "in the tables" : "behind the end of the file");
            c->corruptions++;
        } else if (i && v[i] - v[i - 1] < s->block_size) {
            blk_check_say(c, "ERROR: two blocks lie at %#" PRIx64, v[i]);
            c->corruptions++;
        }
    }
    return 0;
}

static const BlkImageOps image = { .create_options = vhdx__create_options, .create = vhdx__create, .names = vhdx_names, .check = vhdx_check };
static const BlkDriver vhdx = {
    .name = "vhdx",
    .size = sizeof(Vhdx),
    .image = &image,
    .probe = vhdx_probe,
    .open = vhdx_open,
    .close = vhdx_close,
    .submit = blocks_submit,
    .permissions = blocks_permissions,
    .set_readonly = blocks_set_readonly,
};
BLK_DRIVER(vhdx);
