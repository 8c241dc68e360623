/* A trap came while DF was set, and the handler copies memory without CLD: down through the mapped pages, off their end.
 * bits: 64
 * cause: direction|\bDF\b|backward
 */
    std
    mov $0x104000, %esi
    mov $0x8000, %edi
    mov $0x10000, %ecx
    rep movsb
