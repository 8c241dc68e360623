/*
 * ui/ui.c - consoles and the surfaces on them, damage per view. A device draws into its surface
 * under the VM lock; a view collects what changed until its front end asks.
 */
#include "ui/priv.h"

struct UiConsole {
    Ui *ui;
    char *name;
    UiConsoleOps ops;
    pixman_image_t *surface; /* never NULL */
    UiCursor cursor;
    GPtrArray *views;
};
struct UiView {
    UiConsole *c;
    pixman_region32_t damage;
    bool resized, cursor;
};

/* ---- per VM ---- */
static void ui_release(void *arg)
{
    Ui *ui = arg;

    vm_unregister(ui->vm, "ui", "ui");
    if (ui->pace.vm)
        timer_del(&ui->pace);
    g_queue_clear_full(&ui->keys, g_free);
    g_ptr_array_free(ui->inputs, TRUE);
    g_ptr_array_free(ui->consoles, TRUE);
    g_clear_pointer(&ui->waits, g_hash_table_unref);
    g_clear_pointer(&ui->faces, g_ptr_array_unref);
    g_free(ui);
}

Ui *ui__of(Vm *vm)
{
    Ui *ui = vm_lookup(vm, "ui", "ui");

    if (ui)
        return ui;
    ui = g_new0(Ui, 1);
    ui->vm = vm;
    ui->consoles = g_ptr_array_new();
    ui->inputs = g_ptr_array_new_with_free_func(g_free);
    g_queue_init(&ui->keys);
    vm_register(vm, "ui", "ui", ui);
    return own(&vm->root, ui, ui_release);
}

/* ---- consoles ---- */
UiConsole *ui_console_new(Vm *vm, const char *name, const UiConsoleOps *ops)
{
    UiConsole *c = g_new0(UiConsole, 1);

    c->ui = ui__of(vm);
    c->name = g_strdup(name);
    c->ops = *ops;
    c->views = g_ptr_array_new();
    c->surface = pixman_image_create_bits(PIXMAN_x8r8g8b8, 640, 480, NULL, 0);
    g_ptr_array_add(c->ui->consoles, c);
    return c;
}

void ui_console_free(UiConsole *c)
{
    if (!c)
        return;
    for (guint i = 0; i < c->views->len; i++)
        ((UiView *)c->views->pdata[i])->c = NULL;
    for (guint i = 0; i < c->ui->consoles->len; i++)
        if (c->ui->consoles->pdata[i] == c)
            c->ui->consoles->pdata[i] = NULL; /* the others keep their index */
    pixman_image_unref(c->surface);
    g_ptr_array_free(c->views, TRUE);
    g_free(c->cursor.argb);
    g_free(c->name);
    g_free(c);
}

UiConsole *ui_console(Vm *vm, unsigned index)
{
    Ui *ui = ui__of(vm);

    return index < ui->consoles->len ? ui->consoles->pdata[index] : NULL;
}

const void *ui_console_owner(const UiConsole *c) { return c->ops.o; }
const char *ui_console_name(const UiConsole *c) { return c->name; }
pixman_image_t *ui_surface(UiConsole *c) { return c->surface; }

bool ui_console_text(UiConsole *c, GString *out)
{
    size_t before = out->len;

    if (c->ops.text)
        c->ops.text(c->ops.o, out);
    return out->len > before;
}

static pixman_image_t *replace(UiConsole *c, pixman_image_t *image)
{
    pixman_image_unref(c->surface);
    c->surface = image;
    for (guint i = 0; i < c->views->len; i++)
        ((UiView *)c->views->pdata[i])->resized = true;
    ui_damage(c, 0, 0, pixman_image_get_width(image), pixman_image_get_height(image));
    return image;
}

pixman_image_t *ui_resize(UiConsole *c, int w, int h)
{
    w = CLAMP(w, 1, 16384); /* a guest says these */
    h = CLAMP(h, 1, 16384);
    return replace(c, pixman_image_create_bits(PIXMAN_x8r8g8b8, w, h, NULL, 0));
}

pixman_image_t *ui_share(UiConsole *c, int w, int h, pixman_format_code_t fmt, void *data,
                         int stride)
{
    if (w < 1 || h < 1 || w > 16384 || h > 16384)
        return ui_resize(c, w, h);
    return replace(c, pixman_image_create_bits_no_clear(fmt, w, h, data, stride));
}

void ui_damage(UiConsole *c, int x, int y, int w, int h)
{
    int sw = pixman_image_get_width(c->surface), sh = pixman_image_get_height(c->surface);
    int x0 = CLAMP(x, 0, sw), y0 = CLAMP(y, 0, sh);
    int64_t x1 = CLAMP((int64_t)x + w, x0, sw), y1 = CLAMP((int64_t)y + h, y0, sh);

    if (x1 <= x0 || y1 <= y0)
        return;
    for (guint i = 0; i < c->views->len; i++) {
        UiView *v = c->views->pdata[i];

        pixman_region32_union_rect(&v->damage, &v->damage, x0, y0, (unsigned)(x1 - x0),
                                   (unsigned)(y1 - y0));
    }
}

void ui_define_cursor(UiConsole *c, int w, int h, int hot_x, int hot_y, const uint32_t *argb)
{
    bool none = !argb || w < 1 || h < 1 || w > 512 || h > 512;

    g_free(c->cursor.argb);
    c->cursor = (UiCursor){ 0 };
    if (!none)
        c->cursor = (UiCursor){ w, h, CLAMP(hot_x, 0, w - 1), CLAMP(hot_y, 0, h - 1),
                                g_memdup2(argb, (size_t)w * (size_t)h * 4) };
    for (guint i = 0; i < c->views->len; i++)
        ((UiView *)c->views->pdata[i])->cursor = true;
}

/* ---- views ---- */
UiView *ui_view_new(UiConsole *c)
{
    UiView *v = g_new0(UiView, 1);

    v->c = c;
    v->resized = true;
    v->cursor = c->cursor.w != 0;
    pixman_region32_init(&v->damage);
    g_ptr_array_add(c->views, v);
    ui_damage(c, 0, 0, pixman_image_get_width(c->surface), pixman_image_get_height(c->surface));
    if (c->ops.invalidate)
        c->ops.invalidate(c->ops.o);
    return v;
}

void ui_view_free(UiView *v)
{
    if (v->c)
        g_ptr_array_remove(v->c->views, v);
    pixman_region32_fini(&v->damage);
    g_free(v);
}

UiConsole *ui_view_console(const UiView *v) { return v->c; }

void ui_view_refresh(UiView *v)
{
    if (v->c && v->c->ops.update)
        v->c->ops.update(v->c->ops.o);
}

bool ui_view_take(UiView *v, UiRect *damage)
{
    pixman_region32_t screen;
    pixman_box32_t *b;
    bool any;

    if (!v->c)
        return false;
    pixman_region32_init_rect(&screen, 0, 0, (unsigned)pixman_image_get_width(v->c->surface),
                              (unsigned)pixman_image_get_height(v->c->surface));
    pixman_region32_intersect(&v->damage, &v->damage, &screen); /* it may have shrunk since */
    b = pixman_region32_extents(&v->damage);
    any = pixman_region32_not_empty(&v->damage);
    *damage = (UiRect){ b->x1, b->y1, b->x2 - b->x1, b->y2 - b->y1 };
    pixman_region32_fini(&screen);
    pixman_region32_clear(&v->damage);
    return any;
}

bool ui_view_resized(UiView *v)
{
    bool was = v->resized;

    v->resized = false;
    return was;
}

bool ui_view_cursor(UiView *v, UiCursor *out)
{
    bool was = v->cursor && v->c;

    v->cursor = false;
    if (was)
        *out = v->c->cursor;
    return was;
}
