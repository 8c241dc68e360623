/* hw/fw/multiboot.h - kernels with a Multiboot header, version 1 (0.6.96) or 2 (2.0). At start-up and at each reset. */
#ifndef HW_FW_MULTIBOOT_H
#define HW_FW_MULTIBOOT_H
#include "hw/fw/fw.h"

enum { MB_INFO = 0x30000, MB_ROOM = 0x40000 }; /* where what the kernel is told lies in guest memory */
typedef struct MbModule {
    char *text; /* as it was given: the file, then its arguments */
    GBytes *data;
    uint64_t at;
} MbModule;
typedef struct Multiboot {
    unsigned version; /* 1, 2; 0: the file has no such header */
    uint64_t entry;   /* 0: the ELF header's */
    GArray *modules;  /* of MbModule */
} Multiboot;

/* Looks for a header in the file k. False + err: there is one that asks for what we have not. */
bool mb_find(Multiboot *m, const uint8_t *k, size_t n, Error **err);
/* "FILE ARGS,FILE ARGS": each goes to a page of its own from `from` on, below `top`. */
bool mb_modules(Multiboot *m, const char *list, uint64_t from, uint64_t top, Error **err);
/* What goes to MB_INFO. `name` is the kernel's file; rsdp 36 bytes, or NULL. The caller frees. */
GByteArray *mb_info(const Multiboot *m, const char *name, const char *append, const FwE820 *map, unsigned rows, const uint8_t *rsdp);
uint32_t mb_magic(const Multiboot *m); /* for eax */
void mb_clear(Multiboot *m);
#endif
