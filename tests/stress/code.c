/* code.c - of the stress kernel: code that changes under the processor's feet. */
#include "stress.h"

static uint8_t code[8][4096] __attribute__((aligned(4096)));

/* Functions of constants at random places, rewritten by whole or by a byte, called in any order: each must be as last written. */
void code_own(void)
{
    static uint32_t want[64];
    static uint16_t at[64];

    for (unsigned i = 0; i < 64; i++) {
        at[i] = (uint16_t)(i * 500 + below(480)); /* some lie across page ends */
        constant(&code[0][0] + at[i], want[i] = (uint32_t)rnd());
    }
    for (unsigned n = 0; n < 400; n++) {
        unsigned i = below(64), j = below(64), k = below(4);
        volatile uint8_t *p = &code[0][0] + at[i];

        if (below(2)) {
            constant(p, want[i] = (uint32_t)rnd());
        } else {
            p[1 + k] = (uint8_t)n;
            want[i] = (want[i] & ~(0xffu << 8 * k)) | (n & 0xff) << 8 * k;
        }
        expect(call(p), want[i], "rewritten code");
        expect(call(&code[0][0] + at[j]), want[j], "a neighbour");
    }
}

/* One frame at four addresses: written through any, run at any. */
void code_alias(void)
{
    unsigned f = below(FRAMES), a = below(WINDOW_PAGES - 4);
    uint32_t v, r[4];

    for (unsigned i = 0; i < 4; i++) {
        window_set(a + i, pte_of(frame[f], P | W));
        invlpg((ul)window(a + i));
    }
    for (unsigned n = 0; n < 200; n++) {
        unsigned off = below(2) ? 64 : below(4000) & ~7u;

        constant(window(a + below(4)) + off, v = (uint32_t)rnd());
        cpuid(0, 0, r); /* another linear address: serialize */
        for (unsigned i = 0; i < 3; i++)
            expect(call(window(a + below(4)) + off), v, "code at several addresses");
    }
    for (unsigned i = 0; i < 4; i++) {
        window_set(a + i, 0);
        invlpg((ul)window(a + i));
    }
}

/* mov $imm, %eax whose constant is mov $n, %al; ret and more: entered at both, and rewritten between. */
void code_middle(void)
{
    volatile uint8_t *p = code[below(8)] + below(4000);

    for (unsigned n = 0; n < 200; n++) {
        uint8_t k = (uint8_t)rnd();

        p[0] = 0xb8, p[1] = 0xb0, p[2] = k, p[3] = 0xc3, p[4] = 0, p[5] = 0xc3;
        expect(call(p), 0xc300b0u | (uint32_t)k << 8, "an instruction");
        expect(call(p + 1) & 0xff, k, "its middle");
        if (below(3) == 0) { /* and a jump into the middle of what ran before */
            p[6] = 0xeb, p[7] = 0xf9; /* jmp p + 1 */
            expect(call(p + 6) & 0xff, k, "a jump to its middle");
        }
    }
}

/* More code than there is room for translations, run twice. */
void code_many(uint32_t n)
{
    uint8_t *base = (uint8_t *)0x1000000;
    uint32_t salt = (uint32_t)rnd();

    for (uint32_t i = 0; i < n; i++)
        constant(base + i * 48ul, i ^ salt);
    for (unsigned round = 0; round < 2; round++)
        for (uint32_t i = 0; i < n; i++) {
            uint32_t j = (uint32_t)(i * 7919ul % n), got = call(base + j * 48ul);

            if (got != (j ^ salt)) {
                expect(got, j ^ salt, "one of many functions");
                return;
            }
        }
}

static void r_call(ul p) { call((void *)p); }

/* Code that goes on in a page that is not RAM (all ones: FF FF is no instruction), is not there, or may not be executed. */
void code_bus(void)
{
    enum { A = 8 };
    static const uint64_t next[] = { 0xfd000000ul | P | W, 0, 1ul << NX_BIT | P | W };
    unsigned f = below(FRAMES);

    window_set(A, pte_of(frame[f], P | W));
    for (unsigned n = 0; n < 40; n++) {
        unsigned in_first = 1 + below(4), which = below(3);
        uint8_t *p = window(A + 1) - in_first;
        uint64_t pte = next[which] | (which == 2 ? (ul)frame[f] : 0);
        int v;

        window_set(A + 1, pte);
        invlpg((ul)window(A));
        invlpg((ul)window(A + 1));
        if (which == 2)
            memset(frame[f], 0x90, 16);
        for (unsigned i = 0; i < in_first; i++)
            p[i] = i ? 0 : 0xb8;
        v = attempt(r_call, (ul)p);
        if (which == 0) {
            expect(v, UD, "code goes on outside of RAM");
            expect(trap.ip, (ul)window(A + 1) + 5 - in_first, "where");
        } else {
            expect(v, PF, "code goes on where it may not");
            expect(trap.ip, (ul)p, "the instruction");
            expect(trap_cr2, (ul)window(A + 1), "the byte");
        }
    }
    window_set(A + 1, 0xfee00000ul | P | W);
    invlpg((ul)window(A + 1));
    apic_wr(0x80, 0xc3); /* the task priority, as a `ret` */
    attempt(r_call, (ul)window(A + 1) + 0x80); /* whatever it answers */
    apic_wr(0x80, 0);
    window_set(A, 0);
    window_set(A + 1, 0);
    invlpg((ul)window(A));
    invlpg((ul)window(A + 1));
}

/* Pages of code that change places: what runs is what is mapped now. */
void code_pages(void)
{
    unsigned a = below(WINDOW_PAGES - 8), off = below(4080);
    uint32_t at[8];

    for (unsigned f = 0; f < FRAMES; f++)
        constant(frame[f] + off, 1000 + f);
    for (unsigned i = 0; i < 8; i++)
        at[i] = FRAMES;
    for (unsigned n = 0; n < 400; n++) {
        unsigned i = below(8);

        if (below(2)) {
            bool there = at[i] != FRAMES;

            at[i] = below(FRAMES);
            window_set(a + i, pte_of(frame[at[i]], P | W));
            if (there && below(3))
                invlpg((ul)window(a + i));
            else if (there)
                wrcr3(rdcr3());
        }
        if (at[i] != FRAMES)
            expect(call(window(a + i) + off), 1000 + at[i], "the page that is mapped");
    }
    for (unsigned i = 0; i < 8; i++)
        window_set(a + i, 0);
    wrcr3(rdcr3());
}

/* ---- with the other processor */
static volatile uint32_t published, *target;

/* Writes ever larger constants into code that the first calls, and says so after. */
void rewrite_job(void)
{
    uint32_t last = 0;

    for (uint32_t n = 1; !other.stop; n++) {
        __atomic_store_n(target, n, __ATOMIC_SEQ_CST);
        __atomic_store_n(&published, n, __ATOMIC_SEQ_CST);
        if (n % 16 == 0) {
            last = call((uint8_t *)target - 1);
            if (last != n)
                other.bad = last, other.bad_at = n;
        }
    }
}

/* Code that another processor rewrites is at least as new as what it said before (after a serializing instruction). */
void code_other(void)
{
    uint8_t *p = code[below(8)] + below(60) * 64 + 3; /* the constant is aligned */
    uint32_t r[4], before, after, got;

    constant(p, 0);
    published = 0;
    target = (volatile uint32_t *)(p + 1);
    other_begin(JOB_REWRITE);
    for (unsigned n = 0; n < 300; n++) {
        before = __atomic_load_n(&published, __ATOMIC_SEQ_CST);
        cpuid(0, 0, r);
        got = call(p);
        after = __atomic_load_n(target, __ATOMIC_SEQ_CST);
        if (got < before || got > after) {
            check(false, "code of another processor: %u, not %u to %u", got, before, after);
            break;
        }
    }
    other_end("rewriting");
}

/* Rewrites a loop that the first is in: it ends then, and not otherwise. */
void break_loop_job(void)
{
    for (unsigned i = 0; i < 200 + (published & 1023) * 4; i++)
        __asm__ volatile("pause");
    __atomic_store_n(target, 1, __ATOMIC_SEQ_CST);
}

void code_loop(void)
{
    for (unsigned n = 0; n < 8; n++) {
        volatile uint8_t *p = code[below(8)] + below(60) * 64 + 3; /* 1: mov $0, %eax; test %eax, %eax; jz 1b; ret */
        static const uint8_t b[] = { 0xb8, 0, 0, 0, 0, 0x85, 0xc0, 0x74, 0xf7, 0xc3 };

        for (unsigned i = 0; i < sizeof(b); i++)
            p[i] = b[i];
        published = below(1024);
        target = (volatile uint32_t *)(p + 1);
        other_begin(JOB_BREAK_LOOP);
        expect(call(p), 1, "a loop that another processor ends");
        other_end("ending a loop");
    }
}

/* Both rewrite and run functions of one page, each its own: neither loses what the other wrote. */
static uint32_t rewrite_mine(uint8_t *page, uint32_t first, uint64_t *r)
{
    static const uint16_t at[] = { 0, 512, 1024, 1536, 2048, 2560, 3072, 3584 };

    for (unsigned n = 0; n < 100; n++) {
        uint8_t *p = page + at[(*r >> 40) % 8] + first;

        *r = *r * 6364136223846793005ull + 1442695040888963407ull;
        constant(p, (uint32_t)(*r >> 32));
        if (call(p) != (uint32_t)(*r >> 32))
            return (uint32_t)(*r >> 32);
    }
    return 0;
}

void rewrite_all_job(void)
{
    uint64_t r = 99;

    while (!other.stop)
        if ((other.bad = rewrite_mine(code[0], 16, &r)))
            return;
}

void code_all(void)
{
    uint64_t r = rnd();

    other_begin(JOB_REWRITE_ALL);
    expect(rewrite_mine(code[0], 128, &r), 0, "a page that both rewrite");
    other_end("a page that both rewrite");
}
