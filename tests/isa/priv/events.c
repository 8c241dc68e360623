/*
 * events.c - delivery of exceptions and interrupts in long mode: error codes with EXT, double faults, interrupt stacks,
 * what wins when several things are wrong, shadows after STI and MOV SS, NMI. Intel SDM vol. 3A chapter 6.
 */
#include "k.h"

enum { EXT = 1, IN_IDT = 2 };
static volatile unsigned nmis, irqs, order[8], norder;
static volatile ul irq_ip, nmi_ip;

static void gate_gone(unsigned v, bool gone) { idt[2 * v] = gone ? idt[2 * v] & ~(1ul << 47) : idt[2 * v] | 1ul << 47; }

static void ud(ul a) { __asm__ volatile("ud2"); }
static void int40(ul a) { __asm__ volatile("int $0x40"); }
static void int_3(ul a) { __asm__ volatile("int3"); }
static void icebp(ul a) { __asm__ volatile(".byte 0xf1"); }
static void self_ipi(ul v)
{
    __asm__ volatile("sti");
    apic_wr(0x300, 0x40000 | (uint32_t)v);
    for (unsigned i = 0; i < 1000; i++)
        __asm__ volatile("pause");
    cli();
}

static void error_codes(void)
{
    gate_gone(UD, true);
    expect(attempt(ud, 0), NP, "gate of an exception not present");
    expect(trap.error, UD << 3 | IN_IDT | EXT, "its error code has EXT");
    gate_gone(UD, false);
    gate_gone(0x40, true);
    expect(attempt(int40, 0), NP, "gate of INT n not present");
    expect(trap.error, 0x40 << 3 | IN_IDT, "its error code has no EXT");
    expect(attempt(self_ipi, 0x40), NP, "gate of an interrupt not present");
    expect(trap.error, 0x40 << 3 | IN_IDT | EXT, "its error code has EXT (interrupt)");
    apic_wr(0xb0, 0);
    gate_gone(0x40, false);
    gate_gone(BP, true);
    expect(attempt(int_3, 0), NP, "gate of INT3 not present");
    expect(trap.error, BP << 3 | IN_IDT, "INT3: no EXT");
    gate_gone(BP, false);
    gate_gone(DB, true);
    expect(attempt(icebp, 0), NP, "gate of INT1 not present");
    expect(trap.error, DB << 3 | IN_IDT | EXT, "INT1: EXT");
    gate_gone(DB, false);
    idt[2 * 0x40] = (idt[2 * 0x40] & ~(0xfful << 40)) | 0x8cul << 40; /* a 32-bit call gate */
    expect(attempt(int40, 0), GP, "gate of a wrong type");
    expect(trap.error, 0x40 << 3 | IN_IDT, "its error code");
    set_gate(0x40, vector_stubs + 16 * 0x40, 14, 0, 0);
    idt[2 * 0x40] = (idt[2 * 0x40] & ~(0xfffful << 16)) | (ul)KDATA << 16;
    expect(attempt(int40, 0), GP, "gate to a data segment");
    expect(trap.error, KDATA, "its error code is the selector");
    idt[2 * 0x40] &= ~(0xfffful << 16);
    expect(attempt(int40, 0), GP, "gate with a null selector");
    expect(trap.error, 0, "its error code (null)");
    idt[2 * 0x40] |= (ul)KCODE32 << 16;
    expect(attempt(int40, 0), GP, "gate to 32-bit code in long mode");
    set_gate(0x40, vector_stubs + 16 * 0x40, 14, 0, 0);
}

USER static void user_int40(ul a) { __asm__ volatile("int $0x40"); }
USER static void user_int81(ul a) { __asm__ volatile("int3"); }

static void idt_limit(ul limit)
{
    struct __attribute__((packed)) { uint16_t limit; ul base; } i = { (uint16_t)limit, (ul)idt };

    __asm__ volatile("lidt %0" ::"m"(i));
}

static void privilege(void)
{
    expect(user(user_int40, 0), GP, "INT n of ring 3 through a gate of ring 0");
    expect(trap.error, 0x40 << 3 | IN_IDT, "its error code");
    expect(user(user_int81, 0), BP, "INT3 of ring 3 through a gate of ring 3");
    expect(trap.cs, UCODE64, "the pushed CS");
    expect(trap.ss, UDATASEG, "the pushed SS");
    idt_limit(16 * 0x40 - 1);
    expect(attempt(int40, 0), GP, "beyond the IDT's limit");
    expect(trap.error, 0x40 << 3 | IN_IDT, "its error code (limit)");
    idt_limit(4095);
}

static void bad_stack_page(ul a) /* a #PF whose own push faults */
{
    __asm__ volatile("mov %%rsp, %%rbx; mov %0, %%rsp; push %%rax" ::"r"(a) : "rbx", "memory");
}

static void double_faults(void)
{
    expect(attempt(bad_stack_page, 0x7f0000001000), DF, "#PF while pushing for a #PF: #DF");
    expect(trap.error, 0, "#DF: error code 0");
    expect(attempt(bad_stack_page, 0x800000001000), DF, "#SS while pushing for a #SS: #DF");
    gate_gone(GP, true);
    expect(attempt((void (*)(ul))ud, 0), UD, "benign is no part of it");
    idt[2 * 0x40] &= ~(1ul << 47);
    idt[2 * NP] &= ~(1ul << 47);
    expect(attempt(int40, 0), DF, "#NP in the delivery of #NP: #DF");
    idt[2 * NP] |= 1ul << 47;
    idt[2 * 0x40] |= 1ul << 47;
    gate_gone(UD, true);
    gate_gone(GP, false);
    expect(attempt(ud, 0), NP, "benign and then contributory: one after the other");
    gate_gone(UD, false);
    gate_gone(PF, true);
    expect(attempt((void (*)(ul))0x7f0000000000, 0), DF, "page fault and then contributory: #DF");
    gate_gone(PF, false);
}

static ul ist_sp;
static bool note_sp(Frame *f) { ist_sp = (ul)f; (void)f; return true; }

static void stacks(void)
{
    ul sp;

    handlers[0x40] = note_sp;
    __asm__ volatile("mov %%rsp, %0; sub $3, %%rsp; int $0x40; add $3, %%rsp" : "=&r"(sp)::"memory");
    check(ist_sp + sizeof(Frame) - 4 * 8 == ((sp - 3) & ~15ul), "the stack is aligned to 16 before the frame: %lx %lx", ist_sp, sp);
    set_gate(0x40, vector_stubs + 16 * 0x40, 14, 0, 1);
    int40(0);
    expect(ist_sp + sizeof(Frame) - 4 * 8, (ul)istack_top & ~15ul, "IST: its own stack");
    *(ul *)(tss + 36) = 1ul << 50;
    expect(attempt(int40, 0), SS, "IST: a stack that is not canonical");
    *(ul *)(tss + 36) = (ul)istack_top;
    set_gate(0x40, vector_stubs + 16 * 0x40, 14, 0, 0);
    handlers[0x40] = NULL;
}

static bool on_irq(Frame *f)
{
    irqs++;
    irq_ip = f->ip;
    order[norder++ & 7] = (unsigned)f->vector;
    apic_wr(0xb0, 0);
    return true;
}

static bool on_nmi(Frame *f)
{
    nmi_ip = f->ip;
    order[norder++ & 7] = NMI;
    if (nmis++ == 0) {
        apic_wr(0x300, 0x44400); /* a second NMI to ourselves: waits for IRET */
        for (unsigned i = 0; i < 1000; i++)
            __asm__ volatile("pause");
        expect(nmis, 1, "NMI does not interrupt NMI");
    }
    return true;
}

#define LABEL(name) extern char name[]

static void shadows(void)
{
    LABEL(sti_2);
    LABEL(ss_2);

    handlers[0x50] = handlers[0x60] = on_irq;
    apic_wr(0x300, 0x40050);
    expect(irqs, 0, "no interrupt with IF = 0");
    __asm__ volatile("sti; nop; sti_2: nop; cli" ::: "memory");
    expect(irqs, 1, "after STI it comes");
    expect(irq_ip, (ul)sti_2, "after the instruction behind STI");
    irqs = 0;
    apic_wr(0x300, 0x40050);
    __asm__ volatile("sti; cli; nop");
    expect(irqs, 0, "STI CLI lets nothing through");
    __asm__ volatile("mov %%ss, %%eax; sti; mov %%eax, %%ss; nop; ss_2: nop; cli" ::: "rax", "memory");
    expect(irqs, 1, "MOV SS behind STI");
    check(irq_ip >= (ul)ss_2 - 1 && irq_ip <= (ul)ss_2, "MOV SS: at its successor's end, or where STI's ended: %lx", irq_ip - (ul)ss_2);
    irqs = norder = 0;
    apic_wr(0x300, 0x40050);
    apic_wr(0x300, 0x40060);
    __asm__ volatile("sti; nop; nop; nop; cli");
    expect(irqs, 2, "two interrupts");
    check(order[0] == 0x60 && order[1] == 0x50, "the higher class first");
    handlers[NMI] = on_nmi;
    apic_wr(0x300, 0x44400);
    for (unsigned i = 0; i < 1000 && nmis < 2; i++)
        __asm__ volatile("pause");
    expect(nmis, 2, "NMI: the second after IRET");
}

/* The instruction behind STI misses the TLB, which the software CPU does by another way each few times. */
static void shadow_misses(void)
{
    LABEL(sti_m);
    static ul far_away[1024];
    bool there = true;

    irqs = 0;
    for (unsigned i = 0; i < 16; i++) {
        ul *at = &far_away[512];

        __asm__ volatile("invlpg %0" ::"m"(*at) : "memory");
        apic_wr(0x300, 0x40050);
        __asm__ volatile("sti; addq $1, (%0); sti_m: nop; cli" ::"r"(at) : "memory");
        there &= irq_ip == (ul)sti_m && far_away[512] == i + 1;
    }
    expect(irqs, 16, "an interrupt behind each STI");
    check(there, "behind the store that follows STI: %lx", irq_ip - (ul)sti_m);
}

static void halt(void)
{
    irqs = 0;
    apic_wr(0x300, 0x40050);
    __asm__ volatile("sti; hlt; cli" ::: "memory");
    expect(irqs, 1, "an interrupt ends HLT");
}

static void task_priority(void)
{
    irqs = 0;
    __asm__ volatile("mov %0, %%cr8" ::"r"(5ul));
    apic_wr(0x300, 0x40050);
    __asm__ volatile("sti; nop; nop; cli");
    expect(irqs, 0, "CR8 holds back its class");
    expect(apic_rd(0x80), 0x50, "CR8 is the TPR");
    __asm__ volatile("sti; mov %0, %%cr8; nop; nop; cli" ::"r"(4ul));
    expect(irqs, 1, "and lets it through when lowered");
    __asm__ volatile("mov %0, %%cr8" ::"r"(0ul));
}

/* Which of two faults wins. */
static void wide_insn(ul a) { __asm__ volatile(".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90"); }
static void lock_nop(ul a) { __asm__ volatile(".byte 0xf0, 0x90"); }
USER static void user_hlt(ul a) { __asm__ volatile("hlt"); }
USER static void user_movcr(ul a) { __asm__ volatile("mov %%cr3, %%rax" ::: "rax"); }
static void cr5(ul a) { __asm__ volatile(".byte 0x0f, 0x20, 0xe8" ::: "rax"); }
static void sse_ts(ul a) { __asm__ volatile("movaps %xmm0, %xmm0"); }
static void x87_add(ul a) { __asm__ volatile("fld1"); }

static void priorities(void)
{
    expect(attempt(wide_insn, 0), GP, "16 bytes of instruction");
    expect(attempt(lock_nop, 0), UD, "LOCK where it must not be");
    expect(user(user_hlt, 0), GP, "HLT at ring 3");
    expect(user(user_movcr, 0), GP, "MOV CR at ring 3");
    expect(attempt(cr5, 0), UD, "CR5 is not there");
    wrcr0(rdcr0() | 8);
    expect(attempt(sse_ts, 0), NM, "SSE with TS");
    expect(attempt(x87_add, 0), NM, "x87 with TS");
    wrcr0(rdcr0() | 4);
    expect(attempt(sse_ts, 0), UD, "SSE with EM and TS");
    expect(attempt(x87_add, 0), NM, "x87 with EM");
    wrcr0(rdcr0() & ~12ul);
    wrcr4(rdcr4() & ~0x200ul);
    wrcr0(rdcr0() | 8);
    expect(attempt(sse_ts, 0), UD, "SSE without OSFXSR");
    wrcr0(rdcr0() & ~8ul);
    wrcr4(rdcr4() | 0x200);
}

/* A 32-bit program's events while GDT, IDT, TSS and stack are above 4 GiB: none of these addresses wraps. */
extern uint64_t pml4[512], pdpt[512];
extern char u32_high[];
static uint64_t pdpt_high[512] __attribute__((aligned(4096)));
__asm__(".section .user, \"ax\"\n.code32\nu32_high: mov $0x23, %eax\n mov %eax, %ds\n ud2\n.code64\n.text");

static void tables_at(ul base)
{
    struct __attribute__((packed)) { uint16_t limit; ul base; } g = { sizeof(gdt) - 1, base + (ul)gdt }, i = { sizeof(ul) * 512 - 1, base + (ul)idt };

    set_desc(TSS_SEL, base + (ul)tss, sizeof(tss) - 1, 0x89);
    *(ul *)(tss + 4) = base + (ul)stack_top;
    __asm__ volatile("lgdt %0; lidt %1; ltr %w2" ::"m"(g), "m"(i), "r"(TSS_SEL) : "memory");
}

static void high_tables(void)
{
    pdpt_high[1] = pdpt[0];
    pml4[256] = (ul)pdpt_high + 7;
    tables_at(0xffff800040000000); /* at 40000000h is something else */
    expect(user_at((ul)u32_high, 0, UCODE32, 2), UD, "32-bit code, tables above 4 GiB");
    expect(trap.ax, 0x23, "its own descriptor was loaded");
    tables_at(0);
}

/* IRETQ in ring 3's absence: a null SS must have the level that it returns to; RF is over before the INT at its target is pushed. */
#define IRETQ(ss, flags, at) \
    __asm__ volatile("mov %%rsp, %%rax; push %0; push %%rax; push %1; push %2; push $1f; iretq; 1: " at "mov %3, %%ss" ::"r"((ul)(ss)), "r"((ul)(flags)), \
                     "i"(KCODE), "r"(KDATA) : "rax", "memory", "cc")
NOINLINE static void iret_null(ul rpl) { IRETQ(rpl, 2, ""); }
NOINLINE static void iret_rf(ul flags) { IRETQ(KDATA, flags, "int $0x66; "); }

static void returns(void)
{
    expect(attempt(iret_null, 0), NO_TRAP, "IRETQ with a null SS");
    expect(attempt(iret_null, 1), GP, "IRETQ with a null SS of another level");
    expect(trap.error, 0, "its error code");
    expect(attempt(iret_rf, 2 | F_RF), 0x66, "INT that IRETQ with RF led to");
    expect(trap.flags & F_RF, 0, "RF of its frame");
}

int main(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    apic_wr(0xf0, 0x1ff);
    error_codes();
    privilege();
    double_faults();
    stacks();
    shadows();
    shadow_misses();
    halt();
    task_priority();
    priorities();
    high_tables();
    returns();
    return 0;
}
