/*
 * block/overlay.c - snapshot=on: a writable layer over a base that is only read. What is written
 * goes to an unlinked sparse file at the same offset; a bit per 512-byte sector, in maps of one MiB
 * made on the first write to it, says who has the sector.
 *
 * Invariants: 1. a bit is set only after the sector's data is in the store. 2. Bits are never
 * cleared: zeroed and discarded sectors are the store's holes.
 */
#include "block/priv.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { SECTOR = 512, MAP_SECTORS = 2048 };
typedef struct SectorMap {
    uint64_t bits[MAP_SECTORS / 64];
} SectorMap;
typedef struct Overlay {
    GHashTable *maps; /* index of the MiB -> SectorMap */
} Overlay;

static bool has(const Overlay *v, uint64_t sector)
{
    uint64_t key = sector / MAP_SECTORS, s = sector % MAP_SECTORS;
    const SectorMap *m = g_hash_table_lookup(v->maps, &key);

    return m && (m->bits[s / 64] >> (s % 64) & 1);
}

static void add(Overlay *v, uint64_t off, uint64_t len)
{
    for (uint64_t i = off / SECTOR; i < (off + len + SECTOR - 1) / SECTOR; i++) {
        uint64_t key = i / MAP_SECTORS, s = i % MAP_SECTORS;
        SectorMap *m = g_hash_table_lookup(v->maps, &key);

        if (!m) {
            m = g_new0(SectorMap, 1);
            g_hash_table_insert(v->maps, g_memdup2(&key, sizeof(key)), m);
        }
        m->bits[s / 64] |= 1ull << (s % 64);
    }
}

/* How many bytes from off, at most len, are on the same side; *ours says which. */
static uint64_t run_length(const Overlay *v, uint64_t off, uint64_t len, bool *ours)
{
    uint64_t first = off / SECTOR, end = (off + len + SECTOR - 1) / SECTOR, i = first + 1;

    *ours = has(v, first);
    while (i < end && has(v, i) == *ours)
        i++;
    return MIN(len, i * SECTOR - off);
}

static CO_FN int overlay_read(Node *n, BlkReq *r)
{
    Overlay *v = n->opaque;
    g_autofree struct iovec *iov = g_new(struct iovec, MAX(r->niov, 1));
    int ret = 0;

    for (uint64_t at = 0; at < r->len && !ret;) {
        bool ours;
        uint64_t len = run_length(v, r->off + at, r->len - at, &ours);
        BlkReq part = { .op = BLK_READ, .off = r->off + at, .len = len, .iov = iov };

        if (!ours &&
            !in_range(part.off, len, n->backing->size)) /* grown: beyond the base is zero */
            len = part.len = part.off < n->backing->size ? n->backing->size - part.off : len;
        part.niov = iov_slice(r->iov, r->niov, at, len, iov);
        if (!ours && part.off >= n->backing->size)
            iov_zero(iov, part.niov, 0, len);
        else
            ret = blk_submit(ours ? n->file : n->backing, &part);
        at += len;
    }
    return ret;
}

static CO_FN int overlay_zero(Node *n, const BlkReq *r)
{
    BlkReq z = { .op = BLK_ZERO, .off = r->off, .len = r->len, .flags = BLK_MAY_UNMAP };
    int ret = blk_submit(n->file, &z);

    if (!ret)
        add(n->opaque, r->off, r->len);
    return ret;
}

static CO_FN int overlay_status(Node *n, BlkReq *r)
{
    bool ours;

    r->len = run_length(n->opaque, r->off, r->len, &ours);
    if (!ours && r->off >= n->backing->size) {
        r->allocated = false;
        r->zero = true;
        return 0;
    }
    if (!ours)
        r->len = MIN(r->len, n->backing->size - r->off);
    return blk_submit(ours ? n->file : n->backing, r);
}

static CO_FN int overlay_submit(Node *n, BlkReq *r)
{
    int ret;

    switch (r->op) {
    case BLK_READ:
        return overlay_read(n, r);
    case BLK_WRITE:
        r->flags &= ~BLK_FUA; /* nothing of it survives a crash */
        ret = blk_submit(n->file, r);
        if (!ret)
            add(n->opaque, r->off, r->len);
        return ret;
    case BLK_ZERO:
    case BLK_DISCARD:
        return overlay_zero(n, r);
    case BLK_STATUS:
        return overlay_status(n, r);
    case BLK_TRUNCATE:
        ret = blk_submit(n->file, r);
        if (!ret)
            n->size = r->off;
        return ret;
    default:
        return r->op == BLK_FLUSH ? 0 : -ENOTSUP;
    }
}

static CO_FN bool overlay_open(Node *n, Opts *o, Error **err)
{
    Overlay *v = n->opaque;

    if (!n->backing)
        return fail(err, "driver overlay needs a backing node");
    v->maps = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    n->size = n->backing->size;
    return true;
}

static CO_FN void overlay_close(Node *n)
{
    Overlay *v = n->opaque;

    g_hash_table_destroy(v->maps);
}

static void overlay_limits(Node *n, BlkLimits *out)
{
    out->align = SECTOR;
    out->mem_align = 1;
}

static const BlkDriver overlay = {
    .name = "overlay",
    .size = sizeof(Overlay),
    .open = overlay_open,
    .close = overlay_close,
    .submit = overlay_submit,
    .limits = overlay_limits,
};
BLK_DRIVER(overlay);

/* A nameless file in $TMPDIR, else /var/tmp (the page cache of /tmp is often memory). */
static int temp_file(Error **err)
{
    const char *dir = g_getenv("TMPDIR") ? g_getenv("TMPDIR") : "/var/tmp";
    g_autofree char *path = g_strdup_printf("%s/menura.XXXXXX", dir);
    int fd = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0) {
        fail_errno(err, "snapshot=on: cannot make a temporary file in '%s'", dir);
        error_hint(err, "set TMPDIR to a folder with room");
        return -1;
    }
    unlink(path);
    return fd;
}

Node *node_overlay(Node *base, Error **err)
{
    g_autoptr(Opts) store = opts_new(), top = opts_new();
    g_autofree char *path = NULL;
    Node *file, *n;
    int fd = temp_file(err);

    if (fd < 0)
        return NULL;
    path = g_strdup_printf("/proc/self/fd/%d", fd);
    opts_set(store, "driver", "file");
    opts_set(store, "filename", path);
    opts_set(store, "locking", "off");
    if (ftruncate(fd, (off_t)base->size) < 0) {
        fail_errno(err, "snapshot=on: cannot size the temporary file");
        close(fd);
        return NULL;
    }
    file = node_open(base->loop, store, false, err);
    close(fd);
    if (!file)
        return NULL;
    opts_set(top, "driver", "overlay");
    n = node_open_on(base->loop, top, false, file, base, err);
    node_unref(file);
    if (!n)
        return NULL;
    g_free(n->filename);
    n->filename = g_strdup(base->filename);
    node_unref(base); /* the overlay has its own reference */
    return n;
}
