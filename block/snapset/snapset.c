/*
 * block/snapset/snapset.c - a set of snapshots: opening, its images, facts. An image that was changed by something else
 * while we were not looking is stale: its old contents no longer add up, so no snapshot of it is used.
 */
#include "block/snapset/priv.h"
#include "block/image.h"
#include <errno.h>

enum { SLACK_S = 10, SLACK_OTHER_BOOT_S = 120, HEAD_BYTES = 4096 };

static void image_free(gpointer p)
{
    Image *im = p;

    map_clear(&im->cur);
    map_clear(&im->ready);
    node_unref(im->node);
    g_free(im->name);
    g_free(im);
}

static void snap_free(gpointer v)
{
    Snap *p = v;

    for (guint i = 0; i < p->parts->len; i++)
        map_clear(&g_array_index(p->parts, Part, i).map);
    g_array_free(p->parts, TRUE);
    g_free(p->tag);
    g_free(p);
}

typedef struct Call {
    SnapSet *s;
    Error **err;
    bool ok;
} Call;

static void open_body(void *arg)
{
    Call *c = arg;

    c->ok = set__log_open(c->s, c->err);
}

static void end_body(void *arg)
{
    Call *c = arg;

    c->ok = !set__commit(c->s);
}

static void in_co(SnapSet *s, void (*fn)(void *arg), Call *c)
{
    if (co_self())
        fn(c);
    else
        blk_run(s->loop, fn, c);
}

static void release(SnapSet *s)
{
    g_ptr_array_free(s->snaps, TRUE);
    g_ptr_array_free(s->images, TRUE);
    g_array_unref(s->refs);
    g_array_unref(s->unused);
    g_array_unref(s->let_go);
    g_byte_array_unref(s->pending);
    node_unref(s->index);
    node_unref(s->blocks);
    g_free(s);
}

SnapSet *snapset_open(Loop *loop, Node *index, Node *blocks, Error **err)
{
    SnapSet *s = g_new0(SnapSet, 1);
    Call c = { s, err, false };

    s->loop = loop;
    s->index = node_ref(index);
    s->blocks = node_ref(blocks);
    index->grows = blocks->grows = true;
    s->images = g_ptr_array_new_with_free_func(image_free);
    s->snaps = g_ptr_array_new_with_free_func(snap_free);
    s->refs = g_array_new(FALSE, TRUE, sizeof(uint32_t));
    s->unused = g_array_new(FALSE, TRUE, sizeof(uint32_t));
    s->let_go = g_array_new(FALSE, TRUE, sizeof(uint32_t));
    s->pending = g_byte_array_new();
    s->next_id = 1;
    in_co(s, open_body, &c);
    if (c.ok)
        return s;
    release(s);
    return NULL;
}

void snapset_free(SnapSet *s)
{
    Call c = { s, NULL, false };

    if (!s)
        return;
    in_co(s, end_body, &c);
    release(s);
}

/* ---- facts ---- */
unsigned snapset_count(const SnapSet *s) { return s->snaps->len; }
uint32_t snapset_current(const SnapSet *s) { return s->current; }
uint32_t snapset_next_id(const SnapSet *s) { return s->next_id; }
uint32_t snapset_restoring(const SnapSet *s) { return s->restoring; }

SnapInfo snapset_info(const SnapSet *s, unsigned n)
{
    const Snap *p = s->snaps->pdata[n];

    return (SnapInfo){ .id = p->id, .parent = p->parent, .tag = p->tag, .date_ns = p->date_ns, .vm_clock_ns = p->vm_clock_ns,
                       .state_bytes = p->state_bytes, .disks = p->parts->len };
}

uint32_t snapset_find(const SnapSet *s, const char *which)
{
    uint64_t id;

    for (guint i = s->snaps->len; i-- > 0;) {
        const Snap *p = s->snaps->pdata[i];

        if (!strcmp(p->tag, which))
            return p->id;
    }
    return parse_u64(which, &id, NULL) && id <= UINT32_MAX && set__snap(s, (uint32_t)id) ? (uint32_t)id : 0;
}

uint64_t snapset_bytes(const SnapSet *s)
{
    uint64_t n = 0;

    for (uint32_t slot = SLOT_FIRST; slot < s->refs->len; slot++)
        n += g_array_index(s->refs, uint32_t, slot) ? CLUSTER : 0;
    return n;
}

/* ---- images ---- */
int snapset_image(const SnapSet *s, const char *name)
{
    for (guint i = 0; i < s->images->len; i++)
        if (!strcmp(set__image(s, i)->name, name))
            return (int)i;
    return -1;
}

const char *snapset_image_name(const SnapSet *s, unsigned image) { return set__image(s, image)->name; }
bool snapset_stale(const SnapSet *s, unsigned image) { return set__image(s, image)->stale; }
bool snapset_attached(const SnapSet *s, unsigned image) { return set__image(s, image)->node; }

static void set_node(SnapSet *s, unsigned image, Node *disk)
{
    Image *im = set__image(s, image);
    Node *old = im->node;

    im->node = node_ref(disk);
    node_unref(old);
}

bool snapset_needs(const SnapSet *s, unsigned image)
{
    for (guint i = 0; i < s->snaps->len; i++)
        if (set__part(s->snaps->pdata[i], image))
            return true;
    return false;
}

CO_FN uint32_t snapset_head(Node *disk)
{
    g_autofree uint8_t *buf = g_malloc0(HEAD_BYTES);
    uint32_t sum = 2166136261u; /* FNV-1a: it tells mistakes, not attacks */

    if (blk_read(disk, 0, buf, MIN(disk->size, HEAD_BYTES)))
        return 0;
    for (unsigned i = 0; i < HEAD_BYTES; i++)
        sum = (sum ^ buf[i]) * 16777619u;
    return sum;
}

/* After a proper end all is as we left it. After a crash we know when we were alive last. */
static bool untouched(const SnapSet *s, const Image *im, const SnapStamp *now)
{
    uint64_t slack = s->found_boot == set__boot() ? SLACK_S : SLACK_OTHER_BOOT_S;

    if (!im->stamp.known || !now->known)
        return true;
    if (im->clean)
        return now->bytes == im->stamp.bytes && now->mtime_ns == im->stamp.mtime_ns && now->head == im->stamp.head;
    return now->mtime_ns <= MAX(s->found_alive_ns, im->stamp.mtime_ns) + slack * SEC;
}

static CO_FN int stamp(SnapSet *s, uint32_t image, const SnapStamp *now, bool clean, bool stale)
{
    StateOut o = { g_byte_array_new() };

    put_u32(&o, image);
    put_u8(&o, (uint8_t)(clean | stale << 1 | now->known << 2));
    put_u64(&o, now->bytes);
    put_u64(&o, now->mtime_ns);
    put_u32(&o, now->head);
    set__record(s, R_STAMP, o.b);
    g_byte_array_unref(o.b);
    return set__commit(s);
}

static uint32_t add_image(SnapSet *s, const char *name)
{
    StateOut o = { g_byte_array_new() };

    put_str(&o, name);
    put_u8(&o, 0);
    set__record(s, R_IMAGE, o.b);
    g_byte_array_unref(o.b);
    return s->images->len - 1;
}

CO_FN bool snapset_attach(SnapSet *s, const char *name, Node *disk, const SnapStamp *now, unsigned *image, Error **err)
{
    int at = snapset_image(s, name);
    bool stale;
    Image *im;
    int ret;

    if (at < 0 && (s->images->len >= IMAGES_MAX || !state_name_ok(name, strlen(name))))
        return fail(err, "'%s' cannot have snapshots: %s", name, s->images->len >= IMAGES_MAX ? "there are too many disks" : "its name is not text");
    if (disk->size / CLUSTER >= CLUSTERS_MAX)
        return fail(err, "'%s' is too large for snapshots", name);
    *image = at < 0 ? add_image(s, name) : (unsigned)at;
    im = set__image(s, *image);
    stale = snapset_needs(s, *image) && (im->stale || !untouched(s, im, now));
    set_node(s, *image, disk);
    ret = stamp(s, *image, now, false, stale);
    if (ret)
        return fail_errno_is(err, -ret, "cannot write the index of the snapshots");
    return !stale || fail(err, "'%s' was changed by something else since its snapshots were made", name);
}

CO_FN bool snapset_move(SnapSet *s, unsigned image, const char *name, Node *disk, const SnapStamp *now, Error **err)
{
    StateOut o = { g_byte_array_new() };
    int ret;

    put_u32(&o, image);
    put_str(&o, name);
    set__record(s, R_MOVED, o.b);
    g_byte_array_unref(o.b);
    set_node(s, image, disk);
    ret = stamp(s, image, now, false, set__image(s, image)->stale);
    return !ret || fail_errno_is(err, -ret, "cannot write the index of the snapshots");
}

CO_FN int snapset_detach(SnapSet *s, unsigned image, const SnapStamp *now, bool exact)
{
    Image *im = set__image(s, image);
    int ret = stamp(s, image, now, exact, im->stale);

    node_unref(g_steal_pointer(&im->node));
    return ret;
}
