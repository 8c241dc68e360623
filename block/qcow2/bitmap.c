/*
 * block/qcow2/bitmap.c - persistent dirty bitmaps. Their directory is read with the image; their bits when somebody asks, and
 * before the first change (block/dirty.h keeps them up). From then on their "in use" flag is set on the disk, so that after a
 * crash nobody takes them for complete. When the image is closed all are written anew, the header is put on the new
 * directory, and the old clusters go.
 */
#include "block/dirty.h"
#include "block/qcow2/qcow2.h"
#include <errno.h>

enum { ROW = 24, IN_USE = 1, AUTO = 2, EXTRA_COMPATIBLE = 4, BITMAPS_MAX = 65535, NAME_BYTES = 1023, EXT_BYTES = 24 };
#define DIRECTORY_MAX (64 * MiB)
#define BYTES_MAX     (512 * MiB) /* of all together in memory */

typedef struct Bitmap {
    char *name;
    uint64_t table_at, flags_at; /* flags_at: where in the file its flags are; 0: only in memory yet */
    uint32_t table_len, flags;
    unsigned granularity_bits;
    uint8_t *extra; /* bytes that we do not know */
    uint32_t extra_len;
    bool loaded; /* it is (or was, until somebody removed it) one of the node's */
} Bitmap;

static void bitmap_free(gpointer p)
{
    Bitmap *b = p;

    g_free(b->name);
    g_free(b->extra);
    g_free(b);
}

static uint64_t bytes_of(const Qcow2 *s, unsigned granularity_bits) { return (((s->h.size + ones(granularity_bits)) >> granularity_bits) + 7) / 8; }
static uint32_t table_len(const Qcow2 *s, unsigned granularity_bits)
{
    return (uint32_t)((bytes_of(s, granularity_bits) + s->cluster - 1) >> s->cluster_bits);
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
    *b = (Bitmap){ .name = g_strndup((const char *)p + ROW + extra, name_len), .table_at = be64_load(p), .flags_at = at + 12, .table_len = be32_load(p + 8),
                   .flags = be32_load(p + 12), .granularity_bits = p[17], .extra = g_memdup2(p + ROW, extra), .extra_len = (uint32_t)extra };
    *used = align_up(whole, 8);
    return b->flags & IN_USE ? b->table_len <= table_len(s, 9) : b->table_len == table_len(s, b->granularity_bits);
}

CO_FN bool qcow2__bitmaps_read(Qcow2 *s, Error **err)
{
    const Extension *e = qcow2__extension(s, EXT_BITMAPS);
    g_autofree uint8_t *dir = NULL;
    uint64_t size, at, count, used;

    s->bitmaps = g_ptr_array_new_with_free_func(bitmap_free);
    if (!e || e->len < EXT_BYTES || !(s->h.autoclear & AUTOCLEAR_BITMAPS))
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

/* ---- reading ---- */
static CO_FN int load_table(Qcow2 *s, const Bitmap *b, uint64_t **out)
{
    uint64_t *t = g_try_new0(uint64_t, MAX(b->table_len, 1));
    int ret = t ? blk_read(s->n->file, b->table_at, t, (uint64_t)b->table_len * 8) : -ENOMEM;

    for (uint32_t i = 0; i < b->table_len && !ret; i++)
        t[i] = be64_load(&t[i]);
    *out = t;
    return ret;
}

/* A cluster of bits into the bitmap: bit k of the file's bytes is granule k. */
static void take_bits(DirtyBitmap *d, uint64_t from, const uint8_t *p, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        for (unsigned k = 0; p[i] && k < 8; k++)
            if (p[i] >> k & 1)
                dirty_set(d, ((from + i) * 8 + k) << d->shift, 1);
}

static CO_FN int load_bits(Qcow2 *s, const Bitmap *b, DirtyBitmap *d)
{
    g_autofree uint64_t *table = NULL;
    g_autofree uint8_t *buf = g_malloc(s->cluster);
    uint64_t bytes = bytes_of(s, b->granularity_bits);
    int ret = load_table(s, b, &table);

    for (uint32_t i = 0; i < b->table_len && !ret; i++) {
        uint64_t at = table[i] & OFFSET_MASK, from = (uint64_t)i << s->cluster_bits, len = MIN(s->cluster, bytes - from);

        if (at % s->cluster)
            ret = -EIO;
        else if (at)
            ret = blk_read(s->n->file, at, buf, len);
        else if (table[i] & 1)
            dirty_set(d, (from * 8) << d->shift, len * 8 << d->shift);
        if (at && !ret)
            take_bits(d, from, buf, len);
    }
    return ret;
}

static CO_FN int load_one(Qcow2 *s, Bitmap *b)
{
    DirtyBitmap *d = dirty_new(s->n, b->name, 1ull << b->granularity_bits, NULL);
    int ret;

    if (!d)
        return -ENOMEM;
    d->persistent = true;
    d->disabled = !(b->flags & AUTO);
    d->inconsistent = b->flags & IN_USE;
    ret = d->inconsistent ? 0 : load_bits(s, b, d);
    if (ret)
        dirty_free(d);
    else
        b->loaded = true;
    return ret;
}

static CO_FN int load_all(Qcow2 *s)
{
    uint64_t total = 0;

    for (guint i = 0; i < s->bitmaps->len; i++) {
        Bitmap *b = s->bitmaps->pdata[i];

        total += bytes_of(s, b->granularity_bits);
        if (!b->loaded && (total > BYTES_MAX || load_one(s, b)))
            warn_report("'%s': bitmap '%s' cannot be read and is not kept up", s->n->filename, b->name);
    }
    return 0;
}

CO_FN int qcow2__bitmaps_load(Node *n)
{
    Qcow2 *s = n->opaque;
    int ret;

    co_lock(&s->lock);
    ret = load_all(s);
    co_unlock(&s->lock);
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
    if (!s->recording)
        ret = load_all(s);
    for (guint i = 0; i < s->bitmaps->len && !ret && !s->recording; i++) {
        Bitmap *b = s->bitmaps->pdata[i];

        if (!(b->flags & IN_USE))
            ret = write_flags(s, b, b->flags | IN_USE);
    }
    if (!ret && !s->recording)
        ret = blk_flush(s->n->file);
    s->recording |= !ret;
    co_unlock(&s->lock);
    return ret;
}

CO_FN int qcow2__bitmaps_touch(Node *n)
{
    Qcow2 *s = n->opaque;

    if (n->readonly)
        return -EACCES;
    return s->h.version < 3 ? -ENOTSUP : s->recording ? 0 : qcow2__bitmaps_start(s);
}

void qcow2__bitmaps_set(Qcow2 *s, uint64_t off, uint64_t len)
{
    if (s->n->dirty && len)
        dirty__written(s->n, off, len);
}

/* ---- storing ---- */
static bool all(const uint8_t *p, uint64_t len, uint8_t v) { return !len || (p[0] == v && !memcmp(p, p + 1, len - 1)); }

static void put_bits(const DirtyBitmap *d, uint64_t from, uint8_t *p, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++) {
        uint64_t byte = from + i;

        p[i] = byte / 8 < (d->nbits + 63) / 64 ? (uint8_t)(d->bits[byte / 8] >> byte % 8 * 8) : 0;
    }
}

static CO_FN int store_cluster(Qcow2 *s, const DirtyBitmap *d, uint32_t i, uint8_t *buf, uint64_t *entry)
{
    uint64_t bytes = bytes_of(s, d->shift), from = (uint64_t)i << s->cluster_bits, len = MIN(s->cluster, bytes - from), at, got;
    int ret;

    memset(buf, 0, s->cluster);
    put_bits(d, from, buf, len);
    *entry = 0;
    if (all(buf, len, 0) || all(buf, len, 0xff)) {
        *entry = buf[0] & 1;
        return 0;
    }
    ret = qcow2__alloc(s, 1, true, &at, &got);
    if (ret)
        return ret;
    *entry = at;
    return qcow2__hits_meta(s, at, s->cluster) ? -EIO : blk_write(s->n->file, at, buf, s->cluster);
}

/* Bits and table in new clusters; the row then leads there. */
static CO_FN int store(Qcow2 *s, const DirtyBitmap *d, Bitmap *row)
{
    uint32_t n = table_len(s, d->shift);
    g_autofree uint64_t *table = g_new0(uint64_t, MAX(n, 1));
    g_autofree uint8_t *buf = g_malloc(s->cluster);
    uint64_t at = 0, got;
    int ret = 0;

    for (uint32_t i = 0; i < n && !ret; i++)
        ret = store_cluster(s, d, i, buf, &table[i]);
    for (uint32_t i = 0; i < n; i++)
        be64_store(&table[i], table[i]);
    if (!ret)
        ret = qcow2__alloc(s, MAX(((uint64_t)n * 8 + s->cluster - 1) >> s->cluster_bits, 1), true, &at, &got);
    if (!ret)
        ret = blk_write(s->n->file, at, table, (uint64_t)n * 8);
    row->table_at = at;
    row->table_len = n;
    row->flags = (d->disabled ? 0 : AUTO) | (row->flags & EXTRA_COMPATIBLE);
    row->granularity_bits = d->shift;
    return ret;
}

static void put_row(GByteArray *out, const Bitmap *b)
{
    uint8_t row[ROW] = { 0 }, pad[8] = { 0 };
    size_t name = strlen(b->name);

    be64_store(row, b->table_at);
    be32_store(row + 8, b->table_len);
    be32_store(row + 12, b->flags);
    row[16] = 1;
    row[17] = (uint8_t)b->granularity_bits;
    be_store(row + 18, 2, name);
    be32_store(row + 20, b->extra_len);
    g_byte_array_append(out, row, ROW);
    if (b->extra_len)
        g_byte_array_append(out, b->extra, b->extra_len);
    g_byte_array_append(out, (const uint8_t *)b->name, (guint)name);
    g_byte_array_append(out, pad, (guint)(align_up(out->len, 8) - out->len));
}

static void set_extension(Qcow2 *s, uint32_t count, uint64_t at, uint64_t size)
{
    Extension *e = qcow2__extension(s, EXT_BITMAPS);

    if (!count) {
        if (e)
            g_ptr_array_remove(s->extensions, e);
        s->h.autoclear &= ~(uint64_t)AUTOCLEAR_BITMAPS;
        return;
    }
    if (!e) {
        e = g_new0(Extension, 1);
        *e = (Extension){ EXT_BITMAPS, EXT_BYTES, g_malloc0(EXT_BYTES) };
        g_ptr_array_add(s->extensions, e);
    }
    be32_store(e->data, count);
    be64_store(e->data + 8, size);
    be64_store(e->data + 16, at);
    s->h.autoclear |= AUTOCLEAR_BITMAPS;
}

static CO_FN int write_directory(Qcow2 *s)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    uint64_t at = 0, got;
    int ret = 0;

    for (guint i = 0; i < s->bitmaps->len; i++)
        put_row(out, s->bitmaps->pdata[i]);
    if (out->len > DIRECTORY_MAX || s->bitmaps->len > BITMAPS_MAX)
        return -EFBIG;
    if (out->len) {
        ret = qcow2__alloc(s, (out->len + s->cluster - 1) >> s->cluster_bits, true, &at, &got);
        if (!ret)
            ret = blk_write(s->n->file, at, out->data, out->len);
    }
    if (!ret)
        ret = qcow2__writeback(s); /* counted and written before the header leads there */
    if (!ret)
        ret = blk_flush(s->n->file);
    if (ret)
        return ret;
    set_extension(s, s->bitmaps->len, at, out->len);
    return qcow2__write_header(s);
}

/* What an old row leads to, noted to go when the header does without it. */
static CO_FN void note_old(Qcow2 *s, const Bitmap *b, GArray *old)
{
    g_autofree uint64_t *table = NULL;
    Free f = { .first = b->table_at, .count = MAX((uint64_t)b->table_len * 8, 1) };

    if (!b->flags_at || load_table(s, b, &table))
        return;
    g_array_append_val(old, f);
    for (uint32_t i = 0; i < b->table_len; i++) {
        f = (Free){ .first = table[i] & OFFSET_MASK, .count = s->cluster };
        if (f.first && f.first % s->cluster == 0)
            g_array_append_val(old, f);
    }
}

static Bitmap *row_of(const Qcow2 *s, const char *name)
{
    for (guint i = 0; i < s->bitmaps->len; i++)
        if (!strcmp(((Bitmap *)s->bitmaps->pdata[i])->name, name))
            return s->bitmaps->pdata[i];
    return NULL;
}

/* Rows of those that somebody removed go; others are written. */
static CO_FN int store_rows(Qcow2 *s, GArray *old)
{
    GPtrArray *mine = s->n->dirty;
    int ret = 0;

    for (guint i = s->bitmaps->len; i-- > 0;) {
        Bitmap *b = s->bitmaps->pdata[i];
        const DirtyBitmap *d = dirty_find(s->n, b->name);

        if (!b->loaded || (d && d->persistent && d->inconsistent))
            continue;
        note_old(s, b, old);
        if (!d || !d->persistent)
            g_ptr_array_remove_index(s->bitmaps, i);
    }
    for (guint i = 0; mine && i < mine->len && !ret; i++) {
        const DirtyBitmap *d = mine->pdata[i];
        Bitmap *row = d->name ? row_of(s, d->name) : NULL;

        if (!d->name || !d->persistent || d->inconsistent)
            continue;
        if (!row) {
            row = g_new0(Bitmap, 1);
            row->name = g_strdup(d->name);
            row->loaded = true;
            g_ptr_array_add(s->bitmaps, row);
        }
        ret = store(s, d, row);
    }
    return ret;
}

/* At the end, lock held. */
CO_FN int qcow2__bitmaps_store(Qcow2 *s)
{
    g_autoptr(GArray) old = g_array_new(FALSE, FALSE, sizeof(Free));
    const Extension *e = qcow2__extension(s, EXT_BITMAPS);
    Free dir = { .first = 0 };
    int ret;

    if (!s->recording)
        return 0;
    if (e && e->len >= EXT_BYTES && s->h.autoclear & AUTOCLEAR_BITMAPS)
        dir = (Free){ .first = be64_load(e->data + 16), .count = be64_load(e->data + 8) };
    ret = store_rows(s, old);
    if (!ret && (s->bitmaps->len || dir.count))
        ret = write_directory(s);
    if (!ret && dir.count)
        g_array_append_val(old, dir);
    for (guint i = 0; i < old->len && !ret; i++) {
        const Free *f = &g_array_index(old, Free, i);

        qcow2__free_later(s, f->first, f->count, true);
    }
    s->recording = false;
    return ret;
}
