/* tests/device/vga.c - the VGA: text to pixels and to text, planes and write modes, a VBE mode. */
#include "tests/device/pcihost.h"
#include "ui/front.h"

enum { LFB = 0xe0000000 };

static void indexed(Vm *vm, unsigned port, unsigned n, unsigned v)
{
    t_out(vm, port, 1, n);
    t_out(vm, port + 1, 1, v);
}

static void attribute(Vm *vm, unsigned n, unsigned v)
{
    t_in(vm, 0x3da, 1);
    t_out(vm, 0x3c0, 1, n);
    t_out(vm, 0x3c0, 1, v);
}

static void machine(Vm *vm)
{
    t_pci(vm);
    t_enable(dev_plug(vm, NULL, "VGA", &abort_on_error), 0, LFB);
}

static uint32_t pixel(Vm *vm, int x, int y)
{
    UiView *v = ui_view_new(ui_console(vm, 0));
    pixman_image_t *i;
    uint32_t p;

    ui_view_refresh(v);
    i = ui_surface(ui_console(vm, 0));
    check(x < pixman_image_get_width(i) && y < pixman_image_get_height(i));
    p = pixman_image_get_data(i)[y * (pixman_image_get_stride(i) / 4) + x];
    ui_view_free(v);
    return p & 0xffffff;
}

static void palette(Vm *vm, unsigned n, unsigned r, unsigned g, unsigned b)
{
    t_out(vm, 0x3c8, 1, n);
    t_out(vm, 0x3c9, 1, r);
    t_out(vm, 0x3c9, 1, g);
    t_out(vm, 0x3c9, 1, b);
}

static void planes(Vm *vm, unsigned mask, bool sequential)
{
    indexed(vm, 0x3c4, 2, mask);
    indexed(vm, 0x3c4, 4, sequential ? 6 : 2);
    indexed(vm, 0x3ce, 5, sequential ? 0 : 0x10);
    indexed(vm, 0x3ce, 8, 0xff);
}

/* 80 x 25 text; the glyph of 'A' is one full line. */
static void test_text(Vm *vm)
{
    GString *s = g_string_new(NULL);

    machine(vm);
    indexed(vm, 0x3c4, 1, 1);
    indexed(vm, 0x3ce, 6, 4); /* A0000h for the font */
    planes(vm, 4, true);
    t_st(vm, 0xa0000 + 'A' * 32 + 3, 1, 0xff);
    planes(vm, 3, false);
    indexed(vm, 0x3ce, 6, 0x0e); /* B8000h */
    indexed(vm, 0x3d4, 1, 79);
    indexed(vm, 0x3d4, 7, 2);
    indexed(vm, 0x3d4, 9, 15);
    indexed(vm, 0x3d4, 0x12, 0x8f);
    indexed(vm, 0x3d4, 0x13, 40);
    indexed(vm, 0x3d4, 0x0a, 0x20);
    attribute(vm, 0x12, 15);
    attribute(vm, 7, 7);
    attribute(vm, 0x20, 0);
    palette(vm, 7, 63, 0, 63);
    t_st(vm, 0xb8000 + 160 + 2, 2, 0x0741);
    check_eq(pixel(vm, 8, 16 + 3), 0xff00ff);
    check_eq(pixel(vm, 8, 16 + 4), 0);
    ui_console_text(ui_console(vm, 0), s);
    check(g_str_has_prefix(s->str, "\n A\n"));
    g_string_free(s, TRUE);
}

static void test_write_modes(Vm *vm)
{
    machine(vm);
    indexed(vm, 0x3ce, 6, 5);
    planes(vm, 15, true);
    t_st(vm, 0xa0000, 1, 0x55); /* mode 0: all planes */
    check_eq(t_ld(vm, LFB, 4), 0x55555555);
    indexed(vm, 0x3ce, 8, 0xf0);
    t_ld(vm, 0xa0000, 1);
    indexed(vm, 0x3ce, 5, 2); /* mode 2: colour 9 under the mask, the rest from the latches */
    t_st(vm, 0xa0000, 1, 9);
    check_eq(t_ld(vm, LFB, 4), 0xf50505f5);
    indexed(vm, 0x3ce, 5, 1); /* mode 1: copy */
    t_ld(vm, 0xa0000, 1);
    t_st(vm, 0xa0010, 1, 0);
    check_eq(t_ld(vm, LFB + 0x40, 4), 0xf50505f5);
    indexed(vm, 0x3ce, 5, 8); /* read mode 1: compare with colour 9 */
    indexed(vm, 0x3ce, 2, 9);
    indexed(vm, 0x3ce, 7, 15);
    check_eq(t_ld(vm, 0xa0000, 1), 0xf0);
}

static void vbe(Vm *vm, unsigned n, unsigned v)
{
    t_out(vm, 0x1ce, 2, n);
    t_out(vm, 0x1cf, 2, v);
}

static void test_vbe(Vm *vm)
{
    machine(vm);
    t_out(vm, 0x1ce, 2, 0);
    check_eq(t_in(vm, 0x1cf, 2), 0xb0c5);
    vbe(vm, 1, 640);
    vbe(vm, 2, 480);
    vbe(vm, 3, 32);
    vbe(vm, 4, 0x41);
    t_st(vm, LFB + 4 * (640 * 10 + 20), 4, 0x123456);
    check_eq(pixel(vm, 20, 10), 0x123456);
    vbe(vm, 9, 5); /* pan */
    check_eq(pixel(vm, 20, 5), 0x123456);
    vbe(vm, 5, 1); /* bank */
    t_st(vm, 0xa0000, 4, 0xabcdef);
    check_eq(t_ld(vm, LFB + 0x10000, 4), 0xabcdef);
    vbe(vm, 4, 0);
    vbe(vm, 1, 2560);
    vbe(vm, 2, 1600);
    vbe(vm, 4, 0x41); /* 16 MiB hold it just */
    check_eq(pixel(vm, 2559, 1599), 0);
}

TEST("vga/text", test_text);
TEST("vga/write-modes", test_write_modes);
TEST("vga/vbe", test_vbe);
