/* boot32.S - PVH entry, 32-bit protected mode, paging off; and the traps. Functions take eax, edx, ecx (regparm). */
#define VECTOR_AT 8 * 4
#include "boot.h"
        .code32
ENTRY_POINT:
        cld
        mov     %ebx, start_info
        mov     $stack_top, %esp
        lgdt    boot_gdtr
        ljmp    $8, $1f
1:      mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     %eax, %fs
        mov     %eax, %gs
        mov     %cr0, %eax
        or      $0x10020, %eax          /* WP, NE */
        mov     %eax, %cr0
        mov     %cr4, %eax
        or      $0x600, %eax
        mov     %eax, %cr4
        call    traps_init
        call    main
        call    finish

        .align  8
boot_gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
boot_gdtr: .word 23
        .long   boot_gdt

        VECTOR_STUBS
common:
        pusha
        push    %ds
        push    %es
        mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        lea     8(%esp), %eax
        cld
        call    trap_c
        pop     %es
        pop     %ds
        popa
        add     $8, %esp
        iret

        .globl  attempt, resume_trap, user_at
attempt:
        push    %ebx; push %ebp; push %esi; push %edi
        pushf
        push    resume_sp
        mov     %esp, resume_sp
        xchg    %eax, %edx
        call    *%edx
        mov     $-1, %eax
1:      pop     resume_sp
        popf
        pop     %edi; pop %esi; pop %ebp; pop %ebx
        ret
resume_trap:
        mov     resume_sp, %esp
        mov     $16, %eax
        mov     %eax, %ss
        mov     %eax, %ds
        mov     %eax, %es
        mov     trap_vector, %eax
        cld
        jmp     1b

/* user_at(ip, arg, cs; flags) */
user_at:
        push    %ebx; push %ebp; push %esi; push %edi
        pushf
        push    resume_sp
        mov     %esp, resume_sp
        mov     %esp, tss + 4
        mov     28(%esp), %ebx          /* flags */
        mov     $user_stack_top - 4, %esi
        movl    $user_exit, (%esi)
        mov     $0x23, %edi
        push    %edi
        push    %esi
        push    %ebx
        push    %ecx
        push    %eax
        mov     %edi, %ds
        mov     %edi, %es
        mov     %edx, %eax
        iret

        .section .user, "ax"
        .globl  user_exit
user_exit: ud2                          /* trap_c() knows it */

        .bss
        .skip   16384
        .globl  istack_top
istack_top:
