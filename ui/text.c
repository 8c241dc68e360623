/*
 * ui/text.c - what a screen says: a text mode's characters, or those of a console drawn in pixels, cell by cell, against
 * the fonts of ui/font.c. Cells are exact pictures of two colours; a few pixels off (a cursor) is the nearest one.
 */
#include "ui/font.h"
#include "ui/priv.h"

enum { COLUMNS_MIN = 20, ROWS_MIN = 5, EARLY = 150, BYTES = (FONT_W + 7) / 8 * FONT_H };

typedef struct Grid { /* a way to cut the screen into cells */
    const UiFace *face;
    unsigned pitch, left, top, columns, rows; /* pitch: from one cell to the next, at least the face's width */
} Grid;
typedef struct Reader {
    const uint32_t *px;
    unsigned row; /* pixels from one line to the next */
    GHashTable *near; /* of this grid: picture -> character */
} Reader;

/* One bit a pixel, set where the colour is another than that of the first. False: an empty cell. */
static bool picture(const Reader *r, const Grid *g, unsigned x, unsigned y, uint8_t bits[BYTES])
{
    const uint32_t *p = r->px + (size_t)(g->top + y * g->face->h) * r->row + g->left + x * g->pitch;
    unsigned per = (g->face->w + 7) / 8;
    uint32_t ground = p[0] & 0xffffff;
    bool any = false;

    memset(bits, 0, per * g->face->h);
    for (unsigned i = 0; i < g->face->h; i++, p += r->row)
        for (unsigned k = 0; k < g->face->w; k++)
            if ((p[k] & 0xffffff) != ground) {
                bits[i * per + k / 8] |= 0x80 >> k % 8;
                any = true;
            }
    return any;
}

static void turn_over(const UiFace *f, uint8_t *bits)
{
    unsigned per = (f->w + 7) / 8, spare = per * 8 - f->w;

    for (unsigned i = 0; i < per * f->h; i++)
        bits[i] = (uint8_t)(~bits[i] & (i % per == per - 1 ? 0xff << spare : 0xff));
}

static gunichar exact(const UiFace *f, uint8_t *bits)
{
    size_t n = (f->w + 7) / 8 * f->h;
    g_autoptr(GBytes) key = g_bytes_new_static(bits, n);
    gpointer c = g_hash_table_lookup(f->chars, key);

    if (!c) { /* the first pixel may belong to the character */
        g_autoptr(GBytes) other = NULL;

        turn_over(f, bits);
        other = g_bytes_new_static(bits, n);
        c = g_hash_table_lookup(f->chars, other);
        turn_over(f, bits);
    }
    return GPOINTER_TO_UINT(c);
}

/* The one with the fewest other pixels; U+FFFD when too many differ. */
static gunichar nearest(const Reader *r, const UiFace *f, const uint8_t *bits)
{
    size_t n = (f->w + 7) / 8 * f->h;
    GBytes *key = g_bytes_new(bits, n);
    gpointer c, k, v;
    GHashTableIter i;
    unsigned best = f->h + 1;

    if (g_hash_table_lookup_extended(r->near, key, NULL, &c)) {
        g_bytes_unref(key);
        return GPOINTER_TO_UINT(c);
    }
    c = GUINT_TO_POINTER(0xfffd);
    g_hash_table_iter_init(&i, f->chars);
    while (g_hash_table_iter_next(&i, &k, &v)) {
        const uint8_t *other = g_bytes_get_data(k, NULL);
        unsigned off = 0;

        for (size_t b = 0; b < n && off < best; b++)
            off += (unsigned)__builtin_popcount(bits[b] ^ other[b]);
        if (off < best) {
            best = off;
            c = v;
        }
    }
    g_hash_table_insert(r->near, key, c);
    return GPOINTER_TO_UINT(c);
}

/* False: this is no screen of such cells. */
static bool read_grid(Reader *r, const Grid *g, GString *out, unsigned *known)
{
    uint8_t bits[BYTES];
    unsigned seen = 0;

    *known = 0;
    for (unsigned y = 0; y < g->rows; y++) {
        gsize line = out->len;

        for (unsigned x = 0; x < g->columns; x++) {
            gunichar c = ' ';

            if (picture(r, g, x, y, bits)) {
                seen++;
                c = exact(g->face, bits);
                *known += c != 0;
                if (!c && seen > EARLY && *known < seen / 4)
                    return false;
                c = c ? c : nearest(r, g->face, bits);
            }
            g_string_append_unichar(out, c);
        }
        while (out->len > line && out->str[out->len - 1] == ' ')
            g_string_truncate(out, out->len - 1);
        g_string_append_c(out, '\n');
    }
    return seen && *known * 10ull >= seen * 7ull;
}

static void grids_of(const UiFace *f, unsigned w, unsigned h, GArray *out)
{
    for (unsigned pitch = f->w; pitch <= f->w + (f->w == 8); pitch++) { /* a VGA may put a ninth pixel between */
        Grid g = { f, pitch, 0, 0, w / pitch, h / f->h };

        if (g.columns < COLUMNS_MIN || g.rows < ROWS_MIN)
            continue;
        g_array_append_val(out, g);
        if (pitch == f->w && w >= 80 * pitch && h >= 25 * f->h && (w != 80 * pitch || h != 25 * f->h)) { /* in the middle of a larger screen */
            g = (Grid){ f, pitch, (w - 80 * pitch) / 2, (h - 25 * f->h) / 2, 80, 25 };
            g_array_append_val(out, g);
        }
    }
}

static bool read_pixels(UiConsole *c, Vm *vm, GString *out)
{
    pixman_image_t *i = ui_surface(c);
    const GPtrArray *faces = ui_faces(vm);
    g_autoptr(GArray) grids = g_array_new(FALSE, FALSE, sizeof(Grid));
    g_autoptr(GString) best = g_string_new(NULL);
    unsigned most = 0;

    if (PIXMAN_FORMAT_BPP(pixman_image_get_format(i)) != 32)
        return false;
    for (guint k = 0; k < faces->len; k++)
        grids_of(faces->pdata[k], (unsigned)pixman_image_get_width(i), (unsigned)pixman_image_get_height(i), grids);
    for (guint k = 0; k < grids->len; k++) {
        g_autoptr(GString) text = g_string_new(NULL);
        g_autoptr(GHashTable) near = g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify)g_bytes_unref, NULL);
        Reader r = { pixman_image_get_data(i), (unsigned)pixman_image_get_stride(i) / 4, near };
        unsigned known;

        if (!read_grid(&r, &g_array_index(grids, Grid, k), text, &known) || known <= most)
            continue;
        most = known;
        g_string_assign(best, text->str);
    }
    g_string_append(out, best->str);
    return most > 0;
}

UiTextKind ui_read_text(Vm *vm, UiConsole *c, GString *out)
{
    if (ui_console_text(c, out))
        return UI_TEXT_MODE;
    return read_pixels(c, vm, out) ? UI_TEXT_PIXELS : UI_TEXT_NONE;
}

char *ui_hash(UiConsole *c, const UiRect *part)
{
    pixman_image_t *i = ui_surface(c);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autofree uint8_t *rgb = g_malloc((size_t)MAX(part->w, 1) * 3);
    pixman_image_t *line = pixman_image_create_bits(PIXMAN_x8r8g8b8, part->w, 1, NULL, 0);
    const uint32_t *p = pixman_image_get_data(line);

    for (int y = 0; y < part->h; y++) { /* red, green, blue of each pixel, line by line */
        pixman_image_composite32(PIXMAN_OP_SRC, i, NULL, line, part->x, part->y + y, 0, 0, 0, 0, part->w, 1);
        for (int x = 0; x < part->w; x++) {
            rgb[3 * x] = (uint8_t)(p[x] >> 16);
            rgb[3 * x + 1] = (uint8_t)(p[x] >> 8);
            rgb[3 * x + 2] = (uint8_t)p[x];
        }
        g_checksum_update(sum, rgb, part->w * 3);
    }
    pixman_image_unref(line);
    return g_strdup(g_checksum_get_string(sum));
}
