/*
 * tests/block/fuzz-qcow2.c - hostile qcow2 images: good ones with fields and tables changed are opened, read, written,
 * checked and repaired. Whatever they say, it ends soon, in bounded memory, without a crash. The seed of each round is
 * printed when it fails: FUZZ_SEED=N runs that one alone. FUZZ_SECONDS=N: so long (default 2).
 */
#include "block/image.h"
#include "tests/block/power.h"
#include "tests/lib/t.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { DISK = 1 << 20, SEEDS = 6 };
static const char *const options[SEEDS] = { "", ",cluster_size=512", ",cluster_size=4k,refcount_bits=1", ",cluster_size=16k,extended_l2=on",
                                            ",compat=0.10,cluster_size=4k", ",cluster_size=2k,lazy_refcounts=on" };
typedef struct Fuzz {
    Vm *vm;
    GByteArray *seeds[SEEDS];
    Rng rng;
    int make;
} Fuzz;

static Node *open_image(Fuzz *f, Node *file, bool readonly, bool for_check)
{
    g_autoptr(Opts) o = opts_new();

    opts_set(o, "driver", "qcow2");
    opts_set(o, "backing", NULL);
    opts_set(o, "data-file.driver", "null-co");
    if (for_check)
        opts_set(o, "for-check", "on");
    return node_open_on(f->vm->loop, o, readonly, file, NULL, NULL);
}

/* ---- good images ---- */
static void make_one(void *arg)
{
    Fuzz *f = arg;
    g_autofree char *path = g_strdup("/tmp/menura-fuzz.XXXXXX"), *text = g_strdup_printf("size=%d%s", DISK, options[f->make]), *bytes = NULL;
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error), open = opts_new();
    uint8_t buf[65536];
    Node *n;
    gsize len;

    close(g_mkstemp(path));
    check(blk_driver_find("qcow2")->image->create(f->vm->loop, path, o, &abort_on_error));
    opts_set(open, "driver", "qcow2");
    opts_set(open, "filename", path);
    n = node_open(f->vm->loop, open, false, &abort_on_error);
    for (int i = 0; i < 12; i++) {
        struct iovec one = { buf, sizeof(buf) };
        BlkReq r = { .op = BLK_WRITE, .off = 65536ull * (unsigned)i, .len = sizeof(buf), .iov = &one, .niov = 1, .flags = i % 3 ? 0 : BLK_COMPRESS };

        memset(buf, i, sizeof(buf));
        check_eq(blk_submit(n, &r), 0);
        if (i == 4 && !strstr(options[f->make], "bits=1"))
            check(n->drv->image->snapshot_create(n, "snap", 1, 1, &abort_on_error));
    }
    check_eq(blk_zero(n, 300000, 100000, BLK_MAY_UNMAP), 0);
    node_unref(n);
    check(g_file_get_contents(path, &bytes, &len, NULL));
    f->seeds[f->make] = g_byte_array_new();
    g_byte_array_append(f->seeds[f->make], (uint8_t *)bytes, (guint)len);
    g_unlink(path);
}

/* ---- bad ones ---- */
static uint64_t nasty(Fuzz *f, uint64_t was, uint64_t len)
{
    switch (rng_next(&f->rng) % 8) {
    case 0:
        return rng_value(&f->rng);
    case 1: /* somewhere in the file */
        return align_down(rng_next(&f->rng) % len, 512);
    case 2:
        return was ^ 1ull << rng_next(&f->rng) % 64;
    case 3:
        return was + (uint64_t)(int64_t)(rng_next(&f->rng) % 9 - 4) * 512;
    case 4:
        return 0;
    case 5:
        return UINT64_MAX;
    case 6:
        return (was & ~0xffffffffull) | (rng_value(&f->rng) & 0xffffffff);
    default:
        return rng_next(&f->rng);
    }
}

static void spoil(Fuzz *f, GByteArray *a)
{
    static const uint8_t at[] = { 4, 8, 16, 20, 24, 32, 36, 40, 48, 56, 60, 64, 72, 80, 88, 96, 100, 104, 112, 116 };

    for (uint64_t n = 1 + rng_next(&f->rng) % 4; n; n--) {
        bool header = rng_next(&f->rng) % 2, small = rng_next(&f->rng) % 2;
        uint64_t off = header ? at[rng_next(&f->rng) % sizeof(at)] : align_down(rng_next(&f->rng) % (a->len - 8), 8);
        unsigned size = small ? 4 : 8;

        be_store(a->data + off, size, nasty(f, be_load(a->data + off, size), a->len));
    }
    if (rng_next(&f->rng) % 16 == 0)
        g_byte_array_set_size(a, (guint)(512 + rng_next(&f->rng) % (a->len - 512)));
}

static CO_FN void use(Fuzz *f, Node *n)
{
    static uint8_t buf[200000];
    uint64_t size = n->size;

    for (int i = 0; i < 24 && size > 1; i++) {
        uint64_t off = rng_next(&f->rng) % (i % 3 ? MIN(size, DISK) : size), most = MIN(sizeof(buf), size - off), len = 1 + rng_next(&f->rng) % most;
        BlkReq st = { .op = BLK_STATUS, .off = off, .len = len };

        blk_submit(n, &st);
        if (i % 2 || n->readonly)
            blk_read(n, off, buf, len);
        else if (i % 4)
            blk_zero(n, off, len, BLK_MAY_UNMAP);
        else
            blk_write(n, off, buf, len);
        if (i % 7 == 0)
            blk_flush(n);
    }
}

static CO_FN void snapshots(Node *n)
{
    const BlkImageOps *ops = n->drv->image;
    BlkNames names;

    ops->names(n, &names);
    blk_facts_free(ops->facts(n));
    blk_snapshots_free(ops->snapshots(n));
    blk_bitmaps_free(ops->bitmaps(n));
    if (n->readonly)
        return;
    ops->snapshot_create(n, "again", 1, 1, NULL);
    ops->snapshot_apply(n, "snap", NULL);
    ops->snapshot_delete(n, "snap", NULL);
}

static void one_round(void *arg)
{
    Fuzz *f = arg;
    GByteArray *seed = f->seeds[rng_next(&f->rng) % SEEDS];
    Power *p = power_new(1);
    BlkCheck c = { .lines = g_string_new(NULL) };
    bool readonly, for_check;
    Node *file, *n;

    g_byte_array_append(p->now, seed->data, seed->len);
    spoil(f, p->now);
    readonly = rng_next(&f->rng) % 3 == 0;
    for_check = rng_next(&f->rng) % 3 == 0;
    file = power_open(f->vm->loop, p, false);
    n = open_image(f, file, readonly, for_check);
    if (n && for_check)
        (n->drv->image->check)(n, &c, rng_next(&f->rng) % 4);
    if (n) {
        use(f, n);
        snapshots(n);
        if (!n->readonly && rng_next(&f->rng) % 2)
            blk_truncate(n, rng_next(&f->rng) % 4 * (DISK / 2), 0);
        use(f, n);
    }
    node_unref(n);
    node_unref(file);
    power_free(p);
    g_string_free(c.lines, TRUE);
}

static void hostile(Vm *vm)
{
    const char *seconds = g_getenv("FUZZ_SECONDS"), *alone = g_getenv("FUZZ_SEED");
    int64_t end = host_now() + (seconds ? g_ascii_strtoll(seconds, NULL, 10) : 2) * SEC;
    struct rlimit quiet = { 0, 0 };
    Fuzz f = { .vm = vm };
    uint64_t seed = alone ? g_ascii_strtoull(alone, NULL, 10) : 1;

    setrlimit(RLIMIT_CORE, &quiet);
    if (seconds || alone)
        alarm(0); /* meson's limit holds */
    for (f.make = 0; f.make < SEEDS; f.make++)
        blk_run(vm->loop, make_one, &f);
    do {
        int64_t start = host_now(), took;

        f.rng.s = seed;
        if (alone || g_getenv("FUZZ_TRACE")) /* the last one printed is the one that crashed */
            fprintf(stderr, "seed %" PRIu64 "\n", seed);
        blk_run(vm->loop, one_round, &f);
        took = host_now() - start;
        if (took > 30 * SEC)
            t_fail(__FILE__, __LINE__, "seed %" PRIu64 " took %d s", seed, (int)(took / SEC));
        seed++;
    } while (!alone && host_now() < end);
    for (int i = 0; i < SEEDS; i++)
        g_byte_array_free(f.seeds[i], TRUE);
    printf("%" PRIu64 " images\n", seed - 1);
}
TEST("fuzz/qcow2", hostile);
