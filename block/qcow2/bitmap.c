/*
 * block/qcow2/bitmap.c - persistent dirty bitmaps. Those that record ("auto") are read before the first write, kept in
 * memory, and stored when the image is closed; in between their "in use" flag is set on the disk, so that after a crash
 * nobody takes them for complete. Making and merging them is left to QEMU's tools.
 */
#include "block/qcow2/qcow2.h"
#include <errno.h>

enum { ROW = 24, IN_USE = 1, AUTO = 2, BITMAPS_MAX = 65535, NAME_BYTES = 1023 };
#define DIRECTORY_MAX (64 * MiB)
#define BYTES_MAX     (256 * MiB) /* of one bitmap in memory */

typedef struct Bitmap {
    char *name;
    uint64_t table_at, flags_at; /* flags_at: where in the file its flags are */
    uint32_t table_len, flags;
    unsigned granularity_bits;
    uint8_t *bits; /* while it records here */
    uint64_t bytes;
} Bitmap;

static void bitmap_free(gpointer p)
{
    Bitmap *b = p;

    g_free(b->name);
    g_free(b->bits);
    g_free(b);
}

/* ---- the directory ---- */
static bool parse_row(Qcow2 *s, const uint8_t *p, uint64_t left, uint64_t at, uint64_t *used)
{
    uint64_t name_len = be_load(p + 18, 2), extra = be32_load(p + 20), whole = ROW + extra + name_len;
    Bitmap *b;

    if (whole > left || name_len > NAME_BYTES || p[17] < 9 || p[17] > 31 || be64_load(p) % s->cluster)
        return false;
    b = g_new0(Bitmap, 1);
    g_ptr_array_add(s->bitmaps, b);
    *b = (Bitmap){ g_strndup((const char *)p + ROW + extra, name_len), be64_load(p), at + 12, be32_load(p + 8), be32_load(p + 12), p[17], NULL,
                   (((s->h.size + ones(p[17])) >> p[17]) + 7) / 8 };
    *used = align_up(whole, 8);
    return b->table_len == (b->bytes + s->cluster - 1) >> s->cluster_bits;
}

CO_FN bool qcow2__bitmaps_read(Qcow2 *s, Error **err)
{
    const Extension *e = qcow2__extension(s, EXT_BITMAPS);
    g_autofree uint8_t *dir = NULL;
    uint64_t size, at, count, used;

    s->bitmaps = g_ptr_array_new_with_free_func(bitmap_free);
    if (!e || e->len < 24 || !(s->h.autoclear & AUTOCLEAR_BITMAPS))
        return true;
    count = be32_load(e->data);
    size = be64_load(e->data + 8);
    at = be64_load(e->data + 16);
    if (count > BITMAPS_MAX || size > DIRECTORY_MAX || at % s->cluster || !(dir = g_try_malloc0(size + ROW)) || blk_read(s->n->file, at, dir, size))
        return fail(err, "'%s': the directory of bitmaps is damaged", s->n->filename);
    for (uint64_t p = 0; p + ROW <= size && s->bitmaps->len < count; p += used)
        if (!parse_row(s, dir + p, size - p, at + p, &used))
            return fail(err, "'%s': the directory of bitmaps is damaged", s->n->filename);
    return true;
}

GPtrArray *qcow2__bitmap_list(const Node *n)
{
    const Qcow2 *s = n->opaque;
    GPtrArray *v = g_ptr_array_new();

    for (guint i = 0; i < s->bitmaps->len; i++) {
        const Bitmap *b = s->bitmaps->pdata[i];
        BlkBitmap *out = g_new(BlkBitmap, 1);

        *out = (BlkBitmap){ g_strdup(b->name), 1ull << b->granularity_bits, b->flags & IN_USE, b->flags & AUTO };
        g_ptr_array_add(v, out);
    }
    return v;
}

/* ---- reading and recording ---- */
static CO_FN int load_table(Qcow2 *s, const Bitmap *b, uint64_t **out)
{
    uint64_t *t = g_try_new0(uint64_t, MAX(b->table_len, 1));
    int ret = t ? blk_read(s->n->file, b->table_at, t, (uint64_t)b->table_len * 8) : -ENOMEM;

    for (uint32_t i = 0; i < b->table_len && !ret; i++)
        t[i] = be64_load(&t[i]);
    *out = t;
    return ret;
}

static CO_FN int load_bits(Qcow2 *s, Bitmap *b)
{
    g_autofree uint64_t *table = NULL;
    int ret = b->bytes > BYTES_MAX ? -EFBIG : load_table(s, b, &table);

    if (!ret && !(b->bits = g_try_malloc0(MAX(b->bytes, 1))))
        ret = -ENOMEM;
    for (uint32_t i = 0; i < b->table_len && !ret; i++) {
        uint64_t at = table[i] & OFFSET_MASK, from = (uint64_t)i << s->cluster_bits, len = MIN(s->cluster, b->bytes - from);

        if (at % s->cluster)
            ret = -EIO;
        else if (at)
            ret = blk_read(s->n->file, at, b->bits + from, len);
        else if (table[i] & 1)
            memset(b->bits + from, 0xff, len);
    }
    if (ret)
        g_clear_pointer(&b->bits, g_free);
    return ret;
}

static CO_FN int write_flags(Qcow2 *s, Bitmap *b, uint32_t flags)
{
    uint8_t be[4];
    int ret;

    be32_store(be, flags);
    ret = blk_write(s->n->file, b->flags_at, be, 4);
    b->flags = ret ? b->flags : flags;
    return ret;
}

/* Before the first change. One that cannot be read stays "in use": what it holds is not complete any more. */
CO_FN int qcow2__bitmaps_start(Qcow2 *s)
{
    int ret = 0;

    co_lock(&s->lock);
    for (guint i = 0; i < s->bitmaps->len && !ret && !s->recording; i++) {
        Bitmap *b = s->bitmaps->pdata[i];

        if (!(b->flags & AUTO) || b->flags & IN_USE)
            continue;
        if (load_bits(s, b))
            warn_report("'%s': bitmap '%s' cannot be read and is not kept up", s->n->filename, b->name);
        ret = write_flags(s, b, b->flags | IN_USE);
    }
    if (!ret && !s->recording)
        ret = blk_flush(s->n->file);
    s->recording |= !ret;
    co_unlock(&s->lock);
    return ret;
}

void qcow2__bitmaps_set(Qcow2 *s, uint64_t off, uint64_t len)
{
    for (guint i = 0; i < s->bitmaps->len && len; i++) {
        Bitmap *b = s->bitmaps->pdata[i];
        uint64_t last = (off + len - 1) >> b->granularity_bits;

        for (uint64_t k = off >> b->granularity_bits; b->bits && k <= last && k / 8 < b->bytes; k++)
            b->bits[k / 8] |= (uint8_t)(1 << k % 8);
    }
}

/* ---- storing ---- */
static bool all(const uint8_t *p, uint64_t len, uint8_t v) { return !len || (p[0] == v && !memcmp(p, p + 1, len - 1)); }

static CO_FN int store_cluster(Qcow2 *s, const Bitmap *b, uint32_t i, uint64_t *entry)
{
    uint64_t from = (uint64_t)i << s->cluster_bits, len = MIN(s->cluster, b->bytes - from), at = *entry & OFFSET_MASK, got;
    g_autofree uint8_t *buf = NULL;
    int ret = 0;

    if (all(b->bits + from, len, 0) || all(b->bits + from, len, 0xff)) {
        if (at)
            qcow2__free_later(s, at, s->cluster, true);
        *entry = b->bits[from] & 1;
        return 0;
    }
    if (!at)
        ret = qcow2__alloc(s, 1, true, &at, &got);
    if (ret)
        return ret;
    buf = g_malloc0(s->cluster);
    memcpy(buf, b->bits + from, len);
    *entry = at;
    return qcow2__hits_meta(s, at, s->cluster) ? -EIO : blk_write(s->n->file, at, buf, s->cluster);
}

static CO_FN int store(Qcow2 *s, Bitmap *b)
{
    g_autofree uint64_t *table = NULL;
    int ret = load_table(s, b, &table);

    for (uint32_t i = 0; i < b->table_len && !ret; i++)
        ret = store_cluster(s, b, i, &table[i]);
    for (uint32_t i = 0; i < b->table_len && !ret; i++)
        be64_store(&table[i], table[i]);
    if (!ret)
        ret = blk_write(s->n->file, b->table_at, table, (uint64_t)b->table_len * 8);
    if (!ret)
        ret = qcow2__writeback(s); /* counted and written before anybody trusts it */
    return ret ? ret : write_flags(s, b, b->flags & ~(uint32_t)IN_USE);
}

/* At the end, lock held. */
CO_FN int qcow2__bitmaps_store(Qcow2 *s)
{
    int ret = 0;

    for (guint i = 0; i < s->bitmaps->len && !ret; i++) {
        Bitmap *b = s->bitmaps->pdata[i];

        if (b->bits)
            ret = store(s, b);
        g_clear_pointer(&b->bits, g_free);
    }
    s->recording = false;
    return ret;
}
