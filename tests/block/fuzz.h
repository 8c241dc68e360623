/*
 * tests/block/fuzz.h - a format that is fuzzed is one FUZZ row in tests/block/fuzz-formats.c and its name in meson.build.
 */
#ifndef TESTS_BLOCK_FUZZ_H
#define TESTS_BLOCK_FUZZ_H
#include "block/image.h"
#include "tests/lib/t.h"

enum { FUZZ_SEEDS = 8, FUZZ_AREAS = 8 };
typedef struct FuzzFormat {
    const char *driver;
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
    void (*prepare)(Vm *vm);  /* before anything is made (secrets); or NULL */
    void (*seal)(GByteArray *image, Rng *rng); /* mends the checksums, so that what was spoiled is looked at; or NULL */
} FuzzFormat;
void fuzz_run(Vm *vm, const FuzzFormat *f);
#define FUZZ(id, ...)                                                              \
    static const FuzzFormat id##_format = { .driver = #id, __VA_ARGS__ };          \
    static void fuzz_##id(Vm *vm) { fuzz_run(vm, &id##_format); }                  \
    TEST("fuzz/" #id, fuzz_##id)
#define FUZZ_LIST(name, ...) .name = (const uint16_t[]){ __VA_ARGS__ }, .n##name = sizeof((const uint16_t[]){ __VA_ARGS__ }) / 2
#define FUZZ_CREATES(...)                                                                                        \
    .creates = (const char *const[]){ __VA_ARGS__ }, .seeds = sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *)
#endif
