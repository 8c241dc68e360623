/*
 * smm.c - system management mode in the default SMRAM at 30000h: what an SMI saves, what the handler finds, what RSM
 * brings back, SMBASE, NMI and HLT around it. The save area is AMD64's (AMD APM vol. 2 10.2.3, what 64-bit machines of
 * this kind use); SMIs come by the local APIC.
 */
#include "k.h"

extern uint8_t smi_code[], smi_end[];
/* At SMBASE + 8000h, 16 bits, flat data: counts at 9000h, CS at 9004h, flags at 9008h, CR0 at 900ch, revision at 9010h, saved RIP, RAX at 9018h, 9020h;
 * at 9028h a new SMBASE if not 0; 902ch: 1 adds one to the saved RAX */
__asm__(".code16\nsmi_code: xor %ax, %ax\n mov %ax, %ds\n incl 0x9000\n mov %cs, %ax\n mov %ax, 0x9004\n pushfl\n popl 0x9008\n mov %cr0, %eax\n mov %eax, 0x900c\n"
        " mov %cs, %ax\n movzx %ax, %ebx\n shl $4, %ebx\n"
        " mov 0xfefc(%ebx), %eax\n mov %eax, 0x9010\n mov 0xff78(%ebx), %eax\n mov %eax, 0x9018\n mov 0xfff8(%ebx), %eax\n mov %eax, 0x9020\n"
        " mov 0x902c, %al\n add %al, 0xfff8(%ebx)\n"
        " mov 0x9028, %eax\n test %eax, %eax\n jz 1f\n mov %eax, 0xff00(%ebx)\n1: rsm\nsmi_end:\n.code64");

#define MEM(a) (*(volatile uint32_t *)(ul)(a))
static void smi(void)
{
    uint32_t before = MEM(0x9000);

    apic_wr(0x310, 0);
    apic_wr(0x300, 0x4200); /* SMI to APIC 0 */
    for (ul i = 0; i < 10000000 && MEM(0x9000) == before; i++)
        __asm__ volatile("pause");
}

static void rsm(ul a) { __asm__ volatile("rsm"); }

static void around(void)
{
    ul cr0 = rdcr0(), cr3 = rdcr3(), cr4 = rdcr4(), efer = rdmsr(MSR_EFER), flags = getflags(), dr7, r;

    wrdr0(0x1234);
    wrdr7(0x400);
    dr7 = rddr7();
    wrmsr(MSR_GSBASE, 0x123456789000);
    smi();
    expect(MEM(0x9000), 1, "the handler ran");
    expect(MEM(0x9004), 0x3000, "its CS is SMBASE / 16");
    expect(MEM(0x9008) & 0x3ffd7, 2, "its flags");
    expect(MEM(0x900c) & 0x8000000d, 0, "its CR0: no PE, EM, TS, PG");
    expect(MEM(0x9010) & 0xffff, 0x64, "the save area's revision");
    check(MEM(0x9010) & 1 << 17, "it can be moved");
    check(MEM(0x9018) >= 0x100000 && MEM(0x9018) < 0x110000, "the saved RIP: %x", MEM(0x9018));
    check(rdcr0() == cr0 && rdcr3() == cr3 && rdcr4() == cr4, "control registers are back");
    expect(rdmsr(MSR_EFER), efer, "EFER is back");
    expect(getflags() & ~0xfful, flags & ~0xfful, "flags are back");
    expect(rddr7(), dr7, "DR7 is back");
    expect(rdmsr(MSR_GSBASE), 0x123456789000, "the 64-bit GS base is back");
    MEM(0x902c) = 1;
    __asm__ volatile("mov $0xfee00300, %%r8d; mov $0x70, %%eax; movl $0, 0x10(%%r8); movl $0x4200, (%%r8); mov 0x9000, %%ecx; mov $10000000, %%edx\n1: pause; cmpl $2, 0x9000; je 2f; dec %%edx; jnz 1b\n2: nop"
                     : "=a"(r)::"rcx", "rdx", "r8", "memory");
    expect(r, 0x71, "the handler can change a register");
    MEM(0x902c) = 0;
    expect(attempt(rsm, 0), UD, "RSM outside SMM");
}

static void moved(void)
{
    memcpy((void *)0x48000, smi_code, (size_t)(smi_end - smi_code));
    MEM(0x9028) = 0x40000;
    smi();
    MEM(0x9028) = 0;
    MEM(0x9004) = 0;
    smi();
    expect(MEM(0x9004), 0x4000, "SMBASE moved");
    expect(MEM(0x9000), 4, "four SMIs in all");
}

static void from32(void)
{
    uint32_t v;

    /* compatibility mode: the segment state comes back */
    __asm__ volatile("push $0x38; push $1f; lretq\n.code32\n1: movl $0, 0xfee00310; movl $0x4200, 0xfee00300; mov $10000000, %%ecx\n"
                     "2: pause; cmpl $5, 0x9000; je 3f; dec %%ecx; jnz 2b\n3: mov %%cs, %%eax; ljmp $8, $4f\n.code64\n4: nop"
                     : "=a"(v)::"rcx", "memory");
    expect(v & 0xffff, KCODE32, "SMI in 32-bit code");
    expect(MEM(0x9000), 5, "it was taken");
}

extern char u_smi[], smi_sysret[];
extern uint64_t pd[];
__asm__("smi_sysret: sysretq\n.section .user, \"ax\"\nu_smi: syscall\n mov $0xfee00300, %r8d\n movl $0, 0x10(%r8)\n movl $0x4200, (%r8)\n mov $10000000, %ecx\n"
        "1: pause\n cmpl $6, 0x9000\n je 2f\n dec %ecx\n jnz 1b\n2: cli\n ret\n.text");

/* AMD: SYSRET leaves the DPL in SS's hidden part as it was, so that is not where the level comes from. */
static void from_ring3(void)
{
    wrmsr(MSR_STAR, (uint64_t)(UCODE32 | 3) << 48 | (uint64_t)KCODE << 32);
    wrmsr(MSR_LSTAR, (ul)smi_sysret);
    wrmsr(MSR_SFMASK, F_IF);
    pd[0] |= 4; /* the counts and the local APIC, for ring 3 */
    pd[0xfee00000 >> 21] |= 4;
    wrcr3(rdcr3());
    expect(user((void (*)(ul))u_smi, 0), GP, "ring 3 after RSM, too: CLI");
    expect(MEM(0x9000), 6, "it was taken");
    expect(trap.cs, UCODE64, "CS");
}

int main(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    apic_wr(0xf0, 0x1ff);
    memcpy((void *)0x38000, smi_code, (size_t)(smi_end - smi_code));
    memset((void *)0x9000, 0, 64);
    around();
    moved();
    from32();
    from_ring3();
    return 0;
}
