/*
 * tests/unit/fp.c - floating point in C (target/x86/fp.h), on every host: cases with names, and digests of many random ones, which were
 * taken where tests/isa compares the same functions with the silicon. A digest that differs here alone is this host's or its compiler's.
 */
#include "target/x86/fpu.h"
#include "tests/lib/t.h"

typedef struct Real {
    uint16_t e;
    uint64_t m;
} Real;

static const struct {
    const char *what;
    uint16_t op11, cw;
    Real st0, st1, want; /* ST(0) then */
    uint16_t flags;      /* of the status word: exceptions, SF, C0 to C3 */
} x87_case[] = {
#define ONE { 0x3fff, 1ull << 63 }
#define THREE { 0x4000, 3ull << 62 }
#define INDEFINITE { 0xffff, 3ull << 62 }
    { "1 / 3 to nearest", 0x0f1, 0x37f, ONE, THREE, { 0x3ffd, 0xaaaaaaaaaaaaaaab }, 0x220 },
    { "1 / 3 down", 0x0f1, 0x77f, ONE, THREE, { 0x3ffd, 0xaaaaaaaaaaaaaaaa }, 0x020 },
    { "1 / 3 in single precision", 0x0f1, 0x07f, ONE, THREE, { 0x3ffd, 0xaaaaab0000000000 }, 0x220 },
    { "1 / 0", 0x0f1, 0x37f, ONE, { 0, 0 }, { 0x7fff, 1ull << 63 }, 0x004 },
    { "1 / 0 with the exception unmasked", 0x0f1, 0x37b, ONE, { 0, 0 }, ONE, 0x8084 },
    { "infinity less infinity", 0x0e1, 0x37f, { 0x7fff, 1ull << 63 }, { 0x7fff, 1ull << 63 }, INDEFINITE, 0x001 },
    { "the larger of two NaNs", 0x0c1, 0x37f, { 0x7fff, 0xc000000000000001 }, { 0x7fff, 0xc000000000000002 }, { 0x7fff, 0xc000000000000002 }, 0 },
    { "the greatest number doubled", 0x0c1, 0x37f, { 0x7ffe, ~0ull }, { 0x7ffe, ~0ull }, { 0x7fff, 1ull << 63 }, 0x228 },
    { "the least normal number halved", 0x0c9, 0x37f, { 1, 1ull << 63 }, { 0x3ffe, 1ull << 63 }, { 0, 1ull << 62 }, 0 },
    { "a third of it", 0x0f1, 0x37f, { 1, 1ull << 63 }, THREE, { 0, 0x2aaaaaaaaaaaaaab }, 0x230 },
    { "an unnormal is no number since the 387", 0x0c1, 0x37f, { 0x4000, 1 }, ONE, INDEFINITE, 0x001 },
    { "sqrt 3", 0x1fa, 0x37f, THREE, ONE, { 0x3fff, 0xddb3d742c265539e }, 0x220 },
    { "17 rem 3 is -1, the nearest", 0x1f5, 0x37f, { 0x4003, 0x8800000000000000 }, THREE, { 0xbfff, 1ull << 63 }, 0x4100 },
    { "17 rem 3 is 2, truncated", 0x1f8, 0x37f, { 0x4003, 0x8800000000000000 }, THREE, { 0x4000, 1ull << 63 }, 0x0300 },
    { "sin 3 pi by the processor's pi", 0x1fe, 0x37f, { 0x4002, 0x96cbe3f9990e91a8 }, ONE, { 0xbfc1, 0xe000000000000000 }, 0x220 },
    { "cos 2^63 is out of range", 0x1ff, 0x37f, { 0x403e, 1ull << 63 }, ONE, { 0x403e, 1ull << 63 }, 0x400 },
    { "2^0.5 - 1", 0x1f0, 0x37f, { 0x3ffe, 1ull << 63 }, ONE, { 0x3ffd, 0xd413cccfe7799211 }, 0x020 },
    { "3 scaled by 3", 0x1fd, 0x37f, THREE, THREE, { 0x4003, 3ull << 62 }, 0 },
};

static void set(uint8_t *p, Real r)
{
    le64_store(p, r.m);
    le16_store(p + 8, r.e);
}

static void x87_cases(Vm *vm)
{
    for (unsigned i = 0; x86_units_c && i < G_N_ELEMENTS(x87_case); i++) {
        X86Fpu f = { .cw = x87_case[i].cw, .tags = 3 };
        uint8_t want[10];
        bool stored;

        set(f.st[0], x87_case[i].st0);
        set(f.st[1], x87_case[i].st1);
        set(want, x87_case[i].want);
        x86_units_c->x87(&f, x87_case[i].op11, NULL, &stored, NULL);
        if (memcmp(f.st[x86_top(&f)], want, 10) || (f.sw & ~FSW_TOP) != x87_case[i].flags)
            t_fail(__FILE__, __LINE__, "%s: %04x.%016" PRIx64 ", status %04x", x87_case[i].what, le16_load(f.st[x86_top(&f)] + 8),
                   le64_load(f.st[x86_top(&f)]), f.sw);
    }
}

static const struct {
    const char *what;
    X86VopId id;
    uint32_t mxcsr;
    uint64_t a, b, want;
    uint32_t flags, answer;
} sse_case[] = {
    { "1 / 3", VOP_divsd, 0x1f80, 0x3ff0000000000000, 0x4008000000000000, 0x3fd5555555555555, 0x20, 0 },
    { "1 / 3 up", VOP_divsd, 0x5f80, 0x3ff0000000000000, 0x4008000000000000, 0x3fd5555555555556, 0x20, 0 },
    { "the first NaN", VOP_addsd, 0x1f80, 0x7ff8000000000001, 0x7ff8000000000002, 0x7ff8000000000001, 0, 0 },
    { "a signalling NaN is quieted", VOP_addsd, 0x1f80, 0x7ff0000000000001, 0, 0x7ff8000000000001, 0x01, 0 },
    { "min of a NaN is the second", VOP_minsd, 0x1f80, 0x7ff8000000000001, 0x3ff0000000000000, 0x3ff0000000000000, 0x01, 0 },
    { "a denormal", VOP_addsd, 0x1f80, 1, 1, 2, 0x02, 0 },
    { "a denormal that is zero", VOP_addsd, 0x1fc0, 1, 1, 0, 0, 0 },
    { "a tiny result", VOP_mulsd, 0x1f80, 0x0010000000000001, 0x3fe0000000000000, 0x0008000000000000, 0x30, 0 },
    { "a tiny result that is zero", VOP_mulsd, 0x9f80, 0x0010000000000001, 0x3fe0000000000000, 0, 0x30, 0 },
    { "a tiny exact result with underflow unmasked", VOP_mulsd, 0x1780, 0x0010000000000000, 0x3fe0000000000000, 0x0010000000000000, 0x10, FPU_XM },
    { "1 / 0 unmasked", VOP_divsd, 0x1d80, 0x3ff0000000000000, 0, 0x3ff0000000000000, 0x04, FPU_XM },
    { "too large for 32 bits", VOP_cvtsd2si32, 0x1f80, 0, 0x41e0000000000000, 0x80000000, 0x01, 0 },
    { "2.5 to even", VOP_cvtsd2si64, 0x1f80, 0, 0x4004000000000000, 2, 0x20, 0 },
    { "sqrt 2", VOP_sqrtsd, 0x1f80, 0, 0x4000000000000000, 0x3ff6a09e667f3bcd, 0x20, 0 },
};

static void sse_cases(Vm *vm)
{
    static X86 cpu; /* the test is a process of its own */

    for (unsigned i = 0; i < G_N_ELEMENTS(sse_case); i++) {
        uint64_t d[2] = { sse_case[i].a, 0 }, s[2] = { sse_case[i].b, 0 };
        unsigned answer;

        cpu.mxcsr = sse_case[i].mxcsr;
        answer = x86_vop_ref[sse_case[i].id].fn(&cpu.env, d, s, 0);
        if (d[0] != sse_case[i].want || cpu.mxcsr != (sse_case[i].mxcsr | sse_case[i].flags) || answer != sse_case[i].answer)
            t_fail(__FILE__, __LINE__, "%s: %#" PRIx64 ", mxcsr %#x, %#x", sse_case[i].what, d[0], cpu.mxcsr, answer);
    }
}

/* ---- digests */

static uint64_t mixed(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15ull;
    return h ^ h >> 31;
}

/* Exponents near the ends and the middle of what an element of `bits` has, few and many bits set. */
static uint64_t element(Rng *r, unsigned bits)
{
    const unsigned frac = bits == 32 ? 23 : 52, e = (1u << (bits - 1 - frac)) - 1, how = (unsigned)(rng_next(r) % 6);
    const uint64_t v = rng_next(r) & ((1ull << frac) - 1), sign = (rng_next(r) & 1) << (bits - 1);
    const uint64_t exp = how == 0 ? 0 : how == 1 ? e : how == 2 ? rng_next(r) & e : e / 2 + rng_next(r) % 5 - 2;

    return sign | exp << frac | (rng_next(r) % 3 ? v : rng_next(r) % 2);
}

static void sse_digest(Vm *vm)
{
    static X86 cpu; /* the test is a process of its own */
    Rng r = { 1 };
    uint64_t h = 0;

    for (unsigned id = 0; id < VOP_COUNT; id++)
        for (unsigned i = 0; i < 300; i++) {
            uint64_t d[2], s[2];

            for (unsigned j = 0; j < 2; j++) {
                const bool wide = rng_next(&r) & 1;

                d[j] = wide ? element(&r, 64) : element(&r, 32) | element(&r, 32) << 32;
                s[j] = wide ? element(&r, 64) : element(&r, 32) | element(&r, 32) << 32;
            }
            cpu.mxcsr = (uint32_t)rng_next(&r) & 0xffff;
            h = mixed(h, x86_vop_ref[id].fn(&cpu.env, d, s, id == VOP_maskmov ? 8 : i & 255)); /* there: how many bytes */
            h = mixed(mixed(mixed(h, d[0]), d[1]), cpu.mxcsr);
        }
    check_eq(h, 0x458b9b31452806da);
}

static uint64_t x87_once(Rng *r, unsigned op11, uint64_t h)
{
    X86Fpu f = { .tags = (uint16_t)(rng_next(r) % 4 ? 0x3f : rng_next(r) & 0xff) };
    uint32_t fl = (uint32_t)rng_next(r) & 0x8d5;
    uint8_t mem[16] = { 0 };
    bool stored;

    f.cw = (uint16_t)((rng_next(r) & 0xf00) | (rng_next(r) % 3 ? 0x7f : 0x40 | (rng_next(r) & 0x3f)));
    f.sw = (uint16_t)(rng_next(r) & 0x4740);
    for (unsigned i = 0; i < 8; i++) {
        const unsigned how = (unsigned)(rng_next(r) % 8);
        const uint16_t e = (uint16_t)(how == 0 ? 0 : how == 1 ? 0x7fff : how == 2 ? 0x7ffe : how == 3 ? 1 : 0x3fff - 40 + rng_next(r) % 80);

        set(f.st[i], (Real){ (uint16_t)(e | (rng_next(r) & 1) << 15), rng_next(r) % 4 ? rng_next(r) | 1ull << 63 : rng_next(r) % 2 << 63 });
    }
    le64_store(mem, rng_next(r) % 2 ? element(r, 64) : element(r, 32));
    le16_store(mem + 8, rng_next(r));
    h = mixed(h, x86_units_c->x87(&f, op11, mem, &stored, &fl));
    h = mixed(mixed(mixed(h, f.sw | (uint64_t)f.tags << 16 | (uint64_t)fl << 32), le64_load(mem)), le16_load(mem + 8));
    for (unsigned i = 0; i < 8; i++)
        h = mixed(mixed(h, le64_load(f.st[i])), le16_load(f.st[i] + 8));
    return h;
}

static void x87_digest(Vm *vm)
{
    Rng r = { 2 };
    uint64_t h = 0;

    for (unsigned op11 = 0; x86_units_c && op11 < 0x800; op11++) {
        bool control = x87_mem(op11) == -128 || ((op11 & 0xc0) != 0xc0 && !x87_mem(op11)) || (op11 >= 0x3e0 && op11 <= 0x3e4) || op11 == 0x7e0;

        for (unsigned i = 0; i < 20 && !control; i++)
            h = x87_once(&r, op11, h);
    }
    if (x86_units_c)
        check_eq(h, 0x6a490134a0f3e2bc);
}

TEST("x87-cases", x87_cases);
TEST("sse-cases", sse_cases);
TEST("x87-digest", x87_digest);
TEST("sse-digest", sse_digest);
