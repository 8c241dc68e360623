/* CR3 points at a page of zeros.
 * bits: 64
 * cause: CR3.*(code|nothing|empty|no entry)
 */
    GOOD_IDT
    mov $0x800000, %eax
    mov %rax, %cr3
    nop
