/*
 * k.h - what the privileged test kernels share: verdicts on the debug console, traps as values, ring 3, descriptors.
 * A kernel is one C file with main(), linked with k.c and the start-up and trap code of its word size.
 * Freestanding, one CPU unless it starts the other; nothing here is of the emulator.
 */
#ifndef K_H
#define K_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef unsigned long ul;
#define USER  __attribute__((section(".user"), noinline)) /* code that ring 3 runs */
#define UDATA __attribute__((section(".udata")))
#define NOINLINE __attribute__((noinline))
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { DE, DB, NMI, BP, OF, BR, UD, NM, DF, TS = 10, NP, SS, GP, PF, MF = 16, AC, MC, XM, USER_DONE = 0x81, NO_TRAP = -1 };
enum { F_CF = 1, F_ZF = 64, F_TF = 0x100, F_IF = 0x200, F_DF = 0x400, F_IOPL = 0x3000, F_NT = 0x4000, F_RF = 0x10000,
       F_VM = 0x20000, F_AC = 0x40000, F_VIF = 0x80000, F_VIP = 0x100000, F_ID = 0x200000 };
/* selectors, the same in both word sizes (UCODE64 only in long mode) */
enum { KCODE = 0x08, KDATA = 0x10, UCODE32 = 0x1b, UDATASEG = 0x23, UCODE64 = 0x2b, UDATA2 = 0x33, KCODE32 = 0x38, KCODE16 = 0x40,
       TSS_SEL = 0x48, LDT_SEL = 0x58, FREE_SEL = 0x68 /* and after: for tests */, GDT_N = 40 };

typedef struct Frame { /* what a trap leaves */
#ifdef __x86_64__
    ul r15, r14, r13, r12, r11, r10, r9, r8, di, si, bp, bx, dx, cx, ax;
#else
    ul di, si, bp, unused, bx, dx, cx, ax;
#endif
    ul vector, error, ip, cs, flags, sp, ss;
    ul es, ds, fs, gs; /* of virtual-8086 mode */
} Frame;
typedef bool Handler(Frame *f); /* true: go on where it trapped */

extern Frame trap;      /* the last that attempt() or user() answered with */
extern ul trap_cr2, trap_dr6;
extern Handler *handlers[256];
extern uint64_t gdt[GDT_N];
extern uint64_t idt[512];
extern uint8_t tss[0x2080]; /* with an I/O bitmap of 8 KiB at 104 */
extern uint8_t stack_top[], istack_top[], user_stack_top[];

/* k.c */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void verdict(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define check(c, ...)    verdict(c, __VA_ARGS__)
#define expect(got, want, ...) expect_((ul)(got), (ul)(want), __VA_ARGS__)
void expect_(ul got, ul want, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void finish(void) __attribute__((noreturn)); /* the count, and the status to the emulator */
bool option(const char *word);               /* of the command line */
void set_gate(unsigned vector, void *handler, unsigned type, unsigned dpl, unsigned ist);
void set_desc(unsigned sel, uint64_t base, uint32_t limit, unsigned attr); /* attr: bits 8..23 of the upper half */
uint64_t make_desc(uint32_t base, uint32_t limit, unsigned attr);
void trap_c(Frame *f);
/* fn(arg) -> the vector it trapped with, or NO_TRAP */
int attempt(void (*fn)(ul), ul arg);
int user(void (*fn)(ul), ul arg);  /* the same at ring 3 with IF as now; fn is USER */
int user_at(ul ip, ul arg, ul cs, ul flags); /* any code, selector and flags */
void resume_trap(void) __attribute__((noreturn));
extern ul resume_sp;
extern char vector_stubs[], user_exit[];
void traps_init(void);
void load_gdt(void);

/* ---- the machine ---- */
static inline void outb(uint16_t p, uint8_t v) { __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(p)); }
static inline uint8_t inb(uint16_t p) { uint8_t v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(p)); return v; }
static inline void outl(uint16_t p, uint32_t v) { __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(p)); }
static inline uint32_t inl(uint16_t p) { uint32_t v; __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(p)); return v; }
#define CR(n)                                                                                      \
    static inline ul rdcr##n(void) { ul v; __asm__ volatile("mov %%cr" #n ", %0" : "=r"(v)); return v; } \
    static inline void wrcr##n(ul v) { __asm__ volatile("mov %0, %%cr" #n ::"r"(v) : "memory"); }
CR(0) CR(2) CR(3) CR(4)
#define DR(n)                                                                                      \
    static inline ul rddr##n(void) { ul v; __asm__ volatile("mov %%db" #n ", %0" : "=r"(v)); return v; } \
    static inline void wrdr##n(ul v) { __asm__ volatile("mov %0, %%db" #n ::"r"(v)); }
DR(0) DR(1) DR(2) DR(3) DR(6) DR(7)
static inline uint64_t rdmsr(uint32_t n) { uint32_t a, d; __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(n)); return (uint64_t)d << 32 | a; }
static inline void wrmsr(uint32_t n, uint64_t v) { __asm__ volatile("wrmsr" ::"c"(n), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory"); }
static inline uint64_t rdtsc(void) { uint32_t a, d; __asm__ volatile("rdtsc" : "=a"(a), "=d"(d)); return (uint64_t)d << 32 | a; }
static inline ul getflags(void) { ul v; __asm__ volatile("pushf; pop %0" : "=r"(v)); return v; }
static inline void setflags(ul v) { __asm__ volatile("push %0; popf" ::"r"(v) : "cc", "memory"); }
static inline void invlpg(ul va) { __asm__ volatile("invlpg (%0)" ::"r"(va) : "memory"); }
static inline void cpuid(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(sub));
}
static inline bool feature(uint32_t leaf, unsigned reg, unsigned bit) /* reg: 0 eax .. 3 edx */
{
    uint32_t r[4];

    cpuid(leaf & 0x80000000, 0, r);
    if (r[0] < leaf)
        return false;
    cpuid(leaf, 0, r);
    return r[reg] >> bit & 1;
}
static inline bool vendor_amd(void) { uint32_t r[4]; cpuid(0, 0, r); return r[1] == 0x68747541; }
#define cli() __asm__ volatile("cli" ::: "memory")
#define sti() __asm__ volatile("sti" ::: "memory")
enum { MSR_EFER = 0xc0000080, MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_FSBASE = 0xc0000100, MSR_GSBASE, MSR_KGSBASE };
/* local APIC, xAPIC form, identity mapped */
static inline uint32_t apic_rd(unsigned r) { return *(volatile uint32_t *)(ul)(0xfee00000 + r); }
static inline void apic_wr(unsigned r, uint32_t v) { *(volatile uint32_t *)(ul)(0xfee00000 + r) = v; }
/* An interrupt to another CPU, and its delivery. */
static inline void icr(uint32_t apic, uint32_t v)
{
    apic_wr(0x310, apic << 24);
    apic_wr(0x300, v);
    for (unsigned i = 0; i < 100000 && apic_rd(0x300) & 1 << 12; i++)
        __asm__ volatile("pause");
}
void *memset(void *p, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
#endif
