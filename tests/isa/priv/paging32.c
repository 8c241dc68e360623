/*
 * paging32.c - page tables of 32-bit mode: two levels with 4 MiB pages and PSE-36, PAE with NX; every combination of
 * rights. Intel SDM vol. 3A 4.3 and 4.4.
 */
#include "k.h"

enum { P = 1, W = 2, U = 4, A = 32, D = 64, PS = 128 };
#define NX (1ull << 63)
enum { READ, WRITE, EXEC };
enum { VA = 0x10403000 };
static uint32_t dir[1024] __attribute__((aligned(4096))), table[1024] __attribute__((aligned(4096)));
static uint64_t pdpt[4] __attribute__((aligned(32))), pd[512] __attribute__((aligned(4096))), pt[512] __attribute__((aligned(4096)));
static uint8_t page[4096] __attribute__((aligned(4096)));
static bool pae;

static void touch_read(ul a) { (void)*(volatile uint8_t *)a; }
static void touch_write(ul a) { *(volatile uint8_t *)a = 0xc3; }
static void touch_exec(ul a) { ((void (*)(void))a)(); }
USER static void user_read(ul a) { (void)*(volatile uint8_t *)a; }
USER static void user_write(ul a) { *(volatile uint8_t *)a = 0xc3; }
USER static void user_exec(ul a) { ((void (*)(void))a)(); }
static void (*const touch[2][3])(ul) = { { touch_read, touch_write, touch_exec }, { user_read, user_write, user_exec } };

static void set(uint64_t upper, uint64_t leaf)
{
    if (pae) {
        pd[VA >> 21 & 511] = (ul)pt | upper;
        pt[VA >> 12 & 511] = (ul)page | leaf;
    } else {
        dir[VA >> 22] = (ul)table | (uint32_t)upper;
        table[VA >> 12 & 1023] = (ul)page | (uint32_t)leaf;
    }
    invlpg(VA);
}

static unsigned leaf_ad(void) { return (pae ? (unsigned)pt[VA >> 12 & 511] : table[VA >> 12 & 1023]) & (A | D); }

static int predict(uint64_t upper, uint64_t leaf, unsigned kind, bool user, bool wp)
{
    uint64_t both = upper & leaf, nx = (upper | leaf) & NX;
    int code = (kind == WRITE ? 2 : 0) | (user ? 4 : 0) | (kind == EXEC && pae ? 16 : 0);

    if (!(both & P))
        return code;
    code |= 1;
    if ((user && !(both & U)) || (kind == EXEC && nx) || (kind == WRITE && !(both & W) && (user || wp)))
        return code;
    return -1;
}

static void rights(void)
{
    for (unsigned i = 0; i < 16 * 16 * 3 * 4; i++) {
        uint64_t upper = (i & 7) | (i & 8 ? NX : 0), leaf = (i >> 4 & 7) | (i >> 4 & 8 ? NX : 0);
        unsigned kind = i / 256 % 3;
        bool user = i / 768 & 1, wp = i / 1536 & 1;
        int v, want;

        if (!pae && (upper | leaf) & NX)
            continue;
        set(upper, leaf);
        wrcr0((rdcr0() & ~0x10000ul) | (wp ? 0x10000 : 0));
        v = user ? user_at((ul)touch[1][kind], VA, UCODE32, 2) : attempt(touch[0][kind], VA);
        want = predict(upper, leaf, kind, user, wp);
        expect(v == PF ? (int)trap.error : v == NO_TRAP || v == USER_DONE ? -1 : -100 - v, want, "pae %d kind %u user %d wp %d upper %x leaf %x nx %d %d",
               pae, kind, user, wp, (unsigned)upper & 7, (unsigned)leaf & 7, !!(upper & NX), !!(leaf & NX));
        if (want < 0)
            check(leaf_ad() == (kind == WRITE ? A | D : A), "A and D: %x", leaf_ad());
        else
            check(!(leaf_ad() & D), "no D: %x", leaf_ad());
    }
}

static int try_read(void) { invlpg(VA); return attempt(touch_read, VA) == PF ? (int)trap.error : -1; }

static void two_levels(void)
{
    for (unsigned i = 0; i < 1024; i++)
        dir[i] = i << 22 | P | W | PS | (i == 1 ? U : 0);
    wrcr4(rdcr4() | 16);
    wrcr3((ul)dir);
    wrcr0(rdcr0() | 0x80000000);
    rights();
    *(volatile uint32_t *)0x803000 = 0x12345678;
    dir[VA >> 22] = 0x800000 | P | W | PS; /* 4 MiB: the offset is that of VA */
    invlpg(VA);
    expect(*(volatile uint32_t *)VA, 0x12345678, "a 4 MiB page");
    check(dir[VA >> 22] & A, "sets A");
    *(volatile uint32_t *)VA = 5;
    check(dir[VA >> 22] & D, "sets D");
    *(volatile uint32_t *)0xa03000 = 0x9abcdef0;
    *(volatile uint32_t *)0xe03000 = 0x0fedcba9;
    expect(*(volatile uint32_t *)(VA + 0x200000), 0x9abcdef0, "its other half");
    dir[VA >> 22] = 0xc00000 | P | W | PS;
    invlpg(VA);
    expect(*(volatile uint32_t *)(VA + 0x200000), 0x0fedcba9, "INVLPG is for all of the page");
    dir[VA >> 22] = 0x800000 | P | W | PS;
    invlpg(VA + 0x200000);
    expect(*(volatile uint32_t *)VA, 5, "wherever in it the address is");
    dir[VA >> 22] |= 1u << 21;
    expect(try_read(), 9, "bit 21 is reserved");
    dir[VA >> 22] = 0x800000 | P | W | PS | 1u << 13; /* PSE-36: 4 GiB + 8 MiB, where no RAM is */
    invlpg(VA);
    check(*(volatile uint32_t *)VA != 5, "PSE-36: bit 32 of the address");
}

static void three_levels(void)
{
    wrcr0(rdcr0() & ~0x80000000ul);
    pae = true;
    for (unsigned i = 0; i < 512; i++)
        pd[i] = (uint64_t)i << 21 | P | W | PS | (i == 2 || i == 3 ? U : 0);
    for (unsigned i = 0; i < 4; i++)
        pdpt[i] = (ul)pd | P;
    wrcr4((rdcr4() & ~16ul) | 32);
    wrmsr(MSR_EFER, 0x800);
    wrcr3((ul)pdpt);
    wrcr0(rdcr0() | 0x80000000);
    rights();
    set(P | W, P | W);
    pt[VA >> 12 & 511] |= 1ull << 52;
    expect(try_read(), 9, "PAE: bit 52 is reserved");
    pt[VA >> 12 & 511] = (ul)page | P;
    pd[VA >> 21 & 511] = 0x800000 | P | W | PS | 1 << 13;
    expect(try_read(), 9, "PAE: a 2 MiB page at an odd address");
    pdpt[0] = 0;
    expect(try_read(), 9, "PAE: PDPTEs are read with CR3 only");
    pdpt[0] = (ul)pd | P;
    set(P | W, P | W);
    pdpt[3] = 1 << 1 | (ul)pd | P;
    expect(attempt(wrcr3, (ul)pdpt), GP, "PAE: a reserved bit in a PDPTE");
    pdpt[3] = 0;
    wrcr3((ul)pdpt);
    expect(attempt(touch_read, 0xc0000000), PF, "PAE: an absent PDPTE");
    expect(trap.error, 0, "PAE: its error code");
}

int main(void)
{
    page[0] = 0xc3;
    two_levels();
    three_levels();
    return 0;
}
