/* The way to long mode, with CR4.PAE forgotten.
 * bits: 32
 * cause: CR4.PAE
 */
    mov $pml4, %eax
    mov %eax, %cr3
    mov $MSR_EFER, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov $0x80000001, %eax
    mov %eax, %cr0
    ljmp $CODE64, $halt
