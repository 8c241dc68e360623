/*
 * ui/font.h - the characters that text consoles draw, from the files of a host: fonts of Linux's consoles (PSF 1 and 2,
 * PSF format as in kbd's psf.h) and those of code page 437 inside VGA BIOSes. VM lock.
 */
#ifndef UI_FONT_H
#define UI_FONT_H
#include "core/vm.h"

enum { FONT_W = 32, FONT_H = 64 }; /* the largest cell */
typedef struct UiFace { /* all known characters of one size */
    unsigned w, h;
    GHashTable *chars; /* (w + 7) / 8 * h bytes, the leftmost pixel is the highest bit -> GUINT_TO_POINTER(character) */
} UiFace;
/* GPtrArray of UiFace *, read from files on the first call; the VM's. May be empty. */
const GPtrArray *ui_faces(Vm *vm);
/* Adds the fonts in a file's bytes to faces; for tests. Anything that is no font is left alone. */
void ui_font_add(GPtrArray *faces, const uint8_t *data, size_t n);
GPtrArray *ui_font_list(void); /* an empty list; g_ptr_array_unref */
#endif
