/*
 * tests/block/powercut.c - image formats and the mains. While several writers work on an image, the power goes now and then:
 * the file keeps what was flushed and any part of the rest. The image that is left must hold each sector's flushed bytes or
 * any written since, and a check must find nothing worse than leaks, which a repair mends; it can be written to again.
 *   t-powercut [PATTERN]; POWER_CUTS=N in the environment: so many cuts for each geometry (default 60)
 */
#include "block/image.h"
#include "tests/block/power.h"
#include "tests/lib/t.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

enum { DISK = 512 * 1024, SECTORS = DISK / 512, WRITERS = 3, MAYBE = 24, PIECE = 64 /* sectors */, PIECES = SECTORS / PIECE };

typedef struct Sector { /* which values it may have after a cut */
    uint32_t stable, now;
    uint32_t maybe[MAYBE]; /* written, or being written, since; with the flush that may have made them stable */
    unsigned nmaybe;
    unsigned writes; /* begun */
} Sector;
typedef struct Bench {
    Vm *vm;
    Power *p;
    Node *file, *n;
    Sector sectors[SECTORS];
    uint32_t next;
    Rng rng;
    uint64_t cuts, cuts_left, steps;
    unsigned one_in;
    int running;
    bool checking, snapshots;
    const char *driver, *open_options;
    const char *base_options; /* of a backing file, whose sectors have values; NULL: none */
    char *base;
    uint64_t spread; /* bytes from one piece of the disk that is used to the next; 0: all is used */
} Bench;
typedef struct Call {
    void (*fn)(Bench *b, void *arg);
    Bench *b;
    void *arg;
} Call;

static void call_body(void *arg)
{
    Call *c = arg;

    c->fn(c->b, c->arg);
}

static void in_co(Bench *b, void (*fn)(Bench *b, void *arg), void *arg)
{
    Call c = { fn, b, arg };

    blk_run(b->vm->loop, call_body, &c);
}

static Node *open_image(Bench *b, Node *file, bool readonly)
{
    g_autofree char *text = g_strdup_printf("driver=%s,discard=unmap%s", b->driver, b->open_options);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);

    return node_open_on(b->vm->loop, o, readonly, file, NULL, &abort_on_error);
}

/* ---- after a cut ---- */
static void fill(uint8_t *sector, uint32_t v)
{
    for (unsigned i = 0; i < 512; i += 4)
        le32_store(sector + i, v);
}

static bool possible(const Sector *s, const uint8_t *bytes)
{
    uint8_t want[512];
    bool ok;

    fill(want, s->stable);
    ok = !memcmp(want, bytes, 512);
    for (unsigned i = 0; i < s->nmaybe && !ok; i++) {
        fill(want, s->maybe[i]);
        ok = !memcmp(want, bytes, 512);
    }
    return ok;
}

static uint64_t place(const Bench *b, unsigned sector)
{
    return b->spread ? sector / PIECE * b->spread + sector % PIECE * 512ull : sector * 512ull;
}

static CO_FN void all_sectors(Bench *b, Node *n)
{
    g_autofree uint8_t *buf = g_malloc(DISK);

    for (unsigned i = 0; i < PIECES; i++)
        check_eq(blk_read(n, place(b, i * PIECE), buf + i * PIECE * 512, PIECE * 512), 0);
    for (unsigned i = 0; i < SECTORS; i++)
        if (!possible(&b->sectors[i], buf + i * 512))
            t_fail(__FILE__, __LINE__, "cut %" PRIu64 ": sector %u holds %#x, flushed was %#x and %u values since", b->cuts, i,
                   le32_load(buf + i * 512), b->sectors[i].stable, b->sectors[i].nmaybe);
}

/* A cluster that only the image itself uses, but not marked so, is copied once more than needed: the way a snapshot
 * goes, between two steps. */
static uint64_t harmless(const char *lines)
{
    g_auto(GStrv) v = g_strsplit(lines, "\n", -1);
    uint64_t n = 0;

    for (char **l = v; *l; l++)
        n += strstr(*l, "OFLAG_COPIED") && g_str_has_suffix(*l, "refcount=1");
    return n;
}

static CO_FN void check_left(Bench *b, Node *n)
{
    BlkCheck c = { .lines = g_string_new(NULL) };

    check_eq((n->drv->image->check)(n, &c, 0), 0);
    if (c.corruptions > c.corruptions_fixed + (b->snapshots ? harmless(c.lines->str) : 0) || c.errors)
        t_fail(__FILE__, __LINE__, "cut %" PRIu64 ": %" PRIu64 " corruptions:\n%s", b->cuts, c.corruptions, c.lines->str);
    all_sectors(b, n);
    if (c.leaks || c.corruptions > c.corruptions_fixed) {
        g_string_set_size(c.lines, 0);
        c = (BlkCheck){ .lines = c.lines };
        check_eq((n->drv->image->check)(n, &c, FIX_LEAKS | (b->snapshots ? FIX_ERRORS : 0)), 0);
        c = (BlkCheck){ .lines = c.lines };
        check_eq((n->drv->image->check)(n, &c, 0), 0);
        check(!c.leaks && !c.corruptions);
        all_sectors(b, n);
    }
    g_string_free(c.lines, TRUE);
}

/* What was not flushed may lie about in the file: a block that gets its place there has nothing of it. */
static CO_FN void write_again(Bench *b, Node *n)
{
    unsigned i = (unsigned)(rng_next(&b->rng) % SECTORS);
    Sector was = b->sectors[i];
    uint8_t sector[512];

    fill(sector, 0x12345678);
    check_eq(blk_write(n, place(b, i), sector, 512), 0);
    check_eq(blk_flush(n), 0);
    b->sectors[i] = (Sector){ .stable = 0x12345678 };
    all_sectors(b, n);
    b->sectors[i] = was;
}

/* Takes over `left`. */
static CO_FN void examine(Bench *b, GByteArray *left)
{
    Power *p = power_new(1);
    Node *file, *n;

    g_byte_array_free(p->now, TRUE);
    p->now = left;
    file = power_open(b->vm->loop, p, false);
    n = open_image(b, file, false); /* with lazy refcounts this repairs; a log is replayed */
    if (n->drv->image->check)
        check_left(b, n);
    all_sectors(b, n);
    if (!b->snapshots && rng_next(&b->rng) % 4 == 0)
        write_again(b, n);
    node_unref(n);
    node_unref(file);
    power_free(p);
}

static CO_FN void before(Power *p, void *arg)
{
    Bench *b = arg;
    GByteArray *left;

    if (b->checking || !b->cuts_left || rng_next(&b->rng) % b->one_in)
        return;
    b->checking = true; /* nothing else runs meanwhile: the other file answers at once */
    b->cuts++;
    b->cuts_left--;
    left = power_cut(p);
    examine(b, left);
    b->checking = false;
}

/* ---- work ---- */
static void begin(Bench *b, unsigned first, unsigned n, uint32_t v)
{
    for (unsigned i = first; i < first + n; i++) {
        Sector *s = &b->sectors[i];

        g_assert(s->nmaybe < MAYBE);
        s->maybe[s->nmaybe++] = v;
        s->writes++;
    }
}

static CO_FN void flush(Bench *b)
{
    g_autofree uint32_t *now = g_new(uint32_t, SECTORS);
    g_autofree unsigned *writes = g_new(unsigned, SECTORS);
    int ret;

    for (unsigned i = 0; i < SECTORS; i++) { /* values whose writes had ended before */
        now[i] = b->sectors[i].now;
        writes[i] = b->sectors[i].writes;
    }
    ret = blk_flush(b->n);
    check_eq(ret, 0);
    for (unsigned i = 0; i < SECTORS; i++) {
        Sector *s = &b->sectors[i];

        if (s->writes != writes[i] || s->now != now[i] || (s->nmaybe && s->maybe[s->nmaybe - 1] != now[i]))
            continue; /* written meanwhile, or under way: all stays possible */
        s->stable = now[i];
        s->nmaybe = 0;
    }
}

static unsigned room(const Bench *b, unsigned first, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (b->sectors[first + i].nmaybe >= MAYBE - 1)
            return i;
    return n;
}

static CO_FN void step(Bench *b, unsigned lo, unsigned hi)
{
    unsigned first = lo + (unsigned)(rng_next(&b->rng) % (hi - lo)), most = hi - first;
    unsigned n = 1 + (unsigned)(rng_next(&b->rng) % (rng_next(&b->rng) % 4 ? 12 : 90));
    uint32_t v = ++b->next * 2654435761u | 1;
    g_autofree uint8_t *buf = g_malloc(512 * 90);
    BlkReq r = { .off = place(b, first) };
    struct iovec one = { buf, 0 };

    if (b->spread)
        most = MIN(most, PIECE - first % PIECE);
    n = room(b, first, MIN(n, most));
    if (!n || rng_next(&b->rng) % 12 == 0) {
        flush(b);
        return;
    }
    r.op = rng_next(&b->rng) % 5 ? BLK_WRITE : BLK_ZERO;
    r.len = one.iov_len = n * 512;
    v = r.op == BLK_ZERO ? 0 : v;
    r.flags = r.op == BLK_ZERO && rng_next(&b->rng) % 2 ? BLK_MAY_UNMAP : 0;
    for (unsigned i = 0; i < n; i++)
        fill(buf + i * 512, v);
    if (r.op == BLK_WRITE) {
        r.iov = &one;
        r.niov = 1;
    }
    begin(b, first, n, v);
    check_eq(blk_submit(b->n, &r), 0);
    for (unsigned i = first; i < first + n; i++)
        b->sectors[i].now = v;
}

/* One more, or the oldest goes. */
static CO_FN void snapshot_step(Bench *b)
{
    const BlkImageOps *ops = b->n->drv->image;
    GPtrArray *list = ops->snapshots(b->n);
    bool many = list->len > 2;
    g_autofree char *oldest = many ? g_strdup(((BlkSnapshot *)list->pdata[0])->id) : NULL;

    blk_snapshots_free(list);
    if (many)
        check(ops->snapshot_delete(b->n, oldest, &abort_on_error));
    else
        check(ops->snapshot_create(b->n, "s", 1, 1, &abort_on_error));
}

static void work(void *arg)
{
    Bench *b = arg;
    unsigned me = (unsigned)b->running++, lo = SECTORS / WRITERS * me, hi = lo + SECTORS / WRITERS;

    while (b->cuts_left && b->steps++ < 1000000) {
        if (b->snapshots && !me && b->steps % 20 == 0)
            snapshot_step(b);
        step(b, lo, hi); /* edges share clusters with the neighbours */
    }
    b->running -= 100;
}

/* ---- the image ---- */
/* The image below: every sector has a value of its own, which the layer shows until it is written to. */
static void make_base(Bench *b, void *arg)
{
    g_autofree char *text = g_strdup_printf("size=%" PRIu64 "%s", b->spread * PIECES, b->base_options);
    g_autofree uint8_t *buf = g_malloc(PIECE * 512);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error), open = opts_new();
    Node *n;

    b->base = g_strdup("/tmp/menura-base.XXXXXX");
    close(g_mkstemp(b->base));
    check(blk_driver_find(b->driver)->image->create(b->vm->loop, b->base, o, &abort_on_error));
    opts_set(open, "driver", b->driver);
    opts_set(open, "filename", b->base);
    n = node_open(b->vm->loop, open, false, &abort_on_error);
    for (unsigned i = 0; i < SECTORS; i++) {
        b->sectors[i].stable = b->sectors[i].now = i + 1;
        fill(buf + i % PIECE * 512, i + 1);
        if (i % PIECE == PIECE - 1)
            check_eq(blk_write(n, place(b, i - i % PIECE), buf, PIECE * 512), 0);
    }
    node_unref(n);
}

static void make(Bench *b, void *arg)
{
    const char *options = arg;
    g_autofree char *path = g_strdup("/tmp/menura-power.XXXXXX"), *bytes = NULL;
    g_autofree char *text = g_strdup_printf("size=%" PRIu64 "%s", b->spread ? b->spread * PIECES : DISK, options);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);
    gsize n;

    if (b->base) {
        opts_set(o, "backing_file", b->base);
        opts_set(o, "backing_fmt", b->driver);
    }
    close(g_mkstemp(path));
    check(blk_driver_find(b->driver)->image->create(b->vm->loop, path, o, &abort_on_error));
    check(g_file_get_contents(path, &bytes, &n, NULL));
    g_byte_array_append(b->p->now, (uint8_t *)bytes, (guint)n);
    g_byte_array_append(b->p->durable, (uint8_t *)bytes, (guint)n);
    g_unlink(path);
}

static void snapshot(Bench *b, void *arg)
{
    check(b->n->drv->image->snapshot_create(b->n, arg, 1, 1, &abort_on_error));
}

/* A snapshot shares the clusters that are there: what follows copies tables. */
static void some_content(Bench *b, void *arg)
{
    for (int i = 0; i < 60; i++)
        step(b, 0, SECTORS);
    flush(b);
    snapshot(b, (char *)"s");
    flush(b);
}

enum { PLAIN, SHARED, SNAPSHOTS }; /* nothing shared; tables shared with a snapshot; snapshots come and go */

static void cut_image(Vm *vm, const Bench *what, const char *options, int kind, uint64_t seed, uint64_t cuts)
{
    Bench *b = g_memdup2(what, sizeof(*what));

    b->vm = vm;
    b->p = power_new(seed);
    b->p->forgets = true;
    b->rng.s = seed;
    b->cuts_left = cuts;
    b->one_in = 5;
    if (b->base_options)
        in_co(b, make_base, NULL);
    in_co(b, make, (char *)options);
    b->file = power_open(vm->loop, b->p, false);
    b->n = open_image(b, b->file, false);
    if (kind == SHARED)
        in_co(b, some_content, NULL);
    b->snapshots = kind == SNAPSHOTS;
    b->p->before = before;
    b->p->arg = b;
    b->p->slow = true;
    for (int w = 0; w < WRITERS; w++)
        co_enter(co_new(work, b));
    while (b->running > WRITERS - 100 * WRITERS)
        loop_iterate(vm->loop, true);
    b->p->before = NULL;
    node_unref(b->n);
    node_unref(b->file);
    power_free(b->p);
    if (b->base)
        g_unlink(b->base);
    g_free(b->base);
    g_free(b);
}

/* Where a few blocks are the whole disk, soon all have their place: then a new image is more of a test. */
static void cut_test(Vm *vm, const Bench *what, const char *options, int kind, uint64_t seed)
{
    const char *cuts = g_getenv("POWER_CUTS"), *first = g_getenv("POWER_SEED");
    uint64_t left = cuts ? g_ascii_strtoull(cuts, NULL, 10) : 60;

    if (cuts)
        alarm(0); /* meson's limit holds */
    seed += first ? g_ascii_strtoull(first, NULL, 10) : 0;
    mallopt(M_MMAP_THRESHOLD, 1 << 30); /* images come and go: their pages stay */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    for (uint64_t n; left; left -= n) {
        n = MIN(left, what->spread ? 15 : UINT64_MAX);
        cut_image(vm, what, options, kind, seed, n);
        seed += 1000;
    }
}

static void cut_rows(Vm *vm, const Bench *what, const char *const *rows, int kind, uint64_t seed)
{
    for (; *rows; rows++)
        cut_test(vm, what, *rows, kind, seed++);
}

static const Bench plain_qcow2 = { .driver = "qcow2", .open_options = "" };

static void cuts(Vm *vm)
{
    static const char *const rows[] = { ",cluster_size=512", ",cluster_size=4k", ",cluster_size=2k,refcount_bits=64", ",cluster_size=16k,extended_l2=on",
                                        ",cluster_size=64k", ",cluster_size=1k,refcount_bits=1", ",cluster_size=4k,lazy_refcounts=on", NULL };

    cut_rows(vm, &plain_qcow2, rows, PLAIN, 1);
}
TEST("powercut/qcow2", cuts);

static void cuts_shared(Vm *vm)
{
    static const char *const rows[] = { ",cluster_size=512", ",cluster_size=4k", ",cluster_size=16k,extended_l2=on", NULL };

    cut_rows(vm, &plain_qcow2, rows, SHARED, 11);
}
TEST("powercut/qcow2-shared", cuts_shared);

/* A cache of the least size: tables are written because room is needed, not only on a flush. */
static void cuts_small_cache(Vm *vm)
{
    static const Bench small = { .driver = "qcow2", .open_options = ",l2-cache-size=512" };

    cut_test(vm, &small, ",cluster_size=512,refcount_bits=64", PLAIN, 23);
}
TEST("powercut/qcow2-small-cache", cuts_small_cache);

static void cuts_snapshots(Vm *vm)
{
    static const char *const rows[] = { ",cluster_size=512", ",cluster_size=4k", ",cluster_size=16k,extended_l2=on", NULL };

    cut_rows(vm, &plain_qcow2, rows, SNAPSHOTS, 41);
}
TEST("powercut/qcow2-snapshots", cuts_snapshots);

static void cuts_vdi(Vm *vm)
{
    static const Bench vdi = { .driver = "vdi", .open_options = "", .spread = MiB };

    cut_test(vm, &vdi, "", PLAIN, 51);
}
TEST("powercut/vdi", cuts_vdi);

static void cuts_vpc(Vm *vm)
{
    static const Bench vpc = { .driver = "vpc", .open_options = "", .spread = MiB };

    cut_test(vm, &vpc, "", PLAIN, 61);
}
TEST("powercut/vpc", cuts_vpc);

/* Differencing: what a layer has of a block is said by its bitmap, a bit a sector. */
static void cuts_vpc_layer(Vm *vm)
{
    static const Bench layer = { .driver = "vpc", .open_options = "", .spread = MiB, .base_options = ",force_size=on" };

    cut_test(vm, &layer, "", PLAIN, 65);
}
TEST("powercut/vpc-layer", cuts_vpc_layer);

static void cuts_vmdk_layer(Vm *vm)
{
    static const Bench layer = { .driver = "vmdk", .open_options = "", .spread = 48 * KiB, .base_options = "" };

    cut_test(vm, &layer, ",zeroed_grain=on", PLAIN, 75);
}
TEST("powercut/vmdk-layer", cuts_vmdk_layer);

static void cuts_vmdk(Vm *vm)
{
    static const char *const rows[] = { "", ",zeroed_grain=on", NULL };
    static const Bench vmdk = { .driver = "vmdk", .open_options = "", .spread = 48 * KiB };

    cut_rows(vm, &vmdk, rows, PLAIN, 71);
}
TEST("powercut/vmdk", cuts_vmdk);

static void cuts_vhdx(Vm *vm)
{
    static const char *const rows[] = { ",block_size=1M", ",block_size=1M,block_state_zero=off", NULL };
    static const Bench vhdx = { .driver = "vhdx", .open_options = "", .spread = MiB };

    cut_rows(vm, &vhdx, rows, PLAIN, 81);
}
TEST("powercut/vhdx", cuts_vhdx);
