/* The stack pointer was set to an address that no page maps.
 * bits: 64
 * cause: stack.*(not mapped|no page|unmapped)
 */
    GOOD_IDT
    mov $0x40000000, %rsp
    call halt
