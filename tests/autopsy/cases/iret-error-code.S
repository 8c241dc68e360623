/* The page fault handler returns with the error code still on the stack. Gates for #GP and #DF were not written yet.
 * bits: 64
 * cause: error code
 */
    GOOD_IDT
    movb $0, idt + 8 * 16 + 5
    movb $0, idt + 13 * 16 + 5
    mov $fault, %eax
    mov %ax, idt + 14 * 16
    shr $16, %eax
    mov %eax, idt + 14 * 16 + 6
    mov 0x70000000, %eax
    jmp halt
fault:
    iretq
