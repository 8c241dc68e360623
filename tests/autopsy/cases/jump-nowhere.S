/* A jump through a register that holds rubbish.
 * bits: 64
 * cause: (jump|call|ran|execut|fetch|code).*0x123456789000
 */
    movabs $0x123456789000, %rax
    jmp *%rax
