/*
 * random.c - random sequences of kernel code. random.py writes them into memory ahead of the start (cases at CASES, code at CODE), each is
 * entered with all of its state, ends at its UD2 or at any other trap, and leaves what there is then at RESULTS. What is right is not
 * known here: random.py compares what the engines leave. Layouts and addresses are its, too.
 * Nothing that a sequence does may reach this kernel's memory: general stores go by registers that it does not change.
 */
#include "k.h"

enum { CASES = 0x1000000, CODE = 0x1800000, RESULTS = 0x2000000, TEST_TSS = 0x8000, NOW = CASES + 0x1000 /* for who finds us stuck: the case */, SCRATCH = 0x40000000, PAGES = 8, WINDOW = 256, LDT_N = 8 };
enum { G_W = 2, G_U = 4, G_PTES = 7 };
typedef struct Case {
    uint64_t gpr[16], flags, entry, cr0 /* bits that are not as usual */, cr4 /* more bits, if there are */, efer /* as cr0 */, fsbase, gsbase, kgsbase;
    uint16_t ds, es, fs, gs;
    uint8_t pad[56];
} Case;
_Static_assert(sizeof(Case) == 256, "as random.py has it");
typedef struct Head {
    uint32_t n, rounds;
    uint64_t gdt[GDT_N], ldt[LDT_N], pte[PAGES];
    uint8_t window[PAGES][WINDOW]; /* what of each page begins with */
} Head;
typedef struct Result {
    Frame f;
    uint64_t cr0, cr2, cr3, cr4, cr8, dr[8], ds, es, fs, gs, ldtr, tr, fsbase, gsbase, kgsbase, efer, star, lstar, sfmask, sysenter[3], pat;
    uint8_t gdtr[16], idtr[16];
    uint64_t gdt[GDT_N], ldt[LDT_N], pte[PAGES];
    uint8_t window[PAGES][WINDOW];
} Result;
#define RESULT_AT(i) ((Result *)(RESULTS + (ul)(i) * 4096))
_Static_assert(sizeof(Result) < 4096, "one in a page");

static Head *const head = (Head *)CASES;
static const Case *const cases = (const Case *)(CASES + 0x2000);
extern uint64_t pd[2048];
static uint64_t pt[512] __attribute__((aligned(4096)));
static uint64_t ldt[LDT_N] __attribute__((aligned(16)));
static uint8_t page[PAGES][4096] __attribute__((aligned(4096)));
static ul good_cr0, good_cr3, good_cr4, good_efer, more_cr4;
static unsigned current;
static uint64_t target;

static inline void copy(void *to, const void *from, ul n) { __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "=c"(n) : "c"(n / 8) : "memory"); }
static uint8_t *window(unsigned i) { return page[i] + (i == 0 ? 4096 - WINDOW : i == 1 || i == 7 ? 0 : 2048 - WINDOW / 2); }

#define SEL(name)                                                                                       \
    static ul get_##name(void) { ul v; __asm__ volatile("mov %%" #name ", %0" : "=r"(v)); return v & 0xffff; } \
    static void set_##name(ul v) { __asm__ volatile("mov %0, %%" #name ::"r"(v)); }
SEL(ds) SEL(es) SEL(fs) SEL(gs)

/* Descriptor tables, pages and their tables as at the start; nothing of the last case in the TLB. */
static void fresh(void)
{
    copy(gdt, head->gdt, sizeof(gdt));
    copy(ldt, head->ldt, sizeof(ldt));
    set_desc(TSS_SEL, (ul)tss, sizeof(tss) - 1, 0x89);
    set_desc(LDT_SEL, (ul)ldt, sizeof(ldt) - 1, 0x82);
    load_gdt();
    __asm__ volatile("ltr %w0; lldt %w1" ::"r"(TSS_SEL), "r"(LDT_SEL));
    for (unsigned i = 0; i < PAGES; i++) {
        pt[i] = head->pte[i] | (i == G_PTES ? (ul)pt : (ul)page[i]);
        if (i != G_PTES)
            copy(window(i), head->window[i], WINDOW);
        invlpg(SCRATCH + 4096ul * i);
    }
}

static void restore(void)
{
    load_gdt();
    wrcr0(good_cr0);
    wrcr4(good_cr4);
    wrcr3(good_cr3);
    wrmsr(MSR_EFER, good_efer);
    wrdr7(0x400);
    wrdr6(0xffff0ff0);
    set_ds(KDATA);
    set_es(KDATA);
    __asm__ volatile("mov %0, %%cr8" ::"r"(0ul));
}

static void debug_registers(uint64_t *dr)
{
    dr[0] = rddr0();
    dr[1] = rddr1();
    dr[2] = rddr2();
    dr[3] = rddr3();
    dr[6] = rddr6();
}

static bool record(Frame *f)
{
    Result *r = RESULT_AT(current);
    ul v;

    r->f = *f;
    r->cr0 = rdcr0();
    r->cr2 = f->vector == PF ? rdcr2() : 0;
    r->cr3 = rdcr3();
    r->cr4 = rdcr4();
    __asm__ volatile("mov %%cr8, %0" : "=r"(v));
    r->cr8 = v;
    r->dr[7] = rddr7(); /* #DB cleared GD, and nothing else sets it between */
    wrdr7(0x400);
    debug_registers(r->dr);
    r->ds = get_ds();
    r->es = get_es();
    r->fs = get_fs();
    r->gs = get_gs();
    __asm__ volatile("sldt %0" : "=r"(v));
    r->ldtr = v & 0xffff;
    __asm__ volatile("str %0" : "=r"(v));
    r->tr = v & 0xffff;
    r->fsbase = rdmsr(MSR_FSBASE);
    r->gsbase = rdmsr(MSR_GSBASE);
    r->kgsbase = rdmsr(MSR_KGSBASE);
    r->efer = rdmsr(MSR_EFER);
    r->star = rdmsr(MSR_STAR);
    r->lstar = rdmsr(MSR_LSTAR);
    r->sfmask = rdmsr(MSR_SFMASK);
    for (unsigned i = 0; i < 3; i++)
        r->sysenter[i] = rdmsr(0x174 + i);
    r->pat = rdmsr(0x277);
    __asm__ volatile("sgdt %0; sidt %1" : "=m"(r->gdtr), "=m"(r->idtr));
    restore();
    copy(r->gdt, gdt, sizeof(gdt));
    copy(r->ldt, ldt, sizeof(ldt));
    copy(r->pte, pt, sizeof(r->pte));
    for (unsigned i = 0; i < PAGES; i++)
        copy(r->window[i], i == G_PTES ? (void *)pt : window(i), WINDOW);
    return false;
}

/* All registers of the case, then its code: nothing comes back but a trap. */
NOINLINE static void enter(ul arg)
{
    __asm__ volatile("mov 0x88(%0), %%rax; mov %%rax, %1\n"
                     "mov %0, %%r15; mov 0x20(%%r15), %%rsp; pushq 0x80(%%r15); popfq\n"
                     "mov 0x00(%%r15), %%rax; mov 0x08(%%r15), %%rcx; mov 0x10(%%r15), %%rdx; mov 0x18(%%r15), %%rbx; mov 0x28(%%r15), %%rbp\n"
                     "mov 0x30(%%r15), %%rsi; mov 0x38(%%r15), %%rdi; mov 0x40(%%r15), %%r8; mov 0x48(%%r15), %%r9; mov 0x50(%%r15), %%r10\n"
                     "mov 0x58(%%r15), %%r11; mov 0x60(%%r15), %%r12; mov 0x68(%%r15), %%r13; mov 0x70(%%r15), %%r14; mov 0x78(%%r15), %%r15\n"
                     "jmp *%1" ::"r"(arg), "m"(target) : "memory");
    __builtin_unreachable();
}

/* Of CR4, what this CPU has. */
static ul cr4_known(void)
{
    static const struct { uint8_t cr4, leaf, reg, bit; } known[] = { { 2, 1, 3, 4 }, { 3, 1, 3, 2 }, { 7, 1, 3, 13 }, { 11, 7, 2, 2 }, { 16, 7, 1, 0 }, { 20, 7, 1, 7 }, { 21, 7, 1, 20 } };
    ul mask = 1 << 8; /* PCE */

    for (unsigned i = 0; i < COUNT(known); i++)
        if (feature(known[i].leaf, known[i].reg, known[i].bit))
            mask |= 1ul << known[i].cr4;
    return mask;
}

static void run(unsigned i)
{
    const Case *c = &cases[i];

    current = i;
    *(volatile uint32_t *)NOW = i;
    fresh();
    wrcr2(0);
    wrdr0(0);
    wrdr1(0);
    wrdr2(0);
    wrdr3(0);
    wrmsr(MSR_STAR, (uint64_t)UCODE32 << 48 | (uint64_t)KCODE << 32);
    wrmsr(MSR_LSTAR, c->entry + 126);
    wrmsr(MSR_SFMASK, 0x300);
    for (unsigned k = 0; k < 3; k++)
        wrmsr(0x174 + k, 0);
    wrmsr(0x277, 0x0007040600070406);
    set_fs(c->fs);
    set_gs(c->gs);
    set_ds(c->ds);
    set_es(c->es);
    wrmsr(MSR_FSBASE, c->fsbase);
    wrmsr(MSR_GSBASE, c->gsbase);
    wrmsr(MSR_KGSBASE, c->kgsbase);
    wrmsr(MSR_EFER, good_efer ^ c->efer);
    wrcr4(good_cr4 | (c->cr4 & more_cr4));
    wrcr0(good_cr0 ^ c->cr0);
    attempt(enter, (ul)c);
}

int main(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    good_cr0 = rdcr0();
    good_cr3 = rdcr3();
    good_cr4 = rdcr4();
    good_efer = rdmsr(MSR_EFER);
    more_cr4 = cr4_known();
    for (unsigned i = 0; i < GDT_N; i++)
        if (!head->gdt[i])
            head->gdt[i] = gdt[i];
    memcpy((void *)TEST_TSS, tss, 104); /* sequences may load it */
    pd[512] = (ul)pt | 7;
    pd[CODE >> 21] |= G_U; /* ring 3 runs it as well */
    for (unsigned v = 0; v < 256; v++) {
        handlers[v] = record;
        set_gate(v, vector_stubs + 16 * v, 14, v == BP || v == OF ? 3 : 0, 1);
    }
    for (unsigned round = 0; round < head->rounds; round++)
        for (unsigned i = 0; i < head->n; i++)
            run(i);
    expect(current + 1, head->n, "cases that were run");
    finish();
}
