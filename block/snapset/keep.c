/*
 * block/snapset/keep.c - copy before write. A write waits until the clusters it touches are in `blocks` and the record of
 * that is durable; writes that come meanwhile share one sync.
 */
#include "block/snapset/priv.h"
#include <errno.h>

enum { ALIVE_STEP = 1 }; /* seconds between two signs of life */

/* ---- slots ---- */
static uint32_t slot_new(SnapSet *s)
{
    uint32_t slot;

    if (s->unused->len) {
        slot = g_array_index(s->unused, uint32_t, s->unused->len - 1);
        g_array_set_size(s->unused, s->unused->len - 1);
        return slot;
    }
    slot = MAX(s->refs->len, SLOT_FIRST);
    g_array_set_size(s->refs, slot + 1);
    return slot;
}

static void slot_give_back(SnapSet *s, uint32_t slot)
{
    if (slot >= SLOT_FIRST)
        g_array_append_val(s->unused, slot);
}

static bool all_zero(const uint8_t *p, size_t n) { return !p[0] && !memcmp(p, p + 1, n - 1); }

/* Clusters [c, c+n) into slots. */
static CO_FN int copy_out(SnapSet *s, Node *disk, uint32_t c, unsigned n, uint32_t *slots)
{
    uint64_t off = (uint64_t)c * CLUSTER, len = MIN((uint64_t)n * CLUSTER, disk->size > off ? disk->size - off : 0);
    BlkReq st = { .op = BLK_STATUS, .off = off, .len = len };
    g_autofree uint8_t *buf = NULL;
    int ret = len ? blk_submit(disk, &st) : 0;

    if (ret)
        return ret;
    for (unsigned i = 0; i < n; i++)
        slots[i] = SLOT_ZERO;
    if (!len || (st.zero && st.len >= len))
        return 0;
    buf = g_try_malloc0((size_t)n * CLUSTER);
    ret = buf ? blk_read(disk, off, buf, len) : -ENOMEM;
    for (unsigned i = 0; i < n && !ret; i++) {
        if (all_zero(buf + (size_t)i * CLUSTER, CLUSTER))
            continue;
        slots[i] = slot_new(s);
        ret = blk_write(s->blocks, (uint64_t)(slots[i] - SLOT_FIRST) * CLUSTER, buf + (size_t)i * CLUSTER, CLUSTER);
    }
    for (unsigned i = 0; i < n && ret; i++)
        slot_give_back(s, slots[i]);
    return ret;
}

CO_FN int set__keep(SnapSet *s, uint32_t image, const uint32_t *list, unsigned n)
{
    Node *disk = set__image(s, image)->node;
    StateOut o = { g_byte_array_new() };
    unsigned done = 0;
    int ret = 0;

    put_u32(&o, image);
    put_u32(&o, n);
    while (done < n && !ret) {
        uint32_t slots[BATCH];
        unsigned run = 1;

        while (done + run < n && run < BATCH && list[done + run] == list[done] + run)
            run++;
        ret = copy_out(s, disk, list[done], run, slots);
        for (unsigned i = 0; i < run && !ret; i++) {
            put_u32(&o, list[done + i]);
            put_u32(&o, slots[i]);
        }
        done += ret ? 0 : run;
    }
    for (unsigned i = 0; i < done && ret; i++)
        slot_give_back(s, le32_load(o.b->data + 12 + 8 * i));
    if (!ret)
        set__record(s, R_KEEP, o.b);
    g_byte_array_unref(o.b);
    return ret;
}

/* ---- one at a time for each cluster ---- */
static bool being_saved(const Image *im, uint32_t first, uint32_t end)
{
    for (const GList *l = im->saving.head; l; l = l->next) {
        const Range *r = l->data;

        if (first < r->end && r->first < end)
            return true;
    }
    return false;
}

static void wake_all(Image *im)
{
    GQueue q = im->waiters;

    g_queue_init(&im->waiters);
    while (!g_queue_is_empty(&q)) /* each looks again */
        co_wake(g_queue_pop_head(&q));
}

/* Up to BATCH clusters of [first, end): those to copy, and those whose copy is there but no longer true of the disk. */
static CO_FN int save_some(SnapSet *s, uint32_t image, uint32_t first, uint32_t end)
{
    uint32_t keep[BATCH], dirty[BATCH];
    unsigned nkeep = 0, ndirty = 0;
    Image *im = set__image(s, image);
    int ret = 0;

    for (uint32_t c = first; c < end; c++) {
        if (map_get(&im->ready, c))
            continue;
        if (set__wanted(s, image, c))
            keep[nkeep++] = c;
        else if (map_get(&im->cur, c) != SLOT_NONE)
            dirty[ndirty++] = c;
    }
    if (nkeep)
        ret = set__keep(s, image, keep, nkeep);
    if (ndirty && !ret) {
        StateOut o = { g_byte_array_new() };

        put_u32(&o, image);
        put_u32(&o, ndirty);
        for (unsigned i = 0; i < ndirty; i++)
            put_u32(&o, dirty[i]);
        set__record(s, R_DIRTY, o.b);
        g_byte_array_unref(o.b);
    }
    if (!ret)
        ret = set__commit(s);
    for (uint32_t c = first; c < end && !ret; c++)
        map_set(&im->ready, c, 1);
    return ret;
}

static bool all_ready(const Image *im, uint32_t first, uint32_t end)
{
    while (first < end && map_get(&im->ready, first))
        first++;
    return first == end;
}

static CO_FN int save(SnapSet *s, uint32_t image, uint32_t first, uint32_t end)
{
    Image *im = set__image(s, image);
    Range r = { first, end };
    int ret;

    while (being_saved(im, first, end)) { /* ends when those before us do */
        g_queue_push_tail(&im->waiters, co_self());
        co_yield();
    }
    if (all_ready(im, first, end))
        return 0;
    g_queue_push_tail(&im->saving, &r);
    ret = save_some(s, image, first, end);
    g_queue_remove(&im->saving, &r);
    wake_all(im);
    return ret;
}

CO_FN int snapset_before(SnapSet *s, unsigned image, uint64_t off, uint64_t len)
{
    Image *im = set__image(s, image);
    uint32_t end;
    int ret = 0;

    if (!s->snaps->len || !im || !im->node || im->stale || !len)
        return 0;
    if ((uint64_t)g_get_real_time() * US > s->alive_ns + ALIVE_STEP * SEC) {
        s->alive_ns = (uint64_t)g_get_real_time() * US;
        ret = set__alive(s);
    }
    end = clusters_of(off + len);
    for (uint32_t c = (uint32_t)(off / CLUSTER); c < end && !ret; c += BATCH)
        ret = all_ready(im, c, MIN(c + BATCH, end)) ? 0 : save(s, image, c, MIN(c + BATCH, end));
    return ret;
}
