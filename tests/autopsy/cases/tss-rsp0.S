/* The TSS has no stack for ring 0: the first trap of ring 3 has nowhere to go.
 * bits: 64
 * cause: TSS.*(RSP0|stack)|RSP0.*TSS
 */
    GOOD_IDT
    movl $0, tss + 4
    TO_USER user
user:
    hlt
