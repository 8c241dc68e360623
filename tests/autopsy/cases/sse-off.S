/* The compiler used SSE, and the kernel never set CR4.OSFXSR.
 * bits: 64
 * cause: SSE|OSFXSR
 */
    sub $32, %rsp
    movups %xmm0, (%rsp)
