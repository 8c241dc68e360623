/* Paging is switched on with a page directory that maps the first megabyte only; the kernel is above it.
 * bits: 32
 * cause: (page tables|page directory|CR3|paging).*(not map|code)
 */
    mov $directory, %eax
    mov %eax, %cr3
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    jmp halt
    .balign 4096
directory:
    .long table + 3
    .fill 1023, 4, 0
table:
    .set n, 0
    .rept 256
    .long (n << 12) + 3
    .set n, n + 1
    .endr
    .fill 768, 4, 0
