/*
 * block/snapset/apply.c - what each record means. The same code runs when a record is made and when it is read again, so
 * both come to the same state. Payloads are little-endian; counts are bounded by what is in the record.
 */
#include "block/snapset/priv.h"

Image *set__image(const SnapSet *s, uint32_t i) { return i < s->images->len ? s->images->pdata[i] : NULL; }

Snap *set__snap(const SnapSet *s, uint32_t id)
{
    for (guint i = 0; i < s->snaps->len; i++) {
        Snap *p = s->snaps->pdata[i];

        if (p->id == id)
            return p;
    }
    return NULL;
}

Part *set__part(const Snap *p, uint32_t image)
{
    for (guint i = 0; i < p->parts->len; i++) {
        Part *v = &g_array_index(p->parts, Part, i);

        if (v->image == image)
            return v;
    }
    return NULL;
}

bool set__wanted(const SnapSet *s, uint32_t image, uint32_t c)
{
    for (guint i = 0; i < s->snaps->len; i++) {
        const Part *v = set__part(s->snaps->pdata[i], image);

        if (v && c < clusters_of(v->size) && map_get(&v->map, c) == SLOT_NONE)
            return true;
    }
    return false;
}

/* ---- users of slots ---- */
static void slot_ref(SnapSet *s, uint32_t slot)
{
    if (slot < SLOT_FIRST)
        return;
    if (slot >= s->refs->len)
        g_array_set_size(s->refs, slot + 1);
    g_array_index(s->refs, uint32_t, slot)++;
}

static void slot_unref(SnapSet *s, uint32_t slot, Image *im, uint32_t c)
{
    if (slot < SLOT_FIRST || --g_array_index(s->refs, uint32_t, slot))
        return;
    if (map_get(&im->cur, c) == slot)
        map_set(&im->cur, c, SLOT_NONE);
    g_array_append_val(s->let_go, slot);
}

void set__count(SnapSet *s)
{
    g_array_set_size(s->refs, 0);
    g_array_set_size(s->unused, 0);
    g_array_set_size(s->let_go, 0);
    for (guint i = 0; i < s->snaps->len; i++) {
        const Snap *p = s->snaps->pdata[i];

        for (guint k = 0; k < p->parts->len; k++) {
            const Map *m = &g_array_index(p->parts, Part, k).map;

            for (uint32_t c = 0; map_next(m, &c); c++)
                slot_ref(s, map_get(m, c));
        }
    }
    for (uint32_t slot = SLOT_FIRST; slot < s->refs->len; slot++)
        if (!g_array_index(s->refs, uint32_t, slot))
            g_array_append_val(s->unused, slot);
}

/* Records are made after the blocks that they name. */
static bool slot_exists(const SnapSet *s, uint32_t slot, uint64_t n)
{
    return slot < SLOT_FIRST || slot - SLOT_FIRST + n <= (s->blocks->size + CLUSTER - 1) / CLUSTER;
}

/* ---- records ---- */
static bool r_image(SnapSet *s, StateIn *in)
{
    char *name = get_str(in);
    Image *im;

    if (!name || s->images->len >= IMAGES_MAX) {
        g_free(name);
        return false;
    }
    im = g_new0(Image, 1);
    im->name = name;
    im->stale = get_u8(in) & 1;
    g_ptr_array_add(s->images, im);
    return !in->bad;
}

static void snap_free(Snap *p)
{
    for (guint i = 0; i < p->parts->len; i++)
        map_clear(&g_array_index(p->parts, Part, i).map);
    g_array_free(p->parts, TRUE);
    g_free(p->tag);
    g_free(p);
}

/* full: its maps are those of the disks now. */
static bool add_snap(SnapSet *s, StateIn *in, bool full)
{
    Snap *p = g_new0(Snap, 1);
    uint32_t n;

    p->parts = g_array_new(FALSE, TRUE, sizeof(Part));
    p->id = get_u32(in);
    p->parent = get_u32(in);
    p->date_ns = get_u64(in);
    p->vm_clock_ns = get_u64(in);
    p->state_bytes = get_u64(in);
    p->tag = get_str(in);
    n = get_u32(in);
    for (uint32_t i = 0; i < n && !in->bad; i++) { /* ends with the record */
        Part v = { .image = get_u32(in) };

        v.size = get_u64(in);
        if (!set__image(s, v.image) || set__part(p, v.image))
            in->bad = true;
        else
            g_array_append_val(p->parts, v);
    }
    if (in->bad || !p->tag || !p->id || set__snap(s, p->id) || s->snaps->len >= SNAPS_MAX) {
        snap_free(p);
        return false;
    }
    for (guint i = 0; i < p->parts->len && full; i++) {
        Part *v = &g_array_index(p->parts, Part, i);
        Image *im = set__image(s, v->image);

        map_copy(&v->map, &im->cur);
        for (uint32_t c = 0; map_next(&v->map, &c); c++)
            slot_ref(s, map_get(&v->map, c));
        map_clear(&im->ready);
    }
    g_ptr_array_add(s->snaps, p);
    s->next_id = MAX(s->next_id, p->id + 1);
    if (full)
        s->current = p->id;
    return true;
}

static bool r_snap(SnapSet *s, StateIn *in) { return add_snap(s, in, true); }
static bool r_bare(SnapSet *s, StateIn *in) { return add_snap(s, in, false); }

static bool r_map(SnapSet *s, StateIn *in)
{
    uint32_t id = get_u32(in), image = get_u32(in), n = get_u32(in);
    Image *im = set__image(s, image);
    Snap *p = id ? set__snap(s, id) : NULL;
    Part *v = p ? set__part(p, image) : NULL;
    Map *m = !im ? NULL : id ? (v ? &v->map : NULL) : &im->cur;

    if (!m)
        return false;
    for (uint32_t i = 0; i < n && !in->bad; i++) { /* ends with the record */
        uint32_t first = get_u32(in), count = get_u32(in), slot = get_u32(in);

        s->entries += count;
        if (!in_range(first, count, CLUSTERS_MAX) || s->entries > ENTRIES_MAX || !slot_exists(s, slot, count))
            return false;
        for (uint32_t k = 0; k < count; k++) {
            map_set(m, first + k, slot >= SLOT_FIRST ? slot + k : slot);
            if (id)
                slot_ref(s, slot >= SLOT_FIRST ? slot + k : slot);
        }
    }
    return !in->bad;
}

static bool r_keep(SnapSet *s, StateIn *in)
{
    uint32_t image = get_u32(in), n = get_u32(in);
    Image *im = set__image(s, image);

    for (uint32_t i = 0; i < n && im && !in->bad; i++) { /* ends with the record */
        uint32_t c = get_u32(in), slot = get_u32(in);

        if (c >= CLUSTERS_MAX || slot == SLOT_NONE || !slot_exists(s, slot, 1) || (slot < s->refs->len && g_array_index(s->refs, uint32_t, slot)))
            return false;
        for (guint k = 0; k < s->snaps->len; k++) {
            Part *v = set__part(s->snaps->pdata[k], image);

            if (v && c < clusters_of(v->size) && map_get(&v->map, c) == SLOT_NONE) {
                map_set(&v->map, c, slot);
                slot_ref(s, slot);
            }
        }
        map_set(&im->cur, c, SLOT_NONE);
    }
    return im && !in->bad;
}

static bool r_dirty(SnapSet *s, StateIn *in)
{
    uint32_t image = get_u32(in), n = get_u32(in);
    Image *im = set__image(s, image);

    for (uint32_t i = 0; i < n && im && !in->bad; i++)
        map_set(&im->cur, get_u32(in), SLOT_NONE);
    return im && !in->bad;
}

static bool r_delete(SnapSet *s, StateIn *in)
{
    Snap *p = set__snap(s, get_u32(in));

    if (!p || p->id == s->restoring)
        return false;
    for (guint i = 0; i < p->parts->len; i++) {
        const Part *v = &g_array_index(p->parts, Part, i);

        for (uint32_t c = 0; map_next(&v->map, &c); c++)
            slot_unref(s, map_get(&v->map, c), set__image(s, v->image), c);
    }
    for (guint i = 0; i < s->snaps->len; i++) {
        Snap *q = s->snaps->pdata[i];

        if (q->parent == p->id)
            q->parent = p->parent;
    }
    if (s->current == p->id)
        s->current = p->parent;
    g_ptr_array_remove(s->snaps, p);
    return true;
}

static bool r_restore(SnapSet *s, StateIn *in)
{
    uint32_t id = get_u32(in);

    s->restoring = id;
    return set__snap(s, id);
}

static bool r_restored(SnapSet *s, StateIn *in)
{
    Snap *p = set__snap(s, get_u32(in));

    if (!p)
        return false;
    for (guint i = 0; i < p->parts->len; i++) {
        const Part *v = &g_array_index(p->parts, Part, i);
        Image *im = set__image(s, v->image);

        for (uint32_t c = 0; map_next(&v->map, &c); c++)
            map_set(&im->cur, c, map_get(&v->map, c));
        map_clear(&im->ready);
    }
    s->current = p->id;
    s->restoring = 0;
    return true;
}

static bool r_stamp(SnapSet *s, StateIn *in)
{
    Image *im = set__image(s, get_u32(in));
    uint8_t flags = get_u8(in);

    if (!im)
        return false;
    im->clean = flags & 1;
    im->stale = flags & 2;
    im->stamp.known = flags & 4;
    im->stamp.bytes = get_u64(in);
    im->stamp.mtime_ns = get_u64(in);
    im->stamp.head = get_u32(in);
    return !in->bad;
}

/* Another file has its contents; the image that had that name has what it had. */
static bool r_moved(SnapSet *s, StateIn *in)
{
    Image *im = set__image(s, get_u32(in));
    char *name = im ? get_str(in) : NULL;

    if (!name)
        return false;
    for (guint i = 0; i < s->images->len; i++) {
        Image *other = s->images->pdata[i];

        if (other != im && !strcmp(other->name, name)) {
            g_free(other->name);
            other->name = g_strdup(im->name);
            other->stale = true;
        }
    }
    g_free(im->name);
    im->name = name;
    return !in->bad;
}

static bool r_head(SnapSet *s, StateIn *in)
{
    s->current = get_u32(in);
    s->restoring = get_u32(in);
    s->next_id = get_u32(in);
    return !in->bad && s->next_id;
}

bool set__apply(SnapSet *s, uint8_t kind, StateIn *in)
{
    static bool (*const fns[R_KINDS])(SnapSet *s, StateIn *in) = {
        [R_IMAGE] = r_image, [R_SNAP] = r_snap, [R_BARE] = r_bare, [R_MAP] = r_map, [R_KEEP] = r_keep, [R_DIRTY] = r_dirty,
        [R_DELETE] = r_delete, [R_RESTORE] = r_restore, [R_RESTORED] = r_restored, [R_STAMP] = r_stamp, [R_HEAD] = r_head, [R_MOVED] = r_moved,
    };

    return kind < R_KINDS && fns[kind] && fns[kind](s, in) && !in->bad && in->at == in->n;
}

/* ---- all of it as records ---- */
typedef void Put(SnapSet *s, uint8_t kind, const GByteArray *payload);

static void dump_map(SnapSet *s, Put *put, uint32_t id, uint32_t image, const Map *m)
{
    enum { RUNS = 4096 };
    uint32_t c = 0, n = 0;
    StateOut o = { g_byte_array_new() };

    while (map_next(m, &c)) {
        uint32_t slot = map_get(m, c), count = 1;

        while (map_get(m, c + count) == (slot >= SLOT_FIRST ? slot + count : slot))
            count++;
        if (!n) {
            put_u32(&o, id);
            put_u32(&o, image);
            put_u32(&o, 0);
        }
        put_u32(&o, c);
        put_u32(&o, count);
        put_u32(&o, slot);
        le32_store(o.b->data + 8, ++n);
        c += count;
        if (n == RUNS) {
            put(s, R_MAP, o.b);
            g_byte_array_set_size(o.b, 0);
            n = 0;
        }
    }
    if (n)
        put(s, R_MAP, o.b);
    g_byte_array_unref(o.b);
}

static void dump_snap(SnapSet *s, Put *put, const Snap *p)
{
    StateOut o = { g_byte_array_new() };

    put_u32(&o, p->id);
    put_u32(&o, p->parent);
    put_u64(&o, p->date_ns);
    put_u64(&o, p->vm_clock_ns);
    put_u64(&o, p->state_bytes);
    put_str(&o, p->tag);
    put_u32(&o, p->parts->len);
    for (guint i = 0; i < p->parts->len; i++) {
        put_u32(&o, g_array_index(p->parts, Part, i).image);
        put_u64(&o, g_array_index(p->parts, Part, i).size);
    }
    put(s, R_BARE, o.b);
    g_byte_array_unref(o.b);
    for (guint i = 0; i < p->parts->len; i++)
        dump_map(s, put, p->id, g_array_index(p->parts, Part, i).image, &g_array_index(p->parts, Part, i).map);
}

static void dump_image(SnapSet *s, Put *put, uint32_t i)
{
    const Image *im = s->images->pdata[i];
    StateOut o = { g_byte_array_new() };

    put_str(&o, im->name);
    put_u8(&o, im->stale);
    put(s, R_IMAGE, o.b);
    g_byte_array_set_size(o.b, 0);
    put_u32(&o, i);
    put_u8(&o, (uint8_t)(im->clean | im->stale << 1 | im->stamp.known << 2));
    put_u64(&o, im->stamp.bytes);
    put_u64(&o, im->stamp.mtime_ns);
    put_u32(&o, im->stamp.head);
    put(s, R_STAMP, o.b);
    g_byte_array_unref(o.b);
    dump_map(s, put, 0, i, &im->cur);
}

void set__dump(SnapSet *s, Put *put)
{
    StateOut o = { g_byte_array_new() };

    for (guint i = 0; i < s->images->len; i++)
        dump_image(s, put, i);
    for (guint i = 0; i < s->snaps->len; i++)
        dump_snap(s, put, s->snaps->pdata[i]);
    put_u32(&o, s->current);
    put_u32(&o, s->restoring);
    put_u32(&o, s->next_id);
    put(s, R_HEAD, o.b);
    g_byte_array_unref(o.b);
}

bool snapset_consistent(const SnapSet *s)
{
    g_autoptr(GArray) refs = g_array_new(FALSE, TRUE, sizeof(uint32_t));

    g_array_set_size(refs, s->refs->len);
    for (guint i = 0; i < s->snaps->len; i++) {
        const Snap *p = s->snaps->pdata[i];

        for (guint k = 0; k < p->parts->len; k++) {
            const Map *m = &g_array_index(p->parts, Part, k).map;

            for (uint32_t c = 0; map_next(m, &c); c++) {
                uint32_t slot = map_get(m, c);

                if (slot >= SLOT_FIRST && (slot >= refs->len || (uint64_t)(slot - SLOT_FIRST) * CLUSTER >= s->blocks->size))
                    return false;
                if (slot >= SLOT_FIRST)
                    g_array_index(refs, uint32_t, slot)++;
            }
        }
    }
    return !refs->len || !memcmp(refs->data, s->refs->data, refs->len * sizeof(uint32_t));
}
