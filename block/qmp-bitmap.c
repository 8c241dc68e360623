/* block/qmp-bitmap.c - the monitor's commands about dirty bitmaps (schema/blockjob.json). */
#include "block/qmp-bitmap.h"
#include "block/disk-priv.h"

static bool touch(Node *n, bool persistent, Error **err)
{
    int ret;

    if (!persistent)
        return true;
    if (!n->drv->image || !n->drv->image->bitmaps_touch)
        return fail(err, "Node '%s' cannot store bitmaps", n->name);
    ret = n->drv->image->bitmaps_touch(n);
    return !ret || fail_errno_is(err, -ret, "Cannot store bitmaps in '%s'", n->name);
}

static CO_FN Node *node_of(Vm *vm, const char *name, Error **err)
{
    Node *n = graph_lookup(vm, name, err);

    return n && blk_bitmaps_load(n, err) ? n : NULL;
}

static CO_FN DirtyBitmap *find(Vm *vm, const char *node, const char *name, Error **err)
{
    Node *n = node_of(vm, node, err);
    DirtyBitmap *b = n ? dirty_find(n, name) : NULL;

    if (n && !b)
        fail(err, "Dirty bitmap '%s' not found", name);
    return b;
}

/* One to be changed: in use by nobody, and (but for removal) complete. */
static CO_FN DirtyBitmap *find_free(Vm *vm, const char *node, const char *name, bool broken_too, Error **err)
{
    DirtyBitmap *b = find(vm, node, name, err);

    if (!b)
        return NULL;
    if (b->busy) {
        fail(err, "Bitmap '%s' is currently in use by another operation and cannot be used", name);
        return NULL;
    }
    if (b->inconsistent && !broken_too) {
        fail(err, "Bitmap '%s' is inconsistent and cannot be used", name);
        error_hint(err, "Try block-dirty-bitmap-remove to delete this bitmap from disk");
        return NULL;
    }
    return touch(b->n, b->persistent, err) ? b : NULL;
}

static DirtyBitmap *copy_of(DirtyBitmap *b, Error **err)
{
    DirtyBitmap *c = dirty_new(b->n, NULL, dirty_granularity(b), err);

    if (c) {
        c->disabled = true;
        dirty_merge(c, b);
    }
    return c;
}

/* ---- each step, and its undoing ---- */
CO_FN bool bitmap_add(Vm *vm, const BlockDirtyBitmapAdd *a, BitmapStep *s, Error **err)
{
    Node *n = node_of(vm, a->node, err);
    bool persistent = a->has_persistent && a->persistent;

    if (!n)
        return false;
    if (!*a->name)
        return fail(err, "Bitmap name cannot be empty");
    if (!touch(n, persistent, err) || !(s->b = dirty_new(n, a->name, a->has_granularity ? a->granularity : 0, err)))
        return false;
    s->b->persistent = persistent;
    s->b->disabled = a->has_disabled && a->disabled;
    s->kind = BITMAP_ADDED;
    return true;
}

CO_FN bool bitmap_remove(Vm *vm, const BlockDirtyBitmap *a, BitmapStep *s, Error **err)
{
    s->b = find_free(vm, a->node, a->name, true, err);
    s->kind = BITMAP_REMOVED;
    if (s->b)
        s->b->busy++;
    return s->b;
}

CO_FN bool bitmap_clear(Vm *vm, const BlockDirtyBitmap *a, BitmapStep *s, Error **err)
{
    s->b = find_free(vm, a->node, a->name, false, err);
    s->kind = BITMAP_CHANGED;
    if (!s->b || !(s->before = copy_of(s->b, err)))
        return false;
    dirty_reset(s->b, 0, s->b->nbits << s->b->shift);
    return true;
}

CO_FN bool bitmap_record(Vm *vm, const BlockDirtyBitmap *a, bool record, BitmapStep *s, Error **err)
{
    s->b = find_free(vm, a->node, a->name, false, err);
    if (!s->b)
        return false;
    s->kind = BITMAP_SWITCHED;
    s->was_disabled = s->b->disabled;
    s->b->disabled = !record;
    return true;
}

CO_FN bool bitmap_merge(Vm *vm, const BlockDirtyBitmapMerge *a, BitmapStep *s, Error **err)
{
    s->b = find_free(vm, a->node, a->target, false, err);
    s->kind = BITMAP_CHANGED;
    if (!s->b || !(s->before = copy_of(s->b, err)))
        return false;
    for (size_t i = 0; i < a->bitmaps.n; i++) {
        const BlockDirtyBitmapOrStr *m = &a->bitmaps.v[i];
        DirtyBitmap *from = m->which == 0 ? find(vm, a->node, m->local, err) : find(vm, m->external.node, m->external.name, err);
        bool ok = from && (!from->inconsistent || fail(err, "Bitmap '%s' is inconsistent and cannot be used", from->name)) &&
                  (from->n->size == s->b->n->size || fail(err, "Bitmaps are of different sizes (destination size is %" PRIu64 " and source size is %" PRIu64 ") and can't be merged",
                                                          s->b->n->size, from->n->size));

        if (!ok) {
            bitmap_undo(s);
            return false;
        }
        dirty_merge(s->b, from);
    }
    return true;
}

void bitmap_undo(BitmapStep *s)
{
    switch (s->kind) {
    case BITMAP_ADDED:
        dirty_free(s->b);
        break;
    case BITMAP_REMOVED:
        s->b->busy--;
        break;
    case BITMAP_CHANGED:
        dirty_reset(s->b, 0, s->b->nbits << s->b->shift);
        dirty_merge(s->b, s->before);
        dirty_free(s->before);
        break;
    case BITMAP_SWITCHED:
        s->b->disabled = s->was_disabled;
        break;
    case BITMAP_NOTHING:
        break;
    }
    *s = (BitmapStep){ 0 };
}

void bitmap_keep(BitmapStep *s)
{
    if (s->kind == BITMAP_REMOVED) {
        s->b->busy--;
        dirty_free(s->b);
    } else if (s->before) {
        dirty_free(s->before);
    }
    *s = (BitmapStep){ 0 };
}

/* ---- the commands ---- */
static bool keep(bool ok, BitmapStep *s)
{
    if (ok)
        bitmap_keep(s);
    return ok;
}

#define COMMAND(name, T, call)                                                                                                                                 \
    static bool name##_in_co(Vm *vm, const void *args, Error **err)                                                                                            \
    {                                                                                                                                                          \
        const T *a = args;                                                                                                                                     \
        BitmapStep s = { 0 };                                                                                                                                  \
        return keep(call, &s);                                                                                                                                 \
    }                                                                                                                                                          \
    bool qmp_block_dirty_bitmap_##name(Vm *vm, const T *args, Error **err) { return qmp__in_co(vm, name##_in_co, args, err); }

COMMAND(add, BlockDirtyBitmapAdd, bitmap_add(vm, a, &s, err))
COMMAND(remove, BlockDirtyBitmap, bitmap_remove(vm, a, &s, err))
COMMAND(clear, BlockDirtyBitmap, bitmap_clear(vm, a, &s, err))
COMMAND(enable, BlockDirtyBitmap, bitmap_record(vm, a, true, &s, err))
COMMAND(disable, BlockDirtyBitmap, bitmap_record(vm, a, false, &s, err))
COMMAND(merge, BlockDirtyBitmapMerge, bitmap_merge(vm, a, &s, err))
