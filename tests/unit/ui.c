/* tests/unit/ui.c - the key table, damage, paced typing, screen dumps. */
#include "tests/lib/t.h"
#include "ui/front.h"
#include <glib/gstdio.h>
#include <linux/input-event-codes.h>

static void key_table(Vm *vm)
{
    int named = 0;

    for (int k = 1; k < 512; k++) {
        const char *q = ui_qcode((uint16_t)k);
        int s1 = ui_key_to_set1((uint16_t)k);

        if (!q)
            continue;
        named++;
        check_eq(ui_key_by_qcode(q), k);
        if (s1 >= 0)
            check_eq(ui_key_from_set1((unsigned)s1), k);
        for (int other = k + 1; other < 512; other++) {
            int pair[2] = { ui_key_to_set2((uint16_t)k), ui_key_to_usb((uint16_t)k) };

            check(!ui_qcode((uint16_t)other) || strcmp(q, ui_qcode((uint16_t)other)));
            check(pair[0] < 0 || pair[0] != ui_key_to_set2((uint16_t)other));
            check(pair[1] < 0 || pair[1] != ui_key_to_usb((uint16_t)other));
        }
    }
    check(named > 120);
    check_eq(ui_key_by_qcode("a"), KEY_A);
    check_eq(ui_key_to_set1(KEY_A), 0x1e);
    check_eq(ui_key_to_set2(KEY_A), 0x1c);
    check_eq(ui_key_to_usb(KEY_A), 4);
    check_eq(ui_key_to_set1(KEY_DELETE), 0xe053);
    check_eq(ui_key_by_number(0xd3), KEY_DELETE);
    check_eq(ui_key_by_qcode("nonsense"), -1);
}
TEST("ui/key-table", key_table);

static int updates;
static void update(void *o) { updates++; }

static void damage(Vm *vm)
{
    UiConsole *c = ui_console_new(vm, "vga", &(UiConsoleOps){ .update = update });
    UiView *v = ui_view_new(c);
    UiRect r;

    check(ui_view_resized(v) && ui_view_take(v, &r));
    check_eq(r.w, 640);
    check(!ui_view_take(v, &r));
    ui_damage(c, -5, 10, 20, 5);
    ui_damage(c, 100, 470, 1000, 1000);
    check(ui_view_take(v, &r));
    check_eq(r.x, 0);
    check_eq(r.y, 10);
    check_eq(r.w, 640);
    check_eq(r.h, 470);
    ui_damage(c, 700, 0, 5, 5);
    ui_damage(c, 0, 0, -1, 5);
    ui_damage(c, INT_MAX, INT_MAX, INT_MAX, INT_MAX);
    check(!ui_view_take(v, &r));
    ui_damage(c, 600, 400, 40, 80);
    ui_resize(c, 320, 200);
    check(ui_view_resized(v) && ui_view_take(v, &r) && r.w == 320 && r.h == 200);
    ui_view_refresh(v);
    check_eq(updates, 1);
    ui_resize(c, 1 << 30, -4);
    check(pixman_image_get_height(ui_surface(c)) == 1);
    ui_console_free(c);
    check(!ui_view_console(v) && !ui_view_take(v, &r) && !ui_console(vm, 0));
    ui_view_free(v);
}
TEST("ui/damage", damage);

/* ---- input ---- */
typedef struct Hand {
    GString *log;
    unsigned room;
} Hand;

static void on_event(void *o, const UiEvent *e)
{
    Hand *h = o;

    if (e->kind == UI_KEY) {
        check(h->room-- > 0);
        g_string_append_printf(h->log, "%s%s ", e->down ? "+" : "-", ui_qcode(e->key));
    } else {
        g_string_append_printf(h->log, "%d:%d ", e->kind,
                               e->kind == UI_BUTTON ? e->down : e->value);
    }
}

static void on_sync(void *o) { g_string_append(((Hand *)o)->log, "| "); }
static unsigned room(void *o) { return ((Hand *)o)->room; }

static void pacing(Vm *vm)
{
    Hand h = { g_string_new(NULL), 3 };
    UiInput in = { "kbd", 1 << UI_KEY, on_event, NULL, room, &h };
    uint16_t cad[] = { KEY_LEFTCTRL, KEY_LEFTALT, KEY_DELETE };

    ui_input_add(vm, &in);
    ui_send_keys(vm, cad, 3, 100 * MS);
    check_str(h.log->str, "+ctrl +alt +delete ");
    h.room = 100;
    ui_input_room(vm, &h);
    check_str(h.log->str, "+ctrl +alt +delete ");
    t_step(vm, 99 * MS);
    check_str(h.log->str, "+ctrl +alt +delete ");
    t_step(vm, 2 * MS);
    check_str(h.log->str, "+ctrl +alt +delete -delete -alt -ctrl ");
    g_string_truncate(h.log, 0);
    h.room = 1;
    check(ui_type(vm, "aB", &abort_on_error));
    for (int i = 0; i < 20; i++) { /* a keyboard that is read one code at a time loses nothing */
        t_step(vm, 30 * MS);
        h.room = 1;
        ui_input_room(vm, &h);
    }
    check_str(h.log->str, "+a -a +shift +b -b -shift ");
    check(!ui_type(vm, "\x01", NULL));
    g_string_truncate(h.log, 0);
    h.room = 10;
    ui_input_send(vm, &(UiEvent){ .kind = UI_KEY, .key = KEY_X, .down = true }, 1);
    ui_release_all(vm);
    ui_release_all(vm);
    check_str(h.log->str, "+x -x ");
    ui_input_del(vm, &h);
    g_string_free(h.log, TRUE);
}
TEST("ui/pacing", pacing);

static void pointers(Vm *vm)
{
    Hand mouse = { g_string_new(NULL), 0 }, tablet = { g_string_new(NULL), 0 };
    UiEvent rel[] = { { .kind = UI_REL, .value = 3 }, { .kind = UI_BUTTON, .down = true } };
    UiEvent abs[] = { { .kind = UI_ABS, .value = 77 }, { .kind = UI_BUTTON, .down = true } };

    ui_input_add(
        vm, &(UiInput){ "mouse", 1 << UI_REL | 1 << UI_BUTTON, on_event, on_sync, NULL, &mouse });
    check(!ui_wants_abs(vm));
    ui_input_send(vm, rel, 2);
    check_str(mouse.log->str, "2:3 1:1 | ");
    ui_input_add(
        vm, &(UiInput){ "tablet", 1 << UI_ABS | 1 << UI_BUTTON, on_event, on_sync, NULL, &tablet });
    check(ui_wants_abs(vm));
    ui_input_send(vm, abs, 2);
    check_str(tablet.log->str, "3:77 1:1 | ");
    ui_input_activate(vm, &mouse);
    check(!ui_wants_abs(vm));
    ui_input_del(vm, &mouse);
    check(ui_wants_abs(vm));
    ui_input_del(vm, &tablet);
    g_string_free(mouse.log, TRUE);
    g_string_free(tablet.log, TRUE);
}
TEST("ui/pointers", pointers);

static void dump(Vm *vm)
{
    UiConsole *c = ui_console_new(vm, "vga", &(UiConsoleOps){ 0 });
    uint32_t *p = pixman_image_get_data(ui_resize(c, 3, 2));
    g_autofree char *dir = g_dir_make_tmp("menura-ui.XXXXXX", NULL),
                    *ppm = g_build_filename(dir, "a.ppm", NULL);
    g_autofree char *png = g_build_filename(dir, "a.png", NULL), *text = NULL;
    gsize len;

    p[1] = 0x123456;
    check(ui_screendump(c, ppm, NULL, &abort_on_error) &&
          ui_screendump(c, png, NULL, &abort_on_error));
    check(!ui_screendump(c, ppm, "gif", NULL) && !ui_screendump(c, "/nonexistent/x", NULL, NULL));
    check(g_file_get_contents(ppm, &text, &len, NULL));
    check_eq(len, 11 + 18);
    check(!memcmp(text, "P6\n3 2\n255\n\0\0\0\x12\x34\x56", 17));
    g_clear_pointer(&text, g_free);
    check(g_file_get_contents(png, &text, &len, NULL) && !memcmp(text, "\x89PNG", 4));
    g_unlink(ppm);
    g_unlink(png);
    g_rmdir(dir);
    ui_console_free(c);
}
TEST("ui/screendump", dump);
