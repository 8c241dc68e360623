/*
 * tests/isa/vec.c - every vector operation: the host's instruction against the C reference, random
 * and corner-case operands, all immediates in turn. Prints what it could not compare.
 */
#include "target/x86/fpu.h"
#include <stdio.h>
#include <stdlib.h>

static void random_vec(Rng *r, uint8_t *p)
{
    static const uint64_t corner[] = {
        0,     1, 0x7fff7fff7fff7fff, 0x8000800080008000, 0x80000000ffffffff, 0x8080808080808080,
        ~0ull, 5
    };

    for (unsigned i = 0; i < 16; i += 8) {
        uint64_t v = rng_next(r);

        if (v % 5 == 0)
            v = corner[rng_next(r) % 8];
        memcpy(p + i, &v, 8);
    }
}

static void show(const char *what, const uint8_t *p)
{
    printf("  %s", what);
    for (unsigned i = 0; i < 16; i++)
        printf(" %02x", p[i]);
    printf("\n");
}

static bool compare(X86 *cpu, Rng *r, unsigned id, unsigned n)
{
    const X86Vop *h = &x86_vop_host[id], *c = &x86_vop_ref[id];

    for (unsigned i = 0; i < n; i++) {
        uint8_t a[16], s[16], d1[16], d2[16];
        unsigned r1, r2;

        cpu->env.cc = (Cc){ 0 };
        random_vec(r, cpu->env.vec[0]);
        random_vec(r, a);
        random_vec(r, s);
        memcpy(d1, a, 16);
        memcpy(d2, a, 16);
        r1 = h->fn(&cpu->env, d1, s, i);
        r2 = c->fn(&cpu->env, d2, s, i);
        if (r1 != r2 || memcmp(d1, d2, 16)) {
            printf("%s imm %u: silicon %x, C %x\n", h->name, i & 255, r1, r2);
            show("first  ", a);
            show("second ", s);
            show("silicon", d1);
            show("C      ", d2);
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    Rng r = { argc > 1 ? strtoull(argv[1], NULL, 0) : 1 };
    void *memory = calloc(1, sizeof(X86) + 64);
    X86 *cpu = (X86 *)(((uintptr_t)memory + 31) & ~31ull);
    unsigned ran = 0, wrong = 0, lacks = 0, onlyhost = 0;

    cpu->mxcsr = MXCSR_RESET;
    for (unsigned id = 0; id < VOP_COUNT; id++) {
        const X86Vop *h = &x86_vop_host[id];

        if (h->fn == x86_vop_ref[id].fn)
            continue; /* the same C on every host: tests/isa/oracle.c has the silicon */
        if (!x86_host_vec_has((X86VopFeature)h->feature))
            lacks++;
        else if (!x86_vop_ref[id].fn)
            onlyhost++;
        else if (compare(cpu, &r, id, 2000))
            ran++;
        else
            wrong++;
    }
    printf("%u operations agree, %u wrong; %u not on this host, %u without a C reference\n", ran,
           wrong, lacks, onlyhost);
    free(memory);
    return wrong || !ran;
}
