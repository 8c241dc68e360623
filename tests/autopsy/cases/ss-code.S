/* After the new GDT the segment registers get selectors of the old one: SS gets that of the code segment.
 * bits: 32
 * cause: (\bss\b|stack).*selector 0x8|selector 0x8.*(\bss\b|stack)
 */
    mov $CODE32, %eax
    mov %eax, %ds
    mov %eax, %ss
