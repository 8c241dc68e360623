/* The gates name a selector that is no code segment: handlers were written for another GDT.
 * bits: 64
 * cause: (gate|IDT).*(selector|segment)
 */
    GOOD_IDT
    mov $idt, %edi
    mov $256, %ecx
4:  movw $DATA, 2(%rdi)
    add $16, %edi
    dec %ecx
    jnz 4b
    xor %edx, %edx
    mov $1, %eax
    xor %ecx, %ecx
    div %ecx
