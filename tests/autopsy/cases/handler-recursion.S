/* The page fault handler itself reads what is not mapped, until the stack is full of its frames.
 * bits: 64
 * cause: handler
 */
    GOOD_IDT
    lea handler(%rip), %rax
    mov %ax, idt + 14 * 16
    shr $16, %eax
    mov %eax, idt + 14 * 16 + 6
    mov $stack_guard, %eax
    shr $12, %eax
    movl $0, pt(, %rax, 8)
    mov %cr3, %rax
    mov %rax, %cr3
    mov 0x70000000, %eax
    jmp halt
handler:
    push %rax
    mov 0x70000008, %eax
    pop %rax
    add $8, %rsp
    iretq
