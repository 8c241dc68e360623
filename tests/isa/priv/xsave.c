/*
 * xsave.c - XSAVE and its family, XCR0, FXSAVE, MXCSR, and what makes them fault. Intel SDM vol. 1 chapter 13.
 */
#include "k.h"

static uint8_t a[1088] __attribute__((aligned(64))), b[1088] __attribute__((aligned(64)));
enum { CR4_OSXSAVE = 1 << 18 };

static uint64_t u64(const void *p) { return *(const volatile uint64_t *)p; }
static void xsetbv0(ul v) { __asm__ volatile("xsetbv" ::"c"(0), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))); }
static void xsetbv_n(ul n) { __asm__ volatile("xsetbv" ::"c"((uint32_t)n), "a"(3), "d"(0)); }
static void xgetbv_n(ul n) { __asm__ volatile("xgetbv" ::"c"((uint32_t)n) : "eax", "edx"); }
static uint32_t xgetbv(uint32_t n) { uint32_t v, d; __asm__ volatile("xgetbv" : "=a"(v), "=d"(d) : "c"(n)); return v; }
static void xsave(ul p) { __asm__ volatile("xsave64 (%0)" ::"r"(p), "a"(-1), "d"(-1) : "memory"); }
static void xrstor(ul p) { __asm__ volatile("xrstor64 (%0)" ::"r"(p), "a"(-1), "d"(-1) : "memory"); }
static void xsaveopt(ul p) { __asm__ volatile("xsaveopt64 (%0)" ::"r"(p), "a"(-1), "d"(-1) : "memory"); }
static void xsavec(ul p) { __asm__ volatile("xsavec64 (%0)" ::"r"(p), "a"(-1), "d"(-1) : "memory"); }
static void xsaves(ul p) { __asm__ volatile("xsaves64 (%0)" ::"r"(p), "a"(-1), "d"(-1) : "memory"); }
static void xrstors(ul p) { __asm__ volatile("xrstors64 (%0)" ::"r"(p), "a"(-1), "d"(-1) : "memory"); }
static void set_xmm0(uint64_t v) { __asm__ volatile("movq %0, %%xmm0" ::"r"(v)); } 
static uint64_t get_xmm0(void) { uint64_t v; __asm__ volatile("movq %%xmm0, %0" : "=r"(v)); return v; }
static void set_mxcsr(uint32_t v) { __asm__ volatile("ldmxcsr %0" ::"m"(v)); }
static uint32_t get_mxcsr(void) { uint32_t v; __asm__ volatile("stmxcsr %0" : "=m"(v)); return v; }

USER static void user_xgetbv(ul n) { __asm__ volatile("xgetbv" ::"c"((uint32_t)n) : "eax", "edx"); }
USER static void user_xsetbv(ul n) { __asm__ volatile("xsetbv" ::"c"((uint32_t)n), "a"(3), "d"(0)); }
USER static void user_xsaves(ul p) { __asm__ volatile("xsaves64 (%0)" ::"r"(p), "a"(-1), "d"(-1) : "memory"); }

static void control(void)
{
    uint32_t r[4];

    check(!feature(1, 2, 27), "OSXSAVE is clear first");
    expect(attempt(xgetbv_n, 0), UD, "XGETBV without OSXSAVE");
    expect(attempt(xsetbv_n, 0), UD, "XSETBV without OSXSAVE");
    expect(attempt(xsave, (ul)a), UD, "XSAVE without OSXSAVE");
    wrcr4(rdcr4() | CR4_OSXSAVE);
    check(feature(1, 2, 27), "CPUID shows OSXSAVE");
    expect(xgetbv(0), 1, "XCR0 at reset");
    expect(attempt(xsetbv0, 0), GP, "XCR0 without x87");
    expect(attempt(xsetbv0, 5), GP, "YMM without SSE");
    expect(attempt(xsetbv0, 1ul << 40 | 3), GP, "an unknown component");
    expect(attempt(xsetbv_n, 1), GP, "XCR1");
    expect(attempt(xsetbv0, 3), NO_TRAP, "x87 and SSE");
    expect(xgetbv(0), 3, "XCR0 reads back");
    expect(user(user_xgetbv, 0), NO_TRAP, "XGETBV at ring 3");
    expect(user(user_xsetbv, 0), GP, "XSETBV at ring 3");
    cpuid(0xd, 0, r);
    expect(r[1], 576, "CPUID.D: size of what is enabled");
    check(r[2] >= r[1] && (r[0] & 3) == 3, "CPUID.D: components");
}

static void fill(uint8_t *p, uint8_t v) { memset(p, v, 1088); }

static void standard(void)
{
    __asm__ volatile("fninit");
    set_mxcsr(0x1fa0);
    set_xmm0(0x1122334455667788);
    fill(a, 0);
    fill(a + 576, 0xee);
    expect(attempt(xsave, (ul)a + 8), GP, "XSAVE at 8 of 64");
    xsave((ul)a);
    check(u64(a + 512) & 2, "XSTATE_BV has SSE: %lx", (ul)u64(a + 512));
    check(u64(a + 160) == 0x1122334455667788, "XMM0 is in it");
    expect(*(uint32_t *)(a + 24), 0x1fa0, "MXCSR is in it");
    expect(u64(a + 520), 0, "XCOMP_BV of the standard form");
    expect(a[576], 0xee, "nothing behind");
    set_xmm0(0);
    set_mxcsr(0x1f80);
    xrstor((ul)a);
    expect(get_xmm0(), 0x1122334455667788, "XRSTOR: XMM0");
    expect(get_mxcsr(), 0x1fa0, "XRSTOR: MXCSR");
    *(uint64_t *)(a + 512) = 0; /* both in their first state */
    set_xmm0(5);
    xrstor((ul)a);
    expect(get_xmm0(), 0, "XRSTOR of a component not in XSTATE_BV clears it");
    *(uint64_t *)(a + 512) = 4;
    expect(attempt(xrstor, (ul)a), GP, "XSTATE_BV with more than XCR0");
    *(uint64_t *)(a + 512) = 3;
    *(uint64_t *)(a + 528) = 1;
    expect(attempt(xrstor, (ul)a), GP, "reserved bytes of the header");
    *(uint64_t *)(a + 528) = 0;
    *(uint32_t *)(a + 24) = 0x10000000;
    expect(attempt(xrstor, (ul)a), GP, "a bad MXCSR");
    *(uint32_t *)(a + 24) = 0x1f80;
    wrcr0(rdcr0() | 8);
    expect(attempt(xsave, (ul)a), NM, "XSAVE with TS");
    wrcr0(rdcr0() & ~8ul);
}

static void compact(void)
{
    if (feature(0xd, 0, 0)) {
        uint32_t r[4];

        cpuid(0xd, 1, r);
        if (r[0] & 1) {
            set_xmm0(9);
            fill(b, 0);
            xsaveopt((ul)b);
            expect(u64(b + 160), 9, "XSAVEOPT");
        }
        if (r[0] & 2) {
            fill(b, 0);
            __asm__ volatile("fninit");
            xsavec((ul)b);
            check(u64(b + 520) == (1ul << 63 | 3), "XSAVEC: XCOMP_BV %lx", (ul)u64(b + 520));
            check(u64(b + 512) & 2 && u64(b + 160) == 9, "XSAVEC: SSE is in it");
            set_xmm0(0);
            xrstor((ul)b);
            expect(get_xmm0(), 9, "XRSTOR of the compacted form");
            *(uint64_t *)(b + 512) = 2;
            *(uint64_t *)(b + 520) = 1ul << 63 | 1;
            expect(attempt(xrstor, (ul)b), GP, "XSTATE_BV outside XCOMP_BV");
        }
        if (r[0] & 4)
            check((xgetbv(1) & 2) == 2, "XGETBV(1): SSE is in use");
        else
            expect(attempt(xgetbv_n, 1), GP, "XGETBV(1) is not there");
        if (r[0] & 8) {
            fill(b, 0);
            xsaves((ul)b);
            expect(u64(b + 520) >> 63, 1, "XSAVES is compacted");
            set_xmm0(1);
            xrstors((ul)b);
            expect(get_xmm0(), 9, "XRSTORS");
            *(uint64_t *)(b + 520) = 0;
            expect(attempt(xrstors, (ul)b), GP, "XRSTORS of the standard form");
            expect(user(user_xsaves, 0x600000), GP, "XSAVES at ring 3");
            expect(rdmsr(0xda0), 0, "IA32_XSS");
        }
    }
    expect(attempt(xgetbv_n, 2), GP, "XGETBV(2)");
}

/* ---- component 2: the upper halves of the YMM registers */
static void set_ymm0(const uint8_t *p) { __asm__ volatile("vmovdqu (%0), %%ymm0" ::"r"(p)); }
static void get_ymm0(uint8_t *p) { __asm__ volatile("vmovdqu %%ymm0, (%0)" ::"r"(p) : "memory"); }
static void any_avx(ul n) { __asm__ volatile("vxorps %%xmm1, %%xmm1, %%xmm1" ::"r"(n)); }
static void andn(ul n) { __asm__ volatile("andn %0, %0, %0" : "+r"(n)); }
static void xsave_part(ul p, uint32_t parts) { __asm__ volatile("xsave64 (%0)" ::"r"(p), "a"(parts), "d"(0) : "memory"); }
static void xrstor_part(ul p, uint32_t parts) { __asm__ volatile("xrstor64 (%0)" ::"r"(p), "a"(parts), "d"(0) : "memory"); }
USER static void user_avx(ul n) { __asm__ volatile("vxorps %%ymm1, %%ymm1, %%ymm1" ::"r"(n)); }
static uint8_t v[64], w[64];

static void switched_off(void)
{
    expect(attempt(xsetbv0, 3), NO_TRAP, "XCR0 without AVX");
    expect(attempt(any_avx, 0), UD, "AVX with XCR0 3");
    expect(user(user_avx, 0), UD, "AVX with XCR0 3 at ring 3");
    if (feature(7, 1, 3))
        expect(attempt(andn, 0), NO_TRAP, "BMI needs no XCR0");
    wrcr4(rdcr4() & ~(ul)CR4_OSXSAVE);
    expect(attempt(any_avx, 0), UD, "AVX without OSXSAVE");
    wrcr4(rdcr4() | CR4_OSXSAVE);
    expect(attempt(xsetbv0, 7), NO_TRAP, "XCR0 with AVX");
    expect(attempt(any_avx, 0), NO_TRAP, "AVX with XCR0 7");
    expect(user(user_avx, 0), NO_TRAP, "AVX at ring 3");
    wrcr0(rdcr0() | 8);
    expect(attempt(any_avx, 0), NM, "AVX with TS");
    wrcr0(rdcr0() & ~8ul);
    wrcr0(rdcr0() | 4); /* EM is legacy SSE's */
    expect(attempt(any_avx, 0), NO_TRAP, "AVX with EM");
    wrcr0(rdcr0() & ~4ul);
}

#define BYTES(name, ...) static void name(ul n) { __asm__ volatile(".byte " #__VA_ARGS__ ::"a"(n)); }
BYTES(good, 0xc4, 0xe1, 0x78, 0x28, 0xc0)          /* vmovaps xmm0, xmm0 */
BYTES(map_0, 0xc4, 0xe0, 0x78, 0x28, 0xc0)
BYTES(map_4, 0xc4, 0xe4, 0x78, 0x28, 0xc0)
BYTES(map_31, 0xc4, 0xff, 0x78, 0x28, 0xc0)
BYTES(vvvv, 0xc4, 0xe1, 0x70, 0x28, 0xc0)
BYTES(after_66, 0x66, 0xc4, 0xe1, 0x78, 0x28, 0xc0)
BYTES(after_f3, 0xf3, 0xc5, 0xf8, 0x28, 0xc0)
BYTES(after_rex, 0x48, 0xc5, 0xf8, 0x28, 0xc0)
BYTES(after_lock, 0xf0, 0xc5, 0xf8, 0x28, 0xc0)
BYTES(wide_only, 0xc4, 0xe3, 0x79, 0x06, 0xc0, 0)   /* vperm2f128 with L 0 */
BYTES(narrow_only, 0xc4, 0xe2, 0x7d, 0x41, 0xc0)    /* vphminposuw with L 1 */
BYTES(no_opcode, 0xc5, 0xf8, 0x27, 0xc0)
BYTES(same_twice, 0xc4, 0xe2, 0x71, 0x92, 0x04, 0x08) /* vgatherdps: index and mask are xmm1 */

static void reserved(void)
{
    static const struct { void (*fn)(ul); const char *what; } c[] = {
        { map_0, "VEX map 0" }, { map_4, "VEX map 4" }, { map_31, "VEX map 31" }, { vvvv, "VEX.vvvv of two operands" },
        { after_66, "VEX after 66" }, { after_f3, "VEX after F3" }, { after_rex, "VEX after REX" }, { after_lock, "VEX after LOCK" },
        { wide_only, "VPERM2F128 with L 0" }, { narrow_only, "VPHMINPOSUW with L 1" }, { no_opcode, "VEX 0F 27" },
        { same_twice, "a gather with its mask as index" },
    };

    expect(attempt(good, 0), NO_TRAP, "VMOVAPS");
    for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++)
        expect(attempt(c[i].fn, 0), UD, c[i].what);
}

static void upper_halves(void)
{
    for (unsigned i = 0; i < 32; i++)
        v[i] = (uint8_t)(i + 1);
    set_ymm0(v);
    fill(a, 0);
    xsave((ul)a);
    expect(u64(a + 512) & 6, 6, "XSTATE_BV: both halves in use");
    check(u64(a + 160) == u64(v) && u64(a + 576) == u64(v + 16), "YMM0 is in the area");
    set_ymm0(w);
    xrstor((ul)a);
    get_ymm0(b);
    check(u64(b + 16) == u64(v + 16) && u64(b) == u64(v), "XRSTOR: YMM0");
    *(uint64_t *)(a + 512) &= ~4ul;
    xrstor((ul)a);
    get_ymm0(b);
    check(u64(b + 16) == 0 && u64(b) == u64(v), "XRSTOR with the upper halves in their first state");
    set_ymm0(v);
    fill(a, 0);
    xsave_part((ul)a, 4);
    check(u64(a + 576) == u64(v + 16) && u64(a + 160) == 0 && u64(a + 512) == 4, "XSAVE of the upper halves alone");
    set_xmm0(7); /* legacy: keeps them */
    xrstor_part((ul)a, 4);
    get_ymm0(b);
    check(u64(b) == 7 && u64(b + 16) == u64(v + 16), "XRSTOR of the upper halves alone");
    __asm__ volatile("vmovq %0, %%xmm0" ::"r"(9ul)); /* VEX.128: zeros above */
    get_ymm0(b);
    check(u64(b) == 9 && u64(b + 16) == 0, "VEX.128 zeroes the upper half");
    set_ymm0(v);
    __asm__ volatile("vzeroupper");
    get_ymm0(b);
    check(u64(b) == u64(v) && u64(b + 16) == 0, "VZEROUPPER");
}

static void in_use(void)
{
    uint32_t r[4];

    cpuid(0xd, 1, r);
    __asm__ volatile("vzeroall");
    if (r[0] & 4)
        expect(xgetbv(1) & 6, 0, "XGETBV(1) after VZEROALL");
    set_ymm0(v);
    __asm__ volatile("xorps %xmm0, %xmm0"); /* only the upper half has something in it */
    if (r[0] & 4)
        expect(xgetbv(1) & 6, 4, "XGETBV(1): the upper halves alone");
    if (!(r[0] & 2))
        return;
    set_mxcsr(0x1f80); /* else SSE is in use for XSAVEC */
    fill(a, 0xcc);
    memset(a + 512, 0, 64);
    xsavec((ul)a);
    check(u64(a + 520) == (1ul << 63 | 7) && (u64(a + 512) & 6) == 4, "XSAVEC: %lx %lx", (ul)u64(a + 520), (ul)u64(a + 512));
    check(u64(a + 576) == u64(v + 16), "XSAVEC: the upper half is behind the header");
    expect(a[160], 0xcc, "XSAVEC stores nothing of what is in its first state");
    set_ymm0(w);
    xrstor((ul)a);
    get_ymm0(b);
    check(u64(b) == 0 && u64(b + 16) == u64(v + 16), "XRSTOR of the compacted form: YMM0");
}

static void avx(void)
{
    uint32_t r[4];

    if (!feature(1, 2, 28))
        return;
    cpuid(0xd, 2, r);
    check(r[0] == 256 && r[1] == 576, "CPUID.D.2: %x at %x", r[0], r[1]);
    switched_off();
    cpuid(0xd, 0, r);
    check(r[1] == 832 && (r[0] & 7) == 7, "CPUID.D: %x with AVX on", r[1]);
    reserved();
    upper_halves();
    in_use();
}

int main(void)
{
    if (!feature(1, 2, 26)) {
        say("no XSAVE\n");
        return 0;
    }
    control();
    standard();
    compact();
    avx();
    return 0;
}
