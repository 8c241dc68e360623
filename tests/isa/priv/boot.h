/* boot.h - the PVH note and the stacks, for both start-up files */
        .section .note.Xen, "a", @note
        .long   4, 4, 18                /* XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz  "Xen"
        .long   start

        .bss
        .align  16
        .skip   32768
        .globl  stack_top
stack_top:
        .section .udata, "aw"
        .align  16
        .skip   16384
        .globl  user_stack_top
user_stack_top:
        .skip   64
        .data
        .globl  start_info
start_info: .long 0
        .set    trap_vector, trap + VECTOR_AT
/* One entry per vector: a zero where the CPU pushes no error code, the vector, then common */
        .macro  VECTOR_STUBS
        .text
        .align  16
        .globl  vector_stubs
vector_stubs:
        .set    i, 0
        .rept   256
        .align  16
        .if     (i == 8) || (i >= 10 && i <= 14) || (i == 17)
        .else
        push    $0
        .endif
        push    $i
        jmp     common
        .set    i, i + 1
        .endr
        .endm
        .section .boot, "ax"
        .globl  start
#define ENTRY_POINT start
