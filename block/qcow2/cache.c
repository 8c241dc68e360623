/*
 * block/qcow2/cache.c - refcount blocks and L2 tables in memory, by slices; bounded; and the one way back to the disk.
 */
#include "block/qcow2/qcow2.h"
#include <errno.h>

enum { RUN_MAX = 64 }; /* neighbouring slices that are written by one request */

static Slice *slice_of(GList *l) { return l->data; }

Slice *qcow2__peek(Qcow2 *s, uint64_t at)
{
    Slice *e = g_hash_table_lookup(s->slices, &at);

    if (e && s->lru.head != &e->link) {
        g_queue_unlink(&s->lru, &e->link);
        g_queue_push_head_link(&s->lru, &e->link);
    }
    return e;
}

static void drop(Qcow2 *s, Slice *e)
{
    s->dirty[e->kind] -= e->dirty;
    g_queue_unlink(&s->lru, &e->link);
    g_hash_table_remove(s->slices, &e->at);
    g_free(e);
}

/* Room for one more: the oldest clean one goes; when all of the older half are dirty they are written first. While
 * they are being written the limit gives way. */
static CO_FN int make_room(Qcow2 *s)
{
    for (int round = 0; s->lru.length >= s->slices_max && !s->writing_back && round < 2; round++) {
        unsigned looked = 0;
        int ret;

        for (GList *l = s->lru.tail; l && looked++ < s->slices_max / 2; l = l->prev) {
            if (!slice_of(l)->dirty) {
                drop(s, slice_of(l));
                return 0;
            }
        }
        ret = qcow2__writeback(s);
        if (ret)
            return ret;
    }
    return 0;
}

CO_FN int qcow2__get(Qcow2 *s, uint64_t at, SliceKind kind, Slice **out)
{
    Slice *e = qcow2__peek(s, at);
    int ret;

    *out = e;
    if (e)
        return e->kind == kind ? 0 : qcow2__corrupt(s, "a table at %#" PRIx64 " is used as two kinds of table", at);
    ret = make_room(s);
    if (ret)
        return ret;
    e = g_try_malloc(sizeof(*e) + s->slice);
    if (!e)
        return -ENOMEM;
    *e = (Slice){ .at = at, .kind = kind, .link = { .data = e } };
    ret = blk_read(s->n->file, at, e->data, s->slice);
    if (ret) {
        g_free(e);
        return ret;
    }
    g_hash_table_insert(s->slices, &e->at, e);
    g_queue_push_head_link(&s->lru, &e->link);
    *out = e;
    return 0;
}

void qcow2__dirty(Qcow2 *s, Slice *e)
{
    s->dirty[e->kind] += !e->dirty;
    e->dirty = true;
}

void qcow2__forget(Qcow2 *s, uint64_t at, uint64_t len)
{
    if (len / s->slice > s->lru.length) { /* fewer in memory than places to look */
        for (GList *l = s->lru.head, *next; l; l = next) {
            next = l->next;
            if (in_range(slice_of(l)->at - at, s->slice, len))
                drop(s, slice_of(l));
        }
        return;
    }
    for (uint64_t a = at; a < at + len; a += s->slice) {
        Slice *e = g_hash_table_lookup(s->slices, &a);

        if (e)
            drop(s, e);
    }
}

static int by_place(gconstpointer a, gconstpointer b)
{
    const Slice *x = *(Slice *const *)a, *y = *(Slice *const *)b;

    return x->at < y->at ? -1 : x->at > y->at;
}

CO_FN int qcow2__write_slices(Qcow2 *s, SliceKind kind)
{
    g_autoptr(GPtrArray) v = g_ptr_array_new();
    int ret = 0;

    for (GList *l = s->lru.head; l; l = l->next)
        if (slice_of(l)->dirty && slice_of(l)->kind == kind)
            g_ptr_array_add(v, slice_of(l));
    g_ptr_array_sort(v, by_place);
    for (guint i = 0, k; i < v->len && !ret; i += k) {
        Slice **e = (Slice **)v->pdata + i;
        struct iovec iov[RUN_MAX];
        BlkReq w = { .op = BLK_WRITE, .off = e[0]->at, .iov = iov };

        for (k = 0; i + k < v->len && k < RUN_MAX && e[k]->at == e[0]->at + k * s->slice; k++)
            iov[k] = (struct iovec){ e[k]->data, s->slice };
        w.len = (uint64_t)k * s->slice;
        w.niov = (int)k;
        ret = blk_submit(s->n->file, &w);
        for (guint j = 0; j < k && !ret; j++) {
            e[j]->dirty = false;
            s->dirty[kind]--;
        }
    }
    return ret;
}

/* Entries of the L1 or the refcount table that changed. */
static CO_FN int write_entries(Qcow2 *s, GArray *indices, const uint64_t *table, uint64_t table_at)
{
    int ret = 0;

    for (guint i = 0; i < indices->len && !ret; i++) {
        uint64_t at = g_array_index(indices, uint64_t, i);
        uint8_t be[8];

        be64_store(be, table[at]);
        ret = blk_write(s->n->file, table_at + at * 8, be, 8);
    }
    if (!ret)
        g_array_set_size(indices, 0);
    return ret;
}

static CO_FN int sync_all(Qcow2 *s)
{
    int ret = s->n->data ? blk_flush(s->n->data) : 0;

    return ret ? ret : blk_flush(s->n->file);
}

static CO_FN int write_refcounts(Qcow2 *s)
{
    int ret = 0;

    if (s->dirty_marked && !s->reftable_dirty->len && s->dirty[SLICE_REF] < s->slices_max / 4)
        return 0; /* lazy: they are made anew after a crash */
    ret = qcow2__write_slices(s, SLICE_REF);
    if (!ret && s->reftable_dirty->len) {
        ret = sync_all(s);
        if (!ret)
            ret = write_entries(s, s->reftable_dirty, s->reftable, s->h.reftable_at);
    }
    return ret;
}

static CO_FN int in_order(Qcow2 *s)
{
    int ret = write_refcounts(s);

    if (!ret)
        ret = sync_all(s); /* data, refcounts and new tables are there */
    if (!ret && s->dirty[SLICE_L2]) {
        ret = qcow2__write_slices(s, SLICE_L2);
        if (!ret)
            ret = sync_all(s);
    }
    if (!ret && s->l1_dirty->len) {
        ret = write_entries(s, s->l1_dirty, s->l1, s->h.l1_at);
        if (!ret)
            ret = sync_all(s);
    }
    return ret;
}

CO_FN int qcow2__writeback(Qcow2 *s)
{
    GArray *frees;
    int ret;

    if (s->writing_back)
        return 0;
    s->writing_back = true;
    frees = s->frees; /* what was let go until now has left the tables when they are written */
    s->frees = g_array_new(FALSE, FALSE, sizeof(Free));
    ret = in_order(s);
    if (!ret)
        ret = qcow2__apply_frees(s, frees);
    else
        g_array_append_vals(s->frees, frees->data, frees->len);
    g_array_free(frees, TRUE);
    s->writing_back = false;
    return ret;
}

void qcow2__cache_free(Qcow2 *s)
{
    GList *l;

    while ((l = s->lru.head))
        drop(s, slice_of(l));
    g_hash_table_destroy(s->slices);
}
