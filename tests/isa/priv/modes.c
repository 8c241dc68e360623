/*
 * modes.c - real mode and virtual-8086 mode with and without VME, entered from a 32-bit kernel; PVI.
 * Intel SDM vol. 3B chapter 20.
 */
#include "k.h"

enum { CODE = 0x8000, V86 = 0x8800, RESULT = 0x9000, CR4_VME = 1, CR4_PVI = 2 };
#define R(n) ((volatile uint16_t *)RESULT)[n]
extern uint8_t real_code[], real_end[], real_back[];
ul real_esp;

/*
 * At 8000h. Results from 9000h: 0 INT ran, 2 its flags image, 4 #DE's IP - expected, 6 #UD, 8 #GP at a word across the
 * limit, 10 #SS, 12 flags after POPF of all ones, 14 far return, 16 A20 closed, 18 open again, 20 int with IF, 22 unreal
 */
__asm__(".set base, 0x8000\n.code16\nreal_code: mov %cr0, %eax\n and $0xfe, %al\n mov %eax, %cr0\n ljmp $0, $base + 1f - real_code\n"
"1: xor %ax, %ax\n mov %ax, %ds\n mov %ax, %es\n mov %ax, %ss\n mov %ax, %fs\n mov $0x7c00, %sp\n lidtl base + ivt - real_code\n"
" movw $base + int60 - real_code, 0x60 * 4\n movw $0, 0x60 * 4 + 2\n"
" movw $base + fault - real_code, 0\n movw $0, 2\n movw $base + fault - real_code, 6 * 4\n movw $0, 6 * 4 + 2\n"
" movw $base + fault - real_code, 12 * 4\n movw $0, 12 * 4 + 2\n movw $base + fault - real_code, 13 * 4\n movw $0, 13 * 4 + 2\n"
" stc\n int $0x60\n pushf\n pop %ax\n mov %ax, 0x9002\n"
" mov $4, %di\n mov $base + 2f - real_code, %bp\n xor %cx, %cx\n2: div %cl\n"
" mov $6, %di\n mov $base + 3f - real_code, %bp\n3: ud2\n"
" mov $8, %di\n mov $base + 4f - real_code, %bp\n mov $0xffff, %bx\n4: mov (%bx), %ax\n"
" mov $10, %di\n mov $base + 5f - real_code, %bp\n5: mov %ss:0xffff, %ax\n"
" pushw $0xffff & ~0x300\n popf\n pushf\n pop %ax\n mov %ax, 0x900c\n pushw $2\n popf\n"
" lcall $0, $base + far - real_code\n movw $0x22, 0x900e\n"
" mov $0xffff, %ax\n mov %ax, %es\n movb $0x11, 0x9100\n movb $0x22, %es:0x9110\n" /* 1009100h - wraps with A20 closed */
" mov $0xdd, %al\n out %al, $0x64\n in $0x92, %al\n push %ax\n and $0xfd, %al\n out %al, $0x92\n movb %es:0x9110, %al\n mov %al, 0x9010\n pop %ax\n or $2, %al\n out %al, $0x92\n mov $0xdf, %al\n out %al, $0x64\n"
" movb %es:0x9110, %al\n mov %al, 0x9012\n"
" mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n ljmpl $8, $real_back\n"
"int60: movw $0x60, 0x9000\n push %bp\n mov %sp, %bp\n pushf\n pop %ax\n mov %ax, 0x9014\n andw $0xfffe, 6(%bp)\n pop %bp\n iret\n"
"fault: push %bx\n mov %sp, %bx\n mov 2(%bx), %ax\n sub %bp, %ax\n inc %ax\n mov %ax, 0x9000(%di)\n addw $2, 2(%bx)\n"
" cmp $8, %di\n je 8f\n cmp $10, %di\n jne 9f\n addw $2, 2(%bx)\n9: pop %bx\n iret\n8: pop %bx\n iret\n"
"far: lret\n"
"ivt: .word 0x3ff\n .long 0\nreal_end:\n.code32\n"
".globl real_go, real_back\nreal_go: push %ebx\n push %ebp\n push %esi\n push %edi\n mov %esp, real_esp\n mov $0x68, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %eax, %fs\n"
" mov %eax, %gs\n mov %eax, %ss\n ljmp $0x40, $0x8000\n"
"real_back: mov $16, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %eax, %ss\n mov %eax, %fs\n mov %eax, %gs\n mov real_esp, %esp\n pop %edi\n pop %esi\n pop %ebp\n pop %ebx\n ret\n");
void real_go(void);

static void real_mode(void)
{
    memcpy((void *)CODE, real_code, (size_t)(real_end - real_code));
    memset((void *)RESULT, 0, 64);
    set_desc(FREE_SEL, 0, 0xffff, 0x0093); /* 68h: real mode wants limits of 64 KiB */
    real_go();
    load_gdt();
    expect(R(0), 0x60, "real mode: INT");
    check(!(R(1) & F_CF), "real mode: IRET takes the changed flags: %x", R(1));
    expect(R(2), 1, "real mode: #DE points at the DIV");
    expect(R(3), 1, "real mode: #UD points at UD2");
    expect(R(4), 1, "real mode: a word across the limit: #GP");
    expect(R(5), 1, "real mode: the same through SS: #SS");
    expect(R(6) & 0xf002, 0x7002, "real mode: POPF keeps IOPL and NT");
    expect(R(7), 0x22, "real mode: far call and return");
    check(!(R(10) & 0x300), "real mode: IF and TF are off in the handler");
    if (option("noa20"))
        return;
    expect(R(8), 0x11, "A20 closed: 1 MiB is 0");
    expect(R(9), 0x22, "A20 open");
}

/* ---- virtual-8086 mode ---- */
struct V86 { ul gs, fs, ds, es, ss, sp, flags, cs, ip; };
static void enter_v86(ul flags)
{
    *(ul *)(tss + 4) = resume_sp - 64;
    __asm__ volatile("push $0x1111; push $0x2222; push $0x880; push $0x880; push $0x700; push $0x0ff0; push %0; push $0x880; push $0; iret" ::"r"(flags | F_VM | 2));
}

static int v86(const char *code, unsigned n, ul flags)
{
    memset((void *)V86, 0xf4, 64); /* HLT: #GP */
    memcpy((void *)V86, code, n);
    return attempt(enter_v86, flags);
}
#define V(code, flags) v86(code, sizeof(code) - 1, flags)

static void v86_plain(void)
{
    expect(V("\xf4", F_IOPL), GP, "v86: HLT");
    expect(trap.cs, 0x880, "v86: CS in the frame");
    check(trap.flags & F_VM, "v86: VM in the frame");
    expect(trap.es & 0xffff, 0x880, "v86: ES");
    expect(trap.gs & 0xffff, 0x1111, "v86: GS");
    expect(V("\xfa\xf4", 0), GP, "v86: CLI with IOPL 0");
    expect(trap.ip, 0, "v86: it is the CLI");
    expect(V("\xfa\xf4", F_IOPL), GP, "v86: CLI with IOPL 3 is allowed");
    expect(trap.ip, 1, "v86: it is the HLT behind");
    expect(V("\x9c\xf4", 0), GP, "v86: PUSHF with IOPL 0");
    expect(trap.ip, 0, "v86: at PUSHF");
    expect(V("\xcd\x20", 0), GP, "v86: INT n with IOPL 0");
    expect(trap.error, 0, "v86: its error code");
    expect(V("\xcc", 0), BP, "v86: INT3 goes through the IDT");
    expect(V("\xcd\x20", F_IOPL), GP, "v86: INT n through a gate of ring 0");
    expect(trap.error, 0x20 << 3 | 2, "v86: its error code names the gate");
    expect(V("\xcd\x81", F_IOPL), USER_DONE, "v86: INT n through a gate of ring 3");
    expect(V("\xe4\x80", F_IOPL), GP, "v86: IN looks at the map whatever the IOPL");
    tss[104 + 16] = 0xfe;
    expect(V("\xe4\x80\xf4", 0), GP, "v86: IN that the map allows");
    expect(trap.ip, 2, "v86: at the HLT behind IN");
    tss[104 + 16] = 0xff;
    expect(V("\x0f\x00\xc0", F_IOPL), UD, "v86: SLDT");
    expect(V("\x0f\x20\xc0", F_IOPL), GP, "v86: MOV CR");
    expect(V("\xb8\xff\xff\x8e\xd8\xa1\xff\xff", F_IOPL), GP, "v86: a word across the limit");
    expect(V("\xb8\x34\x12\x50\x5b\x9d", 0), GP, "v86: POPF with IOPL 0");
}

/* The TSS's redirection map lies before the I/O map: make room. */
static void v86_vme(void)
{
    if (!feature(1, 3, 1)) {
        say("no VME\n");
        return;
    }
    *(uint16_t *)(tss + 102) = 104 + 32;
    memset(tss + 104, 0, 32); /* all redirected */
    memset(tss + 136, 0xff, 0x1f00);
    wrcr4(rdcr4() | CR4_VME);
    *(volatile uint32_t *)(0x20 * 4) = 0x08800020; /* its handler: 0880:0020 */
    memset((void *)V86, 0xf4, 64);
    *(volatile uint16_t *)(V86 + 0x20) = 0xf490; /* nop; hlt */
    memcpy((void *)V86, "\xcd\x20", 2);
    expect(attempt(enter_v86, 0), GP, "VME: INT n by the program's own vector");
    expect(trap.ip, 0x21, "VME: its handler ran");
    expect(trap.sp & 0xffff, 0xfea, "VME: six bytes on its stack");
    expect(((volatile uint16_t *)(0x7000 + 0xfea))[0], 2, "VME: the address behind INT");
    check((((volatile uint16_t *)(0x7000 + 0xfea))[2] & 0x3000) == 0x3000, "VME: IOPL 3 in its flags");
    tss[104 + 4] = 1; /* vector 20h: not redirected */
    expect(attempt(enter_v86, 0), GP, "VME: INT n not redirected, IOPL 0");
    expect(trap.ip, 0, "VME: at the INT");
    expect(V("\xfb\xf4", 0), GP, "VME: STI");
    check(trap.ip == 1 && trap.flags & F_VIF && !(trap.flags & F_IF), "VME: sets VIF only: %lx", trap.flags);
    expect(V("\xfa\xf4", F_VIF), GP, "VME: CLI");
    check(trap.ip == 1 && !(trap.flags & F_VIF), "VME: clears VIF: %lx", trap.flags);
    expect(V("\xfb\xf4", F_VIP), GP, "VME: STI with VIP");
    expect(trap.ip, 0, "VME: at the STI");
    expect(V("\x9c\x58\xf4", F_VIF), GP, "VME: PUSHF");
    check((trap.ax & 0x3200) == 0x3200, "VME: shows VIF as IF and IOPL 3: %lx", trap.ax);
    expect(V("\xb8\x02\x02\x50\x9d\xf4", 0), GP, "VME: POPF with IF");
    check(trap.ip == 5 && trap.flags & F_VIF && !(trap.flags & F_IOPL), "VME: sets VIF, IOPL stays: %lx", trap.flags);
    expect(V("\xb8\x02\x03\x50\x9d\xf4", 0), GP, "VME: POPF with TF");
    expect(trap.ip, 4, "VME: at the POPF");
    expect(V("\x66\x9c", 0), GP, "VME: PUSHFD with IOPL 0");
    expect(trap.ip, 0, "VME: at PUSHFD");
    wrcr4(rdcr4() & ~(ul)CR4_VME);
    *(uint16_t *)(tss + 102) = 104;
}

USER static void user_sti(ul a) { __asm__ volatile("sti"); }
USER static void user_cli(ul a) { __asm__ volatile("cli"); }

static void pvi(void)
{
    if (!feature(1, 3, 1))
        return;
    wrcr4(rdcr4() | CR4_PVI);
    expect(user(user_sti, 0), NO_TRAP, "PVI: STI at ring 3");
    check(trap.flags & F_VIF && !(trap.flags & F_IF), "PVI: sets VIF: %lx", trap.flags);
    expect(user_at((ul)user_cli, 0, UCODE32, 2 | F_VIF), USER_DONE, "PVI: CLI at ring 3");
    check(!(trap.flags & F_VIF), "PVI: clears VIF: %lx", trap.flags);
    expect(user_at((ul)user_sti, 0, UCODE32, 2 | F_VIP), GP, "PVI: STI with VIP");
    wrcr4(rdcr4() & ~(ul)CR4_PVI);
}

int main(void)
{
    real_mode();
    v86_plain();
    v86_vme();
    pvi();
    return 0;
}
