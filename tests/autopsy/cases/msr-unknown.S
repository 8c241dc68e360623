/* A model-specific register of another maker's CPU is written without asking CPUID.
 * bits: 64
 * cause: MSR
 */
    mov $0xc0011029, %ecx
    mov $0xffffffff, %eax
    mov $0xffffffff, %edx
    wrmsr
    mov $0x4d0, %ecx
    wrmsr
