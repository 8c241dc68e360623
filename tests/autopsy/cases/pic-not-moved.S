/* Interrupts on, the PIC as the firmware left it: the timer comes as vector 8, whose gate is not there.
 * bits: 64
 * cause: PIC|IRQ ?0
 */
    GOOD_IDT
    movb $0, idt + 8 * 16 + 5
    movb $0, idt + 13 * 16 + 5
    movb $0, idt + 11 * 16 + 5
    mov $0x11, %al
    out %al, $0x20
    mov $8, %al
    out %al, $0x21
    mov $4, %al
    out %al, $0x21
    mov $1, %al
    out %al, $0x21
    mov $0xfe, %al
    out %al, $0x21
    mov $0x34, %al
    out %al, $0x43
    xor %eax, %eax
    out %al, $0x40
    mov $0x10, %al
    out %al, $0x40
    sti
4:  hlt
    jmp 4b
