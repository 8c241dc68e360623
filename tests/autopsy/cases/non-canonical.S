/* A pointer with bit 47 and the bits above it at odds.
 * bits: 64
 * cause: canonical
 */
    movabs $0xdead00000000beef, %rbx
    mov 8(%rbx), %rax
