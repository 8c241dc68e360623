/* traps.c - of the stress kernel: exceptions at every instruction, registers across interrupts. */
#include "stress.h"

/* ---- a block of steps `mov %r8, 8*i(%rdi); inc %r8` with one instruction that faults among them */
enum { STEPS = 24, STEP = 7 + 3 };
typedef struct Bad {
    const char *what;
    uint8_t b[10], n, vector;
} Bad;
static const Bad bad[] = {
    { "ud2", { 0x0f, 0x0b }, 2, UD },
    { "a division by zero", { 0x31, 0xd2, 0xf7, 0xf2 }, 4, DE },               /* xor %edx, %edx; div %edx */
    { "a load of nothing", { 0x48, 0x8b, 0x06 }, 3, PF },                      /* mov (%rsi), %rax */
    { "a store to nothing", { 0x48, 0x89, 0x06 }, 3, PF },
    { "an addition to nothing", { 0x48, 0x01, 0x06 }, 3, PF },
    { "an address that is not canonical", { 0x48, 0x8b, 0x03 }, 3, GP },       /* mov (%rbx), %rax */
    { "int3", { 0xcc }, 1, BP },
    { "a privileged MSR that is not there", { 0xb9, 0x34, 0x12, 0, 0, 0x0f, 0x32 }, 7, GP },
};
static uint8_t block[1024] __attribute__((aligned(64)));
static volatile struct {
    ul ip, r8, flags;
    uint32_t vector, hits;
} hit;
static uint64_t out[STEPS + 1];
static ul go_on;

static bool on_bad(Frame *f)
{
    hit.ip = f->ip;
    hit.r8 = f->r8;
    hit.flags = f->flags;
    hit.vector = (uint32_t)f->vector;
    hit.hits++;
    f->ip = go_on;
    return true;
}

/* rbx: not canonical; rsi: not mapped; r8: 0; rdi: out. */
static ul run_block(const uint8_t *p)
{
    ul r8 = 0, nothing = (ul)window(3) + 64, di = (ul)out, bx = 0x8000000000000000ul;

    __asm__ volatile("mov %5, %%r8\n call *%4\n mov %%r8, %0" : "=r"(r8), "+D"(di), "+S"(nothing), "+b"(bx) : "r"(p), "r"(0ul) : "rax", "rcx", "rdx", "r8", "memory", "cc");
    return r8;
}

static void one_fault(unsigned at, const Bad *b)
{
    uint8_t *start = block + below(600), *p = start, *fault = NULL;

    for (unsigned i = 0; i < STEPS; i++) {
        const uint8_t step[STEP] = { 0x4c, 0x89, 0x87, (uint8_t)(8 * i), 0, 0, 0, 0x49, 0xff, 0xc0 };

        if (i == at) {
            memcpy(p, b->b, b->n);
            fault = p + (b->vector == DE ? 2 : b->n == 7 ? 5 : 0);
            p += b->n;
            go_on = (ul)p;
        }
        memcpy(p, step, STEP);
        p += STEP;
    }
    *p = 0xc3;
    for (unsigned i = 0; i < STEPS; i++)
        out[i] = 99;
    hit.hits = 0;
    expect(run_block(start), STEPS, "steps around %s", b->what);
    expect(hit.hits, 1, "faults of %s", b->what);
    expect(hit.vector, b->vector, "vector of %s", b->what);
    expect(hit.ip, (ul)fault + (b->vector == BP), "where %s faults, at step %u", b->what, at);
    expect(hit.r8, at, "registers at %s", b->what);
    for (unsigned i = 0; i < STEPS; i++)
        if (out[i] != i)
            expect(out[i], i, "memory around %s", b->what);
}

void faults(void)
{
    static const uint8_t v[] = { UD, DE, PF, GP, BP };

    for (unsigned i = 0; i < COUNT(v); i++)
        handlers[v[i]] = on_bad;
    for (unsigned at = below(3); at < STEPS; at += 1 + below(3))
        one_fault(at, &bad[below(COUNT(bad))]);
    for (unsigned i = 0; i < COUNT(v); i++)
        handlers[v[i]] = NULL;
}

/* ---- all registers and flags across whatever interrupts come in a loop of 5000 */
void held(void)
{
    ul wrong;

    __asm__ volatile("push %%rbx\n push %%rbp\n"
                     " mov $0x1111, %%rbx\n mov $0x2222, %%rbp\n mov $-3, %%rsi\n mov $0x4444, %%rdi\n mov $0x5555, %%r8\n mov $-6, %%r9\n mov $0x7777, %%r10\n"
                     " mov $0x8888, %%r11\n mov $0x9999, %%r12\n mov $0xaaaa, %%r13\n mov $0xbbbb, %%r14\n mov $0xcccc, %%r15\n xor %%eax, %%eax\n mov $5000, %%ecx\n"
                     "1: add $0x10, %%rdx\n cmp $0x1111, %%rbx\n jne 2f\n cmp $0x2222, %%rbp\n jne 2f\n cmp $-3, %%rsi\n jne 2f\n cmp $0x4444, %%rdi\n jne 2f\n"
                     " cmp $0x5555, %%r8\n jne 2f\n cmp $-6, %%r9\n jne 2f\n cmp $0x7777, %%r10\n jne 2f\n cmp $0x8888, %%r11\n jne 2f\n cmp $0x9999, %%r12\n jne 2f\n"
                     " cmp $0xaaaa, %%r13\n jne 2f\n cmp $0xbbbb, %%r14\n jne 2f\n cmp $0xcccc, %%r15\n jne 2f\n stc\n dec %%ecx\n jnc 2f\n jnz 1b\n jmp 3f\n"
                     "2: mov $1, %%eax\n3: pop %%rbp\n pop %%rbx\n"
                     : "=a"(wrong)::"rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    expect(wrong, 0, "registers across interrupts");
}

/* ---- interrupts of this processor to itself: each comes once, between the store that asks for it and the next check */
static volatile uint32_t selfs;
static bool on_self(Frame *f) { selfs++; apic_wr(0xb0, 0); return true; }

void self_interrupts(void)
{
    handlers[SELF] = on_self;
    selfs = 0;
    for (unsigned n = 1; n <= 60; n++) {
        bool off = below(2);

        if (off)
            cli();
        apic_wr(0x300, 0x44000 | SELF);
        if (off) {
            for (unsigned i = below(50); i; i--)
                __asm__ volatile("pause");
            expect(selfs, n - 1, "an interrupt while IF is clear");
            __asm__ volatile("sti; hlt" ::: "memory");
        }
        for (ul i = 0; i < 1000000 && selfs != n; i++)
            __asm__ volatile("pause");
        expect(selfs, n, "an interrupt to itself");
    }
}
