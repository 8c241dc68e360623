/* The descriptor of the 64-bit code segment lacks its L bit: the 64-bit code that follows is run as 32-bit code.
 * bits: 64
 * cause: L bit|32-bit code|64-bit
 */
    andb $0xdf, gdt + CODE64 + 6
    orb $0x40, gdt + CODE64 + 6
    lea 4f(%rip), %rax
    push $CODE64
    push %rax
    lretq
4:  movabs $0xffff800000200000, %rax
    mov %rax, %r15
    mov (%r15), %r14
    jmp halt
