/*
 * tests/isa/x87.c - the short paths of x87-host.c against the whole-state path (the silicon):
 * random states, every opcode; and the environment images against their loads.
 */
#include "tests/isa/near.h"
#include "tests/isa/oracle.h"
#include <stdio.h>
#include <stdlib.h>

static void random_reg(Rng *r, uint8_t *p)
{
    static const uint16_t exps[] = { 0, 1, 0x3fff, 0x4000, 0x7ffe, 0x7fff, 0x8000, 0xffff, 0x3fbe };
    uint64_t m = rng_next(r);
    unsigned how = (unsigned)(rng_next(r) % 8);
    uint16_t e =
        how < 3 ? exps[rng_next(r) % 9] : (uint16_t)(0x3fff + (int)(rng_next(r) % 80) - 40);

    if (how == 3)
        m = 1ull << 63;
    if (how != 4)
        m |= 1ull << 63;
    if (how == 5)
        m = 0, e &= 0x8000;
    if (how == 6)
        m &= ~0xffffffffull;
    memset(p, 0, 16);
    memcpy(p, &m, 8);
    memcpy(p + 8, &e, 2);
}

static void random_state(Rng *r, X86Fpu *f, uint8_t *mem)
{
    static const uint16_t cws[] = { 0x37f, 0x37f, 0x27f, 0x7f, 0xf7f, 0x77f, 0xb7f };
    double d = (double)(int64_t)rng_next(r) / 1e9;

    memset(f, 0, sizeof(*f));
    for (unsigned i = 0; i < 8; i++)
        random_reg(r, f->st[i]);
    x87_set_cw(f, cws[rng_next(r) % 7]);
    f->sw = (uint16_t)(rng_next(r) & 0x7f7f & ~0x0u);
    f->tags = rng_next(r) % 3 ? 0x7f : (uint8_t)rng_next(r);
    f->tags = (uint8_t)((f->tags & 255) << x86_top(f) | (f->tags & 255) >> (8 - x86_top(f)));
    for (unsigned i = 0; i < 16; i += 8)
        le64_store(mem + i, rng_next(r));
    if (rng_next(r) % 2)
        memcpy(mem, &d, 8);
}

static int differ(const X86Fpu *in, const X86Fpu *a, const X86Fpu *b, unsigned op11)
{
    printf("op %03x: cw %04x sw %04x tags %02x: sw %04x tags %02x, silicon sw %04x tags %02x\n",
           op11, in->cw, in->sw, in->tags, a->sw, a->tags, b->sw, b->tags);
    for (unsigned i = 0; i < 8; i++)
        printf("R%u %04x.%016" PRIx64 " -> %04x.%016" PRIx64 ", silicon %04x.%016" PRIx64 "\n", i,
               le16_load(in->st[i] + 8), le64_load(in->st[i]), le16_load(a->st[i] + 8),
               le64_load(a->st[i]), le16_load(b->st[i] + 8), le64_load(b->st[i]));
    return 1;
}

static bool control(unsigned op11) /* not X87Fn's */
{
    return x87_mem(op11) == -128 || ((op11 & 0xc0) != 0xc0 && !x87_mem(op11)) || (op11 >= 0x3e0 && op11 <= 0x3e4) || op11 == 0x7e0;
}

static bool with_flags(unsigned op11) { return (op11 & 0x6e0) == 0x2c0 || (op11 & 0x3f8) == 0x3e8 || (op11 & 0x3f8) == 0x3f0; }

static int short_paths(uint64_t seed, unsigned n)
{
    Rng r = { seed };
    unsigned ran = 0;

    for (unsigned i = 0; i < n; i++) {
        unsigned op11 = (unsigned)rng_next(&r) & 0x7ff;
        uint8_t m1[16], m2[16];
        X86Fpu in, a, b;
        uint32_t fl = 0;
        bool s1, s2;

        if (control(op11) || with_flags(op11)) /* those always take the whole state */
            continue;
        random_state(&r, &in, m1);
        memcpy(m2, m1, 16);
        a = b = in;
        if (x86_units_host->x87(&a, op11, m1, &s1, NULL) != x86_units_host->x87(&b, op11, m2, &s2, &fl) || s1 != s2 ||
            a.sw != b.sw || a.tags != b.tags || memcmp(a.st, b.st, sizeof(a.st)) ||
            memcmp(m1, m2, 16))
            return differ(&in, &a, &b, op11);
        ran++;
    }
    printf("%u x87 operations agree\n", ran);
    return ran < n / 2;
}

/* ---- the x87 in C against the silicon. Unmasked exceptions, and what is left in C0 to C3 without a use, were asked of AMD's only. */

static bool same(const X86Fpu *a, const X86Fpu *b, unsigned op11)
{
    const bool loose = near_function(op11);
    const uint16_t mask = !silicon_is_amd() ? (uint16_t)~0x4700 : loose ? (uint16_t)~0x200 : 0xffff;

    if ((a->sw ^ b->sw) & mask || a->tags != b->tags)
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (loose ? !near80(a->st[i], b->st[i], a->cw) : memcmp(a->st[i], b->st[i], 10) != 0)
            return false;
    return true;
}

static int in_c(uint64_t seed, unsigned n)
{
    unsigned ran = 0, wrong[0x800] = { 0 }, bad = 0;
    Rng r = { seed };

    for (unsigned i = 0; i < n; i++) {
        unsigned op11 = (unsigned)rng_next(&r) & 0x7ff;
        uint8_t in_mem[16], m1[16], m2[16];
        X86Fpu in, a, b;
        uint32_t f1 = (uint32_t)rng_next(&r) & 0x8d5, f2 = f1;
        bool s1, s2;

        if (control(op11))
            continue;
        random_state(&r, &in, in_mem);
        if (rng_next(&r) % 3 == 0 && silicon_is_amd()) { /* exceptions that are wanted, none of them pending */
            in.cw &= (uint16_t)~(rng_next(&r) & FPE_ALL);
            in.sw &= in.cw | ~FPE_ALL;
        }
        if (near_nothing_promised(op11, in.st[x86_top(&in)]))
            continue;
        memcpy(m1, in_mem, 16);
        memcpy(m2, in_mem, 16);
        a = b = in;
        ran++;
        if (x86_units_c->x87(&a, op11, m1, &s1, &f1) == x86_units_host->x87(&b, op11, m2, &s2, &f2) && (s1 == s2 || x87_mem(op11) >= 0) && f1 == f2 &&
            same(&a, &b, op11) && (!s1 || !memcmp(m1, m2, 16)))
            continue;
        if (wrong[op11]++ == 0 && bad++ < 20) {
            differ(&in, &a, &b, op11);
            printf("stored %u flags %x, silicon %u %x; memory %016" PRIx64 " -> %04x.%016" PRIx64 ", silicon %04x.%016" PRIx64 "\n", s1, f1,
                   s2, f2, le64_load(in_mem), le16_load(m1 + 8), le64_load(m1), le16_load(m2 + 8), le64_load(m2));
        }
    }
    printf("%u x87 operations in C against the silicon, %u kinds wrong\n", ran, bad);
    return bad || ran < n / 2;
}

static int images(uint64_t seed)
{
    Rng r = { seed };
    uint8_t img[512], mem[16];

    for (unsigned i = 0; i < 4000; i++) {
        X86Fpu a, b;
        X87Env e = (X87Env)(i & 3);

        random_state(&r, &a, mem);
        b = a;
        x87_save(&a, e, img);
        memset(&a, 0, sizeof(a));
        x87_rstor(&a, e, img);
        b.op = a.op;
        b.ip = a.ip, b.dp = a.dp;
        if (a.sw != b.sw || a.cw != (b.cw | FPE_ALL) || a.tags != b.tags ||
            memcmp(a.st, b.st, sizeof(a.st)))
            return differ(&b, &a, &b, 0x530);
    }
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;

    unsigned n = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 100000;

    if (short_paths(seed, 200000) || images(seed))
        return 1;
    if (!x86_units_c) {
        printf("built without MPFR: there is no x87 in C\n");
        return 0;
    }
    return in_c(seed, n);
}
