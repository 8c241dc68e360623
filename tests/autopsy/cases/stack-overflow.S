/* A function that calls itself for ever runs into the guard page under its stack.
 * bits: 64
 * cause: stack.*(over|ran|full)
 */
    GOOD_IDT
    mov $stack_guard, %eax
    shr $12, %eax
    movl $0, pt(, %rax, 8)
    mov %cr3, %rax
    mov %rax, %cr3
    call deep
deep:
    sub $56, %rsp
    call deep
    add $56, %rsp
    ret
