/* Interrupts are switched on while the IDT has no entry: the first tick of the timer kills.
 * bits: 64
 * cause: (interrupt|vector).*IDT.*limit 0
 */
    lidt empty
    mov $0x11, %al
    out %al, $0x20
    mov $0x20, %al
    out %al, $0x21
    mov $4, %al
    out %al, $0x21
    mov $1, %al
    out %al, $0x21
    mov $0xfe, %al
    out %al, $0x21
    mov $0x34, %al
    out %al, $0x43
    mov $0, %al
    out %al, $0x40
    mov $0x10, %al
    out %al, $0x40
    sti
4:  hlt
    jmp 4b
empty:
    .word 0
    .quad 0
