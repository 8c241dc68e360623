/*
 * machine.c - control registers and MSRs: what may be written and reads back; time: TSC, TSC_ADJUST, local APIC timer,
 * TSC deadline, PIT. Intel SDM vol. 3A 2.5, 10.5.4, 11.11, 17.17; vol. 4.
 */
#include "k.h"

static void w_cr0(ul v) { wrcr0(v); }
static void w_cr3(ul v) { wrcr3(v); }
static void w_cr4(ul v) { wrcr4(v); }
static void w_efer(ul v) { wrmsr(MSR_EFER, v); }
static void r_msr(ul n) { (void)rdmsr((uint32_t)n); }
static uint32_t which;
static void w_msr(ul v) { wrmsr(which, v); }
static int try_msr(uint32_t n, ul v) { which = n; return attempt(w_msr, v); }

static void controls(void)
{
    ul cr0 = rdcr0(), cr3 = rdcr3(), cr4 = rdcr4();

    expect(attempt(w_cr0, cr0 & ~1ul), GP, "CR0: PG without PE");
    expect(attempt(w_cr0, (cr0 & ~(1ul << 30)) | 1ul << 29), GP, "CR0: NW without CD");
    expect(attempt(w_cr0, cr0 | 1ul << 40), GP, "CR0: the high half");
    expect(attempt(w_cr0, cr0 & ~(1ul << 31)), GP, "CR0: PG off in 64-bit code");
    expect(attempt(w_cr0, cr0 | 1ul << 30), NO_TRAP, "CR0: CD");
    check(rdcr0() & 1ul << 30, "CR0.CD reads back");
    wrcr0(cr0);
    expect(attempt(w_cr4, cr4 | 1ul << 30), GP, "CR4: a reserved bit");
    expect(attempt(w_cr4, cr4 & ~32ul), GP, "CR4: PAE off in long mode");
    expect(attempt(w_cr4, cr4 ^ 1ul << 12), GP, "CR4: LA57 changed in long mode");
    expect(attempt(w_cr4, cr4 | 64), NO_TRAP, "CR4: MCE");
    wrcr4(cr4);
    expect(attempt(w_cr3, cr3 | 1ul << 52), GP, "CR3: beyond the physical address");
    expect(attempt(w_efer, rdmsr(MSR_EFER) | 1 << 30), GP, "EFER: a reserved bit");
    expect(attempt(w_efer, rdmsr(MSR_EFER) & ~0x100ul), GP, "EFER: LME off with paging");
    expect(attempt(w_efer, rdmsr(MSR_EFER) & ~0x400ul), NO_TRAP, "EFER: LMA is not written");
    check(rdmsr(MSR_EFER) & 0x400, "EFER.LMA stays");
    if (feature(1, 2, 17)) {
        expect(attempt(w_cr4, cr4 | 1 << 17), NO_TRAP, "CR4: PCIDE");
        expect(attempt(w_cr0, cr0 & ~(1ul << 31)), GP, "CR0: PG off with PCIDE");
        wrcr3(cr3 | 5);
        expect(rdcr3(), cr3 | 5, "CR3: a PCID");
        wrcr3(cr3 | 1ul << 63);
        expect(rdcr3(), cr3, "CR3: bit 63 is not kept");
        wrcr4(cr4);
        wrcr3(cr3 | 8);
        expect(attempt(w_cr4, cr4 | 1 << 17), GP, "CR4: PCIDE with CR3[11:0] in use");
        wrcr3(cr3);
    }
}

static void memory_types(void)
{
    uint64_t old = rdmsr(0x277);

    check((rdmsr(0xfe) & 0xff) >= 1, "MTRRcap: variable ranges");
    expect(try_msr(0xfe, 0), GP, "MTRRcap is read-only");
    expect(try_msr(0x277, 0x0007040600070405), NO_TRAP, "PAT");
    check(rdmsr(0x277) == 0x0007040600070405, "PAT reads back");
    expect(try_msr(0x277, 2), GP, "PAT: type 2");
    expect(try_msr(0x277, 8), GP, "PAT: type 8");
    wrmsr(0x277, old);
    wrmsr(0x200, 0x80000006);
    wrmsr(0x201, 0xff80000800);
    check(rdmsr(0x200) == 0x80000006 && rdmsr(0x201) == 0xff80000800, "a variable MTRR reads back");
    wrmsr(0x201, 0);
    wrmsr(0x250, 0x0606060606060606);
    check(rdmsr(0x250) == 0x0606060606060606, "a fixed MTRR reads back");
    wrmsr(0x26f, 0x0505050505050505);
    check(rdmsr(0x26f) == 0x0505050505050505, "the last of them");
    expect(try_msr(0x2ff, 0xc06), NO_TRAP, "MTRRdefType");
    check(rdmsr(0x2ff) == 0xc06, "MTRRdefType reads back");
    expect(try_msr(0x2ff, 0x1000), GP, "MTRRdefType: a reserved bit");
    expect(try_msr(0x200, 2), GP, "a variable MTRR of type 2");
    expect(try_msr(0x250, 2), GP, "a fixed MTRR of type 2");
}

static void msrs(void)
{
    expect(attempt(r_msr, 0x12345), GP, "RDMSR of none");
    expect(try_msr(0x12345, 0), GP, "WRMSR of none");
    expect(attempt(r_msr, 0x179), NO_TRAP, "MCG_CAP");
    expect(try_msr(0x17a, 0), NO_TRAP, "MCG_STATUS");
    for (unsigned i = 0; i < (rdmsr(0x179) & 0xff); i++)
        expect(attempt(r_msr, 0x401 + 4 * i), NO_TRAP, "MCi_STATUS of bank %u", i);
    for (uint32_t n = 0xc0010000; vendor_amd() && n < 0xc0010008; n++) { /* APM vol. 2 13.2.1: no CPUID bit announces these */
        expect(try_msr(n, 0), NO_TRAP, "PerfEvtSel, PerfCtr: %x is written", n);
        expect(attempt(r_msr, n), NO_TRAP, "PerfEvtSel, PerfCtr: %x is read", n);
    }
    check(rdmsr(0x1b) & 0x100, "APIC_BASE: this is the first processor");
}

static void tsc(void)
{
    uint64_t t = rdtsc(), d, u;
    uint32_t aux, lo, hi;

    check(rdtsc() > t, "TSC runs");
    if (feature(7, 1, 1)) {
        expect(rdmsr(0x3b), 0, "TSC_ADJUST at reset");
        wrmsr(0x3b, 1ull << 40);
        u = rdtsc();
        check(u - t >= 1ull << 40 && u - t < 2ull << 40, "TSC_ADJUST moves the TSC");
        wrmsr(0x3b, 0);
        d = rdtsc();
        wrmsr(0x10, d + (1ull << 41));
        check(rdmsr(0x3b) > (1ull << 41) - (1ull << 36) && rdmsr(0x3b) <= 1ull << 41, "writing the TSC moves TSC_ADJUST: %lx", (ul)rdmsr(0x3b));
        wrmsr(0x3b, 0);
    }
    if (feature(0x80000001, 3, 27)) {
        wrmsr(0xc0000103, 0x77);
        __asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux));
        expect(aux, 0x77, "RDTSCP: TSC_AUX");
    }
}

static volatile unsigned ticks, pit_ticks;
static bool on_tick(Frame *f) { ticks++; apic_wr(0xb0, 0); return true; }
static bool on_pit(Frame *f) { pit_ticks++; outb(0x20, 0x20); return true; }

static bool wait_for(volatile unsigned *n, unsigned want)
{
    sti();
    for (ul i = 0; i < 400000000 && *n < want; i++)
        __asm__ volatile("pause");
    cli();
    return *n >= want;
}

static void timers(void)
{
    uint32_t before;

    handlers[0x40] = on_tick;
    handlers[0x20] = on_pit;
    apic_wr(0xf0, 0x1ff);
    apic_wr(0x3e0, 0xb);
    apic_wr(0x320, 0x40);
    apic_wr(0x380, 100000);
    before = apic_rd(0x390);
    check(before <= 100000, "the APIC timer counts down");
    check(wait_for(&ticks, 1), "APIC timer, one shot");
    expect(apic_rd(0x390), 0, "and it stands still");
    apic_wr(0x320, 0x20040);
    apic_wr(0x380, 100000);
    check(wait_for(&ticks, 4), "APIC timer, periodic");
    apic_wr(0x320, 0x10040);
    apic_wr(0x380, 0);
    if (feature(1, 2, 24)) {
        sti(); /* a tick of before, if one waits */
        __asm__ volatile("nop");
        cli();
        ticks = 0;
        apic_wr(0x320, 0x40040);
        wrmsr(0x6e0, rdtsc() + 1000000);
        check(wait_for(&ticks, 1), "TSC deadline");
        expect(rdmsr(0x6e0), 0, "which disarms itself");
        wrmsr(0x6e0, 1);
        check(wait_for(&ticks, 2), "a deadline that is past comes at once");
        apic_wr(0x320, 0x10040);
    }
    outb(0x20, 0x11), outb(0x21, 0x20), outb(0x21, 4), outb(0x21, 1), outb(0x21, 0xfe), outb(0xa1, 0xff);
    apic_wr(0x350, 0x700);
    outb(0x43, 0x34), outb(0x40, 0xff), outb(0x40, 0x10);
    check(wait_for(&pit_ticks, 3), "PIT through the PIC");
    outb(0x21, 0xff);
}

/* Ours, not hardware's: a processor that a busy host starved gets the ticks of IRQ 0 that it missed (one with interrupts off is the same to the chips). */
static volatile unsigned owed;
static bool on_owed(Frame *f) { owed++; apic_wr(0xb0, 0); return true; }
static void ioapic_wr(unsigned n, uint32_t v) { *(volatile uint32_t *)0xfec00000 = n; *(volatile uint32_t *)0xfec00010 = v; }

static void missed_ticks(void)
{
    unsigned most = 0;

    handlers[0x41] = on_owed;
    ioapic_wr(0x15, 0);
    ioapic_wr(0x14, 0x41);
    for (unsigned turn = 0; turn < 20 && most < 3; turn++) { /* a late host gives few, but not each time */
        owed = 0;
        outb(0x43, 0x34), outb(0x40, 0xa9), outb(0x40, 4); /* 1 kHz */
        outb(0x61, 1), outb(0x43, 0xb0), outb(0x42, 0xff), outb(0x42, 0xff); /* 55 ms */
        for (ul i = 0; i < 400000000 && !(inb(0x61) & 0x20); i++)
            __asm__ volatile("pause");
        outb(0x43, 0x30);
        expect(owed, 0, "interrupts are off");
        sti();
        for (unsigned i = 0; i < 1000; i++)
            __asm__ volatile("pause");
        cli();
        most = owed > most ? owed : most;
    }
    check(most >= 3 && most <= 101, "IRQ 0 by the I/O APIC: %u ticks of 55 ms that were missed", most);
    ioapic_wr(0x14, 0x10000);
}

/* CR0.NE = 0: FERR# becomes line 13; port F0 ends it, with IGNNE# until the exception is gone (SDM vol. 1 8.7.2, ICH9 5.x F0h). */
static volatile unsigned errors;
static volatile uint16_t error_sw;

static bool on_fpu(Frame *f)
{
    uint16_t sw;

    __asm__ volatile("fnstsw %0" : "=m"(sw));
    if (!errors++)
        error_sw = sw;
    outb(0xf0, 0);
    __asm__ volatile("fld1; fstp %%st(0)" ::: "memory"); /* waits, but IGNNE# is on */
    __asm__ volatile("fnclex");
    outb(0xa0, 0x20), outb(0x20, 0x20);
    return true;
}

static void fpu_error(void)
{
    static const uint16_t unmasked = 0x37b; /* ZM = 0 */
    ul cr0 = rdcr0();

    outb(0x20, 0x11), outb(0x21, 0x20), outb(0x21, 4), outb(0x21, 1), outb(0x21, 0xfb);
    outb(0xa0, 0x11), outb(0xa1, 0x28), outb(0xa1, 2), outb(0xa1, 1), outb(0xa1, 0xdf);
    apic_wr(0x350, 0x700);
    handlers[0x2d] = on_fpu;
    wrcr0(cr0 & ~0x2cul);
    __asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp" ::"m"(unmasked));
    expect(errors, 0, "NE = 0: nothing before an instruction that waits");
    sti();
    __asm__ volatile("fwait" ::: "memory");
    cli();
    expect(errors, 1, "NE = 0: FWAIT waits for line 13");
    check((error_sw & 0x84) == 0x84, "NE = 0: the handler sees ES and ZE");
    __asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp; sti; fld1; cli; fninit" ::"m"(unmasked) : "memory");
    expect(errors, 2, "NE = 0: so does FLD, and FERR# rises again");
    __asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp; sti; paddb %%mm0, %%mm0; cli; fninit" ::"m"(unmasked) : "memory");
    expect(errors, 3, "NE = 0: and MMX");
    outb(0x21, 0xff), outb(0xa1, 0xff);
    wrcr0(cr0);
}

int main(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    controls();
    memory_types();
    msrs();
    tsc();
    timers();
    if (option("sparse")) /* of KVM: it has no FERR#, and ticks its own way */
        return 0;
    missed_ticks();
    fpu_error();
    return 0;
}
