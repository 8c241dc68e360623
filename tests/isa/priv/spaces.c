/*
 * spaces.c - two address spaces that agree on most pages: what a change of CR3 must show of the pages that differ, as
 * data and as code that is reached by a direct call from another page; PCIDs, INVPCID, global pages, protection keys.
 * Source: Intel SDM vol. 3A 4.10.
 */
#include "k.h"

enum { P = 1, W = 2, U = 4, G = 256, PAGES = 300, CR4_PGE = 128, CR4_PCIDE = 1 << 17, CR4_PKE = 1 << 22 };
static const ul va = 0x4000000000 + 0x40000000, call_va = 0x4000000000 + 0x40200000; /* call_va: the same in both spaces */
extern uint64_t pdpt[512], pml4[512];
#define TABLE(name) static uint64_t name[512] __attribute__((aligned(4096)))
TABLE(pml4_b); TABLE(pdpt_b); TABLE(pd_a); TABLE(pd_b); TABLE(pt_a); TABLE(pt_b); TABLE(pt_call);
static uint8_t code[2][4096] __attribute__((aligned(4096))), caller[4096] __attribute__((aligned(4096)));
static uint8_t head[4096] __attribute__((aligned(4096))), tail[2][4096] __attribute__((aligned(4096)));
static uint64_t data[2][512] __attribute__((aligned(4096)));
static ul cr3_of[2], keep;
static bool pcid;

static void invpcid(ul kind, ul id, ul at)
{
    struct { ul id, at; } d = { id, at };

    __asm__ volatile("invpcid %1, %0" ::"r"(kind), "m"(d) : "memory");
}

static void enter(unsigned space) { wrcr3(cr3_of[space] | keep); }

static void make_code(uint8_t *p, uint8_t answer)
{
    const uint8_t is[] = { 0xb8, answer, 0, 0, 0, 0xc3 }; /* mov eax, answer; ret */

    memcpy(p, is, sizeof(is));
    memcpy(p + 64, is, sizeof(is)); /* once more: the page is known when it is called */
}

static void tables(void)
{
    int32_t far = (int32_t)((int64_t)va - (int64_t)(call_va + 5));

    for (unsigned i = 0; i < 512; i++) {
        pml4_b[i] = pml4[i];
        pdpt_b[i] = pdpt[i];
    }
    pml4_b[0] = (ul)pdpt_b | P | W | U;
    pdpt[va >> 30 & 511] = (ul)pd_a | P | W | U;
    pdpt_b[va >> 30 & 511] = (ul)pd_b | P | W | U;
    pd_a[va >> 21 & 511] = (ul)pt_a | P | W | U;
    pd_b[va >> 21 & 511] = (ul)pt_b | P | W | U;
    pd_a[call_va >> 21 & 511] = pd_b[call_va >> 21 & 511] = (ul)pt_call | P | W | U;
    make_code(code[0], 1);
    make_code(code[1], 2);
    caller[0] = 0xe9; /* jmp va: another page, and ret from there */
    memcpy(caller + 1, &far, 4);
    pt_call[0] = (ul)caller | P | W | G;
    pt_a[0] = (ul)code[0] | P | W;
    pt_b[0] = (ul)code[1] | P | W;
    for (unsigned i = 1; i < 512; i++) {
        pt_a[i] = (ul)data[0] | P | W;
        pt_b[i] = (ul)data[1] | P | W;
    }
    data[0][0] = 1;
    data[1][0] = 2;
    cr3_of[0] = (ul)pml4 | (pcid ? 1 : 0);
    cr3_of[1] = (ul)pml4_b | (pcid ? 2 : 0);
}

static ul call(ul at) { return ((ul(*)(void))at)() & 0xffffffff; }
static ul see(unsigned i) { return *(volatile uint64_t *)(va + 4096ul * i); }

static void look(ul at) { (void)*(volatile uint64_t *)at; }
static void run_code(ul at) { call(at); }

/* Enough changes for whatever is learned from them; n: pages that differ and are looked at each time. */
static void back_and_forth(unsigned times, unsigned n, const char *what)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < times; i++) {
        ul want = 1 + (i & 1);

        enter(i & 1);
        bad += call(call_va) != want;
        bad += call(va) != want;
        bad += call(va + 64) != want;
        for (unsigned k = 1; k <= n; k++)
            bad += see(k) != want;
    }
    expect(bad, 0, "%s: answers of the other address space", what);
    enter(0);
}

static void one_page(void)
{
    enter(0);
    pt_a[1] = (ul)data[1] | P | W;
    invlpg(va + 4096);
    expect(see(1), 2, "after invlpg");
    expect(see(2), 1, "its neighbour");
    pt_a[1] = (ul)data[0] | P | W;
    invlpg(va + 4096);
    expect(see(1), 1, "and back");
    pt_a[0] = (ul)code[1] | P | W;
    invlpg(va);
    expect(call(call_va), 2, "code of another page after invlpg");
    pt_a[0] = (ul)code[0] | P | W;
    invlpg(va);
    expect(call(call_va), 1, "and back");
    expect(call(va), 1, "called directly");
}

/* An instruction that begins in one page and ends in the next. */
static void two_pages(void)
{
    const ul at = va + 8 * 4096 - 1;

    enter(0);
    head[4095] = 0xb8; /* mov eax, .. */
    for (unsigned i = 0; i < 2; i++) {
        tail[i][0] = (uint8_t)(1 + i);
        tail[i][4] = 0xc3;
    }
    pt_a[7] = (ul)head | P | W;
    invlpg(va + 7 * 4096);
    for (unsigned i = 0; i < 4; i++) {
        pt_a[8] = (ul)tail[i & 1] | P | W;
        invlpg(va + 8 * 4096);
        expect(call(at), 1 + (i & 1), "the second page's part, time %u", i);
        expect(call(at), 1 + (i & 1), "and again");
    }
    pt_a[7] = pt_a[8] = (ul)data[0] | P | W;
    invlpg(va + 7 * 4096);
    invlpg(va + 8 * 4096);
}

static void tables_above(void)
{
    enter(0);
    expect(see(3), 1, "through the first table");
    pd_a[va >> 21 & 511] = (ul)pt_b | P | W | U;
    invlpg(va + 3 * 4096);
    expect(see(3), 2, "through another table after invlpg");
    expect(see(PAGES + 5), 2, "a page not seen before, through it"); /* paging-structure caches are of the PCID, not of the page */
    pd_a[va >> 21 & 511] = (ul)pt_a | P | W | U;
    wrcr3(cr3_of[0]);
    expect(see(3), 1, "through the first again");
    expect(see(PAGES + 6), 1, "a page not seen before, through the first");
    pd_a[va >> 21 & 511] = 0;
    wrcr3(cr3_of[0]);
    expect(attempt(run_code, va), PF, "no table");
    expect(trap_cr2, va, "its address");
    pd_a[va >> 21 & 511] = (ul)pt_a | P | W | U;
    expect(call(va), 1, "a table that was not there needs no flush");
}

static void by_pcid(void)
{
    keep = 1ul << 63;
    enter(1);
    expect(see(4), 2, "the second space");
    enter(0);
    pt_b[4] = (ul)data[0] | P | W;
    invpcid(0, 2, va + 4 * 4096);
    enter(1);
    expect(see(4), 1, "invpcid of one page of a space that is not current");
    enter(0);
    pt_b[4] = (ul)data[1] | P | W;
    pt_b[0] = (ul)code[0] | P | W;
    invpcid(1, 2, 0);
    enter(1);
    expect(see(4), 2, "invpcid of a space that is not current");
    expect(call(call_va), 1, "its code");
    enter(0);
    pt_b[0] = (ul)code[1] | P | W;
    invpcid(3, 0, 0);
    enter(1);
    expect(call(call_va), 2, "invpcid of all but global pages");
    enter(0);
}

static void global(void)
{
    wrcr4(rdcr4() | CR4_PGE);
    pt_a[5] = pt_b[5] = (ul)data[0] | P | W | G;
    enter(0);
    invlpg(va + 5 * 4096);
    expect(see(5), 1, "a global page");
    enter(1);
    expect(see(5), 1, "in the other space");
    pt_a[5] = pt_b[5] = (ul)data[1] | P | W | G;
    invlpg(va + 5 * 4096);
    expect(see(5), 2, "after invlpg in one");
    enter(0);
    expect(see(5), 2, "and in the other");
    pt_a[5] = pt_b[5] = (ul)data[0] | P | W | G;
    wrcr4(rdcr4() & ~(ul)CR4_PGE);
    expect(see(5), 1, "toggling PGE");
    enter(1);
    expect(see(5), 1, "flushes all spaces");
    wrcr4(rdcr4() | CR4_PGE);
    pt_a[5] = (ul)data[0] | P | W;
    pt_b[5] = (ul)data[1] | P | W;
    enter(0);
    invlpg(va + 5 * 4096);
}

static void store(ul at) { *(volatile uint64_t *)at = 1; }
static void pkru(uint32_t v) { __asm__ volatile("wrpkru" ::"a"(v), "c"(0), "d"(0)); }

static void keys(void)
{
    if (!feature(7, 2, 3))
        return;
    wrcr0(rdcr0() | 1 << 16); /* WP */
    wrcr4(rdcr4() | CR4_PKE);
    pkru(0);
    pt_a[6] = (ul)data[0] | P | W | U | 3ul << 59;
    enter(0);
    invlpg(va + 6 * 4096);
    expect(attempt(store, va + 6 * 4096), NO_TRAP, "a store through an open key");
    pkru(1 << 8);
    expect(attempt(store, va + 6 * 4096), NO_TRAP, "another key is closed");
    pkru(2 << 6);
    expect(attempt(store, va + 6 * 4096), PF, "this one is closed for writes");
    expect(see(6), 1, "and open for reads");
    pkru(1 << 6);
    expect(attempt(look, va + 6 * 4096), PF, "closed for reads");
    pkru(0);
    expect(attempt(store, va + 6 * 4096), NO_TRAP, "open again");
    wrcr4(rdcr4() & ~(ul)CR4_PKE);
}

int main(void)
{
    pcid = feature(1, 2, 17) && feature(7, 1, 10);
    tables();
    back_and_forth(600, 3, "CR3 loads that flush");
    one_page();
    two_pages();
    tables_above();
    keys();
    if (feature(1, 3, 13))
        wrcr4(rdcr4() | CR4_PGE);
    back_and_forth(600, 3, "the same with global pages");
    if (pcid) {
        wrcr3((ul)pml4);
        wrcr4(rdcr4() | CR4_PCIDE);
        keep = 1ul << 63;
        back_and_forth(600, 3, "CR3 loads that keep");
        back_and_forth(600, PAGES, "many pages that differ");
        back_and_forth(9000, 2, "and few again");
        by_pcid();
        global();
        back_and_forth(600, 3, "after all that");
    }
    finish();
}
