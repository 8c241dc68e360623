/*
 * smp.c - two processors: INIT and SIPI, interrupts between them in xAPIC and x2APIC form, locked operations under
 * contention, MONITOR and MWAIT. Intel SDM vol. 3A 8.4, 10.6, 10.12.
 */
#include "k.h"

extern uint8_t ap_start[], ap_end[];
/* At 9000h, real mode: protected mode, then commands from 9f00h: 1 locked increments, 2 an interrupt 50h to processor 0,
 * 3 a store after a while; 9f04h counts what is done, 9f08h is the counter both work on */
__asm__(".code16\nap_start: cli\n xor %ax, %ax\n mov %ax, %ds\n lgdtl 0x9000 + ap_gdtr - ap_start\n mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n"
        " ljmpl $8, $0x9000 + 1f - ap_start\n"
        ".code32\n1: mov $16, %eax\n mov %eax, %ds\n mov %eax, %ss\n lock incl 0x9f0c\n movl $0x1ff, 0xfee000f0\n"
        "2: pause\n mov 0x9f00, %eax\n test %eax, %eax\n jz 2b\n cmp $2, %eax\n je 4f\n cmp $3, %eax\n je 5f\n"
        " mov $20000, %ecx\n3: lock incl 0x9f08\n lock incl 0x9f08\n loop 3b\n jmp 6f\n"
        "4: movl $0, 0xfee00310\n movl $0x4050, 0xfee00300\n jmp 6f\n"
        "5: mov $3000000, %ecx\n7: pause\n loop 7b\n movl $1, 0x9e00\n"
        "6: movl $0, 0x9f00\n lock incl 0x9f04\n jmp 2b\n"
        ".align 8\nap_gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\nap_gdtr: .word 23\n .long 0x9000 + ap_gdt - ap_start\nap_end:\n.code64");

#define MEM(a) (*(volatile uint32_t *)(ul)(a))
static volatile unsigned irqs;
static bool on_irq(Frame *f) { irqs++; apic_wr(0xb0, 0); return true; }
static bool on_irq2(Frame *f) { irqs++; wrmsr(0x80b, 0); return true; }

static bool until(volatile uint32_t *p, uint32_t want)
{
    for (ul i = 0; i < 400000000 && *p != want; i++)
        __asm__ volatile("pause");
    return *p == want;
}

static void start(void)
{
    memcpy((void *)0x9000, ap_start, (size_t)(ap_end - ap_start));
    for (unsigned i = 0; i < 16; i += 4)
        MEM(0x9f00 + i) = 0;
    icr(1, 0x4500);
    icr(1, 0x4609);
    check(until(&MEM(0x9f0c), 1), "INIT and SIPI start the other processor");
    icr(1, 0x4609);
    for (unsigned i = 0; i < 100000; i++)
        __asm__ volatile("pause");
    expect(MEM(0x9f0c), 1, "a second SIPI does nothing");
    icr(1, 0x4500);
    icr(1, 0x4609);
    check(until(&MEM(0x9f0c), 2), "INIT takes it back, SIPI starts it again");
}

static void together(void)
{
    MEM(0x9f00) = 1;
    for (unsigned i = 0; i < 40000; i++)
        __asm__ volatile("lock incl 0x9f08" ::: "memory");
    check(until(&MEM(0x9f04), 1), "it has done its part");
    expect(MEM(0x9f08), 80000, "locked increments of both add up");
}

static void between(void)
{
    handlers[0x50] = on_irq;
    sti();
    MEM(0x9f00) = 2;
    check(until(&irqs, 1), "an interrupt from the other processor");
    cli();
    until(&MEM(0x9f04), 2);
}

static void mwait(void)
{
    if (!feature(1, 2, 3)) {
        say("no MONITOR\n");
        return;
    }
    MEM(0x9e00) = 0;
    MEM(0x9f00) = 3;
    for (unsigned i = 0; i < 1000000 && !MEM(0x9e00); i++) {
        __asm__ volatile("monitor" ::"a"(0x9e00ul), "c"(0ul), "d"(0ul));
        if (!MEM(0x9e00))
            __asm__ volatile("mwait" ::"a"(0ul), "c"(0ul) : "memory");
    }
    expect(MEM(0x9e00), 1, "MWAIT ends when the line is written");
}

static void r_msr(ul n) { (void)rdmsr((uint32_t)n); }
static void w_base(ul v) { wrmsr(0x1b, v); }
static void w_self(ul v) { wrmsr(0x83f, v); }

static void x2apic(void)
{
    uint64_t base = rdmsr(0x1b);

    if (!feature(1, 2, 21))
        return;
    expect(attempt(r_msr, 0x802), GP, "x2APIC registers in xAPIC mode");
    wrmsr(0x1b, base | 0x400);
    expect(rdmsr(0x802), 0, "x2APIC: ID");
    handlers[0x50] = on_irq2;
    irqs = 0;
    wrmsr(0x83f, 0x50);
    sti();
    check(until(&irqs, 1), "x2APIC: self IPI");
    cli();
    wrmsr(0x830, 0x4050); /* to APIC 0, fixed */
    sti();
    check(until(&irqs, 2), "x2APIC: ICR");
    cli();
    expect(attempt(r_msr, 0x80e), GP, "x2APIC: no DFR");
    expect(attempt(r_msr, 0x831), GP, "x2APIC: no second ICR");
    expect(attempt(w_self, 1ul << 32 | 0x50), GP, "x2APIC: reserved bits");
    expect(attempt(w_base, base), GP, "no way straight back to xAPIC");
    wrmsr(0x1b, base & ~0xc00ul);
    check(!feature(1, 3, 9), "APIC off: CPUID says so");
    wrmsr(0x1b, base);
    check(feature(1, 3, 9), "and on again");
}

int main(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    apic_wr(0xf0, 0x1ff);
    start();
    together();
    between();
    mwait();
    x2apic();
    return 0;
}
