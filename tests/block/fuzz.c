/*
 * tests/block/fuzz.c - hostile images: good ones with fields and tables changed are opened, read, written, checked and
 * repaired. Whatever they say, it ends soon, in bounded memory, without a crash. The seed of each round is printed when it
 * fails: FUZZ_SEED=N runs that one alone. FUZZ_SECONDS=N: so long (default 2).
 */
#include "tests/block/fuzz.h"
#include "tests/block/power.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PIECE = 65536, PIECES = 12, MEMORY_MAX_KIB = 2 << 20 };

static Node *open_image(Fuzz *f, Node *file, bool readonly, bool for_check)
{
    g_autofree char *text = g_strdup_printf("driver=%s%s%s", f->f->driver, f->f->open ? f->f->open : "",
                                            for_check && !strcmp(f->f->driver, "qcow2") ? ",for-check=on" : "");
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);

    if (blk_driver_find(f->f->driver)->has_backing)
        opts_set(o, "backing", NULL);
    return node_open_on(f->loop, o, readonly, file, NULL, NULL);
}

/* ---- good images ---- */
static CO_FN void fill(Fuzz *f, Node *n, const char *options)
{
    const BlkImageOps *ops = n->drv->image;
    uint64_t step = align_down(n->size / PIECES, PIECE); /* whole clusters: some are packed */
    uint8_t buf[PIECE];
    int ret;

    for (unsigned i = 0; i < PIECES; i++) {
        struct iovec one = { buf, PIECE };
        BlkReq r = { .op = BLK_WRITE, .off = step * i, .len = one.iov_len, .iov = &one, .niov = 1, .flags = i % 3 ? 0 : BLK_COMPRESS };

        memset(buf, (int)i, sizeof(buf));
        ret = blk_submit(n, &r);
        check(!ret || ret == -ENOTSUP);
        if (i == 4 && ops->snapshot_create && !strstr(options, "bits=1"))
            check(ops->snapshot_create(n, "snap", 1, 1, &abort_on_error));
    }
    ret = blk_zero(n, 300000, 100000, BLK_MAY_UNMAP);
    check(!ret || ret == -ENOTSUP);
}

static void make_one(void *arg)
{
    Fuzz *f = arg;
    const char *options = f->f->creates[f->make];
    g_autofree char *path = g_strdup("/tmp/menura-fuzz.XXXXXX"), *bytes = NULL;
    g_autofree char *text = g_strdup_printf("size=%" PRIu64 "%s", f->f->size, options);
    g_autofree char *how = g_strdup_printf("driver=%s%s", f->f->driver, f->f->prepare ? f->f->open : "");
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error), open = opts_parse(how, NULL, &abort_on_error);
    Node *n;
    gsize len;

    close(g_mkstemp(path));
    check(blk_driver_find(f->f->driver)->image->create(f->loop, path, o, &abort_on_error));
    opts_set(open, "filename", path);
    n = node_open(f->loop, open, false, &abort_on_error);
    fill(f, n, options);
    node_unref(n);
    check(g_file_get_contents(path, &bytes, &len, NULL));
    f->seeds[f->make] = g_byte_array_new();
    g_byte_array_append(f->seeds[f->make], (uint8_t *)bytes, (guint)len);
    g_unlink(path);
}

/* ---- bad ones ---- */
uint64_t fuzz_nasty(Fuzz *f, uint64_t was, uint64_t len)
{
    switch (rng_next(&f->rng) % 8) {
    case 0:
        return rng_value(&f->rng);
    case 1: /* somewhere in the file */
        return align_down(rng_next(&f->rng) % len, 512);
    case 2:
        return was ^ 1ull << rng_next(&f->rng) % 64;
    case 3:
        return was + (uint64_t)(int64_t)(rng_next(&f->rng) % 9 - 4) * (rng_next(&f->rng) % 2 ? 512 : 1);
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

uint64_t fuzz_place(Fuzz *f, const GByteArray *a)
{
    unsigned n = 0, kind = (unsigned)(rng_next(&f->rng) % 8);

    while (n < FUZZ_AREAS && f->f->areas[n].len)
        n++;
    if (kind < 4 && f->f->nfields)
        return f->f->fields[rng_next(&f->rng) % f->f->nfields];
    if (kind < 7 && n) {
        unsigned i = (unsigned)(rng_next(&f->rng) % n);

        return f->f->areas[i].at + align_down(rng_next(&f->rng) % f->f->areas[i].len, 4);
    }
    return align_down(rng_next(&f->rng) % (a->len - 8), 4);
}

static void spoil(Fuzz *f, GByteArray *a)
{
    for (uint64_t n = 1 + rng_next(&f->rng) % 4; n; n--) {
        uint64_t off = fuzz_place(f, a);
        unsigned size = 1u << (1 + rng_next(&f->rng) % 3);

        if (!in_range(off, size, a->len))
            continue;
        if (f->f->little)
            le_store(a->data + off, size, fuzz_nasty(f, le_load(a->data + off, size), a->len));
        else
            be_store(a->data + off, size, fuzz_nasty(f, be_load(a->data + off, size), a->len));
    }
    if (rng_next(&f->rng) % 16 == 0 && a->len > 1024)
        g_byte_array_set_size(a, (guint)(512 + rng_next(&f->rng) % (a->len - 512)));
    fuzz_seal(f, a);
}

void fuzz_seal(Fuzz *f, GByteArray *a)
{
    if (f->f->seal && rng_next(&f->rng) % 8)
        f->f->seal(a, &f->rng);
}

static CO_FN void use(Fuzz *f, Node *n)
{
    static uint8_t buf[200000];
    uint64_t size = n->size, most = f->f->size ? f->f->size : 1 << 20;

    for (int i = 0; i < 24 && size > 1; i++) {
        uint64_t off = rng_next(&f->rng) % (i % 3 ? MIN(size, most) : size), len = 1 + rng_next(&f->rng) % MIN(sizeof(buf), size - off);
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

    if (!ops)
        return;
    ops->names(n, &names);
    if (ops->facts)
        blk_facts_free(ops->facts(n));
    if (ops->bitmaps)
        blk_bitmaps_free(ops->bitmaps(n));
    if (!ops->snapshots)
        return;
    blk_snapshots_free(ops->snapshots(n));
    if (n->readonly)
        return;
    ops->snapshot_create(n, "again", 1, 1, NULL);
    ops->snapshot_apply(n, "snap", NULL);
    ops->snapshot_delete(n, "snap", NULL);
}

typedef struct Use {
    Fuzz *f;
    unsigned how;
} Use;

static void use_image(void *arg)
{
    Use *u = arg;
    Fuzz *f = u->f;
    BlkCheck c = { .lines = g_string_new(NULL) };
    bool readonly = !f->f->creates || !(u->how & FUZZ_READ_ONLY), for_check = !(u->how & FUZZ_CHECK);
    Node *file, *n;

    g_byte_array_set_size(f->file->now, 0);
    g_byte_array_append(f->file->now, f->image->data, f->image->len);
    f->file->rng.s = 1;
    file = power_open(f->loop, f->file, false);
    n = open_image(f, file, readonly, for_check);
    if (n && for_check && n->drv->image && n->drv->image->check)
        (n->drv->image->check)(n, &c, readonly ? 0 : u->how / FUZZ_FIX & FUZZ_FIX_MASK);
    if (n) {
        use(f, n);
        snapshots(n);
        if (!n->readonly && rng_next(&f->rng) % 2)
            blk_truncate(n, rng_next(&f->rng) % 4 * (f->f->size / 2), 0);
        use(f, n);
    }
    node_unref(n);
    node_unref(file);
    g_string_free(c.lines, TRUE);
}

void fuzz_image(Fuzz *f, unsigned how)
{
    Use u = { f, how };

    blk_run(f->loop, use_image, &u);
}

void fuzz_good(Fuzz *f, unsigned seed)
{
    const GByteArray *a = f->seeds[seed % f->f->seeds];

    g_byte_array_set_size(f->image, 0);
    g_byte_array_append(f->image, a->data, a->len);
}

/* ---- at random ---- */
static void one_round(Fuzz *f)
{
    fuzz_good(f, (unsigned)rng_next(&f->rng));
    spoil(f, f->image);
    fuzz_image(f, (unsigned)rng_next(&f->rng));
}

Fuzz *fuzz_new(Loop *l, const FuzzFormat *format)
{
    Fuzz *f = g_new0(Fuzz, 1);

    f->loop = l;
    f->f = format;
    f->image = g_byte_array_new();
    f->file = power_new(1);
    g_assert(format->seeds && format->seeds <= FUZZ_SEEDS);
    if (format->prepare)
        f->secret = format->prepare(l);
    for (f->make = 0; f->make < format->seeds; f->make++) {
        if (format->seed)
            f->seeds[f->make] = format->seed(f->make);
        else
            blk_run(l, make_one, f);
    }
    return f;
}

void fuzz_free(Fuzz *f)
{
    for (unsigned i = 0; i < f->f->seeds; i++)
        g_byte_array_free(f->seeds[i], TRUE);
    g_byte_array_free(f->image, TRUE);
    power_free(f->file);
    secret_free(f->secret);
    g_free(f);
}

static void rounds(Fuzz *f, uint64_t seed, int64_t end, bool alone)
{
    do {
        int64_t start = host_now(), took;

        f->rng.s = seed;
        if (alone || g_getenv("FUZZ_TRACE")) /* the last one printed is the one that crashed */
            fprintf(stderr, "seed %" PRIu64 "\n", seed);
        one_round(f);
        took = host_now() - start;
        if (took > 30 * SEC)
            t_fail(__FILE__, __LINE__, "seed %" PRIu64 " took %d s", seed, (int)(took / SEC));
        seed++;
    } while (!alone && host_now() < end);
    printf("%s: %" PRIu64 " images\n", f->f->driver, seed - 1);
}

void fuzz_run(Loop *l, const FuzzFormat *format)
{
    const char *seconds = g_getenv("FUZZ_SECONDS"), *alone = g_getenv("FUZZ_SEED");
    int64_t end = host_now() + (seconds ? g_ascii_strtoll(seconds, NULL, 10) : 2) * SEC;
    struct rlimit quiet = { 0, 0 };
    struct rusage used;
    Fuzz *f;

    setrlimit(RLIMIT_CORE, &quiet);
    if (seconds || alone)
        alarm(0); /* meson's limit holds */
    f = fuzz_new(l, format);
    rounds(f, alone ? g_ascii_strtoull(alone, NULL, 10) : 1, end, alone);
    fuzz_free(f);
    check_eq(getrusage(RUSAGE_SELF, &used), 0);
    if (used.ru_maxrss > MEMORY_MAX_KIB)
        t_fail(__FILE__, __LINE__, "%s took %ld MiB of memory", format->driver, used.ru_maxrss / 1024);
}
