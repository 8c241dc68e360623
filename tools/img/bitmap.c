/* tools/img/bitmap.c - bitmap and dd: persistent dirty bitmaps made and merged; blocks copied. */
#include "tools/img/img.h"
#include "block/dirty.h"
#include <errno.h>
#include <stdlib.h>

/* ---- bitmap ---- */
enum { OPT_ADD = 2000, OPT_REMOVE, OPT_CLEAR, OPT_ENABLE, OPT_DISABLE, OPT_MERGE };
enum { ACTIONS_MAX = 64 };
typedef struct Action {
    int kind;
    const char *source; /* merge */
} Action;
typedef struct Bitmaps {
    Action v[ACTIONS_MAX];
    unsigned n;
    const char *name, *source_file, *source_format;
    uint64_t granularity;
} Bitmaps;

static bool usable(const DirtyBitmap *b, bool broken_too, Error **err)
{
    return broken_too || !b->inconsistent || fail(err, "Bitmap '%s' is inconsistent and cannot be used", b->name);
}

static DirtyBitmap *find(Node *n, const char *name, bool broken_too, Error **err)
{
    DirtyBitmap *b = dirty_find(n, name);

    if (!b)
        fail(err, "Dirty bitmap '%s' not found", name);
    return b && usable(b, broken_too, err) ? b : NULL;
}

static bool add(Node *n, const Bitmaps *w, Error **err)
{
    DirtyBitmap *b = dirty_new(n, w->name, w->granularity, err);

    if (b)
        b->persistent = true;
    return b;
}

static bool merge(Node *n, Node *from, const Bitmaps *w, const char *source, Error **err)
{
    DirtyBitmap *to = find(n, w->name, false, err), *b = to ? find(from ? from : n, source, false, err) : NULL;

    if (!b)
        return false;
    if (b->n->size != n->size)
        return fail(err, "Bitmaps are of different sizes (destination size is %" PRIu64 " and source size is %" PRIu64 ") and can't be merged", n->size, b->n->size);
    dirty_merge(to, b);
    return true;
}

static bool act(Node *n, Node *from, const Bitmaps *w, const Action *a, Error **err)
{
    DirtyBitmap *b = a->kind == OPT_ADD || a->kind == OPT_MERGE ? NULL : find(n, w->name, a->kind == OPT_REMOVE, err);

    if (a->kind == OPT_ADD)
        return add(n, w, err);
    if (a->kind == OPT_MERGE)
        return merge(n, from, w, a->source, err);
    if (!b)
        return false;
    if (a->kind == OPT_REMOVE)
        dirty_free(b);
    else if (a->kind == OPT_CLEAR)
        dirty_reset(b, 0, b->nbits << b->shift);
    else
        b->disabled = a->kind == OPT_DISABLE;
    return true;
}

static CO_FN bool ready(Node *n, bool change, Error **err)
{
    int ret;

    if (!n->drv->image || !n->drv->image->bitmaps_touch)
        return fail(err, "Image format driver '%s' has no bitmaps", n->drv->name);
    if (!blk_bitmaps_load(n, err))
        return false;
    ret = change ? n->drv->image->bitmaps_touch(n) : 0;
    return !ret || fail_errno_is(err, -ret, "Cannot store bitmaps in '%s'", n->filename);
}

static CO_FN bool perform(Img *m, const Bitmaps *w, const char *file, const char *format, Error **err)
{
    Node *n = img_open(m, file, format, OPEN_WRITE | OPEN_NO_BACKING, err), *from = NULL;
    bool ok = n;

    if (ok && w->source_file)
        ok = (from = img_open(m, w->source_file, w->source_format, OPEN_NO_BACKING, err));
    ok = ok && ready(n, true, err) && (!from || ready(from, false, err));
    for (unsigned i = 0; i < w->n && ok; i++)
        ok = act(n, from, w, &w->v[i], err);
    node_unref(from);
    node_unref(n);
    return ok;
}

static bool parse(Img *m, Bitmaps *w, Common *c, int argc, char **argv, bool *help, Error **err)
{
    static const struct option own[] = { { "add", no_argument, NULL, OPT_ADD },         { "remove", no_argument, NULL, OPT_REMOVE },
                                         { "clear", no_argument, NULL, OPT_CLEAR },     { "enable", no_argument, NULL, OPT_ENABLE },
                                         { "disable", no_argument, NULL, OPT_DISABLE }, { "merge", required_argument, NULL, OPT_MERGE },
                                         { "granularity", required_argument, NULL, 'g' }, { "source-file", required_argument, NULL, 'b' },
                                         { "source-format", required_argument, NULL, 'F' }, { 0 } };
    int k;

    while ((k = img_option(m, c, argc, argv, "g:b:F:", own, err)) != -1) {
        *help = k == 'h';
        if (k == 'h' || k == '?')
            return false;
        if (k == 'g' && !img_size(optarg, &w->granularity, err))
            return false;
        if (k == 'b')
            w->source_file = optarg;
        if (k == 'F')
            w->source_format = optarg;
        if (k >= OPT_ADD && w->n == ACTIONS_MAX)
            return fail(err, "at most %d actions", ACTIONS_MAX);
        if (k >= OPT_ADD)
            w->v[w->n++] = (Action){ k, k == OPT_MERGE ? optarg : NULL };
    }
    return true;
}

static bool consistent(const Bitmaps *w, int left, Error **err)
{
    bool adds = false, merges = false;

    for (unsigned i = 0; i < w->n; i++) {
        adds |= w->v[i].kind == OPT_ADD;
        merges |= w->v[i].kind == OPT_MERGE;
    }
    if (left != 2)
        return img_usage("bitmap", err, "Expecting filename and bitmap name") == 0;
    if (!w->n)
        return fail(err, "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
    if (w->granularity && !adds)
        return fail(err, "granularity only supported with --add");
    if (w->source_file && !merges)
        return fail(err, "Merge bitmap source file only supported with --merge");
    return !w->source_format || w->source_file || fail(err, "Source format only supported with --source-file");
}

CO_FN int img_bitmap(Img *m, int argc, char **argv, Error **err)
{
    Common c = { NULL };
    Bitmaps w = { .n = 0 };
    bool help = false;

    if (!parse(m, &w, &c, argc, argv, &help, err))
        return !help;
    if (!consistent(&w, argc - optind, err))
        return 1;
    w.name = argv[optind + 1];
    return !perform(m, &w, argv[optind], c.format, err);
}

/* ---- dd ---- */
typedef struct Dd {
    const char *in, *out, *format;
    uint64_t bs, count, skip;
    bool has_count;
} Dd;

static bool operand(Dd *d, const char *text, Error **err)
{
    const char *v = strchr(text, '=');

    if (!v)
        return fail(err, "unrecognized operand '%s'", text);
    v++;
    if (g_str_has_prefix(text, "if="))
        d->in = v;
    else if (g_str_has_prefix(text, "of="))
        d->out = v;
    else if (g_str_has_prefix(text, "bs="))
        return img_size(v, &d->bs, err) && ((d->bs && d->bs <= INT32_MAX) || fail(err, "Invalid block size '%s'", v));
    else if (g_str_has_prefix(text, "count="))
        return img_size(v, &d->count, err) && (d->has_count = true);
    else if (g_str_has_prefix(text, "skip="))
        return img_size(v, &d->skip, err);
    else
        return fail(err, "unrecognized operand '%s'", text);
    return true;
}

static CO_FN bool copy_blocks(Node *in, Node *out, uint64_t from, uint64_t len, uint64_t bs, Error **err)
{
    g_autofree uint8_t *buf = g_try_malloc(bs);

    if (!buf)
        return fail(err, "no memory for a block of %" PRIu64 " bytes", bs);
    for (uint64_t at = 0; at < len; at += bs) {
        uint64_t n = MIN(bs, len - at);
        int ret = blk_read(in, from + at, buf, n);

        if (ret)
            return fail_errno_is(err, -ret, "error while reading from input image file");
        ret = blk_write(out, at, buf, n);
        if (ret)
            return fail_errno_is(err, -ret, "error while writing to output image file");
    }
    return true;
}

static CO_FN bool dd(Img *m, const Dd *d, const char *in_format, Error **err)
{
    const char *format = d->format ? d->format : "raw";
    g_autoptr(Opts) o = opts_new();
    bool options = m->image_opts;
    Node *in = img_open(m, d->in, in_format, 0, err), *out = NULL;
    uint64_t from, size;
    bool ok;

    if (!in)
        return false;
    size = d->has_count && d->count <= in->size / d->bs ? d->count * d->bs : in->size; /* what is skipped counts, as in qemu-img */
    from = d->skip > size / d->bs ? size : d->skip * d->bs;
    size -= from;
    m->image_opts = false;
    m->quiet = true;
    ok = img_make(m, d->out, format, o, align_up(size, 512), false, err) && (out = img_open(m, d->out, format, OPEN_WRITE, err)) &&
         copy_blocks(in, out, from, size, d->bs, err);
    m->image_opts = options;
    node_unref(out);
    node_unref(in);
    return ok;
}

CO_FN int img_dd(Img *m, int argc, char **argv, Error **err)
{
    static const struct option own[] = { { "output-format", required_argument, NULL, 'O' }, { 0 } };
    Dd d = { .bs = 512 };
    Common c = { NULL };
    int k;

    while ((k = img_option(m, &c, argc, argv, "O:", own, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?';
        d.format = optarg;
    }
    for (int i = optind; i < argc; i++)
        if (!operand(&d, argv[i], err))
            return 1;
    if (!d.in || !d.out)
        return img_usage("dd", err, "Must specify both input and output file names");
    return !dd(m, &d, c.format, err);
}
