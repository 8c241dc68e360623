/*
 * block/old/parallels.c - driver "parallels", Parallels' expandable disk (QEMU's docs/interop/parallels): a header, a table
 * with the place of each cluster (the old kind: in sectors; "Ext": in clusters), clusters. A field says that a writer has it
 * open.
 */
#include "block/blocks.h"
#include "block/old/clusters.h"
#include <errno.h>

enum { HEADER = 64, SECTOR = 512, BAT_MAX = 64 << 20 /* entries */, CLUSTER_MAX = 1 << 30, HEADS = 16, PER_TRACK = 32,
       AT_VERSION = 16, AT_HEADS = 20, AT_CYLINDERS = 24, AT_TRACKS = 28, AT_ENTRIES = 32, AT_SECTORS = 36, AT_IN_USE = 44, AT_DATA = 48, AT_EXT = 56 };
#define IN_USE 0x746F6E59u
static const char magic_old[] = "WithoutFreeSpace", magic_ext[] = "WithouFreSpacExt";
typedef struct Parallels {
    Clusters c;
    Parts *parts;
    uint64_t unit, entries, data, table_end; /* unit: bytes of a step of the table; data: where clusters begin */
    bool in_use, extended;
} Parallels;

static int parallels_probe(const uint8_t *head, size_t n)
{
    return n >= HEADER && (!memcmp(head, magic_old, 16) || !memcmp(head, magic_ext, 16)) && le32_load(head + AT_VERSION) == 2 ? 100 : 0;
}

/* ---- the table ---- */
static CO_FN int entry(Parallels *p, uint64_t index, uint64_t *host)
{
    uint8_t b[4];
    int ret = index < p->entries ? parts_read(p->parts, HEADER + index * 4, b, sizeof(b)) : 0;

    *host = index < p->entries ? le32_load(b) * p->unit : 0;
    return ret;
}

static bool place_ok(const Parallels *p, uint64_t at) { return at >= p->data && at % SECTOR == 0 && at < MAX(p->c.end, p->c.n->file->size); }

static CO_FN int parallels_look(Clusters *c, uint64_t index, uint64_t *host)
{
    Parallels *p = c->n->opaque;
    int ret = entry(p, index, host);

    return ret || !*host || place_ok(p, *host) ? ret : -EIO;
}

static CO_FN int parallels_set(Clusters *c, uint64_t index, uint64_t count, uint64_t host)
{
    Parallels *p = c->n->opaque;
    g_autofree uint8_t *e = g_try_malloc(count * 4);

    if (!e || !in_range(index, count, p->entries))
        return e ? -EIO : -ENOMEM;
    for (uint64_t i = 0; i < count; i++)
        le32_store(e + i * 4, (uint32_t)((host + i * c->cluster) / p->unit));
    return parts_write(p->parts, HEADER + index * 4, e, count * 4);
}

static CO_FN int set_in_use(Parallels *p, bool on)
{
    Node *file = p->c.n->file;
    uint8_t b[4];
    int ret = on ? 0 : blk_flush(file);

    le32_store(b, on ? IN_USE : 0);
    ret = ret ? ret : blk_write(file, AT_IN_USE, b, sizeof(b));
    ret = ret ? ret : blk_flush(file);
    if (!ret)
        p->in_use = on;
    return ret;
}

static CO_FN int parallels_dirty(Clusters *c)
{
    Parallels *p = c->n->opaque;

    return p->in_use ? 0 : set_in_use(p, true);
}

/* ---- opening ---- */
static bool header_ok(Node *n, const uint8_t *h, Error **err)
{
    Parallels *p = n->opaque;
    bool ext = !memcmp(h, magic_ext, 16);
    uint64_t sectors = ext ? le64_load(h + AT_SECTORS) : le32_load(h + AT_SECTORS), tracks = le32_load(h + AT_TRACKS), data = le32_load(h + AT_DATA);
    const char *f = n->filename;

    if (!parallels_probe(h, HEADER))
        return fail(err, "'%s' is no Parallels image of version 2", f);
    p->entries = le32_load(h + AT_ENTRIES);
    p->extended = le64_load(h + AT_EXT);
    p->in_use = le32_load(h + AT_IN_USE) == IN_USE;
    if (!tracks || tracks > CLUSTER_MAX / SECTOR)
        return fail(err, "'%s': Parallels cluster size of %" PRIu64 " sectors is invalid", f, tracks);
    if (p->entries > BAT_MAX)
        return fail(err, "'%s': the table of clusters is too large (%" PRIu64 " entries)", f, p->entries);
    if (sectors > INT64_MAX / SECTOR || (sectors + tracks - 1) / tracks > p->entries)
        return fail(err, "'%s': the table of clusters is too small for %" PRIu64 " sectors", f, sectors);
    p->table_end = HEADER + p->entries * 4;
    p->data = data ? data * SECTOR : align_up(p->table_end, SECTOR);
    if (p->data < p->table_end || p->table_end > n->file->size)
        return fail(err, "'%s': the clusters begin inside of their table", f);
    p->unit = ext ? tracks * SECTOR : SECTOR;
    n->size = sectors * SECTOR;
    clusters_init(&p->c, n, tracks * SECTOR, n->file->size);
    p->c.end = MAX(p->c.end, ext ? (p->data + p->c.cluster - 1) / p->c.cluster * p->c.cluster : p->data);
    p->c.room = p->unit * UINT32_MAX;
    return true;
}

static CO_FN int parallels_check(Node *n, BlkCheck *c, unsigned fix);

static CO_FN bool mend(Node *n, Error **err)
{
    Parallels *p = n->opaque;
    BlkCheck c = { .lines = NULL };
    int ret;

    if (n->readonly)
        return true;
    if (p->extended) {
        fail(err, "'%s' has format extensions (dirty bitmaps); it is only read", n->filename);
        return error_hint(err, "convert it: menura-img convert -O qcow2, or use readonly=on");
    }
    if (!p->in_use)
        return true;
    ret = parallels_check(n, &c, FIX_ERRORS | FIX_LEAKS);
    if (ret || c.corruptions > c.corruptions_fixed)
        return fail_errno_is(err, ret ? -ret : EIO, "cannot repair '%s', which was not closed", n->filename);
    return true;
}

static CO_FN bool parallels_open(Node *n, Opts *o, Error **err)
{
    Parallels *p = n->opaque;
    uint8_t h[HEADER] = { 0 };
    int ret;

    if (n->file->readonly && !n->readonly)
        return fail(err, "'%s' is read-only", n->filename);
    opts_get(o, "prealloc-size");
    opts_get(o, "prealloc-mode");
    n->file->grows = true;
    ret = blk_read(n->file, 0, h, sizeof(h));
    if (ret)
        return fail_errno_is(err, -ret, "cannot read the header of '%s'", n->filename);
    if (!header_ok(n, h, err))
        return false;
    p->parts = parts_new(n->file);
    p->c.look = parallels_look;
    p->c.set = parallels_set;
    p->c.dirty = parallels_dirty;
    if (mend(n, err))
        return true;
    parts_free(p->parts);
    return false;
}

static CO_FN void parallels_close(Node *n)
{
    Parallels *p = n->opaque;

    if (!n->readonly && p->in_use && set_in_use(p, false))
        warn_report("'%s': the header could not be written", n->filename);
    parts_free(p->parts);
}

static CO_FN bool parallels_set_readonly(Node *n, bool readonly, Error **err)
{
    Parallels *p = n->opaque;

    if (readonly && p->in_use && set_in_use(p, false))
        return fail(err, "cannot write the header of '%s'", n->filename);
    if (!node_set_readonly(n->file, readonly, err))
        return false;
    n->readonly = readonly;
    return mend(n, err);
}

static CO_FN int parallels_submit(Node *n, BlkReq *r)
{
    Parallels *p = n->opaque;

    return r->op == BLK_TRUNCATE ? -ENOTSUP : clusters_submit(&p->c, r);
}

static void parallels_limits(Node *n, BlkLimits *out) { out->max_iov = 1 << 20; }

/* ---- checking ---- */
typedef struct Walk {
    Parallels *p;
    BlkCheck *c;
    unsigned fix;
    GHashTable *seen; /* places; entries are bounded, see BAT_MAX */
    uint64_t end, next;
} Walk;

static void say(Walk *w, const char *what, uint64_t index)
{
    w->c->corruptions++;
    if (w->c->lines && w->c->corruptions <= CHECK_LINES)
        g_string_append_printf(w->c->lines, "%s cluster %" PRIu64 " %s\n", w->fix & FIX_ERRORS ? "Repairing" : "ERROR", index, what);
}

static CO_FN int clear(Walk *w, uint64_t index)
{
    static const uint8_t none[4];
    int ret = w->fix & FIX_ERRORS ? parts_write(w->p->parts, HEADER + index * 4, none, sizeof(none)) : 0;

    w->c->corruptions_fixed += w->fix & FIX_ERRORS && !ret;
    return ret;
}

/* Two guest clusters in one place: the second gets a copy. */
static CO_FN int part_from(Walk *w, uint64_t index, uint64_t host)
{
    Clusters *c = &w->p->c;
    g_autofree uint8_t *buf = g_try_malloc(c->cluster);
    uint64_t place = c->end;
    int ret = buf ? 0 : -ENOMEM;

    say(w, "shares its place with another one", index);
    if (ret || !(w->fix & FIX_ERRORS))
        return ret;
    ret = blk_read(c->n->file, host, buf, c->cluster);
    ret = ret ? ret : blk_write(c->n->file, place, buf, c->cluster);
    ret = ret ? ret : blk_flush(c->n->file);
    if (ret)
        return ret;
    c->end = w->end = place + c->cluster;
    w->c->corruptions_fixed++;
    return c->set(c, index, 1, place);
}

static CO_FN int visit(Walk *w, uint64_t index)
{
    uint64_t host;
    int ret = entry(w->p, index, &host);

    if (ret || !host) {
        w->next = 0;
        return ret;
    }
    if (!place_ok(w->p, host)) {
        say(w, "lies outside of the image", index);
        return clear(w, index);
    }
    if (!g_hash_table_add(w->seen, g_memdup2(&host, sizeof(host))))
        return part_from(w, index, host);
    w->end = MAX(w->end, host + w->p->c.cluster);
    w->c->allocated_clusters++;
    w->c->fragmented_clusters += w->next && w->next != host;
    w->next = host + w->p->c.cluster;
    return 0;
}

static CO_FN int drop_end(Walk *w)
{
    Node *file = w->p->c.n->file;
    uint64_t cluster = w->p->c.cluster, leaked = file->size > w->end ? (file->size - w->end + cluster - 1) / cluster : 0;
    int ret;

    w->c->leaks = leaked;
    if (!leaked || !(w->fix & FIX_LEAKS))
        return 0;
    ret = blk_truncate(file, w->end, 0);
    if (!ret) {
        w->c->leaks_fixed = leaked;
        w->p->c.end = w->end;
    }
    return ret;
}

static CO_FN int parallels_check(Node *n, BlkCheck *c, unsigned fix)
{
    Parallels *p = n->opaque;
    Walk w = { .p = p, .c = c, .fix = n->readonly ? 0 : fix, .seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL), .end = p->data };
    int ret = 0;

    co_lock(&p->c.lock);
    for (uint64_t i = 0; i < p->entries && !ret; i++)
        ret = visit(&w, i);
    if (!ret)
        ret = drop_end(&w);
    co_unlock(&p->c.lock);
    if (p->in_use && n->readonly && !ret) {
        c->corruptions++;
        if (c->lines)
            g_string_append(c->lines, "ERROR image was not closed correctly\n");
    }
    c->total_clusters = (n->size + p->c.cluster - 1) / p->c.cluster;
    c->image_end = w.end;
    g_hash_table_destroy(w.seen);
    return ret;
}

/* ---- making one ---- */
static void parallels_names(const Node *n, BlkNames *out)
{
    *out = (BlkNames){ .untold = true };
}

static CO_FN int fill(Node *file, uint64_t size, uint64_t cluster)
{
    uint64_t sectors = size / SECTOR, entries = (size + cluster - 1) / cluster, table = (HEADER + entries * 4 + cluster - 1) / cluster * cluster;
    uint8_t h[SECTOR] = { 0 };
    int ret;

    memcpy(h, magic_ext, 16);
    le32_store(h + AT_VERSION, 2);
    le32_store(h + AT_HEADS, HEADS);
    le32_store(h + AT_CYLINDERS, (uint32_t)(sectors / HEADS / PER_TRACK));
    le32_store(h + AT_TRACKS, (uint32_t)(cluster / SECTOR));
    le32_store(h + AT_ENTRIES, (uint32_t)entries);
    le64_store(h + AT_SECTORS, sectors);
    le32_store(h + AT_DATA, (uint32_t)(table / SECTOR));
    ret = blk_truncate(file, table, 0);
    ret = ret ? ret : blk_write(file, 0, h, sizeof(h));
    return ret ? ret : blk_flush(file);
}

static CO_FN bool create(Loop *loop, const char *filename, Opts *o, Error **err)
{
    uint64_t size, cluster;
    const char *pre = opts_get(o, "preallocation");
    Node *file;
    int ret;

    opts_get(o, "nocow");
    opts_get(o, "extent_size_hint");
    if (pre && strcmp(pre, "off"))
        return fail(err, "Preallocation can only be 'off' for file format 'parallels'");
    if (!opts_get_size(o, "size", 0, &size, err) || !opts_get_size(o, "cluster_size", 1 << 20, &cluster, err) || !opts_all_used(o, "parallels", err))
        return false;
    if (!cluster || cluster % SECTOR || cluster > CLUSTER_MAX)
        return fail(err, "Cluster size must be a multiple of 512 up to 1G");
    if ((size + cluster - 1) / cluster > BAT_MAX)
        return fail(err, "Image size is too large for this cluster size");
    file = blocks_new_file(loop, filename, err);
    if (!file)
        return false;
    ret = fill(file, size, cluster);
    node_unref(file);
    return !ret || fail_errno_is(err, -ret, "cannot write '%s'", filename);
}

static const char *const create_options[] = { "size", "cluster_size=1048576", "nocow", "preallocation", "extent_size_hint", NULL };
static const BlkImageOps image = { .create_options = create_options, .create = create, .names = parallels_names, .check = parallels_check };
static const BlkDriver parallels = {
    .name = "parallels",
    .size = sizeof(Parallels),
    .image = &image,
    .probe = parallels_probe,
    .open = parallels_open,
    .close = parallels_close,
    .submit = parallels_submit,
    .limits = parallels_limits,
    .set_readonly = parallels_set_readonly,
};
BLK_DRIVER(parallels);
