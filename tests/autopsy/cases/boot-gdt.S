/* A boot sector loads GDTR with an address without its origin, so the table is taken from rubbish.
 * bits: 16
 * cause: GDT
 */
    lgdt bad_gdtr
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmp $8, $4f
    .code32
4:  hlt
    .code16
    .balign 8
table:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
bad_gdtr:
    .word 23
    .long table - 0x7c00
