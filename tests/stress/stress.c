/*
 * stress.c - the stress kernel: code that is written while it runs, on this and the other processor; mappings that change; interrupts
 * all the time; strings across pages that fault; exceptions at every instruction. `-append seed=N` decides what it does; the engine's
 * own stress mode (x-stress) what happens between. Ends through isa-debug-exit: 1 all well, 3 not. `-append big`: fills code caches.
 */
#include "stress.h"

extern uint32_t start_info;
extern uint64_t pml4[512];
static uint64_t pdpt2[512] __attribute__((aligned(4096))), pd2[512] __attribute__((aligned(4096))), pt2[512] __attribute__((aligned(4096)));
static uint64_t state;
uint8_t frame[FRAMES][4096] __attribute__((aligned(4096)));
Other other;
static volatile uint32_t ticks;

uint64_t rnd(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static uint64_t seed(void)
{
    const char *c = (const char *)(ul)((uint32_t *)(ul)start_info)[6];
    uint64_t v = 0;

    while (c && *c && !(c[0] == 's' && c[1] == 'e' && c[4] == '='))
        c++;
    for (c += 5; c > (char *)5 && *c >= '0' && *c <= '9'; c++)
        v = v * 10 + (uint64_t)(*c - '0');
    return v;
}

/* ---- the window */
void window_init(void)
{
    pml4[WINDOW >> 39] = (ul)pdpt2 | 7;
    pdpt2[0] = (ul)pd2 | 7;
    pd2[0] = (ul)pt2 | 7;
}

void window_set(unsigned page, uint64_t pte) { ((volatile uint64_t *)pt2)[page] = pte; }

void constant(volatile uint8_t *p, uint32_t v) /* mov $v, %eax; ret */
{
    p[0] = 0xb8;
    for (unsigned i = 0; i < 4; i++)
        p[1 + i] = (uint8_t)(v >> (8 * i));
    p[5] = 0xc3;
}

/* ---- the other processor: from real mode to long mode on the same tables */
void other_main(void);
extern uint8_t ap_start[], ap_end[], ap_stack[];
uint8_t ap_stack[16384] __attribute__((aligned(16)));
__asm__(".code16\nap_start: cli\n xor %ax, %ax\n mov %ax, %ds\n lgdtl 0x9000 + ap_gdtr - ap_start\n mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n"
        " ljmpl $8, $0x9000 + 1f - ap_start\n"
        ".code32\n1: mov $16, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %eax, %ss\n mov $0x620, %eax\n mov %eax, %cr4\n mov $pml4, %eax\n mov %eax, %cr3\n"
        " mov $0xc0000080, %ecx\n rdmsr\n or $0x901, %eax\n wrmsr\n mov $0x80010033, %eax\n mov %eax, %cr0\n ljmpl $24, $2f\n"
        ".align 8\nap_gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff\nap_gdtr: .word 31\n .long 0x9000 + ap_gdt - ap_start\nap_end:\n"
        ".code64\n2: mov $ap_stack + 16384, %esp\n call load_gdt\n push $8\n push $3f\n lretq\n3: jmp other_main\n");

void other_main(void)
{
    static void (*const job[])(void) = { [JOB_REWRITE] = rewrite_job, [JOB_READ_WINDOW] = read_window_job, [JOB_BREAK_LOOP] = break_loop_job,
                                         [JOB_LOCKED] = locked_job, [JOB_REWRITE_ALL] = rewrite_all_job };

    apic_wr(0xf0, 0x1ff);
    apic_wr(0x3e0, 3);
    apic_wr(0x320, 0x20000 | TICK);
    apic_wr(0x380, 40000);
    other.alive = 1;
    sti();
    for (;;) {
        uint32_t j = other.job;

        if (j) {
            job[j]();
            other.job = 0;
            __atomic_fetch_add(&other.done, 1, __ATOMIC_SEQ_CST);
        }
        __asm__ volatile("pause");
    }
}

bool other_start(void)
{
    memcpy((void *)0x9000, ap_start, (size_t)(ap_end - ap_start));
    icr(1, 0x4500);
    icr(1, 0x4609);
    for (ul i = 0; i < 100000000 && !other.alive; i++)
        __asm__ volatile("pause");
    return other.alive;
}

void other_begin(uint32_t j)
{
    other.bad = other.stop = 0;
    other.job = j;
}

void other_end(const char *what)
{
    other.stop = 1;
    while (other.job)
        __asm__ volatile("pause");
    check(!other.bad, "%s: the other processor saw %x at %x", what, other.bad, other.bad_at);
}

static bool on_tick(Frame *f)
{
    if (apic_rd(0x20) >> 24)
        other.ticks++;
    else
        ticks++;
    apic_wr(0xb0, 0);
    return true;
}

static void timer(uint32_t count)
{
    apic_wr(0x3e0, 3); /* by 16 */
    apic_wr(0x320, 0x20000 | TICK);
    apic_wr(0x380, count);
}

int main(void)
{
    static void (*const alone[])(void) = { code_own, code_alias, code_middle, code_bus, code_pages, paging, strings, faults, held, self_interrupts };
    static void (*const both[])(void) = { code_other, code_loop, shootdown, locked, code_all };
    bool two;

    state = seed();
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    window_init();
    handlers[TICK] = on_tick;
    handlers[SHOOT] = on_shoot;
    apic_wr(0xf0, 0x1ff);
    two = option("two") && other_start();
    check(two == option("two"), "the other processor starts");
    timer(1000 + below(60000));
    sti();
    if (option("big"))
        code_many(60000);
    for (unsigned i = 0; i < 24; i++) {
        if (two && below(3) == 0)
            both[below(COUNT(both))]();
        else
            alone[below(COUNT(alone))]();
        if (below(4) == 0)
            timer(1000 + below(60000));
    }
    code_many(500);
    cli();
    say("ticks %u and %u\n", ticks, other.ticks);
    return 0;
}
