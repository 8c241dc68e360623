/* The IDT's address is not mapped.
 * bits: 64
 * cause: IDT.*(not mapped|unmapped)
 */
    lidt bad
    ud2
bad:
    .word 4095
    .quad 0xffff800000001000
