/*
 * hw/fw/aml.h - writing ACPI Machine Language (ACPI 6.4 chapter 20). A term goes to the end of the array;
 * packages are opened, filled and closed, their length is put in at the close.
 */
#ifndef HW_FW_AML_H
#define HW_FW_AML_H
#include "util/util.h"

typedef GByteArray Aml;
guint aml_scope(Aml *a, const char *path);
guint aml_device(Aml *a, const char *name);
guint aml_method(Aml *a, const char *name, unsigned args, bool serialized);
guint aml_package(Aml *a, unsigned n);
guint aml_if(Aml *a);   /* the condition follows, then the body */
guint aml_else(Aml *a);
guint aml_field(Aml *a, const char *region, uint8_t flags); /* 1: byte access; then aml_unit.. */
guint aml_buffer(Aml *a); /* its bytes follow */
void aml_close(Aml *a, guint open);
void aml_close_buffer(Aml *a, guint open); /* puts the size in as well */
void aml_unit(Aml *a, const char *name /* 4 chars, or NULL: skip */, unsigned bits);
void aml_name(Aml *a, const char *name);   /* Name(X, the term that follows) */
void aml_path(Aml *a, const char *path);   /* a name string: "\\_SB_.PCI0", "^X" */
void aml_int(Aml *a, uint64_t v);
void aml_string(Aml *a, const char *s);
void aml_eisaid(Aml *a, const char *id);
void aml_op(Aml *a, unsigned op);          /* AML_* below; 0x5bXX are two bytes */
void aml_region(Aml *a, const char *name, uint8_t space, uint64_t at, uint64_t len);
void aml_arg(Aml *a, unsigned n);
void aml_local(Aml *a, unsigned n);
void aml_create_dword(Aml *a, unsigned arg, uint64_t at, const char *name);
void aml_mutex(Aml *a, const char *name);
void aml_acquire(Aml *a, const char *mutex); /* waits for ever */
void aml_release(Aml *a, const char *mutex);
enum { AML_STORE = 0x70, AML_AND = 0x7b, AML_OR = 0x7d, AML_RETURN = 0xa4, AML_EQUAL = 0x93, AML_NOT_L = 0x92, AML_ONES = 0xff,
       AML_SIZEOF = 0x87, AML_NOTIFY = 0x86, AML_SHIFT_LEFT = 0x79, AML_TO_UUID = 0 };
enum { AML_MEMORY = 0, AML_IO = 1, AML_PCI = 2 };
/* Resource descriptors (chapter 6.4), between aml_buffer and aml_end_crs. */
void aml_crs_io(Aml *a, uint16_t at, uint16_t len);
void aml_crs_irq(Aml *a, unsigned irq);                /* edge, high, exclusive */
void aml_crs_irq_list(Aml *a, uint16_t mask);          /* level, low, shared */
void aml_crs_dma(Aml *a, unsigned channel);
void aml_crs_memory(Aml *a, uint32_t at, uint32_t len, bool writable);
void aml_crs_bus(Aml *a, uint16_t first, uint16_t last);
void aml_crs_io_window(Aml *a, uint16_t first, uint16_t last);
void aml_crs_memory_window(Aml *a, uint64_t first, uint64_t last, bool cacheable, bool wide);
void aml_crs_end(Aml *a, guint open);
#endif
