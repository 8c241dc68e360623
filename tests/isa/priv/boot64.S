/* boot64.S - PVH entry to long mode, 4 GiB mapped 1:1 by 2 MiB pages (ring 3 may reach 4..8 MiB only), and the traps */
#define VECTOR_AT 15 * 8
#include "boot.h"
        .code32
ENTRY_POINT:
        cld
        mov     %ebx, start_info
        mov     $stack_top, %esp
        mov     $pd, %edi               /* four page directories in a row */
        mov     $0x83, %eax
1:      mov     %eax, (%edi)
        movl    $0, 4(%edi)
        add     $8, %edi
        add     $0x200000, %eax
        jnc     1b
        orl     $4, pd + 16             /* 4 MiB, 6 MiB: user */
        orl     $4, pd + 24
        mov     $pd + 7, %eax
        mov     $pdpt, %edi
        mov     $4, %ecx
2:      mov     %eax, (%edi)
        add     $8, %edi
        add     $0x1000, %eax
        loop    2b
        movl    $pdpt + 7, pml4
        movl    $pml4 + 7, pml5
        mov     %cr4, %eax
        or      $0x620, %eax            /* PAE, OSFXSR, OSXMMEXCPT */
        mov     $pml4, %edx
#ifdef LA57
        push    %eax
        xor     %eax, %eax
        cpuid
        cmp     $7, %eax
        jb      4f
        mov     $7, %eax
        xor     %ecx, %ecx
        cpuid
        test    $1 << 16, %ecx
        jz      4f
        pop     %eax
        or      $0x1000, %eax
        mov     $pml5, %edx
#endif
        mov     %eax, %cr4
        mov     %edx, %cr3
        mov     $0xc0000080, %ecx
        rdmsr
        or      $0x901, %eax            /* SCE, LME, NXE */
        wrmsr
        mov     $0x80010033, %eax       /* PG, WP, NE, ET, MP, PE */
        mov     %eax, %cr0
        lgdt    boot_gdtr
        ljmp    $8, $3f
#ifdef LA57
4:      mov     $no_la57, %esi          /* not offered: nothing to test */
5:      lodsb
        test    %al, %al
        jz      6f
        out     %al, $0xe9
        jmp     5b
6:      mov     $0x501, %dx
        xor     %eax, %eax
        out     %al, %dx
        hlt
no_la57: .asciz "PASSED 0 of 0: no 5-level paging\n"
#endif
        .code64
3:      mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        mov     $stack_top, %esp
        call    traps_init
        call    main
        call    finish

        .align  8
boot_gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdtr: .word 23
        .quad   boot_gdt

        VECTOR_STUBS
common:
        push    %rax; push %rcx; push %rdx; push %rbx; push %rbp; push %rsi; push %rdi
        push    %r8; push %r9; push %r10; push %r11; push %r12; push %r13; push %r14; push %r15
        mov     %rsp, %rdi
        mov     %rsp, %rbx
        and     $-16, %rsp
        cld
        call    trap_c
        mov     %rbx, %rsp
        pop     %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10; pop %r9; pop %r8
        pop     %rdi; pop %rsi; pop %rbp; pop %rbx; pop %rdx; pop %rcx; pop %rax
        add     $16, %rsp
        iretq

        .globl  attempt, resume_trap, user_at
attempt:
        push    %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
        pushf
        push    resume_sp
        mov     %rsp, resume_sp
        mov     %rdi, %rax
        mov     %rsi, %rdi
        call    *%rax
        mov     $-1, %eax
1:      pop     resume_sp
        popf
        pop     %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
        ret
resume_trap:
        mov     resume_sp, %rsp
        mov     $16, %eax
        mov     %eax, %ss
        mov     %eax, %ds
        mov     %eax, %es
        mov     trap_vector, %eax
        cld
        jmp     1b

/* user_at(ip, arg, cs, flags) */
user_at:
        push    %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
        pushf
        push    resume_sp
        mov     %rsp, resume_sp
        mov     %rsp, tss + 4           /* traps from ring 3 land below us */
        pushf                           /* SMAP may be on */
        orl     $0x40000, (%rsp)
        popf
        mov     $user_stack_top - 8, %r8d
        movq    $user_exit, (%r8)
        cmp     $0x2b, %edx
        je      2f
        sub     $4, %r8                 /* 32-bit code finds its argument behind the return address */
        mov     %esi, 4(%r8)
        movl    $user_exit, (%r8)
2:      push    $0x23
        push    %r8
        push    %rcx
        push    %rdx
        push    %rdi
        mov     %rsi, %rdi
        iretq

        .section .user, "ax"
        .globl  user_exit
user_exit: ud2                          /* trap_c() knows it */

        .bss
        .align  4096
        .globl  pml5, pml4, pdpt, pd
pml5:   .skip   4096
pml4:   .skip   4096
pdpt:   .skip   4096
pd:     .skip   4 * 4096
        .skip   16384
        .globl  istack_top
istack_top:
