/*
 * windows.c - memory as programs of ring 3 see it while its mapping changes under them: what an engine may keep of a
 * translation, and what it may not. Pages that move, lose rights and come back; two addresses of one page, with code in it;
 * accesses across the end of a page, of which one half faults; structures, flags and vectors of a loop that meets a fault.
 * Source: Intel SDM vol. 3A 4.7, 4.8, 4.10, vol. 3A 8.1.3.
 */
#include "k.h"

enum { P = 1, W = 2, U = 4, A = 32, D = 64, PS = 128, E_W = 2, E_U = 4, N = 64 };
static const ul va = 0x4000000000 + 0x40000000, large_va = 0x4000000000 + 0x40400000, other_va = 0x550000000000, far_va = 0x7f0000000000;
extern uint64_t pml4[512], pdpt[512];
#define TABLE(name) static uint64_t name[512] __attribute__((aligned(4096)))
TABLE(pd); TABLE(pt); TABLE(pt_split);
TABLE(pdpt_prog); TABLE(pd_prog); TABLE(pdpt_far); TABLE(pd_far);
static uint8_t ram[2][N][4096] __attribute__((aligned(4096)));
static uint8_t *const large = (uint8_t *)0x1000000; /* 2 MiB of RAM that nobody else uses */
UDATA static volatile ul got, at, value;
UDATA static volatile uint8_t flags_before, flags_after;

static uint64_t *pte(unsigned i) { return &pt[i]; }
static ul page(unsigned i) { return va + 4096ul * i; }
static void map(unsigned i, uint8_t *to, uint64_t rights)
{
    *pte(i) = (ul)to | rights;
    invlpg(page(i));
}

static void tables(void)
{
    pdpt[va >> 30 & 511] = (ul)pd | P | W | U;
    pd[va >> 21 & 511] = (ul)pt | P | W | U;
    pd[large_va >> 21 & 511] = (ul)large | P | W | U | PS;
    pml4[other_va >> 39 & 511] = (ul)pdpt_prog | P | W | U;
    pdpt_prog[other_va >> 30 & 511] = (ul)pd_prog | P | W | U;
    pd_prog[other_va >> 21 & 511] = (ul)pt | P | W | U;
    pml4[far_va >> 39 & 511] = (ul)pdpt_far | P | W | U;
    pdpt_far[far_va >> 30 & 511] = (ul)pd_far | P | W | U;
    pd_far[far_va >> 21 & 511] = (ul)pt | P | W | U;
    for (unsigned i = 0; i < N; i++) {
        *pte(i) = (ul)ram[0][i] | P | W | U;
        *(ul *)ram[0][i] = 1000 + i;
        *(ul *)ram[1][i] = 2000 + i;
    }
}

USER static void u_load(ul a) { got = *(volatile ul *)a; }
USER static void u_store(ul a) { *(volatile ul *)a = value; }
USER static void u_inc(ul a) { __asm__ volatile("addq $1, (%0)" ::"r"(a) : "memory", "cc"); }
USER static void u_sum(ul a) /* the first word of each page */
{
    ul sum = 0;

    for (unsigned i = 0; i < N; i++)
        sum += *(volatile ul *)(a + 4096ul * i);
    got = sum;
}

static ul load(ul a)
{
    got = ~0ul;
    expect(user(u_load, a), NO_TRAP, "load of %lx", a);
    return got;
}

static void store(ul a, ul v)
{
    value = v;
    expect(user(u_store, a), NO_TRAP, "store to %lx", a);
}

static void faults(void (*fn)(ul), ul a, ul address, unsigned code, const char *what)
{
    expect(user(fn, a), PF, "%s faults", what);
    expect(trap_cr2, address, "%s: address", what);
    expect(trap.error, code, "%s: code", what);
}

static void moved(void)
{
    expect(load(page(1)), 1001, "as mapped first");
    map(1, ram[1][1], P | W | U);
    expect(load(page(1)), 2001, "after it was mapped elsewhere");
    map(1, ram[0][1], P | W | U);
    store(page(1), 77);
    expect(*(ul *)ram[0][1], 77, "stored where it leads now");
    expect(*(ul *)ram[1][1], 2001, "not where it led before");
    for (unsigned i = 0; i < 4; i++) {
        unsigned k = i & 1;

        for (unsigned j = 0; j < N; j++)
            *pte(j) = (ul)ram[k][j] | P | W | U;
        wrcr3(rdcr3());
        for (unsigned j = 0; j < N; j++)
            *(ul *)ram[k][j] = (k + 1) * 1000 + j;
        expect(user(u_sum, va), NO_TRAP, "sum");
        expect(got, N * (k + 1) * 1000 + N * (N - 1) / 2, "all pages of set %u after a change of CR3", k);
    }
    for (unsigned j = 0; j < N; j++)
        map(j, ram[0][j], P | W | U);
}

static void rights(void)
{
    store(page(2), 5);
    map(2, ram[0][2], P | U);
    value = 6;
    faults(u_store, page(2), page(2), P | E_W | E_U, "store to what became read-only");
    faults(u_inc, page(2), page(2), P | E_W | E_U, "change of what became read-only");
    expect(load(page(2)), 5, "it is as it was");
    map(2, ram[0][2], P | W);
    faults(u_load, page(2), page(2), P | E_U, "load of what became the supervisor's");
    map(2, ram[0][2], W | U);
    faults(u_load, page(2), page(2), E_U, "load of what went away");
    map(2, ram[0][2], P | W | U);
    expect(user(u_inc, page(2)), NO_TRAP, "change");
    expect(load(page(2)), 6, "when it is back");
    *pte(3) = (ul)ram[0][3] | P | W | U;
    invlpg(page(3));
    load(page(3));
    expect(*pte(3) & (A | D), A, "a load sets A alone");
    store(page(3), 1);
    expect(*pte(3) & (A | D), A | D, "a store sets D");
    *pte(3) &= ~(uint64_t)D;
    invlpg(page(3));
    load(page(3));
    expect(*pte(3) & (A | D), A, "a load leaves it clear");
    store(page(3), 1);
    expect(*pte(3) & D, D, "a store after a load sets it again");
    expect(user(u_load, 0x8055000000000000), GP, "an address that is none");
    expect(user(u_load, 0x0155000000000000 + page(3)), GP, "and with one bit too many");
    expect(user(u_load, 0xffff800000000000), PF, "the other half");
}

static void across(void)
{
    ul edge = page(6) - 3;

    map(6, ram[0][6], W | U);
    value = 0x1122334455667788;
    *(ul *)(ram[0][5] + 4096 - 8) = 42;
    load(page(5));
    store(page(5) + 8, 1);
    faults(u_store, edge, page(6), E_W | E_U, "store into a page that is not there");
    expect(*(ul *)(ram[0][5] + 4096 - 8), 42, "nothing of it was stored");
    faults(u_load, edge, page(6), E_U, "load from it");
    map(6, ram[0][6], P | W | U);
    store(edge, 0x1122334455667788);
    expect(load(edge), 0x1122334455667788, "when it is there");
    expect(ram[0][6][0], 0x55, "the upper part is in the second page");
    map(6, ram[1][6], P | W | U);
    expect(load(edge) & 0xffffff, 0x667788, "the lower part when the second page moved");
    expect(load(edge) >> 24 & 0xff, ram[1][6][0], "and the upper");
    map(6, ram[0][6], P | W | U);
}

/* One page, three addresses; code is made, run and written again through another than it runs at. */
typedef ul Code(void);
USER static void u_run(ul a) { got = ((Code *)a)(); }
USER static void u_code(ul a) { *(volatile uint32_t *)(a + 1) = (uint32_t)value; }
USER static void u_code_far(ul a) { *(volatile uint32_t *)(a + 1) = (uint32_t)value; } /* each always at one address */

static void aliases(void)
{
    const uint8_t is[] = { 0xb8, 1, 0, 0, 0, 0xc3 }; /* mov eax, 1; ret */

    store(other_va + 4096 * 7, 9);
    expect(load(far_va + 4096 * 7), 9, "stored at one address, read at the second");
    expect(load(page(7)), 9, "and at the third");
    memcpy(ram[0][8], is, sizeof(is));
    for (uint32_t i = 0; i < 300; i++) {
        value = i;
        expect(i & 1 ? user(u_code, other_va + 4096 * 8) : user(u_code_far, far_va + 4096 * 8), NO_TRAP, "code is written");
        expect(user(u_run, page(8)), NO_TRAP, "and run");
        if (got != i) {
            expect(got, i, "what was written last runs");
            return;
        }
    }
    expect(got, 299, "what was written last ran each time");
}

static void big(void)
{
    for (unsigned i = 0; i < 512; i++)
        *(ul *)(large + 4096 * i) = i;
    expect(load(large_va + 4096 * 5), 5, "in a large page");
    store(large_va + 4096 * 6, 66);
    expect(*(ul *)(large + 4096 * 6), 66, "stored there");
    for (unsigned i = 0; i < 512; i++)
        pt_split[i] = ((ul)large + 4096ul * i) | P | W | U;
    pt_split[5] = (ul)ram[0][9] | P | W | U;
    pt_split[6] = (ul)(large + 4096 * 6) | P | U;
    pd[large_va >> 21 & 511] = (ul)pt_split | P | W | U;
    invlpg(large_va + 4096 * 100);
    expect(load(large_va + 4096 * 5), *(ul *)ram[0][9], "split: a page that is elsewhere now");
    expect(load(large_va + 4096 * 7), 7, "split: its neighbour");
    value = 1;
    faults(u_store, large_va + 4096 * 6, large_va + 4096 * 6, P | E_W | E_U, "split: a page that is read-only now");
    pd[large_va >> 21 & 511] = (ul)large | P | W | U | PS;
    wrcr3(rdcr3());
    expect(load(large_va + 4096 * 5), 5, "large again");
}

/* Fields of one structure, on both sides of a page's end; flags go through all of it. */
USER static void u_fields(ul a)
{
    volatile ul *p = (volatile ul *)a;

    p[3] = p[0] + p[1];
    p[4] = p[3] + p[2];
    p[0] += p[4];
}

USER static void u_carry(ul a) /* adc through the loads */
{
    ul lo, hi;

    __asm__ volatile("mov (%2), %0; add 8(%2), %0; mov 16(%2), %1; mov 24(%2), %%rcx; adc %%rcx, %1; mov %1, 32(%2); setc %%cl; mov %%cl, 40(%2)"
                     : "=&r"(lo), "=&r"(hi) : "r"(a) : "rcx", "cc", "memory");
    got = hi;
}

USER static void u_again(ul a) /* flags that are read on both sides of a store */
{
    uint8_t before, after;

    __asm__ volatile("cmp %3, %2; movb $1, (%4); setc %0; movb $2, 16(%4); setc %1" : "=&r"(before), "=&r"(after) : "r"(1ul), "r"(2ul), "r"(a) : "cc", "memory");
    flags_before = before;
    flags_after = after;
}

static bool lend(Frame *f)
{
    unsigned i = (unsigned)((rdcr2() - va) >> 12);

    if (rdcr2() - va >= N * 4096ul)
        return false;
    at++;
    map(i, ram[0][i], P | W | U);
    return true;
}

static void structures(void)
{
    ul *p = (ul *)ram[0][10];

    handlers[PF] = lend;
    for (unsigned at_word = 508; at_word <= 512; at_word++) {
        for (unsigned i = 0; i < 8; i++)
            p[at_word + i] = i + 1;
        map(10, ram[0][10], W | U);
        map(11, ram[0][11], W | U);
        at = 0;
        expect(user(u_fields, page(10) + 8 * at_word), NO_TRAP, "fields from word %u", at_word);
        expect(p[at_word + 3], 3, "the fourth");
        expect(p[at_word + 4], 6, "the fifth");
        expect(p[at_word], 7, "the first");
        expect(at, at_word == 508 || at_word == 512 ? 1 + (at_word == 508) : 2, "pages that were missing");
    }
    for (unsigned at_word = 508; at_word <= 511; at_word++) {
        p[at_word] = ~0ul;
        p[at_word + 1] = 1;
        p[at_word + 2] = p[at_word + 3] = ~0ul;
        map(10, ram[0][10], W | U);
        map(11, ram[0][11], W | U);
        expect(user(u_carry, page(10) + 8 * at_word), NO_TRAP, "carry through page faults, from word %u", at_word);
        expect(got, ~0ul, "the sum");
        expect(*(uint8_t *)(p + at_word + 5), 1, "the carry out of it");
    }
    for (unsigned how = 0; how < 4; how++) { /* known to nobody; or lent */
        map(10, ram[0][10], how & 1 ? W | U : P | W | U);
        map(11, ram[0][11], how & 2 ? W | U : P | W | U);
        flags_before = flags_after = 0;
        expect(user(u_again, page(11) - 8), NO_TRAP, "flags read twice, pages lent: %u", how);
        expect(flags_before, 1, "the carry ahead of the second store");
        expect(flags_after, 1, "the carry behind it");
    }
    handlers[PF] = NULL;
}

/* Many times, so that whatever counts is convinced; then everything once more. */
USER static void u_loop(ul a)
{
    for (unsigned i = 0; i < 200000; i++)
        *(volatile ul *)(a + 8 * (i & 255)) += i;
}

int main(void)
{
    tables();
    for (unsigned i = 0; i < 2; i++) {
        moved();
        rights();
        across();
        aliases();
        big();
        structures();
        expect(user(u_loop, page(20)), NO_TRAP, "a long loop");
    }
    finish();
}
