/* ui/screendump.c - a console's picture as PNG or PPM (P6). */
#include "ui/priv.h"
#include <errno.h>
#include <png.h>
#include <stdio.h>

static const uint8_t *rgb_row(pixman_image_t *xrgb, int y, uint8_t *out)
{
    int w = pixman_image_get_width(xrgb);
    const uint32_t *p = (const uint32_t *)((const char *)pixman_image_get_data(xrgb) +
                                           (size_t)y * (size_t)pixman_image_get_stride(xrgb));

    for (int x = 0; x < w; x++) {
        out[3 * x] = (uint8_t)(p[x] >> 16);
        out[3 * x + 1] = (uint8_t)(p[x] >> 8);
        out[3 * x + 2] = (uint8_t)p[x];
    }
    return out;
}

static bool write_ppm(FILE *f, pixman_image_t *im)
{
    int w = pixman_image_get_width(im), h = pixman_image_get_height(im);
    g_autofree uint8_t *row = g_malloc((size_t)w * 3);
    bool ok = fprintf(f, "P6\n%d %d\n255\n", w, h) > 0;

    for (int y = 0; y < h && ok; y++)
        ok = fwrite(rgb_row(im, y, row), 3, (size_t)w, f) == (size_t)w;
    return ok;
}

static bool write_png(FILE *f, pixman_image_t *im)
{
    int w = pixman_image_get_width(im), h = pixman_image_get_height(im);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    uint8_t *row = g_malloc((size_t)w * 3);

    if (!info || setjmp(png_jmpbuf(png))) {
        png_destroy_write_struct(&png, &info);
        g_free(row);
        return false;
    }
    png_init_io(png, f);
    png_set_compression_level(png, 3);
    png_set_IHDR(png, info, (png_uint_32)w, (png_uint_32)h, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (int y = 0; y < h; y++)
        png_write_row(png, rgb_row(im, y, row));
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    g_free(row);
    return true;
}

bool ui_screendump(UiConsole *c, const char *path, const char *format, Error **err)
{
    UiView *v = ui_view_new(c);
    bool png = format ? !strcmp(format, "png") : g_str_has_suffix(path, ".png"), ok;
    pixman_image_t *from, *im;
    FILE *f;

    if (format && !png && strcmp(format, "ppm")) {
        ui_view_free(v);
        return fail(err, "format '%s' is not png or ppm", format);
    }
    ui_view_refresh(v);
    from = ui_surface(c);
    im = pixman_image_create_bits(PIXMAN_x8r8g8b8, pixman_image_get_width(from),
                                  pixman_image_get_height(from), NULL, 0);
    pixman_image_composite32(PIXMAN_OP_SRC, from, NULL, im, 0, 0, 0, 0, 0, 0,
                             pixman_image_get_width(im), pixman_image_get_height(im));
    ui_view_free(v);
    f = fopen(path, "wbe");
    if (!f) {
        pixman_image_unref(im);
        return fail_errno(err, "cannot write '%s'", path);
    }
    ok = png ? write_png(f, im) : write_ppm(f, im);
    if (fclose(f) || !ok)
        ok = fail_errno(err, "cannot write '%s'", path);
    pixman_image_unref(im);
    return ok;
}
