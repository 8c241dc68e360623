/* lgdt got an address with nothing behind it; the next far jump cannot find its descriptor.
 * bits: 32
 * cause: GDT
 */
    lgdt bad_gdtr
    ljmp $CODE32, $halt
bad_gdtr:
    .word 0x37
    .long 0x5000000
