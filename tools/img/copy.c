/*
 * tools/img/copy.c - convert: workers take pieces of the source in order, read them side by side, and write them in
 * order (compressed pieces: as they come, so that they are compressed side by side).
 */
#include "tools/img/img.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PIECE = 2 << 20, WORKERS = 8, WORKERS_MAX = 16, SOURCES_MAX = 64 };

typedef struct Copy {
    Img *m;
    Node *sources[SOURCES_MAX], *target;
    int nsources, base_depth, workers, running;
    uint64_t size, at, written, piece, sparse; /* at: what nobody has taken yet; written: in order up to here */
    bool compress, target_zero, any_order, salvage;
    int ret;
    Co *waiting[WORKERS_MAX], *owner, *boss;
} Copy;
typedef struct Worker {
    Copy *c;
    int index;
} Worker;
typedef struct Piece {
    uint64_t off, len;
    bool skip, zero;
} Piece;

CO_FN bool img_status(Node *n, uint64_t off, uint64_t len, BlkReq *out, Error **err)
{
    int ret;

    *out = (BlkReq){ .op = BLK_STATUS, .off = off, .len = len };
    ret = blk_submit(n, out);
    return !ret || fail_errno_is(err, -ret, "error while reading block status at offset %" PRIu64, off);
}

static Node *source_at(const Copy *c, uint64_t at, uint64_t *start)
{
    int i = 0;

    for (*start = 0; i < c->nsources - 1 && at >= *start + c->sources[i]->size; i++)
        *start += c->sources[i]->size;
    return c->sources[i];
}

/* The next piece that is of one kind; false: none left or an error. */
static CO_FN bool next_piece(Copy *c, Piece *p)
{
    uint64_t start, end;
    Node *n;
    BlkReq st;

    if (c->ret || c->at >= c->size)
        return false;
    n = source_at(c, c->at, &start);
    end = start + n->size;
    *p = (Piece){ .off = c->at, .len = MIN(end - c->at, c->piece - c->at % c->piece) };
    st = (BlkReq){ .op = BLK_STATUS, .off = c->at - start, .len = MIN(end - c->at, GiB) };
    c->ret = blk_submit(n, &st); /* may yield, but only pieces in order are taken: see take() */
    if (c->ret)
        return false;
    p->skip = c->base_depth >= 0 && (int)st.depth >= c->base_depth;
    p->zero = !p->skip && (st.zero || !st.allocated);
    if (c->compress) { /* whole clusters: a piece is skipped only where all of it is alike */
        if ((!p->zero && !p->skip) || st.len < p->len)
            p->zero = p->skip = false;
        else
            p->len = st.len >= p->len + c->piece ? align_down(c->at + st.len, c->piece) - c->at : p->len;
    } else {
        p->len = p->zero || p->skip ? st.len : MIN(p->len, st.len);
    }
    c->at += p->len;
    return true;
}

static void wake_others(Copy *c)
{
    for (int i = 0; i < c->workers; i++) {
        Co *co = c->waiting[i];

        c->waiting[i] = NULL;
        if (co)
            co_wake(co);
    }
}

static CO_FN void wait_turn(Worker *w)
{
    w->c->waiting[w->index] = co_self();
    while (w->c->waiting[w->index])
        co_yield();
}

static CO_FN bool take(Worker *w, Piece *p)
{
    Copy *c = w->c;
    bool ok;

    while (c->owner)
        wait_turn(w);
    c->owner = co_self();
    ok = next_piece(c, p);
    c->owner = NULL;
    wake_others(c);
    return ok;
}

static CO_FN int write_part(Copy *c, uint64_t off, uint8_t *buf, uint64_t len)
{
    struct iovec one = { buf, len };
    BlkReq r = { .op = BLK_WRITE, .off = off, .len = len, .iov = &one, .niov = 1, .flags = c->compress ? BLK_COMPRESS : 0 };

    return blk_submit(c->target, &r);
}

static bool is_zero(const uint8_t *p, uint64_t len) { return !len || (!p[0] && !memcmp(p, p + 1, len - 1)); }

static CO_FN int write_zero(Copy *c, uint64_t off, uint64_t len)
{
    return c->target_zero ? 0 : blk_zero(c->target, off, len, c->sparse ? BLK_MAY_UNMAP : 0);
}

static uint64_t unit_at(const Copy *c, uint64_t at, uint64_t left) { return MIN(left, c->sparse - at % c->sparse); }

/* Runs of whole zero units (`sparse` bytes, a cluster where the target has such) are not stored. */
static CO_FN int write_sparse(Copy *c, uint64_t off, uint8_t *buf, uint64_t len)
{
    int ret = 0;

    if (c->compress || !c->sparse)
        return c->compress && c->sparse && is_zero(buf, len) ? write_zero(c, off, len) : write_part(c, off, buf, len);
    for (uint64_t at = 0, run; at < len && !ret; at += run) {
        uint64_t unit = unit_at(c, off + at, len - at);
        bool zero = is_zero(buf + at, unit);

        for (run = unit; at + run < len; run += unit) {
            unit = unit_at(c, off + at + run, len - at - run);
            if (is_zero(buf + at + run, unit) != zero)
                break;
        }
        ret = zero ? write_zero(c, off + at, run) : write_part(c, off + at, buf + at, run);
    }
    return ret;
}

static CO_FN int copy_piece(Worker *w, const Piece *p, uint8_t *buf)
{
    Copy *c = w->c;
    uint64_t start;
    Node *n = source_at(c, p->off, &start);
    int ret = 0;

    if (!p->skip && !p->zero) {
        ret = blk_read(n, p->off - start, buf, p->len);
        if (ret && c->salvage) {
            memset(buf, 0, p->len);
            ret = 0;
        }
    }
    while (!c->any_order && c->written != p->off && !c->ret)
        wait_turn(w);
    if (!ret && !c->ret && p->zero)
        ret = write_zero(c, p->off, p->len);
    else if (!ret && !c->ret && !p->skip)
        ret = write_sparse(c, p->off, buf, p->len);
    c->written += p->len;
    img_progress(c->m, c->written, c->size);
    wake_others(c);
    return ret;
}

static void work(void *arg)
{
    Worker *w = arg;
    Copy *c = w->c;
    uint8_t *buf = aligned_alloc(4096, PIECE);
    Piece p;

    while (take(w, &p)) {
        int ret = copy_piece(w, &p, buf);

        if (ret && !c->ret)
            c->ret = ret;
    }
    free(buf);
    c->running--;
    wake_others(c);
    if (!c->running && c->boss)
        co_wake(c->boss);
}

static CO_FN bool copy_all(Copy *c, Error **err)
{
    g_autofree Worker *w = g_new0(Worker, c->workers);

    c->running = c->workers;
    img_progress(c->m, 0, c->size);
    for (int i = 0; i < c->workers; i++)
        w[i] = (Worker){ c, i };
    for (int i = 0; i < c->workers; i++)
        co_enter(co_new(work, &w[i]));
    c->boss = co_self();
    while (c->running)
        co_yield();
    return !c->ret || fail_errno_is(err, -c->ret, "error while converting");
}

/* ---- the command ---- */
typedef struct Wish {
    const char *to_format, *backing, *backing_format, *snapshot;
    bool compress, no_create, target_zero, any_order, salvage, image_opts;
    uint64_t sparse, workers;
    Opts *o;
} Wish;

static const struct option long_options[] = {
    { "source-format", required_argument, NULL, 'f' },  { "target-format", required_argument, NULL, 'O' },
    { "target-options", required_argument, NULL, 'o' }, { "compress", no_argument, NULL, 'c' },
    { "target-cache", required_argument, NULL, 't' },   { "backing", required_argument, NULL, 'B' },
    { "backing-format", required_argument, NULL, 'F' }, { "no-create", no_argument, NULL, 'n' },
    { "sparse-size", required_argument, NULL, 'S' },    { "parallel", required_argument, NULL, 'm' },
    { "oob-writes", no_argument, NULL, 'W' },           { "source-snapshot", required_argument, NULL, 'l' },
    { "target-is-zero", no_argument, NULL, 2000 },      { "salvage", no_argument, NULL, 2001 },
    { "target-image-opts", no_argument, NULL, 2002 },
    { "copy-range-offloading", no_argument, NULL, 'C' }, { "rate", required_argument, NULL, 'r' }, { 0 }
};

static bool one_option(Wish *w, int k, Error **err)
{
    switch (k) {
    case 'O':
        w->to_format = optarg;
        return true;
    case 'o':
        return img_parse_options(w->o, optarg, err);
    case 'c':
        return w->compress = true;
    case 'B':
        w->backing = optarg;
        return true;
    case 'F':
        w->backing_format = optarg;
        return true;
    case 'n':
        return w->no_create = true;
    case 'S':
        if (!img_size(optarg, &w->sparse, err))
            return false;
        return w->sparse % 512 == 0 || fail(err, "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512. Select 0 to disable sparse detection (fully allocates output).");
    case 'm':
        return (parse_u64(optarg, &w->workers, NULL) && w->workers >= 1 && w->workers <= WORKERS_MAX) ||
               fail(err, "Invalid number of coroutines. Allowed number of coroutines is between 1 and %d", WORKERS_MAX);
    case 'W':
        return w->any_order = true;
    case 'l':
        w->snapshot = optarg;
        return true;
    case 2000:
        return w->target_zero = true;
    case 2001:
        return w->salvage = true;
    case 2002:
        return w->image_opts = true;
    default:
        return true; /* -t, -C, -r: nothing to do */
    }
}

static CO_FN bool open_sources(Img *m, Copy *c, const Wish *w, const char *format, char **names, int n, Error **err)
{
    if (n > SOURCES_MAX)
        return fail(err, "at most %d sources", SOURCES_MAX);
    for (int i = 0; i < n; i++) {
        c->sources[i] = img_open(m, names[i], format, 0, err);
        if (!c->sources[i])
            return false;
        c->nsources++;
        c->size += c->sources[i]->size;
    }
    if (!w->snapshot)
        return true;
    if (n != 1 || !c->sources[0]->drv->image || !c->sources[0]->drv->image->snapshot_view)
        return fail(err, "Failed to load snapshot: one source with snapshots, please");
    if (!c->sources[0]->drv->image->snapshot_view(c->sources[0], w->snapshot, err))
        return false;
    c->size = c->sources[0]->size;
    return true;
}

/* How many layers of the source lie above the target's backing file; -1: it is not among them. */
static int depth_of(const Node *n, const char *base)
{
    struct stat a, b;
    int depth = 0;

    if (!base || stat(base, &a))
        return -1;
    for (; n; n = n->backing, depth++)
        if (n->filename && !stat(n->filename, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
            return depth;
    return -1;
}

static CO_FN bool make_target(Img *m, Copy *c, const Wish *w, const char *name, Error **err)
{
    g_autoptr(Opts) secrets = img_secrets(w->o); /* creation uses the options up */
    bool quiet = m->quiet, zeros, ok;

    if (w->image_opts && !w->no_create)
        return fail(err, "--target-image-opts requires use of -n flag");
    if (w->backing)
        opts_set(w->o, "backing_file", w->backing);
    if (w->backing_format)
        opts_set(w->o, "backing_fmt", w->backing_format);
    if (!w->no_create) {
        m->quiet = true;
        ok = img_make(m, name, w->to_format, w->o, c->size, false, err);
        m->quiet = quiet;
        if (!ok)
            return false;
    }
    m->image_opts = w->image_opts;
    m->force_share = false;
    m->secrets = secrets;
    c->target = img_open(m, name, w->image_opts ? NULL : w->to_format, OPEN_WRITE | OPEN_UNSAFE | OPEN_UNMAP, err);
    m->secrets = NULL;
    if (!c->target)
        return false;
    if (c->target->size < c->size)
        return fail(err, "output file is smaller than input file");
    zeros = !c->target->backing && !(c->target->drv->image && c->target->drv->image->new_is_noise);
    c->target_zero = w->target_zero || (!w->no_create && zeros);
    return true;
}

static CO_FN bool convert(Img *m, Copy *c, const Wish *w, const char *target, Error **err)
{
    BlkNames names = { NULL };

    if (!make_target(m, c, w, target, err))
        return false;
    if (c->target->drv->image)
        c->target->drv->image->names(c->target, &names);
    if (w->compress && !names.compressible)
        return fail(err, "Compression not supported for this file format");
    c->m = m;
    c->base_depth = w->backing && c->target->backing ? depth_of(c->sources[0], c->target->backing->filename) : -1;
    c->compress = w->compress || names.must_compress;
    c->piece = c->compress ? names.cluster_size : PIECE;
    c->sparse = w->sparse ? MAX(w->sparse, names.cluster_size) : 0;
    c->any_order = c->compress || w->any_order;
    c->salvage = w->salvage;
    c->workers = (int)w->workers;
    return copy_all(c, err);
}

CO_FN int img_convert(Img *m, int argc, char **argv, Error **err)
{
    g_autoptr(Opts) o = opts_new();
    Wish w = { .to_format = "raw", .sparse = 4096, .workers = WORKERS, .o = o };
    Common common = { NULL };
    Copy c = { .m = m };
    bool ok;
    int k;

    while ((k = img_option(m, &common, argc, argv, "O:o:ct:B:F:nS:m:Wl:Cr:", long_options, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?';
        if (!one_option(&w, k, err))
            return 1;
    }
    if (argc - optind < 2)
        return img_usage("convert", err, "Expecting source and target image file names");
    ok = open_sources(m, &c, &w, common.format, argv + optind, argc - optind - 1, err) && convert(m, &c, &w, argv[argc - 1], err);
    for (int i = 0; i < c.nsources; i++)
        node_unref(c.sources[i]);
    node_unref(c.target);
    return !ok;
}
