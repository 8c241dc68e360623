/* The gates of the page fault and of the double fault are not present.
 * bits: 64
 * cause: (gate|entry|IDT).*not present
 */
    GOOD_IDT
    movb $0x0e, idt + 14 * 16 + 5
    movb $0x0e, idt + 8 * 16 + 5
    mov 0x70000000, %eax
