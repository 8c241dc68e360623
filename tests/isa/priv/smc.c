/*
 * smc.c - code that is written while it runs: in its own block, ahead in it, in another page, by string stores, through
 * another mapping, across a page end. Intel SDM vol. 3A 8.1.3: a store is seen by what is fetched after a jump; on the
 * same processor and linear address at once.
 */
#include "k.h"

extern uint64_t pd[512];
static uint8_t code[3 * 4096] __attribute__((aligned(4096)));

static void put(uint8_t *p, const char *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        ((volatile uint8_t *)p)[i] = (uint8_t)bytes[i];
}
#define PUT(p, bytes) put(p, bytes, sizeof(bytes) - 1)

static uint32_t call(uint8_t *p)
{
    uint32_t v;

    __asm__ volatile("call *%1" : "=a"(v) : "r"(p) : "memory", "rcx", "rdx", "rsi", "rdi");
    return v;
}

static void constant(uint8_t *p, uint32_t v) /* mov $v, %eax; ret */
{
    uint8_t b[6] = { 0xb8, (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24), 0xc3 };

    put(p, (char *)b, 6);
}

static void between_calls(void)
{
    constant(code, 1);
    expect(call(code), 1, "as first written");
    constant(code, 2);
    expect(call(code), 2, "written again");
    for (uint32_t i = 0; i < 2000; i++) {
        constant(code, i);
        if (call(code) != i) {
            check(false, "rewritten %u times", i);
            return;
        }
    }
    constant(code + 64, 7);
    constant(code, 8);
    expect(call(code + 64), 7, "a neighbour in the page stays");
}

static void own_block(void)
{
    /* movb $5, 1(%rip) ; mov $1, %eax ; ret: changes the constant right ahead */
    PUT(code, "\xc6\x05\x01\x00\x00\x00\x05\xb8\x01\x00\x00\x00\xc3");
    expect(call(code), 5, "the next instruction changed");
    PUT(code, "\xc6\x05\x01\x00\x00\x00\x06\xb8\x01\x00\x00\x00\xc3");
    expect(call(code), 6, "and again");
    /* a loop that counts its own immediate up: mov $3,%ecx; 1: incb 3(%rip); mov $0,%al ... */
    PUT(code, "\xb9\x03\x00\x00\x00\xfe\x05\x01\x00\x00\x00\xb8\x10\x00\x00\x00\xff\xc9\x75\xf1\xc3");
    expect(call(code), 0x13, "a loop that changes itself");
}

static void strings(void)
{
    ul cx, di, si;
    static uint8_t from[16];

    constant(code, 1);
    call(code);
    constant(from, 99);
    di = (ul)code, si = (ul)from, cx = 6;
    __asm__ volatile("rep movsb" : "+D"(di), "+S"(si), "+c"(cx)::"memory");
    expect(call(code), 99, "rep movs over code");
    di = (ul)code + 1, cx = 1;
    __asm__ volatile("rep stosl" : "+D"(di), "+c"(cx) : "a"(0x55) : "memory");
    expect(call(code), 0x55, "rep stos over code");
    *(volatile uint32_t *)(code + 1) = 3;
    __asm__ volatile("lock addl $4, %0" : "+m"(*(uint32_t *)(code + 1)));
    expect(call(code), 7, "a locked store over code");
}

static void page_end(void)
{
    uint8_t *p = code + 4096 - 3; /* the constant lies on both pages */

    constant(p, 0x11223344);
    expect(call(p), 0x11223344, "an instruction across a page end");
    p[1] = 0x55;
    __asm__ volatile("" ::: "memory");
    expect(call(p), 0x11223355, "its first page written");
    p[4] = 0x66;
    __asm__ volatile("" ::: "memory");
    expect(call(p), 0x66223355, "its second page written");
}

static void other_mapping(void)
{
    uint8_t *alias = (uint8_t *)(0x3f000000 + ((ul)code & 0x1fffff));
    uint64_t old = pd[0x3f000000 >> 21];

    pd[0x3f000000 >> 21] = ((ul)code & ~0x1ffffful) | 0x83;
    invlpg(0x3f000000);
    constant(code, 21);
    expect(call(code), 21, "one mapping");
    expect(call(alias), 21, "the other");
    constant(alias, 22);
    expect(call(code), 22, "written through the other");
    pd[0x3f000000 >> 21] = old;
    wrcr3(rdcr3());
    constant(code + 4096, 31);
    constant(code + 8192, 32);
    expect(call(code + 4096), 31, "a page");
}

int main(void)
{
    between_calls();
    own_block();
    strings();
    page_end();
    other_mapping();
    return 0;
}
