/* A call through a null pointer.
 * bits: 64
 * cause: null
 */
    xor %eax, %eax
    call *%rax
