/*
 * paging.c - long-mode page tables: every combination of the rights bits against what the manual says (Intel SDM
 * vol. 3A 4.6 and 4.7, 5.4 of the AMD APM vol. 2), for each kind of access and both privileges; A and D bits; reserved
 * bits; large pages; protection keys; stale translations. Built twice: with four and with five levels.
 */
#include "k.h"

enum { P = 1, W = 2, U = 4, A = 32, D = 64, PS = 128, G = 256 };
#define NX (1ull << 63)
enum { CR0_WP = 1 << 16, CR4_PGE = 128, CR4_LA57 = 4096, CR4_SMEP = 1 << 20, CR4_SMAP = 1 << 21, CR4_PKE = 1 << 22 };
enum { E_P = 1, E_W = 2, E_U = 4, E_R = 8, E_X = 16, E_K = 32 };
enum { READ, WRITE, EXEC };
static const ul va = 0x4000000000 + 0x40201000; /* indices 0, 256, 257, 1, 1: our own tables below PML4 entry 0 */
extern uint64_t pdpt[512], pd[512];
static uint64_t t_pd[512] __attribute__((aligned(4096))), t_pt[512] __attribute__((aligned(4096)));
static uint8_t page[2][4096] __attribute__((aligned(4096)));
static bool smep, smap, pku, sparse;

static uint64_t *pdpte(void) { return &pdpt[va >> 30 & 511]; }
static uint64_t *pde(void) { return &t_pd[va >> 21 & 511]; }
static uint64_t *pte(void) { return &t_pt[va >> 12 & 511]; }

static void touch_read(ul a) { (void)*(volatile uint8_t *)a; }
static void touch_write(ul a) { *(volatile uint8_t *)a = 0xc3; }
static void touch_exec(ul a) { ((void (*)(void))a)(); }
USER static void user_read(ul a) { (void)*(volatile uint8_t *)a; }
USER static void user_write(ul a) { *(volatile uint8_t *)a = 0xc3; }
USER static void user_exec(ul a) { ((void (*)(void))a)(); }
static void (*const touch[2][3])(ul) = { { touch_read, touch_write, touch_exec }, { user_read, user_write, user_exec } };

/* Leaf rights bits that come out of a walk. */
typedef struct Case {
    uint64_t upper, leaf;
    unsigned kind, pkru;
    bool user, wp, sm_ep, sm_ap, ac;
} Case;

/* The page fault's error code, or -1: no fault. */
static int predict(const Case *c)
{
    uint64_t both = c->upper & c->leaf, nx = (c->upper | c->leaf) & NX;
    unsigned key = c->leaf >> 59 & 15, k = c->pkru >> (2 * key) & 3;
    int code = (c->kind == WRITE ? E_W : 0) | (c->user ? E_U : 0) | (c->kind == EXEC ? E_X : 0);
    bool u = both & U, w = both & W;

    if (!(c->upper & P) || !(c->leaf & P))
        return code;
    bool closed = c->kind != EXEC && u && pku && (k & 1 || (k & 2 && c->kind == WRITE && (c->user || c->wp)));

    code |= E_P | (closed ? E_K : 0); /* SDM 4.7: PK is set whatever else forbids the access */
    if (c->user && !u)
        return code;
    if (c->kind == EXEC)
        return nx || (!c->user && u && c->sm_ep) ? code : -1;
    if (!c->user && u && c->sm_ap && !c->ac)
        return code;
    if (c->kind == WRITE && !w && (c->user || c->wp))
        return code;
    return closed ? code : -1;
}

static void set_controls(const Case *c)
{
    wrcr0((rdcr0() & ~(ul)CR0_WP) | (c->wp ? CR0_WP : 0));
    wrcr4((rdcr4() & ~(ul)(CR4_SMEP | CR4_SMAP)) | (c->sm_ep ? CR4_SMEP : 0) | (c->sm_ap ? CR4_SMAP : 0));
    if (pku)
        __asm__ volatile("wrpkru" ::"a"(c->pkru), "c"(0), "d"(0));
}

static void run(const Case *c)
{
    int want = predict(c), v, got;
    bool d, a;

    *pde() = (ul)t_pt | c->upper;
    *pte() = (ul)page[0] | c->leaf;
    invlpg(va);
    set_controls(c);
    setflags(c->ac ? 2 | F_AC : 2);
    v = c->user ? user_at((ul)touch[1][c->kind], va, UCODE64, 2) : attempt(touch[0][c->kind], va);
    setflags(2);
    got = v == PF ? (int)trap.error : v == NO_TRAP || v == USER_DONE ? -1 : -100 - v;
    expect(got, want, "kind %u user %d upper %lx leaf %lx wp %d smep %d smap %d ac %d pkru %x", c->kind, c->user, (ul)c->upper, (ul)c->leaf,
           c->wp, c->sm_ep, c->sm_ap, c->ac, c->pkru);
    if (v == PF)
        expect(trap_cr2, va, "cr2");
    d = *pte() & D;
    a = *pte() & A && *pde() & A;
    if (want < 0)
        check(a && d == (c->kind == WRITE), "A and D after kind %u: %lx %lx", c->kind, (ul)*pde(), (ul)*pte());
    else
        check(!d, "D without a write");
}

static void rights(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < 16 * 16 * 3 * 2 * 2 * 2 * 2 * 2; i++) {
        Case c = { .kind = i / 256 % 3, .user = i / 768 & 1, .wp = i / 1536 & 1, .sm_ep = i / 3072 & 1, .sm_ap = i / 6144 & 1, .ac = i / 12288 & 1 };

        c.upper = (i & 7) | (i & 8 ? NX : 0);
        c.leaf = (i >> 4 & 7) | (i >> 4 & 8 ? NX : 0);
        if ((c.sm_ep && !smep) || (c.sm_ap && !smap) || (c.ac && c.user) || (sparse && n++ % 13))
            continue;
        run(&c);
    }
}

static void keys(void)
{
    if (!feature(7, 2, 3)) {
        say("no protection keys\n");
        return;
    }
    pd[2] |= 1ull << 59; /* ring 3's code and stack: a key that is never closed */
    pd[3] |= 1ull << 59;
    wrcr4(rdcr4() | CR4_PKE);
    pku = true;
    check(feature(7, 2, 4), "OSPKE");
    for (unsigned i = 0; i < 2 * 2 * 2 * 4 * 3 * 2 * 2; i++) {
        Case c = { .upper = P | W | U, .kind = i / 32 % 3, .user = i / 96 & 1, .wp = i / 192 & 1, .pkru = (i / 8 & 3) << (i & 4 ? 10 : 0) };

        c.leaf = P | (i & 1 ? W : 0) | (i & 2 ? U : 0) | (i & 4 ? 5ull << 59 : 0);
        run(&c);
    }
    Case c = { .upper = P | W | U, .leaf = P | W | U | 3ull << 59, .wp = true };

    run(&c);
    c.pkru = 1 << 6;
    __asm__ volatile("wrpkru" ::"a"(c.pkru), "c"(0), "d"(0)); /* the TLB has the page: the key counts all the same */
    expect(attempt(touch_read, va), PF, "a key is looked at without a flush");
    expect(trap.error, E_P | E_K, "its error code");
    __asm__ volatile("wrpkru" ::"a"(0), "c"(0), "d"(0));
    pku = false;
    wrcr4(rdcr4() & ~(ul)CR4_PKE);
}

static void plain(void) { Case c = { .wp = true }; set_controls(&c); }

static int try(unsigned kind) { invlpg(va); return attempt(touch[0][kind], va) == PF ? (int)trap.error : -1; }

static void reserved(void)
{
    uint64_t top = 1ull << 51;

    plain();
    *pde() = (ul)t_pt | P | W;
    *pte() = (ul)page[0] | P | W | top;
    expect(try(READ), E_P | E_R, "reserved bit in a PTE");
    expect(try(WRITE), E_P | E_R | E_W, "and a write");
    *pte() = (ul)page[0] | top;
    expect(try(READ), 0, "not present comes before reserved");
    *pte() = (ul)page[0] | P | W;
    *pde() |= top;
    expect(try(READ), E_P | E_R, "reserved bit in a PDE");
    *pde() = (ul)t_pt | P | W;
    *pdpte() |= top;
    expect(try(READ), E_P | E_R, "reserved bit in a PDPTE");
    *pdpte() &= ~top;
    *pde() = 0x2000 | PS | P | W; /* address bits 13..20 of a 2 MiB page */
    expect(try(READ), E_P | E_R, "2 MiB page at an odd address");
    *pde() = (ul)t_pt | P | W;
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~0x800ull);
    *pte() = (ul)page[0] | P | W | NX;
    expect(try(READ), E_P | E_R, "NX is reserved without EFER.NXE");
    *pte() = (ul)page[0];
    expect(try(EXEC), feature(7, 1, 7) && rdcr4() & CR4_SMEP ? E_X : 0, "no I bit without NXE and SMEP");
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 0x800);
    *pte() = (ul)page[0] | P | W;
    expect(try(READ), -1, "and good again");
}

static void large(void)
{
    uint64_t old = *pdpte();

    plain();
    *(volatile uint32_t *)0x800000 = 0x11111111;
    *(volatile uint32_t *)0x801000 = 0x22222222;
    *pde() = 0x800000 | PS | P | W;
    invlpg(va);
    expect(*(volatile uint32_t *)va, 0x22222222, "2 MiB page");
    *(volatile uint32_t *)va = 0x33333333;
    expect(*(volatile uint32_t *)0x801000, 0x33333333, "written through it");
    check(*pde() & A && *pde() & D, "A and D of a 2 MiB page");
    if (feature(0x80000001, 3, 26)) {
        *(volatile uint32_t *)0x201000 = 0x44444444; /* va's offset in its GiB */
        *pdpte() = PS | P | W;
        invlpg(va);
        expect(*(volatile uint32_t *)va, 0x44444444, "1 GiB page");
        *pdpte() = PS | P | W | 0x2000;
        expect(try(READ), E_P | E_R, "1 GiB page at an odd address");
    }
    *pdpte() = old;
    *pde() = (ul)t_pt | P | W;
}

static void stale(void)
{
    volatile uint32_t *p = (volatile uint32_t *)va;

    plain();
    *(volatile uint32_t *)page[0] = 1;
    *(volatile uint32_t *)page[1] = 2;
    *pte() = (ul)page[0] | P | W;
    invlpg(va);
    expect(*p, 1, "before the change");
    *pte() = (ul)page[1] | P | W;
    invlpg(va);
    expect(*p, 2, "after invlpg");
    *pte() = (ul)page[0] | P | W;
    wrcr3(rdcr3());
    expect(*p, 1, "after a CR3 load");
    wrcr4(rdcr4() | CR4_PGE);
    *pte() = (ul)page[0] | P | W | G;
    invlpg(va);
    expect(*p, 1, "global");
    *pte() = (ul)page[1] | P | W | G;
    wrcr4(rdcr4() & ~(ul)CR4_PGE);
    expect(*p, 2, "toggling PGE flushes global pages");
    *pte() = (ul)page[0] | P;
    invlpg(va);
    expect(*p, 1, "read-only");
    expect(attempt(touch_write, va), PF, "write to it");
    *pte() = (ul)page[0] | P | W; /* more rights: no flush is needed after the fault */
    expect(attempt(touch_write, va), NO_TRAP, "write after the rights were raised");
    *pte() &= ~(uint64_t)(A | D);
    invlpg(va);
    (void)*p;
    check(*pte() & A && !(*pte() & D), "a read sets A");
    *p = 5;
    check(*pte() & D, "the first write sets D");
}

static void canonical(void)
{
    ul hole = rdcr4() & CR4_LA57 ? 1ul << 56 : 1ul << 47;

    expect(attempt(touch_read, hole), GP, "read where no address is");
    expect(trap.error, 0, "its error code");
    expect(attempt(touch_exec, hole), GP, "call there");
    expect(attempt(touch_read, hole - 8), PF, "the last good address of the low half");
    expect(attempt(touch_read, -hole), PF, "the first of the high half");
    expect(attempt(touch_read, -1ul), PF, "the last byte");
    expect(attempt(invlpg, hole), NO_TRAP, "invlpg takes any address");
}

int main(void)
{
    sparse = option("sparse");
    smep = feature(7, 1, 7);
    smap = feature(7, 1, 20);
    page[0][0] = page[1][0] = 0xc3;
    *pdpte() = (ul)t_pd | P | W | U;
    rights();
    keys();
    reserved();
    large();
    stale();
    canonical();
    return 0;
}
