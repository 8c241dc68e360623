/* block/blocks-table.c - see blocks.h: tables in memory, room in the file, new files. */
#include "block/blocks.h"
#include <errno.h>
#include <stdlib.h>

CO_FN int block_table_load(BlockTable *t, Node *file, uint64_t at, uint64_t len, unsigned unit)
{
    int ret;

    if (len > BLOCK_TABLE_MAX)
        return -EFBIG;
    *t = (BlockTable){ .at = at, .len = len, .unit = unit, .bytes = g_try_malloc(MAX(len, 1)),
                       .dirty = g_try_malloc0(len / unit / 8 + 1) };
    ret = t->bytes && t->dirty ? len ? blk_read(file, at, t->bytes, len) : 0 : -ENOMEM;
    if (ret)
        block_table_free(t);
    return ret;
}

void block_table_mark(BlockTable *t, uint64_t off, uint64_t len)
{
    for (uint64_t i = off / t->unit; i <= (off + len - 1) / t->unit; i++) {
        t->ndirty += !(t->dirty[i / 8] >> (i % 8) & 1);
        t->dirty[i / 8] |= (uint8_t)(1 << (i % 8));
    }
}

static bool dirty_at(const BlockTable *t, uint64_t i) { return i * t->unit < t->len && t->dirty[i / 8] >> (i % 8) & 1; }

CO_FN int block_table_write(BlockTable *t, Node *file)
{
    int ret = 0;

    for (uint64_t i = 0, end; i * t->unit < t->len && t->ndirty && !ret; i = end) {
        end = i + 1;
        if (!t->dirty[i / 8] && i % 8 == 0)
            end = i + 8;
        if (!dirty_at(t, i))
            continue;
        while (dirty_at(t, end) && end - i < 4096)
            end++;
        ret = blk_write(file, t->at + i * t->unit, t->bytes + i * t->unit, MIN(end * t->unit, t->len) - i * t->unit);
        for (uint64_t k = i; k < end && !ret; k++) {
            t->dirty[k / 8] &= (uint8_t)~(1 << (k % 8));
            t->ndirty--;
        }
    }
    return ret;
}

void block_table_free(BlockTable *t)
{
    g_free(t->bytes);
    g_free(t->dirty);
    *t = (BlockTable){ .bytes = NULL };
}

CO_FN int blocks_extend(Node *file, uint64_t at, uint64_t len, bool *fresh)
{
    uint64_t end = at + len;

    *fresh = at >= file->size;
    return end > file->size ? blk_truncate(file, end, 0) : 0;
}

static int by_place(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

bool blocks_apart(uint64_t *at, size_t n, uint64_t size, uint64_t lo)
{
    qsort(at, n, sizeof(*at), by_place);
    for (size_t i = 0; i < n; i++)
        if (at[i] < lo || at[i] > INT64_MAX - size || (i && at[i] - at[i - 1] < size))
            return false;
    return true;
}

CO_FN Node *blocks_new_file(Loop *loop, const char *filename, Error **err)
{
    g_autoptr(Opts) o = opts_new();
    Node *n;

    if (!blk_create_file(loop, filename, 0, err))
        return NULL;
    opts_set(o, "driver", "file");
    opts_set(o, "filename", filename);
    n = block__open(loop, o, false, NULL, NULL, NULL, err);
    if (n && !blocks_take_file(n, false, err)) {
        node_unref(n);
        return NULL;
    }
    return n;
}
