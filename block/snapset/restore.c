/*
 * block/snapset/restore.c - going back. First all that others need of the present contents is saved; then a record says
 * that the disks are on their way, which is the point of no return; then they are written; then a record says so. Whoever
 * opens the set in between finishes the way: writing the same once more does no harm.
 */
#include "block/snapset/priv.h"
#include <errno.h>

bool snapset_can_restore(const SnapSet *s, uint32_t id, Error **err)
{
    const Snap *p = set__snap(s, id);

    if (!p)
        return fail(err, "there is no snapshot %u", id);
    for (guint i = 0; i < p->parts->len; i++) {
        const Image *im = set__image(s, g_array_index(p->parts, Part, i).image);

        if (im->stale)
            return fail(err, "snapshot '%s' no longer fits '%s': something else has changed that image since", p->tag, im->name);
        if (!im->node)
            return fail(err, "snapshot '%s' has the disk '%s', this machine has not", p->tag, im->name);
    }
    return true;
}

static bool differs(const Image *im, const Part *v, uint32_t c)
{
    uint32_t to = map_get(&v->map, c);

    return to != SLOT_NONE && to != map_get(&im->cur, c);
}

/* What the other snapshots have nowhere but on the disk. */
static CO_FN int save_for_others(SnapSet *s, const Part *v)
{
    Image *im = set__image(s, v->image);
    uint32_t list[BATCH], end = clusters_of(MAX(im->node->size, v->size));
    unsigned n = 0;
    int ret = 0;

    for (uint32_t c = 0; c < end && !ret; c++) {
        bool cut_off = (uint64_t)(c + 1) * CLUSTER > v->size && im->node->size > v->size;

        if ((cut_off || differs(im, v, c)) && set__wanted(s, v->image, c))
            list[n++] = c;
        if (n == BATCH) {
            ret = set__keep(s, v->image, list, n);
            n = 0;
        }
    }
    return ret || !n ? ret : set__keep(s, v->image, list, n);
}

static CO_FN int write_run(SnapSet *s, const Part *v, uint32_t c, unsigned n, uint8_t *buf)
{
    Node *disk = set__image(s, v->image)->node;
    uint64_t off = (uint64_t)c * CLUSTER, len = MIN((uint64_t)n * CLUSTER, v->size - off);
    bool zero = true;
    int ret = 0;

    for (unsigned i = 0; i < n && !ret; i++) {
        uint32_t slot = map_get(&v->map, c + i);

        zero = zero && slot == SLOT_ZERO;
        if (slot == SLOT_ZERO)
            memset(buf + (size_t)i * CLUSTER, 0, CLUSTER);
        else
            ret = blk_read(s->blocks, (uint64_t)(slot - SLOT_FIRST) * CLUSTER, buf + (size_t)i * CLUSTER, CLUSTER);
    }
    if (ret)
        return ret;
    return zero ? blk_zero(disk, off, len, BLK_MAY_UNMAP) : blk_write(disk, off, buf, len);
}

static CO_FN int write_part(SnapSet *s, const Part *v)
{
    Image *im = set__image(s, v->image);
    uint32_t end = clusters_of(v->size);
    g_autofree uint8_t *buf = g_malloc(BATCH * CLUSTER);
    int ret = im->node->size == v->size ? 0 : blk_truncate(im->node, v->size, 0);

    for (uint32_t c = 0; map_next(&v->map, &c) && c < end && !ret;) {
        unsigned n = 0;

        while (n < BATCH && c + n < end && differs(im, v, c + n))
            n++;
        ret = n ? write_run(s, v, c, n, buf) : 0;
        c += MAX(n, 1);
    }
    return ret ? ret : blk_flush(im->node);
}

static void one_number(SnapSet *s, uint8_t kind, uint32_t id)
{
    StateOut o = { g_byte_array_new() };

    put_u32(&o, id);
    set__record(s, kind, o.b);
    g_byte_array_unref(o.b);
}

CO_FN bool snapset_resume(SnapSet *s, Error **err)
{
    const Snap *p = s->restoring ? set__snap(s, s->restoring) : NULL;
    int ret = 0;

    if (!p)
        return true;
    if (!snapset_can_restore(s, p->id, err))
        return false;
    for (guint i = 0; i < p->parts->len && !ret; i++) {
        const Part *v = &g_array_index(p->parts, Part, i);

        ret = write_part(s, v);
        if (ret)
            return fail_errno_is(err, -ret, "cannot write snapshot '%s' back to '%s'", p->tag, set__image(s, v->image)->name);
    }
    one_number(s, R_RESTORED, p->id);
    ret = set__commit(s);
    return !ret || fail_errno_is(err, -ret, "cannot write the index of the snapshots");
}

CO_FN bool snapset_restore(SnapSet *s, uint32_t id, Error **err)
{
    const Snap *p = set__snap(s, id);
    int ret = 0;

    if (!snapset_resume(s, err) || !snapset_can_restore(s, id, err))
        return false;
    for (guint i = 0; i < p->parts->len && !ret; i++)
        ret = save_for_others(s, &g_array_index(p->parts, Part, i));
    if (!ret) {
        one_number(s, R_RESTORE, id);
        ret = set__commit(s);
    }
    if (ret)
        return fail_errno_is(err, -ret, "cannot save what other snapshots need");
    return snapset_resume(s, err);
}

/* ---- deleting ---- */
static CO_FN void release_slots(SnapSet *s, const GArray *slots)
{
    for (guint i = 0; i < slots->len; i++) {
        uint32_t slot = g_array_index(slots, uint32_t, i);
        BlkReq r = { .op = BLK_DISCARD, .off = (uint64_t)(slot - SLOT_FIRST) * CLUSTER, .len = CLUSTER, .flags = BLK_MAY_UNMAP };

        blk_submit(s->blocks, &r); /* host space that does not come back is used again */
        g_array_append_val(s->unused, slot);
    }
}

CO_FN bool snapset_delete(SnapSet *s, uint32_t id, Error **err)
{
    const Snap *p = set__snap(s, id);
    GArray *slots;
    int ret;

    if (!p)
        return fail(err, "there is no snapshot %u", id);
    if (s->restoring && !snapset_resume(s, err))
        return false;
    one_number(s, R_DELETE, id);
    ret = set__commit(s);
    if (ret)
        return fail_errno_is(err, -ret, "cannot write the index of the snapshots");
    slots = g_steal_pointer(&s->let_go);
    s->let_go = g_array_new(FALSE, TRUE, sizeof(uint32_t));
    release_slots(s, slots);
    g_array_unref(slots);
    return true;
}

/* ---- making ---- */
CO_FN bool snapset_save(SnapSet *s, const SnapInfo *info, const unsigned *images, unsigned n, Error **err)
{
    StateOut o = { g_byte_array_new() };
    int ret = set__compact(s);

    for (unsigned i = 0; i < n; i++) {
        const Image *im = set__image(s, images[i]);

        if (im->stale || !im->node) {
            g_byte_array_unref(o.b);
            return fail(err, "'%s' was changed by something else since its snapshots were made: delete these first", im->name);
        }
    }
    put_u32(&o, info->id);
    put_u32(&o, s->current);
    put_u64(&o, info->date_ns);
    put_u64(&o, info->vm_clock_ns);
    put_u64(&o, info->state_bytes);
    put_str(&o, info->tag);
    put_u32(&o, n);
    for (unsigned i = 0; i < n; i++) {
        put_u32(&o, images[i]);
        put_u64(&o, set__image(s, images[i])->node->size);
    }
    if (!ret) {
        set__record(s, R_SNAP, o.b);
        ret = set__commit(s);
    }
    g_byte_array_unref(o.b);
    return !ret || fail_errno_is(err, -ret, "cannot write the index of the snapshots");
}
