/* The stack is off by eight when compiled code that trusts its alignment saves a vector register.
 * bits: 64
 * cause: align|16.?byte|boundary
 */
    mov $0x620, %eax
    mov %rax, %cr4
    sub $24, %rsp
    movaps %xmm0, (%rsp)
