/* A jump into a page marked no-execute.
 * bits: 64
 * cause: (no-execute|NX|not executable)
 */
    movb $0x80, pt + (0x90 * 8) + 7
    mov %cr3, %rax
    mov %rax, %cr3
    mov $0x90000, %eax
    jmp *%rax
