/* A segment register gets a selector of the LDT, and there is none.
 * bits: 64
 * cause: LDT
 */
    mov $0x0c, %eax
    mov %eax, %fs
