/*
 * tests/isa/x87.c - the short paths of x87-host.c against the whole-state path (the silicon):
 * random states, every opcode; and the environment images against their loads.
 */
#include "target/x86/fpu.h"
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

static int ops(uint64_t seed, unsigned n)
{
    Rng r = { seed };
    unsigned ran = 0;

    for (unsigned i = 0; i < n; i++) {
        unsigned op11 = (unsigned)rng_next(&r) & 0x7ff;
        uint8_t m1[16], m2[16];
        X86Fpu in, a, b;
        uint32_t fl = 0;
        bool s1, s2;

        if (x87_mem(op11) == -128 || (op11 < 0x7c0 && (op11 & 0xc0) != 0xc0 && !x87_mem(op11)))
            continue;
        if (op11 == 0x3e2 || op11 == 0x3e3 || op11 == 0x7e0)
            continue; /* control: not x87_op()'s */
        if ((op11 & 0x6e0) == 0x2c0 || (op11 & 0x3f0) == 0x3e0 || (op11 & 0x3f8) == 0x3f0)
            continue; /* FCMOV, FCOMI: with EFLAGS always the whole state */
        random_state(&r, &in, m1);
        memcpy(m2, m1, 16);
        a = b = in;
        if (x87_op(&a, op11, m1, &s1) != x87_op_flags(&b, op11, m2, &s2, &fl) || s1 != s2 ||
            a.sw != b.sw || a.tags != b.tags || memcmp(a.st, b.st, sizeof(a.st)) ||
            memcmp(m1, m2, 16))
            return differ(&in, &a, &b, op11);
        ran++;
    }
    printf("%u x87 operations agree\n", ran);
    return ran < n / 2;
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

    return ops(seed, 200000) || images(seed);
}
