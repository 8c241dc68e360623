/*
 * kernel.S - a small kernel, whole and sound, into which one case (cases/NAME.S, the macro CASE) puts its mistake.
 * BITS says how far it gets before the case runs:
 *   16  a boot sector at 0x7c00, real mode, SS:SP = 0:0x7c00
 *   32  PVH entry: flat protected mode without paging, GDT and stack good, no IDT
 *   64  long mode: pages below 16 MiB mapped one to one but for the first; GDT, stack and TSS good, no IDT;
 *       GOOD_IDT loads one whose gates halt for ever
 * A case may break any table by its label. Ring 3's code and data selectors are USER_CS and USER_DS.
 */
#define CODE32 0x08
#define DATA 0x10
#define CODE64 0x18
#define USER_DS 0x23
#define USER_CS 0x2b
#define TSS 0x30
#define MSR_EFER 0xc0000080
#if BITS == 16
    .code16
    .globl start
start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
#include CASE
1:  hlt
    jmp 1b
    .org 510
    .word 0xaa55
#else
    .section .note.pvh, "a", @note
    .long 4, 4, 18
    .asciz "Xen"
    .long start
    .text
    .code32
    .globl start
start:
    cli
    cld
    lgdt gdtr
    ljmp $CODE32, $2f
2:  mov $DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %eax, %fs
    mov %eax, %gs
    mov $stack_top, %esp
#if BITS == 64
    mov $tss, %eax
    mov %ax, gdt + TSS + 2
    shr $16, %eax
    mov %al, gdt + TSS + 4
    mov %ah, gdt + TSS + 7
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0x20, %eax
    mov %eax, %cr4
    mov $MSR_EFER, %ecx
    rdmsr
    or $0x901, %eax
    wrmsr
    mov $0x80010001, %eax
    mov %eax, %cr0
    ljmp $CODE64, $long_start
    .code64
/* fills the IDT with gates to `halt` */
    .macro GOOD_IDT
    mov $idt, %edi
    mov $256, %ecx
3:  mov $halt, %eax
    mov %ax, (%rdi)
    movw $CODE64, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    shr $16, %eax
    mov %eax, 6(%rdi)
    add $16, %edi
    dec %ecx
    jnz 3b
    lidt idtr
    .endm
/* to ring 3 at label \at, interrupts off */
    .macro TO_USER at
    mov $TSS, %ax
    ltr %ax
    push $USER_DS
    push $user_stack_top
    push $2
    push $USER_CS
    push $\at
    iretq
    .endm
long_start:
    mov $stack_top, %rsp
#endif
#include CASE
halt:
1:  cli
    hlt
    jmp 1b
    .data
    .balign 16
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00af9b000000ffff
    .quad 0x00cff3000000ffff
    .quad 0x00affb000000ffff
    .quad 0x0000890000000067
    .quad 0
gdt_end:
gdtr:
    .word gdt_end - gdt - 1
    .quad gdt
idtr:
    .word 4095
    .quad idt
    .balign 16
tss:
    .long 0
    .quad stack0_top, 0, 0, 0
    .quad stack1_top, 0, 0, 0, 0, 0, 0
    .quad 0
    .long 0x680000
    .balign 4096
pml4:
    .quad pdpt + 7
    .fill 511, 8, 0
pdpt:
    .quad pd + 7
    .fill 511, 8, 0
pd:
    .quad pt + 7
    .set page, 1
    .rept 7
    .quad (page << 21) + 0x87
    .set page, page + 1
    .endr
    .fill 504, 8, 0
pt:
    .quad 0
    .set page, 1
    .rept 511
    .quad (page << 12) + 7
    .set page, page + 1
    .endr
    .bss
    .balign 4096
    .globl stack_guard
stack_guard:
    .skip 4096
stack:
    .skip 8192
stack_top:
    .skip 4096
stack0_top:
    .skip 4096
stack1_top:
    .skip 4096
user_stack_top:
idt:
    .skip 4096
#endif
    .section .note.GNU-stack, "", @progbits
