/* tests/unit/screen.c - fonts from files good and broken, screens read cell by cell, waits for text and pictures. */
#include "tests/lib/qmp.h"
#include "ui/font.h"
#include "ui/front.h"

enum { W = 8, H = 16 };

/* A picture for each character that no other has. */
static void glyph(uint8_t bits[H], unsigned c)
{
    memset(bits, 0, H);
    bits[2] = 0x7e;
    for (unsigned i = 0; i < 8; i++)
        bits[3 + i] = c >> i & 1 ? 0x3c : 0x42;
    bits[12] = 0x18;
}

/* A PSF 1 font with a table of characters: place 255 - c has the character c. */
static GByteArray *psf1(void)
{
    GByteArray *f = g_byte_array_new();
    uint8_t bits[H], name[4] = { 0, 0, 0xff, 0xff };

    g_byte_array_append(f, (const uint8_t[]){ 0x36, 0x04, 2, H }, 4);
    for (unsigned i = 0; i < 256; i++) {
        glyph(bits, 255 - i);
        g_byte_array_append(f, bits, H);
    }
    for (unsigned i = 0; i < 256; i++) {
        name[0] = (uint8_t)(255 - i);
        g_byte_array_append(f, name, 4);
    }
    return f;
}

static gunichar named(GPtrArray *faces, unsigned c)
{
    uint8_t bits[H];
    g_autoptr(GBytes) key = NULL;
    UiFace *f = faces->len ? faces->pdata[0] : NULL;

    glyph(bits, c);
    key = g_bytes_new(bits, H);
    return f ? GPOINTER_TO_UINT(g_hash_table_lookup(f->chars, key)) : 0;
}

static void fonts(Vm *vm)
{
    GPtrArray *faces = ui_font_list();
    GByteArray *f = psf1();
    uint8_t two[32 + 2 * 4 + 5] = { 0x72, 0xb5, 0x4a, 0x86, 0, 0, 0, 0, 32, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 5,
                                    [32] = 0x80, 0, 0, 0, 0x40, 0, 0, 0, 0xc3, 0xa4, 0xff, 'b', 0xff };
    UiFace *face;
    g_autoptr(GBytes) key = g_bytes_new_static(two + 32, 4);

    ui_font_add(faces, f->data, f->len);
    check_eq(faces->len, 1);
    check_eq(named(faces, 'A'), 'A');
    check_eq(named(faces, 0xe4), 0xe4);
    ui_font_add(faces, two, sizeof(two));
    check_eq(faces->len, 2);
    face = faces->pdata[1];
    check(face->w == 5 && face->h == 4);
    check_eq(GPOINTER_TO_UINT(g_hash_table_lookup(face->chars, key)), 0xe4);
    for (guint n = 0; n < f->len; n += 7) { /* cut off anywhere */
        g_autofree uint8_t *part = g_memdup2(f->data, n);

        ui_font_add(faces, part, n);
    }
    for (size_t n = 0; n <= sizeof(two); n++)
        for (unsigned at = 8; at < 32; at++) {
            g_autofree uint8_t *part = g_memdup2(two, n);

            if (at < n)
                part[at] ^= 0xff;
            ui_font_add(faces, part, n);
        }
    check_eq(ui_cp437(0x84), 0xe4);
    check_eq(ui_cp437(1), 0x263a);
    check_eq(ui_cp437(0), ' ');
    g_byte_array_unref(f);
    g_ptr_array_unref(faces);
}
TEST("screen/fonts", fonts);

/* ---- a console drawn in pixels ---- */
static void draw(UiConsole *c, unsigned x, unsigned y, const char *text, uint32_t ink, uint32_t paper)
{
    pixman_image_t *i = ui_surface(c);
    uint32_t *p = pixman_image_get_data(i);
    unsigned row = (unsigned)pixman_image_get_stride(i) / 4;
    uint8_t bits[H];

    for (; *text; text++, x++) {
        glyph(bits, (uint8_t)*text);
        for (unsigned l = 0; l < H; l++)
            for (unsigned k = 0; k < W; k++)
                p[(y * H + l) * row + x * W + k] = bits[l] & 0x80 >> k ? ink : paper;
    }
    ui_damage(c, 0, 0, pixman_image_get_width(i), pixman_image_get_height(i));
}

static void add_font(Vm *vm)
{
    GByteArray *f = psf1();

    ui_font_add((GPtrArray *)(uintptr_t)ui_faces(vm), f->data, f->len);
    g_byte_array_unref(f);
}

static void reading(Vm *vm)
{
    UiConsole *c = ui_console_new(vm, "vga", &(UiConsoleOps){ 0 });
    g_autoptr(GString) s = g_string_new(NULL);
    g_autofree char *one = NULL, *two = NULL;

    add_font(vm);
    ui_resize(c, 1024, 770); /* two lines of pixels are left over */
    check_eq(ui_read_text(vm, c, s), UI_TEXT_NONE);
    draw(c, 0, 0, "Welcome to GRUB", 0xaaaaaa, 0);
    draw(c, 70, 3, "login:", 0xffffff, 0x0000aa);
    pixman_image_get_data(ui_surface(c))[5 * 1024 + 3] = 0xffffff; /* a wrong pixel in the W */
    check_eq(ui_read_text(vm, c, s), UI_TEXT_PIXELS);
    check(g_str_has_prefix(s->str, "Welcome to GRUB\n\n\n"));
    check(strstr(s->str, "\n                                                                      login:\n"));
    one = ui_hash(c, &(UiRect){ 0, 0, 120, 16 });
    draw(c, 0, 1, "x", 0xffffff, 0);
    two = ui_hash(c, &(UiRect){ 0, 0, 120, 16 });
    check(!strcmp(one, two) && strlen(one) == 64);
    g_free(two);
    two = ui_hash(c, &(UiRect){ 0, 0, 120, 17 + 3 });
    check(strcmp(one, two));
    ui_console_free(c);
}
TEST("screen/reading", reading);

/* ---- waits, over QMP ---- */
static void expect(Client *c, const char *part)
{
    g_autofree char *line = qmp_line(c);

    if (!strstr(line, part))
        t_fail(__FILE__, __LINE__, "got %s, wanted %s", line, part);
}

static void ask(Client *c, const char *request, const char *part)
{
    qmp_send(c, request);
    expect(c, part);
}

static void free_console(void *c) { ui_console_free(c); }

static void waits(Vm *unused)
{
    Bench b;
    Client *c;
    UiConsole *screen;
    g_autofree char *path = NULL;

    qmp_bench_open(&b, NULL);
    path = qmp_bench_monitor(&b, MONITOR_QMP);
    screen = own(&b.vm->root, ui_console_new(b.vm, "vga", &(UiConsoleOps){ 0 }), free_console);
    add_font(b.vm);
    draw(screen, 0, 0, "ready>", 0xffffff, 0);
    qmp_bench_start(&b);
    c = qmp_connect(path);
    g_free(qmp_line(c));
    ask(c, "{'execute': 'qmp_capabilities'}", "return");
    ask(c, "{'execute': 'screen-text'}", "\"kind\": \"pixels\", \"lines\": [\"ready>\"");
    ask(c, "{'execute': 'screen-wait', 'arguments': {'id': 'a', 'text': '^READY', 'timeout': 0}}", "return");
    expect(c, "\"id\": \"a\", \"result\": \"timeout\"");
    ask(c, "{'execute': 'screen-wait', 'arguments': {'id': 'a', 'text': '^re.*$'}}", "return");
    expect(c, "\"result\": \"found\", \"match\": \"ready>\"");
    ask(c, "{'execute': 'screen-wait', 'arguments': {'id': 'b', 'text': 'never'}}", "return");
    ask(c, "{'execute': 'screen-wait', 'arguments': {'id': 'b', 'text': 'never'}}", "of that id already");
    ask(c, "{'execute': 'screen-wait-cancel', 'arguments': {'id': 'b'}}", "\"cancelled\"");
    expect(c, "return");
    ask(c, "{'execute': 'screen-wait', 'arguments': {'id': 'b', 'text': '('}}", "text: ");
    ask(c, "{'execute': 'screen-wait', 'arguments': {'id': 'b'}}", "either text or sha256");
    ask(c, "{'execute': 'screen-wait', 'arguments': {'id': 'h', 'sha256': '00', 'differs': true, 'region': {'x': 0, 'y': 0, 'width': 8, 'height': 8}}}",
        "return");
    expect(c, "\"id\": \"h\", \"result\": \"found\"");
    ask(c, "{'execute': 'screen-hash', 'arguments': {'region': {'x': 1, 'y': 0, 'width': 640, 'height': 8}}}", "640 x 480");
    ask(c, "{'execute': 'screen-wait', 'arguments': {'id': 'left', 'text': 'never'}}", "return"); /* ends with the VM */
    qmp_disconnect(c);
    qmp_bench_close(&b);
}
TEST("screen/waits", waits);
