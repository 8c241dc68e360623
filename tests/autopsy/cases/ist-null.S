/* The gate of the page fault uses IST 3, which is zero in the TSS.
 * bits: 64
 * cause: IST ?3
 */
    GOOD_IDT
    mov $TSS, %ax
    ltr %ax
    movb $3, idt + 14 * 16 + 4
    movb $3, idt + 8 * 16 + 4
    mov 0x70000000, %eax
