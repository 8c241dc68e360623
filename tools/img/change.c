/* tools/img/change.c - snapshot, resize, rebase, commit, amend: verbs that change an image where it is. */
#include "tools/img/img.h"
#include <errno.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

static bool needs(const Node *n, bool can, const char *what, Error **err)
{
    return can || fail(err, "Image format driver '%s' does not support %s", n->drv->name, what);
}

/* ---- snapshot ---- */
static CO_FN bool snapshot(Node *n, int action, const char *name, Error **err)
{
    const BlkImageOps *ops = n->drv->image;
    int64_t now = g_get_real_time();
    GPtrArray *list;

    if (!needs(n, ops && ops->snapshots, "snapshots", err))
        return false;
    switch (action) {
    case 'c':
        return ops->snapshot_create(n, name, (uint32_t)(now / 1000000), (uint32_t)(now % 1000000 * 1000), err);
    case 'a':
        return ops->snapshot_apply(n, name, err);
    case 'd':
        return ops->snapshot_delete(n, name, err);
    default:
        list = ops->snapshots(n);
        img_print_snapshots(list);
        blk_snapshots_free(list);
        return true;
    }
}

CO_FN int img_snapshot(Img *m, int argc, char **argv, Error **err)
{
    static const struct option own[] = { { "list", no_argument, NULL, 'l' }, { "create", required_argument, NULL, 'c' },
                                         { "apply", required_argument, NULL, 'a' }, { "delete", required_argument, NULL, 'd' }, { 0 } };
    Common c = { NULL };
    const char *name = NULL;
    int k, action = 0;
    bool ok;
    Node *n;

    while ((k = img_option(m, &c, argc, argv, "lc:a:d:", own, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?';
        if (action)
            return img_usage("snapshot", err, "Cannot mix '-l', '-a', '-c', '-d'");
        action = k;
        name = optarg;
    }
    if (argc - optind != 1)
        return img_usage("snapshot", err, "Expecting one image file name");
    n = img_open(m, argv[optind], c.format, OPEN_NO_BACKING | OPEN_NO_IO | (action && action != 'l' ? OPEN_WRITE : 0), err);
    if (!n)
        return 1;
    ok = snapshot(n, action, name, err);
    node_unref(n);
    return !ok;
}

/* ---- resize ---- */
static bool new_size(const Node *n, const char *text, bool shrink, bool quiet, uint64_t *out, Error **err)
{
    uint64_t v;

    if (!img_size(text + (*text == '+' || *text == '-'), &v, err))
        return false;
    if (*text == '-' && v > n->size)
        return fail(err, "New image size must be positive");
    *out = *text == '+' ? n->size + v : *text == '-' ? n->size - v : v;
    if (*out > INT64_MAX || !*out)
        return fail(err, "New image size must be positive");
    *out = align_up(*out, 512);
    if (*out >= n->size || shrink)
        return true;
    if (!quiet)
        warn_report("Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an operation, "
                    "make sure there is no important data there.");
    return fail(err, "Use the --shrink option to perform a shrink operation.");
}

CO_FN int img_resize(Img *m, int argc, char **argv, Error **err)
{
    static const struct option own[] = { { "shrink", no_argument, NULL, 2000 }, { "preallocation", required_argument, NULL, 2001 }, { 0 } };
    Common c = { NULL };
    const char *size_text;
    bool shrink = false, ok;
    unsigned flags = 0;
    uint64_t size = 0;
    int k, ret;
    Node *n;

    if (argc < 3) /* "-1G" looks like an option: the size is always the last */
        return img_usage("resize", err, "Expecting image file name and size");
    size_text = argv[--argc];
    while ((k = img_option(m, &c, argc, argv, "", own, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?';
        shrink |= k == 2000;
        if (k == 2001 && strcmp(optarg, "off"))
            flags = BLK_RESERVE;
    }
    if (argc - optind != 1)
        return img_usage("resize", err, "Expecting image file name and size");
    n = img_open(m, argv[optind], c.format, OPEN_WRITE, err);
    if (!n)
        return 1;
    ok = new_size(n, size_text, shrink, m->quiet, &size, err);
    ret = ok ? blk_truncate(n, size, flags) : 0;
    if (ret == -ENOTSUP)
        ok = fail(err, "Image format driver does not support resize");
    else if (ret)
        ok = fail_errno_is(err, -ret, "Could not resize image");
    node_unref(n);
    if (ok && !m->quiet)
        printf("Image resized.\n");
    return !ok;
}

/* ---- rebase ---- */
static CO_FN bool read_of(Node *n, uint64_t off, uint8_t *buf, uint64_t len, Error **err)
{
    uint64_t there = n && off < n->size ? MIN(len, n->size - off) : 0;
    int ret = there ? blk_read(n, off, buf, there) : 0;

    memset(buf + there, 0, len - there);
    return !ret || fail_errno_is(err, -ret, "error while reading from %s", n->filename);
}

/* One run that the layer itself lacks: where old and new backing file differ, the old one's bytes are written to it. */
static CO_FN bool keep_bytes(Node *n, Node *old, Node *new, uint64_t off, uint64_t len, bool compress, uint8_t *buf[2], Error **err)
{
    uint64_t unit = compress ? len : 65536;

    if (!read_of(old, off, buf[0], len, err) || !read_of(new, off, buf[1], len, err))
        return false;
    for (uint64_t at = 0; at < len; at += unit) {
        uint64_t k = MIN(unit, len - at);
        struct iovec one = { buf[0] + at, k };
        BlkReq w = { .op = BLK_WRITE, .off = off + at, .len = k, .iov = &one, .niov = 1, .flags = compress ? BLK_COMPRESS : 0 };
        int ret;

        if (!memcmp(buf[0] + at, buf[1] + at, k))
            continue;
        ret = blk_submit(n, &w);
        if (ret)
            return fail_errno_is(err, -ret, "Error while writing to COW image");
    }
    return true;
}

static CO_FN bool move_over(Img *m, Node *n, Node *new, bool compress, Error **err)
{
    uint8_t *buf[2] = { g_malloc(PIECE), g_malloc(PIECE) };
    bool ok = true;

    for (uint64_t off = 0; off < n->size && ok;) {
        BlkReq st = { .op = BLK_STATUS, .off = off, .len = MIN(n->size - off, PIECE), .flags = BLK_THIS_LAYER };
        int ret = blk_submit(n, &st);

        if (ret)
            ok = fail_errno_is(err, -ret, "error while reading image metadata");
        else if (!st.allocated)
            ok = keep_bytes(n, n->backing, new, off, st.len, compress, buf, err);
        off += st.len;
        img_progress(m, off, n->size);
    }
    g_free(buf[0]);
    g_free(buf[1]);
    return ok;
}

static char *beside(const char *image, const char *name)
{
    g_autofree char *dir = g_path_get_dirname(image);

    return g_path_is_absolute(name) || strchr(name, ':') ? g_strdup(name) : g_build_filename(dir, name, NULL);
}

static CO_FN bool rebase(Img *m, Node *n, const char *to, const char *to_format, bool unsafe, bool compress, Error **err)
{
    g_autofree char *path = to && *to ? beside(n->filename, to) : NULL;
    Node *new = NULL;
    bool ok = needs(n, n->drv->image && n->drv->image->set_backing, "backing files", err);

    if (ok && !unsafe && path) {
        new = img_open(m, path, to_format, 0, err);
        ok = new != NULL;
    }
    if (ok && !unsafe)
        ok = move_over(m, n, new, compress, err);
    if (ok)
        ok = n->drv->image->set_backing(n, path ? to : NULL, to_format, err);
    node_unref(new);
    return ok;
}

CO_FN int img_rebase(Img *m, int argc, char **argv, Error **err)
{
    static const struct option own[] = { { "backing", required_argument, NULL, 'b' }, { "backing-format", required_argument, NULL, 'F' },
                                         { "backing-unsafe", no_argument, NULL, 'u' }, { "compress", no_argument, NULL, 'c' },
                                         { "backing-cache", required_argument, NULL, 't' }, { 0 } };
    Common c = { NULL };
    const char *to = NULL, *format = NULL;
    bool unsafe = false, compress = false, ok;
    Node *n;
    int k;

    while ((k = img_option(m, &c, argc, argv, "b:F:uct:", own, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?';
        to = k == 'b' ? optarg : to;
        format = k == 'F' ? optarg : format;
        unsafe |= k == 'u';
        compress |= k == 'c';
    }
    if (argc - optind != 1)
        return img_usage("rebase", err, "Expecting one image file name");
    n = img_open(m, argv[optind], c.format, OPEN_WRITE | (unsafe ? OPEN_NO_BACKING : 0), err);
    if (!n)
        return 1;
    ok = rebase(m, n, to, format, unsafe, compress, err);
    node_unref(n);
    return !ok;
}

/* ---- commit ---- */
static CO_FN bool copy_down(Img *m, Node *n, Node *base, unsigned depth, Error **err)
{
    g_autofree uint8_t *buf = g_malloc(PIECE);
    int ret = n->size > base->size ? blk_truncate(base, n->size, 0) : 0;

    for (uint64_t off = 0; off < n->size && !ret;) {
        BlkReq st = { .op = BLK_STATUS, .off = off, .len = MIN(n->size - off, PIECE) };

        ret = blk_submit(n, &st);
        if (!ret && st.allocated && st.depth < depth) {
            ret = st.zero ? 0 : blk_read(n, off, buf, st.len);
            if (!ret)
                ret = st.zero ? blk_zero(base, off, st.len, BLK_MAY_UNMAP) : blk_write(base, off, buf, st.len);
        }
        off += st.len;
        img_progress(m, off, n->size);
    }
    if (!ret)
        ret = blk_flush(base);
    return !ret || fail_errno_is(err, -ret, "Error while committing image");
}

/* The layer that is written to is opened for itself: the chain above has it read-only and unlocked for the while. */
static CO_FN bool commit(Img *m, const char *name, const char *format, const char *base_name, bool keep, Error **err)
{
    Node *n = img_open(m, name, format, OPEN_WRITE, err), *b, *base = NULL;
    unsigned depth = 1;
    bool ok = n != NULL;

    if (ok && !n->backing)
        ok = fail(err, "Image does not have a backing file");
    for (b = ok ? n->backing : NULL; b && base_name && g_strcmp0(b->filename, base_name); b = b->backing)
        depth++;
    if (ok && !b)
        ok = fail(err, "Did not find '%s' in the backing chain of '%s'", base_name, name);
    if (ok) {
        node_permissions(n, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL, NULL);
        for (Node *x = n->backing; x; x = x->backing)
            node_permissions(x->file ? x->file : x, 0, PERM_ALL, NULL);
        base = img_open(m, b->filename, b->drv->name, OPEN_WRITE, err);
        ok = base != NULL;
    }
    if (ok)
        ok = copy_down(m, n, base, depth, err);
    if (ok && !keep && !base_name && n->drv->image->make_empty) {
        int ret = n->drv->image->make_empty(n);

        ok = !ret || fail_errno_is(err, -ret, "Could not empty %s", name);
    }
    node_unref(base);
    node_unref(n);
    return ok;
}

CO_FN int img_commit(Img *m, int argc, char **argv, Error **err)
{
    static const struct option own[] = { { "base", required_argument, NULL, 'b' }, { "drop", no_argument, NULL, 'd' },
                                         { "rate", required_argument, NULL, 'r' }, { "cache", required_argument, NULL, 't' }, { 0 } };
    Common c = { NULL };
    const char *base = NULL;
    bool keep = false;
    int k;

    while ((k = img_option(m, &c, argc, argv, "b:dr:t:", own, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?';
        base = k == 'b' ? optarg : base;
        keep |= k == 'd';
    }
    if (argc - optind != 1)
        return img_usage("commit", err, "Expecting one image file name");
    if (!commit(m, argv[optind], c.format, base, keep, err))
        return 1;
    if (!m->quiet)
        printf("Image committed.\n");
    return 0;
}

/* ---- amend ---- */
enum { OPT_FORCE = 2000 };
CO_FN int img_amend(Img *m, int argc, char **argv, Error **err)
{
    static const struct option own[] = { { "options", required_argument, NULL, 'o' }, { "force", no_argument, NULL, OPT_FORCE }, { 0 } };
    g_autoptr(Opts) o = opts_new();
    Common c = { NULL };
    bool force = false, ok;
    Node *n;
    int k;

    while ((k = img_option(m, &c, argc, argv, "o:", own, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?';
        force |= k == OPT_FORCE;
        if (k == 'o' && !img_parse_options(o, optarg, err))
            return 1;
    }
    if (!o->v->len)
        return img_usage("amend", err, "Must specify options (-o)");
    if (argc - optind != 1)
        return img_usage("amend", err, "Expecting one image file name");
    n = img_open(m, argv[optind], c.format, OPEN_WRITE | OPEN_NO_BACKING, err);
    if (!n)
        return 1;
    ok = needs(n, n->drv->image && n->drv->image->amend, "option amendment", err) && n->drv->image->amend(n, o, force, err);
    node_unref(n);
    return !ok;
}
