/*
 * tests/unit/sdl.c - the window for real, under a virtual X server: pixels arrive, keys and pointer
 * arrive, focus and closing work. Skipped (77) where Xvfb or xdotool is missing.
 */
#include "core/vm.h"
#include "ui/front.h"
#include <linux/input-event-codes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static GString *seen;
static UiConsole *console;
static bool grow; /* the picture is to be larger; atomic */

static void on_event(void *o, const UiEvent *e)
{
    if (e->kind == UI_KEY)
        g_string_append_printf(seen, "%s%s ", e->down ? "+" : "-", ui_qcode(e->key));
    else if (e->kind == UI_BUTTON)
        g_string_append_printf(seen, "b%d%s ", e->button, e->down ? "+" : "-");
    else
        g_string_append_printf(seen, "%c%d=%d ", e->kind == UI_ABS ? 'a' : 'r', e->axis, e->value);
}

static void draw(void *o)
{
    static bool drawn;
    pixman_image_t *im;
    uint32_t *p;

    if (__atomic_exchange_n(&grow, false, __ATOMIC_ACQ_REL)) {
        ui_resize(console, 640, 400);
        ui_damage(console, 0, 0, 640, 400);
    }
    if (drawn)
        return;
    drawn = true;
    im = ui_resize(console, 320, 200);
    p = pixman_image_get_data(im);
    for (int i = 0; i < 320 * 200; i++)
        p[i] = i % 320 < 160 ? 0xff0000 : 0x00ff00;
    ui_damage(console, 0, 0, 320, 200);
}

static char *shell(const char *cmd)
{
    char *out = NULL;
    const char *argv[] = { "/bin/sh", "-c", cmd, NULL };

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &out, NULL,
                 NULL, NULL);
    return out ? g_strchomp(out) : g_strdup("");
}

static const char *const script =
    "for i in $(seq 100); do W=$(xdotool search --name 'Menura' | head -1); [ -n \"$W\" ] && "
    "break; sleep 0.05; done; sleep 0.5;"
    "xdotool windowfocus $W; sleep 0.2; xdotool mousemove --window $W 80 100; sleep 0.2; xdotool "
    "key a; sleep 0.1;"
    "xdotool keydown shift; sleep 0.1; xdotool click 1; sleep 0.1; xdotool mousemove --window $W "
    "319 199; sleep 0.2;"
    "command -v import >/dev/null && eval $(xdotool getwindowgeometry --shell $W) && import "
    "-window root "
    "-crop 320x200+$X+$Y +repage -depth 8 rgb:$XSHOT; "
    "xdotool getwindowgeometry $W; xdotool getwindowname $W;"
    "xdotool windowfocus $(xdotool search --maxdepth 0 '.*' | head -1); sleep 0.2;";

static bool have(const char *program)
{
    g_autofree char *p = g_find_program_in_path(program);

    return p;
}

/* Twice its centre, and its width. */
static bool geometry(int *x2, int *y2, int *width)
{
    g_autofree char *out = shell("eval $(xdotool getwindowgeometry --shell $(xdotool search --name Menura | head -1)); echo $X $Y $WIDTH $HEIGHT");
    int x, y, w, h;

    if (sscanf(out, "%d %d %d %d", &x, &y, &w, &h) != 4)
        return false;
    *x2 = 2 * x + w;
    *y2 = 2 * y + h;
    *width = w;
    return true;
}

/* The window grows around its centre. */
static bool stays_in_the_middle(void)
{
    int x, y, w, new_x = 0, new_y = 0, new_w = 0;

    g_free(shell("xdotool windowmove --sync $(xdotool search --name Menura | head -1) 240 200; sleep 0.3"));
    if (!geometry(&x, &y, &w) || w != 320)
        return false;
    __atomic_store_n(&grow, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 100 && (!geometry(&new_x, &new_y, &new_w) || new_w != 640 || new_x != x || new_y != y); i++)
        g_usleep(50000);
    printf("centre %d %d, width %d; then %d %d, %d\n", x, y, w, new_x, new_y, new_w);
    return new_w == 640 && new_x == x && new_y == y;
}

static gpointer user(gpointer arg)
{
    Vm *vm = arg;
    g_autofree char *out = shell(script);
    bool middle = stays_in_the_middle();

    printf("xdotool: %s\n", out);
    vm_exit_code(vm, !middle ? 9 : g_strrstr(out, "320x200") && g_strrstr(out, "Menura (sdl-test)") ? 7 : 8);
    return NULL;
}

static int fail_with(const char *why)
{
    printf("FAIL %s; seen: %s\n", why, seen->str);
    return 1;
}

/* Red on the left, green on the right. Without ImageMagick there is no picture to judge. */
static bool right_colours(void)
{
    g_autofree char *rgb = NULL;
    gsize len;

    if (!have("import"))
        return true;
    return g_file_get_contents(g_getenv("XSHOT"), &rgb, &len, NULL) && len == 320 * 200 * 3 &&
           !memcmp(rgb, "\xff\0\0", 3) && !memcmp(rgb + 319 * 3, "\0\xff\0", 3) &&
           !memcmp(rgb + len - 960, "\xff\0\0", 3);
}

static int judge(int status)
{
    if (status == 9)
        return fail_with("the window's centre");
    if (status != 7)
        return fail_with("window size or title");
    if (!g_strrstr(seen->str, "+a -a "))
        return fail_with("key a");
    if (!g_strrstr(seen->str, "+shift "))
        return fail_with("key shift");
    if (!g_strrstr(seen->str, "b0+ b0- "))
        return fail_with("click");
    if (!g_strrstr(seen->str, "a0=32767") || !g_strrstr(seen->str, "a1=32767"))
        return fail_with("absolute pointer");
    if (!g_strrstr(seen->str, "-shift "))
        return fail_with("release on focus loss");
    if (!right_colours())
        return fail_with("pixels");
    puts("ok   sdl");
    return 0;
}

int main(void)
{
    const char *argv[] = { "Xvfb",       "-displayfd", "1",   "-screen", "0",
                           "800x600x24", "-nolisten",  "tcp", NULL };
    g_autofree char *shot = g_strdup_printf("/tmp/menura-sdl.%d.rgb", (int)getpid());
    const UiDisplay *d;
    char number[16] = "";
    int out, status;
    ssize_t n;
    GPid xvfb;
    GThread *t;
    Vm *vm;

    if (!have("Xvfb") || !have("xdotool"))
        return 77;
    if (!g_spawn_async_with_pipes(NULL, (char **)argv, NULL,
                                  G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL,
                                  &xvfb, NULL, &out, NULL, NULL))
        return 77;
    n = read(out, number, sizeof(number) - 2);
    if (n <= 0)
        return 77;
    number[strcspn(number, "\n")] = 0;
    g_autofree char *display = g_strconcat(":", number, NULL);
    g_setenv("DISPLAY", display, TRUE);
    g_setenv("SDL_VIDEODRIVER", "x11", TRUE);
    g_setenv("XSHOT", shot, TRUE);
    seen = g_string_new(NULL);
    vm = vm_new("sdl-test");
    vm_set_accel(vm, "qtest", NULL, &abort_on_error);
    loop_start(vm->loop);
    lock_take(&vm->lock);
    console = ui_console_new(vm, "test", &(UiConsoleOps){ .update = draw });
    ui_input_add(vm, &(UiInput){ "all", 15, on_event, NULL, NULL, NULL });
    lock_drop(&vm->lock);
    d = ui_display_open(vm, "sdl", &abort_on_error);
    t = g_thread_new("user", user, vm);
    status = d->run(vm);
    g_thread_join(t);
    status = judge(status);
    kill(xvfb, SIGTERM);
    unlink(shot);
    fflush(stdout);
    _exit(status); /* X and SDL keep what they keep */
}
