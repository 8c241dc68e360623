/* tools/img/compare.c - compare, map and measure: what is where in an image. */
#include "tools/img/img.h"
#include <errno.h>

enum { PIECE = 1 << 20 };

/* ---- compare ---- */
typedef struct Pair {
    Node *n[2];
    uint8_t *buf[2];
} Pair;

static bool zero(const uint8_t *p, uint64_t len) { return !len || (!p[0] && !memcmp(p, p + 1, len - 1)); }

/* The first byte that differs in the piece; len: none. */
static uint64_t first_difference(const uint8_t *a, const uint8_t *b, uint64_t len)
{
    uint64_t i = 0;

    if (!memcmp(a, b, len))
        return len;
    while (a[i] == b[i])
        i++;
    return i;
}

/* 0: alike; 1: *at says where not; 2 and more: an error */
static CO_FN int compare_both(Img *m, Pair *p, uint64_t size, uint64_t *at, Error **err)
{
    for (uint64_t off = 0; off < size;) {
        uint64_t len = size - off, same;
        BlkReq st[2];

        for (int i = 0; i < 2; i++) {
            if (!img_status(p->n[i], off, len, &st[i], err))
                return 3;
            len = MIN(len, st[i].len);
        }
        if ((st[0].zero || !st[0].allocated) && (st[1].zero || !st[1].allocated)) {
            off += len;
            continue;
        }
        len = MIN(len, PIECE);
        for (int i = 0; i < 2; i++) {
            int ret = blk_read(p->n[i], off, p->buf[i], len);

            if (ret) {
                fail_errno_is(err, -ret, "Error while reading offset %" PRIu64 " of %s", off, p->n[i]->filename);
                return 4;
            }
        }
        same = first_difference(p->buf[0], p->buf[1], len);
        if (same < len) {
            *at = off + align_down(same, 512);
            return 1;
        }
        off += len;
        img_progress(m, off, size);
    }
    return 0;
}

static CO_FN int compare_rest(Img *m, Pair *p, Node *longer, uint64_t off, uint64_t *at, Error **err)
{
    while (off < longer->size) {
        uint64_t len = longer->size - off;
        BlkReq st;
        int ret;

        if (!img_status(longer, off, len, &st, err))
            return 3;
        len = st.len;
        if (!st.zero && st.allocated) {
            len = MIN(len, PIECE);
            ret = blk_read(longer, off, p->buf[0], len);
            if (ret) {
                fail_errno_is(err, -ret, "Error while reading offset %" PRIu64 " of %s", off, longer->filename);
                return 4;
            }
            if (!zero(p->buf[0], len)) {
                *at = off;
                return 1;
            }
        }
        off += len;
    }
    return 0;
}

static CO_FN int compare(Img *m, Pair *p, bool strict, Error **err)
{
    uint64_t a = p->n[0]->size, b = p->n[1]->size, at = 0;
    int ret;

    if (a != b && strict) {
        if (!m->quiet)
            printf("Strict mode: Image size mismatch!\n");
        return 1;
    }
    ret = compare_both(m, p, MIN(a, b), &at, err);
    if (!ret && a != b) {
        if (!m->quiet)
            printf("Warning: Image size mismatch!\n");
        ret = compare_rest(m, p, a > b ? p->n[0] : p->n[1], MIN(a, b), &at, err);
    }
    if (ret == 1 && !m->quiet)
        printf("Content mismatch at offset %" PRIu64 "!\n", at);
    if (!ret && !m->quiet)
        printf("Images are identical.\n");
    return ret;
}

CO_FN int img_compare(Img *m, int argc, char **argv, Error **err)
{
    static const struct option own[] = { { "b-format", required_argument, NULL, 'F' }, { "strict", no_argument, NULL, 's' },
                                         { "a-format", required_argument, NULL, 'f' }, { 0 } };
    Common c = { NULL };
    const char *other = NULL;
    Pair p = { { NULL } };
    bool strict = false;
    int k, ret = 2;

    while ((k = img_option(m, &c, argc, argv, "F:s", own, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?' ? 2 : 0;
        other = k == 'F' ? optarg : other;
        strict |= k == 's';
    }
    if (argc - optind != 2) {
        img_usage("compare", err, "Expecting two image file names");
        return 2;
    }
    p.n[0] = img_open(m, argv[optind], c.format, 0, err);
    p.n[1] = p.n[0] ? img_open(m, argv[optind + 1], other, 0, err) : NULL;
    p.buf[0] = g_malloc(PIECE);
    p.buf[1] = g_malloc(PIECE);
    if (p.n[1])
        ret = compare(m, &p, strict, err);
    for (int i = 0; i < 2; i++) {
        g_free(p.buf[i]);
        node_unref(p.n[i]);
    }
    return ret;
}

/* ---- map ---- */
typedef struct Extent {
    uint64_t start, len, offset;
    unsigned depth;
    bool present, zero, data, compressed, mapped;
    const Node *file;
} Extent;

static bool extends(const Extent *a, const Extent *b)
{
    return a->len && a->depth == b->depth && a->present == b->present && a->zero == b->zero && a->data == b->data &&
           a->compressed == b->compressed && a->mapped == b->mapped && a->file == b->file && (!a->mapped || a->offset + a->len == b->offset);
}

static void print_extent(Img *m, const Extent *e, bool first)
{
    if (!e->len)
        return;
    if (!m->json) {
        if (e->data && e->mapped)
            printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", e->start, e->len, e->offset, e->file->filename);
        return;
    }
    printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s, \"compressed\": %s",
           first ? "" : ",\n", e->start, e->len, e->depth, e->present ? "true" : "false", e->zero ? "true" : "false",
           e->data ? "true" : "false", e->compressed ? "true" : "false");
    if (e->mapped)
        printf(", \"offset\": %" PRIu64, e->offset);
    putchar('}');
}

static CO_FN bool map(Img *m, Node *n, uint64_t from, uint64_t to, Error **err)
{
    Extent last = { .start = from };
    bool first = true;

    fputs(m->json ? "[" : "Offset          Length          Mapped to       File\n", stdout);
    for (uint64_t off = from; off < to;) {
        BlkReq st;
        Extent e;

        if (!img_status(n, off, MIN(to - off, GiB), &st, err))
            return false;
        e = (Extent){ off, st.len, st.map, st.depth, st.allocated, st.zero || !st.allocated, st.allocated && !st.zero, st.compressed,
                      st.map_file != NULL, st.map_file };
        if (!m->json && e.compressed) {
            fail(err, "File contains external, encrypted or compressed clusters.");
            return false;
        }
        if (extends(&last, &e)) {
            last.len += e.len;
        } else {
            print_extent(m, &last, first);
            first &= !last.len;
            last = e;
        }
        off += st.len;
    }
    print_extent(m, &last, first);
    fputs(m->json ? "]\n" : "", stdout);
    return true;
}

CO_FN int img_map(Img *m, int argc, char **argv, Error **err)
{
    static const struct option own[] = { { "start-offset", required_argument, NULL, 's' }, { "max-length", required_argument, NULL, 'l' }, { 0 } };
    Common c = { NULL };
    uint64_t start = 0, most = UINT64_MAX;
    Node *n;
    bool ok;
    int k;

    while ((k = img_option(m, &c, argc, argv, "s:l:", own, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?';
        if (!img_size(optarg ? optarg : "0", k == 's' ? &start : k == 'l' ? &most : &(uint64_t){ 0 }, err))
            return 1;
    }
    if (argc - optind != 1)
        return img_usage("map", err, "Expecting one image file name");
    n = img_open(m, argv[optind], c.format, 0, err);
    if (!n)
        return 1;
    start = MIN(start, n->size);
    ok = map(m, n, start, start + MIN(most, n->size - start), err);
    node_unref(n);
    return !ok;
}

/* ---- measure ---- */
static CO_FN bool data_in(Node *n, uint64_t cluster, uint64_t *bytes, Error **err)
{
    uint64_t counted = 0; /* clusters up to here */

    *bytes = 0;
    for (uint64_t off = 0; off < n->size;) {
        BlkReq st;
        uint64_t lo, hi;

        if (!img_status(n, off, n->size - off, &st, err))
            return false;
        if (st.allocated && !st.zero) {
            lo = MAX(align_down(off, cluster), counted);
            hi = align_up(off + st.len, cluster);
            *bytes += hi > lo ? hi - lo : 0;
            counted = MAX(counted, hi);
        }
        off += st.len;
    }
    return true;
}

static CO_FN bool measure_of(Img *m, const char *to, Opts *o, const char *file, const char *format, uint64_t size, BlkMeasure *out, Error **err)
{
    const BlkDriver *d = blk_driver_find(to);
    Node *n = file ? img_open(m, file, format, 0, err) : NULL;
    uint64_t cluster = 65536, data = 0;
    bool ok = !file || n;

    if (ok && (!d || (!d->image && strcmp(to, "raw"))))
        ok = fail(err, "Unknown file format '%s'", to);
    if (ok && d->image && !d->image->measure)
        ok = fail(err, "Block driver '%s' does not support size measurement", to);
    if (ok && opts_peek(o, "cluster_size"))
        ok = parse_size(opts_peek(o, "cluster_size"), 'B', &cluster, err) && (is_pow2(cluster) || fail(err, "Cluster size must be a power of two between 512 and 2048k"));
    if (ok && n) {
        size = n->size;
        ok = data_in(n, cluster, &data, err);
    }
    if (ok && d->image)
        ok = d->image->measure(o, size, data, out, err);
    else if (ok)
        *out = (BlkMeasure){ .required = size, .fully_allocated = size };
    out->has_bitmaps &= n != NULL && n->drv == d;
    node_unref(n);
    return ok;
}

static void print_measure(Img *m, const BlkMeasure *v)
{
    Json j = { NULL };

    if (!m->json) {
        printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", v->required, v->fully_allocated);
        if (v->has_bitmaps)
            printf("bitmaps size: %" PRIu64 "\n", v->bitmaps);
        return;
    }
    json_open(&j, NULL, '{');
    if (v->has_bitmaps)
        json_number(&j, "bitmaps", v->bitmaps);
    json_number(&j, "required", v->required);
    json_number(&j, "fully-allocated", v->fully_allocated);
    json_close(&j, '}');
    json_print(&j);
}

CO_FN int img_measure(Img *m, int argc, char **argv, Error **err)
{
    static const struct option own[] = { { "target-format", required_argument, NULL, 'O' }, { "size", required_argument, NULL, 's' },
                                         { "options", required_argument, NULL, 'o' }, { 0 } };
    g_autoptr(Opts) o = opts_new();
    Common c = { NULL };
    const char *to = "raw";
    uint64_t size = UINT64_MAX;
    BlkMeasure v = { 0 };
    int k;

    while ((k = img_option(m, &c, argc, argv, "O:s:o:", own, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?';
        if ((k == 's' && !img_size(optarg, &size, err)) || (k == 'o' && !img_parse_options(o, optarg, err)))
            return 1;
        to = k == 'O' ? optarg : to;
    }
    if ((size == UINT64_MAX) != (argc - optind == 1))
        return img_usage("measure", err, "Either --size N or one filename must be specified.");
    if (!measure_of(m, to, o, argv[optind], c.format, size, &v, err))
        return 1;
    print_measure(m, &v);
    return 0;
}
