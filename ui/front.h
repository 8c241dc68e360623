/*
 * ui/front.h - front ends: looking at consoles, choosing a display, screen dumps. VM lock, except
 * ui_display_run, which must not hold it.
 */
#ifndef UI_FRONT_H
#define UI_FRONT_H
#include "ui/ui.h"

typedef struct UiRect {
    int x, y, w, h;
} UiRect;
typedef struct UiCursor { /* w 0: none */
    int w, h, hot_x, hot_y;
    uint32_t *argb; /* owned by the console */
} UiCursor;
/* A front end's look at one console: what changed since it last asked. */
typedef struct UiView UiView;
UiView *ui_view_new(UiConsole *c);
void ui_view_free(UiView *v);
void ui_view_refresh(UiView *v);               /* let the device draw */
bool ui_view_take(UiView *v, UiRect *damage);  /* bounding box, then clean; false: nothing new */
bool ui_view_resized(UiView *v);               /* surface was replaced since last asked */
bool ui_view_cursor(UiView *v, UiCursor *out); /* changed since last asked */
UiConsole *ui_view_console(const UiView *v);   /* NULL once the console is gone */

UiConsole *ui_console(Vm *vm, unsigned index); /* or NULL */
const char *ui_console_name(const UiConsole *c);
const void *ui_console_owner(const UiConsole *c); /* the device that draws */
bool ui_console_text(UiConsole *c, GString *out); /* false: graphics, or it cannot say */
/* The screen's text, UTF-8, a line each, without spaces at their ends: a text mode's, or a console's drawn in pixels with a known
 * font (ui/font.h). The surface as it is: ui_view_refresh() first. */
typedef enum UiTextKind { UI_TEXT_NONE, UI_TEXT_MODE, UI_TEXT_PIXELS } UiTextKind;
UiTextKind ui_read_text(Vm *vm, UiConsole *c, GString *out);
char *ui_hash(UiConsole *c, const UiRect *part); /* SHA-256 of its pixels; part lies on the surface; caller frees */
unsigned ui_leds(Vm *vm);
/* format "png", "ppm" or NULL: by the file's ending, PPM otherwise (as QEMU). Draws a fresh picture
 * first. */
bool ui_screendump(UiConsole *c, const char *path, const char *format, Error **err);

typedef struct UiDisplay {
    const char *name;
    bool (*open)(Vm *vm, Opts *o, Error **err); /* main thread, VM complete, not started */
    int (*run)(Vm *vm); /* main thread until the VM asks to exit; its status */
} UiDisplay;
#define UI_DISPLAY(d) static const UiDisplay *const d##_display IN_SECTION("uidisplays") = &d
/* text: -display's value, or NULL: sdl when there is a screen, else none. Returns what to run. */
const UiDisplay *ui_display_open(Vm *vm, const char *text, Error **err);
void ui_display_help(GString *out);
#endif
