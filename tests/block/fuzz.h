/*
 * tests/block/fuzz.h - a format that is fuzzed is one FUZZ row in tests/block/fuzz-formats.c and its name in meson.build.
 * fuzz.c makes good images, spoils them and uses what came of it; t-block-fuzz does so at random, block-fuzz-cov (fuzz-cov.c) is led
 * by the code that an image reaches.
 */
#ifndef TESTS_BLOCK_FUZZ_H
#define TESTS_BLOCK_FUZZ_H
#include "core/secret.h"
#include "block/image.h"
#include "tests/lib/t.h"

enum { FUZZ_SEEDS = 8, FUZZ_AREAS = 8 };
typedef struct FuzzFormat {
    const char *name, *driver;
    unsigned seeds; /* good images that the bad ones are made of */
    /* Seed i: an image of `size` bytes made by the driver with these options (",a=b" or "") and then written to .. */
    const char *const *creates;
    uint64_t size; /* at least 768 KiB */
    /* .. or, for a format that we only read, made here. The caller frees. */
    GByteArray *(*seed)(unsigned i);
    const char *open;         /* more options of opening, as ",a=b"; or NULL */
    const uint16_t *fields;   /* offsets in the header that are hit most often, */
    unsigned nfields;
    struct {
        uint32_t at, len;     /* then these places (tables), then any */
    } areas[FUZZ_AREAS];
    bool little;              /* endian */
    Secret *(*prepare)(Loop *l); /* before anything is made; or NULL */
    void (*seal)(GByteArray *image, Rng *rng); /* mends the checksums, so that what was spoiled is looked at; or NULL */
} FuzzFormat;
typedef struct Fuzz {
    Loop *loop;
    const FuzzFormat *f;
    GByteArray *seeds[FUZZ_SEEDS];
    GByteArray *image; /* the one being made */
    struct Power *file; /* the one in use: both stay, so that their pages do */
    Rng rng;       /* what happens to the next image */
    unsigned make; /* the seed being made */
    Secret *secret; /* of prepare(), or NULL */
} Fuzz;
enum { /* how an image is used: zero in these bits .. */
       FUZZ_READ_ONLY = 3, FUZZ_CHECK = 12, /* .. opens it read-only, checks it, */
       FUZZ_FIX = 16, FUZZ_FIX_MASK = 3 /* such a repair */ };
Fuzz *fuzz_new(Loop *l, const FuzzFormat *f); /* makes the good images */
void fuzz_free(Fuzz *f);
uint64_t fuzz_place(Fuzz *f, const GByteArray *a);               /* a promising offset in it; it has at least 8 bytes */
uint64_t fuzz_nasty(Fuzz *f, uint64_t was, uint64_t file_length); /* what to put there */
void fuzz_seal(Fuzz *f, GByteArray *a); /* mends the checksums, mostly */
void fuzz_good(Fuzz *f, unsigned seed); /* f->image becomes that one */
void fuzz_image(Fuzz *f, unsigned how); /* opens f->image and does what can be done */
void fuzz_run(Loop *l, const FuzzFormat *f);
#define FUZZ(id, ...)                                                                              \
    static const FuzzFormat id##_format = { .name = #id, .driver = #id, __VA_ARGS__ };             \
    static const FuzzFormat *const id##_format_ptr IN_SECTION("fuzzformats") = &id##_format;       \
    static void fuzz_##id(Vm *vm) { fuzz_run(vm->loop, &id##_format); }                            \
    TEST("fuzz/" #id, fuzz_##id)
#define FUZZ_LIST(name, ...) .name = (const uint16_t[]){ __VA_ARGS__ }, .n##name = sizeof((const uint16_t[]){ __VA_ARGS__ }) / 2
#define FUZZ_CREATES(...)                                                                                        \
    .creates = (const char *const[]){ __VA_ARGS__ }, .seeds = sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *)
#endif
