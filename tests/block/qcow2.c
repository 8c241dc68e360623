/*
 * tests/block/qcow2.c - the qcow2 driver on a file in memory: every geometry against an array, several writers at once,
 * snapshots, sizes, errors of the host, and power cuts.
 */
#include "block/image.h"
#include "tests/block/power.h"
#include "tests/lib/t.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { DISK = 1 << 20, WRITERS = 4 };

/* ---- an image in memory ---- */
typedef struct Bed {
    Vm *vm;
    Power *p;
    Node *file, *n;
    uint8_t *model;
    uint64_t size;
    Rng rng;
    int running;
    bool with_backing;
    uint8_t *below;
    Power *base;
    Node *base_node;
} Bed;
typedef struct Call { /* fn in a coroutine */
    Bed *b;
    void (*fn)(Bed *b, void *arg);
    void *arg;
} Call;

static void call_body(void *arg)
{
    Call *c = arg;

    c->fn(c->b, c->arg);
}

static void in_co(Bed *b, void (*fn)(Bed *b, void *arg), void *arg)
{
    Call c = { b, fn, arg };

    blk_run(b->vm->loop, call_body, &c);
}

/* The tool's way to make an image needs a file's name: so it is made there and copied into memory. */
typedef struct Make {
    const char *options;
    char *path;
} Make;

static void make_body(Bed *b, void *arg)
{
    Make *m = arg;
    g_autofree char *text = g_strdup_printf("size=%" PRIu64 "%s", b->size, m->options);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);

    check(blk_driver_find("qcow2")->image->create(b->vm->loop, m->path, o, &abort_on_error));
}

static void load(Bed *b, const char *path)
{
    g_autofree char *bytes = NULL;
    gsize n;

    check(g_file_get_contents(path, &bytes, &n, NULL));
    g_byte_array_append(b->p->now, (uint8_t *)bytes, (guint)n);
    g_byte_array_append(b->p->durable, (uint8_t *)bytes, (guint)n);
}

static Node *open_image(Bed *b, Node *file, bool readonly, const char *more, Error **err)
{
    g_autofree char *text = g_strdup_printf("driver=qcow2%s", more);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);

    return node_open_on(b->vm->loop, o, readonly, file, b->base_node, err);
}

static void bed_open(Bed *b, Vm *vm, const char *options, uint64_t seed)
{
    Make m = { options, g_strdup("/tmp/menura-qcow2.XXXXXX") };
    bool backing = b->with_backing;

    *b = (Bed){ .vm = vm, .p = power_new(seed), .size = DISK, .rng = { seed }, .with_backing = backing };
    close(g_mkstemp(m.path));
    in_co(b, make_body, &m);
    load(b, m.path);
    g_unlink(m.path);
    g_free(m.path);
    b->model = g_malloc0(DISK * 2);
    if (backing) { /* shorter than the disk */
        b->base = power_new(1);
        for (uint64_t i = 0; i < DISK / 2 + 1536; i++)
            g_byte_array_append(b->base->now, &(uint8_t){ b->model[i] = (uint8_t)(i / 512 * 3 + 1) }, 1);
        b->base_node = power_open(vm->loop, b->base, true);
    }
    b->file = power_open(vm->loop, b->p, false);
    b->n = open_image(b, b->file, false, ",discard=unmap", &abort_on_error);
}

static void bed_reopen(Bed *b)
{
    node_unref(b->n);
    b->n = open_image(b, b->file, false, ",discard=unmap", &abort_on_error);
}

static void bed_close(Bed *b)
{
    node_unref(b->n);
    node_unref(b->file);
    node_unref(b->base_node);
    power_free(b->p);
    if (b->base)
        power_free(b->base);
    g_free(b->model);
}

static int rw(Bed *b, BlkOp op, uint64_t off, void *buf, uint64_t len, unsigned flags)
{
    struct iovec v[2] = { { buf, len / 3 }, { (char *)buf + len / 3, len - len / 3 } };
    BlkReq r = { .op = op, .off = off, .len = len, .iov = v, .niov = buf ? 2 : 0, .flags = flags };

    return co_self() ? blk_submit(b->n, &r) : blk_sync(b->n, &r);
}

static void same(Bed *b)
{
    g_autofree uint8_t *buf = g_malloc(b->size);

    check_eq(rw(b, BLK_READ, 0, buf, b->size, 0), 0);
    for (uint64_t i = 0; i < b->size; i++)
        if (buf[i] != b->model[i])
            t_fail(__FILE__, __LINE__, "byte %#" PRIx64 " is %#x, not %#x", i, buf[i], b->model[i]);
}

static void check_body(Bed *b, void *arg)
{
    BlkCheck *c = arg;

    check_eq((b->n->drv->image->check)(b->n, c, 0), 0);
}

static void sound_but(Bed *b, bool leaks)
{
    BlkCheck c = { .lines = g_string_new(NULL) };

    in_co(b, check_body, &c);
    if (c.corruptions || c.errors || (c.leaks && !leaks))
        t_fail(__FILE__, __LINE__, "%" PRIu64 " corruptions, %" PRIu64 " leaks:\n%s", c.corruptions, c.leaks, c.lines->str);
    g_string_free(c.lines, TRUE);
}

static void sound(Bed *b) { sound_but(b, false); }

/* ---- against an array ---- */
static void random_step(Bed *b, uint64_t round)
{
    uint64_t off = rng_next(&b->rng) % b->size, most = b->size - off, want = rng_next(&b->rng) % (round % 8 ? 9000 : 200000) + 1;
    uint64_t len = MIN(want, most);
    g_autofree uint8_t *buf = g_malloc(len);

    switch (rng_next(&b->rng) % 8) {
    case 0:
        check_eq(rw(b, BLK_ZERO, off, NULL, len, rng_next(&b->rng) % 2 ? BLK_MAY_UNMAP : 0), 0);
        memset(b->model + off, 0, len);
        return;
    case 1: /* what a discard leaves is not said: zeros then, to know */
        check_eq(rw(b, BLK_DISCARD, off, NULL, len, 0), 0);
        check_eq(rw(b, BLK_ZERO, off, NULL, len, 0), 0);
        memset(b->model + off, 0, len);
        return;
    case 2:
        check_eq(rw(b, BLK_FLUSH, 0, NULL, 0, 0), 0);
        return;
    case 3:
    case 4:
        check_eq(rw(b, BLK_READ, off, buf, len, 0), 0);
        check(!memcmp(buf, b->model + off, len));
        return;
    default:
        memset(buf, (int)round, len);
        check_eq(rw(b, BLK_WRITE, off, buf, len, rng_next(&b->rng) % 8 ? 0 : BLK_FUA), 0);
        memcpy(b->model + off, buf, len);
    }
}

static void packed_step(Bed *b, uint64_t round)
{
    BlkNames names;
    uint64_t off;
    g_autofree uint8_t *buf = NULL;

    b->n->drv->image->names(b->n, &names);
    if (!names.compressible)
        return;
    buf = g_malloc(names.cluster_size);
    off = align_down(rng_next(&b->rng) % b->size, names.cluster_size);
    for (uint64_t i = 0; i < names.cluster_size; i++)
        buf[i] = (uint8_t)(round % 3 ? i / 64 + round : rng_next(&b->rng));
    names.cluster_size = MIN(names.cluster_size, b->size - off);
    check_eq(rw(b, BLK_WRITE, off, buf, names.cluster_size, BLK_COMPRESS), 0);
    memcpy(b->model + off, buf, names.cluster_size);
}

static void model_test(Vm *vm, const char *options, bool backing, uint64_t rounds)
{
    Bed b = { .with_backing = backing };

    bed_open(&b, vm, options, rounds);
    for (uint64_t i = 0; i < rounds; i++) {
        random_step(&b, i);
        if (i % 5 == 0)
            packed_step(&b, i);
        if (i % 64 == 63) {
            same(&b);
            bed_reopen(&b);
            same(&b);
            sound(&b);
        }
    }
    bed_close(&b);
}

static void geometries(Vm *vm)
{
    static const char *const rows[] = { "", ",cluster_size=512", ",cluster_size=512,refcount_bits=1", ",cluster_size=1k,refcount_bits=64",
                                        ",cluster_size=4k,refcount_bits=2", ",cluster_size=4k,refcount_bits=4,lazy_refcounts=on",
                                        ",cluster_size=2M", ",cluster_size=64k,compat=0.10", ",cluster_size=16k,extended_l2=on",
                                        ",extended_l2=on,refcount_bits=8", ",cluster_size=4k,compression_type=zstd,refcount_bits=32",
                                        ",cluster_size=8k,preallocation=metadata", ",cluster_size=8k,preallocation=full" };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        for (int backing = 0; backing < (strstr(rows[i], "prealloc") ? 1 : 2); backing++)
            model_test(vm, rows[i], backing, 192);
}
TEST("qcow2/geometries", geometries);

/* ---- several writers ---- */
static void writer(void *arg)
{
    Bed *b = arg;
    uint64_t me = (uint64_t)b->running++;

    for (int i = 0; i < 150; i++) { /* sectors me, me + 4, ..: neighbours in a cluster are others' */
        uint64_t sector = rng_next(&b->rng) % (DISK / 512 / WRITERS) * WRITERS + me, off = sector * 512;
        uint8_t buf[512];

        if (rng_next(&b->rng) % 16 == 0)
            check_eq(rw(b, BLK_FLUSH, 0, NULL, 0, 0), 0);
        memset(buf, (int)(i * 5 + 1), sizeof(buf));
        if (rng_next(&b->rng) % 6 == 0) {
            memset(buf, 0, sizeof(buf));
            check_eq(rw(b, BLK_ZERO, off, NULL, 512, BLK_MAY_UNMAP), 0);
        } else {
            check_eq(rw(b, BLK_WRITE, off, buf, 512, 0), 0);
        }
        memcpy(b->model + off, buf, 512);
        check_eq(rw(b, BLK_READ, off, buf, 512, 0), 0);
        check(!memcmp(buf, b->model + off, 512));
    }
    b->running -= 100;
}

static void side_by_side(Vm *vm)
{
    static const char *const rows[] = { ",cluster_size=4k", ",cluster_size=512", ",cluster_size=64k,extended_l2=on", ",cluster_size=4k,lazy_refcounts=on" };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows) * 2; i++) {
        Bed b = { .with_backing = i % 2 };

        bed_open(&b, vm, rows[i / 2], i + 1);
        b.p->slow = true;
        for (int w = 0; w < WRITERS; w++)
            co_enter(co_new(writer, &b));
        while (b.running > WRITERS - 100 * WRITERS)
            loop_iterate(vm->loop, true);
        same(&b);
        b.p->slow = false;
        bed_reopen(&b);
        same(&b);
        sound(&b);
        bed_close(&b);
    }
}
TEST("qcow2/side-by-side", side_by_side);

/* ---- snapshots ---- */
static void snap(Bed *b, void *arg)
{
    const char *what = arg;
    const BlkImageOps *ops = b->n->drv->image;

    switch (*what) {
    case 'c':
        check(ops->snapshot_create(b->n, what + 1, 1, 2, &abort_on_error));
        break;
    case 'a':
        check(ops->snapshot_apply(b->n, what + 1, &abort_on_error));
        break;
    default:
        check(ops->snapshot_delete(b->n, what + 1, &abort_on_error));
    }
}

static void snapshots(Vm *vm)
{
    static const char *const rows[] = { ",cluster_size=4k", ",cluster_size=512,refcount_bits=4", ",extended_l2=on,cluster_size=16k", "" };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Bed b = { .with_backing = i % 2 };
        g_autofree uint8_t *one = g_malloc(DISK), *two = g_malloc(DISK);

        bed_open(&b, vm, rows[i], i + 7);
        for (uint64_t k = 0; k < 40; k++)
            random_step(&b, k);
        packed_step(&b, 1);
        memcpy(one, b.model, DISK);
        in_co(&b, snap, (char *)"cone");
        sound(&b);
        for (uint64_t k = 0; k < 40; k++)
            random_step(&b, k + 77);
        memcpy(two, b.model, DISK);
        in_co(&b, snap, (char *)"ctwo");
        packed_step(&b, 2);
        random_step(&b, 200);
        bed_reopen(&b);
        same(&b);
        in_co(&b, snap, (char *)"aone");
        memcpy(b.model, one, DISK);
        same(&b);
        sound(&b);
        for (uint64_t k = 0; k < 20; k++)
            random_step(&b, k + 5);
        in_co(&b, snap, (char *)"done");
        sound(&b);
        same(&b);
        in_co(&b, snap, (char *)"a2"); /* by its id */
        memcpy(b.model, two, DISK);
        bed_reopen(&b);
        same(&b);
        in_co(&b, snap, (char *)"dtwo");
        for (uint64_t k = 0; k < 20; k++)
            random_step(&b, k + 5);
        same(&b);
        sound(&b);
        bed_close(&b);
    }
}
TEST("qcow2/snapshots", snapshots);

/* ---- another size ---- */
static void sizes(Vm *vm)
{
    for (int backing = 0; backing < 2; backing++) {
        Bed b = { .with_backing = backing };

        bed_open(&b, vm, ",cluster_size=4k", 3);
        for (uint64_t k = 0; k < 60; k++)
            random_step(&b, k);
        check_eq(rw(&b, BLK_TRUNCATE, DISK / 4 + 512, NULL, 0, 0), 0);
        b.size = DISK / 4 + 512;
        same(&b);
        sound(&b);
        check_eq(rw(&b, BLK_TRUNCATE, DISK * 2, NULL, 0, 0), 0);
        memset(b.model + b.size, 0, DISK * 2 - b.size); /* neither old bytes nor the backing file's */
        b.size = DISK * 2;
        same(&b);
        for (uint64_t k = 0; k < 60; k++)
            random_step(&b, k);
        bed_reopen(&b);
        same(&b);
        sound(&b);
        check_eq(rw(&b, BLK_TRUNCATE, 1000, NULL, 0, 0), -EINVAL);
        bed_close(&b);
    }
}
TEST("qcow2/sizes", sizes);

/* ---- a host that fails ---- */
static void failing_step(Bed *b, int i)
{
    uint64_t off = rng_next(&b->rng) % b->size, most = b->size - off, want = rng_next(&b->rng) % 20000 + 1, len = MIN(want, most);
    g_autofree uint8_t *buf = g_malloc(len);
    BlkOp op = rng_next(&b->rng) % 5 ? BLK_WRITE : rng_next(&b->rng) % 2 ? BLK_ZERO : BLK_FLUSH;
    int ret;

    b->p->fail_after = (int)(rng_next(&b->rng) % 6);
    memset(buf, i + 1, len);
    ret = rw(b, op, off, op == BLK_WRITE ? buf : NULL, op == BLK_FLUSH ? 0 : len, i % 7 ? 0 : BLK_FUA);
    b->p->fail_after = -1;
    if (op == BLK_FLUSH)
        return;
    if (op == BLK_ZERO)
        memset(buf, 0, len);
    if (!ret) {
        memcpy(b->model + off, buf, len);
        return;
    }
    check_eq(ret, -EIO);
    check_eq(rw(b, BLK_READ, off, buf, len, 0), 0); /* old or new bytes, but from now on those */
    for (uint64_t k = 0; k < len; k++)
        check(buf[k] == b->model[off + k] || buf[k] == (op == BLK_ZERO ? 0 : (uint8_t)(i + 1)));
    memcpy(b->model + off, buf, len);
}

static void errors(Vm *vm)
{
    static const char *const rows[] = { ",cluster_size=4k", ",cluster_size=512", ",cluster_size=16k,extended_l2=on", ",cluster_size=1k,refcount_bits=64" };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows) * 2; i++) {
        Bed b = { .with_backing = i % 2 };

        bed_open(&b, vm, rows[i / 2], i + 31);
        for (int k = 0; k < 200; k++) {
            failing_step(&b, k);
            if (k == 100)
                in_co(&b, snap, (char *)"chalf");
        }
        check(b.p->writes_failed > 20);
        same(&b);
        check_eq(rw(&b, BLK_FLUSH, 0, NULL, 0, 0), 0);
        bed_reopen(&b);
        same(&b);
        sound_but(&b, true);
        bed_close(&b);
    }
}
TEST("qcow2/errors", errors);
