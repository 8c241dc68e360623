/* The way to long mode, with EFER.LME forgotten: CR3 holds a four-level table, the CPU takes it for a PAE table.
 * bits: 32
 * cause: EFER.LME|long mode
 */
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0x20, %eax
    mov %eax, %cr4
    mov $0x80000001, %eax
    mov %eax, %cr0
    ljmp $CODE64, $halt
