/* A page table entry with an address beyond what the CPU has.
 * bits: 64
 * cause: reserved bit
 */
    movb $0x7f, pt + (0x90 * 8) + 6
    mov %cr3, %rax
    mov %rax, %cr3
    mov 0x90000, %eax
