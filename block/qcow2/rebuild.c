/*
 * block/qcow2/rebuild.c - all refcounts anew: blocks for what is used and a table, behind the end of the file, then the
 * header on them. What the old ones took is free then.
 */
#include "block/qcow2/qcow2.h"
#include <errno.h>

/* Block indices that something in the file needs, ascending. */
static GArray *needed(const Qcow2 *s, Counts *v)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    uint64_t c = 0;

    while ((c = qcow2__count_next(v, c)) < qcow2__counts_end(v)) {
        uint64_t index = c >> s->refblock_bits;

        g_array_append_val(list, index);
        c = (index + 1) << s->refblock_bits;
    }
    return list;
}

static void add_index(GArray *list, uint64_t index)
{
    for (guint i = list->len; i-- > 0;) /* near the end */
        if (g_array_index(list, uint64_t, i) == index)
            return;
    g_array_append_val(list, index);
}

static CO_FN int write_blocks(Qcow2 *s, Counts *v, const GArray *list, uint64_t at, uint64_t *table)
{
    g_autofree uint8_t *buf = g_try_malloc(s->cluster);
    int ret = buf ? 0 : -ENOMEM;

    for (guint i = 0; i < list->len && !ret; i++) {
        uint64_t index = g_array_index(list, uint64_t, i);

        memset(buf, 0, s->cluster);
        for (uint64_t k = 0; k < 1ull << s->refblock_bits; k++) {
            uint64_t count = qcow2__count_of(v, (index << s->refblock_bits) + k);

            if (count > s->refcount_max)
                return -ERANGE;
            qcow2__refcount_put(s, buf, k, count);
        }
        ret = blk_write(s->n->file, at + i * s->cluster, buf, s->cluster);
        table[index] = at + i * s->cluster;
    }
    return ret;
}

static CO_FN int write_table(Qcow2 *s, uint64_t at, uint64_t clusters, const uint64_t *table, uint64_t len)
{
    g_autofree uint64_t *be = g_try_new0(uint64_t, len);
    uint8_t place[12];
    int ret = be ? 0 : -ENOMEM;

    for (uint64_t i = 0; i < len && !ret; i++)
        be64_store(&be[i], table[i]);
    if (!ret)
        ret = blk_write(s->n->file, at, be, len * 8);
    if (!ret)
        ret = blk_flush(s->n->file);
    be64_store(place, at);
    be32_store(place + 8, (uint32_t)clusters);
    if (!ret)
        ret = blk_write(s->n->file, 48, place, sizeof(place));
    return ret ? ret : blk_flush(s->n->file);
}

/* Blocks and table need blocks themselves: rounds until nothing is added. */
static bool lay_out(Qcow2 *s, Counts *v, GArray *list, uint64_t first, uint64_t *clusters)
{
    uint64_t done = 0, total;

    do {
        uint64_t last = list->len ? g_array_index(list, uint64_t, list->len - 1) : 0;

        *clusters = MAX((((last + 1) * 8 + s->cluster - 1) >> s->cluster_bits), 1);
        total = list->len + *clusters;
        for (; done < total; done++) {
            add_index(list, (first + done) >> s->refblock_bits);
            if (!qcow2__count_add(v, first + done))
                return false;
        }
    } while (list->len + *clusters > done);
    return *clusters << (s->cluster_bits - 3) <= REFTABLE_MAX;
}

CO_FN int qcow2__rebuild(Qcow2 *s, Counts *v)
{
    uint64_t first = (s->n->file->size + s->cluster - 1) >> s->cluster_bits, clusters, len, at = first << s->cluster_bits;
    g_autoptr(GArray) list = needed(s, v);
    uint64_t *table;
    int ret;

    if (!lay_out(s, v, list, first, &clusters))
        return -EFBIG;
    len = clusters << (s->cluster_bits - 3);
    table = g_try_new0(uint64_t, len);
    if (!table)
        return -ENOMEM;
    ret = write_blocks(s, v, list, at, table);
    if (!ret)
        ret = write_table(s, at + list->len * s->cluster, clusters, table, len);
    if (ret) {
        g_free(table);
        return ret;
    }
    qcow2__forget(s, 0, HOST_MAX);
    g_free(s->reftable);
    s->reftable = table;
    s->reftable_len = len;
    s->h.reftable_at = at + list->len * s->cluster;
    s->h.reftable_clusters = clusters;
    g_array_set_size(s->reftable_dirty, 0);
    qcow2__note_meta(s, at, (list->len + clusters) << s->cluster_bits);
    s->free_guess = 0;
    return 0;
}
