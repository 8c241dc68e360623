/*
 * tests/block/fuzz-cov.c - hostile images led by coverage: a libFuzzer target (clang). What it mutates is not an image but a recipe,
 * a head and patches, of one made of a good image: small, and each change of it a step that fuzz.c calls promising.
 *   block-fuzz-cov CORPUS -runs=0 ..., FUZZ_FORMAT=qcow2; a file that crashed it: block-fuzz-cov FILE
 */
#include "tests/block/fuzz.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATCHES_MAX = 64 };
typedef struct Head {
    uint8_t seed, how, cuts, unused;
    uint32_t length; /* of the file, where cuts is one of 16 */
    uint64_t rng;
} Head;
typedef struct Patch {
    uint32_t at;
    uint8_t size; /* 1 << size % 4 bytes */
    uint8_t unused[3];
    uint8_t bytes[8];
} Patch;
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t max);
extern const FuzzFormat *const __start_fuzzformats[], *const __stop_fuzzformats[];
static Fuzz *fuzz; /* libFuzzer has no argument for it */

void t_fail(const char *file, int line, const char *fmt, ...)
{
    va_list v;

    va_start(v, fmt);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, fmt, v);
    fputc('\n', stderr);
    va_end(v);
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = g_getenv("FUZZ_FORMAT");

    for (const FuzzFormat *const *p = __start_fuzzformats; p < __stop_fuzzformats; p++)
        if (!g_strcmp0((*p)->name, name))
            fuzz = fuzz_new(loop_new("fuzz", NULL), *p);
    g_thread_pool_set_max_unused_threads(-1); /* a thread that ends lets go of GLib's memory late: no leak */
    g_thread_pool_set_max_idle_time(0);
    if (!fuzz)
        t_fail(__FILE__, __LINE__, "FUZZ_FORMAT=%s: no such format", name ? name : "");
    return 0;
}

/* The image that the first `patches` patches make. */
static void make(const uint8_t *data, size_t patches)
{
    GByteArray *a = fuzz->image;
    Head h;

    memcpy(&h, data, sizeof(h));
    fuzz_good(fuzz, h.seed);
    for (size_t i = 0; i < patches; i++) {
        Patch p;

        memcpy(&p, data + sizeof(h) + i * sizeof(p), sizeof(p));
        if (in_range(p.at, 1u << p.size % 4, a->len))
            memcpy(a->data + p.at, p.bytes, 1u << p.size % 4);
    }
    if (h.cuts % 16 == 1 && a->len > 1024)
        g_byte_array_set_size(a, (guint)(512 + h.length % (a->len - 512)));
}

static size_t patches_in(size_t n) { return MIN((n - sizeof(Head)) / sizeof(Patch), PATCHES_MAX); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    Head h;

    if (n < sizeof(h))
        return -1;
    memcpy(&h, data, sizeof(h));
    make(data, patches_in(n));
    fuzz->rng.s = h.rng;
    fuzz_seal(fuzz, fuzz->image);
    fuzz_image(fuzz, h.how);
    return 0;
}

static Patch new_patch(const uint8_t *data, size_t patches)
{
    const GByteArray *a = fuzz->image;
    Patch p = { .size = (uint8_t)(1 + rng_next(&fuzz->rng) % 3) };
    unsigned size = 1u << p.size;

    make(data, patches);
    p.at = (uint32_t)fuzz_place(fuzz, a);
    if (in_range(p.at, size, a->len) && fuzz->f->little)
        le_store(p.bytes, size, fuzz_nasty(fuzz, le_load(a->data + p.at, size), a->len));
    else if (in_range(p.at, size, a->len))
        be_store(p.bytes, size, fuzz_nasty(fuzz, be_load(a->data + p.at, size), a->len));
    return p;
}

/* One more patch, one less, another in its place, another use; or what libFuzzer thinks of. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t max, unsigned seed)
{
    size_t count, i;
    Patch p;

    if (n < sizeof(Head)) {
        memset(data + n, 0, sizeof(Head) - n);
        n = sizeof(Head);
    }
    count = patches_in(n);
    fuzz->rng.s = seed;
    i = count ? rng_next(&fuzz->rng) % count : 0;
    switch (rng_next(&fuzz->rng) % 8) {
    case 0: /* other uses, another seed */
        LLVMFuzzerMutate(data, sizeof(Head), sizeof(Head));
        return n;
    case 1:
        if (count)
            memmove(data + sizeof(Head) + i * sizeof(p), data + sizeof(Head) + (i + 1) * sizeof(p), (count - i - 1) * sizeof(p));
        return sizeof(Head) + (count ? count - 1 : 0) * sizeof(p);
    case 2:
    case 3:
        return sizeof(Head) + LLVMFuzzerMutate(data + sizeof(Head), n - sizeof(Head), max - sizeof(Head));
    case 4:
        break;
    default:
        i = sizeof(Head) + (count + 1) * sizeof(p) <= max && count < PATCHES_MAX ? count : i;
    }
    if (sizeof(Head) + (i + 1) * sizeof(p) > max)
        return n;
    p = new_patch(data, count);
    memcpy(data + sizeof(Head) + i * sizeof(p), &p, sizeof(p));
    return sizeof(Head) + MAX(count, i + 1) * sizeof(p);
}
