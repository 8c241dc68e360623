/*
 * move.c - a guest that is saved in the middle and goes on elsewhere, perhaps under another engine: move.py does that. Ring 3 holds
 * general, vector and x87 registers and memory while it waits; the kernel holds control registers, MSRs, tables and what it wrote
 * into devices; the local APIC's timer and, with `-append two`, a second processor must go on. A byte on COM1 asks for a look at
 * all of it, `q` for the verdict.
 */
#include "k.h"

enum { TICK = 0x60, IPI = 0x50, COM1 = 0x3f8, PATTERN = 0x700000, PATTERN_END = 0x780000 };
static volatile unsigned ticks, ipis;
UDATA volatile uint32_t command, wrong; /* of ring 3; wrong: bit 0 general, 1 vector, 5 time went back, 6 flags */
UDATA volatile uint64_t turns, last_tsc;
UDATA uint8_t vectors[16 * 16] __attribute__((aligned(16)));
UDATA uint64_t x87_out[2];
UDATA uint32_t csr_out;
UDATA static volatile uint64_t sum;

/* Registers are loaded, then compared with what they were loaded with when `command` comes. */
void hold(ul unused);
#define EACH_VECTOR " .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
__asm__(".section .user, \"ax\"\n.globl hold\nhold:\n"
        ".macro general op\n \\op $0x1b1b1b1b, %rbx\n \\op $0x2d2d2d2d, %rbp\n \\op $-3, %rsi\n \\op $0x4f4f4f4f, %rdi\n \\op $-0x58585858, %r8\n"
        " \\op $0x69696969, %r9\n \\op $0x7a7a7a7a, %r10\n \\op $-0x1234567, %r11\n \\op $0x12121212, %r12\n \\op $0x23232323, %r13\n \\op $0x34343434, %r14\n"
        ".endm\n.macro same v, r\n cmpq \\v, \\r\n jne 5f\n.endm\n"
        " fninit\n fldpi\n fld1\n pushq $0x27f\n fldcw (%rsp)\n movl $0x1fa0, (%rsp)\n ldmxcsr (%rsp)\n pop %rax\n"
        EACH_VECTOR " movaps vectors + 16 * \\n, %xmm\\n\n .endr\n"
        " general movq\n std\n stc\n" /* DF and CF are held as well */
        "1: incq turns\n pushf\n rdtsc\n shl $32, %rdx\n or %rdx, %rax\n cmp last_tsc, %rax\n mov %rax, last_tsc\n jae 2f\n orl $32, wrong\n"
        "2: popf\n jnc 3f\n mov command, %eax\n mov %rax, %rcx\n jrcxz 1b\n pushf\n pop %rax\n and $0x401, %eax\n xor $0x401, %eax\n jz 4f\n"
        "3: orl $64, wrong\n"
        "4: cld\n general same\n jmp 6f\n"
        "5: orl $1, wrong\n"
        "6: mov $0xffff, %r15d\n" EACH_VECTOR " pcmpeqb vectors + 16 * \\n, %xmm\\n\n pmovmskb %xmm\\n, %eax\n and %eax, %r15d\n .endr\n"
        " cmp $0xffff, %r15d\n je 7f\n orl $2, wrong\n"
        "7: fistpq x87_out\n fstpl x87_out + 8\n stmxcsr csr_out\n ret\n.text\n");

static USER void fill_pattern(ul v)
{
    for (volatile uint64_t *p = (void *)PATTERN; p < (uint64_t *)PATTERN_END; p++)
        *p = v = v * 6364136223846793005ul + 1442695040888963407ul;
}

static USER void sum_pattern(ul s)
{
    for (volatile uint64_t *p = (void *)PATTERN; p < (uint64_t *)PATTERN_END; p++)
        s = (s ^ *p) * 0x9e3779b97f4a7c15ul;
    sum = s;
}

static bool on_tick(Frame *f)
{
    ticks++;
    if (inb(COM1 + 5) & 1)
        command = inb(COM1);
    apic_wr(0xb0, 0);
    return true;
}
static bool on_ipi(Frame *f) { ipis++; apic_wr(0xb0, 0); return true; }

/* ---- what the kernel holds */
static uint32_t r_cmos(uint32_t n) { outb(0x70, (uint8_t)n); return inb(0x71); }
static uint32_t r_port(uint32_t n) { return inb((uint16_t)n); }
static uint32_t r_long(uint32_t n) { return inl((uint16_t)n); }
static uint32_t r_ioapic(uint32_t n) { *(volatile uint32_t *)0xfec00000ul = n; return *(volatile uint32_t *)0xfec00010ul; }
static uint32_t r_apic(uint32_t n) { return apic_rd(n); }
static uint32_t r_pit(uint32_t n) { outb(0x43, (uint8_t)(0xe0 | 2 << n)); return inb((uint16_t)(0x40 + n)) & 0x3f; }
static uint32_t r_table(uint32_t n)
{
    struct __attribute__((packed)) { uint16_t limit; ul base; } t;

    if (n < 2)
        __asm__ volatile("sgdt %0" : "=m"(t));
    else
        __asm__ volatile("sidt %0" : "=m"(t));
    return n & 1 ? (uint32_t)t.base : t.limit;
}
static const struct {
    const char *name;
    uint32_t (*read)(uint32_t n);
    uint32_t n;
} held[] = {
    { "CMOS 50h", r_cmos, 0x50 }, { "RTC register A", r_cmos, 10 }, { "RTC register B", r_cmos, 11 }, { "PIC mask", r_port, 0x21 },
    { "second PIC's mask", r_port, 0xa1 }, { "COM1 scratch", r_port, COM1 + 7 }, { "COM1 LCR", r_port, COM1 + 3 },
    { "COM1 IER", r_port, COM1 + 1 }, { "PCI address", r_long, 0xcf8 }, { "I/O APIC entry", r_ioapic, 0x10 + 2 * 20 },
    { "its destination", r_ioapic, 0x11 + 2 * 20 }, { "APIC TPR", r_apic, 0x80 }, { "APIC SVR", r_apic, 0xf0 }, { "APIC LVT timer", r_apic, 0x320 },
    { "APIC LVT LINT0", r_apic, 0x350 }, { "APIC divider", r_apic, 0x3e0 }, { "APIC initial count", r_apic, 0x380 }, { "PIT channel 0", r_pit, 0 },
    { "PIT channel 2", r_pit, 2 }, { "GDT limit", r_table, 0 }, { "GDT base", r_table, 1 }, { "IDT limit", r_table, 2 }, { "IDT base", r_table, 3 },
};
static const struct {
    uint32_t n;
    uint64_t v;
} msrs[] = { { MSR_STAR, 0x001b000800000000 }, { MSR_LSTAR, 0xffff800012345678 }, { MSR_CSTAR, 0x7fff12345678 }, { MSR_SFMASK, 0x47700 },
             { MSR_FSBASE, 0x7000 }, { MSR_GSBASE, 0xffffffff80001000 }, { MSR_KGSBASE, 0x123456789abc }, { 0x174, 8 }, { 0x175, 0x9000 },
             { 0x176, 0xffffffff81234567 }, { 0x277, 0x0007010600070106 } };
enum { LEAVES = 0x22 };
static uint32_t before[COUNT(held)], rate_before, cpu_before[2][LEAVES][4];
static ul cr_before[4];

/* CPUID is the machine's, whoever runs it; what it says about this moment (OSXSAVE, APIC on) does not change either. */
static void cpu_model(uint32_t rows[2][LEAVES][4])
{
    for (unsigned k = 0; k < 2; k++) {
        cpuid(k << 31, 0, rows[k][0]);
        for (uint32_t i = 1; i < LEAVES && i <= (rows[k][0][0] & 0x7fffffff); i++)
            cpuid(k << 31 | i, 0, rows[k][i]);
    }
}

static void look_at_cpuid(void)
{
    static uint32_t now[2][LEAVES][4];

    cpu_model(now);
    if (option("kvm") && (now[0][7][1] || cpu_before[0][7][1])) { /* no feature in menura64-v1 */
        say("this host's KVM answers CPUID itself: not compared\n");
        return;
    }
    for (unsigned k = 0; k < 2; k++)
        for (unsigned i = 0; i < LEAVES; i++)
            for (unsigned j = 0; j < 4; j++)
                expect(now[k][i][j], cpu_before[k][i][j], "CPUID %x e%cx", k << 31 | i, "abcd"[j]);
}

/* TSC cycles in 1000 counts of the APIC's timer, 0 if none was measured: two measurements that agree. One in which the processor stood
 * still for a while (a step of more than a quarter of it), or in which the count started anew, is none. */
static uint32_t tsc_rate(void)
{
    uint32_t was = 0;

    for (unsigned i = 0; i < 1000; i++) {
        const unsigned tick = ticks;
        const uint32_t c = apic_rd(0x390);
        const uint64_t start = rdtsc();
        uint64_t t = start, longest = 0, last;
        uint32_t n = 0, now;

        while (n < 200000 && ticks == tick) {
            n = c - apic_rd(0x390);
            last = t;
            t = rdtsc();
            longest = t - last > longest ? t - last : longest;
        }
        if (ticks != tick || n > 1000000 || longest > (t - start) / 4)
            continue;
        now = (uint32_t)((t - start) * 1000 / n);
        if (was && now - was * 49 / 50 <= was / 25) /* within 2 % */
            return now;
        was = now;
    }
    return 0;
}

static void look_at_all(void)
{
    const uint32_t rate = tsc_rate();

    check(rate && rate - rate_before * 19 / 20 <= rate_before / 10, "TSC frequency: %u cycles, not %u", rate, rate_before); /* within 5 % */
    for (unsigned i = 0; i < COUNT(held); i++)
        expect(held[i].read(held[i].n), before[i], "%s", held[i].name);
    for (unsigned i = 0; i < COUNT(msrs); i++)
        expect(rdmsr(msrs[i].n), msrs[i].v, "MSR %x", msrs[i].n);
    expect(rdcr0(), cr_before[0], "CR0");
    expect(rdcr3(), cr_before[1], "CR3");
    expect(rdcr4(), cr_before[2], "CR4");
    expect(rdmsr(MSR_EFER), cr_before[3], "EFER");
    expect(rddr0(), 0x1234, "DR0");
    expect(rddr3(), 0x5678, "DR3");
    look_at_cpuid();
}

static void set_all(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xfd);
    outb(0x70, 0x50);
    outb(0x71, 0x5c);
    outb(COM1 + 3, 0x1b);
    outb(COM1 + 7, 0xa7);
    outl(0xcf8, 0x80001234);
    outb(0x43, 0x34);
    outb(0x40, 0x34);
    outb(0x40, 0x12);
    outb(0x43, 0xb6); /* channel 2: mode 3 */
    outb(0x42, 0x78);
    outb(0x42, 0x56);
    (void)r_ioapic(0x10 + 2 * 20);
    *(volatile uint32_t *)0xfec00010ul = 0x10000 | 0x77;
    (void)r_ioapic(0x11 + 2 * 20);
    *(volatile uint32_t *)0xfec00010ul = 1u << 24;
    for (unsigned i = 0; i < COUNT(msrs); i++)
        wrmsr(msrs[i].n, msrs[i].v);
    wrdr0(0x1234);
    wrdr3(0x5678);
    apic_wr(0xf0, 0x1ff);
    apic_wr(0x80, 0x10);
    apic_wr(0x350, 0x10000);
    apic_wr(0x3e0, 3);              /* by 16 */
    apic_wr(0x320, 0x20000 | TICK); /* periodic */
    apic_wr(0x380, 1000000);
    for (unsigned i = 0; i < COUNT(held); i++)
        before[i] = held[i].read(held[i].n);
    cr_before[0] = rdcr0(), cr_before[1] = rdcr3(), cr_before[2] = rdcr4(), cr_before[3] = rdmsr(MSR_EFER);
    cpu_model(cpu_before);
    for (unsigned i = 0; i < sizeof(vectors); i++)
        vectors[i] = (uint8_t)(i * 37 + 11);
}

/* ---- the second processor: at 9000h from real to flat protected mode; counts at 9f00h while its registers are what they were (9f04h else);
 * a 1 at 9f08h asks for an interrupt to the first. It has a stack of its own and takes none itself. */
extern uint8_t ap_start[], ap_end[];
__asm__(".code16\nap_start: cli\n xor %ax, %ax\n mov %ax, %ds\n lgdtl 0x9000 + ap_gdtr - ap_start\n mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n"
        " ljmpl $8, $0x9000 + 1f - ap_start\n"
        ".code32\n1: mov $16, %eax\n mov %eax, %ds\n mov %eax, %ss\n mov $0x8ff0, %esp\n movl $0x1ff, 0xfee000f0\n mov $0x13572468, %esi\n mov $0x2468ace0, %edi\n"
        " mov $0x0f0f0f0f, %ebp\n push %ebp\n"
        "2: pause\n lock incl 0x9f00\n cmp $0x13572468, %esi\n jne 3f\n cmp $0x2468ace0, %edi\n jne 3f\n cmp %ebp, (%esp)\n jne 3f\n"
        " cmpl $1, 0x9f08\n jne 2b\n movl $0, 0xfee00310\n movl $0x4050, 0xfee00300\n movl $0, 0x9f08\n jmp 2b\n"
        "3: movl $1, 0x9f04\n jmp 2b\n"
        ".align 8\nap_gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\nap_gdtr: .word 23\n .long 0x9000 + ap_gdt - ap_start\nap_end:\n.code64");
#define MEM(a) (*(volatile uint32_t *)(ul)(a))

static void start_other(void)
{
    memcpy((void *)0x9000, ap_start, (size_t)(ap_end - ap_start));
    MEM(0x9f00) = MEM(0x9f04) = MEM(0x9f08) = 0;
    icr(1, 0x4500);
    icr(1, 0x4609);
}

/* Interrupts are on: the ticks bound the wait. */
static void look_at_other(void)
{
    const uint32_t count = MEM(0x9f00);
    const unsigned now = ipis, from = ticks;

    while (MEM(0x9f00) == count && ticks - from < 1000)
        ;
    check(MEM(0x9f00) != count, "the second processor runs");
    expect(MEM(0x9f04), 0, "its registers and stack");
    MEM(0x9f08) = 1;
    while (ipis == now && ticks - from < 2000)
        ;
    expect(ipis, now + 1, "an interrupt from it");
}

/* The byte that ended it. What comes next may come as soon as it has spoken. */
static uint32_t turn(unsigned n, uint64_t want)
{
    const unsigned from = ticks;
    uint32_t byte;

    x87_out[0] = x87_out[1] = csr_out = 0;
    expect(user(hold, 0), NO_TRAP, "ring 3");
    expect(wrong, 0, "what ring 3 held (1 general, 2 vector, 20h time, 40h flags)");
    expect(x87_out[0], 1, "st0");
    expect(x87_out[1], 0x400921fb54442d18, "st1, pi");
    expect(csr_out, 0x1fa0, "MXCSR");
    check(turns, "ring 3 waited");
    for (ul n = 0; ticks == from && n < 1000000000; n++) /* the byte may have come before this turn */
        ;
    check(ticks != from, "the timer");
    expect(user(sum_pattern, 1), NO_TRAP, "ring 3 sums");
    check(sum == want, "memory");
    look_at_all();
    if (option("two"))
        look_at_other();
    byte = command;
    command = 0;
    say("turn %u\n", n);
    return byte;
}

int main(void)
{
    handlers[TICK] = on_tick;
    handlers[IPI] = on_ipi;
    set_all();
    if (option("two"))
        start_other();
    user(fill_pattern, 7);
    user(sum_pattern, 1);
    const uint64_t want = sum;
    sti();
    rate_before = tsc_rate();
    say("ready\n");
    for (unsigned n = 1; turn(n, want) != 'q'; n++) /* each waits for a byte */
        ;
    return 0;
}
