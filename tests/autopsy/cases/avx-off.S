/* Code built for the builder's own CPU (-march=native): AVX, which nobody switched on.
 * bits: 64
 * cause: AVX
 */
    mov $0x620, %eax
    mov %rax, %cr4
    vaddps %ymm0, %ymm1, %ymm2
