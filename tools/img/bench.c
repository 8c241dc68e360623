/* tools/img/bench.c - bench: so many requests of one kind, some at a time, and how long they take. */
#include "tools/img/img.h"
#include <errno.h>
#include <stdlib.h>

enum { DEPTH_MAX = 1024 };

typedef struct Bench {
    Node *n;
    uint64_t count, size, step, at, sent;
    int64_t depth;
    bool write;
    uint64_t flush_every;
    int running, ret;
    int pattern;
    Co *boss;
} Bench;

static CO_FN int one(Bench *b, uint8_t *buf)
{
    uint64_t off = b->at, n = ++b->sent;
    int ret;

    b->at = (b->at + b->step) % b->n->size;
    if (b->at + b->size > b->n->size) /* no whole request before the end */
        b->at = 0;
    ret = b->write ? blk_write(b->n, off, buf, b->size) : blk_read(b->n, off, buf, b->size);
    return !ret && b->flush_every && n % b->flush_every == 0 ? blk_flush(b->n) : ret;
}

static void work(void *arg)
{
    Bench *b = arg;
    uint8_t *buf = aligned_alloc(4096, align_up(b->size, 4096));

    memset(buf, b->pattern, b->size);
    while (b->sent < b->count && !b->ret) {
        int ret = one(b, buf);

        b->ret = b->ret ? b->ret : ret;
    }
    free(buf);
    if (!--b->running && b->boss)
        co_wake(b->boss);
}

static CO_FN bool run(Img *m, Bench *b, Error **err)
{
    int64_t start;

    if (b->size > b->n->size || !b->size || b->size > GiB)
        return fail(err, "Invalid buffer size: it must be between 1 and the image's size");
    if (!m->quiet)
        printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRId64 " in parallel (starting at offset %" PRIu64 ", step size %" PRIu64 ")\n",
               b->count, b->write ? "write" : "read", b->size, b->depth, b->at, b->step);
    if (!m->quiet && b->flush_every)
        printf("Sending flush every %" PRIu64 " requests\n", b->flush_every);
    fflush(stdout);
    start = host_now();
    b->running = (int)b->depth;
    for (int64_t i = 0; i < b->depth; i++)
        co_enter(co_new(work, b));
    b->boss = co_self();
    while (b->running)
        co_yield();
    if (b->ret)
        return fail_errno_is(err, -b->ret, "Failed request");
    if (!m->quiet)
        printf("Run completed in %3.3f seconds.\n", (double)(host_now() - start) / 1e9);
    return true;
}

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *out, Error **err)
{
    return (parse_size(text, 'B', out, NULL) && *out >= min && *out <= max) ||
           fail(err, "Invalid value '%s': a number from %" PRIu64 " to %" PRIu64, text, min, max);
}

static const struct option own[] = { { "count", required_argument, NULL, 'c' },      { "depth", required_argument, NULL, 'd' },
                                     { "offset", required_argument, NULL, 'o' },     { "buffer-size", required_argument, NULL, 's' },
                                     { "step-size", required_argument, NULL, 'S' },  { "write", no_argument, NULL, 'w' },
                                     { "pattern", required_argument, NULL, 2000 },   { "flush-interval", required_argument, NULL, 2001 },
                                     { "cache", required_argument, NULL, 't' },      { "aio", required_argument, NULL, 'i' },
                                     { "native", no_argument, NULL, 'n' },           { 0 } };

static bool option(Img *m, Bench *b, int k, Error **err)
{
    uint64_t v = 0;
    bool ok = true;

    switch (k) {
    case 'c':
        return number(optarg, 1, INT32_MAX, &b->count, err);
    case 'd':
        ok = number(optarg, 1, DEPTH_MAX, &v, err);
        b->depth = (int64_t)v;
        return ok;
    case 'o':
        return number(optarg, 0, INT64_MAX, &b->at, err);
    case 's':
        return number(optarg, 1, GiB, &b->size, err);
    case 'S':
        return number(optarg, 0, INT64_MAX, &b->step, err);
    case 'w':
        return b->write = true;
    case 2000:
        ok = number(optarg, 0, 255, &v, err);
        b->pattern = (int)v;
        return ok;
    case 2001:
        return number(optarg, 1, INT32_MAX, &b->flush_every, err);
    case 't':
        m->cache = optarg;
        return true;
    default:
        m->aio = k == 'n' ? "native" : optarg;
        return true;
    }
}

CO_FN int img_bench(Img *m, int argc, char **argv, Error **err)
{
    Bench b = { .count = 75000, .size = 4096, .depth = 64, .step = UINT64_MAX };
    Common c = { NULL };
    bool ok;
    int k;

    while ((k = img_option(m, &c, argc, argv, "c:d:o:s:S:wt:i:n", own, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?';
        if (!option(m, &b, k, err))
            return 1;
    }
    if (argc - optind != 1)
        return img_usage("bench", err, "Expecting one image file name");
    b.step = b.step == UINT64_MAX ? b.size : b.step;
    b.n = img_open(m, argv[optind], c.format, b.write ? OPEN_WRITE : 0, err);
    if (!b.n)
        return 1;
    ok = run(m, &b, err);
    node_unref(b.n);
    return !ok;
}
