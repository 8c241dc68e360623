/*
 * ui/font.c - see font.h. Source: psf.h of kbd (headers of PSF 1 and 2, tables of characters); IBM code page 437.
 * Fonts are files: every length in them is checked.
 */
#include "ui/font.h"
#include "ui/priv.h"
#include <zlib.h>

enum { FILE_MAX = 1 << 20, GLYPHS = 512 };
static const char *const console_fonts[] = { "Lat15-VGA16", "Lat15-VGA14", "Lat15-VGA8", "Lat15-VGA28x16", "Uni2-Fixed16", "Uni2-Fixed14", "Uni2-Fixed13",
                                             "Uni2-Terminus14", "Uni2-Terminus16", "Uni2-TerminusBold16", "Uni2-Terminus20x10",
                                             "Uni2-Terminus24x12", "Uni2-Terminus28x14", "Uni2-Terminus32x16", "Uni2-TerminusBold32x16" };
static const char *const bios_fonts[] = { "vgabios-stdvga.bin", "vgabios.bin" };

/* The upper half of the code page and the pictures below the space, in order (CP437 of the Unicode consortium, and of IBM for 1 to 31). */
static const char low[] = " \u263a\u263b\u2665\u2666\u2663\u2660\u2022\u25d8\u25cb\u25d9\u2642\u2640\u266a\u266b\u263c\u25ba\u25c4\u2195\u203c\u00b6\u00a7\u25ac"
                          "\u21a8\u2191\u2193\u2192\u2190\u221f\u2194\u25b2\u25bc";

uint32_t ui_cp437(uint8_t c)
{
    const char one = (char)c;
    g_autofree char *text = NULL;

    if (c < 32)
        return g_utf8_get_char(g_utf8_offset_to_pointer(low, c));
    if (c == 127)
        return 0x2302;
    if (c < 127 || c == 255)
        return c == 255 ? ' ' : c;
    text = g_convert(&one, 1, "UTF-8", "CP437", NULL, NULL, NULL);
    return text ? g_utf8_get_char(text) : 0xfffd;
}

/* ---- a list of faces ---- */
static void face_free(gpointer p)
{
    g_hash_table_unref(((UiFace *)p)->chars);
    g_free(p);
}

GPtrArray *ui_font_list(void) { return g_ptr_array_new_with_free_func(face_free); }

static UiFace *face_of(GPtrArray *faces, unsigned w, unsigned h)
{
    UiFace *f;

    for (guint i = 0; i < faces->len; i++) {
        f = faces->pdata[i];
        if (f->w == w && f->h == h)
            return f;
    }
    f = g_new(UiFace, 1);
    *f = (UiFace){ w, h, g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify)g_bytes_unref, NULL) };
    g_ptr_array_add(faces, f);
    return f;
}

/* The first font that has a picture names it; a picture of nothing is no character. */
static void add_char(UiFace *f, const uint8_t *bits, gunichar c)
{
    size_t n = (f->w + 7) / 8 * f->h, set = 0;
    GBytes *key;

    for (size_t i = 0; i < n; i++)
        set |= bits[i];
    if (!set || !c || c == 0xffff)
        return;
    key = g_bytes_new(bits, n);
    if (g_hash_table_contains(f->chars, key))
        g_bytes_unref(key);
    else
        g_hash_table_insert(f->chars, key, GUINT_TO_POINTER(c));
}

/* ---- PSF ---- */
static void add_psf1(GPtrArray *faces, const uint8_t *p, size_t n)
{
    unsigned count = p[2] & 1 ? 512 : 256, h = p[3];
    size_t at = 4 + (size_t)count * h;
    bool names = p[2] & 2;

    if (!h || h > FONT_H || at > n)
        return;
    for (unsigned g = 0; g < count; g++) {
        gunichar c = names ? 0 : ui_cp437((uint8_t)g);

        for (bool first = true; names && at + 2 <= n; first = false, at += 2) { /* up to 0xffff */
            uint16_t v = le16_load(p + at);

            if (v == 0xffff) {
                at += 2;
                break;
            }
            c = first ? v : c;
        }
        add_char(face_of(faces, 8, h), p + 4 + (size_t)g * h, c);
    }
}

static void add_psf2(GPtrArray *faces, const uint8_t *p, size_t n)
{
    uint32_t head = le32_load(p + 8), flags = le32_load(p + 12), count = le32_load(p + 16), size = le32_load(p + 20), h = le32_load(p + 24),
             w = le32_load(p + 28);
    uint64_t at = head + (uint64_t)count * size;

    if (!w || !h || w > FONT_W || h > FONT_H || size != (w + 7) / 8 * h || count > 65536 || head < 32 || at > n)
        return;
    for (unsigned g = 0; g < count; g++) {
        gunichar c = flags & 1 ? 0 : ui_cp437((uint8_t)g);

        if (flags & 1 && at < n && p[at] < 0xfe) {
            c = g_utf8_get_char_validated((const char *)p + at, (gssize)(n - at));
            c = c >= 0xfffffffe ? 0 : c;
        }
        while (flags & 1 && at < n && p[at++] != 0xff)
            ;
        add_char(face_of(faces, w, h), p + head + (uint64_t)g * size, c);
    }
}

/* ---- VGA BIOS: 256 characters one after the other; the second is a face with two eyes ---- */
static void add_bios(GPtrArray *faces, const uint8_t *p, size_t n)
{
    static const struct {
        unsigned h;
        uint8_t face[16];
    } sizes[] = { { 16, { 0, 0, 0x7e, 0x81, 0xa5, 0x81, 0x81, 0xbd, 0x99, 0x81, 0x81, 0x7e } },
                  { 14, { 0, 0, 0x7e, 0x81, 0xa5, 0x81, 0x81, 0xbd, 0x99, 0x81, 0x7e } },
                  { 8, { 0x7e, 0x81, 0xa5, 0x81, 0xbd, 0x99, 0x81, 0x7e } } };
    static const uint8_t zero[16];

    for (size_t k = 0; k < G_N_ELEMENTS(sizes); k++) {
        unsigned h = sizes[k].h;

        for (size_t at = 0; at + 256 * h <= n; at++) {
            if (memcmp(p + at, zero, h) || memcmp(p + at + h, sizes[k].face, h))
                continue;
            for (unsigned c = 0; c < 256; c++) /* letters first: some pictures are there twice */
                add_char(face_of(faces, 8, h), p + at + ((c + 32) & 255) * h, ui_cp437((uint8_t)(c + 32)));
            break;
        }
    }
}

void ui_font_add(GPtrArray *faces, const uint8_t *p, size_t n)
{
    static const uint8_t psf2[4] = { 0x72, 0xb5, 0x4a, 0x86 };

    if (n >= 32 && !memcmp(p, psf2, 4))
        add_psf2(faces, p, n);
    else if (n >= 4 && p[0] == 0x36 && p[1] == 0x04)
        add_psf1(faces, p, n);
    else
        add_bios(faces, p, n);
}

/* ---- the host's ---- */
static void add_file(GPtrArray *faces, const char *path)
{
    gzFile f = path ? gzopen(path, "rbe") : NULL; /* reads plain files too */
    uint8_t *data = f ? g_malloc(FILE_MAX) : NULL;
    int n = f ? gzread(f, data, FILE_MAX) : 0;

    if (n > 0)
        ui_font_add(faces, data, (size_t)n);
    g_free(data);
    if (f)
        gzclose(f);
}

const GPtrArray *ui_faces(Vm *vm)
{
    Ui *ui = ui__of(vm);

    if (ui->faces)
        return ui->faces;
    ui->faces = ui_font_list();
    for (size_t i = 0; i < G_N_ELEMENTS(bios_fonts); i++) {
        g_autofree char *path = vm_find_firmware(vm, bios_fonts[i], NULL);

        add_file(ui->faces, path);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(console_fonts); i++) {
        g_autofree char *path = g_strdup_printf("/usr/share/consolefonts/%s.psf.gz", console_fonts[i]);

        add_file(ui->faces, path);
    }
    return ui->faces;
}
