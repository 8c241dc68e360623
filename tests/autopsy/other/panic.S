/* Tells pvpanic that it panicked; if that changes nothing, ends with isa-debug-exit and value 1.
 * bits: 64
 */
    mov $1, %al
    mov $0x505, %dx
    out %al, %dx
    mov $1, %al
    mov $0x501, %dx
    out %al, %dx
